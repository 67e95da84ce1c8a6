//! The plot: requests in a second over the first days.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::Findings;

const SIZE: (u32, u32) = (960, 480);
const FONT: (&str, u32) = ("sans-serif", 16);

/// Draws what was found as SVG, and writes it; what had that name is overwritten.
pub(super) fn write(findings: &Findings, days: usize, path: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(findings, days, &mut svg).map_err(|e| anyhow!("{e}")).context("the plot cannot be drawn")?;
    fs::write(path, svg).with_context(|| format!("{} cannot be written; name another file with --plot", path.display()))
}

fn draw(findings: &Findings, days: usize, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let hours = &findings.hours;
    let highest = f64::from(findings.highest_per_second) * 1.1;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{} phones, installed in {days} days", findings.phones), ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..hours.len() as f64, 0.0..highest.max(1.0))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc("hours after the first midnight")
        .y_desc("requests in a second, at the origin")
        .draw()?;
    let middle = |hour: usize| hour as f64 + 0.5;
    let lines = [
        (
            "fullest second",
            RED,
            hours.iter().map(|hour| (middle(hour.hour), f64::from(hour.highest_per_second))).collect::<Vec<_>>(),
        ),
        ("all", BLUE, hours.iter().map(|hour| (middle(hour.hour), hour.requests_per_second())).collect()),
        ("people", BLACK, hours.iter().map(|hour| (middle(hour.hour), hour.people_per_second)).collect()),
    ];
    for (name, colour, points) in lines {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(FONT)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}
