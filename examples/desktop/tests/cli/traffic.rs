//! `vigie replay`, `vigie check`, `vigie keys release`: what was heard, what was reported, and who is warned.

use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::beacon::{Frame, ServiceUuid};
use vigie::keys::schedule::next_sending;
use vigie::keys::{Metadata, TemporaryExposureKey};
use vigie::store::Store;
use vigie::time::{Clock, EnIntervalNumber, SystemClock, Timestamp};

use super::Desk;

/// Noon of the meetings.
const NOON: &str = "2020-10-22T12:00:00Z";
const CHECK: &str = "check --store store.db --public-key public.pem out.zip";
pub(super) const REPLAY: &str = "replay capture.csv --store store.db";

fn noon() -> Timestamp {
    NOON.parse().unwrap()
}

fn key(byte: u8) -> TemporaryExposureKey {
    let mut bytes = [byte; 16];
    bytes[0] ^= 0xFF;
    TemporaryExposureKey::new(&bytes, i64::from(noon().interval().day_start().number()), 144).unwrap()
}

fn frame(key: &TemporaryExposureKey, at: Timestamp) -> Frame {
    let rpi = key.identifier(at.interval());
    Frame { rpi, aem: key.encrypt_metadata(&rpi, Metadata::new(-20)) }
}

/// Lines of a table: half an hour near somebody, 8 scans every 4 minutes with packets of -60, -62 and -64 dBm.
pub(super) fn half_an_hour(key: &TemporaryExposureKey, from: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for minute in (0..30).step_by(4) {
        for (packet, rssi) in [(0, -60), (1, -62), (2, -64)] {
            let at = from.after(Duration::from_millis(minute * 60_000 + packet * 250));
            let seconds = at.unix_ms() as f64 / 1000.0;
            lines.push(format!("{seconds},{rssi},{}", hex::encode(frame(key, at).to_bytes())));
        }
    }
    lines
}

/// A table of these lines, with a line end after the last one.
pub(super) fn table(lines: &[String]) -> String {
    format!("unix_seconds,rssi_dbm,service_data_hex\n{}\n", lines.join("\n"))
}

fn keys_json(keys: &[TemporaryExposureKey]) -> String {
    let key = |key: &TemporaryExposureKey| json!({"key": BASE64_STANDARD.encode(key.as_bytes()), "rollingStartNumber": key.rolling_start().number()});
    json!({"temporaryExposureKeys": keys.iter().map(key).collect::<Vec<_>>()}).to_string()
}

impl Desk {
    /// A desk with capture.csv, in which key 1 was met, and out.zip, in which keys 1 and 2 are.
    fn after_a_meeting() -> Self {
        let desk = Self::new();
        fs::write(desk.path("capture.csv"), table(&half_an_hour(&key(1), noon()))).unwrap();
        desk.publish("out.zip", &[key(1), key(2)]);
        desk
    }

    fn publish(&self, name: &str, keys: &[TemporaryExposureKey]) {
        fs::write(self.path("reported.json"), keys_json(keys)).unwrap();
        self.yes(&format!("keys make --keys reported.json --private-key private.pem --out {name} --force"));
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.yes(&format!("{args} --json"))).unwrap()
    }

    /// A store from which identifiers were sent yesterday from 12:00 to 12:30 and just now. Gives yesterday's key.
    pub(super) fn traced_store(&self) -> TemporaryExposureKey {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let now = SystemClock.now();
        let (mut store, _) = Store::open(&self.path("own.db"), now, &mut rng).unwrap();
        let noon = yesterday_noon(now);
        for interval in [noon, noon.plus(1), noon.plus(2), now.interval()] {
            let sending = next_sending(&store.own_keys().unwrap(), interval, &mut rng);
            store.keep_sending(&sending).unwrap();
        }
        store.own_keys().unwrap().remove(0).key
    }
}

pub(super) fn yesterday_noon(now: Timestamp) -> EnIntervalNumber {
    now.interval().day_start().minus(72)
}

#[test]
fn two_computers_finish_the_story_without_a_server() {
    let (ill, other) = (Desk::new(), Desk::new());
    let sent = ill.traced_store();
    let said = ill.yes("keys release --store own.db --out mine.json");
    assert!(said.contains("handed out 2 keys to mine.json") && said.contains("held back"), "{said}");
    ill.yes("keys make --keys mine.json --private-key private.pem --out out.zip --no-embargo");

    let met = yesterday_noon(SystemClock.now()).start();
    fs::write(other.path("capture.csv"), table(&half_an_hour(&sent, met))).unwrap();
    assert!(other.yes(REPLAY).contains("8 encounters kept in store.db"));
    fs::copy(ill.path("out.zip"), other.path("out.zip")).unwrap();
    let check = format!("check --store store.db --public-key {} out.zip", ill.public_key);
    assert_eq!(other.json(&check)["risk_level"], "high");
    assert_eq!(other.run(&format!("{CHECK} --json")).code, Some(1), "another authority's key");
}

#[test]
fn a_check_says_windows_days_and_risk() {
    let desk = Desk::after_a_meeting();
    let replayed = desk.json(REPLAY);
    for (member, expected) in [
        ("records", json!(24)),
        ("advertisements", json!(24)),
        ("frames", json!(24)),
        ("encounters", json!(8)),
        ("from", json!(NOON)),
        ("calibration", Value::Null),
        ("warning", Value::Null),
    ] {
        assert_eq!(replayed[member], expected, "{member}");
    }

    // Attenuations of -20 - (-60 + 4) = 36 to 40 dB, very near: 1.75 times 120 + 7 * 240 seconds.
    let scan = |seconds| json!({"typical_attenuation_db": 38, "min_attenuation_db": 36, "seconds_since_last_scan": seconds});
    let expected = |status| {
        json!({
            "files": [{"path": "out.zip", "status": status, "keys": 2}],
            "windows": [{
                "date": "2020-10-22", "report_type": "confirmed_test", "infectiousness": "high", "calibration_confidence": "lowest",
                "scan_instances": [scan(120), scan(240), scan(240), scan(240), scan(240), scan(240), scan(240), scan(240)],
            }],
            "days": [{"date": "2020-10-22", "maximum_score": 3150.0, "score_sum": 3150.0, "weighted_duration_sum_s": 3150.0}],
            "risk_level": "high",
        })
    };
    assert_eq!(desk.json(CHECK), expected("matched"));
    assert_eq!(desk.json(CHECK), expected("already_matched"));
    assert_eq!(
        desk.yes(CHECK),
        "out.zip: matched before, 2 keys\n\
         On 2020-10-22 you were near somebody who later reported, for about 30 minutes, most of it very close together.\n\
         risk: high\n\
         next: this was a contact: keep away from others, and ask your health authority for a test\n"
    );
}

#[test]
fn who_met_nobody_is_told_so() {
    let desk = Desk::after_a_meeting();
    desk.publish("out.zip", &[key(2), key(3)]);
    desk.yes(REPLAY);
    assert_eq!(desk.yes(CHECK), "out.zip: matched, 2 keys\nrisk: none\nnext: nothing needs to be done\n");
    assert_eq!(desk.json(CHECK)["windows"], json!([]));
}

#[test]
fn what_is_replayed_later_is_matched_with_files_checked_before_and_nothing_counts_twice() {
    let desk = Desk::after_a_meeting();
    desk.yes(REPLAY);
    let first = desk.json(CHECK);

    desk.yes(REPLAY);
    let again = desk.json(CHECK);
    assert_eq!(again["files"][0]["status"], "matched");
    assert_eq!(again["windows"], first["windows"]);
    assert_eq!(again["days"], first["days"]);

    // The hours before and after, in one capture that jumps back.
    let later = half_an_hour(&key(1), noon().after(Duration::from_secs(7200)));
    let earlier = half_an_hour(&key(2), noon().before(Duration::from_secs(7200)));
    fs::write(desk.path("rest.csv"), table(&[later, earlier].concat())).unwrap();
    let replayed = desk.json("replay rest.csv --store store.db");
    assert_eq!((&replayed["from"], &replayed["to"]), (&"2020-10-22T10:00:00Z".into(), &"2020-10-22T14:28:00.500Z".into()));
    assert_eq!(replayed["encounters"], 16);
    let all = desk.json(CHECK);
    assert_eq!((&all["files"][0]["status"], &all["days"][0]["score_sum"]), (&"matched".into(), &(3.0 * 3150.0).into()));
}

#[test]
fn a_refused_file_blocks_no_other_and_a_missing_one_is_told_before_anything_is_done() {
    let desk = Desk::after_a_meeting();
    desk.yes(REPLAY);
    fs::write(desk.path("bad.zip"), "no key file").unwrap();
    desk.fails(&format!("{CHECK} nowhere.zip"), &["nowhere.zip cannot be read"]);
    desk.fails(&format!("{CHECK} ."), &[". cannot be read"]);

    let ran = desk.run("check --store store.db --public-key public.pem --json bad.zip out.zip");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &answer["risk_level"]), (Some(1), &"high".into()));
    assert_eq!((&answer["files"][0]["status"], &answer["files"][0]["keys"]), (&"refused".into(), &0.into()));
    assert!(answer["files"][0]["reason"].as_str().unwrap().contains("ZIP"));
    assert_eq!((&answer["files"][1]["status"], &answer["files"][1]["reason"]), (&"matched".into(), &Value::Null));

    let ran = desk.run(&CHECK.replace("out.zip", "bad.zip"));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("bad.zip: refused: "), "{}", ran.stdout);

    // One of two authorities has signed it.
    let two = CHECK.replace("public.pem", &format!("{} --public-key public.pem", Desk::new().public_key));
    assert_eq!(desk.json(&two)["files"][0]["status"], "already_matched");
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_asking_it() {
    let desk = Desk::after_a_meeting();
    let before = desk.names();
    desk.fails(CHECK, &["there is no store store.db", "next: look at the name"]);
    desk.fails("keys release --store store.db --out mine.json", &["there is no store store.db"]);
    desk.fails("replay nowhere.csv --store store.db", &["nowhere.csv cannot be read"]);
    desk.fails("replay keys.json --store store.db", &["keys.json cannot be replayed", "neither a btsnoop file nor the line"]);
    desk.fails("replay capture.csv --store nowhere/store.db", &["nowhere/store.db cannot be used"]);
    assert_eq!(desk.names(), before);
}

#[test]
fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let desk = Desk::after_a_meeting();
    let foreign = [b"SQLite format 3\0".to_vec(), vec![7; 5000]].concat();
    fs::write(desk.path("store.db"), &foreign).unwrap();
    let before = desk.names();
    for args in [REPLAY, CHECK, "keys release --store store.db --out mine.json"] {
        desk.fails(args, &["store.db", "is not a store of Vigie"]);
    }
    assert_eq!(desk.names(), before);
    assert_eq!(fs::read(desk.path("store.db")).unwrap(), foreign);
}

#[test]
fn options_that_make_no_sense_are_errors() {
    let desk = Desk::after_a_meeting();
    desk.yes(REPLAY);
    for (args, part) in [
        (format!("{CHECK} --now yesterday"), "yesterday"),
        ("check --store store.db out.zip".into(), "--public-key"),
        ("check --store store.db --public-key public.pem".into(), "FILE"),
        ("check --store store.db --public-key nonsense out.zip".into(), "neither a file nor a public key"),
        (format!("{REPLAY} --service-uuid fd6"), "fd6"),
        (format!("{REPLAY} --model SM-G973F"), "--calibration"),
        (format!("{REPLAY} --calibration capture.csv"), "--model"),
        ("replay capture.csv".into(), "--store"),
        ("keys release --store store.db".into(), "--out"),
    ] {
        desk.fails(&args, &[part]);
    }
}

#[test]
fn the_model_is_looked_up_and_what_stands_in_for_it_is_said() {
    let desk = Desk::after_a_meeting();
    let rows = "oem,device,model,rssi_correction,tx_power,confidence\nacme,one,A-1,10,-20,3\nbell,two,B-2,2,-30,3\n";
    fs::write(desk.path("models.csv"), rows).unwrap();
    fs::write(desk.path("bad.csv"), rows.replace("-30", "loud")).unwrap();
    let replay = |model: &str| format!("{REPLAY} --calibration models.csv --model {model}");

    desk.fails(&format!("{REPLAY} --calibration bad.csv --model A-1"), &["bad.csv is no calibration table", "line 3", "loud"]);
    desk.fails(&format!("{REPLAY} --calibration none.csv --model A-1"), &["none.csv cannot be read"]);
    assert!(!desk.path("store.db").exists());

    assert!(desk.yes(&replay("A-1")).contains("calibration     A-1: +10 dB, sends with -20 dBm, confidence high"));
    let window = &desk.json(CHECK)["windows"][0];
    assert_eq!(window["calibration_confidence"], "high");
    assert_eq!(window["scan_instances"][0]["min_attenuation_db"], 30);

    for (model, words, found, confidence) in [
        ("acme/A-9", "not in the table, its manufacturer's mean: +10 dB", "manufacturer", "low"),
        ("A-9", "not in the table, the mean of all models: +6 dB", "default", "lowest"),
    ] {
        let said = desk.yes(&replay(model));
        assert!(said.contains(words), "{said}");
        let calibration = &desk.json(&replay(model))["calibration"];
        assert_eq!((&calibration["found"], &calibration["confidence"]), (&found.into(), &confidence.into()));
    }
}

/// A capture of `hcidump`'s kind (datalink 1001), of these packets in LE Advertising Reports.
fn btsnoop(packets: &[(Frame, Timestamp, i8)], service: ServiceUuid) -> Vec<u8> {
    let mut bytes = [&b"btsnoop\0\0\0\0\x01"[..], &1001u32.to_be_bytes()].concat();
    for (frame, at, rssi) in packets {
        let data = frame.to_advertisement(service);
        let report = [&[3, 1, 1, 2, 3, 4, 5, 6, data.len() as u8][..], &data, &[*rssi as u8]].concat();
        let event = [&[0x3E, 2 + report.len() as u8, 2, 1][..], &report].concat();
        let length = (event.len() as u32).to_be_bytes();
        bytes.extend([&length[..], &length, &3u32.to_be_bytes(), &[0; 4]].concat());
        bytes.extend((at.unix_ms() * 1000 + 0x00dc_ddb3_0f2f_8000).to_be_bytes());
        bytes.extend(event);
    }
    bytes
}

#[test]
fn a_btsnoop_capture_is_heard_for_the_service_asked_and_a_cut_one_up_to_the_cut() {
    let desk = Desk::after_a_meeting();
    let times: Vec<_> = (0..30).step_by(4).map(|minute| noon().after(Duration::from_secs(minute * 60))).collect();
    let packets: Vec<_> = times.iter().map(|at| (frame(&key(1), *at), *at, -60)).collect();
    let bytes = btsnoop(&packets, ServiceUuid::EXPOSURE_NOTIFICATION);
    fs::write(desk.path("hci.log"), &bytes).unwrap();
    fs::write(desk.path("cut.log"), &bytes[..bytes.len() - 7]).unwrap();

    let said = desk.yes("replay hci.log --store store.db");
    for part in ["nothing to keep", "8 advertisements of other services", "try --service-uuid 0xFD6F"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(!desk.path("store.db").exists());

    let ran = desk.run("replay cut.log --store store.db --service-uuid 0xFD6F --json");
    let replayed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &replayed["frames"], &replayed["encounters"]), (Some(0), &7.into(), &7.into()));
    assert!(ran.stderr.starts_with("warning: the capture is cut"), "{}", ran.stderr);
    assert_eq!(replayed["warning"].as_str().unwrap(), ran.stderr.trim_start_matches("warning: ").trim_end());
    assert_eq!(desk.json(CHECK)["windows"][0]["scan_instances"].as_array().unwrap().len(), 7);
}

#[test]
fn what_comes_before_the_damage_in_a_table_is_kept_and_the_error_says_so() {
    let desk = Desk::after_a_meeting();
    let mut lines = half_an_hour(&key(1), noon());
    lines[12] = "1603368000,loud,00".into();
    fs::write(desk.path("capture.csv"), table(&lines)).unwrap();
    let kept = "capture.csv cannot be replayed to its end; what came before is kept: 12 frames, 4 encounters";
    desk.fails(REPLAY, &[kept, "cause: line 14, column rssi_dbm"]);
    assert_eq!(desk.json(CHECK)["windows"][0]["scan_instances"].as_array().unwrap().len(), 4);

    fs::write(desk.path("capture.csv"), table(&[])).unwrap();
    assert!(desk.yes("replay capture.csv --store other.db").contains("nothing to keep"));
    fs::write(desk.path("capture.csv"), "").unwrap();
    desk.fails("replay capture.csv --store other.db", &["the capture is empty"]);
    assert!(!desk.path("other.db").exists());
}

#[test]
fn recorded_traffic_is_compared_with_another_time_only_when_asked() {
    let latest_packet = "2020-10-22T12:28:00.500Z";
    for (option, risk_level, raised_at) in [
        ("", "high", latest_packet),
        ("--now 2020-10-23T00:00:00Z", "high", "2020-10-23T00:00:00Z"),
        ("--now 2031-01-01T00:00:00Z", "none", latest_packet),
        ("--now 1971-01-01T00:00:00Z", "high", "1971-01-01T00:00:00Z"),
    ] {
        let desk = Desk::after_a_meeting();
        desk.yes(REPLAY);
        assert_eq!(desk.json(&format!("{CHECK} {option}"))["risk_level"], risk_level, "{option}");
        assert_eq!(desk.json(CHECK)["risk_level"], "high", "{option}: nothing was erased");
        let (store, _) = Store::open(&desk.path("store.db"), noon(), &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let alerts = store.alerts().unwrap();
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].raised_at, raised_at.parse().unwrap(), "{option}");
    }
}

#[test]
fn released_keys_are_for_their_owner_alone_and_none_is_lost_where_they_cannot_be_written() {
    let desk = Desk::new();
    let sent = desk.traced_store();
    fs::write(desk.path("mine.json"), "precious").unwrap();
    let release = "keys release --store own.db --out mine.json";
    desk.fails(release, &["mine.json cannot be written", "next: choose another name, or --force"]);
    assert_eq!(fs::read(desk.path("mine.json")).unwrap(), b"precious");
    desk.fails("keys release --store own.db --out nowhere/mine.json", &["no key is lost", "nowhere/mine.json cannot be written"]);

    let said = desk.yes(&format!("{release} --force"));
    assert!(said.contains("handed out 2 keys"), "{said}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(desk.path("mine.json")).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let released: Value = serde_json::from_slice(&fs::read(desk.path("mine.json")).unwrap()).unwrap();
    let keys = released["temporaryExposureKeys"].as_array().unwrap();
    assert_eq!((&keys[0]["key"], &keys[0]["rollingPeriod"]), (&BASE64_STANDARD.encode(sent.as_bytes()).into(), &144.into()));
    let (start, period) = (keys[1]["rollingStartNumber"].as_u64().unwrap(), keys[1]["rollingPeriod"].as_u64().unwrap());
    let now = u64::from(SystemClock.now().interval().number());
    assert!((now..=now + 1).contains(&(start + period)), "the running key ends with the interval of the release");
    assert!(!said.contains(&BASE64_STANDARD.encode(sent.as_bytes())));

    let desk = Desk::after_a_meeting();
    desk.yes(REPLAY);
    desk.fails("keys release --store store.db --out mine.json", &["has no key of which something was sent", "next: "]);
    assert!(!desk.path("mine.json").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_keep_less() {
    let desk = Desk::after_a_meeting();
    for args in [REPLAY, &format!("{REPLAY} --json"), CHECK, &format!("{CHECK} --json")] {
        desk.ends_with_its_reader(args);
    }
    assert_eq!(desk.json(CHECK)["risk_level"], "high");
}
