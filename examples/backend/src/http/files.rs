//! The published files, where they lie in a folder: with ETag, ranges, and how long a cache may keep them.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tower_http::services::{ServeDir, ServeFile};

use crate::files::{BULLETIN, CACHE_FILE, CACHE_INDEX, INDEX};

/// `/index.txt`, `/bulletin.txt` and `/keys/..`.
pub(super) fn router(folder: &Path) -> Router {
    Router::new()
        .route_service(&format!("/{INDEX}"), ServeFile::new(folder.join(INDEX)))
        .route_service(&format!("/{BULLETIN}"), ServeFile::new(folder.join(BULLETIN)))
        .nest_service("/keys", ServeDir::new(folder.join("keys")))
        .layer(from_fn(with_cache_control))
}

async fn with_cache_control(request: Request, next: Next) -> Response {
    let policy = if request.uri().path().ends_with(".zip") { CACHE_FILE } else { CACHE_INDEX };
    let mut response = next.run(request).await;
    if response.status().is_success() || response.status() == 304 {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
    }
    response
}
