//! A report with every kind of figure.

use std::f64::consts::LN_2;

use ascribe_eval::calibrate::{Binning, reliability};
use ascribe_eval::curve::{OverOptimization, Saturated, fit_over_optimization};
use ascribe_eval::report::{
    Alternative, Column, CountMatrix, Figure, Forest, ForestRow, Group, HeatMap, HeatRow, Lines, Pareto, Point, Points,
    Reliability, Report, RewardCurve, RewardCurves, SearchTree, Series, Spacing, Table, TreeNode,
};
use ascribe_eval::wilson;

/// Every kind of figure with the name of its snapshot and a caption.
pub fn figures() -> Vec<(&'static str, &'static str, Figure)> {
    vec![
        ("learning_curves", "Training loss.", losses().into()),
        ("held_out", "Held-out reward accuracy. A ring marks the best checkpoint.", held_out().into()),
        ("accuracy_against_tokens", "Accuracy against sampled tokens, with 95 % intervals.", accuracy().into()),
        ("forest", "Accuracy by subset, with 95 % intervals.", subsets().into()),
        ("reliability", "Reliability of P(True), with 95 % intervals.", calibration().into()),
        ("over_optimization", "Proxy and gold reward over the distance.", rewards().into()),
        ("pareto", "Helpful against harmless, by the strength of the pull.", front().into()),
        ("verdicts", "First wrong steps, by a process model.", verdicts().into()),
        ("token_credit", "Credit of each token in a solution with a planted mistake.", credit().into()),
        ("search_tree", "A search for the next steps.", search().into()),
    ]
}

/// All of them in one report, with everything else that a report can hold.
pub fn report() -> Report {
    let start = Report::new("Chain arithmetic: T-REG & DPO")
        .lead("Two models aligned from the same start, decoded at equal budget. Both beat the start.")
        .section("Results")
        .table("Accuracy on 500 held-out problems, with Wilson intervals.", table())
        .section("Figures")
        .text("Loss is summed over response tokens and averaged over pairs.");
    let with_figures = figures().into_iter().fold(start, |report, (_, caption, figure)| report.figure(caption, figure));
    let facts = [("seed", "0"), ("ascribe", "0.1.0"), ("policy", "Llama, 2 layers, width 64"), ("pairs", "2048")];
    with_figures.section("Set-up").facts(facts)
}

/// Noise that is the same each time, from -0.5 to 0.5.
fn wobble(i: i32) -> f64 {
    f64::from(i * 7919 % 101) / 101.0 - 0.5
}

fn losses() -> Lines {
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
    Lines {
        x_label: "optimizer step".into(),
        y_label: "training loss (nats)".into(),
        series: vec![curve("DPO", 0.31, 1500), curve("T-REG", 0.28, 1500), broken],
    }
}

fn held_out() -> Lines {
    let curve = |name: &str, top: f64| Series {
        name: name.into(),
        points: (0..=6).map(|i| (f64::from(50 * i), top - 0.4 * (-f64::from(i)).exp())).collect(),
        best: Some((300.0, top - 0.4 * (-6.0_f64).exp())),
    };
    let names = ["starting model", "DPO", "T-REG (the flagship, with a name that is too long to stand at the end)"];
    Lines {
        x_label: "optimizer step".into(),
        y_label: "held-out reward accuracy".into(),
        series: names.iter().zip([0.5, 0.71, 0.74]).map(|(name, top)| curve(name, top)).collect(),
    }
}

fn accuracy() -> Points {
    let decoders = [
        ("greedy", 14.0, 0.0),
        ("majority@4", 57.0, 0.05),
        ("best-of-4", 58.0, 0.07),
        ("majority@16", 230.0, 0.09),
        ("best-of-16", 231.0, 0.12),
    ];
    let group = |name: &str, base: f64| {
        let point = |(label, x, gain): (&str, f64, f64)| {
            let y = base + gain;
            Point { x, y, low: y - 0.035, high: y + 0.033, label: label.into() }
        };
        Group { name: name.into(), points: decoders.into_iter().map(point).collect() }
    };
    Points {
        x_label: "sampled tokens a problem".into(),
        y_label: "accuracy (95 % interval)".into(),
        x_spacing: Spacing::Log10,
        groups: vec![group("start", 0.42), group("DPO", 0.55), group("T-REG", 0.61)],
    }
}

fn subsets() -> Forest {
    let subsets = [
        ("alpacaeval-easy", 97, 100),
        ("alpacaeval-length", 84, 95),
        ("mt-bench-hard", 25, 37),
        ("llmbar-adver-GPTInst", 41, 92),
        ("xstest-should-respond", 231, 250),
        ("hep-rust, with a name that does not fit beside its interval", 120, 164),
    ];
    let row = |(name, right, n): (&str, usize, usize)| ForestRow::new(name, &wilson(right, n, 0.95).expect("a share"));
    let nothing = f64::NAN;
    let unknown = ForestRow { name: "no rows".into(), value: nothing, low: nothing, high: nothing, n: Some(0) };
    let bare = ForestRow { name: "overall".into(), value: 0.81, low: nothing, high: nothing, n: None };
    Forest {
        label: "accuracy".into(),
        rows: subsets.into_iter().map(row).chain([unknown, bare]).collect(),
        reference: Some(0.5),
    }
}

/// 400 answers that are right less often than was said.
fn calibration() -> Reliability {
    let said: Vec<f64> = (0..400).map(|i| (0.5 + wobble(i)).powf(0.6)).collect();
    let right: Vec<bool> = said.iter().zip(0..).map(|(p, i)| 0.5 + wobble(i * 31) < 0.15 + 0.7 * p).collect();
    Reliability {
        x_label: "mean P(True)".into(),
        y_label: "share right (95 % interval)".into(),
        bins: reliability(&said, &right, Binning::Width(10)).expect("bins"),
    }
}

fn rewards() -> RewardCurves {
    let curve = |name: &str, bend: f64, noise: f64| {
        let distances = [0.0, 0.4, 0.8, 1.3, 1.9, 2.6, 3.4, 4.3];
        let gains: Vec<f64> =
            distances.iter().zip(1..).map(|(d, i)| d * (1.5 - bend * d) + noise * wobble(i)).collect();
        let fit = fit_over_optimization(&distances, &gains, None, OverOptimization::BestOfN, Saturated::Refuse);
        RewardCurve { name: name.into(), points: distances.into_iter().zip(gains).collect(), fit: fit.ok() }
    };
    RewardCurves {
        x_label: "distance: sqrt(KL), KL in nats".into(),
        y_label: "reward over the reference".into(),
        curves: vec![curve("proxy", 0.08, 0.05), curve("gold", 0.3, 0.2)],
    }
}

fn front() -> Pareto {
    let points = [
        ("beta 0.01", 0.9, 0.2),
        ("beta 0.03", 0.82, 0.42),
        ("beta 0.1", 0.7, 0.55),
        ("beta 0.3", 0.5, 0.7),
        ("beta 1", 0.3, 0.74),
        ("start", 0.45, 0.5),
        ("mixed", 0.6, 0.3),
        ("beta 0.1, again", 0.69, 0.54),
    ];
    Pareto {
        x_label: "helpful: win rate".into(),
        y_label: "harmless: share of safe replies".into(),
        points: points.map(|(name, x, y)| Alternative { name: name.into(), x, y }).into(),
        reference: Some((0.2, 0.1)),
    }
}

fn verdicts() -> CountMatrix {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    CountMatrix {
        row_label: "solution".into(),
        column_label: "verdict".into(),
        rows: names(&["with an error", "correct"]),
        columns: names(&["right step", "other step", "no wrong step", "unread"]),
        counts: vec![vec![210, 44, 120, 3], vec![0, 12, 181, 2]],
    }
}

fn credit() -> HeatMap {
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
    HeatMap { rows: vec![row("T-REG, contrastive prompts", 1), row("DPO, log-ratio", 0)] }
}

fn search() -> SearchTree {
    let node = |parent: Option<usize>, text: &str, value: f64, visits: usize| TreeNode {
        parent,
        text: text.into(),
        value,
        visits: Some(visits),
        tokens: Some(text.chars().count() / 3 + 1),
        chosen: false,
    };
    let mut nodes = vec![
        node(None, "Tom had 3 apples and ate one. How many are left?", 0.62, 48),
        node(Some(0), "Tom ate 1 of his 3 apples, so 3 - 1 = 2 apples are left over in the end.", 0.81, 30),
        node(Some(0), "3 + 1 = 4", 0.12, 10),
        node(Some(0), "There are none.", f64::NAN, 0),
        node(Some(1), "The answer is 2.", 0.97, 20),
        node(Some(1), "The answer is 3.", 0.05, 6),
        node(Some(2), "So 4 apples are left.", 0.01, 4),
        node(Some(4), "#### 2", 0.99, 12),
        node(Some(4), "\u{2026} or is it?", 0.4, 2),
        node(Some(5), "#### 3", 0.0, 3),
        node(Some(5), "#### <unk>", 0.02, 1),
    ];
    for chosen in [1, 4, 7] {
        nodes[chosen].chosen = true;
    }
    SearchTree { nodes }
}

fn table() -> Table {
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
    Table { columns, rows }
}
