//! A tracer whose store is sealed, and what it does when the vault has lost its key, is locked, or a row is damaged.

use super::*;
use crate::store::VaultError;

/// A device that traced without a vault, has one now, was warned, and has sent for another hour.
fn sealed_device_with_a_past() -> (Device, Arc<TestVault>, PathBuf) {
    let (mut device, vault) = (Device::new(), Arc::new(TestVault::default()));
    device.tracer().start();
    device.run(30 * MINUTE);
    device.meet(&somebody(1));
    device.vault = Some(Arc::clone(&vault));
    device.restart();
    device.tracer().start();
    device.run(60 * MINUTE);
    let file = device.publish("file", &[diagnosis(&somebody(1), ReportType::ConfirmedTest)]);
    assert_eq!(device.check(&file).assessment.windows.len(), 1);
    assert_eq!(device.tracer().alerts().unwrap().len(), 1);
    let events = device.events();
    assert!(!events.iter().any(|event| matches!(event, Event::KeysLost | Event::StoreRecovered { .. })), "{events:?}");
    (device, vault, file)
}

fn told(device: &Device) -> usize {
    device.events().iter().filter(|event| **event == Event::KeysLost).count()
}

#[test]
fn a_store_that_gets_a_vault_goes_on_with_the_same_key_and_no_byte_of_it_lies_there() {
    let (device, _, _) = sealed_device_with_a_past();
    let sent = device.sent();
    assert_no_frame_twice(&sent);
    let keys = device.tracer().release_keys().unwrap();
    assert!(keys[0].identifiers().any(|(_, rpi)| rpi == sent[0].0.rpi), "the key of before the vault");
    for entry in std::fs::read_dir(device.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(keys.iter().all(|key| bytes.windows(16).all(|window| window != key.as_bytes())));
    }
}

#[test]
fn with_lost_keys_tracing_goes_on_with_new_ones_and_the_app_is_told_once() {
    let (mut device, vault, file) = sealed_device_with_a_past();
    vault.loses_its_key();
    device.restart();
    device.restart();
    assert_eq!((told(&device), told(&device)), (1, 0), "said after another start as well, until it was taken");
    let before = device.sent();
    device.tracer().start();
    device.run(60 * MINUTE);
    let keys = device.tracer().release_keys().unwrap();
    let own: Vec<_> = keys.iter().flat_map(|key| key.identifiers().map(|(_, rpi)| rpi)).collect();
    let sent = device.sent();
    assert!(sent.len() > before.len() && sent[before.len()..].iter().all(|(frame, _)| own.contains(&frame.rpi)));
    assert!(before.iter().all(|(frame, _)| !own.contains(&frame.rpi)), "keys of before are gone");
    let report = device.check(&file);
    assert!(matches!(report.files[0].status, FileStatus::AlreadyMatched), "{report:?}");
    assert_eq!((report.assessment.windows.len(), device.tracer().alerts().unwrap().len()), (1, 1));
    device.restart();
    assert_eq!(told(&device), 0);
}

#[test]
fn while_the_vault_is_locked_opening_fails_and_it_goes_on_afterwards() {
    let (mut device, vault, _) = sealed_device_with_a_past();
    vault.fails(Some(VaultError::Locked));
    for _ in 0..2 {
        let error = device.try_restart().unwrap_err();
        assert!(matches!(error, TracerError::Store(StoreError::Vault(VaultError::Locked))), "{error:?}");
        assert_eq!(error.to_string(), "the key vault is locked until the phone is unlocked once; try again then");
    }
    vault.fails(None);
    device.restart();
    device.tracer().start();
    device.run(60 * MINUTE);
    assert_eq!(told(&device), 0);
    assert_no_frame_twice(&device.sent());
}

#[test]
fn a_row_that_is_damaged_in_use_is_salvaged_around_with_the_same_vault() {
    let (device, vault, _) = sealed_device_with_a_past();
    device.run(DAY);
    let spoil = "UPDATE own_keys SET key = zeroblob(44) WHERE id = (SELECT max(id) FROM own_keys)";
    rusqlite::Connection::open(device.dir.path().join("store")).unwrap().execute(spoil, []).unwrap();
    vault.fails(Some(VaultError::Locked));
    assert!(device.tracer().release_keys().is_err(), "damaged, and locked");
    assert!(device.tracer().release_keys().is_err());
    vault.fails(None);
    assert!(device.tracer().release_keys().is_err(), "the call that met the damage");
    assert_eq!(device.tracer().release_keys().unwrap().len(), 1, "the key of yesterday");
    let events = device.events();
    assert!(
        events.contains(&Event::StoreRecovered { own_keys: 1, alerts: 1 }) && !events.contains(&Event::KeysLost),
        "{events:?}"
    );
    device.run(60 * MINUTE);
    assert_no_frame_twice(&device.sent());
}
