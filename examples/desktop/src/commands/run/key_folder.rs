//! The folder into which somebody puts signed key files: which of them are new, and have come whole.
//!
//! A file is taken when two looks, one after the other, find it the same; what is still being copied changes in between. Each is taken once, and
//! again when it has changed. Files whose names begin with a dot, folders, pipes and the like are passed over. What is in a file is not looked at
//! here: that is the business of the check, which has its own limits.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Time from one look to the next.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Names that one look reads, so that a folder with millions of them holds nobody up.
const MAX_NAMES: usize = 10_000;

/// What is remembered of the files in a folder.
#[derive(Debug)]
pub(super) struct KeyFolder {
    path: PathBuf,
    files: BTreeMap<PathBuf, Known>,
}

#[derive(Debug, Clone, PartialEq)]
struct Known {
    version: Version,
    is_taken: bool,
}

/// Two versions of a file differ in one of these.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Number of the file, and when its data or its description changed; zeros where a system does not say.
    identity: (u64, i64, i64),
}

/// What a look found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    /// New files that have come whole, in order of their names.
    pub(super) ready: Vec<PathBuf>,
    /// Whether there were more names than are read.
    pub(super) is_crowded: bool,
}

impl KeyFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), files: BTreeMap::new() }
    }

    /// Looks into the folder, and takes what is ready.
    ///
    /// # Errors
    /// Where the folder cannot be read; what is known of its files stays.
    pub(super) fn look(&mut self) -> io::Result<Look> {
        let mut look = Look::default();
        let mut found = BTreeMap::new();
        for (count, entry) in fs::read_dir(&self.path)?.enumerate() {
            if count == MAX_NAMES {
                look.is_crowded = true;
                break;
            }
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Of the file that a link leads to. What cannot be asked has just gone.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_file() {
                found.insert(entry.path(), Known { version: Version::of(&metadata), is_taken: false });
            }
        }
        for (path, now) in &mut found {
            let Some(before) = self.files.get(path).filter(|before| before.version == now.version) else { continue };
            if !before.is_taken {
                look.ready.push(path.clone());
            }
            now.is_taken = true;
        }
        self.files = found;
        Ok(look)
    }

    /// These were taken and could not be checked: the next look takes them again.
    pub(super) fn put_back(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if let Some(known) = self.files.get_mut(path) {
                known.is_taken = false;
            }
        }
    }
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), identity: identity(metadata) }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    /// Names of what a look takes.
    fn taken(folder: &mut KeyFolder) -> Vec<String> {
        let ready = folder.look().unwrap().ready;
        ready.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_file_is_taken_when_it_has_stopped_changing_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = KeyFolder::new(dir.path());
        assert!(taken(&mut folder).is_empty());
        let mut file = OpenOptions::new().create(true).append(true).open(dir.path().join("keys.zip")).unwrap();
        for piece in ["a", "b", "c"] {
            file.write_all(piece.as_bytes()).unwrap();
            assert!(taken(&mut folder).is_empty(), "it is still coming");
        }
        assert_eq!(taken(&mut folder), ["keys.zip"]);
        assert!(taken(&mut folder).is_empty() && taken(&mut folder).is_empty());
    }

    #[test]
    fn a_file_that_was_replaced_is_taken_again_even_where_it_looks_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.zip");
        fs::write(&path, "first").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut folder = KeyFolder::new(dir.path());
        folder.look().unwrap();
        assert_eq!(taken(&mut folder), ["keys.zip"]);

        let other = dir.path().join(".other");
        fs::write(&other, "other").unwrap();
        OpenOptions::new().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        fs::rename(&other, &path).unwrap();
        if cfg!(unix) {
            assert!(taken(&mut folder).is_empty());
            assert_eq!(taken(&mut folder), ["keys.zip"]);
        }

        fs::remove_file(&path).unwrap();
        assert!(taken(&mut folder).is_empty());
        fs::write(&path, "back again").unwrap();
        folder.look().unwrap();
        assert_eq!(taken(&mut folder), ["keys.zip"]);
    }

    #[test]
    fn what_could_not_be_checked_is_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("keys.zip"), "keys").unwrap();
        let mut folder = KeyFolder::new(dir.path());
        folder.look().unwrap();
        let ready = folder.look().unwrap().ready;
        folder.put_back(&ready);
        assert_eq!(folder.look().unwrap().ready, ready);
    }

    #[test]
    fn hidden_files_and_folders_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".keys.zip.part"), "keys").unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        let mut folder = KeyFolder::new(dir.path());
        folder.look().unwrap();
        assert_eq!(folder.look().unwrap(), Look::default());
    }

    #[test]
    fn a_crowded_folder_is_read_in_part_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=MAX_NAMES {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let mut folder = KeyFolder::new(dir.path());
        assert!(folder.look().unwrap().is_crowded);
        assert_eq!(folder.files.len(), MAX_NAMES);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_and_nothing_is_taken_twice_when_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("in"), dir.path().join("away"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("keys.zip"), "keys").unwrap();
        let mut folder = KeyFolder::new(&path);
        folder.look().unwrap();
        assert_eq!(taken(&mut folder), ["keys.zip"]);
        fs::rename(&path, &away).unwrap();
        assert!(folder.look().is_err());
        fs::rename(&away, &path).unwrap();
        assert!(taken(&mut folder).is_empty() && taken(&mut folder).is_empty());
    }
}
