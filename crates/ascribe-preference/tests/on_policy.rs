//! Whole loops on rollouts: what is drawn and kept, what is refused, that it learns, and that a run that is killed at any
//! step goes on to the same numbers.

use ascribe_core::advantage::{AdvantageEstimator, Baseline, Outcome};
use ascribe_core::tensor::KlEstimator;
use ascribe_core::{CoreError, Credit, Episode, Objective, Sampling, Scorer, Seed, Tokens, rule};
use ascribe_lm::{Decoder, DecoderConfig, LanguageModel, RandomWeights};
use ascribe_preference::rl::{
    Actor, AdaptiveKl, Correction, CorrectionKind, DeadGroups, ESTIMATORS, EstimatorOptions, KlPlace, KlReward,
    OnPolicy, POLICY_LOSSES, PolicyOptions, Rollout, RolloutConfig, RolloutLearner, Segmentation, ValueTerm,
};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{close, root};
use ascribe_train::{Checkpoints, Fit, FitConfig, ScheduleKind, Source, StepReport, TrainError};

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
    let made = POLICY_LOSSES.iter().find(|(known, ..)| *known == name).expect("it is in the table").2;
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
        let beta = if config.kl_reward.is_some() { 0.02 } else { 0.0 };
        let weighted = config.correction.is_some() || config.top_entropy.is_some();
        let options = PolicyOptions { value, beta, weighted, ..PolicyOptions::default() };
        Self { objective: objective(loss, &options), estimator, config }
    }

    fn learner(&self) -> RolloutLearner<'_> {
        let temperature = f64::from(self.config.sampling.temperature);
        RolloutLearner { objective: self.objective.as_ref(), temperature }
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

/// Trains for `steps` steps; the reports.
fn train(setup: &Setup, steps: usize) -> Vec<StepReport> {
    let (prompts, scorer, learner) = (prompts(), threes(), setup.learner());
    let source = setup.source(&prompts, &scorer).expect("sound options").with_reference(tiny(1));
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
    for (name, _) in ESTIMATORS {
        let config = RolloutConfig { segmentation: segmentation.clone(), ..config() };
        let reports = train(&Setup::new(name, "ppo", config), 2);
        assert!(reports[1].metric("loss").is_some_and(f64::is_finite), "{name}");
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
