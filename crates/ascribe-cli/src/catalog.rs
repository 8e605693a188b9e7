//! What the command line knows by name.

use ascribe::core::Objective;
use ascribe::preference::PreferenceError;
use ascribe::preference::objectives::{MakeObjective, OBJECTIVES, ObjectiveOptions};

/// Objectives by name. A value that is handed over: there is no global registry.
///
/// ```no_run
/// # use ascribe::preference::objectives::Sft;
/// fn main() -> std::process::ExitCode {
///     ascribe_cli::run(ascribe_cli::Catalog::builtin().objective("my-loss", |_| Ok(Box::new(Sft))))
/// }
/// ```
pub struct Catalog {
    objectives: Vec<(String, MakeObjective)>,
}

impl Catalog {
    /// Everything that ascribe brings.
    pub fn builtin() -> Self {
        Self { objectives: OBJECTIVES.iter().map(|(name, make)| ((*name).to_owned(), *make)).collect() }
    }

    /// The same with one more objective, for `ascribe train <name>`; a name that is there is replaced.
    pub fn objective(mut self, name: &str, make: MakeObjective) -> Self {
        self.objectives.retain(|(known, _)| known != name);
        self.objectives.push((name.to_owned(), make));
        self
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
}
