//! What the screen says, as lines of a width.

use std::borrow::Cow;
use std::time::Duration;

use anstyle::AnsiColor;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use vigie::time::Timestamp;

use crate::commands::bulletin::{Sheet, span};
use crate::commands::outcome::{advice, risk_name};
use crate::commands::run::model::{Condition, Model};
use crate::commands::standing::List;
use crate::output::{BAD, CAUTION, GOOD, QUIET};

pub(super) const PLAIN: anstyle::Style = anstyle::Style::new();
pub(super) const TITLE: anstyle::Style = anstyle::Style::new().bold();

/// A narrower screen shows less of each device, and the time without the day.
pub(super) const WIDE: usize = 60;

/// A line of text in one style.
pub(super) type Row = (anstyle::Style, String);

/// Turns what is known into lines of a width.
pub(super) struct Painter {
    pub(super) has_colors: bool,
    pub(super) width: usize,
}

impl Painter {
    pub(super) fn header(&self, model: &Model) -> Paragraph<'static> {
        let (style, word) = match model.condition() {
            Condition::Starting => (QUIET, "starting"),
            Condition::Tracing => (GOOD, "tracing"),
            Condition::Trouble => (BAD, "trouble"),
            Condition::Paused => (CAUTION, "paused"),
            Condition::Stopping => (CAUTION, "stopping"),
        };
        let time = Timestamp::from_unix_s(model.now.unix_s()).to_string();
        let time = match time.split_once('T') {
            Some((day, time)) if self.width >= WIDE => format!("{day} {} UTC", time.trim_end_matches('Z')),
            Some((_, time)) => format!("{} UTC", time.trim_end_matches('Z')),
            None => time,
        };
        let space = self.width.saturating_sub("vigie  ".len() + word.len() + time.len());
        Paragraph::new(Line::from(vec![
            Span::styled("vigie  ", self.style(TITLE)),
            Span::styled(word, self.style(style)),
            Span::raw(" ".repeat(space)),
            Span::styled(time, self.style(QUIET)),
        ]))
    }

    pub(super) fn footer(&self, model: &Model, is_help: bool) -> Paragraph<'static> {
        let pause = if model.condition() == Condition::Paused { "p go on" } else { "p pause" };
        let help = if is_help { "? back  ↑↓ scroll" } else { "? more" };
        Paragraph::new(self.lines(vec![(QUIET, format!("q quit  {pause}  {help}"))]))
    }

    /// Radio and keys. What works less well is said in full where there is room, else it is on the other page.
    pub(super) fn radio(&self, model: &Model, is_roomy: bool) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(problem) = model.problem() {
            self.wrap(&mut rows, BAD, &problem, "");
        }
        let Some(status) = &model.status else {
            self.wrap(&mut rows, PLAIN, "asks the radio", "");
            return rows;
        };
        let listening = if status.is_listening { ", listens" } else { "" };
        let now = match status.next_rotation.filter(|_| status.is_sending).map(minutes) {
            Some(left) => format!("sends{listening}; new identifier in {left}"),
            None if status.is_sending => format!("sends{listening}"),
            None => format!("does not send{listening}"),
        };
        self.wrap(&mut rows, PLAIN, &now, "");
        let (today, all, keys) = (status.encounters_today, status.encounters, status.own_keys);
        let kept = format!("{today} encounters today, {all} kept; {keys} keys");
        self.wrap(&mut rows, PLAIN, &kept, "");
        let remarks = model.remarks();
        if is_roomy {
            remarks.iter().for_each(|remark| self.wrap(&mut rows, CAUTION, remark, "  "));
        } else if !remarks.is_empty() {
            self.wrap(&mut rows, CAUTION, "works less well than it could: press ?", "");
        }
        rows
    }

    pub(super) fn exposures(&self, model: &Model) -> Vec<Row> {
        let mut rows = vec![self.exposures_title(model)];
        self.key_files(model, &mut rows);
        for day in &model.exposures.days {
            self.wrap(&mut rows, PLAIN, &day.explanation, "");
            self.wrap(&mut rows, QUIET, &format!("  risk {}: {}", day.risk_level, day.cause), "  ");
        }
        self.next_step(model, &mut rows);
        rows
    }

    pub(super) fn exposures_in_short(&self, model: &Model) -> Vec<Row> {
        let mut rows = vec![self.exposures_title(model)];
        let days = &model.exposures.days;
        if days.is_empty() {
            self.key_files(model, &mut rows);
        }
        // The latest day.
        if let Some(day) = days.last() {
            self.wrap(&mut rows, PLAIN, &format!("{}: {} min, {}", day.date, day.minutes, day.nearness), "");
        }
        if days.len() > 1 {
            rows.push((QUIET, format!("and {} more: press ?", days.len() - 1)));
        }
        self.next_step(model, &mut rows);
        rows
    }

    fn exposures_title(&self, model: &Model) -> Row {
        match model.exposures.days.len() {
            0 => self.title("Exposures: none", TITLE),
            _ => self.title(&format!("Exposures: {} risk", risk_name(model.exposures.level)), advice(model.exposures.level).0),
        }
    }

    fn key_files(&self, model: &Model, rows: &mut Vec<Row>) {
        let files = &model.key_files;
        if let Some(problem) = &files.problem {
            self.wrap(rows, BAD, problem, "");
        }
        if model.setup.started.server.is_some() {
            self.servers(model, rows);
            if model.setup.started.keys.is_none() {
                return;
            }
        }
        let words = match (&model.setup.started.keys, files.checking) {
            (None, _) => "key files are checked with --keys or --server".into(),
            (_, Some(percent)) => format!("checking a key file: {percent} %"),
            _ if files.refused > 0 => format!("key files: {} matched, {} refused", files.matched, files.refused),
            _ if files.matched > 0 => format!("key files: {} matched", files.matched),
            _ => "key files: none yet".into(),
        };
        self.wrap(rows, QUIET, &words, "");
    }

    /// The latest report, and all key lists as one: seen when the one was that was not seen for longest.
    fn servers(&self, model: &Model, rows: &mut Vec<Row>) {
        if let Some(report) = model.reports.last() {
            self.wrap(rows, report.style, &format!("report: {report}"), "  ");
        }
        let lists = &model.key_lists;
        let Some(seen) = lists.iter().map(|list| list.seen_at).min().flatten() else {
            return self.wrap(rows, QUIET, &format!("key lists: not seen yet{}", next_poll(model)), "");
        };
        let ago = span(model.now.since(seen));
        let applied: usize = lists.iter().map(|list| list.applied).sum();
        let mut words = format!("key lists: seen {ago} ago{}; {applied} files applied", next_poll(model));
        let count = |of: fn(&List) -> usize, word| match lists.iter().map(of).sum::<usize>() {
            0 => String::new(),
            count => format!(", {count} {word}"),
        };
        words.push_str(&count(|list| list.refused, "refused"));
        words.push_str(&count(|list| list.waiting, "waiting"));
        self.wrap(rows, QUIET, &words, "");
    }

    fn next_step(&self, model: &Model, rows: &mut Vec<Row>) {
        if !model.exposures.days.is_empty() {
            let (style, next) = advice(model.exposures.level);
            self.wrap(rows, style, &format!("next: {next}"), "");
        }
    }

    /// The latest messages that fit into so many rows, the latest last; nothing where none fits.
    pub(super) fn messages(&self, model: &Model, rows: usize) -> Vec<Row> {
        let mut shown: Vec<Row> = Vec::new();
        for (at, notice) in model.messages.iter().rev() {
            let time = at.to_string();
            let time = time.get(11..19).unwrap_or(&time);
            let mut message = Vec::new();
            self.wrap(&mut message, notice.style(), &format!("{time} {notice}"), "         ");
            if shown.len() + message.len() >= rows {
                break;
            }
            shown.splice(0..0, message);
        }
        if !shown.is_empty() {
            shown.insert(0, self.title("Messages", TITLE));
        }
        shown
    }

    /// Everything in words.
    pub(super) fn help(&self, model: &Model) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut say = |style, text: &str, indent: &str| self.wrap(&mut rows, style, text, indent);
        say(TITLE, "Keys", "");
        for line in ["q, Esc, Ctrl-C   quit", "p   pause, and go on", "?   this page, and back", "↑ ↓   scroll it"] {
            say(PLAIN, line, "    ");
        }
        say(TITLE, "Radio", "");
        say(PLAIN, &model.setup.started.to_string(), "");
        if let Some(problem) = model.problem() {
            say(BAD, &problem, "");
        }
        let remarks = model.remarks();
        remarks.iter().for_each(|remark| say(CAUTION, remark, "  "));
        say(TITLE, "Near now", "");
        say(PLAIN, NEARNESS_IN_WORDS, "");
        rows.extend(self.exposures(model));
        rows.extend(self.bulletin(model));
        rows.extend(self.messages(model, usize::MAX));
        rows
    }

    /// All of the bulletin.
    fn bulletin(&self, model: &Model) -> Vec<Row> {
        let Some(sheet) = &model.bulletin else { return Vec::new() };
        let mut rows = vec![self.title(&bulletin_title(sheet, model.now), TITLE)];
        for figure in &sheet.figures {
            self.wrap(&mut rows, PLAIN, &figure.latest(), "  ");
            rows.push((PLAIN, figure.sparkline(self.width)));
        }
        for piece in &sheet.advice {
            self.wrap(&mut rows, TITLE, &piece.title, "  ");
            piece.paragraphs.iter().for_each(|paragraph| self.wrap(&mut rows, PLAIN, paragraph, ""));
        }
        rows
    }

    pub(super) fn title(&self, text: &str, style: anstyle::Style) -> Row {
        (style, format!("{text} {}", "─".repeat(self.width.saturating_sub(text.chars().count() + 1))))
    }

    pub(super) fn wrap(&self, rows: &mut Vec<Row>, style: anstyle::Style, text: &str, indent: &str) {
        let options =
            textwrap::Options::new(self.width.max(1)).wrap_algorithm(textwrap::WrapAlgorithm::FirstFit).subsequent_indent(indent);
        rows.extend(textwrap::wrap(text, options).into_iter().map(Cow::into_owned).map(|line| (style, line)));
    }

    pub(super) fn lines(&self, rows: Vec<Row>) -> Vec<Line<'static>> {
        rows.into_iter().map(|(style, text)| Line::styled(text, self.style(style))).collect()
    }

    /// The same colours as in plain lines; none where the user wants none.
    pub(super) fn style(&self, style: anstyle::Style) -> Style {
        if !self.has_colors {
            return Style::new();
        }
        let effects = [(anstyle::Effects::BOLD, Modifier::BOLD), (anstyle::Effects::DIMMED, Modifier::DIM)];
        let modifiers =
            effects.into_iter().filter(|(effect, _)| style.get_effects().contains(*effect)).map(|(_, modifier)| modifier);
        let color = match style.get_fg_color() {
            Some(anstyle::Color::Ansi(AnsiColor::Green)) => Color::Green,
            Some(anstyle::Color::Ansi(AnsiColor::Red)) => Color::Red,
            Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Color::Yellow,
            _ => Color::Reset,
        };
        Style::new().fg(color).add_modifier(modifiers.collect())
    }
}

const NEARNESS_IN_WORDS: &str = "A device has another number whenever it changes its identifier, which is every 10 to 20 minutes. immediate, near, \
    medium and far are the health authority's steps of attenuation: how many dB of the signal were lost on the way. Until somebody reports, nobody \
    knows how strongly their device sends; what is shown takes it for one like this, and can be wrong by 20 dB. Bodies, pockets and walls weaken \
    the signal, too.";

/// `Bulletin: 2 h old, seen 12 min ago`.
pub(super) fn bulletin_title(sheet: &Sheet, now: Timestamp) -> String {
    format!("Bulletin: {} old, seen {} ago", span(now.since(sheet.issued_at)), span(now.since(sheet.seen_at)))
}

/// `, next in 3 h`.
fn next_poll(model: &Model) -> String {
    let next = model.key_lists.iter().filter_map(|list| list.next_poll).min();
    next.map_or_else(String::new, |at| format!(", next in {}", span(at.since(model.now))))
}

/// `12:03`, in minutes and seconds.
fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
