//! How much faster than real time the simulated air is: 500 phones in a dense room, and 500 in a street. The target is 100 times, on one core.
//!
//! Each phone listens for 4 s every 4 minutes and rotates every 10 to 20, and everything heard is taken, as a tracer does it.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use vigie::beacon::Frame;
use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
use vigie::radio::sim::{Air, AirModel, SimAdvertiser, SimError, SimScanner, scenes};
use vigie::radio::{Advertiser, RadioError, Scanner};
use vigie::time::Timestamp;

const START: Timestamp = Timestamp::from_unix_s(1_600_000_000);
const PHONES: u32 = 500;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Listen,
    Take,
    Rotate,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let time = Duration::from_secs(3600);
    run("dense room", scenes::dense_room(PHONES, START, time, 1)?, time)?;
    run("street", scenes::street(PHONES, START, time, 1)?, time)?;
    Ok(())
}

fn run(name: &str, people: Vec<scenes::Person>, time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let air = Air::new(AirModel::default(), START, 2)?;
    let devices = people.into_iter().map(|p| air.add_device(p.model, p.track)).collect::<Result<Vec<_>, SimError>>()?;
    let mut radios: Vec<_> = devices.iter().map(|d| (d.scanner(), d.advertiser())).collect();
    let mut due = BinaryHeap::new();
    for i in 0..u64::from(PHONES) {
        due.push(Reverse((START, i, Due::Rotate)));
        due.push(Reverse((START.after(Duration::from_millis(i * 480)), i, Due::Listen)));
    }
    let (mut heard, mut packets) = (Vec::new(), 0);
    let began = Instant::now();
    while let Some(Reverse((at, i, what))) = due.pop().filter(|Reverse((at, ..))| *at < START.after(time)) {
        air.advance_to(at);
        let Some((scanner, advertiser)) = radios.get_mut(i as usize) else { continue };
        for (after_s, then) in act(what, scanner, advertiser, i, at, &mut heard)? {
            due.push(Reverse((at.after(Duration::from_secs(after_s)), i, then)));
        }
        packets += heard.len();
        heard.clear();
    }
    let took = began.elapsed();
    println!(
        "{name}, {PHONES} phones: {} simulated s in {:.2} s, {:.0} times real time; {packets} packets heard, {:.0} ns each",
        time.as_secs(),
        took.as_secs_f64(),
        time.as_secs_f64() / took.as_secs_f64(),
        took.as_nanos() as f64 / packets as f64,
    );
    Ok(())
}

/// Does what is due and says what is due next, in seconds from now.
fn act(
    what: Due,
    scanner: &mut SimScanner,
    advertiser: &mut SimAdvertiser,
    i: u64,
    now: Timestamp,
    heard: &mut Vec<vigie::radio::Sighting>,
) -> Result<Vec<(u64, Due)>, RadioError> {
    match what {
        Due::Listen => {
            scanner.start()?;
            Ok(vec![(4, Due::Take), (240, Due::Listen)])
        }
        Due::Take => {
            scanner.stop();
            scanner.take(heard)?;
            Ok(vec![])
        }
        Due::Rotate => {
            let mut rpi = [0; 16];
            rpi[..8].copy_from_slice(&i.to_le_bytes());
            rpi[8..].copy_from_slice(&now.unix_ms().to_le_bytes());
            advertiser.advertise(Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata([0; 4]) })?;
            Ok(vec![(600 + i * 7919 % 600, Due::Rotate)])
        }
    }
}
