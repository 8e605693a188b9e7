//! A reward that is a table of weights, learned from pairs by the loss of Bradley and Terry.
//!
//! ```text
//! r(y) = sum_t w[state_t][y_t]
//! ```

use anyhow::{Context, Result};
use ascribe::burn::nn::Embedding;
use ascribe::burn::optim::GradientsParams;
use ascribe::core::{CoreError, Credit, Episode, Loss, Scorer};
use ascribe::preference::TrainRow;
use ascribe::reward::losses::{BradleyTerry, BradleyTerryConfig};
use ascribe::reward::{RewardLoss, ScoreBatch};
use ascribe::train::{Learned, Learner, Tally, TrainError};

use crate::tabular::{State, Training, fitted, indices, responses, states, tally, transitions};
use crate::world::{VOCABULARY, World};

/// The weights, and which of them score a token.
#[derive(Clone)]
pub struct RewardTable {
    weights: Vec<f64>,
    state: State,
}

impl RewardTable {
    /// A reward that explains pairs.
    pub fn trained(world: &World, state: State, pairs: &[TrainRow], training: Training) -> Result<Self> {
        let learner = TableLearner { loss: BradleyTerryConfig::default().init()?, state };
        let mut tables = fitted(&learner, states(world, state), pairs, training, &[training.steps])?;
        Ok(Self { weights: tables.pop().context("a training has a step at least")?, state })
    }

    /// The reward whose weights are these and `changes`, row by row.
    pub fn changed(&self, changes: &[f64]) -> Self {
        let weights = self.weights.iter().zip(changes).map(|(weight, change)| weight + change).collect();
        Self { weights, state: self.state }
    }

    /// Share of pairs whose first response earns more.
    pub fn accuracy(&self, pairs: &[TrainRow]) -> f64 {
        let earned =
            |row: &TrainRow, at: usize| self.of(row.prompt.len(), &row.prompt.followed_by(&row.responses[at].tokens));
        pairs.iter().filter(|row| earned(row, 0) > earned(row, 1)).count() as f64 / pairs.len() as f64
    }

    /// The reward of what stands behind the first `prompt` tokens.
    pub fn of(&self, prompt: usize, path: &[u32]) -> f64 {
        let weight = |at: usize| self.weights[(self.state)(&path[..at]) * VOCABULARY + path[at] as usize];
        (prompt..path.len()).map(weight).sum()
    }
}

impl Scorer for RewardTable {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let reward = |episode: &Episode| self.of(episode.prompt_len(), &episode.tokens);
        Ok(episodes.iter().map(|episode| Credit::sequence(reward(episode) as f32)).collect())
    }
}

/// Trains the weights.
struct TableLearner {
    loss: BradleyTerry,
    state: State,
}

impl TableLearner {
    fn of(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Loss, CoreError> {
        let weights = model.weight.val(); // [states, vocabulary]
        let given = responses(rows, 2)?;
        let (mut of_state, mut tokens) = (Vec::new(), Vec::new());
        for (row, response) in &given {
            for (path, token) in transitions(row, response) {
                of_state.push((self.state)(&path) as i64);
                tokens.push(i64::from(token));
            }
        }
        let (n, device) = (tokens.len(), weights.device());
        let tokens = indices(tokens, &device).reshape([n, 1]); // [n, 1]
        let picked = weights.select(0, indices(of_state, &device)).gather(1, tokens); // [n, 1]
        let scores = picked.reshape([given.len(), n / given.len().max(1)]).sum_dim(1); // [responses, 1]
        Ok(self.loss.loss(&ScoreBatch::new(2, scores)?)?)
    }
}

impl Learner for TableLearner {
    type Model = Embedding;
    type Row = TrainRow;

    fn learn(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let loss = self.of(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: tally(&loss) })
    }

    fn measure(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        Ok(tally(&self.of(model, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::Seed;

    use super::*;
    use crate::tabular::place_and_last;

    #[test]
    fn what_is_chosen_earns_more() {
        let world = World::new(2, Seed(0), |_| 0.0).unwrap();
        let rows = [TrainRow::pair(vec![1], vec![3, 0], vec![0, 3])];
        let training = Training { steps: 20, rate: 0.1, seed: Seed(0) };
        let reward = RewardTable::trained(&world, place_and_last, &rows, training).unwrap();
        let [chosen, rejected] = [reward.of(1, &[1, 3, 0]), reward.of(1, &[1, 0, 3])];
        assert!(chosen > 0.5 && rejected < -0.5, "{chosen} and {rejected}");
        let turned = TrainRow::pair(vec![1], vec![0, 3], vec![3, 0]);
        assert_eq!(reward.accuracy(&[rows[0].clone(), turned]), 0.5);
        // The same token elsewhere was not trained, and the prompt has no weight.
        assert_eq!((reward.of(1, &[2, 3, 1]), reward.of(3, &[1, 3, 0])), (0.0, 0.0));
        let scored = reward.score(&[Episode::new(&[1], &[3, 0])]).unwrap();
        assert_eq!(scored[0].values(), [chosen as f32]);
    }
}
