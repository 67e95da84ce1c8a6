//! What runs beside the server: forms are opened, mails are sent, and what is too old is erased. It catches up with whatever waits, and gives way to people
//! who sign up.
//!
//! ```text
//! opening   each second: rules::load_tasks -> the private key, on a thread of its own -> rules::settle
//! mails     each second: rules::take_mails -> the private key, the mail server        -> rules::settle_mails
//! tidying   each minute: what is older than the retention time; mails in the folder whose sign-up is gone
//! ```
//!
//! Each of them goes on by itself: a mail server that does not answer holds up no state.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use vigie::courier::waitlist::FormRules;
use vigie::time::Timestamp;

use super::mail::{self, Mailer, Prepared};
use crate::config::Config;
use crate::group::GroupError;
use crate::http::App;
use crate::metrics::in_steps;
use crate::rules::{self, Backlog, Finding, Mail, MailEnd, Task};

/// Forms that are opened for one transaction, as many as a statement holds: people wait behind it, and three times as many are 0.17 s on PostgreSQL.
const TASKS: u32 = 64;

/// Mails that are taken at a time, and those of them that a server gets at the same moment.
const MAILS: u32 = 64;
const AT_ONCE: usize = 8;

/// All of this gives way to a crowd, but not for ever.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often it is tidied up.
const TIDYING: Duration = Duration::from_secs(60);

/// Mails in the folder that are looked up in one transaction.
const NAMES: usize = 500;

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Opening,
    Mails,
    Tidying,
}

/// Opens, sends and erases.
pub struct Opener {
    app: Arc<App>,
    form: FormRules,
    mailer: Mailer,
    data: PathBuf,
    retention: Duration,
    round: Duration,
}

impl Opener {
    /// For this server, which has the private key.
    ///
    /// # Errors
    /// Where the settings of mails cannot be used.
    pub fn new(app: Arc<App>, config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            app,
            form: config.form,
            mailer: Mailer::new(&config.mail, &config.data)?,
            data: config.data.clone(),
            retention: Duration::from_secs(u64::from(config.waitlist_retention_days) * 86_400),
            round: config.waitlist_round,
        })
    }

    /// Starts all that goes on beside the server, until it ends.
    pub fn spawn(self: Arc<Self>, tasks: &mut JoinSet<()>, end: &watch::Receiver<bool>) {
        for work in [Work::Opening, Work::Mails, Work::Tidying] {
            tasks.spawn(Arc::clone(&self).until_end(work, end.clone()));
        }
    }

    /// Does it again and again. What fails is tried again the next time; what is dropped in the middle is done again after the next start.
    async fn until_end(self: Arc<Self>, work: Work, mut end: watch::Receiver<bool>) {
        let pause = if work == Work::Tidying { TIDYING } else { self.round };
        let rounds = async {
            loop {
                let done = match work {
                    Work::Opening => self.open().await.map(drop),
                    Work::Mails => self.send().await.map(drop),
                    Work::Tidying => self.tidy().await,
                };
                match done {
                    Ok(()) | Err(GroupError::Busy) => {}
                    Err(error) => tracing::error!(%error, ?work, "the waiting list stands still; the next round tries again"),
                }
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            _ = end.wait_for(|end| *end) => {}
        }
    }

    fn now(&self) -> Timestamp {
        self.app.publisher.clock.now()
    }

    /// Opens what waits. How many tasks were done.
    ///
    /// # Errors
    /// [`GroupError`]; the next round goes on where this one stopped.
    pub async fn open(&self) -> Result<usize, GroupError> {
        let mut done = 0;
        loop {
            self.give_way().await;
            let tasks = self.app.publisher.group.run(|transaction| rules::load_tasks(transaction, TASKS)).await?;
            let count = tasks.len();
            if count > 0 {
                self.settle(tasks).await?;
            }
            done += count;
            if count < TASKS as usize {
                break;
            }
        }
        self.app.metrics.opened.add(done as u64);
        let waiting = self.app.publisher.group.run(rules::backlog).await?;
        self.show(waiting);
        Ok(done)
    }

    /// While people sign up, what can wait does.
    async fn give_way(&self) {
        let waits = async {
            while self.app.publisher.group.has_crowd() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, waits).await;
    }

    async fn settle(&self, tasks: Vec<Task>) -> Result<(), GroupError> {
        let (app, form, now) = (Arc::clone(&self.app), self.form, self.now());
        let opened = tokio::task::spawn_blocking(move || {
            let findings: Vec<Finding> = match &app.waitlist.opening {
                Some(opening) => tasks.iter().filter_map(|task| rules::open_form(task, opening, &form, year(now))).collect(),
                None => return None,
            };
            Some((tasks, findings))
        });
        let (tasks, findings) = opened.await.ok().flatten().ok_or(GroupError::Failed)?;
        let app = Arc::clone(&self.app);
        let settle = move |transaction: &mut dyn crate::database::Transaction| match &app.waitlist.opening {
            Some(opening) => rules::settle(transaction, &tasks, &findings, opening, now),
            None => Ok(()),
        };
        self.app.publisher.group.run(settle).await
    }

    fn show(&self, backlog: Backlog) {
        self.app.metrics.forms_waiting.set(in_steps(backlog.tasks));
        self.app.metrics.mails_waiting.set(in_steps(backlog.mails));
    }

    /// Sends mails that are due. How many were sent.
    ///
    /// # Errors
    /// [`GroupError`]; what was sent and not noted is sent again, with the same Message-ID.
    pub async fn send(&self) -> Result<usize, GroupError> {
        let mut sent = 0;
        loop {
            self.give_way().await;
            let now = self.now();
            let mails = self.app.publisher.group.run(move |transaction| rules::take_mails(transaction, now, MAILS)).await?;
            let count = mails.len();
            if count == 0 {
                return Ok(sent);
            }
            let (ends, is_server_there) = self.send_batch(mails).await?;
            sent += ends.iter().filter(|(_, end)| *end == MailEnd::Sent).count();
            let now = self.now();
            let given_up = self.app.publisher.group.run(move |transaction| rules::settle_mails(transaction, &ends, now)).await?;
            if given_up > 0 {
                self.app.metrics.mails_given_up.add(given_up);
                tracing::warn!("mails are given up that the mail server has refused for days; /metrics counts them");
            }
            if !is_server_there {
                tracing::warn!("the mail server cannot be reached, or does not answer; mails wait");
                return Ok(sent);
            }
        }
    }

    /// Those for the folder together, the others a few at a time. Where the server is away, the others are not tried.
    async fn send_batch(&self, mails: Vec<Mail>) -> Result<(Vec<(Mail, MailEnd)>, bool), GroupError> {
        let mut ends = Vec::with_capacity(mails.len());
        let (mut filed, mut sent) = (Vec::new(), Vec::new());
        for (mail, prepared) in self.prepare(mails).await? {
            match prepared {
                // Its form was in order once: only another configuration of mails makes it unusable.
                None => ends.push((mail, MailEnd::Refused)),
                Some(prepared) if self.mailer.is_for_folder(&prepared) => filed.push((mail, prepared)),
                Some(prepared) => sent.push((mail, prepared)),
            }
        }
        let (filed, contents): (Vec<Mail>, Vec<Prepared>) = filed.into_iter().unzip();
        let filing = self.mailer.file(contents).await;
        self.count(filing.end, filed.len());
        ends.extend(filed.into_iter().map(|mail| (mail, filing.end)));
        let mut is_server_there = filing.is_server_there;
        let mut rest = sent.into_iter().peekable();
        while is_server_there && rest.peek().is_some() {
            let few: Vec<_> = rest.by_ref().take(AT_ONCE).collect();
            let sendings = futures::future::join_all(few.iter().map(|(_, prepared)| self.mailer.send(prepared))).await;
            for ((mail, _), sending) in few.into_iter().zip(sendings) {
                self.count(sending.end, 1);
                is_server_there &= sending.is_server_there;
                ends.push((mail, sending.end));
            }
        }
        ends.extend(rest.map(|(mail, _)| (mail, MailEnd::Untouched)));
        Ok((ends, is_server_there))
    }

    fn count(&self, end: MailEnd, mails: usize) {
        match end {
            MailEnd::Sent => self.app.metrics.mails_sent.add(mails as u64),
            _ => self.app.metrics.mails_failed.add(mails as u64),
        }
    }

    async fn prepare(&self, mails: Vec<Mail>) -> Result<Vec<(Mail, Option<Prepared>)>, GroupError> {
        let app = Arc::clone(&self.app);
        let opened = tokio::task::spawn_blocking(move || {
            let opening = app.waitlist.opening.as_ref();
            let open = |mail: &Mail| opening.and_then(|opening| opening.open(&mail.form, mail.operation));
            mails.into_iter().map(|mail| (open(&mail), mail)).collect::<Vec<_>>()
        });
        let opened = opened.await.map_err(|_| GroupError::Failed)?;
        let prepare = |(form, mail)| {
            let form: Option<zeroize::Zeroizing<vigie::courier::waitlist::Form>> = form;
            let prepared = form.and_then(|form| self.mailer.prepare(&mail, &form));
            (mail, prepared)
        };
        Ok(opened.into_iter().map(prepare).collect())
    }

    /// Erases what is too old, and mails in the folder that belong to nobody any more.
    ///
    /// # Errors
    /// [`GroupError`]; the next time goes on where this one stopped.
    pub async fn tidy(&self) -> Result<(), GroupError> {
        let group = &self.app.publisher.group;
        let before = self.now().before(self.retention);
        loop {
            self.give_way().await;
            if group.run(move |transaction| rules::erase_sign_ups(transaction, before)).await? == 0 {
                break;
            }
        }
        self.give_way().await;
        self.app.metrics.conflicts.set(in_steps(group.run(rules::count_conflicts).await?));
        let data = self.data.clone();
        let there = tokio::task::spawn_blocking(move || mail::outbox(&data)).await;
        let there = there.map_err(|_| GroupError::Failed)?.unwrap_or_default();
        for names in there.chunks(NAMES) {
            let asked = names.to_vec();
            let known = group.run(move |transaction| rules::known_mails(transaction, &asked)).await?;
            let gone: Vec<String> = names.iter().filter(|name| !known.contains(name)).cloned().collect();
            if let Err(error) = mail::remove(&self.data, &gone) {
                tracing::error!(%error, "mails of people who are gone cannot be removed from the folder");
            }
        }
        Ok(())
    }
}

/// The year of a moment.
fn year(now: Timestamp) -> u16 {
    now.date().to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or(u16::MAX)
}
