//! Asking how sign-ups stand: once in each period while they are only received, and at once where a person asks.

use std::time::Duration;

use zeroize::Zeroizing;

use super::answers::Verdict;
use super::kept::{SignUp, Standing, changes, keep, load};
use super::sending::request;
use super::sign_up::SignUpId;
use super::wire::{STATUS_PATH, StatusRequest};
use crate::courier::pacer::Failure;
use crate::courier::servers::WaitlistServer;
use crate::courier::transport::Request;
use crate::courier::{About, Answer, Context, Courier, News, Next, failure_of, note, rest, send};
use crate::store::{Changes, StoreError};
use crate::time::Timestamp;

impl SignUp {
    fn question(&self, waitlist: &WaitlistServer) -> Request {
        request(waitlist, STATUS_PATH, self.status_request().as_bytes().to_vec())
    }

    /// Names the sign-up, and shows that it is one's own.
    pub(super) fn status_request(&self) -> Zeroizing<String> {
        let request = StatusRequest { operation_id: self.code.operation_id(), secret: self.code.secret() };
        // Only maps with keys that are no text fail, and there are none.
        Zeroizing::new(serde_json::to_string(&request).unwrap_or_default())
    }
}

impl Courier {
    /// The sign-up that is to be asked for first.
    pub(in crate::courier) fn next_question(
        &self,
        context: &mut Context<'_>,
        wait: &mut Duration,
    ) -> Result<Option<Next>, StoreError> {
        let Some(waitlist) = &self.servers.waitlist else { return Ok(None) };
        let mut sign_ups = load(context.store)?;
        let mut changing = None;
        for at in 0..sign_ups.len() {
            let sign_up = &sign_ups[at];
            let Some(due) = sign_up.asking.due_ms.map(Timestamp::from_unix_ms) else { continue };
            if let Some(rest) = rest(due, context.now) {
                *wait = rest.min(*wait);
                continue;
            }
            // What the server says of one before its change is through is of no use.
            let changing: &Vec<SignUpId> = match &mut changing {
                Some(changing) => changing,
                None => changing.insert(changes(context.store)?.into_iter().map(|(_, change)| change.sign_up).collect()),
            };
            if changing.contains(&sign_up.id) {
                continue;
            }
            let (request, work) = (sign_up.question(waitlist), sign_up.work());
            let (name, mut pacer) = self.pacer(context.store, &request.url)?;
            match pacer.permit(work, self.network, context.now.since(due), context.now, context.rng) {
                Ok(()) => return Ok(Some(send(request, About::SignUpStatus(sign_up.id), work))),
                Err(later) => {
                    sign_ups[at].asking.due_ms = Some(later.unix_ms());
                    *wait = later.since(context.now).min(*wait);
                    keep(context.store, &sign_ups, Changes { notes: vec![note(&name, &pacer)], ..Changes::default() })?;
                }
            }
        }
        Ok(None)
    }

    pub(in crate::courier) fn question_answered(
        &mut self,
        context: &mut Context<'_>,
        id: SignUpId,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        let Some(waitlist) = self.waitlist_now(context.store)? else { return Ok(()) };
        let mut sign_ups = load(context.store)?;
        // Forgotten, or changed, while the answer was on its way.
        let is_changing = changes(context.store)?.iter().any(|(_, change)| change.sign_up == id);
        let Some(sign_up) = sign_ups.iter_mut().find(|sign_up| sign_up.id == id && !is_changing) else { return Ok(()) };
        let before = sign_up.status();
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        let is_there = answer.result.as_ref().is_ok_and(|response| !response.is_passing());
        let verdict = match &answer.result {
            Ok(response) if is_there => sign_up.answer(response, &waitlist),
            _ => Verdict::TriesAgain,
        };
        match verdict {
            Verdict::Stands(standing, receipt) => {
                if let (Some((receipt, text)), None) = (receipt, &sign_up.receipt) {
                    sign_up.accept(&receipt, text);
                }
                sign_up.was_told = false;
                sign_up.enter(standing, context.now);
            }
            Verdict::Refused(refusal) => sign_up.enter(Standing::Rejected(refusal), context.now),
            Verdict::NotBelieved | Verdict::TriesAgain | Verdict::Accepted(..) | Verdict::Withdrawn => {
                if matches!(verdict, Verdict::NotBelieved) && !sign_up.was_told {
                    sign_up.was_told = true;
                    news.push(News::ReceiptNotBelieved { id });
                }
                let failure = failure_of(&answer.result);
                sign_up.asking.is_offline = failure == Failure::Offline;
                sign_up.asking.attempts = sign_up.asking.attempts.saturating_add(1);
                let mut failed = pacer;
                let due = failed.failed(answer.work, sign_up.asking.attempts, failure, context.now, context.rng);
                sign_up.ask_again(due);
                if !is_there {
                    pacer = failed;
                }
            }
        }
        if is_there {
            pacer.answered(context.now);
        }
        let after = sign_up.status();
        news.extend((after != before).then_some(News::SignUp(after)));
        keep(context.store, &sign_ups, Changes { notes: vec![note(&name, &pacer)], ..Changes::default() })
    }
}
