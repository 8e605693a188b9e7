//! Metrics and tests against scipy, statsmodels, scikit-learn and exact fractions.

use ascribe_core::Seed;
use ascribe_eval::{
    Bootstrap, BootstrapMethod, Estimate, McNemar, auroc, mean_pass_at_k, pass_at_k, pass_hat_k, sign_flip, wilson,
};
use ascribe_testkit::golden::{self, Case, close, require_pending};

const TOLERANCE: f64 = 1e-9;

fn size(case: &Case) -> usize {
    usize::try_from(case.json().as_u64().expect("a count")).expect("a count")
}

fn limits(estimate: &Estimate) -> [f64; 2] {
    let interval = estimate.interval.expect("an interval");
    [interval.low, interval.high]
}

/// Every section of a file has an arm in its test; one that has none must be listed as pending.
fn sections(file: &Case) -> impl Iterator<Item = (String, Case)> {
    file.keys().into_iter().filter(|key| key != "_meta").map(|key| (key.clone(), file.get(&key)))
}

#[test]
fn golden_pass_at_k() {
    let name = "metrics/pass_at_k.json";
    for (section, cases) in sections(&golden::open(name)) {
        if section != "cases" {
            require_pending(name, &section);
            continue;
        }
        for case in cases.items() {
            let [n, c, k] = ["n", "c", "k"].map(|key| size(&case.get(key)));
            let got = [pass_at_k(n, c, k).unwrap(), pass_hat_k(n, c, k).unwrap()];
            let expected = ["pass_at_k", "pass_hat_k_all_correct"].map(|key| case.get(key).number());
            close(&case.name(), &got, &expected, TOLERANCE);
            let problems = [ascribe_eval::Attempts { samples: n, correct: c }; 3];
            let mean = mean_pass_at_k(&problems, k, &Bootstrap::default()).unwrap();
            close(&case.name(), &[mean.value], &expected[..1], TOLERANCE);
        }
    }
}

#[test]
fn golden_intervals_and_tests() {
    let name = "metrics/intervals_tests.json";
    for (section, cases) in sections(&golden::open(name)) {
        for case in cases.items() {
            match section.as_str() {
                "bootstrap" => check_bootstrap(&case),
                "mcnemar" => check_mcnemar(&case),
                "paired_permutation" => check_sign_flip(name, &case),
                "proportion_ci" => check_proportion(name, &case),
                other => require_pending(name, other),
            }
        }
    }
}

fn check_bootstrap(case: &Case) {
    let data = case.get("data").numbers();
    let indices = case.get("resample_indices");
    let indices: Vec<usize> =
        indices.integers().into_iter().map(|index| usize::try_from(index).expect("an index")).collect();
    let resamples: Vec<Vec<usize>> = indices.chunks(data.len()).map(<[usize]>::to_vec).collect();
    for result in case.get("results").items() {
        let statistic = |units: &[usize]| {
            let mut drawn: Vec<f64> = units.iter().map(|&unit| data[unit]).collect();
            let n = drawn.len() as f64;
            let mean = numpy_sum(&drawn) / n;
            match result.get("statistic").text().as_str() {
                "mean" => mean,
                "std_ddof1" => {
                    let squares: Vec<f64> = drawn.iter().map(|value| (value - mean).powi(2)).collect();
                    (numpy_sum(&squares) / (n - 1.0)).sqrt()
                }
                "median" => {
                    drawn.sort_by(f64::total_cmp);
                    0.5 * (drawn[(drawn.len() - 1) / 2] + drawn[drawn.len() / 2])
                }
                other => panic!("{result}: unknown statistic {other}"),
            }
        };
        let methods = [
            ("percentile", BootstrapMethod::Percentile),
            ("basic", BootstrapMethod::Basic),
            ("bca", BootstrapMethod::Bca),
        ];
        for (key, method) in methods {
            let bootstrap = Bootstrap { level: result.get("confidence").number(), method, ..Bootstrap::default() };
            let estimate = bootstrap.statistic_over(data.len(), &resamples, statistic).expect("a bootstrap");
            close(&result.name(), &[estimate.value], &[result.get("estimate").number()], TOLERANCE);
            close(&result.get(key).name(), &limits(&estimate), &result.get(key).numbers(), TOLERANCE);
        }
    }
}

/// The sum in the order in which numpy adds up to 128 numbers. BCa counts resamples whose statistic equals the estimate;
/// deviations of 0/1 data are equal but for rounding, so the expected limits hold for this order alone.
fn numpy_sum(values: &[f64]) -> f64 {
    assert!(values.len() <= 128, "numpy splits longer sums in two");
    let (blocks, rest) = values.as_chunks::<8>();
    let mut r = [0.0; 8];
    for block in blocks {
        r.iter_mut().zip(block).for_each(|(lane, value)| *lane += value);
    }
    let lanes = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(lanes, |sum, value| sum + value)
}

fn check_mcnemar(case: &Case) {
    let table = case.get("table").integers();
    let [only_first, only_second] = [table[1], table[2]].map(|count| usize::try_from(count).expect("a count"));
    let test = McNemar { only_first, only_second };
    close(&case.name(), &[test.exact()], &[case.get("exact").get("p").number()], TOLERANCE);
    for (key, (statistic, p)) in [("chi2", test.chi2()), ("chi2_corrected", test.chi2_corrected())] {
        let expected = case.get(key);
        close(
            &expected.name(),
            &[statistic, p],
            &[expected.get("statistic").number(), expected.get("p").number()],
            TOLERANCE,
        );
    }
}

fn check_sign_flip(file: &str, case: &Case) {
    let test = sign_flip(&case.get("a").numbers(), &case.get("b").numbers(), 100, Seed(0)).expect("a test");
    let p = case.get("p");
    let got = [test.difference, test.p, test.p_greater, test.p_less];
    let expected =
        [case.get("statistic"), p.get("two-sided"), p.get("greater"), p.get("less")].map(|case| case.number());
    close(&case.name(), &got, &expected, TOLERANCE);
    for key in case.keys() {
        if !["a", "b", "statistic", "p", "n_sign_flips"].contains(&key.as_str()) {
            require_pending(file, &format!("paired_permutation: {key}"));
        }
    }
}

fn check_proportion(file: &str, case: &Case) {
    let level = 1.0 - case.get("alpha").number();
    for key in case.keys() {
        match key.as_str() {
            "count" | "n" | "alpha" => {}
            "wilson" => {
                let estimate = wilson(size(&case.get("count")), size(&case.get("n")), level).expect("a proportion");
                close(&case.name(), &limits(&estimate), &case.get("wilson").numbers(), TOLERANCE);
            }
            other => require_pending(file, &format!("proportion_ci: {other}")),
        }
    }
}

#[test]
fn golden_auroc() {
    let name = "metrics/classification.json";
    for (section, cases) in sections(&golden::open(name)) {
        if section != "binary" {
            require_pending(name, &section);
            continue;
        }
        for case in cases.items() {
            let area = auroc(&case.get("p").numbers(), &case.get("y").bools()).unwrap();
            close(&case.name(), &[area], &[case.get("roc_auc").number()], TOLERANCE);
            for key in case.keys() {
                let inputs = ["name", "y", "p", "bin_edge_sensitive", "log_loss_clip", "roc_auc"];
                if !inputs.contains(&key.as_str()) {
                    require_pending(name, &format!("binary: {key}"));
                }
            }
        }
    }
}
