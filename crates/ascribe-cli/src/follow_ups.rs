//! `ascribe score --follow-ups`: how a language model expects users to go on, as a reward of given responses (arXiv:2409.13948).
//!
//! ```text
//! user: prompt, assistant: response, user: follow-up        the tokens of the follow-up alone count
//! ```
//! A conversation is rendered by the chat template, up to where the next turn of the user begins; a plain prompt by roles in words.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Episode, Policy, Scorer, Tokens};
use ascribe::data::{Message, Prompt, Rows};
use ascribe::lm::{ChatTemplate, Render, Tokenizer};
use ascribe::reward::{FollowUpLikelihood, FollowUps, OverTokens};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::args::ScoreArgs;
use crate::output::{Progress, print_line};
use crate::rewarded::Given;
use crate::score::{next_batch, place};

/// What stands where the follow-up will; no text holds it.
const NEXT: &str = "\u{f8ff}next\u{f8ff}";

/// What users say next, in one category, in words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    positive: Vec<String>,
    negative: Vec<String>,
}

/// What reads the conversations.
pub struct Reader<'a> {
    /// The language model.
    pub policy: &'a dyn Policy,
    /// Text to ids.
    pub tokenizer: &'a Tokenizer,
    /// Messages to text.
    pub template: Option<&'a ChatTemplate>,
    /// Most tokens that it reads.
    pub context: usize,
}

impl Reader<'_> {
    /// The ids of a conversation up to where the user's next turn begins.
    fn prefix(&self, prompt: &Prompt, response: &str) -> anyhow::Result<Tokens> {
        let messages = match prompt {
            Prompt::Text(text) => {
                let spoken = format!("User: {text}\n\nAssistant: {response}\n\nUser:");
                return Ok(self.tokenizer.encode_with_special(&spoken)?.into());
            }
            Prompt::Messages(messages) => messages,
        };
        let Some(template) = self.template else {
            bail!("a conversation needs a chat template, and the model has none; give prompts as plain text");
        };
        let turns = [Message::new("assistant", response), Message::new("user", NEXT)];
        let messages: Vec<Message> = messages.iter().cloned().chain(turns).collect();
        let text = template.render(&messages, &Render::default())?;
        let Some((before, _)) = text.split_once(NEXT) else {
            bail!("the chat template leaves the last turn of the user out; give prompts as plain text");
        };
        Ok(self.tokenizer.encode(before)?.into())
    }

    fn categories(&self, path: &Path, spoken: bool) -> anyhow::Result<Vec<FollowUps>> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let read: BTreeMap<String, Category> = serde_json::from_str(&text).with_context(|| {
            format!(
                "`{}` must hold a JSON object of categories, each with the lists `positive` and `negative` of texts",
                path.display()
            )
        })?;
        // Behind `User:` a word begins with a space.
        let ids = |text: &String| -> anyhow::Result<Tokens> {
            let text = if spoken { format!(" {}", text.trim()) } else { text.trim().to_owned() };
            Ok(self.tokenizer.encode(&text)?.into())
        };
        let side = |texts: &[String]| texts.iter().map(ids).collect::<anyhow::Result<Vec<Tokens>>>();
        read.values()
            .map(|Category { positive, negative }| {
                Ok(FollowUps { positive: side(positive)?, negative: side(negative)? })
            })
            .collect()
    }
}

/// What a row holds, with the ids before the follow-up of each response.
struct Asked {
    given: Given,
    episodes: Vec<Episode>,
}

/// Adds the rewards to every row.
pub fn run(args: &ScoreArgs, path: &Path, reader: &Reader<'_>) -> anyhow::Result<()> {
    let over = if args.sum_follow_ups { OverTokens::Sum } else { OverTokens::Mean };
    let prefix = |episode: &Episode| -> Result<Tokens, CoreError> { Ok(episode.prompt_tokens().into()) };
    let scorer = |spoken: bool| -> anyhow::Result<_> {
        let categories = reader.categories(path, spoken)?;
        let sides = categories.iter().flat_map(|one| one.positive.iter().chain(&one.negative));
        let longest = sides.map(|tokens| tokens.len()).max().unwrap_or(0);
        Ok((FollowUpLikelihood::new(reader.policy, prefix, categories, over)?, longest))
    };
    let (plain, chat) = (scorer(true)?, scorer(false)?);
    let longest = plain.1.max(chat.1);
    let read = |row: &Map<String, Value>| -> anyhow::Result<Asked> {
        let given = Given::of(row)?;
        given.check(args.pairs)?;
        let mut episodes = Vec::with_capacity(given.responses.len());
        for response in &given.responses {
            let prefix = reader.prefix(&given.prompt, response)?;
            let tokens = prefix.len() + longest;
            if tokens > reader.context {
                bail!("{tokens} tokens do not fit the context of {}; shorten the prompt", reader.context);
            }
            episodes.push(Episode::new(&prefix, &[]));
        }
        Ok(Asked { given, episodes })
    };
    // A broken line anywhere refuses the whole file, before the first line is written.
    let mut total = 0;
    for row in Rows::open(&args.input)? {
        let (number, row) = row?;
        read(&row).with_context(|| place(&args.input, number))?;
        total += 1;
    }
    let (mut rows, mut progress, mut done) = (Rows::open(&args.input)?, Progress::new("score", total), 0);
    loop {
        let batch = next_batch(&mut rows, done, total)?;
        if batch.is_empty() {
            return Ok(());
        }
        done += batch.len();
        for (_, mut row) in batch {
            let Asked { given, episodes } = read(&row)?;
            let by = if matches!(given.prompt, Prompt::Text(_)) { &plain.0 } else { &chat.0 };
            let credits = by.score(&episodes)?;
            let rewards: Vec<f64> =
                credits.iter().map(|credit| f64::from(credit.values().first().copied().unwrap_or(f32::NAN))).collect();
            if let Some(least) = args.pairs {
                given.print_pair(&rewards, least)?;
                continue;
            }
            given.put_rewards(&rewards, &mut row);
            print_line(&Value::Object(row).to_string())?;
        }
        progress.at(done);
    }
}
