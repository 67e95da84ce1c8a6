//! Watches for what ends a link. Silence is not health: neither btleplug nor bluer says that bluetoothd has gone.

use std::sync::Arc;
use std::time::Duration;

use dbus::message::{MatchRule, SignalArgs};
use dbus::nonblock::stdintf::org_freedesktop_dbus::{ObjectManagerInterfacesRemoved, PropertiesPropertiesChanged};
use dbus::nonblock::{MsgMatch, Proxy, SyncConnection};
use dbus::{Message, MessageType, Path};
use dbus_tokio::connection::{IOResourceError, new_system_sync};
use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use futures::stream::SelectAll;
use tokio::task::{JoinHandle, spawn_blocking};

use super::error::{of_bus, of_dbus};
use crate::radio::RadioError;

const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const BUS: &str = "org.freedesktop.DBus";

/// The bus answers at once or not at all.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection to the message bus of its own.
pub(super) struct Watch {
    connection: Arc<SyncConnection>,
    bus: JoinHandle<IOResourceError>,
    signals: SelectAll<UnboundedReceiver<Message>>,
    /// The rules end with these.
    rules: Vec<MsgMatch>,
    /// Adapters that the link uses.
    adapters: Vec<String>,
}

impl Watch {
    /// Begins to watch a bluetoothd that runs.
    ///
    /// # Errors
    /// [`RadioError::NoMessageBus`], [`RadioError::NoService`] or [`RadioError::NotPermitted`].
    pub(super) async fn begin() -> Result<Self, RadioError> {
        let connected = tokio::time::timeout(ANSWER, spawn_blocking(new_system_sync)).await;
        let (resource, connection) = match connected {
            Ok(Ok(Ok(connected))) => connected,
            Ok(Ok(Err(error))) => return Err(of_bus(&error)),
            _ => return Err(RadioError::NoMessageBus),
        };
        let bus = tokio::spawn(resource);
        let mut watch = Self { connection, bus, signals: SelectAll::new(), rules: Vec::new(), adapters: Vec::new() };
        watch.add_rule(MatchRule::new_signal(BUS, "NameOwnerChanged")).await?;
        watch.add_rule(ObjectManagerInterfacesRemoved::match_rule(Some(&BLUEZ.into()), None).static_clone()).await?;
        let proxy = Proxy::new(BUS, "/org/freedesktop/DBus", ANSWER, Arc::clone(&watch.connection));
        let (runs,): (bool,) = proxy.method_call(BUS, "NameHasOwner", (BLUEZ,)).await.map_err(|error| of_bus(&error))?;
        if runs { Ok(watch) } else { Err(RadioError::NoService) }
    }

    /// The connection, for questions.
    pub(super) fn connection(&self) -> &SyncConnection {
        &self.connection
    }

    /// Watches an adapter, too.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(super) async fn add_adapter(&mut self, name: &str) -> Result<(), RadioError> {
        if self.adapters.iter().any(|known| known == name) {
            return Ok(());
        }
        // Of the adapter alone: devices tell a change with every packet.
        let path = Path::from(adapter_path(name));
        self.add_rule(PropertiesPropertiesChanged::match_rule(Some(&BLUEZ.into()), Some(&path)).static_clone()).await?;
        self.adapters.push(name.to_owned());
        Ok(())
    }

    /// Waits for what ends the link. Can be dropped and called again.
    pub(super) async fn broken(&mut self) -> RadioError {
        loop {
            tokio::select! {
                _ = &mut self.bus => return RadioError::NoMessageBus,
                Some(signal) = self.signals.next() => {
                    if let Some(problem) = self.meaning(&signal) {
                        return problem;
                    }
                }
            }
        }
    }

    async fn add_rule(&mut self, rule: MatchRule<'static>) -> Result<(), RadioError> {
        let (rule, signals) = self.connection.add_match(rule).await.map_err(|error| of_dbus(&error))?.msg_stream();
        self.rules.push(rule);
        self.signals.push(signals);
        Ok(())
    }

    fn meaning(&self, signal: &Message) -> Option<RadioError> {
        if signal.msg_type() != MessageType::Signal {
            return None;
        }
        if let Some(removed) = ObjectManagerInterfacesRemoved::from_message(signal) {
            let gone = self.adapters.iter().find(|name| *removed.object == *adapter_path(name))?;
            return removed
                .interfaces
                .iter()
                .any(|interface| interface == ADAPTER)
                .then(|| RadioError::NoSuchAdapter { name: gone.clone() });
        }
        if let Some(changed) = PropertiesPropertiesChanged::from_message(signal) {
            let powered = changed.changed_properties.get("Powered").and_then(|powered| powered.0.as_u64());
            return (changed.interface_name == ADAPTER && powered == Some(0)).then_some(RadioError::PoweredOff);
        }
        // NameOwnerChanged: whoever has the name now, it is another one.
        (signal.get1::<&str>() == Some(BLUEZ)).then_some(RadioError::NoService)
    }
}

fn adapter_path(name: &str) -> String {
    format!("/org/bluez/{name}")
}
