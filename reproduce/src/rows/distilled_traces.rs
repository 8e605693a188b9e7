//! Specializing smaller models: a student learns the steps that a teacher writes, or its answers alone, from texts or from the
//! teacher's distributions.
//!
//! ```text
//! texts           -log pi(y)
//! distributions   KL(q || pi),   q the teacher's own at the same place
//! logit of a result = that of the start + change[question] + change[operands]
//! ```
//! The student sees one operator and two operands at a time: those of the step that it writes, or, where it is to answer at once, the
//! last operator and operand and the first number. What it learns of operands holds for all operators, so a skill that is not
//! taught can be lost.

use anyhow::{Context, Result};
use ascribe::core::tensor::{Mask, generalized_jsd};
use ascribe::core::{CoreError, LogpBatch, Loss, Objective, RowKind, Seed};
use ascribe::data::{Prompt, PromptCompletion, Trace, TraceFormat};
use ascribe::preference::objectives::Sft;
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::Operator;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};

use crate::chain::{Chains, Solver, asked};
use crate::heads::best;
use crate::row::{Claim, Figures, Row};
use crate::step_policy::StepPolicy;
use crate::step_table::{fitted, number};
use crate::tabular::indices;

const STEPS: usize = 4;
static TEACHER: Solver = Solver { hard: 0.3, easy: 0.1, steps: STEPS };
static STUDENT: Solver = Solver { hard: 0.6, easy: 0.4, steps: STEPS };
const TRAINED: usize = 60;
const TESTS: usize = 300;
/// One chain in five has no multiplication, so so many are drawn for each that is kept.
const DRAWN: usize = 12;
const PASSES: f64 = 10.0;
/// Passes of the trainings to choose among, and how much worse than the best on as many held-out chains a shorter one may be.
const LENGTHS: [f64; 5] = [1.0, 2.0, 3.0, 5.0, PASSES];
const HELD_OUT: usize = 100;
const SLACK: f64 = 0.02;
const QUESTIONS: usize = 300;
const OPERANDS: usize = 100;
const RESULTS: usize = 10;

/// The claims on specialised students.
pub const ROW: Row = Row {
    name: "distilled-traces",
    paper: "Specializing Smaller Language Models towards Multi-Step Reasoning, arXiv:2301.12726",
    setting: "chains of 4 additions and subtractions; a teacher whose hard steps go wrong with probability 0.3 and easy ones with \
              0.1, a student that begins with 0.6 and 0.4; one trace of the teacher on each of 60 problems, written as chains of \
              thought or as answers only; 10 passes, and for answers 40, so that all make about as many steps; of trainings on \
              distributions of 1 to 10 passes the shortest that is within 0.02 of the best on 100 held-out chains; the likeliest \
              result everywhere, on 300 other problems, and on all 30 multiplications, which nobody taught",
    seeds: 12,
    claims: &[
        Claim { says: "chains of thought make the student better", more: "chain of thought", less: "start" },
        Claim { says: "answers alone do not teach it as much", more: "chain of thought", less: "answer only" },
        Claim {
            says: "the teacher's distributions teach more than its texts",
            more: "distributions",
            less: "chain of thought",
        },
        Claim {
            says: "what is not taught is paid for it",
            more: "multiplications at the start",
            less: "multiplications after",
        },
        Claim {
            says: "a training whose length is chosen on held-out chains loses less of it than the longest",
            more: "multiplications, chosen length",
            less: "multiplications, distributions",
        },
    ],
    tried: "",
    run,
};

/// A question and the result that a teacher writes there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lesson {
    question: usize,
    result: usize,
}

fn run(seed: Seed) -> Result<Figures> {
    let of_sums = |n: usize, name: &str| -> Result<Chains> {
        let chains = Chains::draw(DRAWN * n, STEPS, seed.child(name, 0))?;
        Ok(chains
            .filtered(n, |problem| problem.operations().iter().all(|(operator, _)| *operator != Operator::Multiply)))
    };
    let (chains, tests) = (of_sums(TRAINED, "training")?, of_sums(TESTS, "tests")?);
    let (teacher, start) = (StepPolicy::of(&TEACHER), StepPolicy::of(&STUDENT));
    let lessons = |format: TraceFormat| -> Result<Vec<Lesson>> {
        let mut lessons = Vec::new();
        for text in teacher.texts(&chains.prompts, 1, seed.child("traces", 0)) {
            lessons.extend(read(&format.row(&trace(&text.prompt, &text.response), &[])?)?);
        }
        Ok(lessons)
    };
    let (chain, answer) = (lessons(TraceFormat::ChainOfThought)?, lessons(TraceFormat::AnswerOnly)?);
    let texts = Student { start: &start, teacher: None };
    let distributions = Student { start: &start, teacher: Some(&teacher) };
    let by_texts = texts.taught(&chain, PASSES, seed)?;
    let by_distributions = distributions.taught(&chain, PASSES, seed)?;
    let by_answers = texts.taught(&answer, PASSES * STEPS as f64, seed)?;
    let untaught = texts.table(&[0.0; (QUESTIONS + OPERANDS) * RESULTS]);
    let of_steps = |chains: &Chains, table: &[f64]| {
        share(chains, |prompt| {
            (0..STEPS).fold(Vec::new(), |mut written: Vec<u32>, _| {
                written.push(likeliest(table, number(asked(prompt, &written))));
                written
            })
        })
    };
    let held_out = of_sums(HELD_OUT, "held out")?;
    let mut lengths = Vec::with_capacity(LENGTHS.len());
    for passes in LENGTHS {
        let table = distributions.taught(&chain, passes, seed)?;
        lengths.push((of_steps(&held_out, &table), table));
    }
    let of_chosen = &lengths[chosen(&lengths.iter().map(|(share, _)| *share).collect::<Vec<f64>>())].1;
    let at_once = share(&tests, |prompt| {
        let last = prompt.len() - 1;
        let operator = Operator::ALL[(prompt[last - 1] - 10) as usize];
        vec![0, 0, 0, likeliest(&by_answers, number((operator, prompt[0] as u8, prompt[last] as u8)))]
    });
    Ok(vec![
        ("start".to_owned(), of_steps(&tests, &untaught)),
        ("chain of thought".to_owned(), of_steps(&tests, &by_texts)),
        ("distributions".to_owned(), of_steps(&tests, &by_distributions)),
        ("answer only".to_owned(), at_once),
        ("multiplications at the start".to_owned(), multiplications(&untaught)),
        ("multiplications after".to_owned(), multiplications(&by_texts)),
        ("multiplications, distributions".to_owned(), multiplications(&by_distributions)),
        ("multiplications, chosen length".to_owned(), multiplications(of_chosen)),
        ("chosen length".to_owned(), of_steps(&tests, of_chosen)),
    ])
}

/// A teacher's response to a chain as text.
fn trace(prompt: &[u32], response: &[u32]) -> Trace {
    let mut question = prompt[0].to_string();
    for operation in prompt[1..].chunks(2) {
        question.push(Operator::ALL[(operation[0] - 10) as usize].symbol());
        question += &operation[1].to_string();
    }
    let step = |(at, result): (usize, &u32)| {
        let (operator, left, right) = asked(prompt, &response[..at]);
        format!("{left}{}{right}={result}", operator.symbol())
    };
    let steps = response.iter().enumerate().map(step).collect();
    Trace { question, steps, answer: response.last().map(u32::to_string).unwrap_or_default() }
}

/// What a student sees of a row: each equation, or the answer beside what it is shown of the question.
fn read(row: &PromptCompletion) -> Result<Vec<Lesson>> {
    let Prompt::Text(prompt) = &row.prompt else { anyhow::bail!("a row of texts") };
    let equations: Vec<Lesson> = row.completion.lines().filter_map(|line| lesson(line.trim().as_bytes())).collect();
    if !equations.is_empty() {
        return Ok(equations);
    }
    let question = prompt.rsplit("Question: ").next().and_then(|rest| rest.lines().next()).context("a question")?;
    let answer = row.completion.trim_end_matches('.').bytes().next_back().context("an answer")?;
    let shown = question.as_bytes();
    let [first, .., operator, last] = shown else { anyhow::bail!("a question with an operation") };
    Ok(lesson(&[*first, *operator, *last, b'=', answer]).into_iter().collect())
}

/// An equation of one digit each.
fn lesson(line: &[u8]) -> Option<Lesson> {
    let [left, operator, right, b'=', result] = line else { return None };
    let operator = Operator::ALL.into_iter().find(|one| one.symbol() == char::from(*operator))?;
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| byte - b'0');
    let question = number((operator, digit(left)?, digit(right)?));
    Some(Lesson { question, result: usize::from(digit(result)?) })
}

/// The likeliest result of a question.
fn likeliest(table: &[f64], question: usize) -> u32 {
    best(&table[RESULTS * question..][..RESULTS]) as u32
}

/// The share of chains whose last result is right.
fn share(tests: &Chains, written: impl Fn(&[u32]) -> Vec<u32>) -> f64 {
    let right =
        (0..tests.prompts.len()).filter(|number| tests.is_right(*number, &written(&tests.prompts[*number][..])));
    right.count() as f64 / tests.prompts.len() as f64
}

/// The first training that is within [`SLACK`] of the best.
fn chosen(shares: &[f64]) -> usize {
    let best = shares.iter().copied().fold(0.0, f64::max);
    shares.iter().position(|share| *share >= best - SLACK).unwrap_or(0)
}

/// The share of multiplications that chains may have whose likeliest result is right.
fn multiplications(table: &[f64]) -> f64 {
    let all = (0..10u8).flat_map(|left| [3, 7, 9].map(|right| (left, right)));
    let right = all.filter(|(left, right)| {
        let question = (Operator::Multiply, *left, *right);
        likeliest(table, number(question)) == u32::from(Operator::Multiply.apply(*left, *right))
    });
    right.count() as f64 / 30.0
}

/// A student, and the teacher whose distributions it is to match; without one it learns from texts.
struct Student<'a> {
    start: &'a StepPolicy,
    teacher: Option<&'a StepPolicy>,
}

impl Student<'_> {
    /// The logits of all results of all questions behind a training.
    fn taught(&self, lessons: &[Lesson], passes: f64, seed: Seed) -> Result<Vec<f64>> {
        Ok(self.table(&fitted(self, [QUESTIONS + OPERANDS, RESULTS], lessons, passes, seed)?))
    }

    /// The logits of all results of all questions.
    fn table(&self, changes: &[f64]) -> Vec<f64> {
        let place = |place: usize| {
            let (question, result) = (place / RESULTS, place % RESULTS);
            let shared = (QUESTIONS + question % OPERANDS) * RESULTS + result;
            self.start.of_question(question)[result] + changes[place] + changes[shared]
        };
        (0..QUESTIONS * RESULTS).map(place).collect()
    }

    fn loss(&self, model: &Embedding, rows: &[&Lesson]) -> Result<Loss, CoreError> {
        let changes = model.weight.val(); // [questions + operands, results]
        let device = changes.device();
        let places = |of: fn(&Lesson) -> usize| indices(rows.iter().map(|row| of(row) as i64).collect(), &device); // [rows]
        let own = changes.clone().select(0, places(|row| row.question)); // [rows, results]
        let shared = changes.select(0, places(|row| QUESTIONS + row.question % OPERANDS)); // [rows, results]
        let logits = own + shared + said(self.start, rows, &device); // [rows, results]
        if let Some(teacher) = self.teacher {
            return Ok(Loss::mean_of(generalized_jsd(logits, said(teacher, rows, &device), 0.0)));
        }
        let results = places(|row| row.result).reshape([rows.len(), 1]); // [rows, 1]
        let logps = log_softmax(logits, 1).gather(1, results); // [rows, 1]
        let mask = Mask::from_rows(&vec![vec![true]; rows.len()], &device);
        Sft.loss(&LogpBatch::new(RowKind::Single, logps, mask)?)
    }
}

/// What a policy says of the questions of lessons, `[rows, results]`.
fn said(policy: &StepPolicy, rows: &[&Lesson], device: &Device) -> Tensor<2> {
    let logps: Vec<f32> =
        rows.iter().flat_map(|row| policy.of_question(row.question).iter().map(|logp| *logp as f32)).collect();
    Tensor::from_data(TensorData::new(logps, [rows.len(), RESULTS]), device)
}

impl Learner for Student<'_> {
    type Model = Embedding;
    type Row = Lesson;

    fn learn(&self, model: &Embedding, rows: &[&Lesson]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Lesson]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_training_that_is_good_enough_is_chosen() {
        assert_eq!([[0.5, 0.79, 0.8, 0.7], [0.5, 0.77, 0.8, 0.8]].map(|shares| chosen(&shares)), [1, 2]);
    }

    #[test]
    fn each_format_shows_its_own_questions() {
        // 2+5-4, written with a slip in the second step.
        let trace = trace(&[2, 10, 5, 11, 4], &[7, 4]);
        let seen = |format: TraceFormat| read(&format.row(&trace, &[]).unwrap()).unwrap();
        let lesson = |question, result| Lesson { question: number(question), result };
        let (first, second) = ((Operator::Add, 2, 5), (Operator::Subtract, 7, 4));
        assert_eq!(seen(TraceFormat::ChainOfThought), [lesson(first, 7), lesson(second, 4)]);
        // The last operator and operand, and the first number.
        assert_eq!(seen(TraceFormat::AnswerOnly), [lesson((Operator::Subtract, 2, 4), 4)]);
    }

    #[test]
    fn a_student_comes_to_the_text_or_to_the_distribution() {
        let (start, teacher) = (StepPolicy::of(&STUDENT), StepPolicy::of(&TEACHER));
        // 7+8 is 5, easy for both, and the text has the slip, 4.
        let question = number((Operator::Add, 7, 8));
        let lessons = vec![Lesson { question, result: 4 }; 64];
        let odds = |teacher: Option<&StepPolicy>| {
            let table = Student { start: &start, teacher }.taught(&lessons, 100.0, Seed(0)).unwrap();
            let logits = &table[RESULTS * question..][..RESULTS];
            logits[5] - logits[4]
        };
        // ln (0.9 / 0.1) of the teacher.
        assert!((odds(Some(&teacher)) - 9f64.ln()).abs() < 0.1, "{}", odds(Some(&teacher)));
        assert!(odds(None) < -2.0, "{}", odds(None));
    }
}
