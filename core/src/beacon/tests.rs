use super::gatt::{LongWrite, WriteBack, decode_payload, encode_payload};
use super::*;
use proptest::prelude::*;

fn frame() -> Frame {
    Frame {
        rpi: RollingProximityIdentifier([
            0x8b, 0xe6, 0xcd, 0x37, 0x1c, 0x5c, 0x89, 0x16, 0x04, 0xbf, 0xbe, 0x49, 0xdf, 0x84, 0x50, 0x96,
        ]),
        aem: AssociatedEncryptedMetadata([0x72, 0x03, 0x38, 0x74]),
    }
}

const UUID: ServiceUuid = ServiceUuid::EXPOSURE_NOTIFICATION;

#[test]
fn an_advertisement_has_the_bytes_of_the_specification() {
    let bytes = frame().to_advertisement(UUID);
    assert_eq!(bytes[..11], [0x02, 0x01, 0x1A, 0x03, 0x03, 0x6F, 0xFD, 0x17, 0x16, 0x6F, 0xFD]);
    assert_eq!(bytes[11..], frame().to_bytes());
    assert_eq!(Frame::from_advertisement(&bytes, UUID), Ok(Some(frame())));
    assert_eq!(Frame::from_advertisement(&bytes, ServiceUuid::default()), Ok(None));
}

#[test]
fn flags_order_and_foreign_structures_do_not_matter() {
    let bytes = frame().to_advertisement(UUID);
    let mut reordered = bytes[7..].to_vec();
    reordered.extend([5, 0x09, b'n', b'a', b'm', b'e', 2, 0x01, 0x06, 2, 0x0A, 4]);
    assert_eq!(Frame::from_advertisement(&reordered, UUID), Ok(Some(frame())));
    let mut foreign_first = vec![4, AD_SERVICE_DATA_16_BIT, 0x64, 0xFD, 9];
    foreign_first.extend(&bytes[7..]);
    assert_eq!(Frame::from_advertisement(&foreign_first, UUID), Ok(Some(frame())));
    let mut padded = bytes[7..].to_vec();
    padded.extend([0; 7]);
    assert_eq!(Frame::from_advertisement(&padded, UUID), Ok(Some(frame())));
}

#[test]
fn broken_advertisements_are_refused() {
    let bytes = frame().to_advertisement(UUID);
    for cut in 8..31 {
        assert!(matches!(Frame::from_advertisement(&bytes[..cut], UUID), Err(BeaconError::CutStructure { .. })), "{cut}");
    }
    assert_eq!(Frame::from_advertisement(&[], UUID), Ok(None));
    assert_eq!(
        Frame::from_advertisement(&[5, AD_SERVICE_DATA_16_BIT, 0x6F, 0xFD, 1, 2], UUID),
        Err(BeaconError::FrameLength { found: 2 })
    );
    assert_eq!(Frame::from_advertisement(&[0; 1651], UUID), Err(BeaconError::TooLong { found: 1651 }));
}

#[test]
fn gatt_payloads_go_both_ways() {
    assert_eq!(decode_payload(&encode_payload(frame())), Ok(frame()));
    let write_back = WriteBack { frame: frame(), rssi: Rssi(-77) };
    assert_eq!(WriteBack::decode(&write_back.encode()), Ok(write_back));
    assert_eq!((encode_payload(frame()).len(), write_back.encode().len()), (21, 22));
}

#[test]
fn gatt_payloads_of_another_version_or_length_are_refused() {
    let mut bytes = WriteBack { frame: frame(), rssi: Rssi(-77) }.encode().to_vec();
    assert_eq!(decode_payload(&bytes), Err(BeaconError::PayloadLength { expected: 21, found: 22 }));
    assert_eq!(WriteBack::decode(&bytes[..21]), Err(BeaconError::PayloadLength { expected: 22, found: 21 }));
    assert_eq!(WriteBack::decode(&[]), Err(BeaconError::PayloadLength { expected: 22, found: 0 }));
    bytes[0] = 2;
    assert_eq!(WriteBack::decode(&bytes), Err(BeaconError::UnknownVersion { found: 2 }));
}

#[test]
fn a_long_write_comes_in_parts_and_may_not_be_longer() {
    let write_back = WriteBack { frame: frame(), rssi: Rssi(-60) };
    let bytes = write_back.encode();
    let mut write = LongWrite::default();
    write.write(0, &bytes[..18]).unwrap();
    assert!(write.write(19, &bytes[19..]).is_err(), "a hole");
    assert!(write.write(18, &[0; 5]).is_err(), "one byte too many");
    assert!(write.write(usize::MAX, &[1]).is_err());
    write.write(0, &bytes[..18]).unwrap();
    assert!(!write.is_complete());
    write.write(18, &bytes[18..]).unwrap();
    assert!(write.is_complete());
    assert_eq!(write.finish(), Ok(write_back));
    assert_eq!(write.finish(), Err(BeaconError::PayloadLength { expected: 22, found: 0 }), "a clean slate");
}

#[test]
fn service_uuids_are_read_as_people_write_them() {
    for text in ["0xFD64", "fd64", "0XFd64"] {
        assert_eq!(text.parse(), Ok(ServiceUuid(0xFD64)));
    }
    for text in ["", "0x", "FD6", "0xFD6F0", "+D64", "0000fd64-0000-1000-8000-00805f9b34fb"] {
        assert!(text.parse::<ServiceUuid>().is_err(), "{text}");
    }
    assert_eq!(ServiceUuid::default().to_string(), "0xFD64");
}

proptest! {
    #[test]
    fn no_bytes_from_the_air_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), uuid: u16) {
        let _ = Frame::from_advertisement(&bytes, ServiceUuid(uuid));
        let _ = decode_payload(&bytes);
        let _ = WriteBack::decode(&bytes);
    }

    #[test]
    fn every_frame_survives_its_advertisement(bytes: [u8; 20], uuid: u16) {
        let frame = Frame::from_service_data(&bytes).unwrap();
        prop_assert_eq!(Frame::from_advertisement(&frame.to_advertisement(ServiceUuid(uuid)), ServiceUuid(uuid)), Ok(Some(frame)));
    }
}
