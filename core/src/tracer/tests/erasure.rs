//! Clocks that jump, and what is erased when.

use super::*;

#[test]
fn restarts_and_jumps_of_the_clock_never_send_an_identifier_twice() {
    let mut device = Device::new();
    let jumps = [
        "2020-10-22T09:10:00Z",
        "2020-10-22T23:59:59Z",
        "2020-10-23T00:00:00Z",
        "2020-10-22T09:10:00Z",
        "2031-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "2020-10-22T09:03:00Z",
    ];
    for round in 0..5 {
        for jump in jumps {
            if round % 2 == 0 {
                device.restart();
            }
            device.tracer().start();
            device.run(MINUTE);
            device.clock.jump_to(jump.parse().unwrap());
            device.run(MINUTE);
        }
    }
    let sent = device.sent();
    assert!(sent.len() >= 5 * jumps.len(), "{}", sent.len());
    assert_no_frame_twice(&sent);
}

#[test]
fn a_jump_of_the_clock_is_told_loses_nothing_and_the_status_says_it() {
    let device = Device::new();
    device.tracer().start();
    device.run(20 * MINUTE);
    device.meet(&somebody(1));
    device.run(40 * MINUTE);
    device.events();
    let before = device.tracer().status().unwrap();
    device.clock.jump_to("2035-01-01T00:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    assert!(device.events().iter().any(|event| matches!(event, Event::ClockJumped(_))));
    assert!(!device.tracer().status().unwrap().clock_is_trusted);
    device.clock.jump_to("2020-10-22T12:03:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    let after = device.tracer().status().unwrap();
    assert!(after.clock_is_trusted);
    assert_eq!(after.encounters_today, before.encounters_today);
    let file = device.publish("file", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    assert_eq!(device.check(&file).assessment.windows.len(), 1);
}

#[test]
fn what_is_older_than_14_days_goes() {
    let device = Device::new();
    device.tracer().start();
    device.meet(&somebody(1));
    device.run(16 * DAY);
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(keys.len(), 15);
    assert!(keys.iter().all(|key| key.end() > device.clock.now().interval().day_start().minus(14 * 144)));
    let identifiers = device.tracer().lock().store().unwrap().identifiers().unwrap();
    assert!(identifiers.is_empty());
}

#[test]
fn erasing_everything_leaves_no_byte_of_a_key_or_an_identifier() {
    let device = Device::new();
    device.tracer().start();
    device.run(3 * DAY);
    let met = somebody(9);
    device.meet(&met);
    let keys = device.tracer().release_keys().unwrap();
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Done);
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(device.dir.path()).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(keys.iter().all(|key| !holds(key.as_bytes())));
    assert!(met.identifiers().all(|(_, rpi)| !holds(&rpi.0)));
    let status = device.tracer().status().unwrap();
    assert_eq!((status.tracing, status.own_keys, status.encounters_today), (Tracing::Stopped, 0, 0));
    device.tracer().start();
    device.run(MINUTE);
    assert!(device.tracer().status().unwrap().is_sending, "it can begin again");
}

#[test]
fn a_leap_that_is_corrected_a_little_erases_nothing() {
    let device = Device::new();
    device.tracer().start();
    device.meet(&somebody(1));
    device.run(60 * MINUTE);
    device.clock.jump_to("2035-01-01T00:10:00Z".parse().unwrap());
    device.run(2 * MINUTE);
    device.clock.jump_to("2035-01-01T00:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    assert_eq!(device.tracer().release_keys().unwrap().len(), 2, "keys of 2020 and of now");
    device.clock.jump_to("2020-10-22T13:00:00Z".parse().unwrap());
    device.run(2 * 60 * MINUTE);
    let released = device.tracer().release_keys().unwrap();
    assert!(released.iter().all(|key| key.rolling_start().date() == start_time().date()), "none of the future");
    let file = device.publish("file", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    assert_eq!(device.check(&file).assessment.windows.len(), 1);
}

#[test]
fn where_erasing_fails_own_identifiers_are_still_known() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let other = rusqlite::Connection::open(device.dir.path().join("store")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(device.tracer().erase_everything().is_err());
    drop(other);
    let own = device.sent()[0].0;
    let relayed = Sighting { frame: own, rssi: Rssi(-50), measured_by: MeasuredBy::Us, at: device.clock.now() };
    device.tracer().record(&[relayed]).unwrap();
    device.tracer().start();
    device.tracer().stop().unwrap();
    assert_eq!(device.tracer().status().unwrap().encounters, 0);
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Done);
}

#[test]
fn an_erasure_that_somebody_held_up_goes_on_within_a_minute() {
    let device = Device::new();
    device.tracer().start();
    device.run(2 * MINUTE);
    let reader = rusqlite::Connection::open(device.dir.path().join("store")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM own_keys").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM own_keys", [], |row| row.get(0)).unwrap();
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Pending);
    assert!(device.tracer().status().unwrap().erasure_is_pending);
    drop(reader);
    device.run(MINUTE);
    assert!(!device.tracer().status().unwrap().erasure_is_pending);
}
