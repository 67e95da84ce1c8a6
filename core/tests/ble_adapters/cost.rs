//! What D-Bus adds to the cost of a heard packet: CPU time of this process, of bluetoothd and of the message bus. It is printed, never judged.
//!
//! ```text
//! (CPU time while packets come - CPU time of the same time in silence) / packets heard
//! ```
//!
//! In a virtual machine without help of the processor everything is slower. By how much is told by a fixed piece of work, done there and natively
//! by the same binary: `VIGIE_NATIVE_US` is what [`a_signal_arrives_as_it_was_sent`] prints natively. Time of the kernel outside of these
//! processes, the adapter's driver above all, is not counted.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bluer::Session;
use bluer::adv::Type;
use dbus::Message;
use dbus::arg::{PropMap, RefArg, Variant, prop_cast};
use dbus::message::SignalArgs;
use dbus::nonblock::stdintf::org_freedesktop_dbus::PropertiesPropertiesChanged;
use rustix::time::{ClockId, clock_gettime};

use crate::control::{Lab, running};
use crate::device::{Device, FastClock, Setup, within};
use crate::failures::Process;
use crate::meeting::set_air;
use crate::peers::{advertisement, service};

/// For so long it listens, in silence first.
const TIME: Duration = Duration::from_secs(60);

/// Enough that one of them costs the same each time.
const SIGNALS: u32 = 4_000;

/// The thread in which the radio speaks D-Bus.
const WORKER: &str = "vigie-ble";

/// The fixed piece of work: a signal as BlueZ sends it for a packet is written, carried over a socket, and read. CPU time for each, in
/// microseconds.
fn carry_signals() -> f64 {
    let (mut one, mut other) = UnixStream::pair().unwrap();
    let start = clock_gettime(ClockId::ProcessCPUTime);
    for number in 0..SIGNALS {
        let data: PropMap =
            [(service().to_string(), Variant(Box::new(number.to_le_bytes().repeat(5)) as Box<dyn RefArg>))].into();
        let strength = -(number % 100).cast_signed() as i16;
        let changed: PropMap = [
            ("RSSI".into(), Variant(Box::new(strength) as Box<dyn RefArg>)),
            ("ServiceData".into(), Variant(Box::new(data) as _)),
        ]
        .into();
        let sent = PropertiesPropertiesChanged {
            interface_name: "org.bluez.Device1".into(),
            changed_properties: changed,
            invalidated_properties: Vec::new(),
        };
        let mut message = sent.to_emit_message(&"/org/bluez/hci0/dev_00_11_22_33_44_55".into());
        message.set_serial(number + 1);
        let mut bytes = Vec::new();
        message
            .marshal(|part| {
                bytes.extend_from_slice(part);
                Ok::<_, ()>(())
            })
            .unwrap();
        one.write_all(&bytes).unwrap();
        other.read_exact(&mut bytes).unwrap();
        let arrived = PropertiesPropertiesChanged::from_message(&Message::demarshal(&bytes).unwrap()).unwrap();
        assert_eq!(prop_cast(&arrived.changed_properties, "RSSI"), Some(&strength));
    }
    let end = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(end - start).unwrap().as_secs_f64() * 1e6 / f64::from(SIGNALS)
}

/// CPU time so far, in the kernel and outside of it, of what hears a packet.
#[derive(Clone, Copy)]
struct Spent {
    process: Duration,
    worker: Duration,
    bus: Duration,
    daemon: Duration,
}

impl Spent {
    fn now() -> Self {
        let of = |name| cpu_time(&format!("/proc/{}/stat", running(name).unwrap()));
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
        let is_worker =
            |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == WORKER);
        let worker = threads.into_iter().filter(is_worker).map(|path| cpu_time(path.join("stat").to_str().unwrap())).sum();
        Self { process: cpu_time("/proc/self/stat"), worker, bus: of("dbus-daemon"), daemon: of("bluetoothd") }
    }

    /// In microseconds for each packet, beyond what silence cost.
    fn per_packet(from: Self, silence: Self, to: Self, packets: usize) -> [f64; 4] {
        let us = |time: fn(&Self) -> Duration| {
            let (before, between, after) = (time(&from), time(&silence), time(&to));
            ((after - between).as_secs_f64() - (between - before).as_secs_f64()) * 1e6 / packets as f64
        };
        [us(|spent| spent.process), us(|spent| spent.worker), us(|spent| spent.bus), us(|spent| spent.daemon)]
    }
}

/// Fields 14 and 15 of a `stat` in `/proc` (proc_pid_stat(5)), in clock ticks. Field 2 is a name in parentheses, which may hold anything.
fn cpu_time(stat: &str) -> Duration {
    let line = std::fs::read_to_string(stat).unwrap();
    let (_, fields) = line.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_ascii_whitespace().skip(14 - 3).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

fn print(what: &str, [process, worker, bus, daemon]: [f64; 4]) {
    eprintln!(
        "{what}: this process {process:.0} us ({worker:.0} in the radio's thread), dbus-daemon {bus:.0} us, bluetoothd {daemon:.0} us"
    );
}

/// Says to [`shouts_until_it_is_killed`] on which adapters.
const SENDERS: &str = "VIGIE_CHILD_SENDERS";

/// A process that the test below starts and kills: the message bus tells bluer whatever is heard, which is not to be counted. All senders have one
/// connection, because the bus's own part of that is counted.
#[test]
fn shouts_until_it_is_killed() {
    let Ok(names) = std::env::var(SENDERS) else { return };
    let shout = async {
        let session = Session::new().await.unwrap();
        let mut handles = Vec::new();
        for (number, name) in (1..).zip(names.split(',')) {
            let advertisement = advertisement(Type::Broadcast, Some(vec![number; 20]));
            handles.push(session.adapter(name).unwrap().advertise(advertisement).await.unwrap());
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(shout);
}

#[test]
fn a_signal_arrives_as_it_was_sent() {
    eprintln!("a signal costs {:.2} us", carry_signals());
}

#[test]
fn each_packet_is_heard_while_its_cost_is_measured() {
    let Some(lab) = Lab::take(2) else { return };
    let before = carry_signals();
    let senders = &lab.names[1..];
    set_air("* * out\n");
    let _process = Process::start("cost::shouts_until_it_is_killed", &[(SENDERS, senders.join(",").as_ref())]);
    let device = Device::start(&Setup::on(&lab.names[0]), &FastClock::real());
    let heard =
        |number: u8| device.log.lock().unwrap().heard.iter().filter(|(_, it)| it.frame.to_bytes() == [number; 20]).count();
    let all = || (1..).take(senders.len()).map(heard).collect::<Vec<_>>();
    within(Duration::from_secs(30), "it listens", || device.status().is_listening);
    std::thread::sleep(Duration::from_secs(5));

    let start = Spent::now();
    std::thread::sleep(TIME);
    let silence = Spent::now();
    assert_eq!(all().iter().sum::<usize>(), 0, "somebody was heard in silence");
    set_air("* * -60 2\n");
    std::thread::sleep(TIME);
    device.flush();
    let end = Spent::now();

    let (numbers, after) = (all(), carry_signals());
    let packets = numbers.iter().sum();
    eprintln!("{packets} packets of {} senders heard in {} s", senders.len(), TIME.as_secs());
    let raw = Spent::per_packet(start, silence, end, packets);
    print("CPU time for each, as it was", raw);
    let slow = f64::midpoint(before, after);
    eprintln!("a signal costs {before:.2} us before, {after:.2} us after");
    if let Some(native) = std::env::var("VIGIE_NATIVE_US").ok().map(|text| text.parse::<f64>().unwrap()) {
        let factor = slow / native;
        print(&format!("divided by {factor:.1}, as a signal costs {native:.2} us natively"), raw.map(|us| us / factor));
    }
    assert!(numbers.iter().all(|heard| *heard >= 3), "{numbers:?}");
    assert!(device.status().encounters >= senders.len() as u64);
}
