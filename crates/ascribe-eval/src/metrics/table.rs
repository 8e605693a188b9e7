//! The rows of the table, and the functions behind them.

use super::{Columns, Compute, Counted, Direction, Holds, ScalarMetric, mean_of, statistic_of};
use crate::bench::process_bench::{counted_f1, within_one};
use crate::bench::{pass_at_k, pass_hat_k};
use crate::calibrate::{
    Binning, CalibrationError, Half, balance_terms, counted_calibration, counted_skill, knowledge_losses, log_losses,
    squares,
};
use crate::classify::scored::Scored;
use crate::classify::{Between, Decision, counted_decisions};
use crate::curve::KlEstimate;
use crate::curve::kl::kl_terms;
use crate::pairs::{Ties, credits};
use crate::rank::correlation::{counted_pearson, counted_spearman};
use crate::rank::kappa::counted_cohen;
use crate::rank::kendall::{Concordance, counted_tau};
use crate::rank::{KappaWeights, pearson};
use crate::stats::sum::{as_numbers, counted_mean};
use crate::text::{RougeKind, Stem};
use crate::{Bootstrap, Estimate, EvalError, accuracy};

const SHARE: (f64, f64) = (0.0, 1.0);
const SIGNED: (f64, f64) = (-1.0, 1.0);
const POSITIVE: (f64, f64) = (0.0, f64::INFINITY);

const CORRECT: &[(&str, Holds)] = &[("correct", Holds::Flags)];
const PAIR: &[(&str, Holds)] = &[("chosen", Holds::Numbers), ("rejected", Holds::Numbers)];
const SCORED: &[(&str, Holds)] = &[("score", Holds::Numbers), ("label", Holds::Flags)];
const FORECAST: &[(&str, Holds)] = &[("p", Holds::Shares), ("label", Holds::Flags)];
const KNOWLEDGE: &[(&str, Holds)] = &[("p", Holds::Shares), ("share", Holds::Shares)];
const XY: &[(&str, Holds)] = &[("x", Holds::Numbers), ("y", Holds::Numbers)];
const GRADES: &[(&str, Holds)] = &[("a", Holds::Counts), ("b", Holds::Counts)];
const MARKS: &[(&str, Holds)] = &[("judge", Holds::Numbers), ("teacher", Holds::Numbers)];
const OUTCOME: &[(&str, Holds)] = &[("outcome", Holds::Shares)];
const ATTEMPTS: &[(&str, Holds)] = &[("samples", Holds::Counts), ("correct", Holds::Counts)];
const FIRST_ERROR: &[(&str, Holds)] = &[("prediction", Holds::Steps), ("label", Holds::Steps)];
const RANK: &[(&str, Holds)] = &[("rank", Holds::Counts)];
const LOGPS: &[(&str, Holds)] = &[("logp", Holds::Numbers), ("reference", Holds::Numbers)];
const OVERLAP: &[(&str, Holds)] = &[("target", Holds::Texts), ("prediction", Holds::Texts)];
const TWICE: &[(&str, Holds)] = &[("first", Holds::Flags), ("second", Holds::Flags)];

macro_rules! row {
    ($name:literal, $columns:ident, $range:ident, $direction:ident, $compute:expr, $doc:literal) => {
        ScalarMetric {
            name: $name,
            columns: $columns,
            range: $range,
            direction: Direction::$direction,
            doc: $doc,
            compute: $compute,
        }
    };
}

/// Every scalar metric by name. Thresholds are 0.5, bins ten of equal width.
pub const METRICS: &[ScalarMetric] = &[
    row!("accuracy", CORRECT, SHARE, Up, Compute::Own(share_correct), "share of correct rows"),
    row!(
        "pair-accuracy",
        PAIR,
        SHARE,
        Up,
        Compute::Terms(|c| pair(c, Ties::Strict)),
        "share of pairs with chosen above rejected; a tie is wrong"
    ),
    row!(
        "pair-accuracy-half",
        PAIR,
        SHARE,
        Up,
        Compute::Terms(|c| pair(c, Ties::Half)),
        "the same; a tie is half right"
    ),
    row!("pair-accuracy-loose", PAIR, SHARE, Up, Compute::Terms(|c| pair(c, Ties::Loose)), "the same; a tie is right"),
    row!(
        "pair-loss",
        PAIR,
        POSITIVE,
        Down,
        Compute::Terms(pair_loss),
        "mean Bradley-Terry loss ln(1 + e^-(chosen - rejected))"
    ),
    row!(
        "auroc",
        SCORED,
        SHARE,
        Up,
        Compute::Counted(area),
        "chance that a positive outranks a negative; a tie counts half"
    ),
    row!(
        "average-precision",
        SCORED,
        SHARE,
        Up,
        Compute::Counted(precision),
        "precision averaged over the recall of distinct thresholds; ties enter together"
    ),
    row!(
        "tpr-at-fpr-1",
        SCORED,
        SHARE,
        Up,
        Compute::Counted(rate),
        "true positive rate at a false positive rate of at most 0.01; ties enter together"
    ),
    row!(
        "fpr-at-tpr-95",
        SCORED,
        SHARE,
        Down,
        Compute::Counted(false_alarms),
        "false positive rate at a true positive rate of at least 0.95; ties enter together"
    ),
    row!(
        "precision",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::Precision)),
        "share of true labels among p >= 0.5"
    ),
    row!(
        "recall",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::Recall)),
        "share of the true labels with p >= 0.5"
    ),
    row!(
        "specificity",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::Specificity)),
        "share of the false labels with p < 0.5"
    ),
    row!(
        "f1",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::FBeta(1.0))),
        "harmonic mean of precision and recall"
    ),
    row!(
        "g-mean",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::GMean)),
        "geometric mean of recall and specificity"
    ),
    row!(
        "balanced-accuracy",
        FORECAST,
        SHARE,
        Up,
        Compute::Counted(|c| decided(c, Decision::BalancedAccuracy)),
        "mean of recall and specificity"
    ),
    row!(
        "mcc",
        FORECAST,
        SIGNED,
        Up,
        Compute::Counted(|c| decided(c, Decision::Mcc)),
        "Matthews' correlation of decision and label"
    ),
    row!(
        "ece",
        FORECAST,
        SHARE,
        Down,
        Compute::Counted(|c| calibration(c, Binning::default(), |error| error.ece)),
        "expected calibration error; equal p share a bin"
    ),
    row!(
        "ece-equal-mass",
        FORECAST,
        SHARE,
        Down,
        Compute::Counted(|c| calibration(c, Binning::Mass(10), |error| error.ece)),
        "the same with edges at the deciles of p"
    ),
    row!(
        "mce",
        FORECAST,
        SHARE,
        Down,
        Compute::Counted(|c| calibration(c, Binning::default(), |error| error.mce)),
        "largest gap of a bin"
    ),
    row!(
        "rms-calibration-error",
        FORECAST,
        SHARE,
        Down,
        Compute::Counted(|c| calibration(c, Binning::default(), |error| error.rms)),
        "root mean square gap of the bins"
    ),
    row!(
        "signed-calibration-error",
        FORECAST,
        SIGNED,
        Zero,
        Compute::Counted(|c| calibration(c, Binning::default(), |error| error.signed)),
        "mean p less mean label; positive is over-confident"
    ),
    row!(
        "brier",
        FORECAST,
        SHARE,
        Down,
        Compute::Terms(|c| squares(c.numbers("p")?, &c.flags("label")?)),
        "mean squared error of the forecast"
    ),
    row!(
        "brier-skill",
        FORECAST,
        UP_TO_ONE,
        Up,
        Compute::Counted(skill),
        "1 less the Brier score over that of the base rate"
    ),
    row!(
        "log-loss",
        FORECAST,
        POSITIVE,
        Down,
        Compute::Terms(|c| log_losses(c.numbers("p")?, &c.flags("label")?, None)),
        "mean log loss in nats; 0 and 1 on the wrong side are refused"
    ),
    row!(
        "p-ik-cross-entropy",
        KNOWLEDGE,
        POSITIVE,
        Down,
        Compute::Terms(|c| knowledge_losses(c.numbers("p")?, c.numbers("share")?)),
        "mean cross-entropy, in nats, of p with the share of sampled answers that were right"
    ),
    row!(
        "balance",
        FORECAST,
        BALANCE,
        Zero,
        Compute::Terms(|c| balance_terms(c.numbers("p")?, &c.flags("label")?, Half::Positive)),
        "accuracy less mean confidence of the decision; p = 0.5 is positive"
    ),
    row!("pearson", XY, SIGNED, Up, Compute::Own(linear), "linear correlation"),
    row!("spearman", XY, SIGNED, Up, Compute::Counted(ranked), "correlation of ranks; ties share their mean rank"),
    row!(
        "kendall-tau-b",
        XY,
        SIGNED,
        Up,
        Compute::Counted(|c| ordered(c, Concordance::tau_b)),
        "concordant less discordant pairs, corrected for ties"
    ),
    row!(
        "kendall-tau-c",
        XY,
        SIGNED,
        Up,
        Compute::Counted(|c| ordered(c, Concordance::tau_c)),
        "the same over the most that columns of so few distinct values allow"
    ),
    row!(
        "cohen-kappa",
        GRADES,
        SIGNED,
        Up,
        Compute::Counted(|c| kappa(c, KappaWeights::Unweighted)),
        "agreement of two raters beyond chance"
    ),
    row!(
        "linear-kappa",
        GRADES,
        SIGNED,
        Up,
        Compute::Counted(|c| kappa(c, KappaWeights::Linear)),
        "the same with the distance of grades"
    ),
    row!(
        "quadratic-kappa",
        GRADES,
        SIGNED,
        Up,
        Compute::Counted(|c| kappa(c, KappaWeights::Quadratic)),
        "the same with squared distance of grades"
    ),
    row!("mae", MARKS, POSITIVE, Down, Compute::Terms(|c| marks(c, f64::abs)), "mean absolute error of marks"),
    row!(
        "mse",
        MARKS,
        POSITIVE,
        Down,
        Compute::Terms(|c| marks(c, |error| error * error)),
        "mean squared error of marks"
    ),
    row!("rmse", MARKS, POSITIVE, Down, Compute::Counted(root), "its root"),
    row!("bias", MARKS, ANY, Zero, Compute::Terms(|c| marks(c, |error| error)), "mean of judge less teacher"),
    row!("win-rate", OUTCOME, SHARE, Up, Compute::Terms(outcomes), "mean outcome; a draw is 0.5"),
    row!(
        "pass-at-1",
        ATTEMPTS,
        SHARE,
        Up,
        Compute::Terms(|c| passes(c, 1, pass_at_k)),
        "chance that one sample is correct, mean over problems"
    ),
    row!(
        "pass-at-8",
        ATTEMPTS,
        SHARE,
        Up,
        Compute::Terms(|c| passes(c, 8, pass_at_k)),
        "chance that one of eight samples is correct, mean over problems"
    ),
    row!(
        "pass-hat-8",
        ATTEMPTS,
        SHARE,
        Up,
        Compute::Terms(|c| passes(c, 8, pass_hat_k)),
        "chance that all of eight samples are correct, mean over problems"
    ),
    row!(
        "mrr",
        RANK,
        SHARE,
        Up,
        Compute::Terms(|c| ranks(c, |rank| 1.0 / rank)),
        "mean of 1/rank of the one relevant item; rank 0 is not retrieved and gives 0"
    ),
    row!(
        "hit-rate-at-10",
        RANK,
        SHARE,
        Up,
        Compute::Terms(|c| ranks(c, |rank| if rank <= 10.0 { 1.0 } else { 0.0 })),
        "share of rows whose one relevant item is among the first ten; rank 0 is not retrieved"
    ),
    row!(
        "ndcg-at-10",
        RANK,
        SHARE,
        Up,
        Compute::Terms(|c| ranks(c, |rank| if rank <= 10.0 { 1.0 / (1.0 + rank).log2() } else { 0.0 })),
        "mean of 1/log2(1 + rank) of the one relevant item, 0 beyond ten; rank 0 is not retrieved"
    ),
    row!(
        "kl-k1",
        LOGPS,
        ANY,
        Zero,
        Compute::Terms(|c| divergences(c, KlEstimate::K1)),
        "KL of the policy that drew the rows from its reference, in nats: mean of logp - reference; unbiased"
    ),
    row!(
        "kl-k2",
        LOGPS,
        POSITIVE,
        Down,
        Compute::Terms(|c| divergences(c, KlEstimate::K2)),
        "the same by half the square; biased"
    ),
    row!(
        "kl-k3",
        LOGPS,
        POSITIVE,
        Down,
        Compute::Terms(|c| divergences(c, KlEstimate::K3)),
        "the same by e^-l - 1 + l with l = logp - reference; unbiased"
    ),
    row!(
        "rouge-1",
        OVERLAP,
        SHARE,
        Up,
        Compute::Terms(|c| overlaps(c, RougeKind::N(1))),
        "mean F of the words that prediction and target share, without stems; text beyond ASCII loses its letters"
    ),
    row!("rouge-2", OVERLAP, SHARE, Up, Compute::Terms(|c| overlaps(c, RougeKind::N(2))), "the same of pairs of words"),
    row!(
        "rouge-l",
        OVERLAP,
        SHARE,
        Up,
        Compute::Terms(|c| overlaps(c, RougeKind::L)),
        "the same of the longest common subsequence"
    ),
    row!(
        "process-f1",
        FIRST_ERROR,
        SHARE,
        Up,
        Compute::Counted(located),
        "harmonic mean of exact first errors and of clean solutions found clean"
    ),
    row!(
        "first-error-exact",
        FIRST_ERROR,
        SHARE,
        Up,
        Compute::Terms(|c| errors_found(c, |prediction, label| prediction == label)),
        "share of first errors that are found, clean solutions among them"
    ),
    row!(
        "first-error-within-one",
        FIRST_ERROR,
        SHARE,
        Up,
        Compute::Terms(|c| errors_found(c, within_one)),
        "the same, where one step off is right; a clean solution is near nothing but itself"
    ),
    row!(
        "difference",
        TWICE,
        SIGNED,
        Zero,
        Compute::Terms(difference),
        "accuracy of the first less that of the second, paired"
    ),
];

const UP_TO_ONE: (f64, f64) = (f64::NEG_INFINITY, 1.0);
const BALANCE: (f64, f64) = (-1.0, 0.5);
const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

fn share_correct(columns: &Columns, keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let correct = columns.flags("correct")?;
    match keys {
        None => accuracy(&correct, bootstrap.level),
        Some(_) => mean_of(&as_numbers(&correct), keys, bootstrap),
    }
}

fn pair(columns: &Columns, ties: Ties) -> Result<Vec<f64>, EvalError> {
    credits(columns.numbers("chosen")?, columns.numbers("rejected")?, ties)
}

fn pair_loss(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let (chosen, rejected) = (columns.numbers("chosen")?, columns.numbers("rejected")?);
    Ok(chosen.iter().zip(rejected).map(|(chosen, rejected)| crate::stats::sum::softplus(rejected - chosen)).collect())
}

fn scored(columns: &Columns) -> Result<Scored<'_>, EvalError> {
    Scored::new(columns.numbers("score")?, columns.flags("label")?)
}

fn area(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let scored = scored(columns)?;
    Ok(Box::new(move |counts: &[u32]| scored.auroc(counts)))
}

fn precision(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let scored = scored(columns)?;
    Ok(Box::new(move |counts: &[u32]| Ok(scored.curve(counts)?.average_precision())))
}

fn rate(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let scored = scored(columns)?;
    Ok(Box::new(move |counts: &[u32]| scored.curve(counts)?.tpr_at_fpr(0.01, Between::Step)))
}

fn false_alarms(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let scored = scored(columns)?;
    Ok(Box::new(move |counts: &[u32]| scored.curve(counts)?.fpr_at_tpr(0.95, Between::Step)))
}

fn decided(columns: &Columns, decision: Decision) -> Result<Counted<'_>, EvalError> {
    let p = columns.numbers("p")?;
    crate::error::shares("p", p)?;
    Ok(Box::new(counted_decisions(p, columns.flags("label")?, 0.5, decision)?))
}

fn calibration(
    columns: &Columns,
    binning: Binning,
    number: fn(&CalibrationError) -> f64,
) -> Result<Counted<'_>, EvalError> {
    let (p, labels) = (columns.numbers("p")?, columns.flags("label")?);
    Ok(Box::new(counted_calibration(p, labels, binning, number)?))
}

fn skill(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    Ok(Box::new(counted_skill(columns.numbers("p")?, &columns.flags("label")?)?))
}

fn ranked(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    Ok(Box::new(counted_spearman(columns.numbers("x")?, columns.numbers("y")?)?))
}

fn ordered(columns: &Columns, tau: fn(&Concordance) -> Result<f64, EvalError>) -> Result<Counted<'_>, EvalError> {
    Ok(Box::new(counted_tau(columns.numbers("x")?, columns.numbers("y")?, tau)?))
}

fn linear(columns: &Columns, keys: Option<&[String]>, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let (x, y) = (columns.numbers("x")?, columns.numbers("y")?);
    match keys {
        None => pearson(x, y, bootstrap.level),
        Some(_) => statistic_of(columns.rows(), counted_pearson(x, y)?, keys, bootstrap),
    }
}

fn kappa(columns: &Columns, weights: KappaWeights) -> Result<Counted<'_>, EvalError> {
    let grades = |grades: Vec<i64>| grades.into_iter().map(|grade| grade as u32).collect::<Vec<u32>>();
    let (a, b) = (grades(columns.integers("a", 0)?), grades(columns.integers("b", 0)?));
    let k = a.iter().chain(&b).copied().max().unwrap_or(0) + 1;
    crate::error::option("grades", "below 1000", f64::from(k), k <= 1000)?;
    Ok(Box::new(counted_cohen(a, b, k.max(2), weights)?))
}

fn marks(columns: &Columns, of: fn(f64) -> f64) -> Result<Vec<f64>, EvalError> {
    let (judge, teacher) = (columns.numbers("judge")?, columns.numbers("teacher")?);
    Ok(judge.iter().zip(teacher).map(|(judge, teacher)| of(judge - teacher)).collect())
}

fn root(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let squares = marks(columns, |error| error * error)?;
    Ok(Box::new(move |counts: &[u32]| {
        let mean = counted_mean(&squares, counts);
        let nothing = EvalError::Degenerate { what: "the error of marks", why: "every row has the weight 0" };
        if mean.is_nan() { Err(nothing) } else { Ok(mean.sqrt()) }
    }))
}

fn outcomes(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let outcomes = columns.numbers("outcome")?;
    crate::error::shares("outcome", outcomes)?;
    Ok(outcomes.to_vec())
}

type Attempted = fn(usize, usize, usize) -> Result<f64, EvalError>;

fn passes(columns: &Columns, k: usize, of: Attempted) -> Result<Vec<f64>, EvalError> {
    let (samples, correct) = (columns.integers("samples", 0)?, columns.integers("correct", 0)?);
    samples.iter().zip(correct).map(|(&samples, correct)| of(samples as usize, correct as usize, k)).collect()
}

/// Of ranks from 1 on; 0 where the item was not retrieved.
fn ranks(columns: &Columns, of: fn(f64) -> f64) -> Result<Vec<f64>, EvalError> {
    let ranks = columns.integers("rank", 0)?;
    Ok(ranks.into_iter().map(|rank| if rank == 0 { 0.0 } else { of(rank as f64) }).collect())
}

fn divergences(columns: &Columns, kind: KlEstimate) -> Result<Vec<f64>, EvalError> {
    let (logps, references) = (columns.numbers("logp")?, columns.numbers("reference")?);
    let ratios: Vec<f64> = logps.iter().zip(references).map(|(logp, reference)| logp - reference).collect();
    kl_terms(&ratios, kind)
}

fn overlaps(columns: &Columns, kind: RougeKind) -> Result<Vec<f64>, EvalError> {
    let (targets, predictions) = (columns.texts("target")?, columns.texts("prediction")?);
    let score = |(target, prediction): (&String, &String)| kind.score(target, prediction, Stem::Plain);
    targets.iter().zip(predictions).map(score).map(|score| score.map(|score| score.f)).collect()
}

fn errors_found(columns: &Columns, right: fn(i64, i64) -> bool) -> Result<Vec<f64>, EvalError> {
    let (predictions, labels) = (columns.integers("prediction", -1)?, columns.integers("label", -1)?);
    let right: Vec<bool> =
        predictions.iter().zip(labels).map(|(&prediction, label)| right(prediction, label)).collect();
    Ok(as_numbers(&right))
}

fn located(columns: &Columns) -> Result<Counted<'_>, EvalError> {
    let predictions: Vec<Option<i64>> = columns.integers("prediction", -1)?.into_iter().map(Some).collect();
    Ok(Box::new(counted_f1(&predictions, &columns.integers("label", -1)?)?))
}

fn difference(columns: &Columns) -> Result<Vec<f64>, EvalError> {
    let (first, second) = (as_numbers(&columns.flags("first")?), as_numbers(&columns.flags("second")?));
    Ok(first.iter().zip(second).map(|(first, second)| first - second).collect())
}
