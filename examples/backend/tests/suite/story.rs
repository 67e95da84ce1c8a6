//! The whole story with the library's own phones: a code, a report, key files, a warning. Everything between them is HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vigie::beacon::{Frame, Rssi};
use vigie::courier::{HttpClient, News, ReportDetails, ReportState, Servers, VerificationCode};
use vigie::radio::{Advertiser, MeasuredBy, Radio, RadioError, Sighting};
use vigie::time::{Clock, ManualClock};
use vigie::tracer::{Config, Event, Tracer};

use crate::phone::{Backend, DAY, LAUNCH};
use crate::place::Place;

const MINUTE: Duration = Duration::from_secs(60);

/// Shows what is on the air.
#[derive(Clone, Default)]
struct Air(Arc<Mutex<Option<Frame>>>);

impl Advertiser for Air {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        *self.0.lock().unwrap() = Some(frame);
        Ok(())
    }

    fn stop(&mut self) {
        *self.0.lock().unwrap() = None;
    }
}

/// A phone with a clock that stands until it is told, and a real HTTP client.
struct Phone {
    tracer: Tracer,
    air: Air,
    clock: ManualClock,
    _downloads: TempDir,
}

impl Phone {
    fn new(seed: u64, clock: &ManualClock, servers: &Servers) -> Self {
        let air = Air::default();
        let radio = Radio { scanner: None, advertiser: Some(Box::new(air.clone())) };
        let mut config = Config::default();
        config.authority_keys = servers.authority_keys().unwrap();
        let tracer = Tracer::open_in_memory(config, radio, clock.clone(), ChaCha20Rng::seed_from_u64(seed)).unwrap();
        let downloads = tempfile::tempdir().unwrap();
        tracer.connect(servers.clone(), Box::new(HttpClient::new().unwrap()), downloads.path().to_path_buf());
        tracer.start();
        Self { tracer, air, clock: clock.clone(), _downloads: downloads }
    }

    /// Is near the other one for half an hour.
    fn meet(&self, other: &Self) {
        for _ in 0..30 {
            other.tracer.step().unwrap();
            self.tracer.step().unwrap();
            let frame = other.air.0.lock().unwrap().unwrap();
            let heard = Sighting { frame, rssi: Rssi(-45), measured_by: MeasuredBy::Us, at: self.clock.now() };
            self.tracer.record(&[heard]).unwrap();
            self.clock.advance(MINUTE);
        }
    }

    /// Does what is due with servers, letting time pass where nothing is, for so long.
    fn correspond(&self, time: Duration) {
        let end = self.clock.now().after(time);
        while self.clock.now() < end {
            let wait = self.tracer.correspond().unwrap();
            self.clock.advance(wait.min(MINUTE));
        }
    }

    fn report(&self, code: &str) -> ReportState {
        let id = self.tracer.report(&VerificationCode::parse(code).unwrap(), ReportDetails::default()).unwrap();
        self.correspond(Duration::from_secs(3_600));
        self.tracer.reports().unwrap().into_iter().find(|report| report.id == id).unwrap().state
    }

    fn news(&self) -> Vec<News> {
        std::iter::from_fn(|| self.tracer.next_event())
            .filter_map(|event| if let Event::Courier(news) = event { Some(news) } else { None })
            .collect()
    }
}

fn servers(backend: &Backend) -> Servers {
    Servers::from_json(&std::fs::read(backend.data.path().join("client.json")).unwrap()).unwrap()
}

/// The phones' clock begins a day before the server's, where they meet; then it is the server's.
async fn met(backend: &Backend, servers: Servers) -> (Phone, Phone) {
    let clock = backend.clock.clone();
    tokio::task::spawn_blocking(move || {
        let (ill, met) = (Phone::new(1, &clock, &servers), Phone::new(2, &clock, &servers));
        met.meet(&ill);
        clock.advance(DAY);
        (ill, met)
    })
    .await
    .unwrap()
}

pub(crate) async fn one_reports_and_the_other_is_warned(place: &Place) {
    let backend = Backend::start(place).await;
    assert!(backend.clock.now().unix_ms() == LAUNCH);
    let (ill, met) = met(&backend, servers(&backend)).await;
    let code = backend.code("confirmed").await;
    let (ill, state) = tokio::task::spawn_blocking(move || {
        let state = ill.report(&code);
        (ill, state)
    })
    .await
    .unwrap();
    assert!(matches!(state, ReportState::Done { keys } if keys >= 1), "{state:?}");
    backend.clock.advance(Duration::from_secs(3 * 3600));
    backend.publish_now().await;
    tokio::task::spawn_blocking(move || {
        for phone in [&ill, &met] {
            phone.tracer.sync_now().unwrap();
            phone.correspond(5 * MINUTE);
            let lists = phone.tracer.key_lists().unwrap();
            assert_eq!((lists[0].done, lists[0].waiting, lists[0].refused), (1, 0, 0));
        }
        assert_eq!(met.tracer.alerts().unwrap().len(), 1, "who was near for half an hour is warned");
        assert_eq!(ill.tracer.alerts().unwrap().len(), 0, "own keys warn nobody");
        assert!(met.news().iter().all(|news| !matches!(news, News::FileRefused { .. })));
    })
    .await
    .unwrap();
}

/// Every answer is lost once after the server has committed, at every step, and the report is published once.
pub(crate) async fn every_answer_is_lost_once_and_nothing_is_published_twice(place: &Place) {
    let backend = Backend::start(place).await;
    let (proxy, dropped) = dropping_proxy(backend.url("").trim_start_matches("http://").to_string()).await;
    let mut through_proxy = servers(&backend);
    let direct = backend.url("");
    let redirect = |url: &mut String| *url = url.replace(&direct, &format!("http://{proxy}"));
    redirect(&mut through_proxy.verification_url);
    redirect(&mut through_proxy.publish_url);
    for list in &mut through_proxy.key_lists {
        redirect(&mut list.index_url);
        redirect(&mut list.base_url);
    }
    let (ill, met) = met(&backend, through_proxy).await;
    let code = backend.code("confirmed").await;
    let (ill, state) = tokio::task::spawn_blocking(move || {
        let state = ill.report(&code);
        (ill, state)
    })
    .await
    .unwrap();
    assert!(matches!(state, ReportState::Done { .. }), "{state:?}");
    assert!(dropped.load(Ordering::Relaxed) >= 3, "an answer to each step was dropped");
    backend.clock.advance(Duration::from_secs(3 * 3600));
    backend.publish_now().await;
    let published: Vec<[u8; 16]> = backend
        .files()
        .await
        .iter()
        .flat_map(|file| file.keys.iter().map(|key| *key.key.as_bytes()).collect::<Vec<_>>())
        .collect();
    let own: Vec<[u8; 16]> = ill.tracer.release_keys().unwrap().iter().map(|key| *key.as_bytes()).collect();
    let times: Vec<usize> = own.iter().map(|key| published.iter().filter(|found| *found == key).count()).collect();
    assert!(times.contains(&1) && times.iter().all(|times| *times <= 1), "keys in the files: {times:?}");
    tokio::task::spawn_blocking(move || {
        met.tracer.sync_now().unwrap();
        met.correspond(Duration::from_secs(12 * 3600));
        let lists = met.tracer.key_lists().unwrap();
        assert_eq!((lists[0].done, lists[0].waiting), (1, 0), "each file once, although answers got lost");
        assert_eq!(met.tracer.alerts().unwrap().len(), 1);
    })
    .await
    .unwrap();
}

/// Passes on what comes, and drops every other answer when it begins: the server has committed by then.
async fn dropping_proxy(upstream: String) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answers, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&dropped);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, answers, dropped) = (upstream.clone(), Arc::clone(&answers), Arc::clone(&count));
            tokio::spawn(async move {
                let server = TcpStream::connect(upstream).await.unwrap();
                pass_on(client, server, &answers, &dropped).await;
            });
        }
    });
    (address, dropped)
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, answers: &AtomicUsize, dropped: &AtomicUsize) {
    let (mut asked, mut told) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_new = false;
    loop {
        tokio::select! {
            count = client.read(&mut asked) => match count {
                Ok(count) if count > 0 && server.write_all(&asked[..count]).await.is_ok() => is_new = true,
                _ => return,
            },
            count = server.read(&mut told) => match count {
                Ok(count) if count > 0 => {
                    if is_new && answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                        dropped.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    is_new = false;
                    if client.write_all(&told[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
