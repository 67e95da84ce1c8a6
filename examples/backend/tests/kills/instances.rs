//! Two instances on one PostgreSQL and one folder, each a process that publishes all the time, killed at random moments: between the commit of a batch,
//! its file, the mark that it is written, and the index. No key is lost or published twice, and the index only ever grows at its end.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::courier::wire::{self, CertificateRequest, PublishRequest, PublishedKey, VerifyRequest};
use vigie::diagnosis::SignedExport;
use vigie::keys::TemporaryExposureKey;
use vigie::time::Clock;
use vigie_backend::rules::{self, Context, Issue, Policy, Report, TestType};
use vigie_backend::{Opened, Server, open};

use super::common::Postgresql;
use super::{Role, Running, number, wall, zips};

/// Longer than a batch takes, so that kills fall into every part of it, and between two.
const LIFE_MS: u64 = 40;

/// How often is killed at most until every step was seen half done, for each kill that is asked for.
const PATIENCE: u64 = 20;

/// What was left by instances that were killed together: how many batches were planned alone, how many had a file, too, and how many were marked as
/// written, and not in the index.
#[derive(Debug, Default)]
struct Left {
    planned: usize,
    with_file: usize,
    marked: usize,
}

impl Left {
    fn is_complete(&self) -> bool {
        self.planned > 0 && self.with_file > 0 && self.marked > 0
    }
}

#[test]
#[ignore = "a role: an instance that publishes all the time"]
fn role_instance() {
    let Some(role) = Role::from_environment() else { return };
    let mut config = role.server();
    (config.policy.minimum_keys, config.policy.maximum_keys) = (3, 5);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = Server::start(config, Arc::new(role.clock())).await.unwrap();
        loop {
            if server.publish_now().await.is_ok() {
                std::fs::write(role.folder.join(format!("{}-ready", role.name)), "").unwrap();
            }
        }
    });
}

struct Instances {
    folder: tempfile::TempDir,
    origin: Duration,
    opened: Opened,
    rng: ChaCha20Rng,
    running: [Option<Running>; 2],
    reported: Vec<[u8; 16]>,
}

impl Instances {
    fn start(seed: u64, database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("database"), database).unwrap();
        let role = Role { folder: folder.path().to_path_buf(), name: String::new(), origin: wall() };
        let opened = open(&role.server()).unwrap();
        let rng = ChaCha20Rng::seed_from_u64(seed);
        let mut instances = Self { folder, origin: role.origin, opened, rng, running: [None, None], reported: Vec::new() };
        instances.start_those_that_are_killed();
        instances
    }

    fn role(&self, name: &str) -> Role {
        Role { folder: self.folder.path().to_path_buf(), name: name.to_owned(), origin: self.origin }
    }

    /// Until each of them has published, or found that there is nothing.
    fn start_those_that_are_killed(&mut self) {
        let killed: Vec<usize> = (0..2).filter(|at| self.running[*at].is_none()).collect();
        let ready = |at: &usize| self.folder.path().join(format!("instance{at}-ready"));
        for at in &killed {
            let _ = std::fs::remove_file(ready(at));
        }
        for at in &killed {
            self.running[*at] = Some(Running(self.role(&format!("instance{at}")).start("instances::role_instance")));
        }
        let deadline = wall() + Duration::from_secs(60);
        while !killed.iter().all(|at| self.folder.path().join(format!("instance{at}-ready")).exists()) {
            assert!(wall() < deadline, "an instance does not start");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill(&mut self, which: &[usize]) {
        for at in which {
            self.running[*at].as_mut().unwrap().0.kill().unwrap();
        }
        for at in which {
            self.running[*at] = None;
        }
    }

    /// A report of three keys that are free at once, by the rules themselves.
    fn report(&mut self) {
        let now = self.role("").clock().now();
        let yesterdays = |back: u32| now.interval().day_start().minus(144 * back);
        let generated: Vec<_> = (1..=3).map(|back| TemporaryExposureKey::generate(yesterdays(back), &mut self.rng)).collect();
        let keys: Vec<PublishedKey> = generated.iter().map(PublishedKey::of).collect();
        let (Opened { secrets, database, .. }, policy, rng) = (&mut self.opened, Policy::default(), &mut self.rng);
        let reported = database.run(|transaction| {
            let context = &mut Context { now, secrets, policy: &policy, rng };
            let issue = Issue { test_type: TestType::Confirmed, onset: None, tested: None, is_short: false };
            let code = rules::issue(transaction, &issue, context)?.code.as_str().to_owned();
            let verify = VerifyRequest { code, accept: Vec::new(), padding: String::new() };
            let token = rules::verify(transaction, &verify, None, context)?.token;
            let ekeyhmac = BASE64_STANDARD.encode(wire::keys_hmac(&keys, &[7; 32]));
            let claims =
                rules::certificate(transaction, &CertificateRequest { token, ekeyhmac, padding: String::new() }, context)?;
            let request = PublishRequest {
                temporary_exposure_keys: keys.clone(),
                health_authority_id: policy.health_authority_id.clone(),
                verification_payload: context.secrets.certificates.sign(&claims).unwrap(),
                hmac_key: BASE64_STANDARD.encode([7; 32]),
                symptom_onset_interval: 0,
                traveler: false,
                revision_token: String::new(),
                padding: String::new(),
            };
            rules::publish(transaction, &Report::check(&request, context)?, context)
        });
        assert_eq!(reported.unwrap().inserted_exposures, 3);
        self.reported.extend(generated.iter().map(|key| *key.as_bytes()));
    }

    fn public(&self) -> PathBuf {
        self.folder.path().join("server/public")
    }

    /// What instances left that were killed together. What must never be left is found here, too.
    fn look(&mut self, left: &mut Left) {
        let public = self.public();
        let rows = self.opened.database.run(|transaction| transaction.query("SELECT name, written_at FROM batch", &[])).unwrap();
        let listed: BTreeSet<String> = lines(&public).into_iter().collect();
        for row in &rows {
            let name = row.text(0).unwrap();
            let is_written = row.optional_integer(1).unwrap().is_some();
            match (is_written, public.join(name).exists(), listed.contains(name)) {
                (false, false, false) => left.planned += 1,
                (false, true, false) => left.with_file += 1,
                (true, true, false) => left.marked += 1,
                (true, true, true) => {}
                wrong => panic!("{name}: written, there, listed: {wrong:?}"),
            }
        }
        assert!(listed.len() <= rows.len());
    }

    /// Everything that was reported is in the files once, and there are no other files.
    fn check(&self) {
        let keys = self.role("").servers().unwrap().authority_keys().unwrap();
        let listed: Vec<PathBuf> = lines(&self.public()).iter().map(|name| self.public().join(name)).collect();
        let mut times = HashMap::<[u8; 16], usize>::new();
        for file in &listed {
            let export = SignedExport::read(std::fs::File::open(file).unwrap()).unwrap().verify(&keys).unwrap();
            for exported in export.keys() {
                *times.entry(*exported.key.unwrap().key.as_bytes()).or_default() += 1;
            }
        }
        assert!(times.values().all(|times| *times == 1), "a key is published once, a made-up one, too");
        assert!(self.reported.iter().all(|key| times.contains_key(key)), "a key is lost");
        let mut there = Vec::new();
        zips(&self.public(), &mut there);
        there.sort();
        assert_eq!(there, listed, "each file is listed, oldest first");
    }
}

fn lines(public: &Path) -> Vec<String> {
    std::fs::read_to_string(public.join("index.txt")).unwrap().lines().map(str::to_owned).collect()
}

/// Ends the watch, also where the test fails: it would be waited for.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the index until it is told to end, as phones do. Gives how often it had grown.
fn watch(public: &Path, end: &AtomicBool) -> usize {
    let (mut seen, mut grown) = (Vec::new(), 0);
    while !end.load(Ordering::Relaxed) {
        let now = lines(public);
        assert!(now.starts_with(&seen), "an older index is in the place of a newer one");
        grown += usize::from(now.len() > seen.len());
        seen = now;
        thread::sleep(Duration::from_micros(500));
    }
    grown
}

#[test]
fn two_instances_killed_at_any_step_publish_every_key_once() {
    let Some(postgresql) = Postgresql::start() else { return };
    let mut instances = Instances::start(number("VIGIE_SEED", 1), &postgresql.new_database());
    let (wanted, mut kills, mut left) = (number("VIGIE_KILLS", 30), 0, Left::default());
    let (public, end) = (instances.public(), AtomicBool::new(false));
    thread::scope(|scope| {
        let phones = scope.spawn(|| watch(&public, &end));
        let ends = Ends(&end);
        while kills < wanted || (!left.is_complete() && kills < PATIENCE * wanted) {
            for _ in 0..=instances.rng.next_u64() % 6 {
                instances.report();
            }
            thread::sleep(Duration::from_millis(instances.rng.next_u64() % LIFE_MS));
            let which: &[usize] = [&[0_usize][..], &[1], &[0, 1]][(instances.rng.next_u64() % 3) as usize];
            instances.kill(which);
            kills += which.len() as u64;
            if which.len() == 2 {
                instances.look(&mut left);
            }
            instances.start_those_that_are_killed();
        }
        // One whole round of an instance that nobody kills.
        instances.kill(&[0, 1]);
        instances.start_those_that_are_killed();
        instances.kill(&[0, 1]);
        drop(ends);
        assert!(phones.join().unwrap() > 1);
    });
    instances.check();
    eprintln!("{kills} kills, {} keys; left by both: {left:?}", instances.reported.len());
    assert!(left.is_complete(), "a step was never left half done: {left:?}");
}
