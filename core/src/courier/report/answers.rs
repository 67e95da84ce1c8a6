//! What an answer means for a report: which step is next, or how it ended.

use rand_core::CryptoRng;
use serde::Deserialize;

use super::{Outcome, Refusal, Report, Step};
use crate::courier::transport::Response;
use crate::courier::wire::{CertificateResponse, ErrorResponse, PublishResponse, VerifyResponse};

/// How often in a row a certificate that is too old is asked for anew, with no failure of the server in between that explains it.
const MAX_RENEWALS: u32 = 1;

/// The clock of the device may differ this much from a server's before it is held to be the reason for a refusal.
const CLOCK_TOLERANCE_S: i64 = 600;

/// What a key server means for good.
const FINAL_CODES: [&str; 6] = [
    "unknown_health_authority_id",
    "health_authority_verification_certificate_invalid",
    "bad_request",
    "invalid_revision_token",
    "key_already_revised",
    "invalid_report_type_transition",
];

/// What an answer means for a report.
#[derive(Default)]
pub(super) struct Verdict {
    /// The answer says nothing of the matter: it is tried again.
    pub(super) tries_again: bool,
    /// The token that comes with the next report.
    pub(super) revision_token: Option<String>,
    /// The keys were published, and the token is lost.
    pub(super) keys_are_lost: bool,
    /// What goes on in place of a report that was refused.
    pub(super) tail: Option<Report>,
}

impl Report {
    /// Takes the answer to the present step.
    pub(super) fn answer(
        &mut self,
        response: &Response,
        clock_ahead_s: i64,
        health_authority_id: &str,
        revision_token: &str,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Verdict {
        if response.is_passing() {
            return Verdict { tries_again: true, ..Verdict::default() };
        }
        if self.is_decoy {
            return self.answer_decoy(response, health_authority_id, rng);
        }
        match self.step {
            Step::Verify => self.answer_verify(response, health_authority_id, rng),
            Step::Certificate => self.answer_certificate(response, health_authority_id, revision_token, rng),
            Step::Publish => self.answer_publish(response, clock_ahead_s, rng),
            Step::Ended => Verdict::default(),
        }
    }

    fn answer_verify(&mut self, response: &Response, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Verdict {
        match parse::<VerifyResponse>(response) {
            Some(answer) if !answer.token.is_empty() => {
                self.token = answer.token;
                self.enter_certificate(rng);
                Verdict::default()
            }
            _ => match error_code(response).as_str() {
                "code_invalid" | "code_expired" | "code_not_found" => self.end(Outcome::NeedsNewCode, authority, rng),
                code @ ("invalid_test_type" | "unsupported_test_type" | "unparsable_request") => {
                    self.refuse(code, authority, rng)
                }
                // A captive portal, a proxy, a server that is being set up.
                _ => Verdict { tries_again: true, ..Verdict::default() },
            },
        }
    }

    fn answer_certificate(
        &mut self,
        response: &Response,
        authority: &str,
        revision_token: &str,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Verdict {
        match parse::<CertificateResponse>(response) {
            Some(answer) if !answer.certificate.is_empty() => {
                self.enter_publish(answer.certificate, authority, revision_token, rng);
                Verdict::default()
            }
            _ => match error_code(response).as_str() {
                "token_expired" | "token_invalid" => self.end(Outcome::NeedsNewCode, authority, rng),
                code @ ("hmac_invalid" | "unparsable_request") => self.refuse(code, authority, rng),
                _ => Verdict { tries_again: true, ..Verdict::default() },
            },
        }
    }

    fn answer_publish(&mut self, response: &Response, clock_ahead_s: i64, rng: &mut (impl CryptoRng + ?Sized)) -> Verdict {
        let Some(answer) = parse::<PublishResponse>(response) else {
            return Verdict { tries_again: true, ..Verdict::default() };
        };
        let is_success = (200..300).contains(&response.status);
        match answer.code.as_str() {
            "" | "partial_failure" if is_success && !answer.revision_token.is_empty() => {
                let keys = u32::try_from(answer.inserted_exposures).unwrap_or(0);
                let verdict = self.end(Outcome::Done { keys }, "", rng);
                Verdict { revision_token: Some(answer.revision_token), ..verdict }
            }
            // The keys are there, and only this device had them: the answer to an earlier attempt got lost, and its token with it.
            "missing_revision_token" => {
                let keys = u32::try_from(self.keys.len()).unwrap_or(0);
                let verdict = self.end(Outcome::Done { keys }, "", rng);
                Verdict { keys_are_lost: true, ..verdict }
            }
            "health_authority_verification_certificate_invalid" if self.renewals < MAX_RENEWALS => {
                self.renewals += 1;
                self.enter_certificate(rng);
                Verdict::default()
            }
            "bad_request" if clock_ahead_s > CLOCK_TOLERANCE_S => {
                self.clock_ahead_s = Some(clock_ahead_s);
                Verdict { tries_again: true, ..Verdict::default() }
            }
            // An earlier report's token does not know keys that arrived with an attempt whose answer got lost.
            "invalid_revision_token" if self.publish_without_token(rng) => Verdict::default(),
            code if FINAL_CODES.contains(&code) => self.refuse(code, "", rng),
            // A gateway's own words, or a server that cannot now.
            _ => Verdict { tries_again: true, ..Verdict::default() },
        }
    }

    fn refuse(&mut self, code: &str, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Verdict {
        // Words of the interface have no more than this, and a server's answer is shown to a person.
        let code: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        self.end(Outcome::Refused(Refusal::Server { code }), authority, rng)
    }

    /// Nothing more is sent, and nothing that is secret is kept, but for the keys, which a new code needs.
    fn end(&mut self, outcome: Outcome, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Verdict {
        let tail = match self.step {
            Step::Verify => Some(Self::decoy_at(Step::Certificate, authority, rng)),
            Step::Certificate => Some(Self::decoy_at(Step::Publish, authority, rng)),
            Step::Publish | Step::Ended => None,
        };
        self.step = Step::Ended;
        if outcome != Outcome::NeedsNewCode {
            self.keys.clear();
        }
        self.outcome = Some(outcome);
        for secret in [&mut self.operation, &mut self.body, &mut self.hmac_key, &mut self.token] {
            zeroize::Zeroize::zeroize(secret);
        }
        Verdict { tail, ..Verdict::default() }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(response: &Response) -> Option<T> {
    serde_json::from_slice(&response.body).ok()
}

/// The word for what went wrong, empty where the answer has none.
fn error_code(response: &Response) -> String {
    parse::<ErrorResponse>(response).map(|error| error.error_code).unwrap_or_default()
}
