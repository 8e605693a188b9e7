//! `cargo xtask bench growth`: seconds and peak memory of ours against length, group, vocabulary and batch.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::document::{Section, machine, number};
use super::environment::Environment;
use super::jobs::{Ids, input};
use super::{our_program, run_ours, write_input};
use crate::process::root;

/// One sweep: a job whose input grows with x.
struct Sweep {
    /// Which panel of the figure it is drawn in: the name of x.
    panel: &'static str,
    /// What is run.
    what: &'static str,
    job: &'static str,
    sizes: &'static [usize],
    more: fn(usize) -> Value,
}

/// What is measured. Sweeps of one panel stand together.
const SWEEPS: &[Sweep] = &[
    Sweep {
        panel: "sequence length (tokens)",
        what: "training step, 1 row",
        job: "growth_train",
        sizes: &[128, 256, 512, 1024, 2048, 4096],
        more: |length| rows(1, length),
    },
    Sweep {
        panel: "group size (responses)",
        what: "score 64 tokens each after 512",
        job: "growth_score",
        sizes: &[1, 4, 16, 32, 64],
        more: |group| {
            let mut draw = Ids::new(11);
            let prompt = draw.text(512);
            let row = |_| json!({"prompt": prompt, "response": draw.text(64)});
            json!({"rows": (0..group).map(row).collect::<Vec<_>>()})
        },
    },
    Sweep {
        panel: "group size (responses)",
        what: "sample 32 tokens each after 512",
        job: "growth_decode",
        sizes: &[1, 4, 16, 32, 64],
        more: |group| json!({"prompt": Ids::new(12).text(512), "samples": group, "new_tokens": 32}),
    },
    Sweep {
        panel: "vocabulary (tokens)",
        what: "training step, width 128, 4 x 128 tokens",
        job: "growth_train",
        sizes: &[1024, 16_384, 32_768, 65_536, 131_072],
        more: |vocabulary| {
            let mut draw = Ids::new(13);
            let rows: Vec<_> = (0..4).map(|_| draw.of(0..vocabulary as u64, 128)).collect();
            json!({"rows": rows, "learning_rate": 1e-5, "vocabulary": vocabulary})
        },
    },
    Sweep {
        panel: "tokens of a pair (prompt counted once)",
        what: "DPO step with LoRA, 1 pair",
        job: "growth_lora",
        sizes: &[256, 512, 1024, 2048],
        more: |tokens| {
            let mut draw = Ids::new(14);
            let pair = json!({
                "prompt": draw.text(tokens / 2), "chosen": draw.text(tokens / 4), "rejected": draw.text(tokens / 4),
            });
            json!({"pairs": [pair], "beta": 0.1, "learning_rate": 1e-5, "max_grad_norm": 1.0})
        },
    },
    Sweep {
        panel: "batch (rows of 128 tokens)",
        what: "training step",
        job: "growth_train",
        sizes: &[1, 2, 4, 8, 16],
        more: |batch| rows(batch, 128),
    },
];

fn rows(batch: usize, length: usize) -> Value {
    let mut draw = Ids::new(10);
    json!({"rows": (0..batch).map(|_| draw.text(length)).collect::<Vec<_>>(), "learning_rate": 1e-5})
}

/// One measured point.
struct Point {
    x: f64,
    seconds: f64,
    gib: f64,
}

/// Measures every sweep, then writes `docs/growth.svg` and the table.
pub fn growth() -> Result<()> {
    let environment = Environment::ready()?;
    let ours = our_program()?;
    let (mut measured, mut table) = (Vec::new(), Vec::new());
    for sweep in SWEEPS {
        let mut points = Vec::new();
        for size in sweep.sizes {
            let path = write_input(sweep.job, &input(&environment, 3, (sweep.more)(*size))?)?;
            let answer = run_ours(&ours, sweep.job, &path)?;
            let gib = answer.peak_rss_bytes / f64::from(1 << 30);
            let seconds = answer.median_seconds();
            println!("{}, {}: {size}: {} s, {gib:.2} GiB", sweep.what, sweep.panel, number(seconds));
            table.push(vec![
                sweep.what.into(),
                sweep.panel.into(),
                size.to_string(),
                number(seconds),
                format!("{gib:.2}"),
            ]);
            points.push(Point { x: *size as f64, seconds, gib });
        }
        measured.push((sweep, points));
    }
    let columns = ["work", "against", "size", "seconds", "peak GiB"];
    Section::new("growth", "cargo xtask bench growth", &format!("{}.", machine()?), &columns).set_rows(&table)?;
    fs::write(root().join("docs").join("growth.svg"), figure(&measured)).context("docs/growth.svg")
}

const WIDTH: f64 = 250.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 40.0;
const GAP: f64 = 66.0;
const COLOURS: [&str; 2] = ["#0b62a4", "#b0440a"];

/// Seconds in the upper row, memory in the lower one; both axes start at 0, so that linear growth is a straight line.
fn figure(measured: &[(&Sweep, Vec<Point>)]) -> String {
    let mut panels: Vec<Vec<&(&Sweep, Vec<Point>)>> = Vec::new();
    for entry in measured {
        match panels.last_mut().filter(|panel| panel[0].0.panel == entry.0.panel) {
            Some(panel) => panel.push(entry),
            None => panels.push(vec![entry]),
        }
    }
    let width = panels.len() as f64 * (WIDTH + GAP) + 10.0;
    let height = 2.0 * (HEIGHT + TOP + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#596270\">\n\
         <title>Seconds and peak memory against size</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (column, panel) in panels.iter().enumerate() {
        let left = LEFT + column as f64 * (WIDTH + GAP);
        svg += &draw(panel, left, TOP, "seconds", |point| point.seconds);
        svg += &draw(panel, left, TOP + HEIGHT + TOP + GAP, "peak GiB", |point| point.gib);
    }
    svg + "</svg>\n"
}

/// One panel, with its upper left corner at (`left`, `top`).
fn draw(panel: &[&(&Sweep, Vec<Point>)], left: f64, top: f64, name: &str, y: impl Fn(&Point) -> f64) -> String {
    let points = || panel.iter().flat_map(|(_, points)| points);
    let x_high = points().map(|point| point.x).fold(0.0, f64::max);
    let y_high = points().map(&y).fold(0.0, f64::max) * 1.05;
    let (bottom, right) = (top + HEIGHT, left + WIDTH);
    let place = |point: &Point| (left + WIDTH * point.x / x_high, bottom - HEIGHT * y(point) / y_high);
    let mut svg = String::new();
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (at_x, at_y) = (left + share * WIDTH, bottom - share * HEIGHT);
        let (x_label, y_label) = (share * x_high, number(share * y_high));
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {at_y:.1}H{right:.1}\" stroke=\"#e3e7eb\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{at_x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_label:.0}</text>",
            left - 6.0,
            at_y + 4.0,
            if part == 0 { "0" } else { &y_label },
            bottom + 16.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b1f24\">{name}</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#1b1f24\">{}</text>",
        left - 44.0,
        top - 24.0,
        left + WIDTH / 2.0,
        bottom + 34.0,
        panel[0].0.panel,
    );
    for (at, (sweep, points)) in panel.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let placed: Vec<_> = points.iter().map(place).collect();
        let joined: Vec<_> = placed.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>",
            joined.join(" ")
        );
        for (x, y) in placed {
            let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
        }
        let level = top - 8.0 + 14.0 * at as f64;
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{level:.1}\" fill=\"{colour}\">{}</text>", left + 6.0, sweep.what);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_of_one_panel_share_it() {
        let points = || vec![Point { x: 1.0, seconds: 1.0, gib: 2.0 }, Point { x: 2.0, seconds: 2.0, gib: 2.0 }];
        let measured: Vec<_> = SWEEPS.iter().map(|sweep| (sweep, points())).collect();
        let svg = figure(&measured);
        // Two rows; two of the six sweeps share a panel, and each has its own line in it.
        assert_eq!(svg.matches("group size").count(), 2);
        assert_eq!(svg.matches("<polyline").count(), 12);
        // The first panel, seconds: x = 1 of 2 is the middle, y = 1 of 2.1 is 170 / 2.1 = 81 above the bottom.
        assert!(svg.contains("points=\"177.0,129.0 302.0,48.1\""), "{svg}");
    }
}
