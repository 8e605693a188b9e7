//! In which order to learn several tasks: near ones one after another, and little of what interferes later.
//!
//! ```text
//! score = mean of M over consecutive tasks - lambda * mean of M over all others,   M: cosine similarities of task means
//! ```
//! Of at most 8 tasks every order is looked at; of more, one is built greedily from each first task and improved by turning
//! parts of it round (2-opt), and the best of these is given. An order and its reverse score the same. The score is our reading
//! of "Learning to learn" curricula (transfer against interference), which leave it open.

use crate::DataError;

/// Most tasks of which every order is looked at.
const WHOLE: usize = 8;

/// An order of tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskOrder {
    /// The tasks, the first first.
    pub tasks: Vec<usize>,
    /// Its score; higher is better.
    pub score: f64,
}

/// Cosine similarities of the means of tasks in a feature space.
///
/// # Errors
/// When the means have different lengths, one is 0, or a value is not finite.
pub fn similarities(means: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, DataError> {
    let width = means.first().map_or(0, Vec::len);
    let mut norms = Vec::with_capacity(means.len());
    for mean in means {
        let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        let accepted = norm > 0.0 && norm.is_finite();
        if !accepted {
            return Err(DataError::Curriculum {
                name: "the length of a task's mean",
                rule: "finite and above 0",
                got: norm,
            });
        }
        if mean.len() != width {
            let (name, rule, got) = ("the number of features of a task", "that of the others", mean.len() as f64);
            return Err(DataError::Curriculum { name, rule, got });
        }
        norms.push(norm);
    }
    let cosine =
        |a: usize, b: usize| means[a].iter().zip(&means[b]).map(|(x, y)| x * y).sum::<f64>() / (norms[a] * norms[b]);
    Ok((0..means.len()).map(|a| (0..means.len()).map(|b| cosine(a, b)).collect()).collect())
}

/// Orders of tasks from the best to the worst, of which `similarities` is symmetric; one order where there are many tasks.
///
/// # Errors
/// When there is no task, the matrix is not square, or a number is not finite.
///
/// ```
/// use ascribe_data::task_orders;
/// // The first and the last task are alike, and neither is like the second.
/// let alike = [vec![1.0, 0.1, 0.9], vec![0.1, 1.0, 0.1], vec![0.9, 0.1, 1.0]];
/// assert_eq!(task_orders(&alike, 1.0)?[0].tasks, [0, 2, 1]);
/// # Ok::<(), ascribe_data::DataError>(())
/// ```
pub fn task_orders(similarities: &[Vec<f64>], lambda: f64) -> Result<Vec<TaskOrder>, DataError> {
    let n = similarities.len();
    if n == 0 || similarities.iter().any(|row| row.len() != n) {
        let (name, rule, got) = ("the number of tasks", "at least 1, with a similarity for every two", n as f64);
        return Err(DataError::Curriculum { name, rule, got });
    }
    for got in similarities.iter().flatten().chain([&lambda]) {
        if !got.is_finite() {
            return Err(DataError::Curriculum { name: "a similarity, or lambda", rule: "finite", got: *got });
        }
    }
    let rated = |tasks: Vec<usize>| TaskOrder { score: score(similarities, lambda, &tasks), tasks };
    let mut orders: Vec<TaskOrder> = match n <= WHOLE {
        true => permutations(n).into_iter().map(rated).collect(),
        false => (0..n).map(|first| rated(improved(similarities, lambda, greedy(similarities, first)))).collect(),
    };
    orders.sort_by(|a, b| b.score.total_cmp(&a.score));
    if n > WHOLE {
        orders.truncate(1);
    }
    Ok(orders)
}

fn score(m: &[Vec<f64>], lambda: f64, tasks: &[usize]) -> f64 {
    let (mut near, mut far) = ((0.0, 0usize), (0.0, 0usize));
    for (at, a) in tasks.iter().enumerate() {
        for (distance, b) in tasks[at + 1..].iter().enumerate() {
            let side = if distance == 0 { &mut near } else { &mut far };
            *side = (side.0 + m[*a][*b], side.1 + 1);
        }
    }
    let mean = |(sum, n): (f64, usize)| sum / n.max(1) as f64;
    mean(near) - lambda * mean(far)
}

/// All orders of `n` tasks, in the order of a dictionary.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for _ in 0..n {
        let longer = |order: Vec<usize>| -> Vec<Vec<usize>> {
            let left = (0..n).filter(|task| !order.contains(task));
            left.map(|task| [order.as_slice(), &[task]].concat()).collect()
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    all
}

/// From `first` on, always the nearest of what is left.
fn greedy(m: &[Vec<f64>], first: usize) -> Vec<usize> {
    let mut tasks = vec![first];
    while tasks.len() < m.len() {
        let here = tasks[tasks.len() - 1];
        let left = (0..m.len()).filter(|task| !tasks.contains(task));
        match left.max_by(|a, b| m[here][*a].total_cmp(&m[here][*b])) {
            Some(next) => tasks.push(next),
            None => break,
        }
    }
    tasks
}

/// Turns parts round as long as that helps.
fn improved(m: &[Vec<f64>], lambda: f64, mut tasks: Vec<usize>) -> Vec<usize> {
    let mut best = score(m, lambda, &tasks);
    let mut moved = true;
    while moved {
        moved = false;
        for start in 0..tasks.len() {
            for end in start + 2..=tasks.len() {
                tasks[start..end].reverse();
                let now = score(m, lambda, &tasks);
                // Rounding alone is no progress.
                if now > best + 1e-12 {
                    (best, moved) = (now, true);
                } else {
                    tasks[start..end].reverse();
                }
            }
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_tasks_tie_and_one_is_alone() {
        let orders = task_orders(&similarities(&[vec![1.0, 0.0], vec![1.0, 1.0]]).unwrap(), 0.5).unwrap();
        assert_eq!(orders.len(), 2);
        assert_eq!(orders[0].score, orders[1].score);
        // The cosine of 45 degrees, and nothing is far apart.
        assert!((orders[0].score - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(task_orders(&[vec![1.0]], 1.0).unwrap(), [TaskOrder { tasks: vec![0], score: 0.0 }]);
    }

    #[test]
    fn three_tasks_by_hand() {
        let m = [vec![1.0, 0.2, 0.8], vec![0.2, 1.0, 0.4], vec![0.8, 0.4, 1.0]];
        let orders = task_orders(&m, 1.0).unwrap();
        assert_eq!(orders.len(), 6);
        // 0, 2, 1: (0.8 + 0.4) / 2 - 0.2.
        assert!(
            (orders[0].score - 0.4).abs() < 1e-12
                && [[0, 2, 1], [1, 2, 0]].contains(&[0, 1, 2].map(|at| orders[0].tasks[at]))
        );
        // 0, 1, 2: (0.2 + 0.4) / 2 - 0.8.
        assert!((orders[5].score + 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        assert!(task_orders(&[], 1.0).is_err());
        assert!(task_orders(&[vec![1.0, 0.0]], 1.0).is_err());
        assert!(task_orders(&[vec![f64::NAN]], 1.0).is_err());
        assert!(task_orders(&[vec![1.0]], f64::INFINITY).is_err());
        assert!(similarities(&[vec![0.0, 0.0]]).is_err());
        assert!(similarities(&[vec![1.0], vec![1.0, 2.0]]).is_err());
    }

    proptest! {
        #[test]
        fn other_labels_give_the_same_order_under_other_labels(
            points in prop::collection::vec(prop::collection::vec(0.1..1.0f64, 3), 2..6), lambda in 0.0..2.0f64,
        ) {
            let n = points.len();
            let plain = task_orders(&similarities(&points).unwrap(), lambda).unwrap();
            // Task `at` is called `n - 1 - at`.
            let turned: Vec<Vec<f64>> = points.into_iter().rev().collect();
            let other = task_orders(&similarities(&turned).unwrap(), lambda).unwrap();
            let m = similarities(&turned).unwrap();
            for (one, two) in plain.iter().zip(&other) {
                prop_assert!((one.score - two.score).abs() < 1e-9);
                let renamed: Vec<usize> = one.tasks.iter().map(|task| n - 1 - task).collect();
                prop_assert!((score(&m, lambda, &renamed) - one.score).abs() < 1e-9);
            }
        }

        #[test]
        fn of_many_tasks_the_order_is_whole_and_no_turn_helps(
            points in prop::collection::vec(prop::collection::vec(0.1..1.0f64, 3), 9..12), lambda in 0.0..2.0f64,
        ) {
            let m = similarities(&points).unwrap();
            let orders = task_orders(&m, lambda).unwrap();
            prop_assert_eq!(orders.len(), 1);
            let mut sorted = orders[0].tasks.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..points.len()).collect::<Vec<_>>());
            for start in 0..points.len() {
                for end in start + 2..=points.len() {
                    let mut turned = orders[0].tasks.clone();
                    turned[start..end].reverse();
                    prop_assert!(score(&m, lambda, &turned) <= orders[0].score + 1e-9);
                }
            }
        }
    }
}
