//! The town's people with their phones on one air, through its days; and what the phones say in the end, held against the truth.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vigie::diagnosis::PublicKey;
use vigie::encounters::calibration::Calibration;
use vigie::exposure::{ExposureConfiguration, ExposureParameters};
use vigie::radio::sim::{Air, AirModel, DeviceModel};
use vigie::time::{Date, Timestamp};
use vigie::tracer::simulation::{Phone, Simulation};
use vigie::tracer::{Config, Event};

use super::town::{self, Person};
use super::truth::{self, Relation, Truth};
use super::{DemoArgs, Outcome, Verdict};
use crate::progress::Progress;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Phones are switched on when it is the first day by all their clocks.
const SWITCH_ON: Duration = Duration::from_secs(600);

/// The test comes back at 21:00 on the last day.
const DIAGNOSIS: Duration = Duration::from_secs(21 * 3600);

/// A town that lives.
pub(super) struct Life {
    start: Timestamp,
    days: u32,
    people: Vec<Person>,
    /// Who will test positive.
    patient: usize,
    simulation: Simulation,
}

impl Life {
    /// Gives everybody a phone that traces. What each phone believes of its radio and where its chance comes from are arguments: `chance` is given a
    /// source that follows from the seed.
    pub(super) fn begin(
        args: &DemoArgs,
        start: Timestamp,
        authority_keys: &[PublicKey],
        calibration: impl Fn(&DeviceModel) -> Calibration,
        chance: impl Fn(ChaCha20Rng) -> anyhow::Result<ChaCha20Rng>,
    ) -> anyhow::Result<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(args.seed);
        let people = town::people(args.people, args.days, start, &mut rng)?;
        let exposure = exposure_configuration()?;
        let mut simulation = Simulation::new(Air::new(AirModel::default(), start.after(SWITCH_ON), rng.next_u64())?);
        for person in &people {
            let device = simulation.add_device(person.model, person.track.clone())?;
            let mut config = Config::default();
            config.calibration = calibration(&person.model);
            config.exposure = exposure.clone();
            config.authority_keys = authority_keys.to_vec();
            let number = simulation.add_phone(device, config, chance(ChaCha20Rng::from_rng(&mut rng))?)?;
            simulation.phones()[number].tracer.start();
        }
        let patient = rng.random_range(0..people.len());
        Ok(Self { start, days: args.days, people, patient, simulation })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.simulation.now()
    }

    pub(super) fn phones(&self) -> &[Phone] {
        self.simulation.phones()
    }

    /// The phone of the person who tests positive.
    pub(super) fn patient(&self) -> &Phone {
        &self.simulation.phones()[self.patient]
    }

    /// When the test comes back.
    pub(super) fn diagnosis(&self) -> Timestamp {
        self.start.after(DAY * (self.days - 1) + DIAGNOSIS)
    }

    /// Lets time pass in the town.
    pub(super) fn live_until(&mut self, end: Timestamp) -> anyhow::Result<()> {
        let hours = end.since(self.now()).as_secs().div_ceil(HOUR.as_secs());
        let mut progress = Progress::of_steps(hours, "hours in the town");
        while self.now() < end {
            self.simulation.run_until(self.now().after(HOUR).min(end))?;
            progress.advance(1);
        }
        Ok(())
    }

    /// What every phone says by now, against the truth. How keys came to the phones is the caller's to add.
    pub(super) fn outcome(&self) -> anyhow::Result<Outcome> {
        let (mut rotations, mut encounters) = (0, 0);
        for phone in self.phones() {
            encounters += phone.tracer.status()?.encounters;
            rotations += std::iter::from_fn(|| phone.tracer.next_event()).filter(|e| matches!(e, Event::Rotated { .. })).count();
        }
        let verdicts = self.people.iter().zip(self.phones()).map(|(person, phone)| self.verdict(person, phone));
        let mut everybody = verdicts.collect::<anyhow::Result<Vec<_>>>()?;
        // Nobody is a contact of oneself: the own keys never match.
        let own = everybody.remove(self.patient);
        everybody.sort_by(|a, b| a.nearest_m.total_cmp(&b.nearest_m));
        Ok(Outcome {
            patient: own.name,
            days: (0..self.days).map(|day| self.start.after(DAY * day).date().to_string()).collect(),
            rotations,
            encounters,
            keys_published: 0,
            keys_of_patient: 0,
            server: None,
            agrees: !own.warned && everybody.iter().all(|verdict| verdict.is_right != Some(false)),
            everybody,
        })
    }

    fn verdict(&self, person: &Person, phone: &Phone) -> anyhow::Result<Verdict> {
        let alert_level = exposure_configuration()?.alert_level;
        let assessment = phone.tracer.assessment()?;
        let warned = !phone.tracer.alerts()?.is_empty();
        let truth = truth::between(&self.people[self.patient].track, &person.track, self.start, self.now());
        let reasons = assessment.explanation.iter().filter(|day| day.level >= alert_level);
        Ok(verdict(person, truth, warned, reasons.map(ToString::to_string).collect()))
    }
}

/// The day on which the symptoms of whoever tests positive began: the latest one for which all days of the town are infectious ones.
pub(super) fn onset(start: Timestamp, days: u32) -> Date {
    start.after(DAY * (days - 1).min(2)).date()
}

/// What this town's health authority counts: what is as strong as within about 2 m, by phones in pockets. Body and pocket take 14 dB in all,
/// so 1 m is at 54 dB, 2 m at 60 and 5 m at 68.
fn exposure_configuration() -> anyhow::Result<ExposureConfiguration> {
    let parameters = ExposureParameters {
        attenuation_thresholds_db: [55, 65, 75],
        bucket_weights: [1.0, 1.0, 0.0, 0.0],
        ..Default::default()
    };
    Ok(ExposureConfiguration::new(parameters)?)
}

fn verdict(person: &Person, truth: Truth, warned: bool, explanation: Vec<String>) -> Verdict {
    let (relation, is_right) = match truth.relation {
        Relation::Contact => ("contact", Some(warned)),
        Relation::Between => ("between", None),
        Relation::Stranger => ("stranger", Some(!warned)),
    };
    Verdict {
        name: person.name.clone(),
        relation,
        minutes_within_2_m: truth.near.as_secs() / 60,
        nearest_m: truth.nearest_m,
        warned,
        explanation,
        is_right,
    }
}
