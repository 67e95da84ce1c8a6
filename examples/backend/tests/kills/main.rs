//! Phones and a server that are killed (SIGKILL) at random moments of a report and of a sync, and go on.
//!
//! Every role is a process of its own: this program, started again for one of the tests that are marked as a role. All of them live 600 times as fast as
//! the clock on the wall, so that waiting for a retry takes a second. `VIGIE_KILLS=300` kills that often; `VIGIE_SEED` names another course.
//! Whatever SIGKILL leaves unwritten the system still writes: what a loss of power does is shown by `power_loss` of the library.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod instances;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::beacon::{Frame, Rssi};
use vigie::courier::{HttpClient, ReportDetails, Servers, VerificationCode};
use vigie::diagnosis::SignedExport;
use vigie::radio::{Advertiser, MeasuredBy, Radio, RadioError, Sighting};
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Tracer};
use vigie_backend::Server;
use vigie_backend::config::Config as ServerConfig;

use common::{Postgresql, free_port};

/// 22 October 2020, 18:00.
const START: Timestamp = Timestamp::from_unix_ms(1_603_389_600_000);
const SPEED: u32 = 600;

/// The time of all processes of one test: it began at `origin`, on the machine's clock, and runs 600 times as fast.
#[derive(Clone, Copy)]
struct FastClock {
    origin: Duration,
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        START.after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        wall().saturating_sub(self.origin) * SPEED
    }
}

#[derive(Clone, Default)]
struct Air(Arc<Mutex<Option<Frame>>>);

impl Advertiser for Air {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        *self.0.lock().unwrap() = Some(frame);
        Ok(())
    }

    fn stop(&mut self) {}
}

/// What a role is told.
#[derive(Clone)]
struct Role {
    folder: PathBuf,
    name: String,
    origin: Duration,
}

impl Role {
    fn from_environment() -> Option<Self> {
        let value = |name: &str| std::env::var(name).ok();
        let origin = Duration::from_nanos(value("VIGIE_ORIGIN")?.parse().unwrap());
        Some(Self { folder: value("VIGIE_FOLDER")?.into(), name: value("VIGIE_NAME")?, origin })
    }

    fn clock(&self) -> FastClock {
        FastClock { origin: self.origin }
    }

    fn start(&self, role: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args([role, "--exact", "--ignored", "--nocapture"])
            .env("VIGIE_FOLDER", &self.folder)
            .env("VIGIE_NAME", &self.name)
            .env("VIGIE_ORIGIN", self.origin.as_nanos().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The server's settings; SQLite where no other database is named.
    fn server(&self) -> ServerConfig {
        let mut config = ServerConfig::new(self.folder.join("server"));
        config.database = std::fs::read_to_string(self.folder.join("database")).ok();
        config.listen = ([127, 0, 0, 1], 0).into();
        config.admin_listen = config.listen;
        config.policy.minimum_keys = 1;
        config
    }

    fn servers(&self) -> Option<Servers> {
        Servers::from_json(&std::fs::read(self.folder.join("server/client.json")).ok()?).ok()
    }

    /// A phone of this name, connected.
    fn phone(&self) -> Tracer {
        let servers = self.servers().unwrap();
        let mut config = Config::default();
        config.authority_keys = servers.authority_keys().unwrap();
        let store = self.folder.join(&self.name);
        let rng = ChaCha20Rng::seed_from_u64(wall().as_nanos() as u64);
        let tracer = Tracer::open(config, &store, Radio::default(), self.clock(), rng).unwrap();
        tracer.connect(servers, Box::new(HttpClient::new().unwrap()), self.folder.join(format!("{}-downloads", self.name)));
        tracer
    }
}

/// Does what is due until `is_done`; then the process ends.
fn correspond(tracer: &Tracer, mut is_done: impl FnMut(&Tracer) -> bool) {
    while !is_done(tracer) {
        let wait = tracer.correspond().unwrap() / SPEED;
        std::thread::sleep(wait.min(Duration::from_millis(20)));
    }
}

#[test]
#[ignore = "a role: the server"]
fn role_server() {
    let Some(role) = Role::from_environment() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let port = |name: &str| -> SocketAddr {
        let port: u16 = std::fs::read_to_string(role.folder.join(name)).unwrap().parse().unwrap();
        ([127, 0, 0, 1], port).into()
    };
    let mut config = role.server();
    (config.listen, config.admin_listen) = (port("port"), port("admin-port"));
    runtime.block_on(async {
        let server = Server::start(config, Arc::new(role.clock())).await.unwrap();
        loop {
            let _ = server.publish_now().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
#[ignore = "a role: a phone that reports"]
fn role_reporter() {
    let Some(role) = Role::from_environment() else { return };
    let tracer = role.phone();
    if tracer.reports().unwrap().is_empty() {
        let code = std::fs::read_to_string(role.folder.join(format!("{}-code", role.name))).unwrap();
        tracer.report(&VerificationCode::parse(&code).unwrap(), ReportDetails::default()).unwrap();
    }
    correspond(&tracer, |tracer| tracer.reports().unwrap().iter().all(|report| !report.is_open()));
    assert!(matches!(tracer.reports().unwrap()[0].state, vigie::courier::ReportState::Done { .. }));
}

#[test]
#[ignore = "a role: a phone that fetches key lists"]
fn role_reader() {
    let Some(role) = Role::from_environment() else { return };
    let tracer = role.phone();
    tracer.sync_now().unwrap();
    let wanted: usize = std::fs::read_to_string(role.folder.join("phones")).unwrap().parse().unwrap();
    let mut asked = wall();
    correspond(&tracer, |tracer| {
        // Who waits asks again after ten minutes; what fails twice would otherwise wait for the device's own moment.
        if (wall() - asked) * SPEED > Duration::from_secs(600) {
            asked = wall();
            tracer.sync_now().unwrap();
        }
        tracer.alerts().unwrap().len() == wanted && tracer.key_lists().unwrap()[0].waiting == 0
    });
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    folder: tempfile::TempDir,
    origin: Duration,
    rng: ChaCha20Rng,
    server: Option<Running>,
    /// How long a phone that reports lives here where nobody kills it.
    life_ms: u64,
    kills: u64,
}

impl World {
    /// Phones that met the day before, and a server on this database, or on SQLite.
    fn new(seed: u64, phones: u64, database: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(url) = database {
            std::fs::write(folder.path().join("database"), url).unwrap();
        }
        std::fs::write(folder.path().join("phones"), phones.to_string()).unwrap();
        let clock = ManualClock::new(START.before(Duration::from_secs(86_400)));
        let open = |name: &str, number: u64, air: Option<&Air>| {
            let advertiser = air.cloned().map(|air| Box::new(air) as Box<dyn Advertiser>);
            let rng = ChaCha20Rng::seed_from_u64(seed * 1_000 + number);
            let radio = Radio { scanner: None, advertiser };
            Tracer::open(Config::default(), &folder.path().join(name), radio, clock.clone(), rng).unwrap()
        };
        let reader = open("reader", 999, None);
        let airs: Vec<Air> = (0..phones).map(|_| Air::default()).collect();
        let tracers: Vec<Tracer> =
            airs.iter().zip(0..).map(|(air, number)| open(&format!("phone{number}"), number, Some(air))).collect();
        tracers.iter().for_each(Tracer::start);
        for _ in 0..30 {
            for (phone, air) in tracers.iter().zip(&airs) {
                phone.step().unwrap();
                let frame = air.0.lock().unwrap().unwrap();
                let heard = Sighting { frame, rssi: Rssi(-45), measured_by: MeasuredBy::Us, at: clock.now() };
                reader.record(&[heard]).unwrap();
            }
            clock.advance(Duration::from_secs(60));
        }
        clock.advance(Duration::from_secs(3_600));
        reader.step().unwrap();
        reader.stop().unwrap();
        drop((reader, tracers));
        for name in ["port", "admin-port"] {
            std::fs::write(folder.path().join(name), free_port().to_string()).unwrap();
        }
        let mut world =
            Self { folder, origin: wall(), rng: ChaCha20Rng::seed_from_u64(seed), server: None, life_ms: 0, kills: 0 };
        world.start_server();
        for phone in 0..phones {
            let code = world.issue();
            std::fs::write(world.folder.path().join(format!("phone{phone}-code")), code).unwrap();
        }
        world
    }

    fn role(&self, name: &str) -> Role {
        Role { folder: self.folder.path().to_path_buf(), name: name.to_string(), origin: self.origin }
    }

    /// Kills it where it runs.
    fn start_server(&mut self) {
        self.server = None;
        self.server = Some(Running(self.role("server").start("role_server")));
    }

    /// As a health authority does, until the server answers.
    fn issue(&self) -> String {
        let server = self.folder.path().join("server");
        loop {
            if let Some(code) = ask_for_code(self.folder.path(), &server) {
                return code;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a phone to its end, through so many kills of it and of the server, if they come before.
    fn run(&mut self, name: &str, role: &str, kills: u64) {
        let end = self.kills + kills;
        loop {
            let mut phone = Running(self.role(name).start(role));
            let is_left_alone = self.kills >= end;
            let patience = Duration::from_millis(if is_left_alone { 40_000 } else { 1 + self.rng.next_u64() % self.life_ms });
            let deadline = wall() + patience;
            let ended = loop {
                if let Some(status) = phone.0.try_wait().unwrap() {
                    break Some(status);
                }
                if wall() > deadline {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(2));
            };
            match ended {
                Some(status) if status.success() => return,
                Some(status) => panic!("{name} ended with {status}"),
                None if is_left_alone => panic!("{name} does not come to an end: {}", self.describe(name, phone)),
                None => {}
            }
            drop(phone);
            self.kills += 1;
            if self.rng.next_u64().is_multiple_of(3) {
                self.start_server();
                self.kills += 1;
            }
        }
    }

    fn describe(&self, name: &str, phone: Running) -> String {
        drop(phone);
        let tracer = self.role(name).phone();
        format!("{} alerts, {:?}, {:?}", tracer.alerts().unwrap().len(), tracer.reports().unwrap(), tracer.key_lists().unwrap())
    }

    fn published(&self) -> Vec<[u8; 16]> {
        let servers = self.role("").servers().unwrap();
        let keys = servers.authority_keys().unwrap();
        let mut files = Vec::new();
        zips(&self.folder.path().join("server/public"), &mut files);
        let mut published = Vec::new();
        for file in files {
            let export = SignedExport::read(std::fs::File::open(file).unwrap()).unwrap().verify(&keys).unwrap();
            published.extend(export.keys().map(|exported| *exported.key.unwrap().key.as_bytes()));
        }
        published
    }
}

fn ask_for_code(folder: &Path, server: &Path) -> Option<String> {
    let port = std::fs::read_to_string(folder.join("admin-port")).ok()?;
    let token = std::fs::read_to_string(server.join("keys/admin-token")).ok()?;
    let body = r#"{"testType":"confirmed"}"#;
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).ok()?;
    let head = format!("POST /api/issue HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n", token.trim());
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let json: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    Some(json["code"].as_str()?.to_string())
}

fn zips(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            zips(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "zip") {
            found.push(path);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn killed_at_any_moment_every_report_is_published_once_and_every_file_applied_once() {
    killed_at_any_moment(number("VIGIE_KILLS", 40), None);
}

#[test]
fn the_same_holds_on_postgresql() {
    if let Some(postgresql) = Postgresql::start() {
        killed_at_any_moment(number("VIGIE_KILLS", 20), Some(&postgresql.new_database()));
    }
}

fn killed_at_any_moment(kills: u64, database: Option<&str>) {
    let phones = kills.div_ceil(5);
    let mut world = World::new(number("VIGIE_SEED", 1), phones, database);
    let begun = wall();
    world.run("phone0", "role_reporter", 0);
    world.life_ms = u64::try_from((wall() - begun).as_millis()).unwrap().max(5);
    for phone in 1..phones {
        world.run(&format!("phone{phone}"), "role_reporter", 8);
    }
    world.run("reader", "role_reader", kills / 4);
    eprintln!("{} kills of {} wanted", world.kills, kills);
    assert!(world.kills >= kills / 8, "too few to mean anything");
    let published = world.published();
    for phone in 0..phones {
        let tracer = world.role(&format!("phone{phone}")).phone();
        let keys = tracer.release_keys().unwrap();
        let times: Vec<usize> =
            keys.iter().map(|key| published.iter().filter(|found| *found == key.as_bytes()).count()).collect();
        assert_eq!(times.iter().sum::<usize>(), 1, "phone {phone}: the one key that was sent is in the files once: {times:?}");
    }
    let reader = world.role("reader").phone();
    let list = &reader.key_lists().unwrap()[0];
    assert_eq!((list.waiting, list.refused), (0, 0));
    assert_eq!(reader.alerts().unwrap().len(), phones as usize, "and everybody who was met is known");
}
