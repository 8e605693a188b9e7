//! The reward `relevance`: R^3, regularised relevance (arXiv:2402.03469), without a model. A row with the column `reference` wants
//! an answer like that one; other rows want an answer that is relevant, long and does not repeat itself. Relevance is the cosine of
//! character 3-grams, brought to the scale of the paper's embeddings.

use ascribe::core::{CoreError, Episode, Scorer, Text};
use ascribe::data::{PromptOnly, Record};
use ascribe::preference::PreferenceError;
use ascribe::preference::rl::{PromptRow, of_text};
use ascribe::reward::{NGrams, QueryKind, RelevanceOptions, RelevanceReward};

/// 3-grams, on the scale of the embeddings of the paper.
const GRAMS: NGrams = NGrams { n: 3, scale: 3.5 };

/// The reward for prompts.
pub fn relevance(rows: &[PromptRow]) -> Result<Box<dyn Scorer>, PreferenceError> {
    // With these options nothing goes wrong; a NaN would be an error that names the row.
    Ok(Box::new(of_text(rows, |row, response| reward(row, response).unwrap_or(f32::NAN))?))
}

fn reward(row: &PromptOnly, response: &str) -> Result<f32, CoreError> {
    let reference = row.others.get("reference").and_then(|reference| reference.as_str());
    let kind = reference.map_or(QueryKind::Open, |text| QueryKind::Constrained { reference: text.to_owned() });
    let query = row.words();
    let (asked, text) = (query.len(), format!("{query}{response}"));
    let spans = vec![0..asked, asked..text.len()];
    let episode = Episode::new(&[0], &[0]).with_text(Text { text, spans })?;
    let scorer = RelevanceReward::new(&GRAMS, |_: &Episode| kind.clone(), RelevanceOptions::default())?;
    let credits = scorer.score(std::slice::from_ref(&episode))?;
    Ok(credits.first().and_then(|credit| credit.values().first().copied()).unwrap_or(f32::NAN))
}

#[cfg(test)]
mod tests {
    use ascribe::core::Tokens;
    use ascribe::data::Prompt;
    use serde_json::{Map, json};

    use super::*;

    fn score(prompt: &str, reference: Option<&str>, response: &str) -> f64 {
        let mut others = Map::new();
        others.extend(reference.map(|reference| ("reference".to_owned(), json!(reference))));
        let row = PromptOnly { prompt: Prompt::Text(prompt.to_owned()), others, line: 1 };
        let (tokens, n) = (Tokens::from(vec![7u32]), prompt.len());
        let scorer = relevance(&[(tokens, row)]).unwrap();
        let text = format!("{prompt}{response}");
        let text = Text { spans: vec![0..n, n..text.len()], text };
        let episode = Episode::new(&[7], &[9]).with_text(text).unwrap();
        f64::from(scorer.score(&[episode]).unwrap()[0].values()[0])
    }

    #[test]
    fn rewards_by_hand() {
        // Four words, all 3-grams of words different, the query itself: 4 / 100 * 3.5.
        assert!((score("one two three four", None, "one two three four") - 0.14).abs() < 1e-6);
        // The same word four times: one of two 3-grams is left.
        assert!((score("ha ha ha ha", None, "ha ha ha ha") - 0.07).abs() < 1e-6);
        assert_eq!(score("one two", None, "xyz xyz"), 0.0, "nothing in common");
        assert_eq!(score("one two", None, " "), 0.0, "nothing said");
        // The reference itself is worth all of 512 tokens, whatever the prompt.
        assert!((score("xyz", Some("one two"), "one two") - 5.12).abs() < 1e-6);
        assert_eq!(score("one two", Some("xyz"), "one two"), 0.0);
    }
}
