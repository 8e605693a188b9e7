//! Forest plots: estimates one below another on one axis, each with its interval and its count.

use std::fmt::Write;

use super::axis::{Axis, Spacing, placed};
use super::plot::{NARROW, Plot, Size, WIDE, interval, mark, no_data, note, pixel, svg};
use super::table::{Column, Table};
use super::text::{count, escape, fit, number, signed, width};
use crate::Estimate;

/// Estimates one below another on one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// Name and unit of the axis, and what the intervals are.
    pub label: String,
    /// The estimates, from top to bottom.
    pub rows: Vec<ForestRow>,
    /// Where a dashed line stands, such as 0 for differences.
    pub reference: Option<f64>,
}

/// One estimate of a forest plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForestRow {
    /// What was measured, or on which subset.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Lower end of the interval; NaN where there is none.
    pub low: f64,
    /// Upper end of the interval; NaN where there is none.
    pub high: f64,
    /// Number of records, where it is known.
    pub n: Option<usize>,
}

/// Room for a row: beside its name, or below it on a narrow page.
const WIDE_ROW: f64 = 26.0;
const NARROW_ROW: f64 = 38.0;
/// Room above the rows.
const TOP: f64 = 24.0;
/// Most pixels for the names on a wide page.
const NAMES: f64 = 220.0;
/// Pixels between two columns.
const GAP: f64 = 16.0;
/// What stands above the values.
const HEADER: &str = "value [interval]";

impl Forest {
    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let rule = self.rule().map_or_else(String::new, |at| format!("The dashed line stands at {}.", number(at)));
        let without = match self.rows.iter().filter(|row| !row.is_shown()).count() {
            0 => String::new(),
            n => format!("{} not finite, without a mark.", count(n, "value")),
        };
        format!("{wide}{narrow}{}{}{}", note("", &rule), note("", &without), self.values())
    }

    /// The values that have a place, and the ends of their intervals.
    fn ends(&self) -> impl Iterator<Item = f64> {
        self.rows.iter().filter(|row| row.is_shown()).flat_map(|row| {
            let (low, high) = row.interval().unwrap_or((row.value, row.value));
            [row.value, low, high]
        })
    }

    /// Where the dashed line stands.
    fn rule(&self) -> Option<f64> {
        self.reference.filter(|at| placed(Spacing::Linear, *at))
    }

    fn draw(&self, base: &Size, id: &str, title: &str) -> Option<String> {
        self.ends().next()?;
        let narrow = base.class == NARROW.class;
        let x = Axis::over(self.ends().chain(self.rule()), Spacing::Linear, 0.04, if narrow { 4 } else { 5 })?;
        let decimals = self.decimals(x.length());
        let texts: Vec<String> = self.rows.iter().map(|row| row.text(decimals)).collect();
        let counts: Vec<String> = self.rows.iter().map(|row| row.count()).collect();
        let counted = counts.iter().any(|count| !count.is_empty());
        let widest = |texts: &[String]| texts.iter().map(|text| width(text)).fold(0.0, f64::max).ceil();

        let height = if narrow { NARROW_ROW } else { WIDE_ROW };
        let bottom = TOP + height * self.rows.len() as f64;
        let size = Size { height: bottom + 46.0, ..*base };
        let room = match (counted, narrow) {
            (false, _) => 0.0,
            (true, true) => widest(&counts) + width("n ") + 8.0,
            (true, false) => widest(&counts) + GAP,
        };
        let values = if narrow { size.width } else { size.width - room };
        let (left, right) = match narrow {
            true => (8.0, size.width - room - 8.0),
            false => {
                let names = self.rows.iter().map(|row| width(&row.name)).fold(0.0, f64::max);
                (names.ceil().min(NAMES) + GAP, values - widest(&texts).max(width(HEADER)) - GAP)
            }
        };
        let plot = Plot { left, right, top: TOP, bottom };
        // Where the marks of a row stand, and how far lines may run there without crossing a name.
        let level = |at: usize| TOP + height * at as f64 + if narrow { 27.0 } else { 0.5 * height };
        let bands: Vec<(f64, f64)> = match narrow {
            true => (0..self.rows.len()).map(|at| (level(at) - 8.0, level(at) + 8.0)).collect(),
            false => vec![(TOP, bottom)],
        };
        let line = |class: &str, value: f64| {
            let at = pixel(plot.x(&x, value));
            let pieces = bands.iter().map(|(from, to)| format!("M{at} {}V{}", pixel(*from), pixel(*to)));
            format!(r#"<path class="{class}" d="{}"/>"#, pieces.collect::<String>())
        };

        let mut drawn: String = x.ticks.iter().map(|(value, _)| line("grid", *value)).collect();
        if let Some(rule) = self.rule() {
            drawn += &line("rule", rule);
        }
        drawn += &plot.x_axis(&size, &x, &self.label);
        let _ = write!(drawn, r#"<text x="{}" y="12" text-anchor="end">{HEADER}</text>"#, pixel(values));
        if counted && !narrow {
            let _ = write!(drawn, r#"<text x="{}" y="12" text-anchor="end">n</text>"#, pixel(size.width));
        }
        for (at, row) in self.rows.iter().enumerate() {
            let middle = level(at);
            let base_line = if narrow { middle - 11.0 } else { middle + 4.0 };
            let names = if narrow { size.width - width(&texts[at]) - GAP } else { NAMES };
            let (name, text) = (escape(&fit(&row.name, names)), escape(&texts[at]));
            let [edge, end, base_line, count_line] = [values, size.width, base_line, middle + 4.0].map(pixel);
            let _ = write!(drawn, r#"<text class="row" x="0" y="{base_line}">{name}</text>"#);
            let _ = write!(drawn, r#"<text x="{edge}" y="{base_line}" text-anchor="end">{text}</text>"#);
            if !counts[at].is_empty() {
                let sign = if narrow { "n " } else { "" };
                let number = &counts[at];
                let _ = write!(drawn, r#"<text x="{end}" y="{count_line}" text-anchor="end">{sign}{number}</text>"#);
            }
            if row.is_shown() {
                let title = escape(&format!("{} {}", row.name, texts[at]));
                let _ = write!(drawn, r#"<g class="c0"><title>{title}</title>"#);
                if let Some((low, high)) = row.interval() {
                    let [low, high] = [low, high].map(|end| pixel(plot.x(&x, end)));
                    let [middle, top] = [middle, middle - 3.0].map(pixel);
                    let _ = write!(
                        drawn,
                        r#"<path class="whisker" d="M{low} {middle}H{high}M{low} {top}v6M{high} {top}v6"/>"#
                    );
                }
                drawn += &mark(0, plot.x(&x, row.value), middle);
                drawn += "</g>";
            }
        }
        Some(svg(&size, id, title, &self.description(), &drawn))
    }

    /// Decimals that tell the values of an axis of this length apart; `None` where numbers are too large or too small to
    /// be written out.
    fn decimals(&self, length: f64) -> Option<usize> {
        let largest = self.ends().fold(0.0_f64, |largest, end| largest.max(end.abs()));
        let plain = largest < 1e6 && (1e-5..1e6).contains(&length);
        plain.then(|| (2 - length.log10().floor() as i32).max(0) as usize)
    }

    fn description(&self) -> String {
        let rows = count(self.rows.len(), "estimate");
        format!("{rows} of {}. The values below the figure say the same in numbers.", self.label)
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let columns = ["value", "low", "high", "n"].map(Column::right).into_iter();
        let rows = self.rows.iter().map(|row| {
            let numbers = [row.value, row.low, row.high].map(number).into_iter();
            [row.name.clone()].into_iter().chain(numbers).chain([row.count()]).collect()
        });
        let table =
            Table { columns: [Column::left("estimate")].into_iter().chain(columns).collect(), rows: rows.collect() };
        table.folded(&escape(&self.label))
    }
}

impl ForestRow {
    /// The row of an estimate.
    pub fn new(name: impl Into<String>, estimate: &Estimate) -> Self {
        let (low, high) = estimate.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
        Self { name: name.into(), value: estimate.value, low, high, n: Some(estimate.n) }
    }

    fn is_shown(&self) -> bool {
        placed(Spacing::Linear, self.value)
    }

    fn interval(&self) -> Option<(f64, f64)> {
        interval(self.low, self.high)
    }

    fn count(&self) -> String {
        self.n.map_or_else(String::new, |n| n.to_string())
    }

    fn text(&self, decimals: Option<usize>) -> String {
        let show = |value: f64| match decimals {
            Some(decimals) if self.is_shown() => signed(value, format!("{:.decimals$}", value.abs())),
            _ => number(value),
        };
        match self.interval() {
            Some((low, high)) if self.is_shown() => format!("{} [{}, {}]", show(self.value), show(low), show(high)),
            _ => show(self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, low: f64, high: f64) -> ForestRow {
        ForestRow { name: "a".into(), value, low, high, n: Some(7) }
    }

    #[test]
    fn values_have_the_decimals_that_the_axis_needs() {
        let of = |rows: Vec<ForestRow>, length| {
            let forest = Forest { rows, ..Forest::default() };
            forest.rows[0].text(forest.decimals(length))
        };
        // 0.3 long: hundredths lie 10 pixels apart on 300, so thousandths are told apart.
        assert_eq!(of(vec![row(0.5, 0.4, 0.7)], 0.3), "0.500 [0.400, 0.700]");
        assert_eq!(of(vec![row(-12.0, -20.0, 30.0)], 50.0), "\u{2212}12.0 [\u{2212}20.0, 30.0]");
        assert_eq!(of(vec![row(0.5, f64::NAN, 0.7)], 0.3), "0.500");
        assert_eq!(of(vec![row(1e9, 0.0, 2e9)], 2e9), "1e9 [0, 2e9]");
        assert_eq!(of(vec![row(f64::NAN, 0.0, 1.0)], 0.3), "n/a");
    }

    #[test]
    fn a_row_without_a_value_is_named_and_has_no_mark() {
        let rows = vec![row(0.5, 0.4, 0.6), row(f64::NAN, 0.0, 1.0)];
        let html = Forest { rows, ..Forest::default() }.to_html("f", "t");
        assert!(html.contains("1 value not finite, without a mark."));
        // One in each of the two drawings.
        assert_eq!((html.matches("class=\"mark\"").count(), html.matches("class=\"whisker\"").count()), (2, 2));
    }
}
