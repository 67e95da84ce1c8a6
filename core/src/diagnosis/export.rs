//! The container: a ZIP archive with `export.bin` and `export.sig`, read within limits that nothing in the file can move.
//!
//! A size that the archive declares is a ceiling for what is read, and only where it is below ours; it is never believed. So the most that a
//! hostile file costs is the limit itself.

use std::io::{self, Read, Seek, SeekFrom};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;

use super::ExportError;
use super::proto::{self, ExportSummary};

/// The longest `export.bin`, in bytes: 64 MiB, about two million keys of 32 bytes. Real files have up to half a million.
/// Larger, and a phone may be out of memory, since the file is held whole; smaller, and a bad winter's file would be refused.
pub const MAX_EXPORT_BIN: u64 = 64 << 20;

/// The longest `export.sig`, in bytes: 16 KiB, a hundred signatures. Real ones have one or two of 110 bytes.
pub const MAX_EXPORT_SIG: u64 = 16 << 10;

/// The longest archive, in bytes. Keys are random and hardly shrink, so a file within the limits is not longer than its content by much.
pub const MAX_ZIP: u64 = MAX_EXPORT_BIN + (1 << 20);

/// Deflate cannot make more than 1,032 bytes of one, so a smaller archive that declares more gets no memory for it.
const MAX_INFLATION: u64 = 1032;

/// A key file that was unpacked, and of which nothing is trusted yet.
#[derive(Clone)]
pub struct SignedExport {
    pub(super) bin: Vec<u8>,
    pub(super) sig: Vec<u8>,
}

impl SignedExport {
    /// Unpacks a key file. For bytes in memory, wrap them into a [`std::io::Cursor`].
    ///
    /// # Errors
    /// [`ExportError`] where this is no ZIP archive of exactly `export.bin` and `export.sig`, exceeds a limit, or has another version.
    pub fn read(mut reader: impl Read + Seek) -> Result<Self, ExportError> {
        let zip_len = reader.seek(SeekFrom::End(0))?;
        check_limit("size of the key file in bytes", zip_len, MAX_ZIP)?;
        check_end_record(&mut reader, zip_len)?;
        let mut archive = ZipArchive::with_config(Config { archive_offset: ArchiveOffset::Known(0) }, reader)?;
        let mut unpack = |name, limit: u64| unpack(&mut archive, name, limit.min(zip_len.saturating_mul(MAX_INFLATION)));
        let export = Self { sig: unpack("export.sig", MAX_EXPORT_SIG)?, bin: unpack("export.bin", MAX_EXPORT_BIN)? };
        proto::message(&export.bin)?;
        Ok(export)
    }

    /// What the file says of itself, and how many keys it seems to have. **Nobody has vouched for any of it**: good for showing it to a person.
    ///
    /// # Errors
    /// [`ExportError`] where the content is malformed or exceeds a limit.
    pub fn unverified_summary(&self) -> Result<ExportSummary, ExportError> {
        proto::scan(&self.bin)
    }
}

impl std::fmt::Debug for SignedExport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedExport").field("bin_len", &self.bin.len()).field("sig_len", &self.sig.len()).finish()
    }
}

/// The archive ends with the record of a directory of two entries, and that directory stands where the record says.
///
/// ```text
/// offset  length  meaning                         (end of central directory record, the last 22 bytes)
/// 0       4       50 4B 05 06
/// 4       4       disk numbers, 0
/// 8       2, 2    entries on this disk, entries
/// 12      4       size of the directory
/// 16      4       its offset
/// 20      2       length of a comment, 0
/// ```
///
/// Source: PKWARE APPNOTE.TXT 6.3.10, 4.3.16. The ZIP reader is more forgiving: it searches for other records, and those of a hostile file can make
/// it search all of it, or reserve memory for a million entries. After this check there is nothing to search for.
fn check_end_record(reader: &mut (impl Read + Seek), zip_len: u64) -> Result<(), ExportError> {
    const LEN: u64 = 22;
    let unsound = |reason: &str| ExportError::Zip { reason: reason.into() };
    let at = zip_len.checked_sub(LEN).ok_or_else(|| unsound("shorter than an empty archive"))?;
    let mut record = [0; LEN as usize];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut record)?;
    let [b'P', b'K', 5, 6, 0, 0, 0, 0, sizes @ .., 0, 0] = record else {
        return Err(unsound("it does not end with the record of its directory"));
    };
    let [_, _, n0, n1, s0, s1, s2, s3, o0, o1, o2, o3] = sizes;
    let (size, offset) = (u32::from_le_bytes([s0, s1, s2, s3]), u32::from_le_bytes([o0, o1, o2, o3]));
    let found = usize::from(u16::from_le_bytes([n0, n1]));
    if found != 2 {
        return Err(ExportError::EntryCount { found });
    }
    let mut magic = [0; 4];
    reader.seek(SeekFrom::Start(u64::from(offset)))?;
    if u64::from(offset) + u64::from(size) != at || reader.read_exact(&mut magic).is_err() || magic != *b"PK\x01\x02" {
        return Err(unsound("its directory is not where its end says"));
    }
    Ok(())
}

/// The content of an entry. Reserves once, what the entry declares if that is within `limit`, and reads no byte more.
fn unpack(archive: &mut ZipArchive<impl Read + Seek>, name: &'static str, limit: u64) -> Result<Vec<u8>, ExportError> {
    let index = archive.index_for_name(name).ok_or(ExportError::MissingEntry { expected: name })?;
    let mut file = archive.by_index(index)?;
    let expected = file.size();
    check_limit("size of an entry of the key file in bytes", expected, limit)?;
    let mut content = Vec::new();
    content.try_reserve_exact(expected as usize).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.by_ref().take(expected).read_to_end(&mut content).map_err(damaged)?;
    // Reading on to the end also compares the checksum.
    let more = file.read(&mut [0]).map_err(damaged)?;
    let found = content.len() as u64 + more as u64;
    if found == expected { Ok(content) } else { Err(ExportError::EntrySize { entry: name, expected, found }) }
}

pub(super) fn check_limit(what: &'static str, found: u64, limit: u64) -> Result<(), ExportError> {
    if found > limit { Err(ExportError::Limit { what, found, limit }) } else { Ok(()) }
}

/// What the decompressor or the checksum complains of is the file's fault; anything else is the disk's.
fn damaged(e: io::Error) -> ExportError {
    match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other => {
            ExportError::Zip { reason: e.to_string() }
        }
        _ => ExportError::Io { reason: e },
    }
}

impl From<io::Error> for ExportError {
    fn from(reason: io::Error) -> Self {
        Self::Io { reason }
    }
}

impl From<ZipError> for ExportError {
    fn from(e: ZipError) -> Self {
        match e {
            ZipError::Io(e) => damaged(e),
            other => Self::Zip { reason: other.to_string() },
        }
    }
}
