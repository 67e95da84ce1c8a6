//! What is done about reports and decoys: making them, sending what is due, taking what came of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Refusal, Report, ReportDetails, Step, Verdict, next_decoy};
use crate::courier::code::VerificationCode;
use crate::courier::pacer::{Failure, Work};
use crate::courier::wire::{MAX_KEYS, PublishedKey};
use crate::courier::{Answer, Context, Courier, News, ReportId, ReportState, ReportStatus, failure_of, note, read_note};
use crate::keys::TemporaryExposureKey;
use crate::keys::schedule::Release;
use crate::store::{Changes, OutboxEntry, Store, StoreError};
use crate::time::{RETENTION_DAYS, Timestamp};

/// A decoy that is later than this is left out: after long absences one at each start would be a mark of its own.
const MAX_DECOY_DELAY: Duration = Duration::from_secs(86_400);

/// Notes of the store.
const REVISION_TOKEN: &str = "report revision token";
const LOST_KEYS: &str = "report lost keys";
const NEXT_DECOY: &str = "next decoy";

impl Courier {
    /// Makes the decoy that is due, and draws when the next one is.
    pub(in crate::courier) fn make_decoys(&self, context: &mut Context<'_>, wait: &mut Duration) -> Result<(), StoreError> {
        prune_lost_keys(context)?;
        let mean = Duration::from_secs(self.servers.decoy_mean_s);
        let due: Option<Timestamp> = read_note::<i64>(context.store, NEXT_DECOY)?.map(Timestamp::from_unix_ms);
        let sensible = due.filter(|due| *due <= context.now.after(mean * 60));
        if let Some(due) = sensible.filter(|due| *due > context.now) {
            *wait = due.since(context.now).min(*wait);
            return Ok(());
        }
        let is_on_time = sensible.is_some_and(|due| context.now.since(due) < MAX_DECOY_DELAY);
        let made = if is_on_time { vec![decoy_entry(context)] } else { Vec::new() };
        let next = next_decoy(mean, context.now, context.rng);
        context.store.keep_changes(&Changes { made, notes: vec![note(NEXT_DECOY, &next.unix_ms())], ..Changes::default() })?;
        *wait = if is_on_time { Duration::ZERO } else { next.since(context.now).min(*wait) };
        Ok(())
    }

    pub(in crate::courier) fn report_answered(
        &self,
        context: &mut Context<'_>,
        entry: OutboxEntry,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        // Withdrawn, or begun anew with another code, while the answer was on its way.
        let Some(mut report) =
            context.store.outbox_entry(entry.id)?.filter(|kept| *kept == entry).and_then(|kept| Report::decode(&kept.content))
        else {
            return Ok(());
        };
        let before = status_of(&entry, &report);
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        let mut changes = Changes::default();
        let mut entry = entry;
        let mut failure = match &answer.result {
            Ok(response) if !response.is_passing() => None,
            result => Some(failure_of(result)),
        };
        if let (None, Ok(response)) = (failure, &answer.result) {
            let token = read_note::<String>(context.store, REVISION_TOKEN)?.unwrap_or_default();
            let keys = report.keys.clone();
            let verdict = report.answer(response, answer.ahead_s, &self.servers.health_authority_id, &token, context.rng);
            if verdict.tries_again {
                failure = Some(Failure::Server(response.retry_after()));
            } else {
                pacer.answered(context.now);
                (entry.attempts, entry.due) = (0, (report.step != Step::Ended).then_some(context.now));
                apply(&mut changes, verdict, &keys, context)?;
            }
        }
        report.is_offline = failure == Some(Failure::Offline);
        if let Some(failure) = failure {
            report.renewals = 0;
            entry.attempts = entry.attempts.saturating_add(1);
            let before = pacer;
            entry.due = Some(pacer.failed(Work::Person, entry.attempts, failure, context.now, context.rng));
            if answer.result.as_ref().is_ok_and(|response| !response.is_passing()) {
                // It is there, whatever it thinks of this request: key lists are no worse for it.
                pacer = before;
                pacer.answered(context.now);
            }
        }
        entry.content = report.encode();
        if report.is_decoy && report.step == Step::Ended {
            changes.dropped.push(entry.id);
        } else {
            let after = status_of(&entry, &report);
            news.extend((!report.is_decoy && after != before).then_some(News::Report(after)));
            changes.changed.push(entry);
        }
        changes.notes.push(note(&name, &pacer));
        context.store.keep_changes(&changes)
    }
}

/// Makes a report of the keys that `release` hands out, and ends them, in one transaction.
///
/// # Errors
/// [`StoreError`]: then no key has ended and nothing will be sent.
pub fn make_report(
    context: &mut Context<'_>,
    release: &Release,
    code: &VerificationCode,
    details: ReportDetails,
) -> Result<ReportId, StoreError> {
    let lost = lost_keys(context.store)?;
    let is_accepted = |key: &&TemporaryExposureKey| !lost.iter().any(|lost| lost.hash == hash_of(key));
    let mut keys: Vec<PublishedKey> = release.keys.iter().filter(is_accepted).map(PublishedKey::of).collect();
    keys.drain(..keys.len().saturating_sub(MAX_KEYS));
    let mut report = Report::new(keys, details, code, context.rng);
    if report.keys.is_empty() {
        (report.step, report.outcome) = (Step::Ended, Some(Outcome::Refused(Refusal::NoKeys)));
    }
    let entry = OutboxEntry { due: (report.step != Step::Ended).then_some(context.now), ..entry(context, &report) };
    let id = ReportId(entry.id);
    context.store.keep_changes(&Changes { release: Some(release), made: vec![entry], ..Changes::default() })?;
    Ok(id)
}

/// Goes on with a report that needs another code. `false` where it does not, or is not there any more.
///
/// # Errors
/// [`StoreError`].
pub fn report_again(context: &mut Context<'_>, id: ReportId, code: &VerificationCode) -> Result<bool, StoreError> {
    let Some((mut entry, mut report)) = find(context.store, id)? else { return Ok(false) };
    if report.outcome != Some(Outcome::NeedsNewCode) {
        return Ok(false);
    }
    report.begin(code, context.rng);
    (entry.content, entry.due, entry.attempts) = (report.encode(), Some(context.now), 0);
    context.store.keep_changes(&Changes { changed: vec![entry], ..Changes::default() })?;
    Ok(true)
}

/// Withdraws a report whose keys have not been sent. `false` where they may have been.
///
/// # Errors
/// [`StoreError`].
pub fn withdraw_report(context: &mut Context<'_>, id: ReportId) -> Result<bool, StoreError> {
    let Some((_, report)) = find(context.store, id)? else { return Ok(false) };
    let may_go = matches!(report.step, Step::Verify | Step::Certificate) || report.outcome == Some(Outcome::NeedsNewCode);
    if !may_go || report.may_be_published {
        return Ok(false);
    }
    // Its beginning may have been seen, or be on its way: it ends like any other.
    let tail = (report.step != Step::Ended).then(|| {
        let tail = Report::decoy_at(report.step, "", context.rng);
        entry(context, &tail)
    });
    context.store.keep_changes(&Changes { dropped: vec![id.0], made: tail.into_iter().collect(), ..Changes::default() })?;
    Ok(true)
}

/// All reports of the last 14 days, oldest first.
///
/// # Errors
/// [`StoreError`].
pub fn reports(store: &Store) -> Result<Vec<ReportStatus>, StoreError> {
    let entries = store.outbox()?;
    let decoded = entries.iter().filter_map(|entry| Some((entry, Report::decode(&entry.content)?)));
    Ok(decoded.filter(|(_, report)| !report.is_decoy).map(|(entry, report)| status_of(entry, &report)).collect())
}

fn find(store: &Store, id: ReportId) -> Result<Option<(OutboxEntry, Report)>, StoreError> {
    let entry = store.outbox_entry(id.0)?;
    Ok(entry
        .and_then(|entry| Report::decode(&entry.content).map(|report| (entry, report)))
        .filter(|(_, report)| !report.is_decoy))
}

fn status_of(entry: &OutboxEntry, report: &Report) -> ReportStatus {
    let state = match (&report.outcome, report.clock_ahead_s) {
        (Some(Outcome::NeedsNewCode), _) => ReportState::NeedsNewCode,
        (Some(Outcome::Done { keys }), _) => ReportState::Done { keys: *keys },
        (Some(Outcome::Refused(refusal)), _) => ReportState::Refused(refusal.clone()),
        (None, Some(ahead_s)) => ReportState::SetClock { ahead_s },
        (None, None) if report.is_offline => ReportState::WaitingForNetwork,
        (None, None) => ReportState::WaitingUntil(entry.due.unwrap_or(entry.made_at)),
    };
    ReportStatus { id: ReportId(entry.id), made_at: entry.made_at, state }
}

fn decoy_entry(context: &mut Context<'_>) -> OutboxEntry {
    let decoy = Report::decoy(context.rng);
    entry(context, &decoy)
}

/// Adds to a transaction what an answer means beyond the report itself.
fn apply(
    changes: &mut Changes<'_>,
    verdict: Verdict,
    keys: &[PublishedKey],
    context: &mut Context<'_>,
) -> Result<(), StoreError> {
    changes.made.extend(verdict.tail.map(|tail| entry(context, &tail)));
    changes.notes.extend(verdict.revision_token.map(|token| note(REVISION_TOKEN, &token)));
    if verdict.keys_are_lost {
        let mut lost = lost_keys(context.store)?;
        lost.extend(keys.iter().filter_map(|key| Some(LostKey::of(&key.parse().ok()?))));
        changes.notes.push(note(LOST_KEYS, &lost));
        // What is published from now on begins anew.
        changes.notes.push(note(REVISION_TOKEN, &String::new()));
    }
    Ok(())
}

/// An own key that no server takes again, by its hash, and until when it is kept.
#[derive(Serialize, Deserialize)]
struct LostKey {
    hash: [u8; 16],
    until_ms: i64,
}

impl LostKey {
    fn of(key: &TemporaryExposureKey) -> Self {
        let kept = Duration::from_secs(u64::from(RETENTION_DAYS + 1) * 86_400);
        Self { hash: hash_of(key), until_ms: key.end().start().after(kept).unix_ms() }
    }
}

fn hash_of(key: &TemporaryExposureKey) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

fn lost_keys(store: &Store) -> Result<Vec<LostKey>, StoreError> {
    Ok(read_note(store, LOST_KEYS)?.unwrap_or_default())
}

/// Forgets those that are older than own keys get.
fn prune_lost_keys(context: &mut Context<'_>) -> Result<(), StoreError> {
    let mut lost = lost_keys(context.store)?;
    let before = lost.len();
    lost.retain(|lost| lost.until_ms > context.now.unix_ms());
    if lost.len() == before {
        return Ok(());
    }
    context.store.keep_changes(&Changes { notes: vec![note(LOST_KEYS, &lost)], ..Changes::default() })
}

fn entry(context: &mut Context<'_>, report: &Report) -> OutboxEntry {
    let id = (context.rng.next_u64() >> 1) as i64;
    OutboxEntry { id, made_at: context.now, due: Some(context.now), attempts: 0, content: report.encode() }
}

/// A decoy that is due now, whatever its time would be.
#[cfg(test)]
pub(in crate::courier) fn send_decoy(context: &mut Context<'_>) -> Result<(), StoreError> {
    let made = vec![decoy_entry(context)];
    context.store.keep_changes(&Changes { made, ..Changes::default() })
}
