//! What each step does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use vigie_ffi::{
    Event, ManualClock, RadioProblem, ReportDetails, ReportState, RiskLevel, ScanResult, StorageProblem, VigieError, live_objects,
};

use crate::clocks::Control;
use crate::phone::Phone;
use crate::vault::MemoryVault;

/// What comes later than this does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;

pub(crate) struct World {
    control: Control,
    folder: PathBuf,
    scene: Option<String>,
    phones: BTreeMap<String, Phone>,
}

impl World {
    pub(crate) fn new(control: String, folder: PathBuf) -> Self {
        Self { control: Control::new(control), folder, scene: None, phones: BTreeMap::new() }
    }

    pub(crate) async fn step(&mut self, step: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words.as_slice() {
            ["scene", name @ ..] => self.begin_scene(name.join(" ")).await,
            ["phone", name, options @ ..] => self.open(name, options).await,
            ["start", name, expected @ ..] => self.start(name, expected).await,
            ["stop", name] => {
                let phone = self.phone(name)?;
                phone.is_running = false;
                Ok(phone.tracer.stop().await?)
            }
            ["together", minutes, "min"] => self.together(minutes.parse()?).await,
            ["apart", hours, "h"] => self.apart(hours.parse()?).await,
            ["report", name] => self.report(name).await,
            ["sync", name, expected @ ..] => self.sync(name, expected).await,
            ["backend", "publishes"] => self.control.post("/publish").await.map(drop),
            ["backend", how @ ("down" | "up")] => self.control.post(&format!("/{how}")).await.map(drop),
            ["radio", name, how @ ("off" | "on")] => {
                self.phone(name)?.radio.switch(*how == "off");
                Ok(())
            }
            ["disk", name, how @ ("full" | "free")] => {
                let path = format!("/disk?folder={}&full={}", self.phone(name)?.folder.display(), *how == "full");
                self.control.post(&path).await.map(drop)
            }
            ["reopen", name, options @ ..] => self.reopen(name, options).await,
            ["erase", name] => {
                let phone = self.phone(name)?;
                phone.is_running = false;
                ensure!(!phone.tracer.erase_everything().await?, "somebody else reads the store");
                Ok(())
            }
            [name, expected @ ..] => self.expect(name, expected).await,
            [] => Ok(()),
        }
    }

    async fn begin_scene(&mut self, name: String) -> anyhow::Result<()> {
        self.end_scene().await?;
        self.scene = Some(name);
        Ok(())
    }

    /// Whatever was opened is ended, and nothing of it is left.
    pub(crate) async fn end_scene(&mut self) -> anyhow::Result<()> {
        for (_, phone) in std::mem::take(&mut self.phones) {
            let folder = phone.folder.clone();
            phone.close().await?;
            std::fs::remove_dir_all(folder)?;
        }
        let Some(scene) = self.scene.take() else { return Ok(()) };
        let start = Instant::now();
        while live_objects() > 0 {
            ensure!(start.elapsed() < PATIENCE, "{} objects are left", live_objects());
            tokio::time::sleep(LOOK).await;
        }
        say(&format!("scene {scene} ok"));
        Ok(())
    }

    async fn open(&mut self, name: &str, options: &[&str]) -> anyhow::Result<()> {
        let options = options.join(" ");
        let servers = if options.contains("with servers") { Some(self.control.get("/client.json").await?) } else { None };
        let vault = options.contains("sealed").then(|| Arc::new(MemoryVault::new()));
        let clock = ManualClock::new(self.control.now().await?);
        let phone = Phone::open(self.folder.join(name), servers, clock, vault).await?;
        self.phones.insert(name.to_owned(), phone);
        Ok(())
    }

    async fn reopen(&mut self, name: &str, options: &[&str]) -> anyhow::Result<()> {
        let before = self.phones.remove(name).context("there is no such phone")?;
        let (folder, servers, clock) = (before.folder.clone(), before.servers.clone(), Arc::clone(&before.clock));
        let is_lost = options.join(" ").contains("with lost key");
        let vault = if is_lost { Some(Arc::new(MemoryVault::new())) } else { before.vault.clone() };
        before.close().await?;
        self.phones.insert(name.to_owned(), Phone::open(folder, servers, clock, vault).await?);
        Ok(())
    }

    async fn start(&mut self, name: &str, expected: &[&str]) -> anyhow::Result<()> {
        let phone = self.phone(name)?;
        let started = phone.tracer.start().await;
        phone.is_running = true;
        match (started, expected) {
            (Ok(()), [])
            | (Err(VigieError::AdapterUnavailable), ["fails", "adapter", "unavailable"])
            | (Err(VigieError::Storage { problem: StorageProblem::Full }), ["fails", "storage", "full"]) => Ok(()),
            (found, _) => bail!("found {found:?}"),
        }
    }

    async fn report(&mut self, name: &str) -> anyhow::Result<()> {
        let code = self.control.post("/code").await?;
        let phone = self.phone(name)?;
        phone.report = Some(phone.tracer.report(code, ReportDetails::default()).await?);
        Ok(())
    }

    async fn sync(&mut self, name: &str, expected: &[&str]) -> anyhow::Result<()> {
        let synced = self.phone(name)?.tracer.sync(None, true).await;
        match (synced, expected) {
            (Ok(_), []) | (Err(VigieError::RetryAfter { .. }), ["fails", "retry", "after"]) => Ok(()),
            (found, _) => bail!("found {found:?}"),
        }
    }

    /// Everybody near everybody, for so many minutes.
    async fn together(&mut self, minutes: u64) -> anyhow::Result<()> {
        for _ in 0..minutes / 5 {
            let scans: BTreeMap<_, _> =
                self.phones.iter().map(|(name, phone)| (name.clone(), phone.radio.lock().scans)).collect();
            self.advance(5 * MINUTE_MS).await?;
            for (name, phone) in self.phones.iter().filter(|(_, phone)| phone.is_running) {
                wait(&format!("{name} does not scan"), async || Ok(phone.radio.lock().scans > scans[name])).await?;
            }
            self.hear().await?;
            self.advance(5 * SECOND_MS).await?;
            for (name, phone) in self.phones.iter().filter(|(_, phone)| phone.is_running) {
                wait(&format!("{name} scans on"), async || Ok(!phone.radio.lock().is_scanning)).await?;
            }
        }
        Ok(())
    }

    async fn hear(&mut self) -> anyhow::Result<()> {
        let now = self.control.now().await?;
        let sent: Vec<_> = self.phones.iter().map(|(name, phone)| (name.clone(), phone.radio.lock().sent.clone())).collect();
        for (name, phone) in self.phones.iter().filter(|(_, phone)| phone.radio.lock().is_scanning) {
            let others = sent.iter().filter(|(other, _)| other != name).filter_map(|(_, sent)| sent.clone());
            let results = others.flat_map(|advertisement| {
                (0..4).map(move |second| ScanResult {
                    service_data: advertisement.service_data.clone(),
                    rssi: -55,
                    at_ms: now + 1_000 * second,
                    peer: None,
                })
            });
            phone.radio.hear(results.collect());
        }
        Ok(())
    }

    async fn apart(&mut self, hours: u64) -> anyhow::Result<()> {
        for _ in 0..hours {
            self.advance(60 * MINUTE_MS).await?;
            // Each does what is due in this hour.
            for phone in self.phones.values() {
                // A store that is full now says so where it is asked for.
                let _ = phone.tracer.status().await;
            }
        }
        Ok(())
    }

    async fn advance(&mut self, ms: u64) -> anyhow::Result<()> {
        self.control.post(&format!("/advance?ms={ms}")).await?;
        for phone in self.phones.values_mut() {
            phone.clock.advance(ms);
            phone.tracer.wake();
        }
        Ok(())
    }

    async fn expect(&mut self, name: &str, expected: &[&str]) -> anyhow::Result<()> {
        match expected {
            ["report", "done"] => self.report_done(name).await,
            ["report", "waiting"] => {
                let state = self.report_state(name).await?;
                ensure!(!matches!(state, ReportState::Done { .. } | ReportState::Refused { .. }), "found {state:?}");
                Ok(())
            }
            ["alert", "high"] => {
                let phone = self.phone(name)?;
                wait("there is no high alert", async || {
                    Ok(phone.tracer.alerts().await?.iter().any(|alert| alert.level == RiskLevel::High))
                })
                .await
            }
            ["no", "alert"] => {
                ensure!(self.phone(name)?.tracer.alerts().await?.is_empty(), "there is an alert");
                Ok(())
            }
            ["told", event] => self.told(name, event).await,
            ["radio", "problem", expected @ ..] => {
                let problem = self.phone(name)?.tracer.status().await?.radio_problem;
                let expected = if expected == ["none"] { None } else { Some(RadioProblem::PoweredOff) };
                ensure!(problem == expected, "found {problem:?}");
                Ok(())
            }
            ["encounters", least] => {
                let least: u64 = least.trim_end_matches('+').parse()?;
                let phone = self.phone(name)?;
                wait(&format!("not {least} encounters"), async || Ok(phone.tracer.status().await?.encounters >= least)).await
            }
            _ => bail!("nobody knows this step"),
        }
    }

    async fn report_state(&mut self, name: &str) -> anyhow::Result<ReportState> {
        let phone = self.phone(name)?;
        let reports = phone.tracer.reports().await?;
        let report = reports.into_iter().find(|report| Some(report.id) == phone.report);
        Ok(report.context("there is no such report")?.state)
    }

    /// Lets time pass meanwhile: the steps of a report have gaps between them.
    async fn report_done(&mut self, name: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            match self.report_state(name).await? {
                ReportState::Done { .. } => return Ok(()),
                state => ensure!(start.elapsed() < PATIENCE, "found {state:?}"),
            }
            self.advance(5 * SECOND_MS).await?;
            tokio::time::sleep(5 * LOOK).await;
        }
    }

    /// Lets time pass meanwhile: a radio that failed is tried again in some seconds.
    async fn told(&mut self, name: &str, event: &str) -> anyhow::Result<()> {
        let is_meant = |found: &Event| word(found) == event;
        let start = Instant::now();
        while !self.phone(name)?.was_told(is_meant) {
            ensure!(start.elapsed() < PATIENCE, "was not told");
            self.advance(5 * SECOND_MS).await?;
            tokio::time::sleep(5 * LOOK).await;
        }
        Ok(())
    }

    fn phone(&mut self, name: &str) -> anyhow::Result<&mut Phone> {
        self.phones.get_mut(name).with_context(|| format!("there is no phone {name}"))
    }
}

async fn wait(otherwise: &str, holds: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let start = Instant::now();
    while !holds().await? {
        ensure!(start.elapsed() < PATIENCE, "{otherwise}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn word(event: &Event) -> &'static str {
    match event {
        Event::RadioFailed { .. } => "radio_failed",
        Event::RadioResumed => "radio_resumed",
        Event::KeysLost => "keys_lost",
        Event::Rotated { .. } => "rotated",
        Event::ReportChanged { .. } => "report_changed",
        Event::AlertRaised { .. } => "alert_raised",
        Event::Erased => "erased",
        Event::StoreRecovered { .. } => "store_recovered",
        _ => "other",
    }
}

#[expect(clippy::print_stdout, reason = "what an interpreter is asked for")]
fn say(text: &str) {
    println!("{text}");
}
