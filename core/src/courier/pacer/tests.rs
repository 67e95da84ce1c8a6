use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);
const DOWN: Failure = Failure::Server(None);

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(11)
}

fn poll() -> Work {
    Work::Poll(Period::new(POLL_PERIOD, 1_000_000))
}

#[test]
fn what_a_person_waits_for_goes_at_once_and_polls_keep_to_their_moment() {
    assert_eq!(Pacer::first(Work::Person, NOW), NOW);
    let first = Pacer::first(poll(), NOW);
    assert!(first > NOW && first.since(NOW) <= POLL_PERIOD);
    assert_eq!(Pacer::first(poll(), first).since(first), POLL_PERIOD);
    assert_eq!((first.unix_ms() - 1_000_000).rem_euclid(4 * 3_600_000), 0);
}

#[test]
fn retries_of_a_person_keep_to_the_budget_and_the_cap() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    for soon in 1..=PERSON_SOON {
        let gap = pacer.failed(Work::Person, soon, DOWN, NOW, &mut rng).since(NOW);
        assert!(gap <= (PERSON_RETRY_BASE * soon).min(PERSON_SOON_CAP), "{gap:?}");
    }
    for attempts in PERSON_SOON + 1..100 {
        let gap = pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng).since(NOW);
        assert!((PERSON_RETRY_SPACING..=PERSON_RETRY_CAP).contains(&gap), "{gap:?}");
    }
}

#[test]
fn a_failed_poll_is_tried_again_anywhere_before_its_next_moment_or_then() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    let at = Pacer::first(poll(), NOW);
    let next = Pacer::first(poll(), at);
    let again: Vec<Timestamp> = (0..1_000).map(|_| pacer.failed(poll(), 1, DOWN, at, &mut rng)).collect();
    assert!(again.iter().all(|time| *time <= next));
    let early = again.iter().filter(|time| **time < next).count();
    assert!((360..465).contains(&early), "{early}: 210 of 510 minutes");
    assert!(again.iter().all(|time| time.since(at) >= POLL_RETRY_FLOOR));
}

#[test]
fn once_a_server_has_answered_its_failures_hold_no_poll_back() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    for attempts in 1..100 {
        pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
    }
    pacer.answered(NOW);
    let is_free = |_| { pacer }.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng).is_ok();
    assert!((0..200).all(is_free));
}

#[test]
fn a_poll_that_has_waited_for_the_breaker_goes_whatever_has_failed() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    for attempts in 1..100 {
        pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
    }
    let until = pacer.closed_until(NOW).unwrap();
    assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng), Err(until));
    assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, until, &mut rng), Ok(()));
}

#[test]
fn another_pacing_changes_the_waits_and_is_not_kept() {
    let minute = Pacing { poll_retry_cap: MINUTE, person_retry_cap: MINUTE };
    let (mut pacer, mut rng) = (Pacer::new(minute), rng());
    for work in [poll(), Work::Person] {
        for attempts in 1..50 {
            assert!(pacer.failed(work, attempts, DOWN, NOW, &mut rng).since(NOW) <= MINUTE);
        }
    }
    let kept: Pacer = serde_json::from_str(&serde_json::to_string(&pacer).unwrap()).unwrap();
    assert_eq!(kept.pacing, Pacing::default());
    assert_eq!(Pacer { pacing: minute, ..kept }, pacer);
}

#[test]
fn retry_after_is_kept_spread_and_bounded() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    let hour = Duration::from_secs(3_600);
    let said = NOW.after(Duration::from_secs(86_400 * 365));
    for retry_after in [RetryAfter::Delay(hour), RetryAfter::Date { at: said.after(hour), said }] {
        let gaps: Vec<Duration> = (0..100)
            .map(|_| pacer.failed(Work::Person, 1, Failure::Server(Some(retry_after)), NOW, &mut rng).since(NOW))
            .collect();
        assert!(gaps.iter().all(|gap| (hour..=hour * 3 / 2).contains(gap)));
        assert!(gaps.iter().any(|gap| *gap > hour * 5 / 4));
    }
    let years = Failure::Server(Some(RetryAfter::Delay(Duration::MAX)));
    assert!(pacer.failed(poll(), 1, years, NOW, &mut rng).since(NOW) <= MAX_WAIT);
    let past = RetryAfter::Date { at: NOW.before(hour), said: NOW };
    assert_eq!(past.delay(), Duration::ZERO);
}

#[test]
fn a_person_who_is_refused_with_a_time_comes_back_then_and_not_after_a_quarter_of_an_hour() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    let mut gaps = |attempts, said| {
        let refused = Failure::Server(Some(RetryAfter::Delay(Duration::from_secs(said))));
        let gaps = (0..200).map(|_| pacer.failed(Work::Person, attempts, refused, NOW, &mut rng).since(NOW).as_secs_f64());
        gaps.collect::<Vec<f64>>()
    };
    for (attempts, said, least) in
        [(1, 2, 2.0), (2, 1, 2.0), (3, 1, 4.0), (3, 20, 20.0), (6, 1, 30.0), (u32::MAX, 1, 30.0), (9, 600, 600.0)]
    {
        let gaps = gaps(attempts, said);
        assert!(gaps.iter().all(|gap| (least..=least * 1.5).contains(gap)), "attempt {attempts}, told {said} s");
        assert!(gaps.iter().any(|gap| *gap < least * 1.1) && gaps.iter().any(|gap| *gap > least * 1.4), "and not all at once");
    }
    let nothing_said = gaps(PERSON_SOON + 1, 0);
    assert!(nothing_said.iter().all(|gap| *gap >= PERSON_RETRY_SPACING.as_secs_f64()), "0 s says nothing of when");
}

#[test]
fn nobody_asks_sooner_than_the_server_said_and_its_next_answer_ends_that() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    let hour = Duration::from_secs(3_600);
    pacer.failed(poll(), 1, Failure::Server(Some(RetryAfter::Delay(hour))), NOW, &mut rng);
    let at = pacer.at_once(NOW);
    assert!((hour..=hour * 3 / 2).contains(&at.since(NOW)), "spread, so that not all come at the same moment");
    for work in [Work::Person, poll()] {
        assert_eq!(pacer.permit(work, Network::Free, Duration::ZERO, NOW.after(hour / 2), &mut rng), Err(at));
        assert_eq!(pacer.permit(work, Network::Free, Duration::ZERO, at, &mut rng), Ok(()));
    }
    pacer.failed(Work::Person, 1, DOWN, NOW, &mut rng);
    assert_eq!(pacer.at_once(NOW), at, "a failure that says nothing changes nothing of it");
    assert_eq!(pacer.at_once(at), at);
    assert_eq!(pacer.at_once(NOW.before(hour * 100)), NOW.before(hour * 100), "it was timed by a wrong clock");
    pacer.answered(NOW);
    assert_eq!(pacer.at_once(NOW), NOW);
}

#[test]
fn a_server_that_is_down_is_asked_less_and_less_and_people_still_get_through() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    let sent = |pacer: &mut Pacer, rng: &mut ChaCha20Rng, work| {
        (0..200).filter(|_| pacer.permit(work, Network::Free, Duration::ZERO, NOW, rng).is_ok()).count()
    };
    assert_eq!(sent(&mut pacer.clone(), &mut rng, poll()), 200);
    for attempts in 1..=2 {
        pacer.failed(poll(), attempts, DOWN, NOW, &mut rng);
    }
    assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng), Ok(()));
    pacer.failed(poll(), 3, DOWN, NOW, &mut rng);
    assert!(pacer.permit(poll(), Network::Free, Duration::ZERO, NOW, &mut rng).is_err(), "the breaker is open");
    assert_eq!(pacer.permit(Work::Person, Network::Free, Duration::ZERO, NOW, &mut rng), Ok(()));
    for attempts in 4..40 {
        pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
    }
    assert_eq!(sent(&mut pacer, &mut rng, Work::Person), 200, "people are held back by the times between attempts alone");
    pacer.answered(NOW);
    assert_eq!(pacer.closed_until(NOW), None, "an answer closes the breaker");
}

#[test]
fn a_person_who_fails_meanwhile_does_not_move_the_time_at_which_a_poll_finds_out() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    for attempts in 1..=3 {
        pacer.failed(Work::Person, attempts, DOWN, NOW, &mut rng);
    }
    let until = pacer.closed_until(NOW).unwrap();
    let meanwhile = NOW.after(until.since(NOW) / 2);
    assert!(pacer.failed(Work::Person, 4, DOWN, meanwhile, &mut rng) > until, "this person tries again later");
    assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, meanwhile, &mut rng), Err(until));
    assert_eq!(pacer.permit(poll(), Network::Free, Duration::ZERO, until, &mut rng), Ok(()));

    let again = pacer.failed(poll(), 1, DOWN, until, &mut rng);
    assert_eq!(pacer.closed_until(until), Some(again), "a poll that found out that it is still down does move it");
}

#[test]
fn a_phone_without_a_network_tries_again_soon_and_counts_nothing() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    for attempts in 1..50 {
        let again = pacer.failed(Work::Person, attempts, Failure::Offline, NOW, &mut rng);
        assert!(again.since(NOW) <= PERSON_RETRY_CAP);
        let again = pacer.failed(poll(), attempts, Failure::Offline, NOW, &mut rng);
        assert!(if attempts <= MAX_OFFLINE {
            again.since(NOW) <= PERSON_RETRY_CAP
        } else {
            again.since(NOW) >= POLL_RETRY_FLOOR || again == Pacer::first(poll(), NOW)
        });
    }
    assert_eq!(pacer, Pacer::default());
}

#[test]
fn quiet_holds_polls_for_a_day_and_never_what_a_person_waits_for() {
    let (mut pacer, mut rng) = (Pacer::default(), rng());
    assert!(pacer.permit(poll(), Network::Quiet, Duration::ZERO, NOW, &mut rng).is_err());
    assert_eq!(pacer.permit(poll(), Network::Quiet, MAX_QUIET, NOW, &mut rng), Ok(()));
    assert_eq!(pacer.permit(Work::Person, Network::Quiet, Duration::ZERO, NOW, &mut rng), Ok(()));
}

#[test]
fn no_clock_and_no_kept_number_can_stop_it() {
    let mut rng = rng();
    for now in [i64::MIN, -1, 0, i64::MAX].map(Timestamp::from_unix_ms) {
        let mut pacer = Pacer {
            pacing: Pacing { poll_retry_cap: Duration::MAX, person_retry_cap: Duration::MAX },
            requests: f64::NAN,
            accepts: -1e300,
            counted_ms: i64::MIN,
            failures: u32::MAX,
            closed_until_ms: Some(i64::MAX),
            asked_for_ms: Some(i64::MAX),
        };
        let _ = pacer.permit(poll(), Network::Free, Duration::ZERO, now, &mut rng);
        pacer.failed(poll(), u32::MAX, Failure::Server(Some(RetryAfter::Delay(Duration::MAX))), now, &mut rng);
        pacer.answered(now);
        let _ = Pacer::first(Work::Poll(Period::new(Duration::ZERO, u64::MAX)), now);
    }
}
