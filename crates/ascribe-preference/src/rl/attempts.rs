//! Two attempts at a prompt, the second behind the first and a request to correct it: SCoRe, arXiv:2409.12917.
//!
//! ```text
//! y1 ~ pi(. | x),   y2 ~ pi(. | x, y1, what stands between)
//! stage I    reward 0 for y1 and R(y2) for y2;                        the pull to the reference is that of y1
//! stage II   reward R(y1) for y1 and R(y2) + a (R(y2) - R(y1)) for y2;  both are pulled
//! ```
//! An attempt is a response of its own with its own prompt, so it is credited with its own reward alone. First attempts at a
//! prompt are one group and second attempts another, and a baseline is that of the group. In stage II the reference may write
//! some of the first attempts, of which only the second ones behind them learn. Departure: losses are means over attempts, where the
//! paper adds the two.

use ascribe_core::advantage::Graded;
use ascribe_core::{CoreError, Tokens};

use super::Rollout;
use super::source::{Metrics, share};

/// Which part of the recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The second attempt learns while the first is held to the reference.
    First,
    /// Both learn, and progress from the first to the second is paid.
    Second,
}

/// A second attempt at each prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct SecondAttempt {
    /// What stands between the first response and the second: the request to correct it, with all that the model expects
    /// around it. At least one token.
    pub between: Tokens,
    /// The stage.
    pub stage: Stage,
    /// What progress is paid in stage II: `a`, finite and at least 0.
    pub progress: f64,
    /// The pull on second attempts in stage I, as a share of that on first ones; finite and at least 0.
    pub pull: f64,
    /// The share of first attempts in stage II that the reference writes, in [0, 1).
    pub borrowed: f64,
}

impl SecondAttempt {
    /// Stage I or II with the strengths of the paper, without a pull on second attempts in stage I.
    pub fn new(between: impl Into<Tokens>, stage: Stage) -> Self {
        Self { between: between.into(), stage, progress: 10.0, pull: 0.0, borrowed: 0.0 }
    }

    pub(super) fn check(&self) -> Result<(), CoreError> {
        if self.between.is_empty() {
            let rule = "at least 1: what stands between two attempts asks for the second";
            return Err(CoreError::Range { name: "the tokens between two attempts", rule, got: 0.0 });
        }
        for (name, got) in [("progress_bonus", self.progress), ("second_pull", self.pull)] {
            let accepted = got >= 0.0 && got.is_finite();
            if !accepted {
                return Err(CoreError::Range { name, rule: "finite and at least 0", got });
            }
        }
        let (name, got) = ("borrowed_attempts", self.borrowed);
        if !(0.0..1.0).contains(&got) {
            return Err(CoreError::Range { name, rule: "in [0, 1)", got });
        }
        if got > 0.0 && self.stage == Stage::First {
            return Err(CoreError::Range { name, rule: "0 in the first stage, which holds first attempts", got });
        }
        Ok(())
    }

    /// How many of the responses to a prompt the reference writes.
    pub(super) fn borrowed_of(&self, responses: usize) -> usize {
        (self.borrowed * responses as f64).floor() as usize
    }

    /// The prompt of a second attempt behind the first one at `prompt`.
    pub fn prompt(&self, prompt: &Tokens, first: &[u32]) -> Tokens {
        prompt.followed_by(first).followed_by(&self.between)
    }

    /// What the two attempts are paid for their scores.
    pub fn paid(&self, first: f64, second: f64) -> (f64, f64) {
        match self.stage {
            Stage::First => (0.0, second),
            Stage::Second => (first, second + self.progress * (second - first)),
        }
    }

    /// Logs how often the second attempts are right where the first were, pays both, and says who is pulled. First attempts
    /// stand before second ones, in the same order.
    pub(super) fn pay(&self, rollouts: &mut [Rollout], graded: &mut [Graded], metrics: &mut Metrics) {
        let half = rollouts.len() / 2;
        let (first, second) = graded.split_at_mut(half);
        let scores: Vec<(f64, f64)> =
            first.iter().zip(&*second).filter_map(|(one, other)| Some((one.score?, other.score?))).collect();
        log(&scores, metrics);
        let edits: Vec<f64> =
            (0..half).map(|at| distance(&rollouts[at].response, &rollouts[half + at].response) as f64).collect();
        metrics.push("attempts/edit_distance", edits.iter().sum::<f64>() / half.max(1) as f64);
        for (one, other) in first.iter_mut().zip(second) {
            match (one.score, other.score) {
                (Some(first), Some(second)) => {
                    let (first, second) = self.paid(first, second);
                    (one.score, other.score) = (Some(first), Some(second));
                }
                // Progress that nobody can judge is none.
                _ => (one.score, other.score) = (None, None),
            }
        }
        if self.stage == Stage::First {
            let (first, second) = rollouts.split_at_mut(half);
            first.iter_mut().for_each(|rollout| rollout.pull = Some(1.0));
            second.iter_mut().for_each(|rollout| rollout.pull = Some(self.pull as f32));
        }
    }
}

/// Scores of both attempts, and which changed; right is a score above one half.
fn log(scores: &[(f64, f64)], metrics: &mut Metrics) {
    let n = scores.len().max(1) as f64;
    let first = scores.iter().map(|(first, _)| first).sum::<f64>() / n;
    let second = scores.iter().map(|(_, second)| second).sum::<f64>() / n;
    let changed = |to: bool| {
        let flags: Vec<bool> = scores.iter().map(|(a, b)| (*a > 0.5) != to && (*b > 0.5) == to).collect();
        share(&flags)
    };
    metrics.push("attempts/first", first);
    metrics.push("attempts/second", second);
    metrics.push("attempts/gain", second - first);
    metrics.push("attempts/corrected", changed(true));
    metrics.push("attempts/spoiled", changed(false));
}

/// Tokens that are put in, taken out or replaced on the shortest way from one to the other.
fn distance(one: &[u32], other: &[u32]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, token) in one.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (place, aim) in other.iter().enumerate() {
            let replaced = corner + usize::from(token != aim);
            corner = row[place + 1];
            row[place + 1] = replaced.min(corner + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(stage: Stage, progress: f64) -> SecondAttempt {
        SecondAttempt { progress, ..SecondAttempt::new(vec![7], stage) }
    }

    #[test]
    fn progress_is_paid_and_steps_back_are_charged() {
        let two = attempts(Stage::Second, 10.0);
        let second = |a, b| two.paid(a, b).1;
        assert_eq!([second(0.0, 1.0), second(1.0, 0.0), second(1.0, 1.0), second(0.0, 0.0)], [11.0, -10.0, 1.0, 0.0]);
        assert_eq!(two.paid(1.0, 0.0).0, 1.0);
        // Without a bonus it is reinforcement learning over two turns.
        assert_eq!(attempts(Stage::Second, 0.0).paid(1.0, 0.0), (1.0, 0.0));
        // In stage I nothing that the first attempt earns is paid.
        assert_eq!(attempts(Stage::First, 10.0).paid(1.0, 0.0), (0.0, 0.0));
        assert_eq!(attempts(Stage::First, 10.0).paid(0.0, 1.0), (0.0, 1.0));
    }

    #[test]
    fn both_attempts_are_paid_and_logged() {
        let rollout = |response: &[u32]| Rollout { response: Tokens::from(response), ..Rollout::default() };
        let mut rollouts = [rollout(&[1, 2, 3]), rollout(&[4]), rollout(&[1, 3]), rollout(&[4])];
        let scored = |group, score| Graded::scored(group, score, 1);
        let mut graded = [scored(0, 0.0), scored(1, 1.0), scored(2, 1.0), scored(3, 1.0)];
        let mut metrics = Metrics::default();
        attempts(Stage::Second, 2.0).pay(&mut rollouts, &mut graded, &mut metrics);
        assert_eq!(graded.each_ref().map(|one| one.score), [Some(0.0), Some(1.0), Some(3.0), Some(1.0)]);
        let told = |name: &str| metrics.get(name);
        assert_eq!([told("attempts/first"), told("attempts/second"), told("attempts/gain")], [0.5, 1.0, 0.5].map(Some));
        assert_eq!([told("attempts/corrected"), told("attempts/spoiled")], [0.5, 0.0].map(Some));
        // One token is taken out of the first response.
        assert_eq!(told("attempts/edit_distance"), Some(0.5));
        assert!(rollouts.iter().all(|rollout| rollout.pull.is_none()));
        attempts(Stage::First, 2.0).pay(&mut rollouts, &mut graded, &mut Metrics::default());
        assert_eq!(rollouts.each_ref().map(|one| one.pull), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
        // What nobody can judge is no progress.
        graded[2].score = None;
        attempts(Stage::Second, 2.0).pay(&mut rollouts, &mut graded, &mut Metrics::default());
        assert_eq!((graded[0].score, graded[2].score), (None, None));
    }

    #[test]
    fn distances_by_hand() {
        assert_eq!(distance(&[], &[]), 0);
        assert_eq!(distance(&[1, 2], &[]), 2);
        assert_eq!(distance(&[], &[1]), 1);
        assert_eq!(distance(&[1, 2, 3, 4], &[1, 3, 4, 5]), 2);
        assert_eq!(distance(&[1, 2, 3], &[3, 2, 1]), 2);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(SecondAttempt::new(Vec::new(), Stage::First).check().is_err());
        assert!(attempts(Stage::Second, -1.0).check().is_err());
        assert!(attempts(Stage::Second, f64::NAN).check().is_err());
        assert!(SecondAttempt { pull: -0.1, ..SecondAttempt::new(vec![1], Stage::First) }.check().is_err());
        assert!(SecondAttempt::new(vec![1], Stage::First).check().is_ok());
        let borrowed = |stage, borrowed| SecondAttempt { borrowed, ..SecondAttempt::new(vec![1], stage) };
        assert!(borrowed(Stage::Second, 0.5).check().is_ok());
        assert!(borrowed(Stage::First, 0.5).check().is_err() && borrowed(Stage::Second, 1.0).check().is_err());
        assert!(borrowed(Stage::Second, f64::NAN).check().is_err());
        assert_eq!([0.0, 0.2, 0.5, 0.99].map(|share| borrowed(Stage::Second, share).borrowed_of(8)), [0, 1, 4, 7]);
    }
}
