//! BOSE: base models by the perplexity of a filled blank and by light instructions, beside letters and plain questions.
//!
//! A model believes things of subjects, more and more rightly along its training. As a base model it puts letters in the place of
//! options by habit more than by belief, in its own way at every checkpoint, and does not always answer where it is asked; once
//! tuned, letters follow its beliefs. This is assumed; what the library's prompts and measures make of it is not.

use anyhow::Result;
use ascribe::core::{Capabilities, Continuation, CoreError, Policy, Reply, Request, Seed, Usage};
use ascribe::eval::Bootstrap;
use ascribe::eval::bench::{base_instruct_consistency, stability};
use ascribe::eval::protocol::{BlankItem, Example, Question, blank_credits, light_prompt, option_logps, same_answer};
use rand::RngExt;

use crate::heads::{best, mean};
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const FACTS: usize = 200;
const OBJECTS: u32 = 40;
const OPTIONS: usize = 4;
const CHECKPOINTS: u64 = 12;
const MODELS: u64 = 16;
/// How much more likely than others an object of middling ease becomes, in nats.
const KNOWLEDGE: f64 = 4.0;
/// Deviation of the habits of letters, in base models and in tuned ones.
const HABITS: [f64; 2] = [1.5, 0.2];
/// Examples in a light prompt, and how often an example fails to show the form.
const EXAMPLES: usize = 3;
const MISSED: f64 = 0.3;

/// What a prefix begins with: a statement with a blank, or a question with options.
const STATEMENT: u32 = 1000;
const EXAM: u32 = 1001;
/// What stands behind a blank.
const STOP: u32 = 1002;

/// BOSE's claims.
pub const ROW: Row = Row {
    name: "blank-perplexity",
    paper: "Toward Stable and Consistent Evaluation Results: A New Methodology for Base Model Evaluation, arXiv:2503.00812",
    setting: "synthetic models of 200 facts with four options; 12 checkpoints of growing knowledge, whose letters follow habits, \
              and 16 models before and after tuning, which makes letters follow beliefs; Kendall's tau of score and step, and of \
              base scores with the letters of tuned models",
    seeds: 12,
    claims: &[
        Claim {
            says: "choices by the perplexity of a filled blank rise more steadily than choices by letter",
            more: "stability of blanks",
            less: "stability of letters",
        },
        Claim {
            says: "and foretell better what tuned models score",
            more: "consistency of blanks",
            less: "consistency of letters",
        },
        Claim {
            says: "open answers rise more steadily with examples and a light instruction than without",
            more: "stability of light prompts",
            less: "stability of plain questions",
        },
        Claim {
            says: "and foretell better what tuned models score",
            more: "consistency of light prompts",
            less: "consistency of plain questions",
        },
    ],
    tried: "",
    run,
};

/// What goes with a subject.
struct Fact {
    options: Vec<u32>,
    gold: usize,
    /// How early it is learned, around 1.
    ease: f64,
    /// What else speaks for each object.
    usual: Vec<f64>,
}

impl Fact {
    fn drawn(number: u64, seed: Seed) -> Self {
        let mut stream = seed.stream("fact", number);
        let mut options = Vec::with_capacity(OPTIONS);
        while options.len() < OPTIONS {
            let object = stream.random_range(0..OBJECTS);
            if !options.contains(&object) {
                options.push(object);
            }
        }
        let (gold, ease) = (stream.random_range(0..OPTIONS), stream.random_range(0.3..1.7));
        Self { options, gold, ease, usual: (0..OBJECTS).map(|_| normal(&mut stream)).collect() }
    }

    fn answer(&self) -> u32 {
        self.options[self.gold]
    }
}

/// A model, or a checkpoint of one.
struct Model {
    /// Log-probabilities of objects, by fact.
    beliefs: Vec<Vec<f64>>,
    /// How far letters follow beliefs, and the habits beside.
    follows: f64,
    letters: Vec<f64>,
    /// How often it answers where no example shows that it should.
    answers: f64,
    seed: Seed,
}

impl Model {
    fn new(facts: &[Fact], knowledge: f64, is_tuned: bool, seed: Seed) -> Self {
        let mut stream = seed.stream("beliefs", 0);
        let mut beliefs = Vec::with_capacity(facts.len());
        for fact in facts {
            let mut logits: Vec<f64> = fact.usual.iter().map(|usual| usual + 0.3 * normal(&mut stream)).collect();
            logits[fact.answer() as usize] += knowledge * fact.ease;
            beliefs.push(normalised(logits));
        }
        let mut stream = seed.stream("form", u64::from(is_tuned));
        let (follows, answers, habit) = if is_tuned {
            (1.0, 0.95, HABITS[1])
        } else {
            (stream.random_range(0.05..0.4), stream.random_range(0.1..0.6), HABITS[0])
        };
        let letters = (0..OPTIONS).map(|_| habit * normal(&mut stream)).collect();
        Self { beliefs, follows, letters, answers, seed }
    }

    /// What it writes behind a prompt about the subject that is named last.
    fn reply(&self, prompt: &str) -> String {
        let subject = prompt.rsplit_once("subject ").and_then(|(_, rest)| rest.split_once('?'));
        let fact: usize = subject.and_then(|(number, _)| number.parse().ok()).unwrap_or(0);
        let examples = prompt.matches("\nAnswer: ").count() as i32;
        let silent = (1.0 - self.answers) * MISSED.powi(examples);
        if self.seed.stream("reply", fact as u64).random::<f64>() < silent {
            return " Many have asked this.\nQuestion: What else?".to_owned();
        }
        format!(" {}.\nQuestion: What else?", name(best(&self.beliefs[fact]) as u32))
    }
}

impl Policy for Model {
    fn propose(&self, _requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        Err(CoreError::Unsupported { what: "write tokens" })
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        let of = |one: &Continuation| -> Result<Vec<f32>, CoreError> {
            let logps: Vec<f64> = match &one.prefix[..] {
                [STATEMENT, fact] => {
                    let beliefs = &self.beliefs[*fact as usize];
                    // A sentence ends behind its object, whichever it is.
                    one.tokens.iter().map(|token| if *token == STOP { 0.0 } else { beliefs[*token as usize] }).collect()
                }
                [EXAM, fact, options @ ..] => {
                    let beliefs = &self.beliefs[*fact as usize];
                    let logit = |(option, habit): (&u32, &f64)| self.follows * beliefs[*option as usize] + habit;
                    let letters = normalised(options.iter().zip(&self.letters).map(logit).collect());
                    one.tokens.iter().map(|letter| letters[*letter as usize]).collect()
                }
                _ => return Err(CoreError::Unsupported { what: "score other prefixes than statements and exams" }),
            };
            Ok(logps.into_iter().map(|logp| logp as f32).collect())
        };
        Ok((continuations.iter().map(of).collect::<Result<_, _>>()?, Usage::default()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: true, top: false, context: usize::MAX }
    }
}

/// Logits as log-probabilities.
fn normalised(logits: Vec<f64>) -> Vec<f64> {
    let all = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    logits.into_iter().map(|logit| logit - all).collect()
}

fn name(object: u32) -> String {
    format!("object {object}")
}

fn question(subject: usize) -> String {
    format!("What goes with subject {subject}?")
}

/// The ways to ask, by their names in the figures.
const WAYS: [&str; 4] = ["blanks", "letters", "light prompts", "plain questions"];

/// The accuracy of a model by each way to ask.
fn scores(model: &Model, facts: &[Fact]) -> Result<[f64; WAYS.len()]> {
    let item = |(number, fact): (u32, &Fact)| BlankItem {
        before: vec![STATEMENT, number].into(),
        candidates: fact.options.iter().map(|object| vec![*object].into()).collect(),
        following: vec![STOP].into(),
        gold: fact.gold,
    };
    let items: Vec<BlankItem> = (0..).zip(facts).map(item).collect();
    let exam = |(number, fact): (u32, &Fact)| Question {
        prefix: [&[EXAM, number][..], &fact.options].concat().into(),
        options: (0..OPTIONS as u32).map(|letter| vec![letter].into()).collect(),
    };
    let exams: Vec<Question> = (0..).zip(facts).map(exam).collect();
    let share = |right: &dyn Fn(usize, &Fact) -> bool| {
        facts.iter().enumerate().filter(|(number, fact)| right(*number, fact)).count() as f64 / facts.len() as f64
    };
    let letters = option_logps(model, &exams)?;
    let by_letter = share(&|number, fact| {
        let logps: Vec<f64> = letters[number].iter().map(|tokens| tokens.iter().sum()).collect();
        best(&logps) == fact.gold
    });
    // The examples are of the other facts that come next.
    let example = |number: usize| Example {
        question: question(number % facts.len()),
        answer: name(facts[number % facts.len()].answer()),
    };
    let light = share(&|number, fact| {
        let examples: Vec<Example> = (1..=EXAMPLES).map(|more| example(number + more)).collect();
        let prompt = light_prompt("Name one object.", &examples, &question(number));
        same_answer(&model.reply(&prompt), &name(fact.answer()))
    });
    let plain = share(&|number, fact| same_answer(&model.reply(&question(number)), &name(fact.answer())));
    Ok([mean(&blank_credits(model, &items)?), by_letter, light, plain])
}

fn run(seed: Seed) -> Result<Figures> {
    let facts: Vec<Fact> = (0..FACTS as u64).map(|number| Fact::drawn(number, seed)).collect();
    let mut figures = Figures::new();
    let (mut steps, mut along) = (Vec::new(), Vec::new());
    for step in 1..=CHECKPOINTS {
        let part = step as f64 / CHECKPOINTS as f64;
        steps.push(part);
        along.push(scores(&Model::new(&facts, KNOWLEDGE * part, false, seed.child("checkpoint", step)), &facts)?);
    }
    let (mut base, mut tuned) = (Vec::new(), Vec::new());
    for number in 0..MODELS {
        let own = seed.child("model", number);
        let knowledge = KNOWLEDGE * own.stream("knowledge", 0).random_range(0.1..1.0);
        base.push(scores(&Model::new(&facts, knowledge, false, own), &facts)?);
        let [_, letters, ..] = scores(&Model::new(&facts, knowledge, true, own), &facts)?;
        tuned.push(letters);
    }
    for (at, way) in WAYS.into_iter().enumerate() {
        let column = |rows: &[[f64; WAYS.len()]]| -> Vec<f64> { rows.iter().map(|row| row[at]).collect() };
        let (rising, foretold) = (column(&along), column(&base));
        figures.push((format!("stability of {way}"), stability(&steps, &rising, &Bootstrap::NONE)?.value));
        let tau = base_instruct_consistency(&foretold, &tuned, &Bootstrap::NONE)?;
        figures.push((format!("consistency of {way}"), tau.value));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Vec<Fact> {
        (0..20).map(|number| Fact::drawn(number, Seed(0))).collect()
    }

    #[test]
    fn who_knows_all_is_right_where_it_answers() {
        let facts = facts();
        let model = Model { answers: 1.0, ..Model::new(&facts, 100.0, true, Seed(1)) };
        assert_eq!(scores(&model, &facts).unwrap(), [1.0; WAYS.len()]);
        let silent = Model { answers: 0.0, ..model };
        assert_eq!(scores(&silent, &facts).unwrap()[3], 0.0);
    }

    #[test]
    fn letters_of_pure_habit_are_all_the_same() {
        let facts = facts();
        let habit =
            Model { follows: 0.0, letters: vec![0.0, 1.0, 0.0, 0.0], ..Model::new(&facts, 100.0, false, Seed(1)) };
        let second = facts.iter().filter(|fact| fact.gold == 1).count() as f64 / facts.len() as f64;
        let [blanks, letters, ..] = scores(&habit, &facts).unwrap();
        assert_eq!((blanks, letters), (1.0, second));
    }
}
