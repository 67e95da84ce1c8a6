//! A sign-up on its device: what is kept of it, and the change that is on its way to the server.
//!
//! ```text
//! outbox   Change    sign up, correct or withdraw: sealed once, and sent with the same bytes and operation id until it is answered
//! note     SignUp    recovery code, receipt, place, how it stands, and when it is asked how it stands
//!
//! sign_up --receipt--> received --asked each period--> processed | rejected     at most one change of a sign-up at a time
//!         --409------> needs the form again            correct: received again      withdraw: withdrawn
//! ```
//!
//! An answered change leaves the outbox in the transaction in which the note takes what it brought. The form itself is kept nowhere.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::receipt::Receipt;
use super::recovery::{RecoveryCode, as_text};
use super::sign_up::{SignUpChange, SignUpId, SignUpRefusal, SignUpState, SignUpStatus};
use super::wire::{OperationId, base64_array};
use crate::courier::pacer::{POLL_PERIOD, Period, Work};
use crate::courier::{note, read_note};
use crate::store::{Changes, OutboxEntry, Store, StoreError};
use crate::time::Timestamp;

/// The note of the store with all sign-ups.
const NOTE: &str = "sign-ups";

/// So often a person who asks how it stands, and does not get through, is taken to be still there.
const MAX_AWAITED: u32 = 3;

/// How a sign-up stands, as far as the server has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Standing {
    /// Recovered with its code, and nothing known yet.
    Asked,
    Received,
    Processed,
    Rejected(SignUpRefusal),
    NeedsForm,
    Withdrawn,
}

/// When it is asked how a sign-up stands.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Asking {
    /// Draws this device's moment in the period.
    random: u64,
    /// `None` where nobody wants to know.
    pub(super) due_ms: Option<i64>,
    pub(super) attempts: u32,
    pub(super) is_offline: bool,
    /// A person waits for it.
    pub(super) is_awaited: bool,
}

/// A sign-up, as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SignUp {
    pub(super) id: SignUpId,
    pub(super) made_ms: i64,
    #[serde(with = "as_text")]
    pub(super) code: RecoveryCode,
    pub(super) receipt: Option<String>,
    pub(super) place: Option<u64>,
    pub(super) received_s: Option<i64>,
    pub(super) standing: Standing,
    pub(super) refused: Option<SignUpRefusal>,
    pub(super) asking: Asking,
    /// A receipt was not believed, and that was told.
    pub(super) was_told: bool,
}

/// A change on its way to the server, with all that is needed to repeat it. Kept in the outbox as JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::courier) struct Change {
    pub(super) kind: SignUpChange,
    pub(super) sign_up: SignUpId,
    pub(super) made_ms: i64,
    #[serde(with = "as_text")]
    pub(super) code: RecoveryCode,
    /// Its own; a sign-up's is that of its code.
    pub(super) operation: OperationId,
    /// What the receipt must vouch for.
    #[serde(with = "base64_array")]
    pub(super) form_hash: [u8; 32],
    /// As it is sent, each time the same.
    pub(super) body: Zeroizing<String>,
    pub(super) is_offline: bool,
    pub(super) was_told: bool,
}

impl SignUp {
    pub(super) fn new(id: SignUpId, made_ms: i64, code: RecoveryCode, random: u64) -> Self {
        let asking = Asking { random, due_ms: None, attempts: 0, is_offline: false, is_awaited: false };
        Self {
            id,
            made_ms,
            code,
            receipt: None,
            place: None,
            received_s: None,
            standing: Standing::Asked,
            refused: None,
            asking,
            was_told: false,
        }
    }

    /// Takes a receipt that was verified. A correction's has the place of the sign-up.
    pub(super) fn accept(&mut self, receipt: &Receipt, text: String) {
        if self.place.is_none() {
            self.received_s = Some(receipt.received_s);
        }
        (self.receipt, self.place) = (Some(text), Some(receipt.place));
        (self.refused, self.was_told) = (None, false);
    }

    /// Changes how it stands. While it is only received, it is asked for once in each period.
    pub(super) fn enter(&mut self, standing: Standing, now: Timestamp) {
        self.standing = standing;
        (self.asking.attempts, self.asking.is_offline, self.asking.is_awaited) = (0, false, false);
        self.asking.due_ms = (standing == Standing::Received).then(|| self.period().next(now).unix_ms());
    }

    /// What kind of work it is to ask.
    pub(super) fn work(&self) -> Work {
        if self.standing == Standing::Asked || self.asking.is_awaited { Work::Person } else { Work::Poll(self.period()) }
    }

    /// An attempt to ask has failed, and the next one is due then.
    pub(super) fn ask_again(&mut self, due: Timestamp) {
        self.asking.due_ms = Some(due.unix_ms());
        if self.asking.attempts >= MAX_AWAITED {
            self.asking.is_awaited = false;
            // Nobody but that person wanted to know.
            if !matches!(self.standing, Standing::Asked | Standing::Received) {
                self.asking.due_ms = None;
            }
        }
    }

    fn period(&self) -> Period {
        Period::new(POLL_PERIOD, self.asking.random)
    }

    fn state(&self) -> SignUpState {
        match (self.standing, self.place) {
            (Standing::Received, Some(place)) => SignUpState::Received { place },
            (Standing::Processed, Some(place)) => SignUpState::Processed { place },
            (Standing::Rejected(refusal), _) => SignUpState::Rejected(refusal),
            (Standing::NeedsForm, _) => SignUpState::NeedsForm,
            (Standing::Withdrawn, _) => SignUpState::Withdrawn,
            (Standing::Asked | Standing::Received | Standing::Processed, _) if self.asking.is_offline => {
                SignUpState::WaitingForNetwork
            }
            (Standing::Asked | Standing::Received | Standing::Processed, _) => {
                SignUpState::WaitingUntil(Timestamp::from_unix_ms(self.asking.due_ms.unwrap_or(self.made_ms)))
            }
        }
    }

    pub(super) fn status(&self) -> SignUpStatus {
        SignUpStatus {
            id: self.id,
            made_at: Timestamp::from_unix_ms(self.made_ms),
            state: self.state(),
            place: self.place,
            received_at: self.received_s.map(Timestamp::from_unix_s),
            change: None,
            refused: self.refused,
        }
    }
}

impl Change {
    /// From the bytes of the outbox; `None` where they are no change.
    pub(in crate::courier) fn decode(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    /// To the bytes of the outbox.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Only maps with keys that are no text fail, and there are none.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// How the sign-up stands while this is on its way.
    pub(super) fn status(&self, entry: &OutboxEntry, kept: Option<&SignUp>) -> SignUpStatus {
        let state = if self.is_offline {
            SignUpState::WaitingForNetwork
        } else {
            SignUpState::WaitingUntil(entry.due.unwrap_or(entry.made_at))
        };
        SignUpStatus {
            id: self.sign_up,
            made_at: Timestamp::from_unix_ms(kept.map_or(self.made_ms, |kept| kept.made_ms)),
            state,
            place: kept.and_then(|kept| kept.place),
            received_at: kept.and_then(|kept| kept.received_s).map(Timestamp::from_unix_s),
            change: Some(self.kind),
            refused: None,
        }
    }
}

/// What is kept of the sign-ups of this device.
pub(super) fn load(store: &Store) -> Result<Vec<SignUp>, StoreError> {
    Ok(read_note(store, NOTE)?.unwrap_or_default())
}

/// Keeps the sign-ups, together with what else changes.
pub(super) fn keep(store: &mut Store, sign_ups: &[SignUp], mut changes: Changes<'_>) -> Result<(), StoreError> {
    changes.notes.push(note(NOTE, &sign_ups));
    let kept = store.keep_changes(&changes);
    changes.notes.iter_mut().for_each(|(_, content)| content.zeroize());
    kept
}

/// The changes that are on their way.
pub(super) fn changes(store: &Store) -> Result<Vec<(OutboxEntry, Change)>, StoreError> {
    let entries = store.outbox()?.into_iter();
    Ok(entries.filter_map(|entry| Change::decode(&entry.content).map(|change| (entry, change))).collect())
}
