//! The full-screen view: draws a [`Model`], and changes nothing.
//!
//! ```text
//! vigie  tracing                 time     how it stands
//! why not, or what works less well        the radio and the keys
//! Near now: 2 ------------------------    who is near, with a curve of the strength
//! Exposures: high risk ----------------   what follows, and what to do
//! Bulletin: 2 h old -------------------   figures with a curve, advice; where there is room
//! Messages ----------------------------   where there is room
//! q quit  p pause  ? more                 what can be done
//! ```
//!
//! Where there is little room the radio comes first, then the exposures in short, then who is near. Everything in full is on the page behind `?`,
//! which can be scrolled.

mod pane;
mod text;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::{Paragraph, Sparkline, SparklineBar};

use super::model::{Condition, Model};
use super::nearby::Device;
use crate::output::{CAUTION, QUIET};
use text::{PLAIN, Painter, TITLE, WIDE};

/// With fewer rows, what works less well is told on the other page.
const ROOMY: usize = 16;

/// Rows that a bulletin leaves to the messages.
const LEFT_TO_MESSAGES: usize = 3;

/// The weakest strength that still shows as a bar, in dBm, and the number of steps above it.
const WEAKEST_DBM: i16 = -100;
const STRENGTH_STEPS: u64 = 60;

/// Which page is looked at, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Everything in words, in place of the overview.
    pub(super) is_help: bool,
    /// Lines of it that are scrolled past.
    pub(super) scrolled: usize,
    pub(super) has_colors: bool,
}

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, look: Look) {
    let area = frame.area();
    let painter = Painter { has_colors: look.has_colors, width: area.width.into() };
    let Some(middle) = area.height.checked_sub(2).filter(|rows| *rows > 0) else {
        // A strip of one or two lines.
        frame.render_widget(painter.header(model), area);
        return;
    };
    let row = |y: u16, height: u16| Rect { y: area.y + y, height, ..area };
    frame.render_widget(painter.header(model), row(0, 1));
    if look.is_help {
        let lines: Vec<_> = painter.help(model).into_iter().skip(look.scrolled).take(middle.into()).collect();
        frame.render_widget(Paragraph::new(painter.lines(lines)), row(1, middle));
    } else {
        draw_overview(frame, model, &painter, row(1, middle));
    }
    frame.render_widget(painter.footer(model, look.is_help), row(area.height - 1, 1));
}

/// How many lines can be scrolled past on the page in words.
pub(super) fn scrollable(model: &Model, width: u16, height: u16) -> usize {
    let painter = Painter { has_colors: false, width: width.into() };
    painter.help(model).len().saturating_sub(usize::from(height.saturating_sub(2)))
}

fn draw_overview(frame: &mut Frame<'_>, model: &Model, painter: &Painter, area: Rect) {
    let rows = usize::from(area.height);
    let radio = painter.radio(model, rows >= ROOMY);
    let radio_rows = radio.len().min(rows);
    let mut left = rows - radio_rows;

    // The devices keep a title and three rows where that costs the exposures nothing but their length.
    let devices_wanted = 1 + model.devices.len().max(1);
    let (full, short) = (painter.exposures(model), painter.exposures_in_short(model));
    let exposures = if full.len() + devices_wanted.min(4) <= left { full } else { short };
    let exposure_rows = exposures.len().min(left);
    left -= exposure_rows;
    let device_rows = devices_wanted.min(left);
    left -= device_rows;
    let bulletin = pane::Pane::of(model, painter, left.saturating_sub(LEFT_TO_MESSAGES));
    left -= bulletin.rows();

    let mut y = area.y;
    let mut next = |height: usize| {
        let height = height as u16;
        let rect = Rect { y, height, ..area };
        y += height;
        rect
    };
    frame.render_widget(Paragraph::new(painter.lines(radio)), next(radio_rows));
    draw_devices(frame, model, painter, next(device_rows));
    frame.render_widget(Paragraph::new(painter.lines(exposures)), next(exposure_rows));
    bulletin.draw(frame, painter, next(bulletin.rows()));
    if left > 0 {
        frame.render_widget(Paragraph::new(painter.lines(painter.messages(model, left))), next(left));
    }
}

fn draw_devices(frame: &mut Frame<'_>, model: &Model, painter: &Painter, area: Rect) {
    let title = painter.title(&format!("Near now: {}", model.devices.len()), TITLE);
    let rows = usize::from(area.height).saturating_sub(1);
    frame.render_widget(Paragraph::new(painter.lines(vec![title])), Rect { height: area.height.min(1), ..area });
    let row = |index: usize| Rect { y: area.y + 1 + index as u16, height: 1, ..area };
    if model.devices.is_empty() && rows > 0 {
        frame.render_widget(Paragraph::new(painter.lines(vec![(QUIET, nobody(model).into())])), row(0));
        return;
    }
    let fits = model.devices.len() <= rows;
    let shown = if fits || rows == 1 { rows } else { rows.saturating_sub(1) };
    for (index, device) in model.devices.iter().take(shown).enumerate() {
        draw_device(frame, model, painter, device, row(index));
    }
    if shown < rows && !fits {
        let more = format!("and {} more", model.devices.len() - shown);
        frame.render_widget(Paragraph::new(painter.lines(vec![(QUIET, more)])), row(shown));
    }
}

fn draw_device(frame: &mut Frame<'_>, model: &Model, painter: &Painter, device: &Device, area: Rect) {
    let nearness = model.nearness(device);
    let mut text = format!("device {:<4} {nearness:<9} {:>3} dB ", device.number, device.attenuation_db);
    if usize::from(area.width) >= WIDE {
        let ago = model.now.since(device.last_heard).as_secs();
        text.push_str(&format!("{:>4} dBm {:>9}  ", device.rssi_dbm, ago_in_words(ago)));
    }
    let style = match nearness {
        "immediate" => CAUTION,
        "far" => QUIET,
        _ => PLAIN,
    };
    let used = (text.len() as u16).min(area.width);
    frame.render_widget(Paragraph::new(painter.lines(vec![(style, text)])), area);
    let curve = Rect { x: area.x + used, width: area.width - used, ..area };
    let bars = curve_of(device, model, usize::from(curve.width)).into_iter().map(SparklineBar::from);
    let sparkline = Sparkline::default().max(STRENGTH_STEPS).absent_value_symbol("·").absent_value_style(painter.style(QUIET));
    frame.render_widget(sparkline.style(painter.style(style)).data(bars), curve);
}

/// Mean strengths in so many equal spans of time up to now, in steps from 1; `None` where nothing was heard.
fn curve_of(device: &Device, model: &Model, columns: usize) -> Vec<Option<u64>> {
    let length = model.curve_length();
    let mut sums = vec![(0i64, 0i64); columns];
    for (at, rssi) in &device.curve {
        let ago = model.now.since(*at);
        if ago < length
            && let Some((sum, count)) =
                sums.iter_mut().nth_back((ago.as_millis() as usize * columns) / length.as_millis() as usize)
        {
            *sum += i64::from(i16::from(*rssi) - WEAKEST_DBM);
            *count += 1;
        }
    }
    // A bar of no height would look like silence.
    let bar = |(sum, count): (i64, i64)| (count > 0).then(|| u64::try_from(sum / count).unwrap_or(0).clamp(8, STRENGTH_STEPS));
    sums.into_iter().map(bar).collect()
}

fn ago_in_words(seconds: u64) -> String {
    match seconds {
        0..=4 => "now".into(),
        5..=119 => format!("{seconds} s ago"),
        _ => format!("{} min ago", seconds / 60),
    }
}

fn nobody(model: &Model) -> &'static str {
    match model.condition() {
        Condition::Paused => "paused: nobody is listened for",
        Condition::Trouble => "nobody was heard",
        _ if model.setup.started.is_continuous => "nobody yet; it listens all the time",
        _ => "nobody yet; listens 4 s in 3.5 to 5 min",
    }
}

#[cfg(test)]
mod tests;
