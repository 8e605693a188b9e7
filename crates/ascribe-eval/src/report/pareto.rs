//! Pareto fronts: what two goals cost each other, and the hypervolume above a reference.

use std::fmt::Write;

use super::axis::{Axis, Spacing};
use super::lines::drawable;
use super::plot::{
    Block, Labels, NARROW, Plot, Size, WIDE, Y_INTERVALS, along, colour, hidden_labels, key, left_out, mark, no_data,
    note, pixel, svg,
};
use super::table::{Column, Table};
use super::text::{count, escape, fit, number};
use crate::curve::{hypervolume, pareto_front};

/// Alternatives under two goals, larger being better in both: those on the front are joined, and what they dominate above
/// the reference is shaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pareto {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The alternatives, in any order.
    pub points: Vec<Alternative>,
    /// Where the hypervolume begins.
    pub reference: Option<(f64, f64)>,
}

/// One alternative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alternative {
    /// What it is called.
    pub name: String,
    /// The goal on the horizontal axis.
    pub x: f64,
    /// The goal on the vertical axis.
    pub y: f64,
}

/// Colour and mark of what lies on the front, and of what does not.
const FRONT: usize = 0;
const DOMINATED: usize = 5;

impl Pareto {
    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let (shown, front) = (self.shown().len(), self.front().len());
        let names = [(FRONT, "on the front"), (DOMINATED, "dominated")];
        let key = key(names.into_iter().take(if front < shown { 2 } else { 1 }), "", false);
        let on_front = format!("{front} of {} on the front.", count(shown, "point"));
        let volume = self.volume().unwrap_or_default();
        let notes = [
            note("wide", &hidden_labels(wide.1)),
            note("narrow", &hidden_labels(narrow.1)),
            note("", &left_out(self.points.len() - shown)),
            note("", [on_front, volume].join(" ").trim()),
        ];
        format!("{key}{}{}{}{}", wide.0, narrow.0, notes.concat(), self.values())
    }

    fn shown(&self) -> Vec<&Alternative> {
        self.points.iter().filter(|point| drawable(&point.place())).collect()
    }

    /// The reference, where it can be drawn.
    fn corner(&self) -> Option<(f64, f64)> {
        self.reference.filter(drawable)
    }

    /// The front from left to right, so from top to bottom.
    fn front(&self) -> Vec<&Alternative> {
        let shown = self.shown();
        let places: Vec<Vec<f64>> = shown.iter().map(|point| vec![point.x, point.y]).collect();
        let kept = pareto_front(&places).unwrap_or_default();
        let mut front: Vec<&Alternative> = kept.into_iter().map(|at| shown[at]).collect();
        front.sort_by(|a, b| a.x.total_cmp(&b.x).then(b.y.total_cmp(&a.y)));
        front
    }

    /// The hypervolume in words.
    fn volume(&self) -> Option<String> {
        let (x, y) = self.corner()?;
        let front: Vec<Vec<f64>> = self.front().iter().map(|point| vec![point.x, point.y]).collect();
        let volume = hypervolume(&front, &[x, y]).ok()?;
        Some(format!("Hypervolume above the reference ({}, {}): {}.", number(x), number(y), number(volume)))
    }

    /// The drawing, and the number of labels that found no place in it.
    fn draw(&self, size: &Size, id: &str, title: &str) -> Option<(String, usize)> {
        let (shown, front) = (self.shown(), self.front());
        front.first()?;
        let all = || shown.iter().map(|point| point.place()).chain(self.corner());
        let x = Axis::over(all().map(|(x, _)| x), Spacing::Linear, 0.07, size.x_intervals)?;
        let y = Axis::over(all().map(|(_, y)| y), Spacing::Linear, 0.07, Y_INTERVALS)?;
        let plot = Plot::new(size, &y, 16.0);
        let place = |(px, py): (f64, f64)| (plot.x(&x, px), plot.y(&y, py));

        let mut drawn = plot.axes(size, (&x, &self.x_label), (&y, &self.y_label));
        if let Some(corner) = self.corner() {
            let above: Vec<(f64, f64)> =
                front.iter().map(|point| point.place()).filter(|at| at.0 > corner.0 && at.1 > corner.1).collect();
            drawn += &area(place(corner), &above.into_iter().map(place).collect::<Vec<_>>());
        }
        let stairs = stairs(&front.iter().map(|point| place(point.place())).collect::<Vec<_>>());
        let joined = stairs.iter().enumerate().map(|(at, (px, py))| {
            let command = if at == 0 { "M" } else { "L" };
            format!("{command}{} {}", pixel(*px), pixel(*py))
        });
        let path: String = joined.collect();
        let _ = write!(drawn, r#"<path class="curve {}" d="{path}"/>"#, colour(FRONT));

        let mut taken = vec![Plot::name_block(&self.y_label)];
        for point in &shown {
            let (px, py) = place(point.place());
            let at = kind(point, &front);
            let summary = escape(&format!("{}: {} and {}", point.name, number(point.x), number(point.y)));
            let _ = write!(drawn, r#"<g class="{}"><title>{summary}</title>"#, colour(at));
            drawn += &mark(at, px, py);
            drawn += "</g>";
            taken.push(Block([px - 6.0, py - 6.0, px + 6.0, py + 6.0]));
        }
        let corner = self.corner().map(place);
        if let Some((px, py)) = corner {
            let [left, top, middle, level] = [px - 5.0, py - 5.0, px, py].map(pixel);
            let _ = write!(drawn, r#"<path class="corner" d="M{left} {level}h10M{middle} {top}v10"/>"#);
            taken.push(Block([px - 6.0, py - 6.0, px + 6.0, py + 6.0]));
        }
        let mut labels = Labels {
            bounds: [plot.left, 0.0, size.width, plot.bottom],
            points: shown.iter().map(|point| place(point.place())).chain(corner).collect(),
            taken,
            avoided: stairs.windows(2).flat_map(|pair| along(pair[0], pair[1])).collect(),
        };
        let mut omitted = 0;
        let named = shown.iter().filter(|point| !point.name.is_empty());
        let named = named.map(|point| (place(point.place()), kind(point, &front), point.name.as_str()));
        for ((px, py), kind, name) in corner.map(|at| (at, DOMINATED, "reference")).into_iter().chain(named) {
            match labels.beside(px, py, kind, &fit(name, 130.0)) {
                Some(label) => drawn += &label,
                None => omitted += 1,
            }
        }
        Some((svg(size, id, title, &self.description(shown.len(), front.len()), &drawn), omitted))
    }

    fn description(&self, shown: usize, front: usize) -> String {
        let (points, x, y) = (count(shown, "point"), &self.x_label, &self.y_label);
        format!("{points}, {front} on the front: {y} against {x}. The values below the figure say the same in numbers.")
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let columns = vec![Column::left("point"), Column::right("x"), Column::right("y"), Column::left("front")];
        let front = self.front();
        let on_front = |point: &Alternative| kind(point, &front) == FRONT;
        let rows = self.points.iter().map(|point| {
            let front = if on_front(point) { "yes" } else { "no" };
            vec![point.name.clone(), number(point.x), number(point.y), front.to_owned()]
        });
        let table = Table { columns, rows: rows.collect() };
        table.folded(&escape(&format!("x: {}; y: {}", self.x_label, self.y_label)))
    }
}

impl Alternative {
    fn place(&self) -> (f64, f64) {
        (self.x, self.y)
    }
}

/// Whether the point lies on the front.
fn kind(point: &Alternative, front: &[&Alternative]) -> usize {
    if front.iter().any(|other| other.place() == point.place()) { FRONT } else { DOMINATED }
}

/// The corners of a line that goes down, then right, from point to point.
fn stairs(front: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = front.first().copied().into_iter().collect();
    for pair in front.windows(2) {
        corners.push((pair[0].0, pair[1].1));
        corners.push(pair[1]);
    }
    corners
}

/// What the points of a front dominate, up from `corner`; nothing without a point.
fn area((left, bottom): (f64, f64), front: &[(f64, f64)]) -> String {
    let Some((_, first)) = front.first() else { return String::new() };
    let mut path = format!("M{} {}V{}", pixel(left), pixel(bottom), pixel(*first));
    for (at, (right, _)) in front.iter().enumerate() {
        let below = front.get(at + 1).map_or(bottom, |next| next.1);
        let _ = write!(path, "H{}V{}", pixel(*right), pixel(below));
    }
    format!(r#"<path class="area {}" d="{path}z"/>"#, colour(FRONT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(places: &[(f64, f64)]) -> Vec<Alternative> {
        places.iter().map(|(x, y)| Alternative { name: format!("{x} {y}"), x: *x, y: *y }).collect()
    }

    /// The staircase of six unit squares of `crate::curve::pareto`.
    #[test]
    fn the_front_is_joined_and_its_volume_said() {
        let points = points(&[(1.0, 3.0), (3.0, 1.0), (2.0, 2.0), (1.0, 1.0)]);
        let figure = Pareto { points, reference: Some((0.0, 0.0)), ..Pareto::default() };
        let html = figure.to_html("f", "t");
        assert!(html.contains("3 of 4 points on the front. Hypervolume above the reference (0, 0): 6."), "{html}");
        let names: Vec<&str> = figure.front().iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["1 3", "2 2", "3 1"]);
        assert_eq!(html.matches("class=\"area c0\"").count(), 2);
    }

    #[test]
    fn the_line_goes_down_then_right() {
        assert_eq!(stairs(&[(0.0, 1.0), (5.0, 4.0)]), [(0.0, 1.0), (0.0, 4.0), (5.0, 4.0)]);
        let expected = r#"<path class="area c0" d="M0 9V1H2V4H5V9z"/>"#;
        assert_eq!(area((0.0, 9.0), &[(2.0, 1.0), (5.0, 4.0)]), expected);
        assert!(stairs(&[]).is_empty() && area((0.0, 0.0), &[]).is_empty());
    }

    #[test]
    fn points_without_a_place_are_counted_and_on_no_front() {
        let figure = Pareto { points: points(&[(1.0, 1.0), (f64::NAN, 9.0)]), ..Pareto::default() };
        let html = figure.to_html("f", "t");
        assert!(html.contains("1 point has no place on the axes and is left out."));
        assert!(html.contains("1 of 1 point on the front.") && !html.contains("Hypervolume"));
    }
}
