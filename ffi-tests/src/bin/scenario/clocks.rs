//! The control server, from an interpreter's side.

use anyhow::{Context, ensure};

/// The backend of the scenario, and what moves it.
pub(crate) struct Control {
    url: String,
    http: reqwest::Client,
}

impl Control {
    pub(crate) fn new(url: String) -> Self {
        Self { url, http: reqwest::Client::new() }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<String> {
        read(self.http.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str) -> anyhow::Result<String> {
        read(self.http.post(format!("{}{path}", self.url))).await
    }

    /// Milliseconds since 1970 by the backend's clock.
    pub(crate) async fn now(&self) -> anyhow::Result<i64> {
        self.get("/now").await?.parse().context("no time")
    }
}

async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<String> {
    let response = request.send().await?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{status}: {text}");
    Ok(text)
}
