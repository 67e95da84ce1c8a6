//! Decoys (`X-Chaff`): answered after a delay and with a length like those of a recent real answer, and nothing is looked up.
//!
//! ```text
//! length of a decoy = length of a recent answer without its padding + fresh padding, drawn as that of a real one
//! ```

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use vigie::courier::wire;

use super::body;
use super::public::{Endpoint, PADDING};

/// Real answers that are remembered for each call.
const REMEMBERED: usize = 256;

/// Before there are any: as long as a commit on a plain disk takes.
const FIRST_DELAY: Duration = Duration::from_millis(15);

/// And as many bytes without the padding as an answer of verify, certificate and publish has that was not refused.
const FIRST_LENGTHS: [usize; Endpoint::ALL] = [91, 384, 115];

/// Length of an empty answer without its padding.
const FRAME: usize = r#"{"padding":""}"#.len();

/// How long recent real answers took, and their lengths without padding.
#[derive(Default)]
pub struct Decoys([Mutex<VecDeque<(Duration, usize)>>; Endpoint::ALL]);

impl Decoys {
    /// Remembers how long a real answer took, and its length without the padding.
    pub(super) fn remember(&self, endpoint: Endpoint, took: Duration, length: usize) {
        let mut recent = self.0[endpoint as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((took, length));
    }

    fn draw(&self, endpoint: Endpoint, rng: &mut ChaCha20Rng) -> (Duration, usize) {
        let recent = self.0[endpoint as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let at = rng.next_u64() as usize % recent.len().max(1);
        recent.get(at).copied().unwrap_or((FIRST_DELAY, FIRST_LENGTHS[endpoint as usize]))
    }

    /// The answer to a decoy.
    pub(super) async fn answer(&self, endpoint: Endpoint, mut rng: ChaCha20Rng) -> Response {
        let (delay, length) = self.draw(endpoint, &mut rng);
        tokio::time::sleep(delay).await;
        body::bytes(StatusCode::OK, filled(length, &mut rng))
    }
}

/// JSON that says nothing, of this length and that of a real padding.
fn filled(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> Vec<u8> {
    let mut content = wire::padding(length, rng);
    content.truncate(length.saturating_sub(FRAME));
    format!(r#"{{"padding":"{content}{}"}}"#, wire::padding(PADDING, rng)).into_bytes()
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody;
    use axum::response::IntoResponse;
    use rand_core::SeedableRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_decoy_takes_as_long_as_a_real_answer_and_has_padding_of_its_own() {
        let decoys = Decoys::default();
        decoys.remember(Endpoint::Publish, Duration::from_millis(1234), 345);
        let real = body::bytes(StatusCode::OK, Vec::new()).into_response();
        let mut lengths = Vec::new();
        for seed in 0..200 {
            let begun = tokio::time::Instant::now();
            let answer = decoys.answer(Endpoint::Publish, ChaCha20Rng::seed_from_u64(seed)).await;
            assert_eq!(begun.elapsed().as_millis(), 1234);
            assert_eq!(answer.headers(), real.headers());
            let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
            assert!(serde_json::from_slice::<wire::PublishResponse>(&bytes).is_ok());
            lengths.push(bytes.len());
        }
        // 1024 to 2048 bytes in base64.
        assert!(lengths.iter().all(|length| (345 + 1368..=345 + 2732).contains(length)), "{lengths:?}");
        lengths.sort_unstable();
        assert!(lengths[20] < 345 + 1700 && lengths[180] > 345 + 2400, "drawn from all of it: {lengths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn before_any_real_answer_a_decoy_has_the_length_of_a_padded_one() {
        let answer = Decoys::default().answer(Endpoint::Verify, ChaCha20Rng::seed_from_u64(1)).await;
        assert!((1300..=2800).contains(&answer.body().size_hint().lower()), "{:?}", answer.body().size_hint());
    }

    #[test]
    fn only_so_many_answers_are_remembered() {
        let decoys = Decoys::default();
        for _ in 0..2 * REMEMBERED {
            decoys.remember(Endpoint::Verify, Duration::ZERO, 0);
        }
        assert_eq!(decoys.0[Endpoint::Verify as usize].lock().unwrap().len(), REMEMBERED);
    }
}
