use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::keys::{AssociatedEncryptedMetadata, RollingProximityIdentifier};

const SERVICE: ServiceUuid = ServiceUuid(0xFD64);
const OTHER: ServiceUuid = ServiceUuid(0xFD6F);
const NOW: Duration = Duration::from_secs(1_000);

fn hearing() -> Hearing<u32> {
    Hearing::new(&[SERVICE])
}

fn frame(byte: u8) -> Frame {
    Frame { rpi: RollingProximityIdentifier([byte; 16]), aem: AssociatedEncryptedMetadata([byte; 4]) }
}

fn data(service: ServiceUuid, bytes: &[u8]) -> HashMap<Uuid, Vec<u8>> {
    HashMap::from([(full_uuid(service), bytes.to_vec())])
}

fn data_of(frame: Frame) -> HashMap<Uuid, Vec<u8>> {
    data(SERVICE, &frame.to_bytes())
}

/// What a device shows that sends service data.
fn sends(rssi: Option<i16>, service_data: HashMap<Uuid, Vec<u8>>) -> PeripheralProperties {
    PeripheralProperties { rssi, service_data, ..PeripheralProperties::default() }
}

/// What a device shows that sends none.
fn shows(rssi: Option<i16>, service: ServiceUuid) -> PeripheralProperties {
    PeripheralProperties { rssi, services: vec![full_uuid(service)], ..PeripheralProperties::default() }
}

/// Device 1 shows the service alone.
fn hearing_somebody_connectable() -> Hearing<u32> {
    let mut hearing = hearing();
    assert_eq!(hearing.properties(1, &shows(Some(-60), SERVICE), NOW), Heard::Connectable(1, Rssi(-60)));
    hearing
}

#[test]
fn strength_and_service_data_of_one_packet_are_one_sighting() {
    let mut hearing = hearing();
    assert_eq!(hearing.strength(1, -60, NOW), Heard::Unknown(1));
    assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Frame(frame(7), Rssi(-60)));
    assert_eq!(hearing.strength(1, -62, NOW), Heard::Nothing);
    assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Frame(frame(7), Rssi(-62)));
}

#[test]
fn frames_of_every_service_that_is_looked_for_are_heard_and_of_no_other() {
    let mut hearing = Hearing::new(&[SERVICE, OTHER]);
    hearing.strength(1, -60, NOW);
    for service in [SERVICE, OTHER] {
        assert_eq!(hearing.service_data(1, &data(service, &frame(7).to_bytes())), Heard::Frame(frame(7), Rssi(-60)));
    }
    assert_eq!(hearing.properties(2, &shows(Some(-60), OTHER), NOW), Heard::Connectable(2, Rssi(-60)));
    hearing.set_services(&[OTHER]);
    assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Nothing);
    assert_eq!(hearing.service_data(1, &data(OTHER, &frame(7).to_bytes())), Heard::Frame(frame(7), Rssi(-60)));
}

#[test]
fn a_strength_that_stays_is_that_of_the_next_packet_and_each_device_has_its_own() {
    let mut hearing = hearing();
    hearing.strength(1, -60, NOW);
    hearing.strength(2, -90, NOW);
    for byte in [7, 7, 8] {
        assert_eq!(hearing.service_data(1, &data_of(frame(byte))), Heard::Frame(frame(byte), Rssi(-60)));
    }
    assert_eq!(hearing.service_data(2, &data_of(frame(9))), Heard::Frame(frame(9), Rssi(-90)));
}

#[test]
fn whoever_is_heard_without_a_strength_is_asked_for_and_its_properties_are_the_first_sighting() {
    let mut hearing = hearing();
    assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Unknown(1));
    assert_eq!(hearing.properties(1, &sends(Some(-60), data_of(frame(7))), NOW), Heard::Frame(frame(7), Rssi(-60)));
    assert_eq!(hearing.service_data(1, &data_of(frame(8))), Heard::Frame(frame(8), Rssi(-60)));
}

#[test]
fn a_device_that_the_system_remembers_and_does_not_hear_is_nobody() {
    let mut hearing = hearing();
    assert_eq!(hearing.properties(1, &sends(None, data_of(frame(7))), NOW), Heard::Nothing);
    assert_eq!(hearing.properties(2, &shows(None, SERVICE), NOW), Heard::Nothing);
    assert!(hearing.devices.is_empty());
}

#[test]
fn a_strength_that_is_none_does_not_count() {
    for dbm in [127, 21, -128, 128, -129, i16::MIN, i16::MAX] {
        let mut hearing = hearing();
        assert_eq!(hearing.strength(1, dbm, NOW), Heard::Nothing);
        assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Unknown(1), "{dbm}");
        assert_eq!(hearing.properties(1, &sends(Some(dbm), data_of(frame(7))), NOW), Heard::Nothing);
        hearing.strength(1, -60, NOW);
        hearing.strength(1, dbm, NOW);
        assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Frame(frame(7), Rssi(-60)), "{dbm}");
    }
    for dbm in [-127, 0, 20] {
        assert_eq!(hearing().strength(1, dbm, NOW), Heard::Unknown(1));
    }
}

#[test]
fn service_data_of_another_length_is_no_frame() {
    let bytes = [7; 40];
    for length in (0..=bytes.len()).filter(|length| *length != Frame::LEN) {
        let data = data(SERVICE, &bytes[..length]);
        let mut hearing = hearing();
        hearing.strength(1, -60, NOW);
        assert_eq!(hearing.service_data(1, &data), Heard::Nothing, "{length}");
        assert_eq!(hearing.properties(1, &sends(Some(-60), data), NOW), Heard::Nothing, "{length}");
        assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Frame(frame(7), Rssi(-60)), "the next packet");
    }
}

#[test]
fn other_services_are_nothing_of_ours() {
    let mut hearing = hearing();
    let data = data(OTHER, &frame(7).to_bytes());
    assert_eq!(hearing.service_data(1, &data), Heard::Nothing);
    assert_eq!(hearing.services(1, &[full_uuid(OTHER)]), Heard::Nothing);
    assert!(hearing.devices.is_empty());
    hearing.strength(1, -60, NOW);
    assert_eq!(hearing.properties(1, &sends(Some(-60), data.clone()), NOW), Heard::Nothing);
    assert_eq!(hearing.properties(1, &shows(Some(-60), OTHER), NOW), Heard::Nothing);
    assert_eq!(hearing.service_data(1, &data), Heard::Nothing);
    assert_eq!(hearing.strength(1, -61, NOW), Heard::Nothing);
}

#[test]
fn whoever_shows_the_service_alone_may_be_connected_to() {
    let mut hearing = hearing();
    assert_eq!(hearing.services(1, &[full_uuid(OTHER), full_uuid(SERVICE)]), Heard::Unknown(1));
    assert_eq!(hearing.properties(1, &shows(Some(-60), SERVICE), NOW), Heard::Connectable(1, Rssi(-60)));
    assert_eq!(hearing.strength(1, -70, NOW), Heard::Connectable(1, Rssi(-70)));
    assert_eq!(hearing.services(1, &[full_uuid(SERVICE)]), Heard::Nothing, "that is known");
}

#[test]
fn a_service_that_comes_with_the_scan_response_is_not_missed() {
    let mut hearing = hearing();
    assert_eq!(hearing.strength(1, -60, NOW), Heard::Unknown(1));
    assert_eq!(hearing.properties(1, &sends(Some(-60), HashMap::new()), NOW), Heard::Nothing);
    assert_eq!(hearing.services(1, &[full_uuid(SERVICE)]), Heard::Unknown(1));
}

#[test]
fn whoever_sends_frames_is_not_connected_to() {
    let mut hearing = hearing();
    hearing.properties(1, &sends(Some(-60), data_of(frame(7))), NOW);
    assert_eq!(hearing.services(1, &[full_uuid(SERVICE)]), Heard::Nothing);
    assert_eq!(hearing.properties(1, &shows(Some(-60), SERVICE), NOW), Heard::Nothing);
    assert_eq!(hearing.strength(1, -61, NOW), Heard::Nothing);
    // Also where it only begins to after a while.
    let mut hearing = hearing_somebody_connectable();
    assert_eq!(hearing.service_data(1, &data_of(frame(7))), Heard::Frame(frame(7), Rssi(-60)));
    assert_eq!(hearing.strength(1, -61, NOW), Heard::Nothing);
}

#[test]
fn a_frame_that_was_read_over_a_connection_counts_for_each_packet_until_the_period_ends() {
    let mut hearing = hearing_somebody_connectable();
    hearing.asked(&1, Some(frame(7)), NOW);
    let end = NOW + EXCHANGE_PERIOD;
    assert_eq!(hearing.strength(1, -61, NOW), Heard::Frame(frame(7), Rssi(-61)));
    let last = end - Duration::from_millis(1);
    assert_eq!(hearing.strength(1, -62, last), Heard::Frame(frame(7), Rssi(-62)));
    assert_eq!(hearing.properties(1, &shows(Some(-63), SERVICE), last), Heard::Frame(frame(7), Rssi(-63)));
    assert_eq!(hearing.strength(1, -64, end), Heard::Connectable(1, Rssi(-64)));
    assert_eq!(hearing.strength(1, -65, end), Heard::Connectable(1, Rssi(-65)), "until it is asked again");
    hearing.asked(&1, Some(frame(8)), end);
    assert_eq!(hearing.strength(1, -66, end), Heard::Frame(frame(8), Rssi(-66)));
}

#[test]
fn whoever_said_nothing_over_a_connection_is_left_alone_until_the_period_ends() {
    let mut hearing = hearing_somebody_connectable();
    hearing.asked(&1, None, NOW);
    let end = NOW + EXCHANGE_PERIOD;
    let last = end - Duration::from_millis(1);
    assert_eq!(hearing.strength(1, -61, last), Heard::Nothing);
    assert_eq!(hearing.properties(1, &shows(Some(-61), SERVICE), last), Heard::Nothing);
    assert_eq!(hearing.services(1, &[full_uuid(SERVICE)]), Heard::Nothing);
    assert_eq!(hearing.strength(1, -62, end), Heard::Connectable(1, Rssi(-62)));
}

#[test]
fn of_many_devices_those_are_forgotten_that_were_silent_for_longest() {
    let mut hearing = hearing_somebody_connectable();
    hearing.asked(&1, Some(frame(7)), NOW);
    hearing.properties(2, &sends(Some(-60), data_of(frame(8))), NOW);
    for stranger in 0..20_000 {
        assert_eq!(hearing.strength(100 + stranger, -90, NOW), Heard::Unknown(100 + stranger));
        if stranger % 1_000 == 0 {
            assert_eq!(hearing.strength(1, -60, NOW), Heard::Frame(frame(7), Rssi(-60)));
        }
        assert!(hearing.devices.len() <= MAX_DEVICES.get());
    }
    assert_eq!(hearing.devices.cap(), MAX_DEVICES);
    assert_eq!(hearing.service_data(2, &data_of(frame(8))), Heard::Unknown(2), "it was forgotten");
    // Whoever is forgotten while it is asked is nobody.
    hearing.asked(&100, Some(frame(9)), NOW);
    assert_eq!(hearing.strength(100, -60, NOW), Heard::Unknown(100));
}

#[derive(Debug, Clone)]
enum Event {
    Strength(i16),
    ServiceData(HashMap<Uuid, Vec<u8>>),
    Services(Vec<Uuid>),
    Properties(PeripheralProperties),
    Asked(Option<u8>),
}

fn any_service() -> impl Strategy<Value = Uuid> {
    prop_oneof![Just(full_uuid(SERVICE)), any::<u16>().prop_map(|uuid| full_uuid(ServiceUuid(uuid)))]
}

fn any_service_data() -> impl Strategy<Value = HashMap<Uuid, Vec<u8>>> {
    let bytes = prop_oneof![vec(any::<u8>(), Frame::LEN), vec(any::<u8>(), 0..64)];
    proptest::collection::hash_map(any_service(), bytes, 0..3)
}

fn any_dbm() -> impl Strategy<Value = i16> {
    prop_oneof![-128..=127_i16, any::<i16>()]
}

fn any_event() -> impl Strategy<Value = Event> {
    let properties = (proptest::option::of(any_dbm()), any_service_data(), vec(any_service(), 0..3));
    prop_oneof![
        any_dbm().prop_map(Event::Strength),
        any_service_data().prop_map(Event::ServiceData),
        vec(any_service(), 0..3).prop_map(Event::Services),
        properties.prop_map(|(rssi, service_data, services)| {
            Event::Properties(PeripheralProperties { rssi, service_data, services, ..PeripheralProperties::default() })
        }),
        any::<Option<u8>>().prop_map(Event::Asked),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_is_judged_and_never_with_a_strength_that_is_none(
        events in vec((0..4_u32, any_event(), 0..400_u64), 0..200)
    ) {
        let (mut hearing, mut now) = (hearing(), NOW);
        for (id, event, seconds) in events {
            now += Duration::from_secs(seconds);
            let heard = match event {
                Event::Strength(dbm) => hearing.strength(id, dbm, now),
                Event::ServiceData(data) => hearing.service_data(id, &data),
                Event::Services(services) => hearing.services(id, &services),
                Event::Properties(properties) => hearing.properties(id, &properties, now),
                Event::Asked(byte) => {
                    hearing.asked(&id, byte.map(frame), now);
                    Heard::Nothing
                }
            };
            match heard {
                Heard::Nothing => {}
                Heard::Frame(_, rssi) => prop_assert!(rssi.is_valid()),
                Heard::Unknown(who) => prop_assert_eq!(who, id),
                Heard::Connectable(who, rssi) => prop_assert!(who == id && rssi.is_valid()),
            }
        }
    }
}
