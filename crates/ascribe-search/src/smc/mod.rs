//! Sequential Monte Carlo: particles that are distributed as a target, with its normalizer.
//!
//! ```text
//! G_t = gamma_t(x_1..t) / (gamma_{t-1}(x_1..t-1) q_t(x_t | x_1..t-1)),   gamma_0 = 1
//! log Z += log sum_i W_i G_i;   W_i <- W_i G_i, normalized;   resample when 1 / sum W_i^2 < kappa n
//! ```
//! Feynman-Kac correctors (arXiv:2503.02819) carried from the time of a diffusion to the tokens or steps of a text: any
//! proposal q may be used, because the weights carry the rest. Proposals are local:
//!
//! ```text
//! power      tokens: q ~ p^b, G = sum_v p^b           steps: q = p, G = p(step)^(b - 1)        both times p(before)^(b_t - b_{t-1})
//! product    tokens: q ~ prod p_k^w_k, G = sum_v of it
//! tilted     q = p, G = exp(lambda_t phi_t - lambda_{t-1} phi_{t-1})
//! twisted    tokens: q ~ p exp(scale psi), G = sum_v of it / exp(scale psi before)             steps: as tilted
//! ```
//! Text that has ended waits and stays in resampling; if the schedule still changes, it collects the factor of the change. What
//! is cut by the greatest length competes: the target is over texts of at most that length. `k` cuts the vocabulary of
//! proposals; then the target is the one over texts of such tokens. The log of the normalizer is biased low, the normalizer
//! itself is not.

mod resample;
mod target;

use std::collections::HashMap;

use ascribe_core::{Candidate, Mode, Sampling, Tokens};
use serde::{Deserialize, Serialize};

pub use resample::Resampler;
pub use target::{Schedule, Target};

use crate::error::check;
use crate::majority::voted;
use crate::tilt::{draw, log_sum_exp, times};
use crate::{Found, Needs, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped, VoteWeights};

/// What is proposed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// A token, of the so many likeliest.
    Tokens(usize),
    /// A step, sampled at temperature 1.
    Steps,
}

/// Which particle is chosen at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PickParticle {
    /// One is drawn by weight: a sample of the target.
    #[default]
    Draw,
    /// The heaviest.
    Heaviest,
    /// A vote on answers by weight; see [`SearchCtx::with_answers`].
    Vote,
}

/// Numbers of [`Smc`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmcOptions {
    /// Particles; at least 1.
    pub n: usize,
    /// Particles are resampled when so small a share of them is effective; in [0, 1]. 0 never resamples.
    pub kappa: f64,
    /// How they are resampled.
    pub resampler: Resampler,
    /// What is proposed at once.
    pub grain: Grain,
    /// Most steps, where steps are proposed.
    pub levels: usize,
    /// Which particle is chosen.
    pub pick: PickParticle,
}

impl Default for SmcOptions {
    fn default() -> Self {
        Self {
            n: 16,
            kappa: 0.5,
            resampler: Resampler::Systematic,
            grain: Grain::Steps,
            levels: 40,
            pick: PickParticle::Draw,
        }
    }
}

/// Particles for a target.
#[derive(Clone)]
pub struct Smc<'a> {
    /// The numbers.
    pub options: SmcOptions,
    /// The target.
    pub target: Target<'a>,
}

/// A weighted set of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Particles {
    /// The texts.
    pub paths: Vec<Path>,
    /// Log of their weights, which sum to 1.
    pub log_weights: Vec<f64>,
    /// Log of the estimate of the target's normalizer.
    pub log_z: f64,
    /// Each resampling: the step after which it was done, and where each particle came from.
    pub resampled: Vec<(usize, Vec<usize>)>,
    /// How many of the particles of the beginning have descendants.
    pub ancestors: usize,
    /// Why the search ended early, if it did; the weights are then those of the target at that step.
    pub stopped: Option<Stopped>,
}

/// `1 / sum W^2`, from log-weights that are normalized.
pub fn effective_size(log_weights: &[f64]) -> f64 {
    1.0 / log_weights.iter().map(|weight| (2.0 * weight).exp()).sum::<f64>()
}

#[derive(Clone)]
struct Particle {
    path: Path,
    /// The last value of the scorer.
    potential: f64,
    /// Its number in the beginning.
    origin: usize,
}

/// What may follow each of some prefixes.
struct Proposals {
    /// Unnormalized log-probabilities of the next tokens.
    logits: Vec<Vec<f64>>,
    /// The next texts with what the scorer says of them, where it was asked before; else empty.
    scored: Vec<Vec<(Path, f64)>>,
}

impl Proposals {
    fn of(logits: Vec<Vec<f64>>) -> Self {
        Self { logits, scored: Vec::new() }
    }
}

impl Smc<'_> {
    /// Particles for each prompt.
    ///
    /// # Errors
    /// When an option is out of range, the policy or the scorer fails, or the target gives no particle any weight.
    pub fn particles(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Particles>, SearchError> {
        self.check(ctx)?;
        ctx.each(prompts, |ctx| self.run(ctx))
    }

    fn check(&self, ctx: &SearchCtx) -> Result<(), SearchError> {
        let SmcOptions { n, kappa, grain, levels, .. } = self.options;
        let mode = ctx.mode();
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        check("kappa", "in [0, 1]", kappa, (0.0..=1.0).contains(&kappa))?;
        check("levels", "at least 1", levels as f64, levels > 0)?;
        if let Grain::Tokens(k) = grain {
            check("the tokens of a proposal", "at least 1", k as f64, k > 0)?;
        } else if mode != Mode::Sample(Sampling::default()) {
            let got = format!("{mode:?}");
            let rule = "particles propose steps from the policy as it is (temperature 1, nothing cut off)";
            return Err(ascribe_core::CoreError::Shape { rule, got }.into());
        }
        match &self.target {
            Target::Power(power) => power.check("the power of a target"),
            Target::Tilted(tilt) => tilt.check("the tilt of a target"),
            Target::Twisted(scale) => check("the scale of a twist", "finite", *scale, scale.is_finite()),
            Target::Product { .. } if grain == Grain::Steps => {
                let (rule, got) = ("a product of policies is proposed by tokens", "steps".to_owned());
                Err(ascribe_core::CoreError::Shape { rule, got }.into())
            }
            Target::Product { own, experts } => {
                let mut powers = experts.iter().map(|(_, power)| *power).chain([*own]);
                let wrong = powers.find(|power| !power.is_finite());
                check("the power of an expert", "finite", wrong.unwrap_or(0.0), wrong.is_none())?;
                let ours = ctx.policy().vocabulary();
                let differ = |(ours, other): &(usize, usize)| ours != other;
                match experts.iter().find_map(|(expert, _)| ours.zip(expert.vocabulary()).filter(differ)) {
                    None => Ok(()),
                    Some((ours, other)) => {
                        let rule =
                            "experts of a product need the vocabulary of the policy; use models of one tokenizer";
                        let got = format!("{ours} token ids beside {other}");
                        Err(ascribe_core::CoreError::Shape { rule, got }.into())
                    }
                }
            }
        }
    }

    fn run(&self, ctx: &mut PromptCtx) -> Result<Particles, SearchError> {
        let SmcOptions { n, kappa, resampler, grain, levels, .. } = self.options;
        let root = ctx.root();
        let begin = |origin: usize| Particle { path: copy(&root, origin), potential: 0.0, origin };
        let mut particles: Vec<Particle> = (0..n).map(begin).collect();
        let mut log_weights = vec![-(n as f64).ln(); n];
        let (mut log_z, mut resampled) = (0.0, Vec::new());
        let most = if grain == Grain::Steps { levels } else { ctx.room() };
        let factors = |particles: &[Particle], from: usize, to: usize| -> Vec<f64> {
            particles.iter().map(|particle| self.factor(particle, from, to)).collect()
        };
        for step in 1..=most {
            let open: Vec<usize> = (0..n).filter(|at| ctx.is_open(&particles[*at].path)).collect();
            if open.is_empty() {
                // Everything has ended: what is left of the schedule is one factor.
                log_z += reweigh(&mut log_weights, &factors(&particles, step - 1, most), step)?;
                break;
            }
            let mut gains = factors(&particles, step - 1, step);
            // A step that cannot be weighed is not taken.
            let mut moved = particles.clone();
            let advanced = match grain {
                Grain::Tokens(k) => self.tokens(ctx, &mut moved, &open, step, k)?,
                Grain::Steps => self.steps(ctx, &mut moved, &open, step)?,
            };
            let Some(advanced) = advanced else { break };
            particles = moved;
            for (at, gain) in open.iter().zip(advanced) {
                gains[*at] = gain;
            }
            log_z += reweigh(&mut log_weights, &gains, step)?;
            let goes_on = step < most && particles.iter().any(|particle| ctx.is_open(&particle.path));
            if goes_on && effective_size(&log_weights) < kappa * n as f64 * (1.0 - 1e-9) {
                let weights: Vec<f64> = log_weights.iter().map(|weight| weight.exp()).collect();
                let ancestors = resampler.ancestors(&weights, &mut ctx.seed().stream("resample", step as u64));
                let mut copies = vec![0; n];
                let descend = |&from: &usize| {
                    copies[from] += 1;
                    Particle { path: copy(&particles[from].path, copies[from] - 1), ..particles[from].clone() }
                };
                particles = ancestors.iter().map(descend).collect();
                log_weights = vec![-(n as f64).ln(); n];
                resampled.push((step, ancestors));
            }
        }
        // Particles of one text may share its node.
        let mut held: HashMap<usize, f64> = HashMap::new();
        for (particle, weight) in particles.iter().zip(&log_weights) {
            let held = held.entry(particle.path.node()).or_insert(0.0);
            *held += weight.exp();
            ctx.value(&particle.path, *held);
        }
        let mut origins: Vec<usize> = particles.iter().map(|particle| particle.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        let paths = particles.into_iter().map(|particle| particle.path).collect();
        Ok(Particles { paths, log_weights, log_z, resampled, ancestors: origins.len(), stopped: ctx.stopped() })
    }

    /// What a text that stays as it is gains when the schedule goes from one step to another.
    fn factor(&self, particle: &Particle, from: usize, to: usize) -> f64 {
        match &self.target {
            Target::Power(power) => times(power.at(to, 1.0) - power.at(from, 1.0), particle.path.logp()),
            Target::Tilted(tilt) => times(tilt.at(to, 0.0) - tilt.at(from, 0.0), particle.potential),
            Target::Product { .. } | Target::Twisted(_) => 0.0,
        }
    }

    /// One more token for each particle of `open`; what each gains.
    fn tokens(
        &self,
        ctx: &mut PromptCtx,
        particles: &mut [Particle],
        open: &[usize],
        step: usize,
        k: usize,
    ) -> Result<Option<Vec<f64>>, SearchError> {
        let (prefixes, place) = distinct(open.iter().map(|at| &particles[*at].path));
        let Some(next) = ctx.top(&prefixes, k)? else { return Ok(None) };
        if next.iter().all(Vec::is_empty) {
            ctx.stop(Stopped::Nothing);
            return Ok(None);
        }
        let Some(Proposals { logits, scored }) = self.proposals(ctx, &prefixes, &next, step, k)? else {
            return Ok(None);
        };
        let mut gains = Vec::with_capacity(open.len());
        for (at, place) in open.iter().zip(place) {
            let particle = &mut particles[*at];
            let total = log_sum_exp(&logits[place]);
            if total == f64::NEG_INFINITY {
                gains.push(total);
                continue;
            }
            let normalized: Vec<f64> = logits[place].iter().map(|logit| logit - total).collect();
            let chosen = draw(&normalized, &mut particle.path.seed().stream("choose", 0));
            gains.push(match &self.target {
                Target::Power(_) => total + self.factor(particle, step - 1, step),
                Target::Product { .. } | Target::Tilted(_) => total,
                Target::Twisted(scale) => {
                    let before = times(*scale, particle.potential);
                    particle.potential = scored[place][chosen].1;
                    total - before
                }
            });
            let token = &next[place][chosen];
            particle.path = match scored.get(place) {
                // It was written down when it was scored.
                Some(scored) => particle.path.reaching(chosen, &scored[chosen].0),
                None => ctx.child(&particle.path, chosen, token),
            };
        }
        if let Target::Tilted(tilt) = &self.target {
            return self.tilt(ctx, particles, open, gains, [tilt.at(step - 1, 0.0), tilt.at(step, 0.0)]);
        }
        Ok(Some(gains))
    }

    /// The unnormalized proposal after each prefix.
    fn proposals(
        &self,
        ctx: &mut PromptCtx,
        prefixes: &[Path],
        next: &[Vec<Candidate>],
        step: usize,
        k: usize,
    ) -> Result<Option<Proposals>, SearchError> {
        let powered = |power: f64| -> Vec<Vec<f64>> {
            next.iter().map(|next| next.iter().map(|token| times(power, logp(token))).collect()).collect()
        };
        match &self.target {
            Target::Power(power) => Ok(Some(Proposals::of(powered(power.at(step, 1.0))))),
            Target::Tilted(_) => Ok(Some(Proposals::of(powered(1.0)))),
            Target::Product { own, experts } => {
                let mut logits = powered(*own);
                for (expert, power) in experts.iter().filter(|(_, power)| *power != 0.0) {
                    let Some(theirs) = ctx.top_of(*expert, prefixes, k)? else { return Ok(None) };
                    for ((logits, ours), theirs) in logits.iter_mut().zip(next).zip(theirs) {
                        multiply(logits, ours, &theirs, *power)?;
                    }
                }
                Ok(Some(Proposals::of(logits)))
            }
            Target::Twisted(scale) => {
                let mut children = Vec::new();
                for (prefix, next) in prefixes.iter().zip(next) {
                    for (index, token) in next.iter().enumerate() {
                        children.push(ctx.child(prefix, index, token));
                    }
                }
                let Some(scores) = ctx.score(&children)? else { return Ok(None) };
                let mut all = children.into_iter().zip(scores.into_iter().map(f64::from));
                let scored: Vec<Vec<(Path, f64)>> =
                    next.iter().map(|next| all.by_ref().take(next.len()).collect()).collect();
                let mut logits = powered(1.0);
                for (logits, scored) in logits.iter_mut().zip(&scored) {
                    logits.iter_mut().zip(scored).for_each(|(logit, (_, twist))| *logit += times(*scale, *twist));
                }
                Ok(Some(Proposals { logits, scored }))
            }
        }
    }

    /// One more step for each particle of `open`; what each gains.
    fn steps(
        &self,
        ctx: &mut PromptCtx,
        particles: &mut [Particle],
        open: &[usize],
        step: usize,
    ) -> Result<Option<Vec<f64>>, SearchError> {
        // The first steps are samples of one prompt.
        let written = if step == 1 {
            let root = ctx.root();
            ctx.write(&[root], open.len(), Reach::Step)?.map(|written| written.concat().into_iter().map(Some).collect())
        } else {
            let paths: Vec<Path> = open.iter().map(|at| particles[*at].path.clone()).collect();
            let first = |written: Vec<Path>| written.into_iter().next();
            ctx.write(&paths, 1, Reach::Step)?.map(|written| written.into_iter().map(first).collect::<Vec<_>>())
        };
        let Some(mut written) = written else { return Ok(None) };
        if written.iter().all(Option::is_none) {
            ctx.stop(Stopped::Nothing);
            return Ok(None);
        }
        written.resize(open.len(), None);
        let mut gains = Vec::with_capacity(open.len());
        for (at, written) in open.iter().zip(written) {
            let particle = &mut particles[*at];
            let Some(path) = written else {
                gains.push(f64::NEG_INFINITY);
                continue;
            };
            gains.push(match &self.target {
                Target::Power(power) => {
                    let added = path.logp() - particle.path.logp();
                    times(power.at(step, 1.0) - 1.0, added) + self.factor(particle, step - 1, step)
                }
                Target::Product { .. } | Target::Tilted(_) | Target::Twisted(_) => 0.0,
            });
            particle.path = path;
        }
        match &self.target {
            Target::Tilted(tilt) => {
                self.tilt(ctx, particles, open, gains, [tilt.at(step - 1, 0.0), tilt.at(step, 0.0)])
            }
            Target::Twisted(scale) => self.tilt(ctx, particles, open, gains, [*scale; 2]),
            Target::Power(_) | Target::Product { .. } => Ok(Some(gains)),
        }
    }

    /// Adds the change of `strength * score` to what each particle of `open` gains.
    fn tilt(
        &self,
        ctx: &mut PromptCtx,
        particles: &mut [Particle],
        open: &[usize],
        mut gains: Vec<f64>,
        [before, now]: [f64; 2],
    ) -> Result<Option<Vec<f64>>, SearchError> {
        let alive: Vec<usize> = (0..open.len()).filter(|at| gains[*at] > f64::NEG_INFINITY).collect();
        let paths: Vec<Path> = alive.iter().map(|at| particles[open[*at]].path.clone()).collect();
        let Some(scores) = ctx.score(&paths)? else { return Ok(None) };
        for (at, score) in alive.into_iter().zip(scores) {
            let particle = &mut particles[open[at]];
            gains[at] += times(now, f64::from(score)) - times(before, particle.potential);
            particle.potential = f64::from(score);
        }
        Ok(Some(gains))
    }
}

impl Search for Smc<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        self.check(ctx)?;
        ctx.each(prompts, |ctx| {
            let Particles { paths, log_weights, .. } = self.run(ctx)?;
            if paths.iter().all(|path| path.tokens().is_empty()) {
                return Ok(ctx.unfinished());
            }
            let weights: Vec<f32> = log_weights.iter().map(|weight| weight.exp() as f32).collect();
            let chosen = match self.options.pick {
                PickParticle::Draw => draw(&log_weights, &mut ctx.seed().stream("particle", 0)),
                PickParticle::Heaviest => crate::tilt::largest(&log_weights),
                PickParticle::Vote => {
                    let all: Vec<usize> = (0..paths.len()).collect();
                    voted(ctx, &paths, &weights, VoteWeights::Identity, &all)?
                }
            };
            Ok(ctx.found(&paths, Some(weights), chosen))
        })
    }

    fn needs(&self) -> Needs {
        Needs {
            scorer: matches!(self.target, Target::Tilted(_) | Target::Twisted(_)),
            answers: self.options.pick == PickParticle::Vote,
            top: matches!(self.options.grain, Grain::Tokens(_)),
        }
    }
}

/// Copy number `number` of a text: the first goes on as the text would have, the others draw other things.
fn copy(path: &Path, number: usize) -> Path {
    if number == 0 { path.clone() } else { path.redrawn("copy", number as u64) }
}

/// The log of the mean gain; the weights become those with the gains. What has no weight never gains any.
fn reweigh(log_weights: &mut [f64], gains: &[f64], step: usize) -> Result<f64, SearchError> {
    for (weight, gain) in log_weights.iter_mut().zip(gains) {
        if *weight > f64::NEG_INFINITY {
            *weight += gain;
        }
    }
    let total = log_sum_exp(log_weights);
    if !total.is_finite() {
        return Err(SearchError::Dead { step });
    }
    log_weights.iter_mut().for_each(|weight| *weight -= total);
    Ok(total)
}

/// Paths of distinct tokens, and which of them each path is.
fn distinct<'p>(paths: impl Iterator<Item = &'p Path>) -> (Vec<Path>, Vec<usize>) {
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let (mut distinct, mut place) = (Vec::new(), Vec::new());
    for path in paths {
        place.push(*known.entry(path.tokens()).or_insert_with(|| {
            distinct.push(path.clone());
            distinct.len() - 1
        }));
    }
    (distinct, place)
}

/// Multiplies a proposal over the tokens `ours` by a power of an expert's probabilities. A token that the expert does not
/// name is impossible to it.
fn multiply(logits: &mut [f64], ours: &[Candidate], theirs: &[Candidate], power: f64) -> Result<(), SearchError> {
    let theirs: HashMap<&[u32], f64> = theirs.iter().map(|token| (&token.tokens[..], logp(token))).collect();
    for (logit, token) in logits.iter_mut().zip(ours) {
        *logit += match theirs.get(&token.tokens[..]) {
            Some(logp) => times(power, *logp),
            None if power > 0.0 => f64::NEG_INFINITY,
            None => {
                let (rule, got) = ("an expert of negative power must allow what the others do", format!("{token:?}"));
                return Err(ascribe_core::CoreError::Shape { rule, got }.into());
            }
        };
    }
    Ok(())
}

fn logp(token: &Candidate) -> f64 {
    token.logps.iter().map(|logp| f64::from(*logp)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_size_worked_by_hand() {
        let log: Vec<f64> = [0.7f64, 0.1, 0.1, 0.1].iter().map(|weight| weight.ln()).collect();
        assert!((effective_size(&log) - 1.923077).abs() < 1e-6);
        // Below 0.5 * 4: such particles are resampled.
        assert!(effective_size(&log) < 2.0);
        assert!((effective_size(&[-(4f64.ln()); 4]) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn weights_are_invariant_to_a_common_gain_which_moves_the_normalizer() {
        let mut plain = vec![-(2f64.ln()); 2];
        let mut shifted = plain.clone();
        let first = reweigh(&mut plain, &[0.0, 1.0], 1).unwrap();
        let second = reweigh(&mut shifted, &[3.0, 4.0], 1).unwrap();
        assert!((second - first - 3.0).abs() < 1e-12);
        assert!(plain.iter().zip(&shifted).all(|(a, b)| (a - b).abs() < 1e-12));
        // log((1 + e) / 2).
        assert!((first - ((1.0 + 1f64.exp()) / 2.0).ln()).abs() < 1e-12);
        let mut dead = vec![0.0];
        assert!(matches!(reweigh(&mut dead, &[f64::NEG_INFINITY], 7), Err(SearchError::Dead { step: 7 })));
        let mut half = vec![f64::NEG_INFINITY, 0.0];
        assert_eq!(reweigh(&mut half, &[f64::NAN, 0.0], 1).unwrap(), 0.0);
    }
}
