//! Servers as a phone sees them: ours, which repeats its answers, or deployed ones, which refuse what was used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::super::wire::*;
use super::super::*;

/// What happens to a request, in order; afterwards all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    /// It does not arrive.
    Lost,
    /// It arrives, and the answer is lost.
    AnswerLost,
    /// 503.
    Busy,
    /// A login page instead of the server.
    Portal,
    Offline,
}

/// One exchange on the wire.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) url: String,
    pub(super) length: usize,
    pub(super) operation: String,
    pub(super) is_chaff: bool,
    pub(super) at: Timestamp,
}

pub(super) struct Server {
    /// Whether it knows operation ids.
    pub(super) repeats: bool,
    pub(super) fates: Vec<Fate>,
    pub(super) seen: Vec<Seen>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) index: String,
    /// A download breaks off after so many bytes, once each.
    pub(super) breaks_at: Option<usize>,
    pub(super) requests_of_files: Vec<(String, Option<String>)>,
    /// Keys with their publishes: how often each was taken.
    pub(super) published: BTreeMap<String, u32>,
    /// Seconds by which its clock is behind the phone's.
    pub(super) behind_s: i64,
    codes: BTreeMap<String, Option<String>>,
    tokens: BTreeMap<String, Option<String>>,
    certificates: BTreeMap<String, String>,
    revision_tokens: BTreeSet<String>,
    refuses_certificates: u32,
    /// The certificate has expired from so many requests on.
    pub(super) expires_after: Option<usize>,
    /// A revision token is good only for keys that were there when it was given.
    pub(super) knows_keys_of_tokens: bool,
    rng: ChaCha20Rng,
}

fn json(status: u16, body: &impl serde::Serialize) -> Response {
    Response { status, headers: Vec::new(), body: serde_json::to_vec(body).unwrap() }
}

fn error(code: &str) -> Response {
    json(400, &ErrorResponse { error: "no".into(), error_code: code.into(), padding: String::new() })
}

fn publish_error(code: &str) -> Response {
    json(400, &PublishResponse { code: code.into(), ..PublishResponse::default() })
}

impl Server {
    pub(super) fn new(repeats: bool) -> Self {
        Self {
            repeats,
            fates: Vec::new(),
            seen: Vec::new(),
            files: BTreeMap::new(),
            index: String::new(),
            breaks_at: None,
            requests_of_files: Vec::new(),
            published: BTreeMap::new(),
            behind_s: 0,
            codes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            certificates: BTreeMap::new(),
            revision_tokens: BTreeSet::new(),
            refuses_certificates: 0,
            expires_after: None,
            knows_keys_of_tokens: false,
            rng: ChaCha20Rng::seed_from_u64(99),
        }
    }

    pub(super) fn issue(&mut self) -> VerificationCode {
        let code = VerificationCode::generate(&mut self.rng);
        self.codes.insert(code.as_str().to_string(), None);
        code
    }

    /// The next certificates have expired when they arrive.
    pub(super) fn let_certificates_expire(&mut self, count: u32) {
        self.refuses_certificates = count;
    }

    /// A file is good where it says so.
    pub(super) fn judge(&self, path: &Path) -> Matched {
        match std::fs::read(path).unwrap().starts_with(b"good") {
            true => Matched::Applied(None),
            false => Matched::Refused,
        }
    }

    pub(super) fn exchange_at(&mut self, request: &Request, now: Timestamp) -> Result<Response, TransportError> {
        let fate = if self.fates.is_empty() { Fate::Well } else { self.fates.remove(0) };
        match fate {
            Fate::Lost => return Err(TransportError::TimedOut),
            Fate::Offline => return Err(TransportError::Offline),
            Fate::Busy => {
                return Ok(Response { status: 503, headers: vec![("retry-after".into(), "60".into())], body: Vec::new() });
            }
            Fate::Portal => {
                return Ok(Response { status: 200, headers: Vec::new(), body: b"<html>Welcome to our hotel".to_vec() });
            }
            Fate::Well | Fate::AnswerLost => {}
        }
        let header = |name: &str| request.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
        let mut response = match &request.body {
            None => return self.file(request, header("range"), header("if-none-match"), fate),
            Some(body) => {
                let operation = header(IDEMPOTENCY_KEY_HEADER).unwrap();
                let is_chaff = header(CHAFF_HEADER).is_some();
                assert!(is_chaff != header(PLAIN_HEADER).is_some());
                let seen = Seen { url: request.url.clone(), length: body.len(), operation: operation.clone(), is_chaff, at: now };
                self.seen.push(seen);
                if is_chaff {
                    json(200, &VerifyResponse { padding: padding(1_024, &mut self.rng), ..VerifyResponse::default() })
                } else {
                    self.answer(&request.url, body, &operation)
                }
            }
        };
        if self.behind_s != 0 {
            let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs((now.unix_s() - self.behind_s) as u64);
            response.headers.push(("date".into(), httpdate::fmt_http_date(date)));
        }
        if fate == Fate::AnswerLost { Err(TransportError::TimedOut) } else { Ok(response) }
    }

    fn answer(&mut self, url: &str, body: &[u8], operation: &str) -> Response {
        if url.ends_with("/api/verify") {
            let request: VerifyRequest = serde_json::from_slice(body).unwrap();
            return match self.codes.get_mut(&request.code) {
                Some(used) if used.is_none() || (self.repeats && used.as_deref() == Some(operation)) => {
                    *used = Some(operation.to_string());
                    let token = format!("token of {}", request.code);
                    self.tokens.entry(token.clone()).or_insert(None);
                    json(200, &VerifyResponse { testtype: "confirmed".into(), token, ..VerifyResponse::default() })
                }
                _ => error("code_invalid"),
            };
        }
        if url.ends_with("/api/certificate") {
            let request: CertificateRequest = serde_json::from_slice(body).unwrap();
            return match self.tokens.get_mut(&request.token) {
                Some(used) if used.is_none() || (self.repeats && used.as_deref() == Some(&request.ekeyhmac)) => {
                    *used = Some(request.ekeyhmac.clone());
                    let certificate = format!("certificate {}", self.certificates.len());
                    self.certificates.insert(certificate.clone(), request.ekeyhmac);
                    json(200, &CertificateResponse { certificate, padding: String::new() })
                }
                _ => error("token_expired"),
            };
        }
        self.publish(&serde_json::from_slice(body).unwrap())
    }

    fn publish(&mut self, request: &PublishRequest) -> Response {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let hmac = BASE64_STANDARD
            .encode(keys_hmac(&request.temporary_exposure_keys, &BASE64_STANDARD.decode(&request.hmac_key).unwrap()));
        let has_expired = self.expires_after.is_some_and(|count| self.seen.len() > count);
        if has_expired && self.seen.len() > 3 {
            self.expires_after = None;
            return publish_error("health_authority_verification_certificate_invalid");
        }
        if self.refuses_certificates > 0 || self.certificates.get(&request.verification_payload) != Some(&hmac) {
            self.refuses_certificates = self.refuses_certificates.saturating_sub(1);
            return publish_error("health_authority_verification_certificate_invalid");
        }
        if self.behind_s > 0 {
            return publish_error("bad_request");
        }
        let keys: Vec<&String> = request.temporary_exposure_keys.iter().map(|key| &key.key).collect();
        let all_are_known = keys.iter().all(|key| self.published.contains_key(*key));
        let any_is_known = keys.iter().any(|key| self.published.contains_key(*key));
        let token = format!("revision of {} keys", keys.len());
        let is_foreign = self.knows_keys_of_tokens && !request.revision_token.is_empty() && all_are_known;
        if is_foreign {
            return publish_error("invalid_revision_token");
        }
        if any_is_known && !self.revision_tokens.contains(&request.revision_token) && !(self.repeats && all_are_known) {
            return publish_error("missing_revision_token");
        }
        let mut inserted = 0;
        for key in keys {
            if !self.published.contains_key(key) {
                self.published.insert(key.clone(), 1);
                inserted += 1;
            }
        }
        self.revision_tokens.insert(token.clone());
        json(200, &PublishResponse { revision_token: token, inserted_exposures: inserted, ..PublishResponse::default() })
    }

    fn file(
        &mut self,
        request: &Request,
        range: Option<String>,
        etag: Option<String>,
        fate: Fate,
    ) -> Result<Response, TransportError> {
        if fate == Fate::AnswerLost {
            return Err(TransportError::TimedOut);
        }
        let path = request.url.strip_prefix("https://files.example/").unwrap().to_string();
        let Destination::File { path: to, .. } = &request.destination else {
            let tag = format!("\"{}\"", self.index.len());
            let is_same = etag.as_deref() == Some(&tag);
            let body = if is_same { Vec::new() } else { self.index.clone().into_bytes() };
            return Ok(Response { status: if is_same { 304 } else { 200 }, headers: vec![("etag".into(), tag)], body });
        };
        self.requests_of_files.push((path.clone(), range.clone()));
        let Some(whole) = self.files.get(&path) else {
            return Ok(Response { status: 404, ..Response::default() });
        };
        let from: usize = range.map_or(0, |range| range["bytes=".len()..range.len() - 1].parse().unwrap());
        if from > whole.len() {
            return Ok(Response { status: 416, ..Response::default() });
        }
        let here = if from > 0 { std::fs::read(to).unwrap() } else { Vec::new() };
        let (rest, breaks) = match self.breaks_at.take() {
            Some(count) if from + count < whole.len() => (&whole[from..from + count], true),
            _ => (&whole[from..], false),
        };
        std::fs::write(to, [&here, rest].concat()).unwrap();
        if breaks {
            return Err(TransportError::Failed { reason: "it broke off".into() });
        }
        Ok(Response { status: if from > 0 { 206 } else { 200 }, ..Response::default() })
    }
}
