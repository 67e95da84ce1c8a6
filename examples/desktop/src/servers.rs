//! Servers as they are named on the command line: the file `client.json` that a health authority gives to its apps, or where a backend gives it.
//!
//! ```text
//! --server client.json               the file
//! --server https://keys.example      https://keys.example/client.json
//! --server https://a.example/x.json  as it is
//! ```
//!
//! In the open nobody could be sure of an answer, so an address is https, or http on this computer itself.
//!
//! What an address gave is kept beside the store, so that the next start does not depend on it: [`kept`].

mod kept;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::Args;
use url::{Host, Url};
use vigie::courier::pacer::Failure;
use vigie::courier::{Courier, Destination, MAX_SERVERS_FILE, Request, Servers, Transport, TransportError};
use vigie::diagnosis::PublicKey;
use vigie::tracer::Tracer;

use crate::failure::{Advise, warn};
use crate::files;

pub(crate) use kept::kept;

/// The name under which a backend gives the description of its servers.
const FILE_NAME: &str = "client.json";

/// The option that names the servers.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The servers: the file client.json, or the address under which a backend gives it (https, or http on this computer)
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) server: Option<Address>,
}

/// Where the description of the servers is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    File(PathBuf),
    Url(Url),
}

/// Why something names no servers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("an address of servers: {0}")]
    Url(#[from] url::ParseError),
    #[error("an address of servers begins with https://, or with http:// on this computer itself")]
    Open,
    #[error("an address of servers has no name or password in it, and nothing behind ? or #")]
    Extra,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let mut url = parse_url(text)?;
        if !url.path().ends_with(".json") {
            url.set_path(&format!("{}/{FILE_NAME}", url.path().trim_end_matches('/')));
        }
        Ok(Self::Url(url))
    }
}

/// The address of a server, where nobody on the way can read or change what is said.
pub(crate) fn parse_url(text: &str) -> Result<Url, AddressError> {
    let url = Url::parse(text)?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if !(url.scheme() == "https" || url.scheme() == "http" && is_here) {
        return Err(AddressError::Open);
    }
    let has_extra = url.query().is_some() || url.fragment().is_some();
    if has_extra || !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::Extra);
    }
    Ok(url)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl ServerArgs {
    /// The servers, of a command that needs them. Where their address gives nothing, they are those that it gave before to this store.
    pub(crate) fn require(&self, store: &Path) -> anyhow::Result<Known> {
        let address = self.server.as_ref().context("no servers are named").advise("name them: --server client.json")?;
        let error = match address.load() {
            Ok(known) => return Ok(known),
            Err(error) => error,
        };
        match kept(store).filter(|kept| kept.is_of(address)) {
            Some(kept) => {
                warn(&format!("{error}; what it gave before is used"))?;
                kept.known()
            }
            None => Err(error),
        }
    }
}

/// Why an address does not give the servers now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Absent {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the server answered with status {status} in place of 200")]
    Status { status: u16, failure: Failure },
    #[error("what came is no client.json")]
    Nonsense(#[source] anyhow::Error),
}

impl Absent {
    /// What it means for the next attempt.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Transport(TransportError::Offline) => Failure::Offline,
            Self::Status { failure, .. } => *failure,
            Self::Transport(_) | Self::Nonsense(_) => Failure::Server(None),
        }
    }
}

impl Address {
    /// Reads the description; fetches it first where it is elsewhere.
    pub(crate) fn load(&self) -> anyhow::Result<Known> {
        match self {
            Self::File(path) => {
                let json = files::read(path, MAX_SERVERS_FILE as u64)?;
                Known::new(self, &json, transport()?)
                    .with_context(|| format!("{self} cannot be used"))
                    .advise("use the client.json of the health authority or of the backend, as it is")
            }
            Self::Url(url) => {
                let fetched = self.fetch(transport()?).with_context(|| format!("{url} cannot be fetched"));
                fetched.advise(match url.scheme() {
                    "http" => "look at the address, or start a server there: cargo run --release -p vigie-backend",
                    _ => "look at the address and the network; a file client.json that is here needs neither",
                })
            }
        }
    }

    /// What needs no network: a file, or what the address gave before to this store.
    pub(crate) fn known_here(&self, store: &Path) -> anyhow::Result<Option<Known>> {
        match self {
            Self::File(_) => self.load().map(Some),
            Self::Url(_) => kept(store).filter(|kept| kept.is_of(self)).map(|kept| kept.known()).transpose(),
        }
    }

    /// Asks the address once, and waits for as long as the transport does.
    ///
    /// # Errors
    /// [`Absent`].
    pub(crate) fn fetch(&self, mut transport: Box<dyn Transport>) -> Result<Known, Absent> {
        let Self::Url(url) = self else { return Err(Absent::Nonsense(anyhow!("{self} is a file"))) };
        let json = fetch(url, &mut *transport)?;
        Known::new(self, &json, transport).map_err(Absent::Nonsense)
    }

    /// The description as far as it is on this computer, for a command that uses no network: a file, or what the address gave before to this store.
    pub(crate) fn read_here(&self, store: &Path) -> anyhow::Result<Servers> {
        let Self::File(path) = self else {
            if let Some(kept) = kept(store).filter(|kept| kept.is_of(self)) {
                return Ok(kept.known()?.servers);
            }
            return Err(anyhow!("{self} is not on this computer, and this command uses no network"))
                .advise("save it to a file, and name that: --server client.json");
        };
        Servers::from_json(&files::read(path, MAX_SERVERS_FILE as u64)?).with_context(|| format!("{self} cannot be used"))
    }
}

/// Servers, with what carries requests to them.
pub(crate) struct Known {
    address: String,
    json: Vec<u8>,
    servers: Servers,
    keys: Vec<PublicKey>,
    transport: Box<dyn Transport>,
}

impl Known {
    fn new(address: &Address, json: &[u8], transport: Box<dyn Transport>) -> anyhow::Result<Self> {
        Self::named(address.to_string(), json.to_vec(), transport)
    }

    fn named(address: String, json: Vec<u8>, transport: Box<dyn Transport>) -> anyhow::Result<Self> {
        let servers = Servers::from_json(&json)?;
        let keys = servers.authority_keys()?;
        Ok(Self { address, json, servers, keys, transport })
    }

    /// Whether they publish a bulletin.
    pub(crate) fn has_bulletin(&self) -> bool {
        self.servers.bulletin.is_some()
    }

    /// From now on the tracer on this store talks to these servers, whenever it is asked to, and believes their key files. The next start knows them
    /// without a network.
    pub(crate) fn connect(self, tracer: &Tracer, store: &Path) {
        // Where they cannot be kept, the next start asks for them again.
        let _ = kept::keep(&self, store);
        tracer.add_authority_keys(self.keys);
        tracer.connect(self.servers, self.transport, downloads(store));
    }

    /// The servers, the keys that vouch for their files, and what carries requests: for many tracers that share it.
    pub(crate) fn into_parts(self) -> (Servers, Vec<PublicKey>, Box<dyn Transport>) {
        (self.servers, self.keys, self.transport)
    }
}

/// How the key lists of these servers stand in a store, in the order of [`Servers::key_lists`]; nothing is sent.
pub(crate) fn courier(servers: Servers, store: &Path) -> Courier {
    Courier::new(servers, downloads(store))
}

/// The folder for key files while they are fetched: `store.db-downloads` beside `store.db`.
fn downloads(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-downloads");
    name.into()
}

fn fetch(url: &Url, transport: &mut dyn Transport) -> Result<Vec<u8>, Absent> {
    let response = transport.exchange(&Request {
        url: url.to_string(),
        headers: vec![("accept", "application/json".to_owned())],
        body: None,
        destination: Destination::Memory { limit: MAX_SERVERS_FILE as u64 },
    })?;
    match response.status {
        200 => Ok(response.body),
        status => Err(Absent::Status { status, failure: Failure::Server(response.retry_after()) }),
    }
}

/// What carries requests.
#[cfg(feature = "http")]
pub(crate) fn transport() -> anyhow::Result<Box<dyn Transport>> {
    Ok(Box::new(vigie::courier::HttpClient::new()?))
}

#[cfg(not(feature = "http"))]
pub(crate) fn transport() -> anyhow::Result<Box<dyn Transport>> {
    Err(anyhow!("this program was built without HTTP")).advise("build it with its default features: cargo build -p vigie-desktop")
}

#[cfg(test)]
mod tests {
    use vigie::courier::{Response, TransportError};

    use super::*;

    /// Answers each request with this status, and a body that says what was asked for.
    struct Echo(u16);

    impl Transport for Echo {
        fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
            assert!(request.body.is_none() && request.destination == Destination::Memory { limit: MAX_SERVERS_FILE as u64 });
            Ok(Response { status: self.0, body: request.url.clone().into_bytes(), ..Response::default() })
        }
    }

    #[test]
    fn an_address_is_a_file_or_https_or_http_on_this_computer() {
        for (text, expected) in [
            ("https://keys.example", "https://keys.example/client.json"),
            ("https://keys.example/lu/", "https://keys.example/lu/client.json"),
            ("https://keys.example/lu.json", "https://keys.example/lu.json"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/client.json"),
            ("http://localhost", "http://localhost/client.json"),
            ("http://[::1]:80/", "http://[::1]/client.json"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), matches!(address, Address::Url(_))), (expected, true));
        }
        for text in ["client.json", "../x", "http:/x"] {
            assert_eq!(text.parse::<Address>().unwrap(), Address::File(text.into()));
        }
        for text in [
            "http://keys.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "https://me:secret@keys.example",
            "https://keys.example/?x",
            "ftp://keys.example",
            "file:///etc/passwd",
            "https://",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_fetched_is_the_answer_200_and_nothing_else() {
        let Address::Url(url) = "https://keys.example".parse().unwrap() else { unreachable!() };
        assert_eq!(fetch(&url, &mut Echo(200)).unwrap(), b"https://keys.example/client.json");
        for status in [204, 302, 404, 500] {
            assert!(fetch(&url, &mut Echo(status)).unwrap_err().to_string().contains(&status.to_string()));
        }
    }

    #[test]
    fn without_network_only_a_file_is_read() {
        let address: Address = "https://keys.example".parse().unwrap();
        let store = Path::new("nowhere.db");
        assert!(address.read_here(store).unwrap_err().chain().any(|cause| cause.to_string().contains("uses no network")));
        assert!("nowhere.json".parse::<Address>().unwrap().read_here(store).is_err());
    }

    #[test]
    fn files_are_fetched_into_a_folder_beside_the_store() {
        assert_eq!(downloads(Path::new("a/store.db")), Path::new("a/store.db-downloads"));
    }
}
