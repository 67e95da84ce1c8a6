//! A connection to the server under load, as a phone has one: HTTP/1.1, kept open, one request at a time. What each request took is remembered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything the server does: publishing a million keys.
const PATIENCE: Duration = Duration::from_secs(120);

/// An answer in JSON, in bytes: far more than the server pads to.
const MAX_ANSWER: usize = 1 << 20;

/// A connection. Made at the first request, and again after the server closed it.
pub(super) struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// What each answered request took, refusals included.
    pub(super) latencies: Vec<Duration>,
}

impl Connection {
    /// Not yet connected. Load is for this machine alone.
    ///
    /// # Errors
    /// Where the address is another machine's.
    pub(super) fn new(address: SocketAddr) -> anyhow::Result<Self> {
        ensure!(address.ip().is_loopback(), "{address} is not this machine; load goes nowhere else");
        Ok(Self { address, sender: None, latencies: Vec::new() })
    }

    /// Posts, and gives the answer's body.
    ///
    /// # Errors
    /// Where there is no answer, or another status than 200.
    pub(super) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::from(body))?;
        self.timed(request, async |response| {
            let collected = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok(collected.map_err(|_| anyhow::anyhow!("the answer broke off or is too long"))?.to_bytes())
        })
        .await
    }

    /// Downloads, and gives how many bytes came.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(super) async fn download(&mut self, path: &str) -> anyhow::Result<u64> {
        let request = Request::get(path).body(Full::default())?;
        self.timed(request, async |response| {
            let (mut body, mut length) = (response.into_body(), 0);
            while let Some(frame) = body.frame().await {
                length += frame.context("the download broke off")?.data_ref().map_or(0, |data| data.len() as u64);
            }
            Ok(length)
        })
        .await
    }

    async fn timed<T>(
        &mut self,
        mut request: Request<Full<Bytes>>,
        read: impl AsyncFnOnce(Response<Incoming>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let host = self.address.to_string();
        request.headers_mut().insert(header::HOST, host.parse()?);
        let exchange = async {
            let mut sender = self.connected().await?;
            let begun = Instant::now();
            let response = sender.send_request(request).await.context("no answer")?;
            let status = response.status();
            let answer = read(response).await?;
            anyhow::Ok((sender, begun.elapsed(), status, answer))
        };
        // What failed half-way leaves no connection behind.
        let (sender, took, status, answer) = timeout(PATIENCE, exchange).await.context("no answer in two minutes")??;
        self.sender = Some(sender);
        self.latencies.push(took);
        ensure!(status == StatusCode::OK, "the server says {status}");
        Ok(answer)
    }

    /// The open connection, taken out, or a new one.
    async fn connected(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.address).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("no connection")?;
        // Its errors come out of the sender, too.
        tokio::spawn(connection);
        Ok(sender)
    }
}
