//! Changes of sign-ups on their way: how they are sent, and what is kept of what came.

use std::time::Duration;

use super::answers::Verdict;
use super::kept::{Change, SignUp, Standing, changes, keep, load};
use super::sign_up::{SignUpChange, SignUpRefusal};
use super::wire::{CORRECT_PATH, MAX_WAITLIST_ANSWER, SIGN_UP_PATH, WITHDRAW_PATH};
use crate::courier::pacer::{Failure, Work};
use crate::courier::servers::WaitlistServer;
use crate::courier::transport::{Destination, Request};
use crate::courier::wire::IDEMPOTENCY_KEY_HEADER;
use crate::courier::{Answer, Context, Courier, News, failure_of, note};
use crate::store::{Changes, OutboxEntry, Store, StoreError};
use crate::time::Timestamp;

/// The store erases an entry 14 days after its date, or where it is more than a day ahead: that of a change is renewed before.
const RENEWED_AFTER: Duration = Duration::from_secs(12 * 60 * 60);

impl Change {
    /// The request, each time with the same bytes.
    pub(in crate::courier) fn request(&self, waitlist: &WaitlistServer) -> Request {
        let path = match self.kind {
            SignUpChange::SignUp => SIGN_UP_PATH,
            SignUpChange::Correction => CORRECT_PATH,
            SignUpChange::Withdrawal => WITHDRAW_PATH,
        };
        let mut request = request(waitlist, path, self.body.as_bytes().to_vec());
        if self.kind != SignUpChange::Withdrawal {
            request.headers.push((IDEMPOTENCY_KEY_HEADER, self.operation.to_string()));
        }
        request
    }
}

/// A request to the waiting list.
pub(super) fn request(waitlist: &WaitlistServer, path: &str, body: Vec<u8>) -> Request {
    Request {
        url: format!("{}{path}", waitlist.url.trim_end_matches('/')),
        headers: vec![("content-type", "application/json".to_string()), ("accept", "application/json".to_string())],
        body: Some(body),
        destination: Destination::Memory { limit: MAX_WAITLIST_ANSWER },
    }
}

impl Courier {
    pub(in crate::courier) fn sign_up_answered(
        &mut self,
        context: &mut Context<'_>,
        entry: OutboxEntry,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        // Withdrawn or forgotten while the answer was on its way. Its date may have been renewed.
        let is_same = |kept: &OutboxEntry| kept.content == entry.content;
        let kept = context.store.outbox_entry(entry.id)?.filter(is_same);
        let Some((mut entry, mut change)) = kept.and_then(|kept| Change::decode(&kept.content).map(|change| (kept, change)))
        else {
            return Ok(());
        };
        let Some(waitlist) = self.waitlist_now(context.store)? else { return Ok(()) };
        let mut sign_ups = load(context.store)?;
        let kept = sign_ups.iter().find(|sign_up| sign_up.id == change.sign_up);
        let (before, place) = (change.status(&entry, kept), kept.and_then(|kept| kept.place));
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        let verdict = match &answer.result {
            Ok(response) if !response.is_passing() => change.answer(response, &waitlist, place),
            _ => Verdict::TriesAgain,
        };
        let is_there = answer.result.as_ref().is_ok_and(|response| !response.is_passing());
        if matches!(verdict, Verdict::NotBelieved) && !change.was_told {
            change.was_told = true;
            news.push(News::ReceiptNotBelieved { id: change.sign_up });
        }
        let is_unknown_key = matches!(verdict, Verdict::Refused(SignUpRefusal::UnknownKey));
        let mut changes = Changes::default();
        let after = if matches!(verdict, Verdict::NotBelieved | Verdict::TriesAgain) {
            let failure = failure_of(&answer.result);
            change.is_offline = failure == Failure::Offline;
            entry.attempts = entry.attempts.saturating_add(1);
            let mut failed = pacer;
            entry.due = Some(failed.failed(Work::Person, entry.attempts, failure, context.now, context.rng));
            if !is_there {
                pacer = failed;
            }
            (entry.made_at, entry.content) = (context.now, change.encode());
            let after = change.status(&entry, kept);
            changes.changed.push(entry);
            after
        } else {
            let at = position(&mut sign_ups, &change, context);
            settle(&mut sign_ups[at], &change, verdict, context);
            changes.dropped.push(entry.id);
            sign_ups[at].status()
        };
        if is_unknown_key {
            // The bulletin may name the new one.
            self.fetch_bulletin_now(context)?;
        }
        if is_there {
            // It is there, whatever it thinks of this request: others are no worse for it.
            pacer.answered(context.now);
        }
        news.extend((after != before).then_some(News::SignUp(after)));
        changes.notes.push(note(&name, &pacer));
        keep(context.store, &sign_ups, changes)
    }
}

/// Where the sign-up is among those that are kept: it begins to be kept with the first answer.
fn position(sign_ups: &mut Vec<SignUp>, change: &Change, context: &mut Context<'_>) -> usize {
    sign_ups.iter().position(|sign_up| sign_up.id == change.sign_up).unwrap_or_else(|| {
        sign_ups.push(SignUp::new(change.sign_up, change.made_ms, change.code.clone(), context.rng.next_u64()));
        sign_ups.len() - 1
    })
}

/// What an answer to a change means for the sign-up.
fn settle(sign_up: &mut SignUp, change: &Change, verdict: Verdict, context: &Context<'_>) {
    match verdict {
        Verdict::Accepted(receipt, text) => {
            sign_up.accept(&receipt, text);
            sign_up.refused = None;
            sign_up.enter(Standing::Received, context.now);
        }
        Verdict::Withdrawn => {
            sign_up.refused = None;
            sign_up.enter(Standing::Withdrawn, context.now);
        }
        // What was received before still stands, and is still asked for.
        Verdict::Refused(refusal) if change.kind != SignUpChange::SignUp => {
            sign_up.refused = Some(refusal);
            if sign_up.standing == Standing::Asked {
                // Whether it arrived before it was to be withdrawn, the server knows.
                sign_up.asking.due_ms = Some(context.now.unix_ms());
            }
        }
        Verdict::Refused(SignUpRefusal::UnknownKey) => sign_up.enter(Standing::NeedsForm, context.now),
        Verdict::Refused(refusal) => sign_up.enter(Standing::Rejected(refusal), context.now),
        Verdict::Stands(..) | Verdict::NotBelieved | Verdict::TriesAgain => {}
    }
}

/// Renews the date of all changes that are on their way, so that none of them is erased for its age: a sign-up is wanted until it is answered, or
/// withdrawn. To be called before the store erases.
pub(crate) fn renew_sign_ups(store: &mut Store, now: Timestamp) -> Result<(), StoreError> {
    // From the future it would be erased as well, as left by a clock that was wrong.
    let is_old = |entry: &OutboxEntry| now.since(entry.made_at).max(entry.made_at.since(now)) > RENEWED_AFTER;
    let old = changes(store)?.into_iter().map(|(entry, _)| entry).filter(is_old);
    let changed: Vec<OutboxEntry> = old.map(|entry| OutboxEntry { made_at: now, ..entry }).collect();
    if changed.is_empty() {
        return Ok(());
    }
    store.keep_changes(&Changes { changed, ..Changes::default() })
}
