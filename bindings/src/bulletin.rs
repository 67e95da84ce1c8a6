//! The authority's bulletin, in the language of the user.

use std::time::SystemTime;

use vigie::courier::bulletin::{KeptBulletin, in_language};

/// A bulletin in one language. What it configures holds already.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Bulletin {
    /// Higher with each bulletin.
    pub serial: u64,
    /// For whom it is.
    pub region: String,
    /// When it was made.
    pub issued_at: SystemTime,
    /// When it was last seen at its server.
    pub seen_at: SystemTime,
    /// Figures by day.
    pub figures: Vec<Figure>,
    /// Advice.
    pub advice: Vec<Advice>,
    /// Whether the authority wants a newer app than this version; tracing goes on in any case.
    pub wants_newer_app: bool,
}

/// One figure, day by day.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Figure {
    /// Its name for machines.
    pub name: String,
    /// Such as `%`.
    pub unit: Option<String>,
    /// Its name for people.
    pub title: String,
    /// The earliest first.
    pub values: Vec<FigureValue>,
}

/// What a figure was on a day.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct FigureValue {
    /// The day, such as `2020-11-22`.
    pub date: String,
    /// Finite.
    pub value: f64,
}

/// A piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Advice {
    /// In a few words.
    pub title: String,
    /// In full. A line feed begins a new paragraph.
    pub text: String,
}

impl Bulletin {
    pub(crate) fn in_language(kept: &KeptBulletin, language: &str, app_version: &str) -> Self {
        let bulletin = &kept.bulletin;
        let figures = bulletin.figures.iter().map(|figure| Figure {
            name: figure.name.clone(),
            unit: figure.unit.clone(),
            title: in_language(&figure.title, language).map_or_else(String::new, |(_, title)| title.clone()),
            values: figure.values.iter().map(|value| FigureValue { date: value.date.to_string(), value: value.value }).collect(),
        });
        let advice = in_language(&bulletin.advice, language).map_or(&[][..], |(_, advice)| advice);
        Self {
            serial: bulletin.serial,
            region: bulletin.region.clone(),
            issued_at: bulletin.issued_at.into(),
            seen_at: kept.seen_at.into(),
            figures: figures.collect(),
            advice: advice.iter().map(|advice| Advice { title: advice.title.clone(), text: advice.text.clone() }).collect(),
            wants_newer_app: bulletin.wants_newer_than(app_version),
        }
    }
}
