//! Line plots, such as learning curves.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::axis::{Axis, Spacing, placed};
use super::plot::{
    Block, Labels, NARROW, Plot, Size, WIDE, Y_INTERVALS, alone, along, colour, dash, key, mark, no_data, note, pixel,
    svg,
};
use super::table::{Column, Table};
use super::text::{count, escape, number, width};

/// A line plot on linear axes.
///
/// A point that is not finite interrupts its line. A series of more than 120 points is drawn twice: a thin line through
/// at most 400 of them, which include the lowest and the highest of every stretch, and a bold line through the means of
/// 60 stretches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The lines, in the order of the key.
    pub series: Vec<Series>,
}

/// One line of a plot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// What the line is called.
    pub name: String,
    /// (x, y), in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// A point that is ringed and labelled with its y, such as the checkpoint that was kept.
    pub best: Option<(f64, f64)>,
}

/// Points at most that a line is drawn through.
const MOST: usize = 400;
/// Points from which on a series gets a line through means.
const LONG: usize = 120;
/// Means that such a line joins.
const STRETCHES: usize = 60;
/// How much wider bold text is, at most.
const BOLD: f64 = 1.1;
/// Height of a row of labels.
const ROW: f64 = 16.0;

impl Lines {
    /// The wide drawing as an SVG file of its own, whose lines are named at their ends where they are ten at most and their
    /// names are short. `None` when there is no point to draw.
    pub fn to_svg(&self, title: &str) -> Option<String> {
        self.draw(&WIDE, "lines", title).map(|drawn| alone(&drawn))
    }

    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let key = match self.named() {
            false => String::new(),
            true => {
                let names = self.series.iter().enumerate().map(|(at, series)| (at, series.name.as_str()));
                key(names, if self.labelled_directly() { "narrow" } else { "" }, true)
            }
        };
        let empty: Vec<&str> = self.series.iter().filter(|s| s.shown().is_empty()).map(|s| s.name.as_str()).collect();
        let empty = if empty.is_empty() { String::new() } else { format!("No data for {}.", empty.join(", ")) };
        let gaps = match self.series.iter().map(|series| series.points.len() - series.shown().len()).sum() {
            0 => String::new(),
            n => format!("{} not finite: the line has a gap there.", count(n, "point")),
        };
        let bold = match self.series.iter().any(Series::is_long) {
            true => format!("Thin lines join the values, bold lines the means of {STRETCHES} stretches of a series."),
            false => String::new(),
        };
        let notes = [bold, gaps, empty].map(|text| note("", &text)).concat();
        format!("{key}{wide}{narrow}{notes}{}", self.values())
    }

    fn named(&self) -> bool {
        self.series.iter().any(|series| !series.name.is_empty())
    }

    /// Names stand at the ends of the lines where they are few and short.
    fn labelled_directly(&self) -> bool {
        let fits = |series: &Series| !series.shown().is_empty() && width(&series.name) <= 150.0;
        self.named() && self.series.len() <= 10 && self.series.iter().all(fits)
    }

    fn draw(&self, size: &Size, id: &str, title: &str) -> Option<String> {
        let direct = size.class == WIDE.class && self.labelled_directly();
        let all = || self.series.iter().flat_map(|series| series.shown().into_iter().chain(series.best()));
        let x = Axis::over(all().map(|(x, _)| x), Spacing::Linear, 0.0, size.x_intervals)?;
        let y = Axis::over(all().map(|(_, y)| y), Spacing::Linear, 0.05, Y_INTERVALS)?;
        let names = self.series.iter().map(|series| BOLD * width(&series.name)).fold(0.0, f64::max);
        let plot = Plot::new(size, &y, if direct { names.ceil() + 20.0 } else { 16.0 });
        let place = |(px, py): (f64, f64)| (plot.x(&x, px), plot.y(&y, py));

        let mut drawn = plot.axes(size, (&x, &self.x_label), (&y, &self.y_label));
        let mut curves = Vec::new();
        for (at, series) in self.series.iter().enumerate() {
            let _ = write!(drawn, r#"<g class="{}">"#, colour(at));
            let on_plot = |pieces: Vec<Option<(f64, f64)>>| pieces.into_iter().map(|point| point.map(place)).collect();
            let mut pieces: Vec<_> = on_plot(decimated(&series.points));
            if series.is_long() {
                drawn += &curve(&pieces, "raw", "");
                pieces = on_plot(means(&series.points));
            }
            drawn += &curve(&pieces, "curve", &dash(at));
            let shown: Vec<_> = pieces.into_iter().flatten().collect();
            for chosen in marked(shown.len(), at, self.series.len()) {
                drawn += &mark(at, shown[chosen].0, shown[chosen].1);
            }
            drawn += "</g>";
            for pair in shown.windows(2) {
                curves.extend(along(pair[0], pair[1]));
            }
        }
        drawn += &self.best_points(&plot, curves, place);
        if direct {
            drawn += &self.names_at_ends(&plot, place);
        }
        Some(svg(size, id, title, &self.description(), &drawn))
    }

    fn best_points(&self, plot: &Plot, curves: Vec<Block>, place: impl Fn((f64, f64)) -> (f64, f64)) -> String {
        let numbered = self.series.iter().enumerate();
        let ringed: Vec<_> =
            numbered.filter_map(|(at, s)| s.best().map(|best| (at, place(best), number(best.1)))).collect();
        let rings = ringed.iter().map(|(_, (x, y), _)| Block([x - 7.0, y - 7.0, x + 7.0, y + 7.0]));
        let bounds = [plot.left, 0.0, plot.right, plot.bottom];
        let taken = rings.chain([Plot::name_block(&self.y_label)]).collect();
        let points = ringed.iter().map(|(_, point, _)| *point).collect();
        let mut labels = Labels { bounds, points, taken, avoided: curves };
        let mut drawn = String::new();
        for (at, (x, y), value) in ringed {
            let _ =
                write!(drawn, r#"<circle class="best {}" cx="{}" cy="{}" r="6.5"/>"#, colour(at), pixel(x), pixel(y));
            drawn += &labels.beside(x, y, at, &value).unwrap_or_default();
        }
        drawn
    }

    fn names_at_ends(&self, plot: &Plot, place: impl Fn((f64, f64)) -> (f64, f64)) -> String {
        let ends = self.series.iter().enumerate().filter_map(|(at, s)| Some((at, place(s.end()?))));
        let mut ends: Vec<(usize, (f64, f64))> = ends.collect();
        ends.sort_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b));
        let wanted: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
        let mut drawn = String::new();
        for ((at, (x, y)), level) in ends.into_iter().zip(spread(&wanted, plot.top, plot.bottom)) {
            let start = plot.right + 12.0;
            if x < plot.right - 2.0 || (level - y).abs() > 3.0 {
                let [x1, x2, y1, y2] = [x + 6.0, start - 3.0, y, level].map(pixel);
                let _ = write!(drawn, r#"<line class="leader" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>"#);
            }
            let _ = write!(
                drawn,
                r#"<text class="name {}" x="{}" y="{}">{}</text>"#,
                colour(at),
                pixel(start),
                pixel(level + 4.0),
                escape(&self.series[at].name)
            );
        }
        drawn
    }

    fn description(&self) -> String {
        let series = count(self.series.len(), "line");
        format!(
            "{series}: {} against {}. The values below the figure say the same in numbers.",
            self.y_label, self.x_label
        )
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let columns = ["points", "first", "last", "lowest", "highest", "marked"].map(Column::right);
        let rows = self.series.iter().map(|series| {
            let shown = series.shown();
            let at = |point: Option<&(f64, f64)>| {
                point.map_or("n/a".into(), |(x, y)| format!("{} at {}", number(*y), number(*x)))
            };
            vec![
                series.name.clone(),
                shown.len().to_string(),
                at(shown.first()),
                at(shown.last()),
                at(shown.iter().min_by(|a, b| a.1.total_cmp(&b.1))),
                at(shown.iter().max_by(|a, b| a.1.total_cmp(&b.1))),
                series.best().map_or(String::new(), |best| at(Some(&best))),
            ]
        });
        let table =
            Table { columns: [Column::left("line")].into_iter().chain(columns).collect(), rows: rows.collect() };
        table.folded(&escape(&self.y_label))
    }
}

impl Series {
    fn shown(&self) -> Vec<(f64, f64)> {
        self.points.iter().copied().filter(drawable).collect()
    }

    fn is_long(&self) -> bool {
        self.shown().len() > LONG
    }

    /// Where the line with the name ends.
    fn end(&self) -> Option<(f64, f64)> {
        let means = if self.is_long() { means(&self.points) } else { Vec::new() };
        means.into_iter().flatten().last().or_else(|| self.shown().last().copied())
    }

    fn best(&self) -> Option<(f64, f64)> {
        self.best.filter(drawable)
    }
}

pub(super) fn drawable((x, y): &(f64, f64)) -> bool {
    placed(Spacing::Linear, *x) && placed(Spacing::Linear, *y)
}

/// At most 400 of the points, in order, with the first and the last, and with the lowest and the highest of every
/// stretch; `None` stands for a gap.
fn decimated(points: &[(f64, f64)]) -> Vec<Option<(f64, f64)>> {
    let mut kept = BTreeSet::new();
    // Two a stretch, and both ends.
    let stretch = if points.len() <= MOST { 1 } else { points.len().div_ceil(MOST / 2 - 1) };
    for start in (0..points.len()).step_by(stretch) {
        let within = start..points.len().min(start + stretch);
        let by_height = |a: &usize, b: &usize| points[*a].1.total_cmp(&points[*b].1);
        let finite = || within.clone().filter(|at| drawable(&points[*at]));
        kept.extend(finite().min_by(by_height));
        kept.extend(finite().max_by(by_height));
        kept.extend(within.clone().find(|at| !drawable(&points[*at])));
    }
    kept.extend((0..points.len()).find(|at| drawable(&points[*at])));
    kept.extend((0..points.len()).rfind(|at| drawable(&points[*at])));
    let mut pieces: Vec<_> = kept.into_iter().map(|at| Some(points[at]).filter(drawable)).collect();
    pieces.dedup_by(|later, earlier| later.is_none() && earlier.is_none());
    pieces
}

/// The means of 60 stretches of the points; `None` for a stretch without a finite one.
fn means(points: &[(f64, f64)]) -> Vec<Option<(f64, f64)>> {
    let mean = |stretch: &[(f64, f64)]| {
        let finite = || stretch.iter().filter(|point| drawable(point));
        let n = finite().count() as f64;
        let (x, y) = finite().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
        (n > 0.0).then_some((x, y))
    };
    points.chunks(points.len().div_ceil(STRETCHES).max(1)).map(mean).collect()
}

/// The path through placed points, and a dot for a point without neighbours.
pub(super) fn curve(pieces: &[Option<(f64, f64)>], class: &str, dash: &str) -> String {
    let (mut path, mut dots) = (String::new(), String::new());
    for piece in pieces.split(Option::is_none) {
        for (index, (x, y)) in piece.iter().flatten().enumerate() {
            let _ = write!(path, "{}{} {}", if index == 0 { "M" } else { "L" }, pixel(*x), pixel(*y));
        }
        if let [Some((x, y))] = piece {
            let _ = write!(dots, r#"<circle class="dot" cx="{}" cy="{}" r="1.8"/>"#, pixel(*x), pixel(*y));
        }
    }
    if path.is_empty() { dots } else { format!(r#"<path class="{class}" d="{path}"{dash}/>{dots}"#) }
}

/// Which of `n` points carry a mark: all of a few, else five and the last, shifted from line to line.
fn marked(n: usize, at: usize, lines: usize) -> BTreeSet<usize> {
    match n {
        0..=16 => (0..n).collect(),
        _ => (0..5).map(|part| (part * n + n * at / lines) / 5).chain([n - 1]).collect(),
    }
}

/// Heights near the wanted ones (which increase), a row apart, between `top` and `bottom`.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut heights: Vec<f64> = Vec::with_capacity(wanted.len());
    for want in wanted {
        let free = heights.last().map_or(top, |above| above + ROW);
        heights.push(want.max(free));
    }
    let mut limit = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(limit);
        limit = *height - ROW;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimation_keeps_extremes_ends_and_gaps() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 0.5)).collect();
        points[1234].1 = 9.0;
        points[5678].1 = -9.0;
        points[8000].1 = f64::NAN;
        let kept = decimated(&points);
        assert!(kept.iter().flatten().count() <= MOST);
        for wanted in [(0.0, 0.5), (1234.0, 9.0), (5678.0, -9.0), (9999.0, 0.5)] {
            assert!(kept.contains(&Some(wanted)), "{wanted:?}");
        }
        assert_eq!(kept.iter().filter(|piece| piece.is_none()).count(), 1);
    }

    #[test]
    fn short_series_are_kept_whole() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 2.0)];
        assert_eq!(decimated(&points), [Some((0.0, 1.0)), None, Some((3.0, 2.0))]);
        assert!(decimated(&[]).is_empty());
    }

    #[test]
    fn a_gap_interrupts_the_path() {
        let pieces = [Some((0.0, 0.0)), Some((10.0, 5.0)), None, Some((20.0, 5.0))];
        let expected = r#"<path class="curve" d="M0 0L10 5M20 5"/><circle class="dot" cx="20" cy="5" r="1.8"/>"#;
        assert_eq!(curve(&pieces, "curve", ""), expected);
    }

    #[test]
    fn means_are_taken_over_sixty_stretches() {
        // 240 points, so 4 a stretch: the first are 0, 1, 2, 3 with y = 2x.
        let mut points: Vec<_> = (0..240).map(|i| (f64::from(i), f64::from(2 * i))).collect();
        points[4].1 = f64::NAN;
        points[8..12].fill((f64::NAN, 0.0));
        let got = means(&points);
        assert_eq!((got.len(), got[0], got[1], got[2]), (60, Some((1.5, 3.0)), Some((6.0, 12.0)), None));
    }

    #[test]
    fn a_drawing_by_itself_has_its_styles_and_names() {
        let series = Series { name: "best of n".into(), points: vec![(1.0, 0.5), (2.0, 0.75)], best: None };
        let lines = Lines { x_label: "tokens".into(), y_label: "accuracy".into(), series: vec![series] };
        let svg = lines.to_svg("Accuracy").unwrap();
        let (opening, rest) = svg.split_once('>').unwrap();
        assert!(opening.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"wide\""), "{opening}");
        assert!(rest.starts_with("<style>") && rest.contains("best of n") && svg.ends_with("</svg>\n"));
        assert!(Lines::default().to_svg("Nothing").is_none());
    }

    #[test]
    fn names_stand_a_row_apart() {
        assert_eq!(spread(&[10.0, 12.0, 90.0], 0.0, 100.0), [10.0, 26.0, 90.0]);
        assert_eq!(spread(&[98.0, 99.0], 0.0, 100.0), [84.0, 100.0]);
    }
}
