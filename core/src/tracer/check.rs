//! Matching key files against what was heard.
//!
//! A file is read, verified, and matched in batches. Each batch is one transaction: its exposures, and the mark how far the file has come.
//! Stopped anywhere, the next check goes on from the mark. No key is kept, only what was exposed to it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::{Event, State, Tracer, TracerError, lock};
use crate::diagnosis::{DiagnosisKey, ExportError, SignedExport, VerifiedExport};
use crate::exposure::{Assessment, Contact, Exposure, ExposureId, alert_changes, assess};
use crate::matching::{Match, Matcher};
use crate::store::{FileProgress, StoreError};
use crate::time::Timestamp;

/// Keys that are matched between two looks at the world. Fewer would cost transactions, more would hold up the answer to "stop".
/// One in tests, so that a check is interrupted after every key.
const BATCH: usize = if cfg!(test) { 1 } else { 8_192 };

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Files that are done.
    pub files_done: usize,
    /// Keys of the present file that are matched; 0 before it is opened.
    pub keys_done: u64,
    /// Keys in the present file; 0 before it is opened.
    pub keys: u64,
}

/// What became of one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What became of it.
    pub status: FileStatus,
    /// Keys in it; 0 where it was refused.
    pub keys: u64,
    /// Until when it reaches, as it says itself; `None` where it was refused.
    pub until: Option<Timestamp>,
}

/// What became of one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileStatus {
    /// All its keys were matched now, but for those that are no keys.
    Matched {
        /// Keys that were refused: weak, of a wrong length or period.
        refused_keys: u64,
    },
    /// It was matched by an earlier check.
    AlreadyMatched,
    /// It could not be read or verified. Nothing of it was applied.
    Refused(ExportError),
    /// The check was stopped before its end; the next one goes on from there.
    Unfinished,
}

/// What a check found.
#[derive(Debug)]
pub struct CheckReport {
    /// A report for each file, in the order given.
    pub files: Vec<FileReport>,
    /// All that is known now, from these files and earlier ones.
    pub assessment: Assessment,
}

fn open(path: &Path) -> Result<SignedExport, ExportError> {
    SignedExport::read(std::fs::File::open(path)?)
}

impl Tracer {
    /// Matches signed key files against all that was heard, and raises or withdraws alerts. A file that cannot be read or verified is
    /// reported and blocks no other. `progress` is asked before each file and after each batch of its keys, and may end the check; what was matched
    /// until then stays. It must not call `check` or [`erase_everything`](Self::erase_everything), which wait for this check to end.
    ///
    /// # Errors
    /// [`TracerError::Store`]; what was matched before stays, and the next check goes on from there.
    pub fn check(
        &self,
        files: &[impl AsRef<Path>],
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<CheckReport, TracerError> {
        let _one_at_a_time = lock(&self.checking);
        let now = self.clock.now();
        let result = self.check_files(files, &mut progress, now);
        self.settle(result)
    }

    fn check_files(
        &self,
        files: &[impl AsRef<Path>],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
        now: Timestamp,
    ) -> Result<CheckReport, TracerError> {
        let matcher = {
            let mut state = self.lock();
            state.flush()?;
            let identifiers = state.store()?.identifiers()?;
            Matcher::new(identifiers)
        };
        let believed = self.believed_keys();
        let mut reports = Vec::with_capacity(files.len());
        let mut goes_on = true;
        for path in files {
            let path = path.as_ref();
            let files_done = reports.len();
            let mut told = |keys_done, keys| {
                let is_stopped = progress(Progress { files_done, keys_done, keys }).is_break();
                goes_on &= !is_stopped && !self.ends_check.load(Ordering::Acquire);
                goes_on
            };
            let (status, keys, until) = if !told(0, 0) {
                (FileStatus::Unfinished, 0, None)
            } else {
                match open(path).and_then(|export| export.verify(&believed)) {
                    Ok(export) => {
                        let status = self.match_export(&matcher, &export, &mut told, now)?;
                        (status, export.key_count() as u64, Some(export.summary().header.end))
                    }
                    Err(error) => (FileStatus::Refused(error), 0, None),
                }
            };
            reports.push(FileReport { path: path.to_path_buf(), status, keys, until });
        }
        Ok(CheckReport { files: reports, assessment: self.update_alerts(now)? })
    }

    fn match_export(
        &self,
        matcher: &Matcher,
        export: &VerifiedExport,
        goes_on: &mut dyn FnMut(u64, u64) -> bool,
        now: Timestamp,
    ) -> Result<FileStatus, TracerError> {
        let (id, total) = (export.id(), export.key_count() as u64);
        let mut done = match self.lock().store()?.file_progress(&id.0)? {
            Some(FileProgress { complete: true, .. }) => return Ok(FileStatus::AlreadyMatched),
            Some(FileProgress { keys_done, .. }) => keys_done,
            None => 0,
        };
        let mut refused_keys = 0;
        let mut keys = export.keys().skip(usize::try_from(done).unwrap_or(usize::MAX));
        let mut batch = Vec::new();
        loop {
            batch.clear();
            for key in keys.by_ref().take(BATCH) {
                done += 1;
                match key.key {
                    Ok(key) => batch.push(key),
                    Err(_) => refused_keys += 1,
                }
            }
            let complete = done >= total;
            let exposures = self.expose(matcher, &batch)?;
            let mark = FileProgress { keys_done: done, complete };
            self.lock().store()?.record_matches(&id.0, mark, &exposures, now)?;
            if complete {
                return Ok(FileStatus::Matched { refused_keys });
            }
            if !goes_on(done, total) {
                return Ok(FileStatus::Unfinished);
            }
        }
    }

    /// What was exposed to these keys. Own keys expose nobody, even where somebody else sent their identifiers.
    fn expose(&self, matcher: &Matcher, keys: &[DiagnosisKey]) -> Result<Vec<Exposure>, StoreError> {
        let mut matches: BTreeMap<usize, Vec<Match>> = BTreeMap::new();
        matcher.find(keys, |found| matches.entry(found.key).or_default().push(found));
        if matches.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = self.lock();
        let store = state.store()?;
        let own = store.own_keys()?;
        let secret = store.secret()?;
        let mut exposures = Vec::new();
        for (index, matches) in matches {
            let diagnosis = &keys[index];
            if own.iter().any(|own| own.key.as_bytes() == diagnosis.key.as_bytes()) {
                continue;
            }
            let mut contacts = Vec::new();
            for found in matches {
                let rpi = diagnosis.key.identifier(found.interval);
                // What was heard may have been erased since the matcher was made, and its number may name another encounter now.
                let encounter = store.encounter(found.encounter)?.filter(|encounter| encounter.frame.rpi == rpi);
                contacts.extend(encounter.and_then(|encounter| Contact::from_encounter(&encounter, &diagnosis.key)));
            }
            exposures.push(Exposure {
                id: ExposureId::of(&diagnosis.key, secret.as_bytes()),
                report_type: diagnosis.report_type,
                days_since_onset: diagnosis.days_since_onset,
                contacts,
            });
        }
        Ok(exposures)
    }

    /// Brings the alerts up to what is known, and tells what has changed.
    fn update_alerts(&self, now: Timestamp) -> Result<Assessment, TracerError> {
        let mut state = self.lock();
        let configuration = state.exposure(&self.config);
        let State { store, rng, .. } = &mut *state;
        let store = store.as_mut().ok_or(StoreError::Corrupt)?;
        let exposures = store.exposures()?;
        let assessment = assess(&exposures, &configuration, now.date(), rng);
        let standing = store.alerts()?;
        let changes = alert_changes(&standing, &exposures, &configuration, &assessment, now);
        store.update_alerts(&changes.raise, &changes.withdraw)?;
        drop(state);
        for alert in standing.into_iter().filter(|alert| changes.withdraw.contains(&alert.exposure)) {
            self.tell(Event::AlertWithdrawn(alert));
        }
        changes.raise.into_iter().for_each(|alert| self.tell(Event::AlertRaised(alert)));
        Ok(assessment)
    }
}
