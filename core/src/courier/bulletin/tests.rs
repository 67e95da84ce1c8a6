use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::beacon::ServiceUuid;
use crate::diagnosis::SigningKey;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);

fn signer() -> BulletinSigner {
    BulletinSigner::generate().unwrap()
}

fn key(key_id: &str, signer: &BulletinSigner) -> BulletinKey {
    BulletinKey { key_id: key_id.into(), public_key: signer.public_key() }
}

/// Everything that a bulletin can have.
fn full() -> Json {
    let authority = SigningKey::generate().unwrap().public_key().to_string();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &authority[..64], &authority[64..]);
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    json!({
        "serial": 7, "region": "LU", "issued_at": "2020-11-10T06:00:00Z",
        "figures": [{
            "name": "new_cases", "unit": "people", "title": {"fr": "Nouveaux cas", "de": "Neue Fälle"},
            "values": [{"date": "2020-11-09", "value": 512}, {"date": "2020-11-10", "value": 498.5}],
        }],
        "advice": {"fr": [{"title": "Aérez", "text": "Dix minutes.\nChaque heure."}], "pt-BR": []},
        "configuration": {
            "exposure": {"high_risk_score": 1200.0, "alert_level": "low"},
            "poll_period_s": 7200, "service_uuid": "0xFD65", "minimum_version": "1.10.0",
        },
        "keys": {
            "waiting_list": [{"key_id": "w1", "public_key": key}], "receipts": [{"key_id": "r1", "public_key": key}],
            "exports": [{"key_id": "270", "key_version": "v2", "pem": pem}],
        },
        "later": {"unknown": true},
    })
}

fn read(document: &Json) -> Result<Bulletin, BulletinError> {
    Bulletin::from_json(document.to_string().as_bytes())
}

/// What is wrong with the full one after this member, by JSON pointer, has this value.
fn refused(pointer: &str, value: Json) -> String {
    let mut document = full();
    *document.pointer_mut(pointer).unwrap() = value;
    read(&document).unwrap_err().to_string()
}

#[test]
fn everything_is_read_and_members_of_later_versions_are_passed_over() {
    let bulletin = read(&full()).unwrap();
    assert_eq!((bulletin.serial, bulletin.region.as_str()), (7, "LU"));
    assert_eq!(bulletin.figures[0].values[1].value, 498.5);
    let exposure = bulletin.configuration.exposure.as_ref().unwrap();
    assert_eq!((exposure.high_risk_score, exposure.low_risk_score), (1200.0, 300.0));
    assert_eq!(bulletin.configuration.service_uuid, Some(ServiceUuid(0xFD65)));
    assert_eq!(bulletin.export_keys().len(), 1);
    assert_eq!(bulletin.keys.waiting_list[0].key_id, "w1");
    let again = serde_json::to_vec(&bulletin).unwrap();
    assert_eq!(Bulletin::from_json(&again).unwrap(), bulletin, "written and read again it is the same");
    let least = json!({"serial": 1, "region": "LU", "issued_at": "2020-11-10T06:00:00Z"});
    assert_eq!(read(&least).unwrap().configuration, Configuration::default());
}

#[test]
fn what_cannot_be_refuses_the_whole_and_names_the_member() {
    let day = |date: &str, value: f64| json!({"date": date, "value": value});
    let many = |what: Json, count: usize| Json::Array(vec![what; count]);
    let languages = |count: usize| (0..count).map(|at| (format!("x{at}"), json!("t"))).collect::<serde_json::Map<_, _>>();
    for (pointer, value, part) in [
        ("/serial", json!(0), "`serial` is 0"),
        ("/serial", json!(u64::MAX), "`serial` is"),
        ("/serial", json!(-1), "cannot be read"),
        ("/region", json!(""), "`region`"),
        ("/region", json!("L U"), "`region`"),
        ("/issued_at", json!("yesterday"), "cannot be read"),
        ("/figures", many(full()["figures"][0].clone(), 33), "`figures` has 33 entries"),
        ("/figures/0/name", json!("a\u{1b}[2J"), "`figures.name`"),
        ("/figures/0/unit", json!("x".repeat(65)), "`figures.unit`"),
        ("/figures/0/title", json!({}), "`figures.title` is missing"),
        ("/figures/0/title", json!({"fr_FR": "x"}), "BCP 47"),
        ("/figures/0/title", Json::Object(languages(65)), "`figures.title` has 65 entries"),
        ("/figures/0/title/fr", json!("two\nlines"), "`figures.title` is not one line"),
        ("/figures/0/values", json!([day("2020-11-10", 1.0), day("2020-11-09", 1.0)]), "not in the order"),
        ("/figures/0/values", json!([day("2020-11-10", 1.0), day("2020-11-10", 2.0)]), "not in the order"),
        ("/figures/0/values", many(day("2020-11-10", 1.0), 401), "`figures.values` has 401"),
        ("/figures/0/values/0/date", json!("2020-11-9"), "YYYY-MM-DD"),
        ("/figures/0/values/0/value", json!("many"), "cannot be read"),
        ("/advice/fr", many(json!({"title": "t", "text": ""}), 33), "`advice` has 33"),
        ("/advice/fr/0/title", json!("x".repeat(201)), "`advice.title`"),
        ("/advice/fr/0/text", json!("x".repeat(4_001)), "`advice.text`"),
        ("/advice/fr/0/text", json!("\u{7}"), "`advice.text`"),
        ("/configuration/exposure", json!({"bucket_weights": [9, 1, 1, 1]}), "bucket_weights is 9, allowed is 0 to 2.5"),
        ("/configuration/exposure", json!({"high_risk_score": 1.0}), "must increase"),
        ("/configuration/poll_period_s", json!(3_599), "allowed is 3600 to 86400"),
        ("/configuration/poll_period_s", json!(86_401), "allowed is 3600 to 86400"),
        ("/configuration/service_uuid", json!("0xFD6F"), "under which no app may send"),
        ("/configuration/service_uuid", json!("0x180F"), "under which no app may send"),
        ("/configuration/service_uuid", json!("FD6"), "cannot be read"),
        ("/configuration/minimum_version", json!("1.2"), "three numbers"),
        ("/keys/waiting_list/0/public_key", json!("AAAA"), "`keys.waiting_list` has `w1`"),
        ("/keys/receipts", many(full()["keys"]["receipts"][0].clone(), 5), "`keys.receipts` has 5"),
        ("/keys/exports/0/pem", json!("no key"), "`keys.exports` has `270`"),
    ] {
        let reason = refused(pointer, value);
        assert!(reason.contains(part), "{pointer}: {part} is not in {reason}");
    }
    let long =
        [br#"{"serial":1,"region":"LU","issued_at":"2020-11-10T06:00:00Z","x":""#, vec![b'x'; MAX_BULLETIN].as_slice()].concat();
    assert_eq!(Bulletin::from_json(&long), Err(BulletinError::TooLong { limit: MAX_BULLETIN }));
    assert!(Bulletin::from_json(br#"{"serial":1,"region":"LU","issued_at":"2020-11-10T06:00:00Z","figures":[{"name":"a","title":{"fr":"a"},"values":[{"date":"2020-11-10","value":1e999}]}]}"#).is_err(), "no infinity");
}

#[test]
fn what_was_made_tomorrow_is_forgiven_to_the_clock_and_figures_for_tomorrow_are_refused() {
    let mut bulletin = read(&full()).unwrap();
    let figures = std::mem::take(&mut bulletin.figures);
    let issued = bulletin.issued_at;
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3_600);
    assert_eq!(bulletin.check_time(issued.before(hours(23))), Ok(()));
    let early = bulletin.check_time(issued.before(hours(25)));
    assert!(matches!(early, Err(BulletinError::FromTheFuture { member: "issued_at", .. })));
    bulletin.issued_at = issued.before(hours(100));
    let last = figures[0].values[1].date.first_interval().start();
    bulletin.figures = figures;
    assert_eq!(bulletin.check_time(last), Ok(()), "figures of today");
    let early = bulletin.check_time(last.before(hours(1)));
    assert!(matches!(early, Err(BulletinError::FromTheFuture { member: "figures", .. })), "{early:?}");
}

#[test]
fn the_exact_bytes_are_verified_with_the_built_in_key_or_its_successor() {
    let (first, second, other) = (signer(), signer(), signer());
    let keys = [key("v1", &first), key("v2", &second)];
    let document = full().to_string().into_bytes();
    for (key_id, signer) in [("v1", &first), ("v2", &second)] {
        assert_eq!(verify(&signer.sign(key_id, &document).unwrap(), &keys, "LU").unwrap().serial, 7);
    }
    let refused = |file: &[u8]| verify(file, &keys, "LU").unwrap_err();
    assert_eq!(refused(&other.sign("v3", &document).unwrap()), BulletinError::UnknownKey);
    assert_eq!(refused(&other.sign("v1", &document).unwrap()), BulletinError::WrongSignature);
    assert_eq!(refused(&second.sign("v1", &document).unwrap()), BulletinError::WrongSignature);
    assert_eq!(refused(&document), BulletinError::Unsigned);
    assert_eq!(refused(b"<html>\n<p>Sign in"), BulletinError::Unsigned);
    let good = first.sign("v1", &document).unwrap();
    assert_eq!(refused(&[&good[..], b" "].concat()), BulletinError::WrongSignature, "one space more");
    let elsewhere = verify(&good, &keys, "BE").unwrap_err();
    assert_eq!(elsewhere, BulletinError::OtherRegion { expected: "BE".into(), found: "LU".into() });
    let no_json = first.sign("v1", b"not json").unwrap();
    assert!(matches!(refused(&no_json), BulletinError::Unreadable { .. }));
    assert_eq!(refused(&vec![b'x'; MAX_BULLETIN + 1]), BulletinError::TooLong { limit: MAX_BULLETIN });
}

#[test]
fn nothing_is_parsed_before_it_is_verified() {
    let (first, other) = (signer(), signer());
    // It would be unreadable, too; that is not found out.
    let forged = other.sign("v1", b"\xff\xff").unwrap();
    assert_eq!(verify(&forged, &[key("v1", &first)], "LU"), Err(BulletinError::WrongSignature));
}

#[test]
fn a_signing_key_survives_its_file_and_takes_those_of_openssl() {
    let first = signer();
    let again = BulletinSigner::from_pkcs8_pem(&first.to_pkcs8_pem().unwrap()).unwrap();
    assert_eq!(again.public_key(), first.public_key());
    // RFC 8032, 7.1, test 1, as openssl writes it.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    let published = BulletinSigner::from_pkcs8_pem(pem).unwrap();
    let hex: String = published.public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let signed = published.sign("v1", b"").unwrap();
    let line = "v1 v1 5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==\n";
    assert_eq!(signed, line.as_bytes(), "the published signature of nothing");
    for nonsense in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        assert!(BulletinSigner::from_pkcs8_pem(nonsense).is_err());
    }
    let p256 = SigningKey::generate().unwrap().to_pkcs8_pem().unwrap();
    assert!(BulletinSigner::from_pkcs8_pem(&p256).is_err());
    assert!(!format!("{first:?}").contains('['));
}

#[test]
fn the_best_language_is_found() {
    let texts = |tags: &[&str]| tags.iter().map(|tag| ((*tag).to_owned(), ())).collect();
    let best = |tags: &[&str], wanted: &str| in_language(&texts(tags), wanted).map(|(tag, ())| tag.to_owned());
    assert_eq!(best(&["de", "fr", "en"], "de-AT").as_deref(), Some("de"));
    assert_eq!(best(&["pt-BR", "en"], "pt").as_deref(), Some("pt-BR"));
    assert_eq!(best(&["pt-BR", "pt", "en"], "pt-PT").as_deref(), Some("pt"));
    assert_eq!(best(&["FR"], "fr-lu").as_deref(), Some("FR"));
    assert_eq!(best(&["de", "en", "fr"], "lb").as_deref(), Some("en"));
    assert_eq!(best(&["fr", "it"], "lb").as_deref(), Some("fr"));
    assert_eq!(best(&["fr"], "").as_deref(), Some("fr"));
    assert_eq!(best(&[], "fr"), None);
}

#[test]
fn a_minimum_version_is_compared_by_its_numbers() {
    let bulletin = read(&full()).unwrap();
    for (version, wants) in [("1.9.9", true), ("1.10.0", false), ("2.0.0", false), ("0.99.99", true), ("1.10", true), ("", true)]
    {
        assert_eq!(bulletin.wants_newer_than(version), wants, "{version}");
    }
    for nonsense in ["1.2.3.4", "1..2", "+1.2.3", "1.2.-3", "99999999999.0.0"] {
        assert_eq!(nonsense.parse::<Version>(), Err(VersionError), "{nonsense}");
    }
    assert!(!read(&json!({"serial": 1, "region": "LU", "issued_at": "2020-11-10T06:00:00Z"})).unwrap().wants_newer_than("0.0.1"));
}

proptest! {
    #[test]
    fn hostile_bytes_are_refused_and_panic_nowhere(file in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let signer = signer();
        prop_assert!(verify(&file, &[key("v1", &signer)], "LU").is_err());
        // Signed by an authority that has lost its mind.
        let signed = signer.sign("v1", &file).unwrap();
        prop_assert!(verify(&signed, &[key("v1", &signer)], "LU").is_err());
    }

    #[test]
    fn no_byte_of_a_bulletin_can_be_changed_cut_or_added(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let signer = signer();
        let keys = [key("v1", &signer)];
        let good = signer.sign("v1", full().to_string().as_bytes()).unwrap();
        let place = at.index(good.len());
        let mut flipped = good.clone();
        flipped[place] ^= 1 << bit;
        prop_assert!(verify(&flipped, &keys, "LU").is_err());
        prop_assert!(verify(&good[..place], &keys, "LU").is_err());
        let mut longer = good;
        longer.insert(place, b' ');
        prop_assert!(verify(&longer, &keys, "LU").is_err());
    }

    #[test]
    fn signed_nonsense_in_any_member_is_refused_or_read_and_panics_nowhere(text in ".{0,300}", number in any::<f64>(), which in 0_usize..12) {
        let pointers = ["/serial", "/region", "/issued_at", "/figures/0/values/0/value", "/figures/0/values/0/date", "/figures/0/title",
            "/advice/fr", "/configuration", "/configuration/exposure", "/configuration/poll_period_s", "/keys", "/keys/exports/0/pem"];
        for value in [json!(text), json!(number), json!([text]), json!({ text.clone(): number }), Json::Null] {
            let mut document = full();
            *document.pointer_mut(pointers[which]).unwrap() = value;
            if let Ok(bulletin) = read(&document) {
                let _ = bulletin.check_time(NOW);
                let _ = bulletin.wants_newer_than(&text);
                let _ = in_language(&bulletin.advice, &text);
            }
        }
    }
}
