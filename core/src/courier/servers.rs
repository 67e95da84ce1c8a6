//! Which servers an app talks to: the file that a health authority gives to its app, and that our reference backend writes as `client.json`.

use serde::{Deserialize, Serialize};

use super::bulletin::{AuthorityKeys, BulletinKey};
use super::waitlist::{FormRules, ReceiptError, ReceiptKey, SealError, SealingKey};
use crate::diagnosis::{ExportError, PublicKey};

/// The longest file that is read, in bytes.
pub const MAX_SERVERS_FILE: usize = 65_536;

/// The most keys of bulletins: the one that signs, and its successor.
const MAX_BULLETIN_KEYS: usize = 2;

/// The most key lists: one for each country that a person may visit.
const MAX_LISTS: usize = 100;

/// Why the description of the servers was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServersError {
    /// Longer than any sensible one.
    #[error("{found} bytes of servers are more than the limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It is no JSON, or a member is missing or of another kind.
    #[error("the description of the servers cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Not an address that may be used.
    #[error("`{member}` must begin with https://, or with http:// on this machine itself")]
    Address {
        /// The member that holds it.
        member: &'static str,
    },
    /// Too many lists.
    #[error("{found} key lists are more than the limit of {limit}")]
    Lists {
        /// Lists found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// No keys of bulletins, or too many.
    #[error("{found} keys of bulletins; there has to be one, and there may be its successor")]
    BulletinKeys {
        /// Keys found.
        found: usize,
    },
    /// One of the public keys is none.
    #[error("a public key of the servers: {0}")]
    PublicKey(#[from] ExportError),
    /// The key that forms are sealed to is none.
    #[error("the waiting list: {0}")]
    SealingKey(#[from] SealError),
    /// A key that vouches for receipts is none, or there is not one.
    #[error("the waiting list: {0}")]
    ReceiptKey(#[from] ReceiptError),
}

/// The servers of one health authority, and the key lists of those whose countries matter.
#[derive(Debug, Clone, Deserialize)]
pub struct Servers {
    /// The verification server, without a slash at its end.
    pub verification_url: String,
    /// What tells the verification server which app is asking. No secret: every phone holds it.
    pub api_key: String,
    /// Where keys are published.
    pub publish_url: String,
    /// The health authority behind the certificates.
    pub health_authority_id: String,
    /// Where key files are listed.
    pub key_lists: Vec<KeyList>,
    /// Keys that vouch for key files.
    pub public_keys: Vec<ServerKey>,
    /// The mean time between two decoys of a device, in seconds: a day unless said otherwise, an hour to 30 days.
    #[serde(default = "default_decoy_mean")]
    pub decoy_mean_s: u64,
    /// The waiting list, where the authority has one.
    #[serde(default)]
    pub waitlist: Option<WaitlistServer>,
    /// Where the bulletin is; `None` where there is none.
    #[serde(default)]
    pub bulletin: Option<BulletinServer>,
}

fn default_decoy_mean() -> u64 {
    86_400
}

/// An index of key files.
#[derive(Debug, Clone, Deserialize)]
pub struct KeyList {
    /// The index: a text with one path a line.
    pub index_url: String,
    /// What the paths are below, with or without a slash at its end.
    pub base_url: String,
}

/// Where the bulletin is, and who vouches for it.
#[derive(Debug, Clone, Deserialize)]
pub struct BulletinServer {
    /// Its address.
    pub url: String,
    /// For whom it has to be.
    pub region: String,
    /// The key that signs it, and its successor; 2 at most.
    pub keys: Vec<BulletinKey>,
}

/// A key of a server, as it signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerKey {
    /// Its name in signatures.
    pub key_id: String,
    /// Its version in signatures.
    pub key_version: String,
    /// The key, PEM.
    pub pem: String,
}

/// A waiting list.
#[derive(Debug, Clone, Deserialize)]
pub struct WaitlistServer {
    /// Its address, what the paths of the interface are below, with or without a slash at its end.
    pub url: String,
    /// The name of the key that forms are sealed to.
    pub key_id: String,
    /// That key, as [`SealingKey`] reads it.
    pub public_key: String,
    /// Keys that vouch for receipts: the present one, and those before it.
    pub receipt_keys: Vec<AuthorityKey>,
    /// What is asked for.
    #[serde(default)]
    pub form: FormRules,
}

/// A public key of 32 bytes, and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityKey {
    /// Its name.
    pub key_id: String,
    /// The key, base64.
    pub public_key: String,
}

impl WaitlistServer {
    /// The key that forms are sealed to.
    ///
    /// # Errors
    /// [`SealError::Key`]; [`Servers::from_json`] has looked at that.
    pub fn sealing_key(&self) -> Result<SealingKey, SealError> {
        SealingKey::new(&self.key_id, &self.public_key)
    }

    /// The keys that vouch for receipts, with their names.
    ///
    /// # Errors
    /// [`ReceiptError::Key`]; [`Servers::from_json`] has looked at that.
    pub fn receipt_keys(&self) -> Result<Vec<(&str, ReceiptKey)>, ReceiptError> {
        self.receipt_keys.iter().map(|key| Ok((key.key_id.as_str(), ReceiptKey::new(&key.public_key)?))).collect()
    }

    /// With the keys that a bulletin names.
    pub(super) fn with_keys(mut self, keys: &AuthorityKeys) -> Self {
        if let Some(AuthorityKey { key_id, public_key }) = keys.waiting_list.first().cloned() {
            (self.key_id, self.public_key) = (key_id, public_key);
        }
        self.receipt_keys.extend(keys.receipts.iter().cloned());
        self
    }

    fn check(&self) -> Result<(), ServersError> {
        check_address("waitlist.url", &self.url)?;
        self.sealing_key()?;
        // Without one no receipt could ever be believed.
        if self.receipt_keys()?.is_empty() { Err(ReceiptError::Key.into()) } else { Ok(()) }
    }
}

impl Servers {
    /// Reads what an authority or a backend wrote. Members that are not known are passed over.
    ///
    /// # Errors
    /// [`ServersError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ServersError> {
        if json.len() > MAX_SERVERS_FILE {
            return Err(ServersError::TooLong { found: json.len(), limit: MAX_SERVERS_FILE });
        }
        let mut servers: Self = serde_json::from_slice(json)?;
        servers.decoy_mean_s = servers.decoy_mean_s.clamp(3_600, 30 * 86_400);
        if servers.key_lists.len() > MAX_LISTS {
            return Err(ServersError::Lists { found: servers.key_lists.len(), limit: MAX_LISTS });
        }
        check_address("verification_url", &servers.verification_url)?;
        check_address("publish_url", &servers.publish_url)?;
        for list in &servers.key_lists {
            check_address("index_url", &list.index_url)?;
            check_address("base_url", &list.base_url)?;
        }
        if let Some(bulletin) = &servers.bulletin {
            check_address("bulletin.url", &bulletin.url)?;
            if !(1..=MAX_BULLETIN_KEYS).contains(&bulletin.keys.len()) {
                return Err(ServersError::BulletinKeys { found: bulletin.keys.len() });
            }
        }
        servers.authority_keys()?;
        servers.waitlist.as_ref().map_or(Ok(()), WaitlistServer::check)?;
        Ok(servers)
    }

    /// The keys that vouch for key files.
    ///
    /// # Errors
    /// [`ExportError`] where one is no key; [`from_json`](Self::from_json) has looked at that.
    pub fn authority_keys(&self) -> Result<Vec<PublicKey>, ExportError> {
        self.public_keys.iter().map(|key| key.pem.parse()).collect()
    }
}

/// In the open nobody could be sure of an answer, and everybody could see who reports.
fn check_address(member: &'static str, url: &str) -> Result<(), ServersError> {
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let name = host.map(|host| {
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name)
    });
    let is_here = matches!(name, Some("localhost" | "[::1]"))
        || name.is_some_and(|name| name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()));
    let is_https = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    let is_text = url.bytes().all(|byte| byte.is_ascii_graphic());
    if is_text && (is_here || is_https) { Ok(()) } else { Err(ServersError::Address { member }) }
}

/// Scheme, host and port of an address: what is paced together.
pub(super) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    url[start..].find('/').map_or(url, |slash| &url[..start + slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_on_this_machine() {
        for good in ["https://keys.example/v1", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:80/"] {
            assert!(check_address("url", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://",
            "http://keys.example",
            "http://127.0.0.1.evil.example",
            "http://localhost@evil.example",
            "ftp://x",
            "file:///etc",
            "https://a b",
            "http://127.0.0.1:80@evil.example/",
        ] {
            assert!(matches!(check_address("url", bad), Err(ServersError::Address { .. })), "{bad}");
        }
        assert_eq!(origin("https://a.example:4/b/c"), "https://a.example:4");
        assert_eq!(origin("https://a.example"), "https://a.example");
    }

    #[test]
    fn a_description_is_bounded_checked_and_may_have_more_than_we_know() {
        let json = |url: &str| {
            format!(
                r#"{{"verification_url":"{url}","api_key":"k","publish_url":"https://b/v1/publish","health_authority_id":"h","key_lists":[],"public_keys":[],"new":1}}"#
            )
        };
        assert_eq!(Servers::from_json(json("https://a").as_bytes()).unwrap().decoy_mean_s, 86_400);
        assert!(matches!(
            Servers::from_json(json("http://a").as_bytes()),
            Err(ServersError::Address { member: "verification_url" })
        ));
        assert!(matches!(Servers::from_json(&vec![b' '; MAX_SERVERS_FILE + 1]), Err(ServersError::TooLong { .. })));
        assert!(matches!(Servers::from_json(b"{}"), Err(ServersError::Json(_))));
    }

    #[test]
    fn a_waiting_list_is_there_or_not_and_its_address_and_keys_are_checked() {
        let key = "CSr7WZ5D5PrMHg2BRIFbgCmlpzKSnwf29rBCVSU+wE4=";
        let good = serde_json::json!({
            "url": "https://list.example", "key_id": "v1", "public_key": key,
            "receipt_keys": [{"key_id": "v1", "public_key": key}], "form": {"national_number": "luxembourg"},
        });
        let read = |waitlist: &serde_json::Value| {
            let json = serde_json::json!({
                "verification_url": "https://a", "api_key": "k", "publish_url": "https://b", "health_authority_id": "h",
                "key_lists": [], "public_keys": [], "waitlist": waitlist,
            });
            Servers::from_json(json.to_string().as_bytes())
        };
        assert!(read(&serde_json::Value::Null).unwrap().waitlist.is_none());
        let list = read(&good).unwrap().waitlist.unwrap();
        assert_eq!(list.form.national_number, crate::courier::waitlist::NumberFormat::Luxembourg);
        assert_eq!((list.sealing_key().unwrap().id(), list.receipt_keys().unwrap()[0].0), ("v1", "v1"));
        let with = |member: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed[member] = value;
            read(&changed)
        };
        assert!(matches!(with("url", "http://list.example".into()), Err(ServersError::Address { member: "waitlist.url" })));
        assert!(matches!(with("public_key", "AAAA".into()), Err(ServersError::SealingKey(_))));
        assert!(matches!(with("key_id", "".into()), Err(ServersError::SealingKey(_))));
        assert!(matches!(with("receipt_keys", serde_json::json!([])), Err(ServersError::ReceiptKey(_))));
        let wrong = serde_json::json!([{"key_id": "v1", "public_key": "!"}]);
        assert!(matches!(with("receipt_keys", wrong), Err(ServersError::ReceiptKey(_))));
    }
}
