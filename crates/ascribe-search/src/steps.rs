//! Where a step ends.

use std::ops::Range;

/// A step ends with the first of `separators`, which belongs to it, after `most` tokens, or where the text ends.
///
/// Steps are a function of the tokens alone, so a scorer sees the same steps whether a text was written step by step or as
/// a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Tokens that end a step.
    pub separators: Vec<u32>,
    /// Most tokens of a step; at least 1.
    pub most: usize,
}

impl Default for Steps {
    /// One step: the whole text.
    fn default() -> Self {
        Self { separators: Vec::new(), most: usize::MAX }
    }
}

impl Steps {
    /// Steps of `most` tokens each: blocks.
    pub fn blocks(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Steps that end with one of these tokens.
    pub fn after(separators: &[u32]) -> Self {
        Self { separators: separators.to_vec(), ..Self::default() }
    }

    /// The steps of `tokens`, which they cover; `offset` is added to every position.
    pub fn spans(&self, tokens: &[u32], offset: usize) -> Vec<Range<usize>> {
        let (mut spans, mut start) = (Vec::new(), 0);
        for (at, token) in tokens.iter().enumerate() {
            let end = at + 1;
            if end == tokens.len() || end - start >= self.most || self.separators.contains(token) {
                spans.push(offset + start..offset + end);
                start = end;
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_the_text() {
        let steps = Steps { separators: vec![9], most: 3 };
        assert_eq!(steps.spans(&[1, 9, 1, 2, 3, 4, 9, 9, 5], 10), [10..12, 12..15, 15..17, 17..18, 18..19]);
        assert_eq!(Steps::default().spans(&[1, 2, 3], 0), [Range { start: 0, end: 3 }]);
        assert_eq!(Steps::blocks(1).spans(&[1, 2], 0), [0..1, 1..2]);
        assert_eq!(Steps::after(&[2]).spans(&[1, 2, 2], 0), [0..2, 2..3]);
        assert!(Steps::default().spans(&[], 4).is_empty());
    }
}
