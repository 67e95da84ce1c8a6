//! What the kernel told an adapter to send, and from which address: for what no other adapter reports.
//!
//! The emulated adapter of BlueZ sends no scan requests. A real one does, to whoever can be asked for more, from the address that it was told last.
//! And it refuses a new address once an extended advertisement has ended, as if a legacy one went on, against 7.8.4: the kernel then takes the public
//! one. Where adapters are virtual, what the kernel wanted counts.
//! HCI commands: Core Specification v5.4, vol 4, part E, 7.8.

use crate::control::is_virtual;
use crate::sniffer::{Address, Report};

const RESET: u16 = 0x0C03;
const SET_RANDOM_ADDRESS: u16 = 0x2005;
const SET_ADVERTISING_PARAMETERS: u16 = 0x2006;
const SET_ADVERTISING_DATA: u16 = 0x2008;
const ENABLE_ADVERTISING: u16 = 0x200A;
const SET_SCAN_PARAMETERS: u16 = 0x200B;
const ENABLE_SCAN: u16 = 0x200C;
const CREATE_CONNECTION: u16 = 0x200D;
const SET_EXTENDED_ADVERTISING_PARAMETERS: u16 = 0x2036;
const SET_EXTENDED_ADVERTISING_DATA: u16 = 0x2037;
const ENABLE_EXTENDED_ADVERTISING: u16 = 0x2039;
const SET_EXTENDED_SCAN_PARAMETERS: u16 = 0x2041;
const ENABLE_EXTENDED_SCAN: u16 = 0x2042;
const EXTENDED_CREATE_CONNECTION: u16 = 0x2043;
const ACTIVE: u8 = 1;

/// An adapter, as the kernel has set it.
#[derive(Default)]
pub(crate) struct Told {
    /// Of scan requests and connections; of advertisements, too, without extended advertising.
    pub(crate) own: Option<Address>,
    is_refused: bool,
    asks: bool,
    scans: bool,
    data: Vec<u8>,
    advertises: bool,
}

impl Told {
    /// A command: its code, the length of the rest, the rest.
    pub(crate) fn command(&mut self, command: &[u8], reports: &mut Vec<Report>) {
        let rest = &command[3..];
        // The kinds of address that begin with the public one are even.
        let is_excused = self.is_refused && is_virtual();
        let mut sends = |kind: u8| reports.push(Report::Sends { is_public: kind & 1 == 0 && !is_excused });
        match u16::from_le_bytes([command[0], command[1]]) {
            RESET => *self = Self::default(),
            SET_RANDOM_ADDRESS => {
                (self.own, self.is_refused) = (Some(Address { is_random: true, bytes: rest[..6].try_into().unwrap() }), false);
            }
            SET_ADVERTISING_PARAMETERS => sends(rest[5]),
            SET_EXTENDED_ADVERTISING_PARAMETERS => sends(rest[10]),
            CREATE_CONNECTION => sends(rest[12]),
            EXTENDED_CREATE_CONNECTION => sends(rest[1]),
            SET_SCAN_PARAMETERS => self.set_scan(rest[0], rest[5], sends),
            SET_EXTENDED_SCAN_PARAMETERS => self.set_scan(rest[3], rest[0], sends),
            SET_ADVERTISING_DATA => self.data = rest[1..].to_vec(),
            SET_EXTENDED_ADVERTISING_DATA => self.data = rest[4..].to_vec(),
            ENABLE_ADVERTISING | ENABLE_EXTENDED_ADVERTISING => self.advertises = rest[0] == 1,
            ENABLE_SCAN | ENABLE_EXTENDED_SCAN => self.scans = rest[0] == 1,
            _ => return,
        }
        if let (true, true, Some(from)) = (self.scans, self.asks, self.own) {
            reports.push(Report::Scan { from, advertises: self.advertises.then(|| self.data.clone()) });
        }
    }

    /// What an adapter answered to a command: how many more it takes, the command's code, the status.
    pub(crate) fn completed(&mut self, event: &[u8]) {
        if event[1..3] == SET_RANDOM_ADDRESS.to_le_bytes() {
            self.is_refused = event[3] != 0;
        }
    }

    /// A passive scan sends nothing.
    fn set_scan(&mut self, kind: u8, address: u8, mut sends: impl FnMut(u8)) {
        self.asks = kind == ACTIVE;
        if self.asks {
            sends(address);
        }
    }
}
