//! Agreement of raters: rows are items with `ratings`, a list of numbers or names with null where a rater gave none.
//! Krippendorff's alpha takes any of them; where every item has as many ratings, Fleiss' and Randolph's kappa stand beside it.

use std::collections::BTreeMap;

use anyhow::bail;
use ascribe::eval::EvalError;
use ascribe::eval::rank::{Chance, fleiss_kappa, krippendorff_alpha};
use serde_json::Value;

use crate::args::{AgreementArgs, ScaleName};
use crate::findings::{Finding, Findings};
use crate::records::{Records, number};

/// Most cells of the table of items and categories that Fleiss' and Randolph's kappa are of.
const CELLS: usize = 10_000_000;

pub fn run(args: &AgreementArgs) -> anyhow::Result<()> {
    let records = Records::read(&args.file.input)?;
    let mut items: Vec<Vec<Option<Value>>> = Vec::with_capacity(records.rows.len());
    for row in &records.rows {
        let mut ratings = Vec::new();
        for rating in records.list(row, "ratings")? {
            ratings.push(match rating {
                Value::Null => None,
                Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(rating.clone()),
                other => return Err(records.wrong(row, "ratings", "a list of numbers, names or null", other)),
            });
        }
        items.push(ratings);
    }
    // Names are categories without an order: they are numbered as they stand in the alphabet.
    let names = items.iter().flatten().flatten().any(|rating| number(rating).is_none());
    if names && args.scale != ScaleName::Nominal {
        bail!("{}: ratings by name have no order, so their scale is nominal; leave out --scale", records.name());
    }
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for rating in items.iter().flatten().flatten() {
        known.entry(category(rating, names)).or_default();
    }
    known.values_mut().enumerate().for_each(|(at, place)| *place = at);
    let place = |rating: &Value| known.get(&category(rating, names)).copied().unwrap_or_default();
    let value = |rating: &Value| match number(rating) {
        Some(number) if !names => number,
        _ => place(rating) as f64,
    };
    let raters = items.iter().map(Vec::len).max().unwrap_or_default();
    let column = |rater: usize| -> Vec<Option<f64>> {
        items.iter().map(|item| item.get(rater).and_then(Option::as_ref).map(value)).collect()
    };
    let ratings: Vec<Vec<Option<f64>>> = (0..raters).map(column).collect();
    let bootstrap = args.measure.bootstrap(records.rows.len());
    let alpha = krippendorff_alpha(&ratings, args.scale.level(), &bootstrap)?;
    let given: Vec<usize> = items.iter().map(|item| item.iter().flatten().count()).collect();
    let mut findings = Findings::new("agreement")
        .fact("input", records.name())
        .drawn(&bootstrap)
        .fact("ratings", given.iter().sum::<usize>())
        .fact("items with fewer than two ratings", given.iter().filter(|count| **count < 2).count())
        .with(Finding::of("Krippendorff's alpha", &alpha));
    let whole = given.iter().all(|count| *count == given[0]) && given[0] >= 2;
    if !(whole && args.scale == ScaleName::Nominal) {
        return findings.show(args.measure.json, args.file.report.as_deref());
    }
    // Measured numbers are categories of their own, as many as there are ratings.
    if items.len().saturating_mul(known.len()) > CELLS {
        let (items, categories) = (items.len(), known.len());
        let said = format!(
            "No kappas: a table of {items} items and {categories} categories is above {CELLS} cells; round the ratings, or \
             take --scale interval."
        );
        return findings.note(said).show(args.measure.json, args.file.report.as_deref());
    }
    let counts = |item: &Vec<Option<Value>>| -> Vec<u32> {
        let mut counts = vec![0; known.len()];
        item.iter().flatten().for_each(|rating| counts[place(rating)] += 1);
        counts
    };
    let counts: Vec<Vec<u32>> = items.iter().map(counts).collect();
    for (name, chance) in [("Fleiss' kappa", Chance::Shares), ("Randolph's kappa", Chance::Uniform)] {
        findings = match fleiss_kappa(&counts, chance, &bootstrap) {
            Ok(kappa) => findings.with(Finding::of(name, &kappa)),
            Err(error @ EvalError::Degenerate { .. }) => findings.note(format!("No {name}: {error}.")),
            Err(error) => return Err(error.into()),
        };
    }
    findings.show(args.measure.json, args.file.report.as_deref())
}

/// What a rating is called: its number, or its name where some ratings have names.
fn category(rating: &Value, names: bool) -> String {
    match number(rating) {
        // Adding 0 makes one zero of both.
        Some(number) if !names => (number + 0.0).to_string(),
        _ => rating.as_str().map_or_else(|| rating.to_string(), str::to_owned),
    }
}
