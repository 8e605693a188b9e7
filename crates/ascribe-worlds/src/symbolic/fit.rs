//! Powell's method: the least of a function without derivatives, along one direction after another.
//!
//! M. J. D. Powell, Computer Journal 7, 1964; a direction is replaced by the whole step of a round when that made the greatest
//! gain (Numerical Recipes, section 10.7). Lines are searched by widening and golden sections.

/// Share of an interval that a golden section keeps.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// The place of a local minimum near `start`, and the value there. A value that is not finite counts as infinite.
pub(super) fn powell(start: &[f64], rounds: usize, tolerance: f64, value: impl Fn(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let value = |at: &[f64]| Some(value(at)).filter(|value| value.is_finite()).unwrap_or(f64::INFINITY);
    let n = start.len();
    let mut directions: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let (mut at, mut best) = (start.to_vec(), value(start));
    for _ in 0..rounds {
        let (before, was) = (at.clone(), best);
        let (mut gain, mut most) = (0.0, 0);
        for (number, direction) in directions.iter().enumerate() {
            let (next, reached) = along(&at, direction, best, tolerance, &value);
            if best - reached > gain {
                (gain, most) = (best - reached, number);
            }
            (at, best) = (next, reached);
        }
        if was.is_finite() && was - best <= tolerance * (was.abs() + best.abs() + f64::MIN_POSITIVE) {
            break;
        }
        let step: Vec<f64> = at.iter().zip(&before).map(|(now, before)| now - before).collect();
        if step.iter().any(|part| *part != 0.0) {
            (at, best) = along(&at, &step, best, tolerance, &value);
            directions[most] = step;
        }
    }
    (at, best)
}

/// The best place on a line through `at`, never worse than `at` itself, whose value is `here`.
fn along(at: &[f64], direction: &[f64], here: f64, tolerance: f64, value: &impl Fn(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let place = |t: f64| -> Vec<f64> { at.iter().zip(direction).map(|(at, part)| at + t * part).collect() };
    let on_line = |t: f64| value(&place(t));
    // Widen to the better side until the value rises: the least lies between the neighbours of the best place.
    let (right, left) = (on_line(1.0), on_line(-1.0));
    let sign = if right <= left { 1.0 } else { -1.0 };
    let (mut last, mut reach, mut before) = (right.min(left), 1.0, 0.0);
    let (mut low, mut high) = (-1.0, 1.0);
    if last < here {
        while reach < 1e6 {
            let next = on_line(sign * reach * 2.0);
            if next >= last {
                break;
            }
            (last, before, reach) = (next, reach, reach * 2.0);
        }
        let (near, far): (f64, f64) = (sign * before, sign * reach * 2.0);
        (low, high) = (near.min(far), near.max(far));
    }
    let (mut a, mut b) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut value_a, mut value_b) = (on_line(a), on_line(b));
    while high - low > tolerance * (1.0 + a.abs() + b.abs()) {
        if value_a <= value_b {
            (high, b, value_b) = (b, a, value_a);
            a = high - GOLDEN * (high - low);
            value_a = on_line(a);
        } else {
            (low, a, value_a) = (a, b, value_b);
            b = low + GOLDEN * (high - low);
            value_b = on_line(b);
        }
    }
    let middle = (low + high) / 2.0;
    let reached = on_line(middle);
    if reached < here { (place(middle), reached) } else { (at.to_vec(), here) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_a_bowl_is_found() {
        // A bowl whose axes are turned: the least is 3 at (1, -2).
        let bowl = |at: &[f64]| {
            let (x, y) = (at[0] - 1.0, at[1] + 2.0);
            3.0 + x * x + y * y + x * y
        };
        for start in [[0.0, 0.0], [-40.0, 900.0]] {
            let (at, value) = powell(&start, 20, 1e-9, bowl);
            assert!((value - 3.0).abs() < 1e-6, "{at:?}: {value}");
            assert!((at[0] - 1.0).abs() < 1e-3 && (at[1] + 2.0).abs() < 1e-3, "{at:?}");
        }
        let (at, value) = powell(&[4.0], 10, 1e-9, |at| (at[0] - 3.0).abs());
        assert!((at[0] - 3.0).abs() < 1e-6 && value < 1e-6, "{at:?}");
        // Nothing is defined: the start stays.
        assert_eq!(powell(&[1.0], 10, 1e-6, |_| f64::NAN), (vec![1.0], f64::INFINITY));
    }
}
