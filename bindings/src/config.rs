//! What an app decides.

use vigie::beacon::ServiceUuid;
use vigie::courier::Servers;
use vigie::exposure::ExposureConfiguration;

use crate::error::{Input, VigieError};

/// What an app decides when it opens a tracer. Only the first two have to be said.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Config {
    /// The file of the store. Its folder must exist, belong to the app alone, and be left out of backups and transfers to another phone: a copy would
    /// send the same identifiers.
    pub store_path: String,
    /// A folder of its own for files while they are fetched, made where it is missing. The system may empty it.
    pub downloads_path: String,
    /// The health authority's description of its servers, as the reference backend writes it (`client.json`): 65,536 bytes at most. Without it nothing
    /// is sent or fetched; tracing needs none.
    #[uniffi(default = None)]
    pub servers_json: Option<String>,
    /// How exposures are weighed, where no bulletin says otherwise: JSON, the members as the bulletin's `configuration.exposure` has them.
    #[uniffi(default = None)]
    pub exposure_json: Option<String>,
    /// What is known of this device's radio.
    #[uniffi(default = None)]
    pub calibration: Option<Calibration>,
    /// When the radio listens.
    #[uniffi(default = None)]
    pub scanning: Option<Scanning>,
    /// The 16-bit UUID of the service; 0xFD64 where none is said. A bulletin may change it.
    #[uniffi(default = None)]
    pub service_uuid: Option<u16>,
}

/// What is known of a device's radio. Published tables have it for each model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Calibration {
    /// What has to be added to a measured strength, in dB.
    pub rssi_correction: i8,
    /// With which strength it sends, in dBm.
    pub transmit_power: i8,
    /// How well that is known.
    pub confidence: CalibrationConfidence,
}

/// How well a calibration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum CalibrationConfidence {
    /// Not at all.
    Lowest,
    /// From phones of the same manufacturer.
    Low,
    /// From phones of a similar model.
    Medium,
    /// From this model.
    High,
}

/// When the radio listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Scanning {
    /// For 4 s in every 3.5 to 5 minutes: what a phone's battery bears.
    Periodic,
    /// Always.
    Continuous,
}

impl Config {
    pub(crate) fn servers(&self) -> Result<Option<Servers>, VigieError> {
        let read = |json: &String| Servers::from_json(json.as_bytes()).map_err(|_| VigieError::input(Input::Servers));
        self.servers_json.as_ref().map(read).transpose()
    }

    pub(crate) fn for_core(&self, servers: Option<&Servers>) -> Result<vigie::tracer::Config, VigieError> {
        let mut config = vigie::tracer::Config::default();
        if let Some(json) = &self.exposure_json {
            let read: Result<ExposureConfiguration, _> = serde_json::from_str(json);
            config.exposure = read.map_err(|_| VigieError::input(Input::Exposure))?;
        }
        if let Some(servers) = servers {
            config.authority_keys = servers.authority_keys().map_err(|_| VigieError::input(Input::AuthorityKey))?;
        }
        config.calibration = self.calibration.map_or(config.calibration, Into::into);
        config.scanning = self.scanning.map_or(config.scanning, Into::into);
        config.service = self.service_uuid.map_or(config.service, ServiceUuid);
        Ok(config)
    }
}

impl From<Calibration> for vigie::encounters::calibration::Calibration {
    fn from(Calibration { rssi_correction, transmit_power, confidence }: Calibration) -> Self {
        Self { rssi_correction, transmit_power, confidence: confidence.into() }
    }
}

impl From<CalibrationConfidence> for vigie::encounters::calibration::CalibrationConfidence {
    fn from(confidence: CalibrationConfidence) -> Self {
        match confidence {
            CalibrationConfidence::Lowest => Self::Lowest,
            CalibrationConfidence::Low => Self::Low,
            CalibrationConfidence::Medium => Self::Medium,
            CalibrationConfidence::High => Self::High,
        }
    }
}

impl From<Scanning> for vigie::tracer::Scanning {
    fn from(scanning: Scanning) -> Self {
        match scanning {
            Scanning::Periodic => Self::Periodic,
            Scanning::Continuous => Self::Continuous,
        }
    }
}
