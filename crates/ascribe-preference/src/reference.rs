//! Log-probabilities under the reference, computed once before training.

use ascribe_core::{Continuation, Policy};

use crate::{LogpCache, PreferenceError, TrainRow};

/// Fills `ref_logps` of every response, mismatched ones included, from the cache where it is there.
///
/// # Errors
/// See [`LogpCache::logps`].
pub fn reference_logps(
    rows: &mut [TrainRow],
    reference: &dyn Policy,
    fingerprint: &str,
    cache: &mut LogpCache,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), PreferenceError> {
    let given: Vec<Continuation> = rows
        .iter()
        .flat_map(|row| {
            row.all_responses().map(|one| Continuation { prefix: row.prompt.clone(), tokens: one.tokens.clone() })
        })
        .collect();
    let logps = cache.logps(reference, fingerprint, &given, progress)?;
    for (response, logps) in rows.iter_mut().flat_map(TrainRow::all_responses_mut).zip(logps) {
        response.ref_logps = Some(logps);
    }
    Ok(())
}
