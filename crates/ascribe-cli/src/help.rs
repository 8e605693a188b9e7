//! `ascribe train --help` lists the methods, and `ascribe train <method> --help` the options that this method takes; so does
//! `validate`.

use std::ffi::OsString;

use ascribe::preference::objectives::{ObjectiveOptions, find};
use clap::{Arg, ArgAction, Args, CommandFactory, ValueEnum};

use crate::Catalog;
use crate::args::{Cli, FormName, ObjectiveArgs};
use crate::output::print_line;
use crate::train::process::{self, IMPLICIT};
use crate::train::recipes::recipe;
use crate::train::reward::{self, written};
use crate::train::rounds::rounds;
use crate::train::{archer, taken};

/// The commands that take a method, and what is said of them where no method is named.
const COMMANDS: [(&str, &str); 2] = [
    ("train", "Train a model, by one of these methods."),
    ("validate", "Check a training run without starting it, by one of these methods."),
];

/// Names of the two flags of help.
const LONG: &str = "long help";
const SHORT: &str = "short help";

/// Options of losses that a method may take which is no objective on rows of a file; the table says which.
const COMMON: [&str; 4] = ["beta", "delta", "loss_type", "loss_weights"];

/// What help is asked about.
#[derive(Debug, Default)]
pub struct Asked {
    /// `train` or `validate`.
    pub command: &'static str,
    pub method: Option<String>,
    /// The advantage estimator, where one is named.
    pub estimator: Option<String>,
    /// The losses, where some are named.
    pub losses: Vec<String>,
    /// Whether the values of options are explained one by one.
    pub long: bool,
}

/// Prints the help that these words ask for, if it is about methods; false where it is not, or where there is no such method.
pub fn print(words: &[OsString], catalog: &Catalog) -> anyhow::Result<bool> {
    let Some(asked) = asked(words) else { return Ok(false) };
    if asked.method.is_none() {
        print_line(&methods(asked.command, catalog))?;
        return Ok(true);
    }
    let Some(mut page) = page(&asked, catalog) else { return Ok(false) };
    // As with clap's own help, it is no error when nobody reads on.
    let _ = if asked.long { page.print_long_help() } else { page.print_help() };
    Ok(true)
}

/// What these words, in which clap has found a wish for help, ask about.
fn asked(words: &[OsString]) -> Option<Asked> {
    let first = if words.get(1)? == "help" { 2 } else { 1 };
    let rest = words.get(first..)?;
    let name = rest.first()?;
    let command = COMMANDS.into_iter().map(|(command, _)| command).find(|command| name == command)?;
    // Everything else is read as ever, so that a value is no method; what is missing is missing.
    let parser = subcommand(command)?
        .disable_help_flag(true)
        .ignore_errors(true)
        .arg(Arg::new(LONG).long("help").action(ArgAction::SetTrue))
        .arg(Arg::new(SHORT).short('h').action(ArgAction::SetTrue));
    let matches = parser.try_get_matches_from(rest).ok()?;
    Some(Asked {
        command,
        method: matches.get_one::<String>("method").cloned(),
        estimator: matches.get_one::<String>("advantage_estimator").cloned(),
        losses: matches.get_many::<String>("loss_type").unwrap_or_default().cloned().collect(),
        long: matches.get_one::<bool>(SHORT) != Some(&true),
    })
}

/// The command as it is parsed.
fn subcommand(name: &str) -> Option<clap::Command> {
    Cli::command().find_subcommand(name).cloned()
}

/// How the command is called.
fn usage(command: &str, method: &str) -> Option<String> {
    let subcommand = subcommand(command)?;
    let required = subcommand.get_arguments().filter(|argument| argument.is_required_set());
    let required = required.filter_map(|argument| {
        let long = argument.get_long()?;
        Some(format!(" --{long} <{}>", argument.get_id().as_str().to_uppercase()))
    });
    Some(format!("ascribe {command} {method}{} [OPTIONS]", required.collect::<String>()))
}

/// The methods by families, a line each.
fn methods(command: &str, catalog: &Catalog) -> String {
    let about = COMMANDS.into_iter().find(|(name, _)| *name == command).map_or("", |(_, about)| about);
    let usage = usage(command, "<METHOD>").unwrap_or_default();
    let mut lines = vec![about.to_owned(), String::new(), format!("Usage: {usage}")];
    let families = catalog.families();
    let names = families.iter().flat_map(|(_, methods)| methods).map(|(name, _)| name.len());
    let width = names.max().unwrap_or(0);
    for (title, methods) in &families {
        lines.extend([String::new(), format!("{title}:")]);
        lines.extend(methods.iter().map(|(name, about)| format!("  {name:<width$}  {about}")));
    }
    lines.push(String::new());
    lines.push("Losses on rows of a file are added by `+`, as in dpo+sft.".to_owned());
    lines.push(format!("`ascribe {command} <METHOD> --help` shows the options of a method, `-h` in fewer words."));
    lines.join("\n")
}

/// The command with the options alone that the method takes. None where there is no such method.
pub fn page(asked: &Asked, catalog: &Catalog) -> Option<clap::Command> {
    let method = asked.method.as_deref()?;
    let about = catalog.about(method)?;
    let losses = losses(method, &asked.losses, catalog);
    let of_losses = ObjectiveArgs::augment_args(clap::Command::new("losses"));
    let is_of_losses = |id: &str| of_losses.get_arguments().any(|argument| argument.get_id() == id);
    let (estimator, loss) = (asked.estimator.as_deref(), asked.losses.first().map(String::as_str));
    let has = |name: &str| losses.as_ref().is_none_or(|losses| losses.options.iter().any(|known| known == name));
    let shown = |id: &str| {
        let fits = match id {
            "method" => false,
            "reference" => losses.as_ref().is_none_or(|losses| losses.reference),
            // Games are all there is.
            "held_out" => method != archer::METHOD,
            // What token rewards are made of.
            "revision" | "dpo_model" => has("credit"),
            _ => !is_of_losses(id) || has(id),
        };
        fits && taken::takes(method, estimator, loss, id)
    };
    let page = subcommand(asked.command)?.disable_help_flag(true).override_usage(usage(asked.command, method)?);
    let page = page.bin_name(format!("ascribe {}", asked.command)).about(about.clone()).long_about(about);
    let page = page.mut_args(|argument| {
        let hidden = argument.is_hide_set() || !shown(argument.get_id().as_str());
        argument.hide(hidden)
    });
    Some(page.after_help(notes(method, asked.command, catalog)))
}

/// What is said below the options: the names that some of them take, and where the other methods are.
fn notes(method: &str, command: &str, catalog: &Catalog) -> String {
    let mut notes = Vec::new();
    if recipe(method).is_some() {
        let tables = &catalog.rollouts;
        notes.push(format!("Rewards by name: {}.", tables.rewards.names().join(", ")));
        notes.push(format!("Advantage estimators: {}.", tables.estimators.names().join(", ")));
        notes.push(format!("Policy losses: {}.", tables.policy_losses.names().join(", ")));
        notes.push(
            "Another estimator or loss takes options of its own; name it beside --help, and they are shown.".to_owned(),
        );
    }
    if method == reward::METHOD {
        notes.push(format!("Losses: {}.", reward::loss_names(catalog).join(", ")));
    }
    notes.push(format!("`ascribe {command} --help` lists the methods."));
    notes.join("\n")
}

/// What the losses take that a method learns by.
struct Losses {
    /// Names of options.
    options: Vec<String>,
    /// Whether a reference can be named.
    reference: bool,
}

/// What the losses of a method take; None where one of them is not of the table, and nothing is known.
fn losses(method: &str, given: &[String], catalog: &Catalog) -> Option<Losses> {
    if method == IMPLICIT {
        let rows = FormName::value_variants().iter().filter_map(|form| find(form.objective()));
        let options = rows.flat_map(|row| row.options()).map(|(name, _)| name).collect();
        return Some(Losses { options, reference: true });
    }
    let in_rounds = rounds(method);
    let objective = in_rounds.map_or(method, |rounds| rounds.objective);
    // What is not of the table learns by another loss.
    let is_objective = objective.split('+').all(|part| catalog.is_own(part) || find(part).is_some());
    if !is_objective {
        let without = [reward::METHOD, archer::METHOD].contains(&method)
            || written::is_written(method)
            || process::kind(method).is_some();
        return Some(Losses { options: COMMON.map(str::to_owned).to_vec(), reference: !without });
    }
    let summed = objective == "dpo" && !given.is_empty();
    let parts: Vec<&str> = match summed {
        true => given.iter().map(String::as_str).collect(),
        false => objective.split('+').collect(),
    };
    let mut options = Vec::new();
    let mut reference = in_rounds.is_some();
    for part in &parts {
        let row = find(part).filter(|_| !catalog.is_own(part))?;
        let fields: Vec<String> = row.options().into_iter().map(|(name, _)| name).collect();
        let may = |name: &str| fields.iter().any(|field| field == name);
        reference |= may("credit") || may("reference_free") || may("reference_weight");
        let made = row.make(&ObjectiveOptions::default()).ok();
        reference |= made.is_some_and(|made| made.objective.needs().ref_logps);
        options.extend(fields);
    }
    if objective == "dpo" {
        options.push("loss_type".to_owned());
    }
    if objective == "dpo" || parts.len() > 1 {
        options.push("loss_weights".to_owned());
    }
    if in_rounds.is_some() {
        // What a file would say of its pairs.
        options.retain(|name| !["consistency", "label_weights"].contains(&name.as_str()));
    }
    Some(Losses { options, reference })
}

#[cfg(test)]
mod tests {
    use ascribe::preference::objectives::{OBJECTIVES, Sft};

    use super::*;

    fn of(line: &str) -> Option<Asked> {
        asked(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    /// The options that help shows to these words.
    fn shown(line: &str, catalog: &Catalog) -> Vec<String> {
        let page = of(line).and_then(|asked| page(&asked, catalog));
        let page = page.unwrap_or_else(|| panic!("{line} shows no page"));
        let arguments = page.get_arguments().filter(|argument| !argument.is_hide_set());
        arguments.map(|argument| argument.get_long().unwrap_or("").to_owned()).collect()
    }

    #[track_caller]
    fn check(line: &str, with: &[&str], without: &[&str]) {
        let shown = shown(line, &Catalog::builtin());
        let has = |name: &&&str| shown.iter().any(|known| known == **name);
        assert_eq!(with.iter().find(|name| !has(name)), None, "{line}: {shown:?}");
        assert_eq!(without.iter().find(has), None, "{line}: {shown:?}");
        assert!(!shown.iter().any(String::is_empty), "{line}: {shown:?}");
    }

    #[test]
    fn methods_show_what_they_take() {
        let rollouts =
            ["num-generations", "epsilon", "beta", "delta", "use-peft", "learning-rate", "reward", "reference"];
        check(
            "ascribe train grpo --help",
            &rollouts,
            &["lam", "curriculum", "label-smoothing", "games", "loss-weights"],
        );
        check(
            "ascribe train ppo -h",
            &["lam", "constraint", "critic-warmup"],
            &["keep-top", "oreal-top", "max-length"],
        );
        let dpo =
            ["beta", "label-smoothing", "f-divergence-type", "loss-type", "loss-weights", "curriculum", "reference"];
        check("ascribe train dpo --help", &dpo, &["num-generations", "delta", "cpo-alpha", "revision", "temperature"]);
        check("ascribe train sft --help", &["max-length", "use-peft"], &["beta", "reference", "loss-type", "reward"]);
        check("ascribe train simpo --help", &["simpo-gamma", "beta"], &["reference", "loss-type", "loss-weights"]);
        check("ascribe train cpo --help", &["cpo-alpha", "loss-type"], &["loss-weights", "desirable-weight"]);
        check("ascribe train t_reg --help", &["credit", "revision", "dpo-model", "reference"], &["simpo-gamma"]);
        check("ascribe train dpo+kto --help", &["desirable-weight", "loss-weights"], &["loss-type", "cpo-alpha"]);
        check(
            "ascribe train iterative-dpo --help",
            &["round-prompts", "label-smoothing"],
            &["label-weights", "max-length"],
        );
        check("ascribe train reward --help", &["loss", "pooling", "loss-kwargs"], &["beta", "reference", "tools"]);
        check("ascribe train themis --help", &["tools", "lm-weight"], &["single-critiques", "reference", "games"]);
        check("ascribe train prm --help", &["zeta", "steps", "step-tag"], &["prover", "beta", "loss", "reference"]);
        check("ascribe train implicit-prm --help", &["form", "beta", "desirable-weight"], &["loss-type", "step-loss"]);
        check("ascribe train scir --help", &["beta", "loss-kwargs"], &["label-smoothing", "loss", "delta"]);
        check("ascribe train archer --help", &["games", "tau"], &["beta", "reference", "reward", "held-out"]);
        check("ascribe validate offline-oreo --help", &["oreo-kl", "beta", "reference"], &["oreo-weight", "loss-type"]);
    }

    #[test]
    fn an_estimator_or_a_loss_beside_help_brings_its_options() {
        check("ascribe train grpo --adv-estimator gae --help", &["lam", "constraint"], &["scale-rewards"]);
        check("ascribe train --loss-type brain --help grpo", &["brain-gamma"], &["epsilon", "delta"]);
        check("ascribe train dpo --loss-type hinge sft --help", &["delta", "loss-weights"], &["label-smoothing"]);
    }

    #[test]
    fn objectives_of_one_s_own_show_every_option_of_losses() {
        let catalog = Catalog::builtin().objective("mine", |_| Ok(Box::new(Sft)));
        let shown = shown("ascribe train mine --help", &catalog);
        for name in ["beta", "cpo-alpha", "credit", "reference", "loss-type"] {
            assert!(shown.iter().any(|known| known == name), "{name}: {shown:?}");
        }
        assert!(!shown.iter().any(|known| known == "num-generations"));
    }

    #[test]
    fn objectives_show_their_own_options_and_all_of_them() {
        let typed = ObjectiveArgs::augment_args(clap::Command::new("losses"));
        for row in &OBJECTIVES {
            let shown = shown(&format!("ascribe train {} --help", row.name), &Catalog::builtin());
            for argument in typed.get_arguments() {
                let (id, long) = (argument.get_id().as_str(), argument.get_long().unwrap());
                let added = row.name == "dpo" && ["loss_type", "loss_weights"].contains(&id);
                let wanted = added || row.options().contains_key(id);
                assert_eq!(shown.iter().any(|name| name == long), wanted, "{long} of {}", row.name);
            }
        }
    }

    #[test]
    fn words_say_what_is_asked_about() {
        let method = |line: &str| of(line).map(|asked| (asked.command, asked.method, asked.long));
        let grpo = || Some("grpo".to_owned());
        assert_eq!(method("ascribe train grpo --help"), Some(("train", grpo(), true)));
        assert_eq!(method("ascribe train -h grpo"), Some(("train", grpo(), false)));
        assert_eq!(method("ascribe validate --beta=1 grpo --model m -h"), Some(("validate", grpo(), false)));
        assert_eq!(method("ascribe train --help"), Some(("train", None, true)));
        assert_eq!(method("ascribe help train"), Some(("train", None, true)));
        // The value of an option is no method.
        assert_eq!(method("ascribe train --reward score --help"), Some(("train", None, true)));
        assert_eq!(method("ascribe generate --help"), None);
        assert_eq!(method("ascribe --help"), None);
        assert_eq!(method("ascribe"), None);
        // What is no method has no page.
        let typo = of("ascribe train grp --help").unwrap();
        assert!(page(&typo, &Catalog::builtin()).is_none());
    }

    #[test]
    fn every_page_renders_with_headings_and_without_what_is_hidden() {
        let catalog = Catalog::builtin();
        for (method, about) in catalog.families().into_iter().flat_map(|(_, methods)| methods) {
            let mut page = page(&of(&format!("ascribe train {method} --help")).unwrap(), &catalog).unwrap();
            for text in [page.render_help().to_string(), page.render_long_help().to_string()] {
                let usage = format!(
                    "{about}\n\nUsage: ascribe train {method} --model <MODEL> --data <DATA> --output-dir <OUTPUT_DIR> [OPTIONS]\n"
                );
                assert!(text.starts_with(&usage), "{text}");
                let at = |heading: &str| text.find(&format!("\n{heading}:\n"));
                let headings = ["Model", "Data", "Output", "Adapter", "Optimizer", "Steps", "Run"].map(at);
                assert!(headings.iter().all(Option::is_some), "{headings:?} in {text}");
                assert!(!text.contains("\nOptions:\n") && !text.contains("\nArguments:\n"), "{text}");
                assert!(text.trim_end().ends_with("`ascribe train --help` lists the methods."), "{text}");
                assert_eq!(text.contains("\nGames in turns:\n"), method == "archer", "{method}");
                assert_eq!(text.contains("\nRollouts:\n"), text.contains("--max-completion-length <"), "{method}");
            }
        }
    }

    #[test]
    fn the_list_has_a_line_for_each_method() {
        let catalog = Catalog::builtin().objective("mine", |_| Ok(Box::new(Sft)));
        let text = methods("train", &catalog);
        assert!(
            text.starts_with(
                "Train a model, by one of these methods.\n\nUsage: ascribe train <METHOD> --model <MODEL>"
            )
        );
        for (method, about) in catalog.families().into_iter().flat_map(|(_, methods)| methods) {
            let is_its =
                |line: &&str| line.strip_prefix(&format!("  {method} ")).is_some_and(|rest| rest.trim() == about);
            assert_eq!(text.lines().filter(is_its).count(), 1, "{method}");
        }
        assert!(text.ends_with("`ascribe train <METHOD> --help` shows the options of a method, `-h` in fewer words."));
        assert!(!text.contains("--learning-rate"));
    }
}
