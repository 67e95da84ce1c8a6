//! A simulated radio, through the tap, into the model and onto the screen.

use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use vigie::diagnosis::{DiagnosisKey, ExportHeader, SigningKey, write_export};
use vigie::radio::sim::{Air, AirModel, DeviceModel, Position, Track};
use vigie::tracer::simulation::Simulation;

use super::*;
use crate::commands::run::key_folder::KeyFolder;
use crate::commands::run::nearby::{self, Nearby, tapped};
use crate::commands::run::screen::{self, Look};

/// This computer and somebody one metre away, on one air.
struct Room {
    simulation: Simulation,
    tracer: Tracer,
    nearby: Arc<Mutex<Nearby>>,
    model: Model,
}

impl Room {
    fn new(authority: &SigningKey) -> Self {
        let air = Air::new(AirModel::default(), NOW, 7).unwrap();
        let at = |x_m| Track::still(Position::new(x_m, 0.0)).unwrap();
        let own = air.add_device(DeviceModel::default(), at(0.0)).unwrap();
        let other = air.add_device(DeviceModel::default(), at(1.0)).unwrap();
        let mut simulation = Simulation::new(air);
        simulation.add_phone(other, Config::default(), ChaCha20Rng::seed_from_u64(2)).unwrap();
        simulation.phones()[0].tracer.start();

        let mut config = Config::default();
        config.scanning = Scanning::Continuous;
        config.authority_keys.push(authority.public_key().clone());
        let nearby = Arc::new(Mutex::new(Nearby::new(config.calibration, config.scanning)));
        let radio = Radio { scanner: Some(Box::new(own.scanner())), advertiser: Some(Box::new(own.advertiser())) };
        let radio = tapped(radio, &nearby);
        let tracer = Tracer::open_in_memory(config, radio, own.clock(), ChaCha20Rng::seed_from_u64(1)).unwrap();
        tracer.start();
        Self { simulation, tracer, nearby, model: model() }
    }

    /// Lets time pass, and takes the news.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.simulation.run_until(self.simulation.now().after(Duration::from_secs(1))).unwrap();
            self.tracer.step().unwrap();
        }
        let now = self.simulation.now();
        while let Some(event) = self.tracer.next_event() {
            self.model.take(News::Told(event), now);
        }
        let devices = nearby::lock(&self.nearby).devices(now);
        self.model.take(seen(self.tracer.status().unwrap(), devices), now);
    }

    fn screen(&self) -> String {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let look = Look { is_help: false, scrolled: 0, has_colors: false };
        terminal.draw(|frame| screen::draw(frame, &self.model, look)).unwrap();
        terminal.backend().to_string()
    }
}

#[test]
fn who_stands_near_is_on_the_screen_and_so_is_the_exposure_once_they_report() {
    let authority = SigningKey::generate().unwrap();
    let mut room = Room::new(&authority);
    room.wait(120);
    let devices: Vec<_> = room.model.devices.iter().map(|device| (device.number, room.model.nearness(device))).collect();
    assert_eq!(devices, [(1, "immediate")], "the other device, and not this one");
    for part in ["tracing", "sends, listens; new identifier in", "Near now: 1", "device 1    immediate", "Exposures: none"] {
        assert!(room.screen().contains(part), "{part} is not in\n{}", room.screen());
    }

    room.wait(30 * 60);
    let now_near = room.model.devices.iter().map(|device| device.number).collect::<Vec<_>>();
    assert!(now_near.len() == 1 && now_near[0] > 1, "who has changed the identifier is another device: {now_near:?}");

    let folder = tempfile::tempdir().unwrap();
    let keys = room.simulation.phones()[0].tracer.release_keys().unwrap().into_iter();
    let keys: Vec<_> =
        keys.map(|key| DiagnosisKey { key, report_type: None, days_since_onset: Some(0), transmission_risk: 0 }).collect();
    fs::write(folder.path().join("keys.zip"), write_export(&ExportHeader::default(), &keys, &[], &authority).unwrap()).unwrap();
    fs::write(folder.path().join("bad.zip"), "no keys").unwrap();
    let mut folder = KeyFolder::new(folder.path());
    folder.look().unwrap();
    let report = room.tracer.check(&folder.look().unwrap().ready, |_| ControlFlow::Continue(())).unwrap();
    room.model.take(News::Checked(Box::new(report)), room.simulation.now());
    room.wait(1);
    let screen = room.screen();
    for part in [
        "Exposures: high risk",
        "very close together",
        "confirmed test",
        "bad.zip: refused: not a sound ZIP",
        "keys.zip: matched, 1 keys",
    ] {
        assert!(screen.contains(part), "{part} is not in\n{screen}");
    }
    let (matched, refused) = (room.model.key_files.matched, room.model.key_files.refused);
    assert_eq!((matched, refused), (1, 1));
    assert!(room.model.messages.iter().any(|(_, notice)| notice.to_string().starts_with("warning: risk high for 2020-10-22")));
}
