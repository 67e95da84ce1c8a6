//! `launch-day`: what the crowd of an app does to its server, before there is a crowd.

mod load;
mod pacing;
mod progress;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{Parser, Subcommand};

use crate::load::LoadArgs;
use crate::pacing::PacingArgs;

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
  0  every promise is kept, every request was answered
  1  a promise is not kept, or an answer is missing (the output says which)
  2  not done: wrong use, or a file or a server that cannot be used (the reason is on stderr)";

/// What the crowd of an app does to its server, before there is a crowd.
#[derive(Debug, Parser)]
#[command(name = "launch-day", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    color: colorchoice_clap::Color,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pacing(PacingArgs),
    Load(LoadArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.color.write_global();
    let ended = match &cli.command {
        Command::Pacing(args) => pacing::run(args),
        Command::Load(args) => load::run(args),
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
