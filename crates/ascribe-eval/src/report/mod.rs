//! Reports: one HTML file with tables and figures that needs no network and no script.
//!
//! Drawings are inline SVG. Colours follow the reader's light or dark setting, and print is always light. The same report
//! gives the same bytes. Nothing here writes a file.
//!
//! ```
//! use ascribe_eval::report::{Lines, Report, Series};
//!
//! let curve = Series { name: "t-reg".into(), points: vec![(0.0, 0.69), (100.0, 0.41)], best: None };
//! let curves = Lines { x_label: "step".into(), y_label: "loss".into(), series: vec![curve] };
//! let html = Report::new("Run 1").section("Training").figure("Training loss.", curves).to_html();
//! assert!(html.contains("<svg") && !html.contains("://"));
//! ```

mod axis;
mod forest;
mod heat;
mod lines;
mod matrix;
mod pareto;
mod plot;
mod points;
mod reliability;
mod rewards;
mod table;
mod text;
mod tree;

use std::fmt::Write;

use text::escape;

pub use axis::Spacing;
pub use forest::{Forest, ForestRow};
pub use heat::{HeatMap, HeatRow};
pub use lines::{Lines, Series};
pub use matrix::CountMatrix;
pub use pareto::{Alternative, Pareto};
pub use points::{Group, Point, Points};
pub use reliability::Reliability;
pub use rewards::{RewardCurve, RewardCurves};
pub use table::{Align, Column, Table};
pub use text::number;
pub use tree::{SearchTree, TreeNode};

/// A report, built from top to bottom.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    title: String,
    parts: Vec<Part>,
}

/// Something that can be shown with a caption.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Lines, such as learning curves.
    Lines(Lines),
    /// Points with intervals, such as accuracy against tokens.
    Points(Points),
    /// Estimates one below another.
    Forest(Forest),
    /// How often it is right, against how often it is said to be.
    Reliability(Reliability),
    /// Over-optimisation.
    RewardCurves(RewardCurves),
    /// What two goals cost each other.
    Pareto(Pareto),
    /// Counts of one thing against another.
    CountMatrix(CountMatrix),
    /// Credit over text.
    HeatMap(HeatMap),
    /// A search, to be folded.
    SearchTree(SearchTree),
}

macro_rules! figure_from {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Figure {
            fn from(figure: $kind) -> Self {
                Self::$kind(figure)
            }
        })*
    };
}

figure_from!(Lines, Points, Forest, Reliability, RewardCurves, Pareto, CountMatrix, HeatMap, SearchTree);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Lead(String),
    Section(String),
    Text(String),
    Facts(Vec<(String, String)>),
    Table(String, Table),
    Figure(String, Figure),
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), parts: Vec::new() }
    }

    /// A paragraph in larger type: what was done and what came out.
    pub fn lead(self, paragraph: impl Into<String>) -> Self {
        self.with(Part::Lead(paragraph.into()))
    }

    /// A heading; what follows stands under it.
    pub fn section(self, heading: impl Into<String>) -> Self {
        self.with(Part::Section(heading.into()))
    }

    /// A paragraph.
    pub fn text(self, paragraph: impl Into<String>) -> Self {
        self.with(Part::Text(paragraph.into()))
    }

    /// Names with values: configuration, seed, versions.
    pub fn facts<N: Into<String>, V: Into<String>>(self, facts: impl IntoIterator<Item = (N, V)>) -> Self {
        self.with(Part::Facts(facts.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// A table. Tables are numbered.
    pub fn table(self, caption: impl Into<String>, table: Table) -> Self {
        self.with(Part::Table(caption.into(), table))
    }

    /// A figure of any kind. Figures are numbered.
    pub fn figure(self, caption: impl Into<String>, figure: impl Into<Figure>) -> Self {
        self.with(Part::Figure(caption.into(), figure.into()))
    }

    /// The whole file.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
            include_str!("style.css")
        );
        let (mut tables, mut figures) = (0, 0);
        for part in &self.parts {
            let _ = match part {
                Part::Lead(text) => writeln!(html, "<p class=\"lead\">{}</p>", escape(text)),
                Part::Section(heading) => writeln!(html, "<h2>{}</h2>", escape(heading)),
                Part::Text(text) => writeln!(html, "<p>{}</p>", escape(text)),
                Part::Facts(facts) => writeln!(html, "{}", definitions(facts)),
                Part::Table(caption, table) => {
                    tables += 1;
                    html.write_str(&table.to_html(&numbered("Table", tables, caption)))
                }
                Part::Figure(caption, figure) => {
                    figures += 1;
                    let id = format!("figure-{figures}");
                    let drawn = match figure {
                        Figure::Lines(lines) => lines.to_html(&id, caption),
                        Figure::Points(points) => points.to_html(&id, caption),
                        Figure::Forest(forest) => forest.to_html(&id, caption),
                        Figure::Reliability(diagram) => diagram.to_html(&id, caption),
                        Figure::RewardCurves(curves) => curves.to_html(&id, caption),
                        Figure::Pareto(front) => front.to_html(&id, caption),
                        Figure::CountMatrix(matrix) => matrix.to_html(),
                        Figure::HeatMap(map) => map.to_html(),
                        Figure::SearchTree(tree) => tree.to_html(),
                    };
                    let caption = numbered("Figure", figures, caption);
                    writeln!(html, "<figure id=\"{id}\">\n{drawn}<figcaption>{caption}</figcaption>\n</figure>")
                }
            };
        }
        html + "</main>\n</body>\n</html>\n"
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }
}

fn numbered(kind: &str, number: usize, caption: &str) -> String {
    format!("<span class=\"number\">{kind} {number}.</span> {}", escape(caption))
}

fn definitions(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return plot::no_data();
    }
    let rows = facts.iter().map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)));
    format!("<dl>\n{}</dl>", rows.collect::<String>())
}
