//! A grade by a rubric: the expected grade under the judge's probabilities of the grades, as G-Eval weighs them
//! (arXiv:2303.16634).
//!
//! ```text
//! r = sum_g g p(g) / sum_g p(g),   p(g) = probability of the grade's tokens after the prompt
//! ```
//! So a judge that hesitates between two grades says so, and no answer has to be parsed. The words are ours.

use ascribe_core::{CoreError, Credit, Episode, Policy, Scorer, Tokens};
use ascribe_eval::protocol::{Question, option_logps};

use crate::RewardError;
use crate::error::option;
use crate::math::log_sum_exp;
use crate::text::{Encode, parts};

/// What the judge is told besides prompt and response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RubricPrompt<'t> {
    /// What makes a response good.
    pub rubric: &'t str,
    /// A good answer to compare with, where there is one.
    pub reference: Option<&'t str>,
    /// The highest grade; 1 is the lowest.
    pub highest: u32,
}

/// What the judge is asked of a response.
pub fn rubric_prompt(prompt: RubricPrompt<'_>, instruction: &str, response: &str) -> String {
    let RubricPrompt { rubric, reference, highest } = prompt;
    let reference = reference.map(|text| format!("## Reference answer\n{text}\n\n")).unwrap_or_default();
    format!(
        "Grade an answer to an instruction by the rubric, from 1 (worst) to {highest} (best). Its length does not \
         count.\n\n## Rubric\n{rubric}\n\n## Instruction\n{instruction}\n\n{reference}## Answer\n{response}\n\nReply with \
         the grade alone.\nThe grade is"
    )
}

/// A scorer by grades. `reference` gives the reference answer of an episode, where there is one.
pub struct RubricJudge<'a, F> {
    policy: &'a dyn Policy,
    render: &'a Encode<'a>,
    rubric: String,
    reference: F,
    grades: Vec<Tokens>,
}

impl<'a, F: Fn(&Episode) -> Option<String> + Send + Sync> RubricJudge<'a, F> {
    /// A judge who gives grades from 1 to `highest`. `render` makes a prompt of a text, with the judge's template and the
    /// tokens that begin a text; `encode` makes ids of a grade, and adds nothing.
    ///
    /// # Errors
    /// When `highest` is not in 2..=10, a grade cannot be encoded, or the tokens of one begin with those of another: where
    /// digits are tokens of their own, the chance of 1 would hold that of 10.
    pub fn new(
        policy: &'a dyn Policy,
        render: &'a Encode<'a>,
        encode: &'a Encode<'a>,
        rubric: &str,
        highest: u32,
        reference: F,
    ) -> Result<Self, RewardError> {
        option("the highest grade", "in 2..=10", f64::from(highest), (2..=10).contains(&highest))?;
        let grades = (1..=highest).map(|grade| encode(&format!(" {grade}"))).collect::<Result<Vec<Tokens>, _>>()?;
        let begins = |(at, one): (usize, &Tokens)| {
            let mut others = grades.iter().enumerate().filter(|(other, _)| *other != at);
            others.any(|(_, other)| other.starts_with(one))
        };
        if grades.iter().enumerate().any(begins) {
            let rule = "no grade may begin with the tokens of another; take a highest grade of 9 or less";
            return Err(RewardError::Shape { rule, got: format!("{grades:?}") });
        }
        Ok(Self { policy, render, rubric: rubric.to_owned(), reference, grades })
    }
}

impl<F: Fn(&Episode) -> Option<String> + Send + Sync> Scorer for RubricJudge<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        if episodes.is_empty() {
            return Ok(Vec::new());
        }
        let highest = self.grades.len() as u32;
        let question = |episode: &Episode| -> Result<Question, CoreError> {
            let (instruction, response) = parts(episode)?;
            let reference = (self.reference)(episode);
            let prompt = RubricPrompt { rubric: &self.rubric, reference: reference.as_deref(), highest };
            let prefix = (self.render)(&rubric_prompt(prompt, instruction.trim(), response.trim()))?;
            Ok(Question { prefix, options: self.grades.clone() })
        };
        let questions = episodes.iter().map(question).collect::<Result<Vec<_>, _>>()?;
        let answers = option_logps(self.policy, &questions).map_err(RewardError::from)?;
        let mut credits = Vec::with_capacity(episodes.len());
        for grades in answers {
            let logs: Vec<f64> = grades.iter().map(|tokens| tokens.iter().sum::<f64>()).collect();
            let all = log_sum_exp(&logs);
            option("the log-probability of all grades", "finite", all, all.is_finite())?;
            let expected: f64 = logs.iter().enumerate().map(|(at, log)| (at + 1) as f64 * (log - all).exp()).sum();
            credits.push(Credit::sequence(expected as f32));
        }
        Ok(credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{Scripted, encode, episode};

    /// A judge who gives 3 or 5, even chances, to answers with an "x", and 1 to others; 5 alone when the reference is met.
    fn logp(before: &str, grade: &str) -> f32 {
        let met = before.contains("## Reference answer\nx");
        match (before.contains("## Answer\nx"), grade.trim()) {
            (true, "5") if met => 0.0,
            (true, "3" | "5") if !met => 0.5f32.ln(),
            (false, "1") => 0.0,
            _ => -100.0,
        }
    }

    #[test]
    fn the_expected_grade_by_hand() {
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let judge = RubricJudge::new(&policy, &encode, &encode, "Has an x.", 5, |_: &Episode| None).unwrap();
        let episodes = [episode("Q? ", "x"), episode("Q? ", "y")];
        let grades: Vec<f32> = judge.score(&episodes).unwrap().iter().map(|credit| credit.values()[0]).collect();
        assert!((grades[0] - 4.0).abs() < 1e-5 && (grades[1] - 1.0).abs() < 1e-5, "{grades:?}");
        // A template around the prompt is none around the grades.
        let render = |text: &str| encode(&format!("[user] {text} [judge]"));
        let given = |_: &Episode| Some("x".to_owned());
        let judge = RubricJudge::new(&policy, &render, &encode, "Has an x.", 5, given).unwrap();
        assert!((judge.score(&episodes[..1]).unwrap()[0].values()[0] - 5.0).abs() < 1e-5);
        assert!(judge.score(&[]).unwrap().is_empty());
        assert!(judge.score(&[Episode::new(&[1], &[2])]).is_err(), "no text");
    }

    #[test]
    fn the_prompt_shows_rubric_and_reference() {
        let prompt = RubricPrompt { rubric: "Be right.", reference: Some("42"), highest: 5 };
        let text = rubric_prompt(prompt, "6 * 7?", "41");
        for part in
            ["## Rubric\nBe right.\n", "## Instruction\n6 * 7?\n", "## Reference answer\n42\n", "## Answer\n41\n"]
        {
            assert!(text.contains(part), "{part}");
        }
        assert!(!rubric_prompt(RubricPrompt { reference: None, ..prompt }, "", "").contains("Reference"));
    }

    #[test]
    fn grades_must_be_told_apart() {
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let none = |_: &Episode| None;
        let new = |highest| RubricJudge::new(&policy, &encode, &encode, "", highest, none);
        assert!(new(1).is_err() && new(11).is_err());
        // With a token a byte the grade 10 begins with the grade 1.
        assert!(new(10).is_err() && new(9).is_ok());
        let same = |_: &str| -> Result<Tokens, CoreError> { Ok(vec![7].into()) };
        assert!(RubricJudge::new(&policy, &encode, &same, "", 5, none).is_err());
        let empty = |_: &str| -> Result<Tokens, CoreError> { Ok(Tokens::default()) };
        assert!(RubricJudge::new(&policy, &encode, &empty, "", 5, none).is_err());
    }
}
