//! What a user, an update or a loose plug does to the system: ends and starts the message bus and bluetoothd, switches adapters off, unplugs them.
//!
//! It ends services of the whole system, so it does so only where `VIGIE_LAB` says that the system is there to be broken, with virtual adapters.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::adapters;

const BUS: &str = "dbus-daemon";
const DAEMON: &str = "bluetoothd";
const EMULATOR: &str = "btvirt";

/// What keeps everybody from asking bluetoothd for anything.
const POLICY: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy context="mandatory"><deny send_destination="org.bluez" send_type="method_call"/></policy></busconfig>"#;
const POLICY_FILE: &str = "/etc/dbus-1/system.d/vigie-test.conf";

/// Starting and ending a service takes no longer, on a slow computer.
const SERVICE: Duration = Duration::from_secs(30);

/// Whether adapters and system are there to be broken.
pub(crate) fn is_virtual() -> bool {
    std::env::var_os("VIGIE_LAB").is_some()
}

/// A system that may be broken. Dropped, it is as it was.
pub(crate) struct Lab {
    pub(crate) names: Vec<String>,
    bus: Vec<String>,
    daemon: Vec<String>,
    emulator: Vec<String>,
    _lock: MutexGuard<'static, ()>,
}

impl Lab {
    /// `None`, and a word why, where nothing may be broken, or there are fewer adapters than are needed.
    pub(crate) fn take(needed: usize) -> Option<Self> {
        if !is_virtual() {
            eprintln!("skipped: it ends services of the system, and VIGIE_LAB does not say that it may");
            return None;
        }
        let (names, lock) = adapters(needed)?;
        let of = |name| arguments(running(name).unwrap_or_else(|| panic!("{name} does not run")));
        Some(Self { names, bus: of(BUS), daemon: of(DAEMON), emulator: of(EMULATOR), _lock: lock })
    }

    pub(crate) fn kill_daemon(&self) {
        kill(DAEMON);
    }

    pub(crate) fn start_daemon(&self) {
        start(&self.daemon);
    }

    /// With the message bus goes bluetoothd.
    pub(crate) fn kill_bus(&self) {
        kill(BUS);
        kill(DAEMON);
    }

    pub(crate) fn start_bus(&self) {
        start(&self.bus);
    }

    pub(crate) fn unplug(&self) {
        kill(EMULATOR);
    }

    /// Plugs in the first so many adapters.
    pub(crate) fn plug(&self, count: usize) {
        let count = |argument: &String| if argument.starts_with("-l") { format!("-l{count}") } else { argument.clone() };
        start(&self.emulator.iter().map(count).collect::<Vec<_>>());
    }

    pub(crate) fn power(&self, name: &str, on: bool) {
        let value = format!("variant:boolean:{on}");
        assert!(set_power(name, &value), "{name} could not be switched");
    }

    pub(crate) fn deny(&self) {
        std::fs::write(POLICY_FILE, POLICY).unwrap();
        assert!(reload_policy());
    }

    pub(crate) fn allow(&self) {
        std::fs::remove_file(POLICY_FILE).unwrap();
        assert!(reload_policy());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let has_policy = std::fs::remove_file(POLICY_FILE).is_ok();
        if running(BUS).is_none() {
            kill(DAEMON);
            start(&self.bus);
        }
        if has_policy {
            reload_policy();
        }
        if running(EMULATOR).is_none_or(|id| arguments(id) != self.emulator) {
            kill(EMULATOR);
            start(&self.emulator);
        }
        if running(DAEMON).is_none() {
            start(&self.daemon);
        }
        let is_whole = soon(|| self.names.iter().all(|name| is_powered(name) || set_power(name, "variant:boolean:true")));
        assert!(is_whole || std::thread::panicking(), "the adapters did not come back");
    }
}

/// The process of this name that runs.
pub(crate) fn running(name: &str) -> Option<u32> {
    let ids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.into_iter().find(|id| {
        // Its number, its name in brackets, its state; a zombie does not run.
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.split_once('(').is_some_and(|(_, rest)| {
            rest.rsplit_once(") ").is_some_and(|(found, rest)| found.starts_with(name) && !rest.starts_with('Z'))
        })
    })
}

fn arguments(id: u32) -> Vec<String> {
    let line = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    line.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
}

fn kill(name: &str) {
    let ended = soon(|| {
        let id = running(name);
        if let Some(id) = id {
            let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        }
        id.is_none()
    });
    assert!(ended || std::thread::panicking(), "{name} does not end");
}

fn start(arguments: &[String]) {
    let (program, rest) = arguments.split_first().unwrap();
    let mut child = Command::new(program).args(rest).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let name = Path::new(program).file_name().unwrap().to_string_lossy().into_owned();
    // One that goes to the background ends at once.
    std::thread::spawn(move || child.wait());
    assert!(soon(|| running(&name).is_some()) || std::thread::panicking(), "{name} does not start");
}

/// Whether something comes about before long.
fn soon(mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > SERVICE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    true
}

/// What a call over the message bus gives; `None` where it fails.
fn call(arguments: &[&str]) -> Option<String> {
    let output = Command::new("dbus-send").args(["--system", "--print-reply"]).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_powered(name: &str) -> bool {
    let (path, method) = (format!("/org/bluez/{name}"), "org.freedesktop.DBus.Properties.Get");
    let powered = call(&["--dest=org.bluez", &path, method, "string:org.bluez.Adapter1", "string:Powered"]);
    powered.is_some_and(|powered| powered.contains("boolean true"))
}

fn set_power(name: &str, value: &str) -> bool {
    let (path, method) = (format!("/org/bluez/{name}"), "org.freedesktop.DBus.Properties.Set");
    call(&["--dest=org.bluez", &path, method, "string:org.bluez.Adapter1", "string:Powered", value]).is_some()
}

fn reload_policy() -> bool {
    call(&["--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.ReloadConfig"]).is_some()
}
