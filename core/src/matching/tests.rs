use std::collections::HashMap;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::day::looks;
use super::*;

/// 2 April 2020, the day of the published vectors.
const MIDNIGHT: u32 = 2_642_976;

fn key(seed: u64, start: u32, period: u8) -> DiagnosisKey {
    let mut bytes = [0; 16];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    let key = TemporaryExposureKey::new(&bytes, start.into(), period.into()).unwrap();
    DiagnosisKey { key, report_type: None, days_since_onset: None, transmission_risk: 0 }
}

fn stored(rpi: RollingProximityIdentifier, heard: u32, encounter: i64) -> StoredIdentifier {
    StoredIdentifier { rpi, interval: EnIntervalNumber::new(heard), encounter: EncounterId(encounter) }
}

/// The identifier of `key` for the interval `made`, heard at `heard`.
fn heard(key: &DiagnosisKey, made: u32, heard: u32, encounter: i64) -> StoredIdentifier {
    stored(key.key.identifier(EnIntervalNumber::new(made)), heard, encounter)
}

fn find(identifiers: &[StoredIdentifier], keys: &[DiagnosisKey]) -> Vec<Match> {
    let mut found = Vec::new();
    Matcher::new(identifiers.iter().copied()).find(keys, |m| found.push(m));
    found.sort_unstable();
    found
}

/// The rule as it is written down, by way of the plain derivation.
fn find_naively(identifiers: &[StoredIdentifier], keys: &[DiagnosisKey]) -> Vec<Match> {
    let mut table = HashMap::<_, Vec<_>>::new();
    identifiers.iter().for_each(|stored| table.entry(stored.rpi).or_default().push(stored));
    let mut found = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        for (interval, rpi) in key.key.identifiers() {
            for stored in table.get(&rpi).into_iter().flatten() {
                if stored.interval.number().abs_diff(interval.number()) <= 12 {
                    found.push(Match { key: index, encounter: stored.encounter, interval });
                }
            }
        }
    }
    found.sort_unstable();
    found
}

fn derived(keys: &[TemporaryExposureKey]) -> Vec<[u8; 16]> {
    let mut derivation = KeyDerivation::new();
    let mut identifiers = Vec::new();
    for lanes in keys.chunks(LANES) {
        for (key, rpik) in lanes.iter().zip(derivation.identifier_keys(lanes.iter().map(TemporaryExposureKey::as_bytes))) {
            let first = (key.rolling_start().number() % INTERVALS_PER_DAY) as usize;
            let part = first..first + usize::from(key.rolling_period());
            identifiers.extend(Identifiers::of_day(key.rolling_start().date()).derive(rpik, part));
        }
    }
    identifiers
}

#[test]
fn the_fast_derivation_gives_all_144_published_identifiers() {
    let hex = |text: &str| u128::from_str_radix(text, 16).unwrap().to_be_bytes();
    let key = TemporaryExposureKey::new(&hex("75c734c6dd1a782de7a965da5eb93125"), MIDNIGHT.into(), 144).unwrap();
    let rows = include_str!("../keys/vectors.txt").lines().filter(|line| !line.starts_with('#'));
    let published: Vec<_> = rows.map(|row| hex(row.split(' ').nth(1).unwrap())).collect();
    assert_eq!(published.len(), 144);
    assert!(derived(&[key]) == published);
}

/// Keys that begin anywhere within a day and end with it at the latest.
fn keys_within_a_day() -> impl Strategy<Value = Vec<TemporaryExposureKey>> {
    let start = 0..u32::MAX / INTERVALS_PER_DAY;
    let key = (any::<[u8; 16]>(), start, 0..INTERVALS_PER_DAY, 1..=INTERVALS_PER_DAY).prop_filter_map(
        "weak",
        |(key, day, offset, period)| {
            let period = period.min(INTERVALS_PER_DAY - offset);
            TemporaryExposureKey::new(&key, (day * INTERVALS_PER_DAY + offset).into(), period.into()).ok()
        },
    );
    prop::collection::vec(key, 0..3 * LANES)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn the_fast_derivation_agrees_with_the_plain_one(keys in keys_within_a_day()) {
        let plain: Vec<_> = keys.iter().flat_map(|key| key.identifiers().map(|(_, rpi)| rpi.0).collect::<Vec<_>>()).collect();
        prop_assert!(derived(&keys) == plain);
    }

    /// Short periods, starts within a day, lives across midnight, the first and the last intervals that there are, identifiers heard in time and out
    /// of it, several times, and beside noise.
    #[test]
    fn the_matcher_agrees_with_the_rule(
        keys in prop::collection::vec((0_u64..20, prop_oneof![0..300_u32, MIDNIGHT - 150..MIDNIGHT + 150, u32::MAX - 300..u32::MAX - 144], 1..=144_u8), 0..12),
        sightings in prop::collection::vec((any::<prop::sample::Index>(), 0..144_u32, -14..=14_i64, 1..3_usize), 0..40),
        noise in prop::collection::vec((any::<[u8; 16]>(), any::<u32>()), 0..40),
    ) {
        let keys: Vec<_> = keys.into_iter().map(|(seed, start, period)| key(seed, start, period)).collect();
        let mut identifiers: Vec<_> = noise.into_iter().map(|(rpi, at)| stored(RollingProximityIdentifier(rpi), at, -1)).collect();
        for (which, offset, drift, times) in sightings.iter().filter(|_| !keys.is_empty()) {
            let key = which.get(&keys);
            let made = key.key.rolling_start().number() + offset % u32::from(key.key.rolling_period());
            let at = (i64::from(made) + drift).clamp(0, u32::MAX.into()) as u32;
            for _ in 0..*times {
                identifiers.push(heard(key, made, at, identifiers.len() as i64));
            }
        }
        prop_assert_eq!(find(&identifiers, &keys), find_naively(&identifiers, &keys));
    }
}

#[test]
fn nothing_matches_where_there_is_nothing() {
    let key = key(1, MIDNIGHT, 144);
    let sighting = heard(&key, MIDNIGHT, MIDNIGHT, 1);
    assert_eq!(find(&[], &[]), []);
    assert_eq!(find(&[], &[key]), []);
    assert_eq!(find(&[sighting], &[]), []);
}

#[test]
fn two_hours_are_a_match_on_both_sides_and_ten_minutes_more_are_none() {
    let key = key(1, MIDNIGHT, 144);
    // The first and the last interval of the day look across midnight.
    for made in [MIDNIGHT, MIDNIGHT + 5, MIDNIGHT + 70, MIDNIGHT + 138, MIDNIGHT + 143] {
        for (at, matches) in [(made - 13, false), (made - 12, true), (made, true), (made + 12, true), (made + 13, false)] {
            let expected = Match { key: 0, encounter: EncounterId(7), interval: EnIntervalNumber::new(made) };
            assert_eq!(
                find(&[heard(&key, made, at, 7)], std::slice::from_ref(&key)),
                if matches { vec![expected] } else { vec![] },
                "{made} {at}"
            );
        }
    }
}

#[test]
fn an_interval_outside_the_keys_life_is_no_match() {
    let key = key(1, MIDNIGHT + 20, 30);
    let sightings = [19, 20, 49, 50].map(|offset| heard(&key, MIDNIGHT + offset, MIDNIGHT + offset, offset.into()));
    let found: Vec<_> = find(&sightings, &[key]).iter().map(|m| m.encounter.0).collect();
    assert_eq!(found, [20, 49]);
}

#[test]
fn a_key_across_midnight_matches_on_both_days() {
    let key = key(1, MIDNIGHT - 72, 144);
    let sightings = [-72, -1, 0, 71].map(|offset: i32| {
        let made = MIDNIGHT.checked_add_signed(offset).unwrap();
        heard(&key, made, made, offset.into())
    });
    let found: Vec<_> = find(&sightings, &[key]).iter().map(|m| m.encounter.0).collect();
    assert_eq!(found, [-72, -1, 0, 71]);
}

#[test]
fn every_encounter_with_the_same_identifier_is_found() {
    let key = key(1, MIDNIGHT, 144);
    let sightings: Vec<_> = (0..1000).map(|n| heard(&key, MIDNIGHT + 50, MIDNIGHT + 50 + n as u32 % 3, n)).collect();
    assert_eq!(find(&sightings, &[key]).len(), 1000);
}

#[test]
fn the_order_of_the_keys_changes_only_their_index() {
    let mut keys: Vec<_> = (0..200).map(|n| key(n, MIDNIGHT + n as u32 % 5 * 144, 144)).collect();
    let made = |n: usize| keys[n].key.rolling_start().number() + n as u32 % 144;
    let sightings: Vec<_> = (0..200).map(|n| heard(&keys[n], made(n), made(n), n as i64)).collect();
    let encounters = |found: Vec<Match>, index: fn(usize) -> usize| -> Vec<_> {
        assert!(found.iter().all(|m| m.encounter.0 == index(m.key) as i64));
        let mut encounters: Vec<_> = found.into_iter().map(|m| m.encounter).collect();
        encounters.sort_unstable();
        encounters
    };
    let forward = encounters(find(&sightings, &keys), |n| n);
    keys.reverse();
    assert_eq!(forward.len(), 200);
    assert_eq!(encounters(find(&sightings, &keys), |n| 199 - n), forward);
}

#[test]
fn a_batch_after_the_first_counts_its_keys_from_the_first() {
    let filler = key(1, 0, 1);
    let met = key(2, MIDNIGHT, 144);
    let mut keys = vec![filler; BATCH + 5];
    keys[3] = met.clone();
    keys[BATCH + 4] = met.clone();
    let found: Vec<_> = find(&[heard(&met, MIDNIGHT + 9, MIDNIGHT + 9, 1)], &keys).iter().map(|m| m.key).collect();
    assert_eq!(found, [3, BATCH + 4]);
}

/// How often matching these looked at a table.
fn looks(identifiers: &[StoredIdentifier], keys: &[DiagnosisKey]) -> usize {
    looks::COUNT.set(0);
    find(identifiers, keys);
    looks::COUNT.get()
}

const MANY: u32 = 1 << 16;

#[test]
fn identifiers_chosen_to_stand_close_together_cost_no_more_than_others() {
    let keys: Vec<_> = (0..50).map(|n| key(n, MIDNIGHT, 144)).collect();
    let mut alike = keys[0].key.identifier(EnIntervalNumber::new(MIDNIGHT + 70)).0;
    let crowd: Vec<_> = (0..MANY)
        .map(|n| {
            alike[12..].copy_from_slice(&n.to_le_bytes());
            stored(RollingProximityIdentifier(alike), MIDNIGHT + 70, n.into())
        })
        .collect();
    // One identifier passes the filter, and halving 65,536 takes 17 looks.
    let looks = looks(&crowd, &keys);
    assert!((1..=20).contains(&looks), "{looks}");
}

#[test]
fn an_identifier_stored_often_at_a_wrong_hour_costs_no_more_than_another() {
    let key = key(1, MIDNIGHT, 144);
    let replayed: Vec<_> = (0..MANY).map(|n| heard(&key, MIDNIGHT + 20, MIDNIGHT + [7, 33][n as usize % 2], n.into())).collect();
    let looks = looks(&replayed, &[key]);
    assert!((1..=20).contains(&looks), "{looks}");
}

#[test]
fn identifiers_chosen_to_open_the_filter_open_a_tenth_of_it_at_most() {
    // Full words: 22 identifiers set the 64 bits of one, three bits each.
    let wall: Vec<_> = (0..MANY)
        .map(|n| {
            let (word, first) = (n / 22, n % 22 * 3);
            let bits = [first, first + 1, first + 2].map(|bit| u64::from(bit % 64));
            let mut rpi = [0; 16];
            rpi[..8].copy_from_slice(&(u64::from(word) << 32 | bits[2] << 12 | bits[1] << 6 | bits[0]).to_le_bytes());
            stored(RollingProximityIdentifier(rpi), MIDNIGHT + 70, n.into())
        })
        .collect();
    let everything_heard = [
        stored(RollingProximityIdentifier([0; 16]), MIDNIGHT, -1),
        stored(RollingProximityIdentifier([1; 16]), MIDNIGHT + 143, -2),
    ];
    let keys: Vec<_> = (0..50).map(|n| key(n, MIDNIGHT, 144)).collect();
    let identifiers = 50 * 144;
    let looks = looks(&[&wall[..], &everything_heard].concat(), &keys);
    assert!((identifiers / 2..identifiers * 2).contains(&looks), "{looks}");
}

#[test]
fn days_far_apart_take_no_table_between_them() {
    let key = key(1, MIDNIGHT, 144);
    let sightings = [0, MIDNIGHT, u32::MAX].map(|at| heard(&key, MIDNIGHT, at, at.into()));
    assert_eq!(Matcher::new(sightings).days.len(), 4, "the identifier of midnight counts for two days");
    assert_eq!(find(&sightings, &[key]).len(), 1);
}

#[test]
fn parts_of_a_life_near_which_nothing_was_heard_are_not_derived() {
    let key = key(1, MIDNIGHT, 144);
    let pieces = |at: u32| {
        let mut pieces = Vec::new();
        Matcher::new([heard(&key, MIDNIGHT, at, 1)]).cut(&key.key, 0, &mut pieces);
        pieces.iter().map(|piece| (piece.from, piece.to)).collect::<Vec<_>>()
    };
    assert_eq!(pieces(MIDNIGHT + 50), [(38, 63)]);
    assert_eq!(pieces(MIDNIGHT), [(0, 13)]);
    assert_eq!(pieces(MIDNIGHT + 143), [(131, 144)]);
    assert_eq!(pieces(MIDNIGHT + 155), [(143, 144)]);
    assert_eq!(pieces(MIDNIGHT + 156), []);
}
