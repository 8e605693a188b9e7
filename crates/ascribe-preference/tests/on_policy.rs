//! Whole loops on rollouts: what is drawn and kept, what is refused, that it learns, and that a run that is killed at any
//! step goes on to the same numbers.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use ascribe_core::advantage::{AdvantageEstimator, Baseline, Gae, Normalize, Oreal, Outcome};
use ascribe_core::tensor::KlEstimator;
use ascribe_core::{CoreError, Credit, Episode, Objective, Sampling, Scorer, Seed, Tokens, rule};
use ascribe_data::batches_by_tokens;
use ascribe_lm::{Decoder, DecoderConfig, LanguageModel, RandomWeights, Row};
use ascribe_preference::objectives::{DpoConfig, GpoConfig};
use ascribe_preference::rl::{
    Actor, AdaptiveKl, Agreement, Correction, CorrectionKind, DeadGroups, Divided, ESTIMATORS, EarlyStop,
    EstimatorOptions, KlPlace, KlReward, Labeler, LengthPenalty, OTHER_LOSSES, OnPolicy, OnlinePairs, POLICY_LOSSES,
    PairConfig, PolicyOptions, Rollout, RolloutConfig, RolloutLearner, SecondAttempt, Segmentation, Stage, ValueTerm,
};
use ascribe_preference::{LogpLearner, TrainRow};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::{close, root};
use ascribe_train::{Checkpoints, Fit, FitConfig, Learned, Learner, ScheduleKind, Source, StepReport, TrainError};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

const VOCAB: usize = 12;
const END: u32 = 0;

fn tiny(seed: u64) -> Decoder {
    let config = DecoderConfig::tiny(VOCAB, 16, 1, 2, 32);
    Decoder::load(&config, &mut RandomWeights { seed: Seed(seed), layers: 1 }, &device().autodiff()).expect("fresh")
}

/// The share of tokens that are a 3.
fn threes() -> impl Scorer {
    rule(|episode: &Episode| {
        let response = episode.response_tokens();
        response.iter().filter(|token| **token == 3).count() as f32 / response.len() as f32
    })
}

fn prompts() -> Vec<Tokens> {
    (1..5u32).map(|first| Tokens::from(vec![first, first + 3])).collect()
}

fn estimator(name: &str) -> Box<dyn AdvantageEstimator> {
    let made = ESTIMATORS.iter().find(|(known, _)| *known == name).expect("it is in the table").1;
    made(&EstimatorOptions::default()).expect("sound options")
}

fn objective(name: &str, options: &PolicyOptions) -> Box<dyn Objective> {
    let others = OTHER_LOSSES.iter().map(|(known, _, make)| (known, make));
    let mut all = POLICY_LOSSES.iter().map(|(known, _, make)| (known, make)).chain(others);
    let (_, made) = all.find(|(known, _)| **known == name).expect("it is in a table");
    made(options).expect("sound options")
}

/// What a loop is made of.
struct Setup {
    estimator: Box<dyn AdvantageEstimator>,
    objective: Box<dyn Objective>,
    config: RolloutConfig,
}

impl Setup {
    fn new(estimator_name: &str, loss: &str, config: RolloutConfig) -> Self {
        let estimator = estimator(estimator_name);
        let value = estimator.needs().values.then_some(ValueTerm { coef: 0.5, clip: Some(0.2) });
        let beta = if config.kl_reward.is_some() || loss == "oreo" { 0.02 } else { 0.0 };
        let weighted = config.correction.is_some() || config.top_entropy.is_some();
        let options = PolicyOptions { value, beta, weighted, ..PolicyOptions::default() };
        Self { objective: objective(loss, &options), estimator, config }
    }

    fn learner(&self) -> RolloutLearner<'_> {
        let temperature = f64::from(self.config.sampling.temperature);
        RolloutLearner::new(self.objective.as_ref(), temperature)
    }

    fn source<'a>(&'a self, prompts: &'a [Tokens], scorer: &'a dyn Scorer) -> Result<OnPolicy<'a>, TrainError> {
        OnPolicy::new(prompts, scorer, self.estimator.as_ref(), self.objective.needs(), self.config.clone())
    }

    fn actor(&self, decoder: Decoder) -> Actor {
        if self.estimator.needs().values { Actor::with_critic(decoder) } else { Actor::new(decoder) }
    }
}

fn config() -> RolloutConfig {
    RolloutConfig {
        prompts: 2,
        num_generations: 4,
        max_completion_length: 5,
        ends: vec![END],
        context: 32,
        batch: 3,
        seed: Seed(5),
        ..RolloutConfig::default()
    }
}

fn fit_config() -> FitConfig {
    FitConfig {
        learning_rate: 1e-2,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        per_device_train_batch_size: 4,
        ..FitConfig::default()
    }
}

/// One generation of `setup`, written by a fresh decoder.
fn generation(setup: &Setup) -> Vec<Rollout> {
    let (prompts, scorer) = (prompts(), threes());
    let decoder = tiny(1);
    let mut source = setup.source(&prompts, &scorer).expect("sound options").with_reference(tiny(2));
    source.window(&setup.actor(decoder)).expect("rollouts can be written");
    source.pending().to_vec()
}

#[test]
fn a_rollout_keeps_how_it_was_drawn() {
    let cut = Sampling { temperature: 0.8, top_k: Some(3), ..Sampling::default() };
    let setup = Setup::new("grpo", "grpo", RolloutConfig { sampling: cut, ..config() });
    let rollouts = generation(&setup);
    assert_eq!(rollouts.len(), 8);
    for (at, rollout) in rollouts.iter().enumerate() {
        let n = rollout.response.len();
        assert_eq!((rollout.group, rollout.sampling), (at / 4, cut));
        assert!((1..=5).contains(&n) && rollout.complete == (rollout.response.last() == Some(&END)));
        let (old, drawn) = (rollout.old_logps.as_ref().expect("kept"), rollout.drawn_logps.as_ref().expect("kept"));
        assert!([rollout.logps.len(), old.len(), drawn.len(), rollout.advantages.len()].iter().all(|len| *len == n));
        // What a cut leaves has a part of the mass, so it is likelier within it than in all of the vocabulary.
        assert!(old.iter().zip(drawn).all(|(old, drawn)| *old <= *drawn + 1e-5 && *drawn <= 1e-6), "{rollout:?}");
    }
    // One token that is left is certain.
    let greedy = Sampling { top_k: Some(1), ..Sampling::default() };
    let setup = Setup::new("grpo", "grpo", RolloutConfig { sampling: greedy, ..config() });
    for rollout in generation(&setup) {
        let drawn: Vec<f64> = rollout.drawn_logps.expect("kept").iter().map(|logp| f64::from(*logp)).collect();
        close("certain", &drawn, &vec![0.0; drawn.len()], 1e-6);
    }
    // Nothing is cut: the engine that wrote and the code that trains agree.
    let setup = Setup::new("grpo", "grpo", RolloutConfig { num_iterations: 2, ..config() });
    for rollout in generation(&setup) {
        let widened = |logps: &[f32]| logps.iter().map(|logp| f64::from(*logp)).collect::<Vec<_>>();
        close("engine", &widened(&rollout.logps), &widened(&rollout.old_logps.expect("kept")), 1e-4);
        close("drawn", &widened(&rollout.drawn_logps.expect("kept")), &widened(&rollout.logps), 0.0);
    }
}

#[test]
fn the_same_seed_draws_the_same_rollouts_and_advantages_sum_to_nothing() {
    let setup = Setup::new("dr_grpo", "grpo", config());
    let rollouts = generation(&setup);
    assert_eq!(rollouts, generation(&setup));
    for group in rollouts.chunks(4) {
        assert!(group.iter().map(|rollout| rollout.advantages[0]).sum::<f32>().abs() < 1e-5);
    }
    let other = RolloutConfig { seed: Seed(6), ..config() };
    assert_ne!(rollouts, generation(&Setup::new("dr_grpo", "grpo", other)));
}

#[test]
fn a_penalty_in_the_reward_is_taken_off_each_token_or_off_the_score() {
    let penalty = |place| KlReward { coef: 0.5, estimator: KlEstimator::K1, place, adaptive: None };
    let with = |place| {
        let config = RolloutConfig { kl_reward: Some(penalty(place)), ..config() };
        generation(&Setup::new("reinforce", "reinforce", config))
    };
    let (tokens, score) = (with(KlPlace::Tokens), with(KlPlace::Score));
    for (tokens, score) in tokens.iter().zip(&score) {
        assert_eq!(tokens.response, score.response);
        let (old, reference) = (tokens.old_logps.as_ref().expect("kept"), tokens.ref_logps.as_ref().expect("kept"));
        let kl: Vec<f64> = old.iter().zip(reference).map(|(a, b)| 0.5 * f64::from(a - b)).collect();
        let outcome = tokens.score.expect("scored");
        // Without a discount, the advantage of a token is the score minus what is lost from it on.
        let from = |at: usize| outcome - kl[at..].iter().sum::<f64>();
        let expected: Vec<f64> = (0..kl.len()).map(from).collect();
        let got: Vec<f64> = tokens.advantages.iter().map(|advantage| f64::from(*advantage)).collect();
        close("tokens", &got, &expected, 1e-5);
        let got: Vec<f64> = score.advantages.iter().map(|advantage| f64::from(*advantage)).collect();
        close("score", &got, &vec![from(0); kl.len()], 1e-5);
    }
}

#[test]
fn the_divergence_from_the_reference_is_told_in_two_ways() {
    let penalty = KlReward { coef: 0.5, estimator: KlEstimator::K1, place: KlPlace::Score, adaptive: None };
    let setup = Setup::new("reinforce", "reinforce", RolloutConfig { kl_reward: Some(penalty), ..config() });
    let (prompts, scorer) = (prompts(), threes());
    let mut source = setup.source(&prompts, &scorer).expect("sound options").with_reference(tiny(2));
    let metrics = source.window(&setup.actor(tiny(1))).expect("rollouts can be written").metrics;
    let told = |name: &str| metrics.iter().find(|(known, _)| known == name).expect("it is logged").1;
    let mut sums = [0.0; 2];
    for rollout in source.pending() {
        let (old, reference) = (rollout.old_logps.as_ref().expect("kept"), rollout.ref_logps.as_ref().expect("kept"));
        for (old, reference) in old.iter().zip(reference) {
            let h = f64::from(*old) - f64::from(*reference);
            sums[0] += h;
            sums[1] += (-h).exp() - 1.0 + h;
        }
    }
    let n = source.pending().len() as f64;
    close("k1 and k3", &[told("kl_to_reference"), told("kl_to_reference_k3")], &sums.map(|sum| sum / n), 1e-6);
    assert!(told("kl_to_reference_k3") > 0.0);
}

#[test]
fn dead_groups_and_cut_responses_are_counted_and_may_be_left_out() {
    let (prompts, actor) = (prompts(), Actor::new(tiny(1)));
    // The first prompt is always right, the others are judged by their length.
    let scorer = rule(|episode: &Episode| match episode.prompt_tokens()[0] {
        1 => 1.0,
        _ => episode.response_tokens().len() as f32 + episode.response_tokens()[0] as f32 / 100.0,
    });
    let run = |config: RolloutConfig| {
        let setup = Setup::new("grpo", "grpo", RolloutConfig { prompts: 4, ..config });
        let mut source = setup.source(&prompts, &scorer).expect("sound options");
        let window = source.window(&actor).expect("rollouts can be written");
        let metric = |name: &str| window.metrics.iter().find(|(known, _)| known == name).expect("it is logged").1;
        let counts = (window.rows.len(), metric("frac_reward_zero_std"), metric("rollouts/kept"));
        let dead = window.rows.iter().filter(|row| row.prompt[0] == 1).count();
        let cut = window.rows.iter().filter(|row| !row.complete).count();
        (counts, dead, cut)
    };
    let ((all, share, kept), dead, cut) = run(config());
    assert_eq!((all, share, kept, dead), (16, 0.25, 1.0, 4));
    assert!(cut > 0);
    let ((left, share, kept), dead, _) = run(RolloutConfig { dead_groups: DeadGroups::Mask, ..config() });
    assert_eq!((left, share, kept, dead), (12, 0.25, 0.75, 0));
    let ((left, ..), _, still_cut) = run(RolloutConfig { mask_truncated: true, ..config() });
    // Where all were cut, all are kept.
    assert!(still_cut == 0 && left == 16 - cut || cut == 16 && left == 16, "{left}, {cut}");
}

#[test]
fn where_every_response_was_cut_none_teaches_anything() {
    // Nothing ends a response, and its first token is what it is worth.
    let base = RolloutConfig { ends: Vec::new(), num_iterations: 2, ..config() };
    let (prompts, scorer) = (prompts(), rule(|episode: &Episode| episode.response_tokens()[0] as f32));
    let write = |setup: Setup| {
        let mut source = setup.source(&prompts, &scorer).expect("sound options");
        source.window(&setup.actor(tiny(1))).expect("rollouts can be written");
        source.pending().to_vec()
    };
    for (estimator, loss) in [("grpo", "grpo"), ("gae", "ppo")] {
        let learned = write(Setup::new(estimator, loss, base.clone()));
        assert!(learned.iter().any(|rollout| rollout.advantages.iter().any(|advantage| *advantage != 0.0)));
        let rollouts = write(Setup::new(estimator, loss, RolloutConfig { mask_truncated: true, ..base.clone() }));
        assert_eq!(rollouts.len(), 8);
        for rollout in &rollouts {
            assert!(rollout.advantages.iter().all(|advantage| *advantage == 0.0), "{estimator}");
            assert_eq!(rollout.returns, rollout.values, "{estimator}");
        }
    }
}

#[test]
fn token_rewards_are_told_that_all_are_right_and_a_critic_is_told_nothing_of_what_has_no_score() {
    let (prompts, right, none) = (prompts(), rule(|_: &Episode| 1.0), rule(|_: &Episode| f32::NAN));
    let value = Some(ValueTerm { coef: 1.0, clip: None });
    let setup = Setup {
        estimator: Box::new(Oreal { token_rewards: true, ..Oreal::default() }),
        objective: objective("oreal", &PolicyOptions { value, ..PolicyOptions::default() }),
        config: config(),
    };
    let actor = setup.actor(tiny(1));
    let rollouts = {
        let mut source = setup.source(&prompts, &right).expect("sound options");
        source.window(&actor).expect("rollouts can be written");
        source.pending().to_vec()
    };
    assert_eq!(rollouts.len(), 8);
    for rollout in &rollouts {
        let n = rollout.response.len();
        assert_eq!((&rollout.returns, &rollout.advantages), (&Some(vec![1.0; n]), &vec![0.0; n]));
    }
    for setup in [setup, Setup::new("oreo", "oreo", config())] {
        let mut source = setup.source(&prompts, &none).expect("sound options").with_reference(tiny(2));
        assert!(matches!(source.window(&actor), Err(TrainError::Core(CoreError::Shape { .. }))));
    }
}

/// Trains for `steps` steps; the reports.
fn train(setup: &Setup, steps: usize) -> Vec<StepReport> {
    train_by(setup, steps, &threes())
}

fn train_by(setup: &Setup, steps: usize, scorer: &dyn Scorer) -> Vec<StepReport> {
    let (prompts, reference) = (prompts(), tiny(1).valid());
    let learner = setup.learner().with_reference(&reference);
    let source = setup.source(&prompts, scorer).expect("sound options").with_reference(tiny(1));
    let fit = Fit::from_source(&learner, setup.actor(tiny(1)), Box::new(source), steps, fit_config());
    fit.expect("sound options").collect::<Result<_, _>>().expect("the numbers are finite")
}

#[test]
fn the_policy_learns_what_is_rewarded() {
    let config = RolloutConfig { prompts: 4, num_generations: 8, ..config() };
    for (estimator, loss) in [("grpo", "dapo"), ("rloo", "rloo"), ("gae", "ppo")] {
        let reports = train(&Setup::new(estimator, loss, config.clone()), 30);
        let reward = |at: usize| reports[at].metric("reward").expect("it is logged");
        let (first, last) = ((reward(0) + reward(1)) / 2.0, (reward(28) + reward(29)) / 2.0);
        assert!(last > first + 0.2, "{estimator}: from {first} to {last}");
    }
}

#[test]
fn the_first_step_on_a_generation_has_ratios_of_one() {
    let setup = Setup::new("grpo", "grpo", RolloutConfig { num_iterations: 3, ..config() });
    let reports = train(&setup, 6);
    let mut moved = 0;
    for (at, report) in reports.iter().enumerate() {
        let away = (report.metric("ratio").expect("it is logged") - 1.0).abs();
        match at % 3 {
            0 => assert!(away < 1e-4, "step {at}: {away}"),
            _ => moved += usize::from(away > 1e-4),
        }
        // A generation is logged with each of its steps.
        assert_eq!(report.metric("reward"), reports[at / 3 * 3].metric("reward"));
    }
    assert!(moved > 0);
    // With one step a generation they are 1 to the bit.
    let reports = train(&Setup::new("grpo", "grpo", config()), 3);
    assert!(reports.iter().all(|report| report.metric("ratio") == Some(1.0)));
}

#[test]
fn every_estimator_and_every_loss_go_through_the_loop() {
    let segmentation = Some(Segmentation::Fixed(2));
    // Some want to be told right or wrong.
    let verdict = rule(|episode: &Episode| f32::from(u8::from(episode.response_tokens().contains(&3))));
    for (name, _) in ESTIMATORS {
        let config = RolloutConfig { segmentation: segmentation.clone(), ..config() };
        let reports = train_by(&Setup::new(name, "ppo", config), 2, &verdict);
        assert!(reports[1].metric("loss").is_some_and(f64::is_finite), "{name}");
    }
    for (name, estimator, _) in OTHER_LOSSES {
        let setup = Setup::new(estimator, name, RolloutConfig { num_iterations: 2, ..config() });
        let reports = train_by(&setup, 4, &verdict);
        assert!(reports[3].metric("loss").is_some_and(f64::is_finite), "{name}");
    }
    for (name, ..) in POLICY_LOSSES {
        let correction = Some(Correction { kind: CorrectionKind::Truncate, least: 0.0, most: 2.0 });
        let config = RolloutConfig { correction, top_entropy: Some(0.8), steps_per_generation: 2, ..config() };
        let reports = train(&Setup::new("grpo", name, config), 3);
        assert!(reports[2].metric("loss").is_some_and(f64::is_finite), "{name}");
    }
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_same_numbers() {
    let load = |path: &std::path::Path| LanguageModel::load(path, &device().autodiff()).expect("a model");
    let start = load(&root().join("lm/llama_gqa"));
    let scorer = rule(|episode: &Episode| {
        let response = episode.response_tokens();
        response.iter().filter(|token| **token % 2 == 0).count() as f32 / response.len() as f32
    });
    let prompts: Vec<Tokens> = (1..6u32).map(|first| Tokens::from(vec![first, 2 * first, 7])).collect();
    let penalty = KlReward {
        coef: 0.1,
        estimator: KlEstimator::K3,
        place: KlPlace::Tokens,
        adaptive: Some(AdaptiveKl { target: 0.5, horizon: 50.0 }),
    };
    let base = RolloutConfig { ends: start.tokenizer.eos().to_vec(), context: 64, ..config() };
    let setups = [
        Setup::new("grpo", "grpo", base.clone()),
        Setup::new("rloo", "rloo", RolloutConfig { steps_per_generation: 2, num_iterations: 2, ..base.clone() }),
        Setup::new("gae", "ppo", RolloutConfig { kl_reward: Some(penalty), num_iterations: 2, ..base }),
    ];
    for setup in &setups {
        let learner = setup.learner();
        let fit = |actor: Actor| {
            let source = setup.source(&prompts, &scorer).expect("sound options");
            let source = source.with_reference(start.decoder.clone());
            Fit::from_source(&learner, actor, Box::new(source), 7, fit_config()).expect("sound options")
        };
        let mut whole = fit(setup.actor(start.decoder.clone()));
        let reports: Vec<StepReport> = whole.by_ref().collect::<Result<_, _>>().expect("the numbers are finite");
        for stop in [1, 2, 3, 5] {
            let folder = tempfile::tempdir().expect("a folder");
            let checkpoints = Checkpoints::new(folder.path(), 0);
            let mut first = fit(setup.actor(start.decoder.clone()));
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
            let decoder = load(&path).decoder;
            let actor = match setup.estimator.needs().values {
                true => Actor::with_saved_critic(decoder, &path).expect("it was saved"),
                false => Actor::new(decoder),
            };
            let mut second = fit(actor);
            second.resume(&path, &progress).expect("the state is there");
            let rest: Vec<StepReport> = second.by_ref().collect::<Result<_, _>>().expect("the numbers are finite");
            assert_eq!(rest, reports[stop..], "stopped after {stop}");
            assert_eq!(second.model().decoder.hash(), whole.model().decoder.hash());
        }
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let (prompts, scorer) = (prompts(), threes());
    let refused = |setup: &Setup| setup.source(&prompts, &scorer).is_err();
    assert!(!refused(&Setup::new("grpo", "grpo", config())));
    assert!(refused(&Setup::new("grpo", "grpo", RolloutConfig { num_generations: 1, ..config() })));
    assert!(!refused(&Setup::new("reinforce", "reinforce", RolloutConfig { num_generations: 1, ..config() })));
    // A critic without values in the loss, and the other way round.
    let plain = objective("ppo", &PolicyOptions::default());
    assert!(refused(&Setup { objective: plain, ..Setup::new("gae", "ppo", config()) }));
    let critic = Setup::new("gae", "ppo", config()).objective;
    assert!(refused(&Setup { objective: critic, ..Setup::new("grpo", "ppo", config()) }));
    for wrong in [
        RolloutConfig { prompts: 0, ..config() },
        RolloutConfig { max_completion_length: 0, ..config() },
        RolloutConfig { num_iterations: 0, ..config() },
        RolloutConfig { top_entropy: Some(0.0), ..config() },
        RolloutConfig { reward_clip: Some((1.0, 1.0)), ..config() },
        RolloutConfig { sampling: Sampling { temperature: 0.0, ..Sampling::default() }, ..config() },
        RolloutConfig {
            correction: Some(Correction { kind: CorrectionKind::Truncate, least: 2.0, most: 1.0 }),
            ..config()
        },
    ] {
        let setup = Setup { config: wrong, ..Setup::new("grpo", "grpo", config()) };
        assert!(refused(&setup), "{:?}", setup.config);
    }
    let setup = Setup::new("grpo", "grpo", config());
    assert!(matches!(setup.source(&[], &scorer), Err(TrainError::NoRows)));
    // All responses to a prompt stay together, and there are some.
    for wrong in
        [RolloutConfig { steps_per_generation: 2, ..config() }, RolloutConfig { num_generations: 1, ..config() }]
    {
        assert!(refused(&Setup::new("brain", "brain", wrong)));
    }
    // 8 responses at a divergence of 0 would leave 1 - 0.2 * 8 / 1.6 = 0 of the strength.
    let adaptive = |horizon| {
        let adaptive = Some(AdaptiveKl { target: 6.0, horizon });
        let penalty = KlReward { coef: 0.1, estimator: KlEstimator::K1, place: KlPlace::Tokens, adaptive };
        Setup::new("gae", "ppo", RolloutConfig { kl_reward: Some(penalty), ..config() })
    };
    assert!(!refused(&adaptive(1.7)) && refused(&adaptive(1.6)));
    // A loss that takes all tokens alike would leave the choice among them alone.
    let uncertain = || RolloutConfig { top_entropy: Some(0.5), ..config() };
    assert!(!refused(&Setup::new("grpo", "grpo", uncertain())));
    assert!(refused(&Setup::new("oreo", "oreo", uncertain())));
    // Whitened scores are rewards of tokens, and there is nothing left to compare.
    let white = || RolloutConfig { whiten_rewards: true, ..config() };
    assert!(!refused(&Setup::new("gae", "ppo", white())));
    assert!(refused(&Setup::new("grpo", "grpo", white())));
    // Scores that a loss takes as they are cannot have a penalty in them.
    let penalty = KlReward { coef: 0.1, estimator: KlEstimator::K1, place: KlPlace::Tokens, adaptive: None };
    assert!(!refused(&Setup::new("brain", "brain", config())));
    assert!(refused(&Setup::new("brain", "brain", RolloutConfig { kl_reward: Some(penalty), ..config() })));
    let between =
        |tokens: Vec<u32>| RolloutConfig { second: Some(SecondAttempt::new(tokens, Stage::First)), ..config() };
    assert!(refused(&Setup::new("rloo", "reinforce", between(Vec::new()))));
    assert!(refused(&Setup::new("remax", "reinforce", between(vec![5]))));
    let perplexity = RolloutConfig { segmentation: Some(Segmentation::Perplexity), ..config() };
    assert!(refused(&Setup::new("remax", "reinforce", perplexity)));
    // First attempts of the first stage have no reward, and their groups would be left out with the pull on them.
    assert!(!refused(&Setup::new("rloo", "reinforce", between(vec![5]))));
    let masked = RolloutConfig { dead_groups: DeadGroups::Mask, ..between(vec![5]) };
    assert!(refused(&Setup::new("rloo", "reinforce", masked)));
    // A pull to the reference without a reference.
    let penalty = KlReward { coef: 0.1, estimator: KlEstimator::K1, place: KlPlace::Score, adaptive: None };
    let setup = Setup::new("rloo", "rloo", RolloutConfig { kl_reward: Some(penalty), ..config() });
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    assert!(matches!(source.window(&Actor::new(tiny(1))), Err(TrainError::Core(CoreError::MissingInput("ref_logps")))));
    // Steps that nobody cut cannot be left out; a scorer that miscounts is told so.
    struct One;
    impl Scorer for One {
        fn score(&self, _: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(vec![Credit::sequence(1.0)])
        }
    }
    let setup = Setup::new("grpo", "grpo", config());
    let mut source = setup.source(&prompts, &One).expect("sound options");
    assert!(matches!(source.window(&Actor::new(tiny(1))), Err(TrainError::Core(CoreError::Shape { .. }))));
}

#[test]
fn a_response_that_nobody_can_judge_is_no_part_of_its_group() {
    let prompts = prompts();
    let scorer = rule(|episode: &Episode| match episode.response_tokens().len() {
        5 => f32::NAN,
        n => n as f32,
    });
    let setup = Setup {
        estimator: Box::new(Outcome::new(Baseline::GroupMean)),
        ..Setup::new("grpo", "grpo", RolloutConfig { prompts: 4, ..config() })
    };
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
    let (judged, others): (Vec<&Rollout>, Vec<&Rollout>) =
        source.pending().iter().partition(|rollout| rollout.response.len() < 5);
    assert!(!others.is_empty() && judged.iter().all(|rollout| rollout.score.is_some()));
    assert!(others.iter().all(|rollout| rollout.score.is_none() && rollout.advantages.iter().all(|a| *a == 0.0)));
}

#[test]
fn rewards_of_parts_of_a_response_stay_in_their_places_and_may_be_absent() {
    /// Each 3 is worth 1; responses that begin with an even token cannot be judged to their end.
    struct Threes;
    impl Scorer for Threes {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            let one = |episode: &Episode| {
                let response = episode.response_tokens();
                let mut earned: Vec<f32> = response.iter().map(|token| f32::from(u8::from(*token == 3))).collect();
                if let (Some(last), 0) = (earned.last_mut(), response[0] % 2) {
                    *last = f32::NAN;
                }
                Credit::over_response(episode, earned)
            };
            episodes.iter().map(one).collect()
        }
    }
    let prompts = prompts();
    let run = |reward_clip| {
        let setup = Setup {
            estimator: Box::new(Gae { gamma: 1.0, lambda: 1.0, normalize: Normalize::No }),
            ..Setup::new("gae", "ppo", RolloutConfig { prompts: 4, reward_clip, ..config() })
        };
        let mut source = setup.source(&prompts, &Threes).expect("sound options");
        source.window(&setup.actor(tiny(1)))?;
        Ok::<_, TrainError>(source.pending().to_vec())
    };
    let rollouts = run(None).expect("rollouts can be written");
    let (even, odd): (Vec<&Rollout>, Vec<&Rollout>) = rollouts.iter().partition(|rollout| rollout.response[0] % 2 == 0);
    assert!(!even.is_empty() && !odd.is_empty());
    assert!(even.iter().all(|rollout| rollout.score.is_none() && rollout.advantages.iter().all(|a| *a == 0.0)));
    for rollout in odd {
        // A fresh critic says 0, so the advantage of a token is the number of threes from it on.
        let ahead = |at: usize| rollout.response[at..].iter().filter(|token| **token == 3).count() as f32;
        let expected: Vec<f32> = (0..rollout.response.len()).map(ahead).collect();
        assert_eq!(rollout.advantages, expected);
    }
    // A range is one of scores.
    assert!(matches!(run(Some((-1.0, 1.0))), Err(TrainError::Core(CoreError::Shape { .. }))));
}

#[test]
fn normalized_rewards_know_all_scores_so_far_and_a_checkpoint_keeps_them() {
    let (prompts, scorer) = (prompts(), threes());
    let raw = |rollouts: &[Rollout]| -> Vec<f64> {
        let share = |rollout: &Rollout| {
            let threes = rollout.response.iter().filter(|token| **token == 3).count();
            f64::from(threes as f32 / rollout.response.len() as f32)
        };
        rollouts.iter().map(share).collect()
    };
    // Mean and deviation of what was seen, with a mean of 0 and a variance of 1 that weigh 1e-4 of one score.
    let scale = |seen: &[f64]| {
        let n = seen.len() as f64 + 1e-4;
        let mean = seen.iter().sum::<f64>() / n;
        let squares = seen.iter().map(|score| (score - mean).powi(2)).sum::<f64>() + 1e-4 * (1.0 + mean * mean);
        (mean, (squares / n).sqrt())
    };
    let scores = |rollouts: &[Rollout]| -> Vec<f64> { rollouts.iter().map(|one| one.score.unwrap()).collect() };
    let expected = |rollouts: &[Rollout], seen: &[f64]| -> Vec<f64> {
        let (mean, deviation) = scale(seen);
        raw(rollouts).into_iter().map(|score| (score - mean) / deviation).collect()
    };
    let setup = |reward_clip| {
        let config = RolloutConfig { normalize_rewards: true, reward_clip, ..config() };
        Setup::new("reinforce", "reinforce", config)
    };
    let (plain, actor) = (setup(None), Actor::new(tiny(1)));
    let mut source = plain.source(&prompts, &scorer).expect("sound options");
    source.window(&actor).expect("rollouts can be written");
    let first = source.pending().to_vec();
    let mut seen = raw(&first);
    close("the first generation", &scores(&first), &expected(&first, &seen), 1e-4);
    source.advance();
    let folder = tempfile::tempdir().expect("a folder");
    source.save(folder.path()).expect("written");
    let cursor = source.cursor();
    source.window(&actor).expect("rollouts can be written");
    let second = source.pending().to_vec();
    seen.extend(raw(&second));
    close("the second generation", &scores(&second), &expected(&second, &seen), 1e-4);
    let mut resumed = plain.source(&prompts, &scorer).expect("sound options");
    resumed.resume(folder.path(), cursor).expect("its own");
    resumed.window(&actor).expect("rollouts can be written");
    assert_eq!(resumed.pending(), second.as_slice());
    // They are cut afterwards.
    let cut = setup(Some((-0.25, 0.25)));
    let mut source = cut.source(&prompts, &scorer).expect("sound options");
    source.window(&actor).expect("rollouts can be written");
    let bounded: Vec<f64> = scores(&first).into_iter().map(|score| score.clamp(-0.25, 0.25)).collect();
    close("cut", &scores(source.pending()), &bounded, 1e-6);
    // A loss on scores takes them as they are.
    let config = RolloutConfig { normalize_rewards: true, ..config() };
    assert!(Setup::new("brain", "brain", config).source(&prompts, &scorer).is_err());
}

#[test]
fn a_reference_may_read_other_prompts() {
    let (prompts, scorer) = (prompts(), threes());
    let setup = Setup::new("brain", "brain", config());
    let plain: std::collections::HashMap<Tokens, Tokens> =
        prompts.iter().map(|prompt| (prompt.clone(), Tokens::from(vec![prompt[0] + 1]))).collect();
    let source = || setup.source(&prompts, &scorer).expect("sound options").with_reference(tiny(2));
    let mut reading = source().with_reference_prompts(plain.clone());
    reading.window(&Actor::new(tiny(1))).expect("rollouts can be written");
    let rollouts = reading.pending();
    assert_eq!(rollouts.len(), 8);
    for rollout in rollouts {
        let row = Row { prompt: &[rollout.prompt[0] + 1], response: &rollout.response };
        let expected = values(tiny(2).response_logps(&[row]).expect("a sound row").0);
        let got: Vec<f64> = rollout.ref_logps.iter().flatten().map(|logp| f64::from(*logp)).collect();
        close("reference", &got, &expected, 1e-5);
    }
    let mut lost = source().with_reference_prompts(plain.into_iter().take(1).collect());
    assert!(matches!(lost.window(&Actor::new(tiny(1))), Err(TrainError::Core(CoreError::MissingEvidence(_)))));
}

#[test]
fn a_baseline_that_nobody_can_judge_is_no_baseline_of_nothing() {
    // Eight responses are worth 2 each; of the most likely ones the first has no score, and the second has 1/2.
    let (prompts, asked) = (prompts(), AtomicUsize::new(0));
    let scorer = rule(move |_: &Episode| match asked.fetch_add(1, Ordering::Relaxed) {
        8 => f32::NAN,
        9 => 0.5,
        _ => 2.0,
    });
    let setup = Setup::new("remax", "reinforce", config());
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
    let leads: Vec<f32> = source.pending().iter().map(|rollout| rollout.advantages[0]).collect();
    assert_eq!(leads, [0.0, 0.0, 0.0, 0.0, 1.5, 1.5, 1.5, 1.5]);
}

#[test]
fn a_response_without_a_step_is_scored_like_any_other() {
    // A response is worth its number of tokens, cut to at most 1: so is what is left of it, unless that is nothing.
    let prompts = prompts();
    let worth = |episode: &Episode| episode.response_tokens().len() as f32;
    let run = |scorer: &dyn Scorer, reward_clip| {
        let config = RolloutConfig { segmentation: Some(Segmentation::Fixed(2)), reward_clip, ..config() };
        let setup = Setup::new("leave_one_step_out", "reinforce", config);
        let mut source = setup.source(&prompts, scorer).expect("sound options");
        source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
        source.pending().to_vec()
    };
    let rollouts = run(&rule(worth), Some((0.0, 1.0)));
    assert!(rollouts.iter().any(|rollout| rollout.response.len() > 2));
    for rollout in &rollouts {
        let n = rollout.response.len();
        assert_eq!(rollout.advantages, vec![if n > 2 { 0.0 } else { 1.0 }; n]);
    }
    // What cannot be judged without a step does not end the run: here whole responses of 5 tokens alone can be.
    let whole = rule(|episode: &Episode| if episode.response_tokens().len() == 5 { 1.0 } else { f32::NAN });
    for rollout in run(&whole, None) {
        assert!(rollout.advantages.iter().all(|advantage| *advantage == 0.0));
    }
}

#[test]
fn a_second_attempt_stands_behind_the_first_and_is_judged_as_an_answer_to_the_prompt() {
    let prompts = prompts();
    // Only an answer to a prompt that was asked is judged.
    let asked: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt.to_vec()).collect();
    let scorer = rule(move |episode: &Episode| match asked.iter().any(|prompt| prompt == episode.prompt_tokens()) {
        true => f32::from(u8::from(episode.response_tokens().contains(&3))),
        false => f32::NAN,
    });
    let run = |stage: Stage, progress: f64| {
        let second = Some(SecondAttempt { progress, ..SecondAttempt::new(vec![9, 8], stage) });
        let setup = Setup::new("reinforce", "reinforce", RolloutConfig { second, ..config() });
        let mut source = setup.source(&prompts, &scorer).expect("sound options");
        source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
        source.pending().to_vec()
    };
    let rollouts = run(Stage::Second, 10.0);
    let (first, second) = rollouts.split_at(8);
    assert_eq!(second.len(), 8);
    for (one, other) in first.iter().zip(second) {
        assert_eq!(other.prompt, one.prompt.followed_by(&one.response).followed_by(&[9, 8]));
        assert_eq!((other.asked.as_ref(), other.group), (Some(&one.prompt), one.group + 2));
        let (a, b) = (one.score.expect("judged"), other.score.expect("judged"));
        assert_eq!((one.advantages[0] as f64, other.advantages[0] as f64), (a, b + 10.0 * (b - a)));
        assert_eq!(other.advantages.len(), other.response.len());
    }
    let rollouts = run(Stage::First, 10.0);
    assert!(rollouts[..8].iter().all(|one| one.pull == Some(1.0) && one.advantages.iter().all(|a| *a == 0.0)));
    assert!(rollouts[8..].iter().all(|one| one.pull == Some(0.0)));
    // The same prompts are answered in the same way, whatever is paid.
    assert_eq!(rollouts[3].response, first[3].response);
}

#[test]
fn first_attempts_of_the_reference_are_learned_from_by_nobody() {
    let (prompts, scorer) = (prompts(), threes());
    let second = SecondAttempt { borrowed: 0.5, ..SecondAttempt::new(vec![9, 8], Stage::Second) };
    let setup = Setup::new("rloo", "reinforce", RolloutConfig { second: Some(second), ..config() });
    let write = |reference: Option<Decoder>| {
        let mut source = setup.source(&prompts, &scorer).expect("sound options");
        if let Some(reference) = reference {
            source = source.with_reference(reference);
        }
        source.window(&Actor::new(tiny(1)))?;
        Ok::<_, TrainError>(source.pending().to_vec())
    };
    // Half of four first attempts to each of two prompts, and all eight second ones.
    let rollouts = write(Some(tiny(2))).expect("rollouts can be written");
    assert!(rollouts.iter().all(|rollout| !rollout.borrowed));
    let second = rollouts.iter().filter(|rollout| rollout.asked.is_some()).count();
    assert_eq!((rollouts.len() - second, second), (4, 8));
    // What the reference wrote stands before second attempts, and not what the policy would have.
    let other = write(Some(tiny(3))).expect("rollouts can be written");
    let first = |rollouts: &[Rollout]| rollouts[..4].iter().map(|one| one.response.clone()).collect::<Vec<_>>();
    let behind = |rollouts: &[Rollout]| rollouts[4..].iter().map(|one| one.prompt.clone()).collect::<Vec<_>>();
    assert_eq!(first(&rollouts), first(&other));
    assert_ne!(behind(&rollouts), behind(&other));
    assert!(matches!(write(None), Err(TrainError::Core(CoreError::MissingInput(_)))));
}

#[test]
fn second_attempts_that_are_paid_differently_are_no_dead_group() {
    // First attempts are right by turns, and every second attempt is right: what is paid for it is 11 or 1.
    let (prompts, asked) = (prompts(), AtomicUsize::new(0));
    let scorer = rule(move |_: &Episode| match asked.fetch_add(1, Ordering::Relaxed) {
        at if at < 8 => (at % 2) as f32,
        _ => 1.0,
    });
    let second = Some(SecondAttempt::new(vec![9, 8], Stage::Second));
    let config = RolloutConfig { second, dead_groups: DeadGroups::Mask, ..config() };
    let setup = Setup::new("reinforce", "reinforce", config);
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
    let paid: Vec<f32> = source.pending().iter().skip(8).map(|rollout| rollout.advantages[0]).collect();
    assert_eq!(paid, [11.0, 1.0, 11.0, 1.0, 11.0, 1.0, 11.0, 1.0]);
}

#[test]
fn a_step_that_goes_too_far_is_the_last_on_its_generation() {
    let (prompts, scorer, actor) = (prompts(), threes(), Actor::new(tiny(1)));
    let early_stop = EarlyStop { approx_kl: Some(0.1), clip_fraction: None };
    let setup = Setup::new("grpo", "grpo", RolloutConfig { num_iterations: 3, early_stop, ..config() });
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    let mut step = |kl: f64| {
        let metrics = source.window(&actor).expect("rollouts can be written").metrics;
        let generation = metrics.iter().find(|(name, _)| name == "generation").expect("it is logged").1;
        source.told(&[("approx_kl".to_owned(), kl)]);
        source.advance();
        (generation, source.epoch(), source.pending().len())
    };
    // Two of four prompts are a generation.
    assert_eq!(step(0.05), (0.0, 0.0, 8));
    assert_eq!(step(0.2), (0.0, 0.5, 0));
    assert_eq!([step(0.0), step(0.0), step(0.0)], [(1.0, 0.5, 8), (1.0, 0.5, 8), (1.0, 1.0, 0)]);
}

#[test]
fn values_learn_alone_before_the_policy_does() {
    let (prompts, scorer) = (prompts(), threes());
    let setup = Setup::new("gae", "ppo", RolloutConfig { critic_warmup: 1, ..config() });
    let (learner, actor) = (setup.learner(), setup.actor(tiny(1)));
    let start = actor.decoder.hash();
    let source = setup.source(&prompts, &scorer).expect("sound options");
    let mut fit = Fit::from_source(&learner, actor, Box::new(source), 2, fit_config()).expect("sound options");
    fit.next().expect("a step").expect("it is made");
    let head = fit.model().value.as_ref().expect("there is a critic").weight.val();
    assert!(values(head).iter().any(|weight| *weight != 0.0));
    assert_eq!(fit.model().decoder.hash(), start);
    fit.next().expect("a step").expect("it is made");
    assert_ne!(fit.model().decoder.hash(), start);
    // Where there are no values nothing could learn.
    let setup = Setup::new("grpo", "grpo", RolloutConfig { critic_warmup: 1, ..config() });
    assert!(matches!(setup.source(&prompts, &scorer), Err(TrainError::Core(CoreError::Shape { .. }))));
}

#[test]
fn penalties_come_before_gain_and_bias_and_the_cut_comes_last() {
    let (prompts, scorer) = (prompts(), rule(|_: &Episode| 2.0));
    let length = LengthPenalty { missing_end: Some(1.0), ..LengthPenalty::default() };
    let config =
        RolloutConfig { prompts: 4, length, reward_scale: (3.0, 1.0), reward_clip: Some((-10.0, 5.0)), ..config() };
    let setup = Setup::new("grpo", "grpo", config);
    let mut source = setup.source(&prompts, &scorer).expect("sound options");
    source.window(&Actor::new(tiny(1))).expect("rollouts can be written");
    assert!(source.pending().iter().any(|rollout| !rollout.complete));
    for rollout in source.pending() {
        // 3 (2 - 1) + 1, and 3 * 2 + 1 cut to 5.
        assert_eq!(rollout.score, Some(if rollout.complete { 5.0 } else { 4.0 }));
    }
}

#[test]
fn what_is_kept_is_learned_from_alone() {
    let setup = Setup::new("raft", "reinforce", RolloutConfig { prompts: 4, ..config() });
    let rollouts = generation(&setup);
    assert_eq!(rollouts.len(), 4);
    let all = generation(&Setup::new("reinforce", "reinforce", RolloutConfig { prompts: 4, ..config() }));
    for kept in &rollouts {
        assert!(kept.advantages.iter().all(|advantage| *advantage == 1.0));
        let group = all.iter().filter(|other| other.group == kept.group);
        assert!(group.filter_map(|other| other.score).all(|score| Some(score) <= kept.score));
    }
}

/// Gradients of the policy in the order of its weights.
fn flat(actor: &Actor, learned: &Learned) -> Vec<f64> {
    struct All<'a>(&'a burn::optim::GradientsParams, Vec<f64>);
    impl ModuleVisitor for All<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.extend(self.0.get::<D>(param.id).map(values).into_iter().flatten());
        }
    }
    let mut all = All(&learned.gradients, Vec::new());
    actor.visit(&mut all);
    all.1
}

#[test]
fn the_split_of_a_window_changes_no_gradient() {
    for (estimator, loss) in [("grpo", "dapo"), ("gae", "ppo"), ("rloo", "rloo"), ("brain", "brain")] {
        let penalty = KlReward { coef: 0.1, estimator: KlEstimator::K1, place: KlPlace::Tokens, adaptive: None };
        let kl_reward = (loss != "brain").then_some(penalty);
        let setup = Setup::new(estimator, loss, RolloutConfig { num_iterations: 2, kl_reward, ..config() });
        let rollouts = generation(&setup);
        // Another policy than the one that wrote.
        let actor = setup.actor(tiny(3));
        let (learner, rows) = (setup.learner(), rollouts.iter().collect::<Vec<&Rollout>>());
        let window = |batch: usize| {
            flat(&actor, &learner.learn_window(&actor, &rows, batch).expect("rollouts can be learned from"))
        };
        let whole = window(rows.len());
        let largest = whole.iter().fold(f64::MIN_POSITIVE, |largest, slope| largest.max(slope.abs()));
        let scaled = |slopes: Vec<f64>| slopes.into_iter().map(|slope| slope / largest).collect::<Vec<f64>>();
        let whole = scaled(whole);
        for batch in [1, 3] {
            close(loss, &scaled(window(batch)), &whole, 1e-4);
        }
        // A prompt that rollouts share counts once; those of a prompt stand side by side.
        let count = |rows: &[&Rollout]| learner.tokens(rows).expect("rollouts are counted");
        let prompts: usize = rows.chunk_by(|a, b| a.group == b.group).map(|group| group[0].prompt.len()).sum();
        let responses: usize = rows.iter().map(|row| row.response.len()).sum();
        assert_eq!(count(&rows), prompts + responses, "{loss}");
        for parts in [2, 5] {
            let batches = batches_by_tokens(&rows, count(&rows) / parts, count);
            assert!(batches.len() > 1, "{loss}");
            let learned = learner.learn_batches(&actor, &batches, 0.0).expect("rollouts can be learned from");
            close(loss, &scaled(flat(&actor, &learned)), &whole, 1e-4);
        }
    }
}

fn pair_config() -> PairConfig {
    PairConfig {
        prompts: 4,
        num_generations: 6,
        max_completion_length: 5,
        ends: vec![END],
        context: 32,
        window: 2,
        passes: 2,
        batch: 3,
        seed: Seed(5),
        ..PairConfig::default()
    }
}

/// The rows of the next step.
fn take(source: &mut OnlinePairs, model: &Decoder) -> Result<Vec<TrainRow>, TrainError> {
    let rows = source.window(model)?.rows.into_iter().cloned().collect();
    source.advance();
    Ok(rows)
}

#[test]
fn rounds_of_pairs_are_labelled_by_a_reward_and_learned_from() {
    let (prompts, scorer) = (prompts(), threes());
    let source = OnlinePairs::new(&prompts, Labeler::Explicit(&scorer), tiny(1), pair_config());
    let source = source.expect("sound options").with_gold(&scorer);
    let dpo = DpoConfig::default().init().expect("sound options");
    let learner = LogpLearner::new(&dpo);
    let fit = Fit::from_source(&learner, tiny(1), Box::new(source), 12, fit_config()).expect("sound options");
    let reports: Vec<StepReport> = fit.collect::<Result<_, _>>().expect("the numbers are finite");
    let mut round = None;
    for report in &reports {
        let metric = |name: &str| report.metric(name).expect("it is logged");
        // The labels are the truth.
        assert_eq!(metric("pairs/label_accuracy"), 1.0);
        assert!(metric("pairs/margin") > 0.0 && metric("pairs/kept") <= 1.0);
        if round != Some(metric("round")) {
            // A round begins at its own reference.
            close("step 0 of a round", &[metric("loss")], &[std::f64::consts::LN_2], 1e-4);
            round = Some(metric("round"));
        }
    }
    assert!(round > Some(1.0));
}

#[test]
fn responses_of_a_round_carry_what_they_earn_above_their_prompt() {
    let (prompts, scorer) = (prompts(), threes());
    let config = PairConfig { num_generations: 2, ..pair_config() };
    let mut source = OnlinePairs::new(&prompts, Labeler::Explicit(&scorer), tiny(1), config).expect("sound options");
    take(&mut source, &tiny(1)).expect("pairs");
    for row in source.pending() {
        let share = |side: usize| -> f64 {
            let tokens = &row.responses[side].tokens;
            tokens.iter().filter(|token| **token == 3).count() as f64 / tokens.len() as f64
        };
        // Of two responses, each is half of the difference away from their mean.
        let half = (share(0) - share(1)) / 2.0;
        let got = [0, 1].map(|side| f64::from(row.responses[side].score.expect("it has one")));
        assert!(half > 0.0);
        close("scores", &got, &[half, -half], 1e-6);
    }
    assert!(!source.pending().is_empty());
    // Of more, GPO learns them from a round on, whose reference is the policy: (0 - s / beta)^2 of both sides.
    let source = OnlinePairs::new(&prompts, Labeler::Explicit(&scorer), tiny(1), pair_config()).expect("sound options");
    let gpo = GpoConfig { beta: 0.5, ..GpoConfig::default() }.init().expect("sound options");
    let learner = LogpLearner::new(&gpo);
    let mut again =
        OnlinePairs::new(&prompts, Labeler::Explicit(&scorer), tiny(1), pair_config()).expect("sound options");
    let rows = take(&mut again, &tiny(1)).expect("pairs");
    let squares = rows.iter().flat_map(|row| row.responses[..2].iter()).map(|response| {
        let score = f64::from(response.score.expect("it has one"));
        (score / 0.5).powi(2)
    });
    let expected = squares.sum::<f64>() / rows.len() as f64;
    let mut fit = Fit::from_source(&learner, tiny(1), Box::new(source), 1, fit_config()).expect("sound options");
    let report = fit.next().expect("a step").expect("the numbers are finite");
    close("loss", &[report.metric("loss").expect("it is logged")], &[expected], 1e-4);
}

#[test]
fn implicit_labels_are_those_of_a_policy_that_has_learned() {
    let (prompts, scorer) = (prompts(), threes());
    let make = |labeler| OnlinePairs::new(&prompts, labeler, tiny(1), pair_config()).expect("sound options");
    // Before it has learned, every log-ratio is 0.
    let untrained = take(&mut make(Labeler::Implicit), &tiny(1));
    assert!(matches!(untrained, Err(TrainError::Core(CoreError::Shape { .. }))));
    let moved = tiny(2);
    let all = |labeler| {
        let mut source = make(labeler);
        // Where no pair is left, none is pending.
        let _ = take(&mut source, &moved);
        source.pending().to_vec()
    };
    let (explicit, both) = (all(Labeler::Explicit(&scorer)), all(Labeler::Both(&scorer)));
    assert!(!explicit.is_empty());
    // Both is what is left of the one where the other agrees.
    assert!(both.len() <= explicit.len() && both.iter().all(|row| explicit.contains(row)));
    let first = PairConfig { follow: false, ..pair_config() };
    let mut source = OnlinePairs::new(&prompts, Labeler::Implicit, tiny(1), first).expect("sound options");
    let followed = all(Labeler::Implicit);
    take(&mut source, &moved).expect("pairs");
    for (fixed, followed) in source.pending().iter().zip(&followed) {
        let sum = |row: &TrainRow, side: usize| -> f64 {
            let logps = row.responses[side].ref_logps.as_ref().expect("it is asked");
            logps.iter().map(|logp| f64::from(*logp)).sum()
        };
        assert_eq!(fixed.responses[0].tokens, followed.responses[0].tokens);
        // Of the two references one is the policy itself, so their difference is the implicit label.
        let label = |side| sum(followed, side) - sum(fixed, side);
        assert!(label(0) > label(1));
    }
}

#[test]
fn pairs_that_are_pending_wait_in_a_checkpoint() {
    let (prompts, scorer, model) = (prompts(), threes(), tiny(1));
    let make =
        || OnlinePairs::new(&prompts, Labeler::Explicit(&scorer), tiny(1), pair_config()).expect("sound options");
    for stop in [1, 2, 5] {
        let (mut whole, folder) = (make(), tempfile::tempdir().expect("a folder"));
        for _ in 0..stop {
            take(&mut whole, &model).expect("pairs");
        }
        whole.save(folder.path()).expect("it can be written");
        let mut resumed = make();
        resumed.resume(folder.path(), whole.cursor()).expect("it was written");
        for _ in 0..6 {
            assert_eq!(take(&mut resumed, &model).expect("pairs"), take(&mut whole, &model).expect("pairs"));
        }
    }
}

#[test]
fn what_a_labeler_remembers_waits_with_the_pairs() {
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
    let (prompts, model) = (prompts(), tiny(1));
    // In the round, and between two rounds.
    for stop in 1..6 {
        let [ours, others] = [(); 2].map(|()| ByTurns(AtomicUsize::new(1)));
        let [mut whole, mut resumed] = [&ours, &others].map(|scorer| {
            OnlinePairs::new(&prompts, Labeler::Explicit(scorer), tiny(1), pair_config()).expect("sound options")
        });
        for _ in 0..stop {
            take(&mut whole, &model).expect("pairs");
        }
        let folder = tempfile::tempdir().expect("a folder");
        whole.save(folder.path()).expect("it can be written");
        resumed.resume(folder.path(), whole.cursor()).expect("it was written");
        for _ in 0..6 {
            assert_eq!(take(&mut resumed, &model).expect("pairs"), take(&mut whole, &model).expect("pairs"));
        }
        let [ours, others] = [&ours, &others].map(|scorer| scorer.0.load(Ordering::Relaxed));
        assert!(ours == others && ours > 2, "{ours} and {others}");
    }
}

/// Summed log-probability of a response.
fn total(model: &Decoder, prompt: &Tokens, response: &Tokens) -> f64 {
    let (logps, _) = model.valid().response_logps(&[Row { prompt, response }]).expect("a row");
    values(logps).iter().sum()
}

#[test]
fn pairs_are_relied_upon_as_far_as_two_rounds_agree() {
    let (prompts, seen) = (prompts(), RefCell::new(Vec::new()));
    let of = |now: &[f64], before: &[f64]| -> Result<Option<f64>, CoreError> {
        seen.borrow_mut().push((now.to_vec(), before.to_vec()));
        // One prompt says nothing; of the others every second agrees.
        let n = seen.borrow().len();
        Ok((n != 3).then_some(if n % 2 == 1 { 1.0 } else { 0.5 }))
    };
    let first = tiny(1);
    let make = |per_prompt| {
        let source = OnlinePairs::new(&prompts, Labeler::Implicit, first.clone(), pair_config());
        source.expect("sound options").with_agreement(Agreement { of: &of, per_prompt, policy: &first })
    };
    let mut source = make(true);
    let policies = [tiny(2), tiny(3)];
    for (round, policy) in policies.iter().enumerate() {
        seen.borrow_mut().clear();
        take(&mut source, policy).expect("pairs");
        let told = seen.borrow();
        assert_eq!(told.len(), prompts.len());
        for row in source.pending() {
            let (chosen, rejected) = (&row.responses[0].tokens, &row.responses[1].tokens);
            let now = |response: &Tokens| total(policy, &row.prompt, response) - total(&first, &row.prompt, response);
            let before = |response: &Tokens| match round {
                0 => total(&first, &row.prompt, response) / response.len() as f64,
                _ => total(&policies[0], &row.prompt, response) - total(&first, &row.prompt, response),
            };
            // The labels are the scores now: best and worst of one of the lists.
            let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
            let extreme = |list: &[f64], pick: fn(f64, f64) -> f64| list.iter().copied().reduce(pick).expect("scores");
            let mine = |(list, _): &&(Vec<f64>, Vec<f64>)| {
                near(extreme(list, f64::max), now(chosen)) && near(extreme(list, f64::min), now(rejected))
            };
            let (at, (list, older)) = told.iter().enumerate().find(|(_, lists)| mine(lists)).expect("its list");
            let best = (0..list.len()).find(|at| near(list[*at], now(chosen))).expect("the best");
            assert!(near(older[best], before(chosen)), "round {round}: {} and {}", older[best], before(chosen));
            assert_eq!(row.consistency, Some(if at % 2 == 0 { 1.0 } else { 0.5 }), "list {at}");
            assert_ne!(at, 2, "a prompt that says nothing gives no pair");
        }
        drop(told);
        while source.epoch() < (round + 1) as f64 {
            take(&mut source, policy).expect("pairs");
        }
    }
    // The mean over the three prompts that say something.
    seen.borrow_mut().clear();
    let mut source = make(false);
    take(&mut source, &policies[0]).expect("pairs");
    assert!(source.pending().iter().all(|row| row.consistency == Some((2.0f64 / 3.0) as f32)));
}

#[test]
fn the_policies_of_two_rounds_wait_in_a_checkpoint() {
    let (prompts, policies) = (prompts(), [tiny(2), tiny(3), tiny(4)]);
    // What is compared decides the number, so that another policy would be seen.
    let of = |now: &[f64], before: &[f64]| -> Result<Option<f64>, CoreError> {
        let distance: f64 = now.iter().zip(before).map(|(now, before)| (now - before).abs()).sum();
        Ok(Some(1.0 / (1.0 + distance)))
    };
    // The reference is of another shape than the policies.
    let config = DecoderConfig::tiny(VOCAB, 8, 1, 2, 32);
    let mut weights = RandomWeights { seed: Seed(1), layers: 1 };
    let narrow = Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh");
    let make = || {
        let source = OnlinePairs::new(&prompts, Labeler::Implicit, narrow.clone(), pair_config());
        let agreement = Agreement { of: &of, per_prompt: true, policy: &policies[0] };
        source.expect("sound options").with_agreement(agreement)
    };
    let policy = |source: &OnlinePairs| &policies[(source.epoch() as usize).min(2)];
    for stop in [1, 3, 6] {
        let (mut whole, folder) = (make(), tempfile::tempdir().expect("a folder"));
        for _ in 0..stop {
            let policy = policy(&whole);
            take(&mut whole, policy).expect("pairs");
        }
        whole.save(folder.path()).expect("it can be written");
        let mut resumed = make();
        resumed.resume(folder.path(), whole.cursor()).expect("it was written");
        for _ in 0..6 {
            let policy = policy(&whole);
            let expected = take(&mut whole, policy).expect("pairs");
            assert!(expected.iter().all(|row| row.consistency.is_some()));
            assert_eq!(take(&mut resumed, policy).expect("pairs"), expected);
        }
    }
}

#[test]
fn pairs_that_a_judge_decides_otherwise_are_left_out_and_empty_rounds_are_passed_over() {
    let (prompts, policy) = (prompts(), tiny(2));
    let make = |prompts_of_a_round: usize| {
        let config = PairConfig { prompts: prompts_of_a_round, ..pair_config() };
        OnlinePairs::new(&prompts, Labeler::Implicit, tiny(1), config).expect("sound options")
    };
    let even = |row: &TrainRow| row.responses[0].tokens[0].is_multiple_of(2);
    let chance = |flag: bool| Some(if flag { 0.75 } else { 0.25 });
    let judge = |_: &Decoder, rows: &[TrainRow]| -> Result<Vec<Option<f64>>, TrainError> {
        Ok(rows.iter().map(|row| chance(even(row))).collect())
    };
    let mut all = make(4);
    take(&mut all, &policy).expect("pairs");
    let mut judged = make(4).with_judge(&judge, Divided::LeftOut);
    // Where none is left in the only round of a pass, that is an error.
    let found = take(&mut judged, &policy).is_ok();
    let expected: Vec<TrainRow> = all.pending().iter().filter(|row| even(row)).cloned().collect();
    assert_eq!((judged.pending(), found), (expected.as_slice(), !expected.is_empty()));
    // Where all stay, each is told the chance; one that cannot be asked about has none.
    let mut told = make(4).with_judge(&judge, Divided::Kept);
    take(&mut told, &policy).expect("pairs");
    assert_eq!(told.pending().len(), all.pending().len());
    for (row, plain) in told.pending().iter().zip(all.pending()) {
        assert_eq!(row.consistency, Some(if even(plain) { 0.75 } else { 0.25 }));
        assert_eq!(row.responses, plain.responses);
    }
    // The judge turns down the first round, so the first pairs are those of the second.
    let calls = RefCell::new(0);
    let late = |_: &Decoder, rows: &[TrainRow]| -> Result<Vec<Option<f64>>, TrainError> {
        *calls.borrow_mut() += 1;
        Ok(vec![chance(*calls.borrow() > 1); rows.len()])
    };
    let (mut plain, mut passed) = (make(2), make(2).with_judge(&late, Divided::LeftOut));
    let window = passed.window(&policy).expect("pairs");
    assert!(window.metrics.contains(&("round".to_owned(), 1.0)), "{:?}", window.metrics);
    while plain.epoch() < 0.5 {
        take(&mut plain, &policy).expect("pairs");
    }
    plain.window(&policy).expect("pairs");
    assert_eq!(passed.pending(), plain.pending());
    let never = |_: &Decoder, rows: &[TrainRow]| -> Result<Vec<Option<f64>>, TrainError> { Ok(vec![None; rows.len()]) };
    for divided in [Divided::LeftOut, Divided::Kept] {
        let found = take(&mut make(2).with_judge(&never, divided), &policy);
        assert!(matches!(found, Err(TrainError::Core(CoreError::Shape { .. }))));
    }
    let short = |_: &Decoder, _: &[TrainRow]| -> Result<Vec<Option<f64>>, TrainError> { Ok(Vec::new()) };
    assert!(take(&mut make(4).with_judge(&short, Divided::LeftOut), &policy).is_err());
}
