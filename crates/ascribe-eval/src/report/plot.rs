//! What the plots share: sizes, axes, marks, keys, and labels that keep out of each other's way.
//!
//! A plot is drawn twice, for a wide and for a narrow page, and the style sheet shows one of them: text in a scaled
//! drawing would be too small to read on a phone.

use std::fmt::Write;

use super::axis::{Axis, Spacing, placed};
use super::text::{count, escape, fit, width};

/// One of the two drawings of a plot, in CSS pixels.
pub(super) struct Size {
    pub(super) class: &'static str,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) x_intervals: usize,
}

pub(super) const WIDE: Size = Size { class: "wide", width: 720.0, height: 340.0, x_intervals: 8 };
pub(super) const NARROW: Size = Size { class: "narrow", width: 358.0, height: 280.0, x_intervals: 4 };
pub(super) const Y_INTERVALS: usize = 5;

/// The rectangle between the axes.
pub(super) struct Plot {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Plot {
    /// The rectangle that leaves room for the tick labels of `y`, and `right_margin` pixels at the right.
    pub(super) fn new(size: &Size, y: &Axis, right_margin: f64) -> Self {
        let labels = y.ticks.iter().map(|(_, label)| width(label)).fold(12.0, f64::max);
        Self { left: labels.ceil() + 10.0, right: size.width - right_margin, top: 30.0, bottom: size.height - 46.0 }
    }

    pub(super) fn x(&self, axis: &Axis, value: f64) -> f64 {
        self.left + axis.at(value) * (self.right - self.left)
    }

    pub(super) fn y(&self, axis: &Axis, value: f64) -> f64 {
        self.bottom - axis.at(value) * (self.bottom - self.top)
    }

    /// Where the name of the vertical axis stands.
    pub(super) fn name_block(y_label: &str) -> Block {
        Block([0.0, 0.0, width(y_label), 16.0])
    }

    /// Both axes.
    pub(super) fn axes(&self, size: &Size, x: (&Axis, &str), y: (&Axis, &str)) -> String {
        self.y_axis(size, y.0, y.1) + &self.x_axis(size, x.0, x.1)
    }

    /// Grid, ticks and name of the vertical axis; it is named above, where it reads without turning the head.
    pub(super) fn y_axis(&self, size: &Size, axis: &Axis, name: &str) -> String {
        let mut drawn = String::new();
        let [left, right] = [self.left, self.right].map(pixel);
        for (value, label) in &axis.ticks {
            let at = self.y(axis, *value);
            let _ = write!(drawn, r#"<line class="grid" x1="{left}" x2="{right}" y1="{0}" y2="{0}"/>"#, pixel(at));
            let _ = write!(
                drawn,
                r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
                pixel(self.left - 8.0),
                pixel(at + 4.0),
                escape(label)
            );
        }
        let _ = write!(drawn, r#"<text x="0" y="12">{}</text>"#, escape(&fit(name, size.width - 8.0)));
        drawn
    }

    /// Base line, ticks and name of the horizontal axis.
    pub(super) fn x_axis(&self, size: &Size, axis: &Axis, name: &str) -> String {
        let mut drawn = String::new();
        let [left, right, bottom] = [self.left, self.right, self.bottom].map(pixel);
        let _ = write!(drawn, r#"<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>"#);
        let mut free_from = 0.0;
        for (value, label) in &axis.ticks {
            let at = self.x(axis, *value);
            let tick = pixel(self.bottom + 4.0);
            let _ = write!(drawn, r#"<line class="axis" x1="{0}" x2="{0}" y1="{bottom}" y2="{tick}"/>"#, pixel(at));
            let half = width(label) / 2.0;
            if at - half < free_from || at + half > size.width {
                continue;
            }
            free_from = at + half + 4.0;
            let below = pixel(self.bottom + 18.0);
            let _ =
                write!(drawn, r#"<text x="{}" y="{below}" text-anchor="middle">{}</text>"#, pixel(at), escape(label));
        }
        let name = fit(name, size.width - 8.0);
        let half = width(&name) / 2.0;
        let middle = (0.5 * (self.left + self.right)).min(size.width - half).max(half);
        let _ = write!(
            drawn,
            r#"<text x="{}" y="{}" text-anchor="middle">{}</text>"#,
            pixel(middle),
            pixel(size.height - 6.0),
            escape(&name)
        );
        drawn
    }
}

/// An inline drawing with its title and description.
pub(super) fn svg(size: &Size, id: &str, title: &str, description: &str, drawn: &str) -> String {
    let Size { class, width, height, .. } = size;
    let [title, description] = [title, description].map(escape);
    let id = format!("{id}-{class}");
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\
         <title id=\"{id}-title\">{title}</title><desc id=\"{id}-desc\">{description}</desc>{drawn}</svg>\n"
    )
}

/// A drawing as a file of its own: with the styles of a report, on its paper.
pub(super) fn alone(drawn: &str) -> String {
    let style = format!("<style>\n{}svg {{ background: var(--paper); }}\n</style>", include_str!("style.css"));
    let named = drawn.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    named.replacen('>', &format!(">{style}"), 1)
}

/// A coordinate with one decimal.
pub(super) fn pixel(value: f64) -> String {
    let tenths = (10.0 * value).round() / 10.0 + 0.0;
    format!("{tenths}")
}

const COLOURS: usize = 6;
const DASHES: [&str; 6] = ["", "7 3", "2 2.5", "9 3 2 3", "14 4", "4 2 1.5 2 1.5 2"];

/// Class that sets the colour of the series or group `at`.
pub(super) fn colour(at: usize) -> String {
    format!("c{}", at % COLOURS)
}

/// Dash pattern as an attribute; it shifts when the colours start again, so that 36 series can be told apart.
pub(super) fn dash(at: usize) -> String {
    match DASHES[(at + at / COLOURS) % DASHES.len()] {
        "" => String::new(),
        pattern => format!(" stroke-dasharray=\"{pattern}\""),
    }
}

/// The mark of the series or group `at`, a path around (x, y).
pub(super) fn mark(at: usize, x: f64, y: f64) -> String {
    let path = match (at + at / COLOURS) % 6 {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
        1 => "m-3.6-3.6h7.2v7.2h-7.2z",
        2 => "m0-4.8l4.6 8h-9.2z",
        3 => "m0-5l5 5l-5 5l-5-5z",
        4 => "m0 4.8l4.6-8h-9.2z",
        _ => "m-4.6-1.5h3.1v-3.1h3v3.1h3.1v3h-3.1v3.1h-3v-3.1h-3.1z",
    };
    format!(r#"<path class="mark" d="M{} {}{path}"/>"#, pixel(x), pixel(y))
}

/// An upright interval at `x`, with its ends.
pub(super) fn whisker(x: f64, low: f64, high: f64) -> String {
    let [start, middle, low, high] = [x - 2.5, x, low, high].map(pixel);
    format!(r#"<path class="whisker" d="M{start} {low}h5M{middle} {low}V{high}M{start} {high}h5"/>"#)
}

/// An interval in order, where both ends have a place.
pub(super) fn interval(low: f64, high: f64) -> Option<(f64, f64)> {
    let finite = placed(Spacing::Linear, low) && placed(Spacing::Linear, high);
    finite.then(|| (low.min(high), low.max(high)))
}

/// A list of names, each with a sample of its line and mark (`with_line`) or of its mark alone.
pub(super) fn key<'a>(names: impl Iterator<Item = (usize, &'a str)>, class: &str, with_line: bool) -> String {
    let mut list = format!("<ul class=\"key {class}\">");
    let wide = if with_line { 32.0 } else { 12.0 };
    for (at, name) in names {
        let line = match with_line {
            true => format!(r#"<path class="curve" d="M0 6H32"{}/>"#, dash(at)),
            false => String::new(),
        };
        let _ = write!(
            list,
            r#"<li class="{}"><svg viewBox="0 0 {wide} 12" width="{wide}" aria-hidden="true">{line}{}</svg>{}</li>"#,
            colour(at),
            mark(at, 0.5 * wide, 6.0),
            escape(name)
        );
    }
    list + "</ul>\n"
}

/// A remark under a figure; nothing when there is none.
pub(super) fn note(class: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p class=\"note {class}\">{}</p>\n", escape(text)) }
}

/// What a figure without anything to draw says.
pub(super) fn no_data() -> String {
    "<p class=\"none\">no data</p>\n".into()
}

/// `2 points have no place on the axes and are left out.`; nothing for 0.
pub(super) fn left_out(n: usize) -> String {
    match n {
        0 => String::new(),
        1 => "1 point has no place on the axes and is left out.".into(),
        more => format!("{} have no place on the axes and are left out.", count(more, "point")),
    }
}

/// `2 labels would overlap and stand under Values only.`; nothing for 0.
pub(super) fn hidden_labels(n: usize) -> String {
    match n {
        0 => String::new(),
        1 => "1 label would overlap and stands under Values only.".into(),
        more => format!("{} would overlap and stand under Values only.", count(more, "label")),
    }
}

/// An upright rectangle: left, top, right, bottom.
#[derive(Clone, Copy)]
pub(super) struct Block(pub(super) [f64; 4]);

impl Block {
    fn distance(&self, (x, y): (f64, f64)) -> f64 {
        let [left, top, right, bottom] = self.0;
        (left - x).max(x - right).max(0.0).hypot((top - y).max(y - bottom).max(0.0))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let ([left, top, right, bottom], [l, t, r, b]) = (self.0, other.0);
        left < r && l < right && top < b && t < bottom
    }
}

/// Small blocks along a line, every few pixels.
pub(super) fn along((x0, y0): (f64, f64), (x1, y1): (f64, f64)) -> impl Iterator<Item = Block> {
    let parts = ((x1 - x0).hypot(y1 - y0) / 5.0).ceil().max(1.0) as usize;
    (0..=parts).map(move |part| {
        let share = part as f64 / parts as f64;
        let (x, y) = (x0 + share * (x1 - x0), y0 + share * (y1 - y0));
        Block([x - 2.0, y - 2.0, x + 2.0, y + 2.0])
    })
}

/// Labels beside points, put where nothing else is.
pub(super) struct Labels {
    /// Left, top, right and bottom of where labels may stand.
    pub(super) bounds: [f64; 4],
    /// All labelled points: a label may not stand nearer to another point than to its own.
    pub(super) points: Vec<(f64, f64)>,
    /// What no label may cover.
    pub(super) taken: Vec<Block>,
    /// What a label covers only where there is no other place.
    pub(super) avoided: Vec<Block>,
}

impl Labels {
    /// A label beside (x, y) in the colour of the series or group `at`, or `None` where there is no free place. Right is tried before left, and level before above
    /// and below.
    pub(super) fn beside(&mut self, x: f64, y: f64, at: usize, label: &str) -> Option<String> {
        const GAP: f64 = 8.0;
        const RISE: f64 = 7.0;
        const PLACES: [(f64, f64); 8] = [
            (1.0, 0.0),
            (-1.0, 0.0),
            (1.0, -15.0),
            (-1.0, -15.0),
            (1.0, 15.0),
            (-1.0, 15.0),
            (0.0, -17.0),
            (0.0, 17.0),
        ];
        let half = 0.5 * width(label);
        let [left, top, right, bottom] = self.bounds;
        let places = PLACES.map(|(side, level)| {
            let (middle, level) = (x + side * (GAP + half), y + level);
            (side, Block([middle - half, level - RISE, middle + half, level + RISE]))
        });
        let free = |block: &Block, others: &[Block]| !others.iter().any(|other| other.overlaps(block));
        let inside = |Block([l, t, r, b]): &Block| left <= *l && top <= *t && *r <= right && *b <= bottom;
        let own = |block: &Block| self.points.iter().all(|other| block.distance((x, y)) <= block.distance(*other));
        let possible = || places.iter().filter(|(_, block)| inside(block) && free(block, &self.taken) && own(block));
        let (side, block) = *possible().find(|(_, block)| free(block, &self.avoided)).or_else(|| possible().next())?;
        self.taken.push(block);
        let (edge, anchor) = match side {
            right if right > 0.0 => (block.0[0], "start"),
            left if left < 0.0 => (block.0[2], "end"),
            _ => (block.0[0] + half, "middle"),
        };
        let [edge, base] = [edge, block.0[1] + RISE + 4.0].map(pixel);
        let (class, text) = (colour(at), escape(label));
        Some(format!(r#"<text class="tag {class}" x="{edge}" y="{base}" text-anchor="{anchor}">{text}</text>"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_overlap() {
        let mut labels =
            Labels { bounds: [0.0, 0.0, 200.0, 100.0], points: Vec::new(), taken: Vec::new(), avoided: Vec::new() };
        let placed: Vec<_> = (0..7).map(|_| labels.beside(100.0, 50.0, 0, "greedy")).collect();
        // Beside a point there are six places, as rows 15 px apart leave 14 px of text free; those in the middle overlap.
        assert_eq!(placed.iter().flatten().count(), 6);
        for (at, block) in labels.taken.iter().enumerate() {
            assert!(!labels.taken[..at].iter().any(|other| other.overlaps(block)));
        }
        assert!(labels.beside(190.0, 10.0, 0, "far too long a label for this little plot").is_none());
    }

    #[test]
    fn a_label_stands_nearest_to_its_own_point() {
        // To the right stands the other point; the label goes to the left.
        let points = vec![(100.0, 50.0), (115.0, 50.0)];
        let mut labels = Labels { bounds: [0.0, 43.0, 300.0, 57.0], points, taken: Vec::new(), avoided: Vec::new() };
        let label = labels.beside(100.0, 50.0, 1, "a").unwrap();
        assert_eq!(label, r#"<text class="tag c1" x="92" y="54" text-anchor="end">a</text>"#);
    }

    #[test]
    fn coordinates_have_one_decimal() {
        assert_eq!([pixel(12.34), pixel(-0.01), pixel(3.0)], ["12.3", "0", "3"]);
    }
}
