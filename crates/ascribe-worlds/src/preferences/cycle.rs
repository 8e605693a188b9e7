//! Preferences that no reward can order: a tournament in which every kind of response beats half of the others.
//!
//! ```text
//! a beats b where (b - a) mod K is in 1 ..= (K - 1) / 2;   three kinds are rock, paper and scissors
//! ```
//! A response shows its kind as a one-hot vector, under noise.

use ascribe_core::Stream;

use super::taste::normal;
use crate::WorldError;

/// A tournament of an odd number of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    kinds: usize,
}

impl Cycle {
    /// A tournament of so many kinds.
    ///
    /// # Errors
    /// Unless they are odd in number and three at least.
    pub fn new(kinds: usize) -> Result<Self, WorldError> {
        match kinds >= 3 && kinds % 2 == 1 {
            true => Ok(Self { kinds }),
            false => Err(WorldError::range("the number of kinds", "odd and at least 3", kinds as f64)),
        }
    }

    /// Number of kinds.
    pub fn kinds(self) -> usize {
        self.kinds
    }

    /// Whether kind `a` is preferred to kind `b`; none is to itself.
    pub fn beats(self, a: usize, b: usize) -> bool {
        let ahead = (b % self.kinds + self.kinds - a % self.kinds) % self.kinds;
        (1..=self.kinds / 2).contains(&ahead)
    }

    /// Features of a response of this kind: a one-hot vector with normal noise of this deviation on every entry.
    pub fn response(self, kind: usize, noise: f64, stream: &mut Stream) -> Vec<f64> {
        let hot = kind % self.kinds;
        (0..self.kinds).map(|at| f64::from(u8::from(at == hot)) + noise * normal(stream)).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rock_paper_scissors() {
        let cycle = Cycle::new(3).unwrap();
        assert!(cycle.beats(0, 1) && cycle.beats(1, 2) && cycle.beats(2, 0));
        assert!(!cycle.beats(1, 0) && !cycle.beats(0, 2) && !cycle.beats(1, 1));
        assert_eq!(cycle.response(1, 0.0, &mut Seed(0).stream("cycle", 0)), [0.0, 1.0, 0.0]);
        for wrong in [0, 1, 2, 4] {
            assert!(Cycle::new(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_kind_beats_half_of_the_others(half in 1usize..6) {
            let cycle = Cycle::new(2 * half + 1).unwrap();
            for a in 0..cycle.kinds() {
                prop_assert_eq!((0..cycle.kinds()).filter(|b| cycle.beats(a, *b)).count(), half);
                for b in (0..cycle.kinds()).filter(|b| *b != a) {
                    prop_assert!(cycle.beats(a, b) != cycle.beats(b, a));
                }
            }
        }
    }
}
