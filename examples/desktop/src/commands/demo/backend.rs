//! The town's health authority on a real backend: everything goes over HTTP, by the library's own client.
//!
//! ```text
//! issue --> code --> report --> publish-now --> index, key files --> each phone matches
//! ```
//!
//! The town is placed so that its last day is yesterday: by the server's clock every key that is reported has ended 2 hours ago. The keys are other ones
//! each time, because a server takes a key from its own phone alone, and a simulated phone forgets that it was there.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;
use vigie::courier::wire::{API_KEY_HEADER, ErrorResponse};
use vigie::courier::{
    Destination, ReportDetails, ReportId, ReportState, Request, Response, Servers, Transport, TransportError, VerificationCode,
};
use vigie::diagnosis::PublicKey;
use vigie::time::{Clock, Date, SystemClock};
use vigie::tracer::Tracer;
use zeroize::Zeroizing;

use super::life::{self, Life};
use super::{DemoArgs, Outcome, calibrated};
use crate::commands::standing::{Report, second};
use crate::failure::{Advise, warn};
use crate::files;
use crate::output::shown;
use crate::progress::Progress;
use crate::servers::Address;
use crate::store;

/// Where the backend serves its administrators, and where its admin token is, unless somebody says otherwise.
const ADMIN: &str = "http://127.0.0.1:8081";
const TOKEN: &str = "keys/admin-token";
const DATA: &str = "vigie-data";

/// Far more than a token, or an answer to an administrator, has, in bytes.
const MAX_TOKEN: u64 = 1024;
const MAX_ANSWER: u64 = 65_536;

/// Characters of a server's own words that are shown.
const MAX_WORDS: usize = 200;

/// How the keys went through the server.
#[derive(Debug, Serialize)]
pub(super) struct Served {
    /// When the report was made; until it was sent the phone had no network.
    pub(super) reported_at: String,
    pub(super) sent_at: String,
    /// Key files on the list, of earlier reports, too.
    pub(super) files: usize,
    /// Key files that a phone could not use.
    pub(super) refused_files: usize,
}

/// Plays the days, and lets the report and the key files take their way through the server.
pub(super) fn play(args: &DemoArgs, server: &Address) -> anyhow::Result<Outcome> {
    let mut authority = Authority::of(args, server)?;
    let start = SystemClock.now().date().minus(args.days).first_interval().start();
    let onset = life::onset(start, args.days);
    // Before the days are played, so that nobody waits for a server that is not there.
    let code = authority.issue(onset)?;
    let mut life = Life::begin(args, start, &authority.keys, calibrated, |_| store::random_source())?;
    life.live_until(life.diagnosis())?;
    let details = ReportDetails { symptom_onset: Some(onset.first_interval()), traveler: false };
    let keys_of_patient = life.patient().tracer.status()?.own_keys;
    let report = life.patient().tracer.report(&code, details)?;
    life.live_until(SystemClock.now())?;

    let folder = tempfile::tempdir().context("key files need a temporary folder while they are fetched")?;
    for (number, phone) in life.phones().iter().enumerate() {
        let downloads = folder.path().join(number.to_string());
        phone.tracer.connect(authority.servers.clone(), Box::new(authority.transport.clone()), downloads);
    }
    let keys_published = send(&life.patient().tracer, report)?;
    authority.publish_now()?;
    let (files, refused_files) = fetch(&life)?;
    if refused_files > 0 {
        warn(&format!("{refused_files} key files cannot be used: look whether client.json is this server's"))?;
    }
    let (reported_at, sent_at) = (second(life.diagnosis()), second(life.now()));
    let server = Some(Served { reported_at, sent_at, files, refused_files });
    Ok(Outcome { keys_of_patient, keys_published, server, ..life.outcome()? })
}

/// Sends the report, and says how many of its keys the server took.
fn send(tracer: &Tracer, id: ReportId) -> anyhow::Result<usize> {
    while tracer.correspond()?.is_zero() {}
    let reports = tracer.reports()?;
    let report = reports.iter().find(|report| report.id == id).context("the report is not there any more")?;
    match report.state {
        ReportState::Done { keys } => Ok(keys as usize),
        _ => Err(anyhow!("the report did not get through: it {}", Report::of(report, SystemClock.now())))
            .advise("look whether the server is still running, and play again; --verbose tells more"),
    }
}

/// Every phone fetches and matches what is listed. Says how many files there are, and how many of them some phone could not use.
fn fetch(life: &Life) -> anyhow::Result<(usize, usize)> {
    let mut progress = Progress::of_steps(life.phones().len() as u64, "phones fetch and match key files");
    let (mut files, mut refused) = (0, 0);
    for phone in life.phones() {
        phone.tracer.sync_now()?;
        while phone.tracer.correspond()?.is_zero() {}
        let lists = phone.tracer.key_lists()?;
        if lists.iter().any(|list| list.seen_at.is_none() || list.waiting > 0) {
            return Err(anyhow!("a phone did not get all key files"))
                .advise("look whether the server is still running, and play again; --verbose tells more");
        }
        files = files.max(lists.iter().map(|list| list.done + list.refused).sum());
        refused = refused.max(lists.iter().map(|list| list.refused).sum());
        progress.advance(1);
    }
    Ok((files, refused))
}

/// The backend from its two sides: what phones know of it, and what its administrators can do.
struct Authority {
    servers: Servers,
    keys: Vec<PublicKey>,
    transport: Shared,
    admin: Url,
    token: Zeroizing<String>,
    token_file: PathBuf,
}

impl Authority {
    fn of(args: &DemoArgs, server: &Address) -> anyhow::Result<Self> {
        let token_file = args.admin_token.clone().unwrap_or_else(|| token_file(server));
        let (servers, keys, transport) = server.load()?.into_parts();
        let admin = args.admin.clone().map_or_else(|| Url::parse(ADMIN), Ok)?;
        if !token_file.is_file() {
            return Err(anyhow!("there is no admin token {}, and codes are issued with one", token_file.display()))
                .advise("name it: --admin-token DIR/keys/admin-token, where DIR is the backend's --data");
        }
        let bytes = files::read(&token_file, MAX_TOKEN)?;
        let token = String::from_utf8_lossy(&bytes).trim().to_owned().into();
        Ok(Self { servers, keys, transport: Shared(Arc::new(Mutex::new(transport))), admin, token, token_file })
    }

    /// A code for somebody who tested positive.
    fn issue(&mut self, onset: Date) -> anyhow::Result<VerificationCode> {
        let answer: Value = self.ask("/api/issue", &json!({ "testType": "confirmed", "symptomDate": onset.to_string() }))?;
        let code = answer.get("code").and_then(Value::as_str).unwrap_or_default();
        VerificationCode::parse(code).context("what the backend issued is no code")
    }

    /// A list of all that is free by now, in place of waiting for the schedule.
    fn publish_now(&mut self) -> anyhow::Result<()> {
        self.ask::<Value>("/api/publish-now", &json!({})).map(drop)
    }

    fn ask<T: DeserializeOwned>(&mut self, path: &str, body: &Value) -> anyhow::Result<T> {
        let request = Request {
            url: self.admin.join(path)?.into(),
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("accept", "application/json".to_owned()),
                (API_KEY_HEADER, self.token.to_string()),
            ],
            body: Some(body.to_string().into_bytes()),
            destination: Destination::Memory { limit: MAX_ANSWER },
        };
        let response = self
            .transport
            .exchange(&request)
            .with_context(|| format!("the backend's administration at {} cannot be reached", self.admin))
            .advise("start the backend: cargo run --release -p vigie-backend; --admin says where its --admin-listen is")?;
        let cannot = || format!("the backend's administration at {} cannot be used", self.admin);
        match response.status {
            200 => serde_json::from_slice(&response.body).with_context(cannot),
            401 => Err(anyhow!("it does not take the token in {}", self.token_file.display()))
                .with_context(cannot)
                .advise("name this backend's own: --admin-token DIR/keys/admin-token, where DIR is its --data"),
            status => Err(anyhow!("it answered with status {status}: {}", words(&response)))
                .with_context(cannot)
                .advise("--admin names the backend's --admin-listen, and not where it serves apps"),
        }
    }
}

fn token_file(server: &Address) -> PathBuf {
    match server {
        Address::File(client_json) => client_json.parent().unwrap_or(Path::new("")).join(TOKEN),
        Address::Url(_) => Path::new(DATA).join(TOKEN),
    }
}

/// What a server says of an error.
fn words(response: &Response) -> String {
    let error = serde_json::from_slice::<ErrorResponse>(&response.body).map(|answer| answer.error).unwrap_or_default();
    shown(&error, MAX_WORDS)
}

/// One client for the whole town: each would have threads and connections of its own.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn Transport>>>);

impl Transport for Shared {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).exchange(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_looked_for_where_the_backend_keeps_it() {
        for (server, file) in [
            ("vigie-data/client.json", "vigie-data/keys/admin-token"),
            ("client.json", "keys/admin-token"),
            ("http://127.0.0.1:8080", "vigie-data/keys/admin-token"),
        ] {
            assert_eq!(token_file(&server.parse().unwrap()), Path::new(file), "{server}");
        }
    }
}
