//! Named random streams: a result depends on what was drawn for, never on when or by whom.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The generator behind a stream.
pub type Stream = ChaCha8Rng;

/// The root of all randomness of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream for item `index` of the purpose `name`, independent of every other name and index.
    ///
    /// ```
    /// use ascribe_core::Seed;
    /// use rand::RngExt;
    /// let draw = |name, index| Seed(7).stream(name, index).random::<u64>();
    /// assert_eq!(draw("rollouts", 3), draw("rollouts", 3));
    /// assert_ne!(draw("rollouts", 3), draw("rollouts", 4));
    /// ```
    pub fn stream(self, name: &str, index: u64) -> Stream {
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([self.0, fnv1a(name), index, name.len() as u64]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// A seed of its own for item `index` of the purpose `name`, to be handed to something that draws streams itself.
    pub fn child(self, name: &str, index: u64) -> Self {
        use rand::Rng;
        Self(self.stream(name, index).next_u64())
    }
}

/// FNV-1a, 64 bits: stable across versions and machines, which `std`'s hasher does not promise.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
