//! What the operator sets.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::files::Bucket;
use crate::group::MAX_GROUP;
use crate::http::WrongCodes;
use crate::rules::Policy;
use crate::waitlist::{MailConfig, Role};
use vigie::courier::waitlist::FormRules;

/// 64,000 bytes over the slowest telephone network.
const SENDER_TIME: Duration = Duration::from_secs(30);

/// Which of several processes on one address this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// 0 for the first, which alone serves admins, publishes and opens sign-ups.
    pub number: u16,
    /// How many there are.
    pub of: NonZeroU16,
}

impl Share {
    /// The only process.
    pub const WHOLE: Self = Self { number: 0, of: NonZeroU16::MIN };

    /// Whether this is the only process.
    pub fn is_whole(self) -> bool {
        self.of == NonZeroU16::MIN
    }

    /// Whether what is done once is done here.
    pub fn is_first(self) -> bool {
        self.number == 0
    }
}
/// A year.
pub const WAITLIST_RETENTION_DAYS: u32 = 365;

/// People look at their telephones for their confirmation.
const WAITLIST_ROUND: Duration = Duration::from_secs(1);

/// What the operator sets.
#[derive(Debug, Clone)]
pub struct Config {
    /// Secrets, database and published files, and `client.json`.
    pub data: PathBuf,
    /// Where apps call.
    pub listen: SocketAddr,
    /// Where the health authority's own systems call.
    pub admin_listen: SocketAddr,
    /// How apps reach `listen`, without a slash at its end; `http://LISTEN` where nothing is said.
    pub public_url: Option<String>,
    /// How apps reach the published files, without a slash at its end; `public_url` where nothing is said.
    pub files_url: Option<String>,
    /// PostgreSQL in place of SQLite.
    pub database: Option<String>,
    /// A bucket in place of a folder.
    pub bucket: Option<Bucket>,
    /// Who may say for whom a request comes.
    pub trusted_proxies: Vec<IpNet>,
    /// Limits on guessing.
    pub wrong_codes: WrongCodes,
    /// How long a sender may take for the head of a request, and for its body.
    pub sender_time: Duration,
    /// Calls in one transaction at most. 1 is for measuring what groups are good for.
    pub group_size: NonZeroUsize,
    /// Which of several processes this is.
    pub share: Share,
    /// What this process does for the waiting list.
    pub role: Role,
    /// What the waiting list asks for.
    pub form: FormRules,
    /// How mails are sent.
    pub mail: MailConfig,
    /// Sign-ups that are older are erased, in days.
    pub waitlist_retention_days: u32,
    /// How long opening and mails rest when nothing waits.
    pub waitlist_round: Duration,
    /// The rules' settings.
    pub policy: Policy,
}

impl Config {
    /// Everything in this folder, and everything else as it is without any option.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            public_url: None,
            files_url: None,
            database: None,
            bucket: None,
            trusted_proxies: Vec::new(),
            wrong_codes: WrongCodes::default(),
            sender_time: SENDER_TIME,
            group_size: MAX_GROUP,
            share: Share::WHOLE,
            role: Role::default(),
            form: FormRules::default(),
            mail: MailConfig::default(),
            waitlist_retention_days: WAITLIST_RETENTION_DAYS,
            waitlist_round: WAITLIST_ROUND,
            policy: Policy::default(),
        }
    }
}
