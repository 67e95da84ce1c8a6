//! Decoys (`X-Chaff`): answered after a delay and with a length like those of a recent real answer, and nothing is looked up.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::StatusCode;
use axum::response::Response;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng};
use vigie::courier::wire;

use super::body;
use super::public::Endpoint;

/// Real answers that are remembered for each call.
const REMEMBERED: usize = 256;

/// Before there are any: as long as a commit on a plain disk takes.
const FIRST_DELAY: Duration = Duration::from_millis(15);

/// Length of an empty answer without its padding.
const FRAME: usize = r#"{"padding":""}"#.len();

/// How recent real answers looked from outside.
#[derive(Default)]
pub struct Decoys([Mutex<VecDeque<(Duration, usize)>>; Endpoint::ALL]);

impl Decoys {
    /// Remembers how long a real answer took, and its length.
    pub(super) fn remember(&self, endpoint: Endpoint, took: Duration, response: &Response) {
        let length = response.body().size_hint().lower() as usize;
        let mut recent = self.0[endpoint as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back((took, length));
    }

    fn draw(&self, endpoint: Endpoint, rng: &mut ChaCha20Rng) -> (Duration, usize) {
        let recent = self.0[endpoint as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let at = rng.next_u64() as usize % recent.len().max(1);
        recent.get(at).copied().unwrap_or_else(|| (FIRST_DELAY, wire::padding(1024, rng).len() + FRAME))
    }

    /// The answer to a decoy.
    pub(super) async fn answer(&self, endpoint: Endpoint, mut rng: ChaCha20Rng) -> Response {
        let (delay, length) = self.draw(endpoint, &mut rng);
        tokio::time::sleep(delay).await;
        body::bytes(StatusCode::OK, filled(length, &mut rng))
    }
}

/// JSON of this length that says nothing.
fn filled(length: usize, rng: &mut (impl CryptoRng + ?Sized)) -> Vec<u8> {
    let mut padding = wire::padding(length, rng);
    padding.truncate(length.saturating_sub(FRAME));
    format!(r#"{{"padding":"{padding}"}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use rand_core::SeedableRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_decoy_takes_as_long_and_is_as_long_as_a_real_answer() {
        let decoys = Decoys::default();
        let real = body::bytes(StatusCode::OK, vec![b' '; 2345]).into_response();
        decoys.remember(Endpoint::Publish, Duration::from_millis(1234), &real);
        let begun = tokio::time::Instant::now();
        let answer = decoys.answer(Endpoint::Publish, ChaCha20Rng::seed_from_u64(1)).await;
        assert_eq!(begun.elapsed().as_millis(), 1234);
        assert_eq!(answer.headers(), real.headers());
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert_eq!(bytes.len(), 2345);
        assert!(serde_json::from_slice::<wire::PublishResponse>(&bytes).is_ok());
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
            decoys.remember(Endpoint::Verify, Duration::ZERO, &().into_response());
        }
        assert_eq!(decoys.0[Endpoint::Verify as usize].lock().unwrap().len(), REMEMBERED);
    }
}
