//! What only the health authority's own systems call: `/api/issue`, `/api/publish-now`, `/metrics`. Each call carries the admin token, as
//! `X-API-Key` (as deployed servers have it) or as `Authorization: Bearer`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use vigie::courier::wire::{API_KEY_HEADER, ErrorResponse, MAX_BODY};
use vigie::time::Date;

use super::{App, body};
use crate::group::GroupError;
use crate::http::public::in_group;
use crate::rules::{self, Context, Issue, Refusal, TestType};

/// What is asked for. Members of deployed servers that mean nothing here (phone numbers, time zones) are refused, not passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IssueRequest {
    test_type: String,
    #[serde(default)]
    symptom_date: String,
    #[serde(default)]
    test_date: String,
    #[serde(default)]
    short: bool,
    #[serde(default, rename = "padding")]
    _padding: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IssueResponse {
    code: String,
    expires_at: String,
    expires_at_timestamp: i64,
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/issue", post(issue))
        .route("/api/publish-now", post(publish_now))
        .route("/metrics", get(metrics))
        .with_state(app)
}

fn refused(status: StatusCode, code: &str, text: &str) -> Response {
    body::json(status, &ErrorResponse { error: text.into(), error_code: code.into(), padding: String::new() })
}

/// The refusal, where there is one.
pub(super) fn refusal(app: &App, headers: &HeaderMap) -> Option<Response> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let presented = headers.get(API_KEY_HEADER).map(HeaderValue::as_bytes).or(bearer).unwrap_or_default();
    let secrets = &app.publisher.secrets;
    if secrets.is_same(presented, secrets.admin_token.as_bytes()) {
        return None;
    }
    Some(refused(StatusCode::UNAUTHORIZED, "unauthorized", "the admin token is wrong; it is in the file keys/admin-token"))
}

async fn issue(State(app): State<Arc<App>>, request: Request) -> Response {
    if let Some(response) = refusal(&app, request.headers()) {
        return response;
    }
    match issued(&app, request).await {
        Ok(answer) => body::json(StatusCode::OK, &answer),
        Err(GroupError::Refused(refusal)) => {
            refused(StatusCode::from_u16(refusal.status()).unwrap_or_default(), refusal.code(), &refusal.to_string())
        }
        Err(e) => refused(StatusCode::SERVICE_UNAVAILABLE, "internal_error", &e.to_string()),
    }
}

async fn issued(app: &App, request: Request) -> Result<IssueResponse, GroupError> {
    let body = body::read(request.into_body(), MAX_BODY, app.sender_time)
        .await
        .map_err(|_| Refusal::Unparsable("the body is too long or too slow"))?;
    let request: IssueRequest = serde_json::from_slice(&body)
        .map_err(|_| Refusal::Unparsable("expected is JSON with testType, symptomDate, testDate, short"))?;
    let issue = Issue {
        test_type: TestType::parse(&request.test_type).ok_or(Refusal::InvalidTestType)?,
        onset: parse_date(&request.symptom_date)?,
        tested: parse_date(&request.test_date)?,
        is_short: request.short,
    };
    let issued = in_group!(app, |transaction, context| rules::issue(transaction, &issue, context))?;
    app.metrics.codes.increment();
    Ok(IssueResponse {
        code: issued.code.as_str().to_owned(),
        expires_at: issued.expires_at.to_string(),
        expires_at_timestamp: issued.expires_at.unix_s(),
    })
}

/// `YYYY-MM-DD`, or nothing.
fn parse_date(text: &str) -> Result<Option<Date>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    crate::parse_date(text).map(Some).ok_or(Refusal::BadRequest("a date is written YYYY-MM-DD"))
}

async fn publish_now(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(response) = refusal(&app, &headers) {
        return response;
    }
    match app.publisher.round(true, app.rng()).await {
        Ok(files) => {
            app.metrics.files.add(files as u64);
            body::json(StatusCode::OK, &serde_json::json!({ "files": files }))
        }
        Err(e) => {
            tracing::error!(error = %e, "nothing can be published");
            refused(StatusCode::SERVICE_UNAVAILABLE, "internal_error", "not published; the next round tries again")
        }
    }
}

async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(response) = refusal(&app, &headers) {
        return response;
    }
    app.metrics.waiting.set(i64::try_from(app.publisher.group.waiting()).unwrap_or(i64::MAX));
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    app.metrics.text().map_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response(), |text| (kind, text).into_response())
}
