//! The reward `chain`: chain arithmetic, whose problem stands in the prompt and whose steps are checked.

use ascribe::core::{CoreError, Credit, Episode, Scorer};
use ascribe::data::Record;
use ascribe::preference::PreferenceError;
use ascribe::preference::rl::PromptRow;
use ascribe::worlds::Problem;

/// 1 for a solution that ends at the right answer, else 0, paid where the response ends.
struct ChainReward;

/// The last problem in a text, such as `((3+5)*2-4)%10`.
fn problem(text: &str) -> Option<Problem> {
    const END: &str = ")%10";
    let end = text.rfind(END)? + END.len();
    let before = text[..end].char_indices().rev();
    let part = before.take_while(|(_, letter)| "0123456789+-*()%".contains(*letter));
    let begin = part.last().map_or(end, |(at, _)| at);
    Problem::parse(&text[begin..end]).ok()
}

/// The reward for prompts, each of which must hold a problem.
pub fn chain(rows: &[PromptRow]) -> Result<Box<dyn Scorer>, PreferenceError> {
    let without = rows.iter().find(|(_, row)| problem(&row.words()).is_none());
    match without {
        Some((_, row)) => Err(CoreError::Shape {
            rule: "the reward `chain` needs prompts with a problem such as `((3+5)*2-4)%10`",
            got: format!("another one in line {}", row.line),
        }
        .into()),
        None => Ok(Box::new(ChainReward)),
    }
}

impl Scorer for ChainReward {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| {
            let text = episode.text.as_ref().ok_or(CoreError::MissingEvidence("text"))?;
            let response = episode.response_text().unwrap_or_default();
            let asked = text.text.strip_suffix(response).unwrap_or(&text.text);
            // What no problem can be read from is judged by nobody.
            let score = problem(asked).map_or(f32::NAN, |problem| f32::from(u8::from(problem.check(response).correct)));
            Ok(Credit::sequence(score))
        };
        episodes.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::Text;

    use super::*;

    fn score(prompt: &str, response: &str) -> f32 {
        let (n, all) = (prompt.len(), format!("{prompt}{response}"));
        let text = Text { spans: (0..all.len()).map(|at| at..at + 1).collect(), text: all };
        let episode = Episode::new(&vec![1; n], &vec![1; response.len()]).with_text(text).unwrap();
        ChainReward.score(&[episode]).unwrap()[0].values()[0]
    }

    #[test]
    fn solutions_are_checked() {
        assert_eq!(score("((3+5)*2-4)%10=", "3+5=8;8*2=6;6-4=2;"), 1.0);
        assert_eq!(score("((3+5)*2-4)%10=", "3+5=8;8*2=6;6-4=3;"), 0.0);
        assert_eq!(score("solve (2-5)%10=", "2-5=7;"), 1.0);
        assert_eq!(score("(1+1)%10=2; user: (2-5)%10 assistant: ", "2-5=7;"), 1.0);
        assert!(score("nothing=", "2-5=7;").is_nan());
    }
}
