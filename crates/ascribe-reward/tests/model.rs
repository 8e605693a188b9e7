//! Reward models on a decoder: their rewards against transformers, what a reward must not depend on, and training.
//! Golden training steps: `golden_training_steps_agree_with_torch` in `ascribe-preference`.

use std::path::PathBuf;

use ascribe_core::{Episode, Loss, Scorer, Seed, Tokens};
use ascribe_lm::{Head, HeadInit, LanguageModel, LoraConfig, Pooling, Row};
use ascribe_reward::losses::{
    BradleyTerryConfig, GaussianHeadsConfig, GeneralPreferenceConfig, MachineTextConfig, PairLabel, RegressionConfig,
    TrajectoriesConfig, spread,
};
use ascribe_reward::{
    Aggregate, AuxiliaryLearner, CARD, ContrastConfig, Ensemble, MetaLearner, Reading, ReplayLearner, ReplayRow,
    RewardCard, RewardError, RewardLearner, RewardLoss, RewardModel, RewardRow, ScoreBatch, ScoreNeeds, SourceLearner,
    SourcedPair,
};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_train::{Fit, FitConfig, Learned, Learner, ScheduleKind, evaluate};
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
fn theme_07_a_score_is_read_at_the_last_token_though_the_text_holds_pads_and_ends() {
    // The golden model pads with 7 and ends with 10. Read at the first of either, both texts of a pair had one score,
    // because a state sees what stands before it and nothing else.
    let text = |id: u32, last: u32| Episode::new(&[5, 9, id], &[id, last]);
    let texts: Vec<Episode> = [7, 10].iter().flat_map(|id| [20, 21].map(|last| text(*id, last))).collect();
    let expected = rewards(&reward_model(), &texts);
    for pair in expected.chunks(2) {
        assert!((pair[0] - pair[1]).abs() > 1e-3, "{pair:?}");
    }
    // A longer text in the batch, beside which a rectangle would be padded, changes nothing.
    let longer = Episode::new(&[5, 9], &[11, 12, 13, 14, 15, 16, 17, 18]);
    let beside = rewards(&reward_model(), &[texts.as_slice(), &[longer]].concat());
    close("beside", &beside[..4], &expected, 1e-5);
}

#[test]
fn tokens_behind_the_one_that_is_scored_do_not_matter() {
    // Texts lie one behind another, so what comes after the last token of the first text is the second one.
    let model = reward_model();
    let first = Row { prompt: &[11, 12], response: &[13, 14, 15] };
    let alone = model.scored(&[first]).expect("a response")[0].reward;
    for behind in [&[16][..], &[399, 398, 397, 396], &[2; 30]] {
        let both = model.scored(&[first, Row { prompt: &[17], response: behind }]).expect("two responses");
        close("the first of two", &[both[0].reward], &[alone], 1e-5);
        // In one text they do matter.
        let longer = [first.response, behind].concat();
        let whole = model.scored(&[Row { prompt: &[11, 12], response: &longer }]).expect("a response")[0].reward;
        assert!((whole - alone).abs() > 1e-4, "{whole} and {alone}");
    }
}

#[test]
fn a_text_of_one_token_has_a_reward() {
    let by = |pooling: Pooling, response: &[u32]| {
        let model = RewardModel::new(&base(), RewardCard { pooling, ..RewardCard::default() }).expect("it fits");
        let scored = model.scored(&[Row { prompt: &[], response }]).expect("a response").remove(0);
        assert!(!scored.cut);
        scored.reward
    };
    // The mean over one token is that token; over two it is not the last of them.
    for token in [5, 40, 401] {
        close("one token", &[by(Pooling::Mean, &[token])], &[by(Pooling::Last, &[token])], 1e-6);
    }
    assert!((by(Pooling::Last, &[5]) - by(Pooling::Last, &[40])).abs() > 1e-4);
    assert!((by(Pooling::Mean, &[5, 40]) - by(Pooling::Last, &[5, 40])).abs() > 1e-4);
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
fn win_rates_are_the_mean_chances_to_be_preferred() {
    // Four responses to one prompt; vectors that are not normalised: s(i > j) = a_i b_j - b_i a_j.
    let episodes: Vec<Episode> = (0..4u32).map(|at| Episode::new(&[5, 9], &[20 + 7 * at, 31 + at])).collect();
    let rows = rows(&episodes);
    let config = GeneralPreferenceConfig { dim: 2, normalize: false, tau: 0.5, ..GeneralPreferenceConfig::default() };
    let card = RewardCard { reading: Reading::Preference(config), ..RewardCard::default() };
    let model = RewardModel::new(&headed(2), card).expect("it fits");
    let vectors = model.outputs(&rows).expect("sound rows");
    let chance = |v: &[f64], u: &[f64]| 1.0 / (1.0 + (-(v[0] * u[1] - v[1] * u[0]) / 0.5).exp());
    let expected: Vec<f64> = vectors.iter().map(|v| vectors.iter().map(|u| chance(v, u)).sum::<f64>() / 4.0).collect();
    let got = model.win_rates(&rows).expect("four responses");
    close("win rates", &got, &expected, 1e-4);
    assert!((got.iter().sum::<f64>() - 2.0).abs() < 1e-5, "{got:?}");
    let alone = model.win_rates(&rows[..1]).expect_err("nothing to compare with").to_string();
    assert!(alone.contains("compares responses to one prompt"), "{alone}");
    let other = reward_model().win_rates(&rows).expect_err("rewards").to_string();
    assert_eq!(other, "win rates of responses need a general preference model, got a model of rewards");
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
    let labelled = BradleyTerryConfig { labelled: true, centre: 0.01, smoothing: 0.0 }.init().expect("sound");
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

/// Rewards after three steps by `learner`.
fn after<L: Learner<Model = ascribe_lm::Decoder>>(learner: &L, rows: &[L::Row]) -> Vec<f64> {
    after_steps(learner, rows, config(3))
}

/// Rewards after all steps of a run.
fn after_steps<L: Learner<Model = ascribe_lm::Decoder>>(learner: &L, rows: &[L::Row], config: FitConfig) -> Vec<f64> {
    let model = headed(1);
    let start = model.decoder.clone().on(&device().autodiff());
    let mut fit = Fit::new(learner, start, rows, config).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    let trained = model.with_decoder(fit.into_model().valid());
    rewards(&RewardModel::new(&trained, RewardCard::default()).expect("one score"), &episodes())
}

/// Three responses to each of four prompts.
fn groups() -> Vec<RewardRow> {
    let one = |at: u32| RewardRow {
        prompt: vec![at + 20, at + 30].into(),
        responses: [5, 6, 7].map(|end| Tokens::from(vec![at + 40, end])).to_vec(),
        ..RewardRow::default()
    };
    (0..4).map(one).collect()
}

/// A loss of nothing.
struct Nothing;

impl RewardLoss for Nothing {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds::PAIR
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        Ok(Loss::mean_of(batch.score(0)?.mul_scalar(0.0)))
    }
}

/// The negative spread of three responses.
struct Narrow;

impl RewardLoss for Narrow {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: 3, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        Ok(Loss::mean_of(spread(batch.group())?.neg()))
    }
}

#[test]
fn without_a_rate_a_meta_step_is_plain_learning_and_a_loss_of_nothing_moves_nothing() {
    let (plain, groups, rows) = (BradleyTerryConfig::default().init().expect("sound"), groups(), pairs(&[]));
    let expected = after(&RewardLearner { loss: &plain }, &rows);
    let meta = |loss: &dyn RewardLoss, eta: f64| after(&MetaLearner::new(loss, &groups, eta).expect("sound"), &rows);
    close("no rate", &meta(&plain, 0.0), &expected, 1e-6);
    assert!(meta(&plain, 0.05) != expected);
    let start = rewards(&RewardModel::new(&headed(1), RewardCard::default()).expect("one score"), &episodes());
    close("no loss", &meta(&Nothing, 0.05), &start, 1e-6);
    for eta in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(MetaLearner::new(&plain, &groups, eta).is_err(), "{eta}");
    }
    let refused = |groups: &[RewardRow]| MetaLearner::new(&plain, groups, 0.1).is_err();
    let uneven = [groups[0].clone(), RewardRow { responses: groups[1].responses[..2].to_vec(), ..groups[1].clone() }];
    let single = RewardRow { responses: groups[0].responses[..1].to_vec(), ..groups[0].clone() };
    let labelled = RewardRow { labels: vec![1.0], ..groups[0].clone() };
    assert!(refused(&[]) && refused(&uneven) && refused(&[single]) && refused(&[labelled]) && !refused(&groups));
}

#[test]
fn a_limit_of_tokens_changes_no_reward_and_is_refused_where_rows_go_together() {
    let (plain, rows) = (BradleyTerryConfig::default().init().expect("sound"), pairs(&[]));
    let learner = RewardLearner { loss: &plain };
    let expected = after(&learner, &rows);
    // A prompt once, and two responses: 2 + 2 + 2.
    assert_eq!(learner.tokens(&[&rows[0], &rows[1]]), Some(12));
    let model = headed(1).decoder.clone().on(&device().autodiff());
    let all: Vec<&RewardRow> = rows.iter().collect();
    let figures = |learned: Learned| {
        let mut figures = vec![learned.tally.loss, learned.tally.weight];
        figures.extend(model.head_gradient(&learned.gradients));
        figures
    };
    let whole = figures(learner.learn_window(&model, &all, 8).expect("sound rows"));
    let parts = learner.learn_batches(&model, &[&all[..1], &all[1..6], &all[6..]], 1.0).expect("sound rows");
    close("a window in parts", &figures(parts), &whole, 1e-5);
    // Adam makes much of small differences.
    for most in [1, 13, 30] {
        let limited = FitConfig { max_batch_tokens: Some(most), ..config(3) };
        close("rewards", &after_steps(&learner, &rows, limited.clone()), &expected, 1e-3);
        let bare = AuxiliaryLearner::new(&plain).expect("pairs");
        close("bare", &after_steps(&bare, &rows, limited), &expected, 1e-3);
    }
    let contrast = ContrastConfig::default();
    let contrasted = AuxiliaryLearner::new(&plain).expect("pairs").with_contrast(contrast, Seed(0)).expect("sound");
    assert_eq!(contrasted.tokens(&[]), None);
    let trajectories = TrajectoriesConfig::default().init().expect("sound");
    assert_eq!(RewardLearner { loss: &trajectories }.tokens(&[]), None);
    assert_eq!(AuxiliaryLearner::new(&trajectories).expect("pairs").tokens(&[]), None);
    assert_eq!(MetaLearner::new(&plain, &groups(), 0.1).expect("sound").tokens(&[]), None);
    assert_eq!(SourceLearner::new(1, 1.0).expect("sound").tokens(&[]), None);
    assert_eq!(ReplayLearner::new(&plain, 0.01).expect("sound").tokens(&[]), None);
}

#[test]
fn a_meta_step_goes_up_the_spread() {
    let (model, groups) = (headed(1).decoder.clone().on(&device().autodiff()), groups());
    let rows: Vec<&RewardRow> = groups.iter().collect();
    let learned = |eta: f64| {
        let learner = MetaLearner::new(&Narrow, &groups, eta).expect("sound");
        let tally = learner.learn_window(&model, &rows, 3).expect("sound rows").tally;
        let spreads = tally.values("meta/spread").to_vec();
        (tally.loss / tally.weight, spreads.iter().sum::<f64>() / spreads.len() as f64)
    };
    let (start, spread) = learned(0.0);
    close("the spread before the step", &[-start], &[spread], 1e-6);
    // J(theta + eta g) is about J(theta) + eta |g|^2.
    let [half, whole] = [5e-4, 1e-3].map(|eta| start - learned(eta).0);
    assert!(half > 1e-5 && (1.6..2.4).contains(&(whole / half)), "{half} and {whole}");
}

fn sourced(rows: &[RewardRow], source: impl Fn(usize) -> usize) -> Vec<SourcedPair> {
    rows.iter().enumerate().map(|(at, pair)| SourcedPair { pair: pair.clone(), source: source(at) }).collect()
}

#[test]
fn sources_are_weighed_by_the_gradients_of_the_head() {
    let (plain, rows) = (BradleyTerryConfig::default().init().expect("sound"), pairs(&[]));
    let expected = after(&RewardLearner { loss: &plain }, &rows);
    // One source alone is Bradley-Terry.
    close("one", &after(&SourceLearner::new(1, 1.0).expect("sound"), &sourced(&rows, |_| 0)), &expected, 1e-5);

    let model = headed(1).decoder.clone().on(&device().autodiff());
    let learned = |learner: &SourceLearner, rows: &[SourcedPair]| {
        learner.learn_window(&model, &rows.iter().collect::<Vec<_>>(), 3).map(|learned| learned.tally)
    };
    let fresh = || SourceLearner::new(2, 1.0).expect("sound");
    // Twice the same pairs: whatever the weights, they sum to 1, so the loss is that of both.
    let one = learned(&SourceLearner::new(1, 1.0).expect("sound"), &sourced(&rows, |_| 0)).expect("sound rows");
    let both = [sourced(&rows, |_| 0), sourced(&rows, |_| 1)].concat();
    let two = learned(&fresh(), &both).expect("sound rows");
    close("the same twice", &[two.loss, two.weight], &[2.0 * one.loss, 2.0 * one.weight], 1e-4);
    // A pair and the same pair turned pull in opposite ways, and count alike however far apart the scores are.
    let turned = RewardRow { responses: rows[0].responses.iter().rev().cloned().collect(), ..rows[0].clone() };
    let against = sourced(&[rows[0].clone(), turned], |at| at);
    let tally = learned(&fresh(), &against).expect("sound rows");
    close("against each other", tally.values("sources/weight_max"), &[0.5], 1e-4);
    close("against each other", tally.values("sources/weight_min"), &[0.5], 1e-4);

    assert!(learned(&fresh(), &sourced(&rows, |_| 1)).is_err(), "no pair of source 0");
    // Unless that is allowed: the one that is there is plain Bradley-Terry.
    let alone = learned(&fresh().without_resampling(), &sourced(&rows, |_| 1)).expect("sound rows");
    close("alone", &[alone.loss, alone.weight], &[one.loss, one.weight], 1e-4);
    assert_eq!(alone.values("sources/weight_min"), [1.0]);
    let all = learned(&fresh().without_resampling(), &against).expect("sound rows");
    close("against each other", &[all.loss], &[tally.loss], 1e-6);
    assert!(learned(&fresh(), &sourced(&rows, |at| at)).is_err(), "a source that there is not");
    assert!(SourceLearner::new(0, 1.0).is_err() && SourceLearner::new(2, 0.0).is_err());
    // What is remembered waits in a checkpoint.
    let (first, second) = (SourceLearner::new(2, 0.5).expect("sound"), SourceLearner::new(2, 0.5).expect("sound"));
    learned(&first, &against).expect("sound rows");
    second.remember(&first.memory()).expect("its own");
    assert!(second.memory() == first.memory() && first.memory().len() > 3 && second.remember(&[]).is_err());
}

#[test]
fn several_sources_are_learned_together() {
    let (model, mixed) = (headed(1), sourced(&pairs(&[]), |at| at % 2));
    let learner = SourceLearner::new(2, 0.9).expect("sound");
    let start = model.decoder.clone().on(&device().autodiff());
    let mut fit = Fit::new(&learner, start, &mixed, config(60)).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    let tally = evaluate(&learner, &fit.into_model().valid(), &mixed, 3).expect("sound rows");
    assert_eq!(tally.values("rewards/accuracies"), [1.0; 8]);
}

/// A loss that says how much of training is done.
struct Told;

impl RewardLoss for Told {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds::PAIR
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        let told = batch.constant(vec![batch.progress(); batch.rows()]);
        Ok(Loss::mean_of(batch.score(0)? - batch.score(1)?).stat("told", told))
    }
}

#[test]
fn a_loss_is_told_how_much_of_training_is_done() {
    let (model, rows, groups) = (headed(1), pairs(&[]), groups());
    let start = || model.decoder.clone().on(&device().autodiff());
    let plain = RewardLearner { loss: &Told };
    let told: Vec<f64> = Fit::new(&plain, start(), &rows, config(4))
        .expect("sound options")
        .map(|report| report.expect("finite numbers").metric("told").expect("a statistic"))
        .collect();
    assert_eq!(told, [0.0, 0.25, 0.5, 0.75]);
    let meta = MetaLearner::new(&Told, &groups, 0.1).expect("sound");
    let told: Vec<f64> = Fit::new(&meta, start(), &rows, config(2))
        .expect("sound options")
        .map(|report| report.expect("finite numbers").metric("told").expect("a statistic"))
        .collect();
    assert_eq!(told, [0.0, 0.5]);
    // What is measured is the loss at the end.
    assert_eq!(evaluate(&plain, &model.decoder, &rows, 3).expect("sound rows").values("told"), [1.0; 8]);
}

/// The first scores of the texts of pairs, as labels.
fn with_first_scores(model: &LanguageModel, mut pairs: Vec<RewardRow>) -> Vec<RewardRow> {
    let judge = RewardModel::new(model, RewardCard::default()).expect("one score");
    for pair in &mut pairs {
        let texts: Vec<Row> = pair.responses.iter().map(|response| Row { prompt: &pair.prompt, response }).collect();
        let scores = judge.outputs(&texts).expect("sound rows").concat();
        pair.labels = scores;
    }
    pairs
}

#[test]
fn a_detector_orders_machine_mixed_and_human_text_and_is_held_by_its_replay() {
    let (model, loss) = (headed(1), MachineTextConfig::default().init().expect("sound"));
    // Responses that end with 5, 6 and 7 are a machine's, mixed and a person's; replayed are pairs of other texts.
    let twice = [groups(), groups()].concat();
    let [machine, mixed, human] =
        ["rewards/machine", "rewards/mixed", "rewards/human"].map(|stat| learns(&model, &loss, &twice, stat)[1]);
    assert!(machine > mixed && mixed > human, "{machine}, {mixed}, {human}");
    let other = |at: u32| RewardRow {
        prompt: vec![at + 120].into(),
        responses: [vec![at + 140, 5], vec![at + 150, 7]].map(Tokens::from).to_vec(),
        ..RewardRow::default()
    };
    let pairs = with_first_scores(&model, (0..4).map(other).collect());
    let rows: Vec<ReplayRow> =
        groups().into_iter().zip(&pairs).map(|(row, pair)| ReplayRow { row, replayed: pair.clone() }).collect();
    let start = || model.decoder.clone().on(&device().autodiff());
    // At the start nothing has moved, so the loss is that of the rows.
    let borrowed: Vec<&ReplayRow> = rows.iter().collect();
    let own: Vec<RewardRow> = groups();
    let plain = RewardLearner { loss: &loss }.learn_window(&start(), &own.iter().collect::<Vec<_>>(), 2);
    let held = ReplayLearner::new(&loss, 0.01).expect("sound").learn_window(&start(), &borrowed, 2);
    let (plain, held) = (plain.expect("sound rows").tally, held.expect("sound rows").tally);
    close("loss", &[held.loss, held.weight], &[plain.loss, plain.weight], 1e-5);
    close("replay", held.values("replay/loss"), &[0.0; 4], 1e-6);

    // How far the replayed texts have moved after training, by the weight of the replay.
    let drift = |weight: f64| {
        let learner = ReplayLearner::new(&loss, weight).expect("sound");
        let mut fit = Fit::new(&learner, start(), &rows, config(60)).expect("sound options");
        for report in &mut fit {
            report.expect("finite numbers");
        }
        let trained = model.with_decoder(fit.into_model().valid());
        let now = with_first_scores(&trained, pairs.clone());
        let apart = now.iter().zip(&pairs).flat_map(|(now, first)| now.labels.iter().zip(&first.labels));
        apart.map(|(now, first)| (now - first).powi(2)).sum::<f64>()
    };
    let [free, bound] = [0.0, 1.0].map(drift);
    assert!(bound < 0.5 * free, "{free} without a replay, {bound} with one");
    // Without a weight it is plain learning.
    let same = after(&ReplayLearner::new(&loss, 0.0).expect("sound"), &rows);
    close("no weight", &same, &after(&RewardLearner { loss: &loss }, &groups()), 1e-5);
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(ReplayLearner::new(&loss, weight).is_err(), "{weight}");
    }
    let wide = RegressionConfig { attributes: 2, ..RegressionConfig::default() }.init().expect("sound");
    assert!(ReplayLearner::new(&wide, 0.01).is_err(), "more than one score");
}

#[test]
fn concepts_are_inferred_and_corrected() {
    let (episodes, joint) = (episodes(), vec![[0.2, 1.5], [1.0, 0.1]]);
    let reading = Reading::Concepts { names: vec!["polite".into()], joint: joint.clone(), weights: [1.0; 3] };
    let card = RewardCard { reading, ..RewardCard::default() };
    let model = || RewardModel::new(&headed(6), card.clone()).expect("two scores for each of three energies");
    let free = model().scored(&rows(&episodes)).expect("sound rows");
    let known = model().with_concepts(&[("polite".to_owned(), true)]).expect("its concept");
    let known = known.scored(&rows(&episodes)).expect("sound rows");
    for (free, known) in free.iter().zip(&known) {
        // Energies of the label, then of the concept; the last two outputs are not read.
        let o = &free.outputs;
        let mass = |label: usize, concept: usize| (-(o[label] + o[2 + concept] + joint[concept][label])).exp();
        let odds = ((mass(1, 0) + mass(1, 1)) / (mass(0, 0) + mass(0, 1))).ln();
        let all = mass(0, 0) + mass(0, 1) + mass(1, 0) + mass(1, 1);
        let inferred = free.inferred.as_ref().expect("energies");
        close("reward", &[free.reward, inferred.reward], &[odds, odds], 1e-9);
        close("polite", &inferred.concepts, &[(mass(0, 1) + mass(1, 1)) / all], 1e-9);
        close("corrected", &[known.reward], &[(mass(1, 1) / mass(0, 1)).ln()], 1e-9);
        assert_eq!(known.inferred.as_ref().map(|one| one.concepts.clone()), Some(vec![1.0]));
    }
    let refused = |known: &[(&str, bool)]| {
        let known: Vec<(String, bool)> = known.iter().map(|(name, there)| ((*name).to_owned(), *there)).collect();
        model().with_concepts(&known).err().expect("refused").to_string()
    };
    assert!(refused(&[("kind", true)]).contains("`kind`; it has polite"));
    assert!(refused(&[("polite", true), ("polite", false)]).contains("one value only, got both for `polite`"));
    let plain = RewardModel::new(&headed(1), RewardCard::default()).expect("one score");
    let refused = plain.with_concepts(&[("polite".to_owned(), true)]).err().expect("no concepts").to_string();
    assert!(refused.contains("a model of concepts alone"), "{refused}");
}
