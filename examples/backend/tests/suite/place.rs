//! Where a server under test keeps its data, and the servers that keep it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use object_store::aws::AmazonS3ConfigKey;
use serde_json::json;
use tempfile::TempDir;
use vigie_backend::config::Config;
use vigie_backend::files::Bucket;

/// Where the data lies.
pub(crate) struct Place {
    postgresql: Option<Postgresql>,
    bucket: Option<Moto>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self { postgresql: None, bucket: None }
    }

    /// The same with PostgreSQL, where it is installed.
    pub(crate) fn with_postgresql(self) -> Option<Self> {
        let postgresql = Postgresql::start();
        if postgresql.is_none() {
            skipped("PostgreSQL 15 is not installed (Debian: postgresql-15)");
        }
        postgresql.map(|server| Self { postgresql: Some(server), ..self })
    }

    /// The same with a bucket, where an S3 server is installed.
    pub(crate) async fn with_bucket(self) -> Option<Self> {
        let moto = Moto::start().await;
        if moto.is_none() {
            skipped("no S3 server is installed (pip install 'moto[server]')");
        }
        moto.map(|server| Self { bucket: Some(server), ..self })
    }

    /// Whether a fresh server costs a second.
    pub(crate) fn is_slow(&self) -> bool {
        self.postgresql.is_some() || self.bucket.is_some()
    }

    /// A server in this folder, with a database and a bucket of its own.
    pub(crate) async fn config(&self, data: &Path) -> Config {
        let mut config = Config::new(data);
        config.listen = ([127, 0, 0, 1], 0).into();
        config.admin_listen = ([127, 0, 0, 1], 0).into();
        config.database = self.postgresql.as_ref().map(Postgresql::new_database);
        if let Some(moto) = &self.bucket {
            let bucket = moto.new_bucket().await;
            config.files_url = Some(format!("{}/{}", moto.url, bucket.name));
            config.bucket = Some(bucket);
        }
        config
    }
}

/// Says that something is not tested here. `.ci/run` (`CI`) installs what is needed, so there it is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "not to be skipped: {why}");
    eprintln!("skipped: {why}");
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn new_name() -> String {
    format!("test{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// PostgreSQL in a temporary folder, ended when dropped.
pub(crate) struct Postgresql {
    folder: PathBuf,
    port: u16,
}

impl Postgresql {
    pub(crate) fn start() -> Option<Self> {
        if !Path::new(BIN).join("initdb").exists() {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("vigie-postgresql-{}-{}", std::process::id(), new_name()));
        let server = Self { folder, port: free_port() };
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
        let mut start = as_postgres(&format!("{BIN}/pg_ctl"));
        start.args(["start", "-w", "-t", "60", "-D"]).arg(&data).arg("-l").arg(server.folder.join("log"));
        start.arg("-o").arg(format!("-p {} -k {} -c listen_addresses=127.0.0.1", server.port, server.folder.display()));
        // The server inherits them, and whoever waited for their end would wait for the server's.
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(start.status().unwrap().success());
        Some(server)
    }

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

/// An S3 server that keeps everything in memory, ended when dropped.
struct Moto {
    process: Child,
    url: String,
    _log: TempDir,
}

impl Moto {
    async fn start() -> Option<Self> {
        crate::phone::install_provider();
        let port = free_port();
        let log = tempfile::tempdir().unwrap();
        let errors = std::fs::File::create(log.path().join("log")).unwrap();
        let process = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .ok()?;
        let mut server = Self { process, url: format!("http://127.0.0.1:{port}"), _log: log };
        for _ in 0..600 {
            if reqwest::get(&server.url).await.is_ok() {
                return Some(server);
            }
            if server.process.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the S3 server does not answer");
    }

    async fn new_bucket(&self) -> Bucket {
        let name = new_name();
        let made = reqwest::Client::new().put(format!("{}/{name}", self.url)).send().await.unwrap();
        assert!(made.status().is_success(), "{}", made.status());
        // As a bucket behind a content delivery network: everybody may read, and nobody list.
        let statement = json!({
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{name}/*"),
        });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let opened = reqwest::Client::new().put(format!("{}/{name}?policy", self.url)).body(policy).send().await.unwrap();
        assert!(opened.status().is_success(), "{}", opened.status());
        let settings = [
            (AmazonS3ConfigKey::AccessKeyId, "test"),
            (AmazonS3ConfigKey::SecretAccessKey, "test"),
            (AmazonS3ConfigKey::Region, "us-east-1"),
        ];
        let settings = settings.map(|(key, value)| (key, value.to_owned())).to_vec();
        Bucket { name, endpoint: Some(self.url.clone()), settings }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
