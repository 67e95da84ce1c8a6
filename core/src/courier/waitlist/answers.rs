//! What an answer of the waiting list means. Nothing is believed of a place but what a receipt says that was signed for this very form.

use serde::Deserialize;

use super::form::Field;
use super::kept::{Change, SignUp, Standing};
use super::receipt::Receipt;
use super::sign_up::{SignUpChange, SignUpRefusal};
use super::wire::{ErrorCode, ErrorResponse, OperationId, SignUpResponse, State, StatusResponse};
use crate::courier::servers::WaitlistServer;
use crate::courier::transport::Response;

/// What an answer means for a change, or for who asked how it stands.
pub(super) enum Verdict {
    /// It is committed.
    Accepted(Box<Receipt>, String),
    /// It stands so; with the receipt, but for one that is withdrawn.
    Stands(Standing, Option<(Box<Receipt>, String)>),
    /// It is over.
    Withdrawn,
    /// It is not taken.
    Refused(SignUpRefusal),
    /// The receipt is another's, or nobody's.
    NotBelieved,
    /// The answer says nothing of the matter: it is tried again.
    TriesAgain,
}

#[derive(Deserialize)]
struct WithdrawalResponse {
    state: State,
}

impl Change {
    /// `place` is the one that the sign-up has.
    pub(super) fn answer(&self, response: &Response, waitlist: &WaitlistServer, place: Option<u64>) -> Verdict {
        if !matches!(response.status, 200 | 201) {
            return match (self.kind, refusal(response)) {
                (SignUpChange::Withdrawal, Some(SignUpRefusal::Unknown)) => Verdict::Withdrawn,
                // Whoever says so does not speak of a sign-up that is new.
                (SignUpChange::SignUp, Some(SignUpRefusal::Unknown)) | (_, None) => Verdict::TriesAgain,
                // Only a sign-up has an operation id that may have been used before.
                (SignUpChange::Correction | SignUpChange::Withdrawal, Some(SignUpRefusal::CodeUsed)) => {
                    Verdict::Refused(SignUpRefusal::BadRequest)
                }
                (_, Some(refusal)) => Verdict::Refused(refusal),
            };
        }
        if self.kind == SignUpChange::Withdrawal {
            let is_over = parse::<WithdrawalResponse>(response).is_some_and(|answer| answer.state == State::Withdrawn);
            return if is_over { Verdict::Withdrawn } else { Verdict::TriesAgain };
        }
        let Some(SignUpResponse { receipt: text }) = parse(response) else { return Verdict::TriesAgain };
        match verified(&text, self.operation, waitlist) {
            Some(receipt) if receipt.form_hash == self.form_hash && place.is_none_or(|place| place == receipt.place) => {
                Verdict::Accepted(Box::new(receipt), text)
            }
            _ => Verdict::NotBelieved,
        }
    }
}

impl SignUp {
    /// What the answer to a question how it stands means.
    pub(super) fn answer(&self, response: &Response, waitlist: &WaitlistServer) -> Verdict {
        if response.status != 200 {
            // Other refusals are none of this sign-up's: a later version of the app asks better.
            let is_unknown = refusal(response) == Some(SignUpRefusal::Unknown);
            return if is_unknown { Verdict::Refused(SignUpRefusal::Unknown) } else { Verdict::TriesAgain };
        }
        let Some(StatusResponse { receipt: text, state, reason }) = parse(response) else { return Verdict::TriesAgain };
        let receipt = verified(&text, self.code.operation_id(), waitlist)
            .filter(|receipt| self.place.is_none_or(|place| place == receipt.place));
        let standing = match state {
            State::Withdrawn => return Verdict::Stands(Standing::Withdrawn, receipt.map(|receipt| (Box::new(receipt), text))),
            State::Received => Standing::Received,
            State::Processed => Standing::Processed,
            State::Rejected => Standing::Rejected(Field::named(&reason).map_or(SignUpRefusal::Form, SignUpRefusal::Field)),
        };
        match receipt {
            Some(receipt) => Verdict::Stands(standing, Some((Box::new(receipt), text))),
            None => Verdict::NotBelieved,
        }
    }
}

/// What a receipt says, if a key of the waiting list that has the name in it has signed it for this operation.
fn verified(text: &str, operation: OperationId, waitlist: &WaitlistServer) -> Option<Receipt> {
    let keys = waitlist.receipt_keys().ok()?;
    let mut receipts = keys.iter().filter_map(|(id, key)| key.verify(text).ok().filter(|receipt| receipt.key_id == *id));
    receipts.find(|receipt| receipt.operation_id == operation)
}

/// Why the server refuses for good. A gateway's words are not the server's.
fn refusal(response: &Response) -> Option<SignUpRefusal> {
    if !(400..500).contains(&response.status) {
        return None;
    }
    match parse::<ErrorResponse>(response)?.code {
        ErrorCode::BadRequest => Some(SignUpRefusal::BadRequest),
        ErrorCode::UnknownOperation => Some(SignUpRefusal::Unknown),
        ErrorCode::UnknownKey => Some(SignUpRefusal::UnknownKey),
        ErrorCode::OperationReused => Some(SignUpRefusal::CodeUsed),
        ErrorCode::Busy | ErrorCode::Failed | ErrorCode::Other => None,
    }
}

fn parse<T: for<'a> Deserialize<'a>>(response: &Response) -> Option<T> {
    serde_json::from_slice(&response.body).ok()
}
