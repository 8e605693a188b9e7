//! ArCHer's loop: what is kept of games, critics that come to the exact values of a policy, runs that are stopped, and what is
//! refused.

use ascribe_core::{CoreError, Seed, Tokens};
use ascribe_lm::{Decoder, DecoderConfig, RandomWeights, Row};
use ascribe_preference::rl::{
    Actor, Aggregation, Archer, ArcherConfig, Game, POLICY_LOSSES, PlayedTurn, PolicyOptions, Rollout, RolloutLearner,
    Turn,
};
use ascribe_testkit::device::{device, values};
use ascribe_train::{Fit, FitConfig, ScheduleKind, Source, StepReport, TrainError};
use burn::module::Module;

const VOCAB: usize = 12;

fn tiny(seed: u64) -> Decoder {
    let config = DecoderConfig::tiny(VOCAB, 16, 1, 2, 32);
    Decoder::load(&config, &mut RandomWeights { seed: Seed(seed), layers: 1 }, &device().autodiff()).expect("fresh")
}

/// Two utterances of a token. Whether the first is even decides what is seen then, and the second earns a quarter of its id.
struct Parity;

fn seen(last: u32) -> Tokens {
    Tokens::from(vec![5, last])
}

impl Game for Parity {
    fn turn(&self, _game: Seed, said: &[Tokens]) -> Result<Turn, CoreError> {
        match said {
            [] => Ok(Turn { observation: seen(1), ..Turn::default() }),
            [first] => Ok(Turn { observation: seen(2 + first[0] % 2), ..Turn::default() }),
            [_, second] => Ok(Turn { observation: seen(4), reward: f64::from(second[0]) / 4.0, done: true }),
            more => Err(CoreError::Shape { rule: "two utterances", got: more.len().to_string() }),
        }
    }
}

fn config() -> ArcherConfig {
    ArcherConfig {
        games: 8,
        turns: 5,
        critic_learning_rate: 3e-3,
        critic_steps: 4,
        critic_batch: 8,
        actor_steps: 2,
        window: 6,
        warmup: 1,
        max_completion_length: 1,
        ends: vec![0],
        context: 32,
        batch: 32,
        seed: Seed(5),
        ..ArcherConfig::default()
    }
}

fn archer(game: &dyn Game, config: ArcherConfig) -> Result<Archer<'_>, TrainError> {
    Archer::new(game, tiny(1), config, &device().autodiff())
}

/// The rows of the next step.
fn take(source: &mut Archer, actor: &Actor) -> Result<Vec<Rollout>, TrainError> {
    let rows = source.window(actor)?.rows.into_iter().cloned().collect();
    source.advance();
    Ok(rows)
}

#[test]
fn games_are_kept_turn_by_turn_with_what_is_still_to_come() {
    let mut source = archer(&Parity, config()).expect("sound options");
    let rows = take(&mut source, &Actor::new(tiny(1))).expect("utterances");
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row.advantages.len() == 1 && row.advantages[0].is_finite()));
    // The warm-up and one iteration more, of 8 games of 2 turns.
    let buffer: Vec<PlayedTurn> = source.buffer().cloned().collect();
    assert_eq!(buffer.len(), 32);
    for game in buffer.chunks(2) {
        let [first, second] = game else { panic!("two turns") };
        let earned = f64::from(second.utterance[0]) / 4.0;
        assert_eq!(
            (&first.observation, &first.next, first.reward, first.done),
            (&seen(1), &second.observation, 0.0, false)
        );
        assert_eq!(second.observation, seen(2 + first.utterance[0] % 2));
        assert_eq!((second.reward, second.done, second.to_come), (earned, true, earned));
        assert!((first.to_come - 0.95 * earned).abs() < 1e-12);
    }
    // The oldest go first, and a game that takes too long is broken off and not over.
    let few = ArcherConfig { capacity: 5, turns: 1, ..config() };
    let mut source = archer(&Parity, few).expect("sound options");
    take(&mut source, &Actor::new(tiny(1))).expect("utterances");
    assert_eq!(source.buffer().count(), 5);
    assert!(source.buffer().all(|turn| turn.observation == seen(1) && !turn.done));
}

#[test]
fn critics_come_to_the_exact_values_of_the_policy() {
    let policy = tiny(2);
    let still = policy.valid();
    let chance = |observation: &Tokens| -> Vec<f64> {
        let tokens: Vec<[u32; 1]> = (0..VOCAB as u32).map(|token| [token]).collect();
        let rows: Vec<Row> = tokens.iter().map(|token| Row { prompt: observation, response: token }).collect();
        let (logps, _) = still.response_logps(&rows).expect("rows");
        values(logps).into_iter().map(f64::exp).collect()
    };
    let second = |observation: &Tokens| -> f64 {
        chance(observation).iter().enumerate().map(|(token, chance)| chance * token as f64 / 4.0).sum()
    };
    let ends = [second(&seen(2)), second(&seen(3))];
    let begin: f64 = chance(&seen(1)).iter().enumerate().map(|(token, chance)| 0.95 * chance * ends[token % 2]).sum();
    let thorough = ArcherConfig { games: 32, critic_steps: 50, critic_batch: 32, warmup: 12, ..config() };
    let mut source = archer(&Parity, thorough).expect("sound options");
    source.window(&Actor::new(policy)).expect("utterances");
    let got = source.values(&[seen(1), seen(2), seen(3)]).expect("observations");
    for (got, expected) in got.iter().zip([begin, ends[0], ends[1]]) {
        assert!((got - expected).abs() < 0.35, "{got} and {expected}");
    }
}

#[test]
fn buffer_and_critics_wait_in_a_checkpoint() {
    let actor = Actor::new(tiny(2));
    for stop in [1, 2, 3] {
        let mut whole = archer(&Parity, config()).expect("sound options");
        for _ in 0..stop {
            take(&mut whole, &actor).expect("utterances");
        }
        let folder = tempfile::tempdir().expect("a folder");
        whole.save(folder.path()).expect("it can be written");
        let mut resumed = archer(&Parity, config()).expect("sound options");
        resumed.resume(folder.path(), whole.cursor()).expect("it was written");
        for _ in 0..4 {
            let expected = take(&mut whole, &actor).expect("utterances");
            assert_eq!(take(&mut resumed, &actor).expect("utterances"), expected, "stopped after {stop}");
        }
        assert!(resumed.buffer().eq(whole.buffer()));
    }
}

#[test]
fn an_actor_is_trained_on_fresh_utterances() {
    let options = PolicyOptions { loss_agg_mode: Some(Aggregation::SeqMeanTokenSum), ..PolicyOptions::default() };
    let (_, _, make) = POLICY_LOSSES.iter().find(|(name, ..)| *name == "reinforce").expect("it is in the table");
    let objective = make(&options).expect("sound options");
    let learner = RolloutLearner::new(objective.as_ref(), 1.0);
    let fit_config = FitConfig {
        learning_rate: 1e-3,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        per_device_train_batch_size: 4,
        ..FitConfig::default()
    };
    let source = archer(&Parity, config()).expect("sound options");
    let fit = Fit::from_source(&learner, Actor::new(tiny(2)), Box::new(source), 5, fit_config).expect("sound options");
    let reports: Vec<StepReport> = fit.collect::<Result<_, _>>().expect("the numbers are finite");
    let games: Vec<f64> = reports.iter().map(|report| report.metric("archer/games").expect("it is logged")).collect();
    // Two steps an iteration, the first one behind an iteration of warm-up.
    assert_eq!(games, [16.0, 16.0, 24.0, 24.0, 32.0]);
    for name in ["reward", "critic/q_loss", "critic/v_loss", "archer/advantage", "loss"] {
        assert!(reports.iter().all(|report| report.metric(name).is_some_and(f64::is_finite)), "{name}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for wrong in [
        ArcherConfig { games: 0, ..config() },
        ArcherConfig { critic_steps: 0, ..config() },
        ArcherConfig { tau: 0.0, ..config() },
        ArcherConfig { tau: f64::NAN, ..config() },
        ArcherConfig { gamma: 1.1, ..config() },
        ArcherConfig { critic_learning_rate: 0.0, ..config() },
        ArcherConfig { capacity: 0, ..config() },
    ] {
        assert!(archer(&Parity, wrong.clone()).is_err(), "{wrong:?}");
    }
    // An utterance has a token at least, so there must be room for one.
    let none = ArcherConfig { max_completion_length: 0, ..config() };
    let said = archer(&Parity, none).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("max_completion_length must be at least 1, got 0"), "{said}");
    let actor = Actor::new(tiny(1));
    let first = |game: &dyn Game, config| archer(game, config).expect("sound options").window(&actor).map(|_| ());
    // An observation that would have to be cut.
    assert!(first(&Parity, ArcherConfig { context: 2, ..config() }).is_err());
    /// A game whose one turn earns so much.
    struct Once(f64, bool);
    impl Game for Once {
        fn turn(&self, _game: Seed, said: &[Tokens]) -> Result<Turn, CoreError> {
            let reward = if said.is_empty() { 0.0 } else { self.0 };
            Ok(Turn { observation: seen(1), reward, done: self.1 || !said.is_empty() })
        }
    }
    assert!(first(&Once(1.0, false), config()).is_ok());
    assert!(first(&Once(1e4, false), config()).is_err() && first(&Once(f64::NAN, false), config()).is_err());
    assert!(first(&Once(1.0, true), config()).is_err(), "over before it begins");
}
