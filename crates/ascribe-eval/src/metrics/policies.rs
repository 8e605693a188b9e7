//! What every row of the table does at the edges: ties, one class, one row, one cluster, weights of 0, and input that
//! is not there or cannot be. A row that is added must say here what it does.

use proptest::prelude::*;

use super::tests::{draws, table};
use super::*;

/// What a metric says.
#[derive(Clone, Copy, Debug)]
enum Says {
    Value(f64),
    /// It is an error that says why: nothing of that kind is defined here.
    Undefined,
}

use Says::{Undefined, Value};

/// What a metric says of four rows that are all equal (with labels 1, 0, 1, 1 where it has labels beside scores), and
/// of four rows of one class (where it has classes).
fn policy(name: &str) -> (Says, Option<Says>) {
    let ln2 = 2.0_f64.ln();
    match name {
        "accuracy" => (Value(1.0), None),
        // Chosen is rejected: a tie is what the name says it is.
        "pair-accuracy" => (Value(0.0), None),
        "pair-accuracy-half" => (Value(0.5), None),
        "pair-accuracy-loose" => (Value(1.0), None),
        "pair-loss" => (Value(ln2), None),
        // Equal scores: half of the pairs; they enter together, at the prevalence; no threshold spares the negative.
        "auroc" => (Value(0.5), Some(Undefined)),
        "average-precision" => (Value(0.75), Some(Undefined)),
        "tpr-at-fpr-1" => (Value(0.0), Some(Undefined)),
        // One threshold: all are called positive.
        "fpr-at-tpr-95" => (Value(1.0), Some(Undefined)),
        // p = 1/2 is called positive. One class: three of four are called so.
        "precision" => (Value(0.75), Some(Value(1.0))),
        "recall" => (Value(1.0), Some(Value(0.75))),
        "specificity" => (Value(0.0), Some(Undefined)),
        "f1" => (Value(6.0 / 7.0), Some(Value(6.0 / 7.0))),
        "g-mean" => (Value(0.0), Some(Undefined)),
        "balanced-accuracy" => (Value(0.5), Some(Undefined)),
        "mcc" => (Undefined, Some(Undefined)),
        // One bin with mean label 3/4. One class: four bins with gaps .1, .8, .3 and .4.
        "ece" | "ece-equal-mass" => (Value(0.25), Some(Value(0.4))),
        "mce" => (Value(0.25), Some(Value(0.8))),
        "rms-calibration-error" => (Value(0.25), Some(Value(0.225_f64.sqrt()))),
        "signed-calibration-error" => (Value(-0.25), Some(Value(-0.4))),
        "brier" => (Value(0.25), Some(Value(0.225))),
        "brier-skill" => (Value(1.0 - 0.25 / 0.1875), Some(Undefined)),
        "log-loss" => (Value(ln2), Some(Value(-(0.9_f64 * 0.2 * 0.7 * 0.6).ln() / 4.0))),
        // Half of the answers right, as said.
        "p-ik-cross-entropy" => (Value(ln2), None),
        "balance" => (Value(0.25), Some(Value(0.0))),
        "pearson" | "spearman" | "kendall-tau-b" | "kendall-tau-c" => (Undefined, None),
        "cohen-kappa" | "linear-kappa" | "quadratic-kappa" => (Undefined, None),
        "mae" | "mse" | "rmse" | "bias" => (Value(0.0), None),
        "win-rate" => (Value(0.5), None),
        // Three of ten; of seven wrong ones no eight can be drawn.
        "pass-at-1" => (Value(0.3), None),
        "pass-at-8" => (Value(1.0), None),
        "pass-hat-8" => (Value(0.0), None),
        // All of rank 1; no log-ratio but 0.
        "mrr" | "hit-rate-at-10" | "ndcg-at-10" => (Value(1.0), None),
        "kl-k1" | "kl-k2" | "kl-k3" => (Value(0.0), None),
        "rouge-1" | "rouge-2" | "rouge-l" => (Value(1.0), None),
        "process-f1" => (Undefined, Some(Undefined)),
        "first-error-exact" | "first-error-within-one" => (Value(1.0), Some(Value(1.0))),
        "difference" => (Value(0.0), None),
        new => panic!("say here what `{new}` does with ties and with one class"),
    }
}

/// Four rows that are all equal; labels beside scores hold both classes.
fn equal(metric: &ScalarMetric) -> Columns {
    columns(metric, |name, holds| match (name, holds) {
        ("label", Holds::Flags) => vec![1.0, 0.0, 1.0, 1.0],
        ("samples", _) => vec![10.0; 4],
        ("correct", Holds::Counts) => vec![3.0; 4],
        (_, Holds::Shares) => vec![0.5; 4],
        _ => vec![1.0; 4],
    })
}

/// Four rows that differ, with one class alone.
fn one_class(metric: &ScalarMetric) -> Columns {
    columns(metric, |_, holds| match holds {
        Holds::Steps => vec![-1.0; 4],
        Holds::Flags => vec![1.0; 4],
        _ => vec![0.9, 0.2, 0.7, 0.6],
    })
}

fn columns(metric: &ScalarMetric, of: impl Fn(&str, Holds) -> Vec<f64>) -> Columns {
    let add = |columns: Columns, &(name, holds): &(&'static str, Holds)| {
        let numbers = of(name, holds);
        if holds == Holds::Texts {
            columns.with_labels(name, numbers.iter().map(|number| format!("{number} mice")).collect())
        } else {
            columns.with_numbers(name, numbers)
        }
    };
    metric.columns.iter().fold(Columns::new(), add)
}

fn value(metric: &ScalarMetric, columns: &Columns) -> Result<f64, EvalError> {
    metric.measure(columns, &Bootstrap::NONE).map(|estimate| estimate.value)
}

#[track_caller]
fn check(metric: &ScalarMetric, columns: &Columns, says: Says) {
    match (value(metric, columns), says) {
        (Ok(got), Value(expected)) => assert!((got - expected).abs() < 1e-12, "{}: {got}", metric.name),
        (Err(EvalError::Degenerate { .. }), Undefined) => {}
        (got, says) => panic!("{}: {got:?}, expected {says:?}", metric.name),
    }
}

/// Rows on which every metric is defined.
fn sound(metric: &ScalarMetric, rows: u32) -> Columns {
    let n = f64::from(rows);
    let draws: Vec<(f64, f64)> = (0..rows).map(|row| (f64::from(row) / n, f64::from(row * 5 % rows) / n)).collect();
    table(metric, &draws)
}

#[test]
fn ties_and_one_class_are_what_the_policy_says() {
    for metric in METRICS {
        let (ties, class) = policy(metric.name);
        check(metric, &equal(metric), ties);
        if let Some(class) = class {
            check(metric, &one_class(metric), class);
        }
    }
}

#[test]
fn what_is_not_there_or_cannot_be_is_refused() {
    for metric in METRICS {
        let name = metric.name;
        let good = sound(metric, 12);
        assert!(value(metric, &good).is_ok(), "{name}");
        assert!(matches!(value(metric, &good.pick(&[]).unwrap()), Err(EvalError::Empty { .. })), "{name}");
        assert!(matches!(value(metric, &Columns::new()), Err(EvalError::Missing { .. })), "{name}");
        let short = good.clone().with_numbers(CLUSTER, vec![1.0]);
        assert!(matches!(value(metric, &short), Err(EvalError::Length { .. })), "{name}");
        for &(column, holds) in metric.columns {
            if holds == Holds::Texts {
                let got = value(metric, &good.clone().with_numbers(column, vec![1.0; 12]));
                assert!(matches!(got, Err(EvalError::Degenerate { .. })), "{name}, {column}: {got:?}");
                continue;
            }
            let with = |wrong: f64| {
                let Ok(Column::Numbers(numbers)) = good.get(column) else { panic!("{name}: {column}") };
                let mut numbers = numbers.clone();
                numbers[7] = wrong;
                value(metric, &good.clone().with_numbers(column, numbers))
            };
            for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let got = with(wrong);
                assert!(matches!(got, Err(EvalError::NotFinite { index: 7, .. })), "{name}, {column}: {got:?}");
            }
            let labels = good.clone().with_labels(column, vec!["a".to_owned(); 12]);
            assert!(matches!(value(metric, &labels), Err(EvalError::Degenerate { .. })), "{name}, {column}");
            let out = match holds {
                Holds::Numbers | Holds::Texts => continue,
                Holds::Shares => [-0.1, 1.1],
                Holds::Flags => [0.5, 2.0],
                Holds::Counts => [-1.0, 1.5],
                Holds::Steps => [-2.0, 0.5],
            };
            for wrong in out {
                let got = with(wrong);
                assert!(matches!(got, Err(EvalError::OutOfRange { index: 7, .. })), "{name}, {column}: {got:?}");
            }
        }
    }
}

/// One row says nothing of spread: an interval is there only where its law is known, as for a share.
#[test]
fn one_row_has_a_value_without_a_bootstrap_or_is_undefined() {
    for metric in METRICS {
        for row in 0..4 {
            let one = sound(metric, 12).pick(&[row]).unwrap();
            match metric.measure(&one, &Bootstrap::default()) {
                Ok(estimate) => {
                    let known = estimate.interval.is_none_or(|interval| interval.method == "Wilson");
                    assert!(estimate.value.is_finite() && estimate.n == 1 && known, "{}: {estimate}", metric.name);
                }
                Err(EvalError::Degenerate { .. }) => {}
                Err(other) => panic!("{}: {other}", metric.name),
            }
        }
    }
}

#[test]
fn one_cluster_has_the_value_and_no_interval() {
    for metric in METRICS {
        let columns = sound(metric, 12);
        let alone = columns.clone().with_labels(CLUSTER, vec!["only".to_owned(); 12]);
        let estimate = metric.measure(&alone, &Bootstrap::default()).unwrap();
        assert!((estimate.value - value(metric, &columns).unwrap()).abs() < 1e-12, "{}", metric.name);
        assert!(estimate.interval.is_none() && estimate.n == 12, "{}: {estimate}", metric.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A row of weight 0 is as if it were not there, one of weight 2 as if it stood there twice; nothing but weights of
    /// 0 is undefined.
    #[test]
    fn counts_say_what_the_rows_drawn_say(draws in draws(), counts in prop::collection::vec(0_u32..3, 30)) {
        for metric in METRICS {
            let Compute::Counted(counted) = metric.compute else { continue };
            let columns = table(metric, &draws);
            let counts = &counts[..columns.rows()];
            let rows: Vec<usize> = (0..counts.len()).flat_map(|row| vec![row; counts[row] as usize]).collect();
            let drawn = columns.pick(&rows).unwrap();
            let fast = counted(&columns).unwrap()(counts);
            match (fast, value(metric, &drawn)) {
                (Ok(fast), Ok(slow)) => prop_assert!((fast - slow).abs() < 1e-9, "{}: {fast} {slow}", metric.name),
                (Err(_), Err(_)) => {}
                (fast, slow) => prop_assert!(false, "{}: {fast:?} {slow:?}", metric.name),
            }
            let nothing = counted(&columns).unwrap()(&vec![0; counts.len()]);
            prop_assert!(matches!(nothing, Err(EvalError::Degenerate { .. })), "{}: {nothing:?}", metric.name);
        }
    }
}
