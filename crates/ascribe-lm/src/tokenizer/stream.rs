//! Text as its tokens come.

use tokenizers::DecoderWrapper;

use super::{SpecialTokens, Tokenizer};
use crate::LmError;

/// Turns tokens into text one by one. What [`push`](Self::push) and [`finish`](Self::finish) give, joined, is what
/// [`Tokenizer::decode`] gives for all the tokens, and no piece ends within a character.
///
/// A piece is held back while the next token could change it: after the first bytes of a character, and, in vocabularies
/// with byte tokens, until a token of another kind ends a run of them. Decoders of other kinds than those of byte-level and
/// SentencePiece vocabularies may change text at any distance; with those, all text comes from `finish`.
#[derive(Clone, Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    special: SpecialTokens,
    /// Tokens whose text was given last, then those whose text is held back.
    ids: Vec<u32>,
    given: usize,
    decoder: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The text of two runs of tokens is the text of the one, then of the other, unless a character is cut.
    Bytes,
    /// The same, but a run of byte tokens is read as a whole.
    ByteTokens,
    /// Nothing is known.
    Whole,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, special: SpecialTokens) -> Self {
        let decoder = kind(tokenizer.inner.get_decoder());
        Self { tokenizer, special, ids: Vec::new(), given: 0, decoder }
    }

    /// The text that is certain with this token, if any.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>, LmError> {
        let Some(token) = self.tokenizer.token_text(id) else { return Ok(None) };
        let vocabulary = self.tokenizer.inner.get_added_vocabulary();
        if self.special == SpecialTokens::Skip && vocabulary.is_special_token(&token) {
            return Ok(None);
        }
        self.ids.push(id);
        let held = match self.decoder {
            Kind::Bytes => false,
            Kind::ByteTokens => token.len() == 6 && token.starts_with("<0x") && token.ends_with('>'),
            Kind::Whole => true,
        };
        if held {
            return Ok(None);
        }
        let text = self.new_text()?;
        // What ends in a replacement character may be the beginning of a character.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.ids.drain(..self.given);
        self.given = self.ids.len();
        Ok(Some(text))
    }

    /// The text that was held back.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, LmError> {
        self.new_text()
    }

    /// The text of what was held back, read after the tokens before it: the first token of a text may lose its space.
    fn new_text(&self) -> Result<String, LmError> {
        let before = self.tokenizer.decode(&self.ids[..self.given], self.special)?;
        let all = self.tokenizer.decode(&self.ids, self.special)?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}

fn kind(decoder: Option<&DecoderWrapper>) -> Kind {
    match decoder {
        Some(DecoderWrapper::ByteLevel(_) | DecoderWrapper::Fuse(_) | DecoderWrapper::Metaspace(_)) => Kind::Bytes,
        Some(DecoderWrapper::ByteFallback(_)) => Kind::ByteTokens,
        Some(DecoderWrapper::Sequence(sequence)) => {
            let parts = sequence.get_decoders();
            let bytes = parts.iter().any(|part| matches!(part, DecoderWrapper::ByteFallback(_)));
            let known = parts.iter().all(|part| match part {
                // They see one token at a time, or cut the beginning of the whole.
                DecoderWrapper::Replace(_) => true,
                DecoderWrapper::Strip(strip) => strip.stop == 0,
                other => kind(Some(other)) != Kind::Whole,
            });
            match (known, bytes) {
                (false, _) => Kind::Whole,
                (true, true) => Kind::ByteTokens,
                (true, false) => Kind::Bytes,
            }
        }
        _ => Kind::Whole,
    }
}
