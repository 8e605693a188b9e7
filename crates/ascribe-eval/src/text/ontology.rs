//! A match of what is asked for with what is offered, through an ontology, with the path that explains each part of the score.
//! After "Toward a traceable, explainable, and fair JD/Resume recommendation system".
//!
//! ```text
//! similarity(w, o) = decay^(links on the path from w up to the nearest common parent and down to o)
//! score            = mean over what is wanted of  max over what is offered of similarity(w, o)
//! ```
//! The score is the mean of its traces and of nothing else. The form is our reading: the proposal leaves it open.

use std::collections::HashMap;

use crate::EvalError;
use crate::error::{not_empty, option};

/// Terms with what they are a kind of: a forest.
#[derive(Clone, Debug, Default)]
pub struct Ontology {
    parents: HashMap<String, String>,
}

/// How a term that is wanted was met.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    /// What is wanted.
    pub wanted: String,
    /// The terms from there to the nearest that is offered; empty where no path leads to one.
    pub path: Vec<String>,
    /// In [0, 1]; 0 without a path.
    pub similarity: f64,
}

impl Ontology {
    /// Links from a term to what it is a kind of.
    ///
    /// # Errors
    /// When a term has two parents, or is a kind of itself, by however many links.
    pub fn new(links: &[(&str, &str)]) -> Result<Self, EvalError> {
        let mut parents = HashMap::with_capacity(links.len());
        for (term, parent) in links {
            if parents.insert((*term).to_owned(), (*parent).to_owned()).is_some_and(|other| other != *parent) {
                let why = "a term is a kind of two others; keep one link a term";
                return Err(EvalError::Degenerate { what: "an ontology", why });
            }
        }
        let ontology = Self { parents };
        // A path without a circle has at most one term more than there are links.
        if ontology.parents.keys().any(|term| ontology.above(term).count() > ontology.parents.len() + 1) {
            let why = "a term is a kind of itself; break the circle";
            return Err(EvalError::Degenerate { what: "an ontology", why });
        }
        Ok(ontology)
    }

    /// A term and all that it is a kind of; cut off behind one more than an ontology without a circle can have.
    fn above<'a>(&'a self, term: &'a str) -> impl Iterator<Item = &'a str> {
        let parents = &self.parents;
        let next = move |term: &&'a str| parents.get(*term).map(String::as_str);
        std::iter::successors(Some(term), next).take(parents.len() + 2)
    }

    /// The terms from one to another by way of their nearest common parent; `None` without one. A term that stands in no link
    /// leads to itself alone. O(depth^2).
    pub fn path<'a>(&'a self, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
        let up: Vec<&str> = self.above(from).collect();
        let mut down = Vec::new();
        for term in self.above(to) {
            if let Some(at) = up.iter().position(|one| *one == term) {
                let mut path = up[..=at].to_vec();
                path.extend(down.iter().rev());
                return Some(path);
            }
            down.push(term);
        }
        None
    }

    /// How each term that is wanted was met by the nearest that is offered, the first of equally near ones.
    ///
    /// # Errors
    /// When nothing is wanted, or `decay` is not in (0, 1].
    pub fn trace(&self, wanted: &[&str], offered: &[&str], decay: f64) -> Result<Vec<Traced>, EvalError> {
        not_empty("what is wanted", wanted)?;
        option("decay", "above 0 and at most 1, such as 0.5", decay, 0.0 < decay && decay <= 1.0)?;
        let traced = |wanted: &&str| {
            let paths = offered.iter().filter_map(|offered| self.path(wanted, offered));
            let path = paths.min_by_key(Vec::len).unwrap_or_default();
            let similarity = path.len().checked_sub(1).map_or(0.0, |links| decay.powi(links as i32));
            let path = path.into_iter().map(str::to_owned).collect();
            Traced { wanted: (*wanted).to_owned(), path, similarity }
        };
        Ok(wanted.iter().map(traced).collect())
    }
}

/// The score of a match: the mean of its parts; 0 where there is none. O(n).
pub fn traced_score(traces: &[Traced]) -> f64 {
    traces.iter().map(|traced| traced.similarity).sum::<f64>() / traces.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [(&str, &str); 4] = [
        ("Rust", "programming"),
        ("Python", "programming"),
        ("programming", "engineering"),
        ("welding", "engineering"),
    ];

    #[test]
    fn three_wanted_terms_by_hand() {
        let ontology = Ontology::new(&LINKS).unwrap();
        let traces = ontology.trace(&["Rust", "welding", "law"], &["Python", "Rust", "programming"], 0.5).unwrap();
        let said: Vec<(&[String], f64)> = traces.iter().map(|traced| (&traced.path[..], traced.similarity)).collect();
        // Rust itself; welding by engineering to programming, two links; law by nothing.
        let welding = ["welding", "engineering", "programming"].map(str::to_owned);
        assert_eq!(said, [(&["Rust".to_owned()][..], 1.0), (&welding[..], 0.25), (&[][..], 0.0)]);
        assert!((traced_score(&traces) - 1.25 / 3.0).abs() < 1e-12);
        assert_eq!(traces[2].wanted, "law");
    }

    #[test]
    fn paths_go_by_the_nearest_common_parent() {
        let ontology = Ontology::new(&LINKS).unwrap();
        assert_eq!(ontology.path("Rust", "Python"), Some(vec!["Rust", "programming", "Python"]));
        assert_eq!(ontology.path("Rust", "engineering"), Some(vec!["Rust", "programming", "engineering"]));
        assert_eq!(ontology.path("engineering", "Rust"), Some(vec!["engineering", "programming", "Rust"]));
        assert_eq!((ontology.path("law", "law"), ontology.path("law", "Rust")), (Some(vec!["law"]), None));
    }

    #[test]
    fn what_is_no_forest_is_refused() {
        let refused =
            |links: &[(&str, &str)]| Ontology::new(links).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused(&[("a", "b"), ("a", "c")]).contains("a kind of two others"));
        assert!(refused(&[("a", "b"), ("b", "c"), ("c", "a")]).contains("a kind of itself"));
        assert!(refused(&[("a", "a")]).contains("a kind of itself"));
        assert_eq!(refused(&[("a", "b"), ("a", "b")]), "");
        let ontology = Ontology::new(&LINKS).unwrap();
        assert!(ontology.trace(&[], &["Rust"], 0.5).is_err());
        for decay in [0.0, 1.5, f64::NAN] {
            assert!(ontology.trace(&["Rust"], &["Rust"], decay).is_err(), "{decay}");
        }
    }
}
