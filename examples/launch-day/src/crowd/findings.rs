//! What became of a crowd, as a table and for machines.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::overload::Overload;
use super::person::{NO_ANSWER, NO_CONNECTION, Outcome};
use super::proof::Proof;
use super::scene::Scene;
use crate::process::Spent;
use crate::{BAD, GOOD, QUIET};

/// Too much is waiting: the only refusal that there should be.
const BUSY: u16 = 503;

/// What became of a crowd. Times are in seconds; those that begin with `p` are a person's, from arrival to receipt, others count from the start.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    people: u32,
    arrival: String,
    /// How many the backend held when the clock started, where all are connected before. Nothing where it is not ours, or the system does not say it.
    pub(super) connections_held: Option<usize>,
    database: &'static str,
    pub(super) is_straightforward: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow_fsync_ms: Option<f64>,
    /// Built with optimisation: other figures say little.
    is_optimised: bool,
    /// Answers that said to come again.
    refused: usize,
    /// People without a receipt at the end.
    gave_up: usize,
    #[serde(flatten)]
    pub(super) proof: Proof,
    first_ack_s: f64,
    last_ack_s: f64,
    p50_s: f64,
    p99_s: f64,
    p999_s: f64,
    /// When the last person was done. Nothing where the server is not ours, or the system does not say it. PostgreSQL's own are not in it.
    server_cpu_s: Option<f64>,
    /// When all forms were opened and confirmed.
    server_cpu_in_all_s: Option<f64>,
    server_rss_mib: Option<f64>,
    /// How often there was each status; `no connection` and `no answer` where there was none.
    statuses: BTreeMap<String, usize>,
    /// The most attempts that somebody made.
    most_attempts: usize,
    pub(super) kills_s: Vec<f64>,
    /// How long it took until it served again, after each kill.
    pub(super) ready_s: Vec<f64>,
    /// When the pacer would have had those come again who gave up: the first and the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_s: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) overload: Option<Overload>,
    /// For the plot: when people came, got receipts, were refused and had no answer.
    #[serde(skip)]
    pub(super) times: Times,
}

/// Moments, in seconds from the start.
#[derive(Debug, Default)]
pub(super) struct Times {
    pub(super) arrived: Vec<f64>,
    pub(super) acknowledged: Vec<f64>,
    pub(super) refused: Vec<f64>,
    pub(super) failed: Vec<f64>,
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Findings {
    pub(super) fn new(scene: &Scene, has_postgres: bool, outcomes: &[Outcome], proof: Proof) -> Self {
        let (mut times, mut took, mut statuses) = (Times::default(), Vec::new(), BTreeMap::new());
        for outcome in outcomes {
            times.arrived.push(seconds(outcome.arrived_us));
            for (at, status) in &outcome.failed {
                *statuses.entry(name(*status)).or_default() += 1;
                if *status == BUSY { &mut times.refused } else { &mut times.failed }.push(seconds(*at));
            }
            if let Some((at, status, _)) = &outcome.acknowledged {
                *statuses.entry(status.to_string()).or_default() += 1;
                times.acknowledged.push(seconds(*at));
                took.push(seconds(at.saturating_sub(outcome.arrived_us)));
            }
        }
        took.sort_by(f64::total_cmp);
        let of =
            |share: f64| took.get(((took.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied().unwrap_or_default();
        let due = || outcomes.iter().filter_map(|outcome| outcome.due_us).map(seconds);
        Self {
            people: scene.people,
            arrival: scene.arrival.to_string(),
            connections_held: None,
            database: if has_postgres { "PostgreSQL" } else { "SQLite" },
            is_straightforward: false,
            slow_fsync_ms: None,
            is_optimised: !cfg!(debug_assertions),
            refused: times.refused.len(),
            gave_up: outcomes.len() - took.len(),
            proof,
            first_ack_s: times.acknowledged.iter().copied().min_by(f64::total_cmp).unwrap_or_default(),
            last_ack_s: times.acknowledged.iter().copied().max_by(f64::total_cmp).unwrap_or_default(),
            p50_s: of(0.5),
            p99_s: of(0.99),
            p999_s: of(0.999),
            server_cpu_s: None,
            server_cpu_in_all_s: None,
            server_rss_mib: None,
            statuses,
            most_attempts: outcomes
                .iter()
                .map(|outcome| outcome.failed.len() + usize::from(outcome.acknowledged.is_some()))
                .max()
                .unwrap_or_default(),
            kills_s: Vec::new(),
            ready_s: Vec::new(),
            due_s: due().min_by(f64::total_cmp).zip(due().max_by(f64::total_cmp)),
            overload: None,
            times,
        }
    }

    /// What the server had spent when the last person was done, and when all forms were opened and confirmed.
    pub(super) fn spent(&mut self, spent: Option<Spent>, in_all: Option<Spent>) {
        self.server_cpu_s = spent.map(|spent| spent.processor.as_secs_f64());
        self.server_cpu_in_all_s = in_all.map(|spent| spent.processor.as_secs_f64());
        self.server_rss_mib = spent.map(|spent| spent.peak_kib as f64 / 1_024.0);
    }

    /// One line that says what was played.
    pub(super) fn title(&self) -> String {
        format!("{} people, {}", self.people, self.arrival)
    }

    pub(super) fn tell(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let handler = if self.is_straightforward { ", one request a transaction" } else { "" };
        writeln!(out, "{}; vigie-backend with {}{handler}.", self.title(), self.database)?;
        if let Some(ms) = self.slow_fsync_ms {
            writeln!(out, "Each synchronisation of its disk takes {ms} ms longer.")?;
        }
        for (kill, ready) in self.kills_s.iter().zip(&self.ready_s) {
            writeln!(out, "Killed after {kill} s, it served again {ready:.2} s later.")?;
        }
        if !self.is_optimised {
            writeln!(out, "{BAD}Built without --release: the figures say little.{BAD:#}")?;
        }
        writeln!(out)?;
        if let Some(overload) = &self.overload {
            overload.tell(out)?;
        }
        self.tell_times(out)?;
        self.tell_proof(out)
    }

    fn tell_times(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let statuses: Vec<String> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        if let Some(held) = self.connections_held {
            writeln!(out, "  {:<42} {held:>10}", "held when the clock started")?;
        }
        writeln!(out, "  {:<42} {}", "answers by status", statuses.join(", "))?;
        writeln!(out, "  {:<42} {:>10}", "refused, and told when to come again", self.refused)?;
        writeln!(out, "  {:<42} {:>10}", "without a receipt at the end", self.gave_up)?;
        if let Some((first, last)) = self.due_s {
            writeln!(out, "  {QUIET}they would have come again {first:.0} s to {last:.0} s after the start{QUIET:#}")?;
        }
        writeln!(out, "  {:<42} {:>10}", "most attempts of one person", self.most_attempts)?;
        for (name, value) in [
            ("first receipt, from the start", self.first_ack_s),
            ("last receipt, from the start", self.last_ack_s),
            ("half waited less than", self.p50_s),
            ("99 of 100 waited less than", self.p99_s),
            ("999 of 1,000 waited less than", self.p999_s),
        ] {
            writeln!(out, "  {name:<42} {value:>10.3} s")?;
        }
        if let (Some(cpu), Some(rss)) = (self.server_cpu_s, self.server_rss_mib) {
            writeln!(out, "  {:<42} {cpu:>10.2} s", "processor time of the server")?;
            if let Some(in_all) = self.server_cpu_in_all_s {
                writeln!(out, "  {:<42} {in_all:>10.2} s", "the same when all forms were opened")?;
            }
            writeln!(out, "  {:<42} {rss:>10.1} MiB", "memory of the server, at most")?;
        }
        Ok(())
    }

    fn tell_proof(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let proof = &self.proof;
        let database = proof.sign_ups.map_or("the database was not read".into(), |rows| format!("{rows} in the database"));
        writeln!(
            out,
            "\n  {:<42} {:>10}  {QUIET}{database}; {} asked again{QUIET:#}",
            "receipts", proof.acknowledged, proof.asked_again
        )?;
        for (name, wrong) in [
            ("acknowledged and lost", proof.lost),
            ("half registrations", proof.half),
            ("changed receipts", proof.changed_receipts),
            ("places given twice", proof.places_twice),
            ("places out of order", proof.out_of_order),
        ] {
            let style = if wrong == 0 { GOOD } else { BAD };
            writeln!(out, "  {name:<42} {style}{wrong:>10}{style:#}")?;
        }
        writeln!(out)?;
        if !proof.is_good() {
            writeln!(out, "{BAD}Something was lost, half, changed or given twice.{BAD:#}")?;
        } else if self.gave_up > 0 {
            writeln!(
                out,
                "{BAD}{} people have no receipt{BAD:#}; nothing was lost, half, changed or given twice.",
                self.gave_up
            )?;
        } else {
            writeln!(out, "{GOOD}Everybody has a receipt; nothing was lost, half, changed or given twice.{GOOD:#}")?;
        }
        Ok(())
    }
}

fn name(status: u16) -> String {
    match status {
        NO_CONNECTION => "no connection".into(),
        NO_ANSWER => "no answer".into(),
        status => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scene::Arrival;
    use super::*;

    #[test]
    fn times_are_a_persons_own_and_every_answer_is_counted() {
        let scene = Scene { people: 3, parts: 1, arrival: Arrival::Within(Duration::from_secs(1)) };
        let acknowledged = |at| Some((at, 201, "{}".to_owned()));
        let outcomes = [
            Outcome { arrived_us: 500_000, acknowledged: acknowledged(600_000), ..Outcome::default() },
            Outcome {
                arrived_us: 100_000,
                failed: vec![(200_000, 503), (300_000, 0)],
                acknowledged: acknowledged(2_100_000),
                due_us: None,
            },
            Outcome { failed: vec![(400_000, 500)], due_us: Some(700_000_000), ..Outcome::default() },
        ];
        let found = Findings::new(&scene, false, &outcomes, Proof { acknowledged: 2, ..Proof::default() });
        let json = serde_json::to_value(&found).unwrap();
        for (member, expected) in [("refused", 1), ("gave_up", 1), ("acknowledged", 2), ("lost", 0), ("most_attempts", 3)] {
            assert_eq!(json[member], expected, "{member}");
        }
        for (member, expected) in [("first_ack_s", 0.6), ("last_ack_s", 2.1), ("p50_s", 0.1), ("p999_s", 2.0)] {
            assert_eq!(json[member], expected, "{member}");
        }
        assert_eq!(json["statuses"], serde_json::json!({"201": 2, "500": 1, "503": 1, "no connection": 1}));
        assert_eq!(json["due_s"], serde_json::json!([700.0, 700.0]));
        let mut out = anstream::StripStream::new(Vec::new());
        found.tell(&mut out).unwrap();
        let text = String::from_utf8(out.into_inner()).unwrap();
        assert!(text.contains("1 people have no receipt; nothing was lost") && text.contains("700 s to 700 s"), "{text}");
    }
}
