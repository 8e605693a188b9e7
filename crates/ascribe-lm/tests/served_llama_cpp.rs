//! A server that nobody here wrote: llama.cpp's, with the GGUF file that our own engine reads too.
//!
//! Both multiply 4-bit weights, in other orders, and llama.cpp rounds the other factor to 8 bits, so log-probabilities
//! differ in the second digit and greedy texts may part where the two most likely tokens are nearly as likely.

use std::sync::OnceLock;

use ascribe_core::{
    Candidate, Continuation, Episode, Finish, Mode, Policy, Reduce, Request, Sampling, Seed, Tokens, Until, rule,
};
use ascribe_lm::{
    ChatRequest, Dialect, Ending, FrozenModel, Message, Precision, Render, Scoring, ServedChat, ServedOptions,
    ServedPolicy, SpecialTokens,
};
use ascribe_search::{Limits, STRATEGIES, SearchCtx, Steps};
use ascribe_testkit::llama_cpp::LlamaCpp;
use burn::tensor::Device;
use serde_json::json;

/// Greedy texts may part where our two most likely tokens differ by less than this in log-probability.
const NEAR_TIE: f32 = 0.5;

/// A log-probability agrees within this times `1 + |logp|`, and the mean of ten or more within a fifth of it. Measured:
/// 0.30 for one of about 300 tokens. Each test prints the largest deviation.
const TOLERANCE: f32 = 0.4;

const PROMPTS: [&str; 10] = [
    "What is 2+3?",
    "Name three colours.",
    "Write a sentence about the sea.",
    "What is the capital of France?",
    "Explain what a prime number is.",
    "The capital of France is",
    "Once upon a time there was a",
    "def add(a, b):\n    return",
    "1, 2, 3, 4,",
    "To make tea, first",
];

struct Both {
    served: ServedPolicy,
    local: FrozenModel,
    server: LlamaCpp,
}

/// One server and one engine for all tests; the server ends with the process.
fn both() -> Option<&'static Both> {
    static BOTH: OnceLock<Option<Both>> = OnceLock::new();
    let start = || {
        let server = LlamaCpp::start()?;
        let local = FrozenModel::load(&server.model, &Device::flex(), Precision::AsStored).expect("a whole model");
        let tokenizer = Some(local.tokenizer.clone());
        let served = ServedPolicy::connect(options(&server), tokenizer).expect("a server that answers");
        Some(Both { served, local, server })
    };
    BOTH.get_or_init(start).as_ref()
}

fn options(server: &LlamaCpp) -> ServedOptions {
    ServedOptions { endpoints: vec![server.address.clone()], concurrency: 2, ..ServedOptions::default() }
}

impl Both {
    /// The first half of the prompts as a user's messages, the other as they are.
    fn prompts(&self) -> Vec<Tokens> {
        let chat = |text: &str| {
            let template = self.local.template.as_ref().expect("a chat model");
            let render = Render { ending: Ending::GenerationPrompt, ..Render::default() };
            let rendered = template.render(&[Message::new("user", text)], &render).expect("a text");
            self.local.tokenizer.encode(&rendered).expect("ids")
        };
        let plain = |text: &str| self.local.tokenizer.encode_with_special(text).expect("ids");
        PROMPTS.iter().enumerate().map(|(at, text)| if at < 5 { chat(text) } else { plain(text) }.into()).collect()
    }

    /// Our log-probabilities of what was written.
    fn rescored(&self, prefix: &Tokens, candidate: &Candidate) -> Vec<f32> {
        let given = Continuation { prefix: prefix.clone(), tokens: candidate.tokens.clone() };
        self.local.policy.score(&[given]).expect("a score").0.remove(0)
    }
}

fn request(prefix: &Tokens, mode: Mode, n: usize, max_new: usize) -> Request {
    Request { prefix: prefix.clone(), n, until: Until::End, mode, max_new, seed: Seed(7) }
}

/// The largest deviation of log-probabilities, as a share of `1 + |logp|`, after a check against the tolerance.
#[track_caller]
fn agree(theirs: &[f32], ours: &[f32]) -> f32 {
    assert_eq!(theirs.len(), ours.len());
    let deviation = |(theirs, ours): (&f32, &f32)| (theirs - ours).abs() / (1.0 + ours.abs());
    let deviations: Vec<f32> = theirs.iter().zip(ours).map(deviation).collect();
    let largest = deviations.iter().copied().fold(0.0, f32::max);
    let mean = deviations.iter().sum::<f32>() / deviations.len() as f32;
    assert!(largest <= TOLERANCE, "deviation {largest}: {theirs:?} and {ours:?}");
    assert!(ours.len() < 10 || mean <= TOLERANCE / 5.0, "mean deviation {mean}: {theirs:?} and {ours:?}");
    largest
}

#[test]
fn the_server_says_what_it_can_do() {
    let Some(both) = both() else { return };
    let found = both.served.abilities().next().unwrap();
    assert_eq!(found.dialect, Dialect::LlamaCpp);
    assert!(found.takes_ids && found.names_ids && found.own_logps, "{found:?}");
    assert_eq!((found.scoring, found.context), (Some(Scoring::Forced), 1024));
    assert!(both.served.capabilities().score && both.served.capabilities().top);
    // Its own tokenizer splits as ours.
    let bare = ServedPolicy::connect(options(&both.server), None).unwrap();
    let text = "It's 12:30, isn't it?\n漢字 \u{1f600}";
    assert_eq!(bare.encode(text).unwrap(), both.served.encode(text).unwrap());
    assert_eq!(bare.decode(&bare.encode(text).unwrap()).unwrap(), text);
}

#[test]
fn greedy_texts_agree_with_our_engine_up_to_a_near_tie() {
    let Some(both) = both() else { return };
    let prompts = both.prompts();
    let requests: Vec<Request> = prompts.iter().map(|prefix| request(prefix, Mode::Greedy, 1, 24)).collect();
    let (theirs, ours) = (both.served.propose(&requests).unwrap(), both.local.policy.propose(&requests).unwrap());
    let (mut whole, mut tokens, mut largest, mut widest) = (0, 0, 0.0f32, 0.0f32);
    for (prefix, (theirs, ours)) in prompts.iter().zip(theirs.iter().zip(&ours)) {
        let (theirs, ours) = (&theirs.candidates[0], &ours.candidates[0]);
        let same = theirs.tokens.iter().zip(ours.tokens.iter()).take_while(|(theirs, ours)| theirs == ours).count();
        largest = largest.max(agree(&theirs.logps[..same], &ours.logps[..same]));
        tokens += same;
        if theirs.tokens == ours.tokens {
            whole += 1;
            assert_eq!(theirs.finish, ours.finish);
            continue;
        }
        let before = prefix.followed_by(&ours.tokens[..same]);
        let top = Request { until: Until::Token, ..request(&before, Mode::Top, 2, 1) };
        let top = both.local.policy.propose(&[top]).unwrap().remove(0).candidates;
        let gap = top[0].logps[0] - top[1].logps[0];
        widest = widest.max(gap);
        assert!(gap < NEAR_TIE, "texts part after {same} tokens, where our two most likely tokens differ by {gap}");
    }
    println!(
        "greedy: {whole} of 10 texts agree, {tokens} tokens; largest deviation {largest} (1 + |logp|), widest tie {widest}"
    );
}

#[test]
fn sampled_log_probabilities_are_the_models_own() {
    let Some(both) = both() else { return };
    let cut = Sampling { temperature: 0.8, top_k: Some(20), top_p: 0.9, min_p: Some(0.02), ..Sampling::default() };
    let penalised = Sampling { temperature: 1.3, typical_p: Some(0.95), repetition_penalty: Some(1.2), ..cut };
    let mut largest = 0.0f32;
    for sampling in [Sampling::default(), cut, penalised] {
        let prompts = both.prompts();
        let requests: Vec<Request> =
            prompts.iter().step_by(3).map(|prefix| request(prefix, Mode::Sample(sampling), 2, 16)).collect();
        for (request, reply) in requests.iter().zip(both.served.propose(&requests).unwrap()) {
            assert_eq!(reply.candidates.len(), 2);
            for candidate in &reply.candidates {
                let ours = both.rescored(&request.prefix, candidate);
                largest = largest.max(agree(&candidate.logps, &ours));
            }
        }
        // The same seeds, the same texts.
        let again = both.served.propose(&requests[..1]).unwrap();
        assert_eq!(again[0].candidates.len(), 2);
    }
    println!("sampled: largest deviation {largest} (1 + |logp|)");
}

/// Characters of several tokens: llama.cpp tells nothing of a token that ends within one.
#[test]
fn given_tokens_are_scored_whatever_they_are() {
    let Some(both) = both() else { return };
    let ids = |text: &str| -> Tokens { both.local.tokenizer.encode(text).unwrap().into() };
    let end = both.local.tokenizer.eos()[0];
    let given = [
        ("The capital of France is", ids(" Paris, and that of Italy is Rome.")),
        ("A smile: ", ids("\u{1f600} and 漢字")),
        ("Bye.", Tokens::from(vec![end])),
        ("Bye.", ids("<|im_end|>\n<|im_start|>user")),
    ];
    let given: Vec<Continuation> =
        given.into_iter().map(|(prefix, tokens)| Continuation { prefix: ids(prefix), tokens }).collect();
    let (theirs, usage) = both.served.score(&given).unwrap();
    let ours = both.local.policy.score(&given).unwrap().0;
    let deviations = theirs.iter().zip(&ours).map(|(theirs, ours)| agree(theirs, ours));
    println!("scored: largest deviation {} (1 + |logp|)", deviations.fold(0.0, f32::max));
    assert_eq!(usage.generated, 0);
}

#[test]
fn characters_of_several_tokens_are_written_with_all_their_log_probabilities() {
    let Some(both) = both() else { return };
    // Tokens of one character: what follows the first two of three is nearly certain.
    let whole = both.local.tokenizer.encode("Repeat: \u{1f600}\u{1f916}\u{1f600}\u{1f916}\u{1f600}").unwrap();
    let prefix = Tokens::from(&whole[..whole.len() - 2]);
    let reply = both.served.propose(&[request(&prefix, Mode::Greedy, 1, 12)]).unwrap().remove(0);
    let candidate = &reply.candidates[0];
    assert_eq!(candidate.tokens.len(), candidate.logps.len());
    let deviation = agree(&candidate.logps, &both.rescored(&prefix, candidate));
    println!("cut characters: {} tokens, largest deviation {deviation} (1 + |logp|)", candidate.tokens.len());
}

#[test]
fn the_most_likely_tokens_are_those_of_our_engine() {
    let Some(both) = both() else { return };
    let prompts = both.prompts();
    let top = |prefix: &Tokens| Request { until: Until::Token, ..request(prefix, Mode::Top, 5, 1) };
    let requests: Vec<Request> = prompts.iter().map(top).collect();
    let (theirs, ours) = (both.served.propose(&requests).unwrap(), both.local.policy.propose(&requests).unwrap());
    for ((prefix, theirs), ours) in prompts.iter().zip(&theirs).zip(&ours) {
        assert_eq!((theirs.candidates.len(), theirs.usage.generated), (5, 1));
        let logps: Vec<f32> = theirs.candidates.iter().map(|one| one.logps[0]).collect();
        assert!(logps.is_sorted_by(|a, b| a >= b), "{logps:?}");
        for candidate in &theirs.candidates {
            agree(&candidate.logps, &both.rescored(prefix, candidate));
        }
        if ours.candidates[0].logps[0] - ours.candidates[1].logps[0] >= NEAR_TIE {
            assert_eq!(theirs.candidates[0].tokens, ours.candidates[0].tokens);
        }
    }
}

#[test]
fn steps_end_with_a_separator_and_the_context_with_an_error() {
    let Some(both) = both() else { return };
    let stop = both.local.tokenizer.encode(".").unwrap()[0];
    let prefix = &both.prompts()[6];
    let step = Request { until: Until::Step(vec![stop]), ..request(prefix, Mode::Greedy, 1, 60) };
    let reply = both.served.propose(&[step]).unwrap().remove(0);
    let candidate = &reply.candidates[0];
    match candidate.finish {
        Finish::Step => {
            assert_eq!(candidate.tokens.iter().position(|id| *id == stop), Some(candidate.tokens.len() - 1))
        }
        Finish::End | Finish::Length => assert!(!candidate.tokens.contains(&stop)),
    }
    let full: Tokens = vec![stop; 1024].into();
    assert!(both.served.propose(&[request(&full, Mode::Greedy, 1, 1)]).is_err());
}

/// A few tokens each: what is asked is what all of them ask of any policy.
#[test]
fn every_strategy_runs_within_its_limits() {
    let Some(both) = both() else { return };
    let prompt = &both.prompts()[6];
    let shorter = rule(|episode: &Episode| 1.0 / (1.0 + episode.response_tokens().len() as f32));
    let answer = |episode: &Episode| episode.tokens.last().map(u32::to_string);
    let same = |left: &str, right: &str| left == right;
    for (name, make) in STRATEGIES {
        let options = match name {
            "beam" | "likelihood" => json!({"beams": 2}),
            "best-of-n" | "majority" | "paths" => json!({"n": 2}),
            "step-beam" | "lookahead" | "dvts" => json!({"n": 2, "expand": 2}),
            "oreo" => json!({"k": 1}),
            "mcts" => json!({"tree": {"simulations": 3, "expand": 2}, "levels": 2}),
            "deal" => json!({"k": 2, "lookahead": 2}),
            "transfer-q" => json!({"k": 2, "length": 2}),
            "controlled" => json!({"k": 3}),
            "revise" => json!({"n": 2}),
            "smc" => json!({"n": 2}),
            _ => json!({}),
        };
        let search = make(&options).unwrap();
        let limits = Limits { generated: Some(40), policy_calls: Some(20), ..Limits::default() };
        let mut ctx = SearchCtx::new(&both.served, 4, Seed(5)).with_steps(Steps::blocks(2)).with_limits(limits);
        ctx = ctx.with_scorer(&shorter, Reduce::Sum).with_answers(&answer, &same);
        let found = search.search(std::slice::from_ref(prompt), &mut ctx);
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}")).remove(0);
        let best = found.best();
        assert!((1..=4).contains(&best.tokens.len()) && best.logps.len() == best.tokens.len(), "{name}: {best:?}");
        assert!(best.logps.iter().all(|logp| *logp <= 1e-3), "{name}: {best:?}");
        assert!(found.usage.generated <= 40 && found.calls.policy <= 20, "{name}: {:?}", found.calls);
        // A revision is written after the attempts before it.
        if name != "revise" {
            agree(&best.logps, &both.rescored(prompt, best));
        }
    }
}

/// The part of its API that OpenAI's servers have too.
#[test]
fn the_api_that_all_servers_share_gives_the_same() {
    let Some(both) = both() else { return };
    let shared = ServedOptions { dialect: Some(Dialect::OpenAi), ..options(&both.server) };
    let shared = ServedPolicy::connect(shared, Some(both.local.tokenizer.clone())).unwrap();
    let found = shared.abilities().next().unwrap();
    assert!(found.takes_ids && found.names_ids && found.own_logps && found.scoring.is_none(), "{found:?}");
    let prefix = &both.prompts()[5];
    let reply = shared.propose(&[request(prefix, Mode::Greedy, 1, 6)]).unwrap().remove(0);
    let candidate = &reply.candidates[0];
    agree(&candidate.logps, &both.rescored(prefix, candidate));
    assert!(both.served.decode(&candidate.tokens).unwrap().starts_with(" Paris"));
}

#[test]
fn chats_are_answered_at_once_and_as_they_come() {
    let Some(both) = both() else { return };
    let judge = ServedChat::connect(options(&both.server)).unwrap();
    let asked = ChatRequest {
        messages: vec![Message::new("user", "What is 2+3?")],
        n: 1,
        mode: Mode::Greedy,
        max_new: 8,
        top_logprobs: Some(3),
        seed: Seed(0),
    };
    let reply = judge.ask(std::slice::from_ref(&asked)).remove(0).unwrap();
    let choice = &reply.choices[0];
    let tokens = choice.tokens.as_ref().unwrap();
    assert!(tokens.iter().all(|token| token.logp <= 0.0 && token.top.len() == 3));
    let spelled: String = tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(spelled, choice.text);
    // Its template and tokenizer are those of the file, so the first token is the one of our engine.
    let prefix = &both.prompts()[0];
    let first = both.served.propose(&[request(prefix, Mode::Greedy, 1, 1)]).unwrap().remove(0);
    let first = both.local.tokenizer.decode(&first.candidates[0].tokens, SpecialTokens::Keep).unwrap();
    assert_eq!(tokens[0].text, first);
    let mut heard = String::new();
    let streamed = judge.stream(&asked, &mut |piece| heard.push_str(piece)).unwrap();
    assert_eq!((&streamed.text, &heard), (&choice.text, &choice.text));
}
