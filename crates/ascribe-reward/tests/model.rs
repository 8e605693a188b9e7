//! Reward models on a decoder: their rewards against transformers, what a reward must not depend on, and training.
//! Golden training steps: `golden_training_steps_agree_with_torch` in `ascribe-preference`.

use std::path::PathBuf;

use ascribe_core::{Episode, Scorer, Seed, Tokens};
use ascribe_lm::{Head, HeadInit, LanguageModel, LoraConfig, Row};
use ascribe_reward::losses::{
    BradleyTerryConfig, GaussianHeadsConfig, GeneralPreferenceConfig, PairLabel, RegressionConfig,
};
use ascribe_reward::{
    Aggregate, CARD, Ensemble, Reading, RewardCard, RewardError, RewardLearner, RewardLoss, RewardModel, RewardRow,
};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_train::{Fit, FitConfig, ScheduleKind, evaluate};
use burn::module::Module;

fn folder() -> PathBuf {
    root().join("lm/llama_seqcls")
}

fn base() -> LanguageModel {
    LanguageModel::load(&folder(), &device()).expect("the golden model loads")
}

fn reward_model() -> RewardModel {
    RewardModel::load(&folder(), &device()).expect("a reward model")
}

/// The golden model under a fresh head of this many scores.
fn headed(labels: usize) -> LanguageModel {
    let model = base();
    let decoder = model.decoder.with_head(Head::Sequence { labels }, HeadInit::Wide, Seed(7)).expect("a head");
    model.with_decoder(decoder)
}

/// Two responses to each of four prompts.
fn episodes() -> Vec<Episode> {
    let one = |at: u32| {
        let ids = |from: u32, n: u32| (0..n).map(|k| (from * 37 + k * 53 + 11) % 402).collect::<Vec<u32>>();
        Episode::new(&ids(at / 2, 3 + at / 2), &ids(at + 9, 1 + at))
    };
    (0..8).map(one).collect()
}

fn rows(episodes: &[Episode]) -> Vec<Row<'_>> {
    episodes.iter().map(|one| Row { prompt: one.prompt_tokens(), response: one.response_tokens() }).collect()
}

fn rewards(model: &dyn Scorer, episodes: &[Episode]) -> Vec<f64> {
    model.score(episodes).expect("sound episodes").iter().map(|credit| f64::from(credit.values()[0])).collect()
}

/// The real tokens of each row of a padded batch.
fn unpadded(batch: &Case) -> Vec<Vec<u32>> {
    let width = batch.get("attention_mask").shape()[1];
    let (ids, mask) = (batch.get("input_ids").integers(), batch.get("attention_mask").integers());
    let row = |(ids, mask): (&[i64], &[i64])| {
        ids.iter().zip(mask).filter(|(_, flag)| **flag == 1).map(|(id, _)| *id as u32).collect()
    };
    ids.chunks(width).zip(mask.chunks(width)).map(row).collect()
}

#[test]
fn golden_rewards_agree_with_transformers_on_both_sides_of_padding() {
    let file = open("lm/llama_seqcls/expected.json");
    for side in ["right", "left"] {
        let batch = file.get("batches").get(side);
        let texts = unpadded(&batch);
        let episodes: Vec<Episode> = texts.iter().map(|ids| Episode::new(&ids[..2], &ids[2..])).collect();
        let expected = batch.get("scores");
        close(&expected.name(), &rewards(&reward_model(), &episodes), &expected.numbers(), 2e-4);
    }
}

#[test]
fn a_reward_depends_neither_on_the_batch_nor_on_the_order() {
    let episodes = episodes();
    let expected = rewards(&reward_model(), &episodes);
    for tokens in [1, 7, 20] {
        let model = reward_model().with_batch_tokens(tokens);
        close("batches", &rewards(&model, &episodes), &expected, 1e-5);
    }
    let turned: Vec<Episode> = episodes.iter().rev().cloned().collect();
    let mut back = rewards(&reward_model(), &turned);
    back.reverse();
    close("order", &back, &expected, 1e-5);
    // Both sides of a pair in one call, or each by itself.
    let alone: Vec<f64> = episodes.iter().flat_map(|one| rewards(&reward_model(), std::slice::from_ref(one))).collect();
    close("alone", &alone, &expected, 1e-5);
}

#[test]
fn an_ensemble_of_one_model_is_the_model() {
    let (model, episodes) = (reward_model(), episodes());
    let expected = rewards(&model, &episodes);
    for aggregate in [Aggregate::Mean, Aggregate::Median, Aggregate::Min, Aggregate::uwo(0.5)] {
        let ensemble = Ensemble::new(vec![&model], aggregate).expect("one member");
        assert_eq!(rewards(&ensemble, &episodes), expected, "{aggregate:?}");
    }
}

#[test]
fn what_is_saved_gives_the_same_rewards() {
    let (episodes, temporary) = (episodes(), tempfile::tempdir().expect("a folder"));
    for (labels, reading) in [
        (1, Reading::Score),
        (2, Reading::Attributes { names: vec!["a".into(), "b".into()], weights: vec![1.0, -0.5] }),
        (4, Reading::Preference(GeneralPreferenceConfig { dim: 4, ..GeneralPreferenceConfig::default() })),
        (6, Reading::Heads { lambda: 0.5 }),
    ] {
        let card = RewardCard { reading, ..RewardCard::default() };
        let model = headed(labels);
        model.save(temporary.path()).expect("written");
        std::fs::write(temporary.path().join(CARD), card.to_text()).expect("written");
        let before = RewardModel::new(&model, card.clone()).expect("it fits");
        let after = RewardModel::load(temporary.path(), &device()).expect("it loads");
        assert_eq!(after.card(), &card);
        assert_eq!(rewards(&after, &episodes), rewards(&before, &episodes), "{card:?}");
    }
}

#[test]
fn readings_are_made_of_the_outputs() {
    let episodes = episodes();
    let rows = rows(&episodes);
    let of = |labels: usize, reading: Reading| {
        let card = RewardCard { reading, ..RewardCard::default() };
        RewardModel::new(&headed(labels), card).expect("it fits").scored(&rows).expect("sound rows")
    };
    // One weight alone is its attribute.
    let names = vec!["a".to_owned(), "b".to_owned()];
    for scored in of(2, Reading::Attributes { names, weights: vec![0.0, 2.0] }) {
        assert!((scored.reward - 2.0 * scored.outputs[1]).abs() < 1e-12 && !scored.cut);
    }
    // Vectors of dimension 2 that are not normalised: s(i > j) = a_i b_j - b_i a_j. Two episodes share each prompt, so a
    // reward is the log-odds against the other one.
    let config = GeneralPreferenceConfig { dim: 2, normalize: false, tau: 0.5, ..GeneralPreferenceConfig::default() };
    let scored = of(2, Reading::Preference(config));
    for (at, one) in scored.iter().enumerate() {
        let other =
            (0..rows.len()).find(|b| *b != at && rows[*b].prompt == rows[at].prompt).expect("a second response");
        let (v, u) = (&one.outputs, &scored[other].outputs);
        let expected = (v[0] * u[1] - v[1] * u[0]) / 0.5;
        assert!((one.reward - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{one:?} beside {expected}");
        assert!((one.reward + scored[other].reward).abs() < 1e-4, "preferences of two are opposite");
    }
}

#[test]
fn long_texts_lose_the_left_of_the_prompt_and_then_the_right_of_the_response() {
    let model = reward_model();
    let context = model.model().config.context;
    let ids: Vec<u32> = (0..2 * context as u32).map(|at| at * 7 % 402).collect();
    let (long, short) = (&ids[..context + 40], &ids[3..8]);
    let reward = |prompt: &[u32], response: &[u32]| {
        let scored = model.scored(&[Row { prompt, response }]).expect("a response").remove(0);
        (scored.reward, scored.cut)
    };
    let (cut_prompt, flagged) = reward(long, short);
    assert!(!flagged);
    assert_eq!(cut_prompt, reward(&long[long.len() - (context - 5)..], short).0);
    let (cut_response, flagged) = reward(short, long);
    assert!(flagged);
    assert_eq!(cut_response, reward(&short[4..], &long[..context - 1]).0);
}

#[test]
fn what_is_no_reward_model_is_refused() {
    let language = LanguageModel::load(&root().join("lm/llama_gqa"), &device()).expect("golden");
    let refused = RewardModel::new(&language, RewardCard::default()).err().expect("it writes").to_string();
    assert!(refused.contains("a head that scores sequences"), "{refused}");
    let refused = RewardModel::new(&headed(3), RewardCard::default()).err().expect("no card").to_string();
    assert!(refused.contains("`reward.json` must be 1, got 3"), "{refused}");
    let model = reward_model();
    let empty = model.scored(&[Row { prompt: &[1], response: &[] }]);
    assert!(matches!(empty, Err(RewardError::Shape { .. })));
    let reading = Reading::Preference(GeneralPreferenceConfig { dim: 4, ..GeneralPreferenceConfig::default() });
    let model = RewardModel::new(&headed(4), RewardCard { reading, ..RewardCard::default() }).expect("it fits");
    let alone = model.scored(&[Row { prompt: &[1], response: &[2] }]);
    assert!(matches!(alone, Err(RewardError::Range { .. })), "nothing to compare with");
}

/// Pairs whose chosen response ends with 5 and whose rejected one ends with 6.
fn pairs(labels: &[f64]) -> Vec<RewardRow> {
    let one = |at: u32| RewardRow {
        prompt: vec![at + 20, at + 30].into(),
        responses: [5, 6].map(|end| Tokens::from(vec![at + 40, end])).to_vec(),
        labels: labels.to_vec(),
        line: 1,
    };
    (0..8).map(one).collect()
}

fn config(steps: usize) -> FitConfig {
    FitConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: steps,
        ..FitConfig::default()
    }
}

/// Mean of a statistic over `rows` before and after training by `loss`.
fn learns(model: &LanguageModel, loss: &dyn RewardLoss, rows: &[RewardRow], stat: &str) -> [f64; 2] {
    let learner = RewardLearner { loss };
    let measured = |decoder: &ascribe_lm::Decoder| {
        let tally = evaluate(&learner, decoder, rows, 4).expect("sound rows");
        let values = tally.values(stat);
        values.iter().sum::<f64>() / values.len() as f64
    };
    let start = model.decoder.clone().on(&device().autodiff());
    let before = measured(&start.valid());
    let mut fit = Fit::new(&learner, start, rows, config(60)).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    [before, measured(&fit.into_model().valid())]
}

#[test]
fn pairs_are_ordered_after_training_by_every_loss_on_pairs() {
    let plain = BradleyTerryConfig::default().init().expect("sound");
    let labelled = BradleyTerryConfig { labelled: true, centre: 0.01 }.init().expect("sound");
    let preference = GeneralPreferenceConfig { dim: 4, ..GeneralPreferenceConfig::default() }.init().expect("sound");
    let cases: [(usize, &dyn RewardLoss, Vec<f64>); 4] = [
        (1, &plain, vec![]),
        (1, &labelled, PairLabel::columns(&[PairLabel::margin(1.0)])),
        (1, &labelled, PairLabel::columns(&[PairLabel::scaled(2.0)])),
        (4, &preference, vec![]),
    ];
    for (at, (labels, loss, label)) in cases.into_iter().enumerate() {
        let [_, after] = learns(&headed(labels), loss, &pairs(&label), "rewards/accuracies");
        assert_eq!(after, 1.0, "loss {at}");
    }
}

#[test]
fn ratings_are_learned_by_heads_of_attributes_and_of_uncertainty() {
    let rated = |labels: [&[f64]; 2]| -> Vec<RewardRow> {
        let single = |row: &RewardRow, side: usize| RewardRow {
            responses: vec![row.responses[side].clone()],
            labels: labels[side].to_vec(),
            ..row.clone()
        };
        pairs(&[]).iter().flat_map(|row| [single(row, 0), single(row, 1)]).collect()
    };
    let loss = RegressionConfig { attributes: 2, ..RegressionConfig::default() }.init().expect("sound");
    let [before, after] = learns(&headed(2), &loss, &rated([&[4.0, 0.0], &[1.0, 2.0]]), "attributes/error");
    assert!(after < 0.5 * before, "{before} to {after}");
    // Two heads, both of which see every row.
    let loss = GaussianHeadsConfig { heads: 2, ..GaussianHeadsConfig::default() }.init().expect("sound");
    let rows = rated([&[3.0, 1.0, 1.0], &[-3.0, 1.0, 1.0]]);
    let [before, after] = learns(&headed(4), &loss, &rows, "heads/deviation");
    assert!(before.is_finite() && after.is_finite());
}

#[test]
fn an_adapter_with_its_head_learns_and_comes_back_from_its_file() {
    let temporary = tempfile::tempdir().expect("a folder");
    let whole = headed(1);
    whole.save(&temporary.path().join("base")).expect("written");
    let whole = LanguageModel::load(&temporary.path().join("base"), &device()).expect("it loads");
    let lora = LoraConfig { r: 4, alpha: 8.0, ..LoraConfig::default() };
    let adapted = whole.with_lora(&lora, Seed(1)).expect("the projections are there");
    let loss = BradleyTerryConfig::default().init().expect("sound");
    let (learner, rows) = (RewardLearner { loss: &loss }, pairs(&[]));
    let faster = FitConfig { learning_rate: 2e-2, ..config(40) };
    let mut fit = Fit::new(&learner, adapted.decoder.clone().train(), &rows, faster).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    let trained = adapted.with_decoder(fit.into_model().valid());
    let tally = evaluate(&learner, &trained.decoder, &rows, 8).expect("sound rows");
    assert_eq!(tally.values("rewards/accuracies"), [1.0; 8]);
    trained.save(&temporary.path().join("adapter")).expect("written");
    let after = RewardModel::load(&temporary.path().join("adapter"), &device()).expect("base, adapter and head");
    let before = RewardModel::new(&trained, RewardCard::default()).expect("one score");
    let episodes = episodes();
    assert_eq!(rewards(&after, &episodes), rewards(&before, &episodes));
    let bare = RewardModel::new(&whole, RewardCard::default()).expect("one score");
    assert!(rewards(&bare, &episodes) != rewards(&before, &episodes));
}
