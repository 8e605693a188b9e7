//! Responses of the policy as it is, and what it says of them.
//!
//! An engine writes with the weights of this generation. The code that trains reads the responses again at the sampling
//! temperature, because ratios compare its own numbers; or at another one, where what it learns has none. Where the
//! distribution was cut, the log-probability that a token was drawn with comes from the same chain of transforms over the same
//! logits.

use ascribe_core::{CoreError, Mode, Policy, Request, Sampling, Tokens, Until};
use ascribe_lm::{LocalPolicy, Row, Transform};
use ascribe_train::TrainError;
use burn::tensor::Tensor;

use super::source::{Metrics, OnPolicy, narrowed, widened};
use super::{Actor, Rollout, up_to_end};

/// Positions of a response whose logits are held at once.
const AT_ONCE: usize = 64;

/// What is known of the tokens of responses after a pass, a list a response.
#[derive(Default)]
pub(super) struct Known {
    pub(super) logps: Vec<Vec<f32>>,
    pub(super) entropies: Vec<Vec<f32>>,
    pub(super) values: Vec<Vec<f32>>,
    /// By the critics beside the first, a list a response each.
    pub(super) others: Vec<Vec<Vec<f32>>>,
}

impl OnPolicy<'_> {
    /// Responses to the prompts `rows`, and the most likely one where the estimator needs it.
    pub(super) fn write(&self, actor: &Actor, rows: &[usize]) -> Result<(Vec<Rollout>, Vec<Rollout>), TrainError> {
        let config = &self.config;
        let policy = LocalPolicy::new(&actor.decoder, &config.ends, config.context)?;
        let seed = config.seed.child("rollouts", self.state.generation);
        let ask = |requests: &[Request]| written(&policy, requests, &config.sampling, &config.ends);
        let requests = |n: usize, mode: Mode| -> Vec<Request> {
            let request = |(at, row): (usize, &usize)| Request {
                prefix: self.prompts[*row].clone(),
                n,
                until: Until::End,
                mode,
                max_new: config.max_completion_length,
                seed: seed.child("prompt", at as u64),
            };
            rows.iter().enumerate().map(request).collect()
        };
        let mode = Mode::Sample(config.sampling);
        let borrowed = config.second.as_ref().map_or(0, |second| second.borrowed_of(config.num_generations));
        let mut rollouts = ask(&requests(config.num_generations - borrowed, mode))?;
        if borrowed > 0 {
            let reference = self.reference.as_ref();
            let reference = reference.ok_or(CoreError::MissingInput("the reference, which writes first attempts"))?;
            let reference = LocalPolicy::new(reference, &config.ends, config.context)?;
            // Other streams, or a reference that is the policy would write the same.
            let other = |request: Request| Request { seed: request.seed.child("borrowed", 0), ..request };
            let asked: Vec<Request> = requests(borrowed, mode).into_iter().map(other).collect();
            let others = written(&reference, &asked, &config.sampling, &config.ends)?;
            rollouts.extend(others.into_iter().map(|rollout| Rollout { borrowed: true, ..rollout }));
            // Those of one prompt stand together; the order within a group stays.
            rollouts.sort_by_key(|rollout| rollout.group);
        }
        if let Some(second) = &config.second {
            let again = |(at, first): (usize, &Rollout)| Request {
                prefix: second.prompt(&first.prompt, &first.response),
                n: 1,
                until: Until::End,
                mode: Mode::Sample(config.sampling),
                max_new: config.max_completion_length,
                seed: seed.child("second attempt", at as u64),
            };
            let mut more = ask(&rollouts.iter().enumerate().map(again).collect::<Vec<_>>())?;
            for (rollout, first) in more.iter_mut().zip(&rollouts) {
                // Second attempts at a prompt are a group of their own.
                rollout.group = rows.len() + first.group;
                rollout.asked = Some(first.prompt.clone());
            }
            rollouts.append(&mut more);
        }
        let greedy = match self.estimator.needs().greedy {
            true => ask(&requests(1, Mode::Greedy))?,
            false => Vec::new(),
        };
        Ok((rollouts, greedy))
    }

    /// Passes over responses by the code that trains, without gradients.
    pub(super) fn know(&self, actor: &Actor, rollouts: &[Rollout]) -> Result<Known, TrainError> {
        let temperature = self.config.temperature();
        let mut known = Known::default();
        for batch in rollouts.chunks(self.config.batch) {
            let rows: Vec<Row> =
                batch.iter().map(|rollout| Row { prompt: &rollout.prompt, response: &rollout.response }).collect();
            let at = actor.decoder.predictors(&rows)?;
            known.logps.extend(ragged(actor.decoder.logps_at(&at, temperature)?, batch));
            if self.config.top_entropy.is_some() {
                known.entropies.extend(ragged(actor.decoder.entropy_at(&at, temperature)?, batch));
            }
            let mut critics = actor.all_values(&at).into_iter();
            known.values.extend(critics.next().map(|values| ragged(values, batch)).unwrap_or_default());
            for (critic, values) in critics.enumerate() {
                if known.others.len() == critic {
                    known.others.push(Vec::new());
                }
                known.others[critic].extend(ragged(values, batch));
            }
        }
        Ok(known)
    }

    /// Log-probabilities under the very distribution that was drawn from.
    pub(super) fn draw_again(
        &self,
        actor: &Actor,
        rollouts: &mut [Rollout],
        known: &Known,
        metrics: &mut Metrics,
    ) -> Result<(), TrainError> {
        let sampling = &self.config.sampling;
        let chain = match self.config.temperature() == f64::from(sampling.temperature) {
            true => cuts(sampling),
            // What is learned from has another temperature, so no pass so far says how tokens were drawn.
            false => Transform::of(sampling),
        };
        let mut uncertain = 0usize;
        for (rollout, logps) in rollouts.iter_mut().zip(&known.logps) {
            if chain.is_empty() {
                // The engine's own where they are the ones; it and the training code round otherwise.
                let plain = sampling.temperature == 1.0;
                rollout.drawn_logps = Some(if plain { rollout.logps.clone() } else { logps.clone() });
                continue;
            }
            let row = [Row { prompt: &rollout.prompt, response: &rollout.response }];
            let states = actor.decoder.predictors(&row)?.states(); // [n, hidden]
            let (n, vocab) = (rollout.response.len(), actor.decoder.vocab_size());
            let mut seen = rollout.prompt.to_vec();
            let mut drawn = Vec::with_capacity(n);
            for start in (0..n).step_by(AT_ONCE) {
                let some = start..(start + AT_ONCE).min(n);
                let logits = actor.decoder.head(states.clone().slice(some.clone())); // [m, vocab]
                let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
                let tokens = rollout.response[some.clone()].iter().zip(&logps[some]);
                for ((token, logp), logits) in tokens.zip(logits.chunks(vocab)) {
                    let mut cut = logits.to_vec();
                    Transform::apply_all(&chain, &mut cut, &seen);
                    let logp = match cut[*token as usize] {
                        // At the edge of a cut the engine and the training code may part: the token was drawn all the same.
                        kept if kept > f32::NEG_INFINITY => f64::from(kept) - log_sum_exp(&cut),
                        _ => {
                            uncertain += 1;
                            f64::from(*logp)
                        }
                    };
                    drawn.push(logp as f32);
                    seen.push(*token);
                }
            }
            rollout.drawn_logps = Some(drawn);
        }
        if !chain.is_empty() {
            metrics.push("sampling/edge_tokens", uncertain as f64);
        }
        Ok(())
    }

    /// What each token is multiplied by in the loss, where anything is.
    pub(super) fn weights(&self, rollout: &Rollout, uncertain: Option<&[f64]>) -> Option<Vec<f32>> {
        let corrected = self.config.correction.as_ref().map(|correction| {
            let (old, drawn) = (rollout.old_logps.as_deref(), rollout.drawn_logps.as_deref());
            correction.weights(&widened(old.unwrap_or_default()), &widened(drawn.unwrap_or_default()))
        });
        match (corrected, uncertain) {
            (None, None) => None,
            (Some(weights), None) => Some(narrowed(&weights)),
            (None, Some(kept)) => Some(narrowed(kept)),
            (Some(weights), Some(kept)) => {
                Some(weights.iter().zip(kept).map(|(weight, kept)| (weight * kept) as f32).collect())
            }
        }
    }
}

/// What a policy writes to requests, of which each is a group.
pub(super) fn written(
    policy: &LocalPolicy,
    requests: &[Request],
    sampling: &Sampling,
    ends: &[u32],
) -> Result<Vec<Rollout>, TrainError> {
    let mut written = Vec::new();
    for (group, (request, reply)) in requests.iter().zip(policy.propose(requests)?).enumerate() {
        for candidate in reply.candidates {
            let response = Tokens::from(up_to_end(&candidate.tokens, ends));
            let complete = response.last().is_some_and(|last| ends.contains(last));
            written.push(Rollout {
                prompt: request.prefix.clone(),
                group,
                complete,
                sampling: *sampling,
                logps: candidate.logps[..response.len()].to_vec(),
                response,
                ..Rollout::default()
            });
        }
    }
    Ok(written)
}

/// The transforms of a sampling beside its temperature, all of them, or none where the temperature is the only one.
pub(super) fn cuts(sampling: &Sampling) -> Vec<Transform> {
    let chain = Transform::of(sampling);
    match chain.iter().all(|transform| matches!(transform, Transform::Temperature(_))) {
        true => Vec::new(),
        false => chain,
    }
}

/// The rows of `[rows, longest]`, each as long as its response.
pub(super) fn ragged(tensor: Tensor<2>, rollouts: &[Rollout]) -> Vec<Vec<f32>> {
    let [_, longest] = tensor.dims();
    let flat: Vec<f32> = tensor.into_data().iter::<f32>().collect();
    let row = |(row, rollout): (&[f32], &Rollout)| row[..rollout.response.len()].to_vec();
    flat.chunks(longest.max(1)).zip(rollouts).map(row).collect()
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}
