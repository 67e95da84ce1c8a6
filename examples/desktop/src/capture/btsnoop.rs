//! The container of Bluetooth captures as `btmon -w` (Linux) and Android's developer options write it. All numbers are big-endian.
//!
//! ```text
//! offset  length  meaning
//! 0       8       "btsnoop\0"
//! 8       4       version = 1
//! 12      4       datalink: 1001 HCI without a packet type, 1002 HCI UART (H4), 2001 Linux monitor
//!
//! then for each record
//! 0       4       original length of the packet
//! 4       4       length included here
//! 8       4       flags: 1001 and 1002: bit 0 received by the host, bit 1 command or event; 2001: adapter (high 16 bits), opcode (low 16 bits)
//! 12      4       packets lost so far
//! 16      8       microseconds since 0:00 on 1 January of the year 0
//! 24      ...     the packet
//! ```
//!
//! Source: RFC 1761, and BlueZ doc/btsnoop.rst. The crate btsnoop parses headers here and not whole files: it would need the file in memory and says
//! nothing of one that is cut. It takes direction and kind of a packet from the two highest bits of the flags, which is the wrong end, so that they
//! are read from its field `reserved`, the low 30 bits; and its conversion of times panics on those before 1970.

use std::collections::VecDeque;
use std::io::{BufReader, Read};

use bt_hci::{FromHciBytes, PacketKind};
use btsnoop::{DatalinkType, FileHeader, PacketHeader};
use nom_derive::Parse;
use vigie::beacon::ServiceUuid;
use vigie::radio::Sighting;
use vigie::time::Timestamp;

use super::hci::Advertisements;
use super::{CaptureError, CaptureStats, read_full};

/// How a file begins.
pub(super) const MAGIC: &[u8; 8] = b"btsnoop\0";

/// The longest HCI packet there is: an ACL packet with its type (1), header (4) and data (65,535).
const MAX_PACKET: u32 = 65_540;

/// 1 January 1970 in microseconds since the year 0.
const UNIX_EPOCH_US: i64 = 0x00dc_ddb3_0f2f_8000;

/// "Event packet" among the opcodes of the Linux monitor.
const MONITOR_EVENT: u32 = 3;

/// Set in the flags where the host received an event.
const RECEIVED_EVENT: u32 = 0b11;

/// The packets of a capture.
pub(super) struct Packets<R> {
    reader: BufReader<R>,
    datalink: Datalink,
    packet: Vec<u8>,
    advertisements: Advertisements,
    /// Found in the last packet and not yet handed out.
    found: VecDeque<Sighting>,
}

#[derive(Clone, Copy)]
enum Datalink {
    Hci,
    Uart,
    Monitor,
}

impl<R: Read> Packets<R> {
    /// Reads the header: `start`, which is the magic, and what follows it.
    pub(super) fn new(start: Vec<u8>, reader: R, service: ServiceUuid) -> Result<Self, CaptureError> {
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let mut rest = [0; FileHeader::LENGTH - MAGIC.len()];
        if read_full(&mut reader, &mut rest)? < rest.len() {
            return Err(CaptureError::Cut { records: 0 });
        }
        let header = [&start[..], &rest[..]].concat();
        let datalink = match FileHeader::parse(&header) {
            Ok((_, FileHeader { datalink_type: DatalinkType::UnencapsulatedHci, .. })) => Datalink::Hci,
            Ok((_, FileHeader { datalink_type: DatalinkType::HciUart, .. })) => Datalink::Uart,
            Ok((_, FileHeader { datalink_type: DatalinkType::Monitor, .. })) => Datalink::Monitor,
            _ => {
                let [v0, v1, v2, v3, d0, d1, d2, d3] = rest;
                let (version, datalink) = (u32::from_be_bytes([v0, v1, v2, v3]), u32::from_be_bytes([d0, d1, d2, d3]));
                return Err(CaptureError::UnknownDatalink { version, datalink });
            }
        };
        let advertisements = Advertisements::new(service);
        Ok(Self { reader, datalink, packet: Vec::new(), advertisements, found: VecDeque::new() })
    }

    /// The next frame, `None` at the end.
    pub(super) fn next(&mut self, stats: &mut CaptureStats) -> Result<Option<Sighting>, CaptureError> {
        loop {
            if let Some(sighting) = self.found.pop_front() {
                return Ok(Some(sighting));
            }
            match self.read_record(stats.records) {
                Ok(Some(header)) => {
                    stats.records += 1;
                    self.take_record(&header, stats);
                }
                end => {
                    self.advertisements.end(stats);
                    return end.map(|_| None);
                }
            }
        }
    }

    /// Reads the next record into `packet`; `None` where the file ends between two records.
    fn read_record(&mut self, records: u64) -> Result<Option<PacketHeader>, CaptureError> {
        let mut header = [0; PacketHeader::LENGTH];
        let header = match read_full(&mut self.reader, &mut header)? {
            0 => return Ok(None),
            PacketHeader::LENGTH => PacketHeader::parse(&header).map(|(_, header)| header),
            _ => return Err(CaptureError::Cut { records }),
        };
        // The parser fails only where bytes are missing.
        let header = header.map_err(|_| CaptureError::Cut { records })?;
        let included = header.included_length;
        if included > MAX_PACKET {
            return Err(CaptureError::RecordTooLong { records, found: included, limit: MAX_PACKET });
        }
        self.packet.resize(included as usize, 0);
        if read_full(&mut self.reader, &mut self.packet)? < self.packet.len() {
            return Err(CaptureError::Cut { records });
        }
        Ok(Some(header))
    }

    fn take_record(&mut self, header: &PacketHeader, stats: &mut CaptureStats) {
        if header.included_length < header.original_length {
            stats.skipped.shortened_records += 1;
            return;
        }
        let flags = header.packet_flags.reserved;
        let event = match self.datalink {
            Datalink::Hci => (flags & RECEIVED_EVENT == RECEIVED_EVENT).then_some(&self.packet[..]),
            Datalink::Monitor => (flags & 0xFFFF == MONITOR_EVENT).then_some(&self.packet[..]),
            Datalink::Uart => match PacketKind::from_hci_bytes(&self.packet) {
                Ok((PacketKind::Event, event)) => Some(event),
                _ => None,
            },
        };
        match event {
            Some(event) => self.advertisements.take(event, unix_time(header.timestamp_microseconds), &mut self.found, stats),
            None => stats.skipped.other_records += 1,
        }
    }
}

fn unix_time(microseconds: i64) -> Timestamp {
    Timestamp::from_unix_ms(microseconds.saturating_sub(UNIX_EPOCH_US).div_euclid(1000))
}
