//! Vigie on real adapters: `VIGIE_ADAPTERS=hci0,hci1 cargo test -p vigie --features ble --test ble_adapters`.
//!
//! `VIGIE_LOG=1` tells what the radio does. The adapters are those of a computer, or virtual ones on a virtual air. Each test has them all to itself, so tests go one after the other.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy.toml allows it in tests, and does not see that helpers of an integration test are tests"
)]

mod commands;
mod connections;
mod control;
mod cost;
mod device;
mod failures;
mod false_peers;
mod meeting;
mod peers;
mod rotation;
mod sniffer;

use std::sync::{Mutex, MutexGuard, PoisonError};

static ADAPTERS: Mutex<()> = Mutex::new(());

/// The adapters that a test may use, and the right to use them. `None`, and a word why, where there are fewer than it needs.
fn adapters(needed: usize) -> Option<(Vec<String>, MutexGuard<'static, ()>)> {
    let names = std::env::var("VIGIE_ADAPTERS").unwrap_or_default();
    let names: Vec<_> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() < needed {
        eprintln!("skipped: it needs {needed} Bluetooth adapters, VIGIE_ADAPTERS names {}", names.len());
        return None;
    }
    if std::env::var_os("VIGIE_LOG").is_some() {
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_writer(std::io::stderr)
            .try_init();
    }
    Some((names, ADAPTERS.lock().unwrap_or_else(PoisonError::into_inner)))
}
