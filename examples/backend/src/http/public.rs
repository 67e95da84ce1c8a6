//! What apps call: `/api/verify`, `/api/certificate`, `/v1/publish`, and `/health`.
//!
//! ```text
//! key of the app -> body, bounded -> decoy? answered here -> JSON -> rule, in a group commit -> answer, padded
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vigie::courier::VerificationCode;
use vigie::courier::wire::{
    self, API_KEY_HEADER, CHAFF_HEADER, CertificateRequest, CertificateResponse, ErrorResponse, IDEMPOTENCY_KEY_HEADER, MAX_BODY,
    PublishRequest, PublishResponse, VerifyRequest,
};

use super::body::{self, BodyError};
use super::{App, address};
use crate::group::GroupError;
use crate::metrics::Call;
use crate::rules::{self, Context, Refusal, Report};

/// When to come again where too much waits, in seconds.
const RETRY_AFTER_S: &str = "2";

/// Bytes of random padding in an answer, and as many more.
pub(super) const PADDING: usize = 1024;

/// Symbols of a short code at most.
const SHORT_CODE: usize = 8;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Verify,
    Certificate,
    Publish,
}

impl Endpoint {
    pub(super) const ALL: usize = 3;

    const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Certificate => "certificate",
            Self::Publish => "publish",
        }
    }
}

/// An answer with random padding.
trait Padded: Serialize {
    fn padding(&self) -> &str;
}

macro_rules! padded {
    ($($answer:ty),*) => {$(
        impl Padded for $answer {
            fn padding(&self) -> &str {
                &self.padding
            }
        }
    )*};
}

padded!(wire::VerifyResponse, CertificateResponse, PublishResponse, ErrorResponse);

/// An answer, and its length without the padding.
fn measured(status: StatusCode, answer: &impl Padded) -> (Response, usize) {
    let response = body::json(status, answer);
    let length = response.body().size_hint().lower() as usize;
    (response, length.saturating_sub(answer.padding().len()))
}

/// Why there is no answer, as the interface says it.
struct Failure {
    /// Whether a rule refused what an app could have sent. Anybody can send junk, and shall not choose what decoys look like.
    is_of_rules: bool,
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, text: &str) -> Self {
        Self { is_of_rules: false, status, code, text: text.to_owned() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        Self { is_of_rules: false, status, code: refusal.code(), text: refusal.to_string() }
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Refused(refusal) => {
                let is_junk = matches!(
                    refusal,
                    Refusal::Unparsable(_)
                        | Refusal::BadRequest(_)
                        | Refusal::HmacInvalid
                        | Refusal::InvalidTestType
                        | Refusal::QuotaExceeded
                );
                Self { is_of_rules: !is_junk, ..refusal.into() }
            }
            GroupError::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "internal_error", "too many requests; try again"),
            GroupError::Unavailable => Self::new(StatusCode::SERVICE_UNAVAILABLE, "internal_error", "no answer; try again"),
            GroupError::Failed => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "no answer; try again"),
        }
    }
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/verify", post(|State(app): State<Arc<App>>, request| call(app, Endpoint::Verify, request, verify)))
        .route(
            "/api/certificate",
            post(|State(app): State<Arc<App>>, request| call(app, Endpoint::Certificate, request, certificate)),
        )
        .route("/v1/publish", post(|State(app): State<Arc<App>>, request| call(app, Endpoint::Publish, request, publish)))
        .route("/client.json", get(client_json))
        .route("/health", get(health))
        .with_state(app)
}

/// What `vigie --server` asks for first.
async fn client_json(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.client_json.clone()).into_response()
}

/// Whether the database answers.
async fn health(State(app): State<Arc<App>>) -> Response {
    match app.publisher.group.run(|transaction| transaction.query("SELECT 1", &[]).map(drop)).await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}

/// What is the same for all calls.
async fn call<F, A>(
    app: Arc<App>,
    endpoint: Endpoint,
    request: Request,
    handler: impl FnOnce(Arc<App>, HeaderMap, std::net::IpAddr, Bytes) -> F,
) -> Response
where
    F: Future<Output = Result<A, Failure>>,
    A: Padded,
{
    let address = address::of(&request, &app.trusted_proxies);
    let (head, body) = request.into_parts();
    let is_decoy = head.headers.contains_key(CHAFF_HEADER);
    let presented = head.headers.get(API_KEY_HEADER).map_or(&b""[..], HeaderValue::as_bytes);
    let secrets = &app.publisher.secrets;
    if endpoint != Endpoint::Publish && !secrets.is_same(presented, secrets.api_key.as_bytes()) {
        return failed(&app, endpoint, Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", "the API key is wrong")).0;
    }
    let body = match body::read(body, MAX_BODY, app.sender_time).await {
        Ok(body) => body,
        Err(e) => return failed(&app, endpoint, unread(endpoint, e)).0,
    };
    if is_decoy {
        count(&app, endpoint, "decoy");
        return app.decoys.answer(endpoint, app.rng()).await;
    }
    let begun = Instant::now();
    let ((response, length), is_of_rules) = match handler(Arc::clone(&app), head.headers, address, body).await {
        Ok(answer) => {
            count(&app, endpoint, "answered");
            (measured(StatusCode::OK, &answer), true)
        }
        Err(failure) => {
            let is_of_rules = failure.is_of_rules;
            (failed(&app, endpoint, failure), is_of_rules)
        }
    };
    if is_of_rules {
        app.decoys.remember(endpoint, begun.elapsed(), length);
    }
    response
}

fn unread(endpoint: Endpoint, error: BodyError) -> Failure {
    let code = if endpoint == Endpoint::Publish { "bad_request" } else { "unparsable_request" };
    match error {
        BodyError::TooLong => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, code, "a body has at most 64,000 bytes"),
        BodyError::Broken => Failure::new(StatusCode::BAD_REQUEST, code, "the body is not whole"),
        BodyError::TooSlow => Failure::new(StatusCode::REQUEST_TIMEOUT, code, "the body did not come in time"),
    }
}

fn count(app: &App, endpoint: Endpoint, end: &'static str) {
    app.metrics.calls.get_or_create(&Call { call: endpoint.name(), end }).increment();
}

/// A refusal, and its length without the padding.
fn failed(app: &App, endpoint: Endpoint, failure: Failure) -> (Response, usize) {
    count(app, endpoint, Call::end_of(failure.status));
    let padding = wire::padding(PADDING, &mut app.rng());
    let (mut response, length) = if endpoint == Endpoint::Publish {
        let answer = PublishResponse { error: failure.text, code: failure.code.into(), padding, ..PublishResponse::default() };
        measured(failure.status, &answer)
    } else {
        measured(failure.status, &ErrorResponse { error: failure.text, error_code: failure.code.into(), padding })
    };
    if matches!(failure.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    (response, length)
}

/// serde's own words may repeat what was sent.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

const UNPARSABLE: Refusal = Refusal::Unparsable("the body is not the JSON of this call");

/// Runs a rule in the next group.
macro_rules! in_group {
    ($app:expr, |$transaction:ident, $context:ident| $rule:expr) => {{
        let mut rng = $app.rng();
        let (secrets, policy) = (Arc::clone(&$app.publisher.secrets), Arc::clone(&$app.publisher.policy));
        let clock = Arc::clone(&$app.publisher.clock);
        $app.publisher
            .group
            .run(move |$transaction| {
                let mut context = Context { now: clock.now(), secrets: &secrets, policy: &policy, rng: &mut rng };
                let $context = &mut context;
                $rule
            })
            .await
    }};
}
pub(super) use in_group;

async fn verify(
    app: Arc<App>,
    headers: HeaderMap,
    address: std::net::IpAddr,
    body: Bytes,
) -> Result<wire::VerifyResponse, Failure> {
    let request: VerifyRequest = parse(&body).ok_or(UNPARSABLE)?;
    let idempotency_key = headers.get(IDEMPOTENCY_KEY_HEADER).map(|value| value.as_bytes().to_vec());
    let is_short = VerificationCode::parse(&request.code).is_ok_and(|code| code.as_str().len() <= SHORT_CODE);
    let look_up = async {
        in_group!(app, |transaction, context| rules::verify(transaction, &request, idempotency_key.as_deref(), context))
    };
    Ok(app.limits.look_up(address, is_short, look_up).await?)
}

async fn certificate(app: Arc<App>, _: HeaderMap, _: std::net::IpAddr, body: Bytes) -> Result<CertificateResponse, Failure> {
    let request: CertificateRequest = parse(&body).ok_or(UNPARSABLE)?;
    let claims = in_group!(app, |transaction, context| rules::certificate(transaction, &request, context))?;
    let certificate = app.publisher.secrets.certificates.sign(&claims).map_err(|_| GroupError::Failed)?;
    Ok(CertificateResponse { certificate, padding: wire::padding(PADDING, &mut app.rng()) })
}

async fn publish(app: Arc<App>, _: HeaderMap, _: std::net::IpAddr, body: Bytes) -> Result<PublishResponse, Failure> {
    let request: PublishRequest = parse(&body).ok_or(Refusal::BadRequest("the body is not the JSON of this call"))?;
    let report = {
        let publisher = &app.publisher;
        let context =
            Context { now: app.clock().now(), secrets: &publisher.secrets, policy: &publisher.policy, rng: &mut app.rng() };
        Report::check(&request, &context)?
    };
    let answer = in_group!(app, |transaction, context| rules::publish(transaction, &report, context))?;
    app.metrics.keys.add(u64::try_from(answer.inserted_exposures).unwrap_or(0));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoys_imitate_what_rules_say_and_not_what_junk_gets() {
        let is_of_rules = |refusal| Failure::from(GroupError::Refused(refusal)).is_of_rules;
        assert!(is_of_rules(Refusal::CodeNotFound) && is_of_rules(Refusal::TokenExpired));
        assert!(
            !is_of_rules(Refusal::Unparsable(""))
                && !is_of_rules(Refusal::BadRequest(""))
                && !is_of_rules(Refusal::QuotaExceeded)
        );
        assert!(!Failure::from(UNPARSABLE).is_of_rules, "refused before any rule");
        assert!(!Failure::from(GroupError::Busy).is_of_rules);
    }
}
