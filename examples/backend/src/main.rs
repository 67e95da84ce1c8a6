//! `vigie-backend`: the reference server at a terminal.

mod cli;
mod desk;
#[cfg(unix)]
mod processes;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use tracing_subscriber::filter::LevelFilter;
use vigie::time::{Clock, SystemClock};
use vigie_backend::keys::Secrets;
use vigie_backend::rules::{self, Context, Issue};
use vigie_backend::waitlist::Role;
use vigie_backend::{Server, bulletin, open, open_files, random};

use crate::cli::{BulletinCommand, Cli, Command, IssueArgs};

/// A crowd on two cores costs an eighth less processor time with it than with glibc's, and no more memory.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Not done; the reason is on stderr. Clap uses the same.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_writer(std::io::stderr).with_ansi(ansi).init();
    let ended = match &cli.command {
        None => serve(&cli),
        Some(Command::Issue(args)) => issue(&cli, args),
        Some(Command::Bulletin(BulletinCommand::Publish { file })) => publish_bulletin(&cli, file),
        Some(Command::Bulletin(BulletinCommand::Example)) => bulletin_example(&cli),
        Some(Command::Forget(args)) => desk::forget(&cli, args),
        Some(Command::Conflicts(args)) => desk::conflicts(&cli, args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed, nobody listens.
            let _ = write_error(&error);
            ExitCode::from(FAILED)
        }
    }
}

fn write_error(error: &anyhow::Error) -> std::io::Result<()> {
    let mut to = anstream::stderr().lock();
    for (at, text) in error.chain().enumerate() {
        writeln!(to, "{} {text}", if at == 0 { "error:" } else { "  cause:" })?;
    }
    Ok(())
}

fn serve(cli: &Cli) -> anyhow::Result<()> {
    let config = cli.options.config()?;
    #[cfg(unix)]
    {
        processes::prepare()?;
        if cli.options.processes() > 1 {
            return processes::run(cli.options.processes());
        }
        if !config.share.is_whole() {
            processes::end_with_parent()?;
        }
    }
    #[cfg(not(unix))]
    anyhow::ensure!(cli.options.processes() == 1, "several processes on one address need a Unix system");
    let (data, share, role) = (config.data.clone(), config.share, config.role);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be started")?;
    runtime.block_on(async {
        let server = Server::start(config, Arc::new(SystemClock)).await?;
        if !share.is_first() {
            ended().await?;
            server.shutdown().await;
            return Ok(());
        }
        let mut to = anstream::stdout();
        if role != Role::Open {
            writeln!(to, "serving apps    http://{}", server.public_address())?;
        }
        writeln!(to, "serving admins  http://{}  (token: {})", server.admin_address(), data.join("keys/admin-token").display())?;
        writeln!(to, "for apps        {}", data.join("client.json").display())?;
        writeln!(to, "next            vigie-backend issue --data {}", data.display())?;
        to.flush()?;
        ended().await?;
        tracing::info!("ending");
        server.shutdown().await;
        Ok(())
    })
}

/// Ctrl-C, or what a service manager sends.
async fn ended() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("signals cannot be waited for")?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.context("signals cannot be waited for"),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.context("signals cannot be waited for")
}

fn issue(cli: &Cli, args: &IssueArgs) -> anyhow::Result<()> {
    let config = cli.options.config()?;
    let request =
        Issue { test_type: args.test_type.into(), onset: args.symptoms, tested: args.tested, is_short: args.short_code };
    let mut opened = open(&config)?;
    let mut rng = random()?;
    let issued = opened.database.run(|transaction| {
        let now = SystemClock.now();
        let mut context = Context { now, secrets: &opened.secrets, policy: &config.policy, rng: &mut rng };
        rules::issue(transaction, &request, &mut context)
    })?;
    writeln!(anstream::stdout(), "{}", issued.code.grouped()).context("the code cannot be shown")
}

fn publish_bulletin(cli: &Cli, file: &Path) -> anyhow::Result<()> {
    let config = cli.options.config()?;
    let document = bulletin::read(file)?;
    bulletin::check_keys(&document, &config.data.join("keys"))?;
    let secrets = Secrets::open(&config.data.join("keys"), &mut random()?)?;
    let files = open_files(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no thread can be started")?;
    let now = SystemClock.now();
    let published = runtime.block_on(bulletin::publish(&document, &files, &secrets, &config.policy.region, now))?;
    let mut warnings = anstream::stderr();
    for member in &published.unknown {
        writeln!(warnings, "warning: apps pass over `{member}`: it is not a member of a bulletin")?;
    }
    let text = format!("bulletin {} is published; apps have it within about 4 hours", published.serial);
    writeln!(anstream::stdout(), "{text}").context("it is published; that cannot be shown")
}

fn bulletin_example(cli: &Cli) -> anyhow::Result<()> {
    let config = cli.options.config()?;
    let example = bulletin::example(&config.policy.region, SystemClock.now())?;
    writeln!(anstream::stdout(), "{example}").context("the example cannot be shown")
}
