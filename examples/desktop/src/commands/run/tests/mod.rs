//! The model with made-up news, and a simulated radio through the tap; here what both and the screen's tests need.

mod model;
mod story;

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use vigie::diagnosis::ReportType;
use vigie::encounters::Packet;
use vigie::encounters::calibration::Calibration;
use vigie::exposure::{Assessment, Contact, Exposure, ExposureConfiguration, ExposureId, assess};
use vigie::radio::{MeasuredBy, Radio, Rssi};
use vigie::time::{ManualClock, Timestamp};
use vigie::tracer::{Config, Scanning, Status, Tracer, Tracing};

use super::model::{Model, News, Setup};
use super::nearby::Device;
use super::notice::Started;

/// 22 October 2020, 11:00 UTC.
pub(super) const NOW: Timestamp = Timestamp::from_unix_s(1_603_364_400);

pub(super) fn setup(scanning: Scanning) -> Setup {
    Setup {
        started: Started {
            version: "0.1.0",
            adapter: Some("hci0".into()),
            advertise_adapter: None,
            service_uuid: "0xFD64".into(),
            is_connectable: false,
            is_continuous: scanning == Scanning::Continuous,
            store: "store.db".into(),
            keys: Some("incoming".into()),
            server: None,
        },
        scanning,
        exposure: ExposureConfiguration::default(),
        hears: true,
        sends: true,
    }
}

pub(super) fn model() -> Model {
    Model::new(setup(Scanning::Continuous), NOW).0
}

/// Of a tracer that runs and does what it should.
pub(super) fn status() -> Status {
    let rng = ChaCha20Rng::seed_from_u64(1);
    let tracer = Tracer::open_in_memory(Config::default(), Radio::default(), ManualClock::new(NOW), rng).unwrap();
    let mut status = tracer.status().unwrap();
    (status.tracing, status.is_sending, status.is_listening) = (Tracing::Running, true, true);
    status.next_rotation = Some(Duration::from_secs(723));
    (status.encounters, status.encounters_today, status.own_keys) = (340, 12, 3);
    status
}

pub(super) fn seen(status: Status, devices: Vec<Device>) -> News {
    News::Seen(Box::new(status), devices)
}

/// Somebody who comes nearer and goes again, and was heard 12 s ago.
pub(super) fn device(number: u64, attenuation_db: u8) -> Device {
    let strength = |point: i64| -95 + (30 - (point - 30).abs()) as i8;
    let curve = (0..60).filter(|point| point % 13 != 0);
    let curve = curve.map(|point| (NOW.before(Duration::from_secs(300 - 5 * point as u64)), strength(point))).collect();
    let last_heard = NOW.before(Duration::from_secs(12));
    Device { number, attenuation_db, rssi_dbm: -29 - attenuation_db as i8, last_heard, curve }
}

/// Somebody was near for half an hour, one or more days ago.
pub(super) fn assessment(days_ago: &[u32], rssi: i8) -> Assessment {
    let contact = |at: Timestamp, minute: u64| Contact {
        transmit_power: -20,
        packets: vec![Packet { at: at.after(Duration::from_secs(60 * minute)), rssi: Rssi(rssi - (minute % 5) as i8) }],
        measured_by: MeasuredBy::Us,
        seconds_since_last_scan: Some(240),
        calibration: Calibration::default(),
    };
    let exposure = |days_ago: &u32| {
        let at = NOW.before(Duration::from_secs(86_400 * u64::from(*days_ago)));
        Exposure {
            id: ExposureId([*days_ago as u8; 16]),
            report_type: Some(ReportType::ConfirmedTest),
            days_since_onset: Some(0),
            contacts: (0..32).step_by(4).map(|minute| contact(at, minute)).collect(),
        }
    };
    let exposures: Vec<_> = days_ago.iter().map(exposure).collect();
    assess(&exposures, &ExposureConfiguration::default(), NOW.date(), &mut ChaCha20Rng::seed_from_u64(1))
}
