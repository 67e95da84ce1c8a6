//! `--processes N`: this program N times on one address, each with half of a small machine's work. The parent starts them, starts again what died, and
//! ends them in order.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

/// One that died is started again after this time: at once would be a fire where it cannot start at all.
const RESTART: Duration = Duration::from_millis(200);

/// As many open connections as the system allows; by default it allows a crowd a thousand.
pub(crate) fn prepare() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised to what the system allows")?;
    // Where the parent of several processes is killed, they end.
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
        super::ended().await?;
        tracing::info!("ending");
        // Dropped, each asks its process to end.
        running.shutdown().await;
        Ok(())
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

async fn keep(number: u16) {
    loop {
        match start(number) {
            Ok(child) => {
                let mut running = Running(child);
                let ended = running.0.wait().await;
                tracing::error!(number, ?ended, "a process has ended and is started again");
            }
            Err(error) => tracing::error!(number, %error, "a process cannot be started; it is tried again"),
        }
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
