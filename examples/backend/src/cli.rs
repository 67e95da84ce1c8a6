//! The command line: what can be asked of `vigie-backend`, and how it explains itself.

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use vigie::courier::waitlist::{FormRules, NumberFormat, OperationId, Presence};
use vigie::time::Date;
use vigie_backend::config::{Config, Share, WAITLIST_RETENTION_DAYS};
use vigie_backend::files::Bucket;
use vigie_backend::group::MAX_GROUP;
use vigie_backend::http::WrongCodes;
use vigie_backend::rules::{Policy, TestType};
use vigie_backend::waitlist::{MailConfig, Role};

const AFTER: &str = "\
Without a command it serves: everything that is missing is made in the folder at the first start.
TLS is the business of what stands before it; an nginx configuration is beside the source.

Exit codes: 0 ended in order, 2 not done (the reason is on stderr)";

/// The reference backend of Vigie: codes, certificates, reports and signed key files
///
/// One program in the place of a verification server and a key server, for the interface of deployed Exposure Notification servers (v1).
#[derive(Debug, Parser)]
#[command(name = "vigie-backend", version, after_help = AFTER, max_term_width = 100, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a new code, and nothing else
    Issue(IssueArgs),
    /// Publish the bulletin: figures, advice and configuration for all apps
    #[command(subcommand)]
    Bulletin(BulletinCommand),
    /// Erase all that says anything of a person on the waiting list, for good
    Forget(ForgetArgs),
    /// Show the numbers for which several addresses were given: at a terminal only, it names people
    Conflicts(ConflictsArgs),
}

/// What can be done with a bulletin.
#[derive(Debug, Subcommand)]
pub(crate) enum BulletinCommand {
    /// Check a document, sign it and publish it
    ///
    /// Its serial number has to be higher than that of the one before, and its region the --region of this server: apps refuse everything else. A
    /// server that runs need not be told.
    Publish {
        /// The document, JSON; `vigie-backend bulletin example` prints one
        file: PathBuf,
    },
    /// Print a document to begin with
    Example,
}

/// What is true for all commands.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The folder of secrets, database, published files and client.json
    #[arg(long, value_name = "DIR", default_value = "vigie-data", global = true)]
    data: PathBuf,

    /// Where apps call
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", global = true)]
    listen: SocketAddr,

    /// Where the health authority's own systems call: /api/issue, /api/publish-now and /metrics, with the token in keys/admin-token
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081", global = true)]
    admin_listen: SocketAddr,

    /// How apps reach this server, without a slash at the end [default: http://LISTEN]
    #[arg(long, value_name = "URL", global = true)]
    public_url: Option<String>,

    /// How apps reach the published files, without a slash at the end [default: the public URL]
    #[arg(long, value_name = "URL", global = true)]
    files_url: Option<String>,

    /// PostgreSQL in place of SQLite, such as postgres://user@host/name. The connection is not encrypted
    #[arg(long, value_name = "URL", env = "VIGIE_BACKEND_DATABASE", hide_env_values = true, global = true)]
    database: Option<String>,

    /// A bucket that speaks S3 in place of the folder; keys and region come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION
    #[arg(long, value_name = "NAME", requires = "files_url", global = true)]
    bucket: Option<String>,

    /// The bucket's server, where it is not Amazon's
    #[arg(long, value_name = "URL", requires = "bucket", global = true)]
    bucket_endpoint: Option<String>,

    /// A proxy whose word counts for whom it asks (Forwarded), as an address or a network. Can be given more than once
    #[arg(long, value_name = "NETWORK", value_parser = parse_network, global = true)]
    trusted_proxy: Vec<IpNet>,

    /// Give out and take codes of 8 digits, too: good for an hour, and closed to everybody while too many wrong ones come in
    #[arg(long, global = true)]
    short: bool,

    /// Wrong codes that an address may send in an hour
    #[arg(long, value_name = "N", default_value = "10", global = true)]
    wrong_codes: NonZeroU32,

    /// The health authority's id, as reports name it
    #[arg(long, value_name = "TEXT", default_value = "org.example", global = true)]
    health_authority: String,

    /// The region in key files
    #[arg(long, value_name = "TEXT", default_value = "ZZ", global = true)]
    region: String,

    /// The signing key's owner in key files, by custom a mobile country code
    #[arg(long, value_name = "TEXT", default_value = "999", global = true)]
    key_id: String,

    /// Seconds between two batches of key files
    #[arg(long, value_name = "SECONDS", default_value = "7200", global = true)]
    batch_period: u32,

    /// Fewest keys in a batch; made-up ones are added
    #[arg(long, value_name = "N", default_value = "500", global = true)]
    minimum_keys: u32,

    /// What to do for the waiting list: `receive` takes sign-ups in and cannot read them, `open` opens and confirms them and serves no app
    #[arg(long, value_enum, default_value_t = RoleName::Both, global = true)]
    role: RoleName,

    /// So many processes on one address and one database; each has a writer of its own, and the first does what is done once
    #[arg(long, value_name = "N", default_value = "1", global = true)]
    processes: NonZeroU16,

    /// Which of them this is, counted from 1; 0 starts them
    #[arg(long, value_name = "NUMBER", default_value_t = 0, global = true, hide = true)]
    process: u16,

    /// How national numbers on the waiting list look
    #[arg(long, value_enum, default_value_t = NumberName::Any, global = true)]
    national_number: NumberName,

    /// Whether the waiting list asks for the name
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t = PresenceName::Required, global = true)]
    name: PresenceName,

    /// Whether the waiting list asks for the year of birth
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t = PresenceName::Required, global = true)]
    birth_year: PresenceName,

    /// The mail server: smtps://user:password@host:465, smtp://host:25?tls=required, or smtp://host:25 without encryption [default: the folder DATA/mail]
    #[arg(long, value_name = "URL", env = "VIGIE_BACKEND_MAIL", hide_env_values = true, global = true)]
    mail: Option<String>,

    /// Who writes to people on the waiting list
    #[arg(long, value_name = "ADDRESS", default_value_t = MailConfig::default().from, global = true)]
    mail_from: String,

    /// Sign-ups that are older than so many days are erased
    #[arg(long, value_name = "DAYS", default_value_t = WAITLIST_RETENTION_DAYS, global = true)]
    waitlist_retention_days: u32,

    /// Calls in one transaction at most. For measuring: 1 shows what groups are good for
    #[arg(long, value_name = "N", default_value_t = MAX_GROUP, global = true, hide = true)]
    group_size: NonZeroUsize,
}

impl Options {
    /// How many processes are to be started; 1 where this is one of several already.
    pub(crate) fn processes(&self) -> u16 {
        if self.process == 0 { self.processes.get() } else { 1 }
    }

    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        for url in [&self.public_url, &self.files_url].into_iter().flatten() {
            ensure!(!url.ends_with('/'), "`{url}` ends with a slash; give it without");
        }
        let mut config = Config::new(&self.data);
        config.listen = self.listen;
        config.admin_listen = self.admin_listen;
        config.public_url.clone_from(&self.public_url);
        config.files_url.clone_from(&self.files_url);
        config.database.clone_from(&self.database);
        config.bucket =
            self.bucket.clone().map(|name| Bucket { name, endpoint: self.bucket_endpoint.clone(), settings: Vec::new() });
        config.trusted_proxies.clone_from(&self.trusted_proxy);
        config.wrong_codes = WrongCodes { by_address: self.wrong_codes, ..WrongCodes::default() };
        ensure!(
            self.processes == NonZeroU16::MIN || self.listen.port() != 0,
            "several processes cannot be given any free port; name one with --listen ADDR:PORT"
        );
        config.share = Share { number: self.process.saturating_sub(1), of: self.processes };
        config.role = self.role.into();
        config.form = FormRules {
            national_number: self.national_number.into(),
            name: self.name.into(),
            birth_year: self.birth_year.into(),
        };
        config.mail = MailConfig { server: self.mail.clone(), from: self.mail_from.clone(), ..MailConfig::default() };
        config.waitlist_retention_days = self.waitlist_retention_days;
        // A larger one lets the first of it wait too long.
        config.group_size = self.group_size.min(MAX_GROUP);
        config.policy = Policy {
            health_authority_id: self.health_authority.clone(),
            region: self.region.clone(),
            key_id: self.key_id.clone(),
            has_short_codes: self.short,
            batch_period_s: self.batch_period,
            minimum_keys: self.minimum_keys,
            ..Policy::default()
        };
        Ok(config)
    }
}

/// What a process does for the waiting list.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Everything
    Both,
    /// Take sign-ups in
    Receive,
    /// Open and confirm them
    Open,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Both => Self::Both,
            RoleName::Receive => Self::Receive,
            RoleName::Open => Self::Open,
        }
    }
}

/// How national numbers look.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum NumberName {
    /// 4 to 32 letters and digits
    Any,
    /// 13 digits with two check digits
    Luxembourg,
}

impl From<NumberName> for NumberFormat {
    fn from(format: NumberName) -> Self {
        match format {
            NumberName::Any => Self::Any,
            NumberName::Luxembourg => Self::Luxembourg,
        }
    }
}

/// Whether a field is asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresenceName {
    /// It must be filled in
    Required,
    /// It may be left empty
    Optional,
    /// It is not asked for
    Absent,
}

impl From<PresenceName> for Presence {
    fn from(presence: PresenceName) -> Self {
        match presence {
            PresenceName::Required => Self::Required,
            PresenceName::Optional => Self::Optional,
            PresenceName::Absent => Self::Absent,
        }
    }
}

/// Asks for a code.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// What the test says
    #[arg(long = "type", value_enum, default_value_t = Test::Confirmed)]
    pub(crate) test_type: Test,

    /// The day on which symptoms began, YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub(crate) symptoms: Option<Date>,

    /// The day of the test, YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub(crate) tested: Option<Date>,

    /// 8 digits in place of 16 symbols; needs --short
    #[arg(long)]
    pub(crate) short_code: bool,
}

/// Whom to forget.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ForgetArgs {
    /// The sign-up with this number on the list
    #[arg(long, value_name = "N")]
    pub(crate) place: Option<u64>,

    /// The sign-up with this operation id, 32 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = parse_operation)]
    pub(crate) operation: Option<OperationId>,

    /// All sign-ups of a national number, which is read from stdin; needs the folder `open`
    #[arg(long)]
    pub(crate) number: bool,
}

/// How to show conflicts.
#[derive(Debug, Args)]
pub(crate) struct ConflictsArgs {
    /// One JSON array, for a machine
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a test says.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Test {
    /// Positive
    Confirmed,
    /// A doctor's judgement without a test
    Likely,
    /// Negative: an earlier report is withdrawn
    Negative,
}

impl From<Test> for TestType {
    fn from(test: Test) -> Self {
        match test {
            Test::Confirmed => Self::Confirmed,
            Test::Likely => Self::Likely,
            Test::Negative => Self::Negative,
        }
    }
}

fn parse_date(text: &str) -> Result<Date, &'static str> {
    vigie_backend::parse_date(text).ok_or("a date is written YYYY-MM-DD")
}

fn parse_operation(text: &str) -> Result<OperationId, &'static str> {
    OperationId::parse(text).ok_or("an operation id has 32 hexadecimal digits")
}

fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| "an address, or a network such as 10.0.0.0/8")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
