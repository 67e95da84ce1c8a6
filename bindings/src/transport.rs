//! The phone's own HTTP, so that downloads in the background are the system's.
//!
//! What is larger than [`MAX_CROSSING`] bytes goes to a file and never through the border between the languages.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use vigie::courier::{Destination, Request, Response};

/// The most bytes that cross in one piece.
const MAX_CROSSING: u64 = 65_536;

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HttpHeader {
    /// In small letters.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Something to be asked of a server, once. An attempt takes 60 s at most.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct HttpRequest {
    /// The address: `https`, or `http` on the device itself.
    pub url: String,
    /// In this order.
    pub headers: Vec<HttpHeader>,
    /// `POST` with this JSON; `GET` where there is none.
    pub body: Option<Vec<u8>>,
    /// Where the content goes of an answer 200 (instead of what the file holds) or 206 (behind it). With any other status the file stays as it is, and
    /// without a path the content is `HttpResponse::body`.
    pub file: Option<String>,
    /// The most bytes that the file may hold in all, or else the body may have, after decompression.
    pub limit: u64,
}

/// What a server said.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
#[uniffi::export(Debug, Display)]
pub struct HttpResponse {
    /// The status: 200 and so on. Redirects are followed only to `https`.
    pub status: u16,
    /// Names in small letters. Others than `date`, `etag`, `retry-after` and `content-range` may be left out.
    pub headers: Vec<HttpHeader>,
    /// The content, where it did not go to a file: 65,536 bytes at most, cut off where the status is no success.
    pub body: Vec<u8>,
}

/// What a `Transport` throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum TransportError {
    /// There is no answer.
    #[error("the transport: {problem:?}")]
    Problem {
        /// Why.
        problem: TransportProblem,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum TransportProblem {
    /// The device has no network.
    Offline,
    /// The server was not reached, or the answer broke off. What came of a file before stays in it.
    Failed,
    /// The server did not answer in time.
    TimedOut,
    /// The answer is larger than the limit.
    TooLarge,
    /// The answer could not be written.
    Disk,
}

/// Carries requests, one at a time, on a thread of the library; it may block for up to 60 s. Apart from `TransportError` it throws nothing.
#[uniffi::export(with_foreign)]
pub trait Transport: Send + Sync {
    /// Sends a request once, and waits for the answer. Any status is an answer.
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError>;

    /// Ends the exchange that is going on, if any: it throws. Called when the tracer is shut down.
    fn cancel(&self);
}

/// An app's transport, as the core wants it.
pub(crate) struct PhoneTransport {
    pub(crate) transport: Arc<dyn Transport>,
    /// Where answers go that are too large to cross.
    pub(crate) scratch: PathBuf,
}

impl vigie::courier::Transport for PhoneTransport {
    fn exchange(&mut self, request: &Request) -> Result<Response, vigie::courier::TransportError> {
        let (file, limit) = match &request.destination {
            Destination::File { path, limit } => (Some(path.clone()), *limit),
            Destination::Memory { limit } if *limit <= MAX_CROSSING => (None, *limit),
            Destination::Memory { limit } => (Some(self.scratch.clone()), *limit),
        };
        let is_scratch = file.as_ref() == Some(&self.scratch);
        if let (true, Some(parent)) = (is_scratch, self.scratch.parent()) {
            fs::create_dir_all(parent).map_err(|error| disk(&error))?;
        }
        let response = self.transport.exchange(HttpRequest {
            url: request.url.clone(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| HttpHeader { name: (*name).into(), value: value.clone() })
                .collect(),
            body: request.body.clone(),
            file: file.map(|path| path.to_string_lossy().into_owned()),
            limit,
        })?;
        let body = if is_scratch && response.status == 200 { self.read_scratch(limit)? } else { response.body };
        if body.len() as u64 > limit.max(MAX_CROSSING) {
            return Err(vigie::courier::TransportError::TooLarge { limit });
        }
        let headers = response.headers.into_iter().map(|header| (header.name.to_ascii_lowercase(), header.value)).collect();
        Ok(Response { status: response.status, headers, body })
    }
}

impl PhoneTransport {
    fn read_scratch(&self, limit: u64) -> Result<Vec<u8>, vigie::courier::TransportError> {
        let mut body = Vec::new();
        let read = File::open(&self.scratch).and_then(|file| file.take(limit + 1).read_to_end(&mut body));
        // What cannot be removed is written over by the next answer.
        let _ = fs::remove_file(&self.scratch);
        read.map_err(|error| disk(&error))?;
        if body.len() as u64 > limit { Err(vigie::courier::TransportError::TooLarge { limit }) } else { Ok(body) }
    }
}

fn disk(error: &io::Error) -> vigie::courier::TransportError {
    vigie::courier::TransportError::Disk { reason: error.kind().to_string() }
}

impl From<uniffi::UnexpectedUniFFICallbackError> for TransportError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Problem { problem: TransportProblem::Failed }
    }
}

impl From<TransportError> for vigie::courier::TransportError {
    fn from(TransportError::Problem { problem }: TransportError) -> Self {
        match problem {
            TransportProblem::Offline => Self::Offline,
            TransportProblem::Failed => Self::Failed { reason: "the app's transport says so".into() },
            TransportProblem::TimedOut => Self::TimedOut,
            TransportProblem::TooLarge => Self::TooLarge { limit: MAX_CROSSING },
            TransportProblem::Disk => Self::Disk { reason: "the app's transport says so".into() },
        }
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}
