//! What the command line knows by name.

use ascribe::core::Objective;
use ascribe::preference::PreferenceError;
use ascribe::preference::objectives::{MakeObjective, OBJECTIVES, ObjectiveOptions};
use ascribe::search::{MakeSearch, STRATEGIES, Search};
use serde_json::Value;

/// Objectives and search strategies by name. A value that is handed over: there is no global registry.
///
/// ```no_run
/// # use ascribe::preference::objectives::Sft;
/// # use ascribe::search::Greedy;
/// fn main() -> std::process::ExitCode {
///     let catalog = ascribe_cli::Catalog::builtin().objective("my-loss", |_| Ok(Box::new(Sft)));
///     ascribe_cli::run(catalog.search("my-search", |_| Ok(Box::new(Greedy))))
/// }
/// ```
pub struct Catalog {
    objectives: Vec<(String, MakeObjective)>,
    searches: Vec<(String, MakeSearch)>,
}

impl Catalog {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        Self {
            objectives: OBJECTIVES.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect(),
            searches: STRATEGIES.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect(),
        }
    }

    /// The same with one more objective, for `ascribe train <name>`; a name that is there is replaced.
    pub fn objective(mut self, name: &str, make: MakeObjective) -> Self {
        self.objectives.retain(|(known, _)| known != name);
        self.objectives.push((name.to_owned(), make));
        self
    }

    /// The same with one more strategy, for `ascribe search --strategy <name>`; a name that is there is replaced.
    pub fn search(mut self, name: &str, make: MakeSearch) -> Self {
        self.searches.retain(|(known, _)| known != name);
        self.searches.push((name.to_owned(), make));
        self
    }

    /// The names of all strategies.
    pub(crate) fn strategies(&self) -> impl Iterator<Item = &str> {
        self.searches.iter().map(|(name, _)| name.as_str())
    }

    /// Makes the objective `name`.
    pub(crate) fn make(&self, name: &str, options: &ObjectiveOptions) -> anyhow::Result<Box<dyn Objective>> {
        let known = self.objectives.iter().find(|(known, _)| known == name);
        let Some((_, make)) = known else {
            let names: Vec<&str> = self.objectives.iter().map(|(name, _)| name.as_str()).collect();
            let close = crate::config::closest(name, names.iter().copied());
            anyhow::bail!("there is no method `{name}`{close}; the methods are {}", names.join(", "));
        };
        make(options).map_err(|error: PreferenceError| error.into())
    }

    /// Makes the search strategy `name`.
    pub(crate) fn make_search(&self, name: &str, options: &Value) -> anyhow::Result<Box<dyn Search>> {
        let Some((_, make)) = self.searches.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = self.strategies().collect();
            let close = crate::config::closest(name, names.iter().copied());
            anyhow::bail!("there is no strategy `{name}`{close}; the strategies are {}", names.join(", "));
        };
        Ok(make(options)?)
    }
}
