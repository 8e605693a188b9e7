//! A served model as a [`Policy`].
//!
//! Candidate `i` of a request gets a seed out of `seed.stream("sample", i)`, so with one choice a request it depends on
//! nothing else, as far as the server's arithmetic is the same in every batch. Steps are written in pieces of 32 tokens, of
//! which what follows the separator is dropped: a server stops at texts, and a separator is a token.

use std::time::Instant;

use ascribe_core::{
    Candidate, Capabilities, Continuation, CoreError, Finish, Mode, Policy, Reply, Request, Tokens, Until, Usage,
};
use rand::Rng;

use super::ServedOptions;
use super::answer::{Choice, Told, quoted};
use super::dialect::{Dialect, is_plain};
use super::fleet::{Call, Part, each, one};
use super::server::{Abilities, Ask, Begin, Scoring, Server, detokenize, tokenize};
use super::wire::{Fault, Wire, open};
use crate::{LmError, SpecialTokens, Tokenizer};

/// Tokens that are asked for at once where a step may end in the middle of them.
const STEP: usize = 32;

/// A model behind one or several OpenAI-compatible servers.
///
/// ```no_run
/// use ascribe_core::{Mode, Policy, Request, Seed, Until};
/// use ascribe_lm::{Gguf, ServedOptions, ServedPolicy, Tokenizer};
///
/// let tokenizer = Tokenizer::from_gguf(&Gguf::open("model.gguf")?)?;
/// let options = ServedOptions { endpoints: vec!["http://127.0.0.1:8080".into()], ..ServedOptions::default() };
/// let policy = ServedPolicy::connect(options, Some(tokenizer))?;
/// let prefix = policy.encode("The capital of France is")?;
/// let request = Request { prefix, n: 1, until: Until::End, mode: Mode::Greedy, max_new: 8, seed: Seed(0) };
/// let reply = policy.propose(&[request])?.remove(0);
/// println!("{}", policy.decode(&reply.candidates[0].tokens)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ServedPolicy {
    options: ServedOptions,
    wires: Vec<Wire>,
    servers: Vec<Server>,
    tokenizer: Option<Tokenizer>,
    context: usize,
    vocabulary: usize,
}

/// What was written so far.
struct Piece {
    tokens: Vec<u32>,
    logps: Vec<f32>,
    /// The server ended it.
    ended: bool,
}

impl ServedPolicy {
    /// Connects to the endpoints and asks each what it can do. Without a tokenizer that of the server is used, which
    /// llama.cpp's has.
    ///
    /// # Errors
    /// [`LmError::Served`] for options out of range, [`LmError::Endpoint`] for an endpoint that is not there, lacks the
    /// model, or cannot tell the log-probabilities of what it writes.
    pub fn connect(options: ServedOptions, tokenizer: Option<Tokenizer>) -> Result<Self, LmError> {
        let wires = open(&options)?;
        let probe = |wire: &Wire| one(wire, &options, |call| Server::probe(call, &options, tokenizer.as_ref()));
        let servers: Vec<Server> = wires.iter().map(probe).collect::<Result<_, _>>()?;
        for (wire, server) in wires.iter().zip(&servers) {
            let (first, other) = (&servers[0].abilities.model, &server.abilities.model);
            if first != other {
                let why =
                    format!("serves `{other}`, and the first endpoint serves `{first}`; all have to serve one model");
                return Err(LmError::Endpoint { endpoint: wire.address.clone(), why });
            }
        }
        let least = |of: fn(&Server) -> usize| servers.iter().map(of).min().unwrap_or(0);
        let (context, vocabulary) = (least(|server| server.abilities.context), least(|server| server.vocabulary));
        Ok(Self { options, wires, servers, tokenizer, context, vocabulary })
    }

    /// The same policy with another deadline.
    pub fn with_deadline(mut self, deadline: Option<Instant>) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// What each endpoint can do.
    pub fn abilities(&self) -> impl Iterator<Item = &Abilities> {
        self.servers.iter().map(|server| &server.abilities)
    }

    /// Ids of a text, with the special tokens that begin one.
    ///
    /// # Errors
    /// When it cannot be encoded, or the server that has to do it does not answer.
    pub fn encode(&self, text: &str) -> Result<Tokens, LmError> {
        let ids = match &self.tokenizer {
            Some(tokenizer) => tokenizer.encode_with_special(text)?,
            None => one(&self.wires[0], &self.options, |call| tokenize(call, text, Begin::Special))?,
        };
        Ok(ids.into())
    }

    /// The text of ids, without special tokens (the server's own tokenizer leaves out the end alone).
    ///
    /// # Errors
    /// When they cannot be decoded, or the server that has to do it does not answer.
    pub fn decode(&self, ids: &[u32]) -> Result<String, LmError> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode(ids, SpecialTokens::Skip),
            None => {
                let ids: Vec<u32> = ids.iter().copied().filter(|id| !self.servers[0].ends.contains(id)).collect();
                one(&self.wires[0], &self.options, |call| detokenize(call, &ids))
            }
        }
    }

    /// Candidates for each request, as [`Policy::propose`] gives them; a request that fails costs the others nothing.
    pub fn propose_each(&self, requests: &[Request]) -> Vec<Result<Reply, LmError>> {
        let empty = || Reply { candidates: Vec::new(), usage: Usage::default() };
        let checked = requests.iter().map(|request| self.check(request).map(|()| empty()).map_err(LmError::from));
        let mut replies: Vec<Result<Reply, LmError>> = checked.collect();
        let mut parts = Vec::new();
        for (number, request) in requests.iter().enumerate().filter(|(number, _)| replies[*number].is_ok()) {
            // Greedy candidates are all the same, so one is asked for. A step is written in pieces, one text at a time.
            let (n, at_once) = match (request.mode, &request.until) {
                (Mode::Greedy | Mode::Top, _) => (request.n.min(1), 1),
                (Mode::Sample(_), Until::Step(_)) => (request.n, 1),
                (Mode::Sample(_), _) => (request.n, self.options.choices_per_request),
            };
            parts.extend(Part::of(number, n, at_once));
        }
        let numbers: Vec<usize> = parts.iter().map(|part| part.request).collect();
        let answers = each(&self.wires, &self.options, &numbers, |job, call| {
            self.write(call, &requests[parts[job].request], &parts[job])
        });
        for (part, answer) in parts.iter().zip(answers) {
            let reply = &mut replies[part.request];
            match answer {
                Ok((candidates, usage)) => {
                    if let Ok(reply) = reply {
                        reply.candidates.extend(candidates);
                        reply.usage += usage;
                    }
                }
                Err(error) if reply.is_ok() => *reply = Err(error),
                // One failure of a request is told, the first.
                Err(_) => {}
            }
        }
        for (request, reply) in requests.iter().zip(&mut replies) {
            if let (Mode::Greedy, Ok(reply)) = (request.mode, reply) {
                reply.candidates = reply.candidates.iter().cycle().take(request.n).cloned().collect();
            }
        }
        replies
    }

    /// Log-probabilities of each continuation's tokens, with what they cost; one that fails costs the others nothing.
    pub fn score_each(&self, continuations: &[Continuation]) -> Vec<Result<(Vec<f32>, Usage), LmError>> {
        if let Some(server) = self.servers.iter().position(|server| server.abilities.scoring.is_none()) {
            let endpoint = &self.wires[server].address;
            let refuse = |_| {
                let why = "cannot score given tokens: it neither repeats a prompt with log-probabilities nor lets a token be \
                           forced; ask another server, or load the model here";
                Err(LmError::Endpoint { endpoint: endpoint.clone(), why: why.into() })
            };
            return continuations.iter().map(refuse).collect();
        }
        let checked = continuations.iter().map(|given| {
            let nothing = |()| (Vec::new(), Usage::default());
            self.check_tokens(&given.prefix, &given.tokens).map(nothing).map_err(LmError::from)
        });
        let mut scores: Vec<Result<(Vec<f32>, Usage), LmError>> = checked.collect();
        let sound = |number: &usize| scores[*number].is_ok() && !continuations[*number].tokens.is_empty();
        let numbers: Vec<usize> = (0..continuations.len()).filter(sound).collect();
        let answers =
            each(&self.wires, &self.options, &numbers, |job, call| self.score_one(call, &continuations[numbers[job]]));
        for (number, score) in numbers.iter().zip(answers) {
            scores[*number] = score;
        }
        scores
    }

    /// Checks what can be checked before anything is asked.
    fn check(&self, request: &Request) -> Result<(), CoreError> {
        request.check()?;
        self.check_tokens(&request.prefix, &[])?;
        for Server { abilities, .. } in &self.servers {
            abilities.dialect.sampling(request.mode, self.context)?;
            if request.mode == Mode::Top && !names_top(abilities) {
                let what = match abilities.names_ids {
                    false => "name the most likely next tokens: it tells no token ids",
                    true => "name the most likely next tokens: it tells log-probabilities as a bias has changed them",
                };
                return Err(CoreError::Unsupported { what });
            }
            if !abilities.own_logps && !is_plain(request.mode) {
                return Err(CoreError::Unsupported {
                    what: "tell the model's own log-probabilities except of plain sampling at temperature 1",
                });
            }
        }
        Ok(())
    }

    /// Checks a prefix that is continued by `given` tokens, or by at least one when none is given.
    fn check_tokens(&self, prefix: &[u32], given: &[u32]) -> Result<(), CoreError> {
        if prefix.is_empty() {
            let got = "an empty prefix".to_owned();
            return Err(CoreError::Shape { rule: "a prompt needs at least one token (begin with the BOS token)", got });
        }
        if let Some(id) = prefix.iter().chain(given).find(|id| **id as usize >= self.vocabulary) {
            return Err(CoreError::Range {
                name: "a token id",
                rule: "below the vocabulary size",
                got: f64::from(*id),
            });
        }
        let got = prefix.len() + given.len().max(1);
        if got > self.context {
            return Err(CoreError::Context { context: self.context, got });
        }
        Ok(())
    }

    /// The candidates of `part`, and what they cost.
    fn write(&self, call: &Call<'_>, request: &Request, part: &Part) -> Result<(Vec<Candidate>, Usage), Fault> {
        if request.mode == Mode::Top {
            return self.top(call, request);
        }
        let mut usage = Usage::default();
        let room = request.max_new.min(self.context - request.prefix.len());
        if room == 0 {
            let empty = || Candidate { tokens: Tokens::default(), logps: Vec::new(), finish: Finish::Length };
            return Ok(((0..part.count).map(|_| empty()).collect(), usage));
        }
        let mut stream = request.seed.stream("sample", part.first as u64);
        // Servers differ in whether a seed has a sign, and the largest one stands for none.
        let mut seed = || stream.next_u32() >> 1;
        let most = match request.until {
            Until::Token => 1,
            Until::Step(_) => room.min(STEP),
            Until::End => room,
        };
        let (prefix, mode) = (&request.prefix[..], request.mode);
        let ask = Ask { prefix, n: part.count, max_new: most, mode, seed: seed(), ..Ask::default() };
        let mut pieces = self.pieces(call, &ask, &mut usage)?;
        if let (Until::Step(separators), [piece]) = (&request.until, pieces.as_mut_slice()) {
            let is_last = |token: &u32| separators.contains(token) || self.ends_with(call, *token);
            while !piece.ended && piece.tokens.len() < room && !piece.tokens.iter().any(is_last) {
                let prefix = request.prefix.followed_by(&piece.tokens);
                let most = (room - piece.tokens.len()).min(STEP);
                let ask = Ask { prefix: &prefix, max_new: most, mode, seed: seed(), ..Ask::default() };
                for more in self.pieces(call, &ask, &mut usage)? {
                    piece.tokens.extend(more.tokens);
                    piece.logps.extend(more.logps);
                    piece.ended = more.ended;
                }
            }
        }
        let candidates = pieces.into_iter().map(|piece| self.candidate(call, piece, &request.until));
        Ok((candidates.collect::<Result<_, _>>()?, usage))
    }

    /// What `ask` asks for.
    fn pieces(&self, call: &Call<'_>, ask: &Ask<'_>, usage: &mut Usage) -> Result<Vec<Piece>, Fault> {
        let answer = self.servers[call.endpoint].ask(call, ask, self.tokenizer.as_ref())?;
        let (prefix, most) = (ask.prefix, ask.max_new);
        let read = answer.prompt.unwrap_or(prefix.len() as u64).saturating_sub(answer.cached);
        usage.scored += read;
        usage.reused += prefix.len() as u64 - read;
        let mut pieces = Vec::with_capacity(ask.n);
        for choice in answer.choices {
            let ids = self.ids(&choice)?;
            if ids.is_empty() || ids.len() > most {
                return Err(Fault::passing(format!("wrote {} tokens where 1 to {most} were asked for", ids.len())));
            }
            usage.generated += ids.len() as u64;
            self.check_text(&choice, &ids)?;
            let logps = self.logps(call, prefix, &ids, &choice.told, usage)?;
            pieces.push(Piece { tokens: ids, logps, ended: choice.ended });
        }
        Ok(pieces)
    }

    /// The token ids of a text.
    fn ids(&self, choice: &Choice) -> Result<Vec<u32>, Fault> {
        if let Some(ids) = &choice.ids {
            return Ok(ids.clone());
        }
        if choice.told.is_empty() {
            return Err(Fault::lasting("told no log-probabilities of what it wrote; ask a server that does"));
        }
        if let Some(ids) = choice.told.iter().map(|told| told.id).collect::<Option<Vec<u32>>>() {
            return Ok(ids);
        }
        let no_tokenizer = || Fault::lasting("tells no token ids; give the tokenizer of its model");
        let tokenizer = self.tokenizer.as_ref().ok_or_else(no_tokenizer)?;
        let (mut ids, spans) =
            tokenizer.encode_spans(&choice.text).map_err(|error| Fault::lasting(error.to_string()))?;
        let mut pieces: Vec<&[u8]> = choice.told.iter().filter_map(|told| told.bytes.as_deref()).collect();
        // An end token stands among the log-probabilities and not in the text.
        let end = tokenizer.eos().iter().copied().find(|id| {
            let text = tokenizer.token_text(*id);
            choice.ended && pieces.last().is_some_and(|last| text.is_some_and(|text| text.as_bytes() == *last))
        });
        if end.is_some() {
            pieces.pop();
        }
        let ours = spans.into_iter().map(|span| &choice.text.as_bytes()[span]);
        if !ours.eq(pieces.iter().copied()) {
            return Err(Fault::lasting(format!(
                "splits `{}` otherwise than the tokenizer, and tells no token ids, so its log-probabilities belong to no \
                 ids; ask a server that tells ids",
                quoted(&choice.text)
            )));
        }
        ids.extend(end);
        Ok(ids)
    }

    /// Checks that the ids spell the text by the tokenizer, if there is one here.
    fn check_text(&self, choice: &Choice, ids: &[u32]) -> Result<(), Fault> {
        let Some(tokenizer) = &self.tokenizer else { return Ok(()) };
        for special in [SpecialTokens::Skip, SpecialTokens::Keep] {
            let ours = tokenizer.decode(ids, special).map_err(|error| Fault::lasting(error.to_string()))?;
            // Cut characters are written in several ways, and the first token of a text may lose its space.
            let cut = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
            if ours.trim_start() == choice.text.trim_start() || cut(&ours) || cut(&choice.text) {
                return Ok(());
            }
        }
        let ours = tokenizer.decode(ids, SpecialTokens::Keep).unwrap_or_default();
        Err(Fault::lasting(format!(
            "wrote `{}`, and by the tokenizer its tokens spell `{}`; give the tokenizer of the model that is served",
            quoted(&choice.text),
            quoted(&ours)
        )))
    }

    /// The log-probability of each token, as it was told; of tokens that were left out, by asking for it.
    fn logps(
        &self,
        call: &Call<'_>,
        prefix: &[u32],
        ids: &[u32],
        told: &[Told],
        usage: &mut Usage,
    ) -> Result<Vec<f32>, Fault> {
        let server = &self.servers[call.endpoint];
        // Where the server has split the text into no ids, there are as many as it told.
        let named: Vec<u32> = told.iter().zip(ids).map(|(told, id)| told.id.unwrap_or(*id)).collect();
        if told.len() > ids.len() {
            return Err(Fault::lasting(format!("told {} log-probabilities of {} tokens", told.len(), ids.len())));
        }
        if named == ids {
            return told.iter().enumerate().map(|(place, told)| told.logp(place)).collect();
        }
        let named: Option<Vec<u32>> = told.iter().map(|told| told.id).collect();
        let places = match (named, server.abilities.scoring) {
            (Some(named), Some(Scoring::Forced)) => places(ids, &named),
            _ => return Err(Fault::lasting("told the log-probabilities of other tokens than it wrote")),
        };
        let mut logps = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            let found = places.as_ref().and_then(|places| places.iter().position(|place| *place == at));
            logps.push(match found {
                Some(found) => told[found].logp(at)?,
                None => {
                    let before = [prefix, &ids[..at]].concat();
                    server.forced(call, &before, *id, &mut usage.scored)?
                }
            });
        }
        Ok(logps)
    }

    /// Whether a text is over after `token`.
    fn ends_with(&self, call: &Call<'_>, token: u32) -> bool {
        self.servers[call.endpoint].ends.contains(&token)
    }

    /// A piece up to where it has to end.
    fn candidate(&self, call: &Call<'_>, piece: Piece, until: &Until) -> Result<Candidate, Fault> {
        let Piece { mut tokens, mut logps, ended } = piece;
        let separates = |token: &u32| match until {
            Until::Step(separators) => separators.contains(token),
            Until::Token => true,
            Until::End => false,
        };
        let last = tokens.iter().position(|token| separates(token) || self.ends_with(call, *token));
        // llama.cpp's server names all tokens, so what it ended with is an end token, be it another one.
        let own_end = ended && self.servers[call.endpoint].abilities.dialect == Dialect::LlamaCpp;
        let finish = match last {
            Some(at) if self.ends_with(call, tokens[at]) || (own_end && at + 1 == tokens.len()) => Finish::End,
            Some(_) => Finish::Step,
            None if own_end => Finish::End,
            None if ended => {
                return Err(Fault::lasting(
                    "ended a text without an end token, whose log-probability is then unknown; ask a server that tells \
                     it, or write texts alone (a chat)",
                ));
            }
            None => Finish::Length,
        };
        if let Some(at) = last {
            tokens.truncate(at + 1);
            logps.truncate(at + 1);
        }
        Ok(Candidate { tokens: tokens.into(), logps, finish })
    }

    /// The most likely next tokens.
    fn top(&self, call: &Call<'_>, request: &Request) -> Result<(Vec<Candidate>, Usage), Fault> {
        let server = &self.servers[call.endpoint];
        // llama.cpp's server tells nothing of a place whose token ends within a character, so an end is put there.
        let forced = (server.abilities.dialect == Dialect::LlamaCpp).then(|| server.ends[0]);
        let ask = Ask { prefix: &request.prefix, mode: Mode::Top, top: request.n, forced, ..Ask::default() };
        let answer = server.ask(call, &ask, self.tokenizer.as_ref())?;
        let read = answer.prompt.unwrap_or(request.prefix.len() as u64).saturating_sub(answer.cached);
        let usage = Usage { generated: 1, scored: read, reused: request.prefix.len() as u64 - read };
        let told = answer.choices.into_iter().flat_map(|choice| choice.told).next();
        let mut rivals = told.map(|told| told.top).unwrap_or_default();
        let wanted = request.n.min(self.vocabulary);
        if rivals.len() < wanted {
            return Err(Fault::lasting(format!(
                "named {} of the {wanted} most likely tokens; ask for fewer (narrower beams), or raise the server's limit",
                rivals.len()
            )));
        }
        rivals.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        rivals.truncate(request.n);
        // What cannot come is written as a very low number.
        let possible = rivals.into_iter().filter(|(_, logp)| f64::from(*logp).exp() > 0.0);
        let candidates = possible.map(|(token, logp)| Candidate {
            finish: if self.ends_with(call, token) { Finish::End } else { Finish::Step },
            tokens: vec![token].into(),
            logps: vec![logp],
        });
        Ok((candidates.collect(), usage))
    }

    /// The log-probabilities of one continuation.
    fn score_one(&self, call: &Call<'_>, given: &Continuation) -> Result<(Vec<f32>, Usage), Fault> {
        let server = &self.servers[call.endpoint];
        let (prefix, tokens) = (&given.prefix, &given.tokens);
        let whole = prefix.followed_by(tokens);
        let mut read = 0;
        let logps = if server.abilities.scoring == Some(Scoring::Forced) {
            let forced = |place: usize| server.forced(call, &whole[..prefix.len() + place], tokens[place], &mut read);
            (0..tokens.len()).map(forced).collect::<Result<Vec<f32>, Fault>>()?
        } else {
            let answer = server.echo(call, &whole, self.tokenizer.as_ref())?;
            let told = answer.choices.first().map(|choice| choice.told.as_slice()).unwrap_or_default();
            let others = told.iter().zip(&*whole).any(|(told, id)| told.id.is_some_and(|told| told != *id));
            if told.len() != whole.len() || others {
                return Err(Fault::lasting(format!(
                    "repeated {} tokens of which {} were sent, or others; give the tokenizer of the model that is served",
                    told.len(),
                    whole.len()
                )));
            }
            read = (whole.len() as u64).saturating_sub(answer.cached);
            let scored = told.iter().enumerate().skip(prefix.len());
            scored.map(|(place, told)| told.logp(place)).collect::<Result<_, _>>()?
        };
        let reused = (whole.len() as u64).saturating_sub(read);
        Ok((logps, Usage { generated: 0, scored: read, reused }))
    }
}

impl Policy for ServedPolicy {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        self.propose_each(requests).into_iter().collect::<Result<_, _>>().map_err(at_the_seam)
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        if !self.capabilities().score {
            return Err(CoreError::Unsupported { what: "score given continuations" });
        }
        let mut total = Usage::default();
        let mut scores = Vec::with_capacity(continuations.len());
        for scored in self.score_each(continuations) {
            let (logps, usage) = scored.map_err(at_the_seam)?;
            scores.push(logps);
            total += usage;
        }
        Ok((scores, total))
    }

    fn capabilities(&self) -> Capabilities {
        let all = |able: fn(&Abilities) -> bool| self.servers.iter().all(|server| able(&server.abilities));
        Capabilities { score: all(|one| one.scoring.is_some()), top: all(names_top), context: self.context }
    }
}

/// Whether it names the most likely next tokens. What is forced to have a whole list told of llama.cpp (see `top`) must not
/// change what is told.
fn names_top(abilities: &Abilities) -> bool {
    abilities.names_ids && (abilities.dialect != Dialect::LlamaCpp || abilities.scoring.is_some())
}

fn at_the_seam(error: LmError) -> CoreError {
    match error {
        LmError::Core(error) => error,
        other => CoreError::Other(Box::new(other)),
    }
}

/// The place of each of `told` among `ids`, which holds them in this order with others in between; `None` where there are
/// several ways to place them, or none.
fn places(ids: &[u32], told: &[u32]) -> Option<Vec<usize>> {
    let mut earliest = Vec::with_capacity(told.len());
    let mut from = 0;
    for id in told {
        from += ids[from..].iter().position(|other| other == id)?;
        earliest.push(from);
        from += 1;
    }
    let mut to = ids.len();
    for (id, place) in told.iter().zip(&earliest).rev() {
        to = ids[..to].iter().rposition(|other| other == id)?;
        if to != *place {
            return None;
        }
    }
    Some(earliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_tokens_are_placed_where_there_is_one_way_to() {
        assert_eq!(places(&[1, 2, 3], &[1, 2, 3]), Some(vec![0, 1, 2]));
        assert_eq!(places(&[9, 8, 2, 9, 7, 2, 5], &[2, 2, 5]), Some(vec![2, 5, 6]));
        assert_eq!(places(&[1, 2], &[]), Some(vec![]));
        // The first or the second 1, and a token that is not there.
        assert_eq!(places(&[1, 1, 2], &[1, 2]), None);
        assert_eq!(places(&[1, 2], &[3]), None);
    }
}
