//! What carries a request to a server and brings its answer: the library's own HTTP client (feature `http`), the phone's, or a simulated one.
//!
//! A transport knows nothing of what it carries, and tries once: when something is sent again is the [pacer](super::pacer)'s business.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::time::Timestamp;

/// An attempt ends after this time, whatever it is waiting for.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Something to be asked of a server.
#[derive(Clone)]
pub struct Request {
    /// The address: `https`, or `http` on the device itself.
    pub url: String,
    /// Names in small letters, and values, in this order.
    pub headers: Vec<(&'static str, String)>,
    /// `POST` with this JSON; `GET` where there is none.
    pub body: Option<Vec<u8>>,
    /// Where the answer goes.
    pub destination: Destination,
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To [`Response::body`], at most so many bytes.
    Memory {
        /// The most that is taken, in bytes, after decompression.
        limit: u64,
    },
    /// To a file, at most so many bytes in all. An answer 206 is written behind what the file holds, an answer 200 instead of it; with any other
    /// status the file stays as it is. What came before a cut stays in it.
    File {
        /// The file.
        path: PathBuf,
        /// The most that it may hold, in bytes.
        limit: u64,
    },
}

/// What a server said.
#[derive(Clone, Default)]
pub struct Response {
    /// The status: 200 and so on.
    pub status: u16,
    /// Names in small letters, and values. Others than those that [`KEPT_HEADERS`] names may be left out.
    pub headers: Vec<(String, String)>,
    /// The content, where it was to go to memory.
    pub body: Vec<u8>,
}

/// The headers of an answer that are looked at.
pub const KEPT_HEADERS: [&str; 4] = ["date", "etag", "retry-after", "content-range"];

/// Why nothing, or not all, came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The device has no network.
    #[error("there is no network")]
    Offline,
    /// The server was not reached, or the answer broke off.
    #[error("the server cannot be reached: {reason}")]
    Failed {
        /// What was seen of it, without address and content.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("the server did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The answer is larger than any sensible one.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The answer could not be written.
    #[error("the answer cannot be kept on the disk: {reason}")]
    Disk {
        /// What the system says.
        reason: String,
    },
}

/// Carries requests. One at a time; it may block for up to [`TIMEOUT`].
pub trait Transport: Send {
    /// Sends a request once, and waits for the answer. Any status is an answer.
    ///
    /// # Errors
    /// [`TransportError`]; whether the server has seen the request is not known then.
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError>;
}

impl Response {
    /// A header, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The server's clock.
    pub fn date(&self) -> Option<Timestamp> {
        http_date(self.header("date")?)
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<super::pacer::RetryAfter> {
        use super::pacer::RetryAfter;
        let value = self.header("retry-after")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(RetryAfter::Delay(Duration::from_secs(seconds)));
        }
        Some(RetryAfter::Date { at: http_date(value)?, said: self.date()? })
    }

    /// Whether it says no more than that the server cannot now.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_s(i64::try_from(at.as_secs()).ok()?))
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pacer::RetryAfter;
    use super::*;

    fn response(headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
        Response { status: 503, headers, body: Vec::new() }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date_by_the_servers_own_clock() {
        assert_eq!(response(&[("retry-after", "120")]).retry_after(), Some(RetryAfter::Delay(Duration::from_secs(120))));
        let dates = [("date", "Thu, 22 Oct 2020 18:00:00 GMT"), ("retry-after", "Thu, 22 Oct 2020 18:05:00 GMT")];
        assert_eq!(response(&dates).retry_after().unwrap().delay(), Duration::from_secs(300));
        for nonsense in ["", "-1", "soon", "1e9", "99999999999999999999999"] {
            assert_eq!(response(&[("retry-after", nonsense)]).retry_after(), None, "{nonsense}");
        }
        assert_eq!(response(&dates[1..]).retry_after(), None, "without the server's clock nobody knows how long that is");
    }
}
