//! HTTP: connections, and the two routers. TLS is the business of whatever stands before it (see `nginx.conf`).

mod address;
mod admin;
mod body;
mod chaff;
mod files;
mod limits;
mod operator;
mod page;
mod public;
mod waitlist;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::{Request, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use ipnet::IpNet;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;
use vigie::time::Clock;

use crate::batches::Publisher;
use crate::metrics::Metrics;
use crate::waitlist::WaitlistKeys;

pub use chaff::Decoys;
pub use limits::{Limits, WrongCodes};
pub use operator::Conflicts;
pub use page::Pages;

/// Connections of a process at once: on many machines it may hold 20,000 descriptors. Above it they wait in the system's queue.
pub const MAX_CONNECTIONS: usize = 16_000;

/// How long requests that are under way may take at the end.
const END_TIME: Duration = Duration::from_secs(10);

/// The address at the other end of a connection.
#[derive(Debug, Clone, Copy)]
struct Peer(SocketAddr);

/// What handlers share.
pub struct App {
    /// Database, secrets, settings, files and clock.
    pub publisher: Publisher,
    /// Keys of the waiting list.
    pub waitlist: WaitlistKeys,
    /// The sign-up page.
    pub pages: Pages,
    /// What is counted.
    pub metrics: Metrics,
    /// Limits on wrong codes.
    pub limits: Limits,
    /// How many conflicts there were.
    pub conflicts: Conflicts,
    /// What decoys are answered with.
    pub decoys: Decoys,
    /// Who may say for whom a request comes.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a sender may take for the head of a request, and for its body.
    pub sender_time: Duration,
    /// What an app needs to know of this server. No secret: every phone holds it.
    pub client_json: bytes::Bytes,
    /// The source of randomness.
    pub rng: Mutex<ChaCha20Rng>,
}

impl App {
    /// A source of its own for a request.
    pub fn rng(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_rng(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn clock(&self) -> &dyn Clock {
        &*self.publisher.clock
    }
}

/// What everybody may call, and, where there is a folder, the published files.
pub fn public_router(app: Arc<App>, folder: Option<&std::path::Path>) -> Router {
    let router = public::router(Arc::clone(&app)).merge(waitlist::router(Arc::clone(&app))).merge(page::router(app));
    match folder {
        Some(folder) => router.merge(files::router(folder)),
        None => router,
    }
}

/// What only the health authority's own systems may call.
pub fn admin_router(app: Arc<App>) -> Router {
    admin::router(Arc::clone(&app)).merge(operator::router(app))
}

/// Serves connections, so many at once, until `end` says so; then ends them in order.
pub async fn serve(listener: TcpListener, router: Router, most: usize, sender_time: Duration, mut end: watch::Receiver<bool>) {
    let open = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = end.wait_for(|end| *end) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the caller went away: the next one may be luckier.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let conversation = Conversation { stream, peer, router: router.clone(), places: Arc::clone(&places), most, sender_time };
        let (watcher, end) = (open.watcher(), end.clone());
        tokio::spawn(async move {
            if conversation.begins(end).await {
                conversation.go_on(watcher).await;
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(END_TIME, open.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way at the end");
    }
}

/// A connection.
struct Conversation {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    places: Arc<Semaphore>,
    most: usize,
    sender_time: Duration,
}

impl Conversation {
    /// Waits until the caller says something: a connection that is only held has no buffers.
    async fn begins(&self, mut end: watch::Receiver<bool>) -> bool {
        tokio::select! {
            readable = tokio::time::timeout(self.sender_time, self.stream.readable()) => matches!(readable, Ok(Ok(()))),
            _ = end.wait_for(|end| *end) => false,
        }
    }

    async fn go_on(self, watcher: Watcher) {
        let Self { stream, peer, router, places, most, sender_time } = self;
        // Answers are small and whole; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let answer = router.clone().oneshot(request);
            async {
                let mut answer = answer.await?;
                // In a crowd whoever has an answer makes room for others.
                if places.available_permits() < most / 2 {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(sender_time).max_buf_size(64 << 10);
        // What goes wrong with a connection is the caller's to notice.
        let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await;
    }
}

#[cfg(test)]
mod tests;
