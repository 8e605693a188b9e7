//! One server: what it can do, asked once, and how it is asked for tokens.
//!
//! ```text
//! GET  /v1/models                         the model, whose server it is, the context
//! one token at temperature 1 and at 2     ids or text in, ids or text out, log-probabilities of the model itself?
//! echo, or a token that is forced         log-probabilities of given tokens?
//! ```
//! llama.cpp's server echoes no prompt, but it tells the log-probability of a token as it was before `logit_bias` made the
//! token certain, so it scores given tokens one by one. A token that ends within a character is not told by it; then the end
//! token is forced in its place, and the whole vocabulary is told.

use ascribe_core::{Mode, Sampling};
use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice, Told};
use super::dialect::Dialect;
use super::fleet::Call;
use super::options::ServedOptions;
use super::wire::{Cure, Fault};
use crate::{LmError, Tokenizer};

/// How a server scores given tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// It repeats the prompt with log-probabilities: one request a continuation.
    Echo,
    /// Each token is forced by `logit_bias` and its log-probability before that is told: one request a token.
    Forced,
}

/// What a server can do, as it was found when it was connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Name of the model.
    pub model: String,
    /// What it understands.
    pub dialect: Dialect,
    /// Longest prefix and continuation together, in tokens.
    pub context: usize,
    /// It takes token ids; else it is sent text, and has to split it alike.
    pub takes_ids: bool,
    /// It names token ids; else its texts are split by the tokenizer, and have to be the same.
    pub names_ids: bool,
    /// Its log-probabilities are the model's own at any temperature; else nothing but plain sampling is asked of it.
    pub own_logps: bool,
    /// How it scores given tokens, if it does.
    pub scoring: Option<Scoring>,
}

/// Text of the questions at the beginning.
const PROBE: &str = "The capital of France is";

/// Text that a tokenizer has to split as the server does: words, digits, signs, a line break.
const SPLIT: &str = "The capital of France is Paris; 12 + 30 = 42.\nYes, it's so.";

/// A bias that makes a token certain.
const CERTAIN: f32 = 1000.0;

/// How far two readings of one log-probability may differ, in another batch or after a quantised cache.
const SAME: f32 = 0.05;

/// More tokens than any vocabulary has.
const LARGE: usize = 1 << 20;

/// A server that was asked what it can do.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) abilities: Abilities,
    /// Tokens of the vocabulary.
    pub(super) vocabulary: usize,
    /// Tokens that end a text.
    pub(super) ends: Vec<u32>,
}

/// A request for tokens.
pub(super) struct Ask<'a> {
    pub(super) prefix: &'a [u32],
    pub(super) n: usize,
    pub(super) max_new: usize,
    pub(super) mode: Mode,
    /// Most likely tokens to name at each place.
    pub(super) top: usize,
    pub(super) seed: u32,
    /// The token to take whatever the model says.
    pub(super) forced: Option<u32>,
}

impl Default for Ask<'_> {
    /// One token, greedily.
    fn default() -> Self {
        Self { prefix: &[], n: 1, max_new: 1, mode: Mode::Greedy, top: 1, seed: 0, forced: None }
    }
}

/// What `GET /v1/models` says about the model.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) dialect: Dialect,
    entry: Value,
}

impl Listed {
    /// The model of `options`, or the only one.
    pub(super) fn find(call: &Call<'_>, options: &ServedOptions) -> Result<Self, Fault> {
        let models = call.get("/v1/models")?;
        let listed = models["data"].as_array().filter(|listed| !listed.is_empty());
        let listed = listed.ok_or_else(|| Fault::lasting("serves no model (/v1/models names none); load one"))?;
        let name = |entry: &Value| entry["id"].as_str().unwrap_or_default().to_owned();
        let names = || listed.iter().map(name).collect::<Vec<_>>().join(", ");
        let answers_to = |entry: &Value, wanted: &str| {
            let mut aliases = entry["aliases"].as_array().into_iter().flatten();
            name(entry) == wanted || aliases.any(|alias| alias == wanted)
        };
        let entry = match (&options.model, listed.as_slice()) {
            (None, [only]) => only,
            (None, _) => return Err(Fault::lasting(format!("serves several models; name one of {}", names()))),
            (Some(wanted), _) => listed.iter().find(|entry| answers_to(entry, wanted)).ok_or_else(|| {
                Fault::lasting(format!("does not serve the model `{wanted}`; it serves {}, name one of these", names()))
            })?,
        };
        let dialect = options.dialect.unwrap_or_else(|| Dialect::of(entry["owned_by"].as_str().unwrap_or_default()));
        let name = options.model.clone().unwrap_or_else(|| name(entry));
        Ok(Self { name, dialect, entry: entry.clone() })
    }
}

impl Server {
    /// Asks what the server can do. Without a `tokenizer` its own has to do.
    pub(super) fn probe(
        call: &Call<'_>,
        options: &ServedOptions,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, Fault> {
        let Listed { name: model, dialect, entry } = Listed::find(call, options)?;
        let props = match dialect {
            Dialect::LlamaCpp => call.get("/props")?,
            _ => Value::Null,
        };
        let context =
            [&props["default_generation_settings"]["n_ctx"], &entry["max_model_len"], &entry["meta"]["n_ctx"]];
        let context = context.into_iter().find_map(Value::as_u64).map(|context| context as usize);
        let context = context.into_iter().chain(options.context).min().ok_or_else(|| {
            Fault::lasting("does not say how long its context is; give the number of tokens (context)")
        })?;
        let listed = entry["meta"]["n_vocab"].as_u64().map(|count| count as usize);
        let (ends, probe, vocabulary) = match tokenizer {
            Some(tokenizer) => {
                if dialect == Dialect::LlamaCpp {
                    check_split(call, tokenizer)?;
                }
                let probe = tokenizer.encode_with_special(PROBE).map_err(|error| Fault::lasting(error.to_string()))?;
                (tokenizer.eos().to_vec(), probe, listed.unwrap_or(tokenizer.vocabulary_size()))
            }
            None if dialect == Dialect::LlamaCpp => {
                let end = props["eos_token"].as_str().unwrap_or_default();
                (tokenize(call, end, Begin::Bare)?, tokenize(call, PROBE, Begin::Special)?, listed.unwrap_or(LARGE))
            }
            None => return Err(Fault::lasting("tells no tokens of a text; give the tokenizer of its model")),
        };
        if dialect == Dialect::LlamaCpp && ends.is_empty() {
            return Err(Fault::lasting("has a tokenizer without an end token, so a text has no end; give another one"));
        }
        let abilities =
            Abilities { model, dialect, context, takes_ids: true, names_ids: false, own_logps: false, scoring: None };
        let mut server = Self { abilities, vocabulary, ends };
        // What is asked for at temperature 1; of llama.cpp the end token, because it is always told.
        let forced = (dialect == Dialect::LlamaCpp).then(|| server.ends[0]);
        let plain = Mode::Sample(Sampling::default());
        let ask = Ask { prefix: &probe, mode: plain, top: 2, forced, ..Ask::default() };
        let first = match server.ask(call, &ask, tokenizer) {
            Err(Fault { cure: Cure::Nothing, .. }) if dialect != Dialect::LlamaCpp => {
                server.abilities.takes_ids = false;
                server.ask(call, &ask, tokenizer)?
            }
            answer => answer?,
        };
        let told = first_told(&first)?;
        told.logp(0)?;
        server.abilities.names_ids = told.id.is_some() || first.choices.iter().any(|choice| choice.ids.is_some());
        server.abilities.own_logps = match permitted(server.ask(call, &Ask { mode: hotter(), ..ask }, tokenizer))? {
            Some(hot) => same(told, first_told(&hot)?),
            None => false,
        };
        server.abilities.scoring = match dialect {
            Dialect::LlamaCpp => server.can_force(call, &probe, told)?.then_some(Scoring::Forced),
            // What is sent as text may be split into other tokens, of the same number.
            _ if !server.abilities.takes_ids => None,
            _ => server.can_echo(call, &probe, tokenizer)?.then_some(Scoring::Echo),
        };
        // What was not asked any more is no answer.
        call.check()?;
        Ok(server)
    }

    /// Whether the second most likely token, forced, is told with the log-probability that it had unforced.
    fn can_force(&self, call: &Call<'_>, probe: &[u32], told: &Told) -> Result<bool, Fault> {
        let Some((token, logp)) = told.top.get(1).copied() else { return Ok(false) };
        let ask = Ask { prefix: probe, forced: Some(token), ..Ask::default() };
        let Some(answer) = permitted(self.ask(call, &ask, None))? else { return Ok(false) };
        Ok(match answer.choices.first().and_then(|choice| choice.told.first()) {
            Some(forced) => forced.id == Some(token) && (forced.logp(0)? - logp).abs() < SAME,
            // A token that ends within a character; how these are scored does not hang on it.
            None => true,
        })
    }

    fn can_echo(&self, call: &Call<'_>, probe: &[u32], tokenizer: Option<&Tokenizer>) -> Result<bool, Fault> {
        let Some(answer) = permitted(self.echo(call, probe, tokenizer))? else { return Ok(false) };
        let told = answer.choices.first().map(|choice| choice.told.as_slice()).unwrap_or_default();
        let scored = told.iter().enumerate().skip(1).all(|(place, told)| told.logp(place).is_ok());
        Ok(told.len() == probe.len() && told.len() > 1 && scored)
    }

    /// Tokens, with their log-probabilities.
    pub(super) fn ask(&self, call: &Call<'_>, ask: &Ask<'_>, tokenizer: Option<&Tokenizer>) -> Result<Answer, Fault> {
        let sampling = self.abilities.dialect.sampling(ask.mode, self.abilities.context);
        let mut body = sampling.map_err(|error| Fault::lasting(error.to_string()))?;
        body.insert("seed".into(), json!(ask.seed));
        let answer = match self.abilities.dialect {
            Dialect::LlamaCpp => {
                body.insert("prompt".into(), json!(ask.prefix));
                body.insert("model".into(), json!(self.abilities.model));
                body.insert("n_predict".into(), json!(ask.max_new));
                body.insert("n_probs".into(), json!(ask.top));
                body.insert("return_tokens".into(), json!(true));
                if ask.n > 1 {
                    body.insert("n_cmpl".into(), json!(ask.n));
                }
                if let Some(token) = ask.forced {
                    body.insert("logit_bias".into(), json!([[token, CERTAIN]]));
                }
                Answer::llama_cpp(&call.post("/completion", &Value::Object(body))?, ask.n)?
            }
            Dialect::Vllm | Dialect::OpenAi => {
                body.insert("n".into(), json!(ask.n));
                body.insert("max_tokens".into(), json!(ask.max_new));
                body.insert("logprobs".into(), json!(ask.top));
                self.complete(call, body, ask.prefix, ask.n, tokenizer)?
            }
        };
        answer.check(ask.prefix.len())?;
        Ok(answer)
    }

    /// The prompt itself, with the log-probability of each of its tokens but the first.
    pub(super) fn echo(&self, call: &Call<'_>, tokens: &[u32], tokenizer: Option<&Tokenizer>) -> Result<Answer, Fault> {
        let fields = [
            ("max_tokens", json!(0)),
            ("echo", json!(true)),
            ("logprobs", json!(1)),
            ("temperature", json!(1.0)),
            ("top_p", json!(1.0)),
        ];
        let body = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.complete(call, body, tokens, 1, tokenizer)
    }

    fn complete(
        &self,
        call: &Call<'_>,
        mut body: Map<String, Value>,
        prefix: &[u32],
        n: usize,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Answer, Fault> {
        body.insert("model".into(), json!(self.abilities.model));
        let prompt = match (self.abilities.takes_ids, tokenizer) {
            (false, Some(tokenizer)) => json!(prompt_text(tokenizer, prefix)?),
            _ => json!(prefix),
        };
        body.insert("prompt".into(), prompt);
        if self.abilities.dialect == Dialect::Vllm {
            body.insert("return_tokens_as_token_ids".into(), json!(true));
        }
        Answer::completions(&call.post("/v1/completions", &Value::Object(body))?, n)
    }

    /// Log-probability of `token` after `prefix`, by forcing it. `read` counts the tokens that had to be read.
    pub(super) fn forced(&self, call: &Call<'_>, prefix: &[u32], token: u32, read: &mut u64) -> Result<f32, Fault> {
        let mut ask = |forced: u32, top: usize| -> Result<Option<Told>, Fault> {
            let ask = Ask { prefix, forced: Some(forced), top, ..Ask::default() };
            let answer = self.ask(call, &ask, None)?;
            *read += answer.prompt.unwrap_or(prefix.len() as u64).saturating_sub(answer.cached);
            Ok(answer.choices.into_iter().flat_map(|choice: Choice| choice.told).next())
        };
        let not_told =
            || Fault::lasting(format!("told no log-probability of the token id {token}; see the server's log"));
        match ask(token, 1)? {
            Some(told) if told.id == Some(token) => told.logp(0),
            Some(_) => Err(Fault::lasting(format!("wrote another token where the id {token} was forced"))),
            None => {
                let rivals = ask(self.ends[0], self.vocabulary)?.ok_or_else(not_told)?.top;
                rivals.into_iter().find(|(id, _)| *id == token).map(|(_, logp)| logp).ok_or_else(not_told)
            }
        }
    }
}

/// Whether special tokens are put before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Special,
    Bare,
}

/// Ids of a text by llama.cpp's server.
pub(super) fn tokenize(call: &Call<'_>, text: &str, begin: Begin) -> Result<Vec<u32>, Fault> {
    let body = json!({"content": text, "add_special": begin == Begin::Special, "parse_special": true});
    let answer = call.post("/tokenize", &body)?;
    let ids = answer["tokens"].as_array().into_iter().flatten();
    let ids = ids.map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<Vec<u32>>>();
    ids.ok_or_else(|| Fault::lasting("answered /tokenize without token ids"))
}

/// Text of ids by llama.cpp's server.
pub(super) fn detokenize(call: &Call<'_>, ids: &[u32]) -> Result<String, Fault> {
    let answer = call.post("/detokenize", &json!({"tokens": ids}))?;
    let text = answer["content"].as_str().map(str::to_owned);
    text.ok_or_else(|| Fault::lasting("answered /detokenize without text"))
}

/// Refuses a tokenizer that splits a text otherwise than the server.
fn check_split(call: &Call<'_>, tokenizer: &Tokenizer) -> Result<(), Fault> {
    let theirs = tokenize(call, SPLIT, Begin::Bare)?;
    let ours = tokenizer.encode(SPLIT).map_err(|error: LmError| Fault::lasting(error.to_string()))?;
    match ours == theirs {
        true => Ok(()),
        false => Err(Fault::lasting("serves a model with another tokenizer than the one given; give that model's")),
    }
}

/// Text that a server splits into `prefix` again, if it splits as the tokenizer does.
fn prompt_text(tokenizer: &Tokenizer, prefix: &[u32]) -> Result<String, Fault> {
    let fault = |error: LmError| Fault::lasting(error.to_string());
    // The server puts the special tokens before it.
    let special = tokenizer.encode_with_special("").unwrap_or_default();
    let rest = prefix.strip_prefix(special.as_slice()).unwrap_or(prefix);
    let text = tokenizer.decode(rest, crate::SpecialTokens::Keep).map_err(fault)?;
    if tokenizer.encode_with_special(&text).map_err(fault)? != prefix {
        return Err(Fault::lasting(
            "takes text alone, which the tokenizer splits into other tokens than those of this prefix; ask a server that \
             takes token ids",
        ));
    }
    Ok(text)
}

/// An answer, or `None` where the server refuses to give it at all.
fn permitted(answer: Result<Answer, Fault>) -> Result<Option<Answer>, Fault> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Fault { cure: Cure::Nothing, .. }) => Ok(None),
        Err(fault) => Err(fault),
    }
}

fn first_told(answer: &Answer) -> Result<&Told, Fault> {
    let told = answer.choices.first().and_then(|choice| choice.told.first());
    told.ok_or_else(|| Fault::lasting("tells no log-probabilities of what it writes; ask a server that does"))
}

/// Whether the most likely token has the same log-probability in both.
fn same(one: &Told, other: &Told) -> bool {
    let highest = |told: &Told| told.top_texts.iter().map(|(_, logp)| *logp).max_by(f32::total_cmp);
    match (highest(one), highest(other)) {
        (Some(one), Some(other)) => (one - other).abs() < SAME,
        _ => false,
    }
}

fn hotter() -> Mode {
    Mode::Sample(Sampling { temperature: 2.0, ..Sampling::default() })
}
