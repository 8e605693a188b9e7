//! Chats with a served model, for judges and for whoever wants text: messages in, text and log-probabilities out.
//!
//! The server's own chat template makes a prompt of the messages, and its tokenizer makes tokens of that, so neither is
//! needed here.

use std::sync::{Mutex, PoisonError};

use ascribe_core::{CoreError, Finish, Mode, Seed, Usage};
use rand::Rng;
use serde_json::{Value, json};

use super::ServedOptions;
use super::answer::{Answer, Choice, ended};
use super::dialect::Dialect;
use super::fleet::{Call, Part, each, one};
use super::server::Listed;
use super::wire::{Cure, Fault, Wire, open};
use crate::{LmError, Message};

const CHAT: &str = "/v1/chat/completions";

/// How far a penalty looks back, where a server has to be told: further than any context.
const FAR: usize = 1 << 20;

/// A wish for answers to a conversation.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Number of answers.
    pub n: usize,
    /// Greedy or sampled; the most likely tokens of each place are `top_logprobs`.
    pub mode: Mode,
    /// Most tokens of an answer.
    pub max_new: usize,
    /// Tell the log-probability of each token, and so many of the most likely ones in its place.
    pub top_logprobs: Option<usize>,
    /// Answer `i` has a seed out of `seed.stream("sample", i)`.
    pub seed: Seed,
}

/// A token of an answer, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatToken {
    /// What it spells; a part of a character is a replacement character.
    pub text: String,
    /// Its natural log-probability, as the server tells it.
    pub logp: f32,
    /// The most likely tokens in its place with theirs, most likely first.
    pub top: Vec<(String, f32)>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatChoice {
    /// What it says.
    pub text: String,
    /// Its tokens, if they were asked for.
    pub tokens: Option<Vec<ChatToken>>,
    /// [`Finish::End`] or [`Finish::Length`].
    pub finish: Finish,
}

/// The answers to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatReply {
    /// `n` answers, in the order of their streams.
    pub choices: Vec<ChatChoice>,
    /// What the request cost, as far as the server says it.
    pub usage: Usage,
}

/// A served model that is talked to.
#[derive(Debug)]
pub struct ServedChat {
    options: ServedOptions,
    wires: Vec<Wire>,
    models: Vec<(String, Dialect)>,
}

impl ServedChat {
    /// Connects to the endpoints, and looks whether each serves the model.
    ///
    /// # Errors
    /// [`LmError::Served`] for options out of range, [`LmError::Endpoint`] for an endpoint that is not there or lacks the
    /// model.
    pub fn connect(options: ServedOptions) -> Result<Self, LmError> {
        let wires = open(&options)?;
        let mut models = Vec::with_capacity(wires.len());
        for wire in &wires {
            let listed = one(wire, &options, |call| Listed::find(call, &options))?;
            models.push((listed.name, listed.dialect));
        }
        Ok(Self { options, wires, models })
    }

    /// Answers to each request; a request that fails costs the others nothing.
    pub fn ask(&self, requests: &[ChatRequest]) -> Vec<Result<ChatReply, LmError>> {
        let mut parts = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            // Greedy answers are all the same, so one is asked for.
            let (n, at_once) = match request.mode {
                Mode::Greedy | Mode::Top => (request.n.min(1), 1),
                Mode::Sample(_) => (request.n, self.options.choices_per_request),
            };
            parts.extend(Part::of(number, n, at_once));
        }
        let numbers: Vec<usize> = parts.iter().map(|part| part.request).collect();
        let answers = each(&self.wires, &self.options, &numbers, |job, call| {
            let part = &parts[job];
            self.answer(call, &requests[part.request], part)
        });
        let empty = |_: &ChatRequest| Ok(ChatReply { choices: Vec::new(), usage: Usage::default() });
        let mut replies: Vec<Result<ChatReply, LmError>> = requests.iter().map(empty).collect();
        for (part, answer) in parts.iter().zip(answers) {
            let reply = &mut replies[part.request];
            match answer {
                Ok(more) => {
                    if let Ok(reply) = reply {
                        reply.choices.extend(more.choices);
                        reply.usage += more.usage;
                    }
                }
                Err(error) if reply.is_ok() => *reply = Err(error),
                // One failure of a request is told, the first.
                Err(_) => {}
            }
        }
        for (request, reply) in requests.iter().zip(&mut replies) {
            if let (Mode::Greedy | Mode::Top, Ok(reply)) = (request.mode, reply) {
                reply.choices = reply.choices.iter().cycle().take(request.n).cloned().collect();
            }
        }
        replies
    }

    /// One answer, whose text is given to `on_text` as it comes. Once a piece of it was given, it is not asked for again.
    ///
    /// # Errors
    /// When no endpoint answers, or the answer breaks off.
    pub fn stream(&self, request: &ChatRequest, on_text: &mut (dyn FnMut(&str) + Send)) -> Result<ChatChoice, LmError> {
        let shared = Mutex::new((on_text, false));
        let answers = each(&self.wires, &self.options, &[0], |_, call| {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let (on_text, given) = &mut *shared;
            let streamed = self.stream_once(call, request, &mut |text| {
                *given = true;
                on_text(text);
            });
            streamed.map_err(|fault| if *given { Fault { cure: Cure::Nothing, ..fault } } else { fault })
        });
        answers.into_iter().next().expect("invariant: one job has one answer")
    }

    fn stream_once(
        &self,
        call: &Call<'_>,
        request: &ChatRequest,
        on_text: &mut dyn FnMut(&str),
    ) -> Result<ChatChoice, Fault> {
        let mut body = self.body(call, request, 0, 1)?;
        body["stream"] = json!(true);
        let (mut text, mut finish) = (String::new(), None);
        call.stream(CHAT, &body, &mut |event| {
            let choice = &event["choices"][0];
            if let Some(piece) = choice["delta"]["content"].as_str().filter(|piece| !piece.is_empty()) {
                text.push_str(piece);
                on_text(piece);
            }
            if !choice["finish_reason"].is_null() {
                finish = Some(finished(ended(&choice["finish_reason"])?));
            }
            Ok(())
        })?;
        let finish = finish.ok_or_else(|| Fault::passing("ended a stream without saying why; see the server's log"))?;
        Ok(ChatChoice { text, tokens: None, finish })
    }

    fn answer(&self, call: &Call<'_>, request: &ChatRequest, part: &Part) -> Result<ChatReply, Fault> {
        let body = self.body(call, request, part.first, part.count)?;
        let answer = call.post(CHAT, &body)?;
        let generated = answer["usage"]["completion_tokens"].as_u64().unwrap_or(0);
        let answer = Answer::chat(&answer, part.count)?;
        let read = answer.prompt.unwrap_or(0).saturating_sub(answer.cached);
        let usage = Usage { generated, scored: read, reused: answer.cached };
        let choices = answer.choices.into_iter().map(|choice| choice_of(choice, request.top_logprobs.is_some()));
        Ok(ChatReply { choices: choices.collect::<Result<_, _>>()?, usage })
    }

    fn body(&self, call: &Call<'_>, request: &ChatRequest, first: usize, count: usize) -> Result<Value, Fault> {
        let (model, dialect) = &self.models[call.endpoint];
        let refuse = |error: CoreError| Fault::lasting(error.to_string());
        if let Mode::Sample(sampling) = request.mode {
            sampling.check().map_err(refuse)?;
        }
        let mut body = dialect.sampling(request.mode, FAR).map_err(refuse)?;
        let seed = request.seed.stream("sample", first as u64).next_u32() >> 1;
        let fields = [
            ("model", json!(model)),
            ("messages", json!(request.messages)),
            ("n", json!(count)),
            ("max_tokens", json!(request.max_new)),
            ("seed", json!(seed)),
        ];
        body.extend(fields.map(|(name, value)| (name.to_owned(), value)));
        if let Some(top) = request.top_logprobs {
            body.insert("logprobs".into(), json!(true));
            body.insert("top_logprobs".into(), json!(top));
        }
        Ok(Value::Object(body))
    }
}

fn choice_of(choice: Choice, with_tokens: bool) -> Result<ChatChoice, Fault> {
    let finish = finished(choice.ended);
    if !with_tokens {
        return Ok(ChatChoice { text: choice.text, tokens: None, finish });
    }
    if choice.told.is_empty() && !choice.text.is_empty() {
        return Err(Fault::lasting("told no log-probabilities of its answer; ask a server that does, or do without"));
    }
    let mut tokens = Vec::with_capacity(choice.told.len());
    for (place, told) in choice.told.into_iter().enumerate() {
        let logp = told.logp(place)?;
        let text = String::from_utf8_lossy(&told.bytes.unwrap_or_default()).into_owned();
        let mut top = told.top_texts;
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        tokens.push(ChatToken { text, logp, top });
    }
    Ok(ChatChoice { text: choice.text, tokens: Some(tokens), finish })
}

fn finished(ended: bool) -> Finish {
    if ended { Finish::End } else { Finish::Length }
}
