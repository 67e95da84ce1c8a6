//! Phones and a server on a network that loses, delays and reorders: the library's courier against the server's rules, called inline on a database in
//! memory. No thread, no socket, no clock: one seed is one trace.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::beacon::Frame;
use vigie::courier::wire::{CHAFF_HEADER, CertificateResponse, ErrorResponse, IDEMPOTENCY_KEY_HEADER, PublishResponse};
use vigie::courier::{
    Destination, ReportDetails, ReportId, ReportState, Request, Response, Servers, Transport, TransportError, VerificationCode,
};
use vigie::radio::{Advertiser, Radio, RadioError};
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Tracer};
use vigie_backend::database::{Database, Sqlite};
use vigie_backend::keys::Secrets;
use vigie_backend::rules::{self, Context, Issue, Policy, Refusal, Report, RuleError, TestType};

const START: Timestamp = Timestamp::from_unix_ms(1_603_389_600_000);
const HOUR: Duration = Duration::from_secs(3_600);
const PHONES: u64 = 3;

/// The server without its network.
struct Server {
    database: Sqlite,
    secrets: Secrets,
    policy: Policy,
    files: BTreeMap<String, Vec<u8>>,
    index: String,
    rng: ChaCha20Rng,
    clock: ManualClock,
}

impl Server {
    fn new(seed: u64, clock: &ManualClock) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secrets = Secrets::ephemeral(&mut rng).unwrap();
        let policy = Policy { minimum_keys: 1, ..Policy::default() };
        let database = Sqlite::in_memory().unwrap();
        Self { database, secrets, policy, files: BTreeMap::new(), index: String::new(), rng, clock: clock.clone() }
    }

    fn run<T>(
        &mut self,
        mut rule: impl FnMut(&mut dyn vigie_backend::database::Transaction, &mut Context<'_>) -> Result<T, RuleError>,
    ) -> Result<T, RuleError> {
        let mut context = Context { now: self.clock.now(), secrets: &self.secrets, policy: &self.policy, rng: &mut self.rng };
        let database: &mut dyn Database = &mut self.database;
        database.run(|transaction| rule(transaction, &mut context))
    }

    fn issue(&mut self) -> VerificationCode {
        let request = Issue { test_type: TestType::Confirmed, onset: None, tested: None, is_short: false };
        self.run(|transaction, context| rules::issue(transaction, &request, context)).unwrap().code
    }

    /// A round of the batcher.
    fn publish_files(&mut self) {
        self.run(|transaction, context| Ok(rules::plan(transaction, context, true)?)).unwrap();
        while let Some(batch) = self.run(|transaction, context| Ok(rules::load_unwritten(transaction, context)?)).unwrap() {
            let file = batch.file(&self.secrets.exports).unwrap();
            assert!(self.files.insert(batch.name.clone(), file).is_none(), "a name is used once");
            self.run(|transaction, context| Ok(rules::mark_written(transaction, batch.number, context.now)?)).unwrap();
        }
        self.index = self.run(|transaction, context| Ok(rules::index(transaction, context.now)?)).unwrap();
    }

    fn answer(&mut self, request: &Request) -> Response {
        let body = request.body.clone().unwrap_or_default();
        let operation =
            request.headers.iter().find(|(name, _)| *name == IDEMPOTENCY_KEY_HEADER).map(|(_, value)| value.as_bytes().to_vec());
        if let Some(path) = request.url.strip_prefix("https://server.example/files/") {
            return self.file(path, request);
        }
        if request.headers.iter().any(|(name, _)| *name == CHAFF_HEADER) {
            return Response { status: 200, headers: Vec::new(), body: b"{}".to_vec() };
        }
        if request.url.ends_with("/api/verify") {
            let asked = serde_json::from_slice(&body).unwrap();
            return json(
                self.run(|transaction, context| rules::verify(transaction, &asked, operation.as_deref(), context)),
                verification_error,
            );
        }
        if request.url.ends_with("/api/certificate") {
            let asked = serde_json::from_slice(&body).unwrap();
            let claims = self.run(|transaction, context| rules::certificate(transaction, &asked, context));
            let secrets = &self.secrets;
            let signed = claims.map(|claims| CertificateResponse {
                certificate: secrets.certificates.sign(&claims).unwrap(),
                padding: String::new(),
            });
            return json(signed, verification_error);
        }
        let asked = serde_json::from_slice(&body).unwrap();
        let published = self.run(|transaction, context| {
            let report = Report::check(&asked, context)?;
            rules::publish(transaction, &report, context)
        });
        json(published, |refusal| {
            serde_json::to_vec(&PublishResponse { code: refusal.code().into(), ..PublishResponse::default() }).unwrap()
        })
    }

    fn file(&self, path: &str, request: &Request) -> Response {
        if path == "index.txt" {
            return Response { status: 200, headers: Vec::new(), body: self.index.clone().into_bytes() };
        }
        let Destination::File { path: to, .. } = &request.destination else { panic!("a file to memory") };
        let whole = &self.files[path];
        let range = request.headers.iter().find(|(name, _)| *name == "range");
        let from: usize = range.map_or(0, |(_, range)| range["bytes=".len()..range.len() - 1].parse().unwrap());
        let here = if from > 0 { std::fs::read(to).unwrap() } else { Vec::new() };
        std::fs::write(to, [&here[..from], &whole[from..]].concat()).unwrap();
        Response { status: if from > 0 { 206 } else { 200 }, ..Response::default() }
    }
}

fn verification_error(refusal: Refusal) -> Vec<u8> {
    serde_json::to_vec(&ErrorResponse { error_code: refusal.code().into(), ..ErrorResponse::default() }).unwrap()
}

fn json(answer: Result<impl serde::Serialize, RuleError>, error: impl Fn(Refusal) -> Vec<u8>) -> Response {
    match answer {
        Ok(answer) => Response { status: 200, headers: Vec::new(), body: serde_json::to_vec(&answer).unwrap() },
        Err(RuleError::Refused(refusal)) => Response { status: refusal.status(), headers: Vec::new(), body: error(refusal) },
        Err(RuleError::Database(error)) => panic!("{error}"),
    }
}

/// What one phone has of the network. A request may get lost, its answer may, and a request that got lost may still arrive, later than others.
struct Network {
    server: Arc<Mutex<Server>>,
    late: Vec<Request>,
    rng: ChaCha20Rng,
    clock: ManualClock,
    trace: Arc<Mutex<Vec<String>>>,
    loses: bool,
}

impl Network {
    fn chance(&mut self, percent: u64) -> bool {
        self.loses && self.rng.next_u64() % 100 < percent
    }
}

impl Transport for Network {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        self.clock.advance(Duration::from_millis(50 + self.rng.next_u64() % 5_000));
        let mut server = self.server.lock().unwrap();
        let step = request.url.rsplit('/').next().unwrap_or_default().to_string();
        let note = |what: &str| self.trace.lock().unwrap().push(format!("{} {step} {what}", server.clock.now().unix_ms()));
        note("sent");
        drop(server);
        if self.chance(10) {
            // It arrives after something else, when nobody waits for its answer any more.
            if request.body.is_some() {
                self.late.push(request.clone());
            }
            return Err(TransportError::TimedOut);
        }
        if self.chance(10) {
            return Err(TransportError::Failed { reason: "lost".into() });
        }
        server = self.server.lock().unwrap();
        let is_late = self.loses && self.rng.next_u64().is_multiple_of(2);
        if is_late && !self.late.is_empty() {
            server.answer(&self.late.remove(0));
        }
        let response = server.answer(request);
        drop(server);
        if self.chance(20) {
            return Err(TransportError::TimedOut);
        }
        Ok(response)
    }
}

struct Silent;

impl Advertiser for Silent {
    fn advertise(&mut self, _: Frame) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop(&mut self) {}
}

struct World {
    server: Arc<Mutex<Server>>,
    phones: Vec<(Tracer, ReportId)>,
    clock: ManualClock,
    trace: Arc<Mutex<Vec<String>>>,
    _folder: tempfile::TempDir,
}

fn servers(server: &Server) -> Servers {
    let (_, key) = server.secrets.exports.signing();
    let json = serde_json::json!({
        "verification_url": "https://server.example", "api_key": "key", "publish_url": "https://server.example/v1/publish",
        "health_authority_id": server.policy.health_authority_id,
        "key_lists": [{"index_url": "https://server.example/files/index.txt", "base_url": "https://server.example/files"}],
        "public_keys": [{"key_id": "1", "key_version": "1", "pem": key.public_key().to_string()}],
        "decoy_mean_s": 1_000_000_000,
    });
    Servers::from_json(json.to_string().as_bytes()).unwrap()
}

impl World {
    /// Three phones that traced for a day and report.
    fn new(seed: u64, loses: bool) -> Self {
        let clock = ManualClock::new(START);
        let server = Arc::new(Mutex::new(Server::new(seed, &clock)));
        let servers = servers(&server.lock().unwrap());
        let (folder, trace) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut tracers = Vec::new();
        for phone in 0..PHONES {
            let rng = ChaCha20Rng::seed_from_u64(seed * 1_000 + phone);
            let mut config = Config::default();
            config.authority_keys = servers.authority_keys().unwrap();
            let radio = Radio { scanner: None, advertiser: Some(Box::new(Silent)) };
            let tracer = Tracer::open_in_memory(config, radio, clock.clone(), rng).unwrap();
            let rng = ChaCha20Rng::seed_from_u64(seed * 1_000 + 100 + phone);
            let network = Network {
                server: Arc::clone(&server),
                late: Vec::new(),
                rng,
                clock: clock.clone(),
                trace: Arc::clone(&trace),
                loses,
            };
            let downloads = folder.path().join(phone.to_string());
            std::fs::create_dir(&downloads).unwrap();
            tracer.connect(servers.clone(), Box::new(network), downloads);
            tracer.start();
            tracer.step().unwrap();
            tracers.push(tracer);
        }
        clock.advance(24 * HOUR);
        let phones = tracers
            .into_iter()
            .map(|tracer| {
                tracer.step().unwrap();
                let code = server.lock().unwrap().issue();
                let id = tracer.report(&code, ReportDetails::default()).unwrap();
                (tracer, id)
            })
            .collect();
        Self { server, phones, clock, trace, _folder: folder }
    }

    /// Lets everybody correspond, in turns.
    fn run(&self, time: Duration) {
        let end = self.clock.now().after(time);
        while self.clock.now() < end {
            let waits: Vec<Duration> = self.phones.iter().map(|(tracer, _)| tracer.correspond().unwrap()).collect();
            self.clock.advance(waits.into_iter().min().unwrap().clamp(Duration::from_millis(1), Duration::from_secs(300)));
        }
    }

    fn state(&self, phone: usize) -> ReportState {
        let (tracer, id) = &self.phones[phone];
        tracer.reports().unwrap().into_iter().find(|report| report.id == *id).unwrap().state
    }
}

fn story(seed: u64, loses: bool) -> Vec<String> {
    let world = World::new(seed, loses);
    world.run(12 * HOUR);
    for phone in 0..PHONES as usize {
        assert!(matches!(world.state(phone), ReportState::Done { .. }), "seed {seed}: {:?}", world.state(phone));
    }
    world.clock.advance(24 * HOUR);
    world.server.lock().unwrap().publish_files();
    for (tracer, _) in &world.phones {
        tracer.sync_now().unwrap();
    }
    // A poll that fails waits for hours, and a third of all exchanges fails.
    world.run(72 * HOUR);
    let server = world.server.lock().unwrap();
    let mut published: Vec<[u8; 16]> = Vec::new();
    let (_, key) = server.secrets.exports.signing();
    for file in server.files.values() {
        let export = vigie::diagnosis::SignedExport::read(std::io::Cursor::new(file))
            .unwrap()
            .verify(&[key.public_key().clone()])
            .unwrap();
        published.extend(export.keys().map(|exported| *exported.key.unwrap().key.as_bytes()));
    }
    let files = server.files.len();
    drop(server);
    for (tracer, _) in &world.phones {
        let own = tracer.release_keys().unwrap();
        let reported = own.iter().filter(|key| published.contains(key.as_bytes())).count();
        assert!(reported >= 2, "seed {seed}: two days of keys");
        let list = &tracer.key_lists().unwrap()[0];
        assert_eq!((list.done, list.waiting, list.refused), (files, 0, 0), "seed {seed}");
    }
    let count = published.len();
    published.sort_unstable();
    published.dedup();
    assert_eq!(published.len(), count, "seed {seed}: a key is in the files once");
    world.trace.lock().unwrap().clone()
}

#[test]
fn every_report_is_published_once_and_every_file_applied_once_on_a_bad_network() {
    for seed in 0..200 {
        story(seed, true);
    }
}

#[test]
fn the_same_seed_is_the_same_trace() {
    assert_eq!(story(7, true), story(7, true));
    assert_ne!(story(7, true), story(8, true));
    let quiet = story(7, false);
    assert!(quiet.len() < story(7, true).len(), "on a good network nothing is repeated");
    assert_eq!(quiet.iter().filter(|line| line.contains(" publish ")).count(), PHONES as usize);
}
