//! Bluetooth on Linux: from the message bus to what an adapter can do.

use std::path::Path;

use vigie::radio::ble::{Access, Adapter, Block, Daemon, Options, Privacy, Survey};

use super::finding::{Finding, State};

/// What Vigie was tried with. Main.conf knows `Experimental` in this one.
const TRIED_VERSION: (u8, u8) = (5, 66);
const DEFAULT_CONFIG: &str = "/etc/bluetooth/main.conf";
const DEFAULT_PROGRAM: &str = "/usr/libexec/bluetooth/bluetoothd";
const RESTART: &str = "sudo systemctl restart bluetooth";

/// What follows from the survey. What cannot be known because something before it does not answer is left out.
pub(super) fn findings(survey: &Survey, options: &Options) -> Vec<Finding> {
    let mut findings = vec![message_bus(survey.message_bus)];
    if survey.message_bus == Access::Granted {
        findings.push(service(survey.service, survey.version));
    }
    findings.extend(permissions(survey));
    if survey.service == Access::Granted {
        findings.push(experimental(survey));
        let is_legacy = |adapter: &Adapter| adapter.advertising.is_some_and(|it| !it.is_extended);
        match survey.adapters.iter().filter(|adapter| adapter.sends).find(|adapter| is_legacy(adapter)) {
            Some(adapter) => findings.push(legacy_privacy(&survey.daemon, adapter)),
            None => findings.push(privacy(&survey.daemon)),
        }
    }
    findings.extend(adapters(survey, options));
    findings.extend(survey.adapters.iter().filter(|a| a.sends && a.is_powered).flat_map(sending));
    findings
}

fn message_bus(access: Access) -> Finding {
    let bad = |found: &str, next: &str| Finding::bad("message_bus", found, next);
    match access {
        Access::Granted => Finding::ok("message_bus", "the system's message bus (D-Bus) answers"),
        Access::Absent => bad(
            "the system's message bus (D-Bus) does not run: Bluetooth cannot be reached",
            "sudo systemctl start dbus   (in a container: share /run/dbus with it)",
        ),
        Access::Refused => {
            bad("the system's message bus (D-Bus) refuses this user", "run it outside a container, or as another user")
        }
        _ => bad("the system's message bus (D-Bus) is there, and does not answer", "restart the machine"),
    }
}

fn service(access: Access, version: Option<(u8, u8)>) -> Finding {
    let bad = |found: &str, next: &str| Finding::bad("bluetoothd", found, next);
    match (access, version) {
        (Access::Granted, Some(version)) if version < TRIED_VERSION => {
            let ((major, minor), (tried, with)) = (version, TRIED_VERSION);
            let found = format!("version {major}.{minor} answers; Vigie was tried with {tried}.{with} and later");
            Finding::caution("bluetoothd", found, "update BlueZ, with the system's other packages")
        }
        (Access::Granted, Some((major, minor))) => Finding::ok("bluetoothd", format!("version {major}.{minor} answers")),
        (Access::Granted, None) => Finding::ok("bluetoothd", "it answers; its version is not known"),
        (Access::Refused, _) => bad("it does not answer to this user", "see permissions"),
        (Access::Absent, _) => {
            bad("it does not run", "sudo systemctl start bluetooth   (where it is missing: sudo apt install bluez)")
        }
        _ => bad("it is there, and does not answer", RESTART),
    }
}

/// What this user may do.
fn permissions(survey: &Survey) -> Option<Finding> {
    match survey.service {
        Access::Granted => Some(Finding::ok("permissions", "this user may use Bluetooth")),
        Access::Refused => Some(Finding::bad(
            "permissions",
            "this user may not use Bluetooth: the message bus denies access to bluetoothd",
            "sudo usermod --append --groups bluetooth \"$USER\", and log in anew",
        )),
        _ => None,
    }
}

/// The monitor is the proof; what stands in arguments and file may not have been read yet.
fn experimental(survey: &Survey) -> Finding {
    const WITHOUT: &str = "each device is heard once in 10 s instead of with every packet, and the advertising interval is 1280 ms \
                           instead of 200 to 270 ms";
    let about = "experimental";
    let daemon = &survey.daemon;
    let has_monitor = survey.adapters.iter().any(|a| a.has_monitor);
    match daemon.is_experimental {
        _ if has_monitor => Finding::ok(about, "bluetoothd offers its experimental interfaces: every packet is heard"),
        Some(true) if daemon.needs_restart != Some(false) => {
            Finding::caution(about, format!("the configuration was changed after bluetoothd started, so that {WITHOUT}"), RESTART)
        }
        Some(true) if survey.adapters.is_empty() => Finding::ok(about, "bluetoothd was started with its experimental interfaces"),
        Some(true) => Finding::caution(
            about,
            format!("bluetoothd has its experimental interfaces, but no adapter offers an advertisement monitor: {WITHOUT}"),
            "update the kernel, or use another adapter",
        ),
        None if survey.adapters.is_empty() => Finding::caution(
            about,
            "whether bluetoothd runs with --experimental is not known",
            "plug in an adapter, and ask again",
        ),
        _ => Finding::caution(about, format!("bluetoothd runs without --experimental: {WITHOUT}"), enable_experimental(survey)),
    }
}

fn enable_experimental(survey: &Survey) -> String {
    match &survey.daemon.config {
        Some(config) if survey.version >= Some(TRIED_VERSION) => set_line(config, "Experimental = true"),
        _ => {
            let program = survey.daemon.program.as_deref().unwrap_or(Path::new(DEFAULT_PROGRAM)).display();
            format!(
                "sudo systemctl edit bluetooth, with these lines:\n  [Service]\n  ExecStart=\n  ExecStart={program} --experimental\n\
                 and then: {RESTART}"
            )
        }
    }
}

/// Without extended advertising, the address that `Privacy` gives outlives the identifier.
fn legacy_privacy(daemon: &Daemon, adapter: &Adapter) -> Finding {
    let name = &adapter.name;
    if daemon.privacy.is_none_or(|privacy| privacy == Privacy::Off) && daemon.needs_restart != Some(true) {
        let found =
            "nothing is exchanged over connections with phones that cannot send service data: it has no extended advertising";
        return Finding::ok("privacy", format!("{name} sends under a new address with each identifier; {found}"));
    }
    let config = daemon.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    Finding::bad(
        "privacy",
        format!(
            "with `Privacy` {name} keeps its address longer than an identifier, so it only listens: it has no extended advertising"
        ),
        format!("in {}, below [General], remove the line that begins with\n  Privacy =\nand then: {RESTART}", config.display()),
    )
}

fn privacy(daemon: &Daemon) -> Finding {
    const WITHOUT: &str = "nothing is exchanged over connections (GATT) with phones that cannot send service data";
    let about = "privacy";
    if daemon.hides_address() {
        return Finding::ok(about, "`Privacy = device` is in force: connections do not show the adapter's own address");
    }
    let config = daemon.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
    let (found, next) = match (daemon.privacy, &daemon.program, &daemon.config) {
        (Some(Privacy::Device), ..) if daemon.needs_restart == Some(true) => {
            ("`Privacy = device` was set after bluetoothd started and is not in force".to_owned(), RESTART.to_owned())
        }
        (Some(Privacy::Device), ..) => (
            "whether `Privacy = device` is in force is not known".to_owned(),
            "run it where /proc shows all of bluetoothd".to_owned(),
        ),
        (Some(other), ..) => {
            (format!("`Privacy` is {} in {}", name(other), config.display()), set_line(config, "Privacy = device"))
        }
        (None, None, _) => (
            "whether `Privacy = device` is in force is not known: the process of bluetoothd cannot be seen".to_owned(),
            "run it outside a container, or as root where /proc hides other users' processes".to_owned(),
        ),
        (None, Some(program), None) => (
            format!(
                "whether `Privacy = device` is in force is not known: which configuration {} reads is not",
                program.display()
            ),
            format!("start bluetoothd with --configfile={DEFAULT_CONFIG}"),
        ),
        (None, Some(_), Some(config)) => (
            format!(
                "whether `Privacy = device` is in force is not known: {0} cannot be read, or {0}.d has more of it",
                config.display()
            ),
            format!("let all read {0}, and move the lines of {0}.d into it; then: {RESTART}", config.display()),
        ),
    };
    Finding::caution(about, format!("{found}: {WITHOUT}"), next)
}

fn name(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Off => "off",
        Privacy::Device => "device",
        Privacy::Network => "network",
        Privacy::LimitedDevice => "limited-device",
        Privacy::LimitedNetwork => "limited-network",
        _ => "of another kind",
    }
}

fn set_line(config: &Path, line: &str) -> String {
    format!("in {}, below [General], add the line\n  {line}\nand then: {RESTART}", config.display())
}

fn adapters(survey: &Survey, options: &Options) -> Vec<Finding> {
    if survey.service != Access::Granted {
        return blocked(survey).into_iter().collect();
    }
    if survey.adapters.is_empty() {
        return vec![blocked(survey).unwrap_or_else(|| no_adapter(survey))];
    }
    let mut findings = missing(survey, options);
    findings.extend(survey.adapters.iter().filter(|a| a.hears || a.sends).map(|adapter| used(adapter, survey)));
    if !survey.hidden_adapters.is_empty() {
        let found = format!("the kernel has {}, but bluetoothd does not show it", survey.hidden_adapters.join(", "));
        findings.push(Finding::caution("adapter", found, format!("{RESTART}   (and see: journalctl --unit bluetooth)")));
    }
    findings
}

fn blocked(survey: &Survey) -> Option<Finding> {
    Some(match survey.blocks.first()? {
        Block::Hard => Finding::bad(
            "adapter",
            "a switch of this machine keeps Bluetooth off (rfkill, hard)",
            "turn the switch or key for radios",
        ),
        Block::Soft => {
            Finding::bad("adapter", "Bluetooth is blocked, as in airplane mode (rfkill, soft)", "rfkill unblock bluetooth")
        }
    })
}

fn no_adapter(survey: &Survey) -> Finding {
    if survey.hidden_adapters.is_empty() {
        return Finding::bad(
            "adapter",
            "there is no Bluetooth adapter",
            "plug one in   (in a virtual machine: pass one through)",
        );
    }
    let found = format!("the kernel has {}, but bluetoothd shows no adapter", survey.hidden_adapters.join(", "));
    Finding::bad("adapter", found, format!("{RESTART}   (and see: journalctl --unit bluetooth)"))
}

/// Adapters that were named and are not there.
fn missing(survey: &Survey, options: &Options) -> Vec<Finding> {
    let there: Vec<_> = survey.adapters.iter().map(|a| a.name.as_str()).collect();
    let named = options.adapter.iter().chain(&options.advertise_adapter).filter(|name| !there.contains(&name.as_str()));
    let missing = named.map(|name| {
        let found = format!("there is no adapter {}", crate::output::shown(name, 32));
        Finding::bad("adapter", found, format!("plug it in, or name another one: {}", there.join(", ")))
    });
    missing.collect()
}

fn used(adapter: &Adapter, survey: &Survey) -> Finding {
    let name = &adapter.name;
    if !adapter.is_powered {
        return blocked(survey).unwrap_or_else(|| {
            let next = if survey.adapters.len() == 1 {
                "bluetoothctl power on".to_owned()
            } else {
                format!("busctl set-property org.bluez /org/bluez/{name} org.bluez.Adapter1 Powered b true")
            };
            Finding::bad("adapter", format!("{name} is off"), next)
        });
    }
    let does = match (adapter.hears, adapter.sends) {
        (true, true) => "listens and sends",
        (true, false) => "listens",
        _ => "sends",
    };
    Finding::ok("adapter", format!("{name} is on; it {does}"))
}

/// What an adapter does that is on, and is to send.
fn sending(adapter: &Adapter) -> Vec<Finding> {
    let about = "sending";
    let name = &adapter.name;
    let Some(how) = adapter.advertising else {
        let found = format!("{name} cannot advertise: others cannot hear this device");
        return vec![Finding::bad(about, found, "use an adapter with Bluetooth LE: --advertise-adapter NAME")];
    };
    let mut findings = Vec::new();
    if how.active > 0 {
        let consequence = if how.is_extended {
            ""
        } else {
            ": on this adapter the kernel alternates between the two and changes addresses, so that one identifier has several"
        };
        let next = "nothing, if that is `vigie run`; otherwise end the other program (bluetoothctl advertise off), \
                    or send with another adapter: --advertise-adapter NAME";
        findings.push(Finding::caution(about, format!("another program advertises on {name}{consequence}"), next));
    }
    findings.push(match (how.free, how.is_extended) {
        (0, _) => Finding::bad(
            about,
            format!("{name} has no room for another advertisement"),
            "end the other programs that advertise, or send with another adapter: --advertise-adapter NAME",
        ),
        (free, true) => Finding::ok(about, format!("{name} has extended advertising, and room for {free} advertisements")),
        (free, false) => Finding::ok(about, format!("{name} has no extended advertising, and room for {free} advertisements")),
    });
    findings.sort_by_key(|finding| finding.state == State::Ok);
    findings
}

#[cfg(test)]
mod tests;
