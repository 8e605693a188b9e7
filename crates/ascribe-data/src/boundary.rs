//! Where a prompt ends and its completion begins, in tokens.
//!
//! A tokenizer may merge the last characters of a prompt with the first of the completion. Two policies have names; under
//! both, prompt and completion one after the other are the ids that a model sees.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How prompt and completion are made tokens. In options, and displayed, as `apart` and `shared-prefix`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// Each is encoded apart: ids never merge across the boundary, and what is sampled after the prompt is what was trained.
    /// The ids may differ from those of the whole text.
    #[default]
    Apart,
    /// The whole text is encoded, and the prompt is the longest beginning that it shares with the prompt encoded alone: the ids
    /// are those of the text, and tokens that merged belong to the completion.
    SharedPrefix,
}

/// A prompt and its completion in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Ids of the prompt.
    pub prompt: Vec<u32>,
    /// Ids of the completion.
    pub completion: Vec<u32>,
    /// How many tokens of the prompt encoded alone are not ids of the whole text: above 0, something merged.
    pub merged: usize,
}

impl fmt::Display for Boundary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Apart => "apart",
            Self::SharedPrefix => "shared-prefix",
        })
    }
}

impl Boundary {
    /// Encodes a prompt and its completion. `encode` must add no special tokens, or the second BOS would stand inside.
    ///
    /// ```
    /// use ascribe_data::Boundary;
    /// // A vocabulary in which "ab" is one token.
    /// let encode = |text: &str| -> Result<Vec<u32>, std::convert::Infallible> {
    ///     Ok(text.replace("ab", "X").chars().map(u32::from).collect())
    /// };
    /// let (b, c, x) = (u32::from('b'), u32::from('c'), u32::from('X'));
    /// let apart = Boundary::Apart.split("ca", "bc", encode)?;
    /// assert_eq!((apart.completion, apart.merged), (vec![b, c], 1));
    /// let shared = Boundary::SharedPrefix.split("ca", "bc", encode)?;
    /// assert_eq!((shared.prompt, shared.completion), (vec![c], vec![x, c]));
    /// # Ok::<(), std::convert::Infallible>(())
    /// ```
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn split<E>(
        self,
        prompt: &str,
        completion: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, E>,
    ) -> Result<Parts, E> {
        let alone = encode(prompt)?;
        let whole = encode(&format!("{prompt}{completion}"))?;
        let shared = alone.iter().zip(&whole).take_while(|(one, other)| one == other).count();
        let merged = alone.len() - shared;
        Ok(match self {
            Self::Apart => Parts { prompt: alone, completion: encode(completion)?, merged },
            Self::SharedPrefix => {
                let completion = whole[shared..].to_vec();
                let prompt = whole[..shared].to_vec();
                Parts { prompt, completion, merged }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// A toy byte-pair vocabulary: merges the pairs `ab`, `bc`, then `ab` with what follows it, left to right.
    fn encode(text: &str) -> Result<Vec<u32>, Infallible> {
        let mut ids: Vec<u32> = text.chars().map(u32::from).collect();
        let id = u32::from;
        for (first, second, new) in [(id('a'), id('b'), 1000), (id('b'), id('c'), 1001), (1000, id('a'), 1002)] {
            let mut merged = Vec::new();
            let mut at = 0;
            while at < ids.len() {
                if ids[at..].starts_with(&[first, second]) {
                    merged.push(new);
                    at += 2;
                } else {
                    merged.push(ids[at]);
                    at += 1;
                }
            }
            ids = merged;
        }
        Ok(ids)
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for boundary in [Boundary::Apart, Boundary::SharedPrefix] {
            let name = serde_json::Value::String(boundary.to_string());
            assert_eq!(serde_json::to_value(boundary).unwrap(), name);
            assert_eq!(serde_json::from_value::<Boundary>(name).unwrap(), boundary);
        }
    }

    proptest! {
        #[test]
        fn the_shared_prefix_gives_back_the_ids_of_the_text(prompt in "[abc ]{0,12}", completion in "[abc ]{0,12}") {
            let parts = Boundary::SharedPrefix.split(&prompt, &completion, encode).unwrap();
            let whole = encode(&(prompt.clone() + &completion)).unwrap();
            prop_assert_eq!([parts.prompt.clone(), parts.completion].concat(), whole);
            prop_assert!(encode(&prompt).unwrap().starts_with(&parts.prompt));
        }

        #[test]
        fn encoding_apart_gives_back_the_ids_of_both(prompt in "[abc ]{0,12}", completion in "[abc ]{0,12}") {
            let parts = Boundary::Apart.split(&prompt, &completion, encode).unwrap();
            prop_assert_eq!(parts.prompt, encode(&prompt).unwrap());
            prop_assert_eq!(parts.completion, encode(&completion).unwrap());
        }

        #[test]
        fn the_policies_agree_where_nothing_merges(prompt in "[abc]{0,8} ", completion in "[abc ]{0,8}") {
            // A space merges with nothing.
            let split = |policy: Boundary| policy.split(&prompt, &completion, encode).unwrap();
            let apart = split(Boundary::Apart);
            prop_assert_eq!(apart.merged, 0);
            prop_assert_eq!(apart, split(Boundary::SharedPrefix));
        }
    }
}
