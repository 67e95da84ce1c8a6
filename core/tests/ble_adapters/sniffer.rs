//! What was on the air, read from what the adapters reported to the kernel: btmon writes it down, and this reads it.
//!
//! ```text
//! file    "btsnoop\0", version 1 and data link 2001, both u32, big-endian
//! record  length, length kept, flags = adapter << 16 | kind, drops: u32; time in microseconds: u64; then the data     kind 2: an HCI command, 3: an event, 4: data sent, 5: received
//! ```
//! Source: BlueZ, `src/shared/btsnoop.c`; HCI events: Core Specification v5.4, vol 4, part E, 7.7.65.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use vigie::beacon::ServiceUuid;

use crate::commands::Told;

const COMMAND: u32 = 2;
const EVENT: u32 = 3;
const SENT: u32 = 4;
const RECEIVED: u32 = 5;
const ATT_CHANNEL: u16 = 4;
const READ_RESPONSE: u8 = 0x0B;
const WRITE_REQUEST: u8 = 0x12;
const COMMAND_COMPLETE: u8 = 0x0E;
const LE_META: u8 = 0x3E;
const CONNECTION_COMPLETE: u8 = 0x01;
const ADVERTISING_REPORT: u8 = 0x02;
const ENHANCED_CONNECTION_COMPLETE: u8 = 0x0A;
const EXTENDED_ADVERTISING_REPORT: u8 = 0x0D;

/// A device address as it was on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) is_random: bool,
    pub(crate) bytes: [u8; 6],
}

/// What an adapter reported.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    Advertisement {
        /// Whose report it is.
        adapter: u16,
        address: Address,
        data: Vec<u8>,
    },
    Connection {
        peer: Address,
    },
    /// An adapter was told to send something.
    Sends {
        is_public: bool,
    },
    /// An adapter scans, and asks what it hears for more: from which address, and what it advertises meanwhile.
    Scan {
        from: Address,
        advertises: Option<Vec<u8>>,
    },
    /// What was said over a connection, and from which address: the value that a peer was asked for, or that we wrote.
    ///
    /// Our address is the one that the kernel gave the adapter last: what the emulated adapter of BlueZ shows its peer is an older one.
    Said {
        from: Address,
        value: Vec<u8>,
    },
}

/// A running btmon.
pub(crate) struct Sniffer {
    btmon: Child,
    file: PathBuf,
    _dir: TempDir,
}

impl Sniffer {
    /// `None`, and a word why, where btmon cannot run.
    pub(crate) fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("air.btsnoop");
        let btmon = Command::new("btmon").arg("-w").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match btmon {
            Ok(btmon) => {
                std::thread::sleep(Duration::from_millis(500));
                Some(Self { btmon, file, _dir: dir })
            }
            Err(error) => {
                eprintln!("skipped: btmon does not run: {error}");
                None
            }
        }
    }

    /// All that was reported until now.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let bytes = std::fs::read(&self.file).unwrap();
        assert!(bytes.starts_with(b"btsnoop\0"), "btmon wrote nothing: is this run as root?");
        let mut rest = &bytes[16..];
        let mut reports = Vec::new();
        let mut addresses = Addresses::default();
        while let Some((header, tail)) = rest.split_at_checked(24) {
            let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            let Some((data, next)) = tail.split_at_checked(word(4) as usize) else { break };
            let adapter = (word(8) >> 16) as u16;
            match word(8) & 0xFFFF {
                COMMAND => addresses.told.entry(adapter).or_default().command(data, &mut reports),
                EVENT if data[0] == COMMAND_COMPLETE => addresses.told.entry(adapter).or_default().completed(&data[2..]),
                EVENT if data[0] == LE_META => read_event(adapter, &data[2..], &mut addresses, &mut reports),
                SENT => reports.extend(read_att(WRITE_REQUEST, data, |_| addresses.told[&adapter].own.unwrap())),
                RECEIVED => reports.extend(read_att(READ_RESPONSE, data, |handle| addresses.peers[&(adapter, handle)])),
                _ => {}
            }
            rest = next;
        }
        reports
    }
}

/// Whose address is which.
#[derive(Default)]
struct Addresses {
    /// By adapter, for what it begins.
    told: BTreeMap<u16, Told>,
    /// By adapter and handle of the connection.
    peers: BTreeMap<(u16, u16), Address>,
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        let _ = self.btmon.kill();
        let _ = self.btmon.wait();
    }
}

fn read_event(adapter: u16, event: &[u8], addresses: &mut Addresses, reports: &mut Vec<Report>) {
    let address = |kind: u8, bytes: &[u8]| Address { is_random: kind & 1 == 1, bytes: bytes.try_into().unwrap() };
    match event[0] {
        CONNECTION_COMPLETE | ENHANCED_CONNECTION_COMPLETE if event[1] == 0 => {
            let handle = u16::from_le_bytes([event[2], event[3]]);
            let peer = address(event[5], &event[6..12]);
            addresses.peers.insert((adapter, handle & 0x0FFF), peer);
            reports.push(Report::Connection { peer });
        }
        ADVERTISING_REPORT => {
            let mut rest = &event[2..];
            for _ in 0..event[1] {
                let length = usize::from(rest[8]);
                let data = rest[9..9 + length].to_vec();
                reports.push(Report::Advertisement { adapter, address: address(rest[1], &rest[2..8]), data });
                rest = &rest[10 + length..];
            }
        }
        EXTENDED_ADVERTISING_REPORT => {
            let mut rest = &event[2..];
            for _ in 0..event[1] {
                let length = usize::from(rest[23]);
                let data = rest[24..24 + length].to_vec();
                reports.push(Report::Advertisement { adapter, address: address(rest[2], &rest[3..9]), data });
                rest = &rest[24 + length..];
            }
        }
        _ => {}
    }
}

/// ```text
/// handle and flags, length, L2CAP length, channel: u16 each, little-endian; then the ATT opcode, and of a write the attribute: u16
/// ```
fn read_att(opcode: u8, data: &[u8], from: impl Fn(u16) -> Address) -> Option<Report> {
    let word = |at: usize| Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?));
    // Enhanced ATT has channels of its own, on which the length of the whole comes first.
    let att = if word(6)? == ATT_CHANNEL { data.get(8..)? } else { data.get(10..)? };
    if *att.first()? != opcode {
        return None;
    }
    let value = att.get(if opcode == WRITE_REQUEST { 3 } else { 1 }..)?;
    // Nothing else is as long as what we say.
    matches!(value.len(), 21 | 22)
        .then(|| Report::Said { from: from(word(0).unwrap_or_default() & 0x0FFF), value: value.to_vec() })
}

/// Whether an advertisement shows our service at all, with a frame or without.
pub(crate) fn shows_service(data: &[u8]) -> bool {
    let [low, high] = ServiceUuid::default().0.to_le_bytes();
    data.windows(2).any(|pair| pair == [low, high])
}
