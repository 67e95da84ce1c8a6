//! What a tracer does with servers: reports, key lists, the bulletin.

use std::sync::Arc;
use std::time::Duration;

use vigie::courier::{ReportId, VerificationCode};

use super::Tracer;
use crate::bulletin::Bulletin;
use crate::cancel::Cancel;
use crate::error::{Input, VigieError};
use crate::report::{KeyListStatus, Network, Report, ReportDetails, SyncReport};

#[uniffi::export]
impl Tracer {
    /// Reports a diagnosis with the code that the health authority gave: puts all keys of the last 14 days into the outbox, from where they are sent until
    /// the server has them, whatever the network and the phone do in between. Gives the report's name. Needs no network.
    ///
    /// # Errors
    /// `VigieError::InputInvalid` where the code has a typing mistake, or an earlier report is under way; `VigieError::Storage`. Nothing is sent then.
    pub async fn report(&self, code: String, details: ReportDetails) -> Result<i64, VigieError> {
        let code = read_code(&code)?;
        self.run(move |tracer| Ok(tracer.report(&code, details.for_core())?.0)).await
    }

    /// Goes on with a report that needs another code, with the keys and the consent that it has. `false` where it does not need one.
    ///
    /// # Errors
    /// As `report`.
    pub async fn report_again(&self, id: i64, code: String) -> Result<bool, VigieError> {
        let code = read_code(&code)?;
        self.run(move |tracer| Ok(tracer.report_again(ReportId(id), &code)?)).await
    }

    /// Withdraws a report. `false` where its keys may have been sent, or where there is none.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn withdraw_report(&self, id: i64) -> Result<bool, VigieError> {
        self.run(move |tracer| Ok(tracer.withdraw_report(ReportId(id))?)).await
    }

    /// The reports of the last 14 days, oldest first.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn reports(&self) -> Result<Vec<Report>, VigieError> {
        self.run(|tracer| Ok(tracer.reports()?.into_iter().map(Into::into).collect())).await
    }

    /// Does all that is due with radio and servers. With `is_awaited` it asks for key lists and bulletin now, for a person who waits. Without it nothing is
    /// asked for before this device's own moment: for an app that the system has woken up for some seconds. A crowd of phones that all ask when they are
    /// woken is what servers break of.
    ///
    /// # Errors
    /// `VigieError::RetryAfter` where somebody waits and not all key lists could be reached, or a server has asked for patience: they are asked again by then
    /// without being asked to. `VigieError::InputInvalid` where no servers are configured. `VigieError::Storage`.
    #[uniffi::method(default(cancel = None, is_awaited = true))]
    pub async fn sync(&self, cancel: Option<Arc<Cancel>>, is_awaited: bool) -> Result<SyncReport, VigieError> {
        if !self.has_servers {
            return Err(VigieError::input(Input::Servers));
        }
        let (ends, began) = (self.ends(cancel), vigie::time::Clock::now(&self.clock));
        self.run(move |tracer| {
            tracer.step()?;
            if is_awaited {
                tracer.sync_now()?;
            }
            let mut wait = Duration::ZERO;
            while wait.is_zero() && !ends() {
                wait = tracer.correspond()?;
            }
            let lists = tracer.key_lists()?;
            let was_cancelled = ends();
            let is_missed = lists.iter().any(|list| list.waiting > 0 || list.seen_at.is_none_or(|seen_at| seen_at < began));
            if is_awaited && is_missed && !was_cancelled {
                return Err(VigieError::RetryAfter { seconds: wait.as_secs().max(1) });
            }
            Ok(SyncReport { key_lists: lists.into_iter().map(Into::into).collect(), was_cancelled })
        })
        .await
    }

    /// How the key lists stand; none where no servers are configured.
    ///
    /// # Errors
    /// `VigieError::Storage`.
    pub async fn key_lists(&self) -> Result<Vec<KeyListStatus>, VigieError> {
        self.run(|tracer| Ok(tracer.key_lists()?.into_iter().map(Into::into).collect())).await
    }

    /// What the network costs the user from now on. Waits for nothing.
    pub fn set_network(&self, network: Network) {
        if let Some(tracer) = self.tracer() {
            tracer.set_network(network.into());
        }
    }

    /// The bulletin that holds, in the language that fits best (BCP 47, such as `fr-LU`); the app's version says whether the authority wants a newer one.
    /// Needs no network, and never waits for one.
    ///
    /// # Errors
    /// `VigieError::Internal` after the end.
    pub async fn bulletin(&self, language: String, app_version: String) -> Result<Option<Bulletin>, VigieError> {
        self.run(move |tracer| Ok(tracer.bulletin().map(|kept| Bulletin::in_language(&kept, &language, &app_version)))).await
    }
}

fn read_code(typed: &str) -> Result<VerificationCode, VigieError> {
    VerificationCode::parse(typed).map_err(|_| VigieError::input(Input::VerificationCode))
}
