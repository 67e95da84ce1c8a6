//! PostgreSQL 15 for tests, started in a temporary folder on a free port.

mod skipped;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) use skipped::{free_port, skipped};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Used by nothing else in this process.
pub(crate) fn new_name() -> String {
    format!("test{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// PostgreSQL in a temporary folder, ended when dropped.
pub(crate) struct Postgresql {
    folder: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Postgresql {
    /// Where it is installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// With this in its environment, where it is installed.
    pub(crate) fn start_with(environment: &[(&str, &str)]) -> Option<Self> {
        if !Path::new(BIN).join("initdb").exists() {
            skipped("PostgreSQL 15 is not installed (Debian: postgresql-15)");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("vigie-postgresql-{}-{}", std::process::id(), new_name()));
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = Self { folder, port: free_port(), environment };
        let data = server.folder.join("data");
        let is_done = |mut command: Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let mut make = as_postgres("mkdir");
        make.arg(&server.folder);
        is_done(make);
        let mut init = as_postgres(&format!("{BIN}/initdb"));
        init.args(["--auth=trust", "--no-sync", "--username=vigie", "-D"]).arg(&data);
        is_done(init);
        server.start_again();
        Some(server)
    }

    /// Ends it as a failure of power would, and starts it again. Connections break.
    #[allow(dead_code, reason = "not every test that has a PostgreSQL needs it")]
    pub(crate) fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Ends it as a failure of power would.
    #[allow(dead_code, reason = "not every test that has a PostgreSQL needs it")]
    pub(crate) fn stop(&self) {
        self.control("stop");
    }

    /// As it was started first.
    pub(crate) fn start_again(&self) {
        self.control("start");
    }

    fn control(&self, what: &str) {
        let mut control = as_postgres(&format!("{BIN}/pg_ctl"));
        control.args([what, "-w", "-t", "60", "-m", "immediate", "-D"]).arg(self.folder.join("data"));
        control.arg("-l").arg(self.folder.join("log"));
        control.arg("-o").arg(format!("-p {} -k {} -c listen_addresses=127.0.0.1", self.port, self.folder.display()));
        control.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // The server inherits them, and whoever waited for their end would wait for the server's.
        control.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(control.status().unwrap().success());
    }

    /// The URL of a new, empty database.
    pub(crate) fn new_database(&self) -> String {
        let name = new_name();
        let url = |database: &str| format!("postgres://vigie@127.0.0.1:{}/{database}", self.port);
        let (administration, statement) = (url("postgres"), format!("CREATE DATABASE {name}"));
        // PostgreSQL's client has a runtime of its own, which cannot be inside another.
        std::thread::spawn(move || {
            let mut client = postgres::Client::connect(&administration, postgres::NoTls).unwrap();
            client.batch_execute(&statement).unwrap();
        })
        .join()
        .unwrap();
        url(&name)
    }
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &str) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = Command::new(if is_root { "runuser" } else { program });
    if is_root {
        command.args(["-u", "postgres", "--", program]);
    }
    command.current_dir("/");
    command
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        let stop = as_postgres(&format!("{BIN}/pg_ctl"))
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.folder.join("data"))
            .stdout(Stdio::null())
            .status();
        if stop.is_ok_and(|status| status.success()) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
