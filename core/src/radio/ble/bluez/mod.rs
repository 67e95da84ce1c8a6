//! Linux: BlueZ through D-Bus. btleplug gives the events of devices and connects, bluer discovers, sends and serves.
//!
//! An adapter does one thing at a time: it listens, or it connects, or what it sends changes. What its addresses do then was seen on the air, with
//! kernel 6.1 and BlueZ 5.66:
//!
//! | adapter | `Privacy` | an advertisement's address | so |
//! | --- | --- | --- | --- |
//! | extended advertising | off | a new non-resolvable one at each registration | sends frames; no connections, they would show the adapter's own |
//! | extended advertising | device | a new resolvable one at each registration; another one, of 15 minutes, for connections | sends and connects; see `initiator` |
//! | legacy | off | a new non-resolvable one at each registration, refused while it scans | sends frames; no connections |
//! | legacy | on | a resolvable one that stays for 15 minutes, whatever is sent | listens only: two identifiers would share it |
//!
//! With extended advertising, scan requests have an address of their own. The kernel takes it when a scan begins, but not while something is being
//! sent; left to itself it would outlive every identifier. So a scan begins between two identifiers.

mod discovery;
mod ear;
mod error;
mod exchange;
mod initiator;
mod sending;
mod server;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bluer::{Adapter, Session};
use btleplug::platform::PeripheralId;
use tokio::time::Instant;

use super::Options;
use super::daemon::Daemon;
use super::hearing::{Heard, Hearing};
use super::shared::Shared;
use super::turns::Turns;
use super::worker::{Services, Trouble};
use crate::beacon::{Frame, Rssi, ServiceUuid};
use crate::radio::{Limit, MeasuredBy, RadioError, Sighting};
use crate::time::Clock;
use ear::{Ear, News};
use error::{failed, of_bluer};
use exchange::Exchange;
use initiator::Initiator;
use sending::Voice;
use server::Server;
use watch::Watch;

/// One step with bluetoothd takes no longer, also on a slow computer.
const STEP: Duration = Duration::from_secs(5);

/// What a link waits for.
pub(super) enum Happening {
    /// It is of no use any more.
    Broken(RadioError),
    /// Something was heard.
    News(News),
    /// Somebody may be connected to.
    Turn,
    /// An exchange has ended.
    Exchanged(Option<Frame>),
}

/// One connection to bluetoothd, until it breaks.
pub(super) struct Link {
    options: Options,
    services: Services,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    watch: Watch,
    session: Session,
    daemon: Daemon,
    origin: Instant,
    wants_listening: bool,
    ear: Option<Ear>,
    hearing: Hearing,
    turns: Turns<PeripheralId>,
    exchange: Option<Exchange>,
    initiator: Initiator,
    /// When the latest exchange ended.
    connected: Option<Instant>,
    voice: Option<Voice>,
    server: Option<Server>,
}

impl Link {
    /// Connects to a bluetoothd that runs. No adapter is touched yet.
    pub(super) async fn connect(
        options: &Options,
        services: Services,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
    ) -> Result<Self, RadioError> {
        let watch = Watch::begin().await?;
        let daemon = Daemon::look(watch.connection()).await;
        let session = in_time(Session::new()).await?.map_err(|error| of_bluer(&error))?;
        Ok(Self {
            options: options.clone(),
            clock,
            shared,
            watch,
            session,
            daemon,
            origin: Instant::now(),
            wants_listening: false,
            ear: None,
            hearing: Hearing::new(&services.heard),
            services,
            turns: Turns::new(Duration::ZERO),
            exchange: None,
            initiator: Initiator::default(),
            connected: None,
            voice: None,
            server: None,
        })
    }

    /// Waits until something happens. Can be dropped at any time, and called again.
    pub(super) async fn next(&mut self) -> Happening {
        let turn = self.turn();
        tokio::select! {
            biased;
            problem = self.watch.broken() => Happening::Broken(problem),
            frame = ended(&mut self.exchange) => Happening::Exchanged(frame),
            news = next(&mut self.ear) => Happening::News(news),
            () = tokio::time::sleep(turn.unwrap_or_default()), if turn.is_some() => Happening::Turn,
        }
    }

    /// Does what a happening calls for.
    pub(super) async fn act(&mut self, happening: Happening) -> Result<(), RadioError> {
        match happening {
            Happening::Broken(problem) => return Err(problem),
            Happening::News(news) => return self.take_in(news),
            Happening::Turn => self.begin_exchange().await?,
            Happening::Exchanged(frame) => {
                self.end_exchange(frame);
                let ended = Instant::now();
                self.resume().await?;
                self.charge(ended);
                return Ok(());
            }
        }
        self.resume().await
    }

    pub(super) async fn listen(&mut self) -> Result<(), Trouble> {
        self.break_off();
        self.shared.lock().listening.lost = None;
        self.wants_listening = true;
        let resumed = self.resume().await;
        self.wants_listening = resumed.is_ok();
        resumed.map_err(Trouble::Refused)
    }

    pub(super) async fn rest(&mut self) -> Result<(), Trouble> {
        self.wants_listening = false;
        self.pause().await.map_err(Trouble::Broken)
    }

    /// Where it listens, it begins anew: the filter is set at the beginning.
    pub(super) async fn hear_services(&mut self, services: Vec<ServiceUuid>) -> Result<(), Trouble> {
        if services == self.services.heard {
            return Ok(());
        }
        self.break_off();
        self.pause().await.map_err(Trouble::Broken)?;
        self.hearing.set_services(&services);
        self.services.heard = services;
        self.resume().await.map_err(Trouble::Broken)
    }

    /// What is served to whoever connects begins anew with the next frame, too.
    pub(super) fn send_under(&mut self, service: ServiceUuid) {
        if std::mem::replace(&mut self.services.sent, service) != service {
            self.server = None;
        }
    }

    /// Ends everything in order.
    pub(super) async fn close(&mut self) {
        // The connection ends after this, and with it whatever does not end here.
        self.break_off();
        let _ = self.silence().await;
        let _ = self.rest().await;
    }

    /// The link is broken: what was begun has ended.
    pub(super) fn give_up(&mut self, problem: &RadioError) {
        self.lose_listening(problem.clone());
        if self.voice.take().is_some() {
            self.shared.lock().sending.lost = Some(problem.clone());
        }
    }

    fn lose_listening(&mut self, problem: RadioError) {
        if std::mem::take(&mut self.wants_listening) {
            self.shared.lock().listening.lost = Some(problem);
        }
    }

    fn take_in(&mut self, news: News) -> Result<(), RadioError> {
        let now = self.clock.monotonic();
        let heard = match news {
            News::Event(event) => self.hearing.event(event, now),
            News::Properties(id, properties) => self.hearing.properties(id, &properties, now),
            News::Ended(problem) => return Err(problem),
        };
        match heard {
            Heard::Nothing => {}
            Heard::Frame(frame, rssi) => self.hear(frame, rssi),
            Heard::Connectable(id, rssi) => self.turns.add(id, rssi, self.origin.elapsed()),
            Heard::Unknown(id) => {
                if let Some(ear) = &mut self.ear {
                    ear.ask(id);
                }
            }
        }
        Ok(())
    }

    fn hear(&self, frame: Frame, rssi: Rssi) {
        self.shared.hear(Sighting { frame, rssi, measured_by: MeasuredBy::Us, at: self.clock.now() });
    }

    async fn resume(&mut self) -> Result<(), RadioError> {
        if !self.wants_listening || self.exchange.is_some() {
            return Ok(());
        }
        let ear = match &mut self.ear {
            Some(ear) => ear,
            None => {
                let adapter = self.adapter(self.options.adapter.clone()).await?;
                let ear = Ear::open(adapter).await?;
                self.ear.insert(ear)
            }
        };
        ear.listen(&self.services.heard).await?;
        let mut limits = Vec::new();
        if !ear.hears_every_packet() {
            limits.push(Limit::FewerPackets);
        }
        if !self.daemon.hides_address() {
            limits.push(Limit::NoConnections);
        }
        self.shared.lock().listening.limits = limits;
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), RadioError> {
        match &mut self.ear {
            Some(ear) => ear.rest().await,
            None => Ok(()),
        }
    }

    /// An adapter that is there and on; from now on its end is that of the link.
    async fn adapter(&mut self, name: Option<String>) -> Result<Adapter, RadioError> {
        let mut names = in_time(self.session.adapter_names()).await?.map_err(|error| of_bluer(&error))?;
        names.sort();
        let name = match name {
            Some(name) if names.contains(&name) => name,
            Some(name) => return Err(RadioError::NoSuchAdapter { name }),
            None => names.into_iter().next().ok_or(RadioError::NoAdapter)?,
        };
        self.watch.add_adapter(&name).await?;
        let adapter = self.session.adapter(&name).map_err(|error| of_bluer(&error))?;
        let is_powered = in_time(adapter.is_powered()).await?.map_err(|error| of_bluer(&error))?;
        if is_powered { Ok(adapter) } else { Err(RadioError::PoweredOff) }
    }
}

async fn ended(exchange: &mut Option<Exchange>) -> Option<Frame> {
    match exchange {
        Some(exchange) => exchange.ended().await,
        None => std::future::pending().await,
    }
}

async fn next(ear: &mut Option<Ear>) -> News {
    match ear {
        Some(ear) => ear.next().await,
        None => std::future::pending().await,
    }
}

/// What takes longer than [`STEP`] is given up.
async fn in_time<T>(step: impl Future<Output = T>) -> Result<T, RadioError> {
    tokio::time::timeout(STEP, step).await.map_err(|_| failed("it does not answer"))
}
