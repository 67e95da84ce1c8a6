//! The processes that play a crowd, as the one that starts them sees them.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::part::{self, Plan};
use super::scene::Scene;
use crate::progress::Progress;

/// A process that plays a part. Dropped, it is killed.
pub(super) struct Part {
    child: Child,
    pub(super) stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    /// # Errors
    /// Where it cannot be started.
    pub(super) fn start(plan: &Plan, folder: &Path, part: u16) -> anyhow::Result<Self> {
        let path = Scene::file_of(folder, "plan", part);
        fs::write(&path, serde_json::to_vec(plan)?).with_context(|| format!("{} cannot be written", path.display()))?;
        let own = std::env::current_exe().context("this program does not know where it is")?;
        let mut command = Command::new(own);
        command.arg("part").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("a process of the crowd cannot be started")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (stdin, stdout) = stdin.zip(stdout).context("a process of the crowd cannot be heard")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// The next thing that it says; nothing where it has ended.
    ///
    /// # Errors
    /// Where it cannot be heard.
    pub(super) async fn line(&mut self) -> anyhow::Result<Option<String>> {
        self.lines.next_line().await.context("a process of the crowd cannot be heard")
    }
}

/// Until everybody is done; what they have to write then is waited for by [`end`].
///
/// # Errors
/// Where a process cannot be heard.
pub(super) async fn watch(parts: &mut [Part], people: u32) -> anyhow::Result<()> {
    let progress = std::cell::RefCell::new(Progress::of_steps(u64::from(people), "people"));
    let done = std::cell::RefCell::new(vec![0_u64; parts.len()]);
    let watched = parts.iter_mut().enumerate().map(|(number, part)| {
        let (progress, done) = (&progress, &done);
        async move {
            while let Some(line) = part.line().await? {
                if line == part::DONE {
                    return anyhow::Ok(());
                }
                done.borrow_mut()[number] = line.parse().unwrap_or_default();
                progress.borrow_mut().reach(done.borrow().iter().sum());
            }
            // It ended early: its end says how.
            Ok(())
        }
    });
    futures::future::try_join_all(watched).await.map(drop)
}

/// Until all have written what became of their people.
///
/// # Errors
/// Where one of them failed.
pub(super) async fn end(parts: Vec<Part>) -> anyhow::Result<()> {
    for mut part in parts {
        while part.line().await?.is_some() {}
        let status = part.child.wait().await?;
        ensure!(status.success(), "a process of the crowd failed ({status})");
    }
    Ok(())
}
