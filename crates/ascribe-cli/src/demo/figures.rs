//! What the demo says: a table, a file for programs, and a report to look at.

use ascribe::eval::Estimate;
use ascribe::eval::report::{Column, Group, HeatMap, HeatRow, Lines, Point, Points, Report, Series, Spacing, Table};
use ascribe::preference::ContrastReport;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde_json::json;

use super::credit::CreditResults;
use super::decode::Results;
use super::{ALPHA, Aligned, BETA, CORPUS, Curve, HELD_OUT};

/// Everything that was found.
pub struct Outcome<'a> {
    pub seed: u64,
    pub device: String,
    pub losses: Curve,
    pub sft_seconds: f64,
    pub pairs: usize,
    pub contrast: ContrastReport,
    pub aligned: &'a [Aligned],
    pub results: &'a Results,
    pub credit: &'a CreditResults,
    pub seconds: f64,
}

const EXPLAINED: &str = "A tiny decoder learned chain arithmetic from a careful and a careless solver, so it imitates \
    common mistakes. Its own samples were checked and paired, a right one with a wrong one, and DPO and T-REG aligned it \
    from the same start. All figures are on problems that nothing was trained on, with 95 % intervals.";

fn percent(estimate: &Estimate) -> String {
    let at = |value: f64| format!("{:.1}", 100.0 * value);
    match estimate.interval {
        Some(interval) => format!("{} [{}, {}]", at(estimate.value), at(interval.low), at(interval.high)),
        None => at(estimate.value),
    }
}

impl Outcome<'_> {
    /// Rows of the main table; seconds stand last, since they alone differ between two runs of one seed.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |one: &super::decode::Decoded| {
            let tokens = one.tokens as f64 / one.correct.len() as f64;
            vec![
                one.policy.clone(),
                one.decoder.clone(),
                percent(&one.accuracy),
                format!("{tokens:.1}"),
                format!("{:.2}", one.seconds),
            ]
        };
        self.results.decoded.iter().map(row).collect()
    }

    fn comparison_rows(&self) -> Vec<Vec<String>> {
        let row = |(name, paired): &(String, ascribe::eval::Paired)| {
            let verdict = match paired.difference.interval {
                Some(interval) if interval.low > 0.0 => "better",
                Some(interval) if interval.high < 0.0 => "worse",
                _ => "no difference shown",
            };
            let sides = format!("{} / {} / {}", paired.wins, paired.ties, paired.losses);
            vec![name.clone(), percent(&paired.difference), sides, format!("{:.2e}", paired.p), verdict.to_owned()]
        };
        self.results.comparisons.iter().map(row).collect()
    }

    fn credit_rows(&self) -> Vec<Vec<String>> {
        self.credit.measured.iter().map(|one| vec![one.name.clone(), format!("{:.3}", one.auroc)]).collect()
    }

    fn pass_rows(&self) -> Vec<Vec<String>> {
        self.results.pass.iter().map(|one| vec![one.policy.clone(), percent(&one.one), percent(&one.all)]).collect()
    }

    /// The tables as text.
    pub fn tables(&self) -> anyhow::Result<String> {
        let table = |header: &[&str], rows: Vec<Vec<String>>| {
            let mut table = comfy_table::Table::new();
            table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
            rows.into_iter().for_each(|row| {
                table.add_row(row);
            });
            table.to_string()
        };
        Ok(format!(
            "{}\n\nGreedy decoding, paired over {HELD_OUT} problems (difference in points, wins / ties / losses, exact McNemar p)\n{}\n\n\
             Samples: how often one is right, and how often one of {} is\n{}\n\n\
             Credit against the first wrong step of {} flawed solutions\n{}\n\n\
             {} pairs, {:.0} s in all",
            table(&["policy", "decoder", "accuracy %", "tokens / problem", "seconds"], self.rows()),
            table(&["comparison", "difference", "w / t / l", "p", "verdict"], self.comparison_rows()),
            super::SAMPLES,
            table(&["policy", "pass@1 %", &format!("pass@{} %", super::SAMPLES)], self.pass_rows()),
            self.credit.solutions,
            table(&["credit", "AUROC"], self.credit_rows()),
            self.pairs,
            self.seconds,
        ))
    }

    /// The figures for programs; without times, so that one seed gives the same bytes.
    pub fn json(&self) -> anyhow::Result<String> {
        let decoded = self.results.decoded.iter().map(
            |one| json!({"policy": one.policy, "decoder": one.decoder, "accuracy": one.accuracy, "tokens": one.tokens}),
        );
        let comparisons = self.results.comparisons.iter().map(|(name, paired)| {
            let interval = paired.difference.interval;
            json!({
                "name": name,
                "difference": paired.difference.value,
                "low": interval.map(|interval| interval.low),
                "high": interval.map(|interval| interval.high),
                "wins": paired.wins,
                "ties": paired.ties,
                "losses": paired.losses,
                "p": paired.p,
            })
        });
        let pass =
            self.results.pass.iter().map(|one| json!({"policy": one.policy, "pass@1": one.one, "pass@n": one.all}));
        let credit = self.credit.measured.iter().map(|one| json!({"name": one.name, "auroc": one.auroc}));
        let all = json!({
            "seed": self.seed,
            "pairs": self.pairs,
            "token_rewards": self.contrast,
            "decoded": decoded.collect::<Vec<_>>(),
            "pass": pass.collect::<Vec<_>>(),
            "comparisons": comparisons.collect::<Vec<_>>(),
            "credit": credit.collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&all)?)
    }

    /// The report to look at.
    pub fn html(&self) -> anyhow::Result<String> {
        let columns = |names: &[&str]| names.iter().map(|name| Column::right(*name)).collect::<Vec<_>>();
        let main = ["policy", "decoder"].map(Column::left).into_iter();
        let main = main.chain(columns(&["accuracy %", "tokens / problem", "seconds"])).collect();
        let mut compared = vec![Column::left("comparison")];
        compared.extend(columns(&["difference", "w / t / l", "p", "verdict"]));
        let curves = |pick: fn(&Aligned) -> &Curve| {
            let series =
                |one: &Aligned| Series { name: one.name.to_owned(), points: pick(one).clone(), ..Series::default() };
            self.aligned.iter().map(series).collect::<Vec<_>>()
        };
        let lines =
            |y: &str, series: Vec<Series>| Lines { x_label: "optimizer step".into(), y_label: y.into(), series };
        let loss = Series { name: "loss".into(), points: self.losses.clone(), ..Series::default() };
        let mut report = Report::new("Credit assignment on chain arithmetic")
            .lead(EXPLAINED)
            .section("Accuracy")
            .table(format!("Accuracy on {HELD_OUT} held-out problems"), Table { columns: main, rows: self.rows() })
            .table("Greedy decoding, paired by problem: difference in points, exact McNemar p", Table { columns: compared, rows: self.comparison_rows() })
            .figure("Accuracy against sampled tokens, with 95 % intervals", self.accuracy_against_tokens())
            .section("Learning")
            .figure("First training: loss by optimizer step", lines("loss, nats a token", vec![loss]))
            .figure("Alignment: reward accuracy on held-out pairs", lines("reward accuracy", curves(|one| &one.accuracy)))
            .figure(
                "Displacement: change of the chosen response's log-probability since the start, nats a token",
                lines("nats a token", curves(|one| &one.displacement)),
            )
            .section("Credit")
            .text(format!(
                "AUROC: the probability that the first wrong step of a solution earns less than a right step before it, \
                 over {} flawed solutions, with intervals clustered by problem.",
                self.credit.solutions
            ))
            .table("Credit against the first wrong step", Table { columns: vec![Column::left("credit"), Column::right("AUROC")], rows: self.credit_rows() });
        let ways = self.credit.shown.first().map_or(0, |one| one.credit.len());
        for way in 0..ways {
            // One map a way: their units differ.
            let name = self.credit.shown[0].credit[way].0.clone();
            let row = |one: &super::credit::Shown| HeatRow {
                label: one.problem.clone(),
                tokens: one.tokens.iter().cloned().zip(one.credit[way].1.iter().copied()).collect(),
                planted: Some(one.wrong.clone()),
                note: String::new(),
            };
            let map = HeatMap { rows: self.credit.shown.iter().map(row).collect() };
            report = report.figure(format!("Token credit: {name}. The first wrong step is outlined."), map);
        }
        let seconds = |name: &str, value: f64| (name.to_owned(), format!("{value:.1}"));
        let mut facts = vec![
            ("seed".to_owned(), self.seed.to_string()),
            ("device".to_owned(), self.device.clone()),
            ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("rows of the first training".to_owned(), CORPUS.to_string()),
            ("training pairs".to_owned(), self.pairs.to_string()),
            ("beta".to_owned(), BETA.to_string()),
            ("alpha".to_owned(), ALPHA.to_string()),
            ("mean size of a token reward".to_owned(), format!("{:.4}", self.contrast.mean_size)),
            seconds("seconds, first training", self.sft_seconds),
        ];
        facts.extend(self.aligned.iter().map(|one| seconds(&format!("seconds, {}", one.name), one.seconds)));
        facts.push(seconds("seconds, all", self.seconds));
        Ok(report.section("Settings").facts(facts).to_html())
    }

    fn accuracy_against_tokens(&self) -> Points {
        let mut groups: Vec<Group> = Vec::new();
        for one in &self.results.decoded {
            let (low, high) =
                one.accuracy.interval.map_or((f64::NAN, f64::NAN), |interval| (interval.low, interval.high));
            let x = one.tokens as f64 / one.correct.len() as f64;
            let point = Point { x, y: one.accuracy.value, low, high, label: one.decoder.clone() };
            match groups.iter_mut().find(|group| group.name == one.policy) {
                Some(group) => group.points.push(point),
                None => groups.push(Group { name: one.policy.clone(), points: vec![point] }),
            }
        }
        Points {
            x_label: "sampled tokens a problem".into(),
            y_label: "accuracy".into(),
            x_spacing: Spacing::Log10,
            groups,
        }
    }
}
