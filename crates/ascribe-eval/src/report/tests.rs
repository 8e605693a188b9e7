//! What holds for every report: it is well formed, needs nothing from outside, and is the same each time.

use std::f64::consts::LN_2;

use proptest::prelude::*;

use super::*;

/// Checks that every tag that is opened is closed in order, and that no text holds a bare `<`.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>') || open.last() == Some(&"style"), "a bare > before {}", &rest[start..]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match (tag.starts_with('/'), tag.ends_with('/') || ["meta", "br"].contains(&name)) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, false) => open.push(name),
            (false, true) => {}
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// A report with one of everything, with curves that look like learning curves.
fn sample() -> Report {
    let wobble = |i: i32| f64::from(i * 7919 % 101) / 101.0 - 0.5;
    let curve = |name: &str, floor: f64, n: i32| {
        let loss = |i: i32| floor + (LN_2 - floor) * (-3.0 * f64::from(i) / f64::from(n)).exp() + 0.05 * wobble(i);
        let points: Vec<_> = (0..n).map(|i| (f64::from(i), loss(i))).collect();
        let best = points.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        Series { name: name.into(), points, best }
    };
    let mut broken = curve("diverged", 0.5, 300);
    for at in 150..200 {
        broken.points[at].1 = f64::NAN;
    }
    broken.best = None;
    let losses = Lines {
        x_label: "optimizer step".into(),
        y_label: "training loss (nats)".into(),
        series: vec![curve("DPO", 0.31, 1500), curve("T-REG", 0.28, 1500), broken],
    };
    let held_out = |name: &str, top: f64| Series {
        name: name.into(),
        points: (0..=6).map(|i| (f64::from(50 * i), top - 0.4 * (-f64::from(i)).exp())).collect(),
        best: Some((300.0, top - 0.4 * (-6.0_f64).exp())),
    };
    let names = ["starting model", "DPO", "T-REG (the flagship, with a name that is too long to stand at the end)"];
    let held_out = Lines {
        x_label: "optimizer step".into(),
        y_label: "held-out reward accuracy".into(),
        series: names.iter().zip([0.5, 0.71, 0.74]).map(|(name, top)| held_out(name, top)).collect(),
    };
    let decoders = [
        ("greedy", 14.0, 0.0),
        ("majority@4", 57.0, 0.05),
        ("best-of-4", 58.0, 0.07),
        ("majority@16", 230.0, 0.09),
        ("best-of-16", 231.0, 0.12),
    ];
    let group = |name: &str, base: f64| Group {
        name: name.into(),
        points: decoders
            .iter()
            .map(|(label, x, gain)| Point {
                x: *x,
                y: base + gain,
                low: base + gain - 0.035,
                high: base + gain + 0.033,
                label: (*label).into(),
            })
            .collect(),
    };
    let accuracy = Points {
        x_label: "sampled tokens a problem".into(),
        y_label: "accuracy (95 % interval)".into(),
        x_spacing: Spacing::Log10,
        groups: vec![group("start", 0.42), group("DPO", 0.55), group("T-REG", 0.61)],
    };
    let text = [
        "((", "3", "+", "5", ")*", "2", "-", "4", ")%", "10", "\n", "3", "+", "5", " = ", "8", " ; ", "8", "*", "2",
        " = ", "17", " ; ", "17", "-", "4", " = ", "13", "\n", "13", "%", "10", " = ", "3",
    ];
    let credit = |seed: i32| {
        move |(at, token): (usize, &&str)| {
            let planted = if (17..22).contains(&at) { -0.25 - 0.1 * f64::from(seed) } else { 0.06 };
            let value = if at < 11 { 0.0 } else { planted + 0.25 * wobble(at as i32 + seed) };
            ((*token).to_string(), value as f32)
        }
    };
    let row = |label: &str, seed| HeatRow {
        label: label.into(),
        tokens: text.iter().enumerate().map(credit(seed)).collect(),
        planted: Some(17..22),
        note: format!("AUROC of the planted step 0.{}", 91 + seed),
    };
    let cells = |cells: [&str; 6]| cells.map(String::from).to_vec();
    let columns = vec![
        Column::left("model"),
        Column::left("decoder"),
        Column::right("accuracy"),
        Column::right("95 % interval"),
        Column::right("sampled tokens"),
        Column::right("seconds"),
    ];
    let rows = vec![
        cells(["start", "greedy", "0.420", "0.377 to 0.463", "7000", "1.2"]),
        cells(["DPO", "greedy", "0.550", "0.506 to 0.593", "7012", "1.2"]),
        cells(["T-REG <DPO-REG>", "majority@16", "0.700", "0.658 to 0.738", "115431", "18.9"]),
    ];
    Report::new("Chain arithmetic: T-REG & DPO")
        .lead("Two models aligned from the same start, decoded at equal budget. Both beat the start; T-REG and DPO differ by less than their intervals.")
        .section("Results")
        .table("Accuracy on 500 held-out problems, with Wilson intervals.", Table { columns, rows })
        .figure("Accuracy against sampled tokens. Whiskers are 95 % intervals.", accuracy)
        .section("Training")
        .text("Loss is summed over response tokens and averaged over pairs. A ring marks the checkpoint that was kept.")
        .figure("Training loss.", losses)
        .figure("Held-out reward accuracy.", held_out)
        .section("Token credit")
        .figure("Credit of each token in a solution with a planted mistake.", HeatMap { rows: vec![row("T-REG, contrastive prompts", 1), row("DPO, log-ratio", 0)] })
        .section("Set-up")
        .facts([("seed", "0"), ("ascribe", "0.1.0"), ("policy", "Llama, 2 layers, width 64"), ("pairs", "2048")])
}

fn bounded() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, 1e-320, 1e299, -1e299];
    prop_oneof![-5.0..5.0, -1e9..1e9, any::<f64>(), prop::sample::select(odd.to_vec())]
}

proptest! {
    #[test]
    fn any_numbers_give_a_well_formed_report(
        points in prop::collection::vec((bounded(), bounded(), bounded(), bounded()), 0..40),
        name in any::<String>(),
        planted in (0usize..9, 0usize..9),
    ) {
        let spacing = if points.len() % 2 == 0 { Spacing::Linear } else { Spacing::Log10 };
        let pairs: Vec<_> = points.iter().map(|(x, y, ..)| (*x, *y)).collect();
        let lines = Series { name: name.clone(), best: pairs.first().copied(), points: pairs.clone() };
        let lines = Lines { x_label: name.clone(), y_label: name.clone(), series: vec![lines.clone(), lines] };
        let group = points.iter().map(|(x, y, low, high)| Point { x: *x, y: *y, low: *low, high: *high, label: name.clone() });
        let groups = vec![Group { name: name.clone(), points: group.collect() }];
        let plot = Points { x_label: name.clone(), y_label: name.clone(), x_spacing: spacing, groups };
        let tokens = pairs.iter().map(|(x, _)| (name.clone(), *x as f32)).collect();
        let planted = Some(planted.0..planted.1);
        let map = HeatMap { rows: vec![HeatRow { label: name.clone(), tokens, planted, note: name.clone() }] };
        let report = Report::new(name.clone()).lead(&name).figure(&name, lines).figure(&name, plot).figure(&name, map);
        let html = report.to_html();
        assert_well_formed(&html);
        let drawn = &html[html.find("</style>").unwrap()..];
        for attribute in [" d=\"", " x=\"", " cx=\"", " y1=\"", " y2=\""] {
            for value in drawn.split(attribute).skip(1) {
                let value = value.split('"').next().unwrap();
                prop_assert!(!value.contains("NaN") && !value.contains("inf"), "{attribute}{value}");
            }
        }
    }

    #[test]
    fn decimation_never_moves_an_extreme(ys in prop::collection::vec(-1e3..1e3f64, 1..3000)) {
        let points: Vec<_> = ys.iter().enumerate().map(|(at, y)| (at as f64, *y)).collect();
        let lines = Lines { series: vec![Series { points, ..Series::default() }], ..Lines::default() };
        let html = lines.to_html("f", "t");
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
    let html = sample().to_html();
    assert_well_formed(&html);
    assert_eq!(html, sample().to_html());
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    assert_eq!(html.matches("role=\"img\"").count(), html.matches("</desc>").count());
}

#[test]
fn a_report_needs_nothing_from_outside() {
    let html = sample().to_html();
    for absent in ["http://", "https://", "<script", "src=", "href=", "url(", "@import", "<link"] {
        assert!(!html.contains(absent), "{absent}");
    }
}

#[test]
fn nothing_to_show_says_no_data() {
    let nan = Series { points: vec![(f64::NAN, 1.0)], ..Series::default() };
    let figures: [Figure; 5] = [
        Lines::default().into(),
        Lines { series: vec![nan], ..Lines::default() }.into(),
        Points { groups: vec![Group::default()], ..Points::default() }.into(),
        HeatMap::default().into(),
        HeatMap { rows: vec![HeatRow { tokens: vec![("a".into(), f32::NAN)], ..HeatRow::default() }] }.into(),
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
    assert!(lines.to_html("f", "t").contains("No data for empty."));
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
    let css = include_str!("style.css");
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
