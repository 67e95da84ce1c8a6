use super::*;

fn hex<const N: usize>(text: &str) -> [u8; N] {
    let bytes: Vec<u8> = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

const START: i64 = 2_642_976;

fn published() -> TemporaryExposureKey {
    TemporaryExposureKey::new(&hex::<16>("75c734c6dd1a782de7a965da5eb93125"), START, 144).unwrap()
}

#[test]
fn all_144_published_vectors() {
    let key = published();
    assert_eq!(*derivation::derive(key.as_bytes(), b"EN-RPIK"), hex("185ad91db69ec7dd048960f1f3ba6175"));
    assert_eq!(*derivation::derive(key.as_bytes(), b"EN-AEMK"), hex("d57c46af7a1d83965b9bed8bd152936a"));
    let metadata = Metadata(hex("40080000"));
    assert_eq!(metadata, Metadata::new(8));
    let rows: Vec<_> = include_str!("vectors.txt").lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(rows.len(), 144);
    for (row, (interval, rpi)) in rows.iter().zip(key.identifiers()) {
        let mut fields = row.split(' ');
        assert_eq!(i64::from(interval.number()) - START, fields.next().unwrap().parse::<i64>().unwrap());
        assert_eq!(rpi.0, hex(fields.next().unwrap()), "{row}");
        assert_eq!(key.identifier(interval), rpi);
        let aem = AssociatedEncryptedMetadata(hex(fields.next().unwrap()));
        assert_eq!(key.encrypt_metadata(&rpi, metadata), aem, "{row}");
        assert_eq!(key.decrypt_metadata(&rpi, aem), metadata);
    }
}

#[test]
fn keys_that_cannot_be_are_refused() {
    let good = [7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    assert_eq!(TemporaryExposureKey::new(&good[..15], START, 144), Err(KeyError::Length { found: 15 }));
    assert_eq!(TemporaryExposureKey::new(&[], START, 144), Err(KeyError::Length { found: 0 }));
    assert_eq!(TemporaryExposureKey::new(&[0xFF; 16], START, 144), Err(KeyError::Weak));
    for found in [i64::MIN, -1, 0, 145, 400, i64::MAX] {
        assert_eq!(TemporaryExposureKey::new(&good, START, found), Err(KeyError::RollingPeriod { found }));
    }
    for found in [-1, i64::from(u32::MAX) - 143, i64::MAX] {
        assert_eq!(TemporaryExposureKey::new(&good, found, 144), Err(KeyError::RollingStart { found }));
    }
    assert!(TemporaryExposureKey::new(&good, i64::from(u32::MAX) - 144, 144).is_ok());
}

#[test]
fn a_key_ends_with_its_utc_day() {
    let mut rng = <rand_chacha::ChaCha20Rng as rand_core::SeedableRng>::seed_from_u64(1);
    let midnight = EnIntervalNumber::new(START as u32);
    assert_eq!(TemporaryExposureKey::generate(midnight, &mut rng).rolling_period(), 144);
    let late = TemporaryExposureKey::generate(midnight.plus(143), &mut rng);
    assert_eq!((late.rolling_period(), late.end()), (1, midnight.plus(144)));
    let absurd = TemporaryExposureKey::generate(EnIntervalNumber::new(u32::MAX), &mut rng);
    assert!(absurd.end() > absurd.rolling_start());
}

#[test]
fn ending_a_key_shortens_it_inclusively_and_never_lengthens_it() {
    let (key, start) = (published(), EnIntervalNumber::new(START as u32));
    assert_eq!(key.ended_with(start.plus(10)).rolling_period(), 11);
    assert_eq!(key.ended_with(start).rolling_period(), 1);
    assert_eq!(key.ended_with(start.minus(3)).rolling_period(), 1);
    assert_eq!(key.ended_with(start.plus(500)).rolling_period(), 144);
}

#[test]
fn a_transmit_power_that_no_radio_has_is_ignored() {
    for (byte, expected) in [(-51, None), (-50, Some(-50)), (20, Some(20)), (21, None), (127, None), (-128, None)] {
        assert_eq!(Metadata::new(byte).transmit_power(), expected);
    }
}

#[test]
fn debug_shows_no_byte_of_a_key_or_identifier() {
    let key = published();
    let rpi = key.identifier(key.rolling_start());
    let text = format!("{key:?} {rpi:?} {:?}", key.encrypt_metadata(&rpi, Metadata::new(8)));
    for secret in ["75c7", "75, c7", "117", "139, 230", "8be6", "7203"] {
        assert!(!text.to_lowercase().contains(secret), "{text}");
    }
}
