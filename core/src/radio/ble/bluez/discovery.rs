//! Listening: a discovery that asks for every packet, with an advertisement monitor where bluetoothd offers one.
//!
//! BlueZ filters what it has heard before, by address, and begins anew every 10 s. With a monitor on the adapter the filter is off and every
//! packet is told. Discovery is bluer's, not btleplug's: btleplug asks for both transports, and half of the time goes to classic inquiry.

use bluer::monitor::{Monitor, MonitorManager, Pattern, RssiSamplingPeriod, Type};
use bluer::{Adapter, DiscoveryFilter, DiscoveryTransport};
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;

use super::error::of_bluer;
use super::in_time;
use crate::beacon::ServiceUuid;
use crate::radio::RadioError;

const AD_SERVICE_DATA_16_BIT: u8 = 0x16;
const AD_COMPLETE_16_BIT_UUIDS: u8 = 0x03;

/// What listens, as long as it lives.
pub(super) struct Discovery {
    /// Ends when the discovery does.
    task: JoinHandle<()>,
    /// Keeps the monitor; `None` where there is none.
    monitor: Option<(MonitorManager, JoinHandle<()>)>,
}

impl Discovery {
    pub(super) async fn begin(adapter: &Adapter, services: &[ServiceUuid]) -> Result<Self, RadioError> {
        let monitor = in_time(monitor(adapter, services)).await?.unwrap_or_else(|problem| {
            tracing::debug!(%problem, "there is no advertisement monitor");
            None
        });
        let filter = DiscoveryFilter { transport: DiscoveryTransport::Le, duplicate_data: true, ..DiscoveryFilter::default() };
        in_time(adapter.set_discovery_filter(filter)).await?.map_err(|error| of_bluer(&error))?;
        let events = in_time(adapter.discover_devices()).await?.map_err(|error| of_bluer(&error))?;
        Ok(Self { task: drain(events), monitor })
    }

    /// Whether every packet is told.
    pub(super) fn tells_every_packet(&self) -> bool {
        self.monitor.is_some()
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) {
        // However the task ends, nothing is discovered any more.
        let _ = (&mut self.task).await;
    }

    /// Ends it, and waits until the adapter has stopped scanning.
    pub(super) async fn end(self, adapter: &Adapter) -> Result<(), RadioError> {
        self.task.abort();
        let _ = self.task.await;
        if let Some((manager, task)) = self.monitor {
            task.abort();
            let _ = task.await;
            drop(manager);
        }
        // Waits for the end of the discovery before.
        in_time(adapter.set_discovery_filter(DiscoveryFilter::default())).await?.map_err(|error| of_bluer(&error))
    }
}

async fn monitor(adapter: &Adapter, services: &[ServiceUuid]) -> bluer::Result<Option<(MonitorManager, JoinHandle<()>)>> {
    let patterns = services.iter().flat_map(|service| {
        let content = service.0.to_le_bytes().to_vec();
        let pattern = move |data_type| Pattern { data_type, start_position: 0, content: content.clone() };
        [AD_SERVICE_DATA_16_BIT, AD_COMPLETE_16_BIT_UUIDS].map(pattern)
    });
    let manager = adapter.monitor().await?;
    let monitor = manager
        .register(Monitor {
            monitor_type: Type::OrPatterns,
            rssi_sampling_period: Some(RssiSamplingPeriod::All),
            patterns: Some(patterns.collect()),
            ..Monitor::default()
        })
        .await?;
    Ok(Some((manager, drain(monitor))))
}

/// What bluer tells is told by btleplug, too; but nobody may leave it lying.
fn drain(events: impl Stream<Item: Send> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(events.for_each(|_| std::future::ready(())))
}
