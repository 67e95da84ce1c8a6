//! `launch-day`: what the crowd of an app does to its server, before there is a crowd.

mod backend;
mod crowd;
mod curve;
mod ending;
mod load;
mod pacing;
mod process;
mod progress;
mod slow_disk;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand};

use crate::crowd::{CrowdArgs, PartArgs, ProveArgs};
use crate::curve::CurveArgs;
use crate::load::LoadArgs;
use crate::pacing::PacingArgs;
use crate::slow_disk::SlowDiskArgs;

/// A promise is kept.
const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Something is wrong.
const BAD: Style = AnsiColor::Red.on_default().bold();
/// What may be passed over in reading.
const QUIET: Style = Style::new().dimmed();

/// The program was used wrongly, or a file or a server cannot be used. Clap uses the same.
const FAILED: u8 = 2;
/// Whoever read the output went away. A shell says the same of a program that SIGPIPE ended.
const OUTPUT_CLOSED: u8 = 141;

const EXIT_CODES: &str = "\
Exit codes:
  0  nobody lost anything, every promise is kept, every request was answered
  1  something was lost, half, changed or given twice, a promise is not kept, or an answer is missing (the output says which)
  2  not done: wrong use, or a file or a server that cannot be used (the reason is on stderr)";

/// What the crowd of an app does to its server, before there is a crowd
///
/// Without a command a crowd signs up on the waiting list, each with a connection of their own and as often as the library's Pacer says; then it is
/// proved, from what they hold and from the database, that nothing was lost, half, changed or given twice.
#[derive(Debug, Parser)]
#[command(name = "launch-day", version, after_help = EXIT_CODES, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    color: colorchoice_clap::Color,

    #[command(flatten)]
    crowd: CrowdArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prove(ProveArgs),
    Curve(CurveArgs),
    Pacing(PacingArgs),
    Load(LoadArgs),
    SlowDisk(SlowDiskArgs),
    /// One process of the crowd
    #[command(hide = true)]
    Part(PartArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.color.write_global();
    let ended = match &cli.command {
        None => crowd::run(&cli.crowd),
        Some(Command::Prove(args)) => crowd::prove(args),
        Some(Command::Curve(args)) => curve::run(args),
        Some(Command::Pacing(args)) => pacing::run(args),
        Some(Command::Load(args)) => load::run(args),
        Some(Command::SlowDisk(args)) => slow_disk::run(args),
        Some(Command::Part(args)) => crowd::play(args),
    };
    ended.unwrap_or_else(|error| report(&error))
}

/// Tells the user of an error on stderr, and says how the program shall end.
fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::from(OUTPUT_CLOSED);
    }
    // Where stderr is closed, nobody listens.
    let _ = writeln!(anstream::stderr(), "{BAD}error:{BAD:#} {error:#}");
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
