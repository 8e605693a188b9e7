//! Log-probabilities against TRL: `tokens/logps_entropy_trl.json`.

use ascribe_core::tensor::{Mask, chosen_logps, token_logps};
use ascribe_core::{LogpBatch, RowKind};
use ascribe_testkit::device::{device, floats, golden_floats, golden_integers, integers, precisions, values};
use ascribe_testkit::golden::{Case, close, open, require_pending};
use burn::tensor::{DType, Device, Int, Tensor};

const FILE: &str = "tokens/logps_entropy_trl.json";

fn tolerance(dtype: DType) -> f64 {
    if dtype == DType::F64 { 1e-9 } else { 1e-5 }
}

/// Logits that predict a token, and the token: `[rows * (seq - 1), vocab]` and `[rows * (seq - 1)]`.
fn shifted(item: &Case, logits: Tensor<3>, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let [rows, seq, vocab] = logits.dims();
    let ids: Tensor<2, Int> = golden_integers(&item.get("input_ids"), device);
    let n = rows * (seq - 1);
    let predicting = logits.slice([0..rows, 0..seq - 1, 0..vocab]).reshape([n, vocab]);
    (predicting, ids.slice([0..rows, 1..seq]).reshape([n]))
}

/// Flags of the labelled tokens, shifted by one: column j stands for token j + 1.
fn labelled(item: &Case) -> Vec<Vec<bool>> {
    let seq = item.get("labels").shape()[1];
    let flags = |row: &[i64]| row[1..].iter().map(|label| *label != -100).collect();
    item.get("labels").integers().chunks(seq).map(flags).collect()
}

#[test]
fn golden_log_probabilities_agree_with_trl() {
    let file = open(FILE);
    let known = ["_meta", "items", "generalized_jsd"];
    assert!(file.keys().iter().all(|key| known.contains(&key.as_str())), "{:?}", file.keys());
    require_pending(FILE, "generalized_jsd");
    for item in file.get("items").items() {
        for key in ["entropy", "kernel", "temperature", "torch_cross_entropy_shifted"] {
            item.get(key);
            require_pending(FILE, &format!("items: {key}"));
        }
        // The labels are the ids of the completion, so the sums below are over the ids that the log-probs belong to.
        let ids = item.get("input_ids").integers();
        assert!(item.get("labels").integers().iter().zip(&ids).all(|(label, id)| *label == -100 || label == id));
        for dtype in precisions() {
            one(&item, *dtype);
        }
    }
}

fn one(item: &Case, dtype: DType) {
    let device = device().autodiff();
    let logits: Tensor<3> = golden_floats::<3>(&item.get("logits"), &device, dtype).require_grad();
    let [rows, seq, vocab] = logits.dims();
    let (predicting, targets) = shifted(item, logits.clone(), &device);
    let logps = token_logps(predicting.clone(), targets.clone()).reshape([rows, seq - 1]);
    let check = |what: &str, got: &[f64], key: &str| {
        close(&format!("{item} {what} {dtype:?}"), got, &item.get(key).numbers(), tolerance(dtype));
    };
    check("token log-probs", &values(logps.clone()), "shifted_token_logps_all");
    // A head that is the identity turns hidden states into logits.
    for chunk in [1, 2, 7] {
        let chunked = chosen_logps(predicting.clone(), targets.clone(), chunk, |states| states);
        check("in chunks", &values(chunked), "shifted_token_logps_all");
    }

    let mask = Mask::from_rows(&labelled(item), &device);
    let side = LogpBatch::new(RowKind::Single, logps.clone(), mask.clone()).expect("the shapes agree").all();
    check("sum", &values(side.sum()), "seq_logps_sum");
    check("mean", &values(mask.mean(logps)), "seq_logps_mean");

    let weights = floats(&item.get("grad_weights").numbers(), [rows], &device, dtype);
    let grads = (side.sum() * weights).sum().backward();
    let gradient = logits.grad(&grads).expect("the logits are tracked");
    check("gradient", &values(gradient.clone()), "grad_logits_of_weighted_sum");

    // Logits that predict a token outside the completion get none at all, and neither does the last position.
    let gradient = values(gradient);
    for (row, flags) in labelled(item).iter().enumerate() {
        for at in (0..seq).filter(|at| !flags.get(*at).copied().unwrap_or(false)) {
            let start = (row * seq + at) * vocab;
            assert!(gradient[start..start + vocab].iter().all(|x| *x == 0.0), "{item}: row {row}, position {at}");
        }
    }
}

#[test]
fn golden_log_probabilities_do_not_depend_on_the_batch() {
    for item in open(FILE).get("items").items() {
        let device = device();
        let logits: Tensor<3> = golden_floats(&item.get("logits"), &device, DType::F32);
        let (predicting, targets) = shifted(&item, logits, &device);
        let [n, vocab] = predicting.dims();
        let whole = values(token_logps(predicting.clone(), targets.clone()));
        let ids = targets.into_data().convert::<i64>().try_to_vec::<i64>().expect("converted");
        for (at, id) in ids.into_iter().enumerate() {
            let row = predicting.clone().slice([at..at + 1, 0..vocab]);
            let alone = values(token_logps(row, integers(&[id], [1], &device)));
            assert_eq!(alone[0], whole[at], "{item}: position {at} of {n}");
        }
    }
}
