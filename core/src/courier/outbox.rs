//! What an entry of the outbox is: a report or a decoy, or a change of a sign-up. All of them go in one order, that of their due times.
//!
//! ```text
//! {"step": .., ..}                 a report: it has no `kind`, as those had none that were kept before there were others
//! {"kind": "sign_up", ..}          a change of a sign-up: `sign_up`, `correction`, `withdrawal`
//! {"kind": "something else", ..}   of a later version: left alone, until it is too old
//! ```

use std::time::Duration;

use serde::Deserialize;

use super::pacer::{PERSON_RETRY_CAP, Work};
use super::report::Report;
use super::waitlist::Change;
use super::{About, Context, Courier, Next, rest, send};
use crate::store::{Changes, OutboxEntry, StoreError};

/// What is to be done with a server.
pub(super) enum Operation {
    Report(Box<Report>),
    SignUp(Box<Change>),
    Later,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

impl Operation {
    /// From the bytes of the outbox; `None` where they are nothing.
    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        match serde_json::from_slice::<Kind>(content).ok()?.kind.as_deref() {
            None => Report::decode(content).map(Box::new).map(Self::Report),
            Some("sign_up" | "correction" | "withdrawal") => Change::decode(content).map(Box::new).map(Self::SignUp),
            Some(_) => Some(Self::Later),
        }
    }
}

impl Courier {
    /// The operation that is due first.
    pub(super) fn next_operation(&self, context: &mut Context<'_>, wait: &mut Duration) -> Result<Option<Next>, StoreError> {
        let mut entries: Vec<OutboxEntry> = context.store.outbox()?.into_iter().filter(|entry| entry.due.is_some()).collect();
        entries.sort_by_key(|entry| entry.due);
        for entry in entries {
            let due = entry.due.unwrap_or(context.now);
            let Some(operation) = Operation::decode(&entry.content) else {
                context.store.keep_changes(&Changes { dropped: vec![entry.id], ..Changes::default() })?;
                continue;
            };
            // A clock that was set back, as the user was asked to, takes the time with it.
            let was_set = operation.waits_for_clock() && due.since(context.now) > PERSON_RETRY_CAP;
            let rest = rest(due, context.now).filter(|_| !was_set);
            // Nothing holds back what a person waits for: the times between its attempts are all there is.
            let (request, about) = match (operation, &self.servers.waitlist) {
                (Operation::Later, _) | (Operation::SignUp(_), None) => continue,
                (Operation::Report(_) | Operation::SignUp(_), _) if rest.is_some() => {
                    *wait = rest.unwrap_or(*wait).min(*wait);
                    continue;
                }
                (Operation::Report(report), _) => (report.request(&self.servers), About::Report(entry)),
                (Operation::SignUp(change), Some(waitlist)) => (change.request(waitlist), About::SignUp(entry)),
            };
            return Ok(Some(send(request, about, Work::Person)));
        }
        Ok(None)
    }
}

impl Operation {
    fn waits_for_clock(&self) -> bool {
        matches!(self, Self::Report(report) if report.clock_ahead_s.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_report_nor_sign_up_is_nothing_or_of_a_later_version() {
        for nothing in ["", "null", "[]", "{}", r#"{"kind":5}"#, r#"{"kind":"sign_up"}"#, r#"{"kind":null}"#] {
            assert!(Operation::decode(nothing.as_bytes()).is_none(), "{nothing}");
        }
        assert!(matches!(Operation::decode(br#"{"kind":"bequest","step":"Verify"}"#), Some(Operation::Later)));
    }
}
