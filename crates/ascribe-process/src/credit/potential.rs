//! Potential assessment of partial outputs: PARM, arXiv:2501.13926.
//!
//! ```text
//! at each step   clear?  no: go on unscored         at the first clear step alone   potential?  no: rejected, its P(no) is kept
//! choose         among paths with potential the greatest P(yes) of the outcome judge;  without any, the least P(no)
//! ```
//! Ties go to the earlier path. Departure: when no path is ever clear, the outcome judge chooses among all.

use crate::ProcessError;

/// What was said of one path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Assessed {
    /// No step was clear enough to be assessed.
    Unclear,
    /// It can become a good output.
    Potential,
    /// It cannot; how sure the judge is of that.
    Rejected {
        /// P(no), in [0, 1].
        no: f64,
    },
}

/// Assesses a path of `steps` steps. `clear` says whether a step can be judged, `potential` gives P(yes), or nothing when the
/// judge says neither, which counts as no with P(no) = 1. It is asked at most once.
///
/// # Errors
/// When a probability is not in [0, 1], or a judge fails.
pub fn assess(
    steps: usize,
    clear: &mut dyn FnMut(usize) -> Result<bool, ProcessError>,
    potential: &mut dyn FnMut(usize) -> Result<Option<f64>, ProcessError>,
) -> Result<Assessed, ProcessError> {
    for step in 0..steps {
        if !clear(step)? {
            continue;
        }
        let yes = potential(step)?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&yes) {
            return Err(ProcessError::range("P(yes)", "in [0, 1]", yes));
        }
        return Ok(if yes > 0.5 { Assessed::Potential } else { Assessed::Rejected { no: 1.0 - yes } });
    }
    Ok(Assessed::Unclear)
}

/// The path that is chosen, by the outcome judge's P(yes) of each.
///
/// # Errors
/// When there is no path, there is not one probability a path, or one is not in [0, 1].
pub fn choose(paths: &[Assessed], outcomes: &[f64]) -> Result<usize, ProcessError> {
    let (expected, got) = (paths.len(), outcomes.len());
    if paths.is_empty() {
        return Err(ProcessError::Empty { what: "the paths", remedy: "sample one at least" });
    }
    if expected != got {
        return Err(ProcessError::Length { what: "the outcomes", each: "a path", expected, got });
    }
    if let Some(wrong) = outcomes.iter().find(|yes| !(0.0..=1.0).contains(*yes)) {
        return Err(ProcessError::range("P(yes)", "in [0, 1]", wrong));
    }
    let rejected = |at: &usize| matches!(paths[*at], Assessed::Rejected { .. });
    let with_potential: Vec<usize> = (0..expected).filter(|at| paths[*at] == Assessed::Potential).collect();
    let first_greatest = |among: Vec<usize>, of: &dyn Fn(usize) -> f64| {
        among.into_iter().reduce(|best, at| if of(at) > of(best) { at } else { best }).unwrap_or(0)
    };
    if !with_potential.is_empty() {
        return Ok(first_greatest(with_potential, &|at| outcomes[at]));
    }
    let all: Vec<usize> = (0..expected).collect();
    let ruled_out: Vec<usize> = all.iter().copied().filter(rejected).collect();
    if ruled_out.is_empty() {
        return Ok(first_greatest(all, &|at| outcomes[at]));
    }
    let no = |at: usize| match paths[at] {
        Assessed::Rejected { no } => -no,
        _ => f64::NEG_INFINITY,
    };
    Ok(first_greatest(ruled_out, &no))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no(no: f64) -> Assessed {
        Assessed::Rejected { no }
    }

    #[test]
    fn a_path_is_judged_once_at_its_first_clear_step() {
        let mut asked = Vec::new();
        let mut potential = |step: usize| {
            asked.push(step);
            Ok(Some(0.9))
        };
        assert_eq!(assess(5, &mut |step| Ok(step >= 2), &mut potential).unwrap(), Assessed::Potential);
        assert_eq!(asked, [2]);
        assert_eq!(assess(3, &mut |_| Ok(false), &mut |_| Ok(Some(1.0))).unwrap(), Assessed::Unclear);
        assert_eq!(assess(3, &mut |_| Ok(true), &mut |_| Ok(None)).unwrap(), no(1.0));
        assert!(assess(3, &mut |_| Ok(true), &mut |_| Ok(Some(f64::NAN))).is_err());
    }

    #[test]
    fn choices_by_hand() {
        use Assessed::{Potential, Unclear};
        // All have potential: plain best-of-n; ties go to the first.
        assert_eq!(choose(&[Potential; 3], &[0.2, 0.8, 0.8]).unwrap(), 1);
        assert_eq!(choose(&[no(0.9), Potential, Potential], &[1.0, 0.1, 0.2]).unwrap(), 2);
        assert_eq!(choose(&[no(0.9), no(0.6), no(0.6)], &[1.0, 0.0, 0.5]).unwrap(), 1);
        assert_eq!(choose(&[Unclear, Unclear], &[0.1, 0.4]).unwrap(), 1);
        assert_eq!(choose(&[no(1.0)], &[0.0]).unwrap(), 0);
        assert!(
            choose(&[], &[]).is_err() && choose(&[Potential], &[]).is_err() && choose(&[Potential], &[2.0]).is_err()
        );
    }
}
