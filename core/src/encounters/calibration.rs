//! What is known of a phone model's radio, and what that makes of a signal strength.
//!
//! ```text
//! attenuation = sender's transmit power - (RSSI + rssi_correction)     measured by us
//! attenuation = our own transmit power - RSSI                          measured by the peer, whose correction nobody knows
//! ```
//!
//! Source: Exposure Notification, "BLE attenuations". Phone models differ by more than 20 dB, hence the table, a CSV file with the columns of
//! Google's (en-calibration, 14 December 2020, CC-BY-4.0):
//!
//! ```text
//! oem,device,model,rssi_correction,tx_power,confidence
//! samsung,beyond1,SM-G973F,2,-29,3                 dB, dBm, 0 lowest .. 3 high
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::str::FromStr;

use crate::radio::{MeasuredBy, Rssi};

/// The largest table that is read, in bytes. Google's has 18 KB for 551 models.
pub const MAX_TABLE_BYTES: u64 = 1 << 20;

/// The most rows that are read.
pub const MAX_TABLE_ROWS: usize = 20_000;

/// The longest name of a manufacturer, device or model, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

const COLUMNS: [&str; 6] = ["oem", "device", "model", "rssi_correction", "tx_power", "confidence"];

/// What is wrong with a calibration table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The file is larger than any table.
    #[error("the calibration table has more than {MAX_TABLE_BYTES} bytes")]
    TooLong,
    /// More rows than any table.
    #[error("the calibration table has more than {MAX_TABLE_ROWS} rows")]
    TooManyRows,
    /// There is a header and nothing else.
    #[error("the calibration table has no rows")]
    Empty,
    /// The first line does not name the columns.
    #[error(
        "the calibration table begins with `{found}` where `oem,device,model,rssi_correction,tx_power,confidence` is expected"
    )]
    Header {
        /// The first line, cut to 128 characters.
        found: String,
    },
    /// A row has too few or too many columns.
    #[error("line {line} of the calibration table has {found} columns, not 6")]
    Columns {
        /// Line, from 1.
        line: u64,
        /// Columns found.
        found: usize,
    },
    /// A value is not what its column holds.
    #[error("line {line} of the calibration table, column {column}: `{found}` is not {expected}")]
    Value {
        /// Line, from 1.
        line: u64,
        /// Name of the column.
        column: &'static str,
        /// What was found, cut to 64 characters.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It cannot be read, or is not text in UTF-8.
    #[error("the calibration table cannot be read: {reason}")]
    Unreadable {
        /// The reader's words.
        reason: String,
    },
}

/// How sure a calibration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum CalibrationConfidence {
    /// Nothing is known of the device: an average stands in.
    #[default]
    Lowest,
    /// An average of the manufacturer's models.
    Low,
    /// Measured on a similar device.
    Medium,
    /// Measured on this model.
    High,
}

/// What is known of this device's radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Calibration {
    /// Added to every received signal strength, dB.
    pub rssi_correction: i8,
    /// The power with which it sends, dBm, as it stands in its metadata.
    pub transmit_power: i8,
    /// How sure both are.
    pub confidence: CalibrationConfidence,
}

impl Default for Calibration {
    /// The average phone: the rounded means of Google's 551 models, 3.61 dB and -24.65 dBm. Most phones lie within 10 dB of it.
    fn default() -> Self {
        Self { rssi_correction: 4, transmit_power: -25, confidence: CalibrationConfidence::Lowest }
    }
}

impl Calibration {
    /// How much of the signal was lost on the way, in dB, 0 to 255: a negative loss is 0, since a phone cannot gain on the way.
    ///
    /// `transmit_power` in dBm is what the sender says of itself; it counts only where we measured.
    pub fn attenuation(&self, transmit_power: i8, rssi: Rssi, measured_by: MeasuredBy) -> u8 {
        let (sent, received) = match measured_by {
            MeasuredBy::Us => (transmit_power, i16::from(rssi.0) + i16::from(self.rssi_correction)),
            MeasuredBy::Peer => (self.transmit_power, i16::from(rssi.0)),
        };
        (i16::from(sent) - received).clamp(0, 255) as u8
    }

    /// How sure an attenuation is.
    pub fn confidence_of(&self, measured_by: MeasuredBy) -> CalibrationConfidence {
        match measured_by {
            MeasuredBy::Us => self.confidence,
            MeasuredBy::Peer => CalibrationConfidence::Lowest,
        }
    }
}

/// Which rows of a table a [`Calibration`] was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Those of the model itself.
    Model,
    /// Those of its manufacturer: the model is not in the table.
    Manufacturer,
    /// All: neither is.
    AllModels,
}

/// Calibrations of many phone models.
///
/// Names are compared without regard to case. Of two rows with the same manufacturer, device and model the later one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationTable {
    rows: BTreeMap<Name, Calibration>,
}

/// Names of a row, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    oem: String,
    device: String,
    model: String,
}

impl CalibrationTable {
    /// Reads a table.
    ///
    /// # Errors
    /// [`CalibrationError`] with line and column of the first value that is wrong; nothing of such a table is used.
    pub fn from_csv(source: impl Read) -> Result<Self, CalibrationError> {
        let mut text = Vec::new();
        let unreadable = |reason: String| CalibrationError::Unreadable { reason };
        source.take(MAX_TABLE_BYTES + 1).read_to_end(&mut text).map_err(|e| unreadable(e.to_string()))?;
        if text.len() as u64 > MAX_TABLE_BYTES {
            return Err(CalibrationError::TooLong);
        }
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_slice());
        let header = reader.headers().map_err(|e| unreadable(e.to_string()))?;
        if header != COLUMNS.as_slice() {
            let found = header.iter().collect::<Vec<_>>().join(",");
            return Err(CalibrationError::Header { found: cut(&found, 128) });
        }
        let mut rows = BTreeMap::new();
        for (count, record) in reader.records().enumerate() {
            if count == MAX_TABLE_ROWS {
                return Err(CalibrationError::TooManyRows);
            }
            let (name, calibration) = parse_row(&record.map_err(|e| unreadable(e.to_string()))?)?;
            rows.insert(name, calibration);
        }
        if rows.is_empty() { Err(CalibrationError::Empty) } else { Ok(Self { rows }) }
    }

    /// The calibration of a device, named by its model (`SM-G973F`), its device name (`beyond1`), `manufacturer/model`, or its manufacturer.
    ///
    /// The first of these that the table has: the model itself; several models of that name (their mean, at most medium confidence); the
    /// model before a slash (`SM-G981B/DS` is `SM-G981B` with two SIMs, at most medium); the manufacturer's mean (low); the mean of all (lowest).
    pub fn lookup(&self, name: &str) -> Calibration {
        self.lookup_with_basis(name).0
    }

    /// The same, and what it rests on.
    pub fn lookup_with_basis(&self, name: &str) -> (Calibration, Basis) {
        use CalibrationConfidence::{High, Low, Lowest, Medium};
        let name = name.trim().to_lowercase();
        let (before, after) = name.split_once('/').unwrap_or((&name, &name));
        let is_model = |row: &Name, model: &str| row.model == model || row.device == model;
        let model = self
            .mean(High, |row| is_model(row, &name))
            .or_else(|| self.mean(High, |row| row.oem == before && is_model(row, after)))
            .or_else(|| self.mean(Medium, |row| is_model(row, before)));
        model
            .map(|mean| (mean, Basis::Model))
            .or_else(|| self.mean(Low, |row| row.oem == before).map(|mean| (mean, Basis::Manufacturer)))
            .or_else(|| self.mean(Lowest, |_| true).map(|mean| (mean, Basis::AllModels)))
            .unwrap_or((Calibration::default(), Basis::AllModels))
    }

    fn mean(&self, at_most: CalibrationConfidence, wanted: impl Fn(&Name) -> bool) -> Option<Calibration> {
        let rows: Vec<_> = self.rows.iter().filter(|(name, _)| wanted(name)).map(|(_, calibration)| calibration).collect();
        let mean = |value: fn(&Calibration) -> i8| {
            let sum: f64 = rows.iter().map(|c| f64::from(value(c))).sum();
            (sum / rows.len() as f64).round() as i8
        };
        let certain = if rows.len() > 1 { at_most.min(CalibrationConfidence::Medium) } else { at_most };
        let confidence = rows.iter().map(|c| c.confidence).min()?.min(certain);
        Some(Calibration { rssi_correction: mean(|c| c.rssi_correction), transmit_power: mean(|c| c.transmit_power), confidence })
    }
}

fn parse_row(record: &csv::StringRecord) -> Result<(Name, Calibration), CalibrationError> {
    let line = record.position().map_or(0, csv::Position::line);
    let [oem, device, model, correction, power, confidence] = record.iter().collect::<Vec<_>>()[..] else {
        return Err(CalibrationError::Columns { line, found: record.len() });
    };
    let wrong = |column, found: &str, expected| CalibrationError::Value { line, column, found: cut(found, 64), expected };
    let name = |column, value: &str| {
        if value.len() <= MAX_NAME_BYTES {
            Ok(value.to_lowercase())
        } else {
            Err(wrong(column, value, "a name of at most 64 bytes"))
        }
    };
    let name = Name { oem: name("oem", oem)?, device: name("device", device)?, model: name("model", model)? };
    if name.model.is_empty() {
        return Err(wrong("model", model, "the name of a model"));
    }
    let decibel = |column, value: &str, expected| i8::from_str(value).map_err(|_| wrong(column, value, expected));
    let calibration = Calibration {
        rssi_correction: decibel("rssi_correction", correction, "a whole number of dB, -128 to 127")?,
        transmit_power: decibel("tx_power", power, "a whole number of dBm, -128 to 127")?,
        confidence: match confidence {
            "0" => CalibrationConfidence::Lowest,
            "1" => CalibrationConfidence::Low,
            "2" => CalibrationConfidence::Medium,
            "3" => CalibrationConfidence::High,
            _ => return Err(wrong("confidence", confidence, "0 (lowest) to 3 (high)")),
        },
    };
    Ok((name, calibration))
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use CalibrationConfidence::{High, Low, Lowest, Medium};

    const HEADER: &str = "oem,device,model,rssi_correction,tx_power,confidence\n";

    fn table(rows: &str) -> Result<CalibrationTable, CalibrationError> {
        CalibrationTable::from_csv(format!("{HEADER}{rows}").as_bytes())
    }

    fn known(correction: i8, power: i8, confidence: CalibrationConfidence) -> Calibration {
        Calibration { rssi_correction: correction, transmit_power: power, confidence }
    }

    #[test]
    fn a_model_falls_back_to_its_manufacturer_and_then_to_all() {
        let table = table(
            "acme,one,A-1,4,-20,3\nacme,two,A-2,7,-30,2\nbell,b_x,Twins,1,-10,3\nbell,b_y,Twins,4,-13,3\nbell,b_z,B/Z,0,0,3\nACME,ONE,a-1,5,-21,3\n",
        )
        .unwrap();
        for (name, expected) in [
            ("A-1", known(5, -21, High)), // the later of two equal rows
            (" a-1 ", known(5, -21, High)),
            ("one", known(5, -21, High)),
            ("acme/A-1", known(5, -21, High)),
            ("A-2", known(7, -30, Medium)),
            ("B/Z", known(0, 0, High)),
            ("Twins", known(3, -12, Medium)), // 2.5 and -11.5: two devices are sold under this name
            ("b_x", known(1, -10, High)),
            ("A-1/DS", known(5, -21, Medium)),
            ("acme/A-99", known(6, -26, Low)),
            ("acme", known(6, -26, Low)),
            ("bell/A-1", known(2, -8, Low)), // A-1 is not theirs
            ("other/X", known(3, -15, Lowest)),
            ("", known(3, -15, Lowest)),
        ] {
            assert_eq!(table.lookup(name), expected, "{name}");
        }
        let basis = |name| table.lookup_with_basis(name).1;
        assert_eq!(["A-1/DS", "acme/A-99", "other/X"].map(basis), [Basis::Model, Basis::Manufacturer, Basis::AllModels]);
    }

    #[test]
    fn a_bad_table_is_refused_with_line_and_column() {
        let value = |line, column, found: &str, expected| CalibrationError::Value { line, column, found: found.into(), expected };
        let dbm = "a whole number of dBm, -128 to 127";
        let db = "a whole number of dB, -128 to 127";
        for (rows, expected) in [
            ("", CalibrationError::Empty),
            ("a,b,c,1,2\n", CalibrationError::Columns { line: 2, found: 5 }),
            ("a,b,c,1,2,3\na,b,c,1,2,3,4\n", CalibrationError::Columns { line: 3, found: 7 }),
            ("a,b,c,loud,2,3\n", value(2, "rssi_correction", "loud", db)),
            ("a,b,c,1,999,3\n", value(2, "tx_power", "999", dbm)),
            ("a,b,c,1,2.5,3\n", value(2, "tx_power", "2.5", dbm)),
            ("a,b,c,1,2,4\n", value(2, "confidence", "4", "0 (lowest) to 3 (high)")),
            ("a,b,,1,2,3\n", value(2, "model", "", "the name of a model")),
        ] {
            assert_eq!(table(rows), Err(expected), "{rows}");
        }
        let long = "x".repeat(65);
        assert!(matches!(table(&format!("{long},b,c,1,2,3\n")), Err(CalibrationError::Value { column: "oem", .. })));
        assert!(matches!(CalibrationTable::from_csv(&b""[..]), Err(CalibrationError::Header { .. })));
        assert!(matches!(CalibrationTable::from_csv(&b"a,b,c,1,2,3\n"[..]), Err(CalibrationError::Header { .. })));
        assert!(matches!(CalibrationTable::from_csv(&b"\xFF\xFE\0"[..]), Err(CalibrationError::Unreadable { .. })));
        assert_eq!(CalibrationTable::from_csv(std::io::repeat(b',')), Err(CalibrationError::TooLong));
        assert_eq!(table(&"a,b,c,1,2,3\n".repeat(MAX_TABLE_ROWS + 1)), Err(CalibrationError::TooManyRows));
        assert!(table(&"a,b,c,1,2,3\n".repeat(MAX_TABLE_ROWS)).is_ok());
    }

    #[test]
    fn any_byte_of_a_table_may_be_broken_without_a_panic() {
        let good = format!("{HEADER}acme,one,A-1,4,-20,3\n\"acme\",two,\"A-2\",7,-30,2\n").into_bytes();
        for at in 0..good.len() {
            for byte in [0, b'"', b',', b'\n', 0xFF] {
                let mut bad = good.clone();
                bad[at] = byte;
                let _ = CalibrationTable::from_csv(bad.as_slice()).map(|table| table.lookup("A-1"));
            }
            let _ = CalibrationTable::from_csv(&good[..at]);
        }
    }

    #[test]
    fn attenuation_is_what_is_lost_between_the_antennas() {
        let calibration = known(5, -20, High);
        let of = |power, rssi, by| calibration.attenuation(power, Rssi(rssi), by);
        assert_eq!(of(-24, -80, MeasuredBy::Us), 51);
        assert_eq!(of(-24, -80, MeasuredBy::Peer), 60, "our power, without our correction");
        assert_eq!(of(-50, -40, MeasuredBy::Us), 0, "never negative");
        assert_eq!(known(-128, 0, High).attenuation(20, Rssi(-127), MeasuredBy::Us), 255);
        assert_eq!(calibration.confidence_of(MeasuredBy::Us), High);
        assert_eq!(calibration.confidence_of(MeasuredBy::Peer), Lowest);
    }

    #[test]
    fn the_published_table_gives_the_default_as_its_mean() {
        let Some(folder) = std::env::var_os("VIGIE_FIELD_DATA") else {
            // Straight to stderr: what `println!` says of a test that passes, nobody sees.
            std::io::stderr().write_all(b"skipped: VIGIE_FIELD_DATA is not set\n").unwrap();
            return;
        };
        let file = std::fs::File::open(std::path::Path::new(&folder).join("en-calibration.csv")).unwrap();
        let table = CalibrationTable::from_csv(file).unwrap();
        assert_eq!(table.rows.len(), 551);
        assert_eq!(table.lookup("no such phone"), Calibration::default());
        assert_eq!(table.lookup("SM-G973F").confidence, High);
        assert_eq!(table.lookup("samsung/SM-XYZ").confidence, Low);
    }
}
