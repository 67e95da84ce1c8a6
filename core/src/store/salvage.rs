//! What is carried over from a damaged database into its replacement: own keys and alerts, what gives the alerts their meaning, and reports that
//! are on their way, as far as it can be read. Encounters and what is known of key files are left behind: tracing starts anew.

use std::path::Path;

use rand_core::CryptoRng;
use rusqlite::{Connection, Transaction};

use super::outbox::{self, Note, OutboxEntry};
use super::seal::Seal;
use super::vault::KeyVault;
use super::{
    ClockState, StoreError, StoreSecret, exposures, open, own_keys, read_clock_state, read_secret, sealing, write_clock_state,
};
use crate::exposure::{Alert, Exposure};
use crate::keys::schedule::OwnKey;

/// What a new database begins with.
pub(super) struct Salvage {
    pub(super) secret: StoreSecret,
    pub(super) seal: Seal,
    pub(super) keys_lost: bool,
    clock: Option<ClockState>,
    own_keys: Vec<OwnKey>,
    alerts: Vec<Alert>,
    exposures: Vec<Exposure>,
    outbox: Vec<OutboxEntry>,
    notes: Vec<Note>,
}

impl Salvage {
    /// The beginning of a store that comes after none.
    pub(super) fn nothing(seal: Seal, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self {
            secret: StoreSecret::generate(rng),
            seal,
            keys_lost: false,
            clock: None,
            own_keys: Vec::new(),
            alerts: Vec::new(),
            exposures: Vec::new(),
            outbox: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Reads what can be read of a damaged database, row by row. The wrapped data key is kept with what it opens.
    ///
    /// # Errors
    /// [`StoreError`] where the system or the vault, not the damage, keeps it from reading.
    pub(super) fn read(
        path: &Path,
        vault: Option<&dyn KeyVault>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<Self, StoreError> {
        let nothing = |rng| Ok(Self::nothing(Seal::PLAIN, rng));
        let Some(conn) = if_readable(open::connect_to_damaged(path))? else { return nothing(rng) };
        // Lets SQLite pass over a table whose definition is damaged, so that the others can be read.
        if_readable(conn.execute_batch("PRAGMA writable_schema = ON").map_err(StoreError::from))?;
        let seal = match if_readable(sealing::current(&conn, vault, rng))? {
            Some(current) => current,
            // Where nobody can say any more how it is sealed, it cannot be read.
            None => vault.is_none().then_some(Seal::PLAIN),
        };
        let told_late = if_readable(sealing::read_keys_lost(&conn))?.unwrap_or(false);
        Ok(Self {
            keys_lost: seal.is_none() || told_late,
            own_keys: if_opened(&seal, |seal| own_keys(&conn, seal))?,
            outbox: if_opened(&seal, |seal| partly(|entries| outbox::read_into(&conn, seal, entries)))?,
            notes: if_opened(&seal, |seal| partly(|notes| outbox::read_notes_into(&conn, seal, notes)))?,
            seal: seal.unwrap_or(Seal::PLAIN),
            // Without its secret the same exposure has another name, and an alert would be raised again.
            secret: if_readable(read_secret(&conn))?.unwrap_or_else(|| StoreSecret::generate(rng)),
            clock: if_readable(read_clock_state(&conn))?.flatten(),
            alerts: partly(|alerts| exposures::read_alerts_into(&conn, alerts))?,
            exposures: partly(|exposures| exposures::read_into(&conn, exposures))?,
        })
    }

    /// Writes it into an empty database.
    pub(super) fn write(&self, tx: &Transaction) -> Result<(), StoreError> {
        if let Some(clock) = self.clock {
            write_clock_state(tx, clock)?;
        }
        self.own_keys.iter().try_for_each(|own| own_keys::insert(tx, &self.seal, own))?;
        self.alerts.iter().try_for_each(|alert| exposures::write_alert(tx, alert))?;
        self.exposures.iter().try_for_each(|exposure| exposures::write(tx, exposure))?;
        self.outbox.iter().try_for_each(|entry| outbox::insert(tx, &self.seal, entry))?;
        self.notes.iter().try_for_each(|(name, content)| outbox::write_note(tx, &self.seal, name, content))
    }
}

/// Own keys from the beginning of the table up to the damage, and from its end.
fn own_keys(conn: &Connection, seal: &Seal) -> Result<Vec<OwnKey>, StoreError> {
    let mut keys = partly(|keys| own_keys::read_into(conn, seal, "ASC", keys))?;
    keys.extend(partly(|keys| own_keys::read_into(conn, seal, "DESC", keys))?);
    keys.sort_by_key(|(id, _)| *id);
    keys.dedup_by_key(|(id, _)| *id);
    let usable = |mut own: OwnKey| {
        // Where it cannot be true, nothing more is sent of this key.
        own.highest_sent = own.highest_sent.map(|sent| if own.key.covers(sent) { sent } else { own.key.end().minus(1) });
        own
    };
    Ok(keys.into_iter().map(|(_, own)| usable(own)).collect())
}

/// What `read` finds with the seal; nothing where that is lost.
fn if_opened<T>(seal: &Option<Seal>, read: impl FnOnce(&Seal) -> Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    seal.as_ref().map_or(Ok(Vec::new()), read)
}

/// What `read` has found when it is through, or meets the damage.
fn partly<T>(read: impl FnOnce(&mut Vec<T>) -> Result<(), StoreError>) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    if_readable(read(&mut found))?;
    Ok(found)
}

/// `None` where the damage, or a table that the version does not have, stood in the way. Every other error is one: a disk that fails for a
/// moment must not cost keys.
fn if_readable<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Corrupt | StoreError::Sqlite { code: rusqlite::ffi::SQLITE_ERROR, .. }) => Ok(None),
        Err(e) => Err(e),
    }
}
