//! Beam search over a model against transformers: `search/beam_search.json` (see `golden/README.md`).

use ascribe_core::{Finish, Seed, Tokens};
use ascribe_lm::{Decoder, DecoderConfig, LocalPolicy, Safetensors};
use ascribe_search::{Beam, EarlyStopping, Search, SearchCtx};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{Case, close, open, root};

fn early_stopping(case: &Case) -> EarlyStopping {
    match (case.json().as_bool(), case.json().as_str()) {
        (Some(false), _) => EarlyStopping::WhenAhead,
        (Some(true), _) => EarlyStopping::WhenFull,
        (None, Some("never")) => EarlyStopping::Never,
        _ => panic!("{case} is no early stopping"),
    }
}

fn ids(case: &Case) -> Vec<u32> {
    case.integers().into_iter().map(|id| id as u32).collect()
}

#[test]
fn golden_beam_search() {
    let file = open("search/beam_search.json");
    let folder = root().join(file.get("model").text());
    let config = DecoderConfig::from_json(&folder.join("config.json")).expect("the config is known");
    let mut weights = Safetensors::open(&folder).expect("the weights can be read");
    let decoder = Decoder::load(&config, &mut weights, &device()).expect("the weights fit");
    for case in file.get("cases").items() {
        let number = |key: &str| case.get(key).number() as usize;
        let end = case.opt("eos_token_id").map(|id| id.number() as u32);
        let policy = LocalPolicy::new(&decoder, end.as_slice(), config.context).expect("finite weights");
        let beam = Beam {
            beams: number("num_beams"),
            length_penalty: case.get("length_penalty").number(),
            early_stopping: early_stopping(&case.get("early_stopping")),
            returned: number("num_return_sequences"),
        };
        let prompt = Tokens::from(ids(&case.get("prompt")));
        let mut ctx = SearchCtx::new(&policy, number("max_new_tokens"), Seed(0));
        let found = beam.search(&[prompt], &mut ctx).expect("the prompt fits").remove(0);
        let expected: Vec<Vec<u32>> = case.get("new_tokens").items().iter().map(ids).collect();
        assert_eq!(found.candidates.len(), expected.len(), "{case}");
        for (candidate, mut expected) in found.candidates.iter().zip(expected) {
            // Texts that ended are padded to the longest.
            if let Some(at) = expected.iter().position(|id| Some(*id) == end) {
                expected.truncate(at + 1);
            }
            assert_eq!(candidate.tokens[..], expected[..], "{case}");
            let ended = end.is_some() && candidate.tokens.last().copied() == end;
            assert_eq!(candidate.finish == Finish::End, ended, "{case}");
        }
        // Greedy decoding gives no scores.
        if let Some(scores) = case.opt("sequences_scores") {
            let got: Vec<f64> = found.scores.iter().flatten().map(|score| f64::from(*score)).collect();
            close(&format!("{case}"), &got, &scores.numbers(), 1e-4);
        }
    }
}
