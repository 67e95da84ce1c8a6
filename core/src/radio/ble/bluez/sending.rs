//! Sending: one advertisement, under an address of its own.
//!
//! With `Broadcast` the kernel takes a new random address at each registration, so an advertisement is registered once for each identifier, never
//! changed, and never begun again. UUID list and service data are 28 bytes; the kernel's flags fill the 31 of a legacy advertisement, so nothing
//! else may stand in it.

use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle, Type};
use bluer::{Adapter, ErrorKind};
use tokio::time::sleep;
use uuid::Uuid;

use super::error::{failed, of_bluer};
use super::in_time;
use crate::beacon::Frame;
use crate::radio::ble::worker::Trouble;

/// Between two packets of a phone (Bluetooth Specification v1.2.2, "Advertising interval").
const MIN_INTERVAL: Duration = Duration::from_millis(200);
const MAX_INTERVAL: Duration = Duration::from_millis(270);

/// The kernel's own interval, where bluetoothd passes none on (`le_adv_min_interval`).
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_millis(1280);

/// How often is looked whether the old advertisement has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What goes on the air.
pub(super) fn advertisement(service: Uuid, frame: Option<Frame>) -> Advertisement {
    Advertisement {
        advertisement_type: if frame.is_some() { Type::Broadcast } else { Type::Peripheral },
        service_uuids: [service].into(),
        service_data: frame.map(|frame| (service, frame.to_bytes().to_vec())).into_iter().collect(),
        min_interval: Some(MIN_INTERVAL),
        max_interval: Some(MAX_INTERVAL),
        ..Advertisement::default()
    }
}

/// Whether the adapter has extended advertising: then each advertisement has an address of its own, which a connection does not change. Where
/// bluetoothd does not say (the property is an experimental one), it has not.
pub(super) async fn is_extended(adapter: &Adapter) -> bool {
    matches!(in_time(adapter.supported_advertising_secondary_channels()).await, Ok(Ok(Some(channels))) if !channels.is_empty())
}

/// Begins to send.
pub(super) async fn begin(adapter: &Adapter, advertisement: Advertisement) -> Result<AdvertisementHandle, Trouble> {
    match in_time(adapter.advertise(advertisement)).await {
        Ok(Ok(handle)) => Ok(handle),
        // Where bluetoothd itself says no, nothing was sent.
        Ok(Err(error)) if !matches!(error.kind, ErrorKind::Internal(_)) => Err(Trouble::Refused(of_bluer(&error))),
        Ok(Err(error)) => Err(Trouble::Uncertain(of_bluer(&error))),
        Err(problem) => Err(Trouble::Uncertain(problem)),
    }
}

/// Ends sending, and waits until bluetoothd says so.
pub(super) async fn end(adapter: &Adapter, handle: AdvertisementHandle) -> Result<(), Trouble> {
    let ended = async {
        let before = adapter.active_advertising_instances().await?;
        drop(handle);
        while before > 0 && adapter.active_advertising_instances().await? >= before {
            sleep(LOOK).await;
        }
        bluer::Result::Ok(())
    };
    match in_time(ended).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::Broken(of_bluer(&error))),
        Err(_) => Err(Trouble::Broken(failed("it does not stop sending"))),
    }
}
