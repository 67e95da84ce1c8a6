//! The bulletin on the overview: a row for each figure, with its curve, then what the advice is about.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};

use super::text::{PLAIN, Painter, Row, TITLE, bulletin_title};
use crate::commands::bulletin::Curve;
use crate::commands::run::model::Model;
use crate::output::QUIET;

/// A curve has eight steps.
const STEPS: u64 = 8;

/// Columns of a curve that is worth drawing.
const LEAST_COLUMNS: usize = 8;

/// What is drawn of it; nothing where there is none, or no room.
pub(super) struct Pane<'a> {
    title: Option<Row>,
    figures: Vec<&'a Curve>,
    advice: Vec<Row>,
}

impl<'a> Pane<'a> {
    /// As much as fits into so many rows.
    pub(super) fn of(model: &'a Model, painter: &Painter, rows: usize) -> Self {
        let Some(sheet) = model.bulletin.as_ref().filter(|_| rows > 1) else {
            return Self { title: None, figures: Vec::new(), advice: Vec::new() };
        };
        let figures: Vec<_> = sheet.figures.iter().take(rows - 1).collect();
        let mut advice = Vec::new();
        for piece in &sheet.advice {
            let mut lines = Vec::new();
            painter.wrap(&mut lines, PLAIN, &piece.title, "  ");
            if 1 + figures.len() + advice.len() + lines.len() > rows {
                break;
            }
            advice.extend(lines);
        }
        let has_more = figures.len() < sheet.figures.len() || !sheet.advice.is_empty();
        let more = if has_more { ": press ?" } else { "" };
        let title = painter.title(&format!("{}{more}", bulletin_title(sheet, model.now)), TITLE);
        Self { title: Some(title), figures, advice }
    }

    pub(super) fn rows(&self) -> usize {
        usize::from(self.title.is_some()) + self.figures.len() + self.advice.len()
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>, painter: &Painter, area: Rect) {
        let row = |at: usize| Rect { y: area.y + at as u16, height: 1, ..area };
        let Some(title) = &self.title else { return };
        frame.render_widget(Paragraph::new(painter.lines(vec![title.clone()])), row(0));
        for (at, figure) in self.figures.iter().enumerate() {
            draw_figure(frame, painter, figure, row(1 + at));
        }
        for (at, line) in self.advice.iter().enumerate() {
            frame.render_widget(Paragraph::new(painter.lines(vec![line.clone()])), row(1 + self.figures.len() + at));
        }
    }
}

fn draw_figure(frame: &mut Frame<'_>, painter: &Painter, figure: &Curve, area: Rect) {
    let text = format!("{} ", figure.latest());
    let used = Line::raw(&text).width();
    frame.render_widget(Paragraph::new(painter.lines(vec![(PLAIN, text)])), area);
    let left = usize::from(area.width).saturating_sub(used);
    if left < LEAST_COLUMNS {
        return;
    }
    let curve = Rect { x: area.x + used as u16, width: left as u16, ..area };
    frame.render_widget(Sparkline::default().max(STEPS).style(painter.style(QUIET)).data(figure.steps(left)), curve);
}
