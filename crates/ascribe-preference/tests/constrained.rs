//! PPO under constraints: multipliers that follow their bounds, advantages that are the weighted sum, a bandit whose
//! constrained optimum is known, and runs that are killed.

use std::sync::atomic::{AtomicUsize, Ordering};

use ascribe_core::advantage::{AdvantageEstimator, Constraints, Gae, Normalize};
use ascribe_core::{CoreError, Credit, Episode, Objective, Scorer, Seed, Tokens, rule};
use ascribe_lm::{Decoder, DecoderConfig, LanguageModel, RandomWeights};
use ascribe_preference::rl::{
    Actor, DeadGroups, OnPolicy, POLICY_LOSSES, PolicyOptions, RolloutConfig, RolloutLearner, ValueTerm,
};
use ascribe_reward::constrain::{AdaptiveConfig, Constraint, Lagrange, LagrangeConfig, Multiplier};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::root;
use ascribe_train::{Checkpoints, Fit, FitConfig, ScheduleKind, Source, StepReport};

const GAE: Gae = Gae { gamma: 1.0, lambda: 0.95, normalize: Normalize::No };

fn tiny(seed: u64) -> Decoder {
    let config = DecoderConfig::tiny(12, 16, 1, 2, 32);
    Decoder::load(&config, &mut RandomWeights { seed: Seed(seed), layers: 1 }, &device().autodiff()).expect("fresh")
}

/// The share of tokens that are this one.
fn share_of(wanted: u32) -> impl Scorer {
    rule(move |episode: &Episode| {
        let response = episode.response_tokens();
        response.iter().filter(|token| **token == wanted).count() as f32 / response.len() as f32
    })
}

fn prompts() -> Vec<Tokens> {
    (1..5u32).map(|first| Tokens::from(vec![first, first + 3])).collect()
}

fn config() -> RolloutConfig {
    RolloutConfig {
        prompts: 4,
        num_generations: 4,
        max_completion_length: 4,
        ends: vec![0],
        context: 64,
        batch: 16,
        seed: Seed(5),
        ..RolloutConfig::default()
    }
}

fn fit_config() -> FitConfig {
    FitConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        per_device_train_batch_size: 64,
        ..FitConfig::default()
    }
}

/// PPO with a critic for each of so many constraints, and one more.
fn ppo(constraints: usize, entropy_coef: f64) -> Box<dyn Objective> {
    let value = Some(ValueTerm { coef: 0.1, clip: Some(0.2) });
    let options = PolicyOptions { value, entropy_coef, critics: constraints, ..PolicyOptions::default() };
    let (_, _, make) = POLICY_LOSSES.iter().find(|(name, ..)| *name == "ppo").expect("it is in the table");
    make(&options).expect("sound options")
}

fn lagrange(thresholds: &[f64], multiplier: Multiplier, learning_rate: f64) -> Lagrange {
    let thresholds = thresholds.to_vec();
    let config = LagrangeConfig { thresholds, multiplier, learning_rate, ..LagrangeConfig::default() };
    config.init(&mut Seed(1).stream("multipliers", 0)).expect("sound options")
}

fn metric(reports: &[StepReport], name: &str) -> Vec<f64> {
    reports.iter().map(|report| report.metric(name).expect("it is logged")).collect()
}

#[test]
fn a_weight_rises_while_its_bound_is_not_reached_and_falls_beyond() {
    let (prompts, threes, fours, fives) = (prompts(), share_of(3), share_of(4), share_of(5));
    for multiplier in [Multiplier::Plain, Multiplier::Squashed] {
        // A share is never 2 and never below -1.
        let bounds = lagrange(&[2.0, -1.0], multiplier, 0.1);
        let objective = ppo(2, 0.0);
        let source = OnPolicy::new(&prompts, &fives, &GAE, objective.needs(), config()).expect("sound options");
        let source = source.with_constraints(vec![&threes, &fours], &bounds).expect("sound options");
        let learner = RolloutLearner::new(objective.as_ref(), 1.0);
        let actor = Actor::with_critics(tiny(1), 2);
        let fit = Fit::from_source(&learner, actor, Box::new(source), 5, fit_config()).expect("sound options");
        let reports: Vec<StepReport> = fit.collect::<Result<_, _>>().expect("the numbers are finite");
        let rising = metric(&reports, "constraint_0/weight");
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]), "{rising:?}");
        let falling = metric(&reports, "constraint_1/weight");
        // A plain multiplier stays at 0 where it has come to.
        assert!(falling.windows(2).all(|pair| pair[0] > pair[1] || pair[1] == 0.0), "{falling:?}");
        assert_eq!(rising[0], bounds.weights().components[0]);
        for name in ["constraint_0/reward", "constraint_1/reward"] {
            assert!(metric(&reports, name).iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }
}

#[test]
fn the_policy_sees_the_weighted_sum_of_normalised_advantages() {
    let (prompts, threes, fours) = (prompts(), share_of(3), share_of(4));
    let bounds = lagrange(&[0.4], Multiplier::Plain, 0.1);
    let objective = ppo(1, 0.0);
    let mut source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config()).expect("sound options");
    source = source.with_constraints(vec![&fours], &bounds).expect("sound options");
    source.window(&Actor::with_critics(tiny(1), 1)).expect("rollouts can be written");
    // Critics begin at 0, so an advantage is the score, less by lambda for each token before the last.
    let by = |scorer: &dyn Scorer| -> Vec<f64> {
        let mut all = Vec::new();
        for rollout in source.pending() {
            let episode = Episode::new(&rollout.prompt, &rollout.response);
            let score = f64::from(scorer.score(&[episode]).expect("a score")[0].values()[0]);
            let n = rollout.response.len();
            all.extend((0..n).map(|at| score * 0.95f64.powi((n - 1 - at) as i32)));
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let spread = (all.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / all.len() as f64 + 1e-8).sqrt();
        all.iter().map(|a| (a - mean) / spread).collect()
    };
    let expected: Vec<f64> = by(&threes).iter().zip(by(&fours)).map(|(free, bound)| free + 0.5 * bound).collect();
    let got: Vec<f64> =
        source.pending().iter().flat_map(|rollout| &rollout.advantages).map(|a| f64::from(*a)).collect();
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() < 1e-5), "{got:?} {expected:?}");
    for rollout in source.pending() {
        let [critic] = rollout.critics.as_slice() else { panic!("one more critic") };
        assert!(critic.values.iter().all(|value| *value == 0.0) && critic.returns.len() == rollout.response.len());
    }
}

#[test]
fn a_bandit_comes_to_its_constrained_optimum() {
    // One token: a 3 earns 1, and at least 40 % are to be a 4. The best policy says 4 with probability 0.4, and else 3. The
    // entropy bonus, which keeps policy and multiplier from circling ever wider, leaves a little to other tokens.
    let (prompts, threes, fours) = (prompts(), share_of(3), share_of(4));
    let bounds = lagrange(&[0.4], Multiplier::Plain, 0.03);
    let objective = ppo(1, 0.5);
    let config = RolloutConfig { num_generations: 16, max_completion_length: 1, batch: 64, ..config() };
    let source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config).expect("sound options");
    let source = source.with_constraints(vec![&fours], &bounds).expect("sound options");
    let learner = RolloutLearner::new(objective.as_ref(), 1.0);
    let actor = Actor::with_critics(tiny(1), 1);
    let fit = Fit::from_source(&learner, actor, Box::new(source), 160, fit_config()).expect("sound options");
    let reports: Vec<StepReport> = fit.collect::<Result<_, _>>().expect("the numbers are finite");
    // Multiplier and policy go round the optimum, and the mean over time comes to it.
    let mean = |name: &str| metric(&reports[60..], name).iter().sum::<f64>() / 100.0;
    let (bound, free) = (mean("constraint_0/reward"), mean("reward"));
    assert!((bound - 0.4).abs() < 0.1, "{bound}");
    assert!(free > 0.3 && free <= 1.0 - bound + 1e-6, "{free} beside {bound}");
}

#[test]
fn a_run_under_constraints_that_is_killed_goes_on_to_the_same_numbers() {
    let folder = root().join("lm").join("llama_gqa");
    let start = LanguageModel::load(&folder, &device().autodiff()).expect("a golden model");
    let prompts: Vec<Tokens> = (1..6u32).map(|first| Tokens::from(vec![first, 2 * first, 7])).collect();
    let even = rule(|episode: &Episode| {
        let response = episode.response_tokens();
        response.iter().filter(|token| **token % 2 == 0).count() as f32 / response.len() as f32
    });
    let short = rule(|episode: &Episode| -(episode.response_tokens().len() as f32));
    let bounds = lagrange(&[-3.0], Multiplier::Squashed, 0.5);
    let objective = ppo(1, 0.0);
    let learner = RolloutLearner::new(objective.as_ref(), 1.0);
    let config = RolloutConfig { ends: start.tokenizer.eos().to_vec(), prompts: 2, num_iterations: 2, ..config() };
    let fit = |actor: Actor| {
        let source = OnPolicy::new(&prompts, &even, &GAE, objective.needs(), config.clone()).expect("sound options");
        let source = source.with_constraints(vec![&short], &bounds).expect("sound options");
        Fit::from_source(&learner, actor, Box::new(source), 7, fit_config()).expect("sound options")
    };
    let mut whole = fit(Actor::with_critics(start.decoder.clone(), 1));
    let reports: Vec<StepReport> = whole.by_ref().collect::<Result<_, _>>().expect("the numbers are finite");
    for stop in [1, 2, 5] {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 0);
        let mut first = fit(Actor::with_critics(start.decoder.clone(), 1));
        for report in &reports[..stop] {
            assert_eq!(&first.next().expect("steps are left").expect("finite"), report);
        }
        let write = |folder: &std::path::Path| {
            start.with_decoder(first.model().decoder.clone()).save(folder)?;
            first.model().save_value_head(folder)
        };
        checkpoints.save(&first, &first.progress(), write).expect("it can be written");
        drop(first);
        let (path, progress) = checkpoints.last().expect("readable").expect("there is one");
        let decoder = LanguageModel::load(&path, &device().autodiff()).expect("it was saved").decoder;
        let mut second = fit(Actor::with_saved_critic(decoder, &path).expect("it was saved"));
        second.resume(&path, &progress).expect("the state is there");
        let rest: Vec<StepReport> = second.by_ref().collect::<Result<_, _>>().expect("the numbers are finite");
        assert_eq!(rest, reports[stop..], "stopped after {stop}");
        assert_eq!(second.model().decoder.hash(), whole.model().decoder.hash());
    }
}

/// The mean of what tokens are worth, which changes each time that it is asked.
struct ByTurns(AtomicUsize);

impl Scorer for ByTurns {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed) as u32;
        let worth = move |episode: &Episode| {
            let response = episode.response_tokens();
            response.iter().map(|token| (token * turn % 11) as f32).sum::<f32>() / response.len() as f32
        };
        rule(worth).score(episodes)
    }

    fn memory(&self) -> Vec<f64> {
        vec![self.0.load(Ordering::Relaxed) as f64]
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        self.0.store(memory[0] as usize, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn what_component_rewards_and_the_metric_remember_waits_in_a_checkpoint() {
    let (prompts, objective, actor) = (prompts(), ppo(1, 0.0), Actor::with_critics(tiny(1), 1));
    let lagrange = LagrangeConfig { thresholds: vec![0.2], ..LagrangeConfig::default() };
    let config_of = AdaptiveConfig { lagrange, ..AdaptiveConfig::default() };
    let bounds = config_of.init(&mut Seed(1).stream("multipliers", 0)).expect("sound options");
    let fresh = || [1, 2, 3].map(|turns| ByTurns(AtomicUsize::new(turns)));
    let (ours, others) = (fresh(), fresh());
    let [mut whole, mut resumed] = [&ours, &others].map(|[free, bounded, metric]| {
        let source = OnPolicy::new(&prompts, free, &GAE, objective.needs(), config()).expect("sound options");
        let source = source.with_constraints(vec![bounded], &bounds).expect("sound options");
        source.with_metric(metric).expect("the bounds follow one")
    });
    let next = |source: &mut OnPolicy| {
        let metrics = source.window(&actor).expect("rollouts can be written").metrics;
        source.advance();
        metrics
    };
    for _ in 0..3 {
        next(&mut whole);
    }
    let folder = tempfile::tempdir().expect("a folder");
    whole.save(folder.path()).expect("it can be written");
    resumed.resume(folder.path(), whole.cursor()).expect("it was written");
    for _ in 0..2 {
        assert_eq!(next(&mut resumed), next(&mut whole));
    }
    let asked = |scorers: &[ByTurns; 3]| scorers.each_ref().map(|scorer| scorer.0.load(Ordering::Relaxed));
    // Five generations each.
    assert_eq!([asked(&ours), asked(&others)], [[6, 7, 8]; 2]);
}

#[test]
fn a_response_that_a_component_reward_cannot_judge_in_parts_teaches_nothing_of_it() {
    /// Each 4 is worth 1; responses that begin with an even token cannot be judged to their end.
    struct Fours;
    impl Scorer for Fours {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            let one = |episode: &Episode| {
                let response = episode.response_tokens();
                let mut earned: Vec<f32> = response.iter().map(|token| f32::from(u8::from(*token == 4))).collect();
                if let (Some(last), 0) = (earned.last_mut(), response[0] % 2) {
                    *last = f32::NAN;
                }
                Credit::over_response(episode, earned)
            };
            episodes.iter().map(one).collect()
        }
    }
    let (prompts, threes, objective) = (prompts(), share_of(3), ppo(1, 0.0));
    let bounds = lagrange(&[0.5], Multiplier::Squashed, 0.1);
    let source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config()).expect("sound options");
    let mut source = source.with_constraints(vec![&Fours], &bounds).expect("sound options");
    source.window(&Actor::with_critics(tiny(1), 1)).expect("rollouts can be written");
    let (even, odd): (Vec<_>, Vec<_>) = source.pending().iter().partition(|rollout| rollout.response[0] % 2 == 0);
    assert!(!even.is_empty() && !odd.is_empty());
    // A fresh critic says 0, which is its own target there.
    assert!(even.iter().all(|rollout| rollout.critics[0].returns.iter().all(|told| *told == 0.0)));
    for rollout in odd {
        // With discounts of 0.95 a token for what lies ahead.
        let mut ahead = 0.0;
        for (token, told) in rollout.response.iter().zip(&rollout.critics[0].returns).rev() {
            ahead = f64::from(u8::from(*token == 4)) + 0.95 * ahead;
            assert!((f64::from(*told) - ahead).abs() < 1e-5, "{rollout:?}");
        }
    }
}

#[test]
fn bounds_follow_an_outside_metric() {
    let (prompts, threes, fours, fives) = (prompts(), share_of(3), share_of(4), share_of(5));
    let lagrange = LagrangeConfig { thresholds: vec![0.2], ..LagrangeConfig::default() };
    let config_of = AdaptiveConfig { lagrange, step: 0.3, hold: 2, ..AdaptiveConfig::default() };
    let bounds = config_of.init(&mut Seed(1).stream("multipliers", 0)).expect("sound options");
    let objective = ppo(1, 0.0);
    let source = || {
        let source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config()).expect("sound options");
        source.with_constraints(vec![&fours], &bounds).expect("sound options")
    };
    let learner = RolloutLearner::new(objective.as_ref(), 1.0);
    let run = |source: OnPolicy| {
        let actor = Actor::with_critics(tiny(1), 1);
        let fit = Fit::from_source(&learner, actor, Box::new(source), 4, fit_config()).expect("sound options");
        fit.collect::<Result<Vec<StepReport>, _>>()
    };
    let reports = run(source().with_metric(&fives).expect("the bounds follow one")).expect("the numbers are finite");
    // Two generations at the start, and two at the other corner of the first simplex.
    assert_eq!(metric(&reports, "constraint_0/bound"), [0.2, 0.2, 0.5, 0.5]);
    assert!(metric(&reports, "constraint_metric").iter().all(|share| (0.0..=1.0).contains(share)));
    // Without a metric they cannot, and where they stand still there is nothing to follow.
    assert!(run(source()).is_err());
    let still = self::lagrange(&[0.5], Multiplier::Squashed, 0.1);
    let plain = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config()).expect("sound options");
    assert!(plain.with_constraints(vec![&fours], &still).expect("sound options").with_metric(&fives).is_err());
}

#[test]
fn what_does_not_go_with_constraints_is_refused() {
    let (prompts, threes) = (prompts(), share_of(3));
    let bounds = lagrange(&[0.5], Multiplier::Squashed, 0.1);
    let refused = |critics: usize, scorers: usize, config: RolloutConfig| {
        let objective = ppo(critics, 0.0);
        let source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config).expect("sound options");
        source.with_constraints(vec![&threes as &dyn Scorer; scorers], &bounds).is_err()
    };
    assert!(!refused(1, 1, config()));
    assert!(refused(0, 1, config()), "no critic");
    assert!(refused(1, 2, config()), "one bound for two scorers");
    assert!(refused(1, 1, RolloutConfig { dead_groups: DeadGroups::Mask, ..config() }));
    // A constraint that nobody can judge.
    let nobody = rule(|_: &Episode| f32::NAN);
    let objective = ppo(1, 0.0);
    let source = OnPolicy::new(&prompts, &threes, &GAE, objective.needs(), config()).expect("sound options");
    let mut source = source.with_constraints(vec![&nobody], &bounds).expect("sound options");
    assert!(source.window(&Actor::with_critics(tiny(1), 1)).is_err());
}

#[test]
fn numbers_of_other_constraints_are_refused() -> Result<(), CoreError> {
    let bounds = lagrange(&[0.5, 0.1], Multiplier::Squashed, 0.1);
    let constraints: &dyn Constraints = &bounds;
    assert_eq!((constraints.components(), constraints.weights(&constraints.start())?.len()), (2, 2));
    assert!(constraints.next(&[0.0; 3], &[0.1, 0.2]).is_err());
    assert!(GAE.needs().values && Constraint::default() == Constraint::Inequality);
    Ok(())
}
