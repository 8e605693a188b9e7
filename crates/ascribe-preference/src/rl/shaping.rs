//! What is taken off the score of a response for its length.
//!
//! ```text
//! overlong:  - factor * max(0, n - (max - buffer)) / buffer            DAPO, arXiv:2503.14476, eq. 13
//! cut:       score <- coef * score if coef >= 0, else coef             for a response that the length limit cut
//! no end:    score <- score - penalty                                  the same, TRL's missing_eos_penalty
//! ```

use ascribe_core::CoreError;

/// Penalties for length; the default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LengthPenalty {
    /// Tokens before the limit in which the penalty grows, and how large it gets.
    pub overlong: Option<Overlong>,
    /// What becomes of the score of a response that was cut: it is multiplied by this if it is at least 0, and replaced by it
    /// if it is negative.
    pub stop_properly: Option<f64>,
    /// Taken off the score of a response that was cut.
    pub missing_end: Option<f64>,
}

/// The soft penalty of DAPO.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlong {
    /// Tokens before the limit in which it grows; at least 1.
    pub buffer: usize,
    /// The penalty at the limit.
    pub factor: f64,
}

impl LengthPenalty {
    /// Checks the options, with at most `most` tokens in a response.
    ///
    /// # Errors
    /// When the buffer is empty or larger than a response, or a number is not finite.
    pub fn check(&self, most: usize) -> Result<(), CoreError> {
        if let Some(Overlong { buffer, factor }) = self.overlong {
            if !(1..=most).contains(&buffer) {
                let (name, rule) = ("overlong_buffer", "at least 1 and at most max_completion_length");
                return Err(CoreError::Range { name, rule, got: buffer as f64 });
            }
            if !(factor >= 0.0 && factor.is_finite()) {
                let (name, rule) = ("overlong_penalty_factor", "finite and at least 0");
                return Err(CoreError::Range { name, rule, got: factor });
            }
        }
        match [self.stop_properly, self.missing_end].into_iter().flatten().find(|number| !number.is_finite()) {
            Some(got) => Err(CoreError::Range { name: "a penalty for a cut response", rule: "finite", got }),
            None => Ok(()),
        }
    }

    /// The score of a response of `tokens` tokens, of which there may be `most`.
    pub fn of(&self, score: f64, tokens: usize, most: usize, cut: bool) -> f64 {
        let mut score = score;
        if let Some(Overlong { buffer, factor }) = self.overlong {
            let over = tokens.saturating_sub(most.saturating_sub(buffer)) as f64;
            score -= factor * over / buffer as f64;
        }
        if let Some(coef) = self.stop_properly.filter(|_| cut) {
            score = if coef >= 0.0 { coef * score } else { coef };
        }
        if let Some(penalty) = self.missing_end.filter(|_| cut) {
            score -= penalty;
        }
        score
    }
}
