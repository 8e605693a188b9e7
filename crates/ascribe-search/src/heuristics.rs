//! Scorers by rule that search with lookahead is used with: coverage of words, forbidden words and patterns, length, and their
//! sum.
//!
//! They read the text of the response, so the context needs [`SearchCtx::with_text`](crate::SearchCtx::with_text); only
//! [`LengthTarget`] and [`LengthLimit`] count tokens.

use ascribe_core::{CoreError, Credit, Episode, Scorer};
use regex::Regex;

use crate::stem::stem;

/// When two words are the same; upper and lower case always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordForm {
    /// As they are written.
    #[default]
    Written,
    /// By their stem, so that `running` is `run`: Porter, 1980, steps 1 and 5, for English.
    Stem,
}

/// The share of required words that stand in the text (soft), or whether all do (hard): each counts once, upper and lower
/// case are one, and a word is found only as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    words: Vec<Vec<String>>,
    hard: bool,
    form: WordForm,
}

impl Coverage {
    /// The share of `words` that are found.
    ///
    /// # Errors
    /// When there is none, or one has no letter or digit.
    pub fn soft(words: &[impl AsRef<str>]) -> Result<Self, CoreError> {
        let words: Vec<Vec<String>> = words.iter().map(|word| split(word.as_ref(), WordForm::Written)).collect();
        if words.is_empty() || words.iter().any(Vec::is_empty) {
            let got = format!("{words:?}");
            return Err(CoreError::Shape {
                rule: "coverage needs at least one word, and letters or digits in each",
                got,
            });
        }
        Ok(Self { words, hard: false, form: WordForm::Written })
    }

    /// 1 if all of `words` are found, else 0.
    ///
    /// # Errors
    /// As [`soft`](Self::soft).
    pub fn hard(words: &[impl AsRef<str>]) -> Result<Self, CoreError> {
        Ok(Self { hard: true, ..Self::soft(words)? })
    }

    /// The same, where words are the same by this form.
    pub fn with_form(mut self, form: WordForm) -> Self {
        if form == WordForm::Stem {
            self.words.iter_mut().flatten().for_each(|part| *part = stem(part));
        }
        self.form = form;
        self
    }

    /// What is covered of a text.
    pub fn of(&self, text: &str) -> f32 {
        let text = split(text, self.form);
        let found = self.words.iter().filter(|word| text.windows(word.len()).any(|run| run == &word[..])).count();
        match self.hard {
            true => f32::from(u8::from(found == self.words.len())),
            false => found as f32 / self.words.len() as f32,
        }
    }
}

impl Scorer for Coverage {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        by_text(episodes, |text| self.of(text))
    }
}

/// Less the number of times that a forbidden word stands in the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forbidden {
    /// The words; a word of several is found as a whole.
    pub words: Vec<String>,
    /// When two words are the same.
    pub form: WordForm,
}

impl Scorer for Forbidden {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let words: Vec<Vec<String>> =
            self.words.iter().map(|word| split(word, self.form)).filter(|word| !word.is_empty()).collect();
        by_text(episodes, |text| {
            let text = split(text, self.form);
            let times = |word: &Vec<String>| text.windows(word.len()).filter(|run| *run == &word[..]).count();
            0.0 - words.iter().map(times).sum::<usize>() as f32
        })
    }
}

/// Less the number of matches of regular expressions in the text, those of one expression without overlap.
#[derive(Clone, Debug)]
pub struct ForbiddenPatterns(Vec<Regex>);

impl ForbiddenPatterns {
    /// The expressions, in the syntax of the crate `regex`; matching takes time linear in the text.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn new(patterns: &[impl AsRef<str>]) -> Result<Self, CoreError> {
        if patterns.is_empty() {
            let (rule, got) = ("forbidden patterns need at least one regular expression", "none".to_owned());
            return Err(CoreError::Shape { rule, got });
        }
        let read = |pattern: &str| {
            Regex::new(pattern).map_err(|error| {
                // The last of several lines says what is wrong; those before it show the pattern.
                let (rule, said) = ("a forbidden pattern must be a regular expression", error.to_string());
                CoreError::Shape { rule, got: format!("`{pattern}` ({})", said.lines().last().unwrap_or_default()) }
            })
        };
        let patterns: Result<Vec<Regex>, CoreError> = patterns.iter().map(|pattern| read(pattern.as_ref())).collect();
        Ok(Self(patterns?))
    }
}

impl Scorer for ForbiddenPatterns {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        by_text(episodes, |text| {
            0.0 - self.0.iter().map(|pattern| pattern.find_iter(text).count()).sum::<usize>() as f32
        })
    }
}

/// Whether the length in tokens keeps to a limit: `-max(0, length - limit) / limit` (soft), or 1 within it and 0 beyond (hard). A
/// text that has not ended is at least as long as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthLimit {
    limit: usize,
    hard: bool,
}

impl LengthLimit {
    /// The share of the limit that the text is too long by, as a negative number.
    ///
    /// # Errors
    /// When the limit is 0.
    pub fn soft(limit: usize) -> Result<Self, CoreError> {
        match limit {
            0 => Err(CoreError::Range { name: "a length limit", rule: "at least 1", got: 0.0 }),
            _ => Ok(Self { limit, hard: false }),
        }
    }

    /// 1 for a text of at most `limit` tokens, else 0.
    ///
    /// # Errors
    /// As [`soft`](Self::soft).
    pub fn hard(limit: usize) -> Result<Self, CoreError> {
        Ok(Self { hard: true, ..Self::soft(limit)? })
    }
}

impl Scorer for LengthLimit {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let keeps = |episode: &Episode| {
            let over = episode.response.count().saturating_sub(self.limit);
            match self.hard {
                true => f32::from(u8::from(over == 0)),
                false => 0.0 - over as f32 / self.limit as f32,
            }
        };
        Ok(episodes.iter().map(|episode| Credit::sequence(keeps(episode))).collect())
    }
}

/// How near the length in tokens is to a target, once the text has ended: `-|length - target| / target`, and 0 before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthTarget {
    /// Tokens that are wished for; at least 1.
    pub target: usize,
}

impl Scorer for LengthTarget {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        if self.target == 0 {
            return Err(CoreError::Range { name: "a target length", rule: "at least 1", got: 0.0 });
        }
        let near = |episode: &Episode| match episode.complete {
            true => 0.0 - episode.response.count().abs_diff(self.target) as f32 / self.target as f32,
            false => 0.0,
        };
        Ok(episodes.iter().map(|episode| Credit::sequence(near(episode))).collect())
    }
}

/// `sum_j w_j R_j` over scorers of whole responses. One of weight 0 is not asked.
pub struct Weighted<'a>(pub Vec<(f32, &'a dyn Scorer)>);

impl Scorer for Weighted<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut sums = vec![0.0f32; episodes.len()];
        for (weight, scorer) in self.0.iter().filter(|(weight, _)| *weight != 0.0) {
            let credits = scorer.score(episodes)?;
            if credits.len() != episodes.len() {
                let got = format!("{} for {}", credits.len(), episodes.len());
                return Err(CoreError::Shape { rule: "a weighted sum needs credit for each episode", got });
            }
            for (sum, credit) in sums.iter_mut().zip(credits) {
                let [value] = credit.values() else {
                    let got = format!("{} values", credit.values().len());
                    return Err(CoreError::Shape { rule: "a weighted sum needs one value a response", got });
                };
                *sum += weight * value;
            }
        }
        Ok(sums.into_iter().map(Credit::sequence).collect())
    }
}

fn by_text(episodes: &[Episode], score: impl Fn(&str) -> f32) -> Result<Vec<Credit>, CoreError> {
    let one = |episode: &Episode| {
        let text = episode.response_text().ok_or_else(|| CoreError::Shape {
            rule: "a rule on text needs episodes with their text (give the context a way to read tokens)",
            got: "tokens alone".into(),
        })?;
        Ok(Credit::sequence(score(text)))
    };
    episodes.iter().map(one).collect()
}

/// Runs of letters and digits, in lower case.
fn split(text: &str, form: WordForm) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(str::to_lowercase);
    match form {
        WordForm::Written => words.collect(),
        WordForm::Stem => words.map(|word| stem(&word)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Text, rule};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coverage_worked_by_hand() {
        let words = ["dog", "New York", "run"];
        let (soft, hard) = (Coverage::soft(&words).unwrap(), Coverage::hard(&words).unwrap());
        let text = "The dog, the DOG: dogs in new york. New run";
        assert_eq!((soft.of(text), hard.of(text)), (1.0, 1.0));
        assert_eq!((soft.of("dogs of New-York"), hard.of("dogs of New-York")), (1.0 / 3.0, 0.0));
        assert_eq!(soft.of(""), 0.0);
        let none: [&str; 0] = [];
        assert!(Coverage::soft(&none).is_err() && Coverage::soft(&["!"]).is_err());
    }

    fn episode(text: &str, complete: bool) -> Episode {
        // One token a byte, after a prompt of one.
        let all = format!("?{text}");
        let spans = (0..all.len()).map(|at| at..at + 1).collect();
        let episode = Episode::new(&[0], &vec![1; text.len()]).with_text(Text { text: all, spans }).unwrap();
        Episode { complete, ..episode }
    }

    #[test]
    fn rules_worked_by_hand() {
        let score = |scorer: &dyn Scorer, text: &str, complete| {
            scorer.score(&[episode(text, complete)]).unwrap()[0].values()[0]
        };
        let forbidden = Forbidden { words: vec!["bad".into(), "very bad".into()], ..Forbidden::default() };
        assert_eq!(score(&forbidden, "bad, very bad", true), -3.0);
        let stems = |form| Forbidden { words: vec!["run".into()], form };
        assert_eq!(score(&stems(WordForm::Written), "run, running, runs", true), -1.0);
        assert_eq!(score(&stems(WordForm::Stem), "run, running, runs", true), -3.0);
        let target = LengthTarget { target: 4 };
        assert_eq!(
            [score(&target, "abc", true), score(&target, "abcdef", true), score(&target, "a", false)],
            [-0.25, -0.5, 0.0]
        );
        let broken = rule(|_| f32::NAN);
        let parts: [(f32, &dyn Scorer); 2] = [(2.0, &target), (0.0, &broken)];
        assert_eq!(score(&Weighted(parts.to_vec()), "ab", true), -1.0);
        struct Silent;
        impl Scorer for Silent {
            fn score(&self, _: &[Episode]) -> Result<Vec<Credit>, CoreError> {
                Ok(Vec::new())
            }
        }
        let parts: [(f32, &dyn Scorer); 2] = [(2.0, &target), (1.0, &Silent)];
        assert!(Weighted(parts.to_vec()).score(&[episode("ab", true)]).is_err());
        assert!(LengthTarget { target: 0 }.score(&[]).is_err());
        assert!(forbidden.score(&[Episode::new(&[0], &[1])]).is_err());
    }

    #[test]
    fn stems_are_covered_where_they_are_asked_for() {
        let words = ["dog", "running dogs", "dance"];
        let covered = |form| Coverage::soft(&words).unwrap().with_form(form).of("The dogs run dog; she danced");
        // Stems: the, dog, run, dog, she, danc. As written: dog alone.
        assert_eq!((covered(WordForm::Written), covered(WordForm::Stem)), (1.0 / 3.0, 1.0));
        assert_eq!(Coverage::hard(&words).unwrap().with_form(WordForm::Stem).of("running dogs dance"), 1.0);
    }

    #[test]
    fn patterns_and_limits_worked_by_hand() {
        let score = |scorer: &dyn Scorer, text: &str| scorer.score(&[episode(text, true)]).unwrap()[0].values()[0];
        let patterns = ForbiddenPatterns::new(&[r"\d+", "(?i)sorry"]).unwrap();
        // 12, 3 and two apologies; a number counts once.
        assert_eq!(score(&patterns, "Sorry, 12 and 3, sorry"), -4.0);
        assert_eq!(score(&patterns, "fine"), 0.0);
        let none: [&str; 0] = [];
        let error = ForbiddenPatterns::new(&none).unwrap_err().to_string();
        assert!(error.contains("at least one regular expression"), "{error}");
        let error = ForbiddenPatterns::new(&["a", "(b"]).unwrap_err().to_string();
        assert!(error.contains("must be a regular expression, got `(b`"), "{error}");
        assert!(patterns.score(&[Episode::new(&[0], &[1])]).is_err());
        // Six tokens beside four: two of four too many.
        let (soft, hard) = (LengthLimit::soft(4).unwrap(), LengthLimit::hard(4).unwrap());
        assert_eq!([score(&soft, "abcd"), score(&soft, "abcdef")], [0.0, -0.5]);
        assert_eq!([score(&hard, "abcd"), score(&hard, "abcde")], [1.0, 0.0]);
        assert!(LengthLimit::soft(0).is_err() && LengthLimit::hard(0).is_err());
    }

    proptest! {
        #[test]
        fn soft_coverage_bounds_hard_and_grows_with_the_text(text in "[abc ]{0,20}", more in "[abc ]{0,20}") {
            let words = ["a", "ab", "c"];
            let (soft, hard) = (Coverage::soft(&words).unwrap(), Coverage::hard(&words).unwrap());
            prop_assert!(hard.of(&text) <= soft.of(&text));
            // A space keeps the last word of the text whole.
            let longer = format!("{text} {more}");
            prop_assert!(soft.of(&text) <= soft.of(&longer));
        }
    }
}
