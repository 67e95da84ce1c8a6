//! What hears on an adapter: btleplug's events of devices and their properties, while bluer discovers.

use std::collections::HashSet;
use std::pin::Pin;

use bluer::Adapter;
use btleplug::api::{Central, CentralEvent, Manager as _, Peripheral as _, PeripheralProperties};
use btleplug::platform::{Manager, Peripheral, PeripheralId};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream};
use futures::{FutureExt, StreamExt};

use super::discovery::Discovery;
use super::error::{failed, of_btleplug};
use super::in_time;
use crate::beacon::ServiceUuid;
use crate::radio::RadioError;

/// Devices whose properties are asked for at the same time, at most. More are asked for when they are heard again.
const MAX_QUESTIONS: usize = 32;

type Properties = (PeripheralId, Option<PeripheralProperties>);

/// One adapter, for bluer and for btleplug.
pub(super) struct Ear {
    pub(super) adapter: Adapter,
    central: btleplug::platform::Adapter,
    events: Pin<Box<dyn Stream<Item = CentralEvent> + Send>>,
    questions: FuturesUnordered<BoxFuture<'static, Properties>>,
    asked: HashSet<PeripheralId>,
    discovery: Option<Discovery>,
}

/// What an ear tells.
pub(in crate::radio::ble) enum News {
    /// Something was heard.
    Event(CentralEvent),
    /// The answer to [`Ear::ask`].
    Properties(PeripheralId, PeripheralProperties),
    /// Nothing more will be heard.
    Ended(RadioError),
}

impl Ear {
    pub(super) async fn open(adapter: Adapter) -> Result<Self, RadioError> {
        let central = in_time(central(adapter.name())).await?.map_err(|error| of_btleplug(&error))?;
        let central = central.ok_or_else(|| RadioError::NoSuchAdapter { name: adapter.name().to_owned() })?;
        let events = in_time(central.events()).await?.map_err(|error| of_btleplug(&error))?;
        Ok(Self { adapter, central, events, questions: FuturesUnordered::new(), asked: HashSet::new(), discovery: None })
    }

    /// Waits for news. Can be dropped at any time, and called again.
    pub(super) async fn next(&mut self) -> News {
        loop {
            tokio::select! {
                () = ended(&mut self.discovery) => return News::Ended(failed("it has ended the scan")),
                Some((id, properties)) = self.questions.next() => {
                    self.asked.remove(&id);
                    if let Some(properties) = properties {
                        return News::Properties(id, properties);
                    }
                }
                event = self.events.next() => return event.map_or(News::Ended(RadioError::NoMessageBus), News::Event),
            }
        }
    }

    /// Asks for the properties of a device.
    pub(super) fn ask(&mut self, id: PeripheralId) {
        if self.questions.len() >= MAX_QUESTIONS || !self.asked.insert(id.clone()) {
            return;
        }
        let central = self.central.clone();
        self.questions.push(
            async move {
                let properties = async { central.peripheral(&id).await?.properties().await };
                let properties = in_time(properties).await.ok().and_then(Result::ok).flatten();
                (id, properties)
            }
            .boxed(),
        );
    }

    /// A device, to connect to.
    pub(super) async fn peripheral(&self, id: &PeripheralId) -> Option<Peripheral> {
        in_time(self.central.peripheral(id)).await.ok()?.ok()
    }

    /// Whether every packet is told.
    pub(super) fn hears_every_packet(&self) -> bool {
        self.discovery.as_ref().is_some_and(Discovery::tells_every_packet)
    }

    /// Listens; that it does already is no error.
    pub(super) async fn listen(&mut self, services: &[ServiceUuid]) -> Result<(), RadioError> {
        if self.discovery.is_none() {
            self.discovery = Some(Discovery::begin(&self.adapter, services).await?);
        }
        Ok(())
    }

    /// Stops listening, and waits until the adapter has stopped scanning.
    pub(super) async fn rest(&mut self) -> Result<(), RadioError> {
        match self.discovery.take() {
            Some(discovery) => discovery.end(&self.adapter).await,
            None => Ok(()),
        }
    }
}

async fn central(name: &str) -> btleplug::Result<Option<btleplug::platform::Adapter>> {
    for adapter in Manager::new().await?.adapters().await? {
        // Its information is the name, and what made it in brackets.
        if adapter.adapter_info().await?.split(' ').next() == Some(name) {
            return Ok(Some(adapter));
        }
    }
    Ok(None)
}

async fn ended(discovery: &mut Option<Discovery>) {
    match discovery {
        Some(discovery) => discovery.ended().await,
        None => std::future::pending().await,
    }
}
