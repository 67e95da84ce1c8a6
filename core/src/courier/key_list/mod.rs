//! A list of key files: its index, and which of the files have been fetched and applied.
//!
//! ```text
//! poll index --- 304 or 200 ---> new lines --- each: fetch, resume ---> DIR/NAME.part -> DIR/NAME.zip --- verify, match ---> done or refused
//! ```
//!
//! Files never change, so one that was cut is continued where it broke off; where the whole then does not verify, it is fetched once more from its
//! start. A file that cannot be used is skipped and reported, and blocks no other.

mod fetching;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::pacer::Period;
use super::servers::KeyList;
use super::transport::{Destination, Request};
use crate::diagnosis::MAX_ZIP;
use crate::time::Timestamp;

/// The longest index, in bytes, and the most lines of it that are looked at: 14 days of a file every few minutes.
const MAX_INDEX: u64 = 1024 * 1024;
const MAX_LINES: usize = 10_000;

/// The longest path in an index, in bytes.
const MAX_PATH: usize = 512;

/// A list whose newest file ends before this is reported.
const FRESH: Duration = Duration::from_secs(86_400);

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FileState {
    /// To be fetched, from its start where a continued one could not be used.
    Waiting { from_start: bool },
    /// Applied.
    Done,
    /// Of no use; it was reported.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedFile {
    pub(super) path: String,
    pub(super) state: FileState,
    /// When it is tried again, in milliseconds since 1970.
    pub(super) due_ms: i64,
    pub(super) attempts: u32,
}

/// What is kept of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListState {
    /// Draws this device's moment in the period.
    random: u64,
    pub(super) etag: Option<String>,
    pub(super) due_ms: i64,
    pub(super) attempts: u32,
    /// When somebody asked for it who waits.
    #[serde(default)]
    pub(super) asked_ms: Option<i64>,
    /// When the index was last seen.
    pub(super) seen_ms: Option<i64>,
    /// Until when the newest file reaches that was applied.
    pub(super) newest_ms: Option<i64>,
    pub(super) is_stale: bool,
    pub(super) files: Vec<ListedFile>,
}

/// What a new index has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IndexChange {
    /// Lines that have gone although older ones are still there, or although all have gone.
    pub(super) lost: usize,
    /// Lines that are no path.
    pub(super) refused: usize,
    /// All that have gone.
    pub(super) gone: Vec<String>,
}

impl ListState {
    pub(super) fn new(period: Duration, now: Timestamp, rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut state = Self {
            random: rng.next_u64(),
            etag: None,
            due_ms: 0,
            asked_ms: None,
            attempts: 0,
            seen_ms: None,
            newest_ms: None,
            is_stale: false,
            files: Vec::new(),
        };
        state.due_ms = state.period(period).next(now).unix_ms();
        state
    }

    /// When somebody asked who still waits, for the index or a file of it.
    pub(super) fn asked(&self) -> Option<Timestamp> {
        let has_waiting = self.files.iter().any(|file| matches!(file.state, FileState::Waiting { .. }));
        let asked = self.asked_ms.filter(|_| has_waiting || self.seen_ms <= self.asked_ms);
        asked.map(Timestamp::from_unix_ms)
    }

    pub(super) fn period(&self, length: Duration) -> Period {
        Period::new(length, self.random)
    }

    /// Takes a new index: its lines are the files from now on; what is known of them stays.
    pub(super) fn update(&mut self, index: &[u8], now: Timestamp) -> IndexChange {
        let mut change = IndexChange::default();
        let mut seen = BTreeSet::new();
        let mut paths = Vec::new();
        for line in index.split(|byte| *byte == b'\n').take(MAX_LINES) {
            match path_of(line.trim_ascii()) {
                Some("") => {}
                Some(path) if seen.insert(path) => paths.push(path),
                Some(_) => {}
                None => change.refused += 1,
            }
        }
        let first_kept = self.files.iter().position(|file| seen.contains(file.path.as_str())).unwrap_or(0);
        change.lost = self.files.iter().skip(first_kept).filter(|file| !seen.contains(file.path.as_str())).count();
        let mut known: BTreeMap<String, ListedFile> =
            std::mem::take(&mut self.files).into_iter().map(|file| (file.path.clone(), file)).collect();
        let files = paths.into_iter().map(|path| {
            known.remove(path).unwrap_or_else(|| ListedFile {
                path: path.to_string(),
                state: FileState::Waiting { from_start: false },
                due_ms: now.unix_ms(),
                attempts: 0,
            })
        });
        self.files = files.collect();
        change.gone = known.into_keys().collect();
        change
    }

    /// Whether the list has just become too old to be relied upon.
    pub(super) fn becomes_stale(&mut self, now: Timestamp) -> bool {
        // What is listed and not yet fetched may be newer.
        if self.files.iter().any(|file| matches!(file.state, FileState::Waiting { .. })) {
            return false;
        }
        let is_stale = self.newest_ms.is_some_and(|newest| now.since(Timestamp::from_unix_ms(newest)) > FRESH);
        let becomes = is_stale && !self.is_stale;
        self.is_stale = is_stale;
        becomes
    }

    pub(super) fn index_request(&self, list: &KeyList) -> Request {
        let mut headers = vec![("accept", "text/plain".to_string())];
        headers.extend(self.etag.clone().map(|etag| ("if-none-match", etag)));
        Request { url: list.index_url.clone(), headers, body: None, destination: Destination::Memory { limit: MAX_INDEX } }
    }
}

impl ListedFile {
    /// Asks for the file, or for what is missing of it.
    pub(super) fn request(&self, list: &KeyList, downloads: &Path) -> Request {
        let part = part(downloads, list, &self.path);
        let from_start = self.state == FileState::Waiting { from_start: true };
        let here = if from_start { 0 } else { std::fs::metadata(&part).map_or(0, |found| found.len()) };
        let mut headers = vec![("accept", "application/zip".to_string()), ("accept-encoding", "identity".to_string())];
        if here > 0 {
            headers.push(("range", format!("bytes={here}-")));
        }
        let url = format!("{}/{}", list.base_url.trim_end_matches('/'), self.path);
        Request { url, headers, body: None, destination: Destination::File { path: part, limit: MAX_ZIP } }
    }
}

/// Where a file is while it is being fetched.
pub(super) fn part(downloads: &Path, list: &KeyList, path: &str) -> PathBuf {
    downloads.join(format!("{}.part", name(list, path)))
}

/// Where it is when it is complete.
pub(super) fn complete(downloads: &Path, list: &KeyList, path: &str) -> PathBuf {
    downloads.join(format!("{}.zip", name(list, path)))
}

/// Names in an index mean nothing, and may not mean anything to a file system either.
fn name(list: &KeyList, path: &str) -> String {
    let text = format!("{}\n{path}", list.index_url);
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it may be an index: empty, or with a path in it.
fn is_index(bytes: &[u8]) -> bool {
    let mut paths = bytes.split(|byte| *byte == b'\n').take(MAX_LINES).map(|line| path_of(line.trim_ascii()));
    bytes.trim_ascii().is_empty() || paths.any(|path| path.is_some_and(|path| !path.is_empty()))
}

/// A relative path of ordinary characters that stays below its base; empty for an empty line.
fn path_of(line: &[u8]) -> Option<&str> {
    let path = std::str::from_utf8(line).ok().filter(|path| path.len() <= MAX_PATH)?;
    let is_ordinary = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-~+=@,".contains(&byte));
    let stays_below = !path.starts_with('/') && path.split('/').all(|part| part != ".." && part != ".");
    (is_ordinary && stays_below).then_some(path)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::super::pacer::POLL_PERIOD;
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);

    fn state() -> ListState {
        ListState::new(POLL_PERIOD, NOW, &mut ChaCha20Rng::seed_from_u64(4))
    }

    fn paths(state: &ListState) -> Vec<&str> {
        state.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn the_first_poll_falls_on_the_devices_own_moment() {
        let due = Timestamp::from_unix_ms(state().due_ms);
        assert!(due > NOW && due.since(NOW) <= POLL_PERIOD);
        let other = ListState::new(POLL_PERIOD, NOW, &mut ChaCha20Rng::seed_from_u64(5));
        assert_ne!(other.due_ms, state().due_ms);
    }

    #[test]
    fn lines_come_and_the_oldest_go_and_what_was_done_stays_done() {
        let mut state = state();
        assert_eq!(state.update(b"a/1.zip\na/2.zip\r\n\na/2.zip\n", NOW), IndexChange::default());
        assert_eq!(paths(&state), ["a/1.zip", "a/2.zip"]);
        state.files[1].state = FileState::Done;
        assert_eq!(
            state.update(b"a/2.zip\na/3.zip", NOW),
            IndexChange { gone: vec!["a/1.zip".into()], ..IndexChange::default() },
            "the oldest may go"
        );
        assert_eq!(state.files[0].state, FileState::Done);
        assert_eq!(state.files[1].state, FileState::Waiting { from_start: false });
    }

    #[test]
    fn an_index_that_lost_others_than_the_oldest_is_noticed() {
        let mut state = state();
        state.update(b"1\n2\n3\n4\n", NOW);
        assert_eq!(state.clone().update(b"1\n4\n5\n", NOW).lost, 2);
        assert_eq!(state.clone().update(b"3\n", NOW).lost, 1);
        assert_eq!(state.update(b"", NOW).lost, 4, "all at once");
    }

    #[test]
    fn lines_that_are_no_relative_path_are_refused() {
        let mut state = state();
        let index = b"../etc/passwd\n/absolute\nhttps://elsewhere/x\na/../b\nx?y\na b\n\xff\n%2e%2e/x\n.\nlu/ok.zip\n";
        assert_eq!(state.update(index, NOW).refused, 9);
        assert_eq!(paths(&state), ["lu/ok.zip"]);
        assert_eq!(state.update(&[b'a'; 600], NOW).refused, 1);
        assert_eq!(state.update("x\n".repeat(50_000).as_bytes(), NOW).refused, 0);
    }

    #[test]
    fn a_list_without_news_for_a_day_is_told_once() {
        let mut state = state();
        assert!(!state.becomes_stale(NOW), "nothing is known yet");
        state.newest_ms = Some(NOW.unix_ms());
        assert!(!state.becomes_stale(NOW.after(FRESH)));
        let later = NOW.after(FRESH * 2);
        assert_eq!([state.becomes_stale(later), state.becomes_stale(later)], [true, false]);
        state.newest_ms = Some(later.unix_ms());
        assert!(!state.becomes_stale(later));
        assert!(state.becomes_stale(later.after(FRESH * 2)), "and again when it happens again");
    }
}
