//! Tokenizers, chat templates and GGUF files against transformers, tokenizers and gguf (see `golden/README.md`).

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use ascribe_core::Seed;
use ascribe_lm::{ChatTemplate, Ending, Gguf, GgufValue, MaskedTokens, Message, Render, SpecialTokens, Tokenizer};
use ascribe_testkit::golden::{Case, close, open, root};
use ascribe_testkit::models::smollm2;
use rand::RngExt;

const TOKENIZERS: [&str; 3] = ["gpt2", "llama3", "qwen"];

fn ids(case: &Case) -> Vec<u32> {
    case.integers().into_iter().map(|id| id as u32).collect()
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_folder(root().join(format!("lm/tokenizer_{name}"))).expect("the golden tokenizers can be read")
}

fn messages(case: &Case) -> Vec<Message> {
    serde_json::from_value(case.json().clone()).expect("golden messages have a role and content")
}

/// A range of bytes of `text` as a range of characters.
fn characters(text: &str, bytes: &Range<usize>) -> [i64; 2] {
    [bytes.start, bytes.end].map(|at| text[..at].chars().count() as i64)
}

#[test]
fn golden_tokenizers_give_ids_spans_and_text() {
    let file = open("lm/tokenizers.json");
    for name in TOKENIZERS {
        let case = file.get(name);
        let tokenizer = Tokenizer::from_folder(root().join(case.get("folder").text())).unwrap();
        assert_eq!(tokenizer.vocabulary_size() as f64, case.get("vocab_size").number(), "{case}");
        let special = case.get("special_ids");
        let id = |role: &str| special.opt(role).map(|id| id.number() as u32);
        let found = (tokenizer.bos(), tokenizer.eos().first().copied(), tokenizer.pad());
        assert_eq!(found, (id("bos"), id("eos"), id("pad")), "{special}");

        for encoding in case.get("encodings").items() {
            let text = encoding.get("text").text();
            let expected = ids(&encoding.get("ids"));
            let (got, spans) = tokenizer.encode_spans(&text).unwrap();
            assert_eq!(got, expected, "{encoding}");
            assert_eq!(tokenizer.encode(&text).unwrap(), expected, "{encoding}");
            assert_eq!(
                tokenizer.encode_with_special(&text).unwrap(),
                ids(&encoding.get("ids_with_special")),
                "{encoding}"
            );
            let spans: Vec<i64> = spans.iter().flat_map(|span| characters(&text, span)).collect();
            assert_eq!(spans, encoding.get("offsets_chars").integers(), "{encoding}");
            let tokens: Vec<_> = expected.iter().map(|id| tokenizer.token_text(*id).unwrap()).collect();
            let named: Vec<_> = encoding.get("tokens").items().iter().map(Case::text).collect();
            assert_eq!(tokens, named, "{encoding}");
            let decode = |special| tokenizer.decode(&expected, special).unwrap();
            assert_eq!(decode(SpecialTokens::Keep), encoding.get("decoded").text(), "{encoding}");
            assert_eq!(decode(SpecialTokens::Skip), encoding.get("decoded_skip_special").text(), "{encoding}");
        }

        // The library cuts and pads; here the test does, so this checks the ids and the padding id.
        let batch = case.get("padded_batch_max_length_9");
        let texts: Vec<_> = batch.get("texts").items().iter().map(Case::text).collect();
        for side in ["left", "right"] {
            let (mut rows, mut mask) = (Vec::new(), Vec::new());
            for text in &texts {
                let mut row = tokenizer.encode_with_special(text).unwrap();
                row.truncate(9);
                let padding = vec![tokenizer.pad().unwrap(); 9 - row.len()];
                let flags = [vec![0; padding.len()], vec![1; row.len()]];
                let (row, flags) = if side == "left" {
                    ([padding, row].concat(), flags.concat())
                } else {
                    ([row, padding].concat(), [&flags[1][..], &flags[0]].concat())
                };
                rows.extend(row);
                mask.extend(flags);
            }
            let expected = batch.get(side);
            assert_eq!(rows, ids(&expected.get("input_ids")), "{expected}");
            assert_eq!(mask, expected.get("attention_mask").integers(), "{expected}");
        }
    }
}

#[test]
fn golden_tokenizers_survive_saving() {
    let file = open("lm/tokenizers.json");
    for name in TOKENIZERS {
        let before = tokenizer(name);
        let folder = tempfile::tempdir().unwrap();
        before.save(&folder).unwrap();
        let after = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!(after.hash(), before.hash());
        assert_eq!((after.bos(), after.eos(), after.pad()), (before.bos(), before.eos(), before.pad()));
        for encoding in file.get(name).get("encodings").items() {
            let got = after.encode_with_special(&encoding.get("text").text()).unwrap();
            assert_eq!(got, ids(&encoding.get("ids_with_special")), "{encoding}");
        }
    }
}

#[test]
fn golden_chat_templates_give_text_and_ids() {
    let file = open("lm/chat_templates.json");
    for case in file.get("cases").items() {
        let tokenizer = tokenizer(&case.get("tokenizer").text());
        let special = file.get("special_tokens").get(&case.get("tokenizer").text());
        let text_of = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
        assert_eq!(text_of(tokenizer.bos()), special.opt("bos_token").map(|token| token.text()), "{special}");
        assert_eq!(
            text_of(tokenizer.eos().first().copied()),
            special.opt("eos_token").map(|token| token.text()),
            "{special}"
        );

        let source = file.get("templates").get(&case.get("template").text()).text();
        let template = ChatTemplate::new(source, &tokenizer).unwrap();
        let add = case.get("add_generation_prompt").json().as_bool().unwrap();
        let options = Render {
            ending: if add { Ending::GenerationPrompt } else { Ending::LastMessage },
            variables: case.get("extra_variables").json().as_object().unwrap().clone(),
            date: None,
        };
        let conversation = file.get("conversations").get(&case.get("conversation").text());
        let text = template.render(&messages(&conversation), &options).unwrap();
        assert_eq!(text, case.get("text").text(), "{case}");
        assert_eq!(tokenizer.encode(&text).unwrap(), ids(&case.get("ids")), "{case}");
    }
    for case in file.get("errors").items() {
        let source = file.get("templates").get(&case.get("template").text()).text();
        let template = ChatTemplate::new(source, &tokenizer("gpt2")).unwrap();
        let refused = template.render(&messages(&case.get("messages")), &Render::default()).unwrap_err().to_string();
        assert!(refused.contains(&case.get("error_message").text()), "{case}: {refused}");
    }
}

#[test]
fn golden_generation_masks_agree_with_transformers() {
    let file: serde_json::Value = serde_json::from_str(include_str!("generation_masks.json")).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let tokenizer = tokenizer(case["tokenizer"].as_str().unwrap());
        let source = file["templates"][case["template"].as_str().unwrap()].as_str().unwrap();
        let conversation = &file["conversations"][case["conversation"].as_u64().unwrap() as usize];
        let messages: Vec<Message> = serde_json::from_value(conversation.clone()).unwrap();
        let template = ChatTemplate::new(source, &tokenizer).expect("the file is as it was written");
        let got =
            template.encode_masked(&messages, &Render::default(), &tokenizer).expect("the file is as it was written");
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("the file is as it was written");
        assert_eq!(got.ids[..], expected, "{case}");
        let expected: Vec<u8> = serde_json::from_value(case["mask"].clone()).expect("the file is as it was written");
        assert_eq!(got.response.iter().map(|counts| u8::from(*counts)).collect::<Vec<_>>(), expected, "{case}");
    }
}

/// The text of each run of tokens that count.
fn written(masked: &MaskedTokens, tokenizer: &Tokenizer) -> Vec<String> {
    let mut runs: Vec<Vec<u32>> = Vec::new();
    let mut before = false;
    for (id, counts) in masked.ids.iter().zip(masked.response.iter()) {
        if *counts && !before {
            runs.push(Vec::new());
        }
        if *counts {
            runs.last_mut().expect("the file is as it was written").push(*id);
        }
        before = *counts;
    }
    runs.iter().map(|ids| tokenizer.decode(ids, SpecialTokens::Keep).expect("the file is as it was written")).collect()
}

#[test]
fn masked_text_is_what_the_assistant_wrote_and_its_end_token() {
    let file = open("lm/chat_templates.json");
    let marked = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}\
                  {% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}\
                  {% endif %}{{ '\n' }}{% endfor %}";
    let named = |name: &str| file.get("templates").get(name).text();
    let cases = [
        (named("chatml"), "qwen", "", "<|im_end|>"),
        (named("chatml_think"), "qwen", "", "<|im_end|>"),
        (named("llama3"), "llama3", "", "<|eot_id|>"),
        (named("zephyr"), "gpt2", "", "</s>"),
        (named("mistral"), "gpt2", " ", "</s>"),
        (marked.to_owned(), "qwen", "", "<|im_end|>"),
    ];
    for (source, name, before, end) in cases {
        let tokenizer = tokenizer(name);
        let template = ChatTemplate::new(source.as_str(), &tokenizer).expect("the file is as it was written");
        let mut stream = Seed(5).stream(&source, 0);
        for _ in 0..60 {
            let mut text = || {
                let n = stream.random_range(1..12);
                let parts = ["a", " the", "🙂", "é", "\n", " ", "12", "<b>", "'s", ".", "日", "\"", "assistant"];
                let drawn: String = (0..n).map(|_| parts[stream.random_range(0..parts.len())]).collect();
                format!("x{}", drawn.trim_end())
            };
            let turns = 2 * (1 + text().len() % 3);
            let messages: Vec<Message> =
                (0..turns).map(|at| Message::new(if at % 2 == 0 { "user" } else { "assistant" }, text())).collect();
            let masked = template
                .encode_masked(&messages, &Render::default(), &tokenizer)
                .expect("the file is as it was written");
            assert_eq!(masked.ids.len(), masked.response.len());
            let all = template.render(&messages, &Render::default()).expect("the file is as it was written");
            assert_eq!(masked.ids[..], tokenizer.encode(&all).expect("the file is as it was written"), "{name}");
            let expected: Vec<String> = (messages.iter().filter(|message| message.role == "assistant"))
                .map(|message| format!("{before}{}{end}", message.content))
                .collect();
            assert_eq!(written(&masked, &tokenizer), expected, "{source}");
        }
    }
}

#[test]
fn masks_that_cannot_be_told_are_refused() {
    let file = open("lm/chat_templates.json");
    let tokenizer = tokenizer("qwen");
    let refused = |source: &str, conversation: &[(&str, &str)]| {
        let messages: Vec<Message> = conversation.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        let template = ChatTemplate::new(source, &tokenizer).expect("the file is as it was written");
        template.encode_masked(&messages, &Render::default(), &tokenizer).unwrap_err().to_string()
    };
    let two = [("user", "a"), ("assistant", "<think>b</think>c"), ("user", "d"), ("assistant", "e")];
    // This one drops the thoughts of all answers but the last.
    let why = refused(&file.get("templates").get("chatml_think").text(), &two);
    assert!(why.contains("message 1 is written otherwise once messages follow it"), "{why}");
    let why = refused(&file.get("templates").get("chatml").text(), &two[1..2]);
    assert!(why.contains("begins with the assistant"), "{why}");
    let unopened = "{% for m in messages %}{{ '[' ~ m.role ~ ']' ~ m.content }}{% endfor %}";
    let why = refused(unopened, &two[..2]);
    assert!(why.contains("no generation prompt"), "{why}");
    let other = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>{% endif %}";
    let why = refused(other, &two[..2]);
    assert!(why.contains("message 1 does not begin as the generation prompt does"), "{why}");
    let nested = "{% generation %}{% generation %}x{% endgeneration %}{% endgeneration %}";
    assert!(refused(nested, &two[..2]).contains("inside each other"));
    let cut = "{% set x %}{% generation %}x{% endgeneration %}{% endset %}{{ x | length }}";
    assert!(refused(cut, &two[..2]).contains("move the tags outwards"));
    let unclosed = ChatTemplate::new("{% generation %}x", &tokenizer).unwrap_err().to_string();
    assert!(unclosed.contains("correct the template"), "{unclosed}");
}

#[test]
fn golden_folders_have_their_template() {
    let file = open("lm/chat_templates.json");
    for (name, template) in [("gpt2", "zephyr"), ("llama3", "llama3"), ("qwen", "chatml")] {
        let folder = root().join(format!("lm/tokenizer_{name}"));
        let found = ChatTemplate::from_folder(folder, &tokenizer(name))
            .expect("the file is as it was written")
            .expect("the file is as it was written");
        assert_eq!(found.source(), file.get("templates").get(template).text());
    }
}

fn length(count: usize) -> [u8; 8] {
    (count as u64).to_le_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [&length(text.len()), text.as_bytes()].concat()
}

/// A GGUF file with these metadata entries (their bytes) and these tensors (entry, then data), in its folder.
fn gguf(metadata: &[Vec<u8>], tensors: &[(Vec<u8>, &[u8])]) -> (Gguf, tempfile::TempDir) {
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &length(tensors.len()), &length(metadata.len())].concat();
    file.extend(metadata.concat());
    file.extend(tensors.iter().flat_map(|(entry, _)| entry.clone()));
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(tensors.iter().flat_map(|(_, data)| data.to_vec()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("golden.gguf");
    fs::write(&path, file).expect("the temporary folder takes a file");
    (Gguf::open(path).expect("the file is sound"), folder)
}

/// The metadata that llama.cpp's converter writes for a `tokenizer.json` with byte-level BPE.
fn gguf_vocabulary(name: &str, split: &str) -> Gguf {
    let file = open(&format!("lm/tokenizer_{name}/tokenizer.json"));
    let added: Vec<(usize, String)> = (file.get("added_tokens").items().iter())
        .map(|token| (token.get("id").number() as usize, token.get("content").text()))
        .collect();
    let vocabulary = file.get("model").get("vocab");
    let mut tokens: Vec<(usize, String)> = vocabulary
        .keys()
        .into_iter()
        .map(|key| (vocabulary.get(&key).number() as usize, key))
        .chain(added.clone())
        .collect();
    tokens.sort();
    tokens.dedup();
    assert!(tokens.iter().enumerate().all(|(at, (id, _))| at == *id), "{name}: ids without a gap");
    let control = |id: &usize| added.iter().any(|(added, token)| added == id && !token.contains("think"));
    let kind =
        |id: &usize| if control(id) { 3i32 } else { 1 + 3 * i32::from(added.iter().any(|(added, _)| added == id)) };
    let merges: Vec<String> = (file.get("model").get("merges").items().iter())
        .map(|merge| merge.items().iter().map(Case::text).collect::<Vec<_>>().join(" "))
        .collect();

    let entry = |key: &str, kind: u32, value: &[u8]| {
        [&text(&format!("tokenizer.ggml.{key}"))[..], &kind.to_le_bytes(), value].concat()
    };
    let list = |kind: u32, count: usize, values: Vec<u8>| [&kind.to_le_bytes()[..], &length(count), &values].concat();
    let texts = |of: Vec<&String>| list(8, of.len(), of.into_iter().flat_map(|token| text(token)).collect());
    let kinds = tokens.iter().flat_map(|(id, _)| kind(id).to_le_bytes()).collect();
    let mut metadata = vec![
        entry("model", 8, &text("gpt2")),
        entry("pre", 8, &text(split)),
        entry("tokens", 9, &texts(tokens.iter().map(|(_, token)| token).collect())),
        entry("merges", 9, &texts(merges.iter().collect())),
        entry("token_type", 9, &list(5, tokens.len(), kinds)),
    ];
    let special = open("lm/tokenizers.json").get(name).get("special_ids");
    for (role, key) in [("bos", "bos_token_id"), ("eos", "eos_token_id"), ("pad", "padding_token_id")] {
        metadata.extend(special.opt(role).map(|id| entry(key, 4, &(id.number() as u32).to_le_bytes())));
    }
    gguf(&metadata, &[]).0
}

#[test]
fn golden_tokenizers_are_the_same_through_gguf() {
    let file = open("lm/tokenizers.json");
    for (name, split) in [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen", "qwen2")] {
        let (direct, through) = (
            tokenizer(name),
            Tokenizer::from_gguf(&gguf_vocabulary(name, split)).expect("the file is as it was written"),
        );
        assert_eq!((through.bos(), through.eos(), through.pad()), (direct.bos(), direct.eos(), direct.pad()), "{name}");
        for encoding in file.get(name).get("encodings").items() {
            let text = encoding.get("text").text();
            let got = through.encode_with_special(&text).expect("the file is as it was written");
            assert_eq!(got, ids(&encoding.get("ids_with_special")), "{encoding}");
            let expected = encoding.get("decoded_skip_special").text();
            assert_eq!(
                through.decode(&ids(&encoding.get("ids")), SpecialTokens::Skip).expect("the file is as it was written"),
                expected,
                "{encoding}"
            );
        }
    }
    let unknown = Tokenizer::from_gguf(&gguf_vocabulary("gpt2", "another")).unwrap_err().to_string();
    assert!(unknown.contains("`another`"), "{unknown}");
}

#[test]
fn golden_gguf_blocks_become_floats() {
    for case in open("smollm2/gguf_blocks.json").get("cases").items() {
        let name = case.get("type").text();
        let kind = match name.as_str() {
            "Q4_0" => 2,
            "Q4_1" => 3,
            "Q5_0" => 6,
            "Q5_1" => 7,
            "Q8_0" => 8,
            "Q2_K" => 10,
            "Q3_K" => 11,
            "Q4_K" => 12,
            "Q5_K" => 13,
            "Q6_K" => 14,
            other => panic!("{case}: no test for {other}"),
        };
        let hex: String = case.get("row_bytes_hex").items().iter().map(Case::text).collect();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("the file is as it was written"))
            .collect();
        let expected = case.get("dequantized");
        let shape: [usize; 2] = expected.shape().try_into().expect("the file is as it was written");
        let entry = [&text("w")[..], &2u32.to_le_bytes(), &length(shape[1]), &length(shape[0])].concat();
        let entry = [&entry[..], &u32::to_le_bytes(kind), &length(0)].concat();
        let (gguf, _folder) = gguf(&[], &[(entry, &bytes)]);
        let (found, weights) = gguf.tensor("w").expect("the file is as it was written");
        assert_eq!(found, shape, "{case}");
        let raw = gguf.raw("w").expect("the file is as it was written");
        assert_eq!((raw.kind.name(), &raw.bytes), (name, &bytes), "{case}");
        assert_eq!(raw.row_bytes() * shape[0], bytes.len(), "{case}");
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        close(&case.name(), &weights, &expected.numbers(), 1e-7);
    }
}

/// A SentencePiece model of `sentencepiece.json` as the metadata that llama.cpp's converter writes.
fn sentence_piece(name: &str, prefix: bool) -> (serde_json::Value, Tokenizer) {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("sentencepiece.json")).expect("the file is as it was written");
    let model = file["models"][name].clone();
    let list = |key: &str| model[key].as_array().expect("the file is as it was written").clone();
    let entry = |key: &str, kind: u32, value: Vec<u8>| {
        [text(&format!("tokenizer.ggml.{key}")), kind.to_le_bytes().to_vec(), value].concat()
    };
    let array = |kind: u32, count: usize, values: Vec<u8>| [&kind.to_le_bytes()[..], &length(count), &values].concat();
    let (tokens, scores, types) = (list("tokens"), list("scores"), list("types"));
    let texts = tokens.iter().flat_map(|token| text(token.as_str().expect("the file is as it was written"))).collect();
    let floats = scores
        .iter()
        .flat_map(|score| (score.as_f64().expect("the file is as it was written") as f32).to_le_bytes())
        .collect();
    let kinds = types
        .iter()
        .flat_map(|kind| (kind.as_i64().expect("the file is as it was written") as i32).to_le_bytes())
        .collect();
    let metadata = [
        entry("model", 8, text("llama")),
        entry("tokens", 9, array(8, tokens.len(), texts)),
        entry("scores", 9, array(6, scores.len(), floats)),
        entry("token_type", 9, array(5, types.len(), kinds)),
        entry("bos_token_id", 4, 1u32.to_le_bytes().to_vec()),
        entry("eos_token_id", 4, 2u32.to_le_bytes().to_vec()),
        entry("add_space_prefix", 7, vec![u8::from(prefix)]),
    ];
    let tokenizer = Tokenizer::from_gguf(&gguf(&metadata, &[]).0).expect("the file is as it was written");
    (model, tokenizer)
}

#[test]
fn golden_sentence_piece_vocabularies_of_gguf_files() {
    for (name, prefix) in [("prefix", true), ("plain", false)] {
        let (model, tokenizer) = sentence_piece(name, prefix);
        for case in model["strings"].as_array().expect("the file is as it was written") {
            let text = case["text"].as_str().expect("the file is as it was written");
            let expected: Vec<u32> =
                serde_json::from_value(case["ids"].clone()).expect("the file is as it was written");
            assert_eq!(tokenizer.encode(text).expect("the file is as it was written"), expected, "{name}: {text:?}");
            let decoded = tokenizer.decode(&expected, SpecialTokens::Keep).expect("the file is as it was written");
            assert_eq!(decoded, case["decoded"].as_str().expect("the file is as it was written"), "{name}: {text:?}");
            let with_bos = tokenizer.encode_with_special(text).expect("the file is as it was written");
            assert_eq!(with_bos, [&[1], &expected[..]].concat(), "{name}: {text:?}");
        }
        let folder = tempfile::tempdir().expect("the file is as it was written");
        tokenizer.save(&folder).expect("the file is as it was written");
        assert_eq!(Tokenizer::from_folder(&folder).expect("the file is as it was written").hash(), tokenizer.hash());
    }
}

#[test]
fn streamed_text_is_the_text_of_all_tokens() {
    let mut tokenizers: Vec<_> = TOKENIZERS.iter().map(|name| ((*name).to_owned(), tokenizer(name))).collect();
    tokenizers.push(("prefix".to_owned(), sentence_piece("prefix", true).1));
    tokenizers.push(("plain".to_owned(), sentence_piece("plain", false).1));
    for (name, tokenizer) in &tokenizers {
        let mut stream = Seed(11).stream(name, 0);
        let texts = ["Hello world", "naïve 🙂🙂 日本語\n\n  x", " a", "𝕳e\u{301}llo \u{fffd} end", ""];
        let written = texts.iter().map(|text| tokenizer.encode_with_special(text).unwrap());
        // Ids up to two past the vocabulary: models with a padded embedding can write those.
        let most = tokenizer.vocabulary_size() as u32 + 2;
        let drawn: Vec<Vec<u32>> =
            (0..300).map(|at| (0..at % 25).map(|_| stream.random_range(0..most)).collect()).collect();
        let mut pieces = 0;
        for ids in written.chain(drawn) {
            for special in [SpecialTokens::Keep, SpecialTokens::Skip] {
                let mut stream = tokenizer.stream(special);
                let mut text = String::new();
                for id in &ids {
                    let piece = stream.push(*id).unwrap();
                    pieces += usize::from(piece.is_some());
                    text.extend(piece);
                    // What has been given is never taken back, so it is a beginning of the whole.
                    assert!(tokenizer.decode(&ids, special).unwrap().starts_with(&text), "{name}: {ids:?}");
                }
                text += &stream.finish().unwrap();
                assert_eq!(text, tokenizer.decode(&ids, special).unwrap(), "{name}: {ids:?}");
            }
        }
        assert!(pieces > 1000, "{name}: text comes in pieces, {pieces} of them");
    }
}

fn model() -> Option<(Case, Gguf)> {
    let path: PathBuf = smollm2()?;
    Some((open("smollm2/expected.json"), Gguf::open(path).expect("the model file is sound")))
}

#[test]
fn golden_smollm2_metadata_and_tensors() {
    let Some((file, gguf)) = model() else { return };
    for key in file.get("metadata").keys() {
        let expected = file.get("metadata").get(&key);
        let same = match gguf.metadata(&key).unwrap() {
            GgufValue::Text(text) => expected.json().as_str() == Some(text),
            GgufValue::Flag(flag) => expected.json().as_bool() == Some(*flag),
            number => number.as_float() == expected.json().as_f64(),
        };
        assert!(same, "{expected}: {:?}", gguf.metadata(&key));
    }
    for case in file.get("tensors").items() {
        let name = case.get("tensor").text();
        let info = gguf.tensors().find(|info| info.name == name).unwrap();
        assert_eq!(info.kind.name(), case.get("type").text(), "{case}");
        let (shape, weights) = gguf.tensor(&name).unwrap();
        let shape: Vec<i64> = shape.into_iter().map(|extent| extent as i64).collect();
        assert_eq!(shape, case.get("rows_cols").integers(), "{case}");
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let sum = |of: fn(f64) -> f64| weights.iter().map(|weight| of(*weight)).sum::<f64>();
        let sums = [sum(|weight| weight), sum(f64::abs), sum(|weight| weight * weight)];
        let expected = ["sum", "sum_abs", "sum_sq"].map(|key| case.get(key).number());
        close(&case.name(), &sums, &expected, 1e-9);
        close(&case.name(), &weights[..8], &case.get("first_8").numbers(), 1e-7);
        close(&case.name(), &weights[weights.len() - 8..], &case.get("last_8").numbers(), 1e-7);
    }
}

#[test]
fn golden_smollm2_tokenizer_and_template() {
    let Some((file, gguf)) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    assert_eq!(
        (tokenizer.vocabulary_size(), tokenizer.bos(), tokenizer.eos(), tokenizer.pad()),
        (49152, Some(1), &[2][..], Some(2))
    );
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(&folder).unwrap();
    let saved = Tokenizer::from_folder(&folder).unwrap();
    for case in file.get("strings").items() {
        let (text, expected) = (case.get("text").text(), ids(&case.get("ids_smollm_pretokenizer")));
        assert_eq!(tokenizer.encode(&text).unwrap(), expected, "{case}");
        assert_eq!(saved.encode_with_special(&text).unwrap(), expected, "{case}");
        assert_eq!(tokenizer.decode(&expected, SpecialTokens::Keep).unwrap(), text, "{case}");
    }

    let template = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap().unwrap();
    assert_eq!(template.source(), file.get("chat_template").text());
    for case in file.get("cases").items() {
        let mut text = case.get("text").text();
        if case.get("kind").text().starts_with("chat") {
            let messages: Vec<Message> = serde_json::from_str(&case.get("messages_or_text").text()).unwrap();
            let options = Render { ending: Ending::GenerationPrompt, ..Render::default() };
            text = template.render(&messages, &options).unwrap();
            assert_eq!(text, case.get("text").text(), "{case}");
        }
        assert_eq!(tokenizer.encode(&text).unwrap(), ids(&case.get("ids")), "{case}");
        assert_eq!(
            tokenizer.decode(&ids(&case.get("greedy_24")), SpecialTokens::Keep).unwrap(),
            case.get("greedy_text").text(),
            "{case}"
        );
    }
}
