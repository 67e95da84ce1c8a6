//! The plot: requests a minute over time, beside what is promised.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::promises::{Findings, HIGHEST_LOAD};

const SIZE: (u32, u32) = (960, 480);
const FONT: (&str, u32) = ("sans-serif", 16);

/// Draws what was found as SVG, and writes it; what had that name is overwritten.
pub(crate) fn write(findings: &Findings, path: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(findings, &mut svg).map_err(|e| anyhow!("{e}")).context("the plot cannot be drawn")?;
    fs::write(path, svg).with_context(|| format!("{} cannot be written; name another file with --plot", path.display()))
}

fn draw(findings: &Findings, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let load = || findings.load.iter().copied();
    let highest = load().fold(HIGHEST_LOAD, |highest, (_, times)| highest.max(times)) * 1.1;
    let (first, last) = (-1.0, findings.load.last().map_or(0.0, |(hours, _)| hours.ceil()));
    let outage = findings.outage_minutes as f64 / 60.0;
    let title = format!("{} devices, server down for {} min", findings.devices, findings.outage_minutes);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(first..last, 0.0..highest)?;
    chart.draw_series([Rectangle::new([(0.0, 0.0), (outage, highest)], BLACK.mix(0.12).filled())])?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc("hours after the server went down (shaded: down)")
        .y_desc("requests, normal = 1")
        .draw()?;
    chart.draw_series(LineSeries::new([(first, HIGHEST_LOAD), (last, HIGHEST_LOAD)], RED.stroke_width(2)))?;
    chart.draw_series([Text::new(
        format!("{HIGHEST_LOAD}"),
        (first + 0.03, HIGHEST_LOAD * 1.06),
        FONT.into_font().color(&RED),
    )])?;
    chart.draw_series(LineSeries::new(load(), BLUE.stroke_width(2)))?;
    area.present()?;
    Ok(())
}
