//! `--config file.toml`: its keys become options in front of those that were typed, so the typed ones win and both are
//! read by the same parser.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail};
use clap::CommandFactory;

use crate::args::Cli;

/// Puts the options of the config file behind the name of the command (and of its protocol), and spells option names with `-`.
pub fn expand(words: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let mut words: Vec<OsString> = words.into_iter().map(hyphenated).collect();
    let Some(path) = config_path(&words) else { return Ok(words) };
    let Some(name) = words.get(1).and_then(|word| word.to_str()).map(str::to_owned) else { return Ok(words) };
    let cli = Cli::command();
    let Some(command) = cli.find_subcommand(&name) else { return Ok(words) };
    let inner = words.get(2).and_then(|word| word.to_str()).and_then(|word| command.find_subcommand(word));
    let at = if inner.is_some() { 3 } else { 2 };
    words.splice(at..at, options(Path::new(&path), inner.unwrap_or(command))?);
    Ok(words)
}

/// `--learning_rate=1e-5` as `--learning-rate=1e-5`: both spellings are in use.
fn hyphenated(word: OsString) -> OsString {
    let Some(text) = word.to_str().filter(|text| text.starts_with("--")) else { return word };
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let name = name.replace('_', "-");
    value.map_or_else(|| name.clone(), |value| format!("{name}={value}")).into()
}

fn config_path(words: &[OsString]) -> Option<String> {
    let at = words
        .iter()
        .position(|word| word.to_str().is_some_and(|text| text == "--config" || text.starts_with("--config=")))?;
    match words[at].to_str()?.split_once('=') {
        Some((_, path)) => Some(path.to_owned()),
        None => words.get(at + 1)?.to_str().map(str::to_owned),
    }
}

/// The keys of a config file as options of `command`.
fn options(path: &Path, command: &clap::Command) -> anyhow::Result<Vec<OsString>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read config `{}`", path.display()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        anyhow::anyhow!("config `{}`, line {line}: {}", path.display(), error.message().trim())
    })?;
    let known: Vec<(String, bool)> = command
        .get_arguments()
        .filter(|argument| argument.get_long().is_some_and(|long| long != "config" && long != "help"))
        .flat_map(|argument| {
            let flag = !argument.get_action().takes_values();
            let names = argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default());
            names.map(move |name| (name.to_owned(), flag)).collect::<Vec<_>>()
        })
        .collect();
    let mut words = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let Some((_, flag)) = known.iter().find(|(known, _)| *known == name) else {
            let close = closest(&key, known.iter().map(|(name, _)| name.as_str()));
            bail!("config `{}` has the unknown key `{key}`{}", path.display(), close.replace('-', "_"));
        };
        let values = match (value, flag) {
            (toml::Value::Boolean(true), true) => {
                words.push(format!("--{name}").into());
                continue;
            }
            (toml::Value::Boolean(false), true) => continue,
            (_, true) => bail!("config `{}`: `{key}` must be true or false", path.display()),
            (toml::Value::Array(values), _) => values,
            (value, _) => vec![value],
        };
        for value in values {
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(_) | toml::Value::Float(_) => value.to_string(),
                toml::Value::Boolean(word) if is_a_value(command, &name, word) => word.to_string(),
                toml::Value::Table(_) => serde_json::to_string(&value)?,
                other => {
                    bail!("config `{}`: `{key}` must be a string or a number, got {}", path.display(), other.type_str())
                }
            };
            words.push(format!("--{name}={value}").into());
        }
    }
    Ok(words)
}

/// Whether the option has a value of the name `true` or `false`: `early_stopping` is true, false or "never".
fn is_a_value(command: &clap::Command, name: &str, word: bool) -> bool {
    let word = if word { "true" } else { "false" };
    let named = command.get_arguments().filter(|argument| argument.get_long() == Some(name));
    named.flat_map(clap::Arg::get_possible_values).any(|value| value.get_name() == word)
}

/// `; did you mean `x`?`, when a name is close enough.
pub fn closest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wrong = wrong.replace('_', "-");
    let scored = names.map(|name| (strsim::jaro_winkler(&wrong, name), name));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score > 0.8 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}

/// clap's message on one line, without the usage block.
pub fn usage_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    let words: Vec<&str> = text.trim_start_matches("error:").split_whitespace().collect();
    format!("{}; see `ascribe --help`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn underscores_of_names_become_hyphens_and_values_stay() {
        assert_eq!(
            expand(words("ascribe score --model a_b --max_x=c_d")).unwrap(),
            words("ascribe score --model a_b --max-x=c_d")
        );
    }

    #[test]
    fn keys_of_the_file_stand_before_what_was_typed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "learning_rate = 1e-5\nstrict = true\nmodel_name_or_path = \"m\"\ncolumns = [\"a=b\"]",
        )
        .unwrap();
        let path = file.path().display();
        let got = expand(words(&format!("ascribe train dpo --config {path} --learning-rate 2"))).unwrap();
        // Keys come in the order of their names.
        let expected = format!(
            "ascribe train --columns=a=b --learning-rate=0.00001 --model-name-or-path=m --strict dpo --config {path} --learning-rate 2"
        );
        let got: Vec<String> = got.iter().map(|word| word.to_string_lossy().replace("1e-5", "0.00001")).collect();
        assert_eq!(got.join(" "), expected);
    }

    #[test]
    fn keys_stand_behind_the_name_of_a_protocol() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "aggregate = \"last\"").unwrap();
        let line = format!("ascribe eval rewardmath --config {}", file.path().display());
        let got = expand(words(&line)).unwrap();
        assert_eq!(got[..4], words("ascribe eval rewardmath --aggregate=last"));
    }

    #[test]
    fn unknown_keys_are_errors_with_a_suggestion() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "learning_rat = 1e-5").unwrap();
        let error =
            expand(words(&format!("ascribe train dpo --config {}", file.path().display()))).unwrap_err().to_string();
        assert!(error.contains("`learning_rat`; did you mean `learning_rate`?"), "{error}");
    }
}
