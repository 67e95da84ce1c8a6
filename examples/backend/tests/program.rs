//! The program as an operator starts it, asks it for a code, ends it and kills it.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vigie-backend");

struct Running {
    process: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGKILL: it has no chance to end anything.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(data: &Path) -> Running {
    start_with(data, &[])
}

fn start_with(data: &Path, arguments: &[&str]) -> Running {
    let mut process = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(process.stdout.take().unwrap()).lines().take(4).map(Result::unwrap).collect();
    assert!(lines[3].contains("vigie-backend issue --data"), "the next command: {lines:?}");
    let address = lines[0].rsplit_once("http://").unwrap().1.to_owned();
    Running { process, address }
}

fn issue(data: &Path) -> String {
    let output = Command::new(PROGRAM).args(["issue", "--data"]).arg(data).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn verify(running: &Running, data: &Path, code: &str, idempotency_key: &str) -> Value {
    let body = json!({ "code": code }).to_string();
    let api_key = std::fs::read_to_string(data.join("keys/api-key")).unwrap();
    let mut stream = TcpStream::connect(&running.address).unwrap();
    write!(
        stream,
        "POST /api/verify HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {api_key}\r\nidempotency-key: {idempotency_key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn what_was_answered_before_it_was_killed_is_answered_alike_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = start(&data);
    let code = issue(&data);
    assert_eq!(code.len(), "XXXX-XXXX-XXXX-XXXX\n".len(), "the code alone");
    let first = verify(&running, &data, code.trim(), "a");
    assert!(first["token"].is_string());
    drop(running);
    let running = start(&data);
    assert_eq!(verify(&running, &data, code.trim(), "a")["token"], first["token"]);
    assert_eq!(verify(&running, &data, code.trim(), "b")["errorCode"], "code_invalid");
}

#[test]
fn it_ends_in_order_and_its_secrets_are_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut running = start(&data);
    for secret in ["hash.key", "certificate-v1.pem", "export-v1.pem", "bulletin-v1.pem", "api-key", "admin-token"]
        .map(|name| data.join("keys").join(name))
    {
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600, "{}", secret.display());
    }
    for kept in ["backend.sqlite", "backend.sqlite-wal", "client.json"] {
        assert_eq!(std::fs::metadata(data.join(kept)).unwrap().permissions().mode() & 0o077, 0, "{kept}");
    }
    let client: Value = serde_json::from_slice(&std::fs::read(data.join("client.json")).unwrap()).unwrap();
    let mut stream = TcpStream::connect(&running.address).unwrap();
    write!(stream, "GET /client.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut served = String::new();
    stream.read_to_string(&mut served).unwrap();
    let served: Value = serde_json::from_str(served.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(served, client, "an app can ask for it");
    assert_eq!(client["key_lists"][0]["index_url"], format!("http://{}/index.txt", running.address));
    Command::new("kill").args(["-TERM", &running.process.id().to_string()]).status().unwrap();
    assert!(running.process.wait().unwrap().success());
}

#[test]
fn the_form_asks_for_what_the_operator_wants() {
    let folder = tempfile::tempdir().unwrap();
    let fields = ["--national-number", "luxembourg", "--name", "optional", "--birth-year", "absent"];
    let running = start_with(folder.path(), &fields);
    let client: Value = serde_json::from_slice(&std::fs::read(folder.path().join("client.json")).unwrap()).unwrap();
    let asked = json!({ "national_number": "luxembourg", "name": "optional", "birth_year": "absent" });
    assert_eq!(client["waitlist"]["form"], asked);
    drop(running);
}

#[test]
fn the_example_of_a_bulletin_is_published_served_with_its_etag_and_not_published_twice() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = start(&data);
    let ask = |args: &[&str]| Command::new(PROGRAM).args(args).arg("--data").arg(&data).output().unwrap();
    let example = ask(&["bulletin", "example"]);
    let file = folder.path().join("bulletin.json");
    std::fs::write(&file, &example.stdout).unwrap();
    let publish = || ask(&["bulletin", "publish", file.to_str().unwrap()]);
    let published = publish();
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    assert!(String::from_utf8_lossy(&published.stdout).starts_with("bulletin 1 is published"));
    let get = |header: &str| {
        let mut stream = TcpStream::connect(&running.address).unwrap();
        write!(stream, "GET /bulletin.txt HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = get("");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("max-age=300"), "{head}");
    assert!(body.starts_with("v1 v1 ") && body.ends_with(std::str::from_utf8(&example.stdout).unwrap()));
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert!(get(&format!("if-none-match: {etag}\r\n")).starts_with("HTTP/1.1 304"));

    let mut next: Value = serde_json::from_slice(&example.stdout).unwrap();
    next["keys"]["waiting_list"] = json!([{ "key_id": "v1", "public_key": format!("{}=", "A".repeat(43)) }]);
    std::fs::write(&file, next.to_string()).unwrap();
    let foreign = publish();
    assert_eq!(foreign.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("waitlist-v1.public: forms that are sealed to it"));
    let own = std::fs::read_to_string(data.join("keys/waitlist-v1.public")).unwrap();
    next["keys"]["waiting_list"] = json!([{ "key_id": "v1", "public_key": own.trim() }]);
    next["serial"] = 2.into();
    std::fs::write(&file, next.to_string()).unwrap();
    assert!(publish().status.success());

    let again = publish();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("give it 3 or more"));
}

#[test]
fn what_cannot_be_is_said_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        let output = Command::new(PROGRAM).args(args).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--listen", "192.0.2.1:1"]).contains("192.0.2.1:1 cannot be listened on"));
    assert!(refused(&["--bucket", "keys"]).contains("--files-url"));
    assert!(refused(&["--public-url", "https://x/"]).contains("ends with a slash"));
    assert!(refused(&["issue", "--symptoms", "1999-01-01"]).contains("at most 28 days ago"));
    assert!(refused(&["issue", "--short-code"]).contains("without --short"));
    let free_ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let no_database = [&free_ports[..], &["--database", "postgres://127.0.0.1:1/x"]].concat();
    assert!(refused(&no_database).contains("PostgreSQL cannot be used"));
}

/// A port on which nobody listens now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The processes that this one has started.
#[cfg(target_os = "linux")]
fn children(id: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
fn is_there(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(signal: &str, id: &str) {
    Command::new("kill").args([signal, id]).status().unwrap();
}

/// A process that is killed when this is dropped.
struct Killed(String);

impl Drop for Killed {
    fn drop(&mut self) {
        kill("-KILL", &self.0);
    }
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it has not come so within a minute");
}

fn is_healthy(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = write!(stream, "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

#[cfg(target_os = "linux")]
#[test]
fn several_processes_share_an_address_come_back_one_by_one_and_end_with_the_one_that_started_them() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let start = || {
        let mut command = Command::new(PROGRAM);
        command.args(["--processes", "2", "--listen", &address, "--admin-listen", "127.0.0.1:0", "--data"]);
        let process = command.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Running { process, address: address.clone() }
    };
    let mut running = start();
    let id = running.process.id();
    wait_until(|| children(id).len() == 2 && is_healthy(&address));
    let first = children(id);
    kill("-KILL", &first[0]);
    wait_until(|| children(id).len() == 2 && !children(id).contains(&first[0]) && is_healthy(&address));
    let all = children(id);
    kill("-TERM", &id.to_string());
    assert!(running.process.wait().unwrap().success());
    assert!(!all.iter().any(|child| is_there(child)));

    let mut running = start();
    let id = running.process.id();
    wait_until(|| children(id).len() == 2 && is_healthy(&address));
    let all = children(id);
    running.process.kill().unwrap();
    running.process.wait().unwrap();
    wait_until(|| !all.iter().any(|child| is_there(child)));
}

#[test]
fn several_processes_that_cannot_listen_end_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let log = folder.path().join("log");
    let mut command = Command::new(PROGRAM);
    command.args(["--processes", "2", "--listen", &address, "--admin-listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    let process = command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut running = Running { process, address };
    wait_until(|| running.process.try_wait().unwrap().is_some());
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(running.process.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.contains("cannot be listened on") && said.contains("cannot be started"), "{said}");
}

#[test]
fn in_the_background_it_outlives_the_shell_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let script =
        format!(r#""$0" --listen {address} --admin-listen 127.0.0.1:0 --data "$1" >/dev/null 2>&1 & echo $!; read -r end"#);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, PROGRAM]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut id = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let _server = Killed(id.trim().to_owned());
    wait_until(|| is_healthy(&address));
    drop(shell.stdin.take());
    shell.wait().unwrap();
    // Where it ends with the shell, it does so within this time.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(is_healthy(&address));
}
