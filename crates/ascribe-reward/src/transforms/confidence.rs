//! Rewards of answers with a stated confidence: PPO-C and the data of PPO-M, "Taming Overconfidence in LLMs",
//! arXiv:2410.09724, its code.
//!
//! ```text
//! r_hat = reward of the response without its confidence, cut to [-10, 10]
//! D <- a mean(batch) + (1 - a) D, then
//! difference: r = r_hat + w (r_hat - D)(c/10 - 1/2);   threshold: r = r_hat +- w |r_hat|(c/10 - 1/2), + where r_hat >= D
//! ```
//! The last `Confidence: c` of a response counts, c from 0 to 10, `7/10` for 7; a missing one is 5, which changes nothing.
//! The confidence, with the punctuation behind it, is cut before the reward model reads the response, and what follows, the
//! end token, stays. The move is `ascribe_eval`'s [`PpoC`]. Confidences above 10 are taken for 10 unless `strict`.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::{CoreError, Credit, Episode, Reduce, Scorer, Text};
use ascribe_eval::calibrate::{PpoC, stated_confidence};

use crate::RewardError;
use crate::error::{option, same_length};

/// `text` with a stated confidence at its end.
///
/// # Errors
/// Unless the confidence is in [0, 10].
pub fn with_confidence(text: &str, confidence: f64) -> Result<String, RewardError> {
    option("the confidence", "in [0, 10]", confidence, (0.0..=10.0).contains(&confidence))?;
    Ok(format!("{}\nConfidence: {confidence}", text.trim_end()))
}

/// The text without its stated confidence, and that confidence; the text as it is where none is stated.
pub fn split_confidence(text: &str) -> (String, Option<f64>) {
    match stated(text) {
        Some((span, confidence)) => (format!("{}{}", &text[..span.start], &text[span.end..]), Some(confidence)),
        None => (text.to_owned(), None),
    }
}

/// The bytes that state a confidence, and the confidence as written.
fn stated(text: &str) -> Option<(Range<usize>, f64)> {
    let confidence = stated_confidence(text)?;
    let mark = "confidence:";
    // Lowering ASCII letters keeps the bytes where they are.
    let start = text.to_ascii_lowercase().rfind(mark)?;
    let rest = &text[start + mark.len()..];
    let blank = |letter: char| letter.is_whitespace() || letter == '*';
    let number = rest.trim_start_matches(blank);
    let behind = number.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let behind = behind.strip_prefix("/10").unwrap_or(behind);
    let behind = behind.trim_start_matches(['.', ',', ';', '!', '*']);
    let before = text[..start].trim_end_matches(blank);
    Some((before.len()..text.len() - behind.len(), confidence))
}

/// The episode without its stated confidence, and that confidence. Tokens of the confidence are dropped, so steps and turns
/// no longer fit and are dropped too.
fn without_confidence(episode: &Episode) -> Result<(Episode, Option<f64>), RewardError> {
    let text = episode.text.as_ref().ok_or(RewardError::NoText)?;
    let response = episode.response_text().ok_or(RewardError::NoText)?;
    episode.response.check(episode.tokens.len())?;
    same_length("the spans of a text", episode.tokens.len(), text.spans.len())?;
    let Some((cut, confidence)) = stated(response) else { return Ok((episode.clone(), None)) };
    let offset = text.text.len() - response.len();
    let cut = cut.start + offset..cut.end + offset;
    // A token that lies across the border goes with the confidence; the prompt stays whole.
    let kept: Vec<usize> = (0..episode.tokens.len())
        .filter(|&at| {
            let span = &text.spans[at];
            span.start >= cut.end || span.end <= cut.start || !episode.response[at]
        })
        .collect();
    let place = |at: usize| if at >= cut.end { at - cut.len() } else { at.min(cut.start) };
    let spans = kept.iter().map(|&at| place(text.spans[at].start)..place(text.spans[at].end)).collect();
    let short = Episode {
        tokens: kept.iter().map(|&at| episode.tokens[at]).collect(),
        response: kept.iter().map(|&at| episode.response[at]).collect::<Vec<_>>().into(),
        complete: episode.complete,
        ..Episode::default()
    };
    let text = Text { text: format!("{}{}", &text.text[..cut.start], &text.text[cut.end..]), spans };
    Ok((short.with_text(text)?, Some(confidence)))
}

/// A scorer that does not see the stated confidence.
pub struct WithoutConfidence<'a> {
    /// What scores the rest.
    pub scorer: &'a dyn Scorer,
}

impl Scorer for WithoutConfidence<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut rewards = Vec::with_capacity(episodes.len());
        let short = episodes.iter().map(without_confidence).collect::<Result<Vec<_>, _>>()?;
        let short: Vec<Episode> = short.into_iter().map(|(episode, _)| episode).collect();
        for (credit, episode) in self.scorer.score(&short)?.iter().zip(&short) {
            rewards.push(Credit::sequence(credit.to_sequence(episode, Reduce::Sum)?));
        }
        Ok(rewards)
    }
}

/// PPO-C as a scorer of whole responses: the reward without the confidence, moved by it.
///
/// The running mean goes on from batch to batch, so a score depends on what was scored before; [`mean`](Self::mean) is the
/// state that a checkpoint must keep.
pub struct Calibrated<'a> {
    scorer: WithoutConfidence<'a>,
    form: PpoC,
    weight: f64,
    rate: f64,
    strict: bool,
    mean: Mutex<f64>,
}

impl<'a> Calibrated<'a> {
    /// Moves the rewards of `scorer` by `form` with `weight` (2 in the paper's run, with the difference). `mean` is where
    /// the running mean starts, the mean that the reward model was normalised with.
    ///
    /// # Errors
    /// Unless the weight is finite and at least 0 and the mean finite.
    pub fn new(scorer: &'a dyn Scorer, form: PpoC, weight: f64, mean: f64) -> Result<Self, RewardError> {
        option("weight", "finite and at least 0", weight, 0.0 <= weight && weight.is_finite())?;
        option("the running mean", "finite", mean, mean.is_finite())?;
        let scorer = WithoutConfidence { scorer };
        Ok(Self { scorer, form, weight, rate: 0.1, strict: false, mean: Mutex::new(mean) })
    }

    /// The same with another share of each batch in the running mean.
    ///
    /// # Errors
    /// Unless the rate is in [0, 1].
    pub fn with_rate(mut self, rate: f64) -> Result<Self, RewardError> {
        option("rate", "in [0, 1]", rate, (0.0..=1.0).contains(&rate))?;
        self.rate = rate;
        Ok(self)
    }

    /// The same, but a confidence above 10 is an error.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The running mean.
    pub fn mean(&self) -> f64 {
        *self.state()
    }

    fn state(&self) -> MutexGuard<'_, f64> {
        // A number is whole at every moment.
        self.mean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stated confidence of an episode, in [0, 1].
    fn stated(&self, episode: &Episode) -> Result<f64, RewardError> {
        let text = episode.response_text().ok_or(RewardError::NoText)?;
        let confidence = stated_confidence(text).unwrap_or(5.0);
        if self.strict {
            option("a stated confidence", "in [0, 10]", confidence, (0.0..=10.0).contains(&confidence))?;
        }
        Ok(confidence.clamp(0.0, 10.0) / 10.0)
    }
}

impl Scorer for Calibrated<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        crate::error::not_empty("the episodes", episodes)?;
        let credits = self.scorer.score(episodes)?;
        let rewards: Vec<f64> = credits.iter().map(|credit| f64::from(credit.values()[0])).collect();
        let stated = episodes.iter().map(|episode| self.stated(episode)).collect::<Result<Vec<f64>, _>>()?;
        let mut mean = self.state();
        let moved = self.form.adjust(&rewards, &stated, self.weight, *mean, self.rate).map_err(RewardError::from)?;
        *mean = moved.1;
        Ok(moved.0.into_iter().map(|reward| Credit::sequence(reward as f32)).collect())
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::rule;

    use super::*;
    use crate::text::tests::episode;

    #[test]
    fn the_last_confidence_is_cut() {
        for (text, left, stated) in [
            ("Yes.\nConfidence: 7", "Yes.", Some(7.0)),
            ("Yes. **Confidence:** 7/10.</s>", "Yes.</s>", Some(7.0)),
            ("Confidence: 3. No, confidence: 8", "Confidence: 3. No,", Some(8.0)),
            ("No number. Confidence: high", "No number. Confidence: high", None),
            ("Nothing", "Nothing", None),
        ] {
            assert_eq!(split_confidence(text), (left.to_owned(), stated), "{text}");
        }
        assert_eq!(with_confidence("Yes.\n", 9.0).unwrap(), "Yes.\nConfidence: 9");
        assert!(with_confidence("Yes.", 10.5).is_err() && with_confidence("Yes.", f64::NAN).is_err());
    }

    #[test]
    fn tokens_of_the_confidence_go_and_the_end_token_stays() {
        let (short, stated) = without_confidence(&episode("Q?", "A.\nConfidence: 7</s>")).unwrap();
        assert_eq!((short.response_text(), stated), (Some("A.</s>"), Some(7.0)));
        assert_eq!(short.tokens.len(), "Q?A.</s>".len(), "a token a byte");
        assert_eq!(short.prompt_len(), 2);
        assert!(matches!(without_confidence(&Episode::new(&[1], &[2])), Err(RewardError::NoText)));
    }

    /// A reward model that counts tokens less 2: 3 for "abcde".
    fn moved(form: PpoC, confidence: &str, weight: f64, mean: f64) -> f64 {
        let scorer = rule(|episode: &Episode| episode.response_tokens().len() as f32 - 2.0);
        let reward = Calibrated::new(&scorer, form, weight, mean).unwrap().with_rate(0.0).unwrap();
        let text = format!("abcde{confidence}");
        f64::from(reward.score(&[episode("Q?", &text)]).unwrap()[0].values()[0])
    }

    #[test]
    fn ppo_c_by_hand() {
        for (form, confidence, expected) in [
            (PpoC::Difference, "\nConfidence: 9", 4.6), // 3 + 2 * 2 * 0.4
            (PpoC::Difference, "\nConfidence: 1", 1.4),
            (PpoC::Threshold, "\nConfidence: 9", 5.4), // 3 + 2 * 3 * 0.4
            (PpoC::Difference, "\nConfidence: 5", 3.0),
            (PpoC::Difference, "", 3.0),
            (PpoC::Difference, "\nConfidence: 70", 5.0), // as 10: 3 + 2 * 2 * 0.5
        ] {
            let got = moved(form, confidence, 2.0, 1.0);
            assert!((got - expected).abs() < 1e-6, "{form:?} {confidence}: {got} beside {expected}");
        }
        // No weight, or a reward at the mean, changes nothing.
        assert!((moved(PpoC::Difference, "\nConfidence: 9", 0.0, 1.0) - 3.0).abs() < 1e-6);
        assert!((moved(PpoC::Difference, "\nConfidence: 9", 2.0, 3.0) - 3.0).abs() < 1e-6);
        // A bad answer loses by high confidence, under both rules.
        assert!(moved(PpoC::Difference, "\nConfidence: 9", 2.0, 5.0) < 3.0);
        assert!(moved(PpoC::Threshold, "\nConfidence: 9", 2.0, 5.0) < 3.0);
    }

    #[test]
    fn the_mean_moves_before_it_is_used() {
        let scorer = rule(|_: &Episode| 3.0);
        let reward = Calibrated::new(&scorer, PpoC::Difference, 2.0, 1.0).unwrap();
        let got = reward.score(&[episode("Q?", "A\nConfidence: 10")]).unwrap()[0].values()[0];
        // 0.1 * 3 + 0.9 * 1 = 1.2, then 3 + 2 * 1.8 * 0.5.
        assert!((reward.mean() - 1.2).abs() < 1e-6 && (got - 4.8).abs() < 1e-6, "{got}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let scorer = rule(|_: &Episode| 3.0);
        assert!(Calibrated::new(&scorer, PpoC::Difference, -1.0, 0.0).is_err());
        assert!(Calibrated::new(&scorer, PpoC::Difference, 1.0, f64::NAN).is_err());
        assert!(Calibrated::new(&scorer, PpoC::Difference, 1.0, 0.0).unwrap().with_rate(2.0).is_err());
        let strict = Calibrated::new(&scorer, PpoC::Difference, 1.0, 0.0).unwrap().strict();
        assert!(strict.score(&[episode("Q?", "A\nConfidence: 70")]).is_err());
        assert!(strict.score(&[]).is_err() && strict.score(&[Episode::new(&[1], &[2])]).is_err());
    }
}
