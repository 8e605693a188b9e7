//! Accuracy as a current: examples in the prompt raise the voltage, steps of reasoning are resistors in series. After "ECM: A
//! Unified Electronic Circuit Model for Explaining the Emergence of In-Context Learning and Chain-of-Thought".
//!
//! ```text
//! accuracy = U / R,   U = source + gain ln(1 + shots),   R = 1 + resistance steps
//! ```
//! The form is our reading of the model's law; source and gain are found by least squares for each resistance, and the
//! resistance by a search. It predicts how accurate a way to prompt will be, and explains nothing.

use std::collections::BTreeSet;

use crate::EvalError;
use crate::error::{not_empty, option, shares};
use crate::stats::sum::sum;

/// Largest resistance that is looked for.
const MOST: f64 = 100.0;
/// Resistances of the first look, and halvings of the bracket around the best.
const GRID: usize = 400;
const HALVINGS: usize = 60;

/// What came of a way to prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prompted {
    /// Examples in the prompt.
    pub shots: u32,
    /// Steps that the task takes.
    pub steps: u32,
    /// The share of right answers.
    pub accuracy: f64,
}

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circuit {
    /// Voltage without examples.
    pub source: f64,
    /// What examples add: for each unit of `ln(1 + shots)`.
    pub gain: f64,
    /// Resistance of a step, at least 0.
    pub resistance: f64,
    /// Root of the mean square error over the rows of the fit.
    pub error: f64,
}

impl Circuit {
    /// Fits the law. In O(n).
    ///
    /// # Errors
    /// When there is no row, an accuracy is not in [0, 1], or the rows do not have two numbers of shots and two of steps in three
    /// ways to prompt, as many as there are numbers to find.
    pub fn fit(rows: &[Prompted]) -> Result<Self, EvalError> {
        not_empty("the rows", rows)?;
        shares("accuracy", &rows.iter().map(|row| row.accuracy).collect::<Vec<_>>())?;
        let vary = |of: fn(&Prompted) -> u32| rows.iter().any(|row| of(row) != of(&rows[0]));
        let ways: BTreeSet<(u32, u32)> = rows.iter().map(|row| (row.shots, row.steps)).collect();
        if !vary(|row| row.shots) || !vary(|row| row.steps) || ways.len() < 3 {
            let why = "it needs rows with two numbers of shots and two of steps in three ways to prompt; measure more";
            return Err(EvalError::Degenerate { what: "a circuit", why });
        }
        // Even steps of ln(1 + resistance).
        let at = |place: usize| ((1.0 + MOST).ln() * place as f64 / GRID as f64).exp() - 1.0;
        let error = |resistance: f64| Self::at(rows, resistance).error;
        let best = (0..=GRID).fold(0, |best, place| if error(at(place)) < error(at(best)) { place } else { best });
        let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(GRID)));
        for _ in 0..HALVINGS {
            let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
            if error(left) <= error(right) { high = right } else { low = left }
        }
        Ok(Self::at(rows, (low + high) / 2.0))
    }

    /// The best source and gain for a resistance, by the normal equations.
    fn at(rows: &[Prompted], resistance: f64) -> Self {
        let total = |of: &dyn Fn(f64, f64, f64) -> f64| {
            sum(rows.iter().map(|row| {
                let conductance = 1.0 / (1.0 + resistance * f64::from(row.steps));
                of(conductance, voltage(row.shots) * conductance, row.accuracy)
            }))
        };
        let (aa, ab, bb) = (total(&|a, _, _| a * a), total(&|a, b, _| a * b), total(&|_, b, _| b * b));
        let (ay, by) = (total(&|a, _, y| a * y), total(&|_, b, y| b * y));
        // Above 0 where shots vary, by Cauchy and Schwarz.
        let determinant = aa * bb - ab * ab;
        let (source, gain) = ((ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant);
        let squares = total(&|a, b, y| (source * a + gain * b - y).powi(2));
        Self { source, gain, resistance, error: (squares / rows.len() as f64).sqrt() }
    }

    /// The accuracy to expect, in [0, 1]. O(1).
    pub fn predict(&self, shots: u32, steps: u32) -> f64 {
        let current = (self.source + self.gain * voltage(shots)) / (1.0 + self.resistance * f64::from(steps));
        current.clamp(0.0, 1.0)
    }

    /// The fewest examples with which `accuracy` is to be expected; `None` where none are enough. O(1).
    ///
    /// # Errors
    /// When the accuracy is not above 0 and at most 1.
    pub fn shots_for(&self, accuracy: f64, steps: u32) -> Result<Option<u32>, EvalError> {
        option("the accuracy", "above 0 and at most 1", accuracy, 0.0 < accuracy && accuracy <= 1.0)?;
        let wanted = accuracy * (1.0 + self.resistance * f64::from(steps)) - self.source;
        if wanted <= 0.0 {
            return Ok(Some(0));
        }
        // Rounding must not ask for one example more.
        let shots = ((wanted / self.gain).exp() - 1.0 - 1e-9).ceil();
        Ok((self.gain > 0.0 && shots <= f64::from(u32::MAX)).then_some(shots as u32))
    }
}

/// What examples bring, before the gain.
fn voltage(shots: u32) -> f64 {
    f64::from(shots).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shots: u32, steps: u32, accuracy: f64) -> Prompted {
        Prompted { shots, steps, accuracy }
    }

    /// accuracy = (0.8 + 0.1 ln(1 + shots)) / (1 + 0.5 steps), exactly.
    #[test]
    fn a_law_is_found_again() {
        let ways = [(0, 1), (1, 1), (3, 2), (0, 4), (7, 4), (3, 8)];
        let law = |shots: u32, steps: u32| (0.8 + 0.1 * (1.0 + f64::from(shots)).ln()) / (1.0 + 0.5 * f64::from(steps));
        let rows = ways.map(|(shots, steps)| row(shots, steps, law(shots, steps)));
        let found = Circuit::fit(&rows).unwrap();
        for (got, expected) in [(found.source, 0.8), (found.gain, 0.1), (found.resistance, 0.5), (found.error, 0.0)] {
            assert!((got - expected).abs() < 1e-5, "{found:?}");
        }
        assert!((found.predict(15, 6) - law(15, 6)).abs() < 1e-5);
    }

    #[test]
    fn examples_for_an_accuracy_by_hand() {
        let circuit = Circuit { source: 0.5, gain: 0.25, resistance: 0.25, error: 0.0 };
        // Four steps double the resistance: 0.5 asks for a voltage of 1, so ln(1 + k) = 2 and k = 6.39.
        assert_eq!(circuit.shots_for(0.5, 4).unwrap(), Some(7));
        assert!(circuit.predict(7, 4) >= 0.5 && circuit.predict(6, 4) < 0.5);
        assert_eq!(circuit.shots_for(0.25, 4).unwrap(), Some(0));
        assert_eq!(Circuit { gain: 0.0, ..circuit }.shots_for(0.5, 4).unwrap(), None);
        assert_eq!(Circuit { gain: -0.1, ..circuit }.shots_for(0.5, 4).unwrap(), None);
        assert_eq!(circuit.shots_for(1.0, 400).unwrap(), None, "e^402 examples");
        for accuracy in [0.0, 1.5, f64::NAN] {
            assert!(circuit.shots_for(accuracy, 1).is_err(), "{accuracy}");
        }
        // A prediction is a share.
        assert_eq!(circuit.predict(1000, 0), 1.0);
    }

    #[test]
    fn rows_that_do_not_tell_are_refused() {
        let twice = [row(0, 1, 0.5), row(1, 2, 0.4)].repeat(2);
        for rows in [vec![row(0, 1, 0.5), row(0, 2, 0.4)], vec![row(0, 2, 0.5), row(1, 2, 0.6)], twice] {
            let said = Circuit::fit(&rows).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains("two numbers of shots and two of steps"), "{said}");
        }
        assert!(Circuit::fit(&[]).is_err() && Circuit::fit(&[row(0, 1, 0.5), row(1, 2, 1.5)]).is_err());
    }
}
