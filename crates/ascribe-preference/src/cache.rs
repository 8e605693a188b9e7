//! Log-probabilities that were computed once, in a file keyed by content.
//!
//! The key of an entry is a hash of the evaluator's name (its weights, tokenizer and templates), the prefix and the tokens, so an entry can be
//! missing but never stale. Entries are appended as they are computed: a pass that is killed goes on where it stopped, and
//! an entry that was cut off at the end of the file is computed again.
//!
//! ```text
//! file  = "ascribe-logps-1\n" entry*
//! entry = key [32 bytes], n [u32], n log-probabilities [f32], little endian
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use ascribe_core::{Continuation, CoreError, Policy};

use crate::PreferenceError;

const HEADER: &[u8] = b"ascribe-logps-1\n";
/// Continuations that are scored between two writes.
const AT_ONCE: usize = 64;

type Key = [u8; 32];

/// A file of log-probabilities.
pub struct LogpCache {
    path: Option<PathBuf>,
    known: HashMap<Key, Vec<f32>>,
}

/// What identifies the evaluator: a hash of its weights, and one of its tokenizer and templates.
pub fn fingerprint(model_hash: &str, text_hash: &str) -> String {
    format!("{model_hash}:{text_hash}")
}

impl LogpCache {
    /// A cache without a file.
    pub fn in_memory() -> Self {
        Self { path: None, known: HashMap::new() }
    }

    /// Opens the file, or begins it.
    ///
    /// # Errors
    /// When the file is of another kind, or cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, PreferenceError> {
        let failed = |why: std::io::Error| PreferenceError::Cache { path: path.to_owned(), why: why.to_string() };
        if !path.exists() {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            std::fs::write(path, HEADER).map_err(failed)?;
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let Some(mut rest) = bytes.strip_prefix(HEADER) else {
            return Err(PreferenceError::Cache {
                path: path.to_owned(),
                why: "it is not a cache of log-probabilities".into(),
            });
        };
        let mut known = HashMap::new();
        while let Some((key, values, later)) = entry(rest) {
            known.insert(key, values);
            rest = later;
        }
        if !rest.is_empty() {
            let whole = (bytes.len() - rest.len()) as u64;
            OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(whole)).map_err(failed)?;
        }
        Ok(Self { path: Some(path.to_owned()), known })
    }

    /// Log-probability of each token of each continuation, from the file where it is there.
    ///
    /// `fingerprint` names the evaluator ([`fingerprint`]); `progress` is told how many of how many are done.
    ///
    /// # Errors
    /// When the policy refuses a continuation, gives a value that is not finite, or the file cannot be written.
    pub fn logps(
        &mut self,
        policy: &dyn Policy,
        fingerprint: &str,
        given: &[Continuation],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Vec<f32>>, PreferenceError> {
        let path = self.path.clone().unwrap_or_default();
        let failed = |why: std::io::Error| PreferenceError::Cache { path: path.clone(), why: why.to_string() };
        let keys: Vec<Key> = given.iter().map(|one| key(fingerprint, one)).collect();
        // A text that is given twice is scored once.
        let mut asked = HashSet::new();
        let unknown = |at: &usize| !self.known.contains_key(&keys[*at]) && asked.insert(keys[*at]);
        let missing: Vec<usize> = (0..given.len()).filter(unknown).collect();
        let mut done = given.len() - missing.len();
        progress(done, given.len());
        let mut file = match &self.path {
            Some(path) => Some(OpenOptions::new().append(true).open(path).map_err(failed)?),
            None => None,
        };
        for batch in missing.chunks(AT_ONCE) {
            let wanted: Vec<Continuation> = batch.iter().map(|at| given[*at].clone()).collect();
            let (scores, _) = policy.score(&wanted)?;
            for (at, logps) in batch.iter().zip(scores) {
                if let Some(got) = logps.iter().find(|logp| !logp.is_finite()) {
                    let (name, rule) = ("a log-probability", "finite (are the weights sound?)");
                    return Err(CoreError::Range { name, rule, got: f64::from(*got) }.into());
                }
                if let Some(file) = &mut file {
                    append(file, &keys[*at], &logps).map_err(failed)?;
                }
                self.known.insert(keys[*at], logps);
            }
            done += batch.len();
            progress(done, given.len());
        }
        Ok(keys.iter().map(|key| self.known[key].clone()).collect())
    }
}

fn key(fingerprint: &str, given: &Continuation) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(fingerprint.as_bytes());
    for ids in [&given.prefix, &given.tokens] {
        hasher.update(&(ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| {
            hasher.update(&id.to_le_bytes());
        });
    }
    *hasher.finalize().as_bytes()
}

fn entry(bytes: &[u8]) -> Option<(Key, Vec<f32>, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<32>()?;
    let (n, rest) = rest.split_first_chunk::<4>()?;
    let (values, rest) = rest.split_at_checked(4 * u32::from_le_bytes(*n) as usize)?;
    let values = values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Some((*key, values, rest))
}

fn append(file: &mut File, key: &Key, logps: &[f32]) -> std::io::Result<()> {
    let mut bytes = key.to_vec();
    bytes.extend((logps.len() as u32).to_le_bytes());
    bytes.extend(logps.iter().flat_map(|logp| logp.to_le_bytes()));
    file.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ascribe_core::{Capabilities, Reply, Request, Usage};

    use super::*;

    /// Scores a token by its id and counts what it was asked.
    struct Counting(AtomicUsize);

    impl Policy for Counting {
        fn propose(&self, _: &[Request]) -> Result<Vec<Reply>, CoreError> {
            Err(CoreError::Unsupported { what: "propose" })
        }
        fn score(&self, given: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
            self.0.fetch_add(given.len(), Ordering::SeqCst);
            Ok((
                given.iter().map(|one| one.tokens.iter().map(|id| -(*id as f32)).collect()).collect(),
                Usage::default(),
            ))
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities { score: true, top: false, context: 100 }
        }
    }

    fn given(ids: &[&[u32]]) -> Vec<Continuation> {
        ids.iter().map(|ids| Continuation { prefix: vec![1].into(), tokens: (*ids).into() }).collect()
    }

    #[test]
    fn what_is_known_is_not_computed_again_and_a_cut_entry_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logps.bin");
        let policy = Counting(AtomicUsize::new(0));
        // One of them twice, as where one reply is chosen over several.
        let asked = given(&[&[2, 3], &[4], &[2, 3], &[5, 6, 7]]);
        let expected = vec![vec![-2.0, -3.0], vec![-4.0], vec![-2.0, -3.0], vec![-5.0, -6.0, -7.0]];
        let ask = |fingerprint: &str| {
            LogpCache::open(&path).unwrap().logps(&policy, fingerprint, &asked, &mut |_, _| ()).unwrap()
        };
        assert_eq!(ask("a"), expected);
        assert_eq!(ask("a"), expected);
        assert_eq!(policy.0.load(Ordering::SeqCst), 3);
        // Another model or template shares nothing.
        assert_eq!(ask("b"), expected);
        assert_eq!(policy.0.load(Ordering::SeqCst), 6);
        // The last entry loses two bytes: it alone is computed again.
        let length = std::fs::metadata(&path).unwrap().len();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 2).unwrap();
        assert_eq!(ask("b"), expected);
        assert_eq!(policy.0.load(Ordering::SeqCst), 7);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logps.bin");
        std::fs::write(&path, "something else").unwrap();
        assert!(LogpCache::open(&path).is_err());
    }
}
