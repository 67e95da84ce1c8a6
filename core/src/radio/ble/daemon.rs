//! What is known of the bluetoothd that runs, without being root: its arguments, and its configuration as far as it has read it.
//!
//! BlueZ tells nobody over D-Bus how it was started, so this reads what anybody may read: `/proc/PID/cmdline`, `/proc/PID/stat` and `main.conf`.
//! Inside a container, or where `/proc` hides other users' processes, nothing is known, and what is not known is not counted on.
//!
//! `main.conf` is read as BlueZ 5.66 reads it (`src/main.c`, `parse_config`), which is as GLib reads key files: `#` begins a comment only at the
//! beginning of a line, the last of two equal keys counts, names are case-sensitive, and one line that is neither makes the whole file void.
//! What stands there overrides the arguments.
//!
//! Whether bluetoothd has read the file as it is now is told by two times: when the process started, on the clock that nobody can set, and when
//! the file was changed, on the one that can be set. A file that was changed after the start, while the clock was slow, and a clock that was then
//! set forward, are not seen.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbus::nonblock::{Proxy, SyncConnection};

use crate::time::{Clock, SystemClock, Timestamp};

/// Of a file, as much as is read. Debian's main.conf has 12 KiB.
const MAX_FILE_LEN: u64 = 64 * 1024;
/// The message bus itself answers at once or never.
const BUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Where every distribution puts it.
const DEFAULT_CONFIG: &str = "/etc/bluetooth/main.conf";

/// Whose address stands in advertisements and connections: `Privacy` of main.conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Privacy {
    /// The adapter's own.
    Off,
    /// A resolvable private one; others may use either kind.
    Device,
    /// A resolvable private one; those who have one must use it, too.
    Network,
    /// As `Device`, but the adapter's own while it can be discovered.
    LimitedDevice,
    /// BlueZ takes it for `Network`.
    LimitedNetwork,
}

/// A bluetoothd that runs. `None` stands for what cannot be known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Daemon {
    /// Where its program is.
    pub program: Option<PathBuf>,
    /// Its main.conf.
    pub config: Option<PathBuf>,
    /// Whether it offers experimental interfaces.
    pub is_experimental: Option<bool>,
    /// What its main.conf says now.
    pub privacy: Option<Privacy>,
    /// Whether main.conf was changed after it started, so that it does not yet do what stands there.
    pub needs_restart: Option<bool>,
}

impl Daemon {
    /// Asks the message bus which process it is, and looks at that.
    pub(super) async fn look(bus: &SyncConnection) -> Self {
        let proxy = Proxy::new("org.freedesktop.DBus", "/org/freedesktop/DBus", BUS_TIMEOUT, bus);
        let asked = proxy.method_call("org.freedesktop.DBus", "GetConnectionUnixProcessID", ("org.bluez",));
        match asked.await {
            Ok((pid,)) => Self::of_process(pid),
            Err(e) => {
                tracing::debug!(error = e.name(), "the process of bluetoothd is not known");
                Self::default()
            }
        }
    }

    /// Whether connections and connectable advertisements hide the adapter's own address.
    pub fn hides_address(&self) -> bool {
        self.privacy == Some(Privacy::Device) && self.needs_restart == Some(false)
    }

    fn of_process(pid: u32) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let Some(arguments) = read(&process.join("cmdline")).ok().and_then(|bytes| Arguments::parse(&bytes)) else {
            return Self::default();
        };
        let config = arguments.config_path();
        let mut daemon = Self { config, program: Some(arguments.program), ..Self::default() };
        let Some(path) = daemon.config.as_deref().filter(|path| !has_more_files(path)) else { return daemon };
        let (settings, changed) = match read_config(path) {
            Ok(found) => found,
            Err(e) => {
                tracing::debug!(error = %e.kind(), "the configuration of bluetoothd cannot be read");
                return daemon;
            }
        };
        daemon.privacy = Some(settings.privacy);
        daemon.is_experimental = Some(settings.is_experimental.unwrap_or(arguments.is_experimental));
        let started = read(&process.join("stat")).ok().and_then(|bytes| ticks_at_start(&bytes)).map(age);
        daemon.needs_restart = changed.map_or(Some(false), |changed| Some(SystemClock.now().since(changed) < started?));
        daemon
    }
}

/// How a bluetoothd was started.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    program: PathBuf,
    is_experimental: bool,
    config: Option<PathBuf>,
}

impl Arguments {
    /// Of `/proc/PID/cmdline`, where each argument ends with a zero. `None` where that is another program: in a container, numbers of processes
    /// mean something else.
    ///
    /// The rules are GLib's: short options may stand together (`-nE`), and a value is always an argument of its own, or follows `--name=`.
    fn parse(cmdline: &[u8]) -> Option<Self> {
        let mut arguments = cmdline.strip_suffix(&[0]).unwrap_or(cmdline).split(|b| *b == 0);
        let program = path(arguments.next()?);
        if program.file_name()? != "bluetoothd" {
            return None;
        }
        let mut found = Self { program, is_experimental: false, config: None };
        while let Some(argument) = arguments.next() {
            match argument {
                b"--" => break,
                b"--configfile" => found.config = arguments.next().map(path),
                b"--plugin" | b"--noplugin" => drop(arguments.next()),
                b"--experimental" => found.is_experimental = true,
                long if long.starts_with(b"--") => {
                    // Some versions have a list of features behind it.
                    found.is_experimental |= long.starts_with(b"--experimental=");
                    if let Some(file) = long.strip_prefix(b"--configfile=") {
                        found.config = Some(path(file));
                    }
                }
                [b'-', letters @ ..] => {
                    found.is_experimental |= letters.contains(&b'E');
                    if letters.contains(&b'f') {
                        found.config = arguments.next().map(path);
                    } else if letters.contains(&b'p') || letters.contains(&b'P') {
                        arguments.next();
                    }
                }
                _ => (),
            }
        }
        Some(found)
    }

    /// `None` where it cannot be known: a name that depends on the directory in which it was started, or a program that somebody else built,
    /// for other directories.
    fn config_path(&self) -> Option<PathBuf> {
        let is_of_distribution = self.program.starts_with("/usr") && !self.program.starts_with("/usr/local");
        match &self.config {
            Some(path) => path.is_absolute().then(|| path.clone()),
            None => is_of_distribution.then(|| DEFAULT_CONFIG.into()),
        }
    }
}

/// What main.conf says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Settings {
    privacy: Privacy,
    is_experimental: Option<bool>,
}

impl Settings {
    const DEFAULT: Self = Self { privacy: Privacy::Off, is_experimental: None };

    fn parse(text: &str) -> Self {
        Self::parse_key_file(text).unwrap_or(Self::DEFAULT)
    }

    /// `None` where a line is neither comment nor group nor key and value: GLib then gives up, and BlueZ goes on with its defaults.
    fn parse_key_file(text: &str) -> Option<Self> {
        let mut settings = Self::DEFAULT;
        let mut group = None;
        for line in text.lines().map(str::trim_ascii).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[') {
                group = Some(name.strip_suffix(']')?);
                continue;
            }
            let (key, value) = line.split_once('=')?;
            if key.is_empty() {
                return None;
            }
            match (group?, key.trim_ascii(), value.trim_ascii()) {
                ("General", "Privacy", value) => settings.privacy = privacy(value),
                ("General", "Experimental", value) => settings.is_experimental = boolean(value),
                _ => (),
            }
        }
        Some(settings)
    }
}

/// What BlueZ does not know is off.
fn privacy(value: &str) -> Privacy {
    match value {
        "device" => Privacy::Device,
        "network" | "on" => Privacy::Network,
        "limited-device" => Privacy::LimitedDevice,
        "limited-network" => Privacy::LimitedNetwork,
        _ => Privacy::Off,
    }
}

/// As GLib has it; anything else is as if it were not there.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)): when the process started, in clock ticks since boot. Field 2 is its name in parentheses,
/// which may hold anything.
fn ticks_at_start(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|b| *b == b')')?;
    let fields = std::str::from_utf8(&stat[after_name + 1..]).ok()?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// How long a process has run that started at that tick.
fn age(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    // The end of that tick: bluetoothd needs longer than that until it comes to its file.
    let ms = ticks.saturating_add(1).saturating_mul(1000) / per_second;
    SystemClock.monotonic().saturating_sub(Duration::from_millis(ms))
}

/// Settings, and when the file was last changed, `None` where there is no file. That is the time of its inode, which nobody can set and which a
/// file that was moved there gets, too.
fn read_config(path: &Path) -> io::Result<(Settings, Option<Timestamp>)> {
    let changed = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Settings::DEFAULT, None)),
        found => found?,
    };
    let changed = Timestamp::from_unix_ms(changed.ctime().saturating_mul(1000).saturating_add(changed.ctime_nsec() / 1_000_000));
    // Values that matter are ASCII; GLib leaves others alone.
    let settings = Settings::parse(&String::from_utf8_lossy(&read(path)?));
    Ok((settings, Some(changed)))
}

/// Newer versions read `main.conf.d/NN-name.conf`, too, older ones do not: then nobody knows what is in force.
fn has_more_files(config: &Path) -> bool {
    let mut folder = config.as_os_str().to_owned();
    folder.push(".d");
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| Path::new(&entry.file_name()).extension().is_some_and(|e| e == "conf")))
    })
}

/// A whole file.
///
/// # Errors
/// What the system says, or `FileTooLarge`.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn path(bytes: &[u8]) -> PathBuf {
    std::ffi::OsString::from_vec(bytes.to_vec()).into()
}

#[cfg(test)]
mod tests;
