//! One phone of the scenario: a tracer, a simulated radio, a clock that stands until it is told, and the library's own HTTP client as its transport.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::task::JoinHandle;
use vigie::courier::{Destination, HttpClient, Request, Transport as _};
use vigie_ffi::{
    Clock, Config, Event, HttpHeader, HttpRequest, HttpResponse, ManualClock, Tracer, Transport, TransportError, TransportProblem,
};

use crate::radio::SimulatedRadio;
use crate::vault::MemoryVault;

pub(crate) struct Phone {
    pub(crate) folder: PathBuf,
    pub(crate) servers: Option<String>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) radio: Arc<SimulatedRadio>,
    pub(crate) vault: Option<Arc<MemoryVault>>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    listener: JoinHandle<()>,
    pub(crate) report: Option<i64>,
    pub(crate) is_running: bool,
}

impl Phone {
    pub(crate) async fn open(
        folder: PathBuf,
        servers: Option<String>,
        clock: Arc<ManualClock>,
        vault: Option<Arc<MemoryVault>>,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let radio = Arc::new(SimulatedRadio::default());
        let config = Config {
            store_path: folder.join("store.db").to_string_lossy().into_owned(),
            downloads_path: folder.join("downloads").to_string_lossy().into_owned(),
            servers_json: servers.clone(),
            exposure_json: None,
            calibration: None,
            scanning: None,
            service_uuid: None,
        };
        let transport: Option<Arc<dyn Transport>> = match servers {
            Some(_) => Some(Arc::new(HttpTransport::new()?)),
            None => None,
        };
        let tracer = Tracer::open(
            config,
            Some(Arc::clone(&radio) as _),
            transport,
            vault.clone().map(|vault| vault as _),
            Some(Arc::clone(&clock) as Arc<dyn Clock>),
        )
        .await?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::spawn({
            let (tracer, events) = (Arc::clone(&tracer), Arc::clone(&events));
            async move {
                while let Some(event) = tracer.next_event(None).await {
                    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(Self { folder, servers, clock, radio, vault, tracer, events, listener, report: None, is_running: false })
    }

    /// Ends it in order.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.tracer.shut_down().await;
        self.listener.await.context("the events did not end")
    }

    pub(crate) fn was_told(&self, is_meant: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_meant)
    }
}

/// The library's own client, behind the interface for an app's.
struct HttpTransport(Mutex<HttpClient>);

impl HttpTransport {
    fn new() -> anyhow::Result<Self> {
        // It blocks, and has a runtime of its own, which cannot be made inside another.
        let client = std::thread::spawn(HttpClient::new).join().map_err(|_| anyhow::anyhow!("no client"))??;
        Ok(Self(Mutex::new(client)))
    }
}

impl Transport for HttpTransport {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let destination = match request.file {
            Some(path) => Destination::File { path: path.into(), limit: request.limit },
            None => Destination::Memory { limit: request.limit },
        };
        // The core's requests have names that live as long as the program.
        let headers = request.headers.into_iter().map(|header| (&*String::leak(header.name), header.value)).collect();
        let request = Request { url: request.url, headers, body: request.body, destination };
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).exchange(&request);
        let answer = answer.map_err(|_| TransportError::Problem { problem: TransportProblem::Failed })?;
        let headers = answer.headers.into_iter().map(|(name, value)| HttpHeader { name, value }).collect();
        Ok(HttpResponse { status: answer.status, headers, body: answer.body })
    }

    fn cancel(&self) {}
}
