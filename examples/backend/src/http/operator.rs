//! The operator's page: figures and plots, live, and nothing personal. The page itself holds nothing; its figures need the admin token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use super::{App, admin, body};
use crate::database::DatabaseError;
use crate::group::GroupError;
use crate::metrics::in_steps;
use crate::rules;

/// Conflicts are counted at most so often: that looks at every sign-up.
const COUNT_CONFLICTS: Duration = Duration::from_secs(60);

/// What was counted last, and when.
#[derive(Default)]
pub struct Conflicts(Mutex<Option<(Instant, i64)>>);

#[derive(Serialize)]
struct Figures {
    sign_ups: u64,
    queue: u64,
    tasks_waiting: i64,
    mails_waiting: i64,
    mails_sent: u64,
    conflicts: i64,
    reports: u64,
    files: u64,
    refused: u64,
    busy: u64,
    failed: u64,
}

/// The routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| async { page("text/html; charset=utf-8", include_str!("../../operator/index.html")) }))
        .route("/operator.css", get(|| async { page("text/css", include_str!("../../operator/operator.css")) }))
        .route("/operator.js", get(|| async { page("text/javascript", include_str!("../../operator/operator.js")) }))
        .route("/api/operations", get(operations))
        .with_state(app)
}

fn page(kind: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, content).into_response()
}

async fn operations(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = admin::refusal(&app, &headers) {
        return refusal;
    }
    match figures(&app).await {
        Ok(figures) => body::json(StatusCode::OK, &figures),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn figures(app: &App) -> Result<Figures, GroupError> {
    let group = &app.publisher.group;
    let queue = group.waiting() as u64;
    let (sign_ups, waiting) =
        group.run(|transaction| Ok::<_, DatabaseError>((rules::last_place(transaction)?, rules::backlog(transaction)?))).await?;
    Ok(Figures {
        sign_ups,
        queue,
        tasks_waiting: waiting.tasks,
        mails_waiting: waiting.mails,
        mails_sent: app.metrics.mails_sent.shown(),
        conflicts: conflicts(app).await?,
        reports: app.metrics.ended("publish", "answered"),
        files: app.metrics.files.shown(),
        refused: app.metrics.all_ended("refused"),
        busy: app.metrics.all_ended("busy"),
        failed: app.metrics.all_ended("failed") + app.metrics.failed_rounds.shown(),
    })
}

async fn conflicts(app: &App) -> Result<i64, GroupError> {
    let last = *app.conflicts.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, count)) = last.filter(|(counted, _)| counted.elapsed() < COUNT_CONFLICTS) {
        return Ok(count);
    }
    let count = in_steps(app.publisher.group.run(rules::count_conflicts).await?);
    *app.conflicts.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
    Ok(count)
}
