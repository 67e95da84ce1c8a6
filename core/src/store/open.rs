//! Opening a database: a new one, one that is there, one that is damaged.
//!
//! A database appears under its name only when it is complete: it is built under another name, made lasting, and renamed. The same way a damaged
//! one is replaced, so that a crash at any step loses nothing:
//!
//! 1. What can be read is written to `DB-new`, which is worth nothing as long as it has this name.
//! 2. `DB-new` becomes `DB-recovered`. From here on opening only goes on with the next steps.
//! 3. The damaged files are moved aside, and that is made lasting: its log beside the new database would be taken for the new one's.
//! 4. `DB-recovered` becomes `DB`.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::files::{self, Found, Lock};
use super::salvage::Salvage;
use super::seal::Seal;
use super::vault::KeyVault;
use super::{
    Store, StoreError, StoreSecret, encounters, erasure, exposures, outbox, own_keys, read_secret, schema, sealing, transact,
};
use crate::time::Timestamp;

/// How long another program's lock is waited for. Long enough for one that copies the database, short enough for a person who waits.
const BUSY_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };

/// What opening a store found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: this is a new store.
    New,
    /// A store.
    Existing,
    /// A damaged store. The app should tell its user; it is said until [`Store::forget_recovery`]. Encounters are lost, tracing starts anew.
    Recovered {
        /// Where the damaged database is now; it is erased after 14 days, or when the store is first sealed.
        set_aside: PathBuf,
        /// How many own keys could be read.
        own_keys: usize,
        /// How many alerts could be read.
        alerts: usize,
    },
}

/// Where a store is, the right to be there, and what unwraps its data key.
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
    pub(super) vault: Option<Arc<dyn KeyVault>>,
}

impl Store {
    /// Opens the database at `path`, or makes one there. Its directory must exist.
    ///
    /// A damaged one is replaced by what could be salvaged, where SQLite's own check, or reading what must be in it, confirms the damage.
    ///
    /// # Errors
    /// [`StoreError`]; what is at `path` is then as it was.
    pub fn open(path: &Path, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(Self, Opened), StoreError> {
        Self::open_in(path, None, now, rng)
    }

    /// The same with own keys, what is on its way to servers, and notes sealed under a key that `vault` wraps. A store that was not sealed is
    /// sealed now; where the vault has lost its key, what was sealed is erased, and [`Store::has_lost_keys`] says so.
    ///
    /// # Errors
    /// [`StoreError`]; what is at `path` is then as it was. [`StoreError::Vault`] may be tried again.
    pub fn open_sealed(
        path: &Path,
        vault: Arc<dyn KeyVault>,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, Opened), StoreError> {
        Self::open_in(path, Some(vault), now, rng)
    }

    fn open_in(
        path: &Path,
        vault: Option<Arc<dyn KeyVault>>,
        now: Timestamp,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, Opened), StoreError> {
        // Absolute: SQLite would take a path that begins with "file:" for a URI.
        let path = std::path::absolute(path)?;
        let home = Home { lock: Lock::take(&path)?, path, vault };
        let found = files::inspect(&home.path)?;
        files::remove_database(&home.building())?;
        if files::inspect(&home.replacement()) == Ok(Found::Ours) {
            home.take_replacement()?;
            return home.open(rng);
        }
        if found == Found::Nothing {
            home.create(now, rng)?;
            return home.open(rng).map(|(store, _)| (store, Opened::New));
        }
        match home.connect(rng) {
            Ok((conn, seal, opened)) => Ok((Self { conn, seal, home: Some(home) }, opened)),
            Err(StoreError::Corrupt) if home.is_damaged(rng)? => {
                home.recover(now, rng)?;
                home.open(rng)
            }
            Err(e) => Err(e),
        }
    }

    /// The app was told that the store was [recovered](Opened::Recovered).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_recovery(&mut self) -> Result<(), StoreError> {
        self.write(|tx| Ok(tx.execute("UPDATE state SET recovered_at = NULL", []).map(drop)?))
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory(rng: &mut (impl CryptoRng + ?Sized)) -> Result<Self, StoreError> {
        let mut conn = Connection::open_in_memory()?;
        configure(&conn)?;
        let salvage = Salvage::nothing(Seal::PLAIN, rng);
        transact(&mut conn, |tx| fill(tx, &salvage, None))?;
        Ok(Self { conn, seal: Seal::PLAIN, home: None })
    }
}

impl Home {
    pub(super) fn vault(&self) -> Option<&dyn KeyVault> {
        self.vault.as_deref()
    }

    fn building(&self) -> PathBuf {
        files::sibling(&self.path, "-new")
    }

    fn replacement(&self) -> PathBuf {
        files::sibling(&self.path, "-recovered")
    }

    fn open(self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(Store, Opened), StoreError> {
        let (conn, seal, opened) = self.connect(rng)?;
        Ok((Store { conn, seal, home: Some(self) }, opened))
    }

    fn connect(&self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(Connection, Seal, Opened), StoreError> {
        files::tighten_modes(&self.path)?;
        // SQLite would fall back to reading, or say only that it cannot open something.
        OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut conn = connect(&self.path)?;
        if schema::migrate(&mut conn)? {
            // So that the first bytes of the file say the version; where a reader is in the way, the log says it.
            erasure::truncate_log(&conn)?;
        }
        let seal = sealing::current(&conn, self.vault(), rng)?;
        if self.lock.is_marked()? {
            check(&conn, seal.as_ref())?;
            self.lock.clear_mark()?;
        }
        let seal = sealing::renew(&mut conn, seal, self, rng)?;
        let (own_keys, alerts) = (own_keys::read(&conn, &seal)?.len(), exposures::read_alerts(&conn)?.len());
        let opened = match recovered_at(&conn)? {
            None => Opened::Existing,
            Some(at) => Opened::Recovered { set_aside: files::set_aside_path(&self.path, at), own_keys, alerts },
        };
        Ok((conn, seal, opened))
    }

    /// Whether the damage that somebody met is really there.
    fn is_damaged(&self, rng: &mut (impl CryptoRng + ?Sized)) -> Result<bool, StoreError> {
        let checked = connect_to_damaged(&self.path)
            .and_then(|conn| sealing::current(&conn, self.vault(), rng).and_then(|seal| check(&conn, seal.as_ref())));
        match checked {
            Ok(()) => Ok(false),
            Err(StoreError::Corrupt) => Ok(true),
            Err(e) => Err(e),
        }
    }

    fn create(&self, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), StoreError> {
        let seal = Seal::generate(self.vault(), rng)?;
        build(&self.building(), &Salvage::nothing(seal, rng), None)?;
        if files::has_log(&self.path) {
            // A log without its database is worth nothing, but SQLite would take it for the new database's.
            files::set_aside(&self.path, &self.free_set_aside_path(now).1)?;
        }
        Ok(files::replace(&self.path, &self.building())?)
    }

    fn recover(&self, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Result<(), StoreError> {
        let salvage = Salvage::read(&self.path, self.vault(), rng)?;
        let (at, _) = self.free_set_aside_path(now);
        build(&self.building(), &salvage, Some(at))?;
        files::replace(&self.replacement(), &self.building())?;
        self.take_replacement()
    }

    /// Steps 3 and 4.
    fn take_replacement(&self) -> Result<(), StoreError> {
        let replacement = self.replacement();
        let conn = connect(&replacement)?;
        let at = recovered_at(&conn)?.unwrap_or_default();
        conn.close().map_err(|(_, e)| e)?;
        files::set_aside(&self.path, &files::set_aside_path(&self.path, at))?;
        files::replace(&self.path, &replacement)?;
        Ok(self.lock.clear_mark()?)
    }

    /// The first second from `now` on at which nothing was set aside.
    fn free_set_aside_path(&self, now: Timestamp) -> (i64, PathBuf) {
        // Names of a time before 1970 would have a sign.
        let mut at = now.unix_s().max(0);
        loop {
            let path = files::set_aside_path(&self.path, at);
            if !path.exists() && !files::sibling(&path, "-wal").exists() {
                return (at, path);
            }
            at += 1;
        }
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&conn)?;
    Ok(conn)
}

/// One setting for everything.
fn configure(conn: &Connection) -> Result<(), StoreError> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.execute_batch(
        "PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA foreign_keys = ON;
         -- VACUUM's copy of the database must not reach a temporary file.
         PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         -- On Apple's systems only this one reaches the medium.
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;",
    )?;
    Ok(())
}

/// Makes a complete database, lasting, without files beside it.
pub(super) fn build(path: &Path, content: &Salvage, recovered_at: Option<i64>) -> Result<(), StoreError> {
    files::create_empty(path)?;
    let mut conn = connect(path)?;
    transact(&mut conn, |tx| fill(tx, content, recovered_at))?;
    if !erasure::truncate_log(&conn)? {
        return Err(StoreError::Locked);
    }
    Ok(conn.close().map_err(|(_, e)| e)?)
}

fn fill(tx: &Transaction, content: &Salvage, recovered_at: Option<i64>) -> Result<(), StoreError> {
    schema::create(tx)?;
    write_state(tx, &content.secret, &content.seal)?;
    tx.execute("UPDATE state SET recovered_at = ?, keys_lost = ?", params![recovered_at, content.keys_lost])?;
    content.write(tx)
}

/// The one row of what a store knows of itself, as it is in a new one.
pub(super) fn write_state(tx: &Transaction, secret: &StoreSecret, seal: &Seal) -> Result<(), StoreError> {
    tx.execute("INSERT INTO state (id, secret, wrapped_key) VALUES (1, ?, ?)", params![secret.as_bytes(), seal.wrapped()])?;
    Ok(())
}

fn recovered_at(conn: &Connection) -> Result<Option<i64>, StoreError> {
    Ok(conn.query_row("SELECT recovered_at FROM state", [], |row| row.get(0))?)
}

/// A connection that leaves the database and its log as they are.
pub(super) fn connect_to_damaged(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.execute_batch(
        "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(conn)
}

/// The thorough look: SQLite's own check, and everything read as it is read in use, what is sealed where there is the seal.
///
/// # Errors
/// [`StoreError::Corrupt`] where either fails.
pub(super) fn check(conn: &Connection, seal: Option<&Seal>) -> Result<(), StoreError> {
    let verdict: Option<String> = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).optional()?;
    if verdict.as_deref() != Some("ok") {
        return Err(StoreError::Corrupt);
    }
    read_secret(conn)?;
    encounters::read_each(conn, |_| ())?;
    if schema::version(conn)? > 1 {
        exposures::read(conn)?;
        exposures::read_alerts(conn)?;
    }
    let Some(seal) = seal else { return Ok(()) };
    own_keys::read(conn, seal)?;
    if schema::version(conn)? > 2 {
        outbox::read_into(conn, seal, &mut Vec::new())?;
        outbox::read_notes_into(conn, seal, &mut Vec::new())?;
    }
    Ok(())
}
