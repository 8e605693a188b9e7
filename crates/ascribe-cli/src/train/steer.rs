//! `ascribe train steer-lm`: a policy of responses that have the attributes that are asked for. SteerLM 2.0, HelpSteer2,
//! arXiv:2406.08673, section 4.
//!
//! ```text
//! Q(y|a,x) -> P(a|x,y) P(y|x), normalised:   BRAIn's loss, whose score is log P(a|x,y) and whose reference is P(y|x)
//! ```
//! The policy reads a line such as `helpfulness:4,verbosity:2` in front of the prompt, or of the last message of one; the
//! reference reads the prompt alone. P(a|x,y) is a product of Gaussians around what a model of `train reward --loss regression`
//! predicts, whose variances are its errors on the rows that were held out there (our choice: the paper leaves it open). The
//! responses of a generation come from the policy as it is; several passes over them are `--num-iterations`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Credit, Episode, Scorer, Tokens};
use ascribe::data::{Prompt, PromptOnly};
use ascribe::preference::Encoder;
use ascribe::preference::rl::{PromptRow, WeightedRewards};
use ascribe::reward::Reading;
use ascribe::reward::losses::attribute_logp;
use serde_json::{Map, Value};

use crate::args::TrainArgs;
use crate::device::device;
use crate::judge::Judge;

/// The name of the method.
pub(super) const METHOD: &str = "steer-lm";

/// The column with the attributes of a row.
const COLUMN: &str = "attributes";

/// What is wanted of responses to a prompt: names and values.
fn wanted(args: &TrainArgs, row: &PromptOnly) -> anyhow::Result<Vec<(String, f64)>> {
    let given: &Map<String, Value> = match (row.others.get(COLUMN), &args.rl.attributes) {
        (Some(Value::Object(own)), _) => own,
        (Some(other), _) => bail!("line {}: `{COLUMN}` must be an object of names and numbers, got {other}", row.line),
        (None, Some(all)) => all,
        (None, None) => bail!(
            "line {} has no column `{COLUMN}`; say what is wanted with --attributes, such as helpfulness=4,verbosity=2",
            row.line
        ),
    };
    if given.is_empty() {
        bail!("line {}: no attribute is wanted; name one at least", row.line);
    }
    let number = |(name, value): (&String, &Value)| -> anyhow::Result<(String, f64)> {
        let value = value.as_f64().with_context(|| format!("the attribute `{name}` must be a number, got {value}"))?;
        Ok((name.clone(), value))
    };
    given.iter().map(number).collect()
}

/// What the policy reads of a row: of this method, the prompt behind a line of attributes.
pub(super) fn asked(args: &TrainArgs, row: &PromptOnly) -> anyhow::Result<Prompt> {
    if args.method != METHOD {
        return Ok(row.prompt.clone());
    }
    let line: Vec<String> = wanted(args, row)?.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let line = line.join(",");
    Ok(match row.prompt.clone() {
        Prompt::Text(text) => Prompt::Text(format!("{line}\n{text}")),
        Prompt::Messages(mut messages) => {
            let last = messages.last_mut().with_context(|| format!("line {}: no message", row.line))?;
            last.content = format!("{line}\n{}", last.content);
            Prompt::Messages(messages)
        }
    })
}

/// What the reference reads, by what the policy reads.
pub(super) fn plain(encoder: &Encoder, rows: &[PromptRow]) -> anyhow::Result<HashMap<Tokens, Tokens>> {
    rows.iter().map(|(tokens, row)| Ok((tokens.clone(), encoder.prompt(&row.prompt)?))).collect()
}

/// How likely the wanted attributes are, given a response.
struct Likelihood {
    judge: Judge,
    variances: Vec<f64>,
    /// Places and values of the wanted attributes, by the tokens that the policy reads.
    wanted: HashMap<Tokens, Vec<(usize, f64)>>,
}

impl Scorer for Likelihood {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut credits = Vec::with_capacity(episodes.len());
        for (episode, scored) in episodes.iter().zip(self.judge.scored(episodes)?) {
            let asked = Tokens::from(episode.prompt_tokens());
            let wanted = self.wanted.get(&asked).ok_or(CoreError::MissingEvidence("the row of the prompt"))?;
            let logp = match scored {
                None => f64::NAN,
                Some(scored) => {
                    let values: Vec<f64> = wanted.iter().map(|(_, value)| *value).collect();
                    let at = |of: &[f64]| wanted.iter().map(|(place, _)| of[*place]).collect::<Vec<f64>>();
                    attribute_logp(&values, &at(&scored.outputs), &at(&self.variances))?
                }
            };
            credits.push(Credit::sequence(logp as f32));
        }
        Ok(credits)
    }
}

/// What judges responses: `log P(a|x,y)`.
pub(super) fn rewards(args: &TrainArgs, rows: &[PromptRow]) -> anyhow::Result<WeightedRewards> {
    let rl = &args.rl;
    let [folder] = rl.reward.as_slice() else {
        bail!(
            "{METHOD} asks one model of attributes; name the folder of one that `train reward --loss regression` wrote with --reward"
        )
    };
    let sums = !rl.reward_weights.is_empty() || rl.combine.is_some() || rl.combine_weight.is_some();
    if sums
        || rl.standardize
        || rl.log_sigmoid.is_some()
        || rl.log_sigmoid_quantile.is_some()
        || rl.confidence_weight.is_some()
        || rl.brain_reference.is_some()
    {
        bail!(
            "the score of {METHOD} is the log-probability of attributes, as it is; drop reward_weights, combine, combine_weight, \
             standardize, log_sigmoid, log_sigmoid_quantile, confidence_weight and brain_reference"
        );
    }
    if !args.objective.loss_type.is_empty() || rl.advantage_estimator.is_some() {
        bail!("{METHOD} has a loss of its own; drop loss_type and advantage_estimator");
    }
    let folder = Path::new(folder);
    if !folder.is_dir() {
        bail!("`{}` is no folder; train a model of attributes with `train reward --loss regression`", folder.display());
    }
    let prompts = rows.iter().map(|(tokens, row)| (tokens.clone(), row.prompt.clone()));
    let judge = Judge::open(folder, &device(&args.common.device)?, prompts)?;
    let Reading::Attributes { names, .. } = &judge.card().reading else {
        bail!("`{}` predicts no attributes; train one with `train reward --loss regression`", folder.display());
    };
    let variances = judge.card().variances.clone();
    if variances.len() != names.len() {
        bail!(
            "the reward.json of `{}` does not say how far its attributes are off; train it with rows to measure on: --held-out",
            folder.display()
        );
    }
    let mut wanted_by = HashMap::with_capacity(rows.len());
    for (tokens, row) in rows {
        let mut places = Vec::new();
        for (name, value) in wanted(args, row)? {
            let place = names.iter().position(|known| *known == name);
            let place = place.with_context(|| {
                format!("`{}` knows no attribute `{name}`; it has {}", folder.display(), names.join(", "))
            })?;
            places.push((place, value));
        }
        wanted_by.insert(tokens.clone(), places);
    }
    let likelihood: Box<dyn Scorer> = Box::new(Likelihood { judge, variances, wanted: wanted_by });
    Ok(WeightedRewards::new(vec![(likelihood, 1.0)])?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(method: &str, attributes: &[&str]) -> Box<TrainArgs> {
        let run = ["ascribe", "train", method, "--model", "m", "--data", "d", "--output-dir", "o", "--reward", "r"];
        let cli = Cli::try_parse_from(run.iter().chain(attributes).copied()).unwrap_or_else(|error| panic!("{error}"));
        match cli.command {
            Command::Train(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn row(prompt: Prompt, attributes: Option<Value>) -> PromptOnly {
        let others = attributes.into_iter().map(|value| (COLUMN.to_owned(), value)).collect();
        PromptOnly { prompt, others, line: 3 }
    }

    #[test]
    fn what_is_wanted_stands_in_front_of_the_prompt() {
        let given = args(METHOD, &["--attributes", "helpfulness=4,verbosity=1.5"]);
        let text = || Prompt::Text("What is 2?".to_owned());
        let read = |args: &TrainArgs, row: &PromptOnly| asked(args, row).map_err(|error| format!("{error:#}"));
        let expected = Prompt::Text("helpfulness:4,verbosity:1.5\nWhat is 2?".to_owned());
        assert_eq!(read(&given, &row(text(), None)), Ok(expected));
        // A row knows better, and a conversation is asked by its last message.
        let messages: Vec<ascribe::data::Message> = serde_json::from_value(
            serde_json::json!([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]),
        )
        .unwrap();
        let own = row(Prompt::Messages(messages.clone()), Some(serde_json::json!({"helpfulness": 0})));
        let Ok(Prompt::Messages(read_as)) = read(&given, &own) else { panic!("a conversation") };
        assert_eq!((read_as[0].content.as_str(), read_as[1].content.as_str()), ("s", "helpfulness:0\nu"));
        // Other methods leave prompts alone.
        assert_eq!(read(&args("grpo", &[]), &row(text(), None)), Ok(text()));
        for (attributes, said) in [
            (None, "line 3 has no column `attributes`"),
            (Some(serde_json::json!({})), "no attribute is wanted"),
            (Some(serde_json::json!([4])), "must be an object"),
            (Some(serde_json::json!({"helpfulness": "much"})), "`helpfulness` must be a number"),
        ] {
            let error = read(&args(METHOD, &[]), &row(text(), attributes)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
