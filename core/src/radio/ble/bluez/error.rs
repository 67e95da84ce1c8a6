//! What the errors of D-Bus and BlueZ mean for a user.

use bluer::ErrorKind;

use crate::radio::RadioError;

/// An error of the message bus itself.
pub(super) fn of_bus(error: &dbus::Error) -> RadioError {
    match error.name() {
        Some("org.freedesktop.DBus.Error.AccessDenied" | "org.freedesktop.DBus.Error.AuthFailed") => RadioError::NotPermitted,
        _ => RadioError::NoMessageBus,
    }
}

/// An error of whoever was called over the bus.
pub(super) fn of_dbus(error: &dbus::Error) -> RadioError {
    match error.name() {
        Some("org.freedesktop.DBus.Error.AccessDenied" | "org.bluez.Error.NotAuthorized") => RadioError::NotPermitted,
        Some("org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner") => RadioError::NoService,
        Some("org.freedesktop.DBus.Error.Disconnected") => RadioError::NoMessageBus,
        name => RadioError::Failed { reason: name.unwrap_or("it does not answer").to_owned() },
    }
}

/// An error of bluer. Its own text may name an address, so only its kind is told.
pub(super) fn of_bluer(error: &bluer::Error) -> RadioError {
    match &error.kind {
        ErrorKind::NotAuthorized => RadioError::NotPermitted,
        ErrorKind::NotReady => RadioError::PoweredOff,
        ErrorKind::Internal(bluer::InternalErrorKind::DBus(name)) if name == "org.freedesktop.DBus.Error.AccessDenied" => {
            RadioError::NotPermitted
        }
        kind => RadioError::Failed { reason: kind.to_string() },
    }
}

/// An error of btleplug. Its own text may name an address.
pub(super) fn of_btleplug(error: &btleplug::Error) -> RadioError {
    match error {
        btleplug::Error::PermissionDenied => RadioError::NotPermitted,
        btleplug::Error::NotConnected => failed("not connected"),
        btleplug::Error::DeviceNotFound => failed("the device has gone"),
        btleplug::Error::NotSupported(_) => failed("not supported"),
        _ => failed("btleplug could not do it"),
    }
}

pub(super) fn failed(reason: &str) -> RadioError {
    RadioError::Failed { reason: reason.to_owned() }
}
