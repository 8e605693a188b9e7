//! What is trained: a decoder, with a value head where the estimator has a critic.
//!
//! ```text
//! V(s_t) = w h_t + b,   h_t: the final hidden state that predicts token t
//! ```
//! The head shares the decoder with the policy and begins at 0. Under constraints each component reward has a column of its own
//! beside the first. Departure: PPO for language models usually has a critic of
//! its own, which costs a second model and a second pass.

use std::path::Path;

use ascribe_lm::{Decoder, Predictors};
use ascribe_train::TrainError;
use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::kept;

/// The file of a value head in a checkpoint.
const FILE: &str = "value_head.json";

/// A policy, with a value head or without.
#[derive(Module, Debug)]
pub struct Actor {
    /// The policy.
    pub decoder: Decoder,
    /// Values from the policy's hidden states, a column for each critic.
    pub value: Option<Linear>,
}

/// A value head in a file.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// `[hidden, critics]`.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Actor {
    /// A policy alone.
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, value: None }
    }

    /// A policy with a fresh value head, on the device of the policy.
    pub fn with_critic(decoder: Decoder) -> Self {
        Self::with_critics(decoder, 0)
    }

    /// The same with `others` more critics.
    pub fn with_critics(decoder: Decoder, others: usize) -> Self {
        let (hidden, critics) = (decoder.config().hidden_size, others + 1);
        let saved = Saved { weight: vec![0.0; hidden * critics], bias: vec![0.0; critics] };
        let value = head(&saved, &decoder.device());
        Self { decoder, value: Some(value) }
    }

    /// Values before the tokens that are predicted, `[rows, longest response]`; `None` without a value head.
    pub fn values(&self, at: &Predictors) -> Option<Tensor<2>> {
        self.all_values(at).into_iter().next()
    }

    /// The same by every critic, the first one first; none without a value head.
    pub fn all_values(&self, at: &Predictors) -> Vec<Tensor<2>> {
        let Some(head) = &self.value else { return Vec::new() };
        let values = head.forward(at.states()); // [n, critics]
        let [_, critics] = values.dims();
        let column = |critic| at.placed(values.clone().narrow(1, critic, 1).squeeze_dim::<1>(1));
        (0..critics).map(column).collect()
    }

    /// Writes the value head, if there is one, into the folder of a checkpoint.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_value_head(&self, folder: &Path) -> Result<(), TrainError> {
        let Some(head) = &self.value else { return Ok(()) };
        let floats = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
        let bias = head.bias.as_ref().map(|bias| floats(bias.val().into_data())).unwrap_or_default();
        let saved = Saved { weight: floats(head.weight.val().into_data()), bias };
        kept::save(folder, FILE, &saved)
    }

    /// The policy with the value head of a checkpoint.
    ///
    /// # Errors
    /// When there is none, or it belongs to a model of another width.
    pub fn with_saved_critic(decoder: Decoder, folder: &Path) -> Result<Self, TrainError> {
        let saved: Saved = kept::read(folder, FILE)?;
        let (hidden, got) = (decoder.config().hidden_size, saved.weight.len());
        if saved.bias.is_empty() || got != hidden * saved.bias.len() {
            let why = format!("its value head has {got} weights beside {hidden} hidden values");
            return Err(TrainError::Checkpoint { path: folder.to_owned(), why });
        }
        let value = head(&saved, &decoder.device());
        Ok(Self { decoder, value: Some(value) })
    }
}

fn head(saved: &Saved, device: &Device) -> Linear {
    let critics = saved.bias.len();
    let hidden = saved.weight.len() / critics.max(1);
    let weight = Tensor::<2>::from_data(TensorData::new(saved.weight.clone(), [hidden, critics]), device);
    let bias = Tensor::<1>::from_data(TensorData::new(saved.bias.clone(), [critics]), device);
    Linear {
        weight: Param::initialized(id("value_head.weight"), weight).set_require_grad(true),
        bias: Some(Param::initialized(id("value_head.bias"), bias).set_require_grad(true)),
    }
}

/// An id that depends on the name alone, so that optimizer state that was saved finds the parameter again.
pub(super) fn id(name: &str) -> ParamId {
    let hash = blake3::hash(name.as_bytes());
    let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().expect("invariant: a hash has 32 bytes");
    ParamId::from(u64::from_le_bytes(bytes))
}
