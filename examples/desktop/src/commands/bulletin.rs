//! What is shown of a bulletin, in one language: by `vigie news`, and in the view of `vigie run`.

use serde::Serialize;
use vigie::courier::bulletin::{KeptBulletin, in_language};
use vigie::time::Timestamp;

use super::standing::second;
use crate::output::shown;

/// Characters of a line and of a text that are shown; a bulletin has no more.
const LONGEST_LINE: usize = 200;
const LONGEST_TEXT: usize = 4_000;

/// The steps of a sparkline.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bulletin in a language.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sheet {
    pub(super) serial: u64,
    pub(super) region: String,
    #[serde(serialize_with = "as_second")]
    pub(super) issued_at: Timestamp,
    /// When its server last said that it is the latest.
    #[serde(serialize_with = "as_second")]
    pub(super) seen_at: Timestamp,
    /// The language of the advice; `None` where there is none.
    pub(super) language: Option<String>,
    pub(super) figures: Vec<Curve>,
    pub(super) advice: Vec<Piece>,
    /// Whether it wants this program to be a newer one. A notice: nothing else follows.
    pub(super) wants_newer_program: bool,
}

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) unit: Option<String>,
    pub(super) values: Vec<Day>,
}

/// A figure's value on a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Day {
    pub(super) date: String,
    pub(super) value: f64,
}

/// A piece of advice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Piece {
    pub(super) title: String,
    pub(super) paragraphs: Vec<String>,
}

impl Sheet {
    pub(super) fn of(kept: &KeptBulletin, language: &str) -> Self {
        let bulletin = &kept.bulletin;
        let line = |text: &str| shown(text, LONGEST_LINE);
        let figures = bulletin.figures.iter().map(|figure| Curve {
            name: line(&figure.name),
            title: in_language(&figure.title, language).map_or_else(|| line(&figure.name), |(_, title)| line(title)),
            unit: figure.unit.as_deref().map(line),
            values: figure.values.iter().map(|day| Day { date: day.date.to_string(), value: day.value }).collect(),
        });
        let advice = in_language(&bulletin.advice, language);
        let paragraphs =
            |text: &str| text.lines().filter(|line| !line.is_empty()).map(|line| shown(line, LONGEST_TEXT)).collect();
        let pieces = advice.iter().flat_map(|(_, pieces)| pieces.iter());
        Self {
            serial: bulletin.serial,
            region: line(&bulletin.region),
            issued_at: bulletin.issued_at,
            seen_at: kept.seen_at,
            language: advice.map(|(tag, _)| line(tag)),
            figures: figures.collect(),
            advice: pieces.map(|piece| Piece { title: line(&piece.title), paragraphs: paragraphs(&piece.text) }).collect(),
            wants_newer_program: bulletin.wants_newer_than(env!("CARGO_PKG_VERSION")),
        }
    }
}

impl Curve {
    /// `New cases: 512 people on 2020-11-10`.
    pub(super) fn latest(&self) -> String {
        let unit = self.unit.as_ref().map_or_else(String::new, |unit| format!(" {unit}"));
        match self.values.last() {
            Some(Day { date, value }) => format!("{}: {value}{unit} on {date}", self.title),
            None => format!("{}: no value", self.title),
        }
    }

    /// The latest values, at most so many, each as a step from 1 to 8 between the least and the most of them.
    pub(super) fn steps(&self, columns: usize) -> Vec<u64> {
        let values = &self.values[self.values.len().saturating_sub(columns)..];
        let least = values.iter().map(|day| day.value).fold(f64::INFINITY, f64::min);
        let most = values.iter().map(|day| day.value).fold(f64::NEG_INFINITY, f64::max);
        // Halves, because the difference of two large values may be no number.
        let span = most / 2.0 - least / 2.0;
        let step = |value: f64| if span > 0.0 { ((value / 2.0 - least / 2.0) / span * 7.0).round() as u64 + 1 } else { 1 };
        values.iter().map(|day| step(day.value)).collect()
    }

    /// The same as blocks.
    pub(super) fn sparkline(&self, columns: usize) -> String {
        let block = |step: u64| STEPS.get(step.saturating_sub(1) as usize).copied().unwrap_or('█');
        self.steps(columns).into_iter().map(block).collect()
    }
}

/// `12 min`, in the unit that says enough.
pub(super) fn span(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// The language of the user, as the system's settings name it: `de_AT.UTF-8` is `de-AT`.
pub(super) fn users_language() -> String {
    language_of(["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| std::env::var(name).ok()))
}

fn language_of(settings: impl IntoIterator<Item = String>) -> String {
    let named = settings.into_iter().find(|setting| !setting.is_empty()).unwrap_or_default();
    let tag = named.split(['.', '@']).next().unwrap_or_default().replace('_', "-");
    if matches!(tag.as_str(), "C" | "POSIX" | "") { "en".to_owned() } else { tag }
}

fn as_second<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&second(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        let day = |value: &f64| Day { date: "2020-11-10".into(), value: *value };
        Curve { name: "cases".into(), title: "Cases".into(), unit: Some("%".into()), values: values.iter().map(day).collect() }
    }

    #[test]
    fn a_sparkline_goes_from_the_least_to_the_most_of_what_is_shown() {
        assert_eq!(curve(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).sparkline(80), "▁▂▃▄▅▆▇█");
        assert_eq!(curve(&[900.0, -1.0, 0.0, 1.0]).sparkline(3), "▁▅█", "the latest values");
        assert_eq!(curve(&[5.0, 5.0]).sparkline(80), "▁▁");
        assert_eq!(curve(&[f64::MIN, f64::MAX]).sparkline(80), "▁█");
        assert_eq!(curve(&[]).sparkline(80), "");
        assert_eq!(curve(&[1.5]).latest(), "Cases: 1.5 % on 2020-11-10");
        assert_eq!(curve(&[]).latest(), "Cases: no value");
    }

    #[test]
    fn the_users_language_is_that_of_the_system() {
        let of = |settings: &[&str]| language_of(settings.iter().map(|setting| (*setting).to_owned()));
        assert_eq!(of(&["", "de_AT.UTF-8", "fr_FR"]), "de-AT");
        assert_eq!(of(&["sr_RS@latin"]), "sr-RS");
        assert_eq!((of(&["C.UTF-8"]), of(&[])), ("en".to_owned(), "en".to_owned()));
    }
}
