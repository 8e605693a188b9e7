//! The model behind a protocol: texts to token ids, and pairs to scores.

use anyhow::{Context, bail};
use ascribe::core::{CoreError, Credit, Episode, Mode, Policy, Reduce, Request, Scorer, Seed, Tokens, Until};
use ascribe::data::{Message, Prompt};
use ascribe::eval::protocol::{Likelihood, Question, scored_pairs};
use ascribe::lm::{Decoder, FrozenModel, Head, LanguageModel, SpecialTokens};
use ascribe::preference::{Encoder, ImplicitReward};
use serde_json::Value;

use crate::args::{ModelArgs, RewardBenchArgs};
use crate::device::device;
use crate::generate::frozen;
use crate::hub::resolve;
use crate::output::Progress;
use crate::records::{Record, Records};

/// Rows that are asked together, so that memory stays constant.
pub const ROWS: usize = 64;

/// A language model that is asked in words.
pub struct Asked {
    pub model: FrozenModel,
    /// Whether a text becomes a user's message.
    chat: bool,
}

impl Asked {
    /// The model of `--model`, if there is one.
    pub fn load(args: &ModelArgs) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.model else { return Ok(None) };
        let model = frozen(path, args.adapter.as_deref(), args.weights, &device(&args.device)?)?;
        if model.config.head != Head::NextToken {
            bail!("{} is a classifier and cannot be asked; give a model that writes", path.display());
        }
        let chat = !args.raw && model.template.is_some();
        Ok(Some(Self { model, chat }))
    }

    /// Ids of a text that the model goes on from: a user's message, or the text itself.
    pub fn prompt(&self, text: &str) -> anyhow::Result<Tokens> {
        let prompt =
            if self.chat { Prompt::Messages(vec![Message::new("user", text)]) } else { Prompt::Text(text.to_owned()) };
        Ok(Encoder::frozen(&self.model)?.prompt(&prompt)?)
    }

    /// Ids of a text in the middle of another.
    pub fn part(&self, text: &str) -> anyhow::Result<Tokens> {
        Ok(self.model.tokenizer.encode(text)?.into())
    }

    /// A question with its options. A chat's answer begins without the space that follows a text.
    pub fn question(&self, prompt: &str, options: [&str; 2]) -> anyhow::Result<Question> {
        let prefix = self.prompt(prompt)?;
        let options = options.map(|option| self.part(if self.chat { option.trim_start() } else { option }));
        let options = options.into_iter().collect::<anyhow::Result<Vec<Tokens>>>()?;
        self.fits(prefix.len() + options.iter().map(|option| option.len()).max().unwrap_or(0))?;
        Ok(Question { prefix, options })
    }

    /// Ids of a text that leaves room for an answer.
    pub fn short_prompt(&self, text: &str) -> anyhow::Result<Tokens> {
        let prefix = self.prompt(text)?;
        self.fits(prefix.len() + 1)?;
        Ok(prefix)
    }

    /// What the model writes behind each prompt, always the likeliest token.
    pub fn write(&self, prompts: &[Tokens], max_new: usize, seed: u64) -> anyhow::Result<Vec<String>> {
        let request = |prefix: &Tokens| Request {
            prefix: prefix.clone(),
            n: 1,
            until: Until::End,
            mode: Mode::Greedy,
            max_new,
            seed: Seed(seed),
        };
        let replies = self.model.policy.propose(&prompts.iter().map(request).collect::<Vec<Request>>())?;
        let mut texts = Vec::with_capacity(prompts.len());
        for reply in &replies {
            let tokens = &reply.candidates.first().context("the model gave no answer")?.tokens;
            texts.push(self.model.tokenizer.decode(tokens, SpecialTokens::Skip)?);
        }
        Ok(texts)
    }

    /// Refuses what is longer than the context.
    pub fn fits(&self, tokens: usize) -> anyhow::Result<()> {
        fits(tokens, self.model.config.context)
    }
}

fn fits(tokens: usize, context: usize) -> anyhow::Result<()> {
    if tokens > context {
        bail!("{tokens} tokens do not fit the context of {context}; shorten the texts");
    }
    Ok(())
}

/// Asks about every row, in batches, with progress; faults of a row name it.
pub fn each_row<Q, A>(
    records: &Records,
    title: &str,
    ask: impl Fn(&Record) -> anyhow::Result<Q>,
    answer: impl Fn(&[Q]) -> anyhow::Result<Vec<A>>,
) -> anyhow::Result<Vec<A>> {
    let asked = records.rows.iter().map(|row| ask(row).with_context(|| records.place(row)));
    let asked = asked.collect::<anyhow::Result<Vec<Q>>>()?;
    let mut progress = Progress::new(title, asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    for batch in asked.chunks(ROWS) {
        answers.extend(answer(batch)?);
        progress.at(answers.len());
    }
    Ok(answers)
}

/// What scores the responses of a pair.
pub struct PairScorer {
    model: Scoring,
    per_token: bool,
    raw: bool,
}

enum Scoring {
    Classifier(Box<LanguageModel>),
    Likelihood(Box<FrozenModel>),
    Implicit(Box<FrozenModel>, Box<FrozenModel>),
}

impl PairScorer {
    /// The model of `--model`, if there is one: a classifier by its score, another by its log-probabilities, or by their
    /// ratio to those of `--reference`.
    pub fn load(args: &RewardBenchArgs) -> anyhow::Result<Option<Self>> {
        let ModelArgs { model: Some(path), adapter, weights, raw, device: name } = &args.model else {
            return Ok(None);
        };
        let device = device(name)?;
        let model = frozen(path, adapter.as_deref(), *weights, &device)?;
        let model = match (&args.reference, model.config.head == Head::NextToken) {
            (None, true) => Scoring::Likelihood(Box::new(model)),
            (Some(reference), true) => {
                let reference = frozen(reference, None, *weights, &device)?;
                if reference.text_hash() != model.text_hash() {
                    bail!(
                        "the reference has another tokenizer or chat template than the model; use models of one family"
                    );
                }
                Scoring::Implicit(Box::new(model), Box::new(reference))
            }
            (Some(_), false) => bail!("{} is a classifier; leave out --reference", path.display()),
            (None, false) => {
                if args.per_token {
                    bail!("{} is a classifier, with one score a response; leave out --per-token", path.display());
                }
                drop(model);
                let model = LanguageModel::load(&resolve(path)?, &device)?;
                Scoring::Classifier(Box::new(match adapter {
                    Some(folder) => model.with_adapter(folder)?,
                    None => model,
                }))
            }
        };
        Ok(Some(Self { model, per_token: args.per_token, raw: *raw }))
    }

    /// What the scores are.
    pub fn name(&self) -> &'static str {
        match (&self.model, self.per_token) {
            (Scoring::Classifier(_), _) => "classifier",
            (Scoring::Likelihood(_), false) => "log-probability",
            (Scoring::Likelihood(_), true) => "log-probability per token",
            (Scoring::Implicit(..), false) => "implicit reward",
            (Scoring::Implicit(..), true) => "implicit reward per token",
        }
    }

    /// The scores of (chosen, rejected) of every row.
    pub fn score(&self, records: &Records) -> anyhow::Result<Vec<[f64; 2]>> {
        let (encoder, context, template) = match &self.model {
            Scoring::Classifier(model) => {
                (Encoder::new(model, usize::MAX)?, model.config.context, model.template.is_some())
            }
            Scoring::Likelihood(model) | Scoring::Implicit(model, _) => {
                (Encoder::frozen(model)?, model.config.context, model.template.is_some())
            }
        };
        let scorer: Box<dyn Scorer + '_> = match &self.model {
            Scoring::Classifier(model) => Box::new(Classifier { decoder: &model.decoder }),
            Scoring::Likelihood(model) => Box::new(Likelihood { policy: &model.policy }),
            // Which of two responses is ahead does not depend on beta.
            Scoring::Implicit(model, reference) => {
                Box::new(ImplicitReward { policy: &model.policy, reference: &reference.policy, beta: 1.0 })
            }
        };
        let reduce = if self.per_token { Reduce::Mean } else { Reduce::Sum };
        let chat = template && !self.raw;
        let ask = |row: &Record| -> anyhow::Result<[Episode; 2]> {
            let prompt = prompt(records, row, chat)?;
            let episode = |column| -> anyhow::Result<Episode> {
                let (prefix, responses) = encoder.parts(&prompt, &[records.text(row, column)?])?;
                let response = responses.into_iter().next().unwrap_or_default();
                fits(prefix.len() + response.len(), context)?;
                Ok(Episode::new(&prefix, &response))
            };
            Ok([episode("chosen")?, episode("rejected")?])
        };
        each_row(records, "score", ask, |pairs| Ok(scored_pairs(&*scorer, pairs, reduce)?))
    }
}

fn prompt(records: &Records, row: &Record, chat: bool) -> anyhow::Result<Prompt> {
    match records.value(row, "prompt")? {
        Value::String(text) if chat => Ok(Prompt::Messages(vec![Message::new("user", text)])),
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        messages @ Value::Array(_) => {
            let messages: Vec<Message> = serde_json::from_value(messages.clone())
                .context("messages must have the strings `role` and `content`")?;
            Ok(Prompt::Messages(messages))
        }
        other => Err(records.wrong(row, "prompt", "a text or messages", other)),
    }
}

/// A reward model: the one label of a sequence classifier.
struct Classifier<'a> {
    decoder: &'a Decoder,
}

impl Scorer for Classifier<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut credits = Vec::with_capacity(episodes.len());
        for episode in episodes {
            let scores = self.decoder.scores(&[&episode.tokens[..]])?; // [1, labels], or [tokens, labels]
            let values: Vec<f32> =
                scores.into_data().convert::<f32>().try_to_vec().expect("invariant: converted to f32");
            let [score] = values[..] else {
                let got = format!("{} numbers a sequence", values.len());
                return Err(CoreError::Shape { rule: "a reward model must give one number a sequence", got });
            };
            credits.push(Credit::sequence(score));
        }
        Ok(credits)
    }
}
