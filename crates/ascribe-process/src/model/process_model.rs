//! A trained process model as a [`Scorer`].
//!
//! ```text
//! p_h = sigmoid(logit at the last token of step h);   with progress:  p_h + alpha (B_h - B_{h-1}),  B = 1 - (1 - p)^prover,
//! where B_0 is read at the last token of the prompt
//! ```
//! Texts are laid one after another without padding, so a score depends on its own text alone (up to rounding), and on
//! nothing behind its step. A text that is longer than the context loses the left of its prompt. A token that ends a text
//! is not read: its step is read at the token before it, as steps are whose text goes on, and one that is nothing else
//! has the score of the step before it. Where the card names a tag, it is put behind each step, in front of a token that
//! ends the text, and the step is read there.

use std::path::Path;

use ascribe_core::{CoreError, Credit, Episode, Scorer};
use ascribe_lm::{LanguageModel, Row};
use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::activation::sigmoid;

use super::row::{check_ends, tagged};
use super::{ProcessCard, ProcessKind, Progress};
use crate::credit::{best_of, effective, progress};
use crate::{ProcessError, Tokenized};

/// Tokens that go through the model at once.
const TOKENS: usize = 4096;

/// A decoder whose head says of tokens how likely all is right so far.
pub struct ProcessModel {
    model: LanguageModel,
    card: ProcessCard,
    tokens: usize,
}

impl ProcessModel {
    /// Loads a folder of transformers' `..ForTokenClassification`, a language model whose card names two words, or an
    /// adapter of peft's for either. What its scores mean stands in the folder's `process.json`; without one, two classes
    /// are read at the ends of paragraphs.
    ///
    /// # Errors
    /// As [`LanguageModel::load`], [`ProcessCard::read`] and [`ProcessModel::new`].
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ProcessError> {
        let card = ProcessCard::read(folder)?.unwrap_or_default();
        Self::new(&LanguageModel::load(folder, device)?, card)
    }

    /// A process model of `model`, as it is now.
    ///
    /// # Errors
    /// When its head is not the one that the card speaks of, or an option of the card is out of its range or no token of it.
    pub fn new(model: &LanguageModel, card: ProcessCard) -> Result<Self, ProcessError> {
        card.check()?;
        card.head.check(&model.config)?;
        if card.tag.iter().any(|id| *id as usize >= model.config.vocab_size) {
            return Err(ProcessError::range("the tag of steps", "tokens of the vocabulary", &card.tag));
        }
        let model = model.with_decoder(model.decoder.clone().valid());
        Ok(Self { model, card, tokens: TOKENS })
    }

    /// The same with at most so many tokens at once (at least one text).
    #[must_use]
    pub fn with_batch_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// The same that scores steps by progress, too, or by their values alone.
    ///
    /// # Errors
    /// When the prover or the weight of progress is out of its range.
    pub fn with_progress(mut self, progress: Option<Progress>) -> Result<Self, ProcessError> {
        self.card.progress = progress;
        self.card.check()?;
        Ok(self)
    }

    /// The decoder with its tokenizer and template.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// What its scores mean.
    pub fn card(&self) -> &ProcessCard {
        &self.card
    }

    /// The probability at each place of each row, in [0, 1]; places count the tokens of prompt and response together.
    ///
    /// # Errors
    /// When a row has no place, or one that is no token of it or was cut off; when a response alone is longer than the
    /// context; when a probability is NaN.
    pub fn values(&self, rows: &[Row], places: &[Vec<usize>]) -> Result<Vec<Vec<f64>>, ProcessError> {
        let (expected, got) = (rows.len(), places.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the places", each: "a row", expected, got });
        }
        let mut kept = Vec::with_capacity(rows.len());
        let mut moved = Vec::with_capacity(rows.len());
        for (row, places) in rows.iter().zip(places) {
            let (row, places) = within(*row, places, self.model.config.context)?;
            kept.push(row);
            moved.push(places);
        }
        let (mut values, mut start) = (Vec::with_capacity(rows.len()), 0);
        for batch in Row::batches(&kept, self.tokens) {
            let places = &moved[start..start + batch.len()];
            start += batch.len();
            let scores = self.model.decoder.place_scores(batch, places)?; // [places, outputs]
            let read = sigmoid(self.card.head.logits(scores)).into_data(); // [places]
            let mut read = read.iter::<f64>();
            for places in places {
                let of_row: Vec<f64> = read.by_ref().take(places.len()).collect();
                if let Some(value) = of_row.iter().find(|value| !value.is_finite()) {
                    return Err(ProcessError::range("a score of the head", "finite", value));
                }
                values.push(of_row);
            }
        }
        Ok(values)
    }

    /// How likely a question will be answered right, from the question alone: P(IK), of a model that was trained on
    /// [`of_question`](super::ProcessRow::of_question).
    ///
    /// # Errors
    /// When a question is empty, and as [`values`](Self::values).
    pub fn knows(&self, questions: &[&[u32]]) -> Result<Vec<f64>, ProcessError> {
        let rows: Vec<Row> = questions.iter().map(|prompt| Row { prompt, response: &[] }).collect();
        let last = questions.iter().map(|prompt| last_of(prompt).map(|last| vec![last]));
        let places = last.collect::<Result<Vec<_>, _>>()?;
        Ok(self.values(&rows, &places)?.concat())
    }

    /// Checks that it reads responses: a model of P(IK) reads questions alone, and is asked by [`knows`](Self::knows).
    ///
    /// # Errors
    /// When it does not.
    pub fn reads_responses(&self) -> Result<(), ProcessError> {
        match self.card.kind {
            ProcessKind::PIk => {
                Err(ProcessError::range("the kind of a model that scores responses", "orm, prm, pav or tvm", "p-ik"))
            }
            ProcessKind::Orm | ProcessKind::Prm | ProcessKind::Pav | ProcessKind::Tvm => Ok(()),
        }
    }

    /// The score of each step of each response; `ends[i][h]` is where step `h` of row `i` ends in tokens of its response.
    /// Values are in [0, 1]; with progress they may lie outside.
    ///
    /// # Errors
    /// When a response has no step, or one without a token or outside of it; as [`reads_responses`](Self::reads_responses) and
    /// [`values`](Self::values).
    pub fn steps(&self, rows: &[Row], ends: &[Vec<usize>]) -> Result<Vec<Vec<f64>>, ProcessError> {
        // Progress that counts for nothing is not read, so the scores are the values to the last bit.
        let counts = self.card.progress.filter(|progress| progress.alpha != 0.0);
        let Some(Progress { prover, alpha }) = counts else { return self.behind(rows, ends, false) };
        let values = self.behind(rows, ends, true)?;
        values.iter().map(|values| effective(values[0], &values[1..], alpha, prover)).collect()
    }

    /// What each step adds to the value of best-of-`prover` of the policy: `A_h = B_h - B_{h-1}`, in [-1, 1], which sum to
    /// `B_H - B_0`. `ends` are those of [`steps`](Self::steps).
    ///
    /// # Errors
    /// When `prover` is 0, a prompt is empty, and as [`steps`](Self::steps).
    pub fn progress(&self, rows: &[Row], ends: &[Vec<usize>], prover: u32) -> Result<Vec<Vec<f64>>, ProcessError> {
        let one = |values: &Vec<f64>| {
            let best =
                values.iter().map(|value| best_of(*value, prover)).collect::<Result<Vec<f64>, ProcessError>>()?;
            progress(best[0], &best[1..])
        };
        self.behind(rows, ends, true)?.iter().map(one).collect()
    }

    /// The values behind the steps of each row; `with_start` puts that of the prompt before them.
    fn behind(&self, rows: &[Row], ends: &[Vec<usize>], with_start: bool) -> Result<Vec<Vec<f64>>, ProcessError> {
        self.reads_responses()?;
        let (expected, got) = (rows.len(), ends.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the ends of steps", each: "a row", expected, got });
        }
        let (mut places, mut responses) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (row, ends) in rows.iter().zip(ends) {
            if ends.is_empty() {
                return Err(ProcessError::Empty { what: "the steps of a response", remedy: "cut it, or drop it" });
            }
            check_ends(ends, row.response.len())?;
            let mut of_row = Vec::with_capacity(1 + ends.len());
            if with_start {
                of_row.push(last_of(row.prompt)?);
            }
            let begin = row.prompt.len();
            let read: Vec<usize> = ends.iter().map(|end| self.place(row, end - 1) + 1 - begin).collect();
            let (response, read) = tagged(row.response, &read, &self.card.tag);
            of_row.extend(read.iter().map(|end| begin + end - 1));
            places.push(of_row);
            responses.push(response);
        }
        let with_tags = rows.iter().zip(&responses).map(|(row, response)| Row { prompt: row.prompt, response });
        self.values(&with_tags.collect::<Vec<Row>>(), &places)
    }

    /// Where token `at` of a response is read: a token that ends the text at the token before it.
    pub(super) fn place(&self, row: &Row, at: usize) -> usize {
        let closes = at > 0 && self.model.tokenizer.eos().contains(&row.response[at]);
        row.prompt.len() + at - usize::from(closes)
    }

    /// Where the steps of a response end, in its tokens, by the segmenter of the card.
    ///
    /// # Errors
    /// When the response is empty or cannot be read.
    pub fn cut(&self, response: &[u32]) -> Result<Vec<usize>, ProcessError> {
        if response.is_empty() {
            return Err(ProcessError::Empty { what: "a response", remedy: "drop it before it is scored" });
        }
        let (text, offsets) = self.model.tokenizer.decode_spans(response)?;
        if text.is_empty() {
            // Special tokens alone are one step.
            return Ok(vec![response.len()]);
        }
        let steps = self.card.segmenter.segment(&Tokenized { text: &text, ids: response, offsets: &offsets })?;
        Ok(steps.iter().map(|step| step.tokens.end).collect())
    }

    /// One score of the response out of those of its steps.
    fn whole(&self, steps: &[f64]) -> Result<f64, ProcessError> {
        match (self.card.progress, steps.last()) {
            // No probabilities, of which only the last one says where the response has got to.
            (Some(_), Some(last)) => Ok(*last),
            _ => self.card.aggregate.of(steps),
        }
    }
}

/// Steps of an episode are scored each at its last token. One that was not cut is cut by the segmenter of the card, and
/// gets one score by its aggregation; by the last step where progress counts.
impl Scorer for ProcessModel {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut rows = Vec::with_capacity(episodes.len());
        let mut ends = Vec::with_capacity(episodes.len());
        for episode in episodes {
            let (prompt, response) = (episode.prompt_tokens(), episode.response_tokens());
            let behind = |end: usize| end.saturating_sub(prompt.len());
            rows.push(Row { prompt, response });
            ends.push(match episode.steps.is_empty() {
                true => self.cut(response)?,
                false => episode.steps.iter().map(|step| behind(step.end)).collect(),
            });
        }
        let scores = self.steps(&rows, &ends)?;
        let credit = |(episode, scores): (&Episode, Vec<f64>)| -> Result<Credit, CoreError> {
            Ok(match episode.steps.is_empty() {
                true => Credit::sequence(self.whole(&scores)? as f32),
                false => Credit::steps(scores.into_iter().map(|score| score as f32).collect()),
            })
        };
        episodes.iter().zip(scores).map(credit).collect()
    }
}

/// The last token of a prompt.
fn last_of(prompt: &[u32]) -> Result<usize, ProcessError> {
    let empty = ProcessError::Empty { what: "a prompt", remedy: "begin it with the BOS token" };
    prompt.len().checked_sub(1).ok_or(empty)
}

/// The row without the left of its prompt, where it is longer than `context`, and its places.
fn within<'r>(row: Row<'r>, places: &[usize], context: usize) -> Result<(Row<'r>, Vec<usize>), ProcessError> {
    if places.is_empty() {
        return Err(ProcessError::Empty { what: "the places of a row", remedy: "name the tokens to read" });
    }
    let tokens = row.prompt.len() + row.response.len();
    let over = tokens.saturating_sub(context);
    if over > 0 && over >= row.prompt.len() {
        return Err(CoreError::Context { context, got: tokens }.into());
    }
    let moved = places.iter().map(|place| place.checked_sub(over)).collect::<Option<Vec<usize>>>();
    let rule = "a token that the context has room for";
    let moved = moved.ok_or_else(|| ProcessError::range("a place", rule, places))?;
    Ok((Row { prompt: &row.prompt[over..], response: row.response }, moved))
}
