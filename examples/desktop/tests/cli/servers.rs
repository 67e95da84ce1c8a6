//! `vigie report`, `vigie sync`, `vigie status`, and `vigie run --server`, with servers that answer as it is written here.
#![cfg(feature = "http")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::VerificationCode;
use vigie::store::{Changes, Store};
use vigie::time::{Clock, SystemClock};

use super::traffic::{REPLAY, half_an_hour, table, yesterday_noon};
use super::{Desk, vigie};

/// What deployed servers give: digits, without a check symbol.
const CODE: &str = "12345678";
const REPORT: &str = "report 12345678 --store own.db --server client.json";
const SYNC: &str = "sync --store store.db --server client.json";

/// A request, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    is_decoy: bool,
    body: Vec<u8>,
}

/// All servers of an authority in one, on this computer.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each path with a status and a body; 503 says to come again in an hour.
    pub(super) fn start(answer: impl Fn(&Asked) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    pub(super) fn listen(listener: TcpListener, answer: impl Fn(&Asked) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        let (asked, ends) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicBool>::default());
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn({
            let (asked, ends) = (Arc::clone(&asked), Arc::clone(&ends));
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::Acquire) {
                        return;
                    }
                    let mut stream = stream.unwrap();
                    let request = read(&stream);
                    let (status, body) = answer(&request);
                    asked.lock().unwrap().push(request);
                    let again = if status == 503 { "retry-after: 3600\r\n" } else { "" };
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} X\r\n{again}content-length: {length}\r\nconnection: close\r\n\r\n");
                    // Whoever asked may have gone.
                    let _ = stream.write_all(&[head.into_bytes(), body].concat());
                }
            }
        });
        Self { address, asked, ends, thread: Some(thread) }
    }

    /// Takes every code and all keys, and lists these files.
    fn good(files: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self::start(move |asked| match asked.path.as_str() {
            "/index.txt" => (200, files.iter().map(|(name, _)| format!("{name}\n")).collect::<String>().into_bytes()),
            path => match files.iter().find(|(name, _)| path[1..] == **name) {
                Some((_, content)) => (200, content.clone()),
                None => (200, step(path).to_string().into_bytes()),
            },
        })
    }

    fn paths(&self) -> Vec<(String, bool)> {
        self.asked.lock().unwrap().iter().map(|asked| (asked.path.clone(), asked.is_decoy)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The answer to each step of a report.
fn step(path: &str) -> Value {
    match path {
        "/api/verify" => json!({"token": "token"}),
        "/api/certificate" => json!({"certificate": "certificate"}),
        "/v1/publish" => json!({"revisionToken": "revision", "insertedExposures": 2}),
        other => unreachable!("nobody asks for {other}"),
    }
}

fn read(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut lines = reader.by_ref().lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let is_decoy = headers.iter().any(|header| header.starts_with("x-chaff"));
    Asked { path: first.split(' ').nth(1).unwrap().to_owned(), is_decoy, body }
}

impl Desk {
    /// Writes client.json with all servers at this address.
    fn servers_at(&self, address: SocketAddr) -> Vec<u8> {
        let url = format!("http://{address}");
        let client = json!({
            "verification_url": url, "api_key": "key", "publish_url": format!("{url}/v1/publish"), "health_authority_id": "lu",
            "key_lists": [{"index_url": format!("{url}/index.txt"), "base_url": url}],
            "public_keys": [{"key_id": "vigie", "key_version": "v1", "pem": fs::read_to_string(self.path("public.pem")).unwrap()}],
        });
        let client = client.to_string().into_bytes();
        fs::write(self.path("client.json"), &client).unwrap();
        client
    }

    /// client.json with servers that are not there.
    fn servers_absent(&self) {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.servers_at(nobody);
    }

    fn answer(&self, args: &str) -> (Option<i32>, Value) {
        let ran = self.run(&format!("{args} --json"));
        assert!(ran.stdout.starts_with('{'), "{args}: {}{}", ran.stdout, ran.stderr);
        (ran.code, serde_json::from_str(&ran.stdout).unwrap())
    }

    /// Lets the time come at which what waits in own.db is sent again.
    fn the_time_comes(&self) {
        let now = SystemClock.now();
        let (mut store, _) = Store::open(&self.path("own.db"), now, &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let mut changed = store.outbox().unwrap();
        changed.iter_mut().filter(|entry| entry.due.is_some()).for_each(|entry| entry.due = Some(now));
        store.keep_changes(&Changes { changed, ..Changes::default() }).unwrap();
    }
}

fn steps(steps: [(&str, bool); 3]) -> Vec<(String, bool)> {
    steps.into_iter().map(|(path, is_decoy)| (path.to_owned(), is_decoy)).collect()
}

#[test]
fn a_report_is_published_and_the_status_says_so_without_a_network() {
    let desk = Desk::new();
    desk.traced_store();
    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    let onset = yesterday_noon(SystemClock.now()).date();
    let said = desk.yes(&format!("{REPORT} --symptom-onset {onset}"));
    assert_eq!(said, "report: published, 2 keys taken\n");
    assert_eq!(server.paths(), steps([("/api/verify", false), ("/api/certificate", false), ("/v1/publish", false)]));
    let body: Value = serde_json::from_slice(&server.asked.lock().unwrap()[2].body).unwrap();
    assert_eq!(body["temporaryExposureKeys"].as_array().unwrap().len(), 2);
    assert_eq!(body["symptomOnsetInterval"], onset.first_interval().number());

    drop(server);
    let status = desk.yes("status --store own.db --server client.json");
    for part in ["published, 2 keys taken", "/index.txt: not seen yet", "no warning", "0 encounters and 3 keys are kept"] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
}

#[test]
fn a_code_is_read_from_stdin_and_an_address_gives_the_servers() {
    let desk = Desk::new();
    desk.traced_store();
    let client = Arc::<Mutex<Vec<u8>>>::default();
    let server = Server::start({
        let client = Arc::clone(&client);
        move |asked| match asked.path.as_str() {
            "/client.json" => (200, client.lock().unwrap().clone()),
            path => (200, step(path).to_string().into_bytes()),
        }
    });
    *client.lock().unwrap() = desk.servers_at(server.address);
    let args = format!("report - --store own.db --json --server http://{}", server.address);
    let ran = vigie()
        .current_dir(desk.folder.path())
        .args(args.split_whitespace())
        .write_stdin(format!("{CODE}\nnot this\n"))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((ran.status.code(), &answer["report"]["state"]), (Some(0), &"published".into()));
    let verify: Value = serde_json::from_slice(&server.asked.lock().unwrap()[1].body).unwrap();
    assert_eq!(verify["code"], CODE);
}

#[test]
fn a_wrong_code_is_told_nobody_on_the_way_sees_it_and_another_code_goes_on() {
    let desk = Desk::new();
    desk.traced_store();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/api/verify" => (400, br#"{"errorCode":"code_invalid"}"#.to_vec()),
        path => (200, step(path).to_string().into_bytes()),
    });
    desk.servers_at(server.address);
    let ran = desk.run(REPORT);
    assert_eq!(ran.code, Some(1));
    for part in ["needs another code", "the keys are kept", "next: ask for another code"] {
        assert!(ran.stdout.contains(part), "{part} is not in {}", ran.stdout);
    }
    assert_eq!(server.paths(), steps([("/api/verify", false), ("/api/certificate", true), ("/v1/publish", true)]));

    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    let (code, answer) = desk.answer(REPORT);
    assert_eq!((code, &answer["goes_on"], &answer["report"]["keys"]), (Some(0), &true.into(), &2.into()));
}

#[test]
fn where_the_server_is_absent_the_report_waits_and_a_later_sync_sends_it() {
    let desk = Desk::new();
    desk.traced_store();
    desk.servers_absent();
    let ran = desk.run(REPORT);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{}", ran.stdout);
    for part in ["report: waits until ", "nothing is lost", "own.db", "next: vigie run --server sends it"] {
        assert!(ran.stdout.contains(part), "{part} is not in {}", ran.stdout);
    }
    assert!(desk.yes("status --store own.db").contains(": waits until "));
    desk.fails(REPORT, &["an earlier report is not through: it waits until ", "next: ", "--withdraw"]);
    let (code, answer) = desk.answer("sync --store own.db --server client.json");
    assert_eq!((code, &answer["lists"][0]["was_reached"]), (Some(2), &false.into()));

    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    desk.the_time_comes();
    let said = desk.yes("sync --store own.db --server client.json");
    assert!(said.contains("published, 2 keys taken") && said.contains("risk: none"), "{said}");
    assert_eq!(server.paths()[..3], steps([("/api/verify", false), ("/api/certificate", false), ("/v1/publish", false)]));
}

#[test]
fn a_server_that_is_silent_holds_nobody_up_and_what_was_sent_is_sent_again() {
    let desk = Desk::new();
    desk.traced_store();
    let (answer, answers) = std::sync::mpsc::channel::<()>();
    let silent = Server::start(move |_| {
        let _until_the_program_has_ended = answers.recv();
        (503, Vec::new())
    });
    desk.servers_at(silent.address);
    let ran = desk.run(REPORT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("report: is on its way") && ran.stdout.contains("nothing is lost"), "{}", ran.stdout);

    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    assert!(desk.yes("sync --store own.db --server client.json").contains("published, 2 keys taken"));
    assert_eq!(server.paths()[0], ("/api/verify".to_owned(), false));
    drop(answer);
}

#[test]
fn what_is_being_done_is_told_without_the_address_of_a_server() {
    let desk = Desk::new();
    desk.traced_store();
    desk.servers_absent();
    let ran = desk.run("--verbose sync --store own.db --server client.json");
    assert!(ran.stderr.contains("a server was not reached") && !ran.stderr.contains("127.0.0.1"), "{}", ran.stderr);
}

#[test]
fn a_device_that_sent_nothing_has_nothing_to_report_and_sends_no_code() {
    let desk = Desk::new();
    drop(Store::open(&desk.path("own.db"), SystemClock.now(), &mut ChaCha20Rng::seed_from_u64(1)).unwrap());
    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    let ran = desk.run(REPORT);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("has sent nothing") && ran.stdout.contains("the code was not sent"), "{}", ran.stdout);
    assert!(server.paths().is_empty());
}

#[test]
fn a_report_that_was_not_sent_can_be_withdrawn_once() {
    let desk = Desk::new();
    desk.traced_store();
    desk.servers_absent();
    assert_eq!(desk.run(REPORT).code, Some(1));
    assert!(desk.yes("report --withdraw --store own.db").contains("none of its keys was sent"));
    desk.fails("report --withdraw --store own.db", &["no report that could be withdrawn", "next: vigie status"]);
    assert!(desk.yes("status --store own.db").contains("no report"));
}

#[test]
fn a_typing_mistake_is_told_before_anything_is_opened_or_sent() {
    let desk = Desk::new();
    desk.traced_store();
    let before = fs::read(desk.path("own.db")).unwrap();
    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    let mut code = VerificationCode::generate(&mut ChaCha20Rng::seed_from_u64(3)).grouped();
    let last = if code.ends_with('0') { '1' } else { '0' };
    code.replace_range(code.len() - 1.., &last.to_string());
    desk.fails(
        &format!("report {code} --store own.db --server client.json"),
        &["typing mistake", "next: type it as it was given"],
    );
    assert!(server.paths().is_empty());
    assert_eq!(fs::read(desk.path("own.db")).unwrap(), before);
    assert!(desk.yes("status --store own.db").contains("no report"));
}

#[test]
fn a_sync_applies_what_is_listed_warns_and_asks_for_nothing_twice() {
    let (ill, other) = (Desk::new(), Desk::new());
    let sent = ill.traced_store();
    ill.yes("keys release --store own.db --out mine.json");
    ill.yes("keys make --keys mine.json --private-key private.pem --out out.zip --no-embargo");
    fs::copy(ill.path("public.pem"), other.path("public.pem")).unwrap();
    fs::write(other.path("capture.csv"), table(&half_an_hour(&sent, yesterday_noon(SystemClock.now()).start()))).unwrap();
    other.yes(REPLAY);

    let server = Server::good(vec![("out.zip", fs::read(ill.path("out.zip")).unwrap()), ("bad.zip", b"no key file".to_vec())]);
    other.servers_at(server.address);
    let ran = other.run(SYNC);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for part in ["index.txt: 1 new files applied, 1 in all; 1 refused", "risk: high", "next: this was a contact"] {
        assert!(ran.stdout.contains(part), "{part} is not in {}", ran.stdout);
    }
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("bad.zip cannot be used"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(other.path("store.db-downloads")).unwrap().count(), 0, "what was matched is not kept");

    let (code, answer) = other.answer(SYNC);
    assert_eq!((code, &answer["risk_level"]), (Some(0), &"high".into()));
    let list = &answer["lists"][0];
    assert_eq!((&list["newly_applied"], &list["applied"], &list["refused"]), (&0.into(), &1.into(), &1.into()));
    let asked = server.paths().into_iter().filter(|(path, _)| path == "/out.zip").count();
    assert_eq!(asked, 1);

    let (code, status) = other.answer("status --store store.db --server client.json");
    assert_eq!((code, &status["alerts"][0]["risk_level"], &status["encounters"]), (Some(0), &"high".into(), &8.into()));
    assert_eq!(status["lists"][0]["applied"], 1);
}

#[test]
fn a_server_that_wants_to_be_left_alone_is_and_a_sync_says_until_when() {
    let desk = Desk::new();
    desk.traced_store();
    let server = Server::start(|_| (503, Vec::new()));
    desk.servers_at(server.address);
    for _ in 0..2 {
        let ran = desk.run("sync --store own.db --server client.json");
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stdout.contains("not reached; its server wants to be left alone until 20"), "{}", ran.stdout);
    }
    let (_, answer) = desk.answer("sync --store own.db --server client.json");
    assert_eq!(answer["lists"][0]["server_asks_for"], answer["lists"][0]["next_poll"]);
    assert_eq!(server.paths(), [("/index.txt".to_owned(), false)]);
}

#[test]
fn servers_that_cannot_be_used_are_errors_with_a_next_step() {
    let desk = Desk::new();
    desk.traced_store();
    fs::write(desk.path("empty.json"), "{}").unwrap();
    fs::write(desk.path("long.json"), " ".repeat(65_537)).unwrap();
    let server = Server::start(|_| (404, Vec::new()));
    let here = format!("http://{}", server.address);
    for (address, parts) in [
        ("nowhere.json", ["nowhere.json cannot be read", "next: look at the name"]),
        ("empty.json", ["empty.json cannot be used", "next: use the client.json"]),
        ("long.json", ["long.json has more than 65536 bytes", "too long"]),
        ("http://keys.example", ["https://", "--server"]),
        (&here, ["the server answered with status 404", "next: look at the address"]),
    ] {
        desk.fails(&format!("sync --store own.db --server {address}"), &parts);
        desk.fails(&format!("report {CODE} --store own.db --server {address}"), &parts);
    }
    for (args, part) in [
        ("sync --store own.db", "--server"),
        ("report --store own.db --server client.json", "CODE"),
        ("report 12345678 --withdraw --store own.db", "--withdraw"),
        ("report 12345678 --store own.db --server client.json --symptom-onset 1.1.2020", "2020-10-20"),
        ("report 12345678 --store own.db --server client.json --symptom-onset 2020-01-01", "last 28 days"),
        ("status --store nowhere.db", "there is no store nowhere.db"),
        ("status --store own.db --server https://keys.example", "uses no network"),
    ] {
        desk.fails(args, &[part]);
    }
}

#[cfg(all(target_os = "linux", feature = "ble"))]
#[test]
fn tracing_sends_what_waits_and_says_so() {
    let desk = Desk::new();
    desk.traced_store();
    desk.servers_absent();
    assert_eq!(desk.run(REPORT).code, Some(1));
    desk.the_time_comes();
    let server = Server::good(vec![]);
    desk.servers_at(server.address);
    let mut running = desk.start("--json --store own.db --server client.json");
    assert_eq!(running.event("started")["server"], "client.json");
    let mut report = running.event("report_changed");
    while report["state"] == "waiting" {
        report = running.event("report_changed");
    }
    assert_eq!((&report["state"], &report["keys"]), (&"published".into(), &2.into()));
    running.terminate();
    assert!(desk.yes("status --store own.db").contains("published, 2 keys taken"));
}
