//! Losses beside the one on pairs of scores, against what they are by themselves; and rewards that read the mean.

use ascribe_core::{Episode, Loss, Scorer, Seed, Tokens};
use ascribe_lm::{Decoder, Head, HeadInit, LanguageModel, Pooling, Row};
use ascribe_reward::losses::{BradleyTerryConfig, KWiseConfig};
use ascribe_reward::{
    AuxiliaryLearner, ContrastConfig, ContrastItems, RewardCard, RewardError, RewardLearner, RewardLoss, RewardModel,
    RewardRow, ScoreBatch, ScoreNeeds,
};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::{close, root};
use ascribe_train::{Fit, FitConfig, Learned, Learner, ScheduleKind, evaluate};

/// The golden model that writes, and the same under a fresh head of one score.
fn models() -> [LanguageModel; 2] {
    let language = LanguageModel::load(&root().join("lm").join("llama_gqa"), &device()).expect("a golden model");
    let decoder = language.decoder.with_head(Head::Sequence { labels: 1 }, HeadInit::Wide, Seed(7)).expect("a head");
    let headed = language.with_decoder(decoder);
    [language, headed]
}

fn training(model: &LanguageModel) -> Decoder {
    model.decoder.clone().on(&device().autodiff())
}

/// Pairs of responses of two and three tokens.
fn pairs() -> Vec<RewardRow> {
    let one = |at: u32| RewardRow {
        prompt: vec![at + 20, at + 30].into(),
        responses: vec![Tokens::from(vec![at + 40, 5]), Tokens::from(vec![at + 60, at + 40, 6])],
        line: 1,
        ..RewardRow::default()
    };
    (0..4).map(one).collect()
}

fn learned(learner: &AuxiliaryLearner, model: &Decoder, batch: usize) -> Learned {
    let rows = pairs();
    learner.learn_window(model, &rows.iter().collect::<Vec<_>>(), batch).expect("sound rows")
}

/// The mean loss of a window, and the gradient of the head.
fn figures(learned: &Learned, model: &Decoder) -> Vec<f64> {
    let mut figures = vec![learned.tally.loss / learned.tally.weight];
    figures.extend(model.head_gradient(&learned.gradients));
    figures
}

#[test]
fn nothing_beside_a_loss_is_the_loss() {
    let [language, headed] = models();
    let (loss, model) = (BradleyTerryConfig::default().init().expect("sound"), training(&headed));
    let rows = pairs();
    let plain = RewardLearner { loss: &loss }.learn_window(&model, &rows.iter().collect::<Vec<_>>(), 4);
    let expected = figures(&plain.expect("sound rows"), &model);
    let bare = || AuxiliaryLearner::new(&loss).expect("pairs");
    let nothing = ContrastConfig { weight: 0.0, dropout: 0.0, ..ContrastConfig::default() };
    let head = language.decoder.next_token_head().expect("a language model");
    for (what, learner) in [
        ("bare", bare()),
        ("no contrast", bare().with_contrast(nothing, Seed(1)).expect("sound")),
        ("no language", bare().with_language(head, 0.0).expect("sound")),
    ] {
        close(what, &figures(&learned(&learner, &model, 4), &model), &expected, 1e-5);
    }
    // Rows are measured by the loss alone.
    let learner = bare().with_contrast(ContrastConfig::default(), Seed(1)).expect("sound");
    let measured = evaluate(&learner, &headed.decoder, &rows, 3).expect("sound rows");
    close("measured", &[measured.loss / measured.weight], &expected[..1], 1e-5);
}

#[test]
fn the_language_of_chosen_responses_is_kept() {
    let [language, headed] = models();
    let (loss, model, rows) = (BradleyTerryConfig::default().init().expect("sound"), training(&headed), pairs());
    let bare = figures(&learned(&AuxiliaryLearner::new(&loss).expect("pairs"), &model, 4), &model);
    let head = language.decoder.next_token_head().expect("a language model");
    let learner = AuxiliaryLearner::new(&loss).expect("pairs").with_language(head, 0.5).expect("sound");
    // The mean log-probability of the two tokens of each chosen response, by the model that writes.
    let chosen: Vec<Row> = rows.iter().map(|row| Row { prompt: &row.prompt, response: &row.responses[0] }).collect();
    let logps = values(language.decoder.response_logps(&chosen).expect("sound rows").0); // two a row
    let nll = -logps.iter().sum::<f64>() / 8.0;
    let mut expected = bare.clone();
    expected[0] += 0.5 * nll;
    for batch in [4, 3] {
        let learned = learned(&learner, &model, batch);
        // The head of scores has no part in it, so its gradient is that of the loss on pairs.
        close("with language", &figures(&learned, &model), &expected, 1e-4);
        let told = learned.tally.values("language/nll");
        close("told", &[told.iter().sum::<f64>() / 4.0], &[nll], 1e-4);
    }
    // Trained by it alone, chosen responses become likelier: its weight is a thousandfold that of pairs.
    let head = language.decoder.next_token_head().expect("a language model");
    let learner = AuxiliaryLearner::new(&loss).expect("pairs").with_language(head, 1e3).expect("sound");
    let config = FitConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: 20,
        ..FitConfig::default()
    };
    let fit = Fit::new(&learner, model, &rows, config).expect("sound options");
    let told: Vec<f64> = fit.map(|step| step.expect("finite").metric("language/nll").expect("told")).collect();
    assert!(told[19] < 0.9 * told[0], "{told:?}");
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
fn a_loss_on_pairs_is_told_how_much_of_training_is_done() {
    let [_, headed] = models();
    let rows = pairs();
    let contrast =
        |learner: AuxiliaryLearner<'static>| learner.with_contrast(ContrastConfig::default(), Seed(1)).expect("sound");
    let bare = || AuxiliaryLearner::new(&Told).expect("pairs");
    // Two rows at once, or all of a window.
    for learner in [bare(), contrast(bare())] {
        let config = FitConfig {
            max_steps: 4,
            per_device_train_batch_size: 2,
            gradient_accumulation_steps: 2,
            ..FitConfig::default()
        };
        let fit = Fit::new(&learner, training(&headed), &rows, config).expect("sound options");
        let told: Vec<f64> = fit.map(|step| step.expect("finite").metric("told").expect("a statistic")).collect();
        assert_eq!(told, [0.0, 0.25, 0.5, 0.75]);
    }
}

/// The states that the head reads, chosen ones first.
fn states(model: &Decoder) -> Vec<Vec<f64>> {
    let rows = pairs();
    let side = |at: usize| rows.iter().map(move |row| Row { prompt: &row.prompt, response: &row.responses[at] });
    let asked: Vec<Row> = side(0).chain(side(1)).collect();
    let features = model.feature_pass(&asked, 0).expect("sound rows").features; // [8, hidden]
    let width = features.dims()[1];
    values(features).chunks(width).map(<[f64]>::to_vec).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_contrast_without_dropout_is_what_cosines_say() {
    let [_, headed] = models();
    let (loss, model) = (BradleyTerryConfig::default().init().expect("sound"), training(&headed));
    let bare = figures(&learned(&AuxiliaryLearner::new(&loss).expect("pairs"), &model, 4), &model);
    let states = states(&model);
    let apart: Vec<Vec<f64>> = (0..8)
        .map(|at| {
            let sign = if at < 4 { 1.0 } else { -1.0 };
            states[at % 4]
                .iter()
                .zip(&states[at % 4 + 4])
                .map(|(chosen, rejected)| sign * (chosen - rejected))
                .collect()
        })
        .collect();
    let tau = 0.5;
    for (items, of) in [(ContrastItems::Responses, &states), (ContrastItems::Differences, &apart)] {
        // mean_i log(1 + sum_{j != i} exp((cos_ij - 1) / tau))
        let one = |i: usize| {
            let others = (0..8).filter(|j| *j != i).map(|j| ((cosine(&of[i], &of[j]) - 1.0) / tau).exp());
            others.sum::<f64>().ln_1p()
        };
        let expected = bare[0] + 2.0 * (0..8).map(one).sum::<f64>() / 8.0;
        let config = ContrastConfig { items, weight: 2.0, tau, dropout: 0.0, ..ContrastConfig::default() };
        let learner = AuxiliaryLearner::new(&loss).expect("pairs").with_contrast(config, Seed(1)).expect("sound");
        // Every response sees all others, so a window goes through at once whatever the batch.
        for batch in [4, 1] {
            let got = figures(&learned(&learner, &model, batch), &model);
            close("loss", &got[..1], &[expected], 1e-4);
        }
    }
}

#[test]
fn masks_hang_on_the_seed_and_the_window_and_prototypes_learn() {
    let [_, headed] = models();
    let (loss, model) = (BradleyTerryConfig::default().init().expect("sound"), training(&headed));
    let make = |prototypes: usize, prototype_rate: f64, seed: u64| {
        let config = ContrastConfig { prototypes, prototype_rate, dropout: 0.3, ..ContrastConfig::default() };
        AuxiliaryLearner::new(&loss).expect("pairs").with_contrast(config, Seed(seed)).expect("sound")
    };
    let told = |learner: &AuxiliaryLearner| figures(&learned(learner, &model, 4), &model)[0];
    let (first, second) = (make(0, 0.1, 1), make(0, 0.1, 1));
    let losses = [told(&first), told(&first)];
    assert!(losses[0] != losses[1] && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    assert!(told(&make(0, 0.1, 2)) != losses[0]);
    // What is remembered goes on with the masks of the next window.
    second.remember(&[1]).expect("its own");
    assert_eq!((told(&second), second.memory()), (losses[1], vec![2]));

    let (still, moving) = (make(3, 0.0, 1), make(3, 0.5, 1));
    assert_eq!(told(&still), told(&moving), "the first window sees the prototypes as they were drawn");
    let (before, after) = (still.memory(), moving.memory());
    let width = states(&model)[0].len();
    assert_eq!((before.len(), after.len(), before[0], after[0]), (1 + 3 * width, 1 + 3 * width, 1, 1));
    assert!(before[1..] != after[1..]);
    for prototype in after[1..].chunks(width) {
        let square = prototype.iter().map(|bits| f64::from_bits(*bits).powi(2)).sum::<f64>();
        assert!((square - 1.0).abs() < 1e-9, "{square}");
    }
    // Twice the rate goes twice as far, while steps are short.
    let far = |rate: f64| {
        let learner = make(3, rate, 1);
        told(&learner);
        let after = learner.memory();
        let moved = after[1..].iter().zip(&before[1..]).map(|(after, before)| {
            let [after, before] = [after, before].map(|bits| f64::from_bits(*bits));
            (after - before).powi(2)
        });
        moved.sum::<f64>().sqrt()
    };
    let [half, whole] = [1e-4, 2e-4].map(far);
    assert!(half > 0.0 && (1.9..2.1).contains(&(whole / half)), "{half} and {whole}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let [language, headed] = models();
    let loss = BradleyTerryConfig::default().init().expect("sound");
    let said = |learner: Result<AuxiliaryLearner, ascribe_reward::RewardError>| {
        learner.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let ranked = KWiseConfig { responses: 3, per_prompt: false }.init().expect("sound");
    assert!(said(AuxiliaryLearner::new(&ranked)).contains("the responses of a row must be 2"));
    let bare = || AuxiliaryLearner::new(&loss).expect("pairs");
    let head = || language.decoder.next_token_head().expect("a language model");
    for weight in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(said(bare().with_language(head(), weight)).contains("the weight of the language loss must be"));
    }
    let usual = ContrastConfig::default();
    for (config, rule) in [
        (ContrastConfig { weight: f64::NAN, ..usual }, "the weight of the contrast must be"),
        (ContrastConfig { tau: 0.0, ..usual }, "the temperature of the contrast must be"),
        (ContrastConfig { dropout: 1.0, ..usual }, "the dropout of the contrast must be in [0, 1)"),
        (ContrastConfig { prototypes: 1, ..usual }, "prototypes must be 0 for SimCSE, or at least 2"),
        (ContrastConfig { prototype_rate: -1.0, ..usual }, "the rate of prototypes must be"),
    ] {
        let got = said(bare().with_contrast(config, Seed(1)));
        assert!(got.contains(rule), "{got}");
    }
    assert!(bare().remember(&[]).is_ok() && bare().memory().is_empty() && bare().remember(&[1]).is_err());
    let contrast = bare().with_contrast(usual, Seed(1)).expect("sound");
    assert!(contrast.remember(&[]).is_err() && contrast.remember(&[1, 2]).is_err() && contrast.remember(&[1]).is_ok());
    // A language model has no head of scores.
    let rows = pairs();
    assert!(bare().learn(&training(&language), &rows.iter().collect::<Vec<_>>()).is_err());
    assert!(bare().learn(&training(&headed), &rows.iter().collect::<Vec<_>>()).is_ok());
}

#[test]
fn a_card_says_which_states_are_read() {
    let [_, headed] = models();
    let card = RewardCard { pooling: Pooling::Mean, ..RewardCard::default() };
    let rewards = |card: RewardCard, tokens: &[u32]| {
        let model = RewardModel::new(&headed, card).expect("one score");
        f64::from(model.score(&[Episode::new(&tokens[..2], &tokens[2..])]).expect("a sound episode")[0].values()[0])
    };
    let text = [7, 30, 12, 5];
    // A causal model reads each beginning alone, so the mean of states is the mean of the scores of all beginnings.
    let last =
        |tokens: &[u32]| values(headed.decoder.row_scores(&[Row { prompt: &[], response: tokens }]).expect("a row"))[0];
    let expected = (1..=4).map(|n| last(&text[..n])).sum::<f64>() / 4.0;
    close("mean", &[rewards(card, &text)], &[expected], 1e-4);
    close("last", &[rewards(RewardCard::default(), &text)], &[last(&text)], 1e-5);
}
