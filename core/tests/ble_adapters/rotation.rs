//! Identifier and address change together, and never another way: seen in the bytes on the air.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vigie::beacon::{Frame, ServiceUuid};
use vigie::radio::ble::{Options, Privacy, survey};

use crate::adapters;
use crate::device::{Device, FastClock, Setup, within};
use crate::sniffer::{Report, Sniffer, shows_service};

/// The least that is watched; `VIGIE_ROTATIONS` says another number.
const ROTATIONS: usize = 100;

fn rotations() -> usize {
    std::env::var("VIGIE_ROTATIONS").map_or(ROTATIONS, |number| number.parse().unwrap())
}

/// Fails where an identifier was seen under two addresses, an address with two identifiers, or a public address, be it of an advertisement, a
/// connection or a scan. Returns how many identifiers there were.
pub(crate) fn assert_unlinkable(reports: &[Report]) -> usize {
    let (mut addresses, mut identifiers) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeMap::<_, BTreeSet<_>>::new());
    let mut scans = BTreeMap::<_, BTreeSet<_>>::new();
    for report in reports {
        match report {
            Report::Advertisement { address, data, .. } if shows_service(data) => {
                assert!(address.is_random, "an advertisement went out from a public address");
                let Some(frame) = Frame::from_advertisement(data, ServiceUuid::default()).unwrap() else { continue };
                addresses.entry(frame.rpi).or_default().insert(*address);
                identifiers.entry(*address).or_default().insert(frame);
            }
            Report::Connection { peer } => assert!(peer.is_random, "a connection showed a public address"),
            Report::Sends { is_public } => assert!(!is_public, "an adapter was told to send from its public address"),
            Report::Scan { from, advertises: Some(data) } if shows_service(data) => {
                scans.entry(*from).or_default().insert(data);
            }
            Report::Advertisement { .. } | Report::Scan { .. } | Report::Said { .. } => {}
        }
    }
    for (number, seen) in addresses.values().enumerate() {
        assert_eq!(seen.len(), 1, "identifier {number} was seen under several addresses: {seen:02x?}");
    }
    assert!(identifiers.values().all(|seen| seen.len() == 1), "an address was seen with several identifiers");
    assert!(!scans.is_empty(), "nobody scanned while it advertised");
    // With `Privacy` the kernel keeps it for 15 minutes. This is not ours to prevent, and the README names it.
    let changes = survey(&Options::default()).daemon.privacy == Some(Privacy::Off);
    assert!(
        !changes || scans.values().all(|seen| seen.len() == 1),
        "an address scanned with several identifiers: {:?}",
        scans.len()
    );
    addresses.len()
}

#[test]
fn identifier_and_address_change_together_while_all_scan() {
    let Some((names, _lock)) = adapters(2) else { return };
    let Some(sniffer) = Sniffer::start() else { return };
    let clock = FastClock::new();
    let devices: Vec<_> = names.iter().take(4).map(|name| Device::start(&Setup::on(name), &clock)).collect();
    let sent = || devices.iter().map(|device| device.sent().len()).sum::<usize>();
    let wanted = rotations() + devices.len();
    within(Duration::from_secs(60 + 25 * (wanted / devices.len()) as u64), "they rotate", || sent() >= wanted);
    // The latest of each device may be so new that nobody has seen it.
    let expected = sent() - devices.len();
    let seen = assert_unlinkable(&sniffer.reports());
    eprintln!("{} identifiers sent, {seen} seen on the air", sent());
    for device in &devices {
        eprintln!("{} sent, {:?}", device.sent().len(), device.status());
    }
    assert!(seen * 100 >= expected * 95, "what was not seen was not watched");
}
