//! RewardBench 1 and 2, and RM-Bench.
//!
//! RewardBench 1 reads rows, or one object of columns, with `subset` and `scores_chosen` and `scores_rejected`, or with
//! `results` of 0 and 1 (one half for a tie of a judge). With a model, rows have `subset`, `prompt`, `chosen` and
//! `rejected`. RewardBench 2 reads `subset` and `scores`, the `num_correct` correct completions first; the ids of its
//! Ties subset are `ref:<number>` and `tied:<number>`. Scores may also have the names that `ascribe score --reward`
//! writes.

use std::collections::BTreeMap;

use anyhow::bail;
use ascribe::eval::bench::{
    MissingSubsets, REWARDBENCH_SECTIONS, REWARDBENCH2_SUBSETS, RewardBench, StyledPair, TiesPrompt, rewardbench,
    rewardbench2, rm_bench, rm_bench_estimates,
};
use ascribe::eval::{Bootstrap, Estimate, EvalError, wilson};

use super::model::PairScorer;
use crate::args::{RewardBench2Args, RewardBenchArgs, RmBenchArgs};
use crate::findings::{Finding, Findings};
use crate::records::{Records, number};

pub fn first(args: &RewardBenchArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?.transposed("subset");
    let subsets = records.every("subset", Records::label)?;
    let chosen = records.either("scores_chosen", "reward_chosen");
    let rejected = records.either("scores_rejected", "reward_rejected");
    let (credits, by) = match PairScorer::load(args)? {
        Some(scorer) => (strict(&scorer.score(&records)?), scorer.name()),
        None if records.has(chosen) => {
            let chosen = records.every(chosen, Records::number)?;
            let rejected = records.every(rejected, Records::number)?;
            (strict(&chosen.into_iter().zip(rejected).map(|(a, b)| [a, b]).collect::<Vec<_>>()), "scores")
        }
        None => (results(&records)?, "results"),
    };
    let mut of_subset: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (subset, credit) in subsets.iter().zip(&credits) {
        of_subset.entry(subset.as_str()).or_default().push(*credit);
    }
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let mut estimates = Vec::new();
    for (&subset, credits) in &of_subset {
        estimates.push((subset, share(credits, &bootstrap)?));
    }
    let missing = if args.allow_partial { MissingSubsets::AllowPartial } else { MissingSubsets::Refuse };
    let names: Vec<&str> = of_subset.keys().copied().collect();
    let number_of: Vec<usize> =
        subsets.iter().map(|subset| names.partition_point(|name| *name < subset.as_str())).collect();
    let scored = |rows: &[usize]| -> Result<RewardBench, EvalError> {
        let mut sums = vec![(0.0, 0.0); names.len()];
        for &row in rows {
            let (sum, n) = &mut sums[number_of[row]];
            (*sum, *n) = (*sum + credits[row], *n + 1.0);
        }
        let accuracies = names.iter().zip(sums).map(|(name, (sum, n))| ((*name).to_owned(), sum / n)).collect();
        rewardbench(&accuracies, missing)
    };
    // A resample draws as many rows of each subset as there are.
    let over_subsets = |score: &(dyn Fn(&RewardBench) -> Option<f64> + Sync)| {
        bootstrap.stratified_metric(&subsets, |rows| Ok(score(&scored(rows)?).unwrap_or(f64::NAN)))
    };
    let scores = scored(&(0..credits.len()).collect::<Vec<_>>())?;
    let mut sections = Vec::new();
    for (at, (name, score)) in scores.sections.iter().enumerate() {
        if score.is_some() {
            let members = REWARDBENCH_SECTIONS[at].1;
            let n = subsets.iter().filter(|subset| members.iter().any(|(member, _)| member == subset)).count();
            sections.push(Finding::of(*name, &Estimate { n, ..over_subsets(&|scores| scores.sections[at].1)? }));
        }
    }
    let overall = over_subsets(&|scores| Some(scores.overall))?;
    Findings::new("rewardbench")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("by", by)
        .with_all(estimates.iter().map(|(subset, estimate)| Finding::share(*subset, estimate)))
        .with_all(sections)
        .with_all(scores.prior.map(|prior| Finding::number("Prior Sets", prior)))
        .with(Finding::of("overall", &overall))
        .show(args.measure.json, args.file.report.as_deref())
}

/// 1 where the chosen response scores strictly higher.
fn strict(scores: &[[f64; 2]]) -> Vec<f64> {
    scores.iter().map(|[chosen, rejected]| if chosen > rejected { 1.0 } else { 0.0 }).collect()
}

fn results(records: &Records) -> anyhow::Result<Vec<f64>> {
    let mut credits = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let credit = records.number(row, "results")?;
        if ![0.0, 0.5, 1.0].contains(&credit) {
            return Err(records.wrong(row, "results", "0, 0.5 or 1", records.value(row, "results")?));
        }
        credits.push(credit);
    }
    Ok(credits)
}

/// The mean of credits: with Wilson's interval when each is 0 or 1.
fn share(credits: &[f64], bootstrap: &Bootstrap) -> anyhow::Result<Estimate> {
    if credits.iter().all(|credit| *credit == 0.0 || *credit == 1.0) {
        let right = credits.iter().filter(|credit| **credit == 1.0).count();
        return Ok(wilson(right, credits.len(), bootstrap.level)?);
    }
    Ok(bootstrap.mean(credits)?)
}

pub fn second(args: &RewardBench2Args) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?.transposed("subset");
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let column = records.either("scores", "rewards");
    let mut best_of: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    let (mut reference, mut tied) = (Vec::new(), Vec::new());
    for row in &records.rows {
        let (subset, mut correct) = (records.label(row, "subset")?, records.numbers(row, column)?);
        if subset != "Ties" {
            match row.cells().get("num_correct") {
                Some(count) if !count.is_null() && number(count) != Some(1.0) => {
                    return Err(records.wrong(row, "num_correct", "1 outside of Ties", count));
                }
                _ => {}
            }
            best_of.entry(subset).or_default().push(correct);
            continue;
        }
        let (id, count) = (records.text(row, "id")?, records.integer(row, "num_correct")?);
        let (list, number) = match id.split_once(':') {
            Some(("ref", number)) => (&mut reference, number.parse::<u64>()),
            Some(("tied", number)) => (&mut tied, number.parse::<u64>()),
            _ => {
                let value = records.value(row, "id")?;
                return Err(records.wrong(row, "id", "`ref:<number>` or `tied:<number>`", value));
            }
        };
        let Ok(id) = number else {
            return Err(records.wrong(row, "id", "`ref:<number>` or `tied:<number>`", records.value(row, "id")?));
        };
        let Some(at) = usize::try_from(count).ok().filter(|at| 0 < *at && *at < correct.len()) else {
            bail!("{}: num_correct must leave correct and wrong scores, got {count}", records.place(row));
        };
        let wrong = correct.split_off(at);
        list.push(TiesPrompt { id, correct, wrong });
    }
    let ties = !(reference.is_empty() && tied.is_empty());
    let scores = rewardbench2(&best_of, ties.then_some([&reference[..], &tied[..]]), &bootstrap)?;
    let subsets = scores.subsets.iter().map(|(subset, estimate)| Finding::of(subset.as_str(), estimate));
    let mut findings = Findings::new("rewardbench2").fact("input", records.name()).drawn(&bootstrap).with_all(subsets);
    if let (Some(ties), Some(score)) = (scores.ties, scores.ties_score) {
        findings = findings
            .with(Finding::of("Ties", &score))
            .with(Finding::number("Ties, reference accuracy", ties.accuracy_reference))
            .with(Finding::number("Ties, tied accuracy", ties.accuracy_tied))
            .fact("Ties in both versions", ties.joined)
            .fact("Ties in one version", ties.single);
    }
    let there = |name: &str| best_of.contains_key(name) || (name == "Ties" && !tied.is_empty());
    let missing: Vec<&str> = REWARDBENCH2_SUBSETS.into_iter().filter(|name| !there(name)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings = findings.note(format!("Without {missing}: overall is the mean of the subsets that are there."));
    }
    findings.with(Finding::of("overall", &scores.overall)).show(args.measure.json, args.file.report.as_deref())
}

/// RM-Bench: rows with `domain`, and `score_chosen` and `score_rejected`, lists of three: concise, plain, markdown.
pub fn styles(args: &RmBenchArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let mut pairs = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let scores = |column: &str| -> anyhow::Result<[f64; 3]> {
            let scores = records.numbers(row, column)?;
            let three = <[f64; 3]>::try_from(scores).ok();
            let value = records.value(row, column)?;
            three.ok_or_else(|| records.wrong(row, column, "three scores: concise, plain, markdown", value))
        };
        let (chosen, rejected) = (scores("score_chosen")?, scores("score_rejected")?);
        pairs.push(StyledPair { domain: records.label(row, "domain")?, chosen, rejected });
    }
    let bootstrap = args.measure.bootstrap(pairs.len());
    let (bench, estimates) = (rm_bench(&pairs)?, rm_bench_estimates(&pairs, &bootstrap)?);
    Findings::new("rmbench")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .with_all(bench.domains.iter().map(|(domain, styles)| Finding::number(domain.as_str(), styles.mean)))
        .with_all(estimates.iter().map(|(name, estimate)| Finding::of(*name, estimate)))
        .show(args.measure.json, args.file.report.as_deref())
}
