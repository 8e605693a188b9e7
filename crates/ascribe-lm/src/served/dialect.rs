//! What servers of one family understand beyond the API that all share: the names of options, and which they heed.
//!
//! A server leaves out what it does not know without a word, so an option that its family has no name for is refused here.
//! All that a server may have set for itself (llama.cpp's command line, vLLM's `generation_config.json`) is sent with the
//! value that changes nothing.

use ascribe_core::{CoreError, Mode, Sampling};
use serde_json::{Map, Value, json};

/// A family of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// llama.cpp's server: token ids both ways through `/completion`; samplers in the order of transformers.
    LlamaCpp,
    /// vLLM: token ids both ways through `/v1/completions`.
    Vllm,
    /// What OpenAI's API has, and nothing more.
    OpenAi,
}

/// The samplers of [`Sampling`] by llama.cpp's names, in the order in which they act.
const SAMPLERS: [&str; 6] = ["penalties", "temperature", "top_k", "top_p", "min_p", "typ_p"];

impl Dialect {
    /// The family of a server that says that its models are owned by `owner`.
    pub(super) fn of(owner: &str) -> Self {
        match owner {
            "llamacpp" => Self::LlamaCpp,
            "vllm" => Self::Vllm,
            _ => Self::OpenAi,
        }
    }

    /// `mode` as the fields of a request. `context` is how far a repetition penalty looks back: over everything.
    ///
    /// # Errors
    /// [`CoreError::Unsupported`] for an option that the family has no name for.
    pub(super) fn sampling(self, mode: Mode, context: usize) -> Result<Map<String, Value>, CoreError> {
        let (sampling, temperature) = match mode {
            Mode::Sample(sampling) => (sampling, sampling.temperature),
            Mode::Greedy | Mode::Top => (Sampling::default(), 0.0),
        };
        let Sampling { top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, repetition_penalty, .. } = sampling;
        if epsilon_cutoff.is_some() || eta_cutoff.is_some() {
            return unsupported("cut tokens off by epsilon or eta: no server does");
        }
        if sampling.no_repeat_ngram_size.is_some() {
            return unsupported("forbid n-grams that were written: no server does");
        }
        if typical_p.is_some() && self != Self::LlamaCpp {
            return unsupported("cut tokens off by typical_p: only llama.cpp's server does");
        }
        if self == Self::OpenAi && (top_k.is_some() || min_p.is_some() || repetition_penalty.is_some()) {
            return unsupported("sample with top_k, min_p or a repetition penalty: OpenAI's API has none of them");
        }
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("temperature", json!(temperature));
        set("top_p", json!(top_p));
        match self {
            Self::OpenAi => {}
            Self::LlamaCpp => {
                set("samplers", json!(SAMPLERS));
                set("top_k", json!(top_k.unwrap_or(0)));
                set("min_p", json!(min_p.unwrap_or(0.0)));
                set("typical_p", json!(typical_p.unwrap_or(1.0)));
                set("repeat_penalty", json!(repetition_penalty.unwrap_or(1.0)));
                set("repeat_last_n", json!(if repetition_penalty.is_some() { context } else { 0 }));
                set("presence_penalty", json!(0.0));
                set("frequency_penalty", json!(0.0));
                set("dynatemp_range", json!(0.0));
                set("mirostat", json!(0));
            }
            Self::Vllm => {
                set("top_k", top_k.map_or(json!(-1), |top_k| json!(top_k)));
                set("min_p", json!(min_p.unwrap_or(0.0)));
                set("repetition_penalty", json!(repetition_penalty.unwrap_or(1.0)));
                set("presence_penalty", json!(0.0));
                set("frequency_penalty", json!(0.0));
            }
        }
        Ok(fields)
    }
}

fn unsupported<T>(what: &'static str) -> Result<T, CoreError> {
    Err(CoreError::Unsupported { what })
}

/// Whether `mode` draws from the model's own distribution, nothing changed and nothing cut off.
pub(super) fn is_plain(mode: Mode) -> bool {
    mode == Mode::Sample(Sampling::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::LlamaCpp, Dialect::Vllm, Dialect::OpenAi];

    #[test]
    fn what_a_family_has_no_name_for_is_refused() {
        let plain = Sampling::default();
        let heeds = |sampling: Sampling| ALL.map(|family| family.sampling(Mode::Sample(sampling), 64).is_ok());
        assert_eq!(heeds(Sampling { temperature: 0.7, top_p: 0.9, ..plain }), [true, true, true]);
        assert_eq!(heeds(Sampling { top_k: Some(5), ..plain }), [true, true, false]);
        assert_eq!(heeds(Sampling { min_p: Some(0.1), ..plain }), [true, true, false]);
        assert_eq!(heeds(Sampling { repetition_penalty: Some(1.1), ..plain }), [true, true, false]);
        assert_eq!(heeds(Sampling { typical_p: Some(0.9), ..plain }), [true, false, false]);
        assert_eq!(heeds(Sampling { epsilon_cutoff: Some(0.1), ..plain }), [false; 3]);
        assert_eq!(heeds(Sampling { eta_cutoff: Some(0.1), ..plain }), [false; 3]);
        assert_eq!(heeds(Sampling { no_repeat_ngram_size: Some(2), ..plain }), [false; 3]);
    }

    #[test]
    fn greedy_decoding_has_temperature_0_and_nothing_else() {
        for family in ALL {
            for mode in [Mode::Greedy, Mode::Top] {
                let fields = family.sampling(mode, 64).unwrap();
                assert_eq!((&fields["temperature"], &fields["top_p"]), (&json!(0.0), &json!(1.0)), "{family:?}");
            }
        }
        let fields = Dialect::LlamaCpp.sampling(Mode::Greedy, 64).unwrap();
        assert_eq!((&fields["top_k"], &fields["repeat_last_n"]), (&json!(0), &json!(0)));
        assert_eq!(Dialect::Vllm.sampling(Mode::Greedy, 64).unwrap()["top_k"], json!(-1));
    }

    #[test]
    fn a_penalty_looks_back_over_the_whole_context() {
        let mode = Mode::Sample(Sampling { repetition_penalty: Some(1.25), ..Sampling::default() });
        let fields = Dialect::LlamaCpp.sampling(mode, 64).unwrap();
        assert_eq!((&fields["repeat_penalty"], &fields["repeat_last_n"]), (&json!(1.25), &json!(64)));
        assert!(is_plain(Mode::Sample(Sampling::default())) && !is_plain(mode) && !is_plain(Mode::Greedy));
    }

    #[test]
    fn families_are_told_by_the_owner() {
        let told = ["llamacpp", "vllm", "system", ""].map(Dialect::of);
        assert_eq!(told, [Dialect::LlamaCpp, Dialect::Vllm, Dialect::OpenAi, Dialect::OpenAi]);
    }
}
