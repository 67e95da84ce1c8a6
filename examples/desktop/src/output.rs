//! What goes to the terminal: the answer to stdout, progress and trouble to stderr.
//!
//! Colours appear where a terminal shows them; `--color`, `NO_COLOR` and `CLICOLOR_FORCE` are heeded by anstream. Writing returns an error where
//! the reader has gone away, instead of the panic of `println!`.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// Something is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Something is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something to be aware of.
pub(crate) const CAUTION: Style = AnsiColor::Yellow.on_default().bold();
/// What may be passed over in reading.
pub(crate) const QUIET: Style = Style::new().dimmed();

/// Where a command says what it found.
pub(crate) struct Output;

impl Output {
    /// For people.
    pub(crate) fn text(&self) -> impl Write + use<> {
        anstream::stdout()
    }

    /// Whether colours are wanted, and can be shown.
    pub(crate) fn has_colors(&self) -> bool {
        anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
    }

    /// For machines: one JSON document.
    pub(crate) fn json(&self, document: &impl Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, document)?;
        writeln!(stdout)
    }
}

/// Text from a file as it may be shown: on one line, without control characters, not longer than `limit` characters.
pub(crate) fn shown(text: &str, limit: usize) -> String {
    let cut = if text.chars().nth(limit).is_some() { "..." } else { "" };
    // Quotation marks harm nobody, and reasons are full of them.
    let escaped = |c: char| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() };
    format!("{}{cut}", text.chars().take(limit).map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_from_a_file_stays_on_its_line_and_drives_no_terminal() {
        assert_eq!(super::shown("it's \"x\"\n\u{1b}[2J\u{202e}ü", 40), "it's \"x\"\\n\\u{1b}[2J\\u{202e}ü");
        assert_eq!(super::shown("abcd", 3), "abc...");
    }
}
