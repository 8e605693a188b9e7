//! Transfer Q*: decoding for a reward by the value of a model that was aligned already, arXiv:2405.20495.
//!
//! ```text
//! TQ(s, z) = E_{tau ~ rho(.|s, z)} [r(s, z, tau)]        pi(z|s) ~ pi_sft(z|s) exp(TQ(s, z) / alpha)   over the k likeliest z
//! direct     rho is aligned to r: the mean reward of its rollouts
//! indirect   rho is aligned to r_bl with beta: rollouts weigh exp((r - r_bl) / beta), normalized over those of a token
//! ```
//! The policy of the context is pi_sft, its scorer r. Where no baseline is given, rollouts are pi_sft's own: that is controlled
//! decoding with a value by rollouts. The weights of a token's rollouts may leave few of them in effect; such values are counted
//! in [`Found::doubtful`]. A token that ends the text has its reward for a value. Departures from the authors'
//! code: proposer and baseline, and the two rewards, are separate; the weights are normalized; rollouts go to the end unless
//! `length` cuts them, since a reward of unfinished text means little.

use ascribe_core::{Mode, Policy, Reduce, Sampling, Scorer, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::tilt::{Choose, decode, rollout_value};
use crate::{Found, Needs, Path, PromptCtx, Reach, Search, SearchCtx, SearchError};

/// Numbers of [`TransferQ`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransferOptions {
    /// Tokens that are weighed at each place; at least 1.
    pub k: usize,
    /// Rollouts of each token; at least 1.
    pub rollouts: usize,
    /// Most tokens of a rollout; `None` goes to the end.
    pub length: Option<usize>,
    /// Rollouts take the likeliest token; one is then as good as many, so one is written.
    pub greedy: bool,
    /// Weight of the divergence from pi_sft; above 0.
    pub alpha: f64,
    /// The baseline was aligned to its reward with this beta; above 0.
    pub beta: f64,
    /// The share of a token's rollouts that must be in effect under their weights, or its value is doubtful; in [0, 1].
    pub floor: f64,
    /// How a token is chosen.
    pub choose: Choose,
}

impl Default for TransferOptions {
    fn default() -> Self {
        Self { k: 10, rollouts: 1, length: None, greedy: true, alpha: 1.0, beta: 1.0, floor: 0.2, choose: Choose::Best }
    }
}

/// Token decoding by the value of an aligned model.
#[derive(Clone, Copy, Default)]
pub struct TransferQ<'a> {
    /// The numbers.
    pub options: TransferOptions,
    /// The aligned model; `None` is the policy itself.
    pub baseline: Option<&'a dyn Policy>,
    /// What the aligned model was aligned to, where that is not the context's reward, and how its credit becomes one number.
    pub baseline_reward: Option<(&'a dyn Scorer, Reduce)>,
}

impl TransferQ<'_> {
    /// The value of each path, by rollouts.
    fn values(&self, ctx: &mut PromptCtx, paths: &[Path]) -> Result<Option<Vec<f64>>, SearchError> {
        let TransferOptions { rollouts, length, greedy, beta, .. } = self.options;
        // Rollouts are of the baseline itself, so nothing is cut off.
        let mode = if greedy { Mode::Greedy } else { Mode::Sample(Sampling::default()) };
        let rollouts = if greedy { 1 } else { rollouts };
        let reach = length.map_or(Reach::End, Reach::Tokens);
        let open: Vec<usize> = (0..paths.len()).filter(|at| ctx.is_open(&paths[*at])).collect();
        let requests: Vec<_> = open.iter().map(|at| ctx.request(&paths[*at], rollouts, reach, mode)).collect();
        let baseline = self.baseline.unwrap_or(ctx.policy());
        let Some(replies) = ctx.ask(baseline, &requests)? else { return Ok(None) };
        let mut ends: Vec<Vec<Path>> = paths.iter().map(|path| vec![path.clone()]).collect();
        for (at, reply) in open.into_iter().zip(&replies) {
            let written = ctx.children(&paths[at], rollouts, reply);
            if !written.is_empty() {
                ends[at] = written;
            }
        }
        let all = ends.concat();
        let Some(rewards) = ctx.score(&all)? else { return Ok(None) };
        let tilts: Vec<f64> = match self.baseline_reward {
            None => vec![0.0; all.len()],
            Some((scorer, reduce)) => {
                let Some(baseline) = ctx.score_by(scorer, reduce, &all)? else { return Ok(None) };
                rewards.iter().zip(&baseline).map(|(r, r_bl)| (f64::from(*r) - f64::from(*r_bl)) / beta).collect()
            }
        };
        let rewards: Vec<f64> = rewards.into_iter().map(f64::from).collect();
        let (mut values, mut from, mut doubtful) = (Vec::with_capacity(paths.len()), 0, 0);
        for ends in &ends {
            let part = from..from + ends.len();
            from = part.end;
            let rollouts = rollout_value(&rewards[part.clone()], &tilts[part])?;
            doubtful += u64::from(rollouts.effective < self.options.floor * ends.len() as f64);
            values.push(rollouts.value);
        }
        ctx.doubt(doubtful);
        Ok(Some(values))
    }
}

impl Search for TransferQ<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let TransferOptions { k, rollouts, alpha, beta, floor, choose, .. } = self.options;
        check("k", "at least 1", k as f64, k > 0)?;
        check("rollouts", "at least 1", rollouts as f64, rollouts > 0)?;
        check("alpha", "above 0", alpha, alpha > 0.0)?;
        check("beta", "finite and above 0", beta, beta > 0.0 && beta.is_finite())?;
        check("floor", "in [0, 1]", floor, (0.0..=1.0).contains(&floor))?;
        ctx.each(prompts, |ctx| decode(ctx, k, alpha, choose, |ctx, paths| self.values(ctx, paths)))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, top: true, answers: false }
    }
}
