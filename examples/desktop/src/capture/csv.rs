//! Recorded traffic as a table.
//!
//! ```text
//! unix_seconds,rssi_dbm,service_data_hex
//! 1596096000.25,-61,8be6cd371c5c891604bfbe49df84509672033874
//!
//! unix_seconds       seconds since 1970, a fraction is allowed, kept to the millisecond
//! rssi_dbm           -127..=20
//! service_data_hex   RPI (16 bytes) and AEM (4 bytes): 40 hexadecimal digits
//! ```
//!
//! The format is Vigie's own. There is no quoting, so a line is a record, and a line is bounded; spaces around a value are ignored.

use std::io::{self, Cursor, Read};

use vigie::beacon::Frame;
use vigie::radio::{MeasuredBy, Rssi, Sighting};
use vigie::time::Timestamp;

use super::{CaptureError, CaptureStats};
use crate::output;

/// The first line of a table.
pub(super) const HEADER: &str = "unix_seconds,rssi_dbm,service_data_hex";

/// Three times what the longest sensible line has.
const MAX_LINE: usize = 256;

type Start<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// The rows of a table.
pub(super) struct Table<R> {
    rows: csv::Reader<BoundedLines<Start<R>>>,
    row: csv::ByteRecord,
}

impl<R: Read> Table<R> {
    /// Reads the header from `start`, which was read already, and what follows it.
    pub(super) fn new(start: Vec<u8>, reader: R) -> Result<Self, CaptureError> {
        let lines = BoundedLines { inner: Cursor::new(start).chain(reader), line: 1, length: 0, too_long: false };
        let mut rows = csv::ReaderBuilder::new().quoting(false).flexible(true).trim(csv::Trim::All).from_reader(lines);
        let header = rows.byte_headers().map_err(|e| match CaptureError::from(e) {
            // Nobody's header is that long: this is another kind of file.
            CaptureError::LineTooLong { .. } => CaptureError::UnknownFormat { found: "a very long line".to_owned() },
            other => other,
        })?;
        if !header.iter().eq(HEADER.split(',').map(str::as_bytes)) {
            let found = match header.get(0) {
                // A first row of data holds an identifier, which no message may show.
                Some(first) if number::<f64>(first).is_some() => "a line without a header".to_owned(),
                _ => shown(&header.iter().collect::<Vec<_>>().join(&b','), 40),
            };
            return Err(CaptureError::UnknownFormat { found });
        }
        Ok(Self { rows, row: csv::ByteRecord::new() })
    }

    /// The next row, `None` at the end.
    pub(super) fn next(&mut self, stats: &mut CaptureStats) -> Result<Option<Sighting>, CaptureError> {
        if !self.rows.read_byte_record(&mut self.row)? {
            return Ok(None);
        }
        let sighting = parse(&self.row)?;
        stats.records += 1;
        stats.advertisements += 1;
        stats.frames += 1;
        Ok(Some(sighting))
    }
}

fn parse(row: &csv::ByteRecord) -> Result<Sighting, CaptureError> {
    let line = row.position().map_or(0, csv::Position::line);
    let (Some(seconds), Some(dbm), Some(digits), 3) = (row.get(0), row.get(1), row.get(2), row.len()) else {
        return Err(CaptureError::Columns { line, found: row.len() });
    };
    let column = |column, expected, found| CaptureError::Column { line, column, expected, found };

    let seconds = number(seconds).ok_or_else(|| column("unix_seconds", "seconds since 1970", shown(seconds, 24)))?;
    let at = Timestamp::from_unix_s_f64(seconds).map_err(|source| CaptureError::Time { line, source })?;
    let rssi = number(dbm)
        .map(Rssi)
        .filter(|rssi| rssi.is_valid())
        .ok_or_else(|| column("rssi_dbm", "a whole number from -127 to 20", shown(dbm, 24)))?;
    let data = hex::decode(digits)
        .map_err(|source| column("service_data_hex", "40 hexadecimal digits", describe(source, digits.len())))?;
    let frame = Frame::from_service_data(&data).map_err(|source| CaptureError::Frame { line, source })?;
    Ok(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at })
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What is wrong with the digits, without showing an identifier.
fn describe(error: hex::FromHexError, length: usize) -> String {
    match error {
        hex::FromHexError::InvalidHexCharacter { c, index } => format!("`{}` as character {}", c.escape_debug(), index + 1),
        _ => format!("{length} characters"),
    }
}

/// Foreign text for a message.
fn shown(text: &[u8], limit: usize) -> String {
    format!("`{}`", output::shown(&String::from_utf8_lossy(text), limit))
}

impl From<csv::Error> for CaptureError {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            // What `BoundedLines` says comes back here.
            csv::ErrorKind::Io(error) => error.downcast::<Self>().unwrap_or_else(Self::Io),
            other => Self::Io(io::Error::other(format!("{other:?}"))),
        }
    }
}

/// Hands on what it reads, and fails where a line is longer than [`MAX_LINE`]: the csv crate would keep a line of any length in memory.
struct BoundedLines<R> {
    inner: R,
    /// The line that is being read, from 1.
    line: u64,
    /// Its bytes so far.
    length: usize,
    too_long: bool,
}

impl<R: Read> Read for BoundedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.too_long {
            return Err(io::Error::other(CaptureError::LineTooLong { line: self.line, limit: MAX_LINE }));
        }
        let n = self.inner.read(buffer)?;
        let mut whole_lines = 0;
        for (i, byte) in buffer.iter().take(n).enumerate() {
            if *byte == b'\n' {
                (self.line, self.length, whole_lines) = (self.line + 1, 0, i + 1);
            } else {
                self.length += 1;
            }
            if self.length > MAX_LINE {
                self.too_long = true;
                // The lines before it first; where there are none, the error at once.
                return if whole_lines > 0 { Ok(whole_lines) } else { self.read(buffer) };
            }
        }
        Ok(n)
    }
}
