//! Reliability diagrams: how often it is right, against how often it is said to be, with the rows of each bin.

use std::fmt::Write;

use super::axis::{Axis, Spacing};
use super::plot::{NARROW, Plot, Size, WIDE, interval, left_out, mark, no_data, note, pixel, svg, whisker};
use super::table::{Column, Table};
use super::text::{count, escape, number, width};
use crate::calibrate::Bin;

/// The bins of [`reliability`](crate::calibrate::reliability), as points with intervals above bars of their rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reliability {
    /// Name of the horizontal axis: what was said.
    pub x_label: String,
    /// Name of the vertical axis: what was right, and what the intervals are.
    pub y_label: String,
    /// The bins; empty ones are left out.
    pub bins: Vec<Bin>,
}

/// A bin that can be drawn.
struct Shown {
    low: f64,
    high: f64,
    n: usize,
    confidence: f64,
    right: f64,
    interval: Option<(f64, f64)>,
}

/// Height of the strip with the bars, with room for a number above the tallest.
const STRIP: f64 = 44.0;
const NUMBER: f64 = 16.0;
/// Intervals between ticks.
const INTERVALS: usize = 6;

impl Reliability {
    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let rule = "On the dashed line it comes true as often as was said. Bars count the rows of a bin.";
        let filled = self.bins.iter().filter(|bin| bin.n > 0).count();
        let missing = left_out(filled - self.shown().len());
        format!("{wide}{narrow}{}{}{}", note("", rule), note("", &missing), self.values())
    }

    fn shown(&self) -> Vec<Shown> {
        let share = |value: &f64| (0.0..=1.0).contains(value);
        let drawable = |bin: &Bin| {
            let (confidence, accuracy) = (bin.confidence.filter(share)?, bin.accuracy?);
            let ends = accuracy.interval.and_then(|ends| interval(ends.low, ends.high));
            let shown = Shown {
                low: bin.low,
                high: bin.high,
                n: bin.n,
                confidence,
                right: accuracy.value,
                interval: ends.map(|(low, high)| (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))),
            };
            (bin.n > 0 && [bin.low, bin.high, shown.right].iter().all(share)).then_some(shown)
        };
        self.bins.iter().filter_map(drawable).collect()
    }

    fn draw(&self, base: &Size, id: &str, title: &str) -> Option<String> {
        let bins = self.shown();
        let most = bins.iter().map(|bin| bin.n).max()? as f64;
        let axis = || Axis::over([0.0, 1.0].into_iter(), Spacing::Linear, 0.03, INTERVALS);
        let (x, y) = (axis()?, axis()?);
        let size = Size { height: base.height + 20.0, ..*base };
        let mut plot = Plot::new(&size, &y, 16.0);
        let foot = plot.bottom;
        plot.bottom = foot - STRIP - 14.0;
        let strip = Plot { left: plot.left, right: plot.right, top: foot - STRIP, bottom: foot };

        let mut drawn = plot.y_axis(&size, &y, &self.y_label);
        let [left, right] = [0.0, 1.0].map(|end| pixel(plot.x(&x, end)));
        let [bottom, top] = [0.0, 1.0].map(|end| pixel(plot.y(&y, end)));
        let _ = write!(drawn, r#"<path class="rule" d="M{left} {bottom}L{right} {top}"/>"#);
        drawn += &strip.x_axis(&size, &x, &self.x_label);
        let [edge, base_line] = [strip.left - 8.0, foot - 4.0].map(pixel);
        let _ = write!(drawn, r#"<text x="{edge}" y="{base_line}" text-anchor="end">n</text>"#);
        for bin in &bins {
            let (start, end) = (strip.x(&x, bin.low.min(bin.high)), strip.x(&x, bin.low.max(bin.high)));
            let height = (STRIP - NUMBER) * bin.n as f64 / most;
            let [at, top, wide, tall] = [start, foot - height, (end - start - 1.0).max(1.0), height].map(pixel);
            let _ = write!(drawn, r#"<rect class="count" x="{at}" y="{top}" width="{wide}" height="{tall}"/>"#);
            if width(&bin.n.to_string()) <= end - start {
                let [middle, above] = [0.5 * (start + end), foot - height - 3.0].map(pixel);
                let _ = write!(drawn, r#"<text x="{middle}" y="{above}" text-anchor="middle">{}</text>"#, bin.n);
            }
        }
        for bin in &bins {
            let at = plot.x(&x, bin.confidence);
            let title =
                format!("{} said, {} right, {}", number(bin.confidence), number(bin.right), count(bin.n, "row"));
            let _ = write!(drawn, r#"<g class="c0"><title>{}</title>"#, escape(&title));
            if let Some((low, high)) = bin.interval {
                drawn += &whisker(at, plot.y(&y, low), plot.y(&y, high));
            }
            drawn += &mark(0, at, plot.y(&y, bin.right));
            drawn += "</g>";
        }
        Some(svg(&size, id, title, &self.description(bins.len()), &drawn))
    }

    fn description(&self, bins: usize) -> String {
        let (bins, x, y) = (count(bins, "bin"), &self.x_label, &self.y_label);
        format!("{bins}: {y} against {x}. The values below the figure say the same in numbers.")
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let names = ["n", "said", "right", "low", "high", "gap"].map(Column::right).into_iter();
        let show = |value: Option<f64>| value.map_or_else(String::new, number);
        let rows = self.bins.iter().map(|bin| {
            let ends = bin.interval();
            vec![
                format!("{} to {}", number(bin.low), number(bin.high)),
                bin.n.to_string(),
                show(bin.confidence),
                show(bin.accuracy.map(|accuracy| accuracy.value)),
                show(ends.map(|ends| ends.low)),
                show(ends.map(|ends| ends.high)),
                show(bin.gap()),
            ]
        });
        let table = Table { columns: [Column::left("bin")].into_iter().chain(names).collect(), rows: rows.collect() };
        table.folded(&escape(&format!("said: {}; right: {}", self.x_label, self.y_label)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Binning, reliability};

    #[test]
    fn empty_bins_have_neither_mark_nor_bar() {
        // Ten bins, of which the first and the last hold rows.
        let bins = reliability(&[0.05, 0.95, 0.98], &[false, true, false], Binning::Width(10)).unwrap();
        let html = Reliability { bins, ..Reliability::default() }.to_html("f", "t");
        // Two in each of the two drawings.
        assert_eq!((html.matches("class=\"mark\"").count(), html.matches("class=\"count\"").count()), (4, 4));
        assert!(html.contains("<title>0.965 said, 0.5 right, 2 rows</title>"), "{html}");
        assert_eq!(html.matches("<tr><th scope=\"row\">").count(), 10);
    }

    #[test]
    fn a_bin_outside_the_axes_is_counted() {
        let mut bins = reliability(&[0.2, 0.7], &[false, true], Binning::Width(2)).unwrap();
        bins[0].confidence = Some(f64::NAN);
        let html = Reliability { bins, ..Reliability::default() }.to_html("f", "t");
        assert!(html.contains("1 point has no place on the axes and is left out."));
    }
}
