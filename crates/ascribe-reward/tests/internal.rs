//! The agreement of a policy's internal rewards on the golden language model: by hand from its log-probabilities, and learned.

use ascribe_core::Tokens;
use ascribe_lm::{LanguageModel, Row};
use ascribe_reward::{InternalConfig, InternalLearner, InternalRow, RewardRow};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::{close, root};
use ascribe_train::{Fit, FitConfig, Learner, ScheduleKind, evaluate};
use burn::module::Module;

const ONE: u32 = 17;
const TWO: u32 = 18;

fn model() -> LanguageModel {
    LanguageModel::load(&root().join("lm/llama_gqa"), &device()).expect("the golden model loads")
}

fn verdicts() -> [Tokens; 2] {
    [ONE, TWO].map(|id| Tokens::from(vec![id]))
}

/// The log-probability of a response under the golden model.
fn logp(model: &LanguageModel, prompt: &[u32], response: &[u32]) -> f64 {
    let (logps, _) = model.decoder.response_logps(&[Row { prompt, response }]).expect("it writes");
    values(logps).iter().sum()
}

/// Four pairs; the reference is `by` nats a response away from the model, in favour of the first one.
fn rows(model: &LanguageModel, by: f64) -> Vec<InternalRow> {
    let one = |at: u32| {
        let (prompt, [first, second]) = (vec![at + 20, at + 30], [vec![at + 40, 5], vec![at + 60, 6, 7]]);
        let ask = |a: &[u32], b: &[u32]| Tokens::from([&prompt[..], a, b, &[9]].concat());
        let ref_logps = [logp(model, &prompt, &first) - by, logp(model, &prompt, &second) + by];
        let questions = [ask(&first, &second), ask(&second, &first)];
        let responses = [first, second].map(Tokens::from).to_vec();
        let pair = RewardRow { prompt: prompt.clone().into(), responses, labels: Vec::new(), line: 1 };
        InternalRow { pair, ref_logps, questions }
    };
    (0..4).map(one).collect()
}

fn turned(row: &InternalRow) -> InternalRow {
    let mut row = row.clone();
    row.pair.responses.reverse();
    row.ref_logps.reverse();
    row.questions.reverse();
    row
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn the_loss_by_hand() {
    let model = model();
    let config =
        InternalConfig { beta: 0.5, consistency: 2.0, confidence: 0.25, preference: 3.0, ..InternalConfig::default() };
    let learner = InternalLearner::new(config, verdicts()).expect("sound");
    // Log-ratios of 1 and -1, so the implicit log-odds are 0.5 * 2.
    let rows = rows(&model, 1.0);
    let tally = evaluate(&learner, &model.decoder, &rows, 3).expect("sound rows");
    let (mut total, mut alike) = (0.0, Vec::new());
    for row in &rows {
        let odds = |question: &Tokens| logp(&model, question, &[ONE]) - logp(&model, question, &[TWO]);
        let judged = 0.5 * (sigmoid(odds(&row.questions[0])) + sigmoid(-odds(&row.questions[1])));
        let (p, q) = (sigmoid(1.0), judged);
        let mean = 0.5 * (p + q);
        let kl = |a: f64, b: f64| a * (a / b).ln() + (1.0 - a) * ((1.0 - a) / (1.0 - b)).ln();
        let entropy = |a: f64| -a * a.ln() - (1.0 - a) * (1.0 - a).ln();
        let own = if judged > 0.5 { (-1f64).exp().ln_1p() } else { 0.0 };
        total += 2.0 * (kl(mean, p) + kl(mean, q)) + 0.25 * (entropy(p) + entropy(q)) + 3.0 * own;
        alike.push(f64::from(u8::from(judged > 0.5)));
    }
    close("loss", &[tally.loss, tally.weight], &[total, 4.0], 1e-3);
    close("margins", tally.values("rewards/margins"), &[1.0; 4], 1e-3);
    assert_eq!(tally.values("consistency/unanimous"), alike);
    assert_eq!((tally.values("judge/accuracies"), tally.values("rewards/accuracies")), (&alike[..], &[1.0; 4][..]));
    // Swapped pairs have the same losses, and the other accuracies.
    let turned: Vec<InternalRow> = rows.iter().map(turned).collect();
    let other = evaluate(&learner, &model.decoder, &turned, 4).expect("sound rows");
    close("turned", &[other.loss], &[tally.loss], 1e-4);
    assert_eq!(other.values("rewards/accuracies"), [0.0; 4]);
    // Training sees the same loss.
    let training = model.decoder.clone().on(&device().autodiff());
    let learned = learner.learn(&training, &rows.iter().collect::<Vec<_>>()).expect("sound rows");
    close("training", &[learned.tally.loss], &[tally.loss], 1e-4);
    // Two responses of 2 and 3 tokens behind a prompt of 2; two questions of 2 + 2 + 3 + 1, each before two verdicts of one.
    assert_eq!(learner.tokens(&[&rows[0]]), Some(7 + 2 * (8 + 2)));
    let all: Vec<&InternalRow> = rows.iter().collect();
    let parts = learner.learn_batches(&training, &[&all[..1], &all[1..]], 0.0).expect("sound rows").tally;
    close("parts", &[parts.loss, parts.weight], &[tally.loss, 4.0], 1e-4);
}

#[test]
fn both_internal_rewards_come_together() {
    let model = model();
    let config = InternalConfig { beta: 1.0, confidence: 0.0, preference: 0.0, ..InternalConfig::default() };
    let learner = InternalLearner::new(config, verdicts()).expect("sound");
    let rows = rows(&model, 1.0);
    let mean = |decoder: &ascribe_lm::Decoder| {
        let tally = evaluate(&learner, decoder, &rows, 4).expect("sound rows");
        tally.values("consistency/divergence").iter().sum::<f64>() / 4.0
    };
    let options = FitConfig {
        learning_rate: 3e-3,
        lr_scheduler_type: ScheduleKind::Linear,
        max_steps: 40,
        ..FitConfig::default()
    };
    let start = model.decoder.clone().on(&device().autodiff());
    let before = mean(&start.valid());
    let mut fit = Fit::new(&learner, start, &rows, options).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    let after = mean(&fit.into_model().valid());
    assert!(after < 0.3 * before, "{before} to {after}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let plain = InternalConfig::default();
    for (config, said) in [
        (InternalConfig { beta: 0.0, ..plain }, "beta must be finite and above 0"),
        (InternalConfig { preference: -1.0, ..plain }, "preference must be finite and at least 0"),
        (InternalConfig { consistency: f64::NAN, ..plain }, "consistency must be finite and at least 0"),
        (
            InternalConfig { consistency: 0.0, confidence: 0.0, preference: 0.0, ..plain },
            "consistency + confidence + preference must be above 0, or nothing is learned, got 0",
        ),
    ] {
        let error = InternalLearner::new(config, verdicts()).err().expect("refused").to_string();
        assert!(error.contains(said), "{error}");
    }
    for wrong in [[vec![ONE], vec![ONE]], [vec![], vec![TWO]]] {
        let error = InternalLearner::new(plain, wrong.map(Tokens::from)).err().expect("refused").to_string();
        assert!(error.contains("the two verdicts of a judge must differ"), "{error}");
    }
    let model = model();
    let learner = InternalLearner::new(plain, verdicts()).expect("sound");
    let row = rows(&model, 0.0).remove(0);
    let silent = InternalRow { questions: [Tokens::default(), row.questions[1].clone()], ..row.clone() };
    let unknown = InternalRow { ref_logps: [f64::NAN, 0.0], ..row.clone() };
    let mut single = row;
    single.pair.responses.pop();
    for (wrong, said) in [
        (silent, "a judge needs a question"),
        (unknown, "the log-probabilities under the reference must be finite"),
        (single, "the responses of a row must have 2 entries, got 1"),
    ] {
        let error = learner.measure(&model.decoder, &[&wrong]).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}
