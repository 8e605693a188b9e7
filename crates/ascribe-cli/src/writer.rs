//! What writes for `ascribe generate`: a model here, a served one by token ids, or a served one in words.

use std::sync::Arc;

use anyhow::{Context, bail};
use ascribe::core::{Mode, Policy, Reply, Request, Seed, Tokens, Until, Usage};
use ascribe::data::Prompt;
use ascribe::lm::{ChatChoice, ChatRequest, FrozenModel, LmError, ServedChat, ServedPolicy, SpecialTokens};
use ascribe::preference::Encoder;
use ascribe::search::{Beam, EarlyStopping, Search, SearchCtx};

use crate::args::{EarlyStoppingName, GenerateArgs};
use crate::device::device;
use crate::generate::{check_room, frozen};
use crate::interrupt;
use crate::words::Words;

/// What writes.
pub enum Writer {
    /// A model that was loaded.
    Local(Box<FrozenModel>),
    /// A served model that is sent token ids, of the model's tokenizer or of the server's.
    Ids(Box<ServedPolicy>, Option<Box<Words>>),
    /// A served model that makes prompts of messages by itself.
    Chat(Box<ServedChat>),
}

/// A prompt, ready to be asked.
pub enum Asked {
    Ids(Request),
    Chat(ChatRequest),
}

/// What was written for one prompt.
pub struct Written {
    pub texts: Vec<String>,
    pub usage: Usage,
}

impl Writer {
    pub fn open(args: &GenerateArgs) -> anyhow::Result<Self> {
        let Some(mut options) = args.served.options(Seed(args.seed))? else {
            let model = args.model.as_deref().context("a model is needed: give --model, or --endpoint")?;
            let device = device(&args.common.device)?;
            return Ok(Self::Local(Box::new(frozen(model, args.adapter.as_deref(), args.weights, &device)?)));
        };
        if args.input.is_some() {
            // What was answered by then is written.
            options.cancel = Arc::clone(interrupt::flag()?);
        }
        let Some(model) = &args.model else {
            if args.num_beams != 1 && !args.raw {
                bail!("a beam search over an endpoint needs --model for the chat template, or --raw");
            }
            if args.raw {
                return Ok(Self::Ids(Box::new(ServedPolicy::connect(options, None)?), None));
            }
            return Ok(Self::Chat(Box::new(ServedChat::connect(options)?)));
        };
        let words = Words::load(model)?;
        options.context = words.context_with(options.context);
        let policy = ServedPolicy::connect(options, Some(words.tokenizer.clone()))?;
        Ok(Self::Ids(Box::new(policy), Some(Box::new(words))))
    }

    /// Whether a text is a prompt as it is, and not a user's message.
    pub fn is_raw(&self, args: &GenerateArgs) -> bool {
        match self {
            Self::Local(model) => args.raw || model.template.is_none(),
            Self::Ids(_, Some(words)) => args.raw || words.template.is_none(),
            Self::Ids(_, None) => true,
            Self::Chat(_) => false,
        }
    }

    /// The prompt with the options, after a check of its length.
    pub fn ask(&self, args: &GenerateArgs, mode: Mode, seed: Seed, prompt: Prompt) -> anyhow::Result<Asked> {
        let (prefix, context) = match self {
            Self::Local(model) => (Encoder::frozen(model)?.prompt(&prompt)?, model.config.context),
            Self::Ids(policy, words) => {
                let context = policy.capabilities().context;
                let prefix = match (words, &prompt) {
                    (Some(words), _) => {
                        Encoder::from_parts(&words.tokenizer, words.template.as_ref(), context)?.prompt(&prompt)?
                    }
                    (None, Prompt::Text(text)) => policy.encode(text)?,
                    (None, Prompt::Messages(_)) => {
                        bail!("messages need a chat template; give --model, or leave out --raw")
                    }
                };
                (prefix, context)
            }
            Self::Chat(_) => {
                let Prompt::Messages(messages) = prompt else {
                    bail!("a chat needs messages; give --raw for plain text")
                };
                let (n, max_new) = (args.n, args.max_new_tokens);
                return Ok(Asked::Chat(ChatRequest { messages, n, mode, max_new, top_logprobs: None, seed }));
            }
        };
        check_room(&prefix, context)?;
        Ok(Asked::Ids(Request { prefix, n: args.n, until: Until::End, mode, max_new: args.max_new_tokens, seed }))
    }

    /// What is written for each prompt. A served model may fail one and write the others.
    pub fn write(&self, args: &GenerateArgs, asked: &[Asked]) -> anyhow::Result<Vec<Result<Written, LmError>>> {
        let (mut requests, mut chats) = (Vec::new(), Vec::new());
        for one in asked {
            match one {
                Asked::Ids(request) => requests.push(request.clone()),
                Asked::Chat(request) => chats.push(request.clone()),
            }
        }
        match self {
            Self::Chat(chat) => {
                let texts =
                    |choices: Vec<ChatChoice>| -> Vec<String> { choices.into_iter().map(|one| one.text).collect() };
                let replies = chat.ask(&chats).into_iter();
                let written =
                    replies.map(|reply| reply.map(|reply| Written { texts: texts(reply.choices), usage: reply.usage }));
                Ok(written.collect())
            }
            Self::Local(model) => {
                let replies = match args.num_beams {
                    1 => model.policy.propose(&requests)?,
                    _ => beam_search(args, &model.policy, &requests)?,
                };
                let decode = |ids: &[u32]| model.tokenizer.decode(ids, SpecialTokens::Skip);
                Ok(replies.into_iter().map(|reply| written(&reply, decode)).collect())
            }
            Self::Ids(policy, _) => {
                let replies: Vec<Result<Reply, LmError>> = match args.num_beams {
                    1 => policy.propose_each(&requests),
                    _ => beam_search(args, policy.as_ref(), &requests)?.into_iter().map(Ok).collect(),
                };
                let decode = |ids: &[u32]| policy.decode(ids);
                Ok(replies.into_iter().map(|reply| written(&reply?, decode)).collect())
            }
        }
    }
}

fn written(reply: &Reply, decode: impl Fn(&[u32]) -> Result<String, LmError>) -> Result<Written, LmError> {
    let texts = reply.candidates.iter().map(|one| decode(&one.tokens)).collect::<Result<_, _>>()?;
    Ok(Written { texts, usage: reply.usage })
}

/// The best `n` texts of a beam search, best first.
fn beam_search(args: &GenerateArgs, policy: &dyn Policy, requests: &[Request]) -> anyhow::Result<Vec<Reply>> {
    let beam = Beam {
        beams: args.num_beams,
        length_penalty: args.length_penalty,
        early_stopping: match args.early_stopping {
            EarlyStoppingName::False => EarlyStopping::WhenAhead,
            EarlyStoppingName::True => EarlyStopping::WhenFull,
            EarlyStoppingName::Never => EarlyStopping::Never,
        },
        returned: args.n,
    };
    let prompts: Vec<Tokens> = requests.iter().map(|request| request.prefix.clone()).collect();
    let found = beam.search(&prompts, &mut SearchCtx::new(policy, args.max_new_tokens, Seed(args.seed)))?;
    Ok(found.into_iter().map(|found| Reply { candidates: found.candidates, usage: found.usage }).collect())
}
