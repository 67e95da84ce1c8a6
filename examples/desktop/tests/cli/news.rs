//! `vigie news`: the bulletin as it is fetched, as it was kept, and as it is refused.
#![cfg(feature = "http")]

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::bulletin::BulletinSigner;
use vigie::store::Store;
use vigie::time::{Clock, SystemClock, Timestamp};

use super::Desk;
use super::servers::Server;

/// The file of a bulletin that was made three hours ago.
pub(super) fn bulletin(signer: &BulletinSigner, serial: u64) -> Vec<u8> {
    let now = SystemClock.now();
    let hours = |hours: u64| now.before(std::time::Duration::from_secs(3_600 * hours));
    let day = |ago: u64| json!({"date": hours(24 * ago).date().to_string(), "value": 10 * (8 - ago)});
    let document = json!({
        "serial": serial, "region": "LU", "issued_at": Timestamp::from_unix_s(hours(3).unix_s()).to_string(),
        "figures": [{"name": "cases", "title": {"en": "New cases", "fr": "Nouveaux cas"}, "values": (1..=7).rev().map(day).collect::<Vec<_>>()}],
        "advice": {"en": [{"title": "Air the room", "text": "Every hour."}], "fr": [{"title": "Aérer", "text": "Chaque heure.\nDix minutes."}]},
        "configuration": {"minimum_version": "999.0.0"},
    });
    signer.sign("v1", document.to_string().as_bytes()).unwrap()
}

/// client.json with everything at this address.
pub(super) fn client_json(address: SocketAddr, public_pem: &str, signer: &BulletinSigner) -> Vec<u8> {
    let url = format!("http://{address}");
    let key = json!({"key_id": "v1", "public_key": BASE64_STANDARD.encode(signer.public_key())});
    let client = json!({
        "verification_url": url, "api_key": "key", "publish_url": format!("{url}/v1/publish"), "health_authority_id": "lu",
        "key_lists": [{"index_url": format!("{url}/index.txt"), "base_url": url}],
        "public_keys": [{"key_id": "vigie", "key_version": "v1", "pem": public_pem}],
        "bulletin": {"url": format!("{url}/bulletin.txt"), "region": "LU", "keys": [key]},
    });
    client.to_string().into_bytes()
}

/// A desk with a store, and a server whose bulletin can be changed.
struct Scene {
    desk: Desk,
    signer: BulletinSigner,
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
    server: Option<Server>,
}

const NEWS: &str = "news --store store.db --server client.json --language fr-LU";

impl Scene {
    fn new() -> Self {
        let (desk, signer) = (Desk::new(), BulletinSigner::generate().unwrap());
        drop(Store::open(&desk.path("store.db"), SystemClock.now(), &mut ChaCha20Rng::seed_from_u64(1)).unwrap());
        let answer = Arc::new(Mutex::new((200, bulletin(&signer, 7))));
        let server = Server::start({
            let answer = Arc::clone(&answer);
            move |asked| if asked.path == "/bulletin.txt" { answer.lock().unwrap().clone() } else { (503, Vec::new()) }
        });
        let pem = fs::read_to_string(desk.path("public.pem")).unwrap();
        fs::write(desk.path("client.json"), client_json(server.address, &pem, &signer)).unwrap();
        Self { desk, signer, answer, server: Some(server) }
    }

    fn answers(&self, status: u16, body: Vec<u8>) {
        *self.answer.lock().unwrap() = (status, body);
    }
}

#[test]
fn the_bulletin_is_shown_in_the_users_language_with_curves_and_a_notice() {
    let scene = Scene::new();
    let said = scene.desk.yes(NEWS);
    for part in [
        "bulletin 7 for LU, 3 h old, seen ",
        "Nouveaux cas: 70 on ",
        "▁▂▃▅▆▇█",
        "Aérer",
        "  Chaque heure.\n  Dix minutes.",
        "a newer version",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(scene.desk.yes(&NEWS.replace("fr-LU", "lb")).contains("Air the room"), "who reads none of them gets English");
    let answer: Value = serde_json::from_str(&scene.desk.yes(&format!("{NEWS} --json"))).unwrap();
    assert_eq!(
        (&answer["was_reached"], &answer["bulletin"]["serial"], &answer["refused"]),
        (&true.into(), &7.into(), &Value::Null)
    );
    assert_eq!(answer["bulletin"]["figures"][0]["values"].as_array().unwrap().len(), 7);
}

#[test]
fn without_a_network_the_kept_one_is_shown_with_its_age() {
    let mut scene = Scene::new();
    scene.desk.fails("news --store store.db", &["knows no servers", "next: "]);
    scene.desk.yes(NEWS);
    scene.server = None;
    let ran = scene.desk.run(NEWS);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("the server was not reached; this is the one that was kept"), "{}", ran.stderr);
    assert!(ran.stdout.contains("bulletin 7 for LU, 3 h old, seen ") && ran.stdout.contains("Aérer"), "{}", ran.stdout);
    let ran = scene.desk.run("news --store store.db --language fr");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "and without any server named");
    assert!(ran.stdout.contains("Aérer"));
}

#[test]
fn what_is_older_forged_or_a_login_page_is_refused_each_time_and_the_kept_one_stays() {
    let scene = Scene::new();
    scene.desk.yes(NEWS);
    let stranger = BulletinSigner::generate().unwrap();
    for (body, part) in [
        (bulletin(&scene.signer, 6), "its serial number is 6, and 7 was seen before"),
        (bulletin(&stranger, 8), "its signature is wrong"),
        (b"<html>\n<p>Sign in\n".to_vec(), "it is not signed"),
    ] {
        scene.answers(200, body);
        for _ in 0..2 {
            let ran = scene.desk.run(NEWS);
            assert_eq!(ran.code, Some(1), "{part}");
            assert!(ran.stderr.contains(part) && ran.stderr.contains("the one that was kept"), "{}", ran.stderr);
            assert!(ran.stdout.contains("bulletin 7 for LU"), "{}", ran.stdout);
        }
    }
    scene.answers(200, bulletin(&scene.signer, 8));
    assert!(scene.desk.yes(NEWS).contains("bulletin 8 for LU"));
}
