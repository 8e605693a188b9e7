//! Text of episodes, and a policy that is spoken to in text.

use ascribe_core::{CoreError, Episode, Mode, Policy, Request, Seed, Tokens, Until};

use crate::RewardError;

/// Text to token ids; whoever has the tokenizer and the chat template gives it.
pub type Encode<'a> = dyn Fn(&str) -> Result<Tokens, CoreError> + Send + Sync + 'a;

/// Token ids to text, without special tokens.
pub type Decode<'a> = dyn Fn(&[u32]) -> Result<String, CoreError> + Send + Sync + 'a;

/// A policy that is asked in text and answers in text.
#[derive(Clone, Copy)]
pub struct TextPolicy<'a> {
    /// What writes.
    pub policy: &'a dyn Policy,
    /// Text to token ids.
    pub encode: &'a Encode<'a>,
    /// Token ids to text.
    pub decode: &'a Decode<'a>,
    /// Most tokens of an answer.
    pub max_new: usize,
}

impl TextPolicy<'_> {
    /// The greedy answer to each prompt.
    ///
    /// # Errors
    /// When a prompt cannot be encoded, the policy fails, or an answer cannot be decoded.
    pub fn answer(&self, prompts: &[String]) -> Result<Vec<String>, CoreError> {
        let request = |prompt: &String| -> Result<Request, CoreError> {
            let prefix = (self.encode)(prompt)?;
            let (mode, seed) = (Mode::Greedy, Seed(0));
            Ok(Request { prefix, n: 1, until: Until::End, mode, max_new: self.max_new, seed })
        };
        let requests = prompts.iter().map(request).collect::<Result<Vec<_>, _>>()?;
        let replies = self.policy.propose(&requests)?;
        let text = |reply: &ascribe_core::Reply| match reply.candidates.first() {
            Some(candidate) => (self.decode)(&candidate.tokens),
            None => Ok(String::new()),
        };
        replies.iter().map(text).collect()
    }
}

/// Text of prompt and response.
pub(crate) fn parts(episode: &Episode) -> Result<(&str, &str), RewardError> {
    let text = episode.text.as_ref().ok_or(RewardError::NoText)?;
    let response = episode.response_text().ok_or(RewardError::NoText)?;
    Ok((&text.text[..text.text.len() - response.len()], response))
}

/// Words and runs of punctuation, as NLTK's `wordpunct_tokenize` has them: `\w+|[^\w\s]+`.
pub(crate) fn word_punct(text: &str) -> Vec<&str> {
    /// What a character belongs to; `None` is white space.
    fn kind(letter: char) -> Option<bool> {
        (!letter.is_whitespace()).then(|| letter.is_alphanumeric() || letter == '_')
    }
    let mut words = Vec::new();
    let mut open: Option<(usize, bool)> = None;
    for (at, letter) in text.char_indices() {
        match (open, kind(letter)) {
            (Some((_, word)), Some(next)) if word == next => {}
            (before, next) => {
                words.extend(before.map(|(start, _)| &text[start..at]));
                open = next.map(|word| (at, word));
            }
        }
    }
    words.extend(open.map(|(start, _)| &text[start..]));
    words
}

#[cfg(test)]
pub(crate) mod tests {
    use ascribe_core::{Candidate, Capabilities, Continuation, Finish, Reply, Text, Usage};

    use super::*;

    /// An episode with a token a byte.
    pub(crate) fn episode(prompt: &str, response: &str) -> Episode {
        let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
        let text = format!("{prompt}{response}");
        let spans = (0..text.len()).map(|at| at..at + 1).collect();
        Episode::new(&ids(prompt), &ids(response)).with_text(Text { text, spans }).unwrap()
    }

    pub(crate) fn encode(text: &str) -> Result<Tokens, CoreError> {
        Ok(text.bytes().map(u32::from).collect())
    }

    pub(crate) fn decode(ids: &[u32]) -> Result<String, CoreError> {
        Ok(ids.iter().map(|id| char::from(*id as u8)).collect())
    }

    /// A policy of bytes whose answers and log-probabilities are functions of the text before.
    pub(crate) struct Scripted<A, L> {
        pub(crate) answer: A,
        pub(crate) logp: L,
    }

    impl<A, L> Policy for Scripted<A, L>
    where
        A: Fn(&str) -> String + Send + Sync,
        L: Fn(&str, &str) -> f32 + Send + Sync,
    {
        fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
            let reply = |request: &Request| -> Result<Reply, CoreError> {
                let tokens = encode(&(self.answer)(&decode(&request.prefix)?))?;
                let logps = vec![0.0; tokens.len()];
                let candidates = vec![Candidate { tokens, logps, finish: Finish::End }];
                Ok(Reply { candidates, usage: Usage::default() })
            };
            requests.iter().map(reply).collect()
        }

        fn score(&self, given: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
            // The whole log-probability lies on the first token.
            let one = |given: &Continuation| -> Result<Vec<f32>, CoreError> {
                let mut logps = vec![0.0; given.tokens.len()];
                logps[0] = (self.logp)(&decode(&given.prefix)?, &decode(&given.tokens)?);
                Ok(logps)
            };
            Ok((given.iter().map(one).collect::<Result<_, _>>()?, Usage::default()))
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities { score: true, top: false, context: usize::MAX }
        }
    }

    #[test]
    fn words_and_punctuation_stand_apart() {
        assert_eq!(
            word_punct("It's 3.5%, isn't it?\n"),
            ["It", "'", "s", "3", ".", "5", "%,", "isn", "'", "t", "it", "?"]
        );
        assert_eq!(word_punct("über_all"), ["über_all"]);
        assert!(word_punct(" \n").is_empty());
    }

    #[test]
    fn answers_come_back_in_their_places() {
        let policy = Scripted { answer: |text: &str| text.to_uppercase(), logp: |_: &str, _: &str| 0.0_f32 };
        let spoken = TextPolicy { policy: &policy, encode: &encode, decode: &decode, max_new: 5 };
        assert_eq!(spoken.answer(&["a".into(), "bc".into()]).unwrap(), ["A", "BC"]);
        assert_eq!(parts(&episode("Q? ", "A.")).unwrap(), ("Q? ", "A."));
        assert!(matches!(parts(&Episode::new(&[1], &[2])), Err(RewardError::NoText)));
    }
}
