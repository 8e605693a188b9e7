//! Measures of classifiers where positives are rare and labels are wrong: which still orders models as it does on clean labels?
//!
//! A model scores a row with a logistic draw, shifted by its strength where the row is positive, and calls it positive at a
//! threshold of its own. So its true and false positive rates are exact, and each measure is held against itself: its order on
//! a sample with flipped labels against its order on endless clean rows. AUROC has the order of strengths there.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::Bootstrap;
use ascribe::eval::auroc;
use ascribe::eval::classify::{Confusion, Decision, ZeroDivision, order_by_f1_then_g_mean};
use ascribe::eval::rank::kendall_tau_b;
use rand::RngExt;

use crate::heads::{best, mean};
use crate::row::{Claim, Figures, Row};
use crate::world::sigmoid;

const MODELS: usize = 12;
const ROWS: usize = 10_000;
const SAMPLES: u64 = 20;
/// F1 values so near are equal to the selector.
const TOLERANCE: f64 = 0.005;
/// Parts that make a share a count.
const PARTS: f64 = 1e12;

/// The claims of the study of metrics.
pub const ROW: Row = Row {
    name: "imbalance",
    paper: "Empirical study of Machine Learning Classifier Evaluation Metrics behavior in Massively Imbalanced and Noisy data",
    setting: "12 synthetic classifiers with thresholds of their own on 10000 rows, 20 times; half of the rows positive, a \
              hundredth, or a thousandth; in the last two a fifth of the positives and 0.2 % of the negatives have the other label; \
              Kendall's tau of a measure with itself on endless clean rows",
    seeds: 12,
    claims: &[
        Claim {
            says: "F1 keeps its order better than AUROC where a thousandth is positive and labels are wrong",
            more: "tau of F1, a thousandth",
            less: "tau of AUROC, a thousandth",
        },
        Claim {
            says: "and so does the g-mean",
            more: "tau of g-mean, a thousandth",
            less: "tau of AUROC, a thousandth",
        },
        Claim {
            says: "F1 keeps its order better than AUROC where a hundredth is positive",
            more: "tau of F1, a hundredth",
            less: "tau of AUROC, a hundredth",
        },
        Claim {
            says: "imbalance and wrong labels cost F1 part of its order",
            more: "tau of F1, half",
            less: "tau of F1, a thousandth",
        },
        Claim {
            says: "the model chosen by F1, then by g-mean, has a larger clean g-mean than the one by F1 alone",
            more: "g-mean by F1, then g-mean",
            less: "g-mean by F1",
        },
        Claim {
            says: "and than the one by accuracy, which takes models that call little positive",
            more: "g-mean by F1, then g-mean",
            less: "g-mean by accuracy",
        },
    ],
    tried: "",
    run,
};

/// How many rows are positive, and how labels are flipped.
struct Rows {
    name: &'static str,
    prevalence: f64,
    /// Chance that a negative is labelled positive.
    false_label: f64,
    /// Chance that a positive is labelled negative.
    missed_label: f64,
}

const CONDITIONS: [Rows; 3] = [
    Rows { name: "half", prevalence: 0.5, false_label: 0.0, missed_label: 0.0 },
    Rows { name: "a hundredth", prevalence: 0.01, false_label: 0.002, missed_label: 0.2 },
    Rows { name: "a thousandth", prevalence: 0.001, false_label: 0.002, missed_label: 0.2 },
];

/// The measures of decisions whose order is compared; accuracy only chooses.
const MEASURES: [(&str, Decision); 4] = [
    ("F1", Decision::FBeta(1.0)),
    ("g-mean", Decision::GMean),
    ("MCC", Decision::Mcc),
    ("accuracy", Decision::Accuracy),
];

/// A classifier by how far it tells the classes apart, and from which score on it says positive.
#[derive(Clone, Copy)]
struct Classifier {
    strength: f64,
    threshold: f64,
}

impl Classifier {
    fn scores(self, truths: &[bool], stream: &mut Stream) -> Vec<f64> {
        let score = |positive: &bool| {
            let share: f64 = stream.random_range(1e-12..1.0);
            (share / (1.0 - share)).ln() + if *positive { self.strength } else { 0.0 }
        };
        truths.iter().map(score).collect()
    }

    /// Its counts on endless clean rows.
    fn exact(self, prevalence: f64) -> Result<Confusion> {
        let (tpr, fpr) = (sigmoid(self.strength - self.threshold), sigmoid(-self.threshold));
        let shares = Confusion::under_noise(prevalence, tpr, fpr, 0.0, 0.0)?;
        let [true_positive, false_positive, false_negative, true_negative] =
            shares.map(|share| (PARTS * share).round() as u64);
        Ok(Confusion { true_positive, false_positive, false_negative, true_negative })
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let mut figures = Figures::new();
    for rows in &CONDITIONS {
        let mut taus: [Vec<f64>; MEASURES.len() + 1] = Default::default();
        let mut chosen: [Vec<f64>; 3] = Default::default();
        for sample in 0..SAMPLES {
            let seen = sampled(rows, &mut seed.stream(rows.name, sample))?;
            for (taus, [clean, noisy]) in taus.iter_mut().zip(&seen) {
                taus.push(kendall_tau_b(clean, noisy, &Bootstrap::NONE)?.value);
            }
            let [[_, f1], [clean_g_mean, g_mean], _, [_, accuracy], _] = &seen;
            let first = order_by_f1_then_g_mean(f1, g_mean, TOLERANCE)?[0];
            for (chosen, model) in chosen.iter_mut().zip([first, best(f1), best(accuracy)]) {
                chosen.push(clean_g_mean[model]);
            }
        }
        let names = MEASURES.iter().map(|(name, _)| *name).chain(["AUROC"]);
        figures.extend(names.zip(&taus).map(|(name, taus)| (format!("tau of {name}, {}", rows.name), mean(taus))));
        if rows.name == "a thousandth" {
            let by = ["F1, then g-mean", "F1", "accuracy"];
            figures.extend(by.iter().zip(&chosen).map(|(by, chosen)| (format!("g-mean by {by}"), mean(chosen))));
        }
    }
    Ok(figures)
}

/// What each measure says of the models on clean and on noisy rows; AUROC last, with strengths for the clean ones.
fn sampled(rows: &Rows, stream: &mut Stream) -> Result<[[Vec<f64>; 2]; MEASURES.len() + 1]> {
    let positives = (rows.prevalence * ROWS as f64).round() as usize;
    let truths: Vec<bool> = (0..ROWS).map(|row| row < positives).collect();
    let label = |positive: &bool| {
        let flip = if *positive { rows.missed_label } else { rows.false_label };
        *positive != (stream.random::<f64>() < flip)
    };
    let labels: Vec<bool> = truths.iter().map(label).collect();
    let mut seen: [[Vec<f64>; 2]; MEASURES.len() + 1] = Default::default();
    for _ in 0..MODELS {
        let model = Classifier { strength: stream.random_range(2.0..6.0), threshold: stream.random_range(2.0..6.0) };
        let scores = model.scores(&truths, stream);
        let (exact, counts) = (model.exact(rows.prevalence)?, Confusion::at(&scores, &labels, model.threshold)?);
        for ([clean, noisy], (_, measure)) in seen.iter_mut().zip(MEASURES) {
            clean.push(exact.measure(measure, ZeroDivision::Refuse)?);
            // A model that calls nothing positive is worth nothing.
            noisy.push(counts.measure(measure, ZeroDivision::Value(0.0))?);
        }
        let [.., [clean, noisy]] = &mut seen;
        clean.push(model.strength);
        noisy.push(auroc(&scores, &labels)?);
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_counts_by_hand() {
        // Odds of 3 to 1 for positives and of 1 to 3 for negatives: half of the rows each.
        let model = Classifier { strength: 2.0 * 3f64.ln(), threshold: 3f64.ln() };
        let counts = model.exact(0.5).unwrap();
        assert!(
            counts.true_positive.abs_diff(375_000_000_000) < 2 && counts.false_positive.abs_diff(125_000_000_000) < 2
        );
        for (_, measure) in MEASURES {
            let due = if measure == Decision::Mcc { 0.5 } else { 0.75 };
            assert!((counts.measure(measure, ZeroDivision::Refuse).unwrap() - due).abs() < 1e-9);
        }
    }

    #[test]
    fn scores_call_as_many_positive_as_the_rates_say() {
        let model = Classifier { strength: 3f64.ln(), threshold: 0.0 };
        let scores = model.scores(&[true; 4000], &mut Seed(1).stream("scores", 0));
        let called = scores.iter().filter(|score| **score >= 0.0).count() as f64 / 4000.0;
        // The deviation is 0.007.
        assert!((called - 0.75).abs() < 0.03, "{called}");
    }
}
