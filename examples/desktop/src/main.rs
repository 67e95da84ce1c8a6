//! `vigie`: contact tracing at a terminal.
//!
//! Ctrl-C ends it as any program: files are written under another name first, and a database survives everything. Only what traces, or talks to servers, ends in order.

mod capture;
mod cli;
mod commands;
mod failure;
mod files;
mod keys_json;
mod output;
mod progress;
mod servers;
mod store;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{fmt, util::SubscriberInitExt};

use crate::cli::{Cli, Command};
use crate::commands::demo::DemoArgs;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.color.write_global();
    if cli.verbose {
        let ansi = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        // What other libraries say has addresses in it.
        let own = Targets::new().with_target("vigie", LevelFilter::DEBUG);
        let to_stderr = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
        tracing_subscriber::registry().with(to_stderr.with_filter(own)).init();
    }
    run(cli.command, cli.verbose, &Output).unwrap_or_else(|e| failure::report(&e))
}

fn run(command: Option<Command>, is_verbose: bool, out: &Output) -> anyhow::Result<ExitCode> {
    match command.unwrap_or_else(|| Command::Demo(DemoArgs::default())) {
        Command::Demo(args) => commands::demo::run(&args, out),
        Command::Doctor(args) => commands::doctor::run(args, out),
        Command::Run(args) => commands::run::run(args, is_verbose, out),
        Command::Report(args) => commands::report::run(args, out),
        Command::Sync(args) => commands::sync::run(args, out),
        Command::News(args) => commands::news::run(args, out),
        Command::Status(args) => commands::status::run(args, out),
        Command::Replay(args) => commands::replay::run(args, out),
        Command::Check(args) => commands::check::run(args, out),
        Command::Keys(command) => commands::keys::run(command, out),
    }
}
