//! What users of other toolkits complain about, in what is taught. A test is named after its theme in
//! `docs/peers-complaints.md`.

use ascribe_core::{Continuation, Policy, Seed};
use ascribe_data::{Boundary, Check, ColumnMap, Doctor, Message, ModelText, Preference, Prompt, PromptCompletion, Why};
use ascribe_lm::{ChatTemplate, Decoder, DecoderConfig, LocalPolicy, RandomWeights, Roles, SpecialTokens, Tokenizer};
use ascribe_preference::objectives::Sft;
use ascribe_preference::{Encoder, LogpLearner, TrainRow};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{close, open, root};
use ascribe_train::evaluate;
use burn::module::Module;
use proptest::prelude::*;
use serde_json::{Value, json};

fn pair(prompt: Prompt, chosen: &str, rejected: &str) -> Preference {
    let (chosen, rejected) = (chosen.into(), rejected.into());
    Preference { prompt, chosen, rejected, margin: None, reference: None, consistency: None, weight: None, line: 1 }
}

/// One token a character; what ends a text also fills it up.
fn characters() -> Tokenizer {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    Tokenizer::characters("abcdefghijklmnopqrstuvwxyz .?:<>/\n", &["<s>", "</s>"], roles).expect("it is sound")
}

fn golden(name: &str) -> Tokenizer {
    Tokenizer::from_folder(root().join(format!("lm/tokenizer_{name}"))).expect("the golden tokenizers can be read")
}

/// A `tokenizer.json` with a BOS before every text.
fn with_bos(model: Value, normalizer: Value, pre_tokenizer: Value, decoder: Value) -> Tokenizer {
    let added = |id: u32, token: &str| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    let sequence = |id: &str, number: u32| json!({"Sequence": {"id": id, "type_id": number}});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder, "model": model,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, sequence("A", 0)],
            "pair": [sequence("A", 0), sequence("B", 1)],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({"bos_token": "<s>", "eos_token": "</s>"});
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).expect("a file");
    Tokenizer::from_folder(folder.path()).expect("it is sound")
}

/// SentencePiece's BPE as Llama 2 has it: a space before every text, bytes for what is unknown.
fn sentence_piece() -> Tokenizer {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["▁", "a", "b", "c", "▁a", "ab", "▁ab"].map(String::from);
    let tokens = ["<unk>", "<s>", "</s>"].map(String::from).into_iter().chain(bytes).chain(pieces);
    let vocabulary: serde_json::Map<String, Value> = tokens.zip((0u32..).map(Value::from)).collect();
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocabulary,
        "merges": [["a", "b"], ["▁", "a"], ["▁", "ab"]],
    });
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let normalizer =
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]});
    let decoders = [
        replace("▁", " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
        json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}),
    ];
    with_bos(model, normalizer, Value::Null, json!({"type": "Sequence", "decoders": decoders}))
}

/// A Unigram vocabulary in which `bc` is worth more than its letters.
fn unigram() -> Tokenizer {
    let pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("▁", -2.0),
        ("a", -2.0),
        ("b", -2.0),
        ("c", -2.0),
        ("ab", -2.5),
        ("▁a", -2.5),
        ("bc", -1.0),
    ];
    let model = json!({"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": false});
    let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false});
    with_bos(model, Value::Null, spaces.clone(), spaces)
}

/// Tokenizers of every kind, each with a prompt and a completion that merge where they meet.
fn merging() -> [(Tokenizer, &'static str, &'static str); 5] {
    [
        (golden("gpt2"), "it is ", "the end"),
        (golden("llama3"), "it is ", "the end"),
        (golden("qwen"), "it is ", "the end"),
        (sentence_piece(), "ca", "b"),
        (unigram(), "ab", "c"),
    ]
}

/// The ids of a plain row under a boundary.
fn parts(tokenizer: &Tokenizer, boundary: Boundary, prompt: &str, responses: &[&str]) -> (Vec<u32>, Vec<Vec<u32>>) {
    let encoder = Encoder::from_parts(tokenizer, None, 4096).expect("room enough").with_boundary(boundary);
    let (prompt, responses) = encoder.parts(&Prompt::Text(prompt.into()), responses).expect("it can be encoded");
    (prompt.into_vec(), responses.into_iter().map(|ids| ids.into_vec()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn theme_01_truncation_leaves_every_response_a_token_and_is_counted(
        rows in prop::collection::vec((1usize..40, 1usize..40, 1usize..40), 1..8), max_length in 2usize..60,
    ) {
        let tokenizer = characters();
        let encoder = Encoder::from_parts(&tokenizer, None, max_length).expect("it can be encoded");
        let record = |&(prompt, chosen, rejected): &(usize, usize, usize)| {
            pair(Prompt::Text("p".repeat(prompt)), &"c".repeat(chosen), &"r".repeat(rejected))
        };
        let encoded = encoder.pairs(rows.iter().map(record).collect()).expect("it can be encoded");
        prop_assert!(encoded.skipped.is_empty());
        prop_assert_eq!(encoded.rows.len(), rows.len());
        let (mut prompts, mut responses) = (0, 0);
        for ((row, _), (prompt, chosen, rejected)) in encoded.rows.iter().zip(&rows) {
            // The prompt's left goes first, but for a token, then the right of the responses, an end token each.
            let longest = chosen.max(rejected) + 1;
            let kept = (*prompt).min(max_length.saturating_sub(longest).max(1));
            prop_assert_eq!(row.prompt.len(), kept);
            prompts += usize::from(kept < *prompt);
            for (response, length) in row.responses.iter().zip([chosen + 1, rejected + 1]) {
                prop_assert_eq!(response.tokens.len(), length.min(max_length - kept));
                prop_assert!(!response.tokens.is_empty());
                responses += usize::from(length > max_length - kept);
            }
        }
        prop_assert_eq!((encoded.truncation.prompts, encoded.truncation.responses), (prompts, responses));
    }

    #[test]
    fn theme_02_prompt_and_completion_give_back_the_ids_of_the_text(
        prompt in "[abc the\n]{1,12}", one in "[abc the\n]{1,12}", two in "[abc the\n]{1,12}",
    ) {
        for (tokenizer, ..) in merging() {
            let end = tokenizer.eos()[0];
            let alone = tokenizer.encode_with_special(&prompt).expect("it can be encoded");
            let (shared, responses) = parts(&tokenizer, Boundary::SharedPrefix, &prompt, &[one.as_str(), two.as_str()]);
            prop_assert!(alone.starts_with(&shared));
            for (response, completion) in responses.iter().zip([&one, &two]) {
                let text = format!("{prompt}{completion}");
                let mut whole = tokenizer.encode_with_special(&text).expect("it can be encoded");
                whole.push(end);
                prop_assert_eq!([shared.as_slice(), response.as_slice()].concat(), whole);
            }
            let (apart, responses) = parts(&tokenizer, Boundary::Apart, &prompt, &[one.as_str(), two.as_str()]);
            prop_assert_eq!(apart, alone);
            for (response, completion) in responses.iter().zip([&one, &two]) {
                let mut expected = tokenizer.encode(completion).expect("it can be encoded");
                expected.push(end);
                prop_assert_eq!(response, &expected);
            }
        }
    }
}

#[test]
fn theme_01_a_pair_that_truncation_makes_equal_and_an_empty_completion_are_counted() {
    let tokenizer = characters();
    let encoder = Encoder::from_parts(&tokenizer, None, 3).expect("room for two");
    // One token of the prompt stays, and two of each side: `aa` and `aa`.
    let encoded = encoder.pairs(vec![pair(Prompt::Text("p".into()), "aab", "aac")]).expect("it can be encoded");
    assert!(encoded.rows.is_empty());
    assert_eq!(encoded.skipped.lines(Why::EqualPair), [1]);
    assert!(encoded.skipped.refuse().to_string().contains("chosen equals rejected (line 1)"));
    // A completion without a token never reaches the loss: the reader counts it.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), json!({"prompt": "q", "completion": " "}).to_string()).expect("a row");
    let loaded = ascribe_data::load::<PromptCompletion>(file.path(), &ColumnMap::default()).expect("it can be read");
    assert_eq!((loaded.rows.len(), loaded.skipped.lines(Why::EmptyCompletion)), (0, &[1][..]));
}

#[test]
fn theme_02_a_merged_token_belongs_to_every_response_or_to_none() {
    for (tokenizer, prompt, completion) in merging() {
        let alone = tokenizer.encode_with_special(prompt).expect("it can be encoded");
        let (shared, responses) = parts(&tokenizer, Boundary::SharedPrefix, prompt, &[completion, " c"]);
        assert!(shared.len() < alone.len(), "{prompt:?} and {completion:?} merge");
        // What merged stands in the other response too, so that both follow one prompt.
        for (response, completion) in responses.iter().zip([completion, " c"]) {
            let text =
                tokenizer.decode(&[&shared[..], &response[..]].concat(), SpecialTokens::Skip).expect("it decodes");
            assert_eq!(text, format!("{prompt}{completion}"));
        }
        let (apart, _) = parts(&tokenizer, Boundary::Apart, prompt, &[completion]);
        assert_eq!(apart, alone);
    }
    // Where every text begins with a space, completions that are encoded apart do so as well.
    let tokenizer = sentence_piece();
    let text = |boundary: Boundary| {
        let (prompt, responses) = parts(&tokenizer, boundary, "c", &["ab"]);
        tokenizer.decode(&[&prompt[..], &responses[0][..]].concat(), SpecialTokens::Skip).expect("it decodes")
    };
    assert_eq!([text(Boundary::Apart), text(Boundary::SharedPrefix)], ["c ab", "cab"]);
}

#[test]
fn theme_03_a_template_that_writes_bos_gets_no_second_one() {
    let file = open("lm/chat_templates.json");
    let ask = || Prompt::Messages(vec![Message::new("user", "What is 2 + 2?")]);
    // Whether the template writes a BOS.
    for (template, name, count) in [("llama3", "llama3", 1), ("mistral", "gpt2", 1), ("zephyr", "gpt2", 0)] {
        let tokenizer = golden(name);
        let template = ChatTemplate::new(file.get("templates").get(template).text(), &tokenizer).expect("a template");
        let bos = tokenizer.bos().expect("it has one");
        for boundary in [Boundary::Apart, Boundary::SharedPrefix] {
            let encoder = Encoder::from_parts(&tokenizer, Some(&template), 512).expect("room").with_boundary(boundary);
            let (prompt, responses) = encoder.parts(&ask(), &["It is 4."]).expect("it can be encoded");
            let all = prompt.followed_by(&responses[0]);
            assert_eq!(all.iter().filter(|id| **id == bos).count(), count, "{name} {boundary}");
        }
    }
    // Llama 3's tokenizer itself writes one before a plain text; one that the text spells out is the second, and is found.
    let tokenizer = golden("llama3");
    let bos = tokenizer.bos().expect("it has one");
    let (prompt, _) = parts(&tokenizer, Boundary::Apart, "What is 2 + 2?", &[" 4"]);
    assert_eq!(prompt.iter().filter(|id| **id == bos).count(), 1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let rows = ["What is 1 + 1?", "<|begin_of_text|>What is 2 + 2?"];
    let rows = rows.map(|prompt| json!({"prompt": prompt, "completion": " It is known."}).to_string());
    std::fs::write(file.path(), rows.join("\n")).expect("rows");
    let text = ModelText { tokenizer: &tokenizer, template: None, max_length: 512 };
    let found = Doctor { text: Some(text), ..Doctor::default() }
        .examine(file.path(), &ColumnMap::default(), None)
        .expect("it can be read")
        .findings;
    assert_eq!(found.iter().map(|one| (one.check, &one.lines[..])).collect::<Vec<_>>(), [(Check::DoubleBos, &[2][..])]);
}

#[test]
fn theme_04_the_end_token_is_learned_though_it_pads() {
    let tokenizer = characters();
    assert_eq!(tokenizer.pad(), Some(tokenizer.eos()[0]));
    let record = |prompt: &str, completion: &str| PromptCompletion {
        prompt: Prompt::Text(prompt.into()),
        completion: completion.into(),
        line: 1,
    };
    let records = vec![record("what?", "a"), record("and then what?", "a long answer.")];
    let encoder = Encoder::from_parts(&tokenizer, None, 64).expect("room enough");
    let encoded = encoder.completions(records).expect("they can be encoded");
    let rows: Vec<TrainRow> = encoded.rows.into_iter().map(|(row, _)| row).collect();
    assert!(rows.iter().all(|row| row.responses[0].tokens.last().copied() == tokenizer.pad()));

    // Both rows in one batch, so that the shorter one is filled up: every token of a response weighs, its end included.
    let config = DecoderConfig { kv_heads: 1, ..DecoderConfig::tiny(tokenizer.vocabulary_size(), 16, 2, 2, 64) };
    let mut weights = RandomWeights { seed: Seed(3), layers: 2 };
    let model = Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit").valid();
    let tally = evaluate(&LogpLearner::new(&Sft), &model, &rows, 2).expect("sound rows");
    // `a`, `a long answer.` and two ends.
    assert_eq!(tally.weight, 17.0);
    let given: Vec<Continuation> = rows
        .iter()
        .map(|row| Continuation { prefix: row.prompt.clone(), tokens: row.responses[0].tokens.clone() })
        .collect();
    let (scores, _) = LocalPolicy::new(&model, &[], 64).expect("finite weights").score(&given).expect("they fit");
    let sum: f64 = scores.iter().flatten().map(|logp| f64::from(*logp)).sum();
    close("loss", &[tally.loss], &[-sum], 1e-5);
}

#[test]
fn theme_05_an_empty_thought_that_the_template_writes_is_not_learned() {
    let tokenizer = characters();
    // As Qwen 3 does: the last answer gets an empty thought unless it has one of its own.
    let source = "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' and loop.last %}\
                  {% if '</think>' not in m.content %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}\
                  {{ m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("it is sound");
    let ask = || Prompt::Messages(vec![Message::new("user", "why?")]);
    let decode = |ids: &[u32]| tokenizer.decode(ids, SpecialTokens::Keep).expect("it decodes");
    for boundary in [Boundary::Apart, Boundary::SharedPrefix] {
        let encoder = Encoder::from_parts(&tokenizer, Some(&template), 512).expect("room").with_boundary(boundary);
        let encoded = encoder.pairs(vec![pair(ask(), "so.", "no.")]).expect("it can be encoded");
        let (row, _) = &encoded.rows[0];
        assert_eq!(decode(&row.prompt), "user: why?</s>assistant: <think>\n\n</think>\n\n");
        let responses: Vec<String> = row.responses.iter().map(|one| decode(&one.tokens)).collect();
        assert_eq!(responses, ["so.</s>", "no.</s>"]);
        // A thought that was written is learned.
        let thought = "<think>hm</think>so.";
        let (prompt, responses) = encoder.parts(&ask(), &[thought]).expect("it can be encoded");
        assert_eq!(decode(&prompt), "user: why?</s>assistant: ");
        assert_eq!(decode(&responses[0]), format!("{thought}</s>"));
    }
}
