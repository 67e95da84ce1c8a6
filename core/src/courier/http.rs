//! The library's own HTTP client, for programs and tests (feature `http`): reqwest with rustls and ring. A phone has a better one: its system's,
//! which goes on in the background.
//!
//! HTTP/2 where the server has it, gzip, the proxy of the environment, the system's certificates. No redirects: a server that we trust has no reason to
//! send us elsewhere. No cookies, no name of the program: an observer learns nothing of a device.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;

use super::transport::{Destination, KEPT_HEADERS, Request, Response, TIMEOUT, Transport, TransportError};

/// A connection is made within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be started: {0}")]
pub struct HttpError(#[from] reqwest::Error);

/// An HTTP client. Not to be used from asynchronous code: it blocks.
#[derive(Debug)]
pub struct HttpClient(Client);

impl HttpClient {
    /// A client with the settings above.
    ///
    /// # Errors
    /// [`HttpError`] where the system's certificates or its proxy cannot be read.
    pub fn new() -> Result<Self, HttpError> {
        // Another one may have been installed by the program; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .referer(false)
            .build()?;
        Ok(Self(client))
    }

    fn prepare(&self, request: &Request) -> RequestBuilder {
        let builder = match &request.body {
            None => self.0.get(&request.url),
            Some(body) => self.0.post(&request.url).body(body.clone()),
        };
        request.headers.iter().fold(builder, |builder, (name, value)| match HeaderValue::from_str(value) {
            Ok(mut value) => {
                // Never in HTTP/2's table of earlier headers: the first of a kind would be longer than those after it.
                value.set_sensitive(name.starts_with("x-"));
                builder.header(*name, value)
            }
            Err(_) => builder,
        })
    }
}

impl Transport for HttpClient {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        let mut answer = self.prepare(request).send().map_err(|error| failed(&error))?;
        let status = answer.status();
        let kept = KEPT_HEADERS
            .iter()
            .filter_map(|name| Some(((*name).to_string(), answer.headers().get(*name)?.to_str().ok()?.to_string())));
        let mut response = Response { status: status.as_u16(), headers: kept.collect(), body: Vec::new() };
        match &request.destination {
            Destination::Memory { limit } => {
                answer
                    .by_ref()
                    .take(limit.saturating_add(1))
                    .read_to_end(&mut response.body)
                    .map_err(|error| broken_off(&error))?;
                if response.body.len() as u64 > *limit {
                    return Err(TransportError::TooLarge { limit: *limit });
                }
            }
            Destination::File { path, limit } if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) => {
                to_file(&mut answer, path, *limit, status == StatusCode::PARTIAL_CONTENT)?;
            }
            Destination::File { .. } => {}
        }
        Ok(response)
    }
}

/// What has come stays on the disk when the rest does not.
fn to_file(answer: &mut impl Read, path: &Path, limit: u64, goes_on: bool) -> Result<(), TransportError> {
    let disk = |error: io::Error| TransportError::Disk { reason: error.to_string() };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(disk)?;
    }
    let mut file = OpenOptions::new().create(true).write(true).append(goes_on).truncate(!goes_on).open(path).map_err(disk)?;
    let mut room = limit.saturating_sub(file.metadata().map_err(disk)?.len());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = answer.read(&mut buffer).map_err(|error| broken_off(&error))?;
        if count == 0 {
            return file.sync_all().map_err(disk);
        }
        room = room.checked_sub(count as u64).ok_or(TransportError::TooLarge { limit })?;
        file.write_all(&buffer[..count]).map_err(disk)?;
    }
}

fn failed(error: &reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::TimedOut;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut innermost = String::new();
    while let Some(here) = cause {
        let kind = here.downcast_ref::<io::Error>().map(io::Error::kind);
        let is_unreachable = matches!(kind, Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown));
        innermost = here.to_string();
        if is_unreachable || innermost.starts_with("dns error") {
            return TransportError::Offline;
        }
        cause = here.source();
    }
    // The outer texts repeat the address.
    TransportError::Failed { reason: innermost }
}

fn broken_off(error: &io::Error) -> TransportError {
    let timed_out = error.kind() == io::ErrorKind::TimedOut
        || error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>()).is_some_and(reqwest::Error::is_timeout);
    if timed_out { TransportError::TimedOut } else { TransportError::Failed { reason: "the answer broke off".to_string() } }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::net::TcpListener;

    use super::*;

    /// Answers one request after the other with these bytes, and gives back what was asked.
    fn server(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let serve = |answer: Vec<u8>| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = io::BufReader::new(stream.try_clone().unwrap()).lines();
                let asked: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                stream.write_all(&answer).unwrap();
                asked.join("\n")
            };
            answers.into_iter().map(serve).collect()
        });
        (url, thread)
    }

    fn get(url: &str, headers: Vec<(&'static str, String)>, destination: Destination) -> Result<Response, TransportError> {
        HttpClient::new().unwrap().exchange(&Request { url: url.to_string(), headers, body: None, destination })
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn an_answer_comes_with_its_headers_and_no_more_than_its_limit() {
        let (url, thread) = server(vec![answer("304 Not Modified\r\netag: \"a\"\r\nx-other: 1", ""), answer("200 OK", "12345")]);
        let response = get(&url, vec![("if-none-match", "\"a\"".into())], Destination::Memory { limit: 4 }).unwrap();
        assert_eq!((response.status, response.header("etag"), response.header("x-other")), (304, Some("\"a\""), None));
        let too_large = get(&url, Vec::new(), Destination::Memory { limit: 4 });
        assert_eq!(too_large.unwrap_err(), TransportError::TooLarge { limit: 4 });
        assert!(thread.join().unwrap()[0].contains("if-none-match: \"a\""));
    }

    #[test]
    fn a_file_that_breaks_off_stays_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("file.part");
        let (url, thread) = server(vec![
            answer("200 OK\r\ncontent-length: 6", "abc"),
            answer("206 Partial Content\r\ncontent-length: 3\r\ncontent-range: bytes 3-5/6", "def"),
            answer("404 Not Found\r\ncontent-length: 4", "none"),
            answer("200 OK\r\ncontent-length: 2", "xy"),
        ]);
        let file = |limit| Destination::File { path: path.clone(), limit };
        assert!(matches!(get(&url, Vec::new(), file(6)), Err(TransportError::Failed { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        assert_eq!(get(&url, vec![("range", "bytes=3-".into())], file(6)).unwrap().status, 206);
        assert_eq!(get(&url, Vec::new(), file(6)).unwrap().status, 404);
        assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
        assert_eq!(get(&url, Vec::new(), file(1)).unwrap_err(), TransportError::TooLarge { limit: 1 });
        thread.join().unwrap();
    }

    #[test]
    fn nobody_there_is_a_failure_that_names_no_address() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = get(&format!("http://127.0.0.1:{port}/secret"), Vec::new(), Destination::Memory { limit: 1 }).unwrap_err();
        assert!(matches!(error, TransportError::Failed { .. }) && !error.to_string().contains("secret"), "{error}");
    }
}
