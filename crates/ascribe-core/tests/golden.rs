//! Log-probabilities, entropies, cross-entropies and divergences against TRL and torch: `tokens/logps_entropy_trl.json`.

use ascribe_core::tensor::{
    Mask, chosen_logps, cross_entropy, entropy, generalized_jsd, is_top1, log_sum_sq_probs, mean_logits, token_logps,
};
use ascribe_core::{LogpBatch, RowKind};
use ascribe_testkit::device::{
    device, floats, golden_flags, golden_floats, golden_integers, integers, precisions, values,
};
use ascribe_testkit::golden::{Case, close, open};
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
    for item in file.get("items").items() {
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
fn golden_entropies_agree_with_trl() {
    for item in open(FILE).get("items").items() {
        for dtype in precisions() {
            let logits: Tensor<3> = golden_floats(&item.get("logits"), &device(), *dtype);
            let [rows, seq, vocab] = logits.dims();
            let flat = logits.reshape([rows * seq, vocab]);
            let expected = item.get("entropy").numbers();
            close(&format!("{item} {dtype:?}"), &values(entropy(flat.clone())), &expected, tolerance(*dtype));
            // Rows stand alone, so they can be given some at a time.
            let chunks: Vec<Tensor<1>> = flat.split(2, 0).into_iter().map(entropy).collect();
            close(&format!("{item} in chunks"), &values(Tensor::cat(chunks, 0)), &expected, tolerance(*dtype));
        }
    }
}

#[test]
fn golden_kernel_statistics_agree_with_trl() {
    for item in open(FILE).get("items").items() {
        let kernel = item.get("kernel");
        for dtype in precisions() {
            let device = device();
            let (predicting, targets) = shifted(&item, golden_floats(&item.get("logits"), &device, *dtype), &device);
            let results = [
                ("log_probs", token_logps(predicting.clone(), targets.clone())),
                ("entropy", entropy(predicting.clone())),
                ("log_sum_sq_probs", log_sum_sq_probs(predicting.clone())),
                ("mean_logits", mean_logits(predicting.clone())),
            ];
            for (key, got) in results {
                // The kernel computes in f32: its entropies are up to 4.2e-6 away from the f64 ones of the same file.
                close(&format!("{kernel}.{key} {dtype:?}"), &values(got), &kernel.get(key).numbers(), 1e-5);
            }
            let flags: Vec<bool> = values(is_top1(predicting, targets)).iter().map(|flag| *flag == 1.0).collect();
            assert_eq!(flags, kernel.get("is_top1").bools(), "{kernel} {dtype:?}");
        }
    }
}

#[test]
fn golden_temperatures_agree_with_trl() {
    for item in open(FILE).get("items").items() {
        // Column j stands for token j + 1.
        let flags: Vec<Vec<bool>> =
            golden_flags(&item.get("completion_mask")).iter().map(|row| row[1..].to_vec()).collect();
        for case in item.get("temperature").items() {
            for dtype in precisions() {
                let device = device();
                let logits: Tensor<3> = golden_floats(&item.get("logits"), &device, *dtype);
                let [rows, seq, _] = logits.dims();
                let (predicting, targets) = shifted(&item, logits, &device);
                let tempered = predicting.div_scalar(case.get("temperature").number());
                let mask = Mask::from_rows(&flags, &device);
                let kept = |x: Tensor<1>| values(mask.keep(x.reshape([rows, seq - 1])));
                let check = |key: &str, got: &[f64]| {
                    close(&format!("{case}.{key} {dtype:?}"), got, &case.get(key).numbers(), tolerance(*dtype));
                };
                check("masked_logps", &kept(token_logps(tempered.clone(), targets)));
                check("masked_entropy", &kept(entropy(tempered)));
            }
        }
    }
}

#[test]
fn golden_cross_entropies_agree_with_torch() {
    for item in open(FILE).get("items").items() {
        let case = item.get("torch_cross_entropy_shifted");
        for dtype in precisions() {
            let device = device();
            let mask = Mask::from_rows(&labelled(&item), &device);
            let [rows, columns] = mask.dims();
            let count = labelled(&item).iter().flatten().filter(|counts| **counts).count() as f64;
            let (predicting, targets) = shifted(&item, golden_floats(&item.get("logits"), &device, *dtype), &device);
            for (name, smoothing) in [("ls0.0", 0.0), ("ls0.1", 0.1)] {
                let losses = cross_entropy(predicting.clone(), targets.clone(), smoothing).reshape([rows, columns]);
                let sum: f64 = values(mask.sum(losses)).iter().sum();
                for (key, got) in [("sum", sum), ("mean", sum / count)] {
                    let expected = case.get(&format!("{key}_{name}"));
                    close(&format!("{expected} {dtype:?}"), &[got], &[expected.number()], tolerance(*dtype));
                }
            }
        }
        assert_eq!(case.keys().len(), 4);
    }
}

#[test]
fn golden_divergences_agree_with_trl() {
    let file = open(FILE).get("generalized_jsd");
    let labels = file.get("labels");
    let seq = labels.shape()[1];
    let flags: Vec<Vec<bool>> =
        labels.integers().chunks(seq).map(|row| row.iter().map(|label| *label != -100).collect()).collect();
    let count = flags.iter().flatten().filter(|counts| **counts).count() as f64;
    for case in file.get("cases").items() {
        for dtype in precisions() {
            let device = device().autodiff();
            let student = golden_floats::<3>(&file.get("student_logits"), &device, *dtype).require_grad();
            let teacher = golden_floats::<3>(&file.get("teacher_logits"), &device, *dtype).require_grad();
            let [rows, seq, vocab] = student.dims();
            // Products, since Burn's gradient of a division by a scalar is that of an f32 reciprocal.
            let by = 1.0 / case.get("temperature").number();
            let tempered = |x: &Tensor<3>| x.clone().reshape([rows * seq, vocab]).mul_scalar(by);
            let jsd = generalized_jsd(tempered(&student), tempered(&teacher), case.get("beta").number());
            let loss = Mask::from_rows(&flags, &device).sum(jsd.reshape([rows, seq])).sum().mul_scalar(1.0 / count);
            let what = format!("{case} {dtype:?}");
            close(&what, &values(loss.clone()), &[case.get("loss").number()], tolerance(*dtype));
            let grads = loss.backward();
            let gradient = values(student.grad(&grads).expect("the student is tracked"));
            close(&what, &gradient, &case.get("grad_student").numbers(), tolerance(*dtype));
            assert!(teacher.grad(&grads).is_none_or(|grad| values(grad).iter().all(|x| *x == 0.0)), "{what}");
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
