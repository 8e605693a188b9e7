//! What methods on rollouts are of each other: gradients of whole windows, held against each other or against those of
//! supervised fine-tuning. Estimators and losses are reduced to each other where they stand.

use ascribe_core::advantage::{AdvantageEstimator, Oreal};
use ascribe_core::tensor::KlEstimator;
use ascribe_core::{Episode, Objective, Sampling, Scorer, Seed, Tokens, rule};
use ascribe_lm::{Decoder, DecoderConfig, RandomWeights, Row};
use ascribe_preference::objectives::Sft;
use ascribe_preference::rl::{
    Actor, ESTIMATORS, EstimatorOptions, KlPlace, KlReward, OnPolicy, POLICY_LOSSES, PolicyOptions, Rollout,
    RolloutConfig, RolloutLearner, SecondAttempt, Stage, ValueTerm,
};
use ascribe_preference::{LogpLearner, TrainRow};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::close;
use ascribe_train::{Learned, Learner, Source};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

fn tiny(seed: u64) -> Decoder {
    let config = DecoderConfig::tiny(12, 16, 1, 2, 32);
    let mut weights = RandomWeights { seed: Seed(seed), layers: 1 };
    Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit")
}

fn config() -> RolloutConfig {
    RolloutConfig {
        prompts: 2,
        num_generations: 4,
        max_completion_length: 5,
        ends: vec![0],
        context: 32,
        batch: 3,
        seed: Seed(5),
        ..RolloutConfig::default()
    }
}

/// The share of tokens that are odd.
fn odd() -> impl Scorer {
    rule(|episode: &Episode| {
        let response = episode.response_tokens();
        response.iter().filter(|token| **token % 2 == 1).count() as f32 / response.len() as f32
    })
}

fn estimator(name: &str) -> Box<dyn AdvantageEstimator> {
    let (_, make) = ESTIMATORS.iter().find(|(known, _)| *known == name).expect("it is in the table");
    make(&EstimatorOptions { lambda: 1.0, whiten_advantages: false, ..EstimatorOptions::default() })
        .expect("sound options")
}

fn loss(name: &str, options: &PolicyOptions) -> Box<dyn Objective> {
    let (_, _, make) = POLICY_LOSSES.iter().find(|(known, ..)| *known == name).expect("it is in the table");
    make(options).expect("sound options")
}

/// What a method writes in its first generation, as `actor`, and the gradients of the window by the weights of the policy.
fn learned(
    actor: &Actor,
    estimator: &dyn AdvantageEstimator,
    objective: &dyn Objective,
    config: RolloutConfig,
    scorer: &dyn Scorer,
) -> (Vec<Rollout>, Vec<f64>) {
    let prompts: Vec<Tokens> = (1..5u32).map(|first| Tokens::from(vec![first, first + 3])).collect();
    let temperature = config.temperature();
    let source = OnPolicy::new(&prompts, scorer, estimator, objective.needs(), config).expect("sound options");
    let mut source = source.with_reference(tiny(2));
    source.window(actor).expect("rollouts can be written");
    let rollouts = source.pending().to_vec();
    let rows: Vec<&Rollout> = rollouts.iter().collect();
    let learner = RolloutLearner::new(objective, temperature);
    let Learned { gradients, .. } = learner.learn_window(actor, &rows, rows.len()).expect("they can be learned from");
    (rollouts, flat(&actor.decoder, &gradients))
}

/// Gradients of supervised fine-tuning on responses, each times a number: of sums of `-log pi` at temperature 1.
fn fine_tuned(decoder: &Decoder, weighed: &[(&Rollout, f64)]) -> Vec<f64> {
    let learner = LogpLearner::new(&Sft);
    let mut sum: Vec<f64> = Vec::new();
    for (rollout, weight) in weighed {
        let row = TrainRow::single(rollout.prompt.clone(), rollout.response.clone());
        let Learned { gradients, .. } = learner.learn(decoder, &[&row]).expect("a response");
        let slopes = flat(decoder, &gradients);
        sum.resize(slopes.len(), 0.0);
        sum.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += weight * slope);
    }
    sum
}

/// Gradients of the policy in the order of its weights.
fn flat(decoder: &Decoder, gradients: &GradientsParams) -> Vec<f64> {
    struct All<'a>(&'a GradientsParams, Vec<f64>);
    impl ModuleVisitor for All<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.extend(self.0.get::<D>(param.id).map(values).into_iter().flatten());
        }
    }
    let mut all = All(gradients, Vec::new());
    decoder.visit(&mut all);
    all.1
}

/// The gradients over the largest of the expected ones: rounding goes with it.
fn same(what: &str, got: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs()));
    assert!(largest > 0.0, "{what}: nothing is learned");
    let scaled = |slopes: &[f64]| slopes.iter().map(|slope| slope / largest).collect::<Vec<f64>>();
    close(what, &scaled(got), &scaled(expected), 1e-4);
}

#[test]
fn raft_with_one_response_a_prompt_is_fine_tuning_on_what_was_written() {
    let actor = Actor::new(tiny(1));
    let (objective, scorer) = (loss("reinforce", &PolicyOptions::default()), odd());
    let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
    let config = |fit_temperature| RolloutConfig { num_generations: 1, sampling, fit_temperature, ..config() };
    let run = |config| learned(&actor, estimator("raft").as_ref(), objective.as_ref(), config, &scorer);
    let (rollouts, gradients) = run(config(Some(1.0)));
    assert_eq!(rollouts.len(), 2);
    let weighed: Vec<(&Rollout, f64)> = rollouts.iter().map(|rollout| (rollout, 1.0)).collect();
    let expected = fine_tuned(&actor.decoder, &weighed);
    same("fine-tuning", &gradients, &expected);
    // At the temperature that drew them, the same responses teach something else.
    let (again, others) = run(config(None));
    assert!(again.iter().zip(&rollouts).all(|(one, other)| one.response == other.response));
    let apart = others.iter().zip(&expected).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
    assert!(apart > 1e-2 * expected.iter().fold(0.0f64, |largest, slope| largest.max(slope.abs())), "{apart}");
}

#[test]
fn raft_ranks_by_the_reward_less_the_penalty() {
    let actor = Actor::new(tiny(1));
    let (objective, scorer) = (loss("reinforce", &PolicyOptions::default()), odd());
    // So strong that it decides.
    let penalty = KlReward { coef: 20.0, estimator: KlEstimator::K1, place: KlPlace::Tokens, adaptive: None };
    let sampling = Sampling { temperature: 0.7, ..Sampling::default() };
    let config = || RolloutConfig { kl_reward: Some(penalty), fit_temperature: Some(1.0), sampling, ..config() };
    let run = |name: &str| learned(&actor, estimator(name).as_ref(), objective.as_ref(), config(), &scorer).0;
    let (kept, all) = (run("raft"), run("reinforce"));
    let worth = |one: &Rollout| -> f64 {
        let (old, reference) = (one.old_logps.as_ref().expect("kept"), one.ref_logps.as_ref().expect("kept"));
        let h: f64 = old.iter().zip(reference).map(|(old, reference)| f64::from(*old) - f64::from(*reference)).sum();
        one.score.expect("every response is judged") - 20.0 * h
    };
    assert_eq!((kept.len(), all.len()), (2, 8));
    for one in &kept {
        let group = all.iter().filter(|other| other.group == one.group);
        let best = group.max_by(|a, b| worth(a).total_cmp(&worth(b))).expect("a group");
        assert_eq!(one.response, best.response);
        // The log-ratio is that of temperature 1, by which it is imitated.
        let row = [Row { prompt: &one.prompt, response: &one.response }];
        let (logps, _) = actor.decoder.clone().valid().response_logps(&row).expect("a response");
        let old: Vec<f64> = one.old_logps.iter().flatten().map(|logp| f64::from(*logp)).collect();
        close("temperature 1", &old, &values(logps), 1e-5);
    }
}

#[test]
fn fit_temperatures_out_of_range_are_refused() {
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let said =
            RolloutConfig { fit_temperature: Some(wrong), ..config() }.check().expect_err("out of range").to_string();
        assert!(said.contains("fit_temperature") && said.contains("finite and above 0"), "{said}");
    }
    // That of sampling, where none is given.
    let sampling = Sampling { temperature: 0.5, ..Sampling::default() };
    assert_eq!(RolloutConfig { sampling, ..config() }.temperature(), 0.5);
}

#[test]
fn ppo_without_a_critic_s_say_is_reinforce_with_rewards_to_go() {
    let (decoder, scorer) = (tiny(1), odd());
    // Penalties on tokens, so that what is to go differs from token to token.
    let penalty = KlReward { coef: 0.3, estimator: KlEstimator::K1, place: KlPlace::Tokens, adaptive: None };
    let config = || RolloutConfig { kl_reward: Some(penalty), ..config() };
    // A fresh head gives 0 everywhere, and its own loss counts nothing.
    let value = Some(ValueTerm { coef: 0.0, clip: None });
    let ppo = loss("ppo", &PolicyOptions { value, ..PolicyOptions::default() });
    let critic = Actor::with_critic(decoder.clone());
    let (rollouts, got) = learned(&critic, estimator("gae").as_ref(), ppo.as_ref(), config(), &scorer);
    let plain = loss("reinforce", &PolicyOptions::default());
    let actor = Actor::new(decoder);
    let (others, expected) = learned(&actor, estimator("reinforce").as_ref(), plain.as_ref(), config(), &scorer);
    for (one, other) in rollouts.iter().zip(&others) {
        assert_eq!(one.response, other.response);
        let widened = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
        close("advantages", &widened(&one.advantages), &widened(&other.advantages), 1e-5);
    }
    assert!(others.iter().any(|one| one.advantages.windows(2).any(|pair| pair[0] != pair[1])));
    same("REINFORCE", &got, &expected);
}

#[test]
fn oreal_by_right_responses_alone_is_weighed_fine_tuning() {
    let actor = Actor::new(tiny(1));
    // Right where the first token is odd.
    let scorer = rule(|episode: &Episode| f32::from(u8::from(episode.response_tokens()[0] % 2 == 1)));
    let (estimator, objective) =
        (Oreal { negative: 0.0, ..Oreal::default() }, loss("oreal", &PolicyOptions::default()));
    let config = RolloutConfig { num_generations: 8, ..config() };
    let (rollouts, gradients) = learned(&actor, &estimator, objective.as_ref(), config, &scorer);
    // One right and one wrong response of each prompt that has both.
    let right: Vec<&Rollout> = rollouts.iter().filter(|one| one.score == Some(1.0)).collect();
    assert!(!right.is_empty() && 2 * right.len() == rollouts.len(), "{} of {}", right.len(), rollouts.len());
    let tokens = |rollouts: &[&Rollout]| rollouts.iter().map(|one| one.response.len()).sum::<usize>() as f64;
    let all: Vec<&Rollout> = rollouts.iter().collect();
    let share = tokens(&all) / tokens(&right);
    // The loop divides by all tokens, so that a right response counts by its lead over the tokens of right ones.
    let mut weighed = Vec::new();
    for one in &right {
        let lead = f64::from(one.advantages[0]) / share;
        // Of eight labels k are right: 1 - (k - 1) / 7, for a k from 1 to 7.
        let k = 1.0 + 7.0 * (1.0 - lead);
        assert!((k - k.round()).abs() < 1e-4 && (1.0..=7.0).contains(&k.round()), "{lead}");
        weighed.push((*one, share * lead));
    }
    same("fine-tuning", &gradients, &fine_tuned(&actor.decoder, &weighed));
}

#[test]
fn score_without_a_bonus_is_reinforce_on_both_attempts() {
    let actor = Actor::new(tiny(1));
    let (objective, scorer) = (loss("reinforce", &PolicyOptions::default()), odd());
    let second = Some(SecondAttempt { progress: 0.0, ..SecondAttempt::new(vec![9, 8], Stage::Second) });
    let config = RolloutConfig { second, ..config() };
    let run = estimator("reinforce");
    let (rollouts, gradients) = learned(&actor, run.as_ref(), objective.as_ref(), config, &scorer);
    assert_eq!(rollouts.len(), 16);
    // Each turn is paid its own score, and nothing of the other's.
    let weighed: Vec<(&Rollout, f64)> =
        rollouts.iter().map(|one| (one, one.score.expect("every response is judged"))).collect();
    assert!(weighed[8..].iter().any(|(_, score)| *score > 0.0));
    same("both turns", &gradients, &fine_tuned(&actor.decoder, &weighed));
}
