//! A classifier's head in place of that of the next token: what turns a language model into a reward model or, read at
//! chosen tokens, into a process model.
//!
//! ```text
//! score = W h,   h = the final hidden state at the last token of the text, or the mean of those of all its tokens
//! ```
//! Other software reads the last token, so a model that reads the mean must be known as one ([`Pooling`]). Weights of a fresh
//! head are normal with the standard deviation 1 / (D + 1), or 1 / sqrt(D + 1), which is how the variance 1 / (D + 1) of
//! "Learning to summarize" (arXiv:2009.01325) reads; there is no bias. A prompt that several rows share is read once.

use std::collections::HashMap;

use ascribe_core::tensor::{HeadShape, Mask, head_logps};
use ascribe_core::{CoreError, Packing, Seed};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::checkpointing::Backward;
use super::{Build, Decoder, Predictors, Row, of_linear};
use crate::LmError;
use crate::local::config::{DecoderConfig, Head};
use crate::local::parts;
use crate::local::weights::{Named, WeightSource};

/// How the weights of a fresh head are drawn, by the width D of the hidden states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadInit {
    /// Normal with standard deviation `1 / (D + 1)`.
    #[default]
    Narrow,
    /// Normal with variance `1 / (D + 1)`.
    Wide,
}

/// Which final hidden states of a text a head of sequences reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// That of the last token, as other software does.
    #[default]
    Last,
    /// The mean over all tokens of prompt and response.
    Mean,
}

/// What a head of sequences reads, to make a loss of, with the way from the loss back to gradients.
pub struct FeaturePass {
    /// The pooled state of each row, `[rows, hidden]`: [`Decoder::sequence_scores`] makes scores of it.
    pub features: Tensor<2>,
    /// The states that predict the responses of the rows that were asked for, if any were: [`NextTokenHead::logps`] says how
    /// likely these are.
    pub predictors: Option<Predictors>,
    /// The way back.
    pub backward: Backward,
}

/// The head of the next token of a language model by itself, as it is: no gradient reaches it. It tells what a classifier's
/// hidden states still know of language.
#[derive(Clone, Debug)]
pub struct NextTokenHead {
    weight: Tensor<2>,
    shape: HeadShape,
    /// Positions that it runs over at once.
    chunk: usize,
}

impl NextTokenHead {
    /// Log-probability of every token that is predicted, `[rows, longest response]`.
    pub fn logps(&self, at: &Predictors) -> Tensor<2> {
        let states = at.states(); // [n, hidden]
        let weight = match states.is_autodiff() {
            true => self.weight.clone().autodiff(),
            false => self.weight.clone(),
        };
        at.placed(head_logps(states, weight, &self.shape, at.targets(), self.chunk)) // [rows, longest]
    }
}

/// Scores to make a loss of, with the way from the loss back to gradients.
pub struct ScorePass {
    /// Scores of each row, as [`Decoder::row_scores`] gives them: `[rows, labels]`; or of each place, as
    /// [`Decoder::place_scores`] does.
    pub scores: Tensor<2>,
    /// The way back.
    pub backward: Backward,
}

/// Scores and log-probabilities of one pass, with the way from a loss on both back to gradients.
pub struct JointPass {
    /// Scores of each row, as [`Decoder::row_scores`] gives them: `[rows, labels]`.
    pub scores: Tensor<2>,
    /// Log-probability of each token that was asked for, row after row: `[asked]`; `None` where none was.
    pub logps: Option<Tensor<1>>,
    /// The way back.
    pub backward: Backward,
}

/// Normal weights, and biases of 0.
struct Fresh {
    seed: Seed,
    deviation: f64,
}

impl WeightSource for Fresh {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let n = shape.iter().product();
        if shape.len() == 1 {
            return Ok(vec![0.0; n]);
        }
        let mut stream = self.seed.stream(name, 0);
        let mut normal = || {
            // Box-Muller; 1 - u is in (0, 1], so the logarithm is finite.
            let (u, v): (f64, f64) = (stream.random(), stream.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        Ok((0..n).map(|_| (self.deviation * normal()) as f32).collect())
    }
}

impl Decoder {
    /// The same weights under a fresh classifier's head.
    ///
    /// # Errors
    /// [`LmError::Unsupported`] for the head of the next token, or one without a label.
    pub fn with_head(&self, head: Head, init: HeadInit, seed: Seed) -> Result<Self, LmError> {
        if let Head::NextToken | Head::Sequence { labels: 0 } | Head::Token { labels: 0 } = head {
            let what = format!("a fresh head of the kind {head:?}");
            return Err(LmError::unsupported(what, "ask for a classifier's head with one label or more"));
        }
        self.with_head_of(head, &mut self.fresh(init, seed))
    }

    /// The same weights and the same head of the next token, with a fresh head of `scores` for whole sequences beside it: what
    /// makes a language model into one that writes before it scores.
    ///
    /// # Errors
    /// [`LmError::Unsupported`] for a classifier, or without a score.
    pub fn with_scores(&self, scores: usize, init: HeadInit, seed: Seed) -> Result<Self, LmError> {
        if self.config.head != Head::NextToken || scores == 0 {
            let what = format!("{scores} scores beside the head {:?}", self.config.head);
            return Err(LmError::unsupported(what, "take a language model, and ask for one score or more"));
        }
        self.with_scores_of(scores, &mut self.fresh(init, seed))
    }

    fn fresh(&self, init: HeadInit, seed: Seed) -> Fresh {
        let width = self.config.hidden_size as f64 + 1.0;
        let deviation = match init {
            HeadInit::Narrow => width.recip(),
            HeadInit::Wide => width.sqrt().recip(),
        };
        Fresh { seed, deviation }
    }

    /// The same weights and the same head, with the head of scores that `source` holds beside it.
    pub(in crate::local) fn with_scores_of(
        &self,
        scores: usize,
        source: &mut dyn WeightSource,
    ) -> Result<Self, LmError> {
        let config = DecoderConfig { scores, ..self.config.clone() };
        let device = self.device();
        let mut build = Build { source, device: &device, norm: config.norm };
        let score_head = parts::score_head(&config).map(|part| build.linear(&part)).transpose()?;
        Ok(Self { score_head, config, ..self.clone() })
    }

    /// The same weights under the head that `source` holds, by its Hugging Face name.
    ///
    /// # Errors
    /// When the source does not hold it.
    pub fn with_head_of(&self, head: Head, source: &mut dyn WeightSource) -> Result<Self, LmError> {
        let config = DecoderConfig { head, scores: 0, ..self.config.clone() };
        let device = self.device();
        let mut build = Build { source, device: &device, norm: config.norm };
        let head = parts::head(&config).map(|part| build.linear(&part)).transpose()?;
        Ok(Self { head, score_head: None, config, ..self.clone() })
    }

    /// Trains the head of a classifier again, where all was frozen: beside an adapter it is trained whole.
    pub(in crate::local) fn with_trained_head(mut self) -> Self {
        if self.config.head != Head::NextToken {
            self.head = self.head.take().map(|head| head.set_require_grad(true));
        }
        self.score_head = self.score_head.take().map(|head| head.set_require_grad(true));
        self
    }

    /// The head of a classifier, or of scores beside the next token, under its Hugging Face name; nothing for the head of the
    /// next token.
    pub(in crate::local) fn head_named(&self) -> Vec<Named> {
        let mut named = Vec::new();
        let part = parts::head(&self.config).filter(|_| self.config.head != Head::NextToken);
        if let (Some(part), Some(linear)) = (part, &self.head) {
            of_linear(linear, part.name, &mut named);
        }
        if let (Some(part), Some(linear)) = (parts::score_head(&self.config), &self.score_head) {
            of_linear(linear, part.name, &mut named);
        }
        named
    }

    /// The gradient of the weights of a classifier's head, one number after another; empty for the head of the next token, and
    /// where the head has none.
    pub fn head_gradient(&self, gradients: &GradientsParams) -> Vec<f64> {
        struct Found<'a> {
            gradients: &'a GradientsParams,
            numbers: Vec<f64>,
        }
        impl ModuleVisitor for Found<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.gradients.get::<D>(param.id) {
                    self.numbers.extend(gradient.into_data().iter::<f64>());
                }
            }
        }
        let mut found = Found { gradients, numbers: Vec::new() };
        if let Some(head) = self.head.as_ref().filter(|_| self.config.head != Head::NextToken) {
            head.visit(&mut found);
        }
        found.numbers
    }

    /// The head of the next token by itself.
    ///
    /// # Errors
    /// When the model is a classifier.
    pub fn next_token_head(&self) -> Result<NextTokenHead, CoreError> {
        if self.config.head != Head::NextToken {
            return Err(CoreError::Unsupported { what: "predict tokens: its head is a classifier's" });
        }
        let (weight, layout) = self.head_weight();
        let shape = HeadShape { layout, softcap: self.config.logit_softcap };
        Ok(NextTokenHead { weight: weight.inner(), shape, chunk: self.positions_at_once() })
    }

    /// The same decoder, whose head of sequences reads these states. It is no part of the saved weights.
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Which states a head of sequences reads.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The scores of a classifier of sequences for prompts with their responses, each read as [`pooling`](Self::pooling) says.
    ///
    /// # Shapes
    /// - result: `[rows, labels]`.
    ///
    /// # Errors
    /// When a row is empty, or the head is not one of sequences.
    pub fn row_scores(&self, rows: &[Row]) -> Result<Tensor<2>, CoreError> {
        let (features, _) = self.features_by(rows, 0, |ids, packing| self.states(ids, packing))?;
        Ok(self.sequence_scores(features))
    }

    /// [`row_scores`](Self::row_scores) for training: gradients come from [`Backward::gradients`].
    ///
    /// # Errors
    /// As [`row_scores`](Self::row_scores).
    pub fn score_pass(&self, rows: &[Row]) -> Result<ScorePass, CoreError> {
        let FeaturePass { features, backward, .. } = self.feature_pass(rows, 0)?;
        Ok(ScorePass { scores: self.sequence_scores(features), backward })
    }

    /// What the head of sequences reads of each row, for training, and what predicts the responses of the first `predicted`
    /// rows: gradients come from [`Backward::gradients`].
    ///
    /// # Errors
    /// As [`row_scores`](Self::row_scores), and when one of the first rows has no prompt or no response.
    pub fn feature_pass(&self, rows: &[Row], predicted: usize) -> Result<FeaturePass, CoreError> {
        let mut kept = None;
        let tracked = |ids: Tensor<1, Int>, packing: &Packing| self.tracked_states(ids, packing, &mut kept);
        let (features, predictors) = self.features_by(rows, predicted, tracked)?;
        Ok(FeaturePass { features, predictors, backward: Backward::new(kept) })
    }

    /// Pooled states, and predictors of the responses of the first `predicted` rows, by final hidden states that come from
    /// `states`.
    fn features_by(
        &self,
        rows: &[Row],
        predicted: usize,
        states: impl FnOnce(Tensor<1, Int>, &Packing) -> Tensor<2>,
    ) -> Result<(Tensor<2>, Option<Predictors>), CoreError> {
        self.scores_sequences(rows)?;
        let told = &rows[..predicted.min(rows.len())];
        if let Some(row) = told.iter().position(|row| row.prompt.is_empty() || row.response.is_empty()) {
            let got = format!("row {row} without one of them");
            return Err(CoreError::Shape { rule: "a response to predict needs a prompt and a token", got });
        }
        let (packed, device) = (Packed::of(rows)?, self.device());
        let states = states(integers(packed.ids.clone(), &device), &packed.packing); // [tokens, hidden]
        let features = self.pooled(&packed, rows, states.clone()); // [rows, hidden]
        let predictors = (!told.is_empty()).then(|| packed.predictors(told, states, &device));
        Ok((features, predictors))
    }

    /// What the head of sequences reads of each row, of the states of all tokens: `[tokens, hidden]` to `[rows, hidden]`.
    fn pooled(&self, packed: &Packed, rows: &[Row], states: Tensor<2>) -> Tensor<2> {
        let device = self.device();
        match self.pooling {
            Pooling::Last => states.select(0, integers(packed.last(rows), &device)), // [rows, hidden]
            Pooling::Mean => {
                let shares = TensorData::new(packed.shares(), [rows.len(), packed.ids.len()]);
                let shares = Tensor::<2>::from_data(shares, (&device, states.dtype())); // [rows, tokens]
                shares.matmul(states) // [rows, hidden]
            }
        }
    }

    /// Checks that there is a head of sequences, and a token in every row to read it at.
    fn scores_sequences(&self, rows: &[Row]) -> Result<(), CoreError> {
        if self.config.sequence_scores().is_none() {
            return Err(CoreError::Unsupported { what: "score sequences: its head is another one" });
        }
        if let Some(row) = rows.iter().position(|row| row.prompt.is_empty() && row.response.is_empty()) {
            let got = format!("an empty row {row}");
            return Err(CoreError::Shape { rule: "a sequence to score needs at least one token", got });
        }
        Ok(())
    }

    /// The scores of the head of sequences by what it reads ([`FeaturePass::features`]): `[n, hidden]` to `[n, labels]`.
    pub fn sequence_scores(&self, features: Tensor<2>) -> Tensor<2> {
        match &self.score_head {
            Some(head) => head.forward(features),
            None => self.head(features),
        }
    }

    /// The scores of sequences and the log-probabilities of chosen tokens of their responses, from one pass, for a model that
    /// writes and scores. `places[i]` counts the tokens of the response of row `i`, from 0. Gradients of a loss on both come from
    /// [`Backward::gradients`]; without autodiff nothing is kept for them.
    ///
    /// # Errors
    /// As [`row_scores`](Self::row_scores) and [`response_logps`](Self::response_logps), and when a place is no token of its
    /// response.
    pub fn joint_pass(&self, rows: &[Row], places: &[Vec<usize>]) -> Result<JointPass, CoreError> {
        self.scores_sequences(rows)?;
        self.can_score(rows)?;
        if rows.len() != places.len() {
            let got = format!("{} rows and {} lists", rows.len(), places.len());
            return Err(CoreError::Shape { rule: "every row needs its own list of places", got });
        }
        let packed = Packed::of(rows)?;
        let (mut from, mut targets) = (Vec::new(), Vec::new());
        for (number, (row, places)) in rows.iter().zip(places).enumerate() {
            for place in places {
                // The token before it predicts it; a prompt has at least one.
                let predictor = packed.at(number, row.prompt.len() + place - 1);
                let (Some(predictor), Some(target)) = (predictor, row.response.get(*place)) else {
                    let got = format!("place {place} of the {} tokens of row {number}", row.response.len());
                    return Err(CoreError::Shape { rule: "a place is a token of its response, counted from 0", got });
                };
                from.push(predictor);
                targets.push(i64::from(*target));
            }
        }
        let (device, mut kept) = (self.device(), None);
        let ids = integers(packed.ids.clone(), &device);
        let states = self.tracked_states(ids, &packed.packing, &mut kept); // [tokens, hidden]
        let scores = self.sequence_scores(self.pooled(&packed, rows, states.clone())); // [rows, labels]
        let logps = (!from.is_empty()).then(|| {
            let states = states.select(0, integers(from, &device)); // [asked, hidden]
            self.next_token_logps(states, integers(targets, &device)) // [asked]
        });
        Ok(JointPass { scores, logps, backward: Backward::new(kept) })
    }

    /// What the head says at chosen tokens of each row alone: the scores of a classifier of tokens, or the logits of the next
    /// token. `places[i]` counts the tokens of prompt and response of row `i` together, from 0.
    ///
    /// # Shapes
    /// - result: `[places of all rows, outputs]`, row after row.
    ///
    /// # Errors
    /// When there is no place, or one is no token of its row; when an id is none of the vocabulary, or a row is longer than
    /// learned positions reach; when the head is one of sequences.
    pub fn place_scores(&self, rows: &[Row], places: &[Vec<usize>]) -> Result<Tensor<2>, CoreError> {
        self.places_by(rows, places, |ids, packing| self.states(ids, packing))
    }

    /// [`place_scores`](Self::place_scores) for training: gradients come from [`Backward::gradients`].
    ///
    /// # Errors
    /// As [`place_scores`](Self::place_scores).
    pub fn place_pass(&self, rows: &[Row], places: &[Vec<usize>]) -> Result<ScorePass, CoreError> {
        let mut kept = None;
        let scores = self.places_by(rows, places, |ids, packing| self.tracked_states(ids, packing, &mut kept))?;
        Ok(ScorePass { scores, backward: Backward::new(kept) })
    }

    /// Scores at places by final hidden states that come from `states`.
    fn places_by(
        &self,
        rows: &[Row],
        places: &[Vec<usize>],
        states: impl FnOnce(Tensor<1, Int>, &Packing) -> Tensor<2>,
    ) -> Result<Tensor<2>, CoreError> {
        if let Head::Sequence { .. } = self.config.head {
            return Err(CoreError::Unsupported { what: "score tokens: its head scores sequences" });
        }
        if rows.len() != places.len() {
            let got = format!("{} rows and {} lists", rows.len(), places.len());
            return Err(CoreError::Shape { rule: "every row needs its own list of places", got });
        }
        self.holds(rows)?;
        let packed = Packed::of(rows)?;
        let mut at = Vec::new();
        for (row, places) in places.iter().enumerate() {
            for place in places {
                let Some(found) = packed.at(row, *place) else {
                    let tokens = rows[row].prompt.len() + rows[row].response.len();
                    let got = format!("place {place} of the {tokens} tokens of row {row}");
                    return Err(CoreError::Shape { rule: "a place is a token of its row, counted from 0", got });
                };
                at.push(found);
            }
        }
        if at.is_empty() {
            let got = format!("none in {} rows", rows.len());
            return Err(CoreError::Shape { rule: "a batch needs at least one place to read", got });
        }
        let device = self.device();
        let states = states(integers(packed.ids, &device), &packed.packing); // [tokens, hidden]
        Ok(self.head(states.select(0, integers(at, &device)))) // [places, outputs]
    }
}

fn integers(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Rows one after another, where a prompt that several of them share stands once.
struct Packed {
    ids: Vec<i64>,
    packing: Packing,
    /// The span of the prompt of each row, unless it is empty, and that of its response.
    spans: Vec<(Option<usize>, usize)>,
}

impl Packed {
    fn of(rows: &[Row]) -> Result<Self, CoreError> {
        let (mut ids, mut packing, mut prompts) = (Vec::new(), Packing::default(), HashMap::new());
        let mut spans = Vec::with_capacity(rows.len());
        for row in rows {
            let prompt = match prompts.get(row.prompt) {
                _ if row.prompt.is_empty() => None,
                Some(span) => Some(*span),
                None => {
                    let span = packing.push(row.prompt.len(), None)?;
                    ids.extend(row.prompt.iter().map(|id| i64::from(*id)));
                    prompts.insert(row.prompt, span);
                    Some(span)
                }
            };
            let own = packing.push(row.response.len(), prompt)?;
            ids.extend(row.response.iter().map(|id| i64::from(*id)));
            spans.push((prompt, own));
        }
        Ok(Self { ids, packing, spans })
    }

    /// Where token `place` of prompt and response of `row` stands; `None` beyond them.
    fn at(&self, row: usize, place: usize) -> Option<i64> {
        let spans = *self.spans.get(row)?;
        self.tokens(spans).nth(place).map(|at| at as i64)
    }

    /// Where the tokens of a row stand.
    fn tokens(&self, (prompt, own): (Option<usize>, usize)) -> impl Iterator<Item = usize> {
        let prompt = prompt.map_or(0..0, |span| self.packing.span(span).rows.clone());
        prompt.chain(self.packing.span(own).rows.clone())
    }

    /// The share of each token in the mean of each row, row after row.
    fn shares(&self) -> Vec<f32> {
        let mut shares = vec![0.0; self.spans.len() * self.ids.len()];
        for (row, spans) in self.spans.iter().enumerate() {
            let share = 1.0 / self.tokens(*spans).count() as f32;
            self.tokens(*spans).for_each(|at| shares[row * self.ids.len() + at] = share);
        }
        shares
    }

    /// What predicts the responses of `rows`, the first ones of this batch, of which none is empty.
    fn predictors(&self, rows: &[Row], states: Tensor<2>, device: &Device) -> Predictors {
        let longest = rows.iter().map(|row| row.response.len()).max().unwrap_or(0);
        let flags: Vec<Vec<bool>> = rows.iter().map(|row| vec![true; row.response.len()]).collect();
        let (mut from, mut targets) = (Vec::new(), Vec::new());
        let mut place = vec![0i64; rows.len() * longest];
        for (number, (row, spans)) in rows.iter().zip(&self.spans).enumerate() {
            // The token in front of each response token predicts it.
            let before = self.tokens(*spans).skip(row.prompt.len() - 1);
            for (column, (at, target)) in before.zip(row.response).enumerate() {
                place[number * longest + column] = from.len() as i64;
                from.push(at as i64);
                targets.push(i64::from(*target));
            }
        }
        let states = states.select(0, integers(from, device)); // [n, hidden]
        let mask = Mask::from_rows(&flags, device);
        Predictors::new(states, integers(targets, device), integers(place, device), mask)
    }

    /// Where the last token of each row stands; no row is empty.
    fn last(&self, rows: &[Row]) -> Vec<i64> {
        let last = |(at, row): (usize, &Row)| self.at(at, row.prompt.len() + row.response.len() - 1);
        rows.iter().enumerate().filter_map(last).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{device, values};
    use ascribe_testkit::golden::close;

    use super::*;
    use crate::{LoraConfig, RandomWeights};

    const ROWS: [Row; 4] = [
        Row { prompt: &[1, 5, 9, 4, 12], response: &[2, 30, 7] },
        Row { prompt: &[1, 5, 9, 4, 12], response: &[11, 3] },
        Row { prompt: &[], response: &[8, 8, 21, 0] },
        Row { prompt: &[6, 6], response: &[] },
    ];

    #[test]
    fn tokens_are_counted_as_they_are_packed() {
        // The first prompt once: 5 + 2 of prompts, 3 + 2 + 4 of responses.
        assert_eq!(Row::packed_tokens(&ROWS), 16);
        assert_eq!(Packed::of(&ROWS).unwrap().packing.tokens(), 16);
        assert_eq!(Row::packed_tokens(&[]), 0);
    }

    fn plain(device: &burn::tensor::Device) -> Decoder {
        let config = DecoderConfig { kv_heads: 2, ..DecoderConfig::tiny(37, 16, 3, 4, 48) };
        Decoder::load(&config, &mut RandomWeights { seed: Seed(3), layers: 3 }, device).unwrap()
    }

    fn classifier(device: &burn::tensor::Device) -> Decoder {
        plain(device).with_head(Head::Sequence { labels: 2 }, HeadInit::Wide, Seed(4)).unwrap()
    }

    #[test]
    fn a_row_is_scored_at_its_last_token_whoever_shares_its_prompt() {
        let decoder = classifier(&device());
        let flat: Vec<Vec<u32>> = ROWS.iter().map(|row| [row.prompt, row.response].concat()).collect();
        let flat: Vec<&[u32]> = flat.iter().map(Vec::as_slice).collect();
        let expected = values(decoder.scores(&flat).unwrap());
        let got = values(decoder.row_scores(&ROWS).unwrap());
        close("scores", &got, &expected, 1e-5);
        // One row alone, and in another order.
        for (at, row) in ROWS.iter().enumerate() {
            let alone = values(decoder.row_scores(std::slice::from_ref(row)).unwrap());
            close("alone", &alone, &expected[2 * at..2 * at + 2], 1e-5);
        }
        let turned = values(decoder.row_scores(&[ROWS[3], ROWS[0]]).unwrap());
        close("turned", &turned, &[&expected[6..], &expected[..2]].concat(), 1e-5);
    }

    #[test]
    fn a_mean_is_over_all_tokens_whoever_shares_the_prompt() {
        let decoder = classifier(&device());
        let mut expected = Vec::new();
        for row in &ROWS {
            let flat: Vec<i64> = row.prompt.iter().chain(row.response).map(|id| i64::from(*id)).collect();
            let seq = flat.len();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [1, seq]), &device());
            let states = values(decoder.hidden(ids, None)); // [1, seq, 16]
            let mean: Vec<f64> =
                (0..16).map(|at| states.iter().skip(at).step_by(16).sum::<f64>() / seq as f64).collect();
            let mean = mean.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
            let mean = Tensor::<2>::from_data(TensorData::new(mean, [1, 16]), &device());
            expected.extend(values(decoder.head(mean)));
        }
        let mean = decoder.clone().with_pooling(Pooling::Mean);
        assert_eq!((decoder.pooling(), mean.pooling()), (Pooling::Last, Pooling::Mean));
        close("means", &values(mean.row_scores(&ROWS).unwrap()), &expected, 1e-5);
        // One token is its own mean.
        let one = [Row { prompt: &[], response: &[9] }];
        let scores = |decoder: &Decoder| values(decoder.row_scores(&one).unwrap());
        close("one token", &scores(&mean), &scores(&decoder), 1e-6);
        // Training sees what scoring sees.
        let training = mean.on(&device().autodiff());
        assert_eq!(training.pooling(), Pooling::Mean);
        close("training", &values(training.score_pass(&ROWS).unwrap().scores), &expected, 1e-5);
        assert_eq!(training.valid().pooling(), Pooling::Mean);
    }

    #[test]
    fn the_head_of_the_next_token_reads_the_states_of_a_classifier() {
        let (language, training) = (plain(&device()), classifier(&device().autodiff()));
        let (expected, mask) = language.response_logps(&ROWS[..2]).unwrap();
        let head = language.next_token_head().unwrap();
        let FeaturePass { features, predictors, .. } = training.feature_pass(&ROWS, 2).unwrap();
        let predictors = predictors.unwrap();
        assert_eq!(predictors.mask().dims(), mask.dims());
        close("logps", &values(head.logps(&predictors)), &values(expected), 1e-5);
        close(
            "scores",
            &values(training.sequence_scores(features)),
            &values(training.row_scores(&ROWS).unwrap()),
            1e-6,
        );
        assert!(training.feature_pass(&ROWS, 0).unwrap().predictors.is_none());
        // The third row has no prompt, and the fourth no response.
        assert!(matches!(training.feature_pass(&ROWS, 3), Err(CoreError::Shape { .. })));
        assert!(matches!(training.next_token_head(), Err(CoreError::Unsupported { .. })));
    }

    /// The gradient of every weight that has one.
    fn collected(decoder: &Decoder, gradients: &GradientsParams) -> Vec<Vec<f64>> {
        struct All<'a> {
            gradients: &'a GradientsParams,
            all: Vec<Vec<f64>>,
        }
        impl ModuleVisitor for All<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.all.extend(self.gradients.get::<D>(param.id).map(values));
            }
        }
        let mut found = All { gradients, all: Vec::new() };
        decoder.visit(&mut found);
        found.all
    }

    /// Scores, then the gradient of every weight that has one, under a loss in which each score weighs otherwise.
    fn learn(decoder: Decoder, checkpointing: bool) -> Vec<Vec<f64>> {
        let decoder = decoder.with_gradient_checkpointing(checkpointing);
        let ScorePass { scores, backward } = decoder.score_pass(&ROWS).unwrap();
        let loss = scores.clone().square().sum();
        let gradients = backward.gradients(&decoder, loss);
        let all = [vec![values(scores)], collected(&decoder, &gradients)].concat();
        // The head comes last.
        assert_eq!(all.last(), Some(&decoder.head_gradient(&gradients)));
        all
    }

    /// A language model with two scores beside the next token.
    fn writer(device: &burn::tensor::Device) -> Decoder {
        plain(device).with_scores(2, HeadInit::Wide, Seed(4)).unwrap()
    }

    #[test]
    fn one_pass_gives_the_scores_and_the_log_probabilities_of_two() {
        let decoder = writer(&device());
        let rows = [ROWS[0], ROWS[1], Row { prompt: &[6, 6], response: &[9] }];
        let JointPass { scores, logps, .. } = decoder.joint_pass(&rows, &[vec![0, 2], vec![], vec![0]]).unwrap();
        // A fresh head is drawn by its name, so it is that of the classifier.
        let expected = values(classifier(&device()).row_scores(&rows).unwrap());
        close("scores", &values(scores), &expected, 1e-5);
        close("scores alone", &values(decoder.row_scores(&rows).unwrap()), &expected, 1e-5);
        let mean = |decoder: Decoder| decoder.with_pooling(Pooling::Mean);
        let pooled = mean(writer(&device())).joint_pass(&rows, &[vec![], vec![], vec![]]).unwrap().scores;
        close("means", &values(pooled), &values(mean(classifier(&device())).row_scores(&rows).unwrap()), 1e-5);
        // Three columns a row.
        let all = values(plain(&device()).response_logps(&rows).unwrap().0);
        close("log-probabilities", &values(logps.unwrap()), &[all[0], all[2], all[6]], 1e-5);
        assert!(decoder.joint_pass(&rows, &[vec![], vec![], vec![]]).unwrap().logps.is_none());
        for (decoder, places, said) in [
            (writer(&device()), vec![vec![0]; 2], "its own list"),
            (writer(&device()), vec![vec![2]; 3], "place 2 of the 2 tokens of row 1"),
            (plain(&device()), vec![vec![]; 3], "score sequences"),
            (classifier(&device()), vec![vec![]; 3], "score text"),
        ] {
            let error = decoder.joint_pass(&rows, &places).err().expect("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
        for scores in [
            plain(&device()).with_scores(0, HeadInit::Wide, Seed(4)),
            classifier(&device()).with_scores(1, HeadInit::Wide, Seed(4)),
        ] {
            assert!(matches!(scores, Err(LmError::Unsupported { .. })));
        }
    }

    #[test]
    fn a_loss_on_scores_and_tokens_learns_layer_by_layer_as_in_one_graph() {
        let joint = |decoder: Decoder, checkpointing: bool| {
            let decoder = decoder.with_gradient_checkpointing(checkpointing);
            let pass = decoder.joint_pass(&ROWS[..2], &[vec![1], vec![0, 1]]).unwrap();
            let loss = pass.scores.square().sum() + pass.logps.unwrap().square().sum();
            collected(&decoder, &pass.backward.gradients(&decoder, loss))
        };
        let training = device().autodiff();
        let whole = joint(writer(&training), false);
        // As many as a classifier has, whose list begins with its scores.
        assert_eq!(whole.len(), learn(classifier(&training), false).len() - 1);
        for (one, other) in whole.iter().zip(joint(writer(&training), true)) {
            close("gradient", &other, one, 1e-4);
        }
        // Beside an adapter the head is trained whole: two factors for two projections of three layers, and the head.
        let adapted = writer(&training).with_lora(&LoraConfig::default(), Seed(5)).unwrap();
        assert_eq!(joint(adapted, true).len(), 2 * 2 * 3 + 1);
    }

    #[test]
    fn the_head_learns_beside_an_adapter_and_layer_by_layer_as_in_one_graph() {
        let lora = LoraConfig { r: 3, alpha: 6.0, ..LoraConfig::default() };
        // Two factors of two projections in three layers, and the head; or all that a Llama of three layers has.
        let beside = |device: &burn::tensor::Device| classifier(device).with_lora(&lora, Seed(5)).unwrap();
        let training = device().autodiff();
        assert_eq!(learn(beside(&training), true).len(), 1 + 2 * 2 * 3 + 1);
        assert_eq!(learn(classifier(&training), true).len(), 1 + 9 * 3 + 3);
        for decoder in [beside(&training), beside(&device()).train(), beside(&device()).on(&training)] {
            let (one, by_layer) = (learn(decoder.clone(), false), learn(decoder, true));
            assert_eq!(one.len(), 1 + 2 * 2 * 3 + 1);
            for (got, expected) in by_layer.iter().zip(&one) {
                close("gradient", got, expected, 1e-5);
            }
        }
    }

    #[test]
    fn a_fresh_head_is_as_wide_as_it_says_and_leaves_the_body_alone() {
        for (init, deviation) in [(HeadInit::Narrow, 1.0 / 17.0), (HeadInit::Wide, 1.0 / 17f64.sqrt())] {
            let decoder = plain(&device()).with_head(Head::Sequence { labels: 400 }, init, Seed(1)).unwrap();
            let named = decoder.head_named();
            let [(name, shape, drawn)] = named.as_slice() else { panic!("one tensor") };
            assert_eq!((name.as_str(), shape.as_slice()), ("score.weight", &[400, 16][..]));
            // 6400 draws: the sample deviation is within 5 % of the true one.
            let square = drawn.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / drawn.len() as f64;
            assert!((square.sqrt() / deviation - 1.0).abs() < 0.05, "{init:?}: {}", square.sqrt());
        }
        let (body, headed) = (plain(&device()).named(), classifier(&device()).named());
        // The embedding is the head of the next token here, so there is one tensor more.
        assert_eq!(headed.len(), body.len() + 1);
        assert_eq!(headed[..body.len()], body);
        assert!(plain(&device()).head_named().is_empty());
    }

    fn token_classifier(device: &burn::tensor::Device) -> Decoder {
        plain(device).with_head(Head::Token { labels: 2 }, HeadInit::Wide, Seed(4)).unwrap()
    }

    #[test]
    fn places_are_read_as_they_are_in_the_whole_text() {
        let places = [vec![0, 4, 5, 7], vec![4, 6], vec![3, 0], vec![1]];
        let decoder = token_classifier(&device());
        let got = values(decoder.place_scores(&ROWS, &places).unwrap());
        let mut expected = Vec::new();
        for (row, places) in ROWS.iter().zip(&places) {
            let flat = [row.prompt, row.response].concat();
            let all = values(decoder.scores(&[flat.as_slice()]).unwrap()); // a pair a token
            expected.extend(places.iter().flat_map(|place| all[2 * place..2 * place + 2].to_vec()));
        }
        close("places", &got, &expected, 1e-5);
        // The logits of the next token at a place.
        let (language, row) = (plain(&device()), ROWS[0]);
        let flat: Vec<i64> = row.prompt.iter().chain(row.response).map(|id| i64::from(*id)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [1, 8]), &device());
        let all = values(language.logits(ids));
        let got = values(language.place_scores(&[row], &[vec![6]]).unwrap());
        close("logits", &got, &all[6 * 37..7 * 37], 1e-5);
    }

    #[test]
    fn places_learn_layer_by_layer_as_in_one_graph() {
        struct All<'a> {
            gradients: &'a GradientsParams,
            all: Vec<Vec<f64>>,
        }
        impl ModuleVisitor for All<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.all.extend(self.gradients.get::<D>(param.id).map(values));
            }
        }
        let places = [vec![5, 7], vec![6], vec![0, 3], vec![1]];
        let learn = |checkpointing: bool| {
            let decoder = token_classifier(&device().autodiff()).with_gradient_checkpointing(checkpointing);
            let ScorePass { scores, backward } = decoder.place_pass(&ROWS, &places).unwrap();
            let gradients = backward.gradients(&decoder, scores.square().sum());
            let mut found = All { gradients: &gradients, all: Vec::new() };
            decoder.visit(&mut found);
            found.all
        };
        let (one, by_layer) = (learn(false), learn(true));
        // The head has a bias, which that of sequences has not.
        assert_eq!(one.len(), 9 * 3 + 4);
        for (got, expected) in by_layer.iter().zip(&one) {
            close("gradient", got, expected, 1e-5);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let decoder = token_classifier(&device());
        let refused = |places: &[Vec<usize>]| decoder.place_scores(&ROWS[..1], places).is_err();
        assert!(refused(&[vec![8]]) && refused(&[vec![]]) && refused(&[]));
        let outside = Row { prompt: &[37], response: &[1] };
        assert!(matches!(decoder.place_scores(&[outside], &[vec![1]]), Err(CoreError::Range { .. })));
        assert!(matches!(
            classifier(&device()).place_scores(&ROWS[..1], &[vec![0]]),
            Err(CoreError::Unsupported { .. })
        ));
        for head in [Head::NextToken, Head::Sequence { labels: 0 }, Head::Token { labels: 0 }] {
            assert!(plain(&device()).with_head(head, HeadInit::Narrow, Seed(0)).is_err(), "{head:?}");
        }
        assert!(matches!(plain(&device()).row_scores(&ROWS), Err(CoreError::Unsupported { .. })));
        let empty = Row { prompt: &[], response: &[] };
        assert!(matches!(classifier(&device()).row_scores(&[empty]), Err(CoreError::Shape { .. })));
    }
}
