//! A program that is measured: started in a folder of its own, asked to end, and made to where it does not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long it may take to end: what the backend allows requests that are under way, and some more.
const END_TIME: Duration = Duration::from_secs(15);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of its log that are shown where it fails.
const LAST_LINES: usize = 5;

/// A running program. Dropped, it is ended.
pub(super) struct Process {
    pub(super) child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it writes to stderr goes to the file `log`.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::NotFound`] as the root cause where there is no such program.
    pub(super) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let to = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command.stdin(Stdio::null()).stderr(to).spawn();
        let child = child.with_context(|| format!("{} cannot be started", Path::new(command.get_program()).display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The most memory it ever held, in KiB, where the system says it (Linux).
    pub(super) fn peak_memory_kib(&self) -> Option<u64> {
        peak(&fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?)
    }

    /// Whether it has this file in its memory; `None` where the system does not say it.
    pub(super) fn has_loaded(&self, file: &Path) -> Option<bool> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).ok()?;
        Some(file.to_str().is_some_and(|file| maps.contains(file)))
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Ends it in order, and says how it ended.
    pub(super) fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.ask_to_end();
        let asked = Instant::now();
        while asked.elapsed() < END_TIME {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK);
        }
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGTERM, unless it has ended already.
    #[cfg(unix)]
    fn ask_to_end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Where it ended just now, nobody needs to be asked.
            let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        }
    }

    /// There is no signal to ask with.
    #[cfg(not(unix))]
    fn ask_to_end(&mut self) {
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever cares how it ends has called `end`.
        let _ = self.end();
    }
}

/// `VmHWM` of `/proc/PID/status`.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_as_linux_writes_it() {
        assert_eq!(peak("Name:\tx\nVmPeak:\t  200 kB\nVmHWM:\t   15360 kB\nVmRSS:\t 1 kB\n"), Some(15_360));
        for other in ["", "VmHWM:", "VmHWM: many kB", "VmRSS: 1 kB"] {
            assert_eq!(peak(other), None, "{other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn it_is_ended_when_dropped_and_its_last_words_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "for i in 1 2 3 4 5 6; do echo $i >&2; done; echo x; exec sleep 100"]).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, &log).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.child.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(process.last_words(), "2\n3\n4\n5\n6");
        let begun = Instant::now();
        let status = process.end().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "SIGTERM, after {:?}", begun.elapsed());
    }
}
