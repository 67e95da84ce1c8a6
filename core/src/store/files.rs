//! The files of a store, as far as SQLite does not look after them.
//!
//! ```text
//! DB                      the database
//! DB-wal, DB-shm          SQLite's own, while it is open or after a crash
//! DB-lock                 locked while a store is open; where it is not empty, damage was seen and the next opening looks closely
//! DB-new                  a database being built; worth nothing after a crash
//! DB-recovered            a complete replacement of a damaged database, about to take its place
//! DB-set-aside-S          a damaged database, set aside at S (Unix seconds); DB-set-aside-S-wal belongs to it
//! ```
//!
//! The first 100 bytes of a database tell whose it is before SQLite opens it, which would leave files beside it
//! (SQLite, "Database File Format", 1.3):
//!
//! ```text
//! offset  length  meaning
//! 0       16      "SQLite format 3\0"
//! 60      4       user_version, big-endian: the version of our schema
//! 68      4       application_id, big-endian: ours
//! ```
//!
//! Power that goes while SQLite moves its log into the database may leave noise there. Then the same 100 bytes are in the log, which has
//! a header of 32 bytes and frames of a header of 24 bytes and a page (same source, 4):
//!
//! ```text
//! offset  length  meaning (all big-endian)
//! 8       4       of the log's header: the size of a page
//! 16      8       of the log's header: two numbers that are in each frame of the same run
//! 0       4       of a frame's header: the number of its page; the header of the database is in page 1
//! 8       8       of a frame's header: those two numbers
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::{StoreError, schema};
use crate::time::Timestamp;

const HEADER_LEN: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What lies where the database should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A database whose header says that it is ours and of a version that we know.
    Ours,
}

/// Looks at a file by reading alone.
pub(super) fn inspect(path: &Path) -> Result<Found, StoreError> {
    let refused = || StoreError::NotAVigieStore { path: path.to_owned() };
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Ok(found) if !found.is_file() => return Err(refused()),
        Ok(found) if found.len() == 0 => return Ok(Found::Nothing),
        found => found?,
    };
    let mut header = [0; HEADER_LEN];
    let whose = match File::open(path)?.read_exact(&mut header) {
        Ok(()) => version(&header),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(e) => return Err(e.into()),
    };
    match whose.map_or_else(|| version_in_log(path), |version| Ok(Some(version)))? {
        None => Err(refused()),
        Some(found) if found > schema::VERSION => Err(StoreError::NewerVersion { found, known: schema::VERSION }),
        Some(_) => Ok(Found::Ours),
    }
}

/// The version of our schema in the header of a database, `None` where that is not ours.
fn version(header: &[u8; HEADER_LEN]) -> Option<u32> {
    let is_ours = header.starts_with(MAGIC) && number(header, 68) == schema::APPLICATION_ID;
    is_ours.then(|| number(header, 60)).filter(|version| *version > 0)
}

/// The same from the log beside a database, `None` where there is no log or it does not have that page.
fn version_in_log(path: &Path) -> io::Result<Option<u32>> {
    let mut log = match File::open(sibling(path, "-wal")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        log => io::BufReader::new(log?),
    };
    let (mut head, mut frame, mut header) = ([0; 32], [0; 24], [0; HEADER_LEN]);
    let mut found = None;
    let mut read = || -> io::Result<()> {
        log.read_exact(&mut head)?;
        let rest_of_page = i64::from(number(&head, 8)) - HEADER_LEN as i64;
        loop {
            log.read_exact(&mut frame)?;
            log.read_exact(&mut header)?;
            log.seek_relative(rest_of_page)?;
            if frame[8..16] != head[16..24] {
                return Ok(());
            }
            if number(&frame, 0) == 1 {
                found = version(&header);
            }
        }
    };
    match read() {
        Err(e) if !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput) => Err(e),
        _ => Ok(found),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The right to use a store's files. The system takes it back when this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of a database that is ours or not yet there.
    ///
    /// The lock comes before any look at the database where it can: closing a file that SQLite has open in the same process would drop SQLite's
    /// own locks (POSIX). Where there is no lock file, nobody has a store open.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let name = sibling(path, "-lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.open(&name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                inspect(path)?;
                only_for_owner(&mut options).create(true).open(&name)?
            }
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => Err(e.into()),
        }
    }

    /// Remembers, for the next opening, that the database seems to be damaged.
    pub(super) fn mark_damaged(&self) -> io::Result<()> {
        (&self.0).rewind()?;
        (&self.0).write_all(b"damaged\n")?;
        self.0.sync_all()
    }

    /// Forgets that.
    pub(super) fn clear_mark(&self) -> io::Result<()> {
        self.0.set_len(0)
    }

    /// Whether the database seemed to be damaged when it was last open.
    pub(super) fn is_marked(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.len() > 0)
    }
}

/// The path with something appended to its last part.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// An empty file that only its owner can read, for SQLite to fill. Whatever was there before goes, with SQLite's files beside it.
pub(super) fn create_empty(path: &Path) -> Result<(), StoreError> {
    remove_database(path)?;
    only_for_owner(OpenOptions::new().write(true)).create_new(true).open(path)?;
    Ok(())
}

/// Removes a database and SQLite's files beside it.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm", "-journal", ""] {
        let_absent(fs::remove_file(sibling(path, suffix)))?;
    }
    Ok(())
}

/// Makes the database's files readable and writable for their owner alone.
#[cfg_attr(not(unix), expect(unused_variables, reason = "there are no modes"))]
pub(super) fn tighten_modes(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm", "-lock"] {
        use std::os::unix::fs::PermissionsExt;
        let name = sibling(path, suffix);
        let mode = match fs::metadata(&name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            found => found?.permissions().mode(),
        };
        if mode & 0o077 != 0 {
            fs::set_permissions(&name, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

/// Whether a log lies beside the database, of whatever kind.
pub(super) fn has_log(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| sibling(path, suffix).exists())
}

/// Puts a complete database in place of whatever is at `path`, in one step.
pub(super) fn replace(path: &Path, complete: &Path) -> io::Result<()> {
    fs::rename(complete, path)?;
    sync_directory(path)
}

/// Moves a database out of the way, and what SQLite left beside it; lasting when this returns. What is not there any more has been moved.
pub(super) fn set_aside(path: &Path, to: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-journal", ""] {
        let_absent(fs::rename(sibling(path, suffix), sibling(to, suffix)))?;
    }
    let_absent(fs::remove_file(sibling(path, "-shm")))?;
    sync_directory(path)
}

/// Where a database that is damaged at `second` is set aside.
pub(super) fn set_aside_path(path: &Path, second: i64) -> PathBuf {
    sibling(path, &format!("-set-aside-{second}"))
}

/// Erases the files that were set aside outside the time `kept`, or all. Says whether there were any.
pub(super) fn erase_set_aside(path: &Path, kept: Option<&RangeInclusive<Timestamp>>) -> io::Result<bool> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let mut prefix = name.to_owned();
    prefix.push("-set-aside-");
    let mut any = false;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(rest) = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes()) else { continue };
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let second = std::str::from_utf8(&rest[..digits]).ok().and_then(|s| s.parse().ok());
        let Some(at) = second.map(Timestamp::from_unix_s) else { continue };
        if kept.is_none_or(|kept| !kept.contains(&at)) {
            overwrite_and_remove(&directory.join(&name))?;
            any = true;
        }
    }
    Ok(any)
}

/// Zeroes instead of content, lasting, and then no file: what a damaged database held cannot be deleted row by row.
fn overwrite_and_remove(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_all()?;
    fs::remove_file(path)
}

/// Makes lasting what names a directory holds.
pub(super) fn sync_directory(of: &Path) -> io::Result<()> {
    match of.parent() {
        // Elsewhere a directory cannot be opened as a file, and the file system looks after it.
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn only_for_owner(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn let_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
