//! What an address gave, kept beside the store: `store.db-servers.json` beside `store.db`. It is read when the address gives nothing, and by what uses
//! no network.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vigie::courier::MAX_SERVERS_FILE;

use super::{Address, Known, transport};
use crate::files::{self, Access};

/// JSON as a text in JSON may be twice as long.
const MAX_FILE: u64 = 3 * MAX_SERVERS_FILE as u64;

/// What an address gave.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    address: String,
    client_json: String,
}

impl Kept {
    pub(crate) fn is_of(&self, address: &Address) -> bool {
        self.address == address.to_string()
    }

    /// The servers, ready to be connected.
    pub(crate) fn known(self) -> anyhow::Result<Known> {
        Known::named(self.address, self.client_json.into_bytes(), transport()?)
    }
}

/// What was kept last for a store. A file that cannot be read is as good as none: the address gives it anew.
pub(crate) fn kept(store: &Path) -> Option<Kept> {
    let bytes = files::read(&path(store), MAX_FILE).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(super) fn keep(known: &Known, store: &Path) -> anyhow::Result<()> {
    let kept = Kept { address: known.address.clone(), client_json: String::from_utf8(known.json.clone())? };
    files::write(&path(store), &serde_json::to_vec(&kept)?, Access::Owner, true)
}

fn path(store: &Path) -> PathBuf {
    let mut name: OsString = store.as_os_str().to_owned();
    name.push("-servers.json");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = r#"{"verification_url":"https://a","api_key":"k","publish_url":"https://b","health_authority_id":"h",
        "key_lists":[],"public_keys":[]}"#;

    #[test]
    fn what_an_address_gave_is_there_for_it_alone_and_a_damaged_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.db");
        assert!(kept(&store).is_none());
        let address: Address = "https://keys.example".parse().unwrap();
        keep(&Known::new(&address, CLIENT.as_bytes(), transport().unwrap()).unwrap(), &store).unwrap();
        let found = kept(&store).unwrap();
        assert!(found.is_of(&address) && !found.is_of(&"https://other.example".parse().unwrap()));
        assert_eq!(found.known().unwrap().json, CLIENT.as_bytes());
        std::fs::write(path(&store), "{}").unwrap();
        assert!(kept(&store).is_none());
    }
}
