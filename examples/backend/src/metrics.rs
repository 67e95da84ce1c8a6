//! What the server counts. Whatever counts people is shown in steps of ten, so that nobody learns of a single report by looking twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

/// The step of counts of people.
pub const STEP: u64 = 10;

/// A count of people as it is shown.
pub const fn in_steps(count: i64) -> i64 {
    count - count % STEP as i64
}

/// A count that is shown in steps.
#[derive(Debug, Clone, Default)]
pub struct Stepped(Arc<AtomicU64>);

impl Stepped {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// As it is shown.
    pub fn shown(&self) -> u64 {
        let count = self.0.load(Ordering::Relaxed);
        count - count % STEP
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

impl TypedMetric for Stepped {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Stepped {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.shown(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A call, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// Such as `publish`.
    pub call: &'static str,
    /// `answered`, `refused`, `busy` (told to come again: too much waits, or the database is away), `failed` or `decoy`.
    pub end: &'static str,
}

impl Call {
    /// All calls.
    pub const NAMES: [&'static str; 8] = ["verify", "certificate", "publish", "sign_up", "correct", "withdraw", "status", "page"];

    /// How one ended that was answered with this status.
    pub fn end_of(status: StatusCode) -> &'static str {
        match status {
            StatusCode::SERVICE_UNAVAILABLE => "busy",
            status if status.is_server_error() => "failed",
            status if status.is_client_error() => "refused",
            _ => "answered",
        }
    }
}

/// All of them.
pub struct Metrics {
    registry: Registry,
    /// Calls and how they ended.
    pub calls: Family<Call, Stepped>,
    /// Codes given out.
    pub codes: Stepped,
    /// Keys taken.
    pub keys: Stepped,
    /// Files written.
    pub files: Stepped,
    /// Rounds of publishing that failed.
    pub failed_rounds: Stepped,
    /// Requests that wait for the database.
    pub waiting: Gauge,
    /// Forms of the waiting list that were opened.
    pub opened: Stepped,
    /// Mails that a server or the folder took.
    pub mails_sent: Stepped,
    /// Attempts to send a mail that failed.
    pub mails_failed: Stepped,
    /// Mails that were refused for days.
    pub mails_given_up: Stepped,
    /// Forms that are not opened yet.
    pub forms_waiting: Gauge,
    /// Mails that are not sent yet.
    pub mails_waiting: Gauge,
    /// Numbers for which several addresses were given.
    pub conflicts: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("vigie"),
            calls: Family::default(),
            codes: Stepped::default(),
            keys: Stepped::default(),
            files: Stepped::default(),
            failed_rounds: Stepped::default(),
            waiting: Gauge::default(),
            opened: Stepped::default(),
            mails_sent: Stepped::default(),
            mails_failed: Stepped::default(),
            mails_given_up: Stepped::default(),
            forms_waiting: Gauge::default(),
            mails_waiting: Gauge::default(),
            conflicts: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("calls", "Calls, in steps of ten", metrics.calls.clone());
        registry.register("codes_issued", "Codes given out, in steps of ten", metrics.codes.clone());
        registry.register("keys_reported", "Keys taken, in steps of ten", metrics.keys.clone());
        registry.register("files_published", "Key files written, in steps of ten", metrics.files.clone());
        registry.register("rounds_failed", "Rounds of publishing that failed, in steps of ten", metrics.failed_rounds.clone());
        registry.register("requests_waiting", "Requests that wait for the database", metrics.waiting.clone());
        registry.register("forms_opened", "Forms of the waiting list opened, in steps of ten", metrics.opened.clone());
        registry.register("mails_sent", "Mails sent, in steps of ten", metrics.mails_sent.clone());
        registry.register("mails_failed", "Attempts to send a mail that failed, in steps of ten", metrics.mails_failed.clone());
        registry.register("mails_given_up", "Mails refused for days, in steps of ten", metrics.mails_given_up.clone());
        registry.register("forms_waiting", "Forms that are not opened yet, in steps of ten", metrics.forms_waiting.clone());
        registry.register("mails_waiting", "Mails that are not sent yet, in steps of ten", metrics.mails_waiting.clone());
        registry.register("conflicts", "Numbers with several addresses, in steps of ten", metrics.conflicts.clone());
        metrics
    }
}

impl Metrics {
    /// So many calls of this name ended so, as it is shown.
    pub fn ended(&self, call: &'static str, end: &'static str) -> u64 {
        self.calls.get_or_create(&Call { call, end }).shown()
    }

    /// So many calls of all names ended so, as it is shown.
    pub fn all_ended(&self, end: &'static str) -> u64 {
        Call::NAMES.iter().map(|call| self.ended(call, end)).sum()
    }

    /// In the text format of OpenMetrics.
    ///
    /// # Errors
    /// [`std::fmt::Error`], which a string never gives.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
