//! Decoys: reports without content, at random times, so that traffic does not tell who is ill.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_core::CryptoRng;

use super::{Report, ReportDetails, Step, Verdict};
use crate::courier::code::VerificationCode;
use crate::courier::transport::Response;
use crate::courier::wire::{HMAC_KEY_LEN, PublishedKey};
use crate::keys::TemporaryExposureKey;
use crate::time::{EnIntervalNumber, Timestamp};

/// Keys in a decoy: as many as somebody has who traced for two weeks. It could be any number, for bodies are filled up to the same sizes.
const KEYS: u32 = 14;

/// Random bytes in place of a token, a certificate: about as long.
const TOKEN: usize = 192;
const CERTIFICATE: usize = 384;

/// When the decoy after this moment goes: an exponential distribution, so that the time since the last one tells nothing, at every hour alike.
pub(in crate::courier) fn next_decoy(mean: Duration, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Timestamp {
    // Uniform in (0, 1].
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    now.after(mean.mul_f64(-uniform.ln()))
}

impl Report {
    /// A decoy that goes through all steps.
    pub(in crate::courier) fn decoy(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let keys = (0..KEYS)
            .map(|day| PublishedKey::of(&TemporaryExposureKey::generate(EnIntervalNumber::new(day * 144), rng)))
            .collect();
        let mut report = Self::new(keys, ReportDetails::default(), &VerificationCode::generate(rng), rng);
        report.is_decoy = true;
        report
    }

    /// A decoy that begins with this step, where a report ended before.
    pub(super) fn decoy_at(step: Step, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut report = Self::decoy(rng);
        while report.step != step {
            report.go_on(authority, rng);
        }
        report
    }

    /// The answer of a server to a decoy is noise; that there was one is all that counts.
    pub(super) fn answer_decoy(&mut self, response: &Response, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) -> Verdict {
        if !(200..300).contains(&response.status) {
            return Verdict { tries_again: true, ..Verdict::default() };
        }
        self.go_on(authority, rng);
        Verdict::default()
    }

    fn go_on(&mut self, authority: &str, rng: &mut (impl CryptoRng + ?Sized)) {
        match self.step {
            Step::Verify => {
                self.token = noise(TOKEN, rng);
                self.hmac_key = noise(HMAC_KEY_LEN, rng);
                self.enter_certificate(rng);
            }
            Step::Certificate => self.enter_publish(noise(CERTIFICATE, rng), authority, "", rng),
            Step::Publish | Step::Ended => self.step = Step::Ended,
        }
    }
}

fn noise(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> String {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    BASE64_STANDARD.encode(bytes)
}
