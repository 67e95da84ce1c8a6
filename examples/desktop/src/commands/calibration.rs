//! The options that say what is known of a device's radio: a calibration table, and the model to look up in it.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigie::encounters::calibration::{Basis, Calibration, CalibrationConfidence, CalibrationTable};

use crate::files;
use crate::output::shown;

/// Both are given, or neither.
#[derive(Debug, Args)]
pub(super) struct CalibrationArgs {
    /// The device that hears: its model, or manufacturer/model
    #[arg(long, value_name = "MODEL", requires = "calibration")]
    model: Option<String>,

    /// The calibration table in which to look it up
    #[arg(long, value_name = "CSV", requires = "model")]
    calibration: Option<PathBuf>,
}

/// What was found for the model. `Display` says what it rests on.
#[derive(Debug, Serialize)]
pub(super) struct Calibrated {
    model: String,
    found: &'static str,
    rssi_correction_db: i8,
    transmit_power_dbm: i8,
    confidence: &'static str,
}

impl CalibrationArgs {
    /// The average phone where nothing is given.
    pub(super) fn load(&self) -> anyhow::Result<(Calibration, Option<Calibrated>)> {
        let (Some(path), Some(model)) = (&self.calibration, &self.model) else { return Ok((Calibration::default(), None)) };
        let table = CalibrationTable::from_csv(files::open(path)?)
            .with_context(|| format!("{} is no calibration table", path.display()))?;
        let (calibration, basis) = table.lookup_with_basis(model);
        let calibrated = Calibrated {
            model: model.clone(),
            found: match basis {
                Basis::Model => "model",
                Basis::Manufacturer => "manufacturer",
                _ => "default",
            },
            rssi_correction_db: calibration.rssi_correction,
            transmit_power_dbm: calibration.transmit_power,
            confidence: confidence_name(calibration.confidence),
        };
        Ok((calibration, Some(calibrated)))
    }
}

impl fmt::Display for Calibrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rssi_correction_db: correction, transmit_power_dbm: power, confidence, .. } = self;
        let model = shown(&self.model, 60);
        let basis = match self.found {
            "model" => model,
            "manufacturer" => format!("{model} is not in the table, its manufacturer's mean"),
            _ => format!("{model} is not in the table, the mean of all models"),
        };
        write!(f, "{basis}: {correction:+} dB, sends with {power} dBm, confidence {confidence}")
    }
}

/// How a confidence is written for people and in JSON.
pub(super) fn confidence_name(confidence: CalibrationConfidence) -> &'static str {
    match confidence {
        CalibrationConfidence::Lowest => "lowest",
        CalibrationConfidence::Low => "low",
        CalibrationConfidence::Medium => "medium",
        CalibrationConfidence::High => "high",
    }
}
