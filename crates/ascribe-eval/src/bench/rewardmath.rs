//! RewardMATH (arXiv:2410.01729): one correct solution against many wrong ones.
//!
//! ```text
//! accuracy = mean 1[min C > max W],  with ties 1[min C >= max W],  MRR = mean 1/rank,  rank = 1 + #{w >= max C}
//! pairwise judge: accuracy = mean 1[all verdicts right],  MRR = mean 1/(1 + verdicts lost)
//! ```
//! Best-of-n and RL both move to the maximum of a reward over many candidates, so one wrong candidate above the
//! right one is
//! what matters; a single pair measures one draw. Step scores become one score by [`StepReduction`]; nothing else is
//! done
//! to them.

use crate::error::{finite, not_empty, within};
use crate::stats::sum::{mean, number, sigmoid, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// The scores of one problem.
#[derive(Clone, Debug, PartialEq)]
pub struct OneToMany {
    /// Scores of correct solutions, one at least.
    pub correct: Vec<f64>,
    /// Scores of wrong solutions, one at least.
    pub wrong: Vec<f64>,
}

/// RewardMATH's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardMath {
    /// Share of problems whose correct solutions are above all wrong ones; the interval resamples problems.
    pub accuracy: Estimate,
    /// The same where a tie counts as right.
    pub accuracy_with_ties: Estimate,
    /// Mean reciprocal rank of the best correct solution, ties against it.
    pub mrr: Estimate,
    /// Share of pairs of a correct and a wrong solution that are right, ties half; every pair alike.
    pub pair_accuracy: f64,
}

/// Scores the problems of a reward model. In [0, 1], MRR above 0; ties as the fields say: wrong, right, against the
/// correct solution, half; O(scores + B n).
///
/// # Errors
/// When there is no problem, one lacks correct or wrong solutions, or a score is NaN or infinite.
pub fn one_to_many(problems: &[OneToMany], bootstrap: &Bootstrap) -> Result<RewardMath, EvalError> {
    not_empty("the problems", problems)?;
    let (mut strict, mut loose, mut reciprocal) = (Vec::new(), Vec::new(), Vec::new());
    let (mut won, mut pairs) = (0.0, 0.0);
    for problem in problems {
        finite("correct", &problem.correct)?;
        finite("wrong", &problem.wrong)?;
        let lowest = problem.correct.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = problem.correct.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let wrong = problem.wrong.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        strict.push(number(lowest > wrong));
        loose.push(number(lowest >= wrong));
        reciprocal.push(1.0 / (1 + problem.wrong.iter().filter(|&&wrong| wrong >= highest).count()) as f64);
        for right in &problem.correct {
            let credit = |wrong: &f64| if right > wrong { 1.0 } else { 0.5 * number(right == wrong) };
            won += sum(problem.wrong.iter().map(credit));
            pairs += problem.wrong.len() as f64;
        }
    }
    Ok(RewardMath {
        accuracy: bootstrap.mean(&strict)?,
        accuracy_with_ties: bootstrap.mean(&loose)?,
        mrr: bootstrap.mean(&reciprocal)?,
        pair_accuracy: won / pairs,
    })
}

/// What a verdict that could not be read counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unparsed {
    /// An error.
    #[default]
    Refuse,
    /// A lost comparison, as in the release.
    Loss,
    /// Half a win for pair accuracy; the problem is not all right, and the pair counts as half lost for MRR.
    Half,
}

/// RewardMATH's numbers for a pairwise judge, from whether each verdict of each problem is right (`None`: not
/// readable), and the count of verdicts that could not be read. In [0, 1], MRR above 0; O(verdicts + B n).
///
/// # Errors
/// When there is no problem, one has no verdict, or one could not be read under [`Unparsed::Refuse`].
pub fn pairwise_one_to_many(
    verdicts: &[Vec<Option<bool>>],
    unparsed: Unparsed,
    bootstrap: &Bootstrap,
) -> Result<(RewardMath, usize), EvalError> {
    not_empty("the problems", verdicts)?;
    let missing = verdicts.iter().flatten().filter(|verdict| verdict.is_none()).count();
    if missing > 0 && unparsed == Unparsed::Refuse {
        let why = "some verdicts could not be read; repeat them, or say what they count as";
        return Err(EvalError::Degenerate { what: "a pairwise accuracy", why });
    }
    let credit = |verdict: &Option<bool>| match (verdict, unparsed) {
        (Some(right), _) => number(*right),
        (None, Unparsed::Half) => 0.5,
        (None, _) => 0.0,
    };
    let (mut all, mut reciprocal, mut won, mut pairs) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for verdicts in verdicts {
        not_empty("the verdicts", verdicts)?;
        let right = sum(verdicts.iter().map(credit));
        all.push(number(right == verdicts.len() as f64));
        reciprocal.push(1.0 / (1.0 + verdicts.len() as f64 - right));
        won += right;
        pairs += verdicts.len() as f64;
    }
    let accuracy = bootstrap.mean(&all)?;
    let mrr = bootstrap.mean(&reciprocal)?;
    Ok((RewardMath { accuracy, accuracy_with_ties: accuracy, mrr, pair_accuracy: won / pairs }, missing))
}

/// How the step scores of a process model become one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepReduction {
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The product.
    Product,
    /// The geometric mean.
    GeometricMean,
    /// The mean.
    Mean,
    /// The sigmoid of the mean logit.
    MeanLogit,
    /// The mean of p/(1-p).
    MeanOdds,
    /// The last.
    Last,
}

impl StepReduction {
    /// Every reduction.
    pub const ALL: [Self; 8] = [
        Self::Min,
        Self::Max,
        Self::Product,
        Self::GeometricMean,
        Self::Mean,
        Self::MeanLogit,
        Self::MeanOdds,
        Self::Last,
    ];

    /// The score of step scores in [0, 1]. It lies there too, but mean odds have no bound above; O(steps).
    ///
    /// # Errors
    /// When there is no step, a score is not in [0, 1], or one is 0 or 1 for mean logit and mean odds.
    pub fn of(self, steps: &[f64]) -> Result<f64, EvalError> {
        let open = matches!(self, Self::MeanLogit | Self::MeanOdds);
        if open {
            within("the step scores", steps, "above 0 and below 1", |p| 0.0 < p && p < 1.0)?;
        }
        within("the step scores", steps, "between 0 and 1", |p| (0.0..=1.0).contains(&p))?;
        let mapped = |map: fn(&f64) -> f64| mean(&steps.iter().map(map).collect::<Vec<_>>());
        Ok(match self {
            Self::Min => steps.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Max => steps.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Product => steps.iter().product(),
            // ln 0 is -inf, which a compensated sum cannot carry.
            Self::GeometricMean => (steps.iter().map(|p| p.ln()).sum::<f64>() / steps.len() as f64).exp(),
            Self::Mean => mean(steps),
            Self::MeanLogit => sigmoid(mapped(|p| p.ln() - (-p).ln_1p())),
            Self::MeanOdds => mapped(|p| p / (1.0 - p)),
            Self::Last => steps[steps.len() - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 0.7 ties one wrong answer and loses to another: rank 3. Of nine pairs six are won and one is tied.
    #[test]
    fn one_problem() {
        let wrong = vec![0.1, 0.7, 0.2, 0.9, 0.3, 0.3, 0.0, 0.5, 0.6];
        let scores = one_to_many(&[OneToMany { correct: vec![0.7], wrong }], &Bootstrap::NONE).unwrap();
        assert_eq!((scores.accuracy.value, scores.accuracy_with_ties.value), (0.0, 0.0));
        assert_eq!((scores.mrr.value, scores.pair_accuracy), (1.0 / 3.0, 7.5 / 9.0));
    }

    #[test]
    fn unreadable_verdicts_follow_the_policy() {
        let verdicts = [vec![Some(true), Some(true)], vec![Some(true), None]];
        let of = |unparsed| pairwise_one_to_many(&verdicts, unparsed, &Bootstrap::NONE);
        assert!(matches!(of(Unparsed::Refuse), Err(EvalError::Degenerate { .. })));
        let (loss, missing) = of(Unparsed::Loss).unwrap();
        assert_eq!((loss.accuracy.value, loss.mrr.value, loss.pair_accuracy, missing), (0.5, 0.75, 0.75, 1));
        let (half, _) = of(Unparsed::Half).unwrap();
        assert_eq!((half.accuracy.value, half.pair_accuracy), (0.5, 0.875));
    }

    /// Steps 1/2 and 1/4: product 1/8, geometric mean its root; logits 0 and -ln 3; odds 1 and 1/3.
    #[test]
    fn reductions_by_hand() {
        let expected = [0.25, 0.5, 0.125, 0.125_f64.sqrt(), 0.375, 1.0 / (1.0 + 3_f64.sqrt()), 2.0 / 3.0, 0.25];
        for (reduction, expected) in StepReduction::ALL.into_iter().zip(expected) {
            assert!((reduction.of(&[0.5, 0.25]).unwrap() - expected).abs() < 1e-12, "{reduction:?}");
        }
        assert_eq!(StepReduction::GeometricMean.of(&[0.0, 0.5]).unwrap(), 0.0);
        assert!(StepReduction::MeanLogit.of(&[1.0]).is_err() && StepReduction::Mean.of(&[]).is_err());
        assert!(StepReduction::Min.of(&[1.1]).is_err() && StepReduction::Min.of(&[f64::NAN]).is_err());
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(one_to_many(&[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        let no_wrong = OneToMany { correct: vec![1.0], wrong: vec![] };
        assert!(matches!(one_to_many(&[no_wrong], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
    }

    proptest! {
        #[test]
        fn accuracy_is_at_most_mrr_and_wrong_answers_never_help(
            correct in -3_i32..3, wrong in prop::collection::vec(-3_i32..3, 2..9),
        ) {
            let wrong: Vec<f64> = wrong.into_iter().map(f64::from).collect();
            let of = |wrong: &[f64]| {
                let problem = OneToMany { correct: vec![f64::from(correct)], wrong: wrong.to_vec() };
                one_to_many(&[problem], &Bootstrap::NONE).unwrap()
            };
            let (all, fewer) = (of(&wrong), of(&wrong[1..]));
            prop_assert!(all.accuracy.value <= all.mrr.value);
            prop_assert!(all.mrr.value >= 1.0 / (1.0 + wrong.len() as f64));
            prop_assert!(all.accuracy.value <= fewer.accuracy.value && all.mrr.value <= fewer.mrr.value);
        }
    }
}
