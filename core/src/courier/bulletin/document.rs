//! What stands in a bulletin, and what may.
//!
//! Members that are not known are passed over, so that a newer bulletin reaches older apps. Everything else is bounded: a list that is too long or a
//! figure that is no number refuses the whole.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::BulletinError;
use crate::beacon::ServiceUuid;
use crate::courier::servers::{AuthorityKey, ServerKey};
use crate::courier::waitlist::{ReceiptKey, SealingKey};
use crate::diagnosis::PublicKey;
use crate::exposure::ExposureConfiguration;
use crate::time::{Date, Timestamp};

/// The longest bulletin, in bytes with its signature.
pub const MAX_BULLETIN: usize = 65_536;

/// The highest serial: what every JSON parser reads exactly.
pub const MAX_SERIAL: u64 = (1 << 53) - 1;

/// The least and the most time between two polls of the key lists, in seconds. More often costs servers and batteries; less often delays warnings.
pub const MIN_POLL_PERIOD_S: u64 = 3_600;
/// See [`MIN_POLL_PERIOD_S`].
pub const MAX_POLL_PERIOD_S: u64 = 86_400;

/// How far ahead of this device's clock a bulletin may have been made: for a clock that is wrong by less.
const TOLERANCE: Duration = Duration::from_secs(86_400);

const MAX_FIGURES: usize = 32;
/// More than a year of days.
const MAX_VALUES: usize = 400;
const MAX_LANGUAGES: usize = 64;
const MAX_ADVICE: usize = 32;
const MAX_KEYS: usize = 4;

/// Characters.
const MAX_NAME: usize = 64;
const MAX_TITLE: usize = 200;
const MAX_TEXT: usize = 4_000;

/// 16-bit UUIDs that are given to members of the Bluetooth SIG; others have a meaning of their own.
const MEMBER_UUIDS: std::ops::RangeInclusive<u16> = 0xFC00..=0xFEFF;

/// A bulletin. `Deserialize` alone checks no bounds: [`Bulletin::from_json`] does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bulletin {
    /// Higher with each bulletin, 1 to [`MAX_SERIAL`].
    pub serial: u64,
    /// For whom it is.
    pub region: String,
    /// When it was made.
    #[serde(with = "as_text")]
    pub issued_at: Timestamp,
    /// Figures by day.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// Advice by language (BCP 47); [`in_language`] finds the best.
    #[serde(default)]
    pub advice: BTreeMap<String, Vec<Advice>>,
    /// What the app does otherwise than built in.
    #[serde(default)]
    pub configuration: Configuration,
    /// Keys beside those that are built in.
    #[serde(default)]
    pub keys: AuthorityKeys,
}

/// One figure, day by day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Figure {
    /// Its name for machines.
    pub name: String,
    /// Such as `%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its name for people by language; at least one.
    pub title: BTreeMap<String, String>,
    /// The earliest first.
    pub values: Vec<Value>,
}

/// What a figure was on a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Value {
    /// The day (UTC).
    #[serde(with = "as_day")]
    pub date: Date,
    /// Finite.
    pub value: f64,
}

/// A piece of advice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Advice {
    /// In a few words.
    pub title: String,
    /// In full. A line feed begins a new paragraph.
    pub text: String,
}

/// What the app does otherwise than built in. What is left out is as built in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Configuration {
    /// How exposures are weighed. Members of it that are left out are this library's defaults, not the app's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<ExposureConfiguration>,
    /// Seconds between two polls of the key lists, [`MIN_POLL_PERIOD_S`] to [`MAX_POLL_PERIOD_S`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_period_s: Option<u64>,
    /// Under which service is sent; the one before is heard for 14 more days.
    #[serde(default, with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub service_uuid: Option<ServiceUuid>,
    /// Older apps than this tell their users that there is a newer one, and go on as before.
    #[serde(default, with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub minimum_version: Option<Version>,
}

/// Keys beside those that are built in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthorityKeys {
    /// X25519: forms of the waiting list are sealed to the first of them, in place of the one that is built in.
    #[serde(default)]
    pub waiting_list: Vec<AuthorityKey>,
    /// Ed25519: vouch for receipts of the waiting list.
    #[serde(default)]
    pub receipts: Vec<AuthorityKey>,
    /// P-256: vouch for key files.
    #[serde(default)]
    pub exports: Vec<ServerKey>,
}

impl Bulletin {
    /// Reads and checks a document that was verified, or is about to be signed.
    ///
    /// # Errors
    /// [`BulletinError`]: too long, unreadable or implausible.
    pub fn from_json(json: &[u8]) -> Result<Self, BulletinError> {
        if json.len() > MAX_BULLETIN {
            return Err(BulletinError::TooLong { limit: MAX_BULLETIN });
        }
        let bulletin: Self =
            serde_json::from_slice(json).map_err(|error| BulletinError::Unreadable { reason: error.to_string() })?;
        bulletin.check()?;
        Ok(bulletin)
    }

    /// Whether it can be true at this time.
    ///
    /// # Errors
    /// [`BulletinError::FromTheFuture`] where it was made more than a day after `now`, or a figure is of tomorrow or later.
    pub fn check_time(&self, now: Timestamp) -> Result<(), BulletinError> {
        if self.issued_at > now.after(TOLERANCE) {
            return Err(BulletinError::FromTheFuture { member: "issued_at", at: self.issued_at });
        }
        let last = self.figures.iter().filter_map(|figure| figure.values.last()).map(|value| value.date).max();
        match last.filter(|date| *date > now.date()) {
            Some(date) => Err(BulletinError::FromTheFuture { member: "figures", at: date.first_interval().start() }),
            None => Ok(()),
        }
    }

    /// Whether an app of this version is older than the bulletin wants apps to be. A version that cannot be read is.
    pub fn wants_newer_than(&self, version: &str) -> bool {
        let minimum = self.configuration.minimum_version;
        minimum.is_some_and(|minimum| version.parse().map_or(true, |version: Version| version < minimum))
    }

    /// The keys that vouch for key files, beside those that are built in.
    pub fn export_keys(&self) -> Vec<PublicKey> {
        // `check` has read each of them.
        self.keys.exports.iter().filter_map(|key| key.pem.parse().ok()).collect()
    }

    fn check(&self) -> Result<(), BulletinError> {
        if !(1..=MAX_SERIAL).contains(&self.serial) {
            return implausible("serial", format!("is {}, allowed is 1 to {MAX_SERIAL}", self.serial));
        }
        name("region", &self.region)?;
        at_most("figures", self.figures.len(), MAX_FIGURES)?;
        self.figures.iter().try_for_each(Figure::check)?;
        languages("advice", &self.advice)?;
        for advice in self.advice.values() {
            at_most("advice", advice.len(), MAX_ADVICE)?;
            for Advice { title, text } in advice {
                line("advice.title", title, MAX_TITLE)?;
                paragraphs("advice.text", text)?;
            }
        }
        self.configuration.check()?;
        self.keys.check()
    }
}

impl Figure {
    fn check(&self) -> Result<(), BulletinError> {
        name("figures.name", &self.name)?;
        self.unit.iter().try_for_each(|unit| line("figures.unit", unit, MAX_NAME))?;
        languages("figures.title", &self.title)?;
        if self.title.is_empty() {
            return implausible("figures.title", "is missing".into());
        }
        self.title.values().try_for_each(|title| line("figures.title", title, MAX_TITLE))?;
        at_most("figures.values", self.values.len(), MAX_VALUES)?;
        if self.values.windows(2).any(|pair| pair[0].date >= pair[1].date) {
            return implausible(
                "figures.values",
                format!("of {} are not in the order of their days, or have one twice", self.name),
            );
        }
        if self.values.iter().any(|value| !value.value.is_finite()) {
            return implausible("figures.values", format!("of {} are not all numbers", self.name));
        }
        Ok(())
    }
}

impl Configuration {
    /// The time between two polls of the key lists, where it says one.
    pub fn poll_period(&self) -> Option<Duration> {
        self.poll_period_s.map(Duration::from_secs)
    }

    fn check(&self) -> Result<(), BulletinError> {
        if let Some(found) = self.poll_period_s.filter(|found| !(MIN_POLL_PERIOD_S..=MAX_POLL_PERIOD_S).contains(found)) {
            return implausible(
                "configuration.poll_period_s",
                format!("is {found}, allowed is {MIN_POLL_PERIOD_S} to {MAX_POLL_PERIOD_S}"),
            );
        }
        // Systems keep the one of Exposure Notification for themselves: an app that sent under it would be silent.
        let is_usable = |uuid: ServiceUuid| MEMBER_UUIDS.contains(&uuid.0) && uuid != ServiceUuid::EXPOSURE_NOTIFICATION;
        match self.service_uuid.filter(|uuid| !is_usable(*uuid)) {
            Some(uuid) => implausible("configuration.service_uuid", format!("is {uuid}, under which no app may send")),
            None => Ok(()),
        }
    }
}

impl AuthorityKeys {
    fn check(&self) -> Result<(), BulletinError> {
        let is_sealing_key = |key: &AuthorityKey| SealingKey::new(&key.key_id, &key.public_key).is_ok();
        authority_keys("keys.waiting_list", &self.waiting_list, is_sealing_key)?;
        authority_keys("keys.receipts", &self.receipts, |key| ReceiptKey::new(&key.public_key).is_ok())?;
        at_most("keys.exports", self.exports.len(), MAX_KEYS)?;
        for key in &self.exports {
            name("keys.exports", &key.key_id)?;
            name("keys.exports", &key.key_version)?;
            if let Err(error) = key.pem.parse::<PublicKey>() {
                return implausible("keys.exports", format!("has `{}`: {error}", key.key_id));
            }
        }
        Ok(())
    }
}

fn authority_keys(
    member: &'static str,
    keys: &[AuthorityKey],
    is_one: impl Fn(&AuthorityKey) -> bool,
) -> Result<(), BulletinError> {
    at_most(member, keys.len(), MAX_KEYS)?;
    keys.iter().try_for_each(|key| name(member, &key.key_id))?;
    match keys.iter().find(|key| !is_one(key)) {
        Some(key) => implausible(member, format!("has `{}`, which is no key of 32 bytes as base64", key.key_id)),
        None => Ok(()),
    }
}

/// The best of what there is by language (RFC 4647, lookup): `de-AT` finds `de`, `pt` finds `pt-BR`. Who reads none of the languages gets English, or
/// the first there is.
pub fn in_language<'a, T>(texts: &'a BTreeMap<String, T>, language: &str) -> Option<(&'a str, &'a T)> {
    let found = |wanted: &str| texts.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(wanted));
    let mut wanted = language;
    let exact = loop {
        match (found(wanted), wanted.rfind('-')) {
            (Some(found), _) => break Some(found),
            (None, Some(at)) => wanted = &wanted[..at],
            (None, None) => break None,
        }
    };
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let related = || texts.iter().find(|(tag, _)| primary(tag) == primary(language));
    let best = exact.or_else(related).or_else(|| found("en")).or_else(|| texts.iter().next());
    best.map(|(tag, text)| (tag.as_str(), text))
}

/// A version of an app: three numbers with points between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 3]);

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers such as 1.20.3")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let mut parts = text.split('.').map(|part| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| is_number).ok_or(VersionError)
        });
        let mut next = || parts.next().ok_or(VersionError)?;
        let version = Self([next()?, next()?, next()?]);
        if parts.next().is_some() { Err(VersionError) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

fn implausible<T>(member: &'static str, reason: String) -> Result<T, BulletinError> {
    Err(BulletinError::Implausible { member, reason })
}

fn at_most(member: &'static str, found: usize, limit: usize) -> Result<(), BulletinError> {
    if found <= limit { Ok(()) } else { implausible(member, format!("has {found} entries, allowed are {limit}")) }
}

/// A name for machines.
fn name(member: &'static str, text: &str) -> Result<(), BulletinError> {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name && (1..=MAX_NAME).contains(&text.len()) {
        return Ok(());
    }
    implausible(member, format!("has a name that is not 1 to {MAX_NAME} letters, digits or -_."))
}

fn line(member: &'static str, text: &str, limit: usize) -> Result<(), BulletinError> {
    if text.is_empty() || text.chars().count() > limit || text.chars().any(char::is_control) {
        return implausible(member, format!("is not one line of 1 to {limit} characters"));
    }
    Ok(())
}

fn paragraphs(member: &'static str, text: &str) -> Result<(), BulletinError> {
    if text.chars().count() > MAX_TEXT || text.chars().any(|c| c.is_control() && c != '\n') {
        return implausible(member, format!("has more than {MAX_TEXT} characters, or some that cannot be shown"));
    }
    Ok(())
}

fn languages<T>(member: &'static str, texts: &BTreeMap<String, T>) -> Result<(), BulletinError> {
    at_most(member, texts.len(), MAX_LANGUAGES)?;
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_tag =
        |tag: &&String| tag.starts_with(|c: char| c.is_ascii_alphabetic()) && tag.split('-').all(is_part) && tag.len() <= 35;
    if texts.keys().all(|tag| is_tag(&tag)) {
        return Ok(());
    }
    implausible(member, "has a language that is no BCP 47 tag such as fr or pt-BR".into())
}

/// A value that is written as a text.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'a, T: FromStr<Err: Display>, D: Deserializer<'a>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The same of what may be missing.
mod as_optional_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(serializer)
    }

    pub(super) fn deserialize<'a, T: FromStr<Err: Display>, D: Deserializer<'a>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// A day as `YYYY-MM-DD`.
mod as_day {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::{Date, Timestamp};

    pub(super) fn serialize<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(date)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Date, D::Error> {
        let text = String::deserialize(deserializer)?;
        let date = format!("{text}T00:00:00Z").parse::<Timestamp>().map(Timestamp::date).ok();
        // Longer and shorter forms that are days, too, are refused.
        date.filter(|date| date.to_string() == text).ok_or_else(|| D::Error::custom("a day is written YYYY-MM-DD"))
    }
}
