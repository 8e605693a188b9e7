//! Correlation and agreement against scipy, scikit-learn, statsmodels and krippendorff.

use ascribe_eval::Bootstrap;
use ascribe_eval::curve::{entropy, js_divergence, kl_exact, total_variation};
use ascribe_eval::rank::{
    Chance, KappaWeights, Level, cohen_kappa, fleiss_kappa, kendall_p, kendall_tau_b, kendall_tau_c,
    krippendorff_alpha, pearson, spearman, student_p, weighted_tau,
};
use ascribe_testkit::golden::{self, Case, close, require_pending};

use crate::{TOLERANCE, limits, sections};

#[test]
fn golden_correlation() {
    let name = "metrics/correlation.json";
    for (section, cases) in sections(&golden::open(name)) {
        for case in cases.items() {
            match section.as_str() {
                "cases" => check_correlation(name, &case),
                "distributions" => check_distributions(name, &case),
                other => require_pending(name, other),
            }
        }
    }
}

fn check_correlation(file: &str, case: &Case) {
    let (x, y) = (case.get("x").numbers(), case.get("y").numbers());
    for key in case.keys() {
        let expected = || case.get(&key);
        match key.as_str() {
            "x" | "y" | "ties" | "rank_average_x" => {}
            "pearson" => {
                let r = pearson(&x, &y, 0.95).expect("a correlation");
                let got = [r.value, student_p(r.value, r.n).expect("a p-value")];
                close(&expected().name(), &got, &["r", "p"].map(|key| expected().get(key).number()), TOLERANCE);
                close(&expected().name(), &limits(&r), &expected().get("ci95").numbers(), TOLERANCE);
            }
            "spearman" => {
                let rho = spearman(&x, &y, &Bootstrap::NONE).expect("a correlation");
                let got = [rho.value, student_p(rho.value, rho.n).expect("a p-value")];
                close(&expected().name(), &got, &["rho", "p"].map(|key| expected().get(key).number()), TOLERANCE);
            }
            "kendall_b" => {
                let tau = kendall_tau_b(&x, &y, &Bootstrap::NONE).expect("a correlation");
                let got = [tau.value, kendall_p(&x, &y).expect("a p-value")];
                close(&expected().name(), &got, &["tau", "p"].map(|key| expected().get(key).number()), TOLERANCE);
            }
            "kendall_c" => {
                let tau = kendall_tau_c(&x, &y, &Bootstrap::NONE).expect("a correlation");
                close(&expected().name(), &[tau.value], &[expected().get("tau").number()], TOLERANCE);
            }
            // Absent where values tie.
            "weighted_tau" if expected().json().is_null() => {}
            "weighted_tau" => {
                let tau = weighted_tau(&x, &y).expect("a correlation");
                close(&expected().name(), &[tau], &[expected().number()], TOLERANCE);
            }
            other => require_pending(file, &format!("cases: {other}")),
        }
    }
}

fn check_distributions(file: &str, case: &Case) {
    let (p, q) = (case.get("p").numbers(), case.get("q").numbers());
    for key in case.keys() {
        let got = match key.as_str() {
            "p" | "q" => continue,
            "entropy_p_nats" => entropy(&p).expect("an entropy"),
            "entropy_p_bits" => entropy(&p).expect("an entropy") / 2_f64.ln(),
            "kl_pq" => kl_exact(&p, &q).expect("a divergence"),
            "kl_qp" => kl_exact(&q, &p).expect("a divergence"),
            "js_distance_nats" => js_divergence(&p, &q).expect("a divergence").sqrt(),
            "total_variation" => total_variation(&p, &q).expect("a distance"),
            other => {
                require_pending(file, &format!("distributions: {other}"));
                continue;
            }
        };
        close(&case.get(&key).name(), &[got], &[case.get(&key).number()], TOLERANCE);
    }
}

#[test]
fn golden_agreement() {
    let name = "metrics/agreement.json";
    for (section, cases) in sections(&golden::open(name)) {
        for case in cases.items() {
            match section.as_str() {
                "cohen" => check_cohen(&case),
                "fleiss" => check_fleiss(&case),
                "krippendorff" => check_krippendorff(&case),
                other => require_pending(name, other),
            }
        }
    }
}

fn grades(case: &Case) -> Vec<u32> {
    case.integers().into_iter().map(|grade| u32::try_from(grade).expect("a grade")).collect()
}

fn check_cohen(case: &Case) {
    let (a, b, labels) = (grades(&case.get("a")), grades(&case.get("b")), grades(&case.get("labels")));
    assert!(labels.iter().enumerate().all(|(index, &label)| index == label as usize), "{case}: labels are 0..k");
    let expected = case.get("kappa");
    for key in expected.keys() {
        let weights = match key.as_str() {
            "none" => KappaWeights::Unweighted,
            "linear" => KappaWeights::Linear,
            "quadratic" => KappaWeights::Quadratic,
            other => panic!("{case}: unknown weights {other}"),
        };
        let kappa = cohen_kappa(&a, &b, labels.len() as u32, weights, &Bootstrap::NONE).expect("a kappa");
        close(&expected.get(&key).name(), &[kappa.value], &[expected.get(&key).number()], TOLERANCE);
    }
    let equal = a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64;
    close(&case.name(), &[equal], &[case.get("percent_agreement").number()], TOLERANCE);
}

fn check_fleiss(case: &Case) {
    let table = case.get("count_table");
    let counts: Vec<Vec<u32>> = grades(&table).chunks(table.shape()[1]).map(<[u32]>::to_vec).collect();
    for (key, chance) in [("fleiss", Chance::Shares), ("randolph", Chance::Uniform)] {
        let kappa = fleiss_kappa(&counts, chance, &Bootstrap::NONE).expect("a kappa");
        close(&case.get(key).name(), &[kappa.value], &[case.get(key).number()], TOLERANCE);
    }
}

fn check_krippendorff(case: &Case) {
    let data = case.get("reliability_data_raters_by_units");
    let known = |value: &f64| (!value.is_nan()).then_some(*value);
    let rows = data.numbers();
    let ratings: Vec<Vec<Option<f64>>> =
        rows.chunks(data.shape()[1]).map(|row| row.iter().map(known).collect()).collect();
    let expected = case.get("alpha");
    for key in expected.keys() {
        let level = match key.as_str() {
            "nominal" => Level::Nominal,
            "ordinal" => Level::Ordinal,
            "interval" => Level::Interval,
            "ratio" => Level::Ratio,
            other => panic!("{case}: unknown level {other}"),
        };
        let alpha = krippendorff_alpha(&ratings, level, &Bootstrap::NONE).expect("an alpha");
        close(&expected.get(&key).name(), &[alpha.value], &[expected.get(&key).number()], TOLERANCE);
    }
}
