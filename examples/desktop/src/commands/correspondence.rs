//! What is due with servers, done in a thread of its own: a server that does not answer holds up nobody longer than they want to wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use vigie::tracer::{Tracer, TracerError};

use super::ending::Ending;

/// How often it is looked whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was done, and something else may be due.
    Done,
    /// Nothing is due for this long.
    Nothing(Duration),
    /// A server has not answered yet; its answer, if it comes, is that of the next turn.
    Late,
    /// The program is to end.
    Ended,
}

/// Talks to the servers that a tracer is connected to, one thing at a time.
pub(super) struct Correspondence<'a> {
    ending: &'a Ending,
    /// `None` once it ends.
    go: Option<Sender<()>>,
    done: Receiver<Result<Duration, TracerError>>,
    is_busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl<'a> Correspondence<'a> {
    pub(super) fn start(tracer: &Arc<Tracer>, ending: &'a Ending) -> anyhow::Result<Self> {
        let tracer = Arc::clone(tracer);
        let (go, asked) = channel();
        let (to, done) = channel();
        let work = move || {
            while asked.recv().is_ok() && to.send(tracer.correspond()).is_ok() {}
        };
        let thread = thread::Builder::new().name("vigie-courier".into()).spawn(work).context("the system gives no thread")?;
        Ok(Self { ending, go: Some(go), done, is_busy: false, thread: Some(thread) })
    }

    /// Does the next thing that is due, and waits for its end at most `patience`.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn turn(&mut self, patience: Duration) -> anyhow::Result<Turn> {
        if !self.is_busy {
            self.is_busy = self.go.as_ref().is_some_and(|go| go.send(()).is_ok());
        }
        let began = Instant::now();
        loop {
            match self.done.recv_timeout(LOOK.min(patience)) {
                Ok(result) => {
                    self.is_busy = false;
                    let wait = result.context("what was to be sent, or came, cannot be kept")?;
                    return Ok(if wait.is_zero() { Turn::Done } else { Turn::Nothing(wait) });
                }
                Err(RecvTimeoutError::Timeout) if self.ending.has_come() => return Ok(Turn::Ended),
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= patience => return Ok(Turn::Late),
                Err(RecvTimeoutError::Timeout) => {}
                // The panic hook has told why.
                Err(RecvTimeoutError::Disconnected) => bail!("a part of the program failed"),
            }
        }
    }

    /// Lets time pass, or less where the program is to end.
    pub(super) fn rest(&self, time: Duration) -> Turn {
        let began = Instant::now();
        while !self.ending.has_come() {
            let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) else { return Turn::Done };
            thread::sleep(left.min(LOOK));
        }
        Turn::Ended
    }
}

impl Drop for Correspondence<'_> {
    fn drop(&mut self) {
        self.go = None;
        // What waits for a server is not waited for: the store survives it, and it is sent again.
        if let Some(thread) = self.thread.take().filter(|_| !self.is_busy) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use vigie::courier::{Request, Response, Servers, Transport, TransportError};
    use vigie::radio::Radio;
    use vigie::time::{ManualClock, Timestamp};
    use vigie::tracer::Config;

    use super::*;

    const SERVERS: &str = r#"{"verification_url":"https://a","api_key":"k","publish_url":"https://b","health_authority_id":"h",
        "key_lists":[{"index_url":"https://c/index.txt","base_url":"https://c"}],"public_keys":[]}"#;

    /// A server that answers when it is let: says that it was asked, and then waits for its answer.
    struct Slow(SyncSender<()>, Receiver<u16>);

    impl Transport for Slow {
        fn exchange(&mut self, _: &Request) -> Result<Response, TransportError> {
            self.0.send(()).unwrap();
            Ok(Response { status: self.1.recv().unwrap(), ..Response::default() })
        }
    }

    #[test]
    fn nobody_waits_for_a_server_longer_than_they_want_and_its_answer_is_not_lost() {
        let clock = ManualClock::new(Timestamp::from_unix_s(1_603_364_400));
        let rng = ChaCha20Rng::seed_from_u64(1);
        let tracer = Arc::new(Tracer::open_in_memory(Config::default(), Radio::default(), clock, rng).unwrap());
        let (asked, was_asked) = std::sync::mpsc::sync_channel(1);
        let (answer, answers) = channel();
        let folder = tempfile::tempdir().unwrap();
        tracer.connect(
            Servers::from_json(SERVERS.as_bytes()).unwrap(),
            Box::new(Slow(asked, answers)),
            folder.path().join("downloads"),
        );
        tracer.sync_now().unwrap();

        let ending = Ending::default();
        let mut correspondence = Correspondence::start(&tracer, &ending).unwrap();
        assert_eq!(correspondence.turn(Duration::ZERO).unwrap(), Turn::Late);
        was_asked.recv().unwrap();
        assert_eq!(correspondence.turn(Duration::from_millis(1)).unwrap(), Turn::Late);
        answer.send(200).unwrap();
        let patience = Duration::from_secs(60);
        assert_eq!(correspondence.turn(patience).unwrap(), Turn::Done, "the answer is that of the first turn");
        assert!(matches!(correspondence.turn(patience).unwrap(), Turn::Nothing(wait) if wait > Duration::from_secs(60)));
        assert!(was_asked.try_recv().is_err(), "it was asked once");
        assert!(tracer.key_lists().unwrap()[0].seen_at.is_some());
    }
}
