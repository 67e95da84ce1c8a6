//! One round of load: so many pieces of work over so many connections, each of which begins the next when it has its answer.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde::Serialize;

use super::connection::Connection;
use crate::progress::Progress;

/// How much load there is, and for how long at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) count: usize,
    pub(super) connections: usize,
    /// No work begins after this time.
    pub(super) longest: Duration,
}

/// What came of a round.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Pieces of work that were done.
    pub(super) done: usize,
    /// Pieces of work that were not.
    pub(super) failed: usize,
    /// Why the first of them was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    pub(super) seconds: f64,
    /// Done in a second.
    pub(super) per_second: f64,
    pub(super) requests_per_second: f64,
    /// What a request takes: half of them less, and 99 of a hundred.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Does the `count` pieces of `work`, which are told their number.
///
/// # Errors
/// Where the address is another machine's.
pub(super) async fn run(
    name: impl Into<String>,
    address: SocketAddr,
    load: Load,
    work: impl AsyncFn(&mut Connection, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let connections: Vec<Connection> = (0..load.connections).map(|_| Connection::new(address)).collect::<anyhow::Result<_>>()?;
    let (begun, next, done) = (Instant::now(), Cell::new(0), Cell::new(0));
    let failures = RefCell::new(Vec::new());
    let progress = RefCell::new(Progress::of_steps(load.count as u64, "load"));
    let worker = async |mut connection: Connection| {
        while next.get() < load.count && begun.elapsed() < load.longest {
            let at = next.replace(next.get() + 1);
            match work(&mut connection, at).await {
                Ok(()) => done.set(done.get() + 1),
                Err(e) => failures.borrow_mut().push(format!("{e:#}")),
            }
            progress.borrow_mut().reach(at as u64);
        }
        connection.latencies
    };
    let latencies = join_all(connections.into_iter().map(worker)).await.concat();
    let failures = failures.into_inner();
    Ok(row(name.into(), done.get(), &failures, begun.elapsed(), latencies))
}

fn row(name: String, done: usize, failures: &[String], took: Duration, mut latencies: Vec<Duration>) -> Row {
    latencies.sort_unstable();
    let seconds = took.as_secs_f64();
    let ms = |percent| percentile(&latencies, percent).as_secs_f64() * 1000.0;
    Row {
        done,
        failed: failures.len(),
        failure: failures.first().cloned(),
        seconds,
        per_second: done as f64 / seconds,
        requests_per_second: latencies.len() as f64 / seconds,
        p50_ms: ms(50),
        p99_ms: ms(99),
        name,
    }
}

/// The smallest value that so many of a hundred do not exceed; zero where there is none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let measured: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&measured, 50).as_millis(), 100);
        assert_eq!(percentile(&measured, 99).as_millis(), 198);
        assert_eq!(percentile(&measured[..1], 99).as_millis(), 1);
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn what_failed_is_counted_beside_what_was_done_and_not_in_its_rate() {
        let failures = ["first".to_owned(), "second".to_owned()];
        let latencies = [30, 10, 20, 40].map(Duration::from_millis).to_vec();
        let row = row("x".into(), 10, &failures, Duration::from_secs(2), latencies);
        assert_eq!((row.done, row.failed, row.failure.as_deref()), (10, 2, Some("first")));
        assert_eq!((row.per_second, row.requests_per_second, row.p50_ms, row.p99_ms), (5.0, 2.0, 20.0, 40.0));
    }

    #[tokio::test]
    async fn every_piece_of_work_is_begun_once_and_none_after_the_time() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let begun = RefCell::new(Vec::new());
        let load = Load { count: 10, connections: 3, longest: Duration::from_secs(600) };
        let work = async |_: &mut Connection, at| {
            tokio::task::yield_now().await;
            begun.borrow_mut().push(at);
            anyhow::ensure!(at != 4, "four");
            Ok(())
        };
        let row = run("x", address, load, work).await.unwrap();
        assert_eq!((row.done, row.failed, row.failure.as_deref()), (9, 1, Some("four")));
        begun.borrow_mut().sort_unstable();
        assert_eq!(*begun.borrow(), (0..10).collect::<Vec<_>>());
        let row = run("x", address, Load { longest: Duration::ZERO, ..load }, work).await.unwrap();
        assert_eq!((row.done, row.failed), (0, 0));
    }

    #[tokio::test]
    async fn load_goes_to_no_other_machine() {
        let load = Load { count: 1, connections: 1, longest: Duration::from_secs(1) };
        let refused = run("x", SocketAddr::from(([192, 0, 2, 1], 80)), load, async |_, _| Ok(())).await.unwrap_err();
        assert!(refused.to_string().contains("192.0.2.1:80 is not this machine"), "{refused}");
    }
}
