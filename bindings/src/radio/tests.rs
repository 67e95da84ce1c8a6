use std::sync::Mutex;
use std::time::Duration;

use vigie::beacon::{Frame, Rssi};
use vigie::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};

use super::*;
use crate::clock::{AppClock, ManualClock};

/// Keeps its sink, and what it was asked to exchange.
#[derive(Default)]
struct FakeRadio {
    sink: Mutex<Option<Arc<RadioSink>>>,
    exchanges: Mutex<Vec<(u16, usize)>>,
}

impl Radio for FakeRadio {
    fn attach(&self, sink: Arc<RadioSink>) {
        *self.sink.lock().unwrap() = Some(sink);
    }

    fn detach(&self) {
        *self.sink.lock().unwrap() = None;
    }

    fn start_scanning(&self, _: Vec<u16>) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop_scanning(&self) {}

    fn advertise(&self, _: Advertisement) -> Result<(), RadioError> {
        Ok(())
    }

    fn stop_advertising(&self) {}

    fn exchange(&self, _: String, service: u16, write_back: Vec<u8>) -> Result<Vec<u8>, RadioError> {
        self.exchanges.lock().unwrap().push((service, write_back.len()));
        Ok(encode_payload(frame(9)).to_vec())
    }
}

fn frame(byte: u8) -> Frame {
    Frame { rpi: RollingProximityIdentifier([byte; 16]), aem: AssociatedEncryptedMetadata([byte; 4]) }
}

/// A radio in use, and its clock.
fn in_use() -> (Arc<FakeRadio>, vigie::radio::Radio, Arc<ManualClock>, Arc<RadioSink>) {
    let (radio, clock) = (Arc::new(FakeRadio::default()), ManualClock::new(1_603_389_600_000));
    let app_clock = Arc::new(AppClock::App(clock.clone()));
    let halves = halves(radio.clone(), app_clock, Arc::default()).unwrap();
    let sink = radio.sink.lock().unwrap().clone().unwrap();
    (radio, halves, clock, sink)
}

#[test]
fn a_frame_from_before_a_sleep_is_told_to_nobody() {
    let (_, mut halves, clock, sink) = in_use();
    let advertiser = halves.advertiser.as_mut().unwrap();
    assert!(sink.payload().is_empty());
    advertiser.advertise(frame(1)).unwrap();
    clock.advance(20 * 60_000);
    assert_eq!(sink.payload(), encode_payload(frame(1)));
    clock.advance(1);
    assert!(sink.payload().is_empty());
    advertiser.advertise(frame(2)).unwrap();
    assert_eq!(sink.payload(), encode_payload(frame(2)));
    advertiser.stop();
    assert!(sink.payload().is_empty());
}

#[test]
fn a_peer_is_read_by_who_sends_nothing_and_written_to_by_who_does() {
    let (radio, mut halves, _, sink) = in_use();
    let heard =
        |peer: &str| ScanResult { service_data: Vec::new(), rssi: -60, at_ms: 1_603_389_600_000, peer: Some(peer.into()) };
    let mut sightings = Vec::new();
    let mut wait_for = |halves: &mut vigie::radio::Radio, count: usize| {
        for _ in 0..10_000 {
            halves.scanner.as_mut().unwrap().take(&mut sightings).unwrap();
            if sightings.len() == count {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        unreachable!("{} of {count} sightings", sightings.len());
    };
    sink.heard(vec![heard("a")]);
    wait_for(&mut halves, 1);
    halves.advertiser.as_mut().unwrap().advertise(frame(1)).unwrap();
    sink.heard(vec![heard("b")]);
    wait_for(&mut halves, 2);
    let exchanges = radio.exchanges.lock().unwrap().clone();
    let written = WriteBack { frame: frame(1), rssi: Rssi(-60) }.encode().len();
    assert_eq!(exchanges, [(0xFD64, 0), (0xFD64, written)]);
    drop(halves);
    assert!(radio.sink.lock().unwrap().is_none(), "it is let go of");
}

#[test]
fn whatever_an_app_hands_in_as_heard_harms_nobody() {
    let (radio, clock) = (Arc::new(FakeRadio::default()), ManualClock::new(1_603_389_600_000));
    let app_clock = Arc::new(AppClock::App(clock.clone()));
    let halves = halves(radio.clone(), Arc::clone(&app_clock), Arc::default()).unwrap();
    let chance = crate::tracer::chance().unwrap();
    let tracer = vigie::tracer::Tracer::open_in_memory(vigie::tracer::Config::default(), halves, app_clock, chance).unwrap();
    tracer.start();
    tracer.step().unwrap();
    let sink = radio.sink.lock().unwrap().clone().unwrap();
    for length in 0..64 {
        for (rssi, at_ms) in [(i8::MIN, i64::MIN), (i8::MAX, i64::MAX), (0, 0), (-60, -1), (-60, 1_603_389_600_000)] {
            let peer = (length % 3 == 0).then(|| "p".repeat(length));
            sink.heard(vec![ScanResult { service_data: vec![7; length], rssi, at_ms, peer }]);
            let written = sink.wrote(vec![7; length], at_ms);
            assert!(written.is_ok() || matches!(written, Err(VigieError::InputInvalid { input: Input::Bytes })));
        }
        clock.advance(5_000);
        tracer.step().unwrap();
    }
    clock.advance(600_000);
    tracer.step().unwrap();
    assert!(tracer.status().unwrap().encounters > 0, "the sound ones are kept");
}
