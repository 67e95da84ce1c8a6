//! Where a server under test keeps its data, and the servers that keep it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use object_store::aws::AmazonS3ConfigKey;
use serde_json::json;
use tempfile::TempDir;
use vigie_backend::config::Config;
use vigie_backend::files::Bucket;

use crate::common::{Postgresql, free_port, new_name, skipped};

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
        Postgresql::start().map(|server| Self { postgresql: Some(server), ..self })
    }

    /// The same with a bucket, where an S3 server is installed.
    pub(crate) async fn with_bucket(self) -> Option<Self> {
        let moto = Moto::start().await;
        if moto.is_none() {
            skipped("no S3 server is installed (pip install 'moto[server]')");
        }
        moto.map(|server| Self { bucket: Some(server), ..self })
    }

    /// Its PostgreSQL.
    pub(crate) fn postgresql(&self) -> Option<&Postgresql> {
        self.postgresql.as_ref()
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
