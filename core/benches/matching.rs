//! How fast matching is, as ratios within one run: `cargo bench -p vigie --bench matching`.
//!
//! The ratio of two times, taken in turns on one machine, says nearly the same on a laptop and on a loaded server; nanoseconds do not, and are printed beside it.
//! The work is dense: what was heard lies evenly over 14 whole days, so that no part of a key's life can be skipped.

#![allow(missing_docs, clippy::print_stdout, reason = "a program that prints figures")]

mod baseline;

use std::fs::File;
use std::hint::black_box;
use std::time::{Duration, Instant};

use baseline::{hash_map::HashMapMatcher, prefix_index::PrefixIndexMatcher};
use criterion::{Criterion, Throughput};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vigie::diagnosis::{DiagnosisKey, ExportHeader, SignedExport, SigningKey, VerifiedExport, write_export};
use vigie::encounters::EncounterId;
use vigie::keys::{RollingProximityIdentifier, TemporaryExposureKey};
use vigie::matching::{Match, Matcher, StoredIdentifier};
use vigie::time::{Date, EnIntervalNumber, INTERVALS_PER_DAY};

const DAYS: u32 = 14;
const FIRST_DAY: Date = Date::from_days(18_557);
const SEED: u64 = 20_201_022;

fn main() {
    // `cargo test --benches` starts this as well; there it is enough that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(10).measurement_time(Duration::from_secs(3));
    alone(&mut criterion);
    criterion.final_summary();
    let ratios = [against_hash_map(), against_prefix_index(), of_a_whole_file()];
    println!("\nRatios of this run:");
    ratios.iter().for_each(|line| println!("{line}"));
}

/// The matcher by itself: criterion remembers the last run and shows what a change did.
fn alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher");
    for identifiers in [5_000, 50_000, 500_000] {
        let work = Work::new(identifiers, 20_000);
        let matcher = Matcher::new(work.identifiers.iter().copied());
        group.throughput(Throughput::Elements(work.keys.len() as u64));
        group.bench_function(format!("{identifiers} identifiers"), |b| b.iter(|| find(&matcher, black_box(&work.keys))));
    }
}

/// The straightforward matcher: 50,000 identifiers against 100,000 keys.
fn against_hash_map() -> String {
    let work = Work::new(50_000, 100_000);
    let matcher = Matcher::new(work.identifiers.iter().copied());
    let baseline = HashMapMatcher::new(&work.identifiers);
    let times = work.in_turns(|keys| find(&matcher, keys), |keys| baseline.find(keys));
    times.at_least(4.5, "hkdf + aes encrypt_blocks + HashMap, 50,000 identifiers against 100,000 keys")
}

/// The well-known layout: 500,000 identifiers. Fewer keys, because it takes so long.
fn against_prefix_index() -> String {
    let work = Work::new(500_000, 40_000);
    let matcher = Matcher::new(work.identifiers.iter().copied());
    let baseline = PrefixIndexMatcher::new(&work.identifiers);
    let times = work.in_turns(|keys| find(&matcher, keys), |keys| baseline.find(keys));
    times.at_least(20.0, "two-byte prefix index of strings, 500,000 identifiers")
}

/// Reading, verifying and matching, beside matching alone: 50,000 identifiers, five files of 100,000 keys.
fn of_a_whole_file() -> String {
    const KEYS: usize = 100_000;
    let mut work = Work::new(50_000, 5 * KEYS as u32);
    // In the order that a file has, so that both find the same.
    work.keys.chunks_mut(KEYS).for_each(|keys| keys.sort_by_key(|key| *key.key.as_bytes()));
    let matcher = Matcher::new(work.identifiers.iter().copied());
    let signing = SigningKey::generate().expect("the system has random bytes");
    let accepted = std::slice::from_ref(signing.public_key());
    let folder = tempfile::tempdir().expect("there is room for files");
    // A file is named by its first key.
    let path = |keys: &[DiagnosisKey]| folder.path().join(format!("{:?}", keys[0].key.as_bytes()));
    for keys in work.keys.chunks(KEYS) {
        let file = write_export(&ExportHeader::default(), keys, &[], &signing).expect("within the limits");
        std::fs::write(path(keys), file).expect("there is room for files");
    }
    let from_files = |keys: &[DiagnosisKey]| {
        let mut found = Vec::new();
        for (keys, first) in keys.chunks(KEYS).zip((0..).step_by(KEYS)) {
            let file = File::open(path(keys)).expect("it was written");
            let export = SignedExport::read(file).and_then(|export| export.verify(accepted)).expect("it is signed");
            find_in_file(&matcher, &export, |m| found.push(Match { key: first + m.key, ..m }));
        }
        found
    };
    let times = work.in_turns(|keys| find(&matcher, keys), from_files);
    times.at_most(1.5, "read, verify and match files of 100,000 keys, beside matching alone, 50,000 identifiers")
}

/// As a tracer does it: some thousand keys at a time, none of them kept.
fn find_in_file(matcher: &Matcher, export: &VerifiedExport, mut found: impl FnMut(Match)) {
    const BATCH: usize = 8_192;
    let mut keys = export.keys().filter_map(|key| key.key.ok());
    let (mut batch, mut first) = (Vec::with_capacity(BATCH), 0);
    loop {
        batch.clear();
        batch.extend(keys.by_ref().take(BATCH));
        if batch.is_empty() {
            return;
        }
        matcher.find(&batch, |m| found(Match { key: first + m.key, ..m }));
        first += batch.len();
    }
}

fn find(matcher: &Matcher, keys: &[DiagnosisKey]) -> Vec<Match> {
    let mut found = Vec::new();
    matcher.find(keys, |m| found.push(m));
    found
}

/// What was heard and what was published; every hundredth identifier is one of a key, some of them heard too late.
struct Work {
    identifiers: Vec<StoredIdentifier>,
    keys: Vec<DiagnosisKey>,
}

impl Work {
    fn new(identifiers: u32, keys: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(SEED);
        let start = FIRST_DAY.first_interval();
        let keys: Vec<_> = (0..keys).map(|i| diagnosis_key(start.plus(i % DAYS * INTERVALS_PER_DAY), &mut rng)).collect();
        let identifiers = (0..identifiers)
            .map(|i| {
                let mut rpi = [0; 16];
                rng.fill_bytes(&mut rpi);
                let mut stored = StoredIdentifier {
                    rpi: RollingProximityIdentifier(rpi),
                    interval: start.plus(rng.next_u32() % (DAYS * INTERVALS_PER_DAY)),
                    encounter: EncounterId(i.into()),
                };
                if i % 100 == 0 {
                    let key = &keys[i as usize / 100 * 3].key;
                    let interval = key.rolling_start().plus(rng.next_u32() % INTERVALS_PER_DAY);
                    stored.rpi = key.identifier(interval);
                    stored.interval = interval.plus(rng.next_u32() % 16);
                }
                stored
            })
            .collect();
        Self { identifiers, keys }
    }

    /// Both in turns, a fifth of the keys at a time, so that whatever else the machine does falls on both; and both find the same.
    fn in_turns(&self, ours: impl Fn(&[DiagnosisKey]) -> Vec<Match>, theirs: impl Fn(&[DiagnosisKey]) -> Vec<Match>) -> Times {
        const ROUNDS: usize = 5;
        assert_same(ours(&self.keys), theirs(&self.keys));
        let turns = (0..ROUNDS).flat_map(|_| self.keys.chunks(self.keys.len() / 5));
        let times: Vec<_> = turns.map(|keys| (ns_per_key(keys, &ours), ns_per_key(keys, &theirs))).collect();
        Times {
            ours: median(times.iter().map(|(ours, _)| *ours)),
            theirs: median(times.iter().map(|(_, theirs)| *theirs)),
            ratio: median(times.iter().map(|(ours, theirs)| theirs / ours)),
        }
    }
}

/// Medians: nanoseconds a key, and their ratio turn by turn.
struct Times {
    ours: f64,
    theirs: f64,
    ratio: f64,
}

impl Times {
    fn at_least(&self, target: f64, than: &str) -> String {
        let Self { ours, theirs, ratio } = self;
        let verdict = if *ratio >= target { "PASS " } else { "BELOW" };
        format!("{verdict} {ratio:6.2} times as fast (target {target}) as {than}: {ours:.0} ns a key, theirs {theirs:.0}")
    }

    fn at_most(&self, target: f64, what: &str) -> String {
        let Self { ours, theirs, ratio } = self;
        let verdict = if *ratio <= target { "PASS " } else { "ABOVE" };
        format!("{verdict} {ratio:6.2} times the time (at most {target}) to {what}: {theirs:.0} ns a key, alone {ours:.0}")
    }
}

fn diagnosis_key(start: EnIntervalNumber, rng: &mut ChaCha20Rng) -> DiagnosisKey {
    let key = TemporaryExposureKey::generate(start, rng);
    DiagnosisKey { key, report_type: None, days_since_onset: None, transmission_risk: 0 }
}

fn assert_same(mut ours: Vec<Match>, mut theirs: Vec<Match>) {
    ours.sort_unstable();
    theirs.sort_unstable();
    assert!(!ours.is_empty() && ours == theirs, "both must find the same: {} and {}", ours.len(), theirs.len());
}

fn ns_per_key(keys: &[DiagnosisKey], find: impl Fn(&[DiagnosisKey]) -> Vec<Match>) -> f64 {
    let begin = Instant::now();
    black_box(find(black_box(keys)));
    begin.elapsed().as_nanos() as f64 / keys.len() as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
