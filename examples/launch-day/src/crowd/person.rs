//! One person: a connection of their own, the same sealed bytes as often as it takes, and the library's own [`Pacer`] that says when.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use vigie::courier::pacer::{Failure, Pacer, RetryAfter, Work};
use vigie::courier::waitlist::MAX_WAITLIST_ANSWER;
use vigie::courier::wire::IDEMPOTENCY_KEY_HEADER;
use vigie::time::Timestamp;

use super::forms::Person;

/// As long an attempt may take, with its connection: what the library gives one.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// In place of a status: there was no connection.
pub(super) const NO_CONNECTION: u16 = 0;
/// In place of a status: what was sent was not answered.
pub(super) const NO_ANSWER: u16 = 1;

/// Where a person signs up.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// Where the connection comes from, if that is said.
    pub(super) source: Option<Ipv4Addr>,
    pub(super) path: String,
}

/// What became of a person. Times are counted from the start of the clock, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) arrived_us: u64,
    /// Attempts without a receipt: when each ended, and with which status, [`NO_CONNECTION`] or [`NO_ANSWER`].
    pub(super) failed: Vec<(u64, u16)>,
    /// When there was an answer that should hold a receipt, with which status, and what it said.
    pub(super) acknowledged: Option<(u64, u16, String)>,
    /// When the pacer would have had the person come again, where nobody waits so long.
    pub(super) due_us: Option<u64>,
}

/// The answer to an attempt.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    retry_after: Option<RetryAfter>,
    pub(super) body: Bytes,
}

/// A connection to the waiting list, made where it is needed.
pub(super) struct Link {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Link {
    pub(super) fn new(target: Target) -> Self {
        Self { target, sender: None }
    }

    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    async fn connect(&mut self) -> io::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = stream(&self.target).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // Its errors come out of the sender, too.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends a sign-up.
    ///
    /// # Errors
    /// [`NO_CONNECTION`] and [`NO_ANSWER`].
    pub(super) async fn post(&mut self, person: &Person) -> Result<Answer, u16> {
        let until = Instant::now() + PATIENCE;
        let sender = timeout_at(until, self.connect()).await.ok().and_then(Result::ok).ok_or(NO_CONNECTION)?;
        timeout_at(until, self.exchange(sender, person)).await.ok().flatten().ok_or(NO_ANSWER)
    }

    async fn exchange(&mut self, mut sender: SendRequest<Full<Bytes>>, person: &Person) -> Option<Answer> {
        let request = Request::post(&self.target.path)
            .header(header::HOST, self.target.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY_HEADER, person.operation.to_string())
            .body(Full::from(person.body.clone()));
        let response = sender.send_request(request.ok()?).await.ok()?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = Limited::new(response.into_body(), MAX_WAITLIST_ANSWER as usize).collect().await.ok()?.to_bytes();
        self.sender = Some(sender);
        Some(Answer { status, retry_after, body })
    }
}

pub(super) async fn stream(target: &Target) -> std::io::Result<TcpStream> {
    let Some(source) = target.source.filter(|_| target.address.is_ipv4()) else {
        return TcpStream::connect(target.address).await;
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(target.address).await
}

/// In seconds, as the backend says it.
fn retry_after(headers: &hyper::HeaderMap) -> Option<RetryAfter> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(RetryAfter::Delay(Duration::from_secs(seconds)))
}

/// Whether repeating it changes nothing. These three pass, and the library tries again.
fn is_final(status: StatusCode) -> bool {
    const PASSING: [StatusCode; 3] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !PASSING.contains(&status)
}

/// A person who is to sign up.
pub(super) struct Course {
    person: Person,
    link: Link,
    rng: ChaCha20Rng,
}

impl Course {
    pub(super) fn new(person: Person, target: Target, rng: ChaCha20Rng) -> Self {
        Self { person, link: Link::new(target), rng }
    }

    /// Connects already.
    ///
    /// # Errors
    /// Where that is not possible.
    pub(super) async fn connect(&mut self) -> io::Result<()> {
        self.link.sender = Some(timeout(PATIENCE, self.link.connect()).await??);
        Ok(())
    }

    /// Signs up. The clock started at `start`, which is this time; the person comes so long after it, and no attempt begins when it is over `longest`.
    pub(super) async fn sign_up(&mut self, start: (Instant, Timestamp), arrived: Duration, longest: Duration) -> Outcome {
        let Self { person, link, rng } = self;
        let attempt = async || {
            let answer = link.post(person).await;
            if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
                link.close();
            }
            answer
        };
        repeat(attempt, start, arrived, longest, rng).await
    }
}

/// Has a person attempt it until it is done, when the library's outbox would: it asks the pacer for no permit, and sends what a person waits for when that
/// is due.
async fn repeat(
    mut attempt: impl AsyncFnMut() -> Result<Answer, u16>,
    start: (Instant, Timestamp),
    arrived: Duration,
    longest: Duration,
    rng: &mut ChaCha20Rng,
) -> Outcome {
    let us = |time: Duration| time.as_micros() as u64;
    let mut outcome = Outcome { arrived_us: us(arrived), ..Outcome::default() };
    let mut pacer = Pacer::default();
    let mut due = Pacer::first(Work::Person, start.1.after(arrived));
    for number in 1.. {
        let after = due.since(start.1);
        if after > longest {
            outcome.due_us = Some(us(after));
            break;
        }
        sleep_until(start.0 + after).await;
        let answer = attempt().await;
        let (now, at) = (start.1.after(start.0.elapsed()), us(start.0.elapsed()));
        let status = answer.as_ref().map_or_else(|silence| *silence, |answer| answer.status.as_u16());
        let retry_after = match answer {
            Ok(Answer { status: StatusCode::OK | StatusCode::CREATED, body, .. }) => {
                outcome.acknowledged = Some((at, status, String::from_utf8_lossy(&body).into_owned()));
                return outcome;
            }
            Ok(answer) if is_final(answer.status) => {
                outcome.failed.push((at, status));
                return outcome;
            }
            answer => answer.ok().and_then(|answer| answer.retry_after),
        };
        outcome.failed.push((at, status));
        due = pacer.failed(Work::Person, number, Failure::Server(retry_after), now, rng);
    }
    outcome
}

#[cfg(test)]
mod tests;
