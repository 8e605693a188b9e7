//! The loss of TRL's process reward trainer, `reward/prm_trl024.json`, and a classifier of tokens of transformers,
//! `lm/qwen2_tokcls`.

use ascribe_lm::{Decoder, DecoderConfig, LanguageModel, Row, Safetensors, Tokenizer};
use ascribe_process::model::{ProcessCard, ProcessHead, ProcessLearner, ProcessLoss, ProcessModel, ProcessRow};
use ascribe_testkit::device::{device, floats, integers, precisions, values};
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_train::evaluate;
use burn::tensor::DType;
use burn::tensor::activation::sigmoid;

/// The labels of each row with their places in it, and the places of all in the flattened batch.
fn labelled(labels: &[i64], width: usize) -> (Vec<Vec<f64>>, Vec<i64>) {
    let of_row =
        |row: &[i64]| -> Vec<f64> { row.iter().filter(|label| **label != -100).map(|label| *label as f64).collect() };
    let places = (0..).zip(labels).filter(|(_, label)| **label != -100).map(|(place, _)| place).collect();
    (labels.chunks(width).map(of_row).collect(), places)
}

fn loss_of(case: &Case, dtype: DType) {
    // TRL computes in f32.
    let tolerance = if dtype == DType::F64 { 2e-6 } else { 1e-5 };
    let shape = case.get("logits").shape();
    let (rows, width) = (shape[0], shape[1]);
    let flat = case.get("logits").numbers();
    let logits = floats(&flat, [rows * width, 2], &device().autodiff(), dtype).require_grad();
    let (labels, places) = labelled(&case.get("labels").integers(), width);
    let labels: Vec<&[f64]> = labels.iter().filter(|row| !row.is_empty()).map(Vec::as_slice).collect();
    let at = integers(&places, [places.len()], &device().autodiff());
    let head = ProcessHead::Classes;
    let read = head.logits(logits.clone().select(0, at)); // [places]
    let loss = ProcessLoss::CrossEntropy.of(read.clone(), &labels).expect("labels of 0 and 1");
    let gradients = loss.mean().backward();
    let check = |what: &str, got: &[f64], expected: &[f64]| {
        close(&format!("{case}.{what} {dtype:?}"), got, expected, tolerance);
    };
    check("loss", &values(loss.mean()), &[case.get("loss").number()]);
    let gradient = values(logits.grad(&gradients).expect("tracked"));
    check("grad_logits", &gradient, &case.get("grad_logits").numbers());
    let said = values(sigmoid(read));
    let hits = said.iter().zip(labels.concat()).filter(|(p, label)| (**p > 0.5) == (*label == 1.0)).count();
    check("accuracy", &[hits as f64 / said.len() as f64], &[case.get("accuracy").number()]);
    let all = values(sigmoid(head.logits(logits)));
    check("prob_positive", &all, &case.get("prob_positive").numbers());
}

#[test]
fn golden_step_losses_agree_with_trl() {
    let cases = open("reward/prm_trl024.json").get("token_classification_loss").items();
    assert!(!cases.is_empty());
    for case in &cases {
        assert_eq!(case.get("logits").shape()[2], 2);
        precisions().iter().for_each(|dtype| loss_of(case, *dtype));
    }
}

/// The classifier, whose folder has no tokenizer.
fn classifier() -> LanguageModel {
    let folder = root().join("lm/qwen2_tokcls");
    let config = DecoderConfig::from_json(&folder.join("config.json")).expect("a config");
    let mut weights = Safetensors::open(&folder).expect("weights");
    let decoder = Decoder::load(&config, &mut weights, &device()).expect("they fit");
    let tokenizer = Tokenizer::from_folder(root().join("lm/tokenizer_qwen")).expect("a tokenizer");
    LanguageModel { decoder, config, tokenizer, template: None, name: String::new() }
}

#[test]
fn golden_token_classifiers_are_process_models() {
    let model = ProcessModel::new(&classifier(), ProcessCard::default()).expect("two classes");
    let file = open("lm/qwen2_tokcls/expected.json");
    for side in ["right", "left"] {
        let batch = file.get("batches").get(side);
        let width = batch.get("attention_mask").shape()[1];
        let (ids, mask) = (batch.get("input_ids").integers(), batch.get("attention_mask").integers());
        let labels = batch.get("labels").integers();
        let mut rows = Vec::new();
        for at in 0..ids.len() / width {
            let real: Vec<usize> = (at * width..(at + 1) * width).filter(|place| mask[*place] == 1).collect();
            let ids: Vec<u32> = real.iter().map(|place| ids[*place] as u32).collect();
            let taught = real.iter().enumerate().filter(|(_, place)| labels[**place] != -100);
            let (places, labels) = taught.map(|(at, place)| (at, labels[*place] as f64)).unzip();
            let (prompt, response) = (ids[..2].into(), ids[2..].into());
            rows.push(ProcessRow { prompt, response, places, labels, ..ProcessRow::default() });
        }
        // Every token, against the softmax of the stored logits.
        let asked: Vec<Row> = rows.iter().map(|row| Row { prompt: &row.prompt, response: &row.response }).collect();
        let places: Vec<Vec<usize>> =
            rows.iter().map(|row| (0..row.prompt.len() + row.response.len()).collect()).collect();
        let got = model.values(&asked, &places).expect("sound rows").concat();
        let stored = batch.get("token_logits_at_valid").items();
        let stored: Vec<f64> = stored.iter().flat_map(|row| row.get("data").numbers()).collect();
        let expected: Vec<f64> = stored.chunks(2).map(|pair| 1.0 / (1.0 + (pair[0] - pair[1]).exp())).collect();
        close(&format!("{side} probabilities"), &got, &expected, 1e-4);
        let learner = ProcessLearner::default();
        let tally = evaluate(&learner, &model.model().decoder, &rows, 2).expect("sound rows");
        close(&format!("{side} loss"), &[tally.loss / tally.weight], &[batch.get("loss").number()], 1e-4);
    }
}
