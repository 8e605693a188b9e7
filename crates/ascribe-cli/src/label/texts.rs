//! Token ids as texts of steps.

use std::ops::Range;

use ascribe::core::CoreError;
use ascribe::lm::{LmError, SpecialTokens, Tokenizer};
use ascribe::process::{ProcessError, Segmenter, Tokenized};

/// Reads ids as text and cuts it.
pub struct Texts<'a> {
    pub tokenizer: &'a Tokenizer,
    pub segmenter: &'a Segmenter,
}

/// A response as text, with the bytes of its tokens and where its steps end.
pub struct Cut {
    pub text: String,
    /// Where each step ends, in tokens.
    pub ends: Vec<usize>,
    /// The same in bytes.
    pub bytes: Vec<usize>,
}

impl Cut {
    /// The texts of the steps.
    pub fn steps(&self) -> Vec<String> {
        let mut start = 0;
        let step = |end: &usize| {
            let step = self.text[start..*end].to_owned();
            start = *end;
            step
        };
        self.bytes.iter().map(step).collect()
    }
}

impl Texts<'_> {
    /// Cuts the text of `ids`. Ids without text are one step.
    pub fn cut(&self, ids: &[u32]) -> Result<Cut, ProcessError> {
        let (text, offsets) = self.read(ids).map_err(behind)?;
        self.segment(text, ids, &offsets)
    }

    /// Cuts a text that was given, and its ids.
    pub fn encoded(&self, text: &str) -> Result<(Vec<u32>, Cut), ProcessError> {
        let (ids, offsets) = self.tokenizer.encode_spans(text).map_err(behind)?;
        let cut = self.segment(text.to_owned(), &ids, &offsets)?;
        Ok((ids, cut))
    }

    /// The text of `ids`, without special tokens.
    pub fn text(&self, ids: &[u32]) -> Result<String, ProcessError> {
        self.tokenizer.decode(ids, SpecialTokens::Skip).map_err(behind)
    }

    /// The tokens whose text holds what separates steps: where a policy is stopped while it writes one.
    pub fn separators(&self) -> Result<Vec<u32>, ProcessError> {
        let delimiter = match self.segmenter {
            Segmenter::MarkerToken(id) => return Ok(vec![*id]),
            Segmenter::Delimiter(delimiter) => delimiter,
            other => {
                return Err(ProcessError::Range {
                    name: "the segmenter of a tree search",
                    rule: "by lines, by a delimiter or by a marker, which a single token can end",
                    got: other.id(),
                });
            }
        };
        let mut separators = Vec::new();
        for id in 0..self.tokenizer.vocabulary_size() as u32 {
            if self.text(&[id]).is_ok_and(|text| text.contains(delimiter.as_str())) {
                separators.push(id);
            }
        }
        if separators.is_empty() {
            return Err(ProcessError::Range {
                name: "the delimiter of a tree search",
                rule: "written by a single token of this model; use --segment lines",
                got: delimiter.clone(),
            });
        }
        Ok(separators)
    }

    fn segment(&self, text: String, ids: &[u32], offsets: &[Range<usize>]) -> Result<Cut, ProcessError> {
        if text.is_empty() && !ids.is_empty() {
            return Ok(Cut { text, ends: vec![ids.len()], bytes: vec![0] });
        }
        let steps = self.segmenter.segment(&Tokenized { text: &text, ids, offsets })?;
        let ends = steps.iter().map(|step| step.tokens.end).collect();
        let bytes = steps.iter().map(|step| step.bytes.end).collect();
        Ok(Cut { text, ends, bytes })
    }

    /// The text of ids with the bytes that each adds; a token that ends within a character adds none.
    pub fn read(&self, ids: &[u32]) -> Result<(String, Vec<Range<usize>>), LmError> {
        self.tokenizer.decode_spans(ids)
    }
}

fn behind(error: LmError) -> ProcessError {
    ProcessError::Core(CoreError::Other(Box::new(error)))
}
