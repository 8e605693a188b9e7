//! Which options were typed, or stood in the config file, and which have their defaults.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Names of the options that were given, with `_` between words. It adds no option of its own.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<String>);

impl Given {
    /// Whether the option `name` was given.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|given| given == name)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = matches.ids().filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine));
        Ok(Self(given.map(|id| id.as_str().to_owned()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    #[test]
    fn defaults_are_not_given_even_where_the_same_is_typed_elsewhere() {
        let line = "ascribe train grpo --model m --data d --output-dir o --num-generations 8 --adv-estimator rloo";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Train(args) = cli.command else { panic!("another command") };
        assert!(args.given.has("num_generations") && args.given.has("advantage_estimator"));
        assert!(!args.given.has("temperature") && !args.given.has("gamma"));
        assert_eq!((args.method.as_str(), args.rl.num_generations), ("grpo", 8));
    }
}
