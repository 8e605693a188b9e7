//! `ascribe generate --chat`: answers that are written as they come.
//!
//! A token is asked for at a time, with the conversation so far as the prompt, of which the policy reads what is new. Turn
//! `t` has the seed `child("generate", t)` of `--seed`, and token `i` of its answer draws from that seed's
//! `child("token", i)`; so a sampled answer is another one than `--prompt` gives, and a greedy answer is the same.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, bail};
use ascribe::core::{Finish, Mode, Policy, Request, Seed, Until};
use ascribe::data::{Message, Prompt};
use ascribe::lm::{FrozenModel, SpecialTokens};
use ascribe::preference::Encoder;

use crate::args::GenerateArgs;
use crate::device::device;
use crate::generate::{check_room, frozen, mode};
use crate::output::print_piece;

/// Answers `text`, or line after line of standard input.
pub fn run(args: &GenerateArgs, text: Option<&str>) -> anyhow::Result<()> {
    let mode = mode(args)?;
    let model = frozen(&args.model, args.adapter.as_deref(), args.weights, &device(&args.common.device)?)?;
    if model.template.is_none() {
        bail!(
            "`{}` has no chat template, which --chat needs; use --prompt, or a model that was trained to answer",
            args.model.display()
        );
    }
    let messages = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut chat =
        Chat { encoder: Encoder::frozen(&model)?, model: &model, mode, max_new: args.max_new_tokens, messages };
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
            // A context that is full ends no conversation: another message may be shorter.
            Err(error) if chat.messages.len() == before => eprintln!("not answered: {error}"),
            other => other?,
        }
        turn += 1;
    }
}

/// A conversation.
struct Chat<'a> {
    encoder: Encoder<'a>,
    model: &'a FrozenModel,
    mode: Mode,
    max_new: usize,
    messages: Vec<Message>,
}

impl Chat<'_> {
    /// Writes the answer to `text` and a line break, and keeps both in mind.
    fn answer(&mut self, text: &str, seed: Seed) -> anyhow::Result<()> {
        self.messages.push(Message::new("user", text));
        let context = self.model.config.context;
        let mut prefix = self.encoder.prompt(&Prompt::Messages(self.messages.clone()))?;
        if let Err(full) = check_room(&prefix, context) {
            // The message that is too long is forgotten; a conversation goes on without it.
            self.messages.pop();
            return Err(full);
        }
        let mut stream = self.model.tokenizer.stream(SpecialTokens::Skip);
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
            let replies = self.model.policy.propose(&[request])?;
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
        self.messages.push(Message::new("assistant", answer + &rest));
        Ok(())
    }
}
