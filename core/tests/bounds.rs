//! What hostile input can make us allocate: key files, calibration tables, advertisements. Counted by a global allocator, hence a program of its own, and one test at a time.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are part of it")]

use std::io::{Cursor, Read, Write};
use std::sync::Mutex;

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::beacon::{Frame, ServiceUuid};
use vigie::diagnosis::*;
use vigie::encounters::calibration::CalibrationTable;
use vigie::keys::TemporaryExposureKey;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::new(());

/// What unpacking needs beside the content: the decompressor's window and buffers, the archive's directory, error texts.
const SLACK: usize = 512 << 10;

/// Everything that can be done with a file from outside; and the most bytes that were allocated at once meanwhile.
fn use_all_of(zip: &[u8], key: &PublicKey) -> (Result<usize, ExportError>, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = SignedExport::read(Cursor::new(zip)).and_then(|export| {
        let _ = export.unverified_summary();
        Ok(export.verify(std::slice::from_ref(key))?.keys().filter(|k| k.key.is_ok()).count())
    });
    (result, MEMORY.peak_usage() - before)
}

fn pack(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn small_file(signing_key: &SigningKey) -> Vec<u8> {
    write_export(&ExportHeader::default(), &[key(&mut ChaCha20Rng::seed_from_u64(1))], &[], signing_key).unwrap()
}

fn key(rng: &mut ChaCha20Rng) -> DiagnosisKey {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    DiagnosisKey {
        key: TemporaryExposureKey::new(&bytes, 2_642_976, 144).unwrap(),
        report_type: Some(ReportType::ConfirmedTest),
        days_since_onset: Some(3),
        transmission_risk: 0,
    }
}

/// Overwrites the size that the archive's directory declares for its first entry.
fn declare(zip: &mut [u8], size: u32) {
    let directory = zip.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    zip[directory + 24..directory + 28].copy_from_slice(&size.to_le_bytes());
}

#[test]
fn a_real_file_of_100_000_keys_is_held_once() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let signing = SigningKey::generate().unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let keys: Vec<_> = (0..100_000).map(|_| key(&mut rng)).collect();
    let zip = write_export(&ExportHeader::default(), &keys, &[], &signing).unwrap();
    let (result, peak) = use_all_of(&zip, signing.public_key());
    assert_eq!(result.unwrap(), 100_000);
    let one_copy = 100_000 * 32;
    assert!((one_copy - one_copy / 10..one_copy + SLACK).contains(&peak), "{peak} bytes");
}

#[test]
fn bombs_cost_no_more_than_the_limit_whatever_they_declare() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let key = SigningKey::generate().unwrap().public_key().clone();
    let zeros = vec![0; MAX_EXPORT_BIN as usize + 1];
    let mut bin = zeros.clone();
    bin[..16].copy_from_slice(b"EK Export v1    ");

    let over_the_limit = pack(&[("export.bin", &bin), ("export.sig", b"")]);
    let (result, peak) = use_all_of(&over_the_limit, &key);
    assert!(matches!(result, Err(ExportError::Limit { .. })), "{result:?}");
    assert!(peak < SLACK, "{peak} bytes");

    for declared in [0, 1, 16, 1000, MAX_EXPORT_BIN as u32 - 1, MAX_EXPORT_BIN as u32, u32::MAX] {
        let mut lying = over_the_limit.clone();
        declare(&mut lying, declared);
        let (result, peak) = use_all_of(&lying, &key);
        assert!(result.is_err(), "declares {declared}");
        let bound = if u64::from(declared) <= MAX_EXPORT_BIN { declared as usize + SLACK } else { SLACK };
        assert!(peak < bound, "declares {declared}: {peak} bytes");
    }

    let at_the_limit = pack(&[("export.bin", &bin[..MAX_EXPORT_BIN as usize]), ("export.sig", b"")]);
    let (result, peak) = use_all_of(&at_the_limit, &key);
    assert!(matches!(result, Err(ExportError::NotSigned { .. })), "{result:?}");
    assert!(peak < MAX_EXPORT_BIN as usize + SLACK, "{peak} bytes");

    let in_the_signature = pack(&[("export.bin", &bin[..16]), ("export.sig", &zeros)]);
    let (result, peak) = use_all_of(&in_the_signature, &key);
    assert!(matches!(result, Err(ExportError::Limit { limit: MAX_EXPORT_SIG, .. })), "{result:?}");
    assert!(peak < SLACK, "{peak} bytes");
}

#[test]
fn a_small_file_that_declares_much_gets_no_memory_for_it() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let signing = SigningKey::generate().unwrap();
    let mut zip = small_file(&signing);
    declare(&mut zip, MAX_EXPORT_BIN as u32);
    let (result, peak) = use_all_of(&zip, signing.public_key());
    assert!(matches!(result, Err(ExportError::Limit { .. })), "{result:?}");
    assert!(peak < SLACK, "{peak} bytes");
}

/// Many tiny messages are the dearest: each would be a struct of its own.
#[test]
fn messages_full_of_tiny_fields_cost_little() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let signing = SigningKey::generate().unwrap();
    let magic: &[u8] = b"EK Export v1    ";
    let signature_infos = [magic, &[0x32, 0].repeat(1 << 20)].concat();
    let region = [magic, &[0x1A, 0xFF, 0xFF, 0x3F], &vec![b'x'; (1 << 20) - 1]].concat();
    let keys = [magic, &[0x3A, 0].repeat(1 << 20)].concat();
    let one_key = [magic, &[0x3A, 0xFF, 0xFF, 0x3F, 0x0A, 0xFB, 0xFF, 0x3F], &vec![1; (1 << 20) - 5]].concat();
    for bin in [&signature_infos, &region, &keys, &one_key] {
        let (result, peak) = use_all_of(&pack(&[("export.bin", bin), ("export.sig", b"")]), signing.public_key());
        assert!(result.is_err());
        assert!(peak < bin.len() + 2 * SLACK, "{peak} bytes");
    }
    let signatures = [0x0A, 0].repeat(MAX_EXPORT_SIG as usize / 2);
    let (result, peak) = use_all_of(&pack(&[("export.bin", magic), ("export.sig", &signatures)]), signing.public_key());
    assert!(matches!(result, Err(ExportError::Limit { .. })), "{result:?}");
    assert!(peak < 8 * SLACK, "{peak} bytes");
}

/// Archives that make a forgiving reader search the whole file, or reserve memory for entries that are only counted.
#[test]
fn false_directories_cost_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let signing = SigningKey::generate().unwrap();
    let good = small_file(&signing);
    let end = good[good.len() - 22..].to_vec();
    let with_end = |body: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
        let mut end = end.clone();
        change(&mut end);
        [body, &end].concat()
    };
    let set = |at: usize, bytes: &'static [u8]| move |end: &mut Vec<u8>| end[at..at + bytes.len()].copy_from_slice(bytes);
    let directories = b"PK\x01\x02".repeat(4 << 20);
    let zip64_ends = [&b"PK\x06\x06".repeat(4 << 20)[..], b"PK\x06\x07", &[0; 16]].concat();
    let ends = end.repeat(100_000);
    for zip in [
        with_end(&directories, &|_| {}),
        with_end(&directories, &set(8, &[0xFE, 0xFF, 0xFE, 0xFF])),
        with_end(&zip64_ends, &set(8, &[0xFF; 12])),
        with_end(&zip64_ends, &set(16, &[0xFF; 4])),
        with_end(&ends, &|_| {}),
        with_end(&good, &|_| {}),
    ] {
        let (result, peak) = use_all_of(&zip, signing.public_key());
        assert!(result.is_err());
        assert!(peak < SLACK, "{peak} bytes");
    }
}

proptest! {
    #[test]
    fn changed_files_cost_no_more_than_their_content(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
        let signing = SigningKey::generate().unwrap();
        let mut zip = small_file(&signing);
        for (at, byte) in changes {
            let at = at.index(zip.len());
            zip[at] = byte;
        }
        let (_, peak) = use_all_of(&zip, signing.public_key());
        prop_assert!(peak < zip.len() * 1032 + SLACK, "{} bytes", peak);
    }
}

/// What is allocated at most while `work` is done.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = work();
    (result, MEMORY.peak_usage() - before)
}

const HEADER: &str = "oem,device,model,rssi_correction,tx_power,confidence\n";

#[test]
fn calibration_tables_without_end_are_refused_after_a_bounded_part() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for piece in ["a", "a,", "\n", "\"", "o,d,m,1,-20,3\n", "o,d,m,1,-20,3,"] {
        let endless = piece.repeat((32 << 20) / piece.len());
        let source = HEADER.as_bytes().chain(endless.as_bytes());
        let (table, peak) = peak_of(|| CalibrationTable::from_csv(source));
        assert!(table.is_err(), "{piece:?}");
        assert!(peak < 16 << 20, "{piece:?}: {peak} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn small_calibration_tables_and_advertisements_cost_little(text in "[\\PC,\n\"]{0,2000}", bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
        let (_, peak) = peak_of(|| CalibrationTable::from_csv(format!("{HEADER}{text}").as_bytes()).is_ok());
        prop_assert!(peak < 256 << 10, "{peak} bytes");
        let (_, peak) = peak_of(|| Frame::from_advertisement(&bytes, ServiceUuid::default()).is_ok());
        prop_assert!(peak < 1 << 10, "{peak} bytes");
    }
}
