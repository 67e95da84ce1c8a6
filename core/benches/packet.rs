//! CPU time for each packet, from the radio to committed rows: `cargo bench -p vigie --features sim --bench packet`. The target is 10 microseconds.
//!
//! A million packets that one phone hears in a dense room, recorded once on the simulated air, go through a whole tracer that listens without
//! pause, second by second, into a store on disk. In turns with it, the same packets are written as plainly as can be: an SQLite row for each.
//! The costliest stream comes last: as many identifiers as the store takes for ever, each heard once, so that each packet is an encounter.

#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rusqlite::{Connection, params};
use vigie::beacon::Frame;
use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
use vigie::radio::sim::{Air, AirModel, DeviceModel, scenes};
use vigie::radio::{Advertiser, MeasuredBy, Radio, RadioError, Rssi, Scanner, Sighting};
use vigie::time::{Clock, ManualClock, Timestamp};
use vigie::tracer::{Config, Scanning, Tracer};

const START: Timestamp = Timestamp::from_unix_s(1_603_324_800);
const PACKETS: usize = 1_000_000;
const TARGET_US: f64 = 10.0;
const SECOND: Duration = Duration::from_secs(1);

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    // `cargo test --benches` starts this as well; there it is enough that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    for phones in [500, 50, 5] {
        measure(&format!("room of {phones} phones"), record(phones)?)?;
    }
    measure("80 identifiers a second, each heard once", passers_by())
}

/// Both in turns, so that whatever else the machine does falls on both; medians.
fn measure(name: &str, stream: Vec<Sighting>) -> Result<(), Error> {
    const ROUNDS: usize = 5;
    let stream = Arc::new(stream);
    let folder = tempfile::tempdir()?;
    let (mut times, mut rows) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let began = cpu_time();
        rows = trace(&stream, &folder.path().join(format!("store-{round}")))?;
        let traced = cpu_time();
        write_plainly(&stream, &folder.path().join(format!("plain-{round}")))?;
        times.push((us_per_packet(traced - began), us_per_packet(cpu_time() - traced)));
    }
    let ours = median(times.iter().map(|(ours, _)| *ours));
    let plain = median(times.iter().map(|(_, plain)| *plain));
    let ratio = median(times.iter().map(|(ours, plain)| ours / plain));
    let verdict = if ours < TARGET_US { "PASS " } else { "ABOVE" };
    println!(
        "{verdict} {name}: {ours:.2} us of CPU time a packet (target {TARGET_US}), {rows} rows; {ratio:.2} times a plain row for each ({plain:.2} us)"
    );
    Ok(())
}

/// What one of so many phones hears that listens without pause. The others change their identifier every 10 to 20 minutes.
fn record(phones: u32) -> Result<Vec<Sighting>, Error> {
    let rng = &mut ChaCha20Rng::seed_from_u64(phones.into());
    let air = Air::new(AirModel::default(), START, 1)?;
    let mut listener = None;
    let mut senders = Vec::new();
    for person in scenes::dense_room(phones + 1, START, Duration::from_secs(24 * 3600), 2)? {
        // The playback's clock is right.
        let model = DeviceModel { clock_ppm: 0, clock_offset_ms: 0, ..person.model };
        let device = air.add_device(model, person.track)?;
        match &listener {
            None => listener = Some(device.scanner()),
            Some(_) => senders.push((device.advertiser(), START)),
        }
    }
    let mut listener = listener.ok_or("a room has people")?;
    listener.start()?;
    let mut heard = Vec::new();
    while heard.len() < PACKETS {
        for (sender, due) in senders.iter_mut().filter(|(_, due)| *due <= air.now()) {
            sender.advertise(random_frame(rng))?;
            *due = air.now().after(Duration::from_secs(600 + rng.next_u64() % 600));
        }
        air.advance_to(air.now().after(SECOND));
        listener.take(&mut heard)?;
    }
    heard.truncate(PACKETS);
    Ok(heard)
}

/// The store's budget is 4,000 bytes a second, and an encounter of one packet costs 45.
fn passers_by() -> Vec<Sighting> {
    let rng = &mut ChaCha20Rng::seed_from_u64(4);
    let at = |i| START.after(SECOND / 80 * i);
    let heard = |i| Sighting { frame: random_frame(rng), rssi: Rssi(-80), measured_by: MeasuredBy::Us, at: at(i) };
    (0..PACKETS as u32).map(heard).collect()
}

fn random_frame(rng: &mut ChaCha20Rng) -> Frame {
    let (mut rpi, mut aem) = ([0; 16], [0; 4]);
    rng.fill_bytes(&mut rpi);
    rng.fill_bytes(&mut aem);
    Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata(aem) }
}

/// Plays the stream back to a tracer on a new store. How many encounters it kept.
fn trace(stream: &Arc<Vec<Sighting>>, path: &Path) -> Result<u64, Error> {
    let clock = ManualClock::new(START);
    let playback = Playback { stream: Arc::clone(stream), next: 0, clock: clock.clone() };
    let radio = Radio { scanner: Some(Box::new(playback)), advertiser: Some(Box::new(Unheard)) };
    let mut config = Config::default();
    config.scanning = Scanning::Continuous;
    let tracer = Tracer::open(config, path, radio, clock.clone(), ChaCha20Rng::seed_from_u64(3))?;
    tracer.start();
    let end = stream.last().ok_or("nothing was recorded")?.at;
    while clock.now() <= end {
        clock.advance(tracer.step()?);
    }
    tracer.step()?;
    tracer.stop()?;
    Ok(tracer.status()?.encounters)
}

/// Hears the stream once more.
struct Playback {
    stream: Arc<Vec<Sighting>>,
    next: usize,
    clock: ManualClock,
}

impl Scanner for Playback {
    fn start(&mut self) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop(&mut self) {}

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let now = self.clock.now();
        let left = &self.stream[self.next..];
        let due = left.partition_point(|sighting| sighting.at <= now);
        heard.extend_from_slice(&left[..due]);
        self.next += due;
        Ok(())
    }
}

/// Sends what nobody hears: with it the tracer has identifiers of its own, which it looks for in all that it hears.
struct Unheard;

impl Advertiser for Unheard {
    fn advertise(&mut self, _frame: Frame) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop(&mut self) {}
}

/// Each packet a row, and a transaction every ten seconds, as durable as the store's own.
fn write_plainly(stream: &[Sighting], path: &Path) -> Result<(), rusqlite::Error> {
    let mut conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE packets (id INTEGER PRIMARY KEY, frame BLOB NOT NULL, time INTEGER NOT NULL, rssi INTEGER NOT NULL) STRICT;",
    )?;
    for batch in stream.chunk_by(|a, b| a.at.unix_s() / 10 == b.at.unix_s() / 10) {
        let tx = conn.transaction()?;
        let mut insert = tx.prepare_cached("INSERT INTO packets (frame, time, rssi) VALUES (?, ?, ?)")?;
        for sighting in batch {
            insert.execute(params![sighting.frame.to_bytes(), sighting.at.unix_ms(), sighting.rssi.0])?;
        }
        drop(insert);
        tx.commit()?;
    }
    Ok(())
}

/// Of this process, in user mode and in the kernel.
#[cfg(unix)]
fn cpu_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("no process has run for less than nothing")
}

/// The standard library knows no other; it is more than the CPU time.
#[cfg(not(unix))]
fn cpu_time() -> Duration {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    ORIGIN.get_or_init(std::time::Instant::now).elapsed()
}

fn us_per_packet(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / PACKETS as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
