//! Credit in one vocabulary: the same judgement by step, by token and for the whole response.
//!
//! `cargo run -p ascribe-examples --bin 01_credit`

use anyhow::Result;
use ascribe::core::{Credit, Episode, Place, Reduce, Scorer, rule};
use ascribe::worlds::{Problem, Verdict};

/// A solution of `((3+5)*2-4)%10`, one character a token; its second step is wrong.
const PROBLEM: &str = "((3+5)*2-4)%10";
const SOLUTION: &str = "3+5=8;8*2=0;0-4=6;";

/// The solution as an episode with its steps, and what the checker says of each step.
fn judged() -> Result<(Episode, Credit)> {
    let check = Problem::parse(PROBLEM)?.check(SOLUTION);
    let ids = |text: &str| text.bytes().map(u32::from).collect::<Vec<_>>();
    let prompt = ids(PROBLEM);
    let spans = check.steps.iter().map(|step| prompt.len() + step.span.start..prompt.len() + step.span.end);
    let episode = Episode::new(&prompt, &ids(SOLUTION)).with_steps(spans.collect())?;
    let verdict = |right: bool| if right { 1.0 } else { -1.0 };
    let steps = check.steps.iter().map(|step| verdict(step.verdict == Verdict::Right));
    Ok((episode, Credit::steps(steps.collect())))
}

fn main() -> Result<()> {
    let (episode, by_step) = judged()?;
    println!("{PROBLEM}  {SOLUTION}\nby step: {:?}", by_step.values());

    // Down to tokens: paid where the step ends, or in equal parts.
    for place in [Place::LastToken, Place::Spread] {
        let by_token = by_step.to_tokens(&episode, place)?;
        println!("by token, {place:?}: {:.2?}", &by_token[episode.prompt_len()..]);
    }

    // Up to the response: a chain is as good as its worst step.
    println!("of the response, least step: {}", by_step.to_sequence(&episode, Reduce::Min)?);

    // Anything that gives credit is a scorer, and a closure is one: shorter is better.
    let brevity = rule(|episode: &Episode| -(episode.response_tokens().len() as f32));
    println!("of the response, by a rule of one's own: {:?}", brevity.score(&[episode])?[0].values());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs() {
        main().unwrap();
    }

    #[test]
    fn the_wrong_step_has_the_least_credit() {
        let (episode, credit) = judged().unwrap();
        // 8*2 is 16, so the second step is wrong; 0-4 is 6 modulo 10, so the third follows from what was written.
        assert_eq!(credit.values(), [1.0, -1.0, 1.0]);
        let tokens = credit.to_tokens(&episode, Place::LastToken).unwrap();
        assert_eq!(tokens[PROBLEM.len() + 11], -1.0);
        assert_eq!(Credit::tokens(tokens).to_sequence(&episode, Reduce::Sum).unwrap(), 1.0);
    }
}
