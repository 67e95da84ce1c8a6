//! The bulletin from the operator's file to a phone, wherever the published files lie.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};
use vigie::courier::{HttpClient, Request, Response, Servers, Transport, TransportError};
use vigie::radio::Radio;
use vigie::time::Clock;
use vigie::tracer::{Config, Tracer};
use vigie_backend::keys::Secrets;
use vigie_backend::{bulletin, open_files};

use crate::phone::Backend;
use crate::place::Place;

/// A phone's HTTP client that says what was answered.
struct Watched(HttpClient, std::sync::mpsc::Sender<u16>);

impl Transport for Watched {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        let response = self.0.exchange(request)?;
        self.1.send(response.status).unwrap();
        Ok(response)
    }
}

async fn publish(backend: &Backend, serial: u64) -> anyhow::Result<bulletin::Published> {
    let secrets = Secrets::open(&backend.data.path().join("keys"), &mut ChaCha20Rng::seed_from_u64(1))?;
    let region = &backend.config.policy.region;
    let mut document: Value = serde_json::from_str(&bulletin::example(region, backend.clock.now())?)?;
    document["serial"] = json!(serial);
    let files = open_files(&backend.config)?;
    bulletin::publish(document.to_string().as_bytes(), &files, &secrets, region, backend.clock.now()).await
}

pub(crate) async fn what_is_published_reaches_a_phone_and_what_has_not_changed_is_not_sent_again(place: &Place) {
    let backend = Backend::start(place).await;
    publish(&backend, 4).await.unwrap();
    assert!(publish(&backend, 4).await.unwrap_err().to_string().contains("give it 5 or more"));
    let servers = Servers::from_json(&std::fs::read(backend.data.path().join("client.json")).unwrap()).unwrap();
    let clock = backend.clock.clone();
    let (tracer, statuses) = tokio::task::spawn_blocking(move || {
        let tracer = Tracer::open_in_memory(Config::default(), Radio::default(), clock, ChaCha20Rng::seed_from_u64(1)).unwrap();
        let (to, statuses) = std::sync::mpsc::channel();
        tracer.connect(servers, Box::new(Watched(HttpClient::new().unwrap(), to)), "not-used".into());
        for _ in 0..2 {
            tracer.fetch_bulletin_now().unwrap();
            while tracer.correspond().unwrap().is_zero() {}
        }
        assert_eq!(tracer.bulletin().unwrap().bulletin.serial, 4);
        (tracer, statuses)
    })
    .await
    .unwrap();
    assert_eq!(statuses.try_iter().collect::<Vec<_>>(), [200, 304]);
    publish(&backend, 5).await.unwrap();
    tokio::task::spawn_blocking(move || {
        tracer.fetch_bulletin_now().unwrap();
        while tracer.correspond().unwrap().is_zero() {}
        assert_eq!(tracer.bulletin().unwrap().bulletin.serial, 5);
    })
    .await
    .unwrap();
    assert_eq!(statuses.try_iter().collect::<Vec<_>>(), [200]);
}
