//! `ascribe generate`: continuations of prompts.

use anyhow::{Context, bail};
use ascribe::core::{Mode, Policy, Request, Sampling, Seed, Until};
use ascribe::data::{Message, Prompt, Rows};
use ascribe::lm::{LanguageModel, SpecialTokens};
use ascribe::preference::Encoder;
use serde_json::{Map, Value, json};

use crate::args::GenerateArgs;
use crate::device::device;
use crate::output::print_line;

pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let sampling =
        Sampling { temperature: args.temperature, top_k: (args.top_k > 0).then_some(args.top_k), top_p: args.top_p };
    let mode = if args.temperature == 0.0 { Mode::Greedy } else { Mode::Sample(sampling) };
    let model = LanguageModel::load(&args.model, &device(&args.common.device)?)?;
    let model = match &args.adapter {
        Some(folder) => model.with_adapter(folder)?,
        None => model,
    };
    let rows = match &args.input {
        None => vec![(1, Map::from_iter([("prompt".to_owned(), json!(args.prompt))]))],
        Some(path) => Rows::open(path)?.collect::<Result<Vec<_>, _>>()?,
    };
    let encoder = Encoder::new(&model, model.config.context)?;
    let requests: Vec<Request> = rows
        .iter()
        .enumerate()
        .map(|(number, (line, row))| {
            let prefix = prompt(row, args.raw || model.template.is_none()).and_then(|prompt| {
                let (prefix, context) = (encoder.prompt(&prompt)?, model.config.context);
                // One token of the context is for the answer.
                if prefix.len() >= context {
                    bail!("the prompt has {} tokens and the context holds {context}; shorten the prompt", prefix.len());
                }
                Ok(prefix)
            });
            let prefix = match &args.input {
                None => prefix?,
                Some(path) => prefix.with_context(|| format!("{}, row {line}", path.display()))?,
            };
            Ok(Request {
                prefix,
                n: args.n,
                until: Until::End,
                mode,
                max_new: args.max_new_tokens,
                seed: Seed(args.seed).child("generate", number as u64),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let replies = model.policy().propose(&requests)?;
    for ((_, mut row), reply) in rows.into_iter().zip(replies) {
        let texts = reply
            .candidates
            .iter()
            .map(|one| model.tokenizer.decode(&one.tokens, SpecialTokens::Skip))
            .collect::<Result<Vec<_>, _>>()?;
        match args.input {
            None => texts.iter().try_for_each(|text| print_line(text))?,
            Some(_) => {
                row.insert("completions".into(), json!(texts));
                row.insert("usage".into(), serde_json::to_value(reply.usage)?);
                print_line(&Value::Object(row).to_string())?;
            }
        }
    }
    Ok(())
}

/// The prompt of a row; a text becomes a user's message unless it is to be used as it is.
fn prompt(row: &Map<String, Value>, raw: bool) -> anyhow::Result<Prompt> {
    match row.get("prompt").or_else(|| row.get("messages")) {
        Some(Value::String(text)) if raw => Ok(Prompt::Text(text.clone())),
        Some(Value::String(text)) => Ok(Prompt::Messages(vec![Message::new("user", text)])),
        Some(messages @ Value::Array(_)) => {
            let messages = serde_json::from_value(messages.clone());
            Ok(Prompt::Messages(messages.context("messages must have the strings `role` and `content`")?))
        }
        _ => bail!("a row needs the column `prompt` (text or messages) or `messages`"),
    }
}
