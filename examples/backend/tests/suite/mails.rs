//! Confirmations over SMTP, to a mail server that refuses, stalls, disconnects and comes back: PyPI's `aiosmtpd`.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::{free_port, skipped};
use crate::phone::{Backend, DAY};
use crate::place::Place;
use crate::stranger::{People, form};

/// A mail server, ended when dropped.
struct MailServer {
    process: Option<Child>,
    port: u16,
    folder: TempDir,
}

impl MailServer {
    /// Where it is installed.
    fn new() -> Option<Self> {
        let found = Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            skipped("no mail server is installed (pip install aiosmtpd)");
            return None;
        }
        Some(Self { process: None, port: free_port(), folder: tempfile::tempdir().unwrap() })
    }

    fn does(&self, mode: &str) {
        std::fs::write(self.folder.path().join("mode"), mode).unwrap();
    }

    async fn start(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/mail_server.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(self.folder.path()).arg(self.port.to_string()).stdin(Stdio::null());
        self.process = Some(python.spawn().unwrap());
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the mail server does not answer");
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What came in, by recipient.
    fn mails(&self) -> HashMap<String, Vec<String>> {
        let mut mails: HashMap<String, Vec<String>> = HashMap::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "eml") {
                let text = std::fs::read_to_string(path).unwrap();
                let (to, mail) = text.split_once('\n').unwrap();
                mails.entry(to.to_owned()).or_default().push(mail.to_owned());
            }
        }
        mails
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_confirmation_arrives_whatever_the_mail_server_does() {
    let Some(mut server) = MailServer::new() else { return };
    let mut backend = Backend::with(&Place::sqlite(), |config| {
        config.waitlist_round = DAY;
        config.mail.server = Some(format!("smtp://127.0.0.1:{}", server.port));
        config.mail.from = "list@example.org".into();
        // More than a slow machine needs to answer; it is waited for twice.
        config.mail.time = Duration::from_secs(5);
    })
    .await;
    let mut people = People::new(&backend);
    let addresses: Vec<String> = (0..20).map(|number| format!("person{number}@example.org")).collect();
    for (number, address) in addresses.iter().enumerate() {
        people.sign_up(&backend, &form(&format!("{}", 1_000 + number), address)).await;
    }
    backend.opener().open().await.unwrap();
    server.does("refuse");
    assert_eq!(backend.opener().send().await.unwrap(), 0, "there is no server");
    for mode in ["refuse", "forbid", "stall", "disconnect"] {
        backend.clock.advance(DAY / 3);
        server.does(mode);
        server.stop();
        server.start().await;
        assert_eq!(backend.opener().send().await.unwrap(), 0, "{mode}");
        assert!(server.mails().is_empty(), "{mode}");
    }
    backend.clock.advance(DAY / 3);
    server.does("swallow");
    assert_eq!(backend.opener().send().await.unwrap(), 0);
    let swallowed = server.mails();
    assert!(!swallowed.is_empty());
    server.does("accept");
    backend.restart().await;
    for _ in 0..24 {
        backend.clock.advance(DAY / 24);
        backend.opener().send().await.unwrap();
    }
    let mails = server.mails();
    assert_eq!(mails.len(), addresses.len());
    for (address, mails) in &mails {
        assert!(addresses.contains(address));
        // What was swallowed after that look came twice, too.
        let least = 1 + swallowed.get(address).map_or(0, Vec::len);
        assert!((least..=2).contains(&mails.len()), "{address}: {} times, at least {least}", mails.len());
        assert!(mails.iter().all(|mail| *mail == mails[0] && mail.contains("Message-ID: <")), "a repeat is the same");
    }
    backend.clock.advance(DAY);
    assert_eq!(backend.opener().send().await.unwrap(), 0);
}
