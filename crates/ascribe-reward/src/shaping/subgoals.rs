//! Subgoals that a language model names and recognises: CALM, "Assessing the Zero-Shot Capabilities of LLMs for Action
//! Evaluation in RL", arXiv:2409.12798; potential-based shaping: Ng, Harada and Russell, ICML 1999.
//!
//! ```text
//! z_t in {0, 1}: a subgoal was achieved by the transition (o_t, a_t, o_{t+1})
//! auxiliary: r'_t = r_t + c z_t, at every achievement (or at the first of each subgoal)
//! potential: F_t = gamma Phi(s_{t+1}) - Phi(s_t),  Phi = number or share of subgoals achieved so far, Phi(terminal) = 0
//! ```
//! The potential form leaves the best policy as it is, and its sum is `-Phi(s_0)` for gamma 1; the auxiliary form may not. An
//! answer that is neither yes nor no counts as no, and is counted. The annotator sees one transition and never the future.
//! c is 1 by our reading. Precision, recall and F1 against people are measures of [`confusions`].

use std::collections::HashSet;

use ascribe_core::CoreError;
use ascribe_eval::classify::Confusion;

use crate::RewardError;
use crate::error::{not_empty, option, same_length, within};
use crate::text::TextPolicy;

/// Named subgoals, some of which come before others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subgoals {
    names: Vec<String>,
    before: Vec<(usize, usize)>,
}

impl Subgoals {
    /// Subgoals with pairs (earlier, later). A later one counts only when all earlier ones are achieved.
    ///
    /// # Errors
    /// When there is no subgoal, a name is empty or stands twice, a pair names no subgoal, or the order has a cycle.
    pub fn new(names: &[&str], before: &[(usize, usize)]) -> Result<Self, RewardError> {
        not_empty("the subgoals", names)?;
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| name.trim().is_empty() || !seen.insert(name.trim())) {
            let rule = "every subgoal needs a name of its own";
            return Err(RewardError::Shape { rule, got: format!("`{name}`") });
        }
        for &(earlier, later) in before {
            let known = earlier < names.len() && later < names.len();
            option("a subgoal of the order", "below the number of subgoals", earlier.max(later) as f64, known)?;
        }
        // Those without an open predecessor are taken away until nothing is left, or a cycle.
        let mut open: Vec<usize> = (0..names.len()).collect();
        while !open.is_empty() {
            let waits = |at: &usize| before.iter().any(|(earlier, later)| later == at && open.contains(earlier));
            let left: Vec<usize> = open.iter().copied().filter(waits).collect();
            if left.len() == open.len() {
                let rule = "the order of subgoals must have no cycle";
                let names: Vec<&str> = left.iter().map(|&at| names[at]).collect();
                return Err(RewardError::Shape { rule, got: format!("one among {}", names.join(", ")) });
            }
            open = left;
        }
        Ok(Self { names: names.iter().map(|name| (*name).to_owned()).collect(), before: before.to_vec() })
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Achievements by time, `[time][subgoal]`, without those that came before their turn.
    ///
    /// # Errors
    /// When there is not one flag a subgoal.
    pub fn in_order(&self, achieved: &[Vec<bool>]) -> Result<Vec<Vec<bool>>, RewardError> {
        let mut so_far = vec![false; self.names.len()];
        let mut kept = Vec::with_capacity(achieved.len());
        for now in achieved {
            same_length("the subgoals of a transition", self.names.len(), now.len())?;
            let ready = |goal: usize| self.before.iter().all(|(earlier, later)| *later != goal || so_far[*earlier]);
            let counted: Vec<bool> = now.iter().enumerate().map(|(goal, flag)| *flag && ready(goal)).collect();
            so_far.iter_mut().zip(&counted).for_each(|(so_far, now)| *so_far |= *now);
            kept.push(counted);
        }
        Ok(kept)
    }
}

/// What an annotator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'t> {
    /// The observation before.
    pub before: &'t str,
    /// The action.
    pub action: &'t str,
    /// The observation after.
    pub after: &'t str,
}

/// Says whether a transition achieved a subgoal; `None` is an answer that is neither yes nor no.
pub trait SubgoalAnnotator: Send + Sync {
    /// The answer for each (transition, subgoal).
    fn achieved(&self, questions: &[(Attempt<'_>, &str)]) -> Result<Vec<Option<bool>>, CoreError>;
}

impl SubgoalAnnotator for TextPolicy<'_> {
    fn achieved(&self, questions: &[(Attempt<'_>, &str)]) -> Result<Vec<Option<bool>>, CoreError> {
        let ask = |(attempt, subgoal): &(Attempt<'_>, &str)| {
            let Attempt { before, action, after } = attempt;
            format!(
                "Did this step of a game achieve a goal? Reply with yes or no.\n\n## Before\n{before}\n\n## \
                 Action\n{action}\n\n## After\n{after}\n\n## Goal\n{subgoal}\n\nAnswer:"
            )
        };
        let answers = self.answer(&questions.iter().map(ask).collect::<Vec<_>>())?;
        Ok(answers.iter().map(|answer| parse(answer)).collect())
    }
}

fn parse(answer: &str) -> Option<bool> {
    match answer.trim().trim_end_matches('.').to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Which subgoals each transition achieved, `[time][subgoal]`, and how many answers were neither yes nor no.
///
/// # Errors
/// When the annotator fails.
pub fn annotate(
    annotator: &dyn SubgoalAnnotator,
    transitions: &[Attempt<'_>],
    subgoals: &Subgoals,
) -> Result<(Vec<Vec<bool>>, usize), RewardError> {
    let names = || subgoals.names.iter().map(String::as_str);
    let pairs = transitions.iter().flat_map(|attempt| names().map(move |name| (*attempt, name)));
    let questions: Vec<(Attempt<'_>, &str)> = pairs.collect();
    let answers = annotator.achieved(&questions)?;
    same_length("the answers", questions.len(), answers.len())?;
    let unclear = answers.iter().filter(|answer| answer.is_none()).count();
    let rows = answers.chunks(subgoals.names.len());
    Ok((rows.map(|row| row.iter().map(|answer| *answer == Some(true)).collect()).collect(), unclear))
}

/// How the annotations of each subgoal meet those of people, both `[time][subgoal]`: the counts of which precision, recall and F1
/// of that subgoal are measures.
///
/// # Errors
/// When there is no transition or no subgoal, or the lengths differ.
pub fn confusions(annotated: &[Vec<bool>], people: &[Vec<bool>]) -> Result<Vec<Confusion>, RewardError> {
    not_empty("the annotations", annotated)?;
    not_empty("the subgoals", &annotated[0])?;
    same_length("the annotations of people", annotated.len(), people.len())?;
    let goals = annotated[0].len();
    annotated.iter().chain(people).try_for_each(|now| same_length("the subgoals of a transition", goals, now.len()))?;
    let of = |goal: usize| -> Result<Confusion, RewardError> {
        let column = |rows: &[Vec<bool>]| rows.iter().map(|now| now[goal]).collect::<Vec<bool>>();
        Ok(Confusion::of(&column(annotated), &column(people))?)
    };
    (0..goals).map(of).collect()
}

/// The auxiliary form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auxiliary {
    /// What an achievement is worth; finite.
    pub c: f64,
    /// Whether a subgoal pays at its first achievement alone.
    pub once: bool,
}

impl Default for Auxiliary {
    fn default() -> Self {
        Self { c: 1.0, once: false }
    }
}

impl Auxiliary {
    /// The rewards with what the achievements add.
    ///
    /// # Errors
    /// When the lengths differ, a reward is NaN or infinite, or `c` is.
    pub fn shape(&self, rewards: &[f64], achieved: &[Vec<bool>]) -> Result<Vec<f64>, RewardError> {
        option("c", "finite", self.c, self.c.is_finite())?;
        check(rewards, achieved)?;
        let mut paid = vec![false; achieved.first().map_or(0, Vec::len)];
        let mut shaped = rewards.to_vec();
        for (reward, now) in shaped.iter_mut().zip(achieved) {
            for (paid, flag) in paid.iter_mut().zip(now) {
                if *flag && !(self.once && *paid) {
                    *reward += self.c;
                    *paid = true;
                }
            }
        }
        Ok(shaped)
    }
}

/// The rewards with the potential form: `scale` times the share of the subgoals achieved so far, discounted by `gamma`. The
/// last transition ends the episode.
///
/// # Errors
/// When the lengths differ, a reward is NaN or infinite, or `scale` or `gamma` is out of range.
pub fn potential(rewards: &[f64], achieved: &[Vec<bool>], scale: f64, gamma: f64) -> Result<Vec<f64>, RewardError> {
    option("scale", "finite", scale, scale.is_finite())?;
    option("gamma", "above 0 and at most 1", gamma, 0.0 < gamma && gamma <= 1.0)?;
    check(rewards, achieved)?;
    let goals = achieved.first().map_or(0, Vec::len);
    let mut so_far = vec![false; goals];
    let mut shaped = rewards.to_vec();
    let value = |so_far: &[bool]| scale * so_far.iter().filter(|flag| **flag).count() as f64 / goals.max(1) as f64;
    let last = shaped.len().saturating_sub(1);
    for (at, now) in achieved.iter().enumerate() {
        let before = value(&so_far);
        so_far.iter_mut().zip(now).for_each(|(so_far, now)| *so_far |= *now);
        let after = if at == last { 0.0 } else { value(&so_far) };
        shaped[at] += gamma * after - before;
    }
    Ok(shaped)
}

fn check(rewards: &[f64], achieved: &[Vec<bool>]) -> Result<(), RewardError> {
    within("a reward", rewards, "finite", f64::is_finite)?;
    same_length("the achievements", rewards.len(), achieved.len())?;
    let goals = achieved.first().map_or(0, Vec::len);
    achieved.iter().try_for_each(|now| same_length("the subgoals of a transition", goals, now.len()))
}

#[cfg(test)]
mod tests {
    use ascribe_eval::classify::{Decision, ZeroDivision};
    use proptest::prelude::*;

    use super::*;
    use crate::text::tests::{Scripted, decode, encode};

    #[test]
    fn the_forms_by_hand() {
        // Two subgoals: the first is achieved at times 0 and 2, the second at time 1.
        let z = [vec![true, false], vec![false, true], vec![true, false]];
        let rewards = [0.0, 0.0, 1.0];
        let auxiliary = |once| Auxiliary { c: 0.5, once }.shape(&rewards, &z).unwrap();
        assert_eq!((auxiliary(false), auxiliary(true)), (vec![0.5, 0.5, 1.5], vec![0.5, 0.5, 1.0]));
        assert_eq!(Auxiliary { c: 0.0, once: false }.shape(&rewards, &z).unwrap(), rewards);
        // Phi is 0, 1/2, 1, and 0 at the end.
        assert_eq!(potential(&rewards, &z, 1.0, 1.0).unwrap(), [0.5, 0.5, 0.0]);
        assert_eq!(potential(&rewards, &z, 1.0, 0.5).unwrap(), [0.25, 0.0, 0.0]);
        // Achieved again, it adds nothing.
        let again = [vec![true], vec![true], vec![false]];
        assert_eq!(potential(&[0.0; 3], &again, 1.0, 1.0).unwrap(), [1.0, 0.0, -1.0]);
    }

    #[test]
    fn annotations_against_people_by_hand() {
        // The first subgoal: once right, once a false alarm, once missed, once rightly silent; the second always right.
        let annotated = [vec![true, true], vec![true, false], vec![false, false], vec![false, true]];
        let people = [vec![true, true], vec![false, false], vec![true, false], vec![false, true]];
        let counts = confusions(&annotated, &people).unwrap();
        let f1 = |at: usize| counts[at].measure(Decision::FBeta(1.0), ZeroDivision::Refuse).unwrap();
        assert_eq!((f1(0), f1(1), counts.len()), (0.5, 1.0, 2));
        assert_eq!((counts[0].false_positive, counts[0].false_negative), (1, 1));
        assert!(matches!(confusions(&annotated, &people[1..]), Err(RewardError::Length { expected: 4, got: 3, .. })));
        assert!(confusions(&[], &[]).is_err() && confusions(&[vec![]], &[vec![]]).is_err());
        assert!(confusions(&annotated[..1], &[vec![true]]).is_err());
    }

    #[test]
    fn later_subgoals_wait_for_earlier_ones() {
        let goals = Subgoals::new(&["key", "door"], &[(0, 1)]).unwrap();
        let z = [vec![false, true], vec![true, false], vec![false, true]];
        assert_eq!(goals.in_order(&z).unwrap(), [[false, false], [true, false], [false, true]]);
        assert!(Subgoals::new(&["a", "b", "c"], &[(0, 1), (1, 2), (2, 0)]).is_err(), "a cycle");
        assert!(Subgoals::new(&["a"], &[(0, 0)]).is_err() && Subgoals::new(&["a"], &[(0, 1)]).is_err());
        assert!(Subgoals::new(&[], &[]).is_err() && Subgoals::new(&["a", "a "], &[]).is_err());
        assert!(goals.in_order(&[vec![true]]).is_err());
    }

    #[test]
    fn answers_are_read_strictly_and_of_one_transition() {
        // A model that says yes to a key, no to a door, and talks else; it is asked of the transition at hand alone.
        let answer = |text: &str| {
            assert!(!text.contains("later"), "the future is not shown");
            let goal = text.rsplit_once("## Goal\n").map_or("", |(_, rest)| rest);
            let said = match (goal.starts_with("key"), text.contains("a key")) {
                (true, true) => " Yes.",
                (true, false) => "no",
                (false, _) => "Yes, I think so.",
            };
            said.to_owned()
        };
        let policy = Scripted { answer, logp: |_: &str, _: &str| 0.0_f32 };
        let annotator = TextPolicy { policy: &policy, encode: &encode, decode: &decode, max_new: 9 };
        let goals = Subgoals::new(&["key", "door"], &[]).unwrap();
        let attempts = [
            Attempt { before: "a key", action: "take", after: "nothing" },
            Attempt { before: "nothing", action: "go", after: "a wall" },
        ];
        let (z, unclear) = annotate(&annotator, &attempts, &goals).unwrap();
        assert_eq!((z, unclear), (vec![vec![true, false], vec![false, false]], 2));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let z = [vec![true]];
        assert!(Auxiliary { c: f64::NAN, once: false }.shape(&[0.0], &z).is_err());
        assert!(Auxiliary::default().shape(&[0.0, 1.0], &z).is_err());
        assert!(Auxiliary::default().shape(&[f64::NAN], &z).is_err());
        assert!(Auxiliary::default().shape(&[0.0; 2], &[vec![true], vec![]]).is_err());
        for gamma in [0.0, 1.5, f64::NAN] {
            assert!(potential(&[0.0], &z, 1.0, gamma).is_err(), "{gamma}");
        }
        assert!(potential(&[0.0], &z, f64::INFINITY, 1.0).is_err());
    }

    proptest! {
        #[test]
        fn the_potential_telescopes(z in prop::collection::vec(prop::collection::vec(any::<bool>(), 3), 1..8)) {
            // Phi(s_0) = 0.
            let sum: f64 = potential(&vec![0.0; z.len()], &z, 2.0, 1.0).unwrap().iter().sum();
            prop_assert!(sum.abs() < 1e-9);
        }
    }

    /// A corridor of cells 0 to 3 with a key at 0: from cell 1, with a reward of 1 at cell 3, or 3 with the key. States are
    /// (cell, key); moves left and right cost a discount of 0.7.
    fn best(shaping: f64) -> Vec<usize> {
        let gamma = 0.7;
        let state = |cell: usize, key: bool| cell * 2 + usize::from(key);
        let phi = |cell: usize, key: bool| if cell == 3 { 0.0 } else { shaping * f64::from(u8::from(key)) };
        let step = |cell: usize, key: bool, right: bool| {
            let cell = if right { cell + 1 } else { cell.saturating_sub(1) };
            (cell, key || cell == 0)
        };
        let q = |values: &[f64], cell: usize, key: bool, right: bool| {
            let (next, holds) = step(cell, key, right);
            let reward = if next == 3 { if holds { 3.0 } else { 1.0 } } else { 0.0 };
            reward + gamma * phi(next, holds) - phi(cell, key) + gamma * values[state(next, holds)]
        };
        let mut values = vec![0.0; 8];
        for _ in 0..200 {
            for (cell, key) in (0..3).flat_map(|cell| [(cell, false), (cell, true)]) {
                values[state(cell, key)] = q(&values, cell, key, false).max(q(&values, cell, key, true));
            }
        }
        let moves = (0..3).flat_map(|cell| [(cell, false), (cell, true)]);
        moves.map(|(cell, key)| usize::from(q(&values, cell, key, true) > q(&values, cell, key, false))).collect()
    }

    #[test]
    fn the_best_policy_stays_as_it_is() {
        // Fetching the key from cell 1 takes two moves more: 3 * 0.7^3 = 1.03 against 0.7 at once.
        let plain = best(0.0);
        assert_eq!(plain[2], 0, "left from cell 1 without the key");
        for shaping in [-5.0, 0.5, 20.0] {
            assert_eq!(best(shaping), plain, "{shaping}");
        }
    }
}
