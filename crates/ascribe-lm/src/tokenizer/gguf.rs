//! The `tokenizer.json` that the metadata of a GGUF file describes.
//!
//! Two kinds of vocabulary are read. `gpt2` is byte-level BPE: the merges are in the file, and the way text is split first
//! (`tokenizer.ggml.pre`) is looked up by llama.cpp's name. `llama` is a SentencePiece model (Llama 2, Mistral, Gemma):
//! of all neighbours, those whose union has the highest score are joined first, so the scores give the merges.
//! Source of names and splits: `src/llama-vocab.cpp` of ggml-org/llama.cpp.

use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::added_token;
use crate::{Gguf, GgufValue, LmError};

/// Token types of GGUF.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
/// The next two are matched in the text before it is split.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const BYTE: u64 = 6;

/// How SentencePiece writes a space.
const SPACE: &str = "\u{2581}";

const GPT2_SPLIT: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What llama.cpp does when it knows no better, one after the other.
const DEFAULT_SPLITS: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2_SPLIT, r"\p{N}+", "[0-9][0-9][0-9]"];

/// A way to split text before the merges.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Gpt2,
    /// Single digits first, then as GPT-2.
    SmolLm,
    Llama3,
    Qwen2,
    Default,
}

/// llama.cpp's names; several models share a split.
const SPLITS: [(&str, Split); 13] = [
    ("gpt-2", Split::Gpt2),
    ("phi-2", Split::Gpt2),
    ("olmo", Split::Gpt2),
    ("smollm", Split::SmolLm),
    ("starcoder", Split::SmolLm),
    ("refact", Split::SmolLm),
    ("command-r", Split::SmolLm),
    ("llama-bpe", Split::Llama3),
    ("llama3", Split::Llama3),
    ("llama-v3", Split::Llama3),
    ("qwen2", Split::Qwen2),
    ("deepseek-r1-qwen", Split::Qwen2),
    ("default", Split::Default),
];

/// The vocabulary of a file, checked.
struct Vocabulary<'a> {
    gguf: &'a Gguf,
    tokens: Vec<&'a str>,
    /// As long as the tokens, or empty when the file says nothing.
    kinds: Vec<u64>,
}

/// The contents of the `tokenizer.json`.
pub(super) fn description(gguf: &Gguf) -> Result<Json, LmError> {
    let vocabulary = Vocabulary::read(gguf)?;
    match gguf.need("tokenizer.ggml.model", GgufValue::as_text)? {
        "gpt2" => vocabulary.byte_level(),
        "llama" => vocabulary.sentence_piece(),
        other => Err(unsupported(format!(
            "the GGUF vocabulary `{other}` (gpt2, byte-level BPE, and llama, SentencePiece BPE, are read)"
        ))),
    }
}

impl<'a> Vocabulary<'a> {
    fn read(gguf: &'a Gguf) -> Result<Self, LmError> {
        let tokens = texts(gguf, "tokenizer.ggml.tokens")?;
        let unique: HashSet<_> = tokens.iter().collect();
        if unique.len() != tokens.len() {
            let (all, unique) = (tokens.len(), unique.len());
            return Err(LmError::tokenizer(format!(
                "tokens must be unique, and of {all} in the GGUF file {unique} are; convert it again"
            )));
        }
        let kinds = gguf.metadata("tokenizer.ggml.token_type").and_then(GgufValue::as_array).unwrap_or_default();
        let kinds: Vec<u64> = kinds.iter().map(|kind| kind.as_unsigned().unwrap_or(NORMAL)).collect();
        if !kinds.is_empty() {
            same_length("types", tokens.len(), kinds.len())?;
        }
        Ok(Self { gguf, tokens, kinds })
    }

    fn ids_of(&self, kind: u64) -> impl Iterator<Item = (u32, &'a str)> {
        let found = (0u32..).zip(self.tokens.iter().zip(&self.kinds));
        found.filter(move |(_, (_, found))| **found == kind).map(|(id, (token, _))| (id, *token))
    }

    fn byte_level(&self) -> Result<Json, LmError> {
        let name = self.gguf.need("tokenizer.ggml.pre", GgufValue::as_text)?;
        let split = SPLITS.iter().find(|(known, _)| *known == name).map(|(_, split)| *split).ok_or_else(|| {
            let known = SPLITS.map(|(name, _)| name).join(", ");
            unsupported(format!("the pre-tokenizer `{name}` of the GGUF file (known are {known})"))
        })?;
        let merges = texts(self.gguf, "tokenizer.ggml.merges")?;
        let merges = merges.iter().map(|merge| {
            // The first character of a merge may not be its separator.
            let at = merge.char_indices().skip(1).find(|(_, character)| *character == ' ').map(|(at, _)| at);
            at.map(|at| json!([merge[..at], merge[at + 1..]]))
                .ok_or_else(|| LmError::tokenizer(format!("a merge is two tokens with a space between, got `{merge}`")))
        });
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        let vocabulary: Map<String, Json> =
            self.tokens.iter().zip(0u32..).map(|(token, id)| ((*token).to_owned(), id.into())).collect();
        let control = self.ids_of(CONTROL).map(|(id, token)| added_token(id, token, true));
        let added: Vec<Json> =
            control.chain(self.ids_of(USER_DEFINED).map(|(id, token)| added_token(id, token, false))).collect();
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": if split == Split::Qwen2 { json!({"type": "NFC"}) } else { Json::Null },
            "pre_tokenizer": split.pre_tokenizer(),
            // llama.cpp adds BOS for the Llama 3 family unless the file says otherwise.
            "post_processor": self.post_processor(split == Split::Llama3),
            "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": split == Split::Llama3, "vocab": vocabulary, "merges": merges,
            },
        }))
    }

    fn sentence_piece(&self) -> Result<Json, LmError> {
        let scores = self.gguf.need("tokenizer.ggml.scores", |value| {
            value.as_array()?.iter().map(GgufValue::as_float).collect::<Option<Vec<f64>>>()
        })?;
        same_length("scores", self.tokens.len(), scores.len())?;
        same_length("types", self.tokens.len(), self.kinds.len())?;

        // Pieces of the user are matched in the text as it comes, so their spaces are spaces.
        let mut texts: Vec<String> = self.tokens.iter().map(|token| (*token).to_owned()).collect();
        let mut taken: HashSet<String> = texts.iter().cloned().collect();
        for (id, token) in self.ids_of(USER_DEFINED) {
            let spaced = token.replace(SPACE, " ");
            if taken.insert(spaced.clone()) {
                texts[id as usize] = spaced;
            }
        }
        let added = (0u32..).zip(texts.iter().zip(&self.kinds)).filter_map(|(id, (text, kind))| match *kind {
            CONTROL | UNKNOWN => Some(added_token(id, text, true)),
            USER_DEFINED => Some(added_token(id, text, false)),
            _ => None,
        });
        let added: Vec<Json> = added.collect();
        let vocabulary: Map<String, Json> = texts.into_iter().zip((0u32..).map(Json::from)).collect();
        let unknown = self.ids_of(UNKNOWN).next().map(|(_, token)| token);
        let bytes = self.ids_of(BYTE).count();
        if bytes != 256 && (bytes > 0 || unknown.is_none()) {
            let why =
                format!("a SentencePiece vocabulary has 256 byte tokens, or none and an unknown token; got {bytes}");
            return Err(LmError::tokenizer(why + "; convert the file again"));
        }
        let prefix = self.gguf.metadata("tokenizer.ggml.add_space_prefix").and_then(GgufValue::as_flag).unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
        let mut back = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        let mut normalizers = vec![spaces];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
            back.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "post_processor": self.post_processor(true),
            "decoder": {"type": "Sequence", "decoders": back},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": bytes == 256, "ignore_merges": false,
                "vocab": vocabulary, "merges": self.merges_by_score(&scores),
            },
        }))
    }

    /// Every way to make a piece of two, the best piece first.
    fn merges_by_score(&self, scores: &[f64]) -> Vec<Json> {
        let pieces: HashSet<&str> = self.ids_of(NORMAL).map(|(_, token)| token).collect();
        let mut order: Vec<(f64, &str)> = self.ids_of(NORMAL).map(|(id, token)| (scores[id as usize], token)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let halves = order
            .into_iter()
            .flat_map(|(_, token)| token.char_indices().skip(1).map(move |(at, _)| token.split_at(at)));
        halves.filter(|(left, right)| pieces.contains(left) && pieces.contains(right)).map(|both| json!(both)).collect()
    }

    /// Adds BOS and EOS where the file says so; `bos` is what holds when it says nothing.
    fn post_processor(&self, bos: bool) -> Json {
        let token = |role: &str, absent: bool| {
            let add = self.gguf.metadata(&format!("tokenizer.ggml.add_{role}_token")).and_then(GgufValue::as_flag);
            let id = special_id(self.gguf, role).filter(|_| add.unwrap_or(absent))?;
            Some((id, *self.tokens.get(id as usize)?))
        };
        let (before, after) = (token("bos", bos), token("eos", false));
        if before.is_none() && after.is_none() {
            return Json::Null;
        }
        let special = |token: Option<(u32, &str)>, row: u32| {
            token.map(|(_, token)| json!({"SpecialToken": {"id": token, "type_id": row}}))
        };
        let text = |name: &str, row: u32| {
            let text = json!({"Sequence": {"id": name, "type_id": row}});
            [special(before, row), Some(text), special(after, row)].into_iter().flatten().collect::<Vec<_>>()
        };
        let mut tokens = Map::new();
        for (id, token) in [before, after].into_iter().flatten() {
            tokens.insert(token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
        }
        let pair = [text("A", 0), text("B", 1)].concat();
        json!({"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": tokens})
    }
}

/// The id of the token with this role (`bos`, `eos`, `eot`, `padding`).
pub(super) fn special_id(gguf: &Gguf, role: &str) -> Option<u32> {
    let id = gguf.metadata(&format!("tokenizer.ggml.{role}_token_id")).and_then(GgufValue::as_unsigned);
    id.map(|id| u32::try_from(id).unwrap_or(u32::MAX))
}

impl Split {
    fn pre_tokenizer(self) -> Json {
        let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        let sequence = |parts: Vec<Json>| json!({"type": "Sequence", "pretokenizers": parts});
        match self {
            Self::Gpt2 => byte_level(true),
            Self::SmolLm => sequence(vec![json!({"type": "Digits", "individual_digits": true}), byte_level(true)]),
            Self::Llama3 => sequence(vec![split(LLAMA_SPLIT), byte_level(false)]),
            Self::Qwen2 => sequence(vec![split(QWEN_SPLIT), byte_level(false)]),
            Self::Default => sequence(DEFAULT_SPLITS.into_iter().map(split).chain([byte_level(false)]).collect()),
        }
    }
}

/// Bytes written as printable characters; with `use_regex`, after splitting as GPT-2 does.
fn byte_level(use_regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

fn texts<'a>(gguf: &'a Gguf, key: &str) -> Result<Vec<&'a str>, LmError> {
    gguf.need(key, |value| value.as_array()?.iter().map(GgufValue::as_text).collect())
}

fn same_length(what: &str, expected: usize, got: usize) -> Result<(), LmError> {
    if expected == got {
        return Ok(());
    }
    Err(LmError::tokenizer(format!("{expected} tokens need as many token {what}, got {got}; convert the file again")))
}

fn unsupported(what: String) -> LmError {
    LmError::Unsupported { what, remedy: "use the tokenizer.json of the model's Hugging Face folder".to_owned() }
}
