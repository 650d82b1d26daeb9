//! A chart of lines over time, as SVG to stand in a page.

use plotters::chart::ChartBuilder;
use plotters::element::PathElement;
use plotters::prelude::{IntoDrawingArea, LineSeries, SVGBackend, SeriesLabelPosition};
use plotters::style::{BLACK, Color, RGBColor, WHITE};

/// A line with its name.
pub(crate) struct Line<'a> {
    pub(crate) name: String,
    pub(crate) values: &'a [f64],
}

const COLOURS: [RGBColor; 9] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x66, 0x66, 0x66),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0xe7, 0x29, 0x8a),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0xa6, 0x76, 0x1d),
    RGBColor(0x66, 0xa6, 0x1e),
    RGBColor(0xe6, 0xab, 0x02),
];

/// `at` are the seconds of the values, `bounds` those at which phases end.
pub(crate) fn chart(
    title: &str,
    unit: &str,
    at: &[f64],
    bounds: &[f64],
    lines: &[Line<'_>],
) -> Result<String, String> {
    draw(title, unit, at, bounds, lines).map_err(|error| format!("{title}: {error}"))
}

fn draw(
    title: &str,
    unit: &str,
    at: &[f64],
    bounds: &[f64],
    lines: &[Line<'_>],
) -> Result<String, Box<dyn std::error::Error>> {
    let highest = lines.iter().flat_map(|line| line.values).copied().fold(0.0, f64::max);
    let (end, top) = (at.last().copied().unwrap_or(1.0), if highest > 0.0 { highest * 1.05 } else { 1.0 });
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (640, 280)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 15))
            .margin(8)
            .margin_right(24)
            .x_label_area_size(32)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        let axes = &mut chart.configure_mesh();
        axes.disable_x_mesh().light_line_style(WHITE).x_desc("seconds").y_desc(unit).draw()?;
        for bound in bounds {
            chart.draw_series(LineSeries::new([(*bound, 0.0), (*bound, top)], BLACK.mix(0.3)))?;
        }
        for (n, line) in lines.iter().enumerate() {
            let style = COLOURS[n % COLOURS.len()].stroke_width(2);
            let points = at.iter().copied().zip(line.values.iter().copied());
            let drawn = chart.draw_series(LineSeries::new(points, style))?;
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
        }
        let labels = &mut chart.configure_series_labels();
        let labels = labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8));
        labels.border_style(BLACK.mix(0.1)).draw()?;
        area.present()?;
    }
    Ok(svg)
}
