//! The world of a scenario: a real backend with a clock of its own, which an interpreter moves over HTTP, and a disk that can be full.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie_backend::Server;
use vigie_backend::config::Config;

use crate::{cache, library, root};

/// 22 October 2020, 18:00, in milliseconds since 1970.
const LAUNCH: i64 = 1_603_389_600_000;

/// Codes that are issued before the backend goes down: an authority's are given by telephone.
const SPARE_CODES: usize = 4;

/// A backend and what moves it; ended when dropped.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    folder: TempDir,
    _runtime: Runtime,
}

/// What the routes share.
struct World {
    server: Option<Server>,
    config: Config,
    clock: ManualClock,
    http: reqwest::Client,
    spare_codes: Vec<String>,
    _data: TempDir,
}

type Shared = Arc<Mutex<World>>;
type Failure = (StatusCode, String);

impl Control {
    /// Starts it.
    ///
    /// # Errors
    /// Where a port, a folder or the backend cannot be had.
    pub fn start() -> anyhow::Result<Self> {
        // A second one in this process is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Runtime::new()?;
        let address = runtime.block_on(async {
            let world = World::start().await?;
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?;
            tokio::spawn(async move { axum::serve(listener, routes(world)).await });
            anyhow::Ok(address)
        })?;
        Ok(Self { address, folder: tempfile::tempdir()?, _runtime: runtime })
    }

    /// What an interpreter of the scenario is given.
    ///
    /// # Errors
    /// Where the library was not built, or the disk cannot be made to be full.
    pub fn equip(&self, command: &mut Command) -> anyhow::Result<()> {
        command
            .env("VIGIE_SCENARIO", root().join("ffi-tests/scenario.txt"))
            .env("VIGIE_CONTROL", format!("http://{}", self.address))
            .env("VIGIE_FOLDER", self.folder.path())
            .env("VIGIE_LIBRARY", library()?)
            .env("LD_PRELOAD", full_disk()?);
        Ok(())
    }
}

/// The library that makes a disk full.
///
/// # Errors
/// Where there is no C compiler.
pub fn full_disk() -> anyhow::Result<PathBuf> {
    let source = root().join("ffi-tests/full_disk.c");
    let library = cache("disk")?.join(format!("full_disk-{}.so", std::process::id()));
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let output = compile.output().context("there is no C compiler `cc`; install gcc")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Several tests may make it at once.
    let shared = library.with_file_name("full_disk.so");
    std::fs::rename(&library, &shared)?;
    Ok(shared)
}

impl World {
    async fn start() -> anyhow::Result<Shared> {
        let data = tempfile::tempdir()?;
        let mut config = Config::new(data.path());
        config.listen.set_port(0);
        config.admin_listen.set_port(0);
        let clock = ManualClock::new(Timestamp::from_unix_ms(LAUNCH));
        let mut world = Self { server: None, config, clock, http: reqwest::Client::new(), spare_codes: Vec::new(), _data: data };
        world.up().await?;
        Ok(Arc::new(Mutex::new(world)))
    }

    async fn up(&mut self) -> anyhow::Result<()> {
        if self.server.is_none() {
            let server = Server::start(self.config.clone(), Arc::new(self.clock.clone())).await?;
            // Phones find it again at the same address.
            (self.config.listen, self.config.admin_listen) = (server.public_address(), server.admin_address());
            self.server = Some(server);
        }
        Ok(())
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            self.spare_codes.clear();
            for _ in 0..SPARE_CODES {
                let code = self.issue().await?;
                self.spare_codes.push(code);
            }
        }
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        Ok(())
    }

    async fn code(&mut self) -> anyhow::Result<String> {
        if self.server.is_none() { self.spare_codes.pop().context("no more codes") } else { self.issue().await }
    }

    async fn issue(&self) -> anyhow::Result<String> {
        let token = std::fs::read_to_string(self.config.data.join("keys/admin-token"))?;
        let url = format!("http://{}/api/issue", self.config.admin_listen);
        let answer = self.http.post(url).bearer_auth(token).body(json!({ "testType": "confirmed" }).to_string()).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(answer["code"].as_str().with_context(|| format!("no code: {answer}"))?.to_owned())
    }
}

fn routes(world: Shared) -> Router {
    Router::new()
        .route("/now", get(async |State(world): State<Shared>| world.lock().await.clock.now().unix_ms().to_string()))
        .route("/client.json", get(client_json))
        .route("/code", post(async |State(world): State<Shared>| world.lock().await.code().await.map_err(failed)))
        .route("/advance", post(advance))
        .route("/publish", post(publish))
        .route("/down", post(async |State(world): State<Shared>| world.lock().await.down().await.map_err(failed)))
        .route("/up", post(async |State(world): State<Shared>| world.lock().await.up().await.map_err(failed)))
        .route("/disk", post(disk))
        .with_state(world)
}

async fn client_json(State(world): State<Shared>) -> Result<String, Failure> {
    std::fs::read_to_string(world.lock().await.config.data.join("client.json")).map_err(|error| failed(error.into()))
}

#[derive(serde::Deserialize)]
struct Advance {
    ms: u64,
}

async fn advance(State(world): State<Shared>, Query(Advance { ms }): Query<Advance>) {
    world.lock().await.clock.advance(Duration::from_millis(ms));
}

async fn publish(State(world): State<Shared>) -> Result<String, Failure> {
    let world = world.lock().await;
    let server = world.server.as_ref().context("the backend is down").map_err(failed)?;
    let files = server.publish_now().await.map_err(|error| failed(error.into()))?;
    Ok(files.to_string())
}

#[derive(serde::Deserialize)]
struct Disk {
    folder: PathBuf,
    full: bool,
}

async fn disk(Query(Disk { folder, full }): Query<Disk>) -> Result<(), Failure> {
    let mark: &Path = &folder.join("full");
    let done = if full { std::fs::write(mark, "") } else { std::fs::remove_file(mark) };
    done.map_err(|error| failed(error.into()))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn failed(error: anyhow::Error) -> Failure {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}
