//! A trained reward model as a [`Scorer`].
//!
//! ```text
//! outputs = head at the last token of prompt and response, or on the mean over their tokens, by the card;   reward by the card:
//! the score, a weighted sum of attributes, the mean log-odds against the other responses to the prompt, the robust reward of
//! uncertain heads, or the log-odds of the good label among concepts
//! ```
//! Texts are laid one after another without padding, so a score depends on its own text alone (up to rounding), but for the
//! general preference model, which compares the responses to a prompt that are in the call. A model whose card says what it
//! [writes](crate::Writing) writes that first, and scores what it wrote behind the response. A text that is longer than the
//! context loses the left of its prompt, then the right of its response, and says so.

use std::collections::HashMap;
use std::path::Path;

use ascribe_core::{CoreError, Credit, Episode, Scorer};
use ascribe_lm::{Head, LanguageModel, Pooling, Row};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::card::{Reading, RewardCard};
use super::writing::Writer;
use crate::concepts::number;
use crate::error::{finite, option};
use crate::losses::GeneralPreference;
use crate::math::{dot, host, sigmoid};
use crate::{ConceptEnergies, Heads, Inferred, RewardError, Standard, split_energies};

/// Tokens that go through the model at once.
const TOKENS: usize = 4096;

/// A decoder with a head of sequences whose scores are rewards.
pub struct RewardModel {
    model: LanguageModel,
    card: RewardCard,
    /// What writes before it scores, if the card says so.
    writer: Option<Writer>,
    /// Concepts that somebody knows.
    known: Vec<(usize, bool)>,
    tokens: usize,
}

/// What a reward model says of one response.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The reward.
    pub reward: f64,
    /// The numbers of the head that it is made of.
    pub outputs: Vec<f64>,
    /// True when the response lost tokens to the context, so that it was read at its last kept one.
    pub cut: bool,
    /// What the model wrote before it scored: a critique, or a trace of tools.
    pub written: Option<String>,
    /// The probabilities of the good label and of the concepts, where the scores are energies.
    pub inferred: Option<Inferred>,
}

impl RewardModel {
    /// Loads a folder of transformers' `..ForSequenceClassification`, or an adapter of peft's that brings its head along. How
    /// scores are read stands in the folder's `reward.json`; without one, the only score is the reward.
    ///
    /// # Errors
    /// As [`LanguageModel::load`], [`RewardCard::read`] and [`RewardModel::new`].
    pub fn load(folder: &Path, device: &Device) -> Result<Self, RewardError> {
        let card = RewardCard::read(folder)?.unwrap_or_default();
        Self::new(&LanguageModel::load(folder, device)?, card)
    }

    /// A reward model of `model`, as it is now.
    ///
    /// # Errors
    /// When its head is not one of sequences, or has not the scores that the card speaks of; when it is to write and has no head
    /// of the next token, pools by the mean, or has no room for what it writes.
    pub fn new(model: &LanguageModel, card: RewardCard) -> Result<Self, RewardError> {
        let Some(labels) = model.config.sequence_scores() else {
            let rule = "a reward model has a head that scores sequences; train one with a reward loss";
            return Err(RewardError::Shape { rule, got: format!("the head {:?}", model.config.head) });
        };
        card.reading.check(labels)?;
        if card.writes.is_some() && model.config.head != Head::NextToken {
            let rule = "a reward model that writes needs its scores beside the head of the next token";
            return Err(RewardError::Shape { rule, got: format!("the head {:?}", model.config.head) });
        }
        if card.writes.is_some() && card.pooling != Pooling::Last {
            let rule =
                "a reward model that writes is read at the end of what it wrote; set pooling to last in its card";
            return Err(RewardError::Shape { rule, got: "the mean over all tokens".to_owned() });
        }
        let model = model.with_decoder(model.decoder.clone().valid().with_pooling(card.pooling));
        let writer = card.writes.clone().map(|writing| Writer::new(&model, writing)).transpose()?;
        Ok(Self { model, card, writer, known: Vec::new(), tokens: TOKENS })
    }

    /// The same with at most so many tokens at once (at least one text).
    #[must_use]
    pub fn with_batch_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// The same where a person has said which concepts are there and which are not, by their names: the label and the other
    /// concepts are inferred anew.
    ///
    /// # Errors
    /// When its scores are no energies of concepts, a name is none of them, or a concept is said to be there and not to be.
    pub fn with_concepts(mut self, known: &[(String, bool)]) -> Result<Self, RewardError> {
        let Reading::Concepts { names, .. } = &self.card.reading else {
            let rule = "concepts can be corrected in a model of concepts alone, which the loss concept-energy trains";
            return Err(RewardError::Shape { rule, got: format!("one of the loss {}", self.card.loss) });
        };
        for (name, there) in known {
            let Some(concept) = names.iter().position(|known| known == name) else {
                let rule = "a concept to correct is one of the model's";
                return Err(RewardError::Shape { rule, got: format!("`{name}`; it has {}", names.join(", ")) });
            };
            if self.known.contains(&(concept, !there)) {
                let rule = "a concept can be corrected to one value only";
                return Err(RewardError::Shape { rule, got: format!("both for `{name}`") });
            }
            self.known.push((concept, *there));
        }
        Ok(self)
    }

    /// The decoder with its tokenizer and template.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// What its scores mean.
    pub fn card(&self) -> &RewardCard {
        &self.card
    }

    /// Its own scale, for an ensemble.
    pub fn standard(&self) -> Standard {
        self.card.standard
    }

    /// The numbers that the head gives each text. Rows must fit the context.
    ///
    /// # Errors
    /// When a row is empty, or a score is NaN or infinite.
    pub fn outputs(&self, rows: &[Row]) -> Result<Vec<Vec<f64>>, RewardError> {
        let mut outputs = Vec::with_capacity(rows.len());
        for batch in Row::batches(rows, self.tokens) {
            let scores = self.model.decoder.row_scores(batch)?; // [rows, labels]
            let [_, labels] = scores.dims();
            let scores = host(scores);
            finite("the scores of the head", &scores)?;
            outputs.extend(scores.chunks(labels).map(<[f64]>::to_vec));
        }
        Ok(outputs)
    }

    /// The rewards of responses to their prompts.
    ///
    /// # Errors
    /// When a response has no token, a score is NaN or infinite, or a general preference model has one response to a prompt
    /// and nothing to compare it with.
    pub fn scored(&self, rows: &[Row]) -> Result<Vec<Scored>, RewardError> {
        let Said { written, outputs, cut } = self.said(rows)?;
        let mut inferred: Vec<Inferred> = Vec::new();
        let rewards: Vec<f64> = match &self.card.reading {
            Reading::Score => outputs.iter().map(|scores| scores[0]).collect(),
            Reading::Attributes { weights, .. } => outputs.iter().map(|scores| dot(weights, scores)).collect(),
            Reading::Heads { lambda } => {
                let robust = |scores: &Vec<f64>| -> Result<f64, RewardError> {
                    Ok(Heads::from_output(scores)?.reward(*lambda)?.reward)
                };
                outputs.iter().map(robust).collect::<Result<_, _>>()?
            }
            Reading::Concepts { joint, weights, .. } => {
                inferred =
                    outputs.iter().map(|scores| self.infer(scores, joint, *weights)).collect::<Result<_, _>>()?;
                inferred.iter().map(|one| one.reward).collect()
            }
            // The mean over the others: that against itself is 0.
            Reading::Preference(config) => self.compared(rows, &outputs, &config.init()?, |scores| {
                scores.iter().sum::<f64>() / config.tau / (scores.len() - 1) as f64
            })?,
        };
        let one = |((reward, outputs), cut)| Scored { reward, outputs, cut, written: None, inferred: None };
        let mut scored: Vec<Scored> = rewards.into_iter().zip(outputs).zip(cut).map(one).collect();
        scored.iter_mut().zip(written).for_each(|(one, text)| one.written = Some(text));
        scored.iter_mut().zip(inferred).for_each(|(one, inferred)| one.inferred = Some(inferred));
        Ok(scored)
    }

    /// Label and concepts from the energies of a text.
    fn infer(&self, scores: &[f64], joint: &[[f64; 2]], weights: [f64; 3]) -> Result<Inferred, RewardError> {
        let (label, concepts) = split_energies(scores)?;
        let together = |concepts: &[bool], good: bool| {
            joint.get(number(concepts)).map_or(f64::NAN, |energies| energies[usize::from(good)])
        };
        ConceptEnergies::new(label, &concepts, &together, weights)?.infer(&self.known)
    }

    /// How often each response wins against those to its prompt that are in the call, itself included, by a general preference
    /// model: the mean of `sigmoid(s(i > j) / tau)`, in (0, 1), which sums up to half of their number.
    ///
    /// # Errors
    /// As [`RewardModel::scored`], and when this is another model.
    pub fn win_rates(&self, rows: &[Row]) -> Result<Vec<f64>, RewardError> {
        let Reading::Preference(config) = &self.card.reading else {
            let rule = "win rates of responses need a general preference model";
            return Err(RewardError::Shape { rule, got: "a model of rewards".to_owned() });
        };
        let Said { outputs, .. } = self.said(rows)?;
        self.compared(rows, &outputs, &config.init()?, |scores| {
            scores.iter().map(|score| sigmoid(score / config.tau)).sum::<f64>() / scores.len() as f64
        })
    }

    /// What is written behind each response, if anything is, and the numbers that the head gives the text, cut to the context.
    fn said(&self, rows: &[Row]) -> Result<Said, RewardError> {
        nonempty(rows)?;
        let written = match &self.writer {
            Some(writer) => writer.write(&self.model, rows)?,
            None => Vec::new(),
        };
        let texts: Vec<Row> = match self.writer {
            Some(_) => {
                written.iter().map(|(text, ..)| Row { prompt: &text.prompt, response: &text.response }).collect()
            }
            None => rows.to_vec(),
        };
        let context = self.model.config.context;
        let (kept, mut cut): (Vec<Row>, Vec<bool>) = texts.into_iter().map(|row| within(row, context)).unzip();
        let outputs = self.outputs(&kept)?;
        cut.iter_mut().zip(&written).for_each(|(cut, (.., before))| *cut |= *before);
        Ok(Said { written: written.into_iter().map(|(_, text, _)| text).collect(), outputs, cut })
    }

    /// What `of` makes of the scores `s(i > j)` of each response over all responses j to its prompt, itself included.
    fn compared(
        &self,
        rows: &[Row],
        outputs: &[Vec<f64>],
        preference: &GeneralPreference,
        of: impl Fn(&[f64]) -> f64,
    ) -> Result<Vec<f64>, RewardError> {
        let device = self.model.decoder.device();
        let mut prompts: HashMap<&[u32], Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            prompts.entry(row.prompt).or_default().push(at);
        }
        let mut made = vec![0.0; rows.len()];
        for group in prompts.values() {
            let rule = "at least 2: a general preference model compares responses to one prompt";
            option("the responses to a prompt", rule, group.len() as f64, group.len() >= 2)?;
            let flat: Vec<f64> = group.iter().flat_map(|at| outputs[*at].iter().copied()).collect();
            let shape = [group.len(), outputs[group[0]].len()];
            let table = host(preference.table(Tensor::from_data(TensorData::new(flat, shape), &device))?); // [n, n]
            for (scores, at) in table.chunks(group.len()).zip(group) {
                made[*at] = of(scores);
            }
        }
        Ok(made)
    }
}

/// What a model says of texts before it is a reward.
struct Said {
    /// What it wrote first, one a text; empty where it writes nothing.
    written: Vec<String>,
    /// The numbers of the head.
    outputs: Vec<Vec<f64>>,
    /// Whether a response lost tokens.
    cut: Vec<bool>,
}

fn nonempty(rows: &[Row]) -> Result<(), RewardError> {
    let Some(at) = rows.iter().position(|row| row.response.is_empty()) else { return Ok(()) };
    let rule = "a response needs at least one token";
    Err(RewardError::Shape { rule, got: format!("none in row {at}") })
}

/// The row cut to `context` tokens, and whether its response lost some.
pub(super) fn within(row: Row<'_>, context: usize) -> (Row<'_>, bool) {
    let room = context.saturating_sub(row.response.len()).max(1).min(row.prompt.len());
    let prompt = &row.prompt[row.prompt.len() - room..];
    let room = context.saturating_sub(prompt.len()).min(row.response.len());
    (Row { prompt, response: &row.response[..room] }, room < row.response.len())
}

impl Scorer for RewardModel {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let rows: Vec<Row> = episodes
            .iter()
            .map(|episode| Row { prompt: episode.prompt_tokens(), response: episode.response_tokens() })
            .collect();
        Ok(self.scored(&rows)?.into_iter().map(|one| Credit::sequence(one.reward as f32)).collect())
    }
}
