//! The terminal as a whole: takes it, draws what is known, and gives it back whatever happens.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vigie::time::{Clock, SystemClock};

use super::live::Live;
use super::model::{Model, News};
use super::screen::{self, Look};
use crate::commands::ending::Ending;

/// Time from one picture to the next, where no key is pressed.
const PICTURE: Duration = Duration::from_millis(250);

/// Keys that wait to be acted upon.
const MAX_KEYS: usize = 32;

/// News between two pictures, so that none comes late.
const NEWS_AT_ONCE: usize = 64;

/// The terminal, in the mode of the view. A panic hook of ratatui gives it back, too.
struct Screen(Option<DefaultTerminal>);

impl Screen {
    fn take() -> anyhow::Result<Self> {
        Ok(Self(Some(ratatui::try_init().context("the terminal cannot show the view; --plain prints lines")?)))
    }

    fn terminal(&mut self) -> anyhow::Result<&mut DefaultTerminal> {
        self.0.as_mut().context("the terminal was given back")
    }

    fn draw(&mut self, model: &Model, look: Look) -> anyhow::Result<()> {
        self.terminal()?.draw(|frame| screen::draw(frame, model, look)).context("the terminal cannot be drawn on")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to give back.
        let _ = ratatui::try_restore();
        if let Some(mut terminal) = self.0.take()
            && terminal.show_cursor().is_err()
        {
            // Dropped, it would complain on that very terminal, and end the program before the store is closed.
            std::mem::forget(terminal);
        }
    }
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Quit,
    PauseOrResume,
    Help,
    Scroll(isize),
}

/// Shows it until the user or the system wants it to end.
pub(super) fn show(live: &Live, model: &mut Model, ending: &Ending, has_colors: bool) -> anyhow::Result<()> {
    let mut screen = Screen::take()?;
    let keys = listen_to_keys()?;
    let mut look = Look { is_help: false, scrolled: 0, has_colors };
    while !ending.has_come() {
        model.now = SystemClock.now();
        for news in std::iter::from_fn(|| live.news(Duration::ZERO)).take(NEWS_AT_ONCE) {
            model.take(news, SystemClock.now());
        }
        screen.draw(model, look)?;
        match keys.recv_timeout(PICTURE) {
            Ok(Asked::Quit) => break,
            Ok(Asked::PauseOrResume) => live.pause_or_resume(),
            Ok(Asked::Help) => look = Look { is_help: !look.is_help, scrolled: 0, ..look },
            Ok(Asked::Scroll(lines)) if look.is_help => {
                let size = screen.terminal()?.size().context("the terminal does not say its size")?;
                let most = screen::scrollable(model, size.width, size.height);
                look.scrolled = look.scrolled.saturating_add_signed(lines).min(most);
            }
            Ok(Asked::Scroll(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the terminal gives no keys any more"),
        }
    }
    // What follows takes a moment.
    model.take(News::Stopping, SystemClock.now());
    screen.draw(model, Look { is_help: false, ..look })
}

/// Reads keys in a thread of its own, which nobody waits for: crossterm never returns from a terminal that was closed.
fn listen_to_keys() -> anyhow::Result<Receiver<Asked>> {
    let (to, keys) = sync_channel(MAX_KEYS);
    let listen = move || {
        while let Ok(event) = event::read() {
            // A new size is seen with the next picture.
            let Event::Key(key) = event else { continue };
            let asked = if key.kind == KeyEventKind::Release { None } else { meaning(key) };
            if asked.is_some_and(|asked| to.send(asked).is_err()) {
                return;
            }
        }
    };
    thread::Builder::new().name("vigie-terminal".into()).spawn(listen).context("the system gives no thread")?;
    Ok(keys)
}

fn meaning(key: KeyEvent) -> Option<Asked> {
    match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Asked::Quit),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Asked::Quit),
        KeyCode::Char('p' | 'P') => Some(Asked::PauseOrResume),
        KeyCode::Char('?' | 'h') => Some(Asked::Help),
        KeyCode::Up | KeyCode::Char('k') => Some(Asked::Scroll(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Asked::Scroll(1)),
        KeyCode::PageUp => Some(Asked::Scroll(-8)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Asked::Scroll(8)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_raw_terminal_ctrl_c_is_a_key_that_quits() {
        let key = |code, modifiers| meaning(KeyEvent::new(code, modifiers));
        for (code, modifiers) in [
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
            (KeyCode::Char('q'), KeyModifiers::NONE),
            (KeyCode::Esc, KeyModifiers::NONE),
        ] {
            assert_eq!(key(code, modifiers), Some(Asked::Quit));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('p'), KeyModifiers::NONE), Some(Asked::PauseOrResume));
    }
}
