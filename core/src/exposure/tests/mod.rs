mod risk;
mod summary;
mod windows;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::beacon::Frame;
use crate::encounters::calibration::CalibrationConfidence;
use crate::keys::{AssociatedEncryptedMetadata, Metadata};
use crate::radio::Rssi;

/// 2020-10-22T12:00:00Z, in milliseconds.
const NOON: i64 = 1_603_368_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(NOON + ms)
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(3)
}

/// A contact whose packets, (ms since noon, attenuation in dB), come through exactly so.
fn contact(packets: &[(i64, u8)], seconds_since_last_scan: Option<u16>) -> Contact {
    Contact {
        transmit_power: 0,
        packets: packets.iter().map(|(ms, db)| Packet { at: at(*ms), rssi: Rssi(-(*db as i8)) }).collect(),
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan,
        calibration: Calibration { rssi_correction: 0, transmit_power: 0, confidence: CalibrationConfidence::High },
    }
}

fn exposure(id: u8, report_type: Option<ReportType>, days_since_onset: Option<i8>, contacts: Vec<Contact>) -> Exposure {
    Exposure { id: ExposureId([id; 16]), report_type, days_since_onset, contacts }
}

fn key(first_byte: u8, rolling_start: i64, rolling_period: i64) -> TemporaryExposureKey {
    let mut bytes = [7; 16];
    bytes[0] = first_byte;
    TemporaryExposureKey::new(&bytes, rolling_start, rolling_period).unwrap()
}

#[test]
fn an_exposure_is_named_by_key_and_start_alone() {
    let id = |key: &TemporaryExposureKey, secret: u8| ExposureId::of(key, &[secret; 32]);
    let first = id(&key(1, 2_671_056, 144), 1);
    assert_eq!(first, id(&key(1, 2_671_056, 20), 1), "shortened later");
    assert_ne!(first, id(&key(2, 2_671_056, 144), 1));
    assert_ne!(first, id(&key(1, 2_671_057, 143), 1));
    assert_ne!(first, id(&key(1, 2_671_056, 144), 2));
    // Computed with Python's hmac: stored names must not change.
    let expected = [0x89, 0xd4, 0x2d, 0x82, 0xaf, 0x09, 0xd9, 0x27, 0xef, 0x45, 0xe2, 0xbc, 0x8e, 0xd8, 0x99, 0x0e];
    assert_eq!(first.0, expected);
    assert_eq!(format!("{first:?}"), "ExposureId(..)");
}

#[test]
fn a_contact_takes_its_power_from_the_metadata_and_refuses_an_impossible_one() {
    let key = key(1, 2_671_056, 144);
    let rpi = key.identifier(at(0).interval());
    let packets = vec![Packet { at: at(0), rssi: Rssi(-70) }];
    let of = |aem: AssociatedEncryptedMetadata, packets: &[Packet]| {
        let encounter = Encounter {
            frame: Frame { rpi, aem },
            packets: packets.to_vec(),
            measured_by: MeasuredBy::Us,
            seconds_since_last_scan: Some(240),
            calibration: Calibration::default(),
        };
        Contact::from_encounter(&encounter, &key).map(|contact| contact.transmit_power)
    };
    for (power, expected) in [(-51, None), (-50, Some(-50)), (0, Some(0)), (20, Some(20)), (21, None), (-128, None)] {
        assert_eq!(of(key.encrypt_metadata(&rpi, Metadata::new(power)), &packets), expected, "{power} dBm");
    }
    let mut flipped = key.encrypt_metadata(&rpi, Metadata::new(-20));
    flipped.0[1] ^= 0x80;
    assert_eq!(of(flipped, &packets), None, "-20 became 108 on the way");
    assert_eq!(of(key.encrypt_metadata(&rpi, Metadata::new(-20)), &[]), None);
}

#[test]
fn the_stronger_report_counts_with_its_onset_and_a_revocation_is_final() {
    use ReportType::*;
    let order = [
        None,
        Some(Unknown),
        Some(SelfReport),
        Some(Recursive),
        Some(ConfirmedClinicalDiagnosis),
        Some(ConfirmedTest),
        Some(Revoked),
    ];
    for (i, weaker) in order.iter().enumerate() {
        for stronger in &order[i + 1..] {
            let low = exposure(1, *weaker, Some(9), vec![]);
            let high = exposure(1, *stronger, None, vec![]);
            for merged in [low.clone().merge(high.clone()), high.merge(low)] {
                assert_eq!((merged.report_type, merged.days_since_onset), (*stronger, None), "{weaker:?} and {stronger:?}");
            }
        }
    }
}

#[test]
fn a_contact_that_comes_from_two_files_counts_once() {
    let (first, second) = (contact(&[(0, 50), (250, 52)], None), contact(&[(240_000, 50)], Some(240)));
    let mut peer = first.clone();
    peer.measured_by = MeasuredBy::Peer;
    let a = exposure(1, None, None, vec![first.clone(), peer.clone()]);
    let b = exposure(1, None, None, vec![second.clone(), first.clone()]);
    assert_eq!(b.merge(a).contacts, [first, peer, second]);
}

fn any_contact() -> impl Strategy<Value = Contact> {
    let packets = prop::collection::vec((0..5i64, 40..44u8), 1..4);
    (packets, any::<bool>(), prop::option::of(0..3u16), -1..2i8).prop_map(|(mut packets, by_peer, seconds, power)| {
        packets.sort();
        let mut contact = contact(&packets, seconds);
        contact.measured_by = if by_peer { MeasuredBy::Peer } else { MeasuredBy::Us };
        contact.transmit_power = power;
        contact
    })
}

fn any_exposure() -> impl Strategy<Value = Exposure> {
    use ReportType::*;
    let types = vec![Unknown, SelfReport, Recursive, ConfirmedClinicalDiagnosis, ConfirmedTest, Revoked];
    let report_type = prop::option::of(prop::sample::select(types));
    let contacts = prop::collection::vec(any_contact(), 0..5);
    (report_type, prop::option::of(-2..2i8), contacts).prop_map(|(report_type, days, contacts)| {
        // As it always is: made by merging, so in order and without doubles.
        exposure(1, report_type, days, contacts).merge(exposure(1, None, None, vec![]))
    })
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in any_exposure(), b in any_exposure(), c in any_exposure()) {
        prop_assert_eq!(a.clone().merge(b.clone()), b.clone().merge(a.clone()));
        prop_assert_eq!(a.clone().merge(b.clone()).merge(c.clone()), a.clone().merge(b.clone().merge(c)));
        prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
        let both = a.clone().merge(b.clone());
        prop_assert_eq!(both.clone().merge(b), both.clone());
        prop_assert!(both.contacts.is_sorted_by_key(|contact| contact.packets[0].at));
    }
}
