//! The server of the crowd: a backend that is started, killed and started again, or one that runs already.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use vigie::courier::waitlist::{FormRules, ReceiptKey, SIGN_UP_PATH, SealingKey};
use vigie::courier::{MAX_SERVERS_FILE, Servers, WaitlistServer};

use super::person::Target;
use crate::backend::{Backend, Setup};
use crate::process::Spent;
use crate::slow_disk::SlowDisk;

/// So long the backend may take to accept those who are connected. It ends a connection on which nothing was sent for 30 s: who were connected first must
/// not be lost while the last are waited for.
const ACCEPTING: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// A backend of our own.
pub(super) struct Own {
    setup: Setup,
    backend: Backend,
    /// The sockets that it had before anybody was connected, where the system says it.
    sockets: Option<usize>,
    /// What it had spent before the clock started.
    before: Duration,
    /// What those that were killed have spent.
    killed: Spent,
    /// How long it took until it served again, after each kill, in seconds.
    pub(super) ready_s: Vec<f64>,
}

impl Own {
    /// # Errors
    /// Where it cannot be started.
    pub(super) fn start(setup: Setup) -> anyhow::Result<Self> {
        let backend = Backend::start(&setup)?;
        let listen = Some([backend.public, backend.admin]);
        Ok(Self {
            setup: Setup { listen, ..setup },
            backend,
            sockets: None,
            before: Duration::ZERO,
            killed: Spent::default(),
            ready_s: Vec::new(),
        })
    }

    /// From here on its connections are counted.
    pub(super) fn crowd_connects(&mut self) {
        self.sockets = self.backend.process.sockets();
    }

    /// Waits until it holds as many connections as were opened, and says how many it holds; nothing where the system does not say it. To those at the other
    /// end a connection that waits in the system's queue looks like one that is held.
    ///
    /// # Errors
    /// Where it does not hold them all, with the next step.
    pub(super) async fn holds(&self, opened: u32) -> anyhow::Result<Option<usize>> {
        let until = Instant::now() + ACCEPTING;
        loop {
            let Some(held) = self.held() else { return Ok(None) };
            if held >= opened as usize {
                return Ok(Some(held));
            }
            if Instant::now() > until {
                bail!(too_few(held, opened as usize, self.setup.processes.unwrap_or(1)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many connections of the crowd it holds.
    fn held(&self) -> Option<usize> {
        Some(self.backend.process.sockets()?.saturating_sub(self.sockets?))
    }

    /// From here on what it spends is counted.
    pub(super) fn clock_starts(&mut self) {
        self.before = self.backend.process.spent().unwrap_or_default().processor;
    }

    /// Kills it, and starts it again at once: the same folder, the same addresses.
    ///
    /// # Errors
    /// Where it does not start again.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        let spent = self.backend.process.spent().unwrap_or_default();
        self.killed.processor += spent.processor;
        self.killed.peak_kib = self.killed.peak_kib.max(spent.peak_kib);
        let killed = Instant::now();
        self.backend.process.kill().context("the backend cannot be killed")?;
        self.backend = Backend::start(&self.setup).context("after a kill")?;
        self.ready_s.push(killed.elapsed().as_secs_f64());
        Ok(())
    }

    /// What the clock has cost so far, as far as the system says it.
    pub(super) fn spent(&self) -> Option<Spent> {
        let spent = self.backend.process.spent()?;
        let processor = (spent.processor + self.killed.processor).saturating_sub(self.before);
        Some(Spent { processor, peak_kib: spent.peak_kib.max(self.killed.peak_kib) })
    }

    /// Ends it, in order.
    ///
    /// # Errors
    /// Where it ends in another way.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.backend.end()
    }

    pub(super) fn slow_disk(&self) -> Option<Arc<SlowDisk>> {
        self.setup.slow_disk.clone()
    }

    pub(super) fn client_json(&self) -> PathBuf {
        self.setup.data.join("client.json")
    }
}

/// What is said where a backend of so many processes holds fewer connections than were opened.
fn too_few(held: usize, opened: usize, processes: u16) -> String {
    // As many as it takes if each holds no more than now.
    let enough = (opened * usize::from(processes)).checked_div(held).unwrap_or(usize::from(processes)) + 1;
    format!("the backend holds {held} of {opened} connections; let more processes hold them with --processes {enough}")
}

/// What a person needs to know of a waiting list.
pub(super) struct List {
    pub(super) target: Target,
    pub(super) sealing: SealingKey,
    pub(super) receipts: Vec<ReceiptKey>,
    pub(super) rules: FormRules,
}

impl List {
    /// From a `client.json`, in a file or at the address of a backend.
    ///
    /// # Errors
    /// Where there is none, or its waiting list is on another machine.
    pub(super) async fn find(named: &str) -> anyhow::Result<Self> {
        let json = if named.contains("://") { fetch(named).await? } else { read(Path::new(named))? };
        let servers = Servers::from_json(&json).with_context(|| format!("{named} is no client.json of a backend"))?;
        let list = servers.waitlist.with_context(|| format!("{named} knows no waiting list; is the backend an older one?"))?;
        Self::new(&list)
    }

    fn new(list: &WaitlistServer) -> anyhow::Result<Self> {
        let url: Uri = list.url.parse().context("the waiting list has no address")?;
        let path = format!("{}{SIGN_UP_PATH}", url.path().trim_end_matches('/'));
        let receipts = list.receipt_keys().context("the waiting list")?.into_iter().map(|(_, key)| key).collect();
        let target = Target { address: address(&url)?, source: None, path };
        Ok(Self { target, sealing: list.sealing_key().context("the waiting list")?, receipts, rules: list.form })
    }
}

/// Load is for this machine alone.
fn address(url: &Uri) -> anyhow::Result<std::net::SocketAddr> {
    const EXPECTED: &str = "name a server as http://127.0.0.1:PORT; load goes to no other machine, and without TLS";
    ensure!(url.scheme_str() == Some("http"), "{EXPECTED}");
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let host = if host == "localhost" { "127.0.0.1" } else { host };
    let ip: std::net::IpAddr = host.parse().context(EXPECTED)?;
    ensure!(ip.is_loopback(), "{EXPECTED}");
    Ok((ip, url.port_u16().unwrap_or(80)).into())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("{} cannot be read; name a client.json, or a server as http://...", path.display()))
}

async fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let url: Uri = format!("{}/client.json", url.trim_end_matches('/')).parse().context("this is no address of a server")?;
    let address = address(&url)?;
    let no_answer = || format!("{address} does not answer; is the backend running?");
    let stream = TcpStream::connect(address).await.with_context(no_answer)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(no_answer)?;
    tokio::spawn(connection);
    let request = Request::get(url.path()).header(header::HOST, address.to_string()).body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await.with_context(no_answer)?;
    if !response.status().is_success() {
        bail!("{address} has no client.json ({}); is it a backend?", response.status());
    }
    let body = Limited::new(response.into_body(), MAX_SERVERS_FILE).collect().await;
    Ok(body.map_err(|_| anyhow::anyhow!("the client.json broke off or is too long"))?.to_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_too_few_are_held_it_is_said_how_many_processes_hold_them_all() {
        let said = too_few(16_000, 25_000, 1);
        assert!(said.contains("holds 16000 of 25000") && said.ends_with("--processes 2"), "{said}");
        assert!(too_few(24_999, 25_000, 2).ends_with("--processes 3"));
        assert!(too_few(1_000, 25_000, 2).ends_with("--processes 51"));
        assert!(too_few(0, 25_000, 1).ends_with("--processes 2"));
    }

    #[test]
    fn load_goes_to_no_other_machine() {
        for (url, expected) in
            [("http://127.0.0.1:8080/x", "127.0.0.1:8080"), ("http://localhost", "127.0.0.1:80"), ("http://[::1]:9", "[::1]:9")]
        {
            assert_eq!(address(&url.parse().unwrap()).unwrap().to_string(), expected);
        }
        for url in ["http://192.0.2.1", "https://127.0.0.1", "http://example.org", "/x"] {
            assert!(address(&url.parse().unwrap()).unwrap_err().to_string().contains("no other machine"), "{url}");
        }
    }
}
