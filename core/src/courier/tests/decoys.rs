//! Decoys: on the wire nobody can tell them from reports.

use super::server::{Fate, Seen};
use super::*;

/// The requests of one operation: sizes, gaps in milliseconds, and how many there were.
#[derive(Default)]
struct Sample {
    sizes: [Vec<f64>; 3],
    gaps: Vec<f64>,
    counts: Vec<f64>,
}

impl Sample {
    fn add(&mut self, seen: &[Seen]) {
        for (step, name) in ["/verify", "/certificate", "/publish"].iter().enumerate() {
            self.sizes[step].extend(seen.iter().filter(|seen| seen.url.ends_with(name)).map(|seen| seen.length as f64));
        }
        self.gaps.extend(seen.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_millis() as f64));
        self.counts.push(seen.len() as f64);
    }
}

/// The Kolmogorov-Smirnov statistic of two samples, as a multiple of what is exceeded by chance once in a thousand times.
fn difference(one: &[f64], other: &[f64]) -> f64 {
    let (mut one, mut other) = (one.to_vec(), other.to_vec());
    one.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    let share = |sample: &[f64], limit: f64| sample.partition_point(|value| *value <= limit) as f64 / sample.len() as f64;
    let largest = one.iter().chain(&other).map(|value| (share(&one, *value) - share(&other, *value)).abs()).fold(0.0, f64::max);
    let (n, m) = (one.len() as f64, other.len() as f64);
    largest / (1.949 * ((n + m) / (n * m)).sqrt())
}

/// What happens to the requests of the n-th operation: the same for reports and decoys.
fn fates(n: u64) -> Vec<Fate> {
    match n % 5 {
        0 => vec![Fate::Lost],
        1 => vec![Fate::Well, Fate::AnswerLost, Fate::Busy],
        2 => vec![Fate::Well, Fate::Well, Fate::Busy],
        _ => Vec::new(),
    }
}

fn wrong_codes(n: u64) -> bool {
    n.is_multiple_of(7)
}

fn reports() -> Sample {
    let mut sample = Sample::default();
    for n in 0..500 {
        let (mut phone, mut server) = (Phone::new(n), Server::new(true));
        phone.servers.decoy_mean_s = u64::MAX / 1_000;
        server.fates = fates(n);
        let code = if wrong_codes(n) { VerificationCode::generate(&mut phone.rng) } else { server.issue() };
        phone.report(&code);
        phone.run(&mut server, HOUR * 3, |_| false);
        sample.add(&server.seen);
    }
    sample
}

fn decoys(change: impl Fn(&mut Vec<Seen>)) -> Sample {
    let mut sample = Sample::default();
    for n in 0..500 {
        let (mut phone, mut server) = (Phone::new(10_000 + n), Server::new(true));
        phone.servers.decoy_mean_s = u64::MAX / 1_000;
        server.fates = fates(n);
        report::send_decoy(&mut phone.context()).unwrap();
        phone.run(&mut server, HOUR * 3, |_| false);
        assert!(server.seen.iter().all(|seen| seen.is_chaff));
        change(&mut server.seen);
        sample.add(&server.seen);
    }
    sample
}

fn largest_difference(one: &Sample, other: &Sample) -> f64 {
    let sizes = (0..3).map(|step| difference(&one.sizes[step], &other.sizes[step]));
    sizes.chain([difference(&one.gaps, &other.gaps), difference(&one.counts, &other.counts)]).fold(0.0, f64::max)
}

#[test]
fn five_hundred_decoys_cannot_be_told_from_five_hundred_reports() {
    let reports = reports();
    let found = largest_difference(&reports, &decoys(|_| {}));
    assert!(found < 1.0, "{found}");
    let without_a_step = decoys(|seen| seen.retain(|seen| !seen.url.ends_with("/certificate")));
    assert!(largest_difference(&reports, &without_a_step) > 1.0, "a decoy that lacks one step is noticed");
    // base64 comes in fours: a length must not show what was filled up.
    let remainders = |sample: &Sample, step: usize| sample.sizes[step].iter().map(|size| size % 4.0).collect::<Vec<_>>();
    let decoys_as_they_are = decoys(|_| {});
    for step in 0..3 {
        assert!(difference(&remainders(&reports, step), &remainders(&decoys_as_they_are, step)) < 1.0);
    }
    let longer = decoys(|seen| seen.iter_mut().for_each(|seen| seen.length += 150));
    assert!(largest_difference(&reports, &longer) > 1.0, "and so is one that is longer");
}

#[test]
fn decoys_come_at_random_at_every_hour_and_leave_nothing_behind() {
    let (mut phone, mut server) = (Phone::new(1), Server::new(true));
    phone.servers.decoy_mean_s = 6 * 3_600;
    phone.run(&mut server, HOUR * 24 * 100, |_| false);
    let begun: Vec<Timestamp> = server.seen.iter().filter(|seen| seen.url.ends_with("/verify")).map(|seen| seen.at).collect();
    assert!((340..460).contains(&begun.len()), "{} in 100 days, 400 expected", begun.len());
    let night = begun.iter().filter(|at| at.unix_s().rem_euclid(86_400) < 6 * 3_600).count();
    assert!((70..130).contains(&night), "{night} between midnight and six, 100 expected");
    assert!(phone.store.outbox().unwrap().is_empty());
    assert!(super::reports(&phone.store).unwrap().is_empty() && phone.news.is_empty(), "the app hears nothing of them");
}

#[test]
fn the_dummy_header_is_as_long_as_the_one_of_a_decoy() {
    assert_eq!(wire::CHAFF_HEADER.len(), wire::PLAIN_HEADER.len());
    // Bits of the Huffman code of RFC 7541, appendix B.
    let bits = |name: &str| -> u32 {
        let length = |letter| match letter {
            'a' | 'c' | 'e' | 'i' | 'o' | 's' | 't' => 5,
            '-' | 'b' | 'd' | 'f' | 'g' | 'h' | 'l' | 'm' | 'n' | 'p' | 'r' | 'u' => 6,
            _ => 7,
        };
        name.chars().map(length).sum()
    };
    assert_eq!(bits(wire::CHAFF_HEADER), bits(wire::PLAIN_HEADER));
}
