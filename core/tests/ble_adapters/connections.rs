//! Exchanges over connections, with phones that cannot send service data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vigie::beacon::gatt::{VERSION, WriteBack};
use vigie::beacon::{Frame, Rssi};
use vigie::radio::ble::{Form, Options, survey};
use vigie::radio::{MeasuredBy, RadioError};

use crate::adapters;
use crate::device::{Device, FastClock, Setup, within};
use crate::false_peers::{FalsePeers, Stall};
use crate::meeting::set_air;
use crate::peers::Peer;
use crate::rotation::assert_unlinkable;
use crate::sniffer::{Report, Sniffer};

/// Whether bluetoothd and the adapters let connections be private.
fn may_connect() -> bool {
    let survey = survey(&Options::default());
    let can = survey.daemon.hides_address()
        && survey.adapters.iter().all(|adapter| adapter.advertising.is_some_and(|it| it.is_extended));
    if !can {
        eprintln!("connections would show who is who here: it is tested that there are none");
    }
    can
}

fn connectable(name: &str) -> Setup {
    Setup { form: Form::Connectable, listens: false, ..Setup::on(name) }
}

#[test]
fn both_record_where_only_one_can_see_the_other() {
    let Some((names, _lock)) = adapters(2) else { return };
    let Some(sniffer) = Sniffer::start() else { return };
    // The kernel lets an address live for 30 s at least, which has to be less than an identifier does.
    let clock = FastClock::with_speed(20);
    let (sees, seen) = (Device::start(&Setup::on(&names[0]), &clock), Device::start(&connectable(&names[1]), &clock));
    if !may_connect() {
        within(Duration::from_secs(15), "the status says why", || seen.status().radio_problem.is_some());
        assert!(matches!(seen.status().radio_problem, Some(RadioError::Unsupported { .. })));
        assert!(seen.sent().is_empty());
        std::thread::sleep(Duration::from_secs(5));
        assert!(!sniffer.reports().iter().any(|report| matches!(report, Report::Connection { .. })), "somebody connected");
        return;
    }
    within(Duration::from_secs(15), "the one that sees hears", || !sees.heard_of(&seen).is_empty());
    // Until the address of connections has changed once, nothing is written back.
    within(Duration::from_secs(300), "both hear each other, with several identifiers", || {
        let frames: BTreeSet<_> = seen.heard_of(&sees).iter().map(|(_, sighting)| sighting.frame.to_bytes()).collect();
        frames.len() >= 2
    });
    for (one, other, by) in [(&sees, &seen, MeasuredBy::Us), (&seen, &sees, MeasuredBy::Peer)] {
        let heard = one.heard_of(other);
        assert!(
            heard.iter().all(|(_, sighting)| sighting.measured_by == by && (-63..=-57).contains(&sighting.rssi.0)),
            "{heard:?}"
        );
        one.flush();
        assert!(one.status().encounters > 0);
    }
    let reports = sniffer.reports();
    assert_unlinkable(&reports);
    assert_connections_unlinkable(&reports);
}

/// Over connections, too, no address says two identifiers.
fn assert_connections_unlinkable(reports: &[Report]) {
    let mut said = BTreeMap::<_, BTreeSet<_>>::new();
    for report in reports {
        if let Report::Said { from, value } = report
            && value[0] == VERSION
        {
            said.entry(*from).or_default().insert(value[1..21].to_vec());
        }
    }
    let identifiers: usize = said.values().map(BTreeSet::len).sum();
    eprintln!("{identifiers} identifiers said over connections from {} addresses", said.len());
    assert!(identifiers >= 4, "both have said several");
    assert!(said.values().all(|identifiers| identifiers.len() == 1), "an address said several identifiers: {said:02x?}");
}

#[test]
fn who_writes_too_little_or_too_much_is_refused_and_the_next_one_is_heard() {
    let Some((names, _lock)) = adapters(2) else { return };
    if !may_connect() {
        return;
    }
    set_air("* * -60 2\n");
    let clock = FastClock::with_speed(1);
    let device = Device::start(&Setup { listens: true, ..connectable(&names[0]) }, &clock);
    within(Duration::from_secs(15), "it sends", || device.status().is_sending);
    let frame = Frame::from_service_data(&[9; 20]).unwrap();
    let whole = WriteBack { frame, rssi: Rssi(-77) }.encode().to_vec();
    let mut version = whole.clone();
    version[0] = 9;
    let taken = Peer::on(&names[1]).write(&[vec![], vec![1; 600], version, whole[..5].to_vec(), whole.clone()]);
    assert_eq!(
        taken,
        [false, false, false, true, true],
        "empty, 600 bytes, another version, 5 bytes that may go on, and the whole"
    );
    within(Duration::from_secs(5), "what was written is heard once", || {
        let log = device.log.lock().unwrap();
        log.heard.iter().filter(|(_, sighting)| sighting.frame == frame && sighting.rssi == Rssi(-77)).count() == 1
    });
}

/// At once, four of each kind.
const FALSE_PEERS: usize = 20;

#[test]
fn false_peers_cost_their_turn_and_listening_goes_on() {
    let Some((names, _lock)) = adapters(4 + FALSE_PEERS) else { return };
    let Some(sniffer) = Sniffer::start() else { return };
    if !may_connect() {
        return;
    }
    let number = |adapter: usize| names[adapter].trim_start_matches("hci").to_owned();
    // The false peers are out of range of a second listener, with which the first one is compared.
    if !set_air(&format!(
        "* * -60 2\n{undisturbed} * out\n{undisturbed} {sender} -60 2\n",
        undisturbed = number(1),
        sender = number(2)
    )) {
        return eprintln!("skipped: only a virtual air can tell the listeners apart");
    }
    // An identifier of the listeners has to live for longer than the 30 s of an address, or nothing is written back; those of the others stay.
    let (fast, real) = (FastClock::with_speed(20), FastClock::real());
    let (listener, undisturbed) = (Device::start(&Setup::on(&names[0]), &fast), Device::start(&Setup::on(&names[1]), &fast));
    let sender = Device::start(&Setup { listens: false, ..Setup::on(&names[2]) }, &real);
    within(Duration::from_secs(200), "the address of connections has changed", || listener.sent().len() >= 3);

    let earlier = sniffer.reports().len();
    let mut peers = FalsePeers::new();
    let (first, others) = names[4..4 + FALSE_PEERS].split_at(Stall::ALL.len());
    first.iter().zip(Stall::ALL).for_each(|(name, stall)| peers.add(name, stall));
    let honest = Device::start(&connectable(&names[3]), &real);
    others.iter().zip(Stall::ALL.into_iter().cycle()).for_each(|(name, stall)| peers.add(name, stall));
    // Long enough for a long connection at the beginning to weigh little.
    std::thread::sleep(Duration::from_secs(240));
    // What the adapters reported, because a computer that emulates them is too slow to pass on all that 20 peers send.
    let reports = sniffer.reports().split_off(earlier);
    let frames: Vec<_> = sender.sent().iter().map(|frame| frame.to_bytes()).collect();
    let of_sender = |data: &[u8]| frames.iter().any(|frame| data.windows(frame.len()).any(|bytes| bytes == frame));
    let reported = |name: &str| {
        let is_own = |report: &&Report| match report {
            Report::Advertisement { adapter, data, .. } => format!("hci{adapter}") == name && of_sender(data),
            _ => false,
        };
        reports.iter().filter(is_own).count()
    };
    let (disturbed, all) = (reported(&names[0]), reported(&names[1]));
    eprintln!("with {FALSE_PEERS} false peers in range {disturbed} packets, with none {all}");
    assert!(all > 0 && disturbed * 10 >= all * 9, "listening lost too much");

    // The worst that may be before it: each of the others, with 20 times as long for listening.
    within(Duration::from_secs(900), "an honest one has its turn", || !listener.heard_of(&honest).is_empty());
    for stall in Stall::ALL.into_iter().filter(|stall| *stall != Stall::Connect) {
        within(Duration::from_secs(900), &format!("one has its turn that stalls: {stall:?}"), || peers.has_stalled(stall));
    }
    assert!([&listener, &undisturbed].iter().all(|device| device.status().radio_problem.is_none()));
}
