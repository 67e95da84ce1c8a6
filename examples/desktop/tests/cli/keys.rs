//! `vigie keys`: files shown, verified and made.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Desk, KEYS, vigie};

const GOOGLE_SAMPLE_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE49JY6kekDgxj3Crm4y6kEHdfoKQFSNDM4mV9cgDb+e5nOAw0GeRoRThCu9/wX5wDT2QloFoOjl2pGZHI0f3C3w==";

const MAKE: &str = "keys make --keys keys.json --private-key private.pem --out out.zip";

#[test]
fn a_file_that_is_made_verifies_with_its_key_as_text_and_as_pem() {
    let desk = Desk::new();
    let made = desk.yes(&format!("{MAKE} --region LU --key-id 270 --key-version v3"));
    assert!(made.contains("made out.zip of 2 keys") && made.contains(&desk.public_key), "{made}");
    for key in ["public.pem", &desk.public_key] {
        let answer = desk.yes(&format!("keys verify out.zip --public-key {key}"));
        for part in [
            "out.zip: valid",
            "LU",
            "270, key v3",
            "1 new, 1 revised",
            "1 confirmed_test",
            "1 revoked",
            "2020-05-19 to 2020-05-20",
        ] {
            assert!(answer.contains(part), "{part} is not in {answer}");
        }
    }
}

#[test]
fn a_file_of_another_signer_or_a_damaged_one_is_not_valid_and_says_why() {
    let (desk, other) = (Desk::new(), Desk::new());
    desk.yes(MAKE);
    let ran = desk.run(&format!("keys verify out.zip --public-key {}", other.public_key));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    assert!(ran.stdout.contains("not valid: none of 1 signatures"), "{}", ran.stdout);
    assert!(ran.stdout.contains("without anybody vouching"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("confirmed_test"), "keys of a file that is not valid are looked at: {}", ran.stdout);

    let bytes = fs::read(desk.path("out.zip")).unwrap();
    fs::write(desk.path("cut.zip"), &bytes[..bytes.len() / 2]).unwrap();
    for args in ["keys show cut.zip", "keys show keys.json", "keys verify cut.zip --public-key public.pem"] {
        let ran = desk.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{args}");
        assert!(ran.stdout.contains("not a sound ZIP archive"), "{args}: {}", ran.stdout);
    }
}

#[test]
fn json_says_the_same() {
    let desk = Desk::new();
    desk.yes(&format!("{MAKE} --now 2020-05-21T00:00:00Z --region LU"));
    let shown: Value = serde_json::from_str(&desk.yes("keys show out.zip --json")).unwrap();
    assert_eq!(shown["verified"], false);
    assert_eq!((&shown["region"], &shown["keys"], &shown["revised_keys"]), (&"LU".into(), &1.into(), &1.into()));
    assert_eq!((&shown["start"], &shown["end"]), (&"2020-05-20T00:00:00Z".into(), &"2020-05-21T00:00:00Z".into()));

    let verified: Value = serde_json::from_str(&desk.yes("keys verify out.zip --public-key public.pem --json")).unwrap();
    assert_eq!((&verified["valid"], &verified["reason"], &verified["usable_keys"]), (&true.into(), &Value::Null, &2.into()));
    assert_eq!(verified["report_types"], serde_json::json!({"confirmed_test": 1, "revoked": 1}));

    let ran = desk.run(&format!("keys verify out.zip --public-key {GOOGLE_SAMPLE_KEY} --json"));
    let refused: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &refused["valid"], &refused["usable_keys"]), (Some(1), &false.into(), &Value::Null));
    assert!(refused["reason"].as_str().unwrap().contains("none of 1 signatures"));
}

#[test]
fn a_key_is_held_back_until_its_end_plus_two_hours() {
    let desk = Desk::new();
    for (now, keys, held) in [
        ("2020-05-20T17:19:59Z", 0, "all 2 keys are held back, the first until 2020-05-20T17:20:00Z"),
        ("2020-05-20T17:20:00Z", 1, "held back 1 key, the first until 2020-05-20T17:30:00Z"),
        ("2020-05-20T17:29:59Z", 1, "held back 1 key, the first until 2020-05-20T17:30:00Z"),
        ("2020-05-20T17:30:00Z", 2, "made out.zip of 2 keys"),
    ] {
        let ran = desk.run(&format!("{MAKE} --force --now {now}"));
        assert_eq!(ran.code, Some(if keys == 0 { 2 } else { 0 }), "{now}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(held), "{now}: {} {}", ran.stdout, ran.stderr);
        assert_eq!(desk.path("out.zip").exists(), keys > 0, "{now}");
        if keys > 0 {
            let json: Value = serde_json::from_str(&desk.yes("keys verify out.zip --public-key public.pem --json")).unwrap();
            assert_eq!(json["usable_keys"], keys, "{now}");
        }
    }
    assert!(desk.yes(&format!("{MAKE} --force --no-embargo --now 2020-05-20T00:00:00Z")).contains("2 keys"));
}

#[test]
fn what_cannot_be_read_or_used_is_an_error_with_its_place_and_no_secret() {
    let desk = Desk::new();
    desk.yes(MAKE);
    fs::write(desk.path("wrong.json"), KEYS.replace("114", "145")).unwrap();
    fs::write(desk.path("none.json"), r#"{"temporaryExposureKeys": []}"#).unwrap();
    fs::write(desk.path("long.pem"), vec![b'A'; 5000]).unwrap();

    desk.fails(MAKE, &["out.zip cannot be written", "next: choose another name, or --force"]);
    desk.fails("keys show nowhere.zip", &["nowhere.zip cannot be read", "cause: "]);
    desk.fails("keys show .", &[". cannot be read"]);
    desk.fails("keys verify out.zip --public-key nowhere.pem", &["neither a file nor a public key", "next: give a PEM file"]);
    desk.fails("keys verify out.zip --public-key private.pem", &["private.pem is no public key", "PRIVATE KEY"]);
    desk.fails("keys verify out.zip --public-key long.pem", &["more than 4096 bytes"]);
    let make = |keys: &str, pem: &str| format!("keys make --keys {keys} --private-key {pem} --out new.zip");
    desk.fails(&make("wrong.json", "private.pem"), &["wrong.json cannot be used", "[1].rollingPeriod", "this one is 145"]);
    desk.fails(&make("none.json", "private.pem"), &["none.json has no keys"]);
    desk.fails(&make("private.pem", "private.pem"), &["private.pem cannot be used", "line 1 column"]);
    desk.fails(&make("keys.json", "public.pem"), &["public.pem cannot be used to sign", "PKCS#8"]);
    desk.fails(&make("keys.json", "out.zip"), &["out.zip cannot be used to sign"]);
    desk.fails(&format!("{} --now yesterday", make("keys.json", "private.pem")), &["yesterday", "2020-10-22T18:00:00Z"]);
    desk.fails("keys sow out.zip", &["sow", "show"]);
    assert!(!desk.path("new.zip").exists());
}

#[test]
fn help_names_commands_and_exit_codes_and_nothing_is_coloured_unless_asked() {
    let desk = Desk::new();
    let help = desk.yes("--help");
    for part in ["keys", "--color", "--verbose", "Exit codes:", "NO_COLOR"] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
    assert!(desk.yes("keys make --help").contains("confirmed_test if it is not said"));

    desk.yes(MAKE);
    assert!(!desk.yes("keys show out.zip").contains('\u{1b}'));
    assert!(desk.yes("keys show out.zip --color always").contains('\u{1b}'));
}

#[test]
fn text_from_a_file_cannot_drive_the_terminal() {
    let desk = Desk::new();
    desk.yes(MAKE);
    let out = vigie()
        .current_dir(desk.folder.path())
        .args(MAKE.split_whitespace())
        .args(["--force", "--region", "\u{1b}]0;owned\u{7}\u{1b}[2J"])
        .output()
        .unwrap();
    assert!(out.status.success());
    let shown = desk.yes("keys show out.zip --color always");
    assert!(!shown.contains("\u{1b}]0;") && !shown.contains("\u{1b}[2J") && shown.contains("\\u{1b}]0;owned"), "{shown}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_without_a_word() {
    let desk = Desk::new();
    desk.yes(MAKE);
    for args in ["keys show out.zip", "keys show out.zip --json"] {
        desk.ends_with_its_reader(args);
    }
}

#[test]
fn files_that_real_servers_signed_verify_with_their_keys_and_not_with_each_others() {
    let Some(folder) = std::env::var_os("VIGIE_FIELD_DATA") else {
        eprintln!("skipped: VIGIE_FIELD_DATA is not set");
        return;
    };
    let files = Path::new(&folder).join("key-files");
    let google = files.join("google_sample_diagnosis_key_file.zip");
    let server = files.join("ens_testExport-2-records-1-of-1.zip");
    let server_key = files.join("ens_public.pem");
    let verify = |file: &Path, key: &str| {
        let output = vigie().args(["keys", "verify", "--json", "--public-key", key]).arg(file).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), answer["usable_keys"].as_u64())
    };
    let server_key = server_key.to_str().unwrap();
    assert_eq!(verify(&google, GOOGLE_SAMPLE_KEY), (Some(0), Some(140)));
    assert_eq!(verify(&server, server_key), (Some(0), Some(2)));
    assert_eq!(verify(&google, server_key), (Some(1), None));
    assert_eq!(verify(&server, GOOGLE_SAMPLE_KEY), (Some(1), None));

    let desk = Desk::new();
    fs::copy(files.join("ens_keys.json"), desk.path("ens.json")).unwrap();
    desk.yes("keys make --keys ens.json --private-key private.pem --out out.zip");
    let answer: Value = serde_json::from_str(&desk.yes("keys verify out.zip --public-key public.pem --json")).unwrap();
    assert_eq!((&answer["valid"], &answer["usable_keys"]), (&true.into(), &2.into()));
}
