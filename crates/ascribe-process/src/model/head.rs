//! What a decoder says at a token, as the log-odds that all is right so far.
//!
//! ```text
//! score:    z = w h + b                      p = sigmoid(z)
//! classes:  z = z_1 - z_0                    p = softmax(z_0, z_1)_1 = sigmoid(z)
//! words:    z = logit(good) - logit(bad)     p = softmax over the two words, good
//! ```
//! A softmax over two is the logistic function of the difference, so the three heads share their losses.

use ascribe_lm::{DecoderConfig, Head};
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::ProcessError;

/// How the numbers that a decoder gives a token become one logit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessHead {
    /// One number a token, which is the logit.
    Score,
    /// Two classes a token, wrong and right in this order, as TRL's `PRMTrainer` has them.
    #[default]
    Classes,
    /// The next token among two, as generative models say it (`+` and `-` behind the tag of a step, say).
    Words {
        /// Id of the token that says right.
        good: u32,
        /// Id of the token that says wrong.
        bad: u32,
    },
}

impl ProcessHead {
    /// The head that the decoder needs; `None` where it is that of the next token, which a language model has.
    pub fn decoder_head(self) -> Option<Head> {
        match self {
            Self::Score => Some(Head::Token { labels: 1 }),
            Self::Classes => Some(Head::Token { labels: 2 }),
            Self::Words { .. } => None,
        }
    }

    /// Checks that a decoder has this head, and the words in its vocabulary.
    ///
    /// # Errors
    /// When it has not.
    pub fn check(self, config: &DecoderConfig) -> Result<(), ProcessError> {
        if let Self::Words { good, bad } = self
            && (good == bad || good.max(bad) as usize >= config.vocab_size)
        {
            let rule = "two different tokens of the vocabulary";
            return Err(ProcessError::range("the words of a process model", rule, [good, bad]));
        }
        let needed = self.decoder_head().unwrap_or(Head::NextToken);
        if config.head == needed {
            return Ok(());
        }
        let rule = match self {
            Self::Score => "one that scores tokens by one number",
            Self::Classes => "one that scores tokens by two classes",
            Self::Words { .. } => "that of the next token",
        };
        Err(ProcessError::range("the head of this process model", rule, config.head))
    }

    /// The logit of each place; half precision is widened, so losses are summed in f32.
    ///
    /// # Shapes
    /// - scores: `[places, outputs]` of a decoder that was checked; result: `[places]`.
    pub fn logits(self, scores: Tensor<2>) -> Tensor<1> {
        let scores = match scores.dtype() {
            DType::F16 | DType::BF16 => scores.cast(DType::F32),
            _ => scores,
        };
        let column = |at: usize| scores.clone().narrow(1, at, 1).squeeze_dim::<1>(1); // [places]
        match self {
            Self::Score => column(0),
            Self::Classes => column(1) - column(0),
            Self::Words { good, bad } => column(good as usize) - column(bad as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{device, values};

    use super::*;

    fn config(head: Head) -> DecoderConfig {
        DecoderConfig { head, ..DecoderConfig::tiny(10, 8, 1, 2, 16) }
    }

    #[test]
    fn heads_give_one_logit_a_place() {
        let scores = Tensor::<2>::from_floats([[1.0, 3.0, 0.5], [2.0, -1.0, 4.0]], &device());
        let of = |head: ProcessHead| values(head.logits(scores.clone()));
        assert_eq!(of(ProcessHead::Score), [1.0, 2.0]);
        assert_eq!(of(ProcessHead::Classes), [2.0, -3.0]);
        assert_eq!(of(ProcessHead::Words { good: 2, bad: 0 }), [-0.5, 2.0]);
    }

    #[test]
    fn a_head_fits_its_decoder_alone() {
        let (token, two) = (Head::Token { labels: 1 }, Head::Token { labels: 2 });
        let words = ProcessHead::Words { good: 3, bad: 4 };
        for (head, fits) in [(ProcessHead::Score, token), (ProcessHead::Classes, two), (words, Head::NextToken)] {
            for other in [token, two, Head::NextToken, Head::Sequence { labels: 1 }] {
                assert_eq!(head.check(&config(other)).is_ok(), other == fits, "{head:?} on {other:?}");
            }
        }
        for (good, bad) in [(3, 3), (3, 10)] {
            let refused = ProcessHead::Words { good, bad }.check(&config(Head::NextToken));
            assert!(refused.unwrap_err().to_string().contains("two different tokens of the vocabulary"));
        }
    }
}
