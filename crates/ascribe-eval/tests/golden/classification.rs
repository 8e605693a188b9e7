//! Classifiers and calibration against scikit-learn and torchmetrics.

use ascribe_eval::calibrate::{Binning, brier, calibration_error, isotonic_fit, log_loss, reliability};
use ascribe_eval::classify::{
    Against, Confusion, ConfusionMatrix, Curve, Decision, Mean, ZeroDivision, auroc, auroc_multiclass,
    brier_multiclass, log_loss_multiclass, top_k_accuracy, top_label, weighted_auroc,
};
use ascribe_eval::{Bootstrap, auroc_estimate};
use ascribe_testkit::golden::{self, Case, close, require_pending};

use crate::{TOLERANCE, sections, size};

const NAME: &str = "metrics/classification.json";

#[test]
fn golden_classification() {
    for (section, cases) in sections(&golden::open(NAME)) {
        for case in cases.items() {
            match section.as_str() {
                "binary" => check_binary(&case),
                "multiclass" => check_multiclass(&case),
                other => require_pending(NAME, other),
            }
        }
    }
}

fn number(case: &Case, key: &str) -> f64 {
    case.get(key).number()
}

fn check_binary(case: &Case) {
    let (p, y) = (case.get("p").numbers(), case.get("y").bools());
    let one = |key: &str, got: f64| close(&case.get(key).name(), &[got], &[number(case, key)], TOLERANCE);
    let curve = Curve::new(&p, &y).expect("a curve");
    for key in case.keys() {
        match key.as_str() {
            "name" | "y" | "p" | "bin_edge_sensitive" | "log_loss_clip" | "weights" => {}
            "log_loss" => {
                let clip = Some(number(case, "log_loss_clip"));
                one("log_loss", log_loss(&p, &y, clip, &Bootstrap::NONE).expect("a loss").value);
            }
            "brier" => one("brier", brier(&p, &y, &Bootstrap::NONE).expect("a score").value),
            "roc_auc" => {
                one("roc_auc", auroc(&p, &y).expect("an area"));
                one("roc_auc", auroc_estimate(&p, &y, &Bootstrap::NONE).expect("an area").value);
            }
            "average_precision" => one("average_precision", curve.average_precision()),
            "pr_auc_trapezoid" => one("pr_auc_trapezoid", curve.pr_auc_trapezoid()),
            "roc_curve" => {
                let (fpr, tpr): (Vec<f64>, Vec<f64>) = curve.roc().into_iter().unzip();
                let thresholds: Vec<f64> = curve.points.iter().map(|point| point.threshold).collect();
                let expected = case.get("roc_curve");
                for (key, got) in [("fpr", fpr), ("tpr", tpr), ("thresholds", thresholds)] {
                    close(&expected.get(key).name(), &got, &expected.get(key).numbers(), TOLERANCE);
                }
            }
            "pr_curve" => {
                // The library lists thresholds upwards and ends at precision 1, recall 0.
                let (precision, recall): (Vec<f64>, Vec<f64>) = curve.precision_recall().into_iter().rev().unzip();
                let thresholds: Vec<f64> = curve.points[1..].iter().rev().map(|point| point.threshold).collect();
                let expected = case.get("pr_curve");
                for (key, got) in [("precision", precision), ("recall", recall), ("thresholds", thresholds)] {
                    close(&expected.get(key).name(), &got, &expected.get(key).numbers(), TOLERANCE);
                }
            }
            "weighted" => check_weighted(case, &p, &y),
            "calibration_error_torchmetrics" => check_calibration(case, &p, &y),
            "reliability_sklearn" => check_reliability(case, &p, &y),
            "isotonic_fit" => {
                let targets: Vec<f64> = y.iter().map(|&y| f64::from(u8::from(y))).collect();
                let fitted = isotonic_fit(&p, &targets).expect("a fit");
                close(&case.get("isotonic_fit").name(), &fitted, &case.get("isotonic_fit").numbers(), TOLERANCE);
            }
            "thresholded" => case.get("thresholded").items().iter().for_each(|row| check_threshold(row, &p, &y)),
            other => require_pending(NAME, &format!("binary: {other}")),
        }
    }
}

fn check_weighted(case: &Case, p: &[f64], y: &[bool]) {
    let (weights, expected) = (case.get("weights").numbers(), case.get("weighted"));
    let curve = Curve::weighted(p, y, &weights).expect("a curve");
    // Terms of single rows, weighted here: the library takes the weighted mean of them.
    let mean = |term: &dyn Fn(&[f64], &[bool]) -> f64| {
        let terms = (0..p.len()).map(|row| weights[row] * term(&p[row..=row], &y[row..=row]));
        terms.sum::<f64>() / weights.iter().sum::<f64>()
    };
    for key in expected.keys() {
        let got = match key.as_str() {
            "roc_auc" => weighted_auroc(p, y, &weights).expect("an area"),
            "average_precision" => curve.average_precision(),
            "log_loss" => {
                let clip = Some(number(case, "log_loss_clip"));
                mean(&|p, y| log_loss(p, y, clip, &Bootstrap::NONE).expect("a loss").value)
            }
            "brier" => mean(&|p, y| brier(p, y, &Bootstrap::NONE).expect("a score").value),
            other => {
                require_pending(NAME, &format!("binary: weighted {other}"));
                continue;
            }
        };
        close(&expected.get(&key).name(), &[got], &[number(&expected, &key)], TOLERANCE);
    }
}

fn check_calibration(case: &Case, p: &[f64], y: &[bool]) {
    let sensitive = case.get("bin_edge_sensitive").json().as_bool().expect("a truth value");
    for row in case.get("calibration_error_torchmetrics").items() {
        let error = calibration_error(p, y, Binning::WidthLeftClosedTop(size(&row.get("n_bins")))).expect("an error");
        let got = by_norm(&row, &error);
        // Probabilities on edges: the library's own two precisions disagree, and either is accepted.
        let single = number(&row, "value_f32_inputs");
        if sensitive && (got - single).abs() <= 1e-6 * (1.0 + single.abs()) {
            continue;
        }
        close(&row.name(), &[got], &[number(&row, "value")], TOLERANCE);
    }
}

fn by_norm(row: &Case, error: &ascribe_eval::calibrate::CalibrationError) -> f64 {
    match row.get("norm").text().as_str() {
        "l1" => error.ece,
        "l2" => error.rms,
        "max" => error.mce,
        other => panic!("{row}: unknown norm {other}"),
    }
}

fn check_reliability(case: &Case, p: &[f64], y: &[bool]) {
    for row in case.get("reliability_sklearn").items() {
        let bins = size(&row.get("n_bins"));
        let binning = match row.get("strategy").text().as_str() {
            "uniform" => Binning::Width(bins),
            "quantile" => Binning::Mass(bins),
            other => panic!("{row}: unknown strategy {other}"),
        };
        let bins = reliability(p, y, binning).expect("a diagram");
        let accuracy: Vec<f64> = bins.iter().filter_map(|bin| Some(bin.accuracy?.value)).collect();
        let confidence: Vec<f64> = bins.iter().filter_map(|bin| bin.confidence).collect();
        close(&row.name(), &accuracy, &row.get("fraction_positive").numbers(), TOLERANCE);
        close(&row.name(), &confidence, &row.get("mean_predicted").numbers(), TOLERANCE);
    }
}

fn check_threshold(row: &Case, p: &[f64], y: &[bool]) {
    let counts = Confusion::at(p, y, number(row, "threshold")).expect("counts");
    let measure = |decision| counts.measure(decision, ZeroDivision::Value(0.0)).expect("a measure");
    for key in row.keys() {
        let got = match key.as_str() {
            "threshold" | "rule" => continue,
            "confusion_tn_fp_fn_tp" => {
                let got = [counts.true_negative, counts.false_positive, counts.false_negative, counts.true_positive];
                assert_eq!(got.map(|count| count as i64), row.get(&key).integers()[..], "{row}");
                continue;
            }
            "accuracy" => measure(Decision::Accuracy),
            "precision" => measure(Decision::Precision),
            "recall" => measure(Decision::Recall),
            "f1" => measure(Decision::FBeta(1.0)),
            "f_beta_0.5" => measure(Decision::FBeta(0.5)),
            "f1_macro" => measure(Decision::F1Macro),
            "mcc" => measure(Decision::Mcc),
            "balanced_accuracy" => measure(Decision::BalancedAccuracy),
            "cohen_kappa" => measure(Decision::Kappa),
            other => {
                require_pending(NAME, &format!("binary: thresholded {other}"));
                continue;
            }
        };
        close(&row.get(&key).name(), &[got], &[number(row, &key)], TOLERANCE);
    }
}

fn check_multiclass(case: &Case) {
    let (p, k) = (case.get("probs").numbers(), size(&case.get("n_classes")));
    let classes: Vec<u32> =
        case.get("y").integers().into_iter().map(|class| u32::try_from(class).expect("a class")).collect();
    let labels = top_label(&p, k).expect("labels");
    let matrix = ConfusionMatrix::new(&labels, &classes, k as u32).expect("a matrix");
    let measure = |decision, mean| matrix.measure(decision, mean, ZeroDivision::Value(0.0)).expect("a measure");
    let top = |top| top_k_accuracy(&p, k, &classes, top).expect("a share");
    for key in case.keys() {
        let got = match key.as_str() {
            "probs" | "y" | "n_classes" => continue,
            "calibration_error" => {
                let confidence: Vec<f64> = p.chunks(k).map(|row| row.iter().copied().fold(0.0, f64::max)).collect();
                let right: Vec<bool> = labels.iter().zip(&classes).map(|(label, class)| label == class).collect();
                for row in case.get("calibration_error").items() {
                    let binning = Binning::WidthLeftClosedTop(size(&row.get("n_bins")));
                    let error = calibration_error(&confidence, &right, binning).expect("an error");
                    close(&row.name(), &[by_norm(&row, &error)], &[number(&row, "value")], TOLERANCE);
                }
                continue;
            }
            "log_loss" => log_loss_multiclass(&p, k, &classes, Some(1e-15)).expect("a loss"),
            "top1" => top(1),
            "top2" => top(2),
            "f1_micro" => measure(Decision::FBeta(1.0), Mean::Micro),
            "f1_macro" => measure(Decision::FBeta(1.0), Mean::Macro),
            "f1_weighted" => measure(Decision::FBeta(1.0), Mean::Weighted),
            "precision_micro" => measure(Decision::Precision, Mean::Micro),
            "precision_macro" => measure(Decision::Precision, Mean::Macro),
            "precision_weighted" => measure(Decision::Precision, Mean::Weighted),
            "recall_micro" => measure(Decision::Recall, Mean::Micro),
            "recall_macro" => measure(Decision::Recall, Mean::Macro),
            "recall_weighted" => measure(Decision::Recall, Mean::Weighted),
            "mcc" => matrix.mcc(ZeroDivision::Value(0.0)).expect("a measure"),
            "balanced_accuracy" => matrix.balanced_accuracy(),
            "roc_auc_ovr_macro" => auroc_multiclass(&p, k, &classes, Against::Rest).expect("an area"),
            "roc_auc_ovo_macro" => auroc_multiclass(&p, k, &classes, Against::One).expect("an area"),
            "brier_multiclass_sum" => brier_multiclass(&p, k, &classes).expect("a score"),
            other => {
                require_pending(NAME, &format!("multiclass: {other}"));
                continue;
            }
        };
        close(&case.get(&key).name(), &[got], &[number(case, &key)], TOLERANCE);
    }
}
