//! Response tokens under the distribution that they were drawn from at a temperature.
//!
//! ```text
//! log p(y_t) = log softmax(logits_t / temperature)[y_t],   H_t = entropy of softmax(logits_t / temperature)
//! ```

use ascribe_core::CoreError;
use ascribe_core::tensor::{HeadLayout, HeadShape, entropy, head_logps, token_logps};
use burn::tensor::Tensor;

use super::{Decoder, Predictors};

impl Decoder {
    /// Log-probability of every token that is predicted, at a temperature: `[rows, longest response]`.
    ///
    /// # Errors
    /// For a temperature that is not finite and above 0.
    pub fn logps_at(&self, at: &Predictors, temperature: f64) -> Result<Tensor<2>, CoreError> {
        let by = inverse(temperature)?;
        if temperature == 1.0 {
            return Ok(self.logps(at));
        }
        if self.config.logit_softcap.is_some() {
            // The cap comes before the temperature, so the head is no product of the states alone.
            let targets = at.targets(); // [n]
            return Ok(self.over_logits(at, |logits, start| {
                let [m, _] = logits.dims();
                token_logps(logits.mul_scalar(by), targets.clone().slice(start..start + m)) // [m]
            }));
        }
        // A head of the next token has no bias: to divide its input is to divide its output.
        let (weight, layout) = self.head_weight();
        let (shape, states) = (HeadShape { layout, softcap: None }, at.states().mul_scalar(by)); // [n, hidden]
        Ok(at.placed(head_logps(states, weight, &shape, at.targets(), self.positions_at_once())))
    }

    /// Entropy of the distribution of every token that is predicted, at a temperature: `[rows, longest response]`. While
    /// training, the logits are kept for it.
    ///
    /// # Errors
    /// For a temperature that is not finite and above 0.
    pub fn entropy_at(&self, at: &Predictors, temperature: f64) -> Result<Tensor<2>, CoreError> {
        let by = inverse(temperature)?;
        Ok(self.over_logits(at, |logits, _| entropy(logits.mul_scalar(by))))
    }

    /// The weight of the head, and which way it lies.
    pub(super) fn head_weight(&self) -> (Tensor<2>, HeadLayout) {
        match &self.head {
            Some(head) => (head.weight.val(), HeadLayout::Linear),
            None => (self.embed_tokens.weight.val(), HeadLayout::Embedding),
        }
    }
}

fn inverse(temperature: f64) -> Result<f64, CoreError> {
    match temperature > 0.0 && temperature.is_finite() {
        true => Ok(1.0 / temperature),
        false => Err(CoreError::Range { name: "temperature", rule: "finite and above 0", got: temperature }),
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use ascribe_testkit::device::{device, values};
    use ascribe_testkit::golden::close;
    use burn::tensor::activation::log_softmax;
    use burn::tensor::{Int, TensorData};

    use super::*;
    use crate::{DecoderConfig, RandomWeights, Row};

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
            let at = decoder.predictors(&ROWS).unwrap();
            for temperature in [1.0, 0.7] {
                let logps = values(decoder.logps_at(&at, temperature).unwrap());
                let entropies = values(decoder.entropy_at(&at, temperature).unwrap());
                for (number, row) in ROWS.iter().enumerate() {
                    let ids: Vec<i64> = row.prompt.iter().chain(row.response).map(|id| i64::from(*id)).collect();
                    let seq = ids.len();
                    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, seq]), &decoder.device());
                    let logits = decoder.logits(ids).reshape([seq, 37]).mul_scalar(1.0 / temperature);
                    let all = values(log_softmax(logits, 1));
                    for (column, token) in row.response.iter().enumerate() {
                        let place = row.prompt.len() + column - 1;
                        let here = &all[place * 37..(place + 1) * 37];
                        let what = format!("row {number}, token {column}, {softcap:?}, {temperature}");
                        close(&what, &[logps[number * 3 + column]], &[here[*token as usize]], 1e-5);
                        let expected: f64 = here.iter().map(|logp| -logp.exp() * logp).sum();
                        close(&what, &[entropies[number * 3 + column]], &[expected], 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn a_temperature_that_is_none_is_refused() {
        let decoder = decoder(None);
        let at = decoder.predictors(&ROWS).unwrap();
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(decoder.logps_at(&at, temperature).is_err(), "{temperature}");
            assert!(decoder.entropy_at(&at, temperature).is_err(), "{temperature}");
        }
    }
}
