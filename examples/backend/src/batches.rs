//! Publishing: what is due becomes files and an index, whoever does it and wherever the last one stopped.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use vigie::diagnosis::ExportError;
use vigie::time::Clock;

use crate::database::Transaction;
use crate::files::Files;
use crate::group::{Group, GroupError};
use crate::keys::Secrets;
use crate::rules::{self, Context, Policy, Published};

/// How often it is tried to write the index while other instances write it, too; each time one of them was faster.
const MAX_INDEX_ROUNDS: usize = 8;

/// What is wrong when nothing can be published. The next round goes on where this one stopped.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No answer from the database.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// No file.
    #[error("the key file cannot be made: {0}")]
    Export(#[from] ExportError),
    /// The store of files fails.
    #[error("the files cannot be written: {0}")]
    Files(#[from] object_store::Error),
}

/// What publishes.
#[derive(Clone)]
pub struct Publisher {
    /// The database.
    pub group: Group,
    /// The files.
    pub files: Files,
    /// The secrets.
    pub secrets: Arc<Secrets>,
    /// The settings.
    pub policy: Arc<Policy>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Rounds of one instance take turns; those of several need not.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

impl Publisher {
    /// Plans what is due, writes what is planned and not written, the index, and what vanished; then forgets what is too old. How many files were
    /// written.
    ///
    /// # Errors
    /// [`PublishError`]; the next round goes on where this one stopped.
    pub async fn round(&self, is_forced: bool, rng: ChaCha20Rng) -> Result<usize, PublishError> {
        let _turn = self.turn.lock().await;
        self.with_context(rng.clone(), move |transaction, context| rules::plan(transaction, context, is_forced)).await?;
        let mut written = 0;
        while let Some(batch) =
            self.with_context(rng.clone(), |transaction, context| rules::load_unwritten(transaction, context)).await?
        {
            self.files.put_new(&batch.name, batch.file(&self.secrets.exports)?).await?;
            let now = self.clock.now();
            self.group.run(move |transaction| rules::mark_written(transaction, batch.number, now)).await?;
            written += 1;
        }
        self.write_index().await?;
        written += self.restore(&rng).await?;
        self.forget().await?;
        Ok(written)
    }

    /// Until the index says what the database says. It is looked at before the database, and replaced only where it is the same still: an instance that
    /// was slow does not put an older one in the place of a newer one.
    async fn write_index(&self) -> Result<(), PublishError> {
        for _ in 0..MAX_INDEX_ROUNDS {
            let found = self.files.index().await?;
            let now = self.clock.now();
            let text = self.group.run(move |transaction| rules::index(transaction, now)).await?;
            if found.says(&text) || self.files.replace_index(found, text).await? {
                break;
            }
        }
        Ok(())
    }

    /// Writes listed files that somebody removed again, as long as all of their keys are known. How many.
    async fn restore(&self, rng: &ChaCha20Rng) -> Result<usize, PublishError> {
        let now = self.clock.now();
        let listed = self.group.run(move |transaction| rules::listed(transaction, now)).await?;
        if listed.is_empty() {
            return Ok(0);
        }
        let there = self.files.names().await?;
        let mut restored = 0;
        for Published { number, name } in listed.into_iter().filter(|file| !there.contains(&file.name)) {
            let load = move |transaction: &mut dyn Transaction, context: &mut Context<'_>| {
                rules::load_written(transaction, number, context)
            };
            let Some(batch) = self.with_context(rng.clone(), load).await? else {
                tracing::error!(name, "a published file has vanished, and its keys are erased: put it back from a copy");
                continue;
            };
            self.files.put_new(&name, batch.file(&self.secrets.exports)?).await?;
            tracing::warn!(name, "a published file had vanished, and was written again");
            restored += 1;
        }
        Ok(restored)
    }

    async fn forget(&self) -> Result<(), PublishError> {
        let now = self.clock.now();
        self.group.run(move |transaction| rules::erase(transaction, now)).await?;
        for expired in self.group.run(move |transaction| rules::expired_files(transaction, now)).await? {
            self.files.remove(&expired.name).await?;
            self.group.run(move |transaction| rules::forget_file(transaction, expired.number)).await?;
        }
        Ok(())
    }

    async fn with_context<T: Send + 'static, E: Into<rules::RuleError> + 'static>(
        &self,
        mut rng: ChaCha20Rng,
        rule: impl FnOnce(&mut dyn Transaction, &mut Context<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, GroupError> {
        let (secrets, policy, now) = (Arc::clone(&self.secrets), Arc::clone(&self.policy), self.clock.now());
        self.group
            .run(move |transaction| rule(transaction, &mut Context { now, secrets: &secrets, policy: &policy, rng: &mut rng }))
            .await
    }
}
