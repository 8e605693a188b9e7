//! Points with intervals, such as accuracy against sampled tokens.

use std::fmt::Write;

use super::axis::{Axis, Spacing, placed};
use super::plot::{
    Block, Labels, NARROW, Plot, Size, WIDE, Y_INTERVALS, colour, hidden_labels, interval, key, left_out, mark,
    no_data, note, svg, whisker,
};
use super::table::{Column, Table};
use super::text::{count, escape, fit, number};

/// Groups of points with vertical intervals. Points less than a mark apart are drawn side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis, and what the intervals are.
    pub y_label: String,
    /// Spacing of the horizontal axis.
    pub x_spacing: Spacing,
    /// The groups, in the order of the key.
    pub groups: Vec<Group>,
}

/// Points that share a colour and a mark.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// What the group is called.
    pub name: String,
    /// Its points, in any order.
    pub points: Vec<Point>,
}

/// A value with its interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Point {
    /// Place on the horizontal axis.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// Lower end of the interval; NaN where there is none.
    pub low: f64,
    /// Upper end of the interval; NaN where there is none.
    pub high: f64,
    /// What the point is called; may be empty.
    pub label: String,
}

/// A point with the number of its group and its place in pixels.
struct Placed<'a> {
    group: usize,
    point: &'a Point,
    x: f64,
    y: f64,
}

/// Points closer than this, in pixels, would hide each other.
const NEAR: f64 = 7.0;
/// Distance of points that are drawn side by side.
const APART: f64 = 10.0;

impl Points {
    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let key = match self.groups.iter().any(|group| !group.name.is_empty()) {
            true => key(self.groups.iter().enumerate().map(|(at, group)| (at, group.name.as_str())), "", false),
            false => String::new(),
        };
        let all: usize = self.groups.iter().map(|group| group.points.len()).sum();
        let notes = [
            note("wide", &hidden_labels(wide.1)),
            note("narrow", &hidden_labels(narrow.1)),
            note("", &left_out(all - self.shown().count())),
        ];
        format!("{key}{}{}{}{}", wide.0, narrow.0, notes.concat(), self.values())
    }

    fn shown(&self) -> impl Iterator<Item = (usize, &Point)> {
        let spacing = self.x_spacing;
        let numbered = self.groups.iter().enumerate().flat_map(|(at, group)| group.points.iter().map(move |p| (at, p)));
        numbered.filter(move |(_, point)| placed(spacing, point.x) && placed(Spacing::Linear, point.y))
    }

    /// The drawing, and the number of labels that found no place in it.
    fn draw(&self, size: &Size, id: &str, title: &str) -> Option<(String, usize)> {
        let x = Axis::over(self.shown().map(|(_, point)| point.x), self.x_spacing, 0.07, size.x_intervals)?;
        let heights = self.shown().flat_map(|(_, point)| [Some(point.y), point.low(), point.high()]).flatten();
        let y = Axis::over(heights, Spacing::Linear, 0.05, Y_INTERVALS)?;
        let plot = Plot::new(size, &y, 16.0);
        let points =
            self.shown().map(|(group, point)| Placed { group, point, x: plot.x(&x, point.x), y: plot.y(&y, point.y) });
        let points = side_by_side(points.collect());

        let mut drawn = plot.axes(size, (&x, &self.x_label), (&y, &self.y_label));
        let mut taken = vec![Plot::name_block(&self.y_label)];
        let mut marks = String::new();
        for Placed { group, point, x: at, y: level } in &points {
            let name = [self.groups[*group].name.as_str(), &point.label].join(" ");
            let summary = escape(&format!("{} {}", name.trim(), point.value()));
            let _ = write!(marks, r#"<g class="{}"><title>{summary}</title>"#, colour(*group));
            if let (Some(low), Some(high)) = (point.low(), point.high()) {
                let (bottom, top) = (plot.y(&y, low), plot.y(&y, high));
                marks += &whisker(*at, bottom, top);
                taken.push(Block([at - 3.0, top, at + 3.0, bottom]));
            }
            marks += &mark(*group, *at, *level);
            marks += "</g>";
            taken.push(Block([at - 6.0, level - 6.0, at + 6.0, level + 6.0]));
        }
        drawn += &marks;
        let mut labels = Labels {
            bounds: [plot.left, 0.0, size.width, plot.bottom],
            points: points.iter().map(|placed| (placed.x, placed.y)).collect(),
            taken,
            avoided: Vec::new(),
        };
        let mut omitted = 0;
        for Placed { group, point, x: at, y: level } in points.iter().filter(|placed| !placed.point.label.is_empty()) {
            match labels.beside(*at, *level, *group, &fit(&point.label, 130.0)) {
                Some(label) => drawn += &label,
                None => omitted += 1,
            }
        }
        Some((svg(size, id, title, &self.description(), &drawn), omitted))
    }

    fn description(&self) -> String {
        let (points, groups) = (count(self.shown().count(), "point"), count(self.groups.len(), "group"));
        let (x, y) = (&self.x_label, &self.y_label);
        format!("{points} in {groups}: {y} against {x}. The values below the figure say the same in numbers.")
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let left = ["group", "point"].map(Column::left).into_iter();
        let columns = left.chain(["x", "y", "low", "high"].map(Column::right)).collect();
        let numbered = self.groups.iter().flat_map(|group| group.points.iter().map(move |point| (group, point)));
        let rows = numbered.map(|(group, point)| {
            let numbers = [point.x, point.y, point.low, point.high].map(number);
            [group.name.clone(), point.label.clone()].into_iter().chain(numbers).collect()
        });
        let table = Table { columns, rows: rows.collect() };
        let caption = escape(&format!("x: {}; y: {}", self.x_label, self.y_label));
        table.folded(&caption)
    }
}

impl Point {
    fn low(&self) -> Option<f64> {
        self.interval().map(|(low, _)| low)
    }

    fn high(&self) -> Option<f64> {
        self.interval().map(|(_, high)| high)
    }

    fn interval(&self) -> Option<(f64, f64)> {
        interval(self.low, self.high)
    }

    fn value(&self) -> String {
        match self.interval() {
            Some((low, high)) => format!("{} ({} to {})", number(self.y), number(low), number(high)),
            None => number(self.y),
        }
    }
}

/// Moves points that would hide each other apart, around their middle. Points come back from left to right.
fn side_by_side(mut points: Vec<Placed>) -> Vec<Placed> {
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.group.cmp(&b.group)));
    let mut start = 0;
    while start < points.len() {
        let first = points[start].x;
        let n = points[start..].iter().take_while(|placed| placed.x - first < NEAR).count();
        let bunch = &mut points[start..start + n];
        bunch.sort_by_key(|placed| placed.group);
        let middle = bunch.iter().map(|placed| placed.x).sum::<f64>() / n as f64;
        let apart = APART.min(60.0 / n as f64);
        if n > 1 {
            for (at, placed) in bunch.iter_mut().enumerate() {
                placed.x = middle + apart * (at as f64 - 0.5 * (n - 1) as f64);
            }
        }
        start += n;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_at_one_place_are_drawn_side_by_side() {
        let point = Point::default();
        let at = |group, x| Placed { group, point: &point, x, y: 0.0 };
        let moved = side_by_side(vec![at(1, 50.0), at(0, 50.0), at(0, 100.0)]);
        assert_eq!(
            moved.iter().map(|placed| (placed.group, placed.x)).collect::<Vec<_>>(),
            [(0, 45.0), (1, 55.0), (0, 100.0)]
        );
    }

    #[test]
    fn a_point_without_place_is_counted() {
        let point = |x, y| Point { x, y, low: f64::NAN, high: f64::NAN, label: String::new() };
        let points = vec![point(0.0, 0.5), point(10.0, 0.5), point(100.0, f64::NAN)];
        let groups = vec![Group { name: "start".into(), points }];
        let plot = Points { x_spacing: Spacing::Log10, groups, ..Points::default() };
        let html = plot.to_html("f", "t");
        assert!(html.contains("2 points have no place on the axes and are left out."));
        assert_eq!(html.matches("<g class=\"c0\"><title>start 0.5</title>").count(), 2);
        assert!(!html.contains("whisker"));
    }
}
