//! How Bluetooth stands on this Linux machine, for whoever wants to know why a radio does nothing, or less than it should.
//!
//! It looks and changes nothing: it starts no service, switches nothing on, registers nothing. It works without root, and without any of what it
//! looks for.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dbus::arg::{PropMap, RefArg, Variant, prop_cast};
use dbus::nonblock::{Proxy, SyncConnection};

use super::Options;
use super::daemon::Daemon;

/// For all of it. A message bus that takes connections and says nothing would hold a caller for 25 s.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// For one question. bluetoothd answers within milliseconds, unless it waits for an adapter.
const CALL_TIME_LIMIT: Duration = Duration::from_secs(2);
/// What bluer takes where no adapter is named.
const FIRST_ADAPTER: &str = "hci0";

/// Whether something answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Access {
    /// It was not asked, because what stands before it does not answer.
    #[default]
    Unknown,
    /// It answers.
    Granted,
    /// It does not run.
    Absent,
    /// It does not answer to this user.
    Refused,
    /// It is there, and does not answer in time, or not in its own terms.
    Silent,
}

/// A way in which the kernel keeps a Bluetooth adapter from sending (rfkill).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// A program did it, and any can undo it.
    Soft,
    /// A switch of the machine did it.
    Hard,
}

/// An adapter that bluetoothd shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Adapter {
    /// Such as `hci0`.
    pub name: String,
    /// Whether it is on.
    pub is_powered: bool,
    /// Whether it would hear, by the options.
    pub hears: bool,
    /// Whether it would send, by the options.
    pub sends: bool,
    /// Whether it tells of every packet (`AdvertisementMonitorManager1`), not of one packet of each device in 10 s.
    pub has_monitor: bool,
    /// How it sends; `None` where it cannot.
    pub advertising: Option<Advertising>,
}

/// How an adapter sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advertising {
    /// How many advertisements of other programs, or of this one, it sends now.
    pub active: u8,
    /// How many more it can send at once.
    pub free: u8,
    /// Whether each has its own address and its own times (extended advertising of Bluetooth 5). Elsewhere the kernel alternates between them.
    pub is_extended: bool,
}

/// What was found. `None` stands for what could not be known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The system's message bus, through which everything else is reached.
    pub message_bus: Access,
    /// bluetoothd.
    pub service: Access,
    /// BlueZ's version, major and minor, as its adapters tell it.
    pub version: Option<(u8, u8)>,
    /// The process, its arguments and configuration.
    pub daemon: Daemon,
    /// The adapters that bluetoothd shows, in the order of their numbers.
    pub adapters: Vec<Adapter>,
    /// Adapters that the kernel has and bluetoothd does not show.
    pub hidden_adapters: Vec<String>,
    /// Switches that keep Bluetooth from sending, each once.
    pub blocks: Vec<Block>,
    /// Whether the system clock follows a time server; asked because the message bus is open.
    pub is_clock_synchronised: Option<bool>,
}

/// Looks at everything. Waits for some seconds at most, and then tells what was found until then.
pub fn survey(options: &Options) -> Survey {
    let mut survey = Survey { blocks: blocks(Path::new("/sys/class/rfkill")), ..Survey::default() };
    let (tell, told) = mpsc::channel();
    // Connecting to the bus blocks within libdbus, where no timer of ours ends it: then this thread is left behind.
    let started = thread::Builder::new().name("vigie-survey".into()).spawn(move || ask(|found| drop(tell.send(found))));
    if started.is_err() {
        return survey;
    }
    survey.message_bus = Access::Silent;
    let end = std::time::Instant::now() + TIME_LIMIT;
    while let Ok(answer) = told.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
        answer(&mut survey);
    }
    assign(&mut survey.adapters, options);
    let of_kernel = kernel_adapters(Path::new("/sys/class/bluetooth"));
    survey.hidden_adapters = of_kernel.into_iter().filter(|name| survey.adapters.iter().all(|a| a.name != *name)).collect();
    survey
}

/// What a question to the bus adds to the survey.
type Answer = Box<dyn FnOnce(&mut Survey) + Send>;

fn ask(tell: impl Fn(Answer)) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (resource, bus) = match dbus_tokio::connection::new_system_sync() {
            Ok(connected) => connected,
            Err(e) => {
                let access = access(&e);
                return tell(Box::new(move |survey| survey.message_bus = access));
            }
        };
        let connection = tokio::spawn(resource);
        tell(Box::new(|survey| survey.message_bus = Access::Granted));
        ask_service(&bus, &tell).await;
        let synchronised = is_clock_synchronised(&bus).await;
        tell(Box::new(move |survey| survey.is_clock_synchronised = synchronised));
        connection.abort();
    });
}

async fn ask_service(bus: &SyncConnection, tell: &impl Fn(Answer)) {
    // A call would start a service that does not run.
    let driver = Proxy::new("org.freedesktop.DBus", "/org/freedesktop/DBus", CALL_TIME_LIMIT, bus);
    match driver.method_call("org.freedesktop.DBus", "NameHasOwner", ("org.bluez",)).await {
        Ok((true,)) => (),
        Ok((false,)) => return tell(Box::new(|survey| survey.service = Access::Absent)),
        Err(e) => {
            let access = access(&e);
            return tell(Box::new(move |survey| survey.service = access));
        }
    }
    let daemon = Daemon::look(bus).await;
    tell(Box::new(move |survey| survey.daemon = daemon));
    let proxy = Proxy::new("org.bluez", "/", CALL_TIME_LIMIT, bus);
    let objects = proxy.method_call("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", ()).await;
    tell(Box::new(move |survey| match objects {
        Ok((objects,)) => {
            let objects: Objects = objects;
            survey.service = Access::Granted;
            survey.version = objects.values().find_map(version);
            survey.adapters = adapters(&objects);
        }
        Err(e) => survey.service = access(&e),
    }));
}

async fn is_clock_synchronised(bus: &SyncConnection) -> Option<bool> {
    let proxy = Proxy::new("org.freedesktop.timedate1", "/org/freedesktop/timedate1", CALL_TIME_LIMIT, bus);
    let arguments = ("org.freedesktop.timedate1", "NTPSynchronized");
    let (Variant(answer),): (Variant<bool>,) =
        proxy.method_call("org.freedesktop.DBus.Properties", "Get", arguments).await.ok()?;
    Some(answer)
}

fn access(error: &dbus::Error) -> Access {
    tracing::debug!(error = error.name(), "no answer over the message bus");
    match error.name().unwrap_or_default().rsplit('.').next().unwrap_or_default() {
        "FileNotFound" | "NoServer" | "ServiceUnknown" | "NameHasNoOwner" => Access::Absent,
        "AccessDenied" | "AuthFailed" => Access::Refused,
        _ => Access::Silent,
    }
}

/// Interfaces and their properties, by object.
type Objects = HashMap<dbus::Path<'static>, HashMap<String, PropMap>>;

fn adapters(objects: &Objects) -> Vec<Adapter> {
    let mut found: Vec<_> = objects.iter().filter_map(|(path, interfaces)| adapter(path, interfaces)).collect();
    found.sort_by_key(|adapter| (adapter.name.len(), adapter.name.clone()));
    found
}

fn adapter(path: &str, interfaces: &HashMap<String, PropMap>) -> Option<Adapter> {
    let properties = interfaces.get("org.bluez.Adapter1")?;
    let advertising = interfaces.get("org.bluez.LEAdvertisingManager1").map(|manager| Advertising {
        active: prop_cast(manager, "ActiveInstances").copied().unwrap_or(0),
        free: prop_cast(manager, "SupportedInstances").copied().unwrap_or(0),
        // BlueZ has this property where the controller can send on other channels, which is extended advertising.
        is_extended: manager.contains_key("SupportedSecondaryChannels"),
    });
    Some(Adapter {
        name: path.rsplit('/').next()?.to_owned(),
        is_powered: prop_cast(properties, "Powered").copied().unwrap_or(false),
        has_monitor: interfaces.contains_key("org.bluez.AdvertisementMonitorManager1"),
        advertising,
        ..Adapter::default()
    })
}

/// From the adapter's `Modalias`, `usb:v1D6Bp0246dMMmm` in hexadecimal digits, where nobody set another one.
fn version(interfaces: &HashMap<String, PropMap>) -> Option<(u8, u8)> {
    let modalias = interfaces.get("org.bluez.Adapter1")?.get("Modalias")?.as_str()?;
    let digits = modalias.strip_prefix("usb:v1D6Bp0246d").filter(|digits| digits.len() == 4)?;
    let number = u16::from_str_radix(digits, 16).ok()?;
    let [major, minor] = number.to_be_bytes();
    Some((major, minor))
}

fn assign(adapters: &mut [Adapter], options: &Options) {
    let first = || adapters.iter().find(|a| a.name == FIRST_ADAPTER).or(adapters.first()).map(|a| a.name.clone());
    let hears = options.adapter.clone().or_else(first);
    let sends = options.advertise_adapter.clone().or_else(|| hears.clone());
    for adapter in adapters {
        adapter.hears = hears.as_ref() == Some(&adapter.name);
        adapter.sends = sends.as_ref() == Some(&adapter.name);
    }
}

/// The adapters in the kernel's list, which has connections (`hci0:64`), too.
fn kernel_adapters(class: &Path) -> Vec<String> {
    let names = fs::read_dir(class).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("hci") && !name.contains(':')).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn blocks(class: &Path) -> Vec<Block> {
    let says =
        |switch: &Path, name: &str, text: &str| fs::read_to_string(switch.join(name)).is_ok_and(|found| found.trim() == text);
    let entries = fs::read_dir(class).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let switches: Vec<_> = entries.filter(|switch| says(switch, "type", "bluetooth")).collect();
    let kinds = [(Block::Hard, "hard"), (Block::Soft, "soft")].into_iter();
    kinds.filter(|(_, name)| switches.iter().any(|switch| says(switch, name, "1"))).map(|(kind, _)| kind).collect()
}

#[cfg(test)]
mod tests;
