use std::io::{Cursor, Write};
use std::path::PathBuf;

use proptest::prelude::*;
use prost::Message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::proto::{Field, Fields, KEYS, KeyFields, KeyMessage, MAGIC, REVISED_KEYS, SignatureListMessage, SignatureMessage};
use super::sign::pack;
use super::*;
use crate::time::Timestamp;

mod keys;

const START: i64 = 2_642_976;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(20_201_022)
}

fn diagnosis_key(rng: &mut ChaCha20Rng) -> DiagnosisKey {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    DiagnosisKey {
        key: TemporaryExposureKey::new(&bytes, START + 144 * i64::from(bytes[0] % 14), i64::from(bytes[1] % 144) + 1).unwrap(),
        report_type: ReportType::from_number(i32::from(bytes[2] % 7)),
        days_since_onset: Some(bytes[3] as i8 / 9).filter(|_| bytes[4] < 200),
        transmission_risk: bytes[5] % 9,
    }
}

fn diagnosis_keys(n: usize) -> Vec<DiagnosisKey> {
    let mut rng = rng();
    (0..n).map(|_| diagnosis_key(&mut rng)).collect()
}

fn header() -> ExportHeader {
    ExportHeader {
        start: Timestamp::from_unix_s(1_603_324_800),
        end: Timestamp::from_unix_s(1_603_411_200),
        region: "LU".into(),
        batch_num: 2,
        batch_size: 3,
        signatures: vec![SignatureInfo::new("270", "v1")],
    }
}

fn read(zip: &[u8]) -> Result<SignedExport, ExportError> {
    SignedExport::read(Cursor::new(zip))
}

fn read_and_verify(zip: &[u8], key: &PublicKey) -> Result<VerifiedExport, ExportError> {
    read(zip)?.verify(std::slice::from_ref(key))
}

fn good_keys(export: &VerifiedExport) -> Vec<DiagnosisKey> {
    export.keys().map(|k| k.key.unwrap()).collect()
}

/// A well-signed archive around any bytes.
fn signed(bin: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = SignatureMessage { signature: key.sign(bin).unwrap(), ..Default::default() };
    let sig = SignatureListMessage { signatures: vec![signature] }.encode_to_vec();
    pack(&[("export.bin", bin), ("export.sig", &sig)]).unwrap()
}

fn bin_of(messages: &[&[u8]]) -> Vec<u8> {
    let mut bin = MAGIC.to_vec();
    for message in messages {
        bin.extend([KEYS as u8 * 8 + 2, message.len() as u8]);
        bin.extend(*message);
    }
    bin
}

#[test]
fn what_is_written_is_read_ordered_by_value() {
    let signing = SigningKey::generate().unwrap();
    let (mut keys, mut revised) = (diagnosis_keys(50), diagnosis_keys(60).split_off(50));
    let zip = write_export(&header(), &keys, &revised, &signing).unwrap();
    let export = read_and_verify(&zip, signing.public_key()).unwrap();

    assert_eq!(export.summary(), &ExportSummary { header: header(), keys: 50, revised_keys: 10 });
    assert_eq!(read(&zip).unwrap().unverified_summary().unwrap(), *export.summary());
    keys.sort_by_key(|k| *k.key.as_bytes());
    revised.sort_by_key(|k| *k.key.as_bytes());
    assert!(export.keys().map(|k| k.is_revised).eq((0..60).map(|i| i >= 50)));
    assert_eq!(good_keys(&export), [keys, revised].concat());
}

#[test]
fn equal_content_has_equal_id_and_other_content_another() {
    let signing = SigningKey::generate().unwrap();
    let keys = diagnosis_keys(3);
    let reversed: Vec<_> = keys.iter().rev().cloned().collect();
    let id = |keys: &[DiagnosisKey]| {
        let zip = write_export(&header(), keys, &[], &signing).unwrap();
        read_and_verify(&zip, signing.public_key()).unwrap().id()
    };
    assert_eq!(id(&keys), id(&reversed));
    assert_ne!(id(&keys), id(&keys[..2]));
    let export = read_and_verify(&signed(MAGIC, &signing), signing.public_key()).unwrap();
    assert_eq!(export.id().0, *ring::digest::digest(&ring::digest::SHA256, MAGIC).as_ref());
}

#[test]
fn one_accepted_key_and_one_good_signature_are_enough_and_needed() {
    let (ours, theirs, third) =
        (SigningKey::generate().unwrap(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let public = |k: &SigningKey| k.public_key().clone();
    let bin = bin_of(&[]);
    let signatures =
        [&theirs, &ours].map(|k| SignatureMessage { signature: k.sign(&bin).unwrap(), ..Default::default() }).to_vec();
    let sig = SignatureListMessage { signatures }.encode_to_vec();
    let zip = pack(&[("export.sig", &sig), ("export.bin", &bin)]).unwrap();

    assert!(read(&zip).unwrap().verify(&[public(&third), public(&ours)]).is_ok());
    let refused = read(&zip).unwrap().verify(&[public(&third)]).unwrap_err();
    assert!(matches!(refused, ExportError::NotSigned { signatures: 2, public_keys: 1 }), "{refused}");
    assert!(matches!(read(&zip).unwrap().verify(&[]), Err(ExportError::NotSigned { public_keys: 0, .. })));
    let unsigned = pack(&[("export.sig", b""), ("export.bin", &bin)]).unwrap();
    let refused = read_and_verify(&unsigned, ours.public_key()).unwrap_err();
    assert!(matches!(refused, ExportError::NotSigned { signatures: 0, .. }), "{refused}");
}

/// Every flipped byte of content and signature is refused; every flipped byte of the archive is refused or changes no key; every cut is refused.
fn nothing_broken_is_applied(zip: &[u8], key: &PublicKey) {
    let sound = read(zip).unwrap();
    let keys: Vec<_> = sound.clone().verify(std::slice::from_ref(key)).unwrap().keys().collect();
    let signature = &SignatureListMessage::decode(&*sound.sig).unwrap().signatures[0].signature;
    let signature_at = sound.sig.windows(signature.len()).position(|w| w == signature).unwrap();
    for flip in [0x01, 0x80, 0xFF] {
        for at in 0..sound.bin.len() {
            let mut broken = sound.clone();
            broken.bin[at] ^= flip;
            assert!(broken.verify(std::slice::from_ref(key)).is_err(), "byte {at} of export.bin, {flip:02x}");
        }
        for at in 0..sound.sig.len() {
            let mut broken = sound.clone();
            broken.sig[at] ^= flip;
            match broken.verify(std::slice::from_ref(key)) {
                Ok(export) => {
                    assert!(export.keys().eq(keys.iter().cloned()));
                    assert!(
                        !(signature_at..signature_at + signature.len()).contains(&at),
                        "byte {at} of the signature, {flip:02x}"
                    );
                }
                Err(_) => continue,
            }
        }
        for at in 0..zip.len() {
            let mut broken = zip.to_vec();
            broken[at] ^= flip;
            if let Ok(export) = read_and_verify(&broken, key) {
                assert!(export.keys().eq(keys.iter().cloned()), "byte {at} of the archive, {flip:02x}");
            }
        }
    }
    for at in 0..zip.len() {
        assert!(read_and_verify(&zip[..at], key).is_err(), "cut to {at} bytes");
        assert!(at == 0 || read_and_verify(&zip[at..], key).is_err(), "{at} bytes cut off the front");
    }
}

#[test]
fn nothing_broken_is_applied_of_our_own_file() {
    let signing = SigningKey::generate().unwrap();
    let zip = write_export(&header(), &diagnosis_keys(10), &diagnosis_keys(12)[10..], &signing).unwrap();
    nothing_broken_is_applied(&zip, signing.public_key());
}

#[test]
fn an_archive_of_other_entries_is_refused() {
    let signing = SigningKey::generate().unwrap();
    let good = signed(&bin_of(&[]), &signing);
    let SignedExport { bin, sig } = read(&good).unwrap();
    let refused = |entries: &[(&str, &[u8])]| read(&pack(entries).unwrap()).unwrap_err();

    assert!(matches!(refused(&[]), ExportError::EntryCount { found: 0 }));
    assert!(matches!(refused(&[("export.bin", &bin)]), ExportError::EntryCount { found: 1 }));
    let third = refused(&[("export.bin", &bin), ("export.sig", &sig), ("x", b"")]);
    assert!(matches!(third, ExportError::EntryCount { found: 3 }), "{third}");
    let renamed = refused(&[("export.bin", &bin), ("dir/export.sig", &sig)]);
    assert!(matches!(renamed, ExportError::MissingEntry { expected: "export.sig" }), "{renamed}");

    // The writer refuses to write a name twice, so the second name is changed afterwards, in both headers.
    let mut twice = pack(&[("export.bin", &bin), ("export.bix", &sig)]).unwrap();
    while let Some(at) = twice.windows(10).position(|w| w == b"export.bix") {
        twice[at + 9] = b'n';
    }
    assert!(read(&twice).is_err());
    // Neither something in front nor something behind.
    assert!(read(&[&b"#!/bin/sh\n"[..], &good].concat()).is_err());
    assert!(read(&[&good[..], b"\n"].concat()).is_err());
    assert!(matches!(refused(&[("export.bin", b"EK Export v2    "), ("export.sig", &sig)]), ExportError::Magic { .. }));
    assert!(matches!(refused(&[("export.bin", b""), ("export.sig", &sig)]), ExportError::Magic { found } if found.is_empty()));
    let large = vec![0; MAX_EXPORT_SIG as usize + 1];
    assert!(matches!(refused(&[("export.bin", &bin), ("export.sig", &large)]), ExportError::Limit { .. }));
}

/// A declared size that is too small or too large is an error, in whichever direction.
#[test]
fn an_entry_that_is_not_as_long_as_it_says_is_refused() {
    let good = signed(&bin_of(&[&[0; 100]]), &SigningKey::generate().unwrap());
    let central = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    for wrong in [0_u32, 117, 119, 5_000, MAX_EXPORT_BIN as u32, MAX_EXPORT_BIN as u32 + 1, u32::MAX] {
        let mut zip = good.clone();
        zip[central + 24..central + 28].copy_from_slice(&wrong.to_le_bytes());
        assert!(read(&zip).is_err(), "{wrong}");
    }
    assert!(read(&good).is_ok());
}

#[test]
fn a_key_that_cannot_be_is_refused_alone() {
    let good: &[u8] = &[7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let message = |data: &[u8], rest: &[u8]| [&[0x0A, data.len() as u8], data, &[0x18, 0xA0, 0xA8, 0xA1, 0x01], rest].concat();
    let negative_start = [&[0x0A, 16], good, &[0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]].concat();
    let messages = [
        message(good, &[]),
        message(&good[..15], &[]),
        message(&[good, &[1]].concat(), &[]),
        message(&[9; 16], &[]),
        vec![],
        message(good, &[0x20, 0]),
        message(good, &[0x20, 0x91, 1]),
        message(good, &[0x28, 6]),
        negative_start,
        message(good, &[0x28, 0, 0x30, 28, 0x10, 8]),
        message(good, &[0x28, 5, 0x30, 29, 0x10, 9]),
        message(good, &[0x20, 1, 0x30, 27, 0x40, 1, 0xFA, 1, 2, 5, 5]),
    ];
    let signing = SigningKey::generate().unwrap();
    let zip = signed(&bin_of(&messages.each_ref().map(|m| &m[..])), &signing);
    let keys: Vec<_> = read_and_verify(&zip, signing.public_key()).unwrap().keys().map(|k| k.key).collect();

    let accepted = |period, report_type, days_since_onset, transmission_risk| {
        let key = TemporaryExposureKey::new(good, START, period).unwrap();
        Ok(DiagnosisKey { key, report_type, days_since_onset, transmission_risk })
    };
    let expected = [
        accepted(144, None, None, 0),
        Err(KeyError::Length { found: 15 }.into()),
        Err(KeyError::Length { found: 17 }.into()),
        Err(KeyError::Weak.into()),
        Err(KeyError::Length { found: 0 }.into()),
        Err(KeyError::RollingPeriod { found: 0 }.into()),
        Err(KeyError::RollingPeriod { found: 145 }.into()),
        Err(RefusedKey::ReportType { found: 6 }),
        Err(KeyError::RollingStart { found: -1 }.into()),
        accepted(144, Some(ReportType::Unknown), Some(14), 8),
        accepted(144, Some(ReportType::Revoked), None, 0),
        accepted(1, None, Some(-14), 0),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_malformed_file_is_refused_whole_although_it_is_signed() {
    let signing = SigningKey::generate().unwrap();
    let key = KeyMessage::try_from(&diagnosis_keys(1)[0]).unwrap().encode_to_vec();
    let sound = bin_of(&[&key, &key]);
    let verify = |bin: &[u8]| read_and_verify(&signed(bin, &signing), signing.public_key());
    assert_eq!(verify(&sound).unwrap().key_count(), 2);

    let bad_field: [&[u8]; 8] =
        [&[0x3A], &[0x3A, 200, 1], &[0x3A, 1, 0x0A], &[0x3A, 1, 0x08], &[0x1A, 1, 0xFF], &[0x3C], &[0x00, 0x00], &[0x09, 1, 2]];
    for bad in bad_field {
        for bin in [[&sound[..], bad].concat(), [&MAGIC[..], bad, &sound[16..]].concat()] {
            let refused = verify(&bin);
            // A length that reaches into the next key may by chance be sound again in the second form.
            assert!(refused.is_err() || !bin.ends_with(bad), "{bad:02x?}");
        }
    }
    let limit = |bin: &[u8]| matches!(verify(bin), Err(ExportError::Limit { .. }));
    let unknown = |tag: &[u8], len: usize| [tag, &[(len % 128) as u8 | 128, (len / 128) as u8], &vec![0; len]].concat();
    assert!(limit(&[&MAGIC[..], &unknown(&[0x3A], 1025)].concat()), "a key's message");
    assert!(!limit(&[&MAGIC[..], &unknown(&[0x7A], 16_000)].concat()));
    assert!(limit(&[&MAGIC[..], &unknown(&[0x7A], 16_000).repeat(2)].concat()), "header fields");
    assert!(limit(&[&MAGIC[..], &[0x3A, 0].repeat(MAX_KEYS as usize + 1)].concat()), "keys");
    assert_eq!(verify(&[&MAGIC[..], &[0x3A, 0].repeat(1000)].concat()).unwrap().keys().filter(|k| k.key.is_err()).count(), 1000);

    let signature = SignatureMessage { signature: signing.sign(&sound).unwrap(), ..Default::default() };
    let sig = SignatureListMessage { signatures: vec![signature; MAX_SIGNATURES as usize + 1] }.encode_to_vec();
    let refused = read_and_verify(&pack(&[("export.bin", &sound), ("export.sig", &sig)]).unwrap(), signing.public_key());
    assert!(matches!(refused, Err(ExportError::Limit { found: 17, .. })));
}

#[test]
fn going_on_at_any_key_gives_the_rest() {
    let signing = SigningKey::generate().unwrap();
    let zip = write_export(&header(), &diagnosis_keys(20), &diagnosis_keys(25)[20..], &signing).unwrap();
    let export = read_and_verify(&zip, signing.public_key()).unwrap();
    let all: Vec<_> = export.keys().collect();
    for n in 0..=26 {
        assert!(export.keys().skip(n).eq(all.iter().skip(n).cloned()), "{n}");
        assert_eq!(export.keys().skip(n).len(), 25_usize.saturating_sub(n));
    }
}

#[test]
fn a_file_that_could_not_be_read_is_not_written() {
    let signing = SigningKey::generate().unwrap();
    let header = ExportHeader { region: "x".repeat(20_000), ..header() };
    assert!(matches!(write_export(&header, &[], &[], &signing), Err(ExportError::Limit { .. })));
    let mut key = diagnosis_keys(1).remove(0);
    key.key = TemporaryExposureKey::new(key.key.as_bytes(), 1 << 31, 144).unwrap();
    assert!(matches!(write_export(&ExportHeader::default(), &[key], &[], &signing), Err(ExportError::Limit { .. })));
}

#[test]
fn made_up_keys_differ_from_real_ones_in_their_bytes_alone() {
    let mut keys = diagnosis_keys(3);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    pad_with_made_up_keys(&mut keys, 100, &mut rng);
    assert_eq!(keys.len(), 100);
    let shape = |k: &DiagnosisKey| (k.key.rolling_start(), k.key.rolling_period(), k.report_type, k.days_since_onset);
    assert!(keys[3..].iter().all(|k| keys[..3].iter().any(|real| shape(real) == shape(k))));
    assert!((0..3).all(|i| keys[3..].iter().any(|k| shape(k) == shape(&keys[i]))), "each is imitated");
    keys.sort_by_key(|k| *k.key.as_bytes());
    keys.dedup_by_key(|k| *k.key.as_bytes());
    assert_eq!(keys.len(), 100, "each is new");
    pad_with_made_up_keys(&mut keys, 50, &mut rng);
    assert_eq!(keys.len(), 100);
    let mut none = vec![];
    pad_with_made_up_keys(&mut none, 50, &mut rng);
    assert!(none.is_empty());
}

/// Made with `openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt` for this test; it signs nothing else.
const OPENSSL_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+0qfIt6mcy+5i2jJ
Ex28urBhH1Xk3I7FFBUTfxiIDoKhRANCAAS4t0QTmvBlDNhuoLSnifsZ/ZO1bklZ
ct83TZMVLtycnv90bRawftiIV4Q2t9jWC7zJcURJk7PFNraeqt62F+3m
-----END PRIVATE KEY-----
";

fn field_file(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("VIGIE_FIELD_DATA") else {
        // Straight to stderr: what `println!` says of a test that passes, nobody sees.
        std::io::stderr().write_all(b"skipped: VIGIE_FIELD_DATA is not set\n").unwrap();
        return None;
    };
    Some(std::fs::read(PathBuf::from(folder).join("key-files").join(name)).unwrap())
}

const GOOGLE_SAMPLE_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE49JY6kekDgxj3Crm4y6kEHdfoKQFSNDM4mV9cgDb+e5nOAw0GeRoRThCu9/wX5wDT2QloFoOjl2pGZHI0f3C3w==";

#[test]
fn googles_sample_is_accepted_with_its_key_alone_and_never_broken() {
    let Some(zip) = field_file("google_sample_diagnosis_key_file.zip") else { return };
    let key = GOOGLE_SAMPLE_KEY.parse().unwrap();
    let export = read_and_verify(&zip, &key).unwrap();
    assert_eq!((export.key_count(), good_keys(&export).len()), (140, 140));
    let header = &export.summary().header;
    assert_eq!((&*header.region, &header.signatures[..]), ("US", &[SignatureInfo::new("310", "v1")][..]));
    assert!(good_keys(&export).iter().all(|k| k.report_type.is_none() && k.key.rolling_period() == 144));

    let other = String::from_utf8(field_file("ens_public.pem").unwrap()).unwrap().parse().unwrap();
    assert!(matches!(read_and_verify(&zip, &other), Err(ExportError::NotSigned { .. })));
    nothing_broken_is_applied(&zip, &key);
}

#[test]
fn the_reference_servers_export_holds_the_keys_that_it_was_made_of() {
    let Some(zip) = field_file("ens_testExport-2-records-1-of-1.zip") else { return };
    let key = String::from_utf8(field_file("ens_public.pem").unwrap()).unwrap().parse().unwrap();
    let export = read_and_verify(&zip, &key).unwrap();
    use base64::Engine;
    let key = |text: &str, start, period, transmission_risk| DiagnosisKey {
        key: TemporaryExposureKey::new(&base64::engine::general_purpose::STANDARD.decode(text).unwrap(), start, period).unwrap(),
        report_type: None,
        days_since_onset: None,
        transmission_risk,
    };
    let made_of = [key("Fy/EgOWYSQw0F3YEM5sVQw==", 2_649_980, 1, 8), key("K2MFOsSDI43hdhaehh89zQ==", 2_649_866, 114, 1)];
    assert_eq!(good_keys(&export), made_of);
}

#[test]
fn googles_unsigned_test_data_parses_but_cannot_be_verified() {
    let Some(bin) = field_file("google_internals_testdata_export.bin") else { return };
    let summary = proto::scan(&bin).unwrap();
    assert_eq!((summary.keys, summary.revised_keys), (200, 0));
    for field in Fields(proto::message(&bin).unwrap()) {
        if let Field::Key { message: bytes, .. } = field.unwrap() {
            assert!(KeyFields::decode(bytes).unwrap().to_key().unwrap().key.rolling_period() <= 144);
        }
    }
    let zip = pack(&[("export.bin", &bin), ("export.sig", b"")]).unwrap();
    assert!(read_and_verify(&zip, &GOOGLE_SAMPLE_KEY.parse().unwrap()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,300}") {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(text.parse::<PublicKey>().is_err());
        prop_assert!(SigningKey::from_pkcs8_pem(&text).is_err());
        let _ = (PublicKey::from_point(&bytes), format!("-----BEGIN PUBLIC KEY-----\n{text}").parse::<PublicKey>());
    }

    #[test]
    fn no_signed_bytes_make_verifying_or_going_through_keys_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0..1000_usize,
        sig in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let signing = SigningKey::from_pkcs8_pem(OPENSSL_PRIVATE).unwrap();
        let key = KeyMessage::try_from(&diagnosis_keys(1)[0]).unwrap().encode_to_vec();
        let mut bin = bin_of(&[&key, &key, &key]);
        let at = MAGIC.len() + at % (bin.len() - MAGIC.len());
        bin.splice(at..(at + bytes.len() / 10).min(bin.len()), bytes.iter().copied());
        if let Ok(export) = read_and_verify(&signed(&bin, &signing), signing.public_key()) {
            prop_assert_eq!(export.keys().count(), export.key_count());
        }
        let zip = pack(&[("export.bin", &bin), ("export.sig", &sig)]).unwrap();
        prop_assert!(read_and_verify(&zip, signing.public_key()).is_err());
        let _ = read(&zip).unwrap().unverified_summary();
    }
}

#[test]
fn report_types_have_the_numbers_of_the_format() {
    for number in -2..10 {
        assert_eq!(ReportType::from_number(number).map(ReportType::number), (0..=5).contains(&number).then_some(number));
    }
    assert_eq!(ReportType::Revoked.number(), 5);
    assert_eq!(REVISED_KEYS, 8);
}
