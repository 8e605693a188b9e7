//! Response tokens and what is known of each: log-probability, entropy, and the state that predicts it.
//!
//! ```text
//! log p(y_t) = log softmax(logits_t / temperature)[y_t],   H_t = entropy of softmax(logits_t / temperature)
//! ```
//! A prompt that several rows share is read once, and the head runs on the positions that predict a response token and on no
//! other, a chunk at a time.

use std::collections::HashMap;

use ascribe_core::tensor::{HeadLayout, HeadShape, Mask, chosen_logps, entropy, head_logps};
use ascribe_core::{CoreError, Packing};
use burn::tensor::{Int, Tensor, TensorData};

use super::checkpointing::Backward;
use super::{Decoder, Row};
use crate::local::config::Head;

/// Most logits that are held at once, in floats: 128 MiB.
const LOGITS_AT_ONCE: usize = 1 << 25;

/// What [`Decoder::token_pass`] gives besides log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassOptions {
    /// Divides the logits, as it does while sampling; finite and above 0.
    pub temperature: f64,
    /// Entropies, too; while training, the logits are kept for them.
    pub entropy: bool,
    /// The states that predict response tokens, too: what a value head reads.
    pub states: bool,
}

impl Default for PassOptions {
    fn default() -> Self {
        Self { temperature: 1.0, entropy: false, states: false }
    }
}

/// What is known of every response token, with the way from a loss back to gradients.
pub struct TokenPass {
    /// Log-probability of every response token: `[rows, longest response]`.
    pub logps: Tensor<2>,
    /// Which columns are real.
    pub mask: Mask,
    /// Entropy of the distribution that each token was drawn from, where it was asked for: `[rows, longest response]`.
    pub entropy: Option<Tensor<2>>,
    /// The final hidden state that predicts each token, where it was asked for: `[rows, longest response, hidden]`. Past
    /// the end of a row stands the state of another token.
    pub states: Option<Tensor<3>>,
    /// The way back.
    pub backward: Backward,
}

/// The states that predict response tokens, one a token, and where each token stands among the rows.
pub(super) struct Predicting {
    /// `None` when there is no response token at all.
    found: Option<Found>,
    mask: Mask,
}

struct Found {
    /// `[n, hidden]`
    states: Tensor<2>,
    /// `[n]`
    targets: Tensor<1, Int>,
    /// For each place of the rows, which of the `n` stands there: `[rows * longest]`.
    place: Tensor<1, Int>,
}

impl Predicting {
    pub(super) fn into_mask(self) -> Mask {
        self.mask
    }

    /// One value a token, `[n]`, in its place: `[rows, longest]`.
    fn placed(&self, found: &Found, values: Tensor<1>) -> Tensor<2> {
        self.mask.keep(values.select(0, found.place.clone()).reshape(self.mask.dims()))
    }
}

impl Decoder {
    /// Log-probability of every response token at a temperature, with entropies and states where they are asked for;
    /// gradients come from [`Backward`].
    ///
    /// # Errors
    /// As [`response_logps`](Self::response_logps), and for a temperature that is not finite and above 0.
    pub fn token_pass(&self, rows: &[Row], options: &PassOptions) -> Result<TokenPass, CoreError> {
        let temperature = options.temperature;
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(CoreError::Range { name: "temperature", rule: "finite and above 0", got: temperature });
        }
        let mut kept = None;
        let predicting = self.predicting(rows, |ids, packing| self.tracked_states(ids, packing, &mut kept))?;
        let [rows, longest] = predicting.mask.dims();
        let states = options.states.then(|| match &predicting.found {
            Some(found) => {
                let states = found.states.clone().select(0, found.place.clone()); // [rows * longest, hidden]
                states.reshape([rows, longest, self.config.hidden_size])
            }
            None => Tensor::zeros([rows, 0, self.config.hidden_size], &self.device()),
        });
        Ok(TokenPass {
            logps: self.logps_at(&predicting, temperature),
            entropy: options.entropy.then(|| self.entropy_at(&predicting, temperature)),
            states,
            mask: predicting.into_mask(),
            backward: Backward::new(kept),
        })
    }

    /// Final hidden states, by `states`, of the positions that predict response tokens.
    pub(super) fn predicting(
        &self,
        rows: &[Row],
        states: impl FnOnce(Tensor<1, Int>, &Packing) -> Tensor<2>,
    ) -> Result<Predicting, CoreError> {
        let device = self.device();
        if self.config.head != Head::NextToken {
            return Err(CoreError::Unsupported { what: "score text: its head is a classifier's" });
        }
        if let Some(row) = rows.iter().position(|row| row.prompt.is_empty()) {
            let got = format!("an empty prompt in row {row}");
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        let longest = rows.iter().map(|row| row.response.len()).max().unwrap_or(0);
        let flags: Vec<Vec<bool>> = rows.iter().map(|row| vec![true; row.response.len()]).collect();
        let mask = Mask::from_rows(&flags, &device);
        if longest == 0 {
            return Ok(Predicting { found: None, mask });
        }
        let (mut ids, mut packing, mut prompts) = (Vec::new(), Packing::default(), HashMap::new());
        let (mut from, mut targets) = (Vec::new(), Vec::new());
        let mut place = vec![0i64; rows.len() * longest];
        for (number, row) in rows.iter().enumerate() {
            let prompt = match prompts.get(row.prompt) {
                Some(span) => *span,
                None => {
                    let span = packing.push(row.prompt.len(), None)?;
                    ids.extend_from_slice(row.prompt);
                    prompts.insert(row.prompt, span);
                    span
                }
            };
            // The last response token predicts nothing that is wanted, so it is not fed.
            let fed = row.response.len().saturating_sub(1);
            let own = packing.push(fed, Some(prompt))?;
            ids.extend_from_slice(&row.response[..fed]);
            let predictors = std::iter::once(packing.span(prompt).rows.end - 1).chain(packing.span(own).rows.clone());
            for (column, (target, predictor)) in row.response.iter().zip(predictors).enumerate() {
                place[number * longest + column] = from.len() as i64;
                from.push(predictor as i64);
                targets.push(i64::from(*target));
            }
        }
        let integers = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        let ids = integers(ids.into_iter().map(i64::from).collect()); // [tokens]
        let states = states(ids, &packing).select(0, integers(from)); // [n, hidden]
        let found = Found { states, targets: integers(targets), place: integers(place) };
        Ok(Predicting { found: Some(found), mask })
    }

    /// Log-probabilities at a temperature, `[rows, longest]`.
    pub(super) fn logps_at(&self, predicting: &Predicting, temperature: f64) -> Tensor<2> {
        let Some(found) = &predicting.found else {
            return Tensor::zeros(predicting.mask.dims(), &self.device());
        };
        let (states, targets, chunk) = (found.states.clone(), found.targets.clone(), self.chunk());
        let softcap = self.config.logit_softcap;
        let logps = if temperature != 1.0 && softcap.is_some() {
            // The cap comes before the temperature, so the head is no product of the states alone.
            let by = 1.0 / temperature;
            chosen_logps(states, targets, chunk, |states| self.head(states).mul_scalar(by)) // [n]
        } else {
            let (weight, layout) = match &self.head {
                Some(head) => (head.weight.val(), HeadLayout::Linear),
                None => (self.embed_tokens.weight.val(), HeadLayout::Embedding),
            };
            // A head of the next token has no bias: to divide its input is to divide its output.
            let states = if temperature == 1.0 { states } else { states.mul_scalar(1.0 / temperature) };
            head_logps(states, weight, &HeadShape { layout, softcap }, targets, chunk) // [n]
        };
        predicting.placed(found, logps)
    }

    /// Entropies at a temperature, `[rows, longest]`.
    fn entropy_at(&self, predicting: &Predicting, temperature: f64) -> Tensor<2> {
        let Some(found) = &predicting.found else {
            return Tensor::zeros(predicting.mask.dims(), &self.device());
        };
        let [n, _] = found.states.dims();
        let chunk = self.chunk();
        let pieces = (0..n).step_by(chunk).map(|start| {
            let states = found.states.clone().slice(start..(start + chunk).min(n));
            entropy(self.head(states).mul_scalar(1.0 / temperature))
        });
        predicting.placed(found, Tensor::cat(pieces.collect(), 0))
    }

    /// Positions whose logits are held at once.
    fn chunk(&self) -> usize {
        (LOGITS_AT_ONCE / self.config.vocab_size).max(1)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use ascribe_testkit::device::{device, values};
    use ascribe_testkit::golden::close;
    use burn::tensor::activation::log_softmax;

    use super::*;
    use crate::{DecoderConfig, RandomWeights};

    const ROWS: [Row; 3] = [
        Row { prompt: &[1, 5, 9], response: &[2, 30, 7] },
        Row { prompt: &[1, 5, 9], response: &[11] },
        Row { prompt: &[6, 6], response: &[8, 21] },
    ];

    fn decoder(softcap: Option<f64>) -> Decoder {
        let config = DecoderConfig { logit_softcap: softcap, ..DecoderConfig::tiny(37, 16, 2, 4, 48) };
        Decoder::load(&config, &mut RandomWeights { seed: Seed(3), layers: 2 }, &device().autodiff()).unwrap()
    }

    #[test]
    fn tokens_agree_with_the_logits_at_every_position() {
        for softcap in [None, Some(0.5)] {
            let decoder = decoder(softcap);
            for temperature in [1.0, 0.7] {
                let options = PassOptions { temperature, entropy: true, states: true };
                let pass = decoder.token_pass(&ROWS, &options).unwrap();
                let (logps, entropies) = (values(pass.logps), values(pass.entropy.unwrap()));
                let states = pass.states.unwrap();
                assert_eq!(states.dims(), [3, 3, 16]);
                for (number, row) in ROWS.iter().enumerate() {
                    let ids: Vec<i64> = row.prompt.iter().chain(row.response).map(|id| i64::from(*id)).collect();
                    let seq = ids.len();
                    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, seq]), &decoder.device());
                    let logits = decoder.logits(ids.clone()).reshape([seq, 37]).mul_scalar(1.0 / temperature);
                    let all = values(log_softmax(logits, 1));
                    let hidden = values(decoder.hidden(ids, None));
                    for (column, token) in row.response.iter().enumerate() {
                        let at = row.prompt.len() + column - 1;
                        let here = &all[at * 37..(at + 1) * 37];
                        let what = format!("row {number}, token {column}, {softcap:?}, {temperature}");
                        close(&what, &[logps[number * 3 + column]], &[here[*token as usize]], 1e-5);
                        let expected: f64 = here.iter().map(|logp| -logp.exp() * logp).sum();
                        close(&what, &[entropies[number * 3 + column]], &[expected], 1e-5);
                        let state = values(states.clone().slice([number..number + 1, column..column + 1, 0..16]));
                        close(&what, &state, &hidden[at * 16..(at + 1) * 16], 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn a_temperature_that_is_none_is_refused_and_no_response_is_no_column() {
        let decoder = decoder(None);
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let options = PassOptions { temperature, ..PassOptions::default() };
            assert!(decoder.token_pass(&ROWS, &options).is_err(), "{temperature}");
        }
        let options = PassOptions { entropy: true, states: true, ..PassOptions::default() };
        let pass = decoder.token_pass(&[Row { prompt: &[1], response: &[] }], &options).unwrap();
        assert_eq!((pass.logps.dims(), pass.mask.dims()), ([1, 0], [1, 0]));
        assert_eq!(pass.states.unwrap().dims(), [1, 0, 16]);
    }
}
