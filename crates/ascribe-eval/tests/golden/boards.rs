//! Bradley-Terry and Plackett-Luce against choix.

use ascribe_eval::board::{Anchor, Game, bradley_terry, plackett_luce};
use ascribe_testkit::golden::{self, Case, close, require_pending};

use crate::sections;

/// The solvers of the library agree with each other to this.
const SOLVERS: f64 = 1e-6;

#[test]
fn golden_boards() {
    let name = "metrics/bradley_terry.json";
    for (section, cases) in sections(&golden::open(name)) {
        for case in cases.items() {
            match section.as_str() {
                "bradley_terry" => check_pairs(name, &case),
                "plackett_luce" => check_rankings(&case),
                other => require_pending(name, other),
            }
        }
    }
}

fn check_pairs(file: &str, case: &Case) {
    let wins = case.get("wins_row_over_col");
    let players = wins.shape()[0];
    let cell = |(index, weight): (usize, f64)| Game { a: index / players, b: index % players, outcome: 1.0, weight };
    let games: Vec<Game> = wins.numbers().into_iter().enumerate().map(cell).filter(|game| game.a != game.b).collect();
    let fit = bradley_terry(&games, players, Anchor::Mean, None).expect("a fit");
    for key in case.keys() {
        let got = match key.as_str() {
            "wins_row_over_col" | "solver_spread" | "gradient_max_abs" => continue,
            "mle_mean_zero" => fit.strengths.clone(),
            "elo_mean_1000" => fit.ratings(),
            "log_likelihood" => {
                close(&case.get(&key).name(), &[fit.log_likelihood], &[case.get(&key).number()], SOLVERS);
                continue;
            }
            "l2_regularised_alpha0.1" => {
                bradley_terry(&games, players, Anchor::Mean, Some(0.1)).expect("a fit").strengths
            }
            "prob_matrix" => {
                let pairs = (0..players).flat_map(|a| (0..players).map(move |b| (a, b)));
                pairs.map(|(a, b)| fit.win_probability(a, b).expect("players")).collect()
            }
            other => {
                require_pending(file, &format!("bradley_terry: {other}"));
                continue;
            }
        };
        close(&case.get(&key).name(), &got, &case.get(&key).numbers(), SOLVERS);
    }
}

fn check_rankings(case: &Case) {
    let items = usize::try_from(case.get("n_items").json().as_u64().expect("a count")).expect("a count");
    let rankings: Vec<Vec<usize>> = case
        .get("rankings_best_first")
        .items()
        .iter()
        .map(|ranking| ranking.integers().into_iter().map(|item| usize::try_from(item).expect("an item")).collect())
        .collect();
    let fit = plackett_luce(&rankings, items).expect("a fit");
    close(&case.name(), &fit.strengths, &case.get("mle_mean_zero").numbers(), SOLVERS);
    close(&case.name(), &[fit.log_likelihood], &[case.get("log_likelihood").number()], SOLVERS);
}
