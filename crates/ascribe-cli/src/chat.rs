//! `ascribe generate --chat`: answers that are written as they come.
//!
//! A token is asked for at a time, with the conversation so far as the prompt, of which the policy reads what is new. Turn
//! `t` has the seed `child("generate", t)` of `--seed`, and token `i` of its answer draws from that seed's
//! `child("token", i)`; so a sampled answer is another one than `--prompt` gives, and a greedy answer is the same. An
//! endpoint streams its answer by itself.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, bail};
use ascribe::core::{Finish, Mode, Policy, Request, Seed, Tokens, Until};
use ascribe::data::{Message, Prompt};
use ascribe::lm::{ChatRequest, FrozenModel, ServedChat, SpecialTokens};
use ascribe::preference::Encoder;

use crate::args::GenerateArgs;
use crate::device::device;
use crate::generate::{check_room, frozen, mode};
use crate::output::print_piece;

/// Answers `text`, or line after line of standard input.
pub fn run(args: &GenerateArgs, text: Option<&str>) -> anyhow::Result<()> {
    let mode = mode(args)?;
    let voice = Voice::open(args)?;
    let messages = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut chat = Chat { voice, mode, max_new: args.max_new_tokens, messages };
    if let Some(text) = text {
        return chat.answer(text, Seed(args.seed).child("generate", 0));
    }
    let input = std::io::stdin();
    let mut lines = input.lock().lines();
    let mut turn = 0;
    loop {
        if std::io::stdin().is_terminal() {
            eprint!("> ");
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.context("cannot read standard input; it must be text in UTF-8")?;
        if line.trim().is_empty() {
            continue;
        }
        let before = chat.messages.len();
        match chat.answer(&line, Seed(args.seed).child("generate", turn)) {
            // A context that is full ends no conversation: another message may be shorter. Nor does an endpoint that fails.
            Err(error) if chat.messages.len() == before => eprintln!("not answered: {error}"),
            other => other?,
        }
        turn += 1;
    }
}

/// Who answers.
enum Voice {
    Local(Box<FrozenModel>),
    Served(Box<ServedChat>),
}

impl Voice {
    fn open(args: &GenerateArgs) -> anyhow::Result<Self> {
        match (args.served.options(Seed(args.seed))?, &args.model) {
            (Some(_), Some(_)) => {
                bail!("over an endpoint, --chat uses the server's own chat template; leave out --model")
            }
            (Some(options), None) => Ok(Self::Served(Box::new(ServedChat::connect(options)?))),
            (None, model) => {
                let path = model.as_deref().context("a model is needed: give --model, or --endpoint")?;
                let model = frozen(path, args.adapter.as_deref(), args.weights, &device(&args.common.device)?)?;
                if model.template.is_none() {
                    bail!(
                        "`{}` has no chat template, which --chat needs; use --prompt, or a model that was trained to answer",
                        path.display()
                    );
                }
                Ok(Self::Local(Box::new(model)))
            }
        }
    }
}

/// A conversation.
struct Chat {
    voice: Voice,
    mode: Mode,
    max_new: usize,
    messages: Vec<Message>,
}

impl Chat {
    /// Writes the answer to `text` and a line break, and keeps both in mind. A message that is too long, or that an endpoint
    /// does not answer, is forgotten; a conversation goes on without it.
    fn answer(&mut self, text: &str, seed: Seed) -> anyhow::Result<()> {
        self.messages.push(Message::new("user", text));
        let answer = match &self.voice {
            Voice::Local(model) => {
                let prefix = Encoder::frozen(model)?.prompt(&Prompt::Messages(self.messages.clone()))?;
                if let Err(full) = check_room(&prefix, model.config.context) {
                    self.messages.pop();
                    return Err(full);
                }
                self.write_here(model, prefix, seed)?
            }
            Voice::Served(server) => match self.write_there(server, seed) {
                Ok(answer) => answer,
                Err(error) => {
                    self.messages.pop();
                    return Err(error);
                }
            },
        };
        self.messages.push(Message::new("assistant", answer));
        Ok(())
    }

    fn write_here(&self, model: &FrozenModel, mut prefix: Tokens, seed: Seed) -> anyhow::Result<String> {
        let context = model.config.context;
        let mut stream = model.tokenizer.stream(SpecialTokens::Skip);
        let mut answer = String::new();
        for at in 0..self.max_new.min(context - prefix.len()) {
            let request = Request {
                prefix: prefix.clone(),
                n: 1,
                until: Until::Token,
                mode: self.mode,
                max_new: 1,
                seed: seed.child("token", at as u64),
            };
            let replies = model.policy.propose(&[request])?;
            let Some(candidate) = replies.into_iter().flat_map(|reply| reply.candidates).next() else { break };
            for token in candidate.tokens.iter() {
                if let Some(piece) = stream.push(*token)? {
                    print_piece(&piece)?;
                    answer.push_str(&piece);
                }
            }
            if candidate.finish == Finish::End {
                break;
            }
            prefix = prefix.followed_by(&candidate.tokens);
        }
        let rest = stream.finish()?;
        print_piece(&format!("{rest}\n"))?;
        Ok(answer + &rest)
    }

    fn write_there(&self, server: &ServedChat, seed: Seed) -> anyhow::Result<String> {
        let (messages, mode, max_new) = (self.messages.clone(), self.mode, self.max_new);
        let request = ChatRequest { messages, n: 1, mode, max_new, top_logprobs: None, seed };
        let mut printed = Ok(());
        let answer = server.stream(&request, &mut |piece| {
            if printed.is_ok() {
                printed = print_piece(piece);
            }
        })?;
        printed?;
        print_piece("\n")?;
        Ok(answer.text)
    }
}
