//! Work that is given up in order when somebody ends the program.

use std::future::Future;

use anyhow::{Context, bail};

/// Does the work on one thread: half of a small machine is left to the server. Ctrl-C, or what a service manager sends, ends it: what was started is
/// ended, and temporary folders are removed.
///
/// # Errors
/// Those of the work, and that it was ended.
pub(crate) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("there is no network")?;
    runtime.block_on(async {
        tokio::select! {
            // What is waited for first is heard of, too, while a server starts.
            biased;
            ended = interrupted() => ended.and_then(|()| bail!("ended before everything was measured")),
            done = work => done,
        }
    })
}

async fn interrupted() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("signals cannot be waited for")?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.context("signals cannot be waited for"),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("signals cannot be waited for")
}
