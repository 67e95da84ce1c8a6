//! The bulletin: checked by what apps check it with, signed, and written where the other published files lie.
//!
//! ```text
//! document (JSON) -> Bulletin::from_json, region, time, serial -> sign -> bulletin.txt
//! ```
//!
//! Nothing is kept of it but the published file itself: it holds the serial number that the next one has to exceed.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use vigie::courier::AuthorityKey;
use vigie::courier::bulletin::{Bulletin, BulletinKey, MAX_BULLETIN, verify};
use vigie::time::Timestamp;

use crate::files::{BULLETIN, Files};
use crate::keys::Secrets;

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its serial number.
    pub serial: u64,
    /// Members that no app knows: a slip of the pen, or of a later version.
    pub unknown: Vec<String>,
}

/// Reads a document; no more of a file than a bulletin can have.
///
/// # Errors
/// Where the file cannot be read.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("{} cannot be read", file.display());
    let mut document = Vec::new();
    let opened = File::open(file).with_context(cannot)?;
    opened.take(MAX_BULLETIN as u64 + 1).read_to_end(&mut document).with_context(cannot)?;
    Ok(document)
}

/// Whether what is sealed to the keys of a document can be opened: each `waiting_list` key lies in the folder `keys`, too, where the opener has put it.
/// A document that cannot be read is [`publish`]'s to refuse.
///
/// # Errors
/// Where one of them does not: forms of everybody who signs up would be rejected.
pub fn check_keys(document: &[u8], keys: &Path) -> anyhow::Result<()> {
    let named = Bulletin::from_json(document).map(|bulletin| bulletin.keys.waiting_list).unwrap_or_default();
    for AuthorityKey { key_id, public_key } in named {
        let file = keys.join(format!("waitlist-{key_id}.public"));
        let is_here = std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == public_key.trim());
        ensure!(
            is_here,
            "`keys.waiting_list` has `{key_id}`, which is not {}: forms that are sealed to it could not be opened",
            file.display()
        );
    }
    Ok(())
}

/// Checks, signs and publishes a document with its exact bytes.
///
/// # Errors
/// Where apps would refuse it, or the files fail; what was published before is still there.
pub async fn publish(
    document: &[u8],
    files: &Files,
    secrets: &Secrets,
    region: &str,
    now: Timestamp,
) -> anyhow::Result<Published> {
    let (key_id, signer) = secrets.bulletins.signing();
    let file = signer.sign(key_id, document).context("the bulletin cannot be signed")?;
    let keys: Vec<_> = secrets
        .bulletins
        .announced()
        .map(|(key_id, key)| BulletinKey { key_id: key_id.to_owned(), public_key: key.public_key() })
        .collect();
    let bulletin = verify(&file, &keys, region).context("apps would refuse this bulletin")?;
    bulletin.check_time(now).context("apps would refuse this bulletin")?;
    if let Some(before) = files.bulletin().await.context("the bulletin that is published cannot be read")? {
        let before = verify(&before, &keys, region)
            .with_context(|| format!("what is published as {BULLETIN} is none of this server; look at it, and move it away"))?
            .serial;
        ensure!(
            bulletin.serial > before,
            "the serial number is {}, and {before} is published: give it {} or more",
            bulletin.serial,
            before + 1
        );
    }
    let unknown = unknown_members(document, &bulletin)?;
    files.put_bulletin(file).await.context("the bulletin cannot be written")?;
    Ok(Published { serial: bulletin.serial, unknown })
}

/// What of a document is not in what was read of it, by path.
fn unknown_members(document: &[u8], bulletin: &Bulletin) -> anyhow::Result<Vec<String>> {
    let (given, read) = (serde_json::from_slice(document)?, serde_json::to_value(bulletin)?);
    let mut unknown = Vec::new();
    compare(&given, &read, "", &mut unknown);
    unknown.sort();
    Ok(unknown)
}

fn compare(given: &Value, read: &Value, path: &str, unknown: &mut Vec<String>) {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => {
            for (name, value) in given {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match read.get(name) {
                    Some(read) => compare(value, read, &path, unknown),
                    // What is left out when it is written is known.
                    None if value.is_null() => {}
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).for_each(|(given, read)| compare(given, read, path, unknown));
        }
        _ => {}
    }
}

/// A document to begin with: two weeks of a figure that is made up, advice in four languages, and nothing that changes what an app does.
///
/// # Errors
/// Where it could not be published itself, which the tests rule out.
pub fn example(region: &str, now: Timestamp) -> anyhow::Result<String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let days = (1..=14_u32).rev().map(|ago| {
        let date = now.before(DAY * ago).date().to_string();
        // A wave that comes and goes.
        let distance = i64::from(ago) - 6;
        json!({"date": date, "value": 520 - 6 * distance * distance})
    });
    let document = json!({
        "serial": 1,
        "region": region,
        "issued_at": Timestamp::from_unix_s(now.unix_s()).to_string(),
        "figures": [{
            "name": "new_cases",
            "title": {"de": "Neue Fälle", "en": "New cases", "fr": "Nouveaux cas", "pt": "Novos casos"},
            "values": days.collect::<Vec<_>>(),
        }],
        "advice": {
            "de": [{"title": "Lüften", "text": "Öffnen Sie jede Stunde für zehn Minuten die Fenster."}],
            "en": [{"title": "Air the room", "text": "Open the windows for ten minutes every hour."}],
            "fr": [{"title": "Aérer", "text": "Ouvrez les fenêtres dix minutes toutes les heures."}],
            "pt": [{"title": "Arejar", "text": "Abra as janelas dez minutos a cada hora."}],
        },
        "configuration": {"poll_period_s": 14_400, "minimum_version": "0.1.0"},
        "keys": {"waiting_list": [], "receipts": [], "exports": []},
    });
    let text = serde_json::to_string_pretty(&document)?;
    if let Err(error) = Bulletin::from_json(text.as_bytes()) {
        bail!("the example is no bulletin: {error}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_605_000_000);

    fn secrets() -> Secrets {
        Secrets::ephemeral(&mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    fn with(serial: u64, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut document: Value = serde_json::from_str(&example("LU", NOW).unwrap()).unwrap();
        document["serial"] = json!(serial);
        change(&mut document);
        document.to_string().into_bytes()
    }

    #[tokio::test]
    async fn the_example_is_published_with_its_exact_bytes_and_the_next_serial_has_to_be_higher() {
        let (secrets, folder) = (secrets(), tempfile::tempdir().unwrap());
        let files = Files::in_folder(folder.path()).unwrap();
        let document = example("LU", NOW).unwrap();
        let published = publish(document.as_bytes(), &files, &secrets, "LU", NOW).await.unwrap();
        assert_eq!(published, Published { serial: 1, unknown: Vec::new() });
        let file = std::fs::read(folder.path().join(BULLETIN)).unwrap();
        assert!(file.starts_with(b"v1 v1 ") && file.ends_with(document.as_bytes()));
        for serial in [0, 1] {
            let error = publish(&with(serial, |_| {}), &files, &secrets, "LU", NOW).await.unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(if serial == 0 { "`serial` is 0" } else { "give it 2 or more" }), "{text}");
        }
        assert_eq!(std::fs::read(folder.path().join(BULLETIN)).unwrap(), file, "what was refused has changed nothing");
        assert_eq!(publish(&with(2, |_| {}), &files, &secrets, "LU", NOW).await.unwrap().serial, 2);
    }

    #[tokio::test]
    async fn what_apps_would_refuse_is_not_published() {
        let (secrets, folder) = (secrets(), tempfile::tempdir().unwrap());
        let files = Files::in_folder(folder.path()).unwrap();
        for (document, part) in [
            (b"no json".to_vec(), "cannot be read"),
            (vec![b' '; MAX_BULLETIN + 1], "longer than"),
            (with(1, |document| document["region"] = json!("BE")), "for the region BE, not for LU"),
            (with(1, |document| document["issued_at"] = json!("2030-01-01T00:00:00Z")), "`issued_at` is of 2030"),
            (with(1, |document| document["configuration"]["poll_period_s"] = json!(1)), "allowed is 3600"),
        ] {
            let error = publish(&document, &files, &secrets, "LU", NOW).await.unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
        assert!(!folder.path().join(BULLETIN).exists());
        std::fs::write(folder.path().join(BULLETIN), "somebody's").unwrap();
        let error = publish(&with(1, |_| {}), &files, &secrets, "LU", NOW).await.unwrap_err();
        assert!(format!("{error:#}").contains("is none of this server"), "{error:#}");
    }

    #[tokio::test]
    async fn a_slip_of_the_pen_is_named() {
        let (secrets, folder) = (secrets(), tempfile::tempdir().unwrap());
        let files = Files::in_folder(folder.path()).unwrap();
        let document = with(1, |document| {
            document["configuration"]["exposure"] = json!({"high_risk_scores": 900.0, "low_risk_score": 60.0});
            document["advise"] = json!({});
            document["configuration"]["service_uuid"] = Value::Null;
        });
        let published = publish(&document, &files, &secrets, "LU", NOW).await.unwrap();
        assert_eq!(published.unknown, ["advise", "configuration.exposure.high_risk_scores"]);
    }
}
