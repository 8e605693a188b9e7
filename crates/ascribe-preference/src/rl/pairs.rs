//! Iterative DPO: each round the policy writes, someone says which response to a prompt is best and which is worst, and the
//! pairs are learned from. Labels by a reward, by what the policy itself has learned to prefer, or by both: arXiv:2312.16682,
//! arXiv:2406.09760, arXiv:2409.03650.
//!
//! ```text
//! round:  n responses to each prompt -> label r -> (best, worst) where r_best - r_worst >= margin -> passes over the pairs
//! implicit label:  r = beta (log pi(y|x) - log pi_0(y|x)),   pi the policy of the round, pi_0 the first reference
//! ```
//! Each response carries by how much its label is above the mean of those of all responses to its prompt, for a loss on scores:
//! GPO, arXiv:2410.02197, section 5, whose reward is the mean of the preferences over all of them; these sum up to 0. Or the chance
//! to win against one of them less one half, as Bradley and Terry have it: SPPO, arXiv:2405.00675, eq. 4.7; where a preference
//! model has compared them, these chances are its labels themselves ([`Earned`]).
//!
//! The reference of a round is its policy, or the first reference. With both labels a pair stays where they agree. Of equal
//! labels the first is taken. Rounds are read in the order of the data, and the rows of a round wait in checkpoints.
//!
//! CREAM, arXiv:2410.12735, says how far a pair can be relied upon: as far as the policy of the round before ranks the
//! responses to its prompt in the same way ([`Agreement`]).
//!
//! ```text
//! now:  log pi(y|x) - log pi_0(y|x);   before: the same of the round before, or log pi_0(y|x) / |y| in the first round
//! ```

use std::path::Path;

use ascribe_core::{CoreError, Episode, Mode, Reduce, Request, Sampling, Scorer, Seed, Tokens, Until};
use ascribe_data::{Batch, Cursor, Epochs};
use ascribe_lm::{Decoder, LocalPolicy, Row, Tokenizer};
use ascribe_train::{Source, TrainError, Window};
use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::reward::credits;
use super::source::{Metrics, share};
use super::writing::{ragged, written};
use super::{Rollout, kept, text_of};
use crate::TrainRow;

/// The file of pending pairs in a checkpoint.
const FILE: &str = "pairs.json";

/// The folders of the policies of the round before and of the pending one.
const BEFORE: &str = "policy_before";
const WRITER: &str = "policy_of_round";

/// Who says what a response is worth.
#[derive(Clone, Copy)]
pub enum Labeler<'a> {
    /// A reward.
    Explicit(&'a dyn Scorer),
    /// What the policy has learned to prefer, which says nothing before it has learned.
    Implicit,
    /// A reward; pairs of which the policy thinks otherwise are left out.
    Both(&'a dyn Scorer),
}

impl<'a> Labeler<'a> {
    fn scorer(self) -> Option<&'a dyn Scorer> {
        match self {
            Self::Explicit(scorer) | Self::Both(scorer) => Some(scorer),
            Self::Implicit => None,
        }
    }
}

/// How two lists of scores of the same responses agree, from 0 to 1; `None` where one of them ranks nothing.
pub type Agree<'a> = &'a dyn Fn(&[f64], &[f64]) -> Result<Option<f64>, CoreError>;

/// How far pairs can be relied upon: [`TrainRow::consistency`] for a loss that asks for it.
#[derive(Clone, Copy)]
pub struct Agreement<'a> {
    /// Compares the scores under the policy of a round with those under the policy of the round before. Prompts of which it
    /// says nothing give no pair.
    pub of: Agree<'a>,
    /// Whether each prompt has its own, and not the mean over the prompts of the round.
    pub per_prompt: bool,
    /// The policy that training starts from. Policies of rounds are read from checkpoints as decoders of its shape, which the
    /// first reference need not have.
    pub policy: &'a Decoder,
}

/// The chance that the chosen response of a pair is the better one, by a policy that is asked in another way: one a pair, and
/// none where it cannot be asked.
pub type Decide<'a> = &'a dyn Fn(&Decoder, &[TrainRow]) -> Result<Vec<Option<f64>>, TrainError>;

/// What becomes of pairs that a policy decides in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divided {
    /// They are left out.
    LeftOut,
    /// They stay, and each pair is told the chance: [`TrainRow::consistency`], for [`Scir`](super::Scir).
    Kept,
}

/// What a response carries for a loss on scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Earned {
    /// By how much its label is above the mean of those of all responses to its prompt.
    #[default]
    Leads,
    /// How often it wins against one of them, itself included, less one half, by what their labels say as Bradley and Terry have
    /// it.
    WinRates,
    /// Its label, of a scorer that has compared the responses to a prompt.
    Labels,
}

impl Earned {
    /// What a response with this label earns beside all to its prompt, itself included.
    fn of(self, label: f64, all: &[f64]) -> f64 {
        let n = all.len() as f64;
        match self {
            Self::Leads => all.iter().map(|other| label - other).sum::<f64>() / n,
            Self::WinRates => all.iter().map(|other| 1.0 / (1.0 + (other - label).exp()) - 0.5).sum::<f64>() / n,
            Self::Labels => label,
        }
    }
}

/// Options of rounds.
#[derive(Clone, Debug, PartialEq)]
pub struct PairConfig {
    /// Prompts of a round.
    pub prompts: usize,
    /// Responses to each prompt; at least 2.
    pub num_generations: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of a response.
    pub max_completion_length: usize,
    /// Tokens that end a response.
    pub ends: Vec<u32>,
    /// Most tokens of prompt and response together.
    pub context: usize,
    /// Pairs of an optimizer step.
    pub window: usize,
    /// Passes over the pairs of a round.
    pub passes: usize,
    /// Least difference of the labels of a pair; above it, or equal, and never 0.
    pub margin: f64,
    /// What a log-ratio is multiplied by in an implicit label.
    pub beta: f64,
    /// Whether the reference of a round is its policy, and not the first reference.
    pub follow: bool,
    /// What responses carry for a loss on scores.
    pub earned: Earned,
    /// Responses that go through the model at once, outside of training.
    pub batch: usize,
    /// Root of the random streams.
    pub seed: Seed,
}

impl Default for PairConfig {
    fn default() -> Self {
        Self {
            prompts: 64,
            num_generations: 4,
            sampling: Sampling::default(),
            max_completion_length: 256,
            ends: Vec::new(),
            context: 2048,
            window: 16,
            passes: 1,
            margin: 0.0,
            beta: 0.1,
            follow: true,
            earned: Earned::Leads,
            batch: 8,
            seed: Seed(0),
        }
    }
}

impl PairConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), CoreError> {
        self.sampling.check()?;
        let counts = [
            ("the number of prompts of a round", self.prompts, 1),
            ("num_generations", self.num_generations, 2),
            ("max_completion_length", self.max_completion_length, 1),
            ("the number of pairs of a step", self.window, 1),
            ("the number of passes over a round", self.passes, 1),
            ("the batch of a pass", self.batch, 1),
        ];
        if let Some((name, got, _)) = counts.into_iter().find(|(_, count, least)| count < least) {
            let rule = "at least 1, and at least 2 for the responses to a prompt";
            return Err(CoreError::Range { name, rule, got: got as f64 });
        }
        let accepted = self.margin >= 0.0 && self.margin.is_finite();
        if !accepted {
            return Err(CoreError::Range { name: "margin", rule: "finite and at least 0", got: self.margin });
        }
        match self.beta > 0.0 && self.beta.is_finite() {
            true => Ok(()),
            false => Err(CoreError::Range { name: "beta", rule: "finite and above 0", got: self.beta }),
        }
    }
}

/// Where the source stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    round: u64,
    /// Steps made on the pending pairs.
    used: usize,
    pending: Vec<TrainRow>,
    metrics: Vec<(String, f64)>,
    /// Where the prompts of the next round begin.
    next: Cursor,
    /// What the labeler's reward and the truth remember, as bits.
    #[serde(default)]
    scorers: Vec<Vec<u64>>,
}

/// The policy as a source of pairs, for a [`LogpLearner`](crate::LogpLearner) with a loss on pairs.
pub struct OnlinePairs<'a> {
    prompts: &'a [Tokens],
    labeler: Labeler<'a>,
    reference: Decoder,
    config: PairConfig,
    tokenizer: Option<&'a Tokenizer>,
    gold: Option<&'a dyn Scorer>,
    agreement: Option<Agreement<'a>>,
    judge: Option<(Decide<'a>, Divided)>,
    /// The policy of the round before; none in the first round.
    before: Option<Decoder>,
    /// The policy of the pending round, where agreement will ask for it.
    writer: Option<Decoder>,
    order: Epochs,
    cursor: Cursor,
    state: State,
}

impl<'a> OnlinePairs<'a> {
    /// A source of pairs of responses to `prompts`; `reference` is the first reference.
    ///
    /// # Errors
    /// When an option is out of its range or there is no prompt.
    pub fn new(
        prompts: &'a [Tokens],
        labeler: Labeler<'a>,
        reference: Decoder,
        config: PairConfig,
    ) -> Result<Self, TrainError> {
        config.check()?;
        if prompts.is_empty() {
            return Err(TrainError::NoRows);
        }
        let order = Epochs::new(prompts.len(), config.seed.child("prompts", 0))?;
        Ok(Self {
            prompts,
            labeler,
            reference: reference.valid(),
            config,
            tokenizer: None,
            gold: None,
            agreement: None,
            judge: None,
            before: None,
            writer: None,
            order,
            cursor: Cursor::default(),
            state: State::default(),
        })
    }

    /// The same with the tokenizer, so that scorers see text.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer: Some(tokenizer), ..self }
    }

    /// The same with the truth, which is only logged: how often it finds the chosen response the better one.
    #[must_use]
    pub fn with_gold(self, gold: &'a dyn Scorer) -> Self {
        Self { gold: Some(gold), ..self }
    }

    /// The same with pairs that are relied upon as far as the policies of two rounds agree.
    #[must_use]
    pub fn with_agreement(self, agreement: Agreement<'a>) -> Self {
        Self { agreement: Some(agreement), ..self }
    }

    /// The same with pairs that the policy decides once more when it is asked in another way, alike where the chance is above one
    /// half: SCIR, arXiv:2502.08922.
    #[must_use]
    pub fn with_judge(self, judge: Decide<'a>, divided: Divided) -> Self {
        Self { judge: Some((judge, divided)), ..self }
    }

    /// The pairs that are pending.
    pub fn pending(&self) -> &[TrainRow] {
        &self.state.pending
    }

    /// All that judges responses.
    fn scorers(&self) -> Vec<&'a dyn Scorer> {
        self.labeler.scorer().into_iter().chain(self.gold).collect()
    }

    /// Steps of the pending round.
    fn steps(&self) -> usize {
        self.state.pending.len().div_ceil(self.config.window) * self.config.passes
    }

    /// The next round that gives pairs. One without is passed over, and a pass over all prompts without is an error.
    fn find(&mut self, model: &Decoder) -> Result<(), TrainError> {
        for _ in 0..self.order.batches(self.config.prompts) {
            let (found, next) = self.round(model)?;
            if let Some(state) = found {
                self.state = state;
                self.writer = self.agreement.map(|_| without_adapter(model)).transpose()?;
                return Ok(());
            }
            self.cursor = next;
            self.state = State { round: self.state.round + 1, next, ..State::default() };
        }
        let rule = "a pass over the prompts needs two responses to one of them that the labels tell apart";
        Err(CoreError::Shape { rule, got: "none".to_owned() }.into())
    }

    /// Writes and labels the responses of a round; gives its pairs, if there are any, and where the next round begins.
    fn round(&self, model: &Decoder) -> Result<(Option<State>, Cursor), TrainError> {
        let config = &self.config;
        let Batch { rows, next } = self.order.batch(self.cursor, config.prompts)?;
        let model = model.valid();
        let policy = LocalPolicy::new(&model, &config.ends, config.context)?;
        let seed = config.seed.child("round", self.state.round);
        let request = |(at, row): (usize, &usize)| Request {
            prefix: self.prompts[*row].clone(),
            n: config.num_generations,
            until: Until::End,
            mode: Mode::Sample(config.sampling),
            max_new: config.max_completion_length,
            seed: seed.child("prompt", at as u64),
        };
        let requests: Vec<Request> = rows.iter().enumerate().map(request).collect();
        let rollouts = written(&policy, &requests, &config.sampling, &config.ends)?;
        let (ours, first) = (self.logps(&model, &rollouts)?, self.logps(&self.reference, &rollouts)?);
        let sum = |logps: &[f32]| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>();
        let ratios: Vec<f64> = ours.iter().zip(&first).map(|(ours, first)| sum(ours) - sum(first)).collect();
        let implicit: Vec<Option<f64>> = ratios.iter().map(|ratio| Some(config.beta * ratio)).collect();
        let explicit = self.labeler.scorer().map(|scorer| self.scores(scorer, &rollouts)).transpose()?;
        let gold = self.gold.map(|gold| self.scores(gold, &rollouts)).transpose()?;
        let labels = explicit.as_ref().unwrap_or(&implicit);
        let before = self.agreement.map(|_| self.scores_before(&rollouts, &first)).transpose()?;
        let (mut pending, mut margins, mut right) = (Vec::new(), Vec::new(), Vec::new());
        let mut consistencies = Vec::new();
        let mut end = 0;
        for group in rollouts.chunk_by(|one, other| one.group == other.group) {
            let start = end;
            end += group.len();
            let mut consistency = None;
            if let (Some(agreement), Some(before)) = (&self.agreement, &before) {
                let Some(c) = (agreement.of)(&ratios[start..end], &before[start..end])? else { continue };
                consistencies.push(c);
                consistency = Some(c as f32);
            }
            let Some((best, worst)) = extremes(&labels[start..end]) else { continue };
            let (best, worst) = (start + best, start + worst);
            let margin = labels[best].unwrap_or(f64::NAN) - labels[worst].unwrap_or(f64::NAN);
            let agreed = !matches!(self.labeler, Labeler::Both(_)) || implicit[best] > implicit[worst];
            let clear = margin > 0.0 && margin >= config.margin;
            if !(clear && agreed && rollouts[best].response != rollouts[worst].response) {
                continue;
            }
            let mut row = TrainRow::pair(
                rollouts[best].prompt.clone(),
                rollouts[best].response.clone(),
                rollouts[worst].response.clone(),
            );
            let reference = if config.follow { &ours } else { &first };
            let known: Vec<f64> = labels[start..end].iter().flatten().copied().collect();
            for (response, at) in row.responses.iter_mut().zip([best, worst]) {
                response.ref_logps = Some(reference[at].clone());
                response.score = labels[at].map(|label| config.earned.of(label, &known) as f32);
            }
            row.consistency = consistency;
            pending.push(row);
            margins.push(margin);
            let both = gold.as_ref().and_then(|gold| Some((gold[best]?, gold[worst]?)));
            // A tie is one half.
            right.push(both.map(|(best, worst)| if best == worst { 0.5 } else { f64::from(u8::from(best > worst)) }));
        }
        let mut metrics = Metrics::default();
        if let Some((judge, divided)) = self.judge {
            let decided = judge(&model, &pending)?;
            if decided.len() != pending.len() {
                let got = format!("{} for {} pairs", decided.len(), pending.len());
                return Err(CoreError::Shape { rule: "a judge decides every pair", got }.into());
            }
            let alike: Vec<bool> = decided.iter().map(|chance| chance.is_some_and(|chance| chance > 0.5)).collect();
            metrics.push("pairs/unanimous", share(&alike));
            let kept = match divided {
                Divided::LeftOut => alike,
                Divided::Kept => {
                    let told = pending.iter_mut().zip(&decided);
                    told.for_each(|(row, chance)| row.consistency = chance.map(|chance| chance as f32));
                    decided.iter().map(Option::is_some).collect()
                }
            };
            keep(&mut pending, &kept);
            keep(&mut margins, &kept);
            keep(&mut right, &kept);
        }
        if pending.is_empty() {
            if matches!(self.labeler, Labeler::Implicit | Labeler::Both(_)) && ratios.iter().all(|ratio| *ratio == 0.0)
            {
                let rule =
                    "implicit labels need a policy that has learned something: train it first, or label by a reward";
                return Err(CoreError::Shape { rule, got: "a policy that is its reference".to_owned() }.into());
            }
            return Ok((None, next));
        }
        let right: Vec<f64> = right.into_iter().flatten().collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        metrics.push("round", self.state.round as f64);
        metrics.push("pairs/kept", pending.len() as f64 / rows.len() as f64);
        metrics.push("pairs/margin", mean(&margins));
        // To the first reference, and not to that of the round alone.
        metrics.push("kl_to_reference", mean(&ratios));
        metrics.of_lengths(&rollouts);
        if let Some(explicit) = &explicit {
            metrics.push("reward", mean(&explicit.iter().flatten().copied().collect::<Vec<_>>()));
        }
        if !right.is_empty() {
            metrics.push("pairs/label_accuracy", mean(&right));
        }
        if let Some(agreement) = &self.agreement {
            let c = mean(&consistencies);
            metrics.push("pairs/consistency", c);
            if !agreement.per_prompt {
                pending.iter_mut().for_each(|row| row.consistency = Some(c as f32));
            }
        }
        let (round, metrics, scorers) = (self.state.round, metrics.into_named(), kept::memories(&self.scorers()));
        Ok((Some(State { round, used: 0, pending, metrics, next, scorers }), next))
    }

    /// Scores of responses under the policy of the round before, given log-probabilities under the first reference.
    fn scores_before(&self, rollouts: &[Rollout], first: &[Vec<f32>]) -> Result<Vec<f64>, TrainError> {
        let sum = |logps: &[f32]| logps.iter().map(|logp| f64::from(*logp)).sum::<f64>();
        Ok(match &self.before {
            Some(before) => {
                self.logps(before, rollouts)?.iter().zip(first).map(|(then, first)| sum(then) - sum(first)).collect()
            }
            None => first.iter().map(|first| sum(first) / first.len().max(1) as f64).collect(),
        })
    }

    /// Log-probabilities of responses at temperature 1, by the code that trains.
    fn logps(&self, model: &Decoder, rollouts: &[Rollout]) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut all = Vec::with_capacity(rollouts.len());
        for batch in rollouts.chunks(self.config.batch) {
            let rows: Vec<Row> =
                batch.iter().map(|rollout| Row { prompt: &rollout.prompt, response: &rollout.response }).collect();
            let (logps, _) = model.response_logps(&rows)?;
            all.extend(ragged(logps, batch));
        }
        Ok(all)
    }

    /// Scores of responses; `None` where nothing can judge one.
    fn scores(&self, scorer: &dyn Scorer, rollouts: &[Rollout]) -> Result<Vec<Option<f64>>, TrainError> {
        let mut episodes = Vec::with_capacity(rollouts.len());
        for rollout in rollouts {
            let mut episode = Episode::new(&rollout.prompt, &rollout.response);
            episode.complete = rollout.complete;
            if let Some(tokenizer) = self.tokenizer {
                episode = episode.with_text(text_of(tokenizer, &rollout.prompt, &rollout.response)?)?;
            }
            episodes.push(episode);
        }
        let mut scores = Vec::with_capacity(episodes.len());
        for (credit, episode) in credits(scorer, &episodes)?.iter().zip(&episodes) {
            let score = f64::from(credit.to_sequence(episode, Reduce::Sum)?);
            scores.push((!score.is_nan()).then_some(score));
        }
        Ok(scores)
    }
}

/// Places of the best and of the worst label, the first of equal ones; `None` where fewer than two are there.
fn extremes(labels: &[Option<f64>]) -> Option<(usize, usize)> {
    let there: Vec<(usize, f64)> = labels.iter().enumerate().filter_map(|(at, label)| Some((at, (*label)?))).collect();
    let first = *there.first().filter(|_| there.len() > 1)?;
    let best = there.iter().fold(first, |best, one| if one.1 > best.1 { *one } else { best });
    let worst = there.iter().fold(first, |worst, one| if one.1 < worst.1 { *one } else { worst });
    Some((best.0, worst.0))
}

impl Source<Decoder, TrainRow> for OnlinePairs<'_> {
    fn window(&mut self, model: &Decoder) -> Result<Window<'_, TrainRow>, TrainError> {
        if self.state.pending.is_empty() {
            self.find(model)?;
        }
        let (n, window) = (self.state.pending.len(), self.config.window);
        let batches = n.div_ceil(window);
        let (pass, part) = (self.state.used / batches, self.state.used % batches);
        let seed = self.config.seed.child("passes", self.state.round);
        let order = Epochs::new(n, seed)?.order(pass as u64);
        let rows = order.iter().skip(part * window).take(window).map(|at| &self.state.pending[*at]).collect();
        Ok(Window { rows, metrics: self.state.metrics.clone() })
    }

    fn advance(&mut self) {
        self.state.used += 1;
        if self.state.used >= self.steps() {
            self.cursor = self.state.next;
            self.before = self.writer.take();
            let State { round, next, scorers, .. } = std::mem::take(&mut self.state);
            self.state = State { round: round + 1, next, scorers, ..State::default() };
        }
    }

    fn epoch(&self) -> f64 {
        self.cursor.epoch as f64 + self.cursor.position as f64 / self.prompts.len() as f64
    }

    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        for (name, policy) in [(BEFORE, &self.before), (WRITER, &self.writer)] {
            if let Some(policy) = policy {
                policy.save_weights(&folder.join(name))?;
            }
        }
        kept::save(folder, FILE, &self.state)
    }

    fn resume(&mut self, folder: &Path, cursor: Cursor) -> Result<(), TrainError> {
        self.state = kept::read(folder, FILE)?;
        self.cursor = cursor;
        let like = self.agreement.map_or(&self.reference, |agreement| agreement.policy);
        for (name, policy) in [(BEFORE, &mut self.before), (WRITER, &mut self.writer)] {
            let folder = folder.join(name);
            *policy = folder.is_dir().then(|| like.with_weights(&folder)).transpose()?.map(|it| it.valid());
        }
        Ok(kept::remember(&self.scorers(), &self.state.scorers)?)
    }
}

/// What is flagged.
fn keep<T>(all: &mut Vec<T>, flags: &[bool]) {
    let mut flags = flags.iter();
    all.retain(|_| flags.next().is_some_and(|flag| *flag));
}

/// The policy as it is, which does not change as it is trained on.
fn without_adapter(model: &Decoder) -> Result<Decoder, TrainError> {
    let model = model.valid();
    Ok(match model.lora() {
        Some(_) => model.merged()?.valid(),
        None => model,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earnings_by_hand() {
        // Labels 0, ln 3 and ln 3: leads of ln 3 / 3 and -2 ln 3 / 3; wins of 3/4 against the one, and 1/2 against equals.
        let three = 3.0f64.ln();
        let all = [0.0, three, three];
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got} beside {expected}");
        close(Earned::Leads.of(three, &all), three / 3.0);
        close(Earned::Leads.of(0.0, &all), -2.0 * three / 3.0);
        close(Earned::WinRates.of(three, &all), 0.25 / 3.0);
        close(Earned::WinRates.of(0.0, &all), -0.5 / 3.0);
        // Far apart it is sure, and nothing overflows.
        close(Earned::WinRates.of(-1e4, &[-1e4, 1e4]), -0.25);
        close(Earned::WinRates.of(1e4, &[-1e4, 1e4]), 0.25);
        // What compared them has said it.
        close(Earned::Labels.of(0.125, &[0.125, -0.25, 0.125]), 0.125);
    }

    #[test]
    fn extremes_by_hand() {
        assert_eq!(extremes(&[Some(1.0), Some(3.0), Some(3.0), Some(0.5)]), Some((1, 3)));
        assert_eq!(extremes(&[None, Some(2.0), None, Some(2.0)]), Some((1, 1)));
        assert_eq!(extremes(&[None, Some(2.0)]), None);
        assert_eq!(extremes(&[]), None);
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(PairConfig::default().check().is_ok());
        for wrong in [
            PairConfig { num_generations: 1, ..PairConfig::default() },
            PairConfig { prompts: 0, ..PairConfig::default() },
            PairConfig { window: 0, ..PairConfig::default() },
            PairConfig { passes: 0, ..PairConfig::default() },
            PairConfig { margin: -1.0, ..PairConfig::default() },
            PairConfig { margin: f64::NAN, ..PairConfig::default() },
            PairConfig { beta: 0.0, ..PairConfig::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
