//! How a store comes to its seal when it is opened: it has one, gets its first, or has lost the key to it.

use rand_core::CryptoRng;
use rusqlite::{Connection, Transaction, params};

use super::seal::{Place, Seal, is_wrapped_len};
use super::vault::{KeyVault, VaultError};
use super::{Store, StoreError, erasure, files, open::Home, outbox, own_keys, schema, transact};

/// The version of the schema from which on a store may be sealed.
const SEALED_SINCE: u32 = 4;

impl Store {
    /// Whether the key vault had lost the key to what was sealed: own keys, reports and sign-ups on their way and what servers had said are gone.
    /// The app should tell its user; it is said until [`Store::forget_lost_keys`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_lost_keys(&self) -> Result<bool, StoreError> {
        self.read(read_keys_lost)
    }

    /// The app was told of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_lost_keys(&mut self) -> Result<(), StoreError> {
        self.write(|tx| Ok(tx.execute("UPDATE state SET keys_lost = 0", []).map(drop)?))
    }
}

/// The seal of a database as it is, `None` where the vault has lost the key. Changes nothing.
///
/// # Errors
/// [`StoreError::Sealed`] where it is sealed and there is no vault, [`StoreError::Vault`] where the vault does not open it now.
pub(super) fn current(
    conn: &Connection,
    vault: Option<&dyn KeyVault>,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Option<Seal>, StoreError> {
    let Some(wrapped) = read_wrapped(conn)? else { return Ok(Some(Seal::PLAIN)) };
    match Seal::unwrap(wrapped, vault.ok_or(StoreError::Sealed)?, rng) {
        Err(VaultError::KeyLost) => Ok(None),
        seal => Ok(Some(seal?)),
    }
}

/// Gives a database the seal that it is to have from now on, after [`current`] has said how it is: as it is, its first, or another after the lost one.
/// Each is one transaction, and the vault is asked before it begins.
pub(super) fn renew(
    conn: &mut Connection,
    current: Option<Seal>,
    home: &Home,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Seal, StoreError> {
    let seal = match (current, home.vault()) {
        (Some(current), Some(vault)) if current.is_plain() => {
            let seal = Seal::generate(Some(vault), rng)?;
            // What was set aside before lies there as it was.
            files::erase_set_aside(&home.path, None)?;
            transact(conn, |tx| seal_all(tx, &seal))?;
            tracing::info!("store sealed");
            seal
        }
        (Some(current), _) => return Ok(current),
        (None, vault) => {
            let seal = Seal::generate(vault, rng)?;
            transact(conn, |tx| give_up(tx, &seal))?;
            tracing::error!("the key vault has lost the key to the store; own keys begin anew");
            seal
        }
    };
    match erasure::take_steps(conn) {
        Err(StoreError::Corrupt) => return Err(StoreError::Corrupt),
        // It is remembered, and goes on with the next erasure.
        Err(error) => tracing::warn!(%error, "bytes from before the seal are not erased yet"),
        Ok(_) => (),
    }
    Ok(seal)
}

/// Seals what lay there as it is.
pub(super) fn seal_all(tx: &Transaction, seal: &Seal) -> Result<(), StoreError> {
    for (id, own) in own_keys::read_with_ids(tx, &Seal::PLAIN)? {
        let key = seal.close(Place::OwnKey(id), own.key.as_bytes());
        tx.prepare_cached("UPDATE own_keys SET key = ? WHERE id = ?")?.execute(params![*key, id])?;
    }
    let (mut entries, mut notes) = (Vec::new(), Vec::new());
    outbox::read_into(tx, &Seal::PLAIN, &mut entries)?;
    entries.iter().try_for_each(|entry| outbox::change(tx, seal, entry))?;
    outbox::read_notes_into(tx, &Seal::PLAIN, &mut notes)?;
    notes.iter().try_for_each(|(name, content)| outbox::write_note(tx, seal, name, content))?;
    write_wrapped(tx, seal)
}

/// Deletes what nobody can read any more.
fn give_up(tx: &Transaction, seal: &Seal) -> Result<(), StoreError> {
    tx.execute_batch("DELETE FROM own_keys; DELETE FROM outbox; DELETE FROM notes; UPDATE state SET keys_lost = 1;")?;
    write_wrapped(tx, seal)
}

fn write_wrapped(tx: &Transaction, seal: &Seal) -> Result<(), StoreError> {
    tx.execute("UPDATE state SET wrapped_key = ?", params![seal.wrapped()])?;
    erasure::must_vacuum(tx)
}

/// The wrapped data key, `None` where the store is not sealed.
pub(super) fn read_wrapped(conn: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    if schema::version(conn)? < SEALED_SINCE {
        return Ok(None);
    }
    let wrapped: Option<Vec<u8>> = conn.query_row("SELECT wrapped_key FROM state", [], |row| row.get(0))?;
    match wrapped {
        Some(wrapped) if !is_wrapped_len(wrapped.len()) => Err(StoreError::Corrupt),
        wrapped => Ok(wrapped),
    }
}

pub(super) fn read_keys_lost(conn: &Connection) -> Result<bool, StoreError> {
    Ok(conn.query_row("SELECT keys_lost FROM state", [], |row| row.get(0))?)
}
