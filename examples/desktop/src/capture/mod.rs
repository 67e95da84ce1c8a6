//! Recorded traffic: what a radio heard some time ago, read as a stream of [`Sighting`]s with the times of the recording.
//!
//! ```text
//! begins with                                     is
//! "btsnoop\0"                                     a Bluetooth capture of Linux or Android (module `btsnoop`, its packets: `hci`)
//! "unix_seconds,rssi_dbm,service_data_hex"        a table (module `csv`)
//! ```
//!
//! The content decides, not the file's name. One record at a time is in memory, and none may be longer than its format allows. What is whole
//! before the damage in a damaged file is handed out; the error is the last item.

mod btsnoop;
mod csv;
mod hci;

use std::io::{self, Read};

use serde::Serialize;
use vigie::beacon::{BeaconError, ServiceUuid};
use vigie::radio::Sighting;
use vigie::time::TimeError;

/// Why recorded traffic cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CaptureError {
    /// The operating system could not open or read the file.
    #[error("the capture cannot be read")]
    Io(#[from] io::Error),
    /// The file has no byte.
    #[error("the capture is empty")]
    Empty,
    /// The file begins like none of the known formats.
    #[error("the capture begins with {found}, which is neither a btsnoop file nor the line `{}`", csv::HEADER)]
    UnknownFormat {
        /// The first line, shortened.
        found: String,
    },
    /// A btsnoop file of a version or with packets that are not known.
    #[error("btsnoop version {version} with datalink {datalink} is not known; known is version 1 with 1001, 1002 and 2001")]
    UnknownDatalink {
        /// Version of the container.
        version: u32,
        /// What the packets are.
        datalink: u32,
    },
    /// The file ends within a record.
    #[error("the capture is cut: it ends within the record after the first {records}")]
    Cut {
        /// Whole records before the cut.
        records: u64,
    },
    /// A record says that it is longer than any Bluetooth packet; what follows cannot be found.
    #[error("the record after the first {records} claims {found} bytes, a packet has at most {limit}")]
    RecordTooLong {
        /// Whole records before it.
        records: u64,
        /// Bytes it claims.
        found: u32,
        /// Bytes it may have.
        limit: u32,
    },
    /// A line of a table is longer than a line can be.
    #[error("line {line} has more than {limit} bytes")]
    LineTooLong {
        /// The line, from 1.
        line: u64,
        /// Bytes it may have.
        limit: usize,
    },
    /// A line of a table has more or fewer columns than the header.
    #[error("line {line} has {found} columns, the header has 3")]
    Columns {
        /// The line, from 1.
        line: u64,
        /// Columns found.
        found: usize,
    },
    /// A column is not what its name says.
    #[error("line {line}, column {column}: expected {expected}, found {found}")]
    Column {
        /// The line, from 1.
        line: u64,
        /// The column's name.
        column: &'static str,
        /// What it should hold.
        expected: &'static str,
        /// What it holds, shortened; of service data only where it goes wrong.
        found: String,
    },
    /// A time that no date can show.
    #[error("line {line}, column unix_seconds")]
    Time {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        source: TimeError,
    },
    /// Service data that is no frame.
    #[error("line {line}, column service_data_hex")]
    Frame {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        source: BeaconError,
    },
}

/// What was in a capture so far. Every advertisement is either a frame or counted in one of the last five of [`Skipped`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CaptureStats {
    /// Whole records of the container, or lines of the table.
    pub(crate) records: u64,
    /// Advertisements in them; one that came in several parts counts once.
    pub(crate) advertisements: u64,
    /// Frames of our service, each handed out as a sighting.
    pub(crate) frames: u64,
    /// What was passed over, by reason.
    pub(crate) skipped: Skipped,
}

/// How many records and advertisements were passed over, by reason.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// Records that are something else than reports of advertisements.
    pub other_records: u64,
    /// Records that were shortened when they were recorded.
    pub shortened_records: u64,
    /// Records that are, from some point on, not what HCI allows.
    pub malformed_records: u64,
    /// Advertisements without service data of our service.
    pub other_advertisements: u64,
    /// Advertisements whose data is malformed, or whose service data is no frame.
    pub malformed_advertisements: u64,
    /// Frames without a signal strength.
    pub without_rssi: u64,
    /// Advertisements of which a part is missing.
    pub incomplete_advertisements: u64,
}

/// Recorded traffic as an iterator. Ends after the first error.
pub(crate) struct Capture<R> {
    source: Source<R>,
    stats: CaptureStats,
    ended: bool,
}

enum Source<R> {
    Csv(csv::Table<R>),
    Btsnoop(btsnoop::Packets<R>),
}

impl<R: Read> Capture<R> {
    /// Reads from anything; frames are those of `service` (a table holds no other).
    ///
    /// # Errors
    /// [`CaptureError`] where it cannot be read, or begins like no known format.
    pub(crate) fn new(mut reader: R, service: ServiceUuid) -> Result<Self, CaptureError> {
        let mut magic = [0; btsnoop::MAGIC.len()];
        let length = read_full(&mut reader, &mut magic)?;
        let start = magic[..length].to_vec();
        let source = match length {
            0 => return Err(CaptureError::Empty),
            _ if start == btsnoop::MAGIC => Source::Btsnoop(btsnoop::Packets::new(start, reader, service)?),
            _ => Source::Csv(csv::Table::new(start, reader)?),
        };
        Ok(Self { source, stats: CaptureStats::default(), ended: false })
    }

    /// What was read so far.
    pub(crate) fn stats(&self) -> &CaptureStats {
        &self.stats
    }
}

impl<R: Read> Iterator for Capture<R> {
    type Item = Result<Sighting, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = match &mut self.source {
            Source::Csv(table) => table.next(&mut self.stats),
            Source::Btsnoop(packets) => packets.next(&mut self.stats),
        };
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Fills `buffer` as far as the source goes, and says how far that was.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
