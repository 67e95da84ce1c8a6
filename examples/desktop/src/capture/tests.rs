use std::io::Cursor;

use proptest::prelude::*;
use vigie::beacon::{Frame, ServiceUuid};
use vigie::radio::{Rssi, Sighting};
use vigie::time::Timestamp;

use super::{Capture, CaptureError, CaptureStats};

const EN: ServiceUuid = ServiceUuid::EXPOSURE_NOTIFICATION;

/// 1 January 2000 in microseconds since the year 0, as BlueZ has it (tools/hcidump.c), and in milliseconds since 1970.
const YEAR_2000_US: i64 = 0x00E0_3AB4_4A67_6000;
const YEAR_2000_MS: i64 = 946_684_800_000;

const HCI: u32 = 1001;
const UART: u32 = 1002;
const MONITOR: u32 = 2001;

fn frame(n: u8) -> Frame {
    Frame::from_service_data(&[n; 20]).unwrap()
}

fn advertisement(n: u8) -> Vec<u8> {
    frame(n).to_advertisement(EN).to_vec()
}

fn read(bytes: &[u8]) -> (Vec<Sighting>, Option<CaptureError>, CaptureStats) {
    let mut capture = match Capture::new(Cursor::new(bytes), EN) {
        Ok(capture) => capture,
        Err(e) => return (Vec::new(), Some(e), CaptureStats::default()),
    };
    let (mut sightings, mut error) = (Vec::new(), None);
    for item in &mut capture {
        assert!(error.is_none(), "an error is the last item");
        match item {
            Ok(sighting) => sightings.push(sighting),
            Err(e) => error = Some(e),
        }
    }
    let stats = capture.stats().clone();
    let skipped = &stats.skipped;
    assert_eq!(stats.frames, sightings.len() as u64);
    assert_eq!(
        stats.advertisements,
        stats.frames
            + skipped.other_advertisements
            + skipped.malformed_advertisements
            + skipped.without_rssi
            + skipped.incomplete_advertisements
    );
    (sightings, error, stats)
}

/// What was heard, without the times.
fn heard(sightings: &[Sighting]) -> Vec<(Frame, i8)> {
    sightings.iter().map(|s| (s.frame, s.rssi.0)).collect()
}

// Captures, byte by byte as the tables in `btsnoop` and `hci` say.

fn file(datalink: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"btsnoop\0\0\0\0\x01".to_vec();
    bytes.extend(datalink.to_be_bytes());
    bytes.extend(records.concat());
    bytes
}

fn record(flags: u32, at_us: i64, original: usize, packet: &[u8]) -> Vec<u8> {
    let mut bytes = (original as u32).to_be_bytes().to_vec();
    bytes.extend((packet.len() as u32).to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(at_us.to_be_bytes());
    bytes.extend(packet);
    bytes
}

/// An HCI event as a record of this datalink.
fn event_record(datalink: u32, event: &[u8]) -> Vec<u8> {
    let uart = [&[4], event].concat();
    match datalink {
        HCI => record(3, YEAR_2000_US, event.len(), event),
        UART => record(3, YEAR_2000_US, uart.len(), &uart),
        // Adapter 0xFFFF: its bits are not mistaken for the opcode.
        _ => record(0xFFFF_0003, YEAR_2000_US, event.len(), event),
    }
}

fn meta_event(subevent: u8, reports: &[Vec<u8>]) -> Vec<u8> {
    let reports_bytes = reports.concat();
    let mut bytes = vec![0x3E, (2 + reports_bytes.len()) as u8, subevent, reports.len() as u8];
    bytes.extend(reports_bytes);
    bytes
}

fn legacy_report(data: &[u8], rssi: i8) -> Vec<u8> {
    let mut bytes = vec![3, 1, 1, 2, 3, 4, 5, 6, data.len() as u8];
    bytes.extend(data);
    bytes.push(rssi as u8);
    bytes
}

fn legacy(reports: &[Vec<u8>]) -> Vec<u8> {
    meta_event(0x02, reports)
}

const COMPLETE: u8 = 0;
const MORE: u8 = 1 << 5;
const REST_LOST: u8 = 2 << 5;

fn extended_report(kind: u8, sid: u8, data: &[u8], rssi: i8) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 1, 1, 2, 3, 4, 5, 6, 1, 2, sid, 0x7F, rssi as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, data.len() as u8];
    bytes.extend(data);
    bytes
}

fn extended(reports: &[Vec<u8>]) -> Vec<u8> {
    meta_event(0x0D, reports)
}

#[test]
fn every_datalink_gives_the_frames_of_both_kinds_of_report_with_strength_and_time() {
    for datalink in [HCI, UART, MONITOR] {
        let bytes = file(
            datalink,
            &[
                event_record(datalink, &legacy(&[legacy_report(&advertisement(1), -60)])),
                event_record(datalink, &extended(&[extended_report(0x10, 0xFF, &advertisement(2), -70)])),
            ],
        );
        let (sightings, error, stats) = read(&bytes);
        assert!(error.is_none(), "{datalink}: {error:?}");
        assert_eq!(heard(&sightings), [(frame(1), -60), (frame(2), -70)], "{datalink}");
        assert!(sightings.iter().all(|s| s.at == Timestamp::from_unix_ms(YEAR_2000_MS)), "{datalink}");
        assert_eq!(stats, CaptureStats { records: 2, advertisements: 2, frames: 2, ..Default::default() });
    }
}

#[test]
fn several_reports_in_one_event_are_all_read() {
    let reports = [1, 2, 3].map(|n| legacy_report(&advertisement(n), -50 - n as i8));
    let extended_reports = [4, 5].map(|n| extended_report(0x10, 0xFF, &advertisement(n), -50 - n as i8));
    let bytes = file(UART, &[event_record(UART, &legacy(&reports)), event_record(UART, &extended(&extended_reports))]);
    let expected: Vec<_> = (1..=5u8).map(|n| (frame(n), -50 - n as i8)).collect();
    assert_eq!(heard(&read(&bytes).0), expected);
}

#[test]
fn what_is_no_frame_with_a_strength_is_counted_by_reason() {
    let event = |report: Vec<u8>| event_record(HCI, &legacy(&[report]));
    let other_service = frame(1).to_advertisement(ServiceUuid::default());
    let short_frame = [4, 0x16, 0x6F, 0xFD, 1];
    let report = legacy(&[legacy_report(&advertisement(1), -60)]);
    let bytes = file(
        HCI,
        &[
            event(legacy_report(&other_service, -60)),
            event(legacy_report(&short_frame, -60)),
            event(legacy_report(&advertisement(1), 127)),
            event(legacy_report(&advertisement(1), 21)),
            // Command complete; an LE event that is no report; a command; an event that claims to be sent.
            event_record(HCI, &[0x0E, 4, 1, 3, 0x0C, 0]),
            event_record(HCI, &[0x3E, 2, 0x0A, 0]),
            record(2, YEAR_2000_US, report.len(), &report),
            record(1, YEAR_2000_US, report.len(), &report),
            // Shortened when recorded.
            record(3, YEAR_2000_US, 60, &report[..20]),
            // The event says more than the record has; the report says more than the event has; no byte at all.
            event_record(HCI, &report[..20]),
            event_record(HCI, &[0x3E, 4, 2, 1, 3, 1]),
            event_record(HCI, &[]),
            event(legacy_report(&advertisement(7), -61)),
        ],
    );
    let (sightings, error, stats) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(heard(&sightings), [(frame(7), -61)]);
    assert_eq!((stats.records, stats.advertisements, stats.frames), (13, 5, 1));
    let skipped = stats.skipped;
    assert_eq!((skipped.other_advertisements, skipped.malformed_advertisements, skipped.without_rssi), (1, 1, 2));
    assert_eq!((skipped.other_records, skipped.shortened_records, skipped.malformed_records), (4, 1, 3));
}

#[test]
fn other_packets_of_uart_and_monitor_are_no_events() {
    let report = legacy(&[legacy_report(&advertisement(1), -60)]);
    let acl = [&[2], &report[..]].concat();
    for bytes in [
        file(UART, &[record(3, YEAR_2000_US, acl.len(), &acl)]),
        file(UART, &[record(3, YEAR_2000_US, report.len(), &report)]),
        file(MONITOR, &[record(2, YEAR_2000_US, report.len(), &report)]),
    ] {
        let (sightings, error, stats) = read(&bytes);
        assert!(sightings.is_empty() && error.is_none());
        assert_eq!(stats.skipped.other_records, 1);
    }
}

#[test]
fn parts_of_an_extended_advertisement_are_joined_by_set_and_a_lost_rest_is_counted() {
    let data = [&[2, 0x0A, 5][..], &advertisement(1)].concat();
    let (first, second) = data.split_at(12);
    let part = |kind, sid, data: &[u8], rssi| event_record(HCI, &extended(&[extended_report(kind, sid, data, rssi)]));
    let bytes = file(
        HCI,
        &[
            part(MORE, 1, first, -60),
            // Another set, and a scan response of the same set, come in between.
            part(COMPLETE, 2, &advertisement(2), -70),
            part(COMPLETE | 1 << 3, 1, &advertisement(3), -71),
            part(COMPLETE, 1, second, -61),
            part(MORE, 1, first, -60),
            part(REST_LOST, 1, &second[..2], -60),
            part(MORE, 9, first, -60),
        ],
    );
    let (sightings, error, stats) = read(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(heard(&sightings), [(frame(2), -70), (frame(3), -71), (frame(1), -61)]);
    assert_eq!(stats.skipped.incomplete_advertisements, 2);
    assert_eq!(stats.advertisements, 5);
}

#[test]
fn endless_advertisements_and_endless_sets_stay_bounded() {
    let part = |kind, sid, data: &[u8]| event_record(HCI, &extended(&[extended_report(kind, sid, data, -60)]));
    let padding = [&[199u8, 0xFF][..], &[0; 198]].concat();
    let mut records = vec![part(MORE, 1, &padding); 1000];
    records.push(part(COMPLETE, 1, &advertisement(1)));
    records.extend((0..100).map(|sid| part(MORE, sid, &padding)));
    let (sightings, error, stats) = read(&file(HCI, &records));
    assert!(sightings.is_empty() && error.is_none());
    assert_eq!(stats.skipped.malformed_advertisements, 1);
    assert_eq!(stats.skipped.incomplete_advertisements, 100);
}

/// A capture of each datalink with both kinds of report, and where its records end.
fn sample(datalink: u32) -> (Vec<u8>, Vec<usize>) {
    let records = [
        event_record(datalink, &legacy(&[legacy_report(&advertisement(1), -60), legacy_report(&advertisement(2), -61)])),
        event_record(datalink, &extended(&[extended_report(0x10, 0xFF, &advertisement(3), -62)])),
        event_record(datalink, &legacy(&[legacy_report(&advertisement(4), -63)])),
    ];
    let ends = (0..=records.len()).map(|n| file(datalink, &records[..n]).len()).collect();
    (file(datalink, &records), ends)
}

#[test]
fn a_capture_cut_anywhere_gives_the_whole_records_and_then_says_that_it_is_cut() {
    for datalink in [HCI, UART, MONITOR] {
        let (bytes, ends) = sample(datalink);
        for length in 16..bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let (sightings, error, stats) = read(&bytes[..length]);
            assert_eq!(stats.records, whole as u64, "{length}");
            assert_eq!(sightings.len(), [0, 2, 3, 4][whole], "{length}");
            match error {
                None => assert!(ends.contains(&length), "{length}"),
                Some(CaptureError::Cut { records }) => assert_eq!(records, whole as u64, "{length}"),
                Some(other) => panic!("{length}: {other}"),
            }
        }
        for length in 8..16 {
            assert!(matches!(read(&bytes[..length]).1, Some(CaptureError::Cut { records: 0 })), "{length}");
        }
        for length in 1..8 {
            assert!(matches!(read(&bytes[..length]).1, Some(CaptureError::UnknownFormat { .. })), "{length}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_never_panics_and_never_makes_more_frames() {
    for datalink in [HCI, UART, MONITOR] {
        let (bytes, _) = sample(datalink);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).0.len() <= 4, "bit {bit}");
        }
    }
}

#[test]
fn an_extended_report_cut_anywhere_is_malformed() {
    let report = extended_report(0x10, 0xFF, &advertisement(1), -60);
    for length in 0..report.len() {
        let (sightings, error, stats) = read(&file(HCI, &[event_record(HCI, &extended(&[report[..length].to_vec()]))]));
        assert!(sightings.is_empty() && error.is_none(), "{length}");
        assert_eq!(stats.skipped.malformed_records, 1, "{length}");
    }
}

#[test]
fn a_record_longer_than_any_packet_ends_the_capture_without_being_allocated() {
    let mut bytes = file(HCI, &[event_record(HCI, &legacy(&[legacy_report(&advertisement(1), -60)]))]);
    bytes.extend([[0xFF; 8], [0; 8], [0; 8]].concat());
    let (sightings, error, _) = read(&bytes);
    assert_eq!(sightings.len(), 1);
    assert!(matches!(error, Some(CaptureError::RecordTooLong { records: 1, found: u32::MAX, .. })), "{error:?}");
}

#[test]
fn times_before_1970_and_at_the_ends_of_the_range_are_times() {
    let event = legacy(&[legacy_report(&advertisement(1), -60)]);
    for (us, ms) in [(YEAR_2000_US - 1_000_000_000_000_000, Some(-53_315_200_000)), (i64::MIN, None), (i64::MAX, None)] {
        let (sightings, error, _) = read(&file(HCI, &[record(3, us, event.len(), &event)]));
        assert!(error.is_none());
        assert_eq!(sightings.len(), 1);
        assert!(ms.is_none_or(|ms| sightings[0].at == Timestamp::from_unix_ms(ms)), "{:?}", sightings[0].at);
    }
}

#[test]
fn other_versions_and_datalinks_are_named() {
    let bytes = file(1003, &[]);
    assert!(matches!(read(&bytes).1, Some(CaptureError::UnknownDatalink { version: 1, datalink: 1003 })));
    let mut bytes = file(HCI, &[]);
    bytes[11] = 2;
    assert!(matches!(read(&bytes).1, Some(CaptureError::UnknownDatalink { version: 2, datalink: 1001 })));
}

// Tables

const DIGITS: &str = "0101010101010101010101010101010101010101";

fn table(lines: &str) -> Vec<u8> {
    format!("unix_seconds,rssi_dbm,service_data_hex\n{lines}").into_bytes()
}

#[test]
fn a_table_gives_its_rows() {
    let text = format!("1596096000.25,-61,{DIGITS}\r\n\n 0 , 20 , {DIGITS} \n-1,-127,{DIGITS}");
    let (sightings, error, stats) = read(&table(&text));
    assert!(error.is_none(), "{error:?}");
    assert!(sightings.iter().all(|s| s.frame == frame(1)));
    assert_eq!(sightings.iter().map(|s| s.rssi).collect::<Vec<_>>(), [Rssi(-61), Rssi(20), Rssi(-127)]);
    assert_eq!(sightings.iter().map(|s| s.at.unix_ms()).collect::<Vec<_>>(), [1_596_096_000_250, 0, -1000]);
    assert_eq!((stats.records, stats.advertisements, stats.frames), (3, 3, 3));

    let with_byte_order_mark = [&[0xEF, 0xBB, 0xBF][..], &table(&text)].concat();
    assert_eq!(read(&with_byte_order_mark).0, sightings);
}

#[test]
fn a_wrong_column_is_named_with_its_line_after_the_rows_before_it() {
    let good = format!("1,-61,{DIGITS}\n");
    for (row, message) in [
        (format!("x,-61,{DIGITS}"), "line 3, column unix_seconds: expected seconds since 1970, found `x`"),
        (format!(",-61,{DIGITS}"), "line 3, column unix_seconds: expected seconds since 1970, found ``"),
        (format!("1,-128,{DIGITS}"), "line 3, column rssi_dbm: expected a whole number from -127 to 20, found `-128`"),
        (format!("1,21,{DIGITS}"), "line 3, column rssi_dbm: expected a whole number from -127 to 20, found `21`"),
        (format!("1,-61.5,{DIGITS}"), "line 3, column rssi_dbm: expected a whole number from -127 to 20, found `-61.5`"),
        (
            format!("1,\u{1b}[31m,{DIGITS}"),
            "line 3, column rssi_dbm: expected a whole number from -127 to 20, found `\\u{1b}[31m`",
        ),
        (
            format!("1,-61,{}g", &DIGITS[1..]),
            "line 3, column service_data_hex: expected 40 hexadecimal digits, found `g` as character 40",
        ),
        (
            format!("1,-61,{}", &DIGITS[1..]),
            "line 3, column service_data_hex: expected 40 hexadecimal digits, found 39 characters",
        ),
        (format!("1,-61,{}", &DIGITS[2..]), "line 3, column service_data_hex: service data has 19 bytes, a frame has 20"),
        (format!("1,-61,{DIGITS}01"), "line 3, column service_data_hex: service data has 21 bytes, a frame has 20"),
        (
            format!("inf,-61,{DIGITS}"),
            "line 3, column unix_seconds: inf seconds since 1970 is outside the years that can be shown",
        ),
        (format!("1e300,-61,{DIGITS}"), "outside the years"),
        ("1,-61".to_owned(), "line 3 has 2 columns, the header has 3"),
        (format!("1,-61,{DIGITS},"), "line 3 has 4 columns, the header has 3"),
        (format!("1,-61,{}", "0".repeat(300)), "line 3 has more than 256 bytes"),
        (format!("\"1,-61,{DIGITS}"), "line 3, column unix_seconds"),
    ] {
        let (sightings, error, _) = read(&table(&format!("{good}{row}\n{good}")));
        assert_eq!(sightings.len(), 1, "{row}");
        let error = anyhow::Error::from(error.expect(&row));
        let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains(message), "{row}: {text}");
        assert!(!text.contains(&DIGITS[..8]), "an identifier is shown: {text}");
    }
}

#[test]
fn a_table_without_its_header_is_refused_without_showing_an_identifier() {
    for text in [
        format!("1,-61,{DIGITS}\n"),
        format!("rssi_dbm,unix_seconds,service_data_hex\n1,-61,{DIGITS}\n"),
        "\n".to_owned(),
        "PK\u{3}\u{4}".to_owned(),
        "x".repeat(100_000),
    ] {
        let (_, error, _) = read(text.as_bytes());
        let Some(CaptureError::UnknownFormat { found }) = error else { panic!("{error:?}") };
        assert!(found.len() < 80 && !found.contains(&DIGITS[..8]), "{found}");
    }
    assert!(matches!(read(b"").1, Some(CaptureError::Empty)));
}

#[test]
fn a_line_that_never_ends_is_not_kept_in_memory() {
    use std::io::Read;
    let endless = Cursor::new(table("1,-61,")).chain(std::io::repeat(b'0'));
    let mut capture = Capture::new(endless, EN).unwrap();
    assert!(matches!(capture.next(), Some(Err(CaptureError::LineTooLong { line: 2, .. }))));
    assert!(capture.next().is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
        read(&table(&String::from_utf8_lossy(&bytes)));
        for datalink in [HCI, UART, MONITOR] {
            read(&file(datalink, std::slice::from_ref(&bytes)));
            read(&file(datalink, &[event_record(datalink, &bytes)]));
        }
        for subevent in [2, 13] {
            let length = bytes.len().min(250);
            read(&file(HCI, &[event_record(HCI, &meta_event(subevent, &[bytes[..length].to_vec()]))]));
        }
    }
}
