//! Token sequences laid one after another, without padding.

use std::ops::Range;

use crate::CoreError;

/// A stretch of tokens of a [`Packing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Rows of the packed batch, one a token.
    pub rows: Range<usize>,
    /// Number of the span that this one continues, which comes before it; `None` begins a sequence.
    pub parent: Option<usize>,
    /// Position of its first token in the sequence: the number of tokens before it, ancestors counted.
    pub position: usize,
}

/// Token sequences laid one after another, without padding.
///
/// A span may continue an earlier one, so what sequences share stands once: a prompt before its chosen and its rejected
/// response, or before all samples of a group. A token sees the tokens of all ancestors of its span, and those of its own
/// span up to itself.
///
/// ```
/// use ascribe_core::Packing;
///
/// let mut packing = Packing::default();
/// let prompt = packing.push(3, None)?;
/// let chosen = packing.push(2, Some(prompt))?;
/// let rejected = packing.push(4, Some(prompt))?;
/// assert_eq!(packing.tokens(), 9);
/// assert_eq!(packing.positions(), [0, 1, 2, 3, 4, 3, 4, 5, 6]);
/// assert_eq!(packing.seen(rejected), [0..3, 5..9]);
/// assert_eq!(packing.span(chosen).rows, 3..5);
/// # Ok::<(), ascribe_core::CoreError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    spans: Vec<Span>,
}

impl Packing {
    /// Adds a span of `len` tokens behind all others and gives its number.
    ///
    /// # Errors
    /// When `parent` is not the number of an earlier span.
    pub fn push(&mut self, len: usize, parent: Option<usize>) -> Result<usize, CoreError> {
        let start = self.tokens();
        let position = match parent {
            None => 0,
            Some(number) => match self.spans.get(number) {
                Some(span) => span.position + span.rows.len(),
                None => {
                    let got = format!("parent {number} of span {}", self.spans.len());
                    return Err(CoreError::Shape { rule: "a span continues an earlier one", got });
                }
            },
        };
        self.spans.push(Span { rows: start..start + len, parent, position });
        Ok(self.spans.len() - 1)
    }

    /// Number of tokens of all spans.
    pub fn tokens(&self) -> usize {
        self.spans.last().map_or(0, |span| span.rows.end)
    }

    /// All spans, in the order of their rows.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span `number`.
    ///
    /// # Panics
    /// When there is no such span.
    pub fn span(&self, number: usize) -> &Span {
        &self.spans[number]
    }

    /// Position of each token in its sequence.
    pub fn positions(&self) -> Vec<usize> {
        self.spans.iter().flat_map(|span| span.position..span.position + span.rows.len()).collect()
    }

    /// Rows that the last token of span `number` sees: those of its ancestors, the first one first, then its own.
    pub fn seen(&self, number: usize) -> Vec<Range<usize>> {
        let mut ranges = vec![self.spans[number].rows.clone()];
        let mut parent = self.spans[number].parent;
        while let Some(number) = parent {
            ranges.push(self.spans[number].rows.clone());
            parent = self.spans[number].parent;
        }
        ranges.reverse();
        ranges
    }
}
