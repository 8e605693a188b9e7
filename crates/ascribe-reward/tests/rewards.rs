//! What rewards made of rewards must satisfy, and what they are for: best-of-n against a gold reward.

use ascribe_core::{
    CoreError, Credit, CreditAssigner, Episode, Evidence, LogRatio, Reduce, Scorer, Seed, Stream, Text, Tokens, rule,
};
use ascribe_eval::Bootstrap;
use ascribe_eval::bench::{BestOfK, PickTies, best_of_k_curve};
use ascribe_eval::calibrate::PpoC;
use ascribe_eval::pairs::{Ties, pair_accuracy};
use ascribe_reward::losses::{BradleyTerryConfig, LOSSES};
use ascribe_reward::shaping::{Intrinsic, IntrinsicConfig};
use ascribe_reward::{
    Aggregate, Calibrated, ClipDeltaConfig, Ensemble, LastStep, LogSigmoid, NGrams, PromptReferences, QueryKind,
    Reference, RelevanceOptions, RelevanceReward, RewardLoss, ScoreBatch, Standard, Sum, Switch, TamedSteps, UntilEnd,
    mapped,
};
use ascribe_testkit::device::{device, floats, values};
use ascribe_testkit::golden::close;
use burn::tensor::DType;
use proptest::prelude::*;
use rand::RngExt;

/// A response of one token, its number in a table.
fn numbered(prompt: u32, number: usize) -> Episode {
    Episode::new(&[prompt], &[number as u32])
}

/// A scorer that looks its reward up.
fn table(rewards: Vec<f64>) -> impl Scorer {
    rule(move |episode: &Episode| rewards[episode.response_tokens()[0] as usize] as f32)
}

fn scores(scorer: &dyn Scorer, episodes: &[Episode]) -> Vec<f64> {
    let credits = scorer.score(episodes).expect("the scorer reads these episodes");
    let sequence = |(credit, episode): (&Credit, &Episode)| credit.to_sequence(episode, Reduce::Sum);
    let both = credits.iter().zip(episodes).map(|both| sequence(both).map(f64::from));
    both.collect::<Result<Vec<f64>, CoreError>>().expect("credit fits its episode")
}

/// An episode with a token a byte.
fn text_episode(prompt: &str, response: &str) -> Episode {
    let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    let text = format!("{prompt}{response}");
    let spans = (0..text.len()).map(|at| at..at + 1).collect();
    Episode::new(&ids(prompt), &ids(response)).with_text(Text { text, spans }).expect("a span a token")
}

fn best(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

/// About a standard normal number: twelve uniforms.
fn normal(stream: &mut Stream) -> f64 {
    (0..12).map(|_| stream.random::<f64>()).sum::<f64>() - 6.0
}

proptest! {
    #[test]
    fn monotone_transforms_keep_the_best_of_every_prompt(
        rewards in prop::collection::vec(-4.0..4.0f64, 4..9), mean in -3.0..3.0f64, std in 0.1..3.0f64,
    ) {
        // Two prompts, of whose responses none are so near that rounding to f32 makes them equal.
        let rewards: Vec<f64> = rewards.iter().enumerate().map(|(at, reward)| reward.round() + 0.05 * at as f64).collect();
        let half = rewards.len() / 2;
        let episodes: Vec<Episode> =
            (0..rewards.len()).map(|number| numbered(u32::from(number >= half), number)).collect();
        let raw = table(rewards.clone());
        let samples: Vec<(Tokens, Vec<f64>)> =
            vec![(vec![0].into(), rewards[..half].to_vec()), (vec![1].into(), rewards[half..].to_vec())];
        let standard = Standard { mean, std };
        let shifted = mapped(&raw, |reward| standard.apply(reward));
        let global = LogSigmoid::new(&raw, Reference::Global(mean), std).expect("sound options");
        let references = PromptReferences::quantile(&samples, 0.85).expect("two samples each");
        let by_prompt = LogSigmoid::new(&raw, Reference::PerPrompt(references), 1.0).expect("sound options");
        let alone = Ensemble::new(vec![&raw], Aggregate::Min).expect("one member").centred_by_prompt();
        let all: [(&str, &dyn Scorer); 4] =
            [("shift and scale", &shifted), ("log-sigmoid", &global), ("by prompt", &by_prompt), ("centred", &alone)];
        for (name, scorer) in all {
            let got = scores(scorer, &episodes);
            for part in [0..half, half..rewards.len()] {
                prop_assert_eq!(best(&got[part.clone()]), best(&rewards[part]), "{}", name);
            }
        }
    }

    #[test]
    fn a_score_does_not_depend_on_its_batch(rewards in prop::collection::vec(-4.0..4.0f64, 1..7)) {
        let episodes: Vec<Episode> = (0..rewards.len()).map(|number| numbered(0, number)).collect();
        let (first, second) = (table(rewards.clone()), table(rewards.iter().map(|reward| -reward).collect()));
        let ensemble = Ensemble::new(vec![&first, &second], Aggregate::uwo(0.5)).expect("two members");
        let good = LogSigmoid::new(&ensemble, Reference::Global(0.5), 1.0).expect("sound options");
        let sum = Sum::new(vec![(1.0, &good), (-0.5, &first)]).expect("two parts");
        let ended = UntilEnd { scorer: &sum, end: vec![99] };
        let whole = scores(&ended, &episodes);
        let mut turned = episodes.clone();
        turned.reverse();
        let mut back = scores(&ended, &turned);
        back.reverse();
        prop_assert_eq!(&back, &whole);
        for (episode, score) in episodes.iter().zip(&whole) {
            prop_assert_eq!(scores(&ended, std::slice::from_ref(episode)), vec![*score]);
        }
    }

    /// Log-ratios as scores: the accuracy of an implicit reward is that of a head that gives the same scores, whatever beta.
    #[test]
    fn implicit_accuracy_is_free_of_beta_and_that_of_an_equal_head(
        pairs in prop::collection::vec((-3.0..3.0f32, -3.0..3.0f32), 1..8), beta in 0.01..5.0f32,
    ) {
        let implicit = |ratio: f32, beta: f32| {
            let episode = Episode::new(&[1], &[2]);
            let mut evidence = Evidence::default();
            (evidence.logps, evidence.ref_logps) = (Some(vec![ratio - 4.0]), Some(vec![-4.0]));
            let credit = LogRatio { beta }.assign(&episode, &evidence).expect("both are there");
            f64::from(credit.to_sequence(&episode, Reduce::Sum).expect("one token"))
        };
        let side = |of: fn(&(f32, f32)) -> f32, beta: f32| {
            pairs.iter().map(|pair| implicit(of(pair), beta)).collect::<Vec<f64>>()
        };
        let accuracy = |beta: f32| {
            let (chosen, rejected) = (side(|pair| pair.0, beta), side(|pair| pair.1, beta));
            pair_accuracy(&chosen, &rejected, Ties::Half, &Bootstrap::NONE).expect("pairs").accuracy.value
        };
        prop_assert_eq!(accuracy(beta), accuracy(1.0));
        let flat = [side(|pair| pair.0, 1.0), side(|pair| pair.1, 1.0)].concat();
        let batch = ScoreBatch::new(2, floats(&flat, [flat.len(), 1], &device(), DType::F64)).expect("pairs");
        let loss = BradleyTerryConfig::default().init().expect("sound options").loss(&batch).expect("pairs");
        let stat = loss.stats.iter().find(|(name, _)| *name == "rewards/accuracies").expect("it is a statistic");
        let head = values(stat.1.clone());
        close("accuracy", &[head.iter().sum::<f64>() / head.len() as f64], &[accuracy(1.0)], 1e-12);
    }
}

/// Clip and Delta, PPO-C and the decay of intrinsic rewards change what is best: that is what they are for.
#[test]
fn some_transforms_do_not_keep_the_best() {
    // Three good steps against one: raw sums prefer three, deltas the one of the higher score.
    let steps = |n: usize| (0..n).map(|at| at + 1..at + 2).collect::<Vec<_>>();
    let episode = |n: usize| Episode::new(&[0], &vec![n as u32; n]).with_steps(steps(n)).expect("a step a token");
    let process =
        Steps(|episode: &Episode| if episode.steps.len() == 1 { vec![0.9f32] } else { vec![0.5; episode.steps.len()] });
    let episodes = [episode(3), episode(1)];
    let rule = ClipDeltaConfig { last: LastStep::Keeps, ..ClipDeltaConfig::default() }.init().expect("sound options");
    let tamed = TamedSteps { process: &process, success: None, rule };
    assert_eq!((best(&scores(&process, &episodes)), best(&scores(&tamed, &episodes))), (0, 1));

    // A slightly worse answer that is sure of itself passes a better one that is not.
    let length = ascribe_core::rule(|episode: &Episode| episode.response_tokens().len() as f32);
    let answers = [text_episode("Q", "abcdef\nConfidence: 0"), text_episode("Q", "abcde\nConfidence: 10")];
    let calibrated =
        Calibrated::new(&length, PpoC::Difference, 2.0, 1.0).expect("sound").with_rate(0.0).expect("sound");
    let bare = [text_episode("Q", "abcdef"), text_episode("Q", "abcde")];
    assert_eq!((best(&scores(&length, &bare)), best(&scores(&calibrated, &answers))), (0, 1));

    // A caption seen before falls behind one with a lower reward.
    let mut oni: Intrinsic =
        IntrinsicConfig { external: 1.0, internal: 1.0, ..IntrinsicConfig::default() }.init().expect("sound");
    oni.label("key", true).expect("a caption");
    let rewards = oni.episode(&["key", "key", "door"], &[0.0, 0.0, 0.5]).expect("one reward each");
    assert!(rewards[0] > rewards[2] && rewards[1] < rewards[2], "{rewards:?}");
}

/// A scorer of steps from a closure.
struct Steps<F>(F);

impl<F: Fn(&Episode) -> Vec<f32> + Send + Sync> Scorer for Steps<F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::steps((self.0)(episode))).collect())
    }
}

/// Best-of-n by a proxy over pools of responses, held against the gold reward of each pool: the mean curve over prompts.
fn gold_curve(pools: &[Vec<Episode>], gold: &[Vec<f64>], proxy: &dyn Scorer) -> Vec<f64> {
    let curves: Vec<BestOfK> = pools
        .iter()
        .zip(gold)
        .map(|(pool, gold)| best_of_k_curve(&scores(proxy, pool), gold, PickTies::Split).expect("a pool of responses"))
        .collect();
    let n = curves[0].curve.len();
    (0..n).map(|at| curves.iter().map(|curve| curve.curve[at]).sum::<f64>() / curves.len() as f64).collect()
}

/// Divergence of best-of-n from the policy.
fn kl(n: usize) -> f64 {
    let n = n as f64;
    n.ln() - (n - 1.0) / n
}

/// Four reward models, each of which loves one response in twenty-five for no reason.
#[test]
fn cautious_ensembles_are_not_over_optimised() {
    let (prompts, pool, members) = (60, 64, 4);
    let mut stream = Seed(11).stream("pools", 0);
    let gold: Vec<Vec<f64>> = (0..prompts).map(|_| (0..pool).map(|_| normal(&mut stream)).collect()).collect();
    let flat: Vec<f64> = gold.concat();
    let mut model = || -> Vec<f64> {
        let mut noise = || 0.5 * normal(&mut stream) + if stream.random::<f64>() < 0.04 { 6.0 } else { 0.0 };
        flat.iter().map(|gold| gold + noise()).collect()
    };
    let models: Vec<_> = (0..members).map(|_| table(model())).collect();
    let pools: Vec<Vec<Episode>> =
        (0..prompts).map(|prompt| (0..pool).map(|at| numbered(prompt as u32, prompt * pool + at)).collect()).collect();
    let curve = |aggregate: Aggregate, members: usize| {
        let members = models[..members].iter().map(|model| model as &dyn Scorer).collect();
        gold_curve(&pools, &gold, &Ensemble::new(members, aggregate).expect("sound options"))
    };
    let single = curve(Aggregate::Mean, 1);
    let (end, top) = (single[pool - 1], single.iter().copied().fold(f64::MIN, f64::max));
    // The hump: gold rises with the divergence, and falls while the proxy is pushed on.
    let peak = best(&single);
    assert!(kl(peak + 1) > 0.0 && kl(peak + 1) < kl(pool) && top - end > 0.05, "{top} at {peak}, {end} at the end");
    let mean = curve(Aggregate::Mean, members)[pool - 1];
    assert!(mean > end + 0.3, "{mean} beside {end}");
    for aggregate in [Aggregate::Min, Aggregate::uwo(0.5), Aggregate::MeanMinusStd { c: 1.0, ddof: 0 }] {
        let cautious = curve(aggregate, members);
        assert!(cautious[pool - 1] > mean + 0.2, "{aggregate:?}: {} beside {mean}", cautious[pool - 1]);
        // And no hump to speak of.
        assert!(cautious.iter().copied().fold(f64::MIN, f64::max) - cautious[pool - 1] < 0.1, "{aggregate:?}");
    }
}

fn centred(scorer: &dyn Scorer) -> LogSigmoid<'_> {
    LogSigmoid::new(scorer, Reference::Global(0.0), 1.0).expect("sound options")
}

/// Two properties, the first with three times the scale: the AND asks for both, the sum for the louder one.
#[test]
fn a_logical_and_asks_for_every_property() {
    let (prompts, pool) = (60, 64);
    let mut stream = Seed(12).stream("pools", 0);
    let helpful: Vec<f64> = (0..prompts * pool).map(|_| 3.0 * normal(&mut stream)).collect();
    let harmless: Vec<f64> = (0..prompts * pool).map(|_| normal(&mut stream)).collect();
    let both: Vec<f64> = helpful.iter().zip(&harmless).map(|(a, b)| if a.min(*b) > 0.0 { 1.0 } else { 0.0 }).collect();
    let gold: Vec<Vec<f64>> = both.chunks(pool).map(<[f64]>::to_vec).collect();
    let pools: Vec<Vec<Episode>> =
        (0..prompts).map(|prompt| (0..pool).map(|at| numbered(prompt as u32, prompt * pool + at)).collect()).collect();
    let (helpful, harmless) = (table(helpful), table(harmless));
    let (good, safe) = (centred(&helpful), centred(&harmless));
    let linear = gold_curve(&pools, &gold, &Sum::and(vec![&helpful, &harmless]).expect("two parts"));
    let and = gold_curve(&pools, &gold, &Sum::and(vec![&good, &safe]).expect("two parts"));
    assert!(and[pool - 1] > linear[pool - 1] + 0.05, "{} beside {}", and[pool - 1], linear[pool - 1]);
}

/// Wrong responses that pad themselves with passable steps: sums of raw scores fall for them, deltas do not.
#[test]
fn deltas_do_not_pay_for_padding() {
    let (prompts, pool) = (40, 16);
    let mut stream = Seed(13).stream("pools", 0);
    let (mut pools, mut gold) = (Vec::new(), Vec::new());
    for prompt in 0..prompts {
        let (mut responses, mut right) = (Vec::new(), Vec::new());
        for at in 0..pool {
            let correct = at % 4 == 0;
            let most = if correct { 4 } else { 12 };
            let n = stream.random_range(1..=most);
            let score = 100 * u32::from(correct) + stream.random_range(0..20);
            let steps = (0..n).map(|step| step + 1..step + 2).collect();
            responses.push(Episode::new(&[prompt], &vec![score; n]).with_steps(steps).expect("a step a token"));
            right.push(f64::from(u8::from(correct)));
        }
        pools.push(responses);
        gold.push(right);
    }
    // 0.3 for wrong steps and 0.7 for right ones, with a little noise.
    let score = |token: u32| 0.3 + 0.4 * (token / 100) as f32 + 0.01 * (token % 100) as f32;
    let process = Steps(move |episode: &Episode| {
        episode.response_tokens().iter().map(|token| score(*token)).collect::<Vec<f32>>()
    });
    let rule = ClipDeltaConfig { last: LastStep::Keeps, ..ClipDeltaConfig::default() }.init().expect("sound options");
    let tamed = TamedSteps { process: &process, success: None, rule };
    let (raw, delta) = (gold_curve(&pools, &gold, &process), gold_curve(&pools, &gold, &tamed));
    assert!(raw[pool - 1] < 0.6 && delta[pool - 1] > 0.95, "{} beside {}", raw[pool - 1], delta[pool - 1]);
}

/// Text that repeats itself: length alone is hacked by it, the regularised reward is not.
#[test]
fn regularised_relevance_is_not_hacked_by_repetition() {
    let words = "the cat sat on a warm mat while rain fell over old roofs and quiet streets";
    let honest = text_episode("Tell me of the cat. ", words);
    let hacked = text_episode("Tell me of the cat. ", &"the cat ".repeat(40));
    let (relevance, kind) = (NGrams::default(), |_: &Episode| QueryKind::Open);
    let reward = |penalty: Switch| {
        let options = RelevanceOptions { repetition_penalty: penalty, ..RelevanceOptions::default() };
        let reward = RelevanceReward::new(&relevance, kind, options).expect("sound options");
        best(&scores(&reward, &[honest.clone(), hacked.clone()]))
    };
    assert_eq!((reward(Switch::Off), reward(Switch::On)), (1, 0));
}

#[test]
fn losses_have_names_of_their_own() {
    let mut names: Vec<&str> = LOSSES.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), LOSSES.len());
}

/// Everything that a server shares between threads may be shared.
#[test]
fn rewards_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Ensemble<'_>>();
    shared::<LogSigmoid<'_>>();
    shared::<Sum<'_>>();
    shared::<Calibrated<'_>>();
    shared::<ascribe_reward::RunningNorm<'_>>();
    shared::<ascribe_reward::FeatureReward>();
    shared::<ascribe_reward::tools::ToolReward<'_>>();
    shared::<ascribe_reward::RewardError>();
    shared::<Box<dyn RewardLoss>>();
}
