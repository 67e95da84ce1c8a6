//! `--processes N`: this program N times on one address, each with half of a small machine's work. The parent starts them, starts again what died, and
//! ends them in order.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// One that died is started again after this time: at once would be a fire where it cannot start any more.
const RESTART: Duration = Duration::from_millis(200);

/// One that fails within this time of its first start will do so the next time, too: its port is taken, or its database is not there. Longer than it waits
/// for either.
const START: Duration = Duration::from_secs(15);

/// As many open connections as the system allows; by default it allows a crowd a thousand.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised to what the system allows")
}

/// Where the parent of several processes is killed, they end. Not so a server that was started in the background by a shell that ends.
pub(crate) fn end_with_parent() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).context("the parent cannot be watched")?;
    Ok(())
}

/// Runs so many processes until a signal comes, and waits until they have ended.
pub(crate) fn run(count: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no threads can be started")?;
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for number in 1..=count {
            running.spawn(keep(number));
        }
        let ended = tokio::select! {
            ended = super::ended() => ended,
            Some(Ok(error)) = running.join_next() => Err(error),
        };
        tracing::info!("ending");
        // Dropped, each asks its process to end.
        running.shutdown().await;
        ended
    })
}

/// A process of a share. Dropped, it is asked to end, and waited for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
        // It may have ended just now.
        let _ = kill_process(pid, Signal::TERM);
        while matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts one again whenever it has ended. What comes back is why it cannot be started at all.
async fn keep(number: u16) -> anyhow::Error {
    let mut has_served = false;
    loop {
        let started = Instant::now();
        let mut running = match start(number) {
            Ok(child) => Running(child),
            Err(error) => return error,
        };
        let ended = running.0.wait().await;
        has_served |= started.elapsed() > START;
        // One that is killed has no exit code, and one that was asked to end has none of a failure.
        let has_failed = ended.as_ref().is_ok_and(|status| status.code().is_some_and(|code| code != 0));
        if has_failed && !has_served {
            return anyhow::anyhow!("process {number} cannot be started; it has said why");
        }
        tracing::error!(number, ?ended, "a process has ended and is started again");
        tokio::time::sleep(RESTART).await;
    }
}

fn start(number: u16) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let arguments = std::env::args_os().skip(1);
    let mut command = Command::new(program);
    command.args(arguments).arg("--process").arg(number.to_string()).stdin(Stdio::null());
    if number > 1 {
        command.stdout(Stdio::null());
    }
    command.spawn().context("the system starts no process")
}
