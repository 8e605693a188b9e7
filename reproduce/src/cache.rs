//! Results on disk, one file a seed, so that a table that was stopped goes on where it was.
//!
//! A result belongs to the program that computed it: another build computes it again, unless any will do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::row::Figures;

/// A folder of results of one build.
pub struct Cache {
    folder: PathBuf,
    build: String,
    any_build: bool,
}

/// What one seed of a row showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The hash of the program.
    pub build: String,
    /// How long it took.
    pub seconds: f64,
    /// What came out.
    pub figures: Figures,
}

impl Cache {
    /// Results of this very program in `folder`; with `any_build`, of any.
    pub fn of_this_program(folder: &Path, any_build: bool) -> Result<Self> {
        let program = std::env::current_exe().context("the path of the program is not known")?;
        let bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
        Ok(Self { folder: folder.to_owned(), build: blake3::hash(&bytes).to_hex().to_string(), any_build })
    }

    /// The result of an earlier run, if there is one that can be read.
    pub fn get(&self, row: &str, seed: u64) -> Option<Outcome> {
        let text = fs::read_to_string(self.path(row, seed)).ok()?;
        let outcome = serde_json::from_str::<Outcome>(&text).ok()?;
        (self.any_build || outcome.build == self.build).then_some(outcome)
    }

    /// Keeps a result: written beside, then renamed.
    pub fn put(&self, row: &str, seed: u64, seconds: f64, figures: Figures) -> Result<Outcome> {
        let outcome = Outcome { build: self.build.clone(), seconds, figures };
        let path = self.path(row, seed);
        let folder = path.parent().expect("a result lies in a folder");
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let beside = path.with_extension("part");
        fs::write(&beside, serde_json::to_string_pretty(&outcome)?)
            .and_then(|()| fs::rename(&beside, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(outcome)
    }

    fn path(&self, row: &str, seed: u64) -> PathBuf {
        self.folder.join(row).join(format!("{seed}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_found_again_by_its_build_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = |build: &str| Cache { folder: folder.path().to_owned(), build: build.into(), any_build: false };
        let put = cache("one").put("row", 3, 0.5, vec![("arm".into(), 0.25)]).unwrap();
        assert_eq!(cache("one").get("row", 3), Some(put.clone()));
        assert_eq!(cache("two").get("row", 3), None);
        assert_eq!(Cache { any_build: true, ..cache("two") }.get("row", 3), Some(put));
        assert_eq!(cache("one").get("row", 4), None);
    }

    #[test]
    fn a_torn_result_is_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().to_owned(), build: "one".into(), any_build: false };
        cache.put("row", 0, 0.5, vec![]).unwrap();
        fs::write(folder.path().join("row/0.json"), "{\"build\": \"one\", \"sec").unwrap();
        assert_eq!(cache.get("row", 0), None);
    }
}
