//! What is done about the lists: asking for an index, fetching a file, taking what came of it.

use std::time::Duration;

use super::{FileState, IndexChange, ListState, complete, is_index, part};
use crate::courier::pacer::Work;
use crate::courier::servers::KeyList;
use crate::courier::transport::TransportError;
use crate::courier::{
    About, Answer, CompleteFile, Context, Courier, KeyListStatus, LONGEST_WAIT, Matched, News, Next, failure_of, note, read_note,
    rest, send,
};
use crate::store::{Changes, Store, StoreError};
use crate::time::Timestamp;

/// A file that its server does not have so often, once in each period, is given up.
const MAX_MISSES: u32 = 6;

impl Courier {
    /// Somebody waits for the key lists: they are asked for at once, as what a person waits for, and the bulletin with them, but no sooner than a server
    /// wants to be asked again; [`KeyListStatus::next_poll`] says when. What fails is tried again as for a person for half an hour, then as a poll.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sync_now(&mut self, context: &mut Context<'_>) -> Result<(), StoreError> {
        for index in 0..self.servers.key_lists.len() {
            let mut state = self.list(context, index)?;
            let list = &self.servers.key_lists[index];
            (state.due_ms, state.attempts) = (self.at_once(context, &list.index_url)?.unix_ms(), 0);
            state.asked_ms = Some(context.now.unix_ms());
            let files_due = self.at_once(context, &list.base_url)?;
            for file in &mut state.files {
                (file.due_ms, file.attempts) = (files_due.unix_ms(), 0);
            }
            self.keep_list(context.store, index, &state, Vec::new())?;
        }
        self.fetch_bulletin_now(context)
    }

    pub(in crate::courier) fn at_once(&self, context: &Context<'_>, url: &str) -> Result<Timestamp, StoreError> {
        Ok(self.pacer(context.store, url)?.1.at_once(context.now))
    }

    /// What is due of a list: its index, or a file.
    pub(in crate::courier) fn next_of_list(
        &self,
        context: &mut Context<'_>,
        index: usize,
        wait: &mut Duration,
    ) -> Result<Option<Next>, StoreError> {
        let list = &self.servers.key_lists[index];
        let mut state = self.list(context, index)?;
        let work = Work::polled(state.period(self.list_period()), state.asked(), context.now);
        let due = Timestamp::from_unix_ms(state.due_ms);
        let Some(rest_of_index) = rest(due, context.now) else {
            let request = state.index_request(list);
            let (name, mut pacer) = self.pacer(context.store, &request.url)?;
            match pacer.permit(work, self.network, context.now.since(due), context.now, context.rng) {
                Ok(()) => return Ok(Some(send(request, About::Index(index), work))),
                Err(at) => state.due_ms = at.unix_ms(),
            }
            *wait = Timestamp::from_unix_ms(state.due_ms).since(context.now).min(*wait);
            self.keep_list(context.store, index, &state, vec![note(&name, &pacer)])?;
            return Ok(None);
        };
        *wait = rest_of_index.min(*wait);
        for place in 0..state.files.len() {
            let file = &state.files[place];
            let FileState::Waiting { from_start } = file.state else { continue };
            let due = Timestamp::from_unix_ms(file.due_ms);
            if let Some(rest) = rest(due, context.now) {
                *wait = rest.min(*wait);
                continue;
            }
            let file_here = complete(&self.downloads, list, &file.path);
            if file_here.exists() {
                // Whether it was continued is not known after a restart: then it is fetched once more where it does not verify.
                let (list, path) = (index, file.path.clone());
                return Ok(Some(Next::Match(CompleteFile { file: file_here, list, path, was_continued: !from_start })));
            }
            let request = file.request(list, &self.downloads);
            let (name, mut pacer) = self.pacer(context.store, &request.url)?;
            match pacer.permit(work, self.network, context.now.since(due), context.now, context.rng) {
                Ok(()) => return Ok(Some(send(request, About::File(index, file.path.clone()), work))),
                Err(at) => {
                    state.files[place].due_ms = at.unix_ms();
                    *wait = at.since(context.now).min(*wait);
                    self.keep_list(context.store, index, &state, vec![note(&name, &pacer)])?;
                }
            }
        }
        Ok(None)
    }

    pub(in crate::courier) fn index_answered(
        &self,
        context: &mut Context<'_>,
        index: usize,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        let index_url = self.servers.key_lists[index].index_url.clone();
        let mut state = self.list(context, index)?;
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        match answer.result {
            // A login page is no answer of the server.
            Ok(response) if response.status == 304 || (response.status == 200 && is_index(&response.body)) => {
                pacer.answered(context.now);
                if response.status == 200 {
                    let IndexChange { lost, gone, .. } = state.update(&response.body, context.now);
                    for path in gone {
                        // What was begun of them is of no more use.
                        let list = &self.servers.key_lists[index];
                        let _ = std::fs::remove_file(part(&self.downloads, list, &path));
                        let _ = std::fs::remove_file(complete(&self.downloads, list, &path));
                    }
                    state.etag = response.header("etag").filter(|etag| etag.len() <= 256).map(str::to_string);
                    news.extend((lost > 0).then(|| News::ListLostFiles { index_url: index_url.clone(), files: lost }));
                }
                (state.seen_ms, state.attempts) = (Some(context.now.unix_ms()), 0);
                state.due_ms = state.period(self.list_period()).next(context.now).unix_ms();
                if let (true, Some(newest)) = (state.becomes_stale(context.now), state.newest_ms) {
                    news.push(News::ListIsStale { index_url, newest: Timestamp::from_unix_ms(newest) });
                }
            }
            other => {
                state.attempts = state.attempts.saturating_add(1);
                state.due_ms = pacer.failed(answer.work, state.attempts, failure_of(&other), context.now, context.rng).unix_ms();
            }
        }
        self.keep_list(context.store, index, &state, vec![note(&name, &pacer)])
    }

    pub(in crate::courier) fn file_answered(
        &self,
        context: &mut Context<'_>,
        index: usize,
        path: &str,
        answer: Answer<'_>,
        news: &mut Vec<News>,
    ) -> Result<(), StoreError> {
        let list = &self.servers.key_lists[index];
        let mut state = self.list(context, index)?;
        let (name, mut pacer) = self.pacer(context.store, &answer.request.url)?;
        let period = state.period(self.list_period());
        let Some(file) = state.files.iter_mut().find(|file| file.path == path) else { return Ok(()) };
        let part_here = part(&self.downloads, list, path);
        let before = answer.request.headers.iter().find(|(name, _)| *name == "range");
        let before: u64 =
            before.and_then(|(_, range)| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
        let has_grown = std::fs::metadata(&part_here).is_ok_and(|found| found.len() > before);
        match answer.result {
            Ok(response) if matches!(response.status, 200 | 206) => {
                pacer.answered(context.now);
                // Where it cannot be moved, it is fetched again.
                let moved = std::fs::rename(&part_here, complete(&self.downloads, list, path));
                file.attempts = if moved.is_ok() { 0 } else { file.attempts.saturating_add(1) };
                file.due_ms = if moved.is_ok() { context.now } else { context.now.after(LONGEST_WAIT) }.unix_ms();
            }
            Err(TransportError::TimedOut) if has_grown => {
                // A slow network, not a bad server: it goes on where it was.
                pacer.answered(context.now);
                (file.attempts, file.due_ms) = (0, context.now.unix_ms());
            }
            Err(TransportError::TooLarge { .. }) => {
                file.state = FileState::Refused;
                let _ = std::fs::remove_file(&part_here);
            }
            Ok(response) if !response.is_passing() => {
                // The server is there, and the file is not, or not yet: an index may be ahead of its files.
                pacer.answered(context.now);
                if response.status == 416 {
                    // What is here is longer than the file: it is not the same one.
                    let _ = std::fs::remove_file(&part_here);
                }
                file.attempts = file.attempts.saturating_add(1);
                file.due_ms = period.next(context.now).unix_ms();
                if file.attempts >= MAX_MISSES {
                    file.state = FileState::Refused;
                }
            }
            other => {
                file.attempts = file.attempts.saturating_add(1);
                file.due_ms = pacer.failed(answer.work, file.attempts, failure_of(&other), context.now, context.rng).unix_ms();
            }
        }
        if file.state == FileState::Refused {
            news.push(News::FileRefused { index_url: list.index_url.clone(), path: path.to_string() });
        }
        self.keep_list(context.store, index, &state, vec![note(&name, &pacer)])
    }

    /// Takes how matching a file went, and removes the file where it is of no more use.
    ///
    /// # Errors
    /// [`StoreError`]: then it is matched again, which changes nothing.
    pub fn matched(&mut self, context: &mut Context<'_>, file: &CompleteFile, matched: Matched) -> Result<Vec<News>, StoreError> {
        let index_url = self.servers.key_lists[file.list].index_url.clone();
        let mut state = self.list(context, file.list)?;
        let mut news = Vec::new();
        if let Some(listed) = state.files.iter_mut().find(|listed| listed.path == file.path) {
            listed.state = match matched {
                Matched::Applied(_) => FileState::Done,
                Matched::Refused if file.was_continued => FileState::Waiting { from_start: true },
                Matched::Refused => FileState::Refused,
                Matched::Unfinished => listed.state,
            };
            if listed.state == FileState::Refused {
                news.push(News::FileRefused { index_url, path: file.path.clone() });
            }
        }
        if let Matched::Applied(Some(until)) = matched {
            state.newest_ms = state.newest_ms.max(Some(until.unix_ms()));
        }
        if let (true, Some(newest)) = (state.becomes_stale(context.now), state.newest_ms) {
            let index_url = self.servers.key_lists[file.list].index_url.clone();
            news.push(News::ListIsStale { index_url, newest: Timestamp::from_unix_ms(newest) });
        }
        self.keep_list(context.store, file.list, &state, Vec::new())?;
        if matched != Matched::Unfinished {
            // Where it stays, the next look at it finds it applied.
            let _ = std::fs::remove_file(&file.file);
        }
        Ok(news)
    }

    /// How the key lists stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lists(&self, store: &Store, now: Timestamp) -> Result<Vec<KeyListStatus>, StoreError> {
        let mut lists = Vec::new();
        for list in &self.servers.key_lists {
            let Some(state) = read_note::<ListState>(store, &list_note(list))? else { continue };
            let count = |wanted: fn(FileState) -> bool| state.files.iter().filter(|file| wanted(file.state)).count();
            lists.push(KeyListStatus {
                index_url: list.index_url.clone(),
                seen_at: state.seen_ms.map(Timestamp::from_unix_ms),
                next_poll: Timestamp::from_unix_ms(state.due_ms),
                server_asks_for: self.pacer(store, &list.index_url)?.1.asked_for(now),
                newest: state.newest_ms.map(Timestamp::from_unix_ms),
                waiting: count(|state| matches!(state, FileState::Waiting { .. })),
                done: count(|state| state == FileState::Done),
                refused: count(|state| state == FileState::Refused),
            });
        }
        Ok(lists)
    }

    /// What is kept of a list. A device draws its moment once.
    fn list(&self, context: &mut Context<'_>, index: usize) -> Result<ListState, StoreError> {
        if let Some(kept) = read_note(context.store, &list_note(&self.servers.key_lists[index]))? {
            return Ok(kept);
        }
        let state = ListState::new(self.list_period(), context.now, context.rng);
        self.keep_list(context.store, index, &state, Vec::new())?;
        Ok(state)
    }

    fn keep_list(
        &self,
        store: &mut Store,
        index: usize,
        state: &ListState,
        mut notes: Vec<(String, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        notes.push(note(&list_note(&self.servers.key_lists[index]), state));
        store.keep_changes(&Changes { notes, ..Changes::default() })
    }
}

fn list_note(list: &KeyList) -> String {
    format!("list {}", list.index_url)
}
