//! What was measured, as a table.

use std::io::Write;

use serde::Serialize;

use super::LoadArgs;
use super::reports::KEYS;
use super::round::Row;
use crate::backend::Setup;
use crate::{BAD, GOOD, QUIET};

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    database: &'static str,
    connections: u16,
    /// So much longer took each synchronisation of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_fsync_ms: Option<f64>,
    /// Built with optimisation: other figures say little.
    is_optimised: bool,
    pub(super) rows: Vec<Row>,
    /// Reports in a second in groups, for each one with one request in a transaction.
    pub(super) times: Option<f64>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// The most that the backend held, in groups.
    pub(super) memory_after_reports_kib: Option<u64>,
    /// The same when it had published, and after the downloads.
    pub(super) memory_at_the_end_kib: Option<u64>,
    pub(super) skipped: Vec<String>,
}

impl Findings {
    pub(super) fn new(args: &LoadArgs, setup: &Setup) -> Self {
        Self {
            database: if setup.database.is_some() { "PostgreSQL" } else { "SQLite" },
            connections: args.connections,
            slow_fsync_ms: args.slow_fsync.map(|time| time.as_secs_f64() * 1_000.0),
            is_optimised: !cfg!(debug_assertions),
            rows: Vec::new(),
            times: None,
            at_least: args.at_least,
            memory_after_reports_kib: None,
            memory_at_the_end_kib: None,
            skipped: Vec::new(),
        }
    }

    /// Reports in a second, with one request in a transaction and in groups. Nothing can be compared with none.
    pub(super) fn compare(&mut self, alone: f64, together: f64) {
        self.times = (alone > 0.0).then(|| together / alone);
    }

    /// Whether everything was answered, and groups are worth as much as was asked for.
    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.failed == 0) && !self.is_too_slow()
    }

    fn is_too_slow(&self) -> bool {
        self.at_least.is_some_and(|least| self.times.is_none_or(|times| times < least))
    }

    pub(super) fn tell(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Self { database, connections, rows, .. } = self;
        writeln!(
            out,
            "vigie-backend with {database}, {connections} connections of this machine. A report is verify, certificate"
        )?;
        writeln!(out, "and publish of {KEYS} keys; each request waits for the answer to the one before.")?;
        if let Some(ms) = self.slow_fsync_ms {
            writeln!(out, "Each synchronisation of the disk took {ms} ms longer.")?;
        }
        if !self.is_optimised {
            writeln!(out, "{BAD}Built without --release: the figures say little.{BAD:#}")?;
        }
        writeln!(out, "\n  {:<38} {:>9} {:>11} {:>9} {:>9} {:>7}", "", "a second", "requests/s", "p50 ms", "p99 ms", "failed")?;
        for Row { name, per_second, requests_per_second, p50_ms, p99_ms, failed, .. } in rows {
            let style = if *failed == 0 { QUIET } else { BAD };
            write!(out, "  {name:<38} {per_second:>9.0} {requests_per_second:>11.0} {p50_ms:>9.2} {p99_ms:>9.2}")?;
            writeln!(out, " {style}{failed:>7}{style:#}")?;
        }
        writeln!(out)?;
        self.tell_memory(out)?;
        self.tell_comparison(out)?;
        for skipped in &self.skipped {
            writeln!(out, "  {QUIET}skipped{QUIET:#} {skipped}")?;
        }
        for (row, failure) in rows.iter().filter_map(|row| Some((row, row.failure.as_ref()?))) {
            writeln!(out, "{BAD}{} of {} failed{BAD:#}; the first: {failure}", row.failed, row.name)?;
        }
        Ok(())
    }

    fn tell_memory(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let (Some(reports), Some(end)) = (self.memory_after_reports_kib, self.memory_at_the_end_kib) else {
            writeln!(out, "  {QUIET}skipped{QUIET:#} memory: this system does not tell it")?;
            return Ok(());
        };
        let (reports, end) = (size(reports << 10), size(end << 10));
        writeln!(out, "  Memory of the backend at most: {reports} after the reports, {end} after publishing and downloads.")?;
        Ok(())
    }

    fn tell_comparison(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let Some(times) = self.times else {
            writeln!(out, "  {BAD}Groups cannot be compared: there was no report without them.{BAD:#}")?;
            return Ok(());
        };
        write!(out, "  Groups carry {times:.1} times the reports of one request in a transaction")?;
        match self.at_least {
            None => writeln!(out, ".")?,
            Some(least) if self.is_too_slow() => writeln!(out, ": {BAD}fewer than {least} times{BAD:#}.")?,
            Some(least) => writeln!(out, ": {GOOD}at least {least} times{GOOD:#}.")?,
        }
        Ok(())
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(failed: usize, times: Option<f64>, at_least: Option<f64>) -> Findings {
        let row = Row {
            name: "reports".into(),
            done: 10,
            failed,
            failure: (failed > 0).then(|| "no answer".to_owned()),
            seconds: 1.0,
            per_second: 10.0,
            requests_per_second: 30.0,
            p50_ms: 1.5,
            p99_ms: 2.5,
        };
        Findings {
            database: "SQLite",
            connections: 1,
            slow_fsync_ms: None,
            is_optimised: true,
            rows: vec![row],
            times,
            at_least,
            memory_after_reports_kib: Some(10_240),
            memory_at_the_end_kib: Some(20_480),
            skipped: vec!["through nginx: no".into()],
        }
    }

    fn told(findings: &Findings) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        findings.tell(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn what_failed_or_is_too_slow_is_not_good_and_is_told() {
        let good = findings(0, Some(6.0), Some(5.0));
        assert!(good.is_good());
        let text = told(&good);
        for expected in ["6.0 times", "at least 5 times", "10.0 MiB after the reports, 20.0 MiB", "skipped through nginx: no"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let slow = findings(0, Some(4.9), Some(5.0));
        assert!(!slow.is_good() && told(&slow).contains("fewer than 5 times"));
        assert!(findings(0, Some(0.5), None).is_good());
        assert!(!findings(0, None, Some(5.0)).is_good());
        let failed = findings(3, Some(6.0), None);
        assert!(!failed.is_good() && told(&failed).contains("3 of reports failed; the first: no answer"));
    }

    #[test]
    fn nothing_is_compared_with_no_report() {
        let mut found = findings(0, None, None);
        found.compare(0.0, 10.0);
        assert_eq!(found.times, None);
        found.compare(2.0, 10.0);
        assert_eq!(found.times, Some(5.0));
    }
}
