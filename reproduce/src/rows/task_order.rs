//! Curriculum Designer: orders of tasks are ranked by the likeness of their features, and a reward head learns in every order.
//!
//! A task is a domain with a taste of its own. Its features are what the chosen responses have more of than the rejected ones,
//! on the mean. A two-layer head learns one task after the other and keeps no old pairs.
//!
//! ```text
//! measured = mean over stages k of the accuracy on the tasks 1 to k of the order, after k tasks
//! ```

use anyhow::{Context, Result};
use ascribe::core::Seed;
use ascribe::data::{TaskOrder, similarities, task_orders};
use ascribe::eval::Bootstrap;
use ascribe::eval::rank::spearman;
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Pair, Sample, Training, Widths, mean, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 6;
const TASKS: usize = 4;
const PAIRS: usize = 256;
const TESTS: usize = 1000;
/// What likeness of tasks that do not follow each other counts against an order.
const LAMBDA: f64 = 1.0;
/// Orders at either end of the ranking.
const ENDS: usize = 4;

/// The claims of Curriculum Designer.
pub const ROW: Row = Row {
    name: "task-order",
    paper: "Learning to Learn: How to Continuously Teach Humans and Machines",
    setting: "four tasks with gold rewards of six features, 256 pairs each; a two-layer head makes 24 steps on each task, in all \
              24 orders; predicted: cosines of tasks that follow each other less those of the others; measured: the accuracy on \
              all tasks so far, a mean over stages",
    seeds: 20,
    claims: &[
        Claim {
            says: "the predicted and the measured ranking of all orders go together",
            more: "rank correlation",
            less: "no correlation",
        },
        Claim {
            says: "the four orders that are ranked first are right more often than the four ranked last",
            more: "accuracy of the first orders",
            less: "accuracy of the last orders",
        },
        Claim {
            says: "they are right more often than an order at random",
            more: "accuracy of the first orders",
            less: "accuracy of all orders",
        },
    ],
    tried: "",
    run,
};

/// A domain: what is learned, and what is asked.
struct Task {
    rows: Vec<Sample>,
    tests: Vec<Pair>,
}

fn task(number: u64, seed: Seed) -> Result<Task> {
    let taste = Taste::draw(FEATURES, 0, seed.child("task", number))?;
    let pairs = |count: usize, name: &str| -> Vec<Pair> {
        let pairs = Annotator::default().comparisons(&taste, count, &mut seed.stream(name, number));
        pairs.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect()
    };
    let rows = pairs(PAIRS, "pairs").iter().map(|[chosen, rejected]| Sample::pair(chosen, rejected)).collect();
    Ok(Task { rows, tests: pairs(TESTS, "tests") })
}

/// What chosen responses have more of than rejected ones, a mean over pairs.
fn features(rows: &[Sample]) -> Vec<f64> {
    let more = |row: &Sample, feature: usize| row.responses[0][feature] - row.responses[1][feature];
    (0..FEATURES).map(|feature| mean(&rows.iter().map(|row| more(row, feature)).collect::<Vec<_>>())).collect()
}

/// The accuracy on all tasks so far, a mean over the stages of an order.
fn measured(tasks: &[Task], order: &TaskOrder, seed: Seed) -> Result<f64> {
    let loss = BradleyTerryConfig::default().init()?;
    let mut head = Head::fresh(Widths { inputs: FEATURES, hidden: 16, outputs: 1 }, seed);
    let mut stages = Vec::with_capacity(order.tasks.len());
    for (at, task) in order.tasks.iter().enumerate() {
        // One task: the same pairs in the same order, wherever it stands.
        let training = Training { steps: 24, rate: 1e-2, seed: seed.child("order of pairs", *task as u64) };
        head = train(head, &loss, &tasks[*task].rows, training)?;
        let known = order.tasks[..=at].iter().map(|task| head.accuracy(&tasks[*task].tests));
        stages.push(mean(&known.collect::<Vec<_>>()));
    }
    Ok(mean(&stages))
}

fn run(seed: Seed) -> Result<Figures> {
    let tasks = (0..TASKS as u64).map(|number| task(number, seed)).collect::<Result<Vec<_>>>()?;
    let means: Vec<Vec<f64>> = tasks.iter().map(|task| features(&task.rows)).collect();
    let orders = task_orders(&similarities(&means)?, LAMBDA)?;
    // An order and its reverse are equal but for rounding, and so are to be their ranks.
    let predicted: Vec<f64> = orders.iter().map(|order| (order.score * 1e9).round()).collect();
    let accuracies = orders.iter().map(|order| measured(&tasks, order, seed)).collect::<Result<Vec<_>>>()?;
    let (first, last) = (accuracies.first_chunk::<ENDS>(), accuracies.last_chunk::<ENDS>());
    let (first, last) = first.zip(last).context("there are fewer orders than stand at either end")?;
    Ok(vec![
        ("rank correlation".into(), spearman(&predicted, &accuracies, &Bootstrap::NONE)?.value),
        ("no correlation".into(), 0.0),
        ("accuracy of the first orders".into(), mean(first)),
        ("accuracy of the last orders".into(), mean(last)),
        ("accuracy of all orders".into(), mean(&accuracies)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_a_task_by_hand() {
        let [mut high, mut low] = [vec![0.0; FEATURES], vec![0.0; FEATURES]];
        (high[0], low[0], low[1]) = (3.0, 1.0, 4.0);
        let rows = [Sample::pair(&high, &low), Sample::pair(&high, &[0.0; FEATURES])];
        assert_eq!(features(&rows)[..3], [2.5, -2.0, 0.0]);
    }

    #[test]
    fn a_task_alone_is_learned_and_measured() {
        let tasks = [task(0, Seed(1)).unwrap()];
        let order = TaskOrder { tasks: vec![0], score: 0.0 };
        assert!(measured(&tasks, &order, Seed(2)).unwrap() > 0.7);
    }
}
