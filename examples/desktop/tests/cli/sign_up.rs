//! `vigie sign-up`, with a waiting list that answers as it is written here.
#![cfg(feature = "http")]

use std::fs;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::waitlist::{
    CORRECT_PATH, CorrectRequest, Form, OpeningKey, OperationId, ReceiptSigner, SIGN_UP_PATH, STATUS_PATH, SignUpRequest,
    WITHDRAW_PATH,
};

use super::servers::{Asked, Server};
use super::{Desk, vigie};

const FORM: &str =
    r#"{"national_number":"1893 1201 05732","name":"Ada King","contact":"ada@example.org","consent":true,"language":"fr"}"#;
const SIGN_UP: &str = "sign-up --store own.db --server client.json --form form.json";

fn opening_key() -> OpeningKey {
    OpeningKey::generate("v1", &mut ChaCha20Rng::seed_from_u64(1))
}

/// A key for receipts, from a seed (PKCS#8 of RFC 8410).
fn signer() -> ReceiptSigner {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    ReceiptSigner::from_pkcs8("r1", &[&head[..], &[7; 32]].concat()).unwrap()
}

/// Has one person at most, whose form it can read.
#[derive(Default)]
struct Waitlist {
    form: Form,
    receipt: String,
    state: &'static str,
}

impl Waitlist {
    fn answer(&mut self, asked: &Asked) -> (u16, Vec<u8>) {
        let operation = asked.operation.as_deref().and_then(OperationId::parse);
        let body = match asked.path.as_str() {
            SIGN_UP_PATH => {
                let request: SignUpRequest = serde_json::from_slice(&asked.body).unwrap();
                let operation = operation.unwrap();
                self.form = opening_key().open(&request.form, operation).unwrap();
                let hash = request.form.hash(operation, &request.secret_hash);
                (self.receipt, self.state) = (signer().sign(operation, 12_345, 1_619_013_600, hash), "received");
                json!({"receipt": self.receipt})
            }
            CORRECT_PATH => {
                let request: CorrectRequest = serde_json::from_slice(&asked.body).unwrap();
                let operation = operation.unwrap();
                self.form = opening_key().open(&request.form, operation).unwrap();
                let hash = request.form.hash(operation, &request.secret.hash());
                json!({"receipt": signer().sign(operation, 12_345, 1_619_013_700, hash)})
            }
            STATUS_PATH => json!({"receipt": self.receipt, "state": self.state}),
            WITHDRAW_PATH => {
                self.state = "withdrawn";
                json!({"receipt": self.receipt, "state": self.state})
            }
            "/index.txt" => return (200, Vec::new()),
            other => unreachable!("nobody asks for {other}"),
        };
        (200, body.to_string().into_bytes())
    }
}

fn serve() -> (Server, Arc<Mutex<Waitlist>>) {
    let list = Arc::<Mutex<Waitlist>>::default();
    let server = Server::start({
        let list = Arc::clone(&list);
        move |asked| list.lock().unwrap().answer(asked)
    });
    (server, list)
}

impl Desk {
    /// Adds a waiting list at this address to client.json.
    fn waitlist_at(&self, address: std::net::SocketAddr) {
        let mut client: Value = serde_json::from_slice(&self.servers_at(address)).unwrap();
        client["waitlist"] = json!({
            "url": format!("http://{address}"), "key_id": "v1", "public_key": opening_key().public_text(),
            "receipt_keys": [{"key_id": "r1", "public_key": signer().public_text()}],
            "form": {"national_number": "luxembourg", "name": "required", "birth_year": "absent"},
        });
        fs::write(self.path("client.json"), client.to_string()).unwrap();
        fs::write(self.path("form.json"), FORM).unwrap();
    }
}

#[test]
fn the_recovery_code_comes_first_and_the_status_says_the_place_without_a_network() {
    let desk = Desk::new();
    let (server, list) = serve();
    desk.waitlist_at(server.address);
    let said = desk.yes(SIGN_UP);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("recovery code: ") && lines[0].len() == "recovery code: ".len() + 23, "{said}");
    assert_eq!(lines[2..], ["sign-up: received, with place 12345", "if you signed up before, your earlier number counts"]);
    assert_eq!(list.lock().unwrap().form.national_number, "1893120105732");

    drop(server);
    assert!(desk.yes("status --store own.db").contains(": received, with place 12345"));
    let (_, status) = desk.answer("status --store own.db");
    assert_eq!((&status["sign_ups"][0]["state"], &status["sign_ups"][0]["place"]), (&"received".into(), &12_345.into()));
    assert!(desk.yes("sign-up list --store own.db").starts_with("1  sign-up of 20"));
    let shown = desk.yes("sign-up show 1 --store own.db");
    assert!(shown.starts_with(lines[0]) && shown.contains(&list.lock().unwrap().receipt), "{shown}");
    let store = fs::read(desk.path("own.db")).unwrap();
    for told in ["Ada King", "1893120105732", "ada@example.org"] {
        let kept = store.windows(told.len()).any(|bytes| bytes == told.as_bytes());
        assert!(!kept, "the form itself is not kept: {told}");
    }
}

#[test]
fn without_a_server_a_sign_up_waits_and_a_sync_sends_the_same_bytes() {
    let desk = Desk::new();
    desk.waitlist_at(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let ran = desk.run(SIGN_UP);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("sign-up: waits until 20") && ran.stdout.contains("nothing is lost"), "{}", ran.stdout);
    assert!(desk.yes("sign-up list --store own.db").contains("waits until"));

    desk.the_time_comes();
    let (server, list) = serve();
    desk.waitlist_at(server.address);
    let ran = desk.run("sync --store own.db --server client.json");
    assert!(
        ran.stdout.contains("sign-up of 20") && ran.stdout.contains("received, with place 12345"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    assert_eq!(list.lock().unwrap().form.name, "Ada King");
    assert_eq!(server.asked.lock().unwrap().iter().filter(|asked| asked.path == SIGN_UP_PATH).count(), 1);
}

#[test]
fn with_the_code_another_computer_sees_corrects_and_withdraws() {
    let (desk, other) = (Desk::new(), Desk::new());
    let (server, list) = serve();
    desk.waitlist_at(server.address);
    other.waitlist_at(server.address);
    // Two documents: the code before anything is sent, and how it stands.
    let ran = desk.run(&format!("{SIGN_UP} --json"));
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&ran.stdout).into_iter().map(Result::unwrap).collect();
    let [first, second] = &documents[..] else { unreachable!("{}{}", ran.stdout, ran.stderr) };
    assert_eq!((ran.code, &second["sign_up"]["state"]), (Some(0), &"received".into()));

    let args = "sign-up recover - --store new.db --server client.json";
    let typed = format!("{}\n", first["recovery_code"].as_str().unwrap().to_lowercase());
    let recover = vigie().current_dir(other.folder.path()).args(args.split(' ')).write_stdin(typed).output().unwrap();
    let said = String::from_utf8(recover.stdout).unwrap();
    assert!(said.starts_with("sign-up: received, with place 12345"), "{said}{}", String::from_utf8_lossy(&recover.stderr));
    fs::write(other.path("form.json"), FORM.replace("King", "Lovelace")).unwrap();
    let said = other.yes("sign-up correct 1 --store new.db --server client.json --form form.json");
    assert!(said.starts_with("sign-up: received, with place 12345"), "{said}");
    assert_eq!(list.lock().unwrap().form.name, "Ada Lovelace");
    assert!(other.yes("sign-up withdraw 1 --store new.db --server client.json").contains("sign-up: withdrawn"));
    assert!(desk.yes("sign-up list --store own.db --server client.json").contains(": withdrawn"), "the first one finds out");
    assert!(other.yes("sign-up forget 1 --store new.db").contains("forgotten here"));
    assert!(other.yes("sign-up list --store new.db").contains("nobody has signed up"));
}

#[test]
fn what_is_wrong_is_told_before_anything_is_opened_or_sent_and_never_repeated() {
    let desk = Desk::new();
    let (server, _) = serve();
    desk.waitlist_at(server.address);
    fs::write(desk.path("wrong.json"), FORM.replace("05732", "05731")).unwrap();
    fs::write(desk.path("broken.json"), FORM.replace("true", "\"SECRET\"")).unwrap();
    let to = "--store own.db --server client.json";
    for (args, parts) in [
        (format!("sign-up {to} --form wrong.json"), ["typing mistake", "next: mend that"]),
        (format!("sign-up {to} --form broken.json"), ["line 1, column", "next: it has the members"]),
        (format!("sign-up {to} --form nowhere.json"), ["nowhere.json cannot be read", "next: "]),
        (format!("sign-up {to}"), ["no terminal", "--form FILE.json"]),
        (format!("sign-up recover 1234 {to}"), ["not a recovery code", "next: type it"]),
        (format!("sign-up correct 1 {to} --form form.json"), ["there is no store own.db", "next: "]),
        ("sign-up list --store own.db".to_owned(), ["there is no store own.db", "next: "]),
    ] {
        let ran = desk.run(&args);
        assert!(!ran.stderr.contains("SECRET") && !ran.stdout.contains("recovery code"), "{args}");
        desk.fails(&args, &parts);
    }
    assert!(server.asked.lock().unwrap().is_empty() && !desk.path("own.db").exists());
    desk.servers_at(server.address);
    desk.fails(&format!("sign-up {to} --form form.json"), &["no waiting list", "next: use the client.json"]);
    desk.fails("sign-up --form form.json", &["no servers are named", "next: name them"]);
    desk.waitlist_at(server.address);
    desk.yes(SIGN_UP);
    desk.fails(&format!("sign-up withdraw 2 {to}"), &["there is no sign-up 2", "next: vigie sign-up list"]);
    desk.fails("sign-up show 0 --store own.db", &["there is no sign-up 0"]);
}
