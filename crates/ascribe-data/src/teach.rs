//! Rows that cannot teach. Each is left out, counted and named by its line; none turns into a loss of zero.

use std::collections::BTreeMap;
use std::fmt;

use crate::DataError;

/// Why a row cannot teach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Chosen and rejected are the same text: their losses cancel.
    EqualPair,
    /// A completion, or the whole text, has nothing but white space.
    EmptyCompletion,
    /// The prompt has nothing but white space, so the first token of the reply has nothing to follow.
    EmptyPrompt,
    /// Chosen and rejected answer different prompts.
    DifferentPrompts,
    /// Chosen and rejected are conversations that part at a reply before the last one, where one reply to one prompt is asked for.
    Parted,
    /// A dialogue does not end with the assistant.
    NoReply,
    /// Truncation took every token that counts.
    NoTokenLeft,
    /// Neither reply is preferred.
    Tied,
    /// No step, or reply, has a label.
    NoLabel,
    /// A pair has no third reply, and one is to be imitated.
    NoReference,
    /// Replies have no scores, or no consistency, and a loss is made of them.
    NoScore,
    /// A label has no weight, and a loss is weighed by it.
    NoWeight,
    /// Steps and labels do not belong together: their numbers, or their texts, differ.
    StepLabels,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::EqualPair => "chosen equals rejected",
            Self::EmptyCompletion => "empty completion",
            Self::EmptyPrompt => "empty prompt",
            Self::DifferentPrompts => "chosen and rejected answer different prompts",
            Self::Parted => "chosen and rejected part before their last reply",
            Self::NoReply => "no reply of the assistant at the end",
            Self::NoTokenLeft => "no token left after truncation",
            Self::Tied => "a tie of the replies",
            Self::NoLabel => "no label",
            Self::NoReference => "no reference reply",
            Self::NoScore => "no margin, score or consistency",
            Self::NoWeight => "no weight of the label",
            Self::StepLabels => "steps and labels that do not match",
        })
    }
}

/// One row that cannot teach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untaught {
    /// Number of its line or element, from 1.
    pub line: usize,
    /// The reason.
    pub why: Why,
}

/// The rows that were left out, by reason. Displays as one line:
/// `3 rows left out: 2 chosen equals rejected (lines 4, 19), 1 empty completion (line 7)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    unit: &'static str,
    lines: BTreeMap<Why, Vec<usize>>,
}

impl Default for Skipped {
    fn default() -> Self {
        Self::by("line")
    }
}

impl Skipped {
    /// Nothing left out yet; `unit` is what the numbers count, see [`crate::Rows::unit`].
    pub(crate) fn by(unit: &'static str) -> Self {
        Self { unit, lines: BTreeMap::new() }
    }

    /// Counts one more row.
    pub fn push(&mut self, row: Untaught) {
        self.lines.entry(row.why).or_default().push(row.line);
    }

    /// Number of rows left out.
    pub fn count(&self) -> usize {
        self.lines.values().map(Vec::len).sum()
    }

    /// True if every row can teach.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines left out for one reason, in the order of their arrival.
    pub fn lines(&self, why: Why) -> &[usize] {
        self.lines.get(&why).map_or(&[], Vec::as_slice)
    }

    /// The first `count` lines left out, whatever the reason.
    pub fn first(&self, count: usize) -> Vec<usize> {
        let mut lines: Vec<usize> = self.lines.values().flatten().copied().collect();
        lines.sort_unstable();
        lines.truncate(count);
        lines
    }

    /// The error of a strict run, or of one that has no row left.
    pub fn refuse(&self) -> DataError {
        DataError::Untaught { summary: self.to_string() }
    }
}

/// Lines named for one reason; the others are counted.
const NAMED: usize = 10;

impl fmt::Display for Skipped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        write!(out, "{count} {} left out", if count == 1 { "row" } else { "rows" })?;
        for (index, (why, lines)) in self.lines.iter().enumerate() {
            let plural = if lines.len() == 1 { "" } else { "s" };
            let named: Vec<_> = lines.iter().take(NAMED).map(usize::to_string).collect();
            let start = if index == 0 { ":" } else { "," };
            write!(out, "{start} {} {why} ({}{plural} {}", lines.len(), self.unit, named.join(", "))?;
            match lines.len().saturating_sub(NAMED) {
                0 => out.write_str(")")?,
                more => write!(out, " and {more} more)")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(rows: &[(usize, Why)]) -> Skipped {
        let mut skipped = Skipped::default();
        rows.iter().for_each(|&(line, why)| skipped.push(Untaught { line, why }));
        skipped
    }

    #[test]
    fn the_summary_names_reasons_and_lines() {
        let three = skipped(&[(4, Why::EqualPair), (7, Why::EmptyCompletion), (19, Why::EqualPair)]);
        let line = "3 rows left out: 2 chosen equals rejected (lines 4, 19), 1 empty completion (line 7)";
        assert_eq!(three.to_string(), line);
        assert_eq!(three.refuse().to_string(), format!("refused: {line}; fix or delete these rows"));
        assert_eq!(three.lines(Why::EqualPair), [4, 19]);
        assert!(three.lines(Why::NoReply).is_empty());
        assert_eq!(skipped(&[]).to_string(), "0 rows left out");
        assert!(skipped(&[]).is_empty());
    }

    #[test]
    fn the_summary_names_ten_lines_and_counts_the_others() {
        let rows = |count| (1..=count).map(|line| (line, Why::NoTokenLeft)).collect::<Vec<_>>();
        let ten = "no token left after truncation (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10";
        assert_eq!(skipped(&rows(10)).to_string(), format!("10 rows left out: 10 {ten})"));
        assert_eq!(skipped(&rows(12)).to_string(), format!("12 rows left out: 12 {ten} and 2 more)"));
        assert_eq!(skipped(&rows(1)).to_string(), "1 row left out: 1 no token left after truncation (line 1)");
    }
}
