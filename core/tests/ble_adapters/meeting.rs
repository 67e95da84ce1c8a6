//! Devices meet, come and go, are told of an exposure, and are not troubled by strangers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vigie::diagnosis::{DiagnosisKey, ExportHeader, ReportType, SigningKey, write_export};
use vigie::time::Clock;

use crate::adapters;
use crate::control::is_virtual;
use crate::device::{Device, FastClock, Setup, within};
use crate::peers::Peer;
use crate::sniffer::{Report, Sniffer};

/// What the virtual air does to packets, where it is one: a line for each pair, `RECEIVER SENDER DBM|out [JITTER [LOSS_PERCENT]]`.
pub(crate) fn set_air(rules: &str) -> bool {
    let is_virtual = is_virtual();
    if is_virtual {
        std::fs::write("/run/air", rules).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    is_virtual
}

fn last_heard(one: &Device, other: &Device) -> Option<Instant> {
    one.heard_of(other).last().map(|(at, _)| *at)
}

#[test]
fn two_devices_meet_and_one_is_told_of_its_exposure() {
    let Some((names, _lock)) = adapters(2) else { return };
    let is_virtual = set_air("* * -60 2\n");
    let authority = SigningKey::generate().unwrap();
    let clock = FastClock::new();
    let setup = |name| Setup { authority: Some(authority.public_key().clone()), ..Setup::on(name) };
    let start = clock.now();
    let (a, b) = (Device::start(&setup(&names[0]), &clock), Device::start(&setup(&names[1]), &clock));
    let took =
        within(Duration::from_secs(15), "both hear each other", || !a.heard_of(&b).is_empty() && !b.heard_of(&a).is_empty());
    std::thread::sleep(Duration::from_secs(40));
    for (one, other) in [(&a, &b), (&b, &a)] {
        let heard = one.heard_of(other);
        assert!(!is_virtual || heard.iter().all(|(_, sighting)| (-63..=-57).contains(&sighting.rssi.0)));
        one.flush();
        assert!(one.status().encounters > 0);
    }
    let met_minutes = clock.now().since(start).as_secs() / 60;
    // On a busy computer some minutes go into changing identifiers: a second of silence is a minute by this clock.
    let heard = b.heard_of(&a).iter().map(|(_, sighting)| sighting.at.unix_s() / 60).collect::<BTreeSet<_>>().len() as u64;
    let keys: Vec<_> = a
        .tracer
        .release_keys()
        .unwrap()
        .into_iter()
        .map(|key| DiagnosisKey {
            key,
            report_type: Some(ReportType::ConfirmedTest),
            days_since_onset: Some(0),
            transmission_risk: 0,
        })
        .collect();
    let header = ExportHeader { start, end: clock.now().after(Duration::from_secs(86_400)), ..ExportHeader::default() };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.zip");
    std::fs::write(&file, write_export(&header, &keys, &[], &authority).unwrap()).unwrap();
    b.flush();
    let report = b.tracer.check(&[&file], |_| std::ops::ControlFlow::Continue(())).unwrap();
    let days: Vec<_> = report.assessment.windows.iter().map(|window| window.date).collect();
    let seconds: u64 = report
        .assessment
        .windows
        .iter()
        .flat_map(|w| &w.scan_instances)
        .map(|scan| u64::from(scan.seconds_since_last_scan))
        .sum();
    eprintln!("met after {:.1} s; {met_minutes} minutes together, {heard} heard, {} told", took.as_secs_f32(), seconds / 60);
    assert!(!days.is_empty() && days.iter().all(|day| *day == start.date()), "{days:?}");
    assert!((seconds / 60).abs_diff(heard) <= 6, "{} minutes told of {heard}", seconds / 60);
    assert!(heard * 2 >= met_minutes, "{heard} minutes heard of {met_minutes}");
    assert!(a.tracer.check(&[&file], |_| std::ops::ControlFlow::Continue(())).unwrap().assessment.windows.is_empty());
}

#[test]
fn four_devices_meet_lose_each_other_and_meet_again() {
    let Some((names, _lock)) = adapters(4) else { return };
    let clock = FastClock::new();
    let is_virtual = set_air("* * -60 2 30\n");
    let devices: Vec<_> = names[..4].iter().map(|name| Device::start(&Setup::on(name), &clock)).collect();
    let pairs = || {
        devices
            .iter()
            .flat_map(|one| devices.iter().map(move |other| (one, other)))
            .filter(|(one, other)| !std::ptr::eq(*one, *other))
    };
    within(Duration::from_secs(30), "each hears each, with 30 % of the packets lost", || {
        pairs().all(|(one, other)| !one.heard_of(other).is_empty())
    });
    if !is_virtual {
        return eprintln!("skipped: only a virtual air can take the devices out of range");
    }
    set_air("* * out\n");
    // What is on its way through the system still comes.
    let silence = Duration::from_secs(5);
    within(Duration::from_secs(30), "nobody out of range is heard any more", || {
        pairs().all(|(one, other)| last_heard(one, other).is_none_or(|last| last.elapsed() > silence))
    });
    set_air("* * -60 2\n");
    let back = Instant::now();
    within(Duration::from_secs(30), "they hear each other again", || {
        pairs().all(|(one, other)| last_heard(one, other).is_some_and(|last| last > back))
    });
    assert!(devices.iter().all(|device| device.status().radio_problem.is_none()));
}

#[test]
fn strangers_shout_frames_of_all_kinds_and_change_nothing() {
    let Some((names, _lock)) = adapters(3) else { return };
    set_air("* * -60 2\n");
    let clock = FastClock::new();
    let (a, b) = (Device::start(&Setup::on(&names[0]), &clock), Device::start(&Setup::on(&names[1]), &clock));
    let mut stranger = Peer::on(&names[2]);
    let valid = |device: &Device, first: u8| {
        let log = device.log.lock().unwrap();
        log.heard.iter().filter(|(_, sighting)| sighting.frame.to_bytes()[0] == first).count()
    };
    for (first, length) in [(0xA1, 1), (0xA2, 19), (0xA3, 20), (0xA4, 21), (0xA5, 22)] {
        stranger.shout(&vec![first; length]);
        std::thread::sleep(Duration::from_secs(3));
        assert!(length == 20 || valid(&a, first) == 0, "{length} bytes are no frame");
    }
    stranger.shout(&[0xA3; 20]);
    within(Duration::from_secs(15), "a random frame is recorded as anybody's", || valid(&a, 0xA3) > 0 && valid(&b, 0xA3) > 0);
    let now = Instant::now();
    within(Duration::from_secs(20), "the two go on hearing each other", || {
        last_heard(&a, &b) > Some(now) && last_heard(&b, &a) > Some(now)
    });
}

#[test]
fn of_the_packets_in_range_all_but_a_few_are_heard() {
    let Some((names, _lock)) = adapters(2) else { return };
    let Some(sniffer) = Sniffer::start() else { return };
    set_air("* * -60 2\n");
    let clock = FastClock::new();
    let (a, b) = (Device::start(&Setup::on(&names[0]), &clock), Device::start(&Setup::on(&names[1]), &clock));
    within(Duration::from_secs(15), "they meet", || !a.heard_of(&b).is_empty());
    let (heard_before, reports_before) = (a.heard_of(&b).len(), sniffer.reports().len());
    let time = Duration::from_secs(40);
    std::thread::sleep(time);
    let heard = a.heard_of(&b).len() - heard_before;
    let sent = b.sent();
    let of_b = |report: &&Report| match report {
        Report::Advertisement { data, .. } => sent.iter().any(|frame| data.windows(20).any(|bytes| bytes == frame.to_bytes())),
        _ => false,
    };
    let reported = sniffer.reports()[reports_before..].iter().filter(of_b).count();
    let limits = a.status().radio_limits;
    let interval = if b.status().radio_limits.iter().any(|limit| matches!(limit, vigie::radio::Limit::AdvertisingInterval(_))) {
        1285
    } else {
        240
    };
    let on_air = time.as_millis() / interval;
    eprintln!(
        "{heard} packets heard in {} s, {reported} reported by the adapters, about {on_air} sent; {limits:?}",
        time.as_secs()
    );
    if limits.contains(&vigie::radio::Limit::FewerPackets) {
        assert!(heard >= 2, "one of each address in 10.5 s");
    } else {
        assert!(heard * 100 >= reported * 95, "{heard} of {reported}");
    }
}
