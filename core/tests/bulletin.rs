//! What a bulletin changes in a tracer, and what it cannot: on the simulated air, with a server that has nothing but the bulletin.
#![expect(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::beacon::ServiceUuid;
use vigie::courier::bulletin::BulletinSigner;
use vigie::courier::{Request, Response, Servers, Transport, TransportError};
use vigie::diagnosis::{DiagnosisKey, ExportHeader, SigningKey, write_export};
use vigie::exposure::RiskLevel;
use vigie::radio::Radio;
use vigie::radio::sim::{Air, AirModel, DeviceModel, Position, Track};
use vigie::store::Erasure;
use vigie::time::{ManualClock, Timestamp};
use vigie::tracer::simulation::Simulation;
use vigie::tracer::{Config, FileStatus, Status, Tracer, Tracing};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const URL: &str = "https://files.example/bulletin.txt";

fn start() -> Timestamp {
    "2020-10-22T09:00:00Z".parse().unwrap()
}

/// A server that has this bulletin, or is out of reach.
struct Canned(Option<Vec<u8>>);

impl Transport for Canned {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        match &self.0 {
            Some(file) if request.url == URL => Ok(Response { status: 200, body: file.clone(), ..Response::default() }),
            _ => Err(TransportError::Offline),
        }
    }
}

struct Authority(BulletinSigner);

impl Authority {
    fn new() -> Self {
        Self(BulletinSigner::generate().unwrap())
    }

    fn servers(&self) -> Servers {
        let key = json!({"key_id": "v1", "public_key": BASE64_STANDARD.encode(self.0.public_key())});
        let servers = json!({
            "verification_url": "https://verify.example", "api_key": "key", "publish_url": "https://keys.example/v1/publish",
            "health_authority_id": "lu", "public_keys": [], "key_lists": [],
            "bulletin": {"url": URL, "region": "LU", "keys": [key]},
        });
        Servers::from_json(servers.to_string().as_bytes()).unwrap()
    }

    /// The tracer takes a bulletin with this configuration and these keys.
    fn tells(&self, tracer: &Tracer, serial: u64, configuration: Value, keys: Value) {
        let document = json!({"serial": serial, "region": "LU", "issued_at": "2020-10-22T06:00:00Z", "configuration": configuration, "keys": keys});
        let file = self.0.sign("v1", document.to_string().as_bytes()).unwrap();
        self.connect(tracer, Some(file));
        tracer.fetch_bulletin_now().unwrap();
        while tracer.correspond().unwrap().is_zero() {}
        assert_eq!(tracer.bulletin().unwrap().bulletin.serial, serial);
    }

    fn connect(&self, tracer: &Tracer, file: Option<Vec<u8>>) {
        tracer.connect(self.servers(), Box::new(Canned(file)), PathBuf::from("not-used"));
    }
}

/// Phones within two metres of each other, tracing.
fn phones(count: u64) -> Simulation {
    let mut simulation = Simulation::new(Air::new(AirModel::default(), start(), 7).unwrap());
    for number in 0..count {
        let place = Track::still(Position::new(number as f64, 0.0)).unwrap();
        let device = simulation.add_device(DeviceModel::default(), place).unwrap();
        let phone = simulation.add_phone(device, Config::default(), ChaCha20Rng::seed_from_u64(number)).unwrap();
        simulation.phones()[phone].tracer.start();
    }
    simulation
}

fn run(simulation: &mut Simulation, time: Duration) {
    simulation.run_until(simulation.now().after(time)).unwrap();
}

/// How many encounters each phone has kept in this time.
fn new_encounters(simulation: &mut Simulation, time: Duration) -> Vec<bool> {
    let count = |simulation: &Simulation| -> Vec<u64> {
        simulation.phones().iter().map(|phone| phone.tracer.status().unwrap().encounters).collect()
    };
    // What is being heard now is not counted.
    run(simulation, HOUR);
    let before = count(simulation);
    run(simulation, time);
    count(simulation).iter().zip(before).map(|(after, before)| *after > before).collect()
}

#[test]
fn a_new_service_is_sent_under_at_once_and_the_old_one_is_heard_for_fourteen_days() {
    let authority = Authority::new();
    let mut simulation = phones(2);
    assert_eq!(new_encounters(&mut simulation, HOUR), [true, true]);
    authority.tells(&simulation.phones()[0].tracer, 1, json!({"service_uuid": "0xFD65"}), json!({}));
    assert_eq!(new_encounters(&mut simulation, HOUR), [true, false], "who has not seen it is heard, and hears no more");
    run(&mut simulation, 13 * DAY);
    assert_eq!(new_encounters(&mut simulation, HOUR), [true, false], "up to the last day");
    run(&mut simulation, DAY);
    assert_eq!(new_encounters(&mut simulation, HOUR), [false, false]);
    authority.tells(&simulation.phones()[1].tracer, 1, json!({"service_uuid": "0xFD65"}), json!({}));
    assert_eq!(new_encounters(&mut simulation, HOUR), [true, true]);
}

#[test]
fn no_bulletin_stops_tracing_or_erases_anything() {
    let authority = Authority::new();
    let mut simulation = phones(2);
    run(&mut simulation, 2 * HOUR);
    let status = |simulation: &Simulation| simulation.phones()[0].tracer.status().unwrap();
    let before: Status = status(&simulation);
    let tracer = &simulation.phones()[0].tracer;
    let extreme = json!({
        "minimum_version": "4294967295.0.0", "poll_period_s": 86_400, "service_uuid": "0xFC00",
        "exposure": {"days_since_exposure_threshold": 1, "bucket_weights": [0, 0, 0, 0], "minimum_window_score": 1_000_000.0},
    });
    authority.tells(tracer, (1 << 53) - 1, extreme, json!({}));
    assert!(tracer.bulletin().unwrap().bulletin.wants_newer_than("0.1.0"), "that is a notice, and nothing else");
    let after = status(&simulation);
    assert_eq!(after.tracing, Tracing::Running);
    assert_eq!((after.encounters, after.own_keys), (before.encounters, before.own_keys));
    run(&mut simulation, HOUR);
    let later = status(&simulation);
    assert!(later.is_sending && later.encounters > after.encounters, "{later:?}");
}

#[test]
fn risk_parameters_weigh_the_next_check_and_keys_of_the_bulletin_vouch_for_files() {
    let (authority, signing_key) = (Authority::new(), SigningKey::generate().unwrap());
    let mut simulation = phones(2);
    run(&mut simulation, HOUR / 2);
    let [ill, other] = simulation.phones() else { unreachable!() };
    let keys = ill.tracer.release_keys().unwrap().into_iter();
    let diagnosed = |key| DiagnosisKey { key, report_type: None, days_since_onset: Some(0), transmission_risk: 0 };
    let keys: Vec<_> = keys.map(diagnosed).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.zip");
    std::fs::write(&file, write_export(&ExportHeader::default(), &keys, &[], &signing_key).unwrap()).unwrap();
    let check = || {
        let report = other.tracer.check(&[&file], |_| ControlFlow::Continue(())).unwrap();
        (
            matches!(report.files[0].status, FileStatus::Refused(_)),
            report.assessment.risk_level,
            other.tracer.alerts().unwrap().len(),
        )
    };
    assert_eq!(check(), (true, RiskLevel::None, 0), "nobody vouches for it");

    let text = signing_key.public_key().to_string();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &text[..64], &text[64..]);
    let exports = json!({"exports": [{"key_id": "270", "key_version": "v1", "pem": pem}]});
    authority.tells(&other.tracer, 1, json!({}), exports.clone());
    assert_eq!(check(), (false, RiskLevel::High, 1), "the built-in parameters");
    authority.tells(&other.tracer, 2, json!({"exposure": {"high_risk_score": 100_000.0}}), exports.clone());
    assert_eq!(other.tracer.assessment().unwrap().risk_level, RiskLevel::Low);
    assert_eq!(check(), (false, RiskLevel::Low, 0));
    authority.tells(&other.tracer, 3, json!({}), exports);
    assert_eq!(check(), (false, RiskLevel::High, 1), "and back again");
}

#[test]
fn it_is_there_after_a_restart_without_a_network_and_gone_when_everything_is_erased() {
    let (authority, folder, clock) = (Authority::new(), tempfile::tempdir().unwrap(), ManualClock::new(start()));
    let open = || {
        let rng = ChaCha20Rng::seed_from_u64(1);
        Tracer::open(Config::default(), &folder.path().join("store"), Radio::default(), clock.clone(), rng).unwrap()
    };
    let tracer = open();
    authority.tells(&tracer, 5, json!({"service_uuid": "0xFD65"}), json!({}));
    drop(tracer);

    clock.advance(3 * DAY);
    let tracer = open();
    assert_eq!(tracer.bulletin(), None, "without servers nobody vouches for it");
    authority.connect(&tracer, None);
    let kept = tracer.bulletin().unwrap();
    assert_eq!((kept.bulletin.serial, kept.bulletin.configuration.service_uuid), (5, Some(ServiceUuid(0xFD65))));
    assert_eq!(kept.seen_at, start(), "its age is that of the last answer");

    assert_eq!(tracer.erase_everything().unwrap(), Erasure::Done);
    assert_eq!(tracer.bulletin(), None);
    tracer.fetch_bulletin_now().unwrap();
    tracer.correspond().unwrap();
    assert_eq!(tracer.bulletin(), None, "what the courier held in memory went, too");
    authority.tells(&tracer, 1, json!({}), json!({}));
}
