//! What is wrong with data, before a run finds out: faults of the rows themselves and, given a tokenizer and a template, of
//! what a model would be taught from them. No weights are needed, and memory is some bytes a row, or about 0.8 kB where
//! near-duplicates are looked for.

mod examine;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use ascribe_core::Seed;
use ascribe_eval::Estimate;

use crate::{
    Choices, ColumnMap, DataError, Dialogues, Kind, LanguageModelling, NearDuplicates, PromptCompletion, PromptOnly,
    Rated, Record, Records, Skipped, Stepwise, Unpaired,
};
use examine::{Patient, Ward};
pub use text::ModelText;

/// What is looked for. Displays as a name with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// A row that cannot teach; see [`Skipped`].
    Untaught,
    /// A row that stands in the file twice.
    Duplicate,
    /// A row that is nearly one before it, prompt and replies together; see [`NearDuplicates`].
    NearDuplicate,
    /// A pair that stands in the file with its sides exchanged, or a reply with both labels.
    Contradiction,
    /// A pair with a margin of 0.
    Tied,
    /// A row whose prompt is in the test set.
    Contaminated,
    /// The longer reply is preferred far more often than the shorter one, or far less.
    LengthBias,
    /// Nearly all labels are the same.
    LabelBalance,
    /// The template refuses a conversation, or writes an answer otherwise than its opening; or the vocabulary lacks a
    /// character.
    Template,
    /// Ids do not give the text back.
    RoundTrip,
    /// A second token that begins a text: beside the first, inside a reply, or anywhere in a plain text.
    DoubleBos,
    /// A token that ends a text stands inside a reply.
    EndInside,
    /// The template ends a reply without a token that ends a text.
    NoEnd,
    /// The last token of a prompt would merge with the first of its reply.
    BoundaryMerge,
    /// The prompt loses tokens to the length limit, or leaves no room for an answer.
    PromptCut,
    /// The reply loses tokens to the length limit, and with them its end.
    ReplyCut,
    /// No token of the row would be learned.
    EmptyMask,
    /// A token has letters of two steps.
    StepInToken,
}

impl Check {
    /// The name, for tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untaught => "untaught",
            Self::Duplicate => "duplicate",
            Self::NearDuplicate => "near-duplicate",
            Self::Contradiction => "contradiction",
            Self::Tied => "tied",
            Self::Contaminated => "contaminated",
            Self::LengthBias => "length-bias",
            Self::LabelBalance => "label-balance",
            Self::Template => "template",
            Self::RoundTrip => "round-trip",
            Self::DoubleBos => "double-bos",
            Self::EndInside => "end-inside",
            Self::NoEnd => "no-end",
            Self::BoundaryMerge => "boundary-merge",
            Self::PromptCut => "prompt-cut",
            Self::ReplyCut => "reply-cut",
            Self::EmptyMask => "empty-mask",
            Self::StepInToken => "step-in-token",
        }
    }

    /// What it means and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Untaught => "these rows are left out of training; fix or delete them",
            Self::Duplicate => "the same row again counts twice; delete one",
            Self::NearDuplicate => "nearly the same row again counts nearly twice; delete one",
            Self::Contradiction => "the same replies are judged both ways; keep one judgement",
            Self::Tied => "a margin of 0 says that neither reply is better; delete the row, or its margin",
            Self::Contaminated => "the prompt is in the test set too; delete the row, or the test means nothing",
            Self::LengthBias => "a model can learn length instead of quality; balance the pairs, or penalise length",
            Self::LabelBalance => "nearly one class alone; weight the classes, or add rows of the other",
            Self::Template => {
                "tokenizer or chat template cannot express these rows; fix characters and roles, or use another model"
            }
            Self::RoundTrip => "the tokenizer changes the text; check its normalizer",
            Self::DoubleBos => "two tokens begin the text; take the written one out of the data or the template",
            Self::EndInside => "generation would stop inside the reply; take the spelled-out end token out",
            Self::NoEnd => "the end of a reply is never learned; use a template that writes the end token",
            Self::BoundaryMerge => {
                "the model sees other ids than it would for the whole text; end prompts without a space, or train with \
                 --boundary shared-prefix"
            }
            Self::PromptCut => "the prompt loses its beginning; raise --max-length, or shorten it",
            Self::ReplyCut => "the reply loses its end; raise --max-length, or shorten it",
            Self::EmptyMask => "no token is learned; raise --max-length, or fix the roles",
            Self::StepInToken => {
                "two steps share a token, so neither has one to be scored at; end steps with a separator"
            }
        }
    }
}

/// A fault, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub check: Check,
    /// Number of rows that have it; 0 for a fault of the file as a whole.
    pub rows: usize,
    /// The first ten of these rows.
    pub lines: Vec<usize>,
    /// More words, where there are some: the reasons, or the first error.
    pub detail: String,
}

/// A measured share, mean or number.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Its value; of shares with Wilson's interval, in which steps count as if they were independent.
    pub estimate: Estimate,
}

/// What a doctor says.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The kind of the rows.
    pub kind: Kind,
    /// Rows that can teach.
    pub rows: usize,
    /// What the numbers of the rows count, see [`crate::Rows::unit`].
    pub unit: &'static str,
    /// The faults; none in sound data.
    pub findings: Vec<Finding>,
    /// What was measured, sound or not.
    pub figures: Vec<Figure>,
    /// How columns were read where it is not by their own names.
    pub notes: Vec<String>,
}

/// Looks for faults in data.
#[derive(Default)]
pub struct Doctor<'a> {
    /// The tokenizer and the template of the model that will learn; without it, text is not looked into.
    pub text: Option<ModelText<'a>>,
    /// Prompts of the test set, which no row should have.
    pub test_set: Option<NearDuplicates>,
    /// The similarity from which two rows are nearly the same, see [`NearDuplicates::new`]; without it, none are looked for.
    pub near_duplicates: Option<f64>,
}

impl Doctor<'_> {
    /// Looks through a file, as `kind` or as what it is.
    ///
    /// ```
    /// use ascribe_data::{Check, ColumnMap, Doctor};
    /// let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(file.path(), r#"{"prompt": "a", "chosen": "b", "rejected": "c"}
    /// {"prompt": "a", "chosen": "c", "rejected": "b"}
    /// "#)?;
    /// let found = Doctor::default().examine(file.path(), &ColumnMap::default(), None)?;
    /// assert_eq!(found.findings[0].check, Check::Contradiction);
    /// assert_eq!(found.findings[0].lines, [2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Records`]: a row that cannot be read at all. [`DataError::Threshold`] for a similarity outside [0.5, 1].
    pub fn examine(&self, path: impl AsRef<Path>, map: &ColumnMap, kind: Option<Kind>) -> Result<Diagnosis, DataError> {
        let path = path.as_ref();
        let kind = match kind {
            Some(kind) => kind,
            None => Kind::detect(path, map)?,
        };
        match kind {
            Kind::LanguageModelling => self.rows::<LanguageModelling>(path, map),
            Kind::PromptOnly => self.rows::<PromptOnly>(path, map),
            Kind::PromptCompletion => self.rows::<PromptCompletion>(path, map),
            Kind::Preference => self.rows::<Dialogues>(path, map),
            Kind::Unpaired => self.rows::<Unpaired>(path, map),
            Kind::Stepwise => self.rows::<Stepwise>(path, map),
            Kind::Rated => self.rows::<Rated>(path, map),
            Kind::Choices => self.rows::<Choices>(path, map),
        }
    }

    fn rows<R: Patient + Record>(&self, path: &Path, map: &ColumnMap) -> Result<Diagnosis, DataError> {
        let mut records = Records::<R>::open(path, map)?;
        let unit = records.unit();
        let mut skipped = Skipped::by(unit);
        let mut ward = Ward::default();
        let mut near = self.near_duplicates.map(|similarity| NearDuplicates::new(similarity, Seed(0))).transpose()?;
        for record in records.by_ref() {
            match record? {
                Err(untaught) => skipped.push(untaught),
                Ok(record) => {
                    let is_new = ward.admit(&record, self.text.as_ref());
                    let line = record.line();
                    if let Some(near) = near.as_mut().filter(|_| is_new) {
                        let text = [record.words(), record.replies().join(" ")].join(" ");
                        if let Some(found) = near.closest(&text) {
                            ward.found(Check::NearDuplicate, line, || format!("the first is like row {}", found.id));
                        }
                        near.insert(line, &text);
                    }
                    if self.test_set.as_ref().is_some_and(|test| test.closest(&record.words()).is_some()) {
                        ward.found(Check::Contaminated, line, String::new);
                    }
                }
            }
        }
        let (rows, mut findings, figures) = ward.discharge();
        if !skipped.is_empty() {
            let lines = skipped.first(10);
            let detail = skipped.to_string();
            findings.insert(0, Finding { check: Check::Untaught, rows: skipped.count(), lines, detail });
        }
        Ok(Diagnosis { kind: R::KIND, rows, unit, findings, figures, notes: records.notes() })
    }
}

/// Findings by what was found.
type Found = BTreeMap<Check, Finding>;
