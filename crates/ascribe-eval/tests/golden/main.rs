//! Metrics and tests against scipy, statsmodels, scikit-learn and exact fractions.

mod benchmarks;
mod boards;
mod classification;
mod rank;
mod text;

use ascribe_core::Seed;
use ascribe_eval::bench::{PickTies, best_of_k};
use ascribe_eval::stats::{
    Adjust, ProportionMethod, adjust_p, mann_whitney, paired_t, permutation_two_sample, proportion, sign_test, welch_t,
    wilcoxon,
};
use ascribe_eval::{Bootstrap, BootstrapMethod, Estimate, McNemar, mean_pass_at_k, pass_at_k, pass_hat_k, sign_flip};
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
        for case in cases.items() {
            match section.as_str() {
                "cases" => check_pass_at_k(&case),
                "best_of_n_subsets" => check_best_of(&case),
                other => require_pending(name, other),
            }
        }
    }
}

fn check_pass_at_k(case: &Case) {
    let [n, c, k] = ["n", "c", "k"].map(|key| size(&case.get(key)));
    let got = [pass_at_k(n, c, k).expect("a chance"), pass_hat_k(n, c, k).expect("a chance")];
    let expected = ["pass_at_k", "pass_hat_k_all_correct"].map(|key| case.get(key).number());
    close(&case.name(), &got, &expected, TOLERANCE);
    let problems = [ascribe_eval::Attempts { samples: n, correct: c }; 3];
    let mean = mean_pass_at_k(&problems, k, &Bootstrap::default()).expect("a chance");
    close(&case.name(), &[mean.value], &expected[..1], TOLERANCE);
}

fn check_best_of(case: &Case) {
    let (proxy, gold) = (case.get("proxy_scores").numbers(), case.get("gold_scores").numbers());
    let k = size(&case.get("k"));
    let got = [&proxy, &gold].map(|y| best_of_k(&proxy, y, k, PickTies::Split).expect("a best"));
    let expected = ["expected_max_proxy", "expected_gold_of_argmax_proxy"].map(|key| case.get(key).number());
    close(&case.name(), &got, &expected, TOLERANCE);
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
                "independent_permutation" => check_independent(&case),
                "multiple_testing" => check_adjusted(&case),
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

/// The sum in the order in which numpy adds up to 128 numbers. BCa counts resamples whose statistic equals the
/// estimate;
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
    let (a, b) = (case.get("a").numbers(), case.get("b").numbers());
    for key in case.keys() {
        let (statistic, test) = match key.as_str() {
            "a" | "b" | "statistic" | "p" | "n_sign_flips" => continue,
            "ttest_rel" => ("t", paired_t(&a, &b)),
            "wilcoxon_exact" => ("statistic", wilcoxon(&a, &b, 100, Seed(0))),
            "mannwhitney_exact" => ("u", mann_whitney(&a, &b, 100, Seed(0))),
            "sign_test" => ("k", sign_test(&a, &b)),
            other => {
                require_pending(file, &format!("paired_permutation: {other}"));
                continue;
            }
        };
        let (test, expected) = (test.expect("a test"), case.get(&key));
        let expected = [expected.get(statistic).number(), expected.get("p").number()];
        close(&case.get(&key).name(), &[test.statistic, test.p], &expected, TOLERANCE);
    }
}

fn check_independent(case: &Case) {
    let (a, b, welch) = (case.get("a").numbers(), case.get("b").numbers(), case.get("welch"));
    let permutation = permutation_two_sample(&a, &b, 100, Seed(0)).expect("a test");
    close(&case.name(), &[permutation.p], &[case.get("p_two_sided").number()], TOLERANCE);
    let test = welch_t(&a, &b).expect("a test");
    let expected = [welch.get("t").number(), welch.get("p").number()];
    close(&welch.name(), &[test.statistic, test.p], &expected, TOLERANCE);
}

fn check_adjusted(case: &Case) {
    let adjust = match case.get("method").text().as_str() {
        "bonferroni" => Adjust::Bonferroni,
        "holm" => Adjust::Holm,
        "fdr_bh" => Adjust::BenjaminiHochberg,
        "fdr_by" => Adjust::BenjaminiYekutieli,
        other => panic!("{case}: unknown method {other}"),
    };
    let adjusted = adjust_p(&case.get("p").numbers(), adjust).expect("p-values");
    close(&case.name(), &adjusted, &case.get("adjusted").numbers(), TOLERANCE);
    let rejected: Vec<bool> = adjusted.iter().map(|&p| p <= 0.05).collect();
    assert_eq!(rejected, case.get("reject_at_0.05").bools(), "{case}");
}

fn check_proportion(file: &str, case: &Case) {
    let level = 1.0 - case.get("alpha").number();
    for key in case.keys() {
        let method = match key.as_str() {
            "count" | "n" | "alpha" => continue,
            "wilson" => ProportionMethod::Wilson,
            "beta" => ProportionMethod::ClopperPearson,
            "agresti_coull" => ProportionMethod::AgrestiCoull,
            "normal" => ProportionMethod::Normal,
            "jeffreys" => ProportionMethod::Jeffreys,
            other => {
                require_pending(file, &format!("proportion_ci: {other}"));
                continue;
            }
        };
        let (count, n) = (size(&case.get("count")), size(&case.get("n")));
        let estimate = proportion(count, n, level, method).expect("a proportion");
        close(&case.get(&key).name(), &limits(&estimate), &case.get(&key).numbers(), TOLERANCE);
    }
}
