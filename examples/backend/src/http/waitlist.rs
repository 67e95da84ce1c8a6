//! The waiting list over HTTP (interface: `vigie::courier::waitlist`).
//!
//! Nothing that is answered, and no time that it takes, depends on who is on the list: forms are not opened here.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use rand_core::CryptoRng;
use serde::de::DeserializeOwned;
use vigie::courier::waitlist::{
    CORRECT_PATH, CorrectRequest, ErrorCode, ErrorResponse, MAX_WAITLIST_BODY, OperationId, SIGN_UP_PATH, STATUS_PATH,
    SealedForm, SignUpRequest, SignUpResponse, StatusRequest, StatusResponse, WITHDRAW_PATH,
};
use vigie::courier::wire::IDEMPOTENCY_KEY_HEADER;

use super::App;
use super::body::{self, BodyError};
use super::public::in_group;
use crate::group::{AWAY, Group, GroupError};
use crate::metrics::Call;
use crate::rules::{self, Context, Correction, Received, Refusal, SignUp, Standing};

/// The longest that somebody is asked to stay away, in seconds. The library adds up to half of it: within a minute after an overload all apps are back.
const MAX_RETRY_AFTER_S: u64 = AWAY.as_secs();

/// A refusal on its way.
pub(super) struct Failure(StatusCode, ErrorCode, String);

impl Failure {
    fn bad(text: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, text.to_owned())
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        let text = error.to_string();
        match error {
            GroupError::Busy | GroupError::Unavailable => Self(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Busy, text),
            GroupError::Failed => Self(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Failed, text),
            GroupError::Refused(Refusal::OperationReused) => {
                Self(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OperationReused, text)
            }
            GroupError::Refused(Refusal::UnknownKey) => Self(StatusCode::CONFLICT, ErrorCode::UnknownKey, text),
            GroupError::Refused(Refusal::UnknownOperation) => Self(StatusCode::NOT_FOUND, ErrorCode::UnknownOperation, text),
            GroupError::Refused(_) => Self(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, text),
        }
    }
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(SIGN_UP_PATH, post(|State(app): State<Arc<App>>, request| call(app, "sign_up", request, sign_up)))
        .route(CORRECT_PATH, post(|State(app): State<Arc<App>>, request| call(app, "correct", request, correct)))
        .route(WITHDRAW_PATH, post(|State(app): State<Arc<App>>, request| call(app, "withdraw", request, withdraw)))
        .route(STATUS_PATH, post(|State(app): State<Arc<App>>, request| call(app, "status", request, status)))
        .with_state(app)
}

/// What is the same for all calls.
async fn call<T: DeserializeOwned, F: Future<Output = Result<Response, Failure>>>(
    app: Arc<App>,
    name: &'static str,
    request: Request,
    handler: impl FnOnce(Arc<App>, Option<OperationId>, T) -> F,
) -> Response {
    let answer = match read(&app, request).await {
        Ok((operation, asked)) => handler(Arc::clone(&app), operation, asked).await,
        Err(failure) => Err(failure),
    };
    let end = Call::end_of(answer.as_ref().map_or_else(|failure| failure.0, Response::status));
    app.metrics.calls.get_or_create(&Call { call: name, end }).increment();
    answer.unwrap_or_else(|failure| refused(&app, failure))
}

/// What is asked, and for which operation. Nothing of the request itself is kept: its bytes hold the connection's buffer while a crowd waits.
async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<(Option<OperationId>, T), Failure> {
    let (Parts { headers, .. }, body) = request.into_parts();
    let operation = headers.get(IDEMPOTENCY_KEY_HEADER).and_then(|value| value.to_str().ok()).and_then(OperationId::parse);
    let body = body::read(body, MAX_WAITLIST_BODY, app.sender_time).await.map_err(|error| match error {
        BodyError::TooLong => {
            Failure(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BadRequest, "a body has at most 4,096 bytes".into())
        }
        BodyError::TooSlow => Failure(StatusCode::REQUEST_TIMEOUT, ErrorCode::BadRequest, "the body did not come in time".into()),
        BodyError::Broken => Failure::bad("the body is not whole"),
    })?;
    // serde's own words may repeat what was sent.
    let asked = serde_json::from_slice(&body).map_err(|_| Failure::bad("the body is not the JSON of this call"))?;
    Ok((operation, asked))
}

fn refused(app: &App, Failure(status, code, error): Failure) -> Response {
    let mut response = body::json(status, &ErrorResponse { code, error });
    if code == ErrorCode::Busy {
        let seconds = HeaderValue::from(retry_after(&app.publisher.group, &mut app.rng()));
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// In how many seconds to come again: when what waits and those who were turned away are done, and not all at the same moment.
pub(super) fn retry_after(group: &Group, rng: &mut impl CryptoRng) -> u64 {
    let longest = group.backlog().as_secs().clamp(2, MAX_RETRY_AFTER_S);
    longest - rng.next_u64() % (1 + longest / 2)
}

fn named(operation: Option<OperationId>) -> Result<OperationId, Failure> {
    operation.ok_or_else(|| Failure::bad("the header Idempotency-Key has 32 hexadecimal digits"))
}

fn check(form: &SealedForm) -> Result<(), Failure> {
    if form.is_well_formed() {
        Ok(())
    } else {
        Err(Failure::bad("the sealed form has another length than every sealed form has"))
    }
}

async fn sign_up(app: Arc<App>, operation: Option<OperationId>, request: SignUpRequest) -> Result<Response, Failure> {
    check(&request.form)?;
    let sign_up =
        SignUp { operation: named(operation)?, form: request.form, secret_hash: request.secret_hash, repeat_hash: None };
    let group = &app.publisher.group;
    let received = if app.waitlist.takes(&sign_up.form) {
        group.receive(sign_up).await?
    } else {
        group.run(move |transaction| rules::repeated(transaction, &sign_up)).await?
    };
    Ok(answer(&received))
}

fn answer(received: &Received) -> Response {
    let status = if received.is_new { StatusCode::CREATED } else { StatusCode::OK };
    body::json(status, &SignUpResponse { receipt: received.receipt_text() })
}

async fn correct(app: Arc<App>, operation: Option<OperationId>, request: CorrectRequest) -> Result<Response, Failure> {
    check(&request.form)?;
    let correction = Correction {
        operation: named(operation)?,
        sign_up: request.operation_id,
        secret: request.secret,
        has_known_key: app.waitlist.takes(&request.form),
        form: request.form,
    };
    let signer = Arc::clone(app.waitlist.signer());
    let received = in_group!(app, |transaction, context| rules::correct(transaction, &correction, &signer, context))?;
    Ok(answer(&received))
}

async fn withdraw(app: Arc<App>, _: Option<OperationId>, request: StatusRequest) -> Result<Response, Failure> {
    let StatusRequest { operation_id, secret } = request;
    let standing = in_group!(app, |transaction, context| rules::withdraw(transaction, operation_id, &secret, context))?;
    Ok(stands(standing))
}

async fn status(app: Arc<App>, _: Option<OperationId>, request: StatusRequest) -> Result<Response, Failure> {
    let StatusRequest { operation_id, secret } = request;
    let standing = in_group!(app, |transaction, context| rules::status(transaction, operation_id, &secret, context))?;
    Ok(stands(standing))
}

fn stands(Standing { received, state, reason }: Standing) -> Response {
    body::json(StatusCode::OK, &StatusResponse { receipt: received.receipt_text(), state, reason })
}
