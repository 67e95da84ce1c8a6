mod bulletin;
mod decoys;
mod lists;
mod reports;
mod server;
mod sign_ups;

use std::path::Path;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::keys::schedule::{Sending, next_sending, release};
use server::Server;

const START: Timestamp = Timestamp::from_unix_s(1_605_000_000);

/// A phone: a store, a courier that is thrown away and made anew before each thing it does, and a clock.
struct Phone {
    store: Store,
    servers: Servers,
    folder: tempfile::TempDir,
    now: Timestamp,
    rng: ChaCha20Rng,
    news: Vec<News>,
}

impl Phone {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut store = Store::in_memory(&mut rng).unwrap();
        // Three days of keys.
        for day in (0..3).rev() {
            let then = START.before(Duration::from_secs(day * 86_400)).interval();
            let sending: Sending = next_sending(&store.own_keys().unwrap(), then, &mut rng);
            store.keep_sending(&sending).unwrap();
        }
        let json = br#"{"verification_url":"https://verify.example","api_key":"key","publish_url":"https://keys.example/v1/publish",
            "health_authority_id":"lu","key_lists":[{"index_url":"https://files.example/index.txt","base_url":"https://files.example/"}],
            "public_keys":[]}"#;
        let servers = Servers::from_json(json).unwrap();
        Self { store, servers, folder: tempfile::tempdir().unwrap(), now: START, rng, news: Vec::new() }
    }

    fn courier(&self) -> Courier {
        Courier::new(self.servers.clone(), self.folder.path().to_path_buf())
    }

    fn context(&mut self) -> Context<'_> {
        Context { store: &mut self.store, now: self.now, rng: &mut self.rng }
    }

    fn report(&mut self, code: &VerificationCode) -> ReportId {
        let now = self.now.interval();
        let release = release(&self.store.own_keys().unwrap(), now, now, &mut self.rng);
        make_report(&mut self.context(), &release, code, ReportDetails::default()).unwrap()
    }

    fn state(&self, id: ReportId) -> ReportState {
        reports(&self.store).unwrap().into_iter().find(|report| report.id == id).unwrap().state
    }

    /// Does what is due, letting time pass where nothing is, until `ends` or for so long.
    fn run(&mut self, server: &mut Server, limit: Duration, mut ends: impl FnMut(&Self) -> bool) {
        let end = self.now.after(limit);
        while self.now < end && !ends(self) {
            match self.courier().next(&mut self.context()).unwrap() {
                Next::Wait(wait) => self.now = self.now.after(wait.max(Duration::from_secs(1))),
                Next::Send(errand) => {
                    let result = server.exchange_at(&errand.request, self.now);
                    self.now = self.now.after(Duration::from_millis(300));
                    let news = self.courier().answered(&mut self.context(), *errand, result).unwrap();
                    self.news.extend(news);
                }
                Next::Match(file) => {
                    let matched = server.judge(&file.file);
                    let news = self.courier().matched(&mut self.context(), &file, matched).unwrap();
                    self.news.extend(news);
                }
            }
        }
    }

    fn run_report(&mut self, server: &mut Server, id: ReportId, limit: Duration) -> ReportState {
        self.run(server, limit, |phone| {
            !matches!(phone.state(id), ReportState::WaitingUntil(_) | ReportState::WaitingForNetwork)
        });
        self.state(id)
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn code(server: &mut Server) -> VerificationCode {
    server.issue()
}

fn exists(path: &Path) -> bool {
    path.exists()
}
