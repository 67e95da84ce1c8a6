//! How sign-ups stand, in words and for machines. No code, number, name or address is in any.

use std::fmt;

use anstyle::Style;
use serde::Serialize;
use vigie::courier::waitlist::{Field, FormError, SignUpChange, SignUpRefusal, SignUpState, SignUpStatus};
use vigie::time::Timestamp;

use crate::commands::standing::second;
use crate::output::{BAD, CAUTION, GOOD};

/// A sign-up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::commands) struct SignUp {
    made_at: String,
    pub(in crate::commands) state: &'static str,
    until: Option<String>,
    place: Option<u64>,
    received_at: Option<String>,
    /// What is on its way: sign_up, correction or withdrawal.
    change: Option<&'static str>,
    /// Why it is rejected.
    reason: Option<&'static str>,
    /// Why its last correction or withdrawal was not taken.
    refused: Option<&'static str>,
    #[serde(skip)]
    words: String,
    #[serde(skip)]
    pub(in crate::commands) style: Style,
}

impl SignUp {
    pub(in crate::commands) fn of(sign_up: &SignUpStatus, now: Timestamp) -> Self {
        let (state, style, words) = words(&sign_up.state, now);
        let subject = match sign_up.change {
            Some(SignUpChange::Correction) => "its correction ",
            Some(SignUpChange::Withdrawal) => "its withdrawal ",
            Some(SignUpChange::SignUp) | None => "",
        };
        let refused =
            sign_up.refused.map_or(String::new(), |refusal| format!("; the last change was not taken: {}", because(refusal)));
        Self {
            made_at: second(sign_up.made_at),
            state,
            until: if let SignUpState::WaitingUntil(at) = sign_up.state { Some(second(at)) } else { None },
            place: sign_up.place,
            received_at: sign_up.received_at.map(second),
            change: sign_up.change.map(change_name),
            reason: if let SignUpState::Rejected(refusal) = sign_up.state { Some(reason(refusal)) } else { None },
            refused: sign_up.refused.map(reason),
            words: format!("{subject}{words}{refused}"),
            style,
        }
    }

    /// With the time at which it was made.
    pub(in crate::commands) fn dated(&self) -> String {
        format!("sign-up of {}: {self}", self.made_at)
    }
}

impl fmt::Display for SignUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Whether something is on its way, or was asked and not answered.
pub(super) fn is_waiting(sign_up: &SignUpStatus) -> bool {
    matches!(sign_up.state, SignUpState::WaitingForNetwork | SignUpState::WaitingUntil(_))
}

/// Whether the authority has what the person wanted it to have.
pub(super) fn is_well(sign_up: &SignUpStatus) -> bool {
    let is_taken = matches!(sign_up.state, SignUpState::Received { .. } | SignUpState::Processed { .. } | SignUpState::Withdrawn);
    is_taken && sign_up.refused.is_none()
}

/// The name of a state, its style, and what it means.
fn words(state: &SignUpState, now: Timestamp) -> (&'static str, Style, String) {
    match state {
        SignUpState::WaitingForNetwork => ("waiting_for_network", CAUTION, "waits for a network".to_owned()),
        SignUpState::WaitingUntil(at) if *at > now => ("waiting", CAUTION, format!("waits until {}", second(*at))),
        SignUpState::WaitingUntil(_) => ("waiting", CAUTION, "is on its way".to_owned()),
        SignUpState::Received { place } => ("received", GOOD, format!("received, with place {place}")),
        SignUpState::Processed { place } => ("processed", GOOD, format!("processed, with place {place}")),
        SignUpState::Rejected(refusal) => ("rejected", BAD, format!("rejected: {}", because(*refusal))),
        SignUpState::NeedsForm => {
            ("needs_form", BAD, "needs the form once more: it was sealed to a key that is not taken any more".to_owned())
        }
        SignUpState::Withdrawn => ("withdrawn", GOOD, "withdrawn".to_owned()),
        _ => ("unknown", CAUTION, "stands in a way that this program does not know".to_owned()),
    }
}

fn because(refusal: SignUpRefusal) -> String {
    match refusal {
        SignUpRefusal::Field(Field::NationalNumber) => {
            format!("{}; a correction cannot change it: withdraw, and sign up again", FormError(Field::NationalNumber))
        }
        SignUpRefusal::Field(field) => FormError(field).to_string(),
        SignUpRefusal::Form => "the form could not be read".to_owned(),
        SignUpRefusal::CodeUsed => "its recovery code was used for an earlier sign-up, which stands".to_owned(),
        SignUpRefusal::Unknown => "the waiting list knows no sign-up with this recovery code".to_owned(),
        SignUpRefusal::UnknownKey => "it was sealed to a key that is not taken any more".to_owned(),
        SignUpRefusal::BadRequest => "the server does not understand this program, which may be too old".to_owned(),
        _ => "for a reason that this program does not know".to_owned(),
    }
}

/// For machines.
fn reason(refusal: SignUpRefusal) -> &'static str {
    match refusal {
        SignUpRefusal::Field(field) => field.as_str(),
        SignUpRefusal::Form => "form",
        SignUpRefusal::CodeUsed => "code_used",
        SignUpRefusal::Unknown => "unknown_code",
        SignUpRefusal::UnknownKey => "unknown_key",
        SignUpRefusal::BadRequest => "bad_request",
        _ => "unknown",
    }
}

fn change_name(change: SignUpChange) -> &'static str {
    match change {
        SignUpChange::SignUp => "sign_up",
        SignUpChange::Correction => "correction",
        SignUpChange::Withdrawal => "withdrawal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_603_364_400_250);

    #[test]
    fn each_state_has_its_word_for_machines_and_says_to_people_what_is_missing() {
        let later = Timestamp::from_unix_s(1_603_364_460);
        for (state, name, style, part) in [
            (SignUpState::WaitingForNetwork, "waiting_for_network", CAUTION, "waits for a network"),
            (SignUpState::WaitingUntil(later), "waiting", CAUTION, "waits until 2020-10-22T11:01:00Z"),
            (SignUpState::WaitingUntil(NOW), "waiting", CAUTION, "is on its way"),
            (SignUpState::Received { place: 7 }, "received", GOOD, "with place 7"),
            (SignUpState::Processed { place: 7 }, "processed", GOOD, "with place 7"),
            (SignUpState::NeedsForm, "needs_form", BAD, "once more"),
            (SignUpState::Rejected(SignUpRefusal::Field(Field::Contact)), "rejected", BAD, "no e-mail address"),
            (SignUpState::Rejected(SignUpRefusal::CodeUsed), "rejected", BAD, "used for an earlier sign-up"),
            (SignUpState::Withdrawn, "withdrawn", GOOD, "withdrawn"),
        ] {
            let found = words(&state, NOW);
            assert_eq!((found.0, found.1), (name, style));
            assert!(found.2.contains(part), "{}", found.2);
        }
    }
}
