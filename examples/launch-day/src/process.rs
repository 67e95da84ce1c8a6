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
pub(crate) struct Process {
    pub(crate) child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it writes to stderr goes to the file `log`.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::NotFound`] as the root cause where there is no such program.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let to = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command.stdin(Stdio::null()).stderr(to).spawn();
        let child = child.with_context(|| format!("{} cannot be started", Path::new(command.get_program()).display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The most memory it ever held, in KiB, where the system says it (Linux).
    pub(crate) fn peak_memory_kib(&self) -> Option<u64> {
        peak(&fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?)
    }

    /// The most memory that it and the processes it has started ever held, each for itself, added up, in KiB, and the processor time of them all; nothing
    /// where the system does not say it (Linux does).
    pub(crate) fn spent(&self) -> Option<Spent> {
        let family = family(self.child.id())?;
        let peak_kib = family.iter().filter_map(|id| peak(&fs::read_to_string(format!("/proc/{id}/status")).ok()?)).sum();
        let ticks: u64 = family.iter().filter_map(|id| ticks(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)).sum();
        Some(Spent { processor: Duration::from_secs_f64(ticks as f64 / ticks_per_second()), peak_kib })
    }

    /// How many sockets it and the processes it has started have opened; nothing where the system does not say it (Linux does).
    pub(crate) fn sockets(&self) -> Option<usize> {
        family(self.child.id())?.into_iter().map(sockets).sum()
    }

    /// Ends it and the processes it has started at once, as a failure of power would: nothing is said, written or closed.
    ///
    /// # Errors
    /// Where the system does not do it.
    pub(crate) fn kill(&mut self) -> std::io::Result<()> {
        let family = family(self.child.id()).unwrap_or_default();
        self.child.kill()?;
        for id in family.into_iter().filter(|id| *id != self.child.id()) {
            kill(id);
        }
        self.child.wait().map(drop)
    }

    /// Whether it has this file in its memory; `None` where the system does not say it.
    pub(crate) fn has_loaded(&self, file: &Path) -> Option<bool> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.child.id())).ok()?;
        Some(file.to_str().is_some_and(|file| maps.contains(file)))
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    /// Ends it in order, and says how it ended.
    pub(crate) fn end(&mut self) -> std::io::Result<ExitStatus> {
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

/// What processes have cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Time on a processor.
    pub(crate) processor: Duration,
    /// The most memory that was held, in KiB.
    pub(crate) peak_kib: u64,
}

/// A process and all that descend from it.
fn family(id: u32) -> Option<Vec<u32>> {
    let numbers = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> =
        numbers.filter_map(|id| Some((id, parent(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))).collect();
    let mut family = vec![id];
    let mut at = 0;
    while let Some(of) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(id, _)| *id));
        at += 1;
    }
    Some(family)
}

/// The sockets among the descriptors of a process. A connection that the system took in and the process has not is none of them.
fn sockets(id: u32) -> Option<usize> {
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).ok()?;
    let is_socket = |to: &PathBuf| to.to_str().is_some_and(|to| to.starts_with("socket:"));
    // One that was closed meanwhile leads nowhere.
    Some(descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).filter(is_socket).count())
}

/// What follows the name of the program in `/proc/PID/stat`: the name may hold anything.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// Who started it.
fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// Time on a processor, for itself and for the system on its behalf, in ticks.
fn ticks(stat: &str) -> Option<u64> {
    let mut times = fields(stat)?.skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

#[cfg(unix)]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(not(unix))]
fn ticks_per_second() -> f64 {
    1.0
}

#[cfg(unix)]
fn kill(id: u32) {
    if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have followed by itself.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill(_: u32) {}

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

    #[test]
    fn parent_and_times_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 3 7 7 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 4 0 100";
        assert_eq!((parent(stat), ticks(stat)), (Some(3), Some(300)));
        for other in ["", "7 (x", "7 (x) S", "7 (x) S y"] {
            assert_eq!((parent(other), ticks(other)), (None, None), "{other}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn those_it_has_started_are_counted_and_killed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & echo $!; wait"]).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, &folder.path().join("log")).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.child.stdout.take().unwrap()), &mut line).unwrap();
        let started: u32 = line.trim().parse().unwrap();
        assert_eq!(family(process.child.id()), Some(vec![process.child.id(), started]));
        assert!(process.spent().unwrap().peak_kib > process.peak_memory_kib().unwrap());
        process.kill().unwrap();
        let is_gone = || fs::read_to_string(format!("/proc/{started}/stat")).map_or(true, |stat| stat.contains(") Z "));
        while !is_gone() {
            sleep(LOOK);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn sockets_are_counted_in_those_it_has_started_too_and_other_descriptors_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100 & wait"]).stdout(std::os::fd::OwnedFd::from(socket));
        let process = Process::start(&mut command, &folder.path().join("log")).unwrap();
        // Both have it as their output, as soon as there are both.
        while family(process.child.id()).unwrap().len() < 2 {
            sleep(LOOK);
        }
        assert_eq!(process.sockets(), Some(2));
        assert_eq!(sockets(0), None);
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
