//! What holds for every report: it is well formed, needs nothing from outside, is the same each time, and draws within its
//! bounds.

use std::collections::BTreeSet;

use ascribe_eval::calibrate::Bin;
use ascribe_eval::curve::{OverOptimization, OverOptimizationFit};
use ascribe_eval::report::{
    Alternative, CountMatrix, Figure, Forest, ForestRow, Group, HeatMap, HeatRow, Lines, Pareto, Point, Points,
    Reliability, Report, RewardCurve, RewardCurves, SearchTree, Series, Spacing, Table, TreeNode,
};
use ascribe_eval::{Estimate, Interval};
use proptest::prelude::*;

use crate::samples;

/// Checks that every tag that is opened is closed in order, and that no text holds a bare `<`.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document");
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>') || open.last() == Some(&"style"), "a bare > before {}", &rest[start..]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        match (tag.starts_with('/'), tag.ends_with('/') || ["meta", "br"].contains(&name)) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, false) => open.push(name),
            (false, true) => {}
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// The values of an attribute.
fn values<'a>(markup: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    markup.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect()
}

/// The coordinates of a path's absolute commands; what is relative to them is the shape of a mark.
fn path(drawn: &str) -> [Vec<f64>; 2] {
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for (at, command) in drawn.char_indices().filter(|(_, letter)| letter.is_ascii_uppercase()) {
        let rest = &drawn[at + 1..];
        let end = rest.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(rest.len());
        let numbers: Vec<f64> = rest[..end].split(' ').map(|number| number.parse().expect("a coordinate")).collect();
        match (command, &numbers[..]) {
            ('M' | 'L', [x, y]) => {
                xs.push(*x);
                ys.push(*y);
            }
            ('H', [x]) => xs.push(*x),
            ('V', [y]) => ys.push(*y),
            _ => panic!("{command} with {numbers:?} in {drawn}"),
        }
    }
    [xs, ys]
}

/// Checks that everything is drawn inside the picture, and what stands for numbers inside the plot.
fn assert_inside(html: &str) {
    let drawings = html.split("<svg class=\"").skip(1).map(|rest| rest.split("</svg>").next().unwrap_or_default());
    for drawing in drawings {
        let number = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("`{text}` is no number in {drawing}"));
        let frame: Vec<f64> = values(drawing, "viewBox")[0].split(' ').map(number).collect();
        let (width, height) = (frame[2], frame[3]);
        for (attributes, most) in [(["x", "x1", "x2", "cx"], width), (["y", "y1", "y2", "cy"], height)] {
            for attribute in attributes {
                for value in values(drawing, attribute) {
                    assert!((0.0..=most).contains(&number(value)), "{attribute} {value} of {most} in {drawing}");
                }
            }
        }
        // The first line of this class is the base line of the plot.
        let base = drawing.split("<line class=\"axis\"").nth(1).expect("a horizontal axis");
        let [left, right, bottom] = ["x1", "x2", "y1"].map(|attribute| number(values(base, attribute)[0]));
        for class in ["mark", "curve", "raw", "whisker", "area", "rule"] {
            for element in drawing.split(&format!("<path class=\"{class}")).skip(1) {
                let [xs, ys] = path(values(element, "d")[0]);
                // Points that would hide each other stand side by side, a few pixels from their place.
                let within = |x: &f64| (left - 20.0..=right + 20.0).contains(x);
                assert!(xs.iter().all(within), "{class} outside {left} to {right}: {xs:?}");
                assert!(ys.iter().all(|y| (16.0..=bottom).contains(y)), "{class} outside 16 to {bottom}: {ys:?}");
            }
        }
    }
}

fn bounded() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, 1e-320, 1e299, -1e299];
    prop_oneof![-5.0..5.0, -1e9..1e9, any::<f64>(), prop::sample::select(odd.to_vec())]
}

/// Every kind of figure from the same numbers.
fn all_kinds(name: &str, points: &[(f64, f64, f64, f64)], planted: (usize, usize)) -> Vec<Figure> {
    let label = || name.to_owned();
    let spacing = if points.len().is_multiple_of(2) { Spacing::Linear } else { Spacing::Log10 };
    let pairs: Vec<(f64, f64)> = points.iter().map(|(x, y, ..)| (*x, *y)).collect();
    let series = Series { name: label(), best: pairs.first().copied(), points: pairs.clone() };
    let point =
        |(x, y, low, high): &(f64, f64, f64, f64)| Point { x: *x, y: *y, low: *low, high: *high, label: label() };
    let row = |(value, low, high, n): &(f64, f64, f64, f64)| ForestRow {
        name: label(),
        value: *value,
        low: *low,
        high: *high,
        n: (*n > 0.0).then_some(*n as usize),
    };
    let bin = |(confidence, value, low, high): &(f64, f64, f64, f64)| {
        let interval = Some(Interval { low: *low, high: *high, level: 0.95, method: "any" });
        let accuracy = Some(Estimate { value: *value, interval, n: 3 });
        Bin { low: low.abs().fract(), high: high.abs().fract(), n: 3, confidence: Some(*confidence), accuracy }
    };
    let fit = points.first().map(|(alpha, beta, rmse, _)| OverOptimizationFit {
        form: OverOptimization::Rl,
        alpha: *alpha,
        beta: *beta,
        errors: None,
        rmse: *rmse,
        aic: None,
        n: 3,
        dropped: 0,
    });
    let alternatives = pairs.iter().map(|(x, y)| Alternative { name: label(), x: *x, y: *y });
    let tree = pairs.iter().map(|(parent, value)| TreeNode {
        parent: (*parent >= 0.0).then_some(*parent as usize),
        text: label(),
        value: *value,
        visits: Some(1),
        tokens: None,
        chosen: *value > 0.0,
    });
    let tokens = pairs.iter().map(|(x, _)| (label(), *x as f32)).collect();
    let heat = HeatRow { label: label(), tokens, planted: Some(planted.0..planted.1), note: label() };
    let (x_label, y_label) = (label(), label());
    vec![
        Lines { x_label: label(), y_label: label(), series: vec![series.clone(), series] }.into(),
        Points {
            x_label: label(),
            y_label: label(),
            x_spacing: spacing,
            groups: vec![Group { name: label(), points: points.iter().map(point).collect() }],
        }
        .into(),
        Forest {
            label: label(),
            rows: points.iter().map(row).collect(),
            reference: points.first().map(|point| point.3),
        }
        .into(),
        Reliability { x_label: label(), y_label: label(), bins: points.iter().map(bin).collect() }.into(),
        RewardCurves {
            x_label: label(),
            y_label: label(),
            curves: vec![RewardCurve { name: label(), points: pairs.clone(), fit }],
        }
        .into(),
        Pareto { x_label, y_label, points: alternatives.collect(), reference: pairs.first().copied() }.into(),
        CountMatrix {
            row_label: label(),
            column_label: label(),
            rows: vec![label()],
            columns: vec![label(), label()],
            counts: pairs.iter().map(|(x, y)| vec![x.abs() as u64, y.abs() as u64]).collect(),
        }
        .into(),
        HeatMap { rows: vec![heat] }.into(),
        SearchTree { nodes: tree.collect() }.into(),
    ]
}

proptest! {
    #[test]
    fn any_numbers_give_a_well_formed_report_that_draws_inside_its_plots(
        points in prop::collection::vec((bounded(), bounded(), bounded(), bounded()), 0..40),
        name in any::<String>(),
        planted in (0usize..9, 0usize..9),
    ) {
        let start = Report::new(name.clone()).lead(&name);
        let figures = all_kinds(&name, &points, planted).into_iter();
        let html = figures.fold(start, |report, figure| report.figure(&name, figure)).to_html();
        assert_well_formed(&html);
        assert_inside(&html);
    }

    #[test]
    fn shares_are_drawn_inside_their_plots(
        points in prop::collection::vec((0.0..=1.0, 0.0..=1.0, 0.0..=1.0, 0.0..=1.0), 1..12),
    ) {
        let figures = all_kinds("a", &points, (0, 1)).into_iter();
        let html = figures.fold(Report::new("t"), |report, figure| report.figure("c", figure)).to_html();
        assert!(!html.contains("NaN"), "{html}");
        assert_inside(&html);
    }

    #[test]
    fn decimation_never_moves_an_extreme(ys in prop::collection::vec(-1e3..1e3f64, 1..3000)) {
        let points: Vec<_> = ys.iter().enumerate().map(|(at, y)| (at as f64, *y)).collect();
        let lines = Lines { series: vec![Series { points, ..Series::default() }], ..Lines::default() };
        let html = Report::new("t").figure("c", lines).to_html();
        // Without a margin of 5 % at both ends the extremes lie on the edges of the plot: 30 to 294 pixels, so with it
        // they lie at 30 + 264 * 0.05 / 1.1 = 42 and 282.
        let class = if ys.len() > 120 { "raw" } else { "curve" };
        let wide = html.split(&format!("<path class=\"{class}\" d=\"")).nth(1).unwrap().split('"').next().unwrap();
        let heights = wide.split(['M', 'L']).skip(1).map(|pair| pair.split(' ').nth(1).unwrap().parse::<f64>().unwrap());
        let (low, high) = heights.fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
        if ys.len() > 1 {
            prop_assert_eq!((low, high), (42.0, 282.0));
        }
    }
}

#[test]
fn a_report_is_well_formed_and_the_same_each_time() {
    let html = samples::report().to_html();
    assert_well_formed(&html);
    assert_eq!(html, samples::report().to_html());
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    assert_eq!(html.matches("role=\"img\"").count(), html.matches("</desc>").count());
}

#[test]
fn every_name_and_label_is_escaped() {
    let name = "<script>alert('\"&\"')</script>";
    let points = [(0.2, 0.4, 0.3, 0.5), (0.7, 0.6, 0.5, 0.9)];
    let start = Report::new(name).lead(name).section(name).text(name).facts([(name, name)]);
    let html = all_kinds(name, &points, (0, 1)).into_iter().fold(start, |report, figure| report.figure(name, figure));
    let html = html.to_html();
    assert_well_formed(&html);
    assert!(!html.contains("<script") && !html.contains("alert('") && html.contains("&lt;script&gt;"));
}

#[test]
fn samples_are_drawn_inside_their_plots() {
    let html = samples::report().to_html();
    assert_inside(&html);
    assert!(!html.contains("NaN") && !html.contains("no data"));
}

#[test]
fn a_report_needs_nothing_from_outside() {
    let html = samples::report().to_html();
    for absent in ["http://", "https://", "<script", "src=", "href=", "url(", "@import", "<link"] {
        assert!(!html.contains(absent), "{absent}");
    }
}

#[test]
fn nothing_to_show_says_no_data() {
    let empty_bin = Bin { low: 0.0, high: 0.1, n: 0, confidence: None, accuracy: None };
    let nan = Series { points: vec![(f64::NAN, 1.0)], ..Series::default() };
    let figures: Vec<Figure> = vec![
        Lines::default().into(),
        Lines { series: vec![nan], ..Lines::default() }.into(),
        Points { groups: vec![Group::default()], ..Points::default() }.into(),
        HeatMap::default().into(),
        HeatMap { rows: vec![HeatRow { tokens: vec![("a".into(), f32::NAN)], ..HeatRow::default() }] }.into(),
        Forest::default().into(),
        Forest { rows: vec![ForestRow { value: f64::NAN, ..ForestRow::default() }], ..Forest::default() }.into(),
        Reliability::default().into(),
        Reliability { bins: vec![empty_bin], ..Reliability::default() }.into(),
        RewardCurves::default().into(),
        RewardCurves { curves: vec![RewardCurve::default()], ..RewardCurves::default() }.into(),
        Pareto::default().into(),
        Pareto { reference: Some((0.0, 0.0)), ..Pareto::default() }.into(),
        CountMatrix::default().into(),
        CountMatrix { rows: vec!["a".into()], columns: vec!["b".into()], ..CountMatrix::default() }.into(),
        SearchTree::default().into(),
    ];
    for figure in figures {
        let html = Report::new("t").figure("c", figure).to_html();
        assert_well_formed(&html);
        assert!(html.contains("no data"));
    }
    let empty: [(&str, &str); 0] = [];
    let html = Report::new("").lead("").table("", Table::default()).facts(empty).to_html();
    assert_well_formed(&html);
    assert_eq!(html.matches("no data").count(), 2);
}

#[test]
fn a_series_without_points_is_named() {
    let series = ["full", "empty"].map(|name| Series { name: name.into(), ..Series::default() });
    let mut lines = Lines { series: series.to_vec(), ..Lines::default() };
    lines.series[0].points = vec![(1.0, 1.0)];
    assert!(Report::new("t").figure("c", lines).to_html().contains("No data for empty."));
}

/// Relative luminance by WCAG 2.2 of a colour with channels from 0 to 255.
fn luminance(rgb: [f64; 3]) -> f64 {
    let linear = rgb.map(|channel| channel / 255.0).map(|channel| match channel {
        dark if dark <= 0.04045 => dark / 12.92,
        bright => ((bright + 0.055) / 1.055).powf(2.4),
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn contrast_reaches_wcag_aa() {
    assert!((contrast([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
    let css = include_str!("../../src/report/style.css");
    let themes: Vec<&str> = css.split("--paper:").skip(1).map(|theme| theme.split('}').next().unwrap()).collect();
    assert_eq!(themes.len(), 2);
    for theme in themes {
        let colour = |name: &str| -> [f64; 3] {
            let value = theme.split(&format!("--{name}:")).nth(1).unwrap_or(theme).split(';').next().unwrap().trim();
            let channel = |at: usize| match value.strip_prefix('#') {
                Some(hex) => f64::from(u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()),
                None => value.split(' ').nth(at).unwrap().parse().unwrap(),
            };
            [channel(0), channel(1), channel(2)]
        };
        let text = ["ink", "soft", "s0", "s1", "s2", "s3", "s4", "s5"];
        let on_paper = text.map(|name| (name, "paper"));
        for (front, back) in on_paper.into_iter().chain([("ink", "pos"), ("ink", "neg")]) {
            let got = contrast(colour(front), colour(back));
            assert!(got >= 4.5, "{front} on {back}: {got:.2}");
        }
    }
}
