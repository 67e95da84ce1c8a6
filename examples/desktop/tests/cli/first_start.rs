//! The first start on a launch day: whatever the address of client.json does, tracing runs at once, and catches up when the servers are there.
#![cfg(all(target_os = "linux", feature = "ble", feature = "http"))]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::bulletin::BulletinSigner;
use vigie::store::{Changes, Store};
use vigie::time::{Clock, SystemClock};

use super::Desk;
use super::news::{bulletin, client_json};
use super::servers::{Asked, Server};

/// What the servers do on launch day.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outage {
    /// Nobody listens.
    Down,
    /// It accepts, and never answers.
    Slow,
    /// 503.
    Busy,
    /// A login page.
    Html,
    /// Bytes.
    Binary,
    /// A body without end.
    Endless,
}

/// A server that does so.
struct Failing {
    ends: Arc<AtomicBool>,
    was_asked: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Failing {
    fn start(outage: Outage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ends, was_asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let thread = (outage != Outage::Down).then(|| {
            let (ends, was_asked) = (Arc::clone(&ends), Arc::clone(&was_asked));
            std::thread::spawn(move || {
                let mut held = Vec::new();
                for stream in listener.incoming() {
                    if ends.load(Ordering::Acquire) {
                        return;
                    }
                    was_asked.store(true, Ordering::Release);
                    held.extend(answer(stream.unwrap(), outage, &ends));
                }
            })
        });
        Self { ends, was_asked, thread, address }
    }

    /// Nobody listens from now on, and who waits for an answer is told.
    fn end(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(TcpStream::connect(self.address));
            thread.join().unwrap();
        }
    }
}

/// Gives the stream back where it is to stay open.
fn answer(mut stream: TcpStream, outage: Outage, ends: &AtomicBool) -> Option<TcpStream> {
    let mut request = [0; 2_048];
    // Whoever asked may have gone.
    let _ = stream.read(&mut request);
    let head =
        |status: u16, length: usize| format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let whole = |status, body: &[u8]| [head(status, body.len()).as_bytes(), body].concat();
    let _ = match outage {
        Outage::Down | Outage::Slow => return Some(stream),
        Outage::Busy => stream.write_all(&whole(503, b"")),
        Outage::Html => stream.write_all(&whole(200, b"<!doctype html><title>Welcome</title><p>Sign in to use this network.")),
        Outage::Binary => stream.write_all(&whole(200, &(0..=255).cycle().take(5_000).collect::<Vec<u8>>())),
        Outage::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n");
            while !ends.load(Ordering::Acquire) && stream.write_all(&[b' '; 4_096]).is_ok() {}
            Ok(())
        }
    };
    None
}

impl Desk {
    /// Lets the time come at which this device asks for lists and bulletin. A person would wait for it, up to 4 hours.
    fn the_moment_comes(&self, address: SocketAddr) {
        let now = SystemClock.now();
        let (mut store, _) = Store::open(&self.path("store.db"), now, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let due = json!({
            "random": 1, "etag": null, "due_ms": now.unix_ms(), "attempts": 0, "seen_ms": null, "newest_ms": null, "is_stale": false,
            "files": [], "serial": 0, "digest": "", "refused": null,
        });
        let note = |name: &str| (format!("{name} http://{address}/{name}.txt"), due.to_string().into_bytes());
        let (_, due) = note("list");
        let notes = vec![note("bulletin"), (format!("list http://{address}/index.txt"), due)];
        store.keep_changes(&Changes { notes, ..Changes::default() }).unwrap();
    }
}

fn traces_at_once_and_catches_up_after(outage: Outage) {
    let (desk, signer) = (Desk::new(), BulletinSigner::generate().unwrap());
    desk.yes("keys make --keys keys.json --private-key private.pem --out keys.zip --no-embargo");
    let mut failing = Failing::start(outage);
    let address = failing.address;
    let args = format!("--json --store store.db --server http://{address}");

    let mut running = desk.start(&args);
    assert_eq!(running.event("tracing_changed")["tracing"], "running");
    // An answer that takes a minute is not waited for: it is still out when the servers come back.
    if outage != Outage::Slow {
        let reason = running.event("servers_absent")["reason"].as_str().unwrap().to_owned();
        assert!(!reason.is_empty());
    }
    while outage != Outage::Down && !failing.was_asked.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(10));
    }
    failing.end();

    let (client, file) =
        (client_json(address, &fs::read_to_string(desk.path("public.pem")).unwrap(), &signer), bulletin(&signer, 3));
    let keys = fs::read(desk.path("keys.zip")).unwrap();
    let has_client = Arc::new(AtomicBool::new(true));
    let good = {
        let has_client = Arc::clone(&has_client);
        move |asked: &Asked| match asked.path.as_str() {
            "/client.json" if has_client.load(Ordering::Acquire) => (200, client.clone()),
            "/index.txt" => (200, b"keys.zip\nbad.zip\n".to_vec()),
            "/keys.zip" => (200, keys.clone()),
            "/bad.zip" => (200, b"no key file".to_vec()),
            "/bulletin.txt" => (200, file.clone()),
            _ => (503, Vec::new()),
        }
    };
    let server = Server::listen(TcpListener::bind(address).unwrap(), good);
    running.event("servers_found");
    let stopped = running.terminate();
    assert_eq!(stopped["own_keys"], 1, "it had a key to send under from the first moment");

    // The next start knows the servers, even where their description cannot be had again.
    has_client.store(false, Ordering::Release);
    desk.the_moment_comes(address);
    let mut running = desk.start(&args);
    assert_eq!(running.event("bulletin")["serial"], 3);
    assert_eq!(running.event("listed_file_refused")["file"], "bad.zip");
    running.terminate();
    let status: Value =
        serde_json::from_str(&desk.yes(&format!("status --store store.db --server http://{address} --json"))).unwrap();
    assert_eq!((&status["lists"][0]["applied"], &status["lists"][0]["refused"]), (&1.into(), &1.into()));
    drop(server);
}

#[test]
fn with_the_server_down_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Down);
}

#[test]
fn with_a_server_that_never_answers_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Slow);
}

#[test]
fn with_a_server_that_is_busy_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Busy);
}

#[test]
fn with_a_login_page_in_place_of_the_server_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Html);
}

#[test]
fn with_a_server_that_answers_bytes_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Binary);
}

#[test]
fn with_a_server_that_answers_without_end_it_traces_at_once_and_catches_up() {
    traces_at_once_and_catches_up_after(Outage::Endless);
}
