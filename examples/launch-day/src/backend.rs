//! The backend that is measured: `vigie-backend` as an operator starts it, on free ports of this machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use hyper::Uri;
use serde_json::Value;

use crate::process::Process;
use crate::slow_disk::SlowDisk;

/// Where the backend takes its database from; a password does not show in the list of processes so.
const DATABASE: &str = "VIGIE_BACKEND_DATABASE";

/// How it is started.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) program: PathBuf,
    /// PostgreSQL in place of SQLite.
    pub(crate) database: Option<String>,
    /// Its disk, where that is slow.
    pub(crate) slow_disk: Option<Arc<SlowDisk>>,
    /// Everything that it keeps.
    pub(crate) data: PathBuf,
    /// Where it serves apps and admins; free ports where nothing is said.
    pub(crate) listen: Option<[SocketAddr; 2]>,
    /// So many requests in a transaction at most.
    pub(crate) group_size: Option<u32>,
    /// So many processes.
    pub(crate) processes: Option<u16>,
}

impl Setup {
    /// As it is without options.
    pub(crate) fn new(program: PathBuf, data: PathBuf) -> Self {
        Self { program, database: None, slow_disk: None, data, listen: None, group_size: None, processes: None }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let [public, admin] =
            self.listen.unwrap_or([SocketAddr::from(([127, 0, 0, 1], 0)); 2]).map(|address| address.to_string());
        command.args(["--listen", &public, "--admin-listen", &admin, "--data"]).arg(&self.data);
        command.env_remove(DATABASE).stdout(Stdio::piped());
        if let Some(size) = self.group_size {
            command.args(["--group-size", &size.to_string()]);
        }
        if let Some(processes) = self.processes {
            command.args(["--processes", &processes.to_string()]);
        }
        if let Some(url) = &self.database {
            command.env(DATABASE, url);
        }
        if let Some(slow) = &self.slow_disk {
            command.envs(slow.environment());
        }
        command
    }
}

/// A running backend.
pub(crate) struct Backend {
    pub(crate) process: Process,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) api_key: String,
    pub(crate) admin_token: String,
    pub(crate) health_authority_id: String,
}

impl Backend {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be started, with its own words.
    pub(crate) fn start(setup: &Setup) -> anyhow::Result<Self> {
        let mut process = Process::start(&mut setup.command(), &setup.data.with_extension("log"))?;
        let stdout = process.child.stdout.take().context("the backend's output cannot be read")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut address = || lines.next().and_then(Result::ok).as_deref().and_then(served_at);
        let (Some(public), Some(admin)) = (address(), address()) else {
            // Before its last words are read it must have said them.
            let _ = process.end();
            bail!("the backend did not start; its last words:\n{}", process.last_words());
        };
        // It goes on writing; a pipe that nobody reads would end it.
        std::thread::spawn(move || lines.for_each(drop));
        if let Some(slow) = &setup.slow_disk {
            let library = slow.library();
            ensure!(process.has_loaded(library) != Some(false), "the backend did not load {}", library.display());
        }
        let client: Value = serde_json::from_slice(&read(&setup.data.join("client.json"))?)?;
        let text = |member: &str| client[member].as_str().map(str::to_owned).with_context(|| format!("client.json: no {member}"));
        let admin_token = String::from_utf8(read(&setup.data.join("keys/admin-token"))?)?;
        let (api_key, health_authority_id) = (text("api_key")?, text("health_authority_id")?);
        Ok(Self { process, public, admin, api_key, admin_token, health_authority_id })
    }

    /// Ends it, in order.
    ///
    /// # Errors
    /// Where it ends in another way.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let status = self.process.end().context("the backend cannot be ended")?;
        ensure!(status.success(), "the backend did not end in order ({status}); its last words:\n{}", self.process.last_words());
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The address in a line such as `serving apps    http://127.0.0.1:8080`.
fn served_at(line: &str) -> Option<SocketAddr> {
    let (_, url) = line.split_once("http://")?;
    url.split_whitespace().next()?.parse().ok()
}

/// Where the backend is when nothing is said: beside this program, as cargo builds them.
///
/// # Errors
/// Where it is not there, with the command that builds it.
pub(crate) fn program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        ensure!(named.is_file(), "{} is no program; name the backend's with --backend", named.display());
        return Ok(named.to_owned());
    }
    let own = std::env::current_exe().context("this program does not know where it is; name the backend's with --backend")?;
    let beside = own.with_file_name(format!("vigie-backend{}", std::env::consts::EXE_SUFFIX));
    let profile = if cfg!(debug_assertions) { "" } else { "--release " };
    ensure!(
        beside.is_file(),
        "{} is missing; build it with `cargo build {profile}-p vigie-backend`, or name another with --backend",
        beside.display()
    );
    Ok(beside)
}

/// A PostgreSQL of this machine: what is written into it in a test stays in it.
pub(crate) fn local_database(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "write it as postgres://user@127.0.0.1:port/name; load goes to no other machine";
    let url: Uri = text.parse().map_err(|_| EXPECTED)?;
    // Parameters could name another host.
    if !matches!(url.scheme_str(), Some("postgres" | "postgresql")) || url.query().is_some() {
        return Err(EXPECTED);
    }
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_local = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if is_local { Ok(text.to_owned()) } else { Err(EXPECTED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_what_the_backend_says() {
        assert_eq!(served_at("serving apps    http://127.0.0.1:8080"), Some(SocketAddr::from(([127, 0, 0, 1], 8080))));
        assert_eq!(served_at("serving admins  http://127.0.0.1:9  (token: x)"), Some(SocketAddr::from(([127, 0, 0, 1], 9))));
        for other in ["", "error: x", "http://", "http://example.org"] {
            assert_eq!(served_at(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_database_of_this_machine_is_taken() {
        for good in ["postgres://u@127.0.0.1:5499/x", "postgresql://u:p@localhost/x", "postgres://[::1]/x"] {
            assert!(local_database(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "postgres://db/x",
            "postgres://u@192.0.2.1/x",
            "postgres://u@127.0.0.1/x?host=db",
            "host=127.0.0.1",
            "http://[::1]/",
        ] {
            assert!(local_database(bad).is_err(), "{bad}");
        }
    }
}
