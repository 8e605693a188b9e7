//! What the rows showed, as text and as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;
use ascribe::eval::stats::{Adjust, adjust_p, paired_t};

use crate::cache::Outcome;
use crate::row::{self, Arm, Figures, Finding, Row};
use crate::rows::{ensembles, ppo_vs_dpo, strategies};

/// A drawing beside the page, of the figures of one row.
pub struct Drawing {
    row: &'static str,
    /// Its file.
    pub file: &'static str,
    shows: &'static str,
    draw: fn(&[Figures]) -> Option<String>,
}

static DRAWINGS: [Drawing; 2] = [
    Drawing {
        row: strategies::ROW.name,
        file: "strategies.svg",
        shows: "Share of problems solved against tokens sampled, a line for each decoder",
        draw: strategies::drawing,
    },
    Drawing {
        row: ensembles::ROW.name,
        file: "ensembles.svg",
        shows: "Gold reward of the best of n against divergence, by one reward model and by five",
        draw: ensembles::drawing,
    },
];

const WHAT: &str = "\
Each row runs one published mechanism at a size of seconds, on tasks whose true credit is known; its setting says what stands
in for the paper's data and models. A difference is the mean over seeds of a paired difference, with Student's 95 % interval.
`holds` means that the interval lies above zero, `contradicted` that it lies below, `undecided` that it includes zero. Where a
claim does not hold, the settings below say what was tried. No figure here is a paper's. `cargo xtask reproduce` makes this page;
`cargo xtask reproduce <row>` runs one row.
";

const COSTS: &str = "\
Every arm of the rows that count what a decoder spends: its mean over seeds with Student's 95 % interval, the tokens that were
sampled for a problem, and the tokens of the texts that scorers were given for it, prompts included.
";

/// For a terminal.
pub fn text(rows: &[(&Row, Vec<Outcome>)]) -> Result<String> {
    let mut out = String::new();
    for (row, outcomes) in rows {
        writeln!(out, "{}: {}", row.name, row.paper)?;
        for (claim, finding) in row.claims.iter().zip(findings(row, outcomes)?) {
            let verdict = finding.verdict().word();
            writeln!(out, "  {verdict:12} {}: {}", claim.says, sentence(&finding))?;
        }
        if let Some(p) = corrected(row, outcomes)? {
            writeln!(out, "  {p}")?;
        }
        for Arm { name, value, sampled, scored } in row::arms(&figures(outcomes))? {
            writeln!(out, "  {} {name}: {sampled:.0} tokens sampled, {scored:.0} scored", level(&value))?;
        }
        if !row.tried.is_empty() {
            writeln!(out, "  tried: {}", row.tried)?;
        }
    }
    Ok(out)
}

/// For `docs/reproduce.md`.
pub fn markdown(rows: &[(&Row, Vec<Outcome>)]) -> Result<String> {
    let mut out = format!("# Published directions, on small tasks\n\n{WHAT}\n");
    let builds: BTreeSet<&str> =
        rows.iter().flat_map(|(_, outcomes)| outcomes).map(|outcome| outcome.build.as_str()).collect();
    if builds.len() > 1 {
        writeln!(out, "The rows were run by {} builds of the program, one after another.\n", builds.len())?;
    }
    writeln!(
        out,
        "| row | expected | larger | smaller | difference | seeds | verdict |\n|---|---|---|---|---|---|---|"
    )?;
    for (row, outcomes) in rows {
        for (claim, finding) in row.claims.iter().zip(findings(row, outcomes)?) {
            let Finding { more, less, difference } = finding;
            let verdict = finding.verdict().word();
            let seeds = outcomes.len();
            let name = row.name;
            writeln!(
                out,
                "| `{name}` | {} | {more:.3} | {less:.3} | {} | {seeds} | {verdict} |",
                claim.says,
                interval(&difference)
            )?;
        }
    }
    for (Drawing { file, shows, .. }, _) in drawings(rows) {
        writeln!(out, "\n![{shows}]({file})")?;
    }
    let mut costs = String::new();
    for (row, outcomes) in rows {
        for Arm { name, value, sampled, scored } in row::arms(&figures(outcomes))? {
            writeln!(costs, "| `{}` | {name} | {} | {sampled:.0} | {scored:.0} |", row.name, level(&value))?;
        }
    }
    if !costs.is_empty() {
        let columns = "| row | arm | value | sampled | scored |\n|---|---|---|---|---|";
        writeln!(out, "\n## What decoders cost\n\n{COSTS}\n{columns}\n{}", costs.trim_end())?;
    }
    writeln!(out, "\n## Settings\n")?;
    for (row, outcomes) in rows {
        let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
        writeln!(out, "- `{}` ({}; {seconds:.0} s of one seed after another): {}", row.name, row.paper, row.setting)?;
        if let Some(p) = corrected(row, outcomes)? {
            writeln!(out, "  - {p}")?;
        }
        if !row.tried.is_empty() {
            writeln!(out, "  - Tried: {}", row.tried)?;
        }
    }
    Ok(out)
}

/// The drawings of those rows that were run, each with its SVG.
pub fn drawings(rows: &[(&Row, Vec<Outcome>)]) -> Vec<(&'static Drawing, String)> {
    let of = |drawing: &'static Drawing| {
        let (_, outcomes) = rows.iter().find(|(row, _)| row.name == drawing.row)?;
        (drawing.draw)(&figures(outcomes)).map(|svg| (drawing, svg))
    };
    DRAWINGS.iter().filter_map(of).collect()
}

fn figures(outcomes: &[Outcome]) -> Vec<Figures> {
    outcomes.iter().map(|outcome| outcome.figures.clone()).collect()
}

fn findings(row: &Row, outcomes: &[Outcome]) -> Result<Vec<Finding>> {
    let figures = figures(outcomes);
    row.claims.iter().map(|claim| claim.against(&figures)).collect()
}

/// The study of one factor at a time is a family of tests, so its p-values are told with Holm's correction.
fn corrected(row: &Row, outcomes: &[Outcome]) -> Result<Option<String>> {
    if row.name != ppo_vs_dpo::ROW.name || outcomes.len() < 2 {
        return Ok(None);
    }
    let (figures, mut p) = (figures(outcomes), Vec::with_capacity(row.claims.len()));
    for claim in row.claims {
        let (more, less) = claim.columns(&figures)?;
        p.push(paired_t(&more, &less)?.p);
    }
    let adjusted: Vec<String> = adjust_p(&p, Adjust::Holm)?.iter().map(|p| format!("{p:.1e}")).collect();
    let said = "Student's paired test over seeds with Holm's correction, p in the order of the claims";
    Ok(Some(format!("{said}: {}", adjusted.join(", "))))
}

fn sentence(finding: &Finding) -> String {
    format!("{:.3} against {:.3}, {}", finding.more, finding.less, interval(&finding.difference))
}

fn interval(difference: &ascribe::eval::Estimate) -> String {
    match difference.interval {
        Some(limits) => format!("{:+.3} [{:+.3}, {:+.3}]", difference.value, limits.low, limits.high),
        None => format!("{:+.3}", difference.value),
    }
}

/// A mean with its interval.
fn level(estimate: &ascribe::eval::Estimate) -> String {
    match estimate.interval {
        Some(limits) => format!("{:.3} [{:.3}, {:.3}]", estimate.value, limits.low, limits.high),
        None => format!("{:.3}", estimate.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Claim;
    use crate::rows::ROWS;

    #[test]
    fn one_factor_at_a_time_is_held_to_holm() {
        let claims = &[Claim { says: "", more: "a", less: "0" }, Claim { says: "", more: "b", less: "0" }];
        let row = Row { claims, ..ppo_vs_dpo::ROW };
        let outcome = |a: f64, b: f64| Outcome {
            build: String::new(),
            seconds: 0.0,
            figures: vec![("a".into(), a), ("b".into(), b), ("0".into(), 0.0)],
        };
        let outcomes = [outcome(1.0, 1.0), outcome(3.0, 1.1)];
        // One degree of freedom is Cauchy, p = 1 - 2 atan(t) / pi: t = 2 gives 0.2952, and t = 21 gives 0.03029, times 2 0.0606.
        assert!(corrected(&row, &outcomes).unwrap().unwrap().ends_with("claims: 3.0e-1, 6.1e-2"));
        assert!(corrected(&row, &outcomes[..1]).unwrap().is_none(), "one seed tells no p");
        assert!(corrected(&Row { name: "another", ..row }, &outcomes).unwrap().is_none());
    }

    #[test]
    fn arms_stand_on_the_page_with_what_they_cost_and_rows_without_costs_add_nothing() {
        let row = Row { tried: "", claims: &[], ..*ROWS[0] };
        let seed = |figures: Figures| Outcome { build: "one".into(), seconds: 1.0, figures };
        let armed =
            [(&row, vec![seed(row::arm("beam", 0.25, 80.0, 320.4)), seed(row::arm("beam", 0.25, 80.0, 320.4))])];
        let page = markdown(&armed).unwrap();
        let line = format!("| `{}` | beam | 0.250 [0.250, 0.250] | 80 | 320 |\n", row.name);
        assert!(page.contains("## What decoders cost") && page.contains(&line), "{page}");
        assert!(text(&armed).unwrap().contains("0.250 [0.250, 0.250] beam: 80 tokens sampled, 320 scored"));
        let plain = [(&row, vec![seed(vec![("beam".into(), 0.25)])])];
        assert!(!markdown(&plain).unwrap().contains("cost") && !text(&plain).unwrap().contains("sampled"));
    }

    #[test]
    fn what_was_tried_is_said_below_its_row_and_only_there() {
        let row = Row { tried: "more seeds", claims: &[], ..*ROWS[0] };
        let silent = Row { tried: "", ..row };
        let (told, untold) = ([(&row, Vec::new())], [(&silent, Vec::new())]);
        assert_eq!(text(&told).unwrap(), format!("{}: {}\n  tried: more seeds\n", row.name, row.paper));
        assert!(!text(&untold).unwrap().contains("tried"));
        assert!(markdown(&told).unwrap().ends_with(&format!("{}\n  - Tried: more seeds\n", row.setting)));
        assert!(markdown(&untold).unwrap().ends_with(&format!("{}\n", row.setting)));
    }
}
