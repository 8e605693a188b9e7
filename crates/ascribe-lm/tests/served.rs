//! Served models against servers of three families that answer well, and against all ways to answer badly.
//!
//! What the servers here write is a chain: after the letter `a` comes `b`, and so on; after `e` comes the end; after a
//! digit the next digit, without an end. A token has the log-probability `-id / 8`, wherever it stands, and the one with the
//! next id is the second most likely.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ascribe_core::{
    Capabilities, Continuation, CoreError, Episode, Finish, Mode, Policy, Reduce, Request, Sampling, Seed, Tokens,
    Until, rule,
};
use ascribe_lm::{
    ChatRequest, Dialect, LmError, Message, Roles, Scoring, ServedChat, ServedOptions, ServedPolicy, SpecialTokens,
    Tokenizer,
};
use ascribe_search::{BestOfN, Limits, STRATEGIES, Search, SearchCtx, SearchError, StepBeam, Steps};
use ascribe_testkit::server::{Asked, Does, Server};
use serde_json::{Value, json};

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:+-=?'\n";

/// `<s>` and `</s>` are 0 and 1, `a` is 2.
const END: u32 = 1;

fn tokenizer() -> Tokenizer {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: None };
    Tokenizer::characters(ALPHABET, &["<s>", "</s>"], roles).expect("the test is well made")
}

fn ids(text: &str) -> Tokens {
    tokenizer().encode(text).expect("the test is well made").into()
}

fn text(ids: &[u32]) -> String {
    tokenizer().decode(ids, SpecialTokens::Keep).expect("the test is well made")
}

fn logp(id: u32) -> f64 {
    -f64::from(id) / 8.0
}

/// The chain.
fn next(last: u32) -> u32 {
    match text(&[last]).chars().next() {
        Some('e') => END,
        Some('9') => ids("0")[0],
        _ => last + 1,
    }
}

/// Up to `most` tokens after `last`, with the end if it comes.
fn chain(mut last: u32, most: usize) -> Vec<u32> {
    let mut written = Vec::new();
    while written.len() < most && last != END {
        last = next(last);
        written.push(last);
    }
    written
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().map(|id| id.as_u64().expect("the test is well made") as u32).collect()
}

fn prompt(asked: &Asked) -> Vec<u32> {
    match &asked.body["prompt"] {
        Value::String(words) => ids(words).into_vec(),
        list => numbers(list),
    }
}

/// The part of the API that all three have.
fn models(owner: &str) -> Does {
    Does::json(json!({"data": [{"id": "chain", "owned_by": owner, "max_model_len": 96, "meta": {"n_ctx": 96}}]}))
}

/// An answer of `/v1/completions`, with the tokens named by `name`.
fn completion(asked: &Asked, name: impl Fn(u32) -> String) -> Value {
    let (prompt, most) = (prompt(asked), asked.body["max_tokens"].as_u64().expect("the test is well made") as usize);
    let echo = asked.body["echo"] == true;
    let written = chain(*prompt.last().expect("the test is well made"), most);
    let told: Vec<u32> = if echo { [prompt.clone(), written.clone()].concat() } else { written.clone() };
    let scores = told.iter().enumerate().map(|(at, id)| if echo && at == 0 { Value::Null } else { json!(logp(*id)) });
    let top = told.iter().map(|id| HashMap::from([(name(*id), logp(*id)), (name(id + 1), logp(id + 1))]));
    let choice = |index: u64| {
        json!({
            "index": index,
            "text": text(&written).trim_end_matches("</s>"),
            "finish_reason": if written.last() == Some(&END) { "stop" } else { "length" },
            "logprobs": {
                "tokens": told.iter().map(|id| name(*id)).collect::<Vec<_>>(),
                "token_logprobs": scores.clone().collect::<Vec<_>>(),
                "top_logprobs": top.clone().collect::<Vec<_>>(),
            },
        })
    };
    let n = asked.body["n"].as_u64().unwrap_or(1);
    json!({
        "choices": (0..n).map(choice).collect::<Vec<_>>(),
        "usage": {"prompt_tokens": prompt.len(), "completion_tokens": n * written.len() as u64},
    })
}

fn vllm(asked: &Asked) -> Does {
    match asked.path.as_str() {
        "/v1/models" => models("vllm"),
        "/v1/completions" => {
            assert_eq!(asked.body["return_tokens_as_token_ids"], true);
            Does::json(completion(asked, |id| format!("token_id:{id}")))
        }
        _ => Does::Says(404, vec![], "{}".into()),
    }
}

/// Texts alone, in and out, and no echo.
fn openai(asked: &Asked) -> Does {
    match asked.path.as_str() {
        "/v1/models" => models("somebody"),
        "/v1/completions" if asked.body["echo"] == true || asked.body["prompt"].is_array() => {
            Does::Says(400, vec![], json!({"error": {"message": "text only"}}).to_string())
        }
        "/v1/completions" => Does::json(completion(asked, |id| text(&[id]))),
        _ => Does::Says(404, vec![], "{}".into()),
    }
}

/// llama.cpp's own endpoints. A comma is told by no answer, as a token that ends within a character.
fn llama(asked: &Asked) -> Does {
    let comma = ids(",")[0];
    match asked.path.as_str() {
        "/v1/models" => models("llamacpp"),
        "/props" => Does::json(json!({"default_generation_settings": {"n_ctx": 96}, "eos_token": "</s>"})),
        "/tokenize" => {
            Does::json(json!({"tokens": &*ids(asked.body["content"].as_str().expect("the test is well made"))}))
        }
        "/detokenize" => Does::json(json!({"content": text(&numbers(&asked.body["tokens"]))})),
        "/completion" => {
            let prompt = prompt(asked);
            let (most, n) = (
                asked.body["n_predict"].as_u64().expect("the test is well made") as usize,
                asked.body["n_probs"].as_u64().expect("the test is well made"),
            );
            let likely = chain(*prompt.last().expect("the test is well made"), most);
            let written = match asked.body["logit_bias"][0][0].as_u64() {
                Some(forced) => vec![forced as u32; 1],
                None => likely.clone(),
            };
            let told = |(at, id): (usize, &u32)| {
                // The whole vocabulary, or the likely one and the one after it.
                let named = |id: u32| json!({"id": id, "token": "", "logprob": logp(id)});
                let top: Vec<Value> = match n {
                    1..=2 => (0..n as u32).map(|rank| named(likely[at] + rank)).collect(),
                    _ => (0..n as u32).map(named).collect(),
                };
                let bytes = if *id == END { Vec::new() } else { text(&[*id]).into_bytes() };
                (*id != comma).then(|| json!({"id": id, "bytes": bytes, "logprob": logp(*id), "top_logprobs": top}))
            };
            Does::json(json!({
                "content": text(&written).trim_end_matches("</s>"),
                "tokens": written,
                "completion_probabilities": written.iter().enumerate().filter_map(told).collect::<Vec<_>>(),
                "stop_type": if written.last() == Some(&END) { "eos" } else { "limit" },
                "tokens_evaluated": prompt.len(),
                "timings": {"cache_n": prompt.len() - 1},
            }))
        }
        _ => Does::Says(404, vec![], "{}".into()),
    }
}

fn options(servers: &[&Server]) -> ServedOptions {
    ServedOptions {
        endpoints: servers.iter().map(|server| server.address.clone()).collect(),
        timeout: Duration::from_millis(300),
        backoff: Duration::from_millis(1),
        attempts: 2,
        ..ServedOptions::default()
    }
}

fn connect(server: &Server) -> ServedPolicy {
    ServedPolicy::connect(options(&[server]), Some(tokenizer())).expect("the test is well made")
}

fn request(prefix: &str, max_new: usize) -> Request {
    Request { prefix: ids(prefix), n: 1, until: Until::End, mode: Mode::Greedy, max_new, seed: Seed(0) }
}

fn sampled(prefix: &str, n: usize, max_new: usize) -> Request {
    Request { n, mode: Mode::Sample(Sampling::default()), ..request(prefix, max_new) }
}

/// Whether a request is one of a test's own, and not one of the questions at the beginning.
fn is_about(asked: &Asked, prefix: &str) -> bool {
    ["/completion", "/v1/completions"].contains(&asked.path.as_str()) && prompt(asked) == *ids(prefix)
}

#[test]
fn servers_of_all_families_write_what_they_say_and_end_where_they_end() {
    let families: [(fn(&Asked) -> Does, Dialect); 3] =
        [(vllm, Dialect::Vllm), (openai, Dialect::OpenAi), (llama, Dialect::LlamaCpp)];
    for (family, dialect) in families {
        let server = Server::start(family);
        let policy = connect(&server);
        let found = policy.abilities().next().unwrap().clone();
        assert_eq!((found.dialect, found.context, found.own_logps), (dialect, 96, true), "{dialect:?}");
        assert_eq!(found.takes_ids, dialect != Dialect::OpenAi);
        let scoring = [(Dialect::Vllm, Some(Scoring::Echo)), (Dialect::LlamaCpp, Some(Scoring::Forced))];
        assert_eq!(found.scoring, scoring.iter().find(|one| one.0 == dialect).and_then(|one| one.1));

        // a, then b c d e and the end; two letters; three of the same.
        let three = Request { n: 3, ..request("a", 2) };
        let replies = policy.propose(&[request("a", 9), request("a", 2), three, sampled("c", 2, 9)]).unwrap();
        let written: Vec<Vec<String>> =
            replies.iter().map(|reply| reply.candidates.iter().map(|one| text(&one.tokens)).collect()).collect();
        assert_eq!(written, [vec!["bcde</s>"], vec!["bc"], vec!["bc"; 3], vec!["de</s>"; 2]], "{dialect:?}");
        for one in replies.iter().flat_map(|reply| &reply.candidates) {
            assert_eq!(one.finish, if one.tokens.contains(&END) { Finish::End } else { Finish::Length });
            let expected: Vec<f32> = one.tokens.iter().map(|id| logp(*id) as f32).collect();
            assert_eq!(one.logps, expected, "{dialect:?}");
        }
        assert_eq!((replies[0].usage.generated, replies[2].usage.generated, replies[3].usage.generated), (5, 2, 6));
        assert_eq!(replies[0].usage.scored + replies[0].usage.reused, 1);
        // What leaves no room is not asked for.
        let asked = server.asked().len();
        let empty = policy.propose(&[request("a", 0)]).unwrap();
        assert_eq!((empty[0].candidates[0].tokens.len(), empty[0].candidates[0].finish), (0, Finish::Length));
        assert!(matches!(policy.propose(&[request(&"a".repeat(96), 1)]), Err(CoreError::Context { got: 97, .. })));
        assert_eq!(server.asked().len(), asked);
    }
}

#[test]
fn steps_end_with_their_separator_and_are_written_in_pieces() {
    for family in [vllm as fn(&Asked) -> Does, llama] {
        let server = Server::start(family);
        let policy = connect(&server);
        let until = |words: &str| Until::Step(ids(words).into_vec());
        let step = Request { until: until("d5"), ..sampled("a", 2, 40) };
        let token = Request { until: Until::Token, ..request("d", 9) };
        let end = Request { until: Until::Token, ..request("e", 9) };
        let far = Request { until: until("x"), ..request("0", 70) };
        let before = server.asked().len();
        let replies = policy.propose(&[step, token, end, far]).unwrap();
        let one = |reply: usize| &replies[reply].candidates[0];
        assert_eq!((text(&one(0).tokens).as_str(), one(0).finish), ("bcd", Finish::Step));
        assert_eq!(replies[0].candidates.len(), 2);
        assert_eq!((text(&one(1).tokens).as_str(), one(1).finish), ("e", Finish::Step));
        assert_eq!((text(&one(2).tokens).as_str(), one(2).finish), ("</s>", Finish::End));
        let digits: String = (1..=70).map(|at| char::from_digit(at % 10, 10).unwrap()).collect();
        assert_eq!((text(&one(3).tokens), one(3).finish), (digits, Finish::Length));
        // 70 digits in pieces of 32, 32 and 6.
        let asked = server.asked();
        let most = |asked: &Asked| asked.body["n_predict"].as_u64().or(asked.body["max_tokens"].as_u64()).unwrap();
        let zeros = asked[before..].iter().filter(|asked| prompt(asked)[0] == ids("0")[0]);
        assert_eq!(zeros.map(most).collect::<Vec<_>>(), [32, 32, 6]);
    }
}

#[test]
fn the_most_likely_tokens_are_named_or_the_limit_is() {
    for family in [vllm as fn(&Asked) -> Does, llama] {
        let server = Server::start(family);
        let policy = connect(&server);
        let top = Request { n: 2, until: Until::Token, mode: Mode::Top, ..request("a", 1) };
        let reply = policy.propose(std::slice::from_ref(&top)).unwrap().remove(0);
        let b = ids("b")[0];
        let found: Vec<(u32, f32)> = reply.candidates.iter().map(|one| (one.tokens[0], one.logps[0])).collect();
        assert_eq!(found, [(b, logp(b) as f32), (b + 1, logp(b + 1) as f32)]);
        assert_eq!(reply.usage.generated, 1);
    }
    let server = Server::start(vllm);
    let five = Request { n: 5, until: Until::Token, mode: Mode::Top, ..request("a", 1) };
    let refused = connect(&server).propose(&[five]).unwrap_err().to_string();
    assert!(refused.contains("2 of the 5 most likely"), "{refused}");
    // Texts name no ids.
    let server = Server::start(openai);
    let policy = connect(&server);
    let asked = server.asked().len();
    let top = Request { n: 2, until: Until::Token, mode: Mode::Top, ..request("a", 1) };
    assert!(matches!(policy.propose(&[top]), Err(CoreError::Unsupported { .. })));
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn given_tokens_are_scored_by_echo_or_by_force_or_not_at_all() {
    let given = [("a", "xyz"), ("ab", "</s>"), ("a", ""), ("b", "x,y")];
    let given: Vec<Continuation> =
        given.iter().map(|(prefix, tokens)| Continuation { prefix: ids(prefix), tokens: ids(tokens) }).collect();
    for family in [vllm as fn(&Asked) -> Does, llama] {
        let server = Server::start(family);
        let policy = connect(&server);
        let (scores, usage) = policy.score(&given).unwrap();
        for (scores, given) in scores.iter().zip(&given) {
            let expected: Vec<f32> = given.tokens.iter().map(|id| logp(*id) as f32).collect();
            assert_eq!(scores, &expected);
        }
        assert_eq!(usage.generated, 0);
        let alone = [Continuation { prefix: Tokens::default(), tokens: ids("a") }];
        assert!(matches!(policy.score(&alone), Err(CoreError::Shape { .. })));
    }
    let server = Server::start(openai);
    let policy = connect(&server);
    assert_eq!(policy.capabilities(), Capabilities { score: false, top: false, context: 96 });
    let asked = server.asked().len();
    assert!(matches!(policy.score(&given), Err(CoreError::Unsupported { .. })));
    assert!(policy.score_each(&given).iter().all(|score| matches!(score, Err(LmError::Endpoint { .. }))));
    assert_eq!(server.asked().len(), asked);
}

/// As llama.cpp's server does with the first half of a character.
#[test]
fn tokens_that_are_left_out_are_asked_for_by_force() {
    let server = Server::start(|asked| {
        let mut does = llama(asked);
        if let (true, Does::Says(_, _, body)) = (is_about(asked, "q"), &mut does) {
            let mut answer: Value = serde_json::from_str(body).unwrap();
            if asked.body["logit_bias"].is_null() {
                answer["tokens"] = json!(&*ids("x,y"));
                answer["content"] = json!("x,y");
                let told = ["x", "y"].map(|one| json!({"id": ids(one)[0], "bytes": [], "logprob": logp(ids(one)[0])}));
                answer["completion_probabilities"] = json!(told);
                answer["completion_probabilities"][1]["bytes"] = json!(b"x,y");
                *body = answer.to_string();
            }
        }
        does
    });
    let reply = connect(&server).propose(&[request("q", 3)]).unwrap().remove(0);
    let expected: Vec<f32> = ids("x,y").iter().map(|id| logp(*id) as f32).collect();
    assert_eq!((text(&reply.candidates[0].tokens).as_str(), &reply.candidates[0].logps), ("x,y", &expected));
    // One request that forces the comma, which is not told, and one for the whole vocabulary.
    let biased = server.asked().iter().filter(|asked| prompt(asked) == *ids("qx")).count();
    assert_eq!(biased, 2);
}

#[test]
fn what_a_server_would_not_heed_is_refused_before_it_is_asked() {
    let server = Server::start(openai);
    let policy = connect(&server);
    let asked = server.asked().len();
    for sampling in [
        Sampling { top_k: Some(5), ..Sampling::default() },
        Sampling { repetition_penalty: Some(1.1), ..Sampling::default() },
        Sampling { temperature: f32::NAN, ..Sampling::default() },
    ] {
        let wanted = Request { mode: Mode::Sample(sampling), ..request("a", 3) };
        assert!(policy.propose(&[request("a", 3), wanted]).is_err(), "{sampling:?}");
    }
    let foreign = Request { prefix: vec![9999].into(), ..request("a", 3) };
    assert!(matches!(policy.propose_each(&[foreign])[0], Err(LmError::Core(CoreError::Range { .. }))));
    // The sound request beside each of them was asked for, and nothing else.
    assert_eq!(server.asked().len(), asked + 3);
}

#[test]
fn log_probabilities_of_another_distribution_are_seen_at_once() {
    let server = Server::start(|asked| {
        let mut does = vllm(asked);
        if let (Some(temperature), Does::Says(_, _, body)) = (asked.body["temperature"].as_f64(), &mut does) {
            // Divided by the temperature, as a sampler sees them.
            let mut answer: Value = serde_json::from_str(body).unwrap();
            for top in answer["choices"][0]["logprobs"]["top_logprobs"].as_array_mut().unwrap() {
                top.as_object_mut().unwrap().values_mut().for_each(|logp| {
                    *logp = json!(logp.as_f64().unwrap() / temperature.max(0.1));
                });
            }
            *body = answer.to_string();
        }
        does
    });
    let policy = connect(&server);
    assert!(!policy.abilities().next().unwrap().own_logps);
    let refused = policy.propose(&[request("a", 3)]).unwrap_err().to_string();
    assert!(refused.contains("own log-probabilities"), "{refused}");
    assert_eq!(text(&policy.propose(&[sampled("a", 1, 2)]).unwrap()[0].candidates[0].tokens), "bc");
}

#[test]
fn log_probabilities_that_a_bias_has_changed_are_seen_at_once() {
    let server = Server::start(|asked| {
        let mut does = llama(asked);
        if let (Some(forced), Does::Says(_, _, body)) = (asked.body["logit_bias"][0][0].as_u64(), &mut does) {
            // What is forced is certain, and the rest is far below.
            let mut answer: Value = serde_json::from_str(body).unwrap();
            let told = &mut answer["completion_probabilities"][0];
            told["logprob"] = json!(0.0);
            told["top_logprobs"] =
                json!([{"id": forced, "token": "", "logprob": 0.0}, {"id": 2, "token": "", "logprob": -900.0}]);
            *body = answer.to_string();
        }
        does
    });
    let policy = connect(&server);
    assert!(!policy.capabilities().score);
    let top = Request { n: 2, until: Until::Token, mode: Mode::Top, ..request("a", 1) };
    let refused = policy.propose(&[top]).unwrap_err().to_string();
    assert!(refused.contains("as a bias has changed them"), "{refused}");
    assert_eq!(text(&policy.propose(&[sampled("a", 1, 2)]).unwrap()[0].candidates[0].tokens), "bc");
}

#[test]
fn tokens_that_no_text_gives_are_not_sent_as_text() {
    // Three signs that together spell the one token `<s>`.
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: None };
    let signs = Tokenizer::characters(&format!("{ALPHABET}</>"), &["<s>", "</s>"], roles).unwrap();
    let prefix: Vec<u32> = ["<", "s", ">"].into_iter().flat_map(|sign| signs.encode(sign).unwrap()).collect();
    assert_eq!(prefix.len(), 3);
    let server = Server::start(openai);
    let policy = ServedPolicy::connect(options(&[&server]), Some(signs)).unwrap();
    let refused = policy.propose(&[Request { prefix: prefix.into(), ..request("a", 2) }]).unwrap_err().to_string();
    assert!(refused.contains("takes text alone") && refused.contains(&server.address), "{refused}");
}

/// What a server does with the one request that it answers badly, and words that the message has to hold.
struct Misdeed {
    name: &'static str,
    words: &'static [&'static str],
    does: Box<dyn Fn(&Asked) -> Does + Send + Sync>,
}

fn misdeed(
    name: &'static str,
    words: &'static [&'static str],
    does: impl Fn(&Asked) -> Does + Send + Sync + 'static,
) -> Misdeed {
    Misdeed { name, words, does: Box::new(does) }
}

/// An answer that is right but for one change.
fn changed(name: &'static str, words: &'static [&'static str], change: fn(&mut Value)) -> Misdeed {
    misdeed(name, words, move |asked| {
        let mut answer = right(asked);
        change(&mut answer);
        Does::json(answer)
    })
}

fn right(asked: &Asked) -> Value {
    completion(asked, |id| format!("token_id:{id}"))
}

/// Those that may pass.
fn passing() -> Vec<Misdeed> {
    vec![
        misdeed("hangs", &["no whole answer within", "timeout"], |_| Does::Hangs),
        misdeed("is asked too much", &["429", "slow down", "lower the concurrency"], |_| {
            Does::Says(429, vec!["Retry-After: 0.01".into()], r#"{"error": "slow down"}"#.into())
        }),
        misdeed("fails", &["failed (500)", "oops", "log"], |_| Does::Says(500, vec![], "oops".into())),
        misdeed("says half a JSON", &["20 bytes", "no whole JSON", "log"], |asked| {
            Does::Says(200, vec![], right(asked).to_string()[..20].into())
        }),
        misdeed("closes in the middle", &["connection failed", "still running"], |_| {
            Does::Writes("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"choices\": [".into())
        }),
        misdeed("closes at once", &["connection failed", "still running"], |_| Does::Writes(String::new())),
        misdeed("writes NaN", &["no whole JSON"], |asked| {
            Does::Says(200, vec![], right(asked).to_string().replacen("-0.375", "NaN", 1))
        }),
    ]
}

/// Those that will not.
fn lasting() -> Vec<Misdeed> {
    vec![
        changed("gives fewer choices", &["1 choices where 2", "fewer in one request"], |answer| {
            answer["choices"].as_array_mut().expect("the test is well made").truncate(1);
        }),
        changed(
            "tells other tokens than it writes",
            &["wrote `zz`", "tokens spell `bc`", "tokenizer of the model"],
            |answer| answer["choices"][0]["text"] = json!("zz"),
        ),
        changed("tells texts that do not spell the text", &["wrote `bc`", "spell `zz`"], |answer| {
            answer["choices"][0]["logprobs"]["tokens"] = json!(["z", "z"]);
        }),
        misdeed("writes more than was asked for", &["wrote 4 tokens where 1 to 2"], |asked| {
            let body = json!({"prompt": asked.body["prompt"], "max_tokens": 4, "n": 2});
            Does::json(right(&Asked { body, ..asked.clone() }))
        }),
        changed("tells no log-probabilities", &["told no log-probabilities", "ask a server that does"], |answer| {
            answer["choices"][1]["logprobs"] = Value::Null;
            answer["usage"] = Value::Null;
        }),
        changed("tells null", &["no log-probability of token 1", "log"], |answer| {
            answer["choices"][1]["logprobs"]["token_logprobs"][1] = Value::Null;
        }),
        changed("tells what cannot be", &["2.5", "at most 0"], |answer| {
            answer["choices"][0]["logprobs"]["token_logprobs"][0] = json!(2.5);
        }),
        changed("keeps some back", &["wrote 9 tokens and told", "of 4;"], |answer| {
            answer["usage"]["completion_tokens"] = json!(9);
        }),
        changed("reads another prompt", &["7 tokens where 1", "tokenizer"], |answer| {
            answer["usage"]["prompt_tokens"] = json!(7);
        }),
        misdeed("refuses", &["refuses the request (400)", "too wild"], |_| {
            Does::Says(400, vec![], r#"{"error": {"message": "too wild"}}"#.into())
        }),
        misdeed("forgets the model", &["404", "no model", "name of the model"], |_| {
            Does::Says(404, vec![], r#"{"detail": "no model"}"#.into())
        }),
        misdeed("points elsewhere", &["another address"], |_| {
            Does::Says(302, vec!["Location: http://127.0.0.1:1/".into()], String::new())
        }),
    ]
}

#[test]
fn a_request_that_is_answered_badly_is_named_and_costs_the_others_nothing() {
    for Misdeed { name, does, words } in passing().into_iter().chain(lasting()) {
        let server = Server::start(move |asked| if is_about(asked, "a") { does(asked) } else { vllm(asked) });
        let wanted = ServedOptions { choices_per_request: 2, ..options(&[&server]) };
        let policy = ServedPolicy::connect(wanted, Some(tokenizer())).unwrap();
        let requests = [sampled("b", 2, 2), sampled("a", 2, 2), sampled("c", 2, 2)];
        let replies = policy.propose_each(&requests);
        for (reply, expected) in [(&replies[0], "cd"), (&replies[2], "de")] {
            let reply = reply.as_ref().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(reply.candidates.iter().all(|one| text(&one.tokens) == expected), "{name}");
            assert_eq!(reply.candidates.len(), 2, "{name}");
        }
        let error = replies[1].as_ref().unwrap_err();
        assert!(matches!(error, LmError::Unanswered { request: 1, .. }), "{name}: {error}");
        // At the seam there is one result, and it says the same.
        for message in [error.to_string(), policy.propose(&requests).unwrap_err().to_string()] {
            for word in words.iter().copied().chain(["request 1 ", server.address.as_str()]) {
                assert!(message.contains(word), "{name}: `{word}` is not said: {message}");
            }
        }
    }
}

#[test]
fn what_passes_is_asked_again() {
    for Misdeed { name, does, .. } in passing() {
        let first = AtomicUsize::new(0);
        let server = Server::start(move |asked| {
            let spoilt = is_about(asked, "a") && first.fetch_add(1, Ordering::SeqCst) == 0;
            if spoilt { does(asked) } else { vllm(asked) }
        });
        let replies = connect(&server).propose(&[request("a", 2), request("b", 2)]);
        let replies = replies.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(text(&replies[0].candidates[0].tokens), "bc", "{name}");
        assert_eq!(server.asked().iter().filter(|asked| is_about(asked, "a")).count(), 2, "{name}");
    }
}

#[test]
fn endpoints_share_the_work_and_one_that_dies_loses_nothing() {
    let dead = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&dead);
    let mortal = Server::start(move |asked| match state.load(Ordering::SeqCst) {
        0 => vllm(asked),
        _ => Does::Says(503, vec![], "gone".into()),
    });
    let living = Server::start(vllm);
    let policy = ServedPolicy::connect(options(&[&mortal, &living]), Some(tokenizer())).unwrap();
    assert_eq!(policy.abilities().count(), 2);
    let requests: Vec<Request> = (0..20).map(|number| request(if number % 2 == 0 { "a" } else { "b" }, 2)).collect();
    for life in 0..2 {
        dead.store(life, Ordering::SeqCst);
        let replies = policy.propose(&requests).unwrap();
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(text(&reply.candidates[0].tokens), ["bc", "cd"][number % 2]);
        }
    }
}

#[test]
fn no_more_requests_are_in_flight_than_were_allowed() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (flying, highest) = (Arc::clone(&now), Arc::clone(&most));
    let server = Server::start(move |asked| {
        highest.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let does = vllm(asked);
        flying.fetch_sub(1, Ordering::SeqCst);
        does
    });
    let wanted = ServedOptions { concurrency: 3, ..options(&[&server]) };
    let policy = ServedPolicy::connect(wanted, Some(tokenizer())).unwrap();
    let requests: Vec<Request> = (0..30).map(|_| request("a", 2)).collect();
    policy.propose(&requests).unwrap();
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(now.load(Ordering::SeqCst), 0);
}

#[test]
fn after_the_deadline_and_after_cancelling_nothing_is_asked() {
    let server = Server::start(vllm);
    let wanted = options(&[&server]);
    let policy = ServedPolicy::connect(wanted.clone(), Some(tokenizer())).unwrap();
    wanted.cancel.store(true, Ordering::Relaxed);
    let asked = server.asked().len();
    let refused = policy.propose(&[request("a", 2)]).unwrap_err().to_string();
    assert!(refused.contains("cancelled") && refused.contains(&server.address), "{refused}");
    assert_eq!(server.asked().len(), asked);
    let late = ServedOptions { deadline: Some(Instant::now()), ..options(&[&server]) };
    let refused = ServedPolicy::connect(late, Some(tokenizer())).unwrap_err().to_string();
    assert!(refused.contains("deadline passed"), "{refused}");
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn a_deadline_ends_what_hangs() {
    let server = Server::start(|asked| if is_about(asked, "a") { Does::Hangs } else { vllm(asked) });
    let patient = ServedOptions { timeout: Duration::from_secs(3600), ..options(&[&server]) };
    let policy = ServedPolicy::connect(patient, Some(tokenizer())).unwrap();
    let policy = policy.with_deadline(Some(Instant::now() + Duration::from_millis(300)));
    let replies = policy.propose_each(&[request("b", 2), request("a", 2)]);
    assert!(replies[0].is_ok());
    assert!(matches!(replies[1], Err(LmError::Unanswered { request: 1, .. })));
}

#[test]
fn endpoints_that_cannot_be_used_are_refused_when_they_are_connected_to() {
    let refused = |wanted: ServedOptions, words: &Tokenizer| {
        ServedPolicy::connect(wanted, Some(words.clone())).unwrap_err().to_string()
    };
    let nowhere = Server::nowhere();
    let wanted = ServedOptions { endpoints: vec![nowhere.clone()], ..options(&[]) };
    let message = refused(wanted, &tokenizer());
    assert!(message.contains(&nowhere) && message.contains("nothing listens there"), "{message}");
    assert!(refused(options(&[]), &tokenizer()).contains("at least one endpoint"));

    // The wrong model, several, another one at the second endpoint, and none.
    let named = |names: &'static [&'static str]| {
        move |asked: &Asked| match asked.path.as_str() {
            "/v1/models" => {
                let entry = |name: &&str| json!({"id": name, "owned_by": "vllm", "max_model_len": 96});
                Does::json(json!({"data": names.iter().map(entry).collect::<Vec<_>>()}))
            }
            _ => vllm(asked),
        }
    };
    let (two, other, none) =
        (Server::start(named(&["x", "y"])), Server::start(named(&["z"])), Server::start(named(&[])));
    let wrong = ServedOptions { model: Some("w".into()), ..options(&[&two]) };
    let message = refused(wrong, &tokenizer());
    assert!(message.contains("`w`") && message.contains("x, y") && message.contains(&two.address), "{message}");
    assert!(refused(options(&[&two]), &tokenizer()).contains("several models; name one of x, y"));
    let right = ServedOptions { model: Some("y".into()), ..options(&[&two]) };
    assert_eq!(ServedPolicy::connect(right, Some(tokenizer())).unwrap().abilities().next().unwrap().model, "y");
    let chain = Server::start(vllm);
    let message = refused(options(&[&chain, &other]), &tokenizer());
    assert!(message.contains("serves `z`") && message.contains(&other.address), "{message}");
    assert!(refused(options(&[&none]), &tokenizer()).contains("serves no model"));

    // Another tokenizer, none at all, and no length of the context.
    let roles = Roles { bos: None, eos: Some("</s>"), pad: None };
    let foreign = Tokenizer::characters(ALPHABET, &["</s>"], roles).unwrap();
    let cpp = Server::start(llama);
    assert!(refused(options(&[&cpp]), &foreign).contains("another tokenizer"));
    let message = ServedPolicy::connect(options(&[&chain]), None).unwrap_err().to_string();
    assert!(message.contains("give the tokenizer"), "{message}");
    let vague = Server::start(|asked| match asked.path.as_str() {
        "/v1/models" => Does::json(json!({"data": [{"id": "chain", "owned_by": "vllm"}]})),
        _ => vllm(asked),
    });
    assert!(refused(options(&[&vague]), &tokenizer()).contains("how long its context is"));
    let told = ServedOptions { context: Some(50), ..options(&[&vague]) };
    assert_eq!(ServedPolicy::connect(told, Some(tokenizer())).unwrap().capabilities().context, 50);

    // No log-probabilities.
    let silent = Server::start(|asked| {
        let mut does = vllm(asked);
        if let (true, Does::Says(_, _, body)) = (asked.path == "/v1/completions", &mut does) {
            let mut answer: Value = serde_json::from_str(body).unwrap();
            answer["choices"][0]["logprobs"] = Value::Null;
            *body = answer.to_string();
        }
        does
    });
    let message = refused(options(&[&silent]), &tokenizer());
    assert!(
        message.contains("no log-probabilities") || message.contains("told the log-probabilities of 0"),
        "{message}"
    );
}

#[test]
fn a_server_that_splits_text_otherwise_is_found_out() {
    // Pairs of letters for tokens: the same text, other tokens.
    let server = Server::start(|asked| {
        if !is_about(asked, "a") {
            return openai(asked);
        }
        let logprobs = json!({"tokens": ["bc", "de"], "token_logprobs": [-1.0, -1.0]});
        let choice = json!({"text": "bcde", "finish_reason": "length", "logprobs": logprobs});
        Does::json(json!({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    });
    let refused = connect(&server).propose(&[request("a", 4)]).unwrap_err().to_string();
    assert!(refused.contains("otherwise than the tokenizer"), "{refused}");
}

#[test]
fn the_tokenizer_of_the_server_may_do() {
    let server = Server::start(llama);
    let policy = ServedPolicy::connect(options(&[&server]), None).unwrap();
    let prefix = policy.encode("a").unwrap();
    assert_eq!(prefix, ids("a"));
    let reply = policy.propose(&[Request { prefix, ..request("a", 9) }]).unwrap().remove(0);
    assert_eq!(policy.decode(&reply.candidates[0].tokens).unwrap(), "bcde");
    let local = connect(&server);
    assert_eq!(local.encode("ab").unwrap(), ids("ab"));
    assert_eq!(local.decode(&reply.candidates[0].tokens).unwrap(), "bcde");
}

#[test]
fn candidates_depend_on_their_own_stream_alone() {
    let seeds = Arc::new(Mutex::new(HashMap::<u64, usize>::new()));
    let kept = Arc::clone(&seeds);
    let server = Server::start(move |asked| {
        if is_about(asked, "a") {
            *kept.lock().unwrap().entry(asked.body["seed"].as_u64().unwrap()).or_default() += 1;
        }
        vllm(asked)
    });
    let policy = connect(&server);
    policy.propose(&[sampled("a", 2, 2)]).unwrap();
    policy.propose(&[sampled("b", 3, 2), sampled("a", 4, 2)]).unwrap();
    // Streams 0 and 1 twice, 2 and 3 once.
    let mut counts: Vec<usize> = seeds.lock().unwrap().values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2, 2]);
    assert!(seeds.lock().unwrap().keys().all(|seed| *seed < 1 << 31));
}

#[test]
fn the_best_of_n_is_found_over_a_served_policy() {
    // As long as the seed says: 1 to 3 letters.
    let server = Server::start(|asked| {
        let mut asked = asked.clone();
        if is_about(&asked, "a") || is_about(&asked, "m") {
            asked.body["max_tokens"] = json!(1 + asked.body["seed"].as_u64().unwrap() % 3);
        }
        vllm(&asked)
    });
    let policy = connect(&server);
    let longest = rule(|episode: &Episode| episode.tokens.len() as f32);
    let mut context = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&longest, Reduce::Sum);
    let found = BestOfN { n: 8 }.search(&[ids("a"), ids("m")], &mut context).unwrap();
    for (found, whole) in found.iter().zip(["bcd", "nop"]) {
        let lengths: Vec<usize> = found.candidates.iter().map(|one| one.tokens.len()).collect();
        assert_eq!(lengths.len(), 8);
        assert_eq!(Some(&found.best().tokens.len()), lengths.iter().max());
        assert!(whole.starts_with(&text(&found.best().tokens)));
        assert_eq!(found.usage.generated as usize, lengths.iter().sum::<usize>());
    }
}

/// What docs/served.md says of each strategy is what the strategy declares, and holds over servers that can do all of it and
/// over one that names no ids.
#[test]
fn strategies_run_where_their_needs_are_met() {
    let page = include_str!("../../../docs/served.md");
    let (_, table) = page.split_once("| strategy | asks for, besides samples |").expect("a table of strategies");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), STRATEGIES.len());
    for family in [vllm as fn(&Asked) -> Does, llama, openai] {
        let server = Server::start(family);
        let policy = connect(&server);
        let half = rule(|episode: &Episode| 1.0 / (1.0 + episode.tokens.len() as f32));
        let answer = |episode: &Episode| episode.tokens.last().map(u32::to_string);
        let same = |left: &str, right: &str| left == right;
        for ((name, make), row) in STRATEGIES.iter().zip(&rows) {
            // These servers name two tokens at most.
            let options = match *name {
                "beam" | "likelihood" => json!({"beams": 1}),
                "deal" => json!({"k": 2, "lookahead": 1}),
                "transfer-q" | "controlled" => json!({"k": 2}),
                "mcts" => json!({"tree": {"simulations": 3}, "levels": 2}),
                _ => json!({}),
            };
            let search = make(&options).expect("options of the strategy");
            let needs = search.needs();
            let asks = [(needs.scorer, "a scorer"), (needs.answers, "answers"), (needs.top, "the most likely tokens")];
            let asks: Vec<&str> = asks.into_iter().filter(|(needed, _)| *needed).map(|(_, what)| what).collect();
            let (asks, without_ids) = (asks.join(", "), if needs.top { "refused" } else { "yes" });
            assert_eq!(*row, format!("| `{name}` | {asks} | yes | {without_ids} |").replace("|  |", "| |"));

            let limits = Limits { generated: Some(60), policy_calls: Some(30), ..Limits::default() };
            let mut context = SearchCtx::new(&policy, 4, Seed(0)).with_steps(Steps::blocks(2)).with_limits(limits);
            context = context.with_scorer(&half, Reduce::Sum).with_answers(&answer, &same);
            let asked = server.asked().len();
            let found = search.search(&[ids("k")], &mut context);
            if needs.top && !policy.capabilities().top {
                assert!(matches!(found, Err(SearchError::Core(CoreError::Unsupported { .. }))), "{name}");
                assert_eq!(server.asked().len(), asked, "{name}");
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{name}: {error}")).remove(0);
            assert!(text(&found.best().tokens).starts_with('l'), "{name}");
            let (tokens, calls) = (found.usage.generated, found.calls.policy);
            assert!((1..=60).contains(&tokens) && (1..=30).contains(&calls), "{name}: {tokens} and {calls}");
        }
    }
}

#[test]
fn a_search_outlives_failures_that_pass_and_names_one_that_does_not() {
    const NEVER: usize = 0;
    const EVERY_THIRD: usize = 1;
    const FROM_THE_THIRD: usize = 2;
    let (asked, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(NEVER)));
    let (counter, faults) = (Arc::clone(&asked), Arc::clone(&fails));
    let server = Server::start(move |asked| {
        // Only what a search asks: the text so far begins with the prompt.
        if asked.path != "/v1/completions" || prompt(asked).first() != Some(&ids("k")[0]) {
            return vllm(asked);
        }
        let number = counter.fetch_add(1, Ordering::SeqCst);
        match faults.load(Ordering::SeqCst) {
            EVERY_THIRD if number % 3 == 2 => Does::Says(503, vec![], "gone".into()),
            FROM_THE_THIRD if number >= 2 => Does::Says(503, vec![], "gone".into()),
            _ => vllm(asked),
        }
    });
    let wanted = ServedOptions { concurrency: 1, attempts: 3, ..options(&[&server]) };
    let policy = ServedPolicy::connect(wanted, Some(tokenizer())).unwrap();
    let longest = rule(|episode: &Episode| episode.tokens.len() as f32);
    let beam = StepBeam { n: 2, expand: 2, ..StepBeam::default() };
    let search = || {
        let mut context = SearchCtx::new(&policy, 6, Seed(0)).with_steps(Steps::blocks(2));
        context = context.with_scorer(&longest, Reduce::Sum);
        let found = beam.search(&[ids("k")], &mut context);
        (found.map(|mut found| found.remove(0)), context.spent())
    };
    let (whole, spent) = search();
    let whole = whole.unwrap();
    assert_eq!((text(&whole.best().tokens).as_str(), spent), ("lmnopq", whole.usage));
    let requests = asked.swap(0, Ordering::SeqCst);

    fails.store(EVERY_THIRD, Ordering::SeqCst);
    let (found, _) = search();
    assert_eq!(found.unwrap(), whole);
    assert!(asked.swap(0, Ordering::SeqCst) > requests);

    // It stops when the first level is written: what that cost is counted.
    fails.store(FROM_THE_THIRD, Ordering::SeqCst);
    let (found, spent) = search();
    let error = found.unwrap_err().to_string();
    for word in ["failed (503)", "gone", server.address.as_str()] {
        assert!(error.contains(word), "`{word}` is not said: {error}");
    }
    assert_eq!(spent.generated, 4);
}

/// A chat server: the answer is the last message in capitals, a letter a piece.
fn chat(asked: &Asked) -> Does {
    match asked.path.as_str() {
        "/v1/models" => models("somebody"),
        "/v1/chat/completions" => {
            let said = asked.body["messages"]
                .as_array()
                .expect("the test is well made")
                .last()
                .expect("the test is well made")["content"]
                .as_str()
                .expect("the test is well made")
                .to_uppercase();
            if asked.body["stream"] == true {
                let piece = |letter: char| json!({"choices": [{"delta": {"content": letter.to_string()}, "finish_reason": null}]});
                let mut events: Vec<String> = said.chars().map(|letter| piece(letter).to_string()).collect();
                events.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string());
                events.push("[DONE]".into());
                return Does::streams(&events);
            }
            let token = |letter: char| json!({"token": letter.to_string(), "logprob": -0.5, "top_logprobs": [{"token": "?", "logprob": -2.0}, {"token": letter.to_string(), "logprob": -0.5}]});
            let content: Vec<Value> = said.chars().map(token).collect();
            let logprobs = if asked.body["logprobs"] == true { json!({"content": content}) } else { Value::Null };
            let choice = |index: u64| json!({"index": index, "message": {"role": "assistant", "content": said}, "finish_reason": "stop", "logprobs": logprobs});
            let n = asked.body["n"].as_u64().expect("the test is well made");
            Does::json(
                json!({"choices": (0..n).map(choice).collect::<Vec<_>>(), "usage": {"prompt_tokens": 5, "completion_tokens": said.len() as u64 * n}}),
            )
        }
        _ => Does::Says(404, vec![], "{}".into()),
    }
}

fn says(words: &str) -> ChatRequest {
    ChatRequest {
        messages: vec![Message::new("system", "shout"), Message::new("user", words)],
        n: 1,
        mode: Mode::Greedy,
        max_new: 16,
        top_logprobs: None,
        seed: Seed(0),
    }
}

#[test]
fn chats_are_answered_with_and_without_log_probabilities() {
    let server = Server::start(chat);
    let judge = ServedChat::connect(options(&[&server])).unwrap();
    let with = ChatRequest { top_logprobs: Some(2), ..says("no") };
    let several = ChatRequest { n: 3, mode: Mode::Sample(Sampling::default()), ..says("maybe") };
    let replies = judge.ask(&[says("yes"), with, several, ChatRequest { n: 2, ..says("so") }]);
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    let texts = |reply: usize| replies[reply].choices.iter().map(|one| one.text.as_str()).collect::<Vec<_>>();
    assert_eq!([texts(0), texts(1), texts(2), texts(3)], [vec!["YES"], vec!["NO"], vec!["MAYBE"; 3], vec!["SO"; 2]]);
    assert_eq!(replies[0].choices[0].tokens, None);
    let tokens = replies[1].choices[0].tokens.as_ref().unwrap();
    assert_eq!((tokens[1].text.as_str(), tokens[1].logp), ("O", -0.5));
    // Most likely first.
    assert_eq!(tokens[1].top, [("O".to_owned(), -0.5), ("?".to_owned(), -2.0)]);
    assert_eq!((replies[2].usage.generated, replies[3].usage.generated), (15, 2));
    assert!(replies.iter().flat_map(|reply| &reply.choices).all(|one| one.finish == Finish::End));

    let mut pieces = Vec::new();
    let streamed = judge.stream(&says("hey"), &mut |piece| pieces.push(piece.to_owned())).unwrap();
    assert_eq!(
        (streamed.text.as_str(), streamed.finish, pieces),
        ("HEY", Finish::End, ["H", "E", "Y"].map(String::from).to_vec())
    );
}

#[test]
fn a_chat_that_breaks_off_is_not_answered_twice() {
    let broken = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        if asked.path != "/v1/chat/completions" {
            return chat(asked);
        }
        match broken.fetch_add(1, Ordering::SeqCst) {
            // Before the first piece: asked again. After it: told.
            0 => Does::streams(&[]),
            1 => Does::streams(&[json!({"choices": [{"delta": {"content": "H"}}]}).to_string()]),
            _ => chat(asked),
        }
    });
    let judge = ServedChat::connect(options(&[&server])).unwrap();
    let mut heard = String::new();
    let refused = judge.stream(&says("hey"), &mut |piece| heard.push_str(piece)).unwrap_err().to_string();
    assert!(refused.contains("closed the stream before its end") && refused.contains(&server.address), "{refused}");
    assert_eq!(heard, "H");
    // A message in the middle, and an answer that was cut short by a filter.
    let server = Server::start(|asked| match (asked.path.as_str(), asked.body["stream"] == true) {
        ("/v1/chat/completions", true) => Does::streams(&[json!({"error": {"message": "no memory"}}).to_string()]),
        ("/v1/chat/completions", false) => {
            Does::json(json!({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}))
        }
        _ => chat(asked),
    });
    let judge = ServedChat::connect(options(&[&server])).unwrap();
    let refused = judge.stream(&says("hey"), &mut |_| ()).unwrap_err().to_string();
    assert!(refused.contains("no memory"), "{refused}");
    let refused = judge.ask(&[says("hey")]).remove(0).unwrap_err().to_string();
    assert!(refused.contains("content_filter") && refused.contains("request 0"), "{refused}");
    // The most likely tokens were wanted, and none came.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1/chat/completions" => {
            Does::json(json!({"choices": [{"message": {"content": "NO"}, "finish_reason": "stop"}]}))
        }
        _ => chat(asked),
    });
    let judge = ServedChat::connect(options(&[&server])).unwrap();
    let refused = judge.ask(&[ChatRequest { top_logprobs: Some(1), ..says("no") }]).remove(0).unwrap_err().to_string();
    assert!(refused.contains("no log-probabilities"), "{refused}");
}

#[test]
fn clients_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<ServedPolicy>();
    shared::<ServedChat>();
    shared::<ServedOptions>();
}
