//! What two devices exchange over a GATT connection, for phones that cannot put service data into an advertisement.
//!
//! ```text
//! offset  length  meaning
//! 0       1       version = 1
//! 1       16      RPI
//! 17      4       AEM                                                 the payload, read by the central: 21 bytes
//! 21      1       RSSI at which the writer heard the reader, i8, dBm  the write-back, written by the central: 22 bytes
//! ```
//!
//! The side that cannot scan has no signal strength of its own, so the writer tells it. Both exceed the 20 bytes that one write carries at the
//! default MTU of 23, so a long write (prepared parts with offsets) is taken together by [`LongWrite`]; nothing longer is accepted. The layout is
//! Vigie's own: the specification has no GATT form.

use super::{BeaconError, Frame, Rssi};

/// The one version there is.
pub const VERSION: u8 = 1;

const PAYLOAD_LEN: usize = 1 + Frame::LEN;
const WRITE_BACK_LEN: usize = PAYLOAD_LEN + 1;

/// The value of the readable characteristic.
pub fn encode_payload(frame: Frame) -> [u8; PAYLOAD_LEN] {
    let mut bytes = [VERSION; PAYLOAD_LEN];
    bytes[1..].copy_from_slice(&frame.to_bytes());
    bytes
}

/// The frame that a peer serves.
///
/// # Errors
/// [`BeaconError::UnknownVersion`] or [`BeaconError::PayloadLength`].
pub fn decode_payload(bytes: &[u8]) -> Result<Frame, BeaconError> {
    Frame::from_service_data(versioned(bytes, PAYLOAD_LEN)?)
}

/// What a central writes to a peer: its own frame, and how strongly it heard the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteBack {
    /// The writer's frame.
    pub frame: Frame,
    /// The strength at which the writer heard the one to whom it writes.
    pub rssi: Rssi,
}

impl WriteBack {
    /// The bytes to write.
    pub fn encode(self) -> [u8; WRITE_BACK_LEN] {
        let mut bytes = [0; WRITE_BACK_LEN];
        bytes[..PAYLOAD_LEN].copy_from_slice(&encode_payload(self.frame));
        bytes[PAYLOAD_LEN] = self.rssi.0 as u8;
        bytes
    }

    /// What a central has written.
    ///
    /// # Errors
    /// [`BeaconError::UnknownVersion`] or [`BeaconError::PayloadLength`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BeaconError> {
        let body = versioned(bytes, WRITE_BACK_LEN)?;
        let (frame, rssi) = body.split_at(Frame::LEN);
        Ok(Self { frame: Frame::from_service_data(frame)?, rssi: Rssi(rssi[0] as i8) })
    }
}

fn versioned(bytes: &[u8], expected: usize) -> Result<&[u8], BeaconError> {
    match bytes {
        // The version comes first, so that a later one may have another length.
        [version, ..] if *version != VERSION => Err(BeaconError::UnknownVersion { found: *version }),
        [_, body @ ..] if bytes.len() == expected => Ok(body),
        _ => Err(BeaconError::PayloadLength { expected, found: bytes.len() }),
    }
}

/// Puts a write-back together from parts with offsets, as a long write brings them. One for each connection.
#[derive(Debug, Default)]
pub struct LongWrite {
    received: Vec<u8>,
}

impl LongWrite {
    /// Takes one part. A part may repeat what has come (a retry); it may not leave a hole or reach beyond the payload.
    ///
    /// # Errors
    /// [`BeaconError::WriteOffset`]; what has come before stays as it was.
    pub fn write(&mut self, offset: usize, part: &[u8]) -> Result<(), BeaconError> {
        let end = offset.saturating_add(part.len());
        if offset > self.received.len() || end > WRITE_BACK_LEN {
            return Err(BeaconError::WriteOffset {
                offset,
                length: part.len(),
                received: self.received.len(),
                limit: WRITE_BACK_LEN,
            });
        }
        self.received.resize(self.received.len().max(end), 0);
        self.received[offset..end].copy_from_slice(part);
        Ok(())
    }

    /// Whether as much has come as there can be.
    pub fn is_complete(&self) -> bool {
        self.received.len() == WRITE_BACK_LEN
    }

    /// What was written, and a clean slate for the next write.
    ///
    /// # Errors
    /// As [`WriteBack::decode`].
    pub fn finish(&mut self) -> Result<WriteBack, BeaconError> {
        WriteBack::decode(&std::mem::take(&mut self.received))
    }
}
