//! Text to token ids and back, by the `tokenizers` library, with the ids that a model treats as special.
//!
//! A GGUF vocabulary is written out as the `tokenizer.json` that it came from. Truncation and padding that a
//! `tokenizer.json` asks for are switched off: nothing is cut in silence here.

mod gguf;
mod stream;

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value as Json, json};
use tokenizers::{ModelWrapper, PaddingParams, TruncationParams};

pub use self::stream::TextStream;
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

    /// Builds the tokenizer that the metadata of a GGUF file describes: byte-level BPE (`gpt2`) or SentencePiece (`llama`).
    ///
    /// # Errors
    /// [`LmError::Config`] for absent metadata, [`LmError::Unsupported`] for a vocabulary of another kind, or one that is
    /// split in a way not known here, [`LmError::Tokenizer`] for one that contradicts itself.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, LmError> {
        let description = gguf::description(gguf)?.to_string();
        let mut tokenizer = Self::from_json(description.as_bytes()).map_err(LmError::tokenizer)?;
        let architecture = gguf.metadata("general.architecture").and_then(GgufValue::as_text).unwrap_or("llama");
        tokenizer.longest = gguf.metadata(&format!("{architecture}.context_length")).and_then(GgufValue::as_unsigned);
        let id = |role: &str| gguf::special_id(gguf, role);
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

    /// The text of `ids` without special tokens, with the bytes that each adds: none for a special token, and none where a
    /// character is not whole yet.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_spans(&self, ids: &[u32]) -> Result<(String, Vec<Range<usize>>), LmError> {
        let mut stream = self.stream(SpecialTokens::Skip);
        let (mut text, mut spans) = (String::new(), Vec::with_capacity(ids.len()));
        for id in ids {
            let start = text.len();
            text += &stream.push(*id)?.unwrap_or_default();
            spans.push(start..text.len());
        }
        text += &stream.finish()?;
        if let Some(last) = spans.last_mut() {
            last.end = text.len();
        }
        Ok((text, spans))
    }

    /// A decoder that takes tokens one by one, for text that is shown as it comes.
    ///
    /// ```
    /// use ascribe_lm::{Roles, SpecialTokens, Tokenizer};
    /// let tokenizer = Tokenizer::characters("ab", &["</s>"], Roles::default())?;
    /// let mut stream = tokenizer.stream(SpecialTokens::Skip);
    /// assert_eq!(stream.push(1)?.as_deref(), Some("a"));
    /// assert_eq!(stream.push(0)?, None);
    /// assert_eq!(stream.finish()?, "");
    /// # Ok::<(), ascribe_lm::LmError>(())
    /// ```
    pub fn stream(&self, special: SpecialTokens) -> TextStream<'_> {
        TextStream::new(self, special)
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

    /// The same with a padding token for classifiers of sequences. transformers reads their score at the last token that is
    /// not padding, so what ends a text must not be: the padding token stays unless it is an end token; then the token that
    /// begins a text takes its place, or else the last one of the vocabulary that ends nothing.
    #[must_use]
    pub fn padded_for_scores(mut self) -> Self {
        let others = (0..self.vocabulary_size as u32).rev();
        let fits = |id: &u32| !self.eos.contains(id) && self.token_text(*id).is_some();
        self.pad = self.pad.into_iter().chain(self.bos).chain(others).find(fits);
        self
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

    fn list(values: impl IntoIterator<Item = GgufValue>) -> GgufValue {
        GgufValue::Array(values.into_iter().collect())
    }

    fn texts(values: &[&str]) -> GgufValue {
        list(values.iter().map(|value| GgufValue::Text((*value).to_owned())))
    }

    fn from_metadata(entries: &[(&str, GgufValue)]) -> Result<Tokenizer, LmError> {
        Tokenizer::from_gguf(&crate::gguf::testing::open(entries, &[]).0)
    }

    /// Tokens that show how a text was split: all merges that would join what is split are there.
    #[test]
    fn gguf_splits_are_those_of_llama_cpp() {
        let tokens = [
            "1", "2", "3", "4", "5", "a", "b", "!", "\u{120}", "12", "123", "1234", "45", "ab", "!!", "b!", "5a",
            "\u{120}1",
        ];
        let merges = ["1 2", "12 3", "123 4", "4 5", "a b", "! !", "b !", "5 a", "\u{120} 1"];
        let split = |name: &str, text: &str| {
            let entries = [
                ("tokenizer.ggml.model", GgufValue::Text("gpt2".into())),
                ("tokenizer.ggml.pre", GgufValue::Text(name.into())),
                ("tokenizer.ggml.tokens", texts(&tokens)),
                ("tokenizer.ggml.merges", texts(&merges)),
            ];
            let tokenizer = from_metadata(&entries).unwrap();
            let ids = tokenizer.encode(text).unwrap();
            ids.iter().map(|id| tokenizer.token_text(*id).unwrap()).collect::<Vec<_>>().join(" ")
        };
        // Worked by hand from the expressions in llama-vocab.cpp; within a part, the merges act in their order.
        // ab | !! | 12345 | a, then 123 | 45; the digits are cut off from the space before them.
        assert_eq!(split("default", "ab!!12345a"), "ab !! 123 45 a");
        assert_eq!(split("default", "a 1234"), "a \u{120} 123 4");
        for name in ["gpt-2", "phi-2", "olmo"] {
            assert_eq!(split(name, "ab!!12345a"), "ab !! 1234 5 a", "{name}");
            // The space belongs to the digits, and the earliest merges take these.
            assert_eq!(split(name, "a 1234"), "a \u{120} 1234", "{name}");
        }
        for name in ["smollm", "starcoder", "refact", "command-r"] {
            assert_eq!(split(name, "ab!!12345a"), "ab !! 1 2 3 4 5 a", "{name}");
            assert_eq!(split(name, "a 12"), "a \u{120} 1 2", "{name}");
        }
        for name in ["llama-bpe", "llama3", "llama-v3"] {
            assert_eq!(split(name, "ab!!12345a"), "ab !! 123 45 a", "{name}");
            assert_eq!(split(name, "a 12"), "a \u{120} 12", "{name}");
        }
        for name in ["qwen2", "deepseek-r1-qwen"] {
            assert_eq!(split(name, "ab!!12345a"), "ab !! 1 2 3 4 5 a", "{name}");
        }
    }

    #[test]
    fn gguf_vocabularies_that_cannot_be_used_are_refused() {
        let model = |name: &str| ("tokenizer.ggml.model", GgufValue::Text(name.to_owned()));
        let tokens = ("tokenizer.ggml.tokens", texts(&["<unk>", "a"]));
        let pre = ("tokenizer.ggml.pre", GgufValue::Text("gpt-2".into()));
        let kinds = |kinds: &[u64]| ("tokenizer.ggml.token_type", list(kinds.iter().copied().map(GgufValue::Unsigned)));
        let scores = ("tokenizer.ggml.scores", list([0.0, -1.0].map(GgufValue::Float)));
        let merges = ("tokenizer.ggml.merges", texts(&["ab"]));
        let bos = ("tokenizer.ggml.bos_token_id", GgufValue::Unsigned(7));
        let unknown = ("tokenizer.ggml.pre", GgufValue::Text("tekken".into()));
        let cases = [
            (vec![model("gpt2"), pre.clone()], "`tokenizer.ggml.tokens` is absent"),
            (vec![model("t5"), tokens.clone()], "`t5` (gpt2, byte-level BPE, and llama"),
            (vec![model("gpt2"), tokens.clone(), unknown], "`tekken` of the GGUF file (known are gpt-2, phi-2"),
            (vec![model("gpt2"), tokens.clone()], "`tokenizer.ggml.pre` is absent"),
            (vec![model("gpt2"), tokens.clone(), pre.clone(), merges], "a merge is two tokens"),
            (vec![model("llama"), tokens.clone()], "`tokenizer.ggml.scores` is absent"),
            (vec![model("llama"), tokens.clone(), scores.clone()], "as many token types, got 0"),
            (vec![model("llama"), tokens.clone(), scores.clone(), kinds(&[2])], "as many token types, got 1"),
            (vec![model("llama"), tokens.clone(), scores.clone(), kinds(&[2, 6])], "256 byte tokens"),
            (vec![model("llama"), tokens.clone(), scores.clone(), kinds(&[2, 1]), bos], "special token id 7"),
            (vec![model("llama"), ("tokenizer.ggml.tokens", texts(&["a", "a"]))], "of 2 in the GGUF file 1 are"),
        ];
        for (entries, expected) in cases {
            let refused = from_metadata(&entries).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}, expected: {expected}");
        }
        let entries = [model("llama"), tokens, scores, kinds(&[2, 1])];
        let small = from_metadata(&entries).unwrap();
        // Without byte tokens, what is unknown is the unknown token.
        assert_eq!(small.encode("\u{e9}").unwrap(), [0]);
    }
}
