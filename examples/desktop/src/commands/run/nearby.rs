//! Who is near: a [tap](tapped) on the radio, and a bounded table of what came through it.
//!
//! A device is known by its identifier for as long as it keeps it; whoever changes it is another device here, as for everybody. What leaves this
//! file is a running number, never the identifier.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vigie::beacon::{Frame, ServiceUuid};
use vigie::encounters::calibration::Calibration;
use vigie::keys::RollingProximityIdentifier;
use vigie::radio::{Advertiser, Limit, Radio, RadioError, Scanner, Sighting};
use vigie::time::Timestamp;
use vigie::tracer::Scanning;

/// Devices in the table; a room full of people has fewer.
const MAX_DEVICES: usize = 256;

/// Own identifiers that are not taken for somebody else's where two adapters hear each other: those of some hours.
const MAX_OWN: usize = 64;

/// Packets heard within this time are one point of the curve.
const POINT: Duration = Duration::from_secs(5);

/// How much of the curve is kept: no identifier lives longer.
const CURVE: Duration = Duration::from_secs(20 * 60);

/// Nearness is estimated from the points of the last so many seconds before a device was last heard.
const RECENT: Duration = Duration::from_secs(30);

/// A device that was not heard for so long is gone.
fn patience(scanning: Scanning) -> Duration {
    match scanning {
        // From one scan to the next there are up to 5 minutes.
        Scanning::Periodic => Duration::from_secs(330),
        Scanning::Continuous => Duration::from_secs(60),
    }
}

/// A device as it may be shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    /// A running number.
    pub(super) number: u64,
    /// Recent mean, in dB. The sender's power is encrypted until it reports, so this device's own stands in for it.
    pub(super) attenuation_db: u8,
    /// Recent mean, in dBm, as the adapter said.
    pub(super) rssi_dbm: i8,
    /// When it was last heard.
    pub(super) last_heard: Timestamp,
    /// Strength over time, in dBm, oldest first.
    pub(super) curve: Vec<(Timestamp, i8)>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Nearby {
    calibration: Calibration,
    patience: Duration,
    devices: BTreeMap<RollingProximityIdentifier, Heard>,
    own: VecDeque<RollingProximityIdentifier>,
    last_number: u64,
}

#[derive(Debug)]
struct Heard {
    number: u64,
    packets: u64,
    last: Timestamp,
    curve: VecDeque<Point>,
}

/// The mean of some packets.
#[derive(Debug, Default)]
struct Point {
    at: Timestamp,
    packets: u32,
    attenuation_sum: u32,
    rssi_sum: i32,
}

impl Nearby {
    pub(super) fn new(calibration: Calibration, scanning: Scanning) -> Self {
        let patience = patience(scanning);
        Self { calibration, patience, devices: BTreeMap::new(), own: VecDeque::new(), last_number: 0 }
    }

    /// Takes what the radio heard.
    pub(super) fn hear(&mut self, sightings: &[Sighting]) {
        for sighting in sightings {
            let rpi = sighting.frame.rpi;
            if !sighting.rssi.is_valid() || self.own.contains(&rpi) {
                continue;
            }
            if !self.devices.contains_key(&rpi) {
                self.make_room();
            }
            // See `Device::attenuation_db` for what the power assumes.
            let attenuation = self.calibration.attenuation(self.calibration.transmit_power, sighting.rssi, sighting.measured_by);
            let heard = self.devices.entry(rpi).or_insert_with(|| {
                self.last_number += 1;
                Heard { number: self.last_number, packets: 0, last: sighting.at, curve: VecDeque::new() }
            });
            heard.add(sighting, attenuation);
        }
    }

    /// This identifier is sent by this device.
    pub(super) fn is_own(&mut self, rpi: RollingProximityIdentifier) {
        if self.own.len() == MAX_OWN {
            self.own.pop_front();
        }
        self.own.push_back(rpi);
        self.devices.remove(&rpi);
    }

    /// Forgets everybody: their times are those of a clock that has been set since.
    pub(super) fn clear(&mut self) {
        self.devices.clear();
    }

    /// Who is near at `now`, the nearest first.
    pub(super) fn devices(&mut self, now: Timestamp) -> Vec<Device> {
        self.devices.retain(|_, heard| now.since(heard.last) <= self.patience);
        let mut devices: Vec<_> = self.devices.values().map(Heard::shown).collect();
        devices.sort_by_key(|device| (device.attenuation_db, device.number));
        devices
    }

    /// In a flood of identifiers the one goes that was heard least: somebody who stays is heard again and again.
    fn make_room(&mut self) {
        if self.devices.len() < MAX_DEVICES {
            return;
        }
        let least = self.devices.iter().min_by_key(|(_, heard)| (heard.packets, heard.last)).map(|(rpi, _)| *rpi);
        least.and_then(|rpi| self.devices.remove(&rpi));
    }
}

impl Heard {
    fn add(&mut self, sighting: &Sighting, attenuation: u8) {
        self.packets += 1;
        self.last = self.last.max(sighting.at);
        if self.curve.back().is_none_or(|point| sighting.at.since(point.at) >= POINT) {
            self.curve.push_back(Point { at: sighting.at, ..Point::default() });
        }
        let last = self.last;
        while self.curve.front().is_some_and(|point| last.since(point.at) > CURVE) {
            self.curve.pop_front();
        }
        if let Some(point) = self.curve.back_mut() {
            point.packets += 1;
            point.attenuation_sum += u32::from(attenuation);
            point.rssi_sum += i32::from(sighting.rssi.0);
        }
    }

    fn shown(&self) -> Device {
        let recent = self.curve.iter().filter(|point| self.last.since(point.at) <= RECENT);
        let mean = recent.fold(Point::default(), |sum, point| Point {
            at: point.at,
            packets: sum.packets + point.packets,
            attenuation_sum: sum.attenuation_sum + point.attenuation_sum,
            rssi_sum: sum.rssi_sum + point.rssi_sum,
        });
        Device {
            number: self.number,
            attenuation_db: mean.attenuation_db(),
            rssi_dbm: mean.rssi_dbm(),
            last_heard: self.last,
            curve: self.curve.iter().map(|point| (point.at, point.rssi_dbm())).collect(),
        }
    }
}

impl Point {
    fn attenuation_db(&self) -> u8 {
        (f64::from(self.attenuation_sum) / f64::from(self.packets.max(1))).round() as u8
    }

    fn rssi_dbm(&self) -> i8 {
        (f64::from(self.rssi_sum) / f64::from(self.packets.max(1))).round() as i8
    }
}

/// The same radio; what goes through it is seen by `nearby`, too.
pub(super) fn tapped(radio: Radio, nearby: &Arc<Mutex<Nearby>>) -> Radio {
    let scanner = radio.scanner.map(|inner| Box::new(Tap { inner, nearby: Arc::clone(nearby) }) as Box<dyn Scanner>);
    let advertiser = radio.advertiser.map(|inner| Box::new(Tap { inner, nearby: Arc::clone(nearby) }) as Box<dyn Advertiser>);
    Radio { scanner, advertiser }
}

/// Passes everything on.
struct Tap<R> {
    inner: R,
    nearby: Arc<Mutex<Nearby>>,
}

impl Scanner for Tap<Box<dyn Scanner>> {
    fn start(&mut self) -> Result<(), RadioError> {
        self.inner.start()
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn take(&mut self, heard: &mut Vec<Sighting>) -> Result<(), RadioError> {
        let before = heard.len();
        let taken = self.inner.take(heard);
        lock(&self.nearby).hear(heard.get(before..).unwrap_or_default());
        taken
    }

    fn set_services(&mut self, services: &[ServiceUuid]) {
        self.inner.set_services(services);
    }

    fn limits(&self) -> Vec<Limit> {
        self.inner.limits()
    }
}

impl Advertiser for Tap<Box<dyn Advertiser>> {
    fn advertise(&mut self, frame: Frame) -> Result<(), RadioError> {
        lock(&self.nearby).is_own(frame.rpi);
        self.inner.advertise(frame)
    }

    fn check(&mut self) -> Result<(), RadioError> {
        self.inner.check()
    }

    fn set_service(&mut self, service: ServiceUuid) {
        self.inner.set_service(service);
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn limits(&self) -> Vec<Limit> {
        self.inner.limits()
    }
}

/// A table is whole after every sighting, so a panic elsewhere spoils nothing.
pub(super) fn lock(nearby: &Mutex<Nearby>) -> MutexGuard<'_, Nearby> {
    nearby.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};
    use vigie::radio::{MeasuredBy, Rssi};

    use super::*;

    const START: Timestamp = Timestamp::from_unix_s(1_603_364_400);

    fn sighting(number: u32, seconds: u64, rssi: i8) -> Sighting {
        let mut rpi = [0; 16];
        rpi[..4].copy_from_slice(&number.to_le_bytes());
        let frame = Frame { rpi: RollingProximityIdentifier(rpi), aem: AssociatedEncryptedMetadata([0; 4]) };
        Sighting { frame, rssi: Rssi(rssi), measured_by: MeasuredBy::Us, at: START.after(Duration::from_secs(seconds)) }
    }

    fn nearby(scanning: Scanning) -> Nearby {
        Nearby::new(Calibration::default(), scanning)
    }

    #[test]
    fn who_is_heard_has_a_number_a_strength_and_a_curve_and_the_nearest_comes_first() {
        let mut nearby = nearby(Scanning::Continuous);
        nearby.hear(&[sighting(7, 0, -80), sighting(9, 1, -60), sighting(9, 2, -62), sighting(9, 40, -70), sighting(9, 41, 127)]);
        let devices = nearby.devices(START.after(Duration::from_secs(41)));
        assert_eq!(devices.iter().map(|device| device.number).collect::<Vec<_>>(), [2, 1]);
        // Of device 2 the last 30 seconds alone: -25 - (-70 + 4).
        assert_eq!((devices[0].attenuation_db, devices[0].rssi_dbm), (41, -70));
        let curve: Vec<_> = devices[0].curve.iter().map(|(at, rssi)| (at.since(START).as_secs(), *rssi)).collect();
        assert_eq!(curve, [(1, -61), (40, -70)]);
    }

    #[test]
    fn who_is_silent_goes_after_a_minute_or_after_the_longest_time_between_two_scans() {
        for (scanning, stays, goes) in [(Scanning::Continuous, 60, 61), (Scanning::Periodic, 304, 331)] {
            let mut nearby = nearby(scanning);
            nearby.hear(&[sighting(1, 0, -60)]);
            assert_eq!(nearby.devices(START.after(Duration::from_secs(stays))).len(), 1);
            assert_eq!(nearby.devices(START.after(Duration::from_secs(goes))).len(), 0);
        }
    }

    #[test]
    fn a_flood_neither_grows_the_table_nor_pushes_out_who_stays() {
        let mut nearby = nearby(Scanning::Continuous);
        nearby.hear(&[sighting(0, 0, -60), sighting(0, 1, -60)]);
        let flood: Vec<_> = (1..5_000).map(|number| sighting(number, 2, -50)).collect();
        nearby.hear(&flood);
        let devices = nearby.devices(START.after(Duration::from_secs(3)));
        assert_eq!(devices.len(), MAX_DEVICES);
        assert!(devices.iter().any(|device| device.number == 1));
    }

    #[test]
    fn a_curve_is_no_longer_than_an_identifier_lives() {
        let mut nearby = nearby(Scanning::Continuous);
        let day: Vec<_> = (0..86_400).map(|second| sighting(1, second, -60)).collect();
        nearby.hear(&day);
        let devices = nearby.devices(START.after(Duration::from_secs(86_400)));
        assert!(devices[0].curve.len() as u64 <= CURVE.as_secs() / POINT.as_secs() + 1, "{}", devices[0].curve.len());
    }

    #[test]
    fn what_this_device_sends_itself_is_nobody() {
        let mut nearby = nearby(Scanning::Continuous);
        nearby.hear(&[sighting(1, 0, -30)]);
        nearby.is_own(sighting(1, 0, -30).frame.rpi);
        nearby.hear(&[sighting(1, 1, -30)]);
        assert_eq!(nearby.devices(START), []);
    }
}
