//! Transfer Q*: decoding for a reward by the value of a model that was aligned already, arXiv:2405.20495.
//!
//! ```text
//! TQ(s, z) = E_{tau ~ rho(.|s, z)} [r(s, z, tau)]        pi(z|s) ~ pi_sft(z|s) exp(TQ(s, z) / alpha)   over the k likeliest z
//! direct     rho is aligned to r: the mean reward of its rollouts
//! indirect   rho is aligned to r_bl with beta: rollouts weigh exp((r - r_bl) / beta), normalized over those of a token
//! ```
//! The policy of the context is pi_sft, its scorer r. Where no baseline is given, rollouts are pi_sft's own: that is controlled
//! decoding with a value by rollouts. The weights of a token's rollouts may leave few of them in effect; such values are counted
//! in [`Found::doubtful`]. A token that ends the text has its reward for a value. The recorded tree says of each token how many
//! rollouts its value comes from, how many are in effect, and its standard error; where the two best are too close for it, `extra`
//! rollouts of these are drawn. Departures from the authors'
//! code: proposer and baseline, and the two rewards, are separate; the weights are normalized; rollouts go to the end unless
//! `length` cuts them, since a reward of unfinished text means little.

use ascribe_core::{CoreError, Mode, Policy, Reduce, Sampling, Scorer, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::tilt::{Choose, RolloutValue, decode, rollout_value};
use crate::{Estimate, Found, Needs, Path, PromptCtx, Reach, Search, SearchCtx, SearchError};

/// Numbers of [`TransferQ`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransferOptions {
    /// Tokens that are weighed at each place; at least 1.
    pub k: usize,
    /// Rollouts of each token; at least 1.
    pub rollouts: usize,
    /// Most further rollouts of each of the two tokens that look best, as long as the standard error of the difference of their
    /// values exceeds how much better the first looks; for rollouts that are drawn.
    pub extra: usize,
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
        Self {
            k: 10,
            rollouts: 1,
            extra: 0,
            length: None,
            greedy: true,
            alpha: 1.0,
            beta: 1.0,
            floor: 0.2,
            choose: Choose::Best,
        }
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

/// What rollouts of a text earned.
struct Rolled {
    rewards: Vec<f64>,
    /// Logs of their weights.
    tilts: Vec<f64>,
}

impl TransferQ<'_> {
    /// The value of each path, by rollouts.
    fn values(&self, ctx: &mut PromptCtx, paths: &[Path]) -> Result<Option<Vec<f64>>, SearchError> {
        let TransferOptions { rollouts, greedy, extra, .. } = self.options;
        let rollouts = if greedy { 1 } else { rollouts };
        let Some(mut rolled) = self.rolled(ctx, paths, rollouts)? else { return Ok(None) };
        let open: Vec<bool> = paths.iter().map(|path| ctx.is_open(path)).collect();
        let mut spent = vec![0; paths.len()];
        let estimates = loop {
            let estimates = estimated(&rolled, &open)?;
            let Some(best) = self.undecided(paths, &estimates) else { break estimates };
            // One that has ended is known.
            let best: Vec<usize> = best.into_iter().filter(|at| open[*at]).collect();
            let left = best.iter().map(|at| extra - spent[*at]).min().unwrap_or(0);
            let more = rollouts.min(left);
            if more == 0 {
                break estimates;
            }
            let again: Vec<Path> = best.iter().map(|at| paths[*at].redrawn("more", spent[*at] as u64)).collect();
            let Some(added) = self.rolled(ctx, &again, more)? else { return Ok(None) };
            for (at, added) in best.into_iter().zip(added) {
                spent[at] += more;
                rolled[at].rewards.extend(added.rewards);
                rolled[at].tilts.extend(added.tilts);
            }
        };
        let mut doubtful = 0;
        for (at, (path, estimate)) in paths.iter().zip(&estimates).enumerate() {
            let n = rolled[at].rewards.len();
            doubtful += u64::from(estimate.effective < self.options.floor * n as f64);
            let error = Some(estimate.error).filter(|error| error.is_finite());
            let rollouts = if open[at] { n as u64 } else { 0 };
            ctx.estimate(path, Estimate { rollouts, effective: estimate.effective, error });
        }
        ctx.doubt(doubtful);
        Ok(Some(estimates.into_iter().map(|estimate| estimate.value).collect()))
    }

    /// The two tokens that look best, where the error of their difference exceeds the difference; `None` where it does not, and
    /// where more rollouts would change nothing.
    fn undecided(&self, paths: &[Path], estimates: &[RolloutValue]) -> Option<[usize; 2]> {
        let TransferOptions { extra, alpha, .. } = self.options;
        if extra == 0 || alpha.is_infinite() {
            return None;
        }
        // In units of the value.
        let looks: Vec<f64> =
            paths.iter().zip(estimates).map(|(path, estimate)| alpha * path.logp() + estimate.value).collect();
        let mut order: Vec<usize> = (0..looks.len()).collect();
        order.sort_by(|left, right| looks[*right].total_cmp(&looks[*left]));
        let [best, next, ..] = order[..] else { return None };
        let error = estimates[best].error.hypot(estimates[next].error);
        (error > looks[best] - looks[next]).then_some([best, next])
    }

    /// What `n` rollouts of each path earn; a path that has ended is its own rollout.
    fn rolled(&self, ctx: &mut PromptCtx, paths: &[Path], n: usize) -> Result<Option<Vec<Rolled>>, SearchError> {
        let TransferOptions { length, greedy, beta, .. } = self.options;
        // Rollouts are of the baseline itself, so nothing is cut off.
        let mode = if greedy { Mode::Greedy } else { Mode::Sample(Sampling::default()) };
        let reach = length.map_or(Reach::End, Reach::Tokens);
        let open: Vec<usize> = (0..paths.len()).filter(|at| ctx.is_open(&paths[*at])).collect();
        let requests: Vec<_> = open.iter().map(|at| ctx.request(&paths[*at], n, reach, mode)).collect();
        let baseline = self.baseline.unwrap_or(ctx.policy());
        let Some(replies) = ctx.ask(baseline, &requests)? else { return Ok(None) };
        let mut ends: Vec<Vec<Path>> = paths.iter().map(|path| vec![path.clone()]).collect();
        for (at, reply) in open.into_iter().zip(&replies) {
            let written = ctx.children(&paths[at], n, reply);
            if !written.is_empty() {
                ends[at] = written;
            }
        }
        let all = ends.concat();
        let Some(rewards) = ctx.score(&all)? else { return Ok(None) };
        let mut tilts: Vec<f64> = match self.baseline_reward {
            None => vec![0.0; all.len()],
            Some((scorer, reduce)) => {
                let Some(baseline) = ctx.score_by(scorer, reduce, &all)? else { return Ok(None) };
                rewards.iter().zip(&baseline).map(|(r, r_bl)| (f64::from(*r) - f64::from(*r_bl)) / beta).collect()
            }
        };
        let mut rewards: Vec<f64> = rewards.into_iter().map(f64::from).collect();
        let mut rolled = Vec::with_capacity(ends.len());
        for ends in &ends {
            let (rewards, tilts) = (rewards.drain(..ends.len()).collect(), tilts.drain(..ends.len()).collect());
            rolled.push(Rolled { rewards, tilts });
        }
        Ok(Some(rolled))
    }
}

/// The value of each token with its error; that of a text after which nothing can be written is known.
fn estimated(rolled: &[Rolled], open: &[bool]) -> Result<Vec<RolloutValue>, SearchError> {
    let one = |(rolled, open): (&Rolled, &bool)| {
        let estimate = rollout_value(&rolled.rewards, &rolled.tilts)?;
        Ok(if *open { estimate } else { RolloutValue { error: 0.0, ..estimate } })
    };
    rolled.iter().zip(open).map(one).collect()
}

impl Search for TransferQ<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let TransferOptions { k, rollouts, extra, greedy, alpha, beta, floor, choose, .. } = self.options;
        check("k", "at least 1", k as f64, k > 0)?;
        check("rollouts", "at least 1", rollouts as f64, rollouts > 0)?;
        check("alpha", "above 0", alpha, alpha > 0.0)?;
        check("beta", "finite and above 0", beta, beta > 0.0 && beta.is_finite())?;
        check("floor", "in [0, 1]", floor, (0.0..=1.0).contains(&floor))?;
        if extra > 0 && greedy {
            let rule = "`extra` rollouts have to be drawn, since greedy ones are all the same; set `greedy` to false";
            return Err(CoreError::Shape { rule, got: format!("extra {extra} and greedy rollouts") }.into());
        }
        ctx.each(prompts, |ctx| decode(ctx, k, alpha, choose, |ctx, paths| self.values(ctx, paths)))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, top: true, answers: false }
    }
}
