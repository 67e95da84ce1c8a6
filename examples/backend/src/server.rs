//! The whole server: opened, started, and ended in order.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine};
use rand::rngs::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vigie::courier::waitlist::FormRules;
use vigie::time::Clock;

use crate::batches::{PublishError, Publisher};
use crate::config::{Config, Share};
use crate::database::{Database, Postgres, Sqlite};
use crate::files::{BULLETIN, Files, INDEX};
use crate::group::Group;
use crate::http::{self, App, Conflicts, Decoys, Limits, MAX_CONNECTIONS, Pages};
use crate::keys::Secrets;
use crate::metrics::Metrics;
use crate::rules;
use crate::waitlist::{Opener, Role, WaitlistKeys};

/// Connections that the system keeps until they are accepted: a crowd of a second. The system may have a lower limit of its own (net.core.somaxconn).
const BACKLOG: u32 = 16_384;

/// How often it is looked whether a batch is due, or another instance left something unfinished.
const ROUND: Duration = Duration::from_secs(30);

/// Everything that a command needs beside the network.
pub struct Opened {
    /// The secrets.
    pub secrets: Secrets,
    /// Keys of the waiting list.
    pub waitlist: WaitlistKeys,
    /// The database.
    pub database: Box<dyn Database>,
}

/// Opens secrets and database, and makes what is missing. A database that belongs to other secrets is refused.
///
/// # Errors
/// Where the folder or the database cannot be used.
pub fn open(config: &Config) -> anyhow::Result<Opened> {
    let data = &config.data;
    let secrets = Secrets::open(&data.join("keys"), &mut random()?)?;
    let waitlist = WaitlistKeys::open(data, config.role, &mut random()?)?;
    let mut database: Box<dyn Database> = match &config.database {
        Some(url) => Box::new(Postgres::connect(url).context("PostgreSQL cannot be used")?),
        None => {
            let path = data.join("backend.sqlite");
            Box::new(Sqlite::open(&path).with_context(|| format!("{} cannot be used", path.display()))?)
        }
    };
    let checked = database.run(|transaction| {
        rules::check_tables(transaction)?;
        rules::check_secrets(transaction, &secrets)
    });
    checked.context("the database cannot be used")?;
    Ok(Opened { secrets, waitlist, database })
}

/// Where published files lie.
///
/// # Errors
/// Where folder or bucket cannot be used.
pub fn open_files(config: &Config) -> anyhow::Result<Files> {
    let folder = config.data.join("public");
    match &config.bucket {
        Some(bucket) => Files::in_bucket(bucket).context("the bucket cannot be used"),
        None => Files::in_folder(&folder).with_context(|| format!("{} cannot be used", folder.display())),
    }
}

/// A source of randomness, seeded by the operating system.
///
/// # Errors
/// Where the operating system gives no random bytes.
pub fn random() -> anyhow::Result<ChaCha20Rng> {
    ChaCha20Rng::try_from_rng(&mut SysRng).context("the system gives no random numbers")
}

/// A running server.
pub struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    app: Arc<App>,
    opener: Option<Arc<Opener>>,
    end: watch::Sender<bool>,
    tasks: JoinSet<()>,
    writer: JoinHandle<()>,
}

impl Server {
    /// Starts it, and writes `client.json`.
    ///
    /// # Errors
    /// Where folder, database, files or addresses cannot be used.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let cannot = |address: SocketAddr| move || format!("{address} cannot be listened on");
        let share = config.share;
        let bind = |is_served: bool, address| {
            let listener = is_served.then(|| listen(address, share).with_context(cannot(address))).transpose()?;
            let bound = listener.as_ref().map_or(Ok(address), TcpListener::local_addr)?;
            anyhow::Ok((listener, bound))
        };
        let (public, public_address) = bind(config.role != Role::Open, config.listen)?;
        let (admin, admin_address) = bind(share.is_first(), config.admin_listen)?;
        // PostgreSQL's client blocks while it connects.
        let (config, opened) = tokio::task::spawn_blocking(move || open(&config).map(|opened| (config, opened))).await??;
        let files = open_files(&config)?;
        let client_json = client_json(&config, public_address, &opened)?;
        let path = config.data.join("client.json");
        write(&path, &client_json).with_context(|| format!("{} cannot be written", path.display()))?;

        let signer = Arc::clone(opened.waitlist.signer());
        let started = Group::start(opened.database, config.group_size, Arc::clone(&clock), signer);
        let (group, writer) = started.context("no thread can be started")?;
        let publisher = Publisher {
            group,
            files,
            secrets: Arc::new(opened.secrets),
            policy: Arc::new(config.policy.clone()),
            clock,
            turn: Arc::default(),
        };
        let is_secure = config.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
        let app = Arc::new(App {
            publisher,
            waitlist: opened.waitlist,
            pages: Pages::new(config.form, is_secure).context("the sign-up page cannot be made")?,
            metrics: Metrics::default(),
            limits: Limits::new(config.wrong_codes),
            conflicts: Conflicts::default(),
            decoys: Decoys::default(),
            trusted_proxies: config.trusted_proxies.clone(),
            sender_time: config.sender_time,
            client_json: client_json.into(),
            rng: Mutex::new(random()?),
        });
        let (end, ends) = watch::channel(false);
        let opener = match app.waitlist.opening {
            Some(_) if share.is_first() => Some(Arc::new(Opener::new(Arc::clone(&app), &config)?)),
            _ => None,
        };
        let tasks = tasks(&app, &config, opener.as_ref(), [public, admin], &ends);
        Ok(Self { public: public_address, admin: admin_address, app, opener, end, tasks, writer })
    }

    /// Where apps call.
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where the health authority's own systems call.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Publishes what is free, now.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_now(&self) -> Result<usize, PublishError> {
        self.app.publisher.round(true, self.app.rng()).await
    }

    /// What opens and confirms sign-ups, where this process does.
    pub fn opener(&self) -> Option<&Opener> {
        self.opener.as_deref()
    }

    /// Takes no more requests, answers those that are under way, and closes the database.
    pub async fn shutdown(mut self) {
        // Nobody listens where every task has ended by itself.
        let _ = self.end.send(true);
        while self.tasks.join_next().await.is_some() {}
        drop((self.app, self.opener));
        let writer = self.writer;
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
    }
}

/// All that goes on until the end: what listens, and what runs beside it.
fn tasks(
    app: &Arc<App>,
    config: &Config,
    opener: Option<&Arc<Opener>>,
    [public, admin]: [Option<TcpListener>; 2],
    ends: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let serve = |listener, router| http::serve(listener, router, MAX_CONNECTIONS, config.sender_time, ends.clone());
    if let Some(public) = public {
        let folder = config.data.join("public");
        let served = config.bucket.is_none().then_some(folder.as_path());
        tasks.spawn(serve(public, http::public_router(Arc::clone(app), served)));
    }
    if let Some(opener) = opener {
        Arc::clone(opener).spawn(&mut tasks, ends);
    }
    if let Some(admin) = admin {
        tasks.spawn(serve(admin, http::admin_router(Arc::clone(app))));
        tasks.spawn(rounds(Arc::clone(app), ends.clone()));
    }
    tasks
}

/// Listens. The system spreads connections over all processes of a share.
fn listen(address: SocketAddr, share: Share) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As TcpListener::bind does it: a server that is started again does not wait for connections that have ended.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(!share.is_whole())?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Publishes on schedule. What fails is tried again in the next round.
async fn rounds(app: Arc<App>, mut end: watch::Receiver<bool>) {
    loop {
        match app.publisher.round(false, app.rng()).await {
            Ok(0) => {}
            Ok(files) => {
                app.metrics.files.add(files as u64);
                tracing::info!(files, "published");
            }
            Err(error) => {
                app.metrics.failed_rounds.increment();
                tracing::error!(%error, "nothing can be published; the next round tries again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = end.wait_for(|end| *end) => return,
        }
    }
}

#[derive(Serialize)]
struct ClientJson<'a> {
    verification_url: &'a str,
    api_key: &'a str,
    publish_url: String,
    health_authority_id: &'a str,
    key_lists: [KeyList; 1],
    public_keys: Vec<PublicKey<'a>>,
    waitlist: Waitlist<'a>,
    bulletin: Bulletin<'a>,
}

#[derive(Serialize)]
struct Waitlist<'a> {
    url: &'a str,
    key_id: &'a str,
    public_key: String,
    receipt_keys: Vec<NamedKey<'a>>,
    form: FormRules,
}

#[derive(Serialize)]
struct Bulletin<'a> {
    url: String,
    region: &'a str,
    keys: Vec<NamedKey<'a>>,
}

#[derive(Serialize)]
struct NamedKey<'a> {
    key_id: &'a str,
    public_key: String,
}

#[derive(Serialize)]
struct KeyList {
    index_url: String,
    base_url: String,
}

#[derive(Serialize)]
struct PublicKey<'a> {
    key_id: &'a str,
    key_version: &'a str,
    pem: String,
}

/// What an app needs to know of this server, for `vigie --server`.
fn client_json(config: &Config, listen: SocketAddr, Opened { secrets, waitlist, .. }: &Opened) -> anyhow::Result<Vec<u8>> {
    let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{listen}"));
    let files_url = config.files_url.as_ref().unwrap_or(&public_url);
    let client = ClientJson {
        verification_url: &public_url,
        api_key: &secrets.api_key,
        publish_url: format!("{public_url}/v1/publish"),
        health_authority_id: &config.policy.health_authority_id,
        key_lists: [KeyList { index_url: format!("{files_url}/{INDEX}"), base_url: format!("{files_url}/") }],
        public_keys: secrets
            .exports
            .all()
            .map(|(version, key)| PublicKey {
                key_id: &config.policy.key_id,
                key_version: version,
                pem: pem(&key.public_key().to_string()),
            })
            .collect(),
        waitlist: Waitlist {
            url: &public_url,
            key_id: waitlist.sealing().id(),
            public_key: waitlist.sealing().to_text(),
            receipt_keys: waitlist
                .signers()
                .iter()
                .map(|signer| NamedKey { key_id: signer.id(), public_key: signer.public_text() })
                .collect(),
            form: config.form,
        },
        bulletin: Bulletin {
            url: format!("{files_url}/{BULLETIN}"),
            region: &config.policy.region,
            keys: secrets
                .bulletins
                .announced()
                .map(|(key_id, key)| NamedKey { key_id, public_key: BASE64_STANDARD.encode(key.public_key()) })
                .collect(),
        },
    };
    Ok(serde_json::to_vec_pretty(&client)?)
}

fn pem(base64: &str) -> String {
    let (mut lines, mut rest) = (String::new(), base64);
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        lines.push_str(line);
        lines.push('\n');
        rest = more;
    }
    format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".vigie-").tempfile_in(folder)?;
    fs::write(file.path(), content)?;
    file.persist(path).map(drop).map_err(|e| e.error)
}
