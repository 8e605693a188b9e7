//! Text to token ids and back, by the `tokenizers` library, with the ids that a model treats as special.
//!
//! A GGUF vocabulary of the kind `gpt2` is written out as the `tokenizer.json` that it came from; the way its text is
//! split first (`tokenizer.ggml.pre`) is that of the model's own tokenizer. Truncation and padding that a
//! `tokenizer.json` asks for are switched off: nothing is cut in silence here.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value as Json, json};
use tokenizers::{ModelWrapper, PaddingParams, TruncationParams};

use crate::{Gguf, GgufValue, LmError};

/// What a decoder does with special tokens such as `<s>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Writes their text.
    Keep,
    /// Leaves them out.
    Skip,
}

/// The special tokens that have a role.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roles<'a> {
    /// Begins a text.
    pub bos: Option<&'a str>,
    /// Ends a text.
    pub eos: Option<&'a str>,
    /// Fills a row of a batch.
    pub pad: Option<&'a str>,
}

/// A tokenizer and its special ids.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary_size: usize,
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
    longest: Option<u64>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face folder, and the special ids from `tokenizer_config.json`,
    /// `special_tokens_map.json`, `generation_config.json` and `config.json`, the first that names one. The end tokens of
    /// `generation_config.json` are added to the one of the tokenizer.
    ///
    /// # Errors
    /// [`LmError::Io`], [`LmError::Format`] for a file that cannot be parsed, [`LmError::Tokenizer`] for a special token
    /// that the vocabulary lacks.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, LmError> {
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(LmError::io(&path))?;
        let mut tokenizer = Self::from_json(&bytes).map_err(|error| LmError::format(&path)(error))?;

        let config = read_object(&folder.join("tokenizer_config.json"))?;
        let special = read_object(&folder.join("special_tokens_map.json"))?;
        let generation = read_object(&folder.join("generation_config.json"))?;
        let model = read_object(&folder.join("config.json"))?;
        let find = |role: &str| -> Result<Vec<u32>, LmError> {
            let mut ids = Vec::new();
            let token =
                [&config, &special].into_iter().find_map(|file| token_text(file.get(&format!("{role}_token"))?));
            ids.extend(token.map(|token| tokenizer.id_of(token)).transpose()?);
            let key = format!("{role}_token_id");
            for file in [&generation, &model] {
                if ids.is_empty() || (role == "eos" && std::ptr::eq(file, &generation)) {
                    ids.extend(token_ids(file.get(&key)));
                }
            }
            Ok(ids)
        };
        let (bos, eos, pad) = (find("bos")?, find("eos")?, find("pad")?);
        tokenizer.longest = config.get("model_max_length").and_then(Json::as_u64);
        tokenizer.with_special(bos.first().copied(), eos, pad.first().copied())
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes.
    ///
    /// # Errors
    /// [`LmError::Config`] for absent metadata, [`LmError::Unsupported`] for a vocabulary that is not byte-level BPE or is
    /// split in a way not known here, [`LmError::Tokenizer`] for one that contradicts itself.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LmError> {
        let unsupported = |what: String| {
            let remedy = "use the tokenizer.json of the model's Hugging Face folder".to_owned();
            LmError::Unsupported { what, remedy }
        };
        let model = gguf.need("tokenizer.ggml.model", GgufValue::as_text)?;
        if model != "gpt2" {
            return Err(unsupported(format!("the GGUF vocabulary `{model}` (only gpt2, byte-level BPE, is read)")));
        }
        let split = gguf.need("tokenizer.ggml.pre", GgufValue::as_text)?;
        let pre_tokenizer = pre_tokenizer(split).ok_or_else(|| {
            unsupported(format!("the pre-tokenizer `{split}` (smollm, gpt-2, llama-bpe and qwen2 are)"))
        })?;

        let texts = |key| -> Result<Vec<&str>, LmError> {
            gguf.need(key, |value| value.as_array()?.iter().map(GgufValue::as_text).collect())
        };
        let tokens = texts("tokenizer.ggml.tokens")?;
        let merges = texts("tokenizer.ggml.merges")?;
        let vocabulary: Map<String, Json> =
            tokens.iter().zip(0u32..).map(|(token, id)| ((*token).to_owned(), id.into())).collect();
        if vocabulary.len() != tokens.len() {
            let (all, unique) = (tokens.len(), vocabulary.len());
            return Err(LmError::tokenizer(format!(
                "tokens must be unique, and of {all} in the GGUF file {unique} are; convert it again"
            )));
        }
        let merges = merges.iter().map(|merge| {
            // The first character of a merge may not be its separator.
            let at = merge.char_indices().skip(1).find(|(_, character)| *character == ' ').map(|(at, _)| at);
            at.map(|at| json!([merge[..at], merge[at + 1..]]))
                .ok_or_else(|| LmError::tokenizer(format!("a merge is two tokens with a space between, got `{merge}`")))
        });
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        let added: Vec<Json> = match gguf.metadata("tokenizer.ggml.token_type").and_then(GgufValue::as_array) {
            None => Vec::new(),
            Some(kinds) if kinds.len() != tokens.len() => {
                let (expected, got) = (tokens.len(), kinds.len());
                return Err(LmError::tokenizer(format!(
                    "{expected} tokens need as many token types, got {got}; convert the file again"
                )));
            }
            Some(kinds) => (0u32..)
                .zip(kinds.iter().zip(&tokens))
                .filter_map(|(id, (kind, token))| match kind.as_unsigned() {
                    Some(CONTROL) => Some(added_token(id, token, true)),
                    Some(USER_DEFINED) => Some(added_token(id, token, false)),
                    _ => None,
                })
                .collect(),
        };

        let id = |name: &str| {
            let id = gguf.metadata(&format!("tokenizer.ggml.{name}_token_id")).and_then(GgufValue::as_unsigned);
            id.map(|id| u32::try_from(id).unwrap_or(u32::MAX))
        };
        let flag = |name: &str| gguf.metadata(&format!("tokenizer.ggml.{name}")).and_then(GgufValue::as_flag);
        let token = |id: u32| tokens.get(id as usize).copied();
        // llama.cpp adds BOS for this family unless the file says otherwise.
        let before = id("bos").filter(|_| flag("add_bos_token").unwrap_or(split == "llama-bpe")).and_then(token);
        let after = id("eos").filter(|_| flag("add_eos_token").unwrap_or(false)).and_then(token);
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": if split == "qwen2" { json!({"type": "NFC"}) } else { Json::Null },
            "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor(before, after, &vocabulary),
            "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": split == "llama-bpe", "vocab": vocabulary, "merges": merges,
            },
        });
        let mut tokenizer = Self::from_json(tokenizer.to_string().as_bytes()).map_err(LmError::tokenizer)?;
        let architecture = gguf.metadata("general.architecture").and_then(GgufValue::as_text).unwrap_or("llama");
        tokenizer.longest = gguf.metadata(&format!("{architecture}.context_length")).and_then(GgufValue::as_unsigned);
        let eos = ["eos", "eot"].into_iter().filter_map(id).collect();
        tokenizer.with_special(id("bos"), eos, id("padding"))
    }

    /// A tokenizer with one token a character: first `specials`, then the characters of `alphabet`, in order.
    ///
    /// ```
    /// use ascribe_lm::{Roles, Tokenizer};
    /// let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    /// let tokenizer = Tokenizer::characters("0123456789+=", &["<s>", "</s>", "<better>"], roles)?;
    /// assert_eq!(tokenizer.encode("<better>1+2=3</s>")?, [2, 4, 13, 5, 14, 6, 1]);
    /// assert!(tokenizer.encode("1-2").is_err());
    /// # Ok::<(), ascribe_lm::LmError>(())
    /// ```
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] when a character or special token occurs twice, or a role names no special token.
    pub fn characters(alphabet: &str, specials: &[&str], roles: Roles<'_>) -> Result<Self, LmError> {
        let characters = alphabet.chars().map(String::from);
        let tokens: Vec<String> = specials.iter().map(|token| (*token).to_owned()).chain(characters).collect();
        let mut seen = HashSet::new();
        if let Some(twice) = tokens.iter().find(|token| token.is_empty() || !seen.insert(*token)) {
            return Err(LmError::tokenizer(format!(
                "every token must be unique and not empty, and `{twice}` is not; drop it"
            )));
        }
        let vocabulary: Map<String, Json> = tokens.iter().cloned().zip((0u32..).map(Json::from)).collect();
        let added: Vec<Json> = (0u32..).zip(specials).map(|(id, token)| added_token(id, token, true)).collect();
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            // Written so that fancy-regex here and Oniguruma in Python both let it match a line break.
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": false},
            "post_processor": null,
            "decoder": {"type": "Fuse"},
            // No token has this text, so a character that is not in the alphabet is an error.
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<not in the alphabet>"},
        });
        let tokenizer = Self::from_json(tokenizer.to_string().as_bytes()).map_err(LmError::tokenizer)?;
        let find = |token: Option<&str>| token.map(|token| tokenizer.id_of(token)).transpose();
        let (bos, eos, pad) = (find(roles.bos)?, find(roles.eos)?, find(roles.pad)?);
        tokenizer.with_special(bos, eos.into_iter().collect(), pad)
    }

    /// Ids of `text`. Nothing is added; special tokens that the text spells out are recognised.
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] for text that the vocabulary cannot express.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LmError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.refusal(text, &*error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of `text` with the special tokens that the tokenizer's post-processor adds, a leading BOS say.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, LmError> {
        let encoding = self.inner.encode_fast(text, true).map_err(|error| self.refusal(text, &*error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids as [`encode`](Self::encode) gives them, each with the bytes of `text` that it stands for. Tokens that share a
    /// character (parts of an emoji, say) each cover the whole of it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_spans(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>), LmError> {
        let encoding = self.inner.encode(text, false).map_err(|error| self.refusal(text, &*error))?;
        let spans = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok((encoding.get_ids().to_vec(), spans.collect()))
    }

    /// The text of `ids`; ids outside the vocabulary, which models with a padded embedding can write, have none.
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] when the decoder fails.
    pub fn decode(&self, ids: &[u32], special: SpecialTokens) -> Result<String, LmError> {
        let skip = special == SpecialTokens::Skip;
        self.inner
            .decode(ids, skip)
            .map_err(|error| LmError::tokenizer(format!("these ids cannot be decoded: {error}")))
    }

    /// The highest id plus 1: the least number of embeddings that a model needs.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens that end a text; the first is the tokenizer's own.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// The token that fills a row of a batch.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// The text of a token as the vocabulary spells it: byte-level vocabularies write a space as `Ġ`.
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, which transformers' `AutoTokenizer` reads.
    ///
    /// That layout has room for one end token, the first; `generation_config.json` is the place for all.
    ///
    /// # Errors
    /// [`LmError::Io`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), LmError> {
        let folder = folder.as_ref();
        let path = folder.join("tokenizer.json");
        fs::write(&path, self.serialized(true)).map_err(LmError::io(&path))?;

        let mut config = Map::new();
        config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        for (key, id) in [("bos_token", self.bos), ("eos_token", self.eos.first().copied()), ("pad_token", self.pad)] {
            if let Some(token) = id.and_then(|id| self.token_text(id)) {
                config.insert(key.into(), token.into());
            }
        }
        if let Some(longest) = self.longest {
            config.insert("model_max_length".into(), longest.into());
        }
        let path = folder.join("tokenizer_config.json");
        fs::write(&path, format!("{:#}\n", Json::Object(config))).map_err(LmError::io(&path))
    }

    /// BLAKE3 of the tokenizer in its serialised form, in hexadecimal.
    pub fn hash(&self) -> String {
        blake3::hash(self.serialized(false).as_bytes()).to_hex().to_string()
    }

    fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string())?;
        inner.with_truncation(None::<TruncationParams>).map_err(|error| error.to_string())?;
        inner.with_padding(None::<PaddingParams>);
        let highest = inner.get_vocab(true).into_values().max();
        let vocabulary_size = highest.map_or(0, |id| id as usize + 1);
        Ok(Self { inner, vocabulary_size, bos: None, eos: Vec::new(), pad: None, longest: None })
    }

    /// Sets the special ids, each once, after checking that the vocabulary has them.
    fn with_special(mut self, bos: Option<u32>, eos: Vec<u32>, pad: Option<u32>) -> Result<Self, LmError> {
        for id in bos.iter().chain(&eos).chain(&pad) {
            if self.token_text(*id).is_none() {
                let why = format!(
                    "the special token id {id} is not in the vocabulary of {}; correct the model's config",
                    self.vocabulary_size
                );
                return Err(LmError::Tokenizer { why });
            }
        }
        (self.bos, self.pad) = (bos, pad);
        for id in eos {
            if !self.eos.contains(&id) {
                self.eos.push(id);
            }
        }
        Ok(self)
    }

    fn id_of(&self, token: &str) -> Result<u32, LmError> {
        let missing = || {
            LmError::tokenizer(format!(
                "the special token `{token}` is not in the vocabulary; add it, or drop its role"
            ))
        };
        self.inner.token_to_id(token).ok_or_else(missing)
    }

    /// Why `text` cannot be encoded; for a vocabulary of characters, by the character.
    fn refusal(&self, text: &str, error: &dyn std::error::Error) -> LmError {
        if let ModelWrapper::WordLevel(_) = self.inner.get_model() {
            let special = self.inner.get_added_tokens_decoder();
            let mut rest = text;
            let unknown = std::iter::from_fn(|| {
                let token = special.values().find(|token| rest.starts_with(&token.content));
                let length =
                    token.map_or_else(|| rest.chars().next().map(char::len_utf8), |token| Some(token.content.len()))?;
                let piece;
                (piece, rest) = rest.split_at(length);
                Some(piece)
            });
            let unknown = unknown.into_iter().find(|piece| self.inner.token_to_id(piece).is_none());
            if let Some(unknown) = unknown {
                return LmError::tokenizer(format!(
                    "the character `{unknown}` is not in the alphabet; drop it from the text or extend the alphabet"
                ));
            }
        }
        LmError::tokenizer(format!("this text cannot be encoded: {error}"))
    }

    fn serialized(&self, pretty: bool) -> String {
        self.inner.to_string(pretty).expect("a tokenizer that was parsed can be serialised")
    }
}

/// Token types of GGUF that are matched in the text before it is split.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

const LLAMA_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is split before the merges, by llama.cpp's name for it.
fn pre_tokenizer(name: &str) -> Option<Json> {
    let sequence =
        |first: Json, use_regex: bool| json!({"type": "Sequence", "pretokenizers": [first, byte_level(use_regex)]});
    let split =
        |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    match name {
        "gpt-2" => Some(byte_level(true)),
        "smollm" => Some(sequence(json!({"type": "Digits", "individual_digits": true}), true)),
        "llama-bpe" => Some(sequence(split(LLAMA_SPLIT), false)),
        "qwen2" => Some(sequence(split(QWEN_SPLIT), false)),
        _ => None,
    }
}

/// Bytes written as printable characters; with `use_regex`, after splitting as GPT-2 does.
fn byte_level(use_regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// Adds a token before and one after the text.
fn post_processor(before: Option<&str>, after: Option<&str>, vocabulary: &Map<String, Json>) -> Json {
    if before.is_none() && after.is_none() {
        return Json::Null;
    }
    let special =
        |token: Option<&str>, row: u32| token.map(|token| json!({"SpecialToken": {"id": token, "type_id": row}}));
    let text = |name: &str, row: u32| {
        let text = json!({"Sequence": {"id": name, "type_id": row}});
        [special(before, row), Some(text), special(after, row)].into_iter().flatten().collect::<Vec<_>>()
    };
    let mut tokens = Map::new();
    for token in [before, after].into_iter().flatten() {
        tokens.insert(token.to_owned(), json!({"id": token, "ids": [vocabulary[token]], "tokens": [token]}));
    }
    let pair = [text("A", 0), text("B", 1)].concat();
    json!({"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": tokens})
}

fn added_token(id: u32, token: &str, special: bool) -> Json {
    json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": special,
    })
}

/// The object in a JSON file; empty when there is no such file.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Json>, LmError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        other => other.map_err(LmError::io(path))?,
    };
    serde_json::from_slice(&text).map_err(LmError::format(path))
}

/// A special token, written as text or as an object with `content`.
fn token_text(entry: &Json) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("content")?.as_str())
}

/// Ids written as one number or as a list.
fn token_ids(entry: Option<&Json>) -> Vec<u32> {
    let id = |value: &Json| value.as_u64().map(|id| u32::try_from(id).unwrap_or(u32::MAX));
    match entry {
        Some(Json::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: Roles<'static> = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("<pad>") };

    fn arithmetic() -> Tokenizer {
        Tokenizer::characters("0123456789+-*()%=\n é", &["<pad>", "<s>", "</s>", "<better>"], ROLES).unwrap()
    }

    #[test]
    fn characters_are_tokens_in_the_order_given() {
        let tokenizer = arithmetic();
        let text = "<s>(3+5)\n<better> é9</s>";
        let (ids, spans) = tokenizer.encode_spans(text).unwrap();
        assert_eq!(ids, [1, 17, 7, 14, 9, 18, 21, 3, 22, 23, 13, 2]);
        assert_eq!(spans[0], 0..3);
        assert_eq!(&text[spans[9].clone()], "é");
        assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(), text);
        assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip).unwrap(), "(3+5)\n é9");
        assert_eq!(
            (tokenizer.vocabulary_size(), tokenizer.bos(), tokenizer.eos(), tokenizer.pad()),
            (24, Some(1), &[2][..], Some(0))
        );
    }

    #[test]
    fn a_character_outside_the_alphabet_is_named() {
        let refused = arithmetic().encode("<s>1+x").unwrap_err().to_string();
        assert!(refused.contains("`x`"), "{refused}");
    }

    #[test]
    fn characters_come_back_from_a_folder() {
        let (before, folder) = (arithmetic(), tempfile::tempdir().unwrap());
        before.save(&folder).unwrap();
        let after = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!(after.hash(), before.hash());
        assert_eq!((after.bos(), after.eos(), after.pad()), (before.bos(), before.eos(), before.pad()));
        assert_eq!(after.encode("<better>1=1\n</s>").unwrap(), before.encode("<better>1=1\n</s>").unwrap());
        assert!(after.encode("x").is_err());
    }

    #[test]
    fn tokens_that_clash_and_roles_without_a_token_are_refused() {
        assert!(Tokenizer::characters("aba", &[], Roles::default()).is_err());
        assert!(Tokenizer::characters("ab", &["a"], Roles::default()).is_err());
        assert!(Tokenizer::characters("ab", &["<s>"], ROLES).is_err());
    }

    #[test]
    fn end_tokens_of_the_generation_config_are_added() {
        let folder = tempfile::tempdir().unwrap();
        arithmetic().save(&folder).unwrap();
        let write = |name: &str, value: Json| fs::write(folder.path().join(name), value.to_string()).unwrap();
        write("generation_config.json", json!({"eos_token_id": [2, 3], "bos_token_id": 3}));
        write("config.json", json!({"eos_token_id": 4}));
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!((tokenizer.eos(), tokenizer.bos()), (&[2, 3][..], Some(1)));
        write("tokenizer_config.json", json!({"bos_token": {"content": "<better>"}, "eos_token": null}));
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!((tokenizer.eos(), tokenizer.bos(), tokenizer.pad()), (&[2, 3][..], Some(3), None));
        write("generation_config.json", json!({"eos_token_id": 99}));
        assert!(Tokenizer::from_folder(&folder).unwrap_err().to_string().contains("99"));
        write("generation_config.json", json!([1]));
        assert!(matches!(Tokenizer::from_folder(&folder), Err(LmError::Format { .. })));
    }

    #[test]
    fn truncation_in_the_file_is_switched_off() {
        let folder = tempfile::tempdir().unwrap();
        arithmetic().save(&folder).unwrap();
        let path = folder.path().join("tokenizer.json");
        let mut file: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        file["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        fs::write(&path, file.to_string()).unwrap();
        assert_eq!(Tokenizer::from_folder(&folder).unwrap().encode("1234").unwrap().len(), 4);
    }
}
