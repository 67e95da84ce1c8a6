//! What happened on the air, for whoever looks at the simulation from outside: tests of privacy, and of sameness byte for byte.
//!
//! ```text
//! offset  length  meaning                         (numbers little-endian)
//! 0       1       1 = begins to send, 2 = ends to send, 3 = heard
//! 1       8       true time, i64, milliseconds since 1970
//! 9       4       the sender's number, u32
//! 13      6       the sender's device address     (only 1 and 3)
//! 19      20      frame: RPI, AEM                 (only 1 and 3)
//! 39      4       the receiver's number, u32      (only 3)
//! 43      1       RSSI, i8, dBm                   (only 3)
//! ```

use std::fmt;

use crate::beacon::Frame;
use crate::radio::Rssi;
use crate::time::Timestamp;

/// A random device address of the non-resolvable private kind: its two top bits are 0 (Core Specification v5.4, vol 6, part B, 1.3.2.2).
///
/// Most significant byte first. `Debug` shows no byte: an address in a log could be joined with an identifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceAddress(pub [u8; 6]);

impl fmt::Debug for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceAddress(..)")
    }
}

/// One thing that happened on the air. Devices are numbered in the order in which they were added, from 0; times are true times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceEvent {
    /// A device sends this frame under this address from now on.
    Sends {
        /// When.
        at: Timestamp,
        /// Who.
        sender: u32,
        /// Under which address.
        address: DeviceAddress,
        /// What.
        frame: Frame,
    },
    /// A device ends what it was sending.
    Ends {
        /// When.
        at: Timestamp,
        /// Who.
        sender: u32,
    },
    /// A packet came through.
    Heard {
        /// When.
        at: Timestamp,
        /// Who sent it.
        sender: u32,
        /// Under which address.
        address: DeviceAddress,
        /// What.
        frame: Frame,
        /// Who heard it.
        receiver: u32,
        /// How strongly, as its adapter reports it.
        rssi: Rssi,
    },
}

impl TraceEvent {
    /// Appends the event's bytes, as the module's table has them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |kind: u8, at: Timestamp, sender: u32| {
            out.push(kind);
            out.extend(at.unix_ms().to_le_bytes());
            out.extend(sender.to_le_bytes());
        };
        match *self {
            Self::Sends { at, sender, address, frame } => {
                head(1, at, sender);
                out.extend(address.0);
                out.extend(frame.to_bytes());
            }
            Self::Ends { at, sender } => head(2, at, sender),
            Self::Heard { at, sender, address, frame, receiver, rssi } => {
                head(3, at, sender);
                out.extend(address.0);
                out.extend(frame.to_bytes());
                out.extend(receiver.to_le_bytes());
                out.extend(rssi.0.to_le_bytes());
            }
        }
    }
}
