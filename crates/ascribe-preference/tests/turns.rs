//! Pairs of conversations that part before their last reply: what counts of them, and what is cut.

use ascribe_core::{Continuation, Policy, Seed};
use ascribe_data::{Boundary, Dialogues, Message, Preference, Prompt, Why};
use ascribe_lm::{ChatTemplate, Decoder, DecoderConfig, LocalPolicy, RandomWeights, Roles, SpecialTokens, Tokenizer};
use ascribe_preference::objectives::{DpoConfig, Scoring};
use ascribe_preference::{Encoder, LogpLearner, Response, RowHash, TrainRow};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::close;
use ascribe_train::Learner;
use burn::module::Module;

/// One token a character.
fn characters() -> Tokenizer {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    Tokenizer::characters("abcdefghijklmnopqrstuvwxyz .?:<>/\n", &["<s>", "</s>"], roles).expect("it is sound")
}

fn template(tokenizer: &Tokenizer) -> ChatTemplate {
    let source = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{{ '\\n' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    ChatTemplate::new(source, tokenizer).expect("it is sound")
}

fn pair(chosen: &str, rejected: &str) -> Preference {
    Preference {
        prompt: Prompt::Messages(vec![Message::new("user", "x?")]),
        chosen: chosen.into(),
        rejected: rejected.into(),
        margin: Some(3.0),
        reference: None,
        consistency: None,
        weight: None,
        line: 7,
    }
}

/// `so.`, `and?`, `yes.` before `no.`, `and?`, `no.`
fn parted() -> Dialogues {
    let between = |reply: &str| vec![Message::new("assistant", reply), Message::new("user", "and?")];
    Dialogues { pair: pair("yes.", "no."), between: [between("so."), between("no.")] }
}

fn counted(response: &Response) -> Vec<u32> {
    let counts = response.counts.as_ref().expect("not all of it counts");
    assert_eq!(counts.len(), response.tokens.len());
    response.tokens.iter().zip(counts).filter(|(_, counts)| **counts).map(|(id, _)| *id).collect()
}

#[test]
fn what_the_assistant_says_behind_the_shared_prefix_counts() {
    let (tokenizer, plain) = (characters(), pair("yes.", "no."));
    let template = template(&tokenizer);
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).expect("it decodes");
    let encoder = Encoder::from_parts(&tokenizer, Some(&template), 128).expect("room enough");
    let records = vec![parted(), Dialogues { pair: plain.clone(), between: [Vec::new(), Vec::new()] }];
    let encoded = encoder.dialogues(records).expect("they can be encoded");
    let [(row, _), (other, _)] = encoded.rows.as_slice() else { panic!("both teach") };
    assert_eq!(decode(&row.prompt), "user: x?</s>\nassistant: ");
    let [chosen, rejected] = row.responses.as_slice() else { panic!("two sides") };
    // Up to the last end token, with all that stands between.
    assert_eq!(decode(&chosen.tokens), "so.</s>\nuser: and?</s>\nassistant: yes.</s>");
    assert_eq!(decode(&counted(chosen)), "so.</s>yes.</s>");
    assert_eq!(decode(&counted(rejected)), "no.</s>no.</s>");
    assert_eq!((row.line, chosen.score, rejected.score), (7, Some(1.5), Some(-1.5)));
    // A pair of replies is what it was.
    let pairs = encoder.pairs(vec![plain]).expect("it can be encoded");
    assert_eq!(*other, pairs.rows[0].0);

    // A policy is scored on what counts, given all that stands before it.
    let config = DecoderConfig { kv_heads: 1, ..DecoderConfig::tiny(tokenizer.vocabulary_size(), 16, 2, 2, 128) };
    let mut weights = RandomWeights { seed: Seed(3), layers: 2 };
    let model = Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit").valid();
    let scoring = Scoring { reference_free: true, ..Scoring::default() };
    let dpo = DpoConfig { scoring, ..DpoConfig::default() }.init().expect("sound options");
    let tally = LogpLearner::new(&dpo).measure(&model, &[row]).expect("a sound row");
    let given = [chosen, rejected].map(|one| Continuation { prefix: row.prompt.clone(), tokens: one.tokens.clone() });
    let (scores, _) = LocalPolicy::new(&model, &[], 128).expect("finite weights").score(&given).expect("they fit");
    for (name, (response, logps)) in ["logps/chosen", "logps/rejected"].iter().zip(row.responses.iter().zip(&scores)) {
        let counts = response.counts.as_ref().expect("not all of it counts");
        let sum =
            logps.iter().zip(counts).filter(|(_, counts)| **counts).map(|(logp, _)| f64::from(*logp)).sum::<f64>();
        close(name, tally.values(name), &[sum], 1e-4);
    }
    assert_eq!(tally.values("lengths/chosen"), [9.0]);
}

#[test]
fn flags_are_cut_with_their_tokens_and_tell_rows_apart() {
    let tokenizer = characters();
    let template = template(&tokenizer);
    let encode = |max_length: usize| {
        let encoder = Encoder::from_parts(&tokenizer, Some(&template), max_length).expect("room enough");
        encoder.dialogues(vec![parted()]).expect("it can be encoded")
    };
    let cut = encode(20);
    assert_eq!((cut.truncation.prompts, cut.truncation.responses), (1, 2));
    // 19 tokens beside one of the prompt: the first reply and its end are all that is left to learn.
    for (response, reply) in cut.rows[0].0.responses.iter().zip(["so.</s>", "no.</s>"]) {
        assert_eq!(response.tokens.len(), 19);
        let decoded = tokenizer.decode(&counted(response), SpecialTokens::Keep).expect("it decodes");
        assert_eq!(decoded, reply);
    }
    let hash = |row: &TrainRow| {
        let mut hash = RowHash::default();
        hash.add(row);
        hash.finish()
    };
    let (row, mut other) = (encode(128).rows[0].0.clone(), encode(128).rows[0].0.clone());
    assert_eq!(hash(&row), hash(&other));
    other.responses[0].counts = None;
    assert_ne!(hash(&row), hash(&other));
    // Flags of another number are refused, and a side of which nothing counts is none.
    other.responses[0].counts = Some(vec![true]);
    let config = DecoderConfig { kv_heads: 1, ..DecoderConfig::tiny(tokenizer.vocabulary_size(), 16, 1, 2, 128) };
    let mut weights = RandomWeights { seed: Seed(3), layers: 1 };
    let model = Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit").valid();
    let scoring = Scoring { reference_free: true, ..Scoring::default() };
    let dpo = DpoConfig { scoring, ..DpoConfig::default() }.init().expect("sound options");
    let error = LogpLearner::new(&dpo).measure(&model, &[&other]).map(drop).expect_err("too few flags").to_string();
    assert!(error.contains("the flags of what counts"), "{error}");
}

#[test]
fn conversations_need_a_template_and_messages() {
    let tokenizer = characters();
    let bare = Encoder::from_parts(&tokenizer, None, 128).expect("room enough").with_boundary(Boundary::SharedPrefix);
    let error = bare.dialogues(vec![parted()]).map(drop).expect_err("no template").to_string();
    assert!(error.contains("a conversation with a model that has no chat template"), "{error}");
    let template = template(&tokenizer);
    let encoder = Encoder::from_parts(&tokenizer, Some(&template), 128).expect("room enough");
    let mut texts = parted();
    texts.pair.prompt = Prompt::Text("x?".into());
    let error = encoder.dialogues(vec![texts]).map(drop).expect_err("a plain text").to_string();
    assert!(error.contains("several turns behind a prompt of plain text"), "{error}");
    // The same words on both sides are no pair.
    let Dialogues { mut pair, between: [between, _] } = parted();
    pair.rejected.clone_from(&pair.chosen);
    let same = Dialogues { pair, between: [between.clone(), between] };
    let encoded = encoder.dialogues(vec![same]).expect("it can be encoded");
    assert_eq!(encoded.skipped.lines(Why::EqualPair), [7]);
}
