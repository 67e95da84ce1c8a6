//! The plot: how many people came, got a receipt and were refused in each moment.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::findings::Findings;

const SIZE: (u32, u32) = (960, 480);
const FONT: (&str, u32) = ("sans-serif", 16);

/// So many moments are drawn.
const MOMENTS: usize = 120;

/// Draws what was found as SVG, and writes it; what had that name is overwritten.
pub(super) fn write(findings: &Findings, path: &Path) -> anyhow::Result<()> {
    let mut svg = String::new();
    draw(findings, &mut svg).map_err(|e| anyhow!("{e}")).context("the plot cannot be drawn")?;
    fs::write(path, svg).with_context(|| format!("{} cannot be written; name another file with --plot", path.display()))
}

fn draw(findings: &Findings, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let times = &findings.times;
    let all = || [&times.arrived, &times.acknowledged, &times.refused, &times.failed].into_iter().flatten();
    let end = all().copied().fold(0.1, f64::max);
    let moment = end / MOMENTS as f64;
    let lines = [
        ("came", &times.arrived, BLACK.to_rgba()),
        ("got a receipt", &times.acknowledged, BLUE.to_rgba()),
        ("refused", &times.refused, RED.to_rgba()),
        ("no answer", &times.failed, MAGENTA.to_rgba()),
    ]
    .map(|(name, times, colour)| (name, counted(times, moment), colour));
    let highest = lines.iter().flat_map(|(_, counts, _)| counts).fold(1.0, |highest: f64, (_, count)| highest.max(*count)) * 1.1;
    let mut chart = ChartBuilder::on(&area)
        .caption(findings.title(), ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..end, 0.0..highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(FONT)
        .x_desc("seconds")
        .y_desc("people in a second")
        .draw()?;
    for (name, counts, colour) in lines.into_iter().filter(|(_, counts, _)| counts.iter().any(|(_, count)| *count > 0.0)) {
        chart
            .draw_series(LineSeries::new(counts, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().label_font(FONT).background_style(WHITE).border_style(BLACK.mix(0.3)).draw()?;
    for kill in &findings.kills_s {
        chart.draw_series([PathElement::new([(*kill, 0.0), (*kill, highest)], BLACK.mix(0.4).stroke_width(1))])?;
    }
    area.present()?;
    Ok(())
}

/// How many there are in a second, in each moment.
fn counted(times: &[f64], moment: f64) -> Vec<(f64, f64)> {
    let mut counts = vec![0_u32; MOMENTS + 1];
    for time in times {
        counts[((time / moment) as usize).min(MOMENTS)] += 1;
    }
    (0..).zip(counts).map(|(at, count)| (f64::from(at) * moment, f64::from(count) / moment)).collect()
}
