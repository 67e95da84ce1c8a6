//! The store and the disk that it is on.

use std::path::{Path, PathBuf};

use anyhow::Context;
use vigie::store::{Look, Store, StoreError};
use vigie::time::Timestamp;

use super::finding::Finding;
use crate::store::default_path;

/// Fourteen days among people fill a good part of this.
const LITTLE_SPACE: u64 = 256 * MIB;
/// Erasing rewrites the database: it needs as much again.
const TOO_LITTLE_SPACE: u64 = 16 * MIB;
const MIB: u64 = 1024 * 1024;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Facts {
    /// Where it is, or why that is not known.
    pub(super) path: anyhow::Result<PathBuf>,
    /// Whether that is the one that `vigie run` makes by itself, with its folder.
    pub(super) is_default: bool,
    pub(super) look: Result<Look, StoreError>,
    /// The nearest folder that is there, and whether it can be written to.
    pub(super) folder: Option<Folder>,
    /// Whether other users may read the file.
    pub(super) is_open_to_others: bool,
}

/// A folder that is there.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Whether it is the one in which the store is, or would be.
    pub(super) is_parent: bool,
    pub(super) is_writable: bool,
    /// Bytes that this user can still write.
    pub(super) free: Option<u64>,
}

impl Facts {
    /// Looks, and changes nothing.
    pub(super) fn gather(named: Option<PathBuf>) -> Self {
        let is_default = named.is_none();
        let path =
            named.map_or_else(default_path, Ok).and_then(|path| std::path::absolute(path).context("its path is not known"));
        let Ok(at) = &path else {
            return Self { path, is_default, look: Ok(Look::Nothing), folder: None, is_open_to_others: false };
        };
        let (look, folder, is_open_to_others) = (Store::look(at), Folder::of(at), is_open_to_others(at));
        Self { path, is_default, look, folder, is_open_to_others }
    }

    /// When it was last in use.
    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        match self.look {
            Ok(Look::Sound { last_seen }) => last_seen,
            _ => None,
        }
    }
}

impl Folder {
    fn of(store: &Path) -> Option<Self> {
        let (above, path) = store.ancestors().skip(1).enumerate().find(|(_, path)| path.is_dir())?;
        Some(Self { path: path.to_owned(), is_parent: above == 0, is_writable: is_writable(path), free: free(path) })
    }
}

#[cfg(unix)]
fn is_writable(folder: &Path) -> bool {
    use rustix::fs::Access;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Elsewhere a look does not tell.
#[cfg(not(unix))]
fn is_writable(_folder: &Path) -> bool {
    true
}

#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let path = match &facts.path {
        Ok(path) => path,
        Err(e) => return vec![Finding::bad("store", format!("{e:#}"), "name a store: --store DB")],
    };
    let mut findings = vec![store(path, facts)];
    if facts.is_open_to_others && facts.look.is_ok() {
        findings.push(Finding::caution(
            "store_permissions",
            "other users may read what was heard, and your keys",
            format!("chmod 600 {}   (the next opening does the same)", path.display()),
        ));
    }
    findings.extend(facts.folder.as_ref().and_then(disk));
    findings
}

fn store(path: &Path, facts: &Facts) -> Finding {
    let at = path.display();
    match (&facts.look, &facts.folder) {
        (Err(e), _) => refused(path, e),
        (Ok(_), None) => Finding::bad("store", format!("there is no folder for {at}"), "name another one: --store DB"),
        (Ok(_), Some(folder)) if !folder.is_writable => {
            let found = format!("{at} cannot be written: this user may not write to {}", folder.path.display());
            Finding::bad("store", found, "run it as the owner of that folder, or name another store: --store DB")
        }
        (Ok(Look::Nothing), Some(folder)) if !folder.is_parent && !facts.is_default => {
            let parent = path.parent().unwrap_or(path).display();
            Finding::bad("store", format!("the folder of {at} is not there"), format!("make it: mkdir -p {parent}"))
        }
        (Ok(look), Some(_)) => of_look(path, *look),
    }
}

fn of_look(path: &Path, look: Look) -> Finding {
    let at = path.display();
    match look {
        Look::Nothing => Finding::ok("store", format!("{at} is not there yet; `vigie run` makes it")),
        Look::Sound { last_seen: Some(seen) } => Finding::ok("store", format!("{at} is in order, last in use at {seen}")),
        Look::Sound { last_seen: None } => Finding::ok("store", format!("{at} is in order")),
        Look::InUse => Finding::caution(
            "store",
            format!("{at} is in use by another process, and was not looked into"),
            "nothing, if that is `vigie run`; otherwise end the other program",
        ),
        Look::NotClosed => Finding::caution(
            "store",
            format!("{at} was not closed, as after a loss of power, and was not looked into"),
            "start `vigie run`: it goes on from the log, and nothing that was kept is lost",
        ),
        Look::Damaged => Finding::bad(
            "store",
            format!("{at} is damaged"),
            "start `vigie run`: it saves own keys and alerts, sets the damaged file aside for 14 days, and begins anew",
        ),
        _ => Finding::caution("store", format!("{at} is in a state that this program does not know"), "update the program"),
    }
}

fn refused(path: &Path, error: &StoreError) -> Finding {
    let at = path.display();
    match error {
        StoreError::NotAVigieStore { .. } => {
            Finding::bad("store", format!("{at} is something else than a store of Vigie"), "name another one: --store DB")
        }
        StoreError::NewerVersion { .. } => Finding::bad("store", format!("{at}: {error}"), "install the newest version of Vigie"),
        StoreError::NoPermission => Finding::bad(
            "store",
            format!("{at} may not be read and written by this user"),
            format!("give it back: sudo chown \"$USER\" {at}* && chmod 600 {at}*"),
        ),
        error => {
            Finding::bad("store", format!("{at}: {error}"), "look at the file and its disk, or name another store: --store DB")
        }
    }
}

fn disk(folder: &Folder) -> Option<Finding> {
    let free = folder.free?;
    let found = format!("{} MiB are free at {}", free / MIB, folder.path.display());
    let next = "free some space, or name a store on another disk: --store DB";
    Some(match free {
        ..TOO_LITTLE_SPACE => Finding::bad("disk", found, next),
        TOO_LITTLE_SPACE..LITTLE_SPACE => Finding::caution("disk", found, next),
        _ => Finding::ok("disk", found),
    })
}

#[cfg(test)]
mod tests;
