//! Where a response is cut into steps or macro actions.
//!
//! ```text
//! separator    behind every token whose text has the separator in it
//! fixed        every n tokens                                                       MA-RLHF, arXiv:2410.02743
//! randomised   lengths 1, 2, 3, 5, 10, each `repeats` times, in a drawn order; what is left is one macro action
//! perplexity   behind token t where log p(t + 1) < log p(t) under the reference
//! parsing      the largest parts of the text with fewer than `most` tokens; single tokens join the part before them
//! ```
//! The lengths of `randomised` and the rules of `perplexity` and `parsing` are those of the public code of MA-RLHF, which
//! parses sentences into constituents. Here parts are lines, then sentences, then clauses, then words, by their punctuation:
//! a departure that needs no parser and knows every language a little.

use std::ops::Range;

use ascribe_core::{CoreError, Seed, Text};
use ascribe_data::Epochs;

/// How a response is cut.
#[derive(Clone, Debug, PartialEq)]
pub enum Segmentation {
    /// Behind tokens with this text in them.
    Separator(String),
    /// Every so many tokens.
    Fixed(usize),
    /// At drawn lengths.
    Randomised {
        /// How often each length comes.
        repeats: usize,
        /// Root of the draw.
        seed: Seed,
    },
    /// Where the reference finds the next token less likely.
    Perplexity,
    /// By the parts of the text.
    Parsing {
        /// A part with fewer tokens is one macro action.
        most: usize,
    },
}

/// What is known of a response that is cut.
pub struct Sample<'a> {
    /// Number of response tokens.
    pub tokens: usize,
    /// Text of prompt and response, where it is known.
    pub text: Option<&'a Text>,
    /// Log-probabilities of response tokens under the reference, where they are known.
    pub ref_logps: Option<&'a [f32]>,
    /// Number of the response, for draws.
    pub number: u64,
}

impl Segmentation {
    /// Whether it looks at the reference.
    pub fn needs_reference(&self) -> bool {
        *self == Self::Perplexity
    }

    /// Ranges of response tokens, one after another, that cover the response.
    ///
    /// # Errors
    /// When a number is 0, or text or reference that it needs is absent.
    pub fn spans(&self, response: &Sample) -> Result<Vec<Range<usize>>, CoreError> {
        let n = response.tokens;
        let refuse = |name, got: usize| Err(CoreError::Range { name, rule: "at least 1", got: got as f64 });
        let ends: Vec<usize> = match self {
            Self::Separator(separator) => {
                let texts = texts(response)?;
                (0..n).filter(|at| texts[*at].contains(separator.as_str())).map(|at| at + 1).collect()
            }
            Self::Fixed(0) => return refuse("the length of a macro action", 0),
            Self::Fixed(length) => (1..n.div_ceil(*length)).map(|number| number * length).collect(),
            Self::Randomised { repeats: 0, .. } => return refuse("the repeats of a length", 0),
            Self::Randomised { repeats, seed } => {
                let lengths: Vec<usize> = [1, 2, 3, 5, 10].repeat(*repeats);
                let order = Epochs::new(lengths.len(), seed.child("macro actions", response.number));
                let order = order.map_err(|error| CoreError::Other(Box::new(error)))?.order(0);
                let ends = order.into_iter().scan(0, |end, at| {
                    *end += lengths[at];
                    Some(*end)
                });
                ends.take_while(|end| *end < n).collect()
            }
            Self::Perplexity => {
                let logps = response.ref_logps.ok_or(CoreError::MissingEvidence("ref_logps"))?;
                (1..n.min(logps.len())).filter(|at| logps[*at] < logps[at - 1]).collect()
            }
            Self::Parsing { most: 0 } => return refuse("the size of a part", 0),
            Self::Parsing { most } => {
                let texts = texts(response)?;
                let mut spans = Vec::new();
                parts(&texts, 0..n, 0, *most, &mut spans);
                joined(spans).into_iter().map(|span| span.end).collect()
            }
        };
        let mut begin = 0;
        let mut spans = Vec::new();
        for end in ends.into_iter().chain([n]) {
            if end > begin {
                spans.push(begin..end);
                begin = end;
            }
        }
        Ok(spans)
    }
}

/// The text of each response token.
fn texts<'a>(response: &Sample<'a>) -> Result<Vec<&'a str>, CoreError> {
    let text = response.text.ok_or(CoreError::MissingEvidence("text"))?;
    let prompt = text.spans.len().checked_sub(response.tokens).ok_or(CoreError::MissingEvidence("text"))?;
    Ok(text.spans[prompt..].iter().map(|span| text.text.get(span.clone()).unwrap_or_default()).collect())
}

/// What ends a part of each level: lines, sentences, clauses, words.
const LEVELS: [&[char]; 4] = [&['\n'], &['.', '!', '?'], &[',', ';', ':'], &[' ']];

/// The largest parts of `span` with fewer than `most` tokens.
fn parts(texts: &[&str], span: Range<usize>, level: usize, most: usize, found: &mut Vec<Range<usize>>) {
    if span.is_empty() {
        return;
    }
    if span.len() < most || span.len() == 1 {
        found.push(span);
        return;
    }
    let Some(ends) = LEVELS.get(level) else {
        // Nothing is left to cut by.
        found.extend(span.map(|at| at..at + 1));
        return;
    };
    let words = *ends == LEVELS[3];
    let mut begin = span.start;
    for at in span.clone() {
        // A word begins with its space, everything else ends with its mark.
        let cut = match words {
            true if at > begin && texts[at].starts_with(' ') => at,
            false if texts[at].trim_end_matches(' ').ends_with(*ends) => at + 1,
            _ => continue,
        };
        parts(texts, begin..cut, level + 1, most, found);
        begin = cut;
    }
    parts(texts, begin..span.end, level + 1, most, found);
}

/// Single tokens as a part of what stands before them.
fn joined(spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.len() == 1 => last.end = span.end,
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tokens as they are written, one after another.
    fn text(tokens: &[&str]) -> Text {
        let mut text = Text::default();
        for token in tokens {
            let start = text.text.len();
            text.text.push_str(token);
            text.spans.push(start..text.text.len());
        }
        text
    }

    fn cut(how: &Segmentation, tokens: &[&str], ref_logps: Option<&[f32]>) -> Vec<Range<usize>> {
        let text = text(tokens);
        how.spans(&Sample { tokens: tokens.len(), text: Some(&text), ref_logps, number: 0 }).unwrap()
    }

    #[test]
    fn cuts_by_hand() {
        let tokens = ["a", "b;", "c", "d;", "e"];
        assert_eq!(cut(&Segmentation::Separator(";".into()), &tokens, None), [0..2, 2..4, 4..5]);
        assert_eq!(cut(&Segmentation::Fixed(2), &tokens, None), [0..2, 2..4, 4..5]);
        assert_eq!(cut(&Segmentation::Fixed(9), &tokens, None), std::slice::from_ref(&(0..5)));
        let logps = [-1.0, -2.0, -0.5, -0.5, -3.0];
        assert_eq!(cut(&Segmentation::Perplexity, &tokens, Some(&logps)), [0..1, 1..4, 4..5]);
        // Sentences of 4 and 3 tokens; the first is cut into clauses of 2 and 2.
        let tokens = ["The", " cat,", " it", " ran.", " He", " sat", " down."];
        assert_eq!(cut(&Segmentation::Parsing { most: 4 }, &tokens, None), [0..2, 2..4, 4..7]);
        assert_eq!(cut(&Segmentation::Parsing { most: 5 }, &tokens, None), [0..4, 4..7]);
        // Words of one token each join what stands before them.
        assert_eq!(cut(&Segmentation::Parsing { most: 2 }, &tokens, None), std::slice::from_ref(&(0..7)));
    }

    #[test]
    fn what_is_absent_or_nothing_is_refused() {
        let bare = Sample { tokens: 3, text: None, ref_logps: None, number: 0 };
        assert!(Segmentation::Fixed(0).spans(&bare).is_err());
        assert!(Segmentation::Parsing { most: 0 }.spans(&bare).is_err());
        assert!(Segmentation::Randomised { repeats: 0, seed: Seed(0) }.spans(&bare).is_err());
        for how in [Segmentation::Separator("x".into()), Segmentation::Perplexity, Segmentation::Parsing { most: 5 }] {
            assert!(how.spans(&bare).is_err(), "{how:?}");
        }
    }

    proptest! {
        #[test]
        fn spans_cover_the_response_without_overlap(
            tokens in prop::collection::vec(prop::sample::select(vec!["a", " b", ".", ", c", "\n", " d."]), 1..40),
            logps in prop::collection::vec(-5.0f32..0.0, 40), fixed in 1usize..7, most in 1usize..7, seed in any::<u64>(),
        ) {
            for how in [
                Segmentation::Separator(".".into()),
                Segmentation::Fixed(fixed),
                Segmentation::Randomised { repeats: 1, seed: Seed(seed) },
                Segmentation::Perplexity,
                Segmentation::Parsing { most },
            ] {
                let spans = cut(&how, &tokens, Some(&logps[..tokens.len()]));
                let mut end = 0;
                for span in &spans {
                    prop_assert!(span.start == end && span.end > span.start, "{:?}: {:?}", how, spans);
                    end = span.end;
                }
                prop_assert_eq!(end, tokens.len(), "{:?}", how);
            }
        }
    }
}
