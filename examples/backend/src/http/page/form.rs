//! The sign-up for browsers that cannot seal: without scripts, without X25519, without TLS.
//!
//! ```text
//! GET  /signup/form        a form with a new recovery code, shown and in a hidden field; with then=correct: one with the id of a correction
//! POST /signup/form        303 /signup/receipt | 400 a field is wrong | 422 sent before with other fields: the first receipt | 503
//! POST /signup/again       what the 422 offers: the form as it was filled in, with a new id
//! GET  /signup/receipt     of the sign-up that the cookie names
//! POST /signup/receipt     a recovery code -> 303 /signup/receipt, with the cookie
//! POST /signup/withdraw, /signup/forget
//! ```
//!
//! The form is sealed as it arrives, before anything is stored or logged, and then goes the way of all others. Sealing never gives the same bytes
//! twice, so a repeat is known by a keyed hash of the canonical fields, in which the form's secret is: who has the database alone can try no numbers
//! against it. A correction has no such column: it is sealed with randomness from that same hash, and its repeat is the same bytes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use minijinja::value::Serde;
use minijinja::{Value, context};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::courier::waitlist::{Form, OperationId, RecoveryCode, SealedForm};

use super::code;
use super::submitted::{Own, Submitted, no_cookie};
use crate::group::GroupError;
use crate::http::App;
use crate::http::body;
use crate::http::public::in_group;
use crate::http::waitlist::retry_after;
use crate::metrics::Call;
use crate::rules::{self, Context, Correction, Received, Refusal, SignUp, Standing};

/// The longest form that is taken, in bytes.
const MAX_FORM: usize = 8_192;

/// The routes.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/signup/form", get(fresh).post(|State(app), request| posted(app, request, submit)))
        .route("/signup/again", post(|State(app), request| posted(app, request, again)))
        .route("/signup/receipt", get(standing).post(|State(app), request| posted(app, request, recover)))
        .route("/signup/withdraw", post(|State(app), request| posted(app, request, withdraw)))
        .route("/signup/forget", post(|State(app), request| posted(app, request, forget)))
}

/// What is the same for all forms.
async fn posted<F: Future<Output = Response>>(
    app: Arc<App>,
    request: Request,
    handler: impl FnOnce(Arc<App>, HeaderMap, Submitted) -> F,
) -> Response {
    let (head, body) = request.into_parts();
    let answer = match body::read(body, MAX_FORM, app.sender_time).await {
        Ok(body) => handler(Arc::clone(&app), head.headers, Submitted::read(&body)).await,
        Err(body::BodyError::TooLong) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(body::BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(body::BodyError::Broken) => StatusCode::BAD_REQUEST.into_response(),
    };
    app.metrics.calls.get_or_create(&Call { call: "page", end: Call::end_of(answer.status()) }).increment();
    answer
}

async fn fresh(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Submitted::read(uri.query().unwrap_or_default().as_bytes());
    filled_in(&app, &headers, StatusCode::OK, &renewed(&app, &headers, asked), context! {})
}

async fn again(app: Arc<App>, headers: HeaderMap, asked: Submitted) -> Response {
    filled_in(&app, &headers, StatusCode::OK, &renewed(&app, &headers, asked), context! {})
}

/// The form with a new id.
fn renewed(app: &App, headers: &HeaderMap, mut form: Submitted) -> Submitted {
    let is_correction = form.then == "correct" && Own::of(headers).is_some();
    (form.code, form.correction) = (String::new(), String::new());
    if is_correction {
        let mut id = [0; 16];
        app.rng().fill_bytes(&mut id);
        form.correction = OperationId(id).to_string();
    } else {
        form.code = RecoveryCode::generate(&mut app.rng()).grouped();
    }
    form
}

/// The form as it is filled in, with its id.
fn filled_in(app: &App, headers: &HeaderMap, status: StatusCode, form: &Submitted, more: Value) -> Response {
    let given = context! {
        values => form.values(), code => form.code.as_str(), correction => form.correction.as_str(), has_cookie => Own::of(headers).is_some(), ..more
    };
    app.pages.own(status, "form.html", form.language, given)
}

async fn submit(app: Arc<App>, headers: HeaderMap, submitted: Submitted) -> Response {
    let form = submitted.form();
    let errors: Vec<&str> = form.mistakes(&app.pages.rules, year(&app)).map(|field| field.as_str()).collect();
    if !errors.is_empty() {
        return filled_in(&app, &headers, StatusCode::BAD_REQUEST, &submitted, context! { errors });
    }
    let (own, taken) = if submitted.correction.is_empty() {
        let Ok(code) = RecoveryCode::parse(&submitted.code) else {
            return filled_in(&app, &headers, StatusCode::BAD_REQUEST, &renewed(&app, &headers, submitted), context! {});
        };
        let own = Own { operation: code.operation_id(), secret: code.secret() };
        let taken = sign_up(&app, &own, &form).await;
        (own, taken)
    } else {
        let (Some(own), Some(id)) = (Own::of(&headers), OperationId::parse(&submitted.correction)) else {
            return nothing(&app, &submitted, "unknown");
        };
        let taken = correct(&app, &own, id, &form).await;
        (own, taken)
    };
    match taken {
        Ok(_) => to_receipt(&app, &own, &submitted),
        Err(GroupError::Refused(Refusal::OperationReused)) => reused(&app, &own, &submitted).await,
        Err(GroupError::Refused(_)) => nothing(&app, &submitted, "unknown"),
        Err(error) => busy(&app, &headers, &submitted, &error),
    }
}

/// Too much waits, or the database failed: the form stays as it is, and so does its recovery code.
fn busy(app: &App, headers: &HeaderMap, submitted: &Submitted, error: &GroupError) -> Response {
    let status = match error {
        GroupError::Busy | GroupError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    come_again(app, filled_in(app, headers, status, submitted, context! { busy => true }))
}

fn come_again(app: &App, mut response: Response) -> Response {
    let seconds = HeaderValue::from(retry_after(&app.publisher.group, &mut app.rng()));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

async fn sign_up(app: &App, own: &Own, form: &Form) -> Result<Received, GroupError> {
    let sign_up = SignUp {
        operation: own.operation,
        form: sealed(app, form, own.operation, &mut app.rng())?,
        secret_hash: own.secret.hash(),
        repeat_hash: Some(repeat_hash(app, own, own.operation, form)),
    };
    app.publisher.group.receive(sign_up).await
}

async fn correct(app: &App, own: &Own, operation: OperationId, form: &Form) -> Result<Received, GroupError> {
    let mut rng = ChaCha20Rng::from_seed(repeat_hash(app, own, operation, form));
    let form = sealed(app, form, operation, &mut rng)?;
    let correction = Correction { operation, sign_up: own.operation, secret: own.secret.clone(), form, has_known_key: true };
    let signer = Arc::clone(app.waitlist.signer());
    in_group!(app, |transaction, context| rules::correct(transaction, &correction, &signer, context))
}

fn sealed(app: &App, form: &Form, operation: OperationId, rng: &mut ChaCha20Rng) -> Result<SealedForm, GroupError> {
    app.waitlist.sealing().seal(form, operation, rng).map_err(|error| {
        tracing::error!(%error, "a form cannot be sealed");
        GroupError::Failed
    })
}

/// The same for the same fields of the same form, and for no other.
fn repeat_hash(app: &App, own: &Own, operation: OperationId, form: &Form) -> [u8; 32] {
    // Only maps with keys that are no text fail, and there are none.
    let fields = zeroize::Zeroizing::new(serde_json::to_vec(form).unwrap_or_default());
    app.publisher.secrets.tag("waitlist form", &[&own.secret.0, &operation.0, &fields])
}

async fn status_of(app: &App, own: &Own) -> Result<Standing, GroupError> {
    let Own { operation, secret } = own.clone();
    in_group!(app, |transaction, context| rules::status(transaction, operation, &secret, context))
}

async fn standing(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let asked = Submitted::read(uri.query().unwrap_or_default().as_bytes());
    match Own::of(&headers) {
        Some(own) => shown(&app, &own, &asked, StatusCode::OK).await,
        None => nothing(&app, &asked, ""),
    }
}

/// What was sent first counts, and is shown; what was sent now goes into nothing but the offers.
async fn reused(app: &App, own: &Own, submitted: &Submitted) -> Response {
    let mut response = shown(app, own, submitted, StatusCode::UNPROCESSABLE_ENTITY).await;
    set_cookie(&mut response, &own.cookie(app.pages.is_secure));
    response
}

async fn shown(app: &App, own: &Own, submitted: &Submitted, status: StatusCode) -> Response {
    let Standing { received, state, reason } = match status_of(app, own).await {
        Ok(standing) => standing,
        Err(GroupError::Refused(_)) => return nothing(app, submitted, "unknown"),
        Err(_) => return nothing(app, submitted, "no_network"),
    };
    let given = context! {
        reason, state => Serde(state),
        receipt => received.receipt_text(),
        place => received.receipt.place,
        received => received.receipt.received_at().to_string(),
        reused => status == StatusCode::UNPROCESSABLE_ENTITY,
        values => submitted.values(),
    };
    app.pages.own(status, "receipt.html", submitted.language, given)
}

/// The page without a receipt, and why.
fn nothing(app: &App, submitted: &Submitted, note: &str) -> Response {
    let status = match note {
        "unknown" => StatusCode::NOT_FOUND,
        "no_network" => StatusCode::SERVICE_UNAVAILABLE,
        "wrong_code" => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let is_wrong_code = note == "wrong_code";
    let note = if is_wrong_code { "" } else { note };
    let page = app.pages.own(status, "receipt.html", submitted.language, context! { note, wrong_code => is_wrong_code });
    if status == StatusCode::SERVICE_UNAVAILABLE { come_again(app, page) } else { page }
}

async fn recover(app: Arc<App>, _: HeaderMap, submitted: Submitted) -> Response {
    let Ok(code) = RecoveryCode::parse(&submitted.code) else { return nothing(&app, &submitted, "wrong_code") };
    let own = Own { operation: code.operation_id(), secret: code.secret() };
    match status_of(&app, &own).await {
        Ok(_) => to_receipt(&app, &own, &submitted),
        Err(GroupError::Refused(_)) => nothing(&app, &submitted, "unknown"),
        Err(_) => nothing(&app, &submitted, "no_network"),
    }
}

async fn withdraw(app: Arc<App>, headers: HeaderMap, submitted: Submitted) -> Response {
    let Some(own) = Own::of(&headers) else { return nothing(&app, &submitted, "") };
    let Own { operation, secret } = own.clone();
    let withdrawn = in_group!(app, |transaction, context| rules::withdraw(transaction, operation, &secret, context));
    match withdrawn {
        Ok(_) => to_receipt(&app, &own, &submitted),
        Err(GroupError::Refused(_)) => nothing(&app, &submitted, "unknown"),
        Err(_) => nothing(&app, &submitted, "no_network"),
    }
}

async fn forget(app: Arc<App>, _: HeaderMap, submitted: Submitted) -> Response {
    let mut response = app.pages.own(StatusCode::OK, "receipt.html", submitted.language, context! { note => "forgotten" });
    set_cookie(&mut response, &no_cookie(app.pages.is_secure));
    response
}

/// A reload of what comes next sends nothing again.
fn to_receipt(app: &App, own: &Own, submitted: &Submitted) -> Response {
    let location = format!("/signup/receipt?lang={}", code(submitted.language));
    let mut response =
        (StatusCode::SEE_OTHER, [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".into())]).into_response();
    set_cookie(&mut response, &own.cookie(app.pages.is_secure));
    response
}

fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// The present one.
fn year(app: &App) -> u16 {
    let today = app.clock().now().date().to_string();
    today.split('-').next().and_then(|year| year.parse().ok()).unwrap_or(u16::MAX)
}
