//! What a server answered, read and held against itself.
//!
//! ```text
//! OpenAI, vLLM   choices[i].logprobs = {tokens, token_logprobs, top_logprobs: [{token: logp}]}
//! newer          choices[i].logprobs.content = [{token, bytes, logprob, top_logprobs: [..]}], with `id` from llama.cpp
//! llama.cpp      {content, tokens, completion_probabilities: [as above]}, or a list of these
//! ```
//! A token without a log-probability, one above 0, and tokens that do not spell the text are faults.

use serde_json::Value;

use super::wire::Fault;

/// Log-probabilities are at most 0; rounding may put one a hair above it.
const ROUNDING: f64 = 1e-3;

/// Characters of a text that a message repeats.
const QUOTED: usize = 60;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// In the order of their numbers.
    pub(super) choices: Vec<Choice>,
    /// Tokens of the prompt, as the server counts them.
    pub(super) prompt: Option<u64>,
    /// Those of them that it had read before.
    pub(super) cached: u64,
    /// Tokens written, as the server counts them: of all choices or of the first.
    written: Option<u64>,
}

/// One text.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) text: String,
    /// All its tokens, where the server names them apart from their log-probabilities.
    pub(super) ids: Option<Vec<u32>>,
    /// The tokens whose log-probabilities are told.
    pub(super) told: Vec<Told>,
    /// It ended by itself, and not because of its length.
    pub(super) ended: bool,
}

/// A token whose log-probability is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) id: Option<u32>,
    /// What it spells, if the server says so.
    pub(super) bytes: Option<Vec<u8>>,
    logp: Option<f64>,
    /// The most likely tokens in its place, as far as their ids are known.
    pub(super) top: Vec<(u32, f32)>,
    /// The same with their texts.
    pub(super) top_texts: Vec<(String, f32)>,
}

impl Answer {
    /// An answer of `/v1/completions` to a request for `n` choices.
    pub(super) fn completions(answer: &Value, n: usize) -> Result<Self, Fault> {
        let read = |choice: &Value| -> Result<Choice, Fault> {
            let text = choice["text"].as_str().ok_or_else(|| lacks("choices[..].text"))?;
            // Nothing ends an echo, so it needs no reason.
            let reason = &choice["finish_reason"];
            let ended = !reason.is_null() && ended(reason)?;
            Ok(Choice { text: text.to_owned(), ids: None, told: told(&choice["logprobs"])?, ended })
        };
        Self::openai(answer, n, read)
    }

    /// An answer of `/v1/chat/completions` to a request for `n` choices.
    pub(super) fn chat(answer: &Value, n: usize) -> Result<Self, Fault> {
        let read = |choice: &Value| -> Result<Choice, Fault> {
            let text = choice["message"]["content"].as_str().ok_or_else(|| lacks("choices[..].message.content"))?;
            let ended = ended(&choice["finish_reason"])?;
            Ok(Choice { text: text.to_owned(), ids: None, told: told(&choice["logprobs"])?, ended })
        };
        Self::openai(answer, n, read)
    }

    fn openai(answer: &Value, n: usize, read: impl Fn(&Value) -> Result<Choice, Fault>) -> Result<Self, Fault> {
        let choices = answer["choices"].as_array().ok_or_else(|| lacks("choices"))?;
        let usage = &answer["usage"];
        Ok(Self {
            choices: placed(choices, n)?.into_iter().map(read).collect::<Result<_, _>>()?,
            prompt: usage["prompt_tokens"].as_u64(),
            cached: usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0),
            written: usage["completion_tokens"].as_u64(),
        })
    }

    /// An answer of llama.cpp's `/completion` to a request for `n` choices.
    pub(super) fn llama_cpp(answer: &Value, n: usize) -> Result<Self, Fault> {
        let listed = match answer {
            Value::Array(choices) => choices.as_slice(),
            one => std::slice::from_ref(one),
        };
        let read = |choice: &Value| -> Result<Choice, Fault> {
            let text = choice["content"].as_str().ok_or_else(|| lacks("content"))?;
            let ids = choice["tokens"].as_array().ok_or_else(|| lacks("tokens"))?;
            let ids = ids.iter().map(id).collect::<Option<Vec<u32>>>().ok_or_else(|| lacks("tokens"))?;
            let told = choice["completion_probabilities"].as_array().into_iter().flatten().map(told_of).collect();
            Ok(Choice { text: text.to_owned(), ids: Some(ids), told, ended: choice["stop_type"] == "eos" })
        };
        let choices = placed(listed, n)?;
        let none = Value::Null;
        let first = choices.first().copied().unwrap_or(&none);
        Ok(Self {
            prompt: first["tokens_evaluated"].as_u64(),
            cached: first["timings"]["cache_n"].as_u64().unwrap_or(0),
            written: None,
            choices: choices.into_iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    /// Checks that the prompt has the length it was sent with, that no log-probability is kept back, and that the tokens
    /// spell the texts.
    pub(super) fn check(&self, prompt: usize) -> Result<(), Fault> {
        if let Some(got) = self.prompt.filter(|got| *got != prompt as u64) {
            return Err(Fault::lasting(format!(
                "read a prompt of {got} tokens where {prompt} were sent; it splits text otherwise, or adds tokens: use \
                 the tokenizer of the model that is served"
            )));
        }
        let told = self.choices.iter().map(|choice| choice.told.len() as u64).sum::<u64>();
        let whole = self.choices.iter().all(|choice| choice.ids.is_some());
        if let Some(written) = self.written.filter(|written| !whole && told < *written) {
            return Err(Fault::lasting(format!(
                "wrote {written} tokens and told the log-probabilities of {told}; ask a server that tells all of them"
            )));
        }
        self.choices.iter().try_for_each(Choice::check_spelling)
    }
}

impl Choice {
    /// Checks that the tokens that are told spell the text. The last one may be an end that stands in no text, and parts of
    /// characters may be missing.
    fn check_spelling(&self) -> Result<(), Fault> {
        let Some(pieces) = self.told.iter().map(|told| told.bytes.as_deref()).collect::<Option<Vec<&[u8]>>>() else {
            return Ok(());
        };
        if pieces.is_empty() {
            return Ok(());
        }
        let spelled = |pieces: &[&[u8]]| String::from_utf8_lossy(&pieces.concat()).into_owned();
        let (whole, short) = (spelled(&pieces), spelled(&pieces[..pieces.len() - 1]));
        let same = |spelled: &str| whole_characters(spelled) == whole_characters(&self.text);
        if same(&whole) || (self.ended && same(&short)) {
            return Ok(());
        }
        Err(Fault::lasting(format!(
            "wrote `{}` and told the log-probabilities of tokens that spell `{}`; they belong to other tokens, so none of \
             them is used: report it to the server's makers",
            quoted(&self.text),
            quoted(&whole)
        )))
    }
}

impl Told {
    /// The log-probability of the token at `place`.
    pub(super) fn logp(&self, place: usize) -> Result<f32, Fault> {
        match self.logp {
            Some(logp) if logp <= ROUNDING => Ok(logp as f32),
            Some(logp) => Err(Fault::lasting(format!(
                "told {logp} as the log-probability of token {place}, which must be at most 0; switch off what changes it"
            ))),
            None => Err(Fault::lasting(format!(
                "told no log-probability of token {place} (absent, or not a number); see the server's log"
            ))),
        }
    }
}

/// Whether a text ended by itself.
pub(super) fn ended(reason: &Value) -> Result<bool, Fault> {
    match reason.as_str() {
        Some("stop") => Ok(true),
        Some("length") => Ok(false),
        other => Err(Fault::lasting(format!(
            "ended a text for the reason `{}`, which is neither its end nor its length; ask in other words",
            other.unwrap_or("none")
        ))),
    }
}

/// The tokens of `logprobs`, in either of its layouts; none where there is none.
pub(super) fn told(logprobs: &Value) -> Result<Vec<Told>, Fault> {
    if let Some(content) = logprobs["content"].as_array() {
        return Ok(content.iter().map(told_of).collect());
    }
    let (Some(tokens), Some(logps)) = (logprobs["tokens"].as_array(), logprobs["token_logprobs"].as_array()) else {
        return Ok(Vec::new());
    };
    if tokens.len() != logps.len() {
        return Err(Fault::lasting(format!(
            "told {} tokens and {} log-probabilities; see the server's log",
            tokens.len(),
            logps.len()
        )));
    }
    let one = |(place, (token, logp)): (usize, (&Value, &Value))| {
        let text = token.as_str().unwrap_or_default();
        let rivals = logprobs["top_logprobs"][place].as_object().into_iter().flatten();
        let rivals = rivals.filter_map(|(text, logp)| Some((text.as_str(), logp.as_f64()? as f32)));
        let rivals: Vec<(&str, f32)> = rivals.collect();
        let id = named_id(text);
        Told {
            bytes: id.is_none().then(|| text.as_bytes().to_vec()),
            id,
            logp: logp.as_f64(),
            top: rivals.iter().filter_map(|(text, logp)| Some((named_id(text)?, *logp))).collect(),
            top_texts: rivals.iter().map(|(text, logp)| ((*text).to_owned(), *logp)).collect(),
        }
    };
    Ok(tokens.iter().zip(logps).enumerate().map(one).collect())
}

fn told_of(entry: &Value) -> Told {
    let bytes = entry["bytes"].as_array().map(|bytes| bytes.iter().filter_map(Value::as_u64).map(|byte| byte as u8));
    let text = entry["token"].as_str().unwrap_or_default();
    let rivals: Vec<&Value> = entry["top_logprobs"].as_array().into_iter().flatten().collect();
    let logp = |rival: &Value| Some(rival["logprob"].as_f64()? as f32);
    let top = rivals.iter().filter_map(|rival| Some((id(&rival["id"])?, logp(rival)?)));
    let top_texts = rivals.iter().filter_map(|rival| Some((rival["token"].as_str()?.to_owned(), logp(rival)?)));
    Told {
        id: id(&entry["id"]),
        bytes: Some(bytes.map_or_else(|| text.as_bytes().to_vec(), Iterator::collect)),
        logp: entry["logprob"].as_f64(),
        top: top.collect(),
        top_texts: top_texts.collect(),
    }
}

fn id(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

/// The id in `token_id:123`, which is how vLLM names tokens when asked to.
fn named_id(text: &str) -> Option<u32> {
    text.strip_prefix("token_id:")?.parse().ok()
}

/// The choices in the order of their numbers: `n` of them.
fn placed(listed: &[Value], n: usize) -> Result<Vec<&Value>, Fault> {
    if listed.len() < n {
        let got = listed.len();
        return Err(Fault::passing(format!(
            "gave {got} choices where {n} were asked for; ask for fewer in one request"
        )));
    }
    let mut choices: Vec<&Value> = listed.iter().collect();
    choices.sort_by_key(|choice| choice["index"].as_u64());
    choices.truncate(n);
    Ok(choices)
}

fn lacks(what: &str) -> Fault {
    Fault::lasting(format!("answered without `{what}`; is this an OpenAI-compatible server?"))
}

/// The text without what stands for a part of a character: servers write one such sign for each byte, or for several.
fn whole_characters(text: &str) -> String {
    text.replace(char::REPLACEMENT_CHARACTER, "")
}

/// The beginning of a text, on one line.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED).collect();
    let more = if short.len() < text.len() { ".." } else { "" };
    format!("{}{more}", short.escape_debug())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
        result.unwrap_err().why
    }

    /// An answer in the layout of OpenAI: tokens as texts.
    fn legacy(text: &str, tokens: &[&str], logps: Value) -> Value {
        json!({
            "choices": [{
                "index": 0, "text": text, "finish_reason": "length",
                "logprobs": {"tokens": tokens, "token_logprobs": logps, "top_logprobs": [{"token_id:7": -0.5, "x": -2.0}]},
            }],
            "usage": {"prompt_tokens": 3, "completion_tokens": tokens.len()},
        })
    }

    #[test]
    fn both_layouts_of_log_probabilities_are_read() {
        let answer = Answer::completions(&legacy("ab", &["a", "b"], json!([-1.0, -0.25])), 1).unwrap();
        answer.check(3).unwrap();
        let [choice] = answer.choices.as_slice() else { panic!("one choice") };
        assert_eq!([choice.told[0].logp(0).unwrap(), choice.told[1].logp(1).unwrap()], [-1.0, -0.25]);
        assert_eq!((choice.told[0].id, &choice.told[0].top[..]), (None, &[(7, -0.5)][..]));
        assert!(!choice.ended);

        let newer = json!({"choices": [{"text": "é", "finish_reason": "stop", "logprobs": {"content": [
            {"id": 5, "token": "\u{fffd}", "bytes": [195], "logprob": -1.5, "top_logprobs": [{"id": 5, "token": "?", "logprob": -1.5}]},
            {"id": 6, "token": "\u{fffd}", "bytes": [169], "logprob": -0.5, "top_logprobs": []},
        ]}}]});
        let answer = Answer::completions(&newer, 1).unwrap();
        answer.check(9).unwrap();
        let choice = &answer.choices[0];
        assert_eq!((choice.told[0].id, choice.told[1].id, choice.ended), (Some(5), Some(6), true));
        assert_eq!(choice.told[0].top, [(5, -1.5)]);
        assert_eq!(choice.told[0].top_texts, [("?".to_owned(), -1.5)]);

        let ids = Answer::completions(&legacy("anything", &["token_id:3"], json!([-1.0])), 1).unwrap();
        ids.check(3).unwrap();
        assert_eq!(ids.choices[0].told[0].id, Some(3));
    }

    #[test]
    fn llama_cpp_names_all_ids_and_gives_one_answer_or_a_list() {
        let one = |index: u64, ids: [u32; 2]| {
            json!({"index": index, "content": "xy", "tokens": ids, "stop_type": "eos", "tokens_evaluated": 4,
                   "timings": {"cache_n": 3}, "completion_probabilities": [{"id": ids[1], "bytes": [120, 121], "logprob": -1.0}]})
        };
        let answer = Answer::llama_cpp(&one(0, [1, 2]), 1).unwrap();
        // One of two is told; that is for the reader of the ids to see.
        answer.check(4).unwrap();
        assert_eq!((answer.prompt, answer.cached, answer.choices[0].ids.as_deref()), (Some(4), 3, Some(&[1, 2][..])));
        let list = Answer::llama_cpp(&json!([one(1, [5, 6]), one(0, [3, 4])]), 2).unwrap();
        let ids: Vec<_> = list.choices.iter().map(|choice| choice.ids.clone().unwrap()).collect();
        assert_eq!(ids, [[3, 4], [5, 6]]);
    }

    #[test]
    fn tokens_that_do_not_spell_the_text_are_refused() {
        let check = |text: &str, tokens: &[&str], reason: &str| {
            let logps = json!(vec![-1.0; tokens.len()]);
            let mut answer = legacy(text, tokens, logps);
            answer["choices"][0]["finish_reason"] = json!(reason);
            Answer::completions(&answer, 1).unwrap().check(3)
        };
        check(" Paris.", &[" Paris", "."], "length").unwrap();
        check(" Paris", &[" Paris", "</s>"], "stop").unwrap();
        check("a\u{fffd}", &["a"], "length").unwrap();
        for (text, tokens, reason) in [
            (" Paris", &[" London"][..], "length"),
            (" Paris", &[" Paris", "</s>"][..], "length"),
            ("ab", &["b", "a"][..], "stop"),
        ] {
            assert!(why(check(text, tokens, reason)).contains("belong to other tokens"), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(why(Answer::completions(&json!({}), 1)).contains("`choices`"));
        assert!(why(Answer::completions(&json!({"choices": [{}]}), 1)).contains("text"));
        assert!(why(Answer::completions(&json!({"choices": []}), 2)).contains("0 choices where 2"));
        assert!(why(Answer::llama_cpp(&json!({"content": "a"}), 1)).contains("`tokens`"));
        assert!(why(Answer::chat(&json!({"choices": [{"message": {}}]}), 1)).contains("message.content"));
        assert!(why(Answer::completions(&legacy("ab", &["a", "b"], json!([-1.0])), 1)).contains("2 tokens and 1"));
        // A prompt of another length, and log-probabilities that are kept back.
        let answer = Answer::completions(&legacy("a", &["a"], json!([-1.0])), 1).unwrap();
        assert!(why(answer.check(4)).contains("3 tokens where 4"));
        let mut kept = legacy("a", &["a"], json!([-1.0]));
        kept["usage"]["completion_tokens"] = json!(3);
        assert!(why(Answer::completions(&kept, 1).unwrap().check(3)).contains("wrote 3 tokens and told"));
        // Absent, null and impossible log-probabilities.
        let logp = |logp: Value| {
            Answer::completions(&legacy("a", &["a"], json!([logp])), 1).unwrap().choices[0].told[0].logp(0)
        };
        assert!(why(logp(Value::Null)).contains("no log-probability of token 0"));
        assert!(why(logp(json!("NaN"))).contains("no log-probability"));
        assert!(why(logp(json!(0.5))).contains("at most 0"));
        assert_eq!(logp(json!(1e-4)).unwrap(), 1e-4);
    }

    #[test]
    fn reasons_to_end_are_two() {
        assert!(ended(&json!("stop")).unwrap() && !ended(&json!("length")).unwrap());
        assert!(why(ended(&json!("content_filter"))).contains("content_filter"));
        assert!(why(ended(&Value::Null)).contains("none"));
        // A text that was cut short is no text that reached its length.
        let mut cut = legacy("a", &["a"], json!([-1.0]));
        cut["choices"][0]["finish_reason"] = json!("abort");
        assert!(why(Answer::completions(&cut, 1)).contains("abort"));
        cut["choices"][0]["finish_reason"] = Value::Null;
        assert!(!Answer::completions(&cut, 1).unwrap().choices[0].ended);
    }
}
