//! Graders of essays: a reference answer, a rubric of the judge's own, and the teacher's rubric; peers; and what graded essays
//! teach without a judge.
//!
//! An essay states some of eight points, in the words of the reference or in others, among sentences that earn nothing. The judge
//! is a program that reads the prompts of the library as text: it looks for each point of the rubric, or of the reference where
//! there is no rubric, often knows it in other words, and now and then sees one that is not there or forgets its mark. Its own
//! rubric it writes when it is asked, and half of its items it values otherwise than the teacher. Worked gradings tell it what
//! the points in them earn.

use std::collections::BTreeSet;

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::Bootstrap;
use ascribe::eval::protocol::{Assignment, WorkedGrading, grade_prompt, median_mark, rubric_request};
use ascribe::eval::rank::{KappaWeights, cohen_kappa, grading_error, nearest_mark};
use ascribe::reward::losses::RegressionConfig;
use rand::RngExt;

use crate::heads::{Head, Sample, Training, Widths, mean, train};
use crate::row::{Claim, Figures, Row};

const ESSAYS: u64 = 200;
/// Replies to one prompt, whose median is the mark.
const REPLIES: usize = 3;
const MAX_MARK: f64 = 15.0;
/// Worked gradings in a prompt.
const WORKED: usize = 4;
/// What the points earn, in an order that is drawn.
const WEIGHTS: [u32; 8] = [4, 3, 2, 2, 1, 1, 1, 1];
/// How often the judge knows a point in other words, sees one that is not there, and forgets its mark.
const KNOWS: f64 = 0.85;
const IMAGINES: f64 = 0.03;
const FORGETS: f64 = 0.05;
/// How often a peer overlooks a point.
const OVERLOOKS: f64 = 0.3;
/// How often the teacher is off by one.
const UNSURE: f64 = 0.15;
/// Marks a unit of the tuned head.
const UNIT: f64 = 5.0;

const QUESTION: &str = "Why does the Moon have phases?";

/// Each point as the reference has it, and in other words.
const POINTS: [[&str; 2]; 8] = [
    ["the Moon shines by the light of the Sun", "moonlight is nothing but reflected sunlight"],
    ["one half of the Moon is always lit", "at any time a single hemisphere has day"],
    ["the Moon goes around the Earth", "our satellite moves along an orbit"],
    ["we see the lit half from changing angles", "how much brightness is visible depends on geometry"],
    ["at new moon the dark half faces us", "when it vanishes its bright part points away"],
    ["at full moon the lit half faces us", "when it is round we look on all that shines"],
    ["the phases come back after a month", "everything repeats in about 29 days"],
    ["the shadow of the Earth makes eclipses and no phases", "eclipses are something else"],
];

const FILLERS: [&str; 4] = [
    "in my opinion this is a beautiful question",
    "people have always watched the sky at night",
    "the Moon is old and has many craters",
    "as everybody knows there is much to say",
];

/// The claims of the three studies of graders.
pub const ROW: Row = Row {
    name: "graders",
    paper: "Large Language Models As MOOCs Graders; LLMs in Reflective Assessment through Chain of Thoughts \
            Prompting; Automated Feedback in Math Education: A Comparative Analysis of LLMs",
    setting: "200 synthetic essays with a teacher's marks from 0 to 15, a judge that reads the prompts and is a program, three \
              replies a mark, four worked gradings in one condition, three peers who overlook points and are lenient; 200 other \
              graded essays to look up by words or to tune a linear head on; mean absolute error, kappa and quadratic kappa against the teacher",
    seeds: 12,
    claims: &[
        Claim {
            says: "the teacher's rubric brings the judge nearer than the reference answer alone",
            more: "MAE, reference",
            less: "MAE, teacher's rubric",
        },
        Claim {
            says: "and nearer than a rubric of the judge's own",
            more: "MAE, own rubric",
            less: "MAE, teacher's rubric",
        },
        Claim {
            says: "four worked gradings beside the reference bring it nearer too",
            more: "MAE, reference",
            less: "MAE, worked gradings",
        },
        Claim {
            says: "with the teacher's rubric the judge is nearer than peers",
            more: "MAE, peers",
            less: "MAE, teacher's rubric",
        },
        Claim {
            says: "quadratic kappa says so too",
            more: "quadratic kappa, teacher's rubric",
            less: "quadratic kappa, reference",
        },
        Claim { says: "and so does Cohen's", more: "kappa, teacher's rubric", less: "kappa, reference" },
        Claim {
            says: "the mark of the nearest essay is better than one mark for all",
            more: "MAE, one mark for all",
            less: "MAE, nearest essay",
        },
        Claim {
            says: "and a head tuned on the same essays is better than the nearest",
            more: "MAE, nearest essay",
            less: "MAE, tuned head",
        },
    ],
    tried: "",
    run,
};

/// An essay, the points that it states, and the teacher's mark.
struct Essay {
    text: String,
    stated: [bool; 8],
    mark: f64,
}

impl Essay {
    fn drawn(weights: &[u32; 8], stream: &mut Stream) -> Self {
        let ability = stream.random_range(0.1..0.95);
        let (mut sentences, mut stated) = (Vec::new(), [false; 8]);
        for (words, stated) in POINTS.iter().zip(&mut stated) {
            let (share, other, filler): (f64, usize, usize) =
                (stream.random(), stream.random_range(0..2), stream.random_range(0..3 * FILLERS.len()));
            *stated = share < ability;
            if *stated {
                sentences.push(words[other]);
            }
            sentences.extend(FILLERS.get(filler));
        }
        let off = match stream.random::<f64>() / UNSURE {
            share if share < 0.5 => -1.0,
            share if share < 1.0 => 1.0,
            _ => 0.0,
        };
        let mark = (earned(weights, &stated) + off).clamp(0.0, MAX_MARK);
        Self { text: sentences.join(". "), stated, mark }
    }
}

/// Why an essay earns its mark: what each of its points is worth.
fn reasons(weights: &[u32; 8], essay: &Essay) -> String {
    let points = POINTS.iter().zip(weights).zip(essay.stated).filter(|(_, stated)| *stated);
    points.map(|((words, weight), _)| format!("{weight}: {}", words[0])).collect::<Vec<_>>().join("\n")
}

/// What these points earn.
fn earned(weights: &[u32; 8], stated: &[bool; 8]) -> f64 {
    f64::from(weights.iter().zip(stated).filter(|(_, stated)| **stated).map(|(weight, _)| weight).sum::<u32>())
}

/// The reference answer: every point, in the order above.
fn reference() -> String {
    POINTS.map(|words| words[0]).join(". ")
}

/// A rubric in the form that the judge reads.
fn rubric(weights: &[f64]) -> String {
    let line = |(words, weight): (&[&str; 2], &f64)| format!("{weight:.2}: {}", words[0]);
    POINTS.iter().zip(weights).map(line).collect::<Vec<_>>().join("\n")
}

/// A judge, by what it thinks that the points are worth.
struct Judge {
    worth: Vec<f64>,
}

impl Judge {
    /// Its reply to a request for a rubric.
    fn rubric(&self, request: &str) -> String {
        let known: Vec<&str> = section(request, "## Reference answer\n").split(". ").collect();
        let is_asked = |(words, worth): (&[&str; 2], &f64)| if known.contains(&words[0]) { *worth } else { 0.0 };
        let worth: Vec<f64> = POINTS.iter().zip(&self.worth).map(is_asked).collect();
        let all: f64 = worth.iter().sum();
        rubric(&worth.iter().map(|worth| MAX_MARK * worth / all).collect::<Vec<_>>())
    }
}

/// A judge's reply to a prompt for a mark.
fn reply(prompt: &str, stream: &mut Stream) -> String {
    let (task, rest) = prompt.split_once("## The student's answer\n").unwrap_or((prompt, ""));
    let answer = rest.split("\n=====\n").nth(1).unwrap_or_default();
    let mut items = read_items(section(task, "## Rubric\n"));
    if items.is_empty() {
        let points: Vec<&str> = section(task, "## Reference answer\n").split(". ").collect();
        // What worked gradings do not tell is shared out alike.
        let reasons = task.split("## Worked grading ").skip(1).filter_map(|one| one.split("\n=====\n").nth(2));
        let told: Vec<(f64, &str)> = reasons.flat_map(read_items).collect();
        let worth = |words: &str| told.iter().find(|(_, known)| *known == words).map(|(worth, _)| *worth);
        let left = MAX_MARK - points.iter().filter_map(|words| worth(words)).sum::<f64>();
        let untold = points.iter().filter(|words| worth(words).is_none()).count();
        items = points.iter().map(|words| (worth(words).unwrap_or(left / untold as f64), *words)).collect();
    }
    let mut mark = 0.0;
    for (weight, words) in items {
        let (knows, imagines): (f64, f64) = (stream.random(), stream.random());
        let other = POINTS.iter().find(|point| point[0] == words).map(|point| point[1]);
        let in_other_words = knows < KNOWS && other.is_some_and(|other| answer.contains(other));
        if answer.contains(words) || in_other_words || imagines < IMAGINES {
            mark += weight;
        }
    }
    let mark = mark.round().min(MAX_MARK);
    if stream.random::<f64>() < FORGETS {
        return format!("A good part is there. I would give about {mark}.");
    }
    format!("Item by item, this earns what follows.\nScore: {mark}/{MAX_MARK}")
}

/// Lines of what points earn.
fn read_items(text: &str) -> Vec<(f64, &str)> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.filter_map(|(weight, words)| Some((weight.parse().ok()?, words))).collect()
}

/// What stands below a heading.
fn section<'t>(text: &'t str, heading: &str) -> &'t str {
    let below = text.split_once(heading).map(|(_, below)| below);
    below.and_then(|below| below.split("\n\n").next()).unwrap_or_default()
}

/// The marks of three peers for one essay, as replies.
fn peers(weights: &[u32; 8], essay: &Essay, stream: &mut Stream) -> Vec<String> {
    let reply = |_| {
        let seen = essay.stated.map(|stated| stated & (stream.random::<f64>() >= OVERLOOKS));
        let mark = (earned(weights, &seen) + 1.0).min(MAX_MARK);
        format!("Score: {mark}/{MAX_MARK}")
    };
    (0..REPLIES).map(reply).collect()
}

/// Essays that got a mark, with the teacher's.
#[derive(Default)]
struct Marks {
    given: Vec<f64>,
    teacher: Vec<f64>,
}

impl Marks {
    /// The median of replies; an essay without a mark is left out.
    fn add(&mut self, replies: &[String], essay: &Essay) {
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        if let (Some(mark), _) = median_mark(&replies, MAX_MARK) {
            self.push(mark, essay);
        }
    }

    fn push(&mut self, mark: f64, essay: &Essay) {
        self.given.push(mark);
        self.teacher.push(essay.mark);
    }

    fn error(&self) -> Result<f64> {
        Ok(grading_error(&self.given, &self.teacher, MAX_MARK, &Bootstrap::NONE)?.mae.value)
    }

    fn kappa(&self, weights: KappaWeights) -> Result<f64> {
        let whole = |marks: &[f64]| -> Vec<u32> { marks.iter().map(|mark| mark.round() as u32).collect() };
        let grades = MAX_MARK as u32 + 1;
        Ok(cohen_kappa(&whole(&self.given), &whole(&self.teacher), grades, weights, &Bootstrap::NONE)?.value)
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let weights = shuffled(&mut seed.stream("weights", 0));
    let drawn = |name: &str| -> Vec<Essay> {
        (0..ESSAYS).map(|number| Essay::drawn(&weights, &mut seed.stream(name, number))).collect()
    };
    let (graded, essays) = (drawn("graded"), drawn("essays"));
    let mut stream = seed.stream("judge", 0);
    let mut worth = Vec::with_capacity(weights.len());
    for weight in weights {
        let (own, agrees): (f64, bool) = (stream.random_range(0.5..4.0), stream.random());
        worth.push(if agrees { f64::from(weight) } else { own });
    }
    let (judge, reference) = (Judge { worth }, reference());
    let teachers = rubric(&weights.map(f64::from));
    let own = judge.rubric(&rubric_request(QUESTION, &reference, MAX_MARK));

    let mut figures = Figures::new();
    let reasons: Vec<String> = graded.iter().take(WORKED).map(|essay| reasons(&weights, essay)).collect();
    let mut worked = Vec::with_capacity(WORKED);
    for (essay, reasons) in graded.iter().zip(&reasons) {
        worked.push(WorkedGrading { answer: &essay.text, reasons, mark: essay.mark });
    }
    let conditions: [(&str, Option<&str>, &[WorkedGrading]); 4] = [
        ("reference", None, &[]),
        ("own rubric", Some(&own), &[]),
        ("teacher's rubric", Some(&teachers), &[]),
        ("worked gradings", None, &worked),
    ];
    for (name, rubric, gradings) in conditions {
        let assignment = Assignment { question: QUESTION, reference: &reference, rubric, max_mark: MAX_MARK, gradings };
        let mut marks = Marks::default();
        for (number, essay) in (0..).zip(&essays) {
            let (prompt, mut stream) = (grade_prompt(assignment, &essay.text), seed.stream("reply", number));
            let replies: Vec<String> = (0..REPLIES).map(|_| reply(&prompt, &mut stream)).collect();
            marks.add(&replies, essay);
        }
        figures.push((format!("MAE, {name}"), marks.error()?));
        figures.push((format!("kappa, {name}"), marks.kappa(KappaWeights::Unweighted)?));
        figures.push((format!("quadratic kappa, {name}"), marks.kappa(KappaWeights::Quadratic)?));
    }
    let mut marks = Marks::default();
    for (number, essay) in (0..).zip(&essays) {
        marks.add(&peers(&weights, essay, &mut seed.stream("peers", number)), essay);
    }
    figures.push(("MAE, peers".to_owned(), marks.error()?));
    figures.extend(learned(&graded, &essays, seed)?);
    Ok(figures)
}

/// What graded essays teach without a judge.
fn learned(graded: &[Essay], essays: &[Essay], seed: Seed) -> Result<Figures> {
    let sentences = POINTS.iter().flatten().chain(&FILLERS);
    let vocabulary: BTreeSet<&str> = sentences.flat_map(|sentence| sentence.split(' ')).collect();
    let words =
        |essays: &[Essay]| -> Vec<Vec<f64>> { essays.iter().map(|essay| counts(&essay.text, &vocabulary)).collect() };
    let (stored, asked) = (words(graded), words(essays));
    let known: Vec<f64> = graded.iter().map(|essay| essay.mark).collect();
    let label = |mark: f64| (mark - MAX_MARK / 2.0) / UNIT;
    let rows: Vec<Sample> = stored
        .iter()
        .zip(&known)
        .map(|(words, mark)| Sample { responses: vec![words.clone()], labels: vec![label(*mark)] })
        .collect();
    let loss = RegressionConfig { attributes: 1, scale: [label(0.0), label(MAX_MARK)] }.init()?;
    let head = Head::fresh(Widths { inputs: vocabulary.len(), hidden: 0, outputs: 1 }, seed.child("head", 0));
    let head = train(head, &loss, &rows, Training { steps: 400, rate: 1e-2, seed })?;
    let (mut nearest, mut tuned, mut constant) = (Marks::default(), Marks::default(), Marks::default());
    let usual = mean(&known);
    for ((essay, words), predicted) in essays.iter().zip(&asked).zip(head.rewards(&asked)) {
        nearest.push(nearest_mark(&stored, &known, words)?, essay);
        tuned.push((UNIT * predicted + MAX_MARK / 2.0).clamp(0.0, MAX_MARK), essay);
        constant.push(usual, essay);
    }
    Ok(vec![
        ("MAE, nearest essay".to_owned(), nearest.error()?),
        ("MAE, tuned head".to_owned(), tuned.error()?),
        ("MAE, one mark for all".to_owned(), constant.error()?),
    ])
}

/// How often each word of the vocabulary stands in a text.
fn counts(text: &str, vocabulary: &BTreeSet<&str>) -> Vec<f64> {
    let words: Vec<&str> = text.split(' ').map(|word| word.trim_end_matches('.')).collect();
    vocabulary.iter().map(|known| words.iter().filter(|word| *word == known).count() as f64).collect()
}

/// The weights in a drawn order.
fn shuffled(stream: &mut Stream) -> [u32; 8] {
    let mut weights = WEIGHTS;
    for last in (1..weights.len()).rev() {
        weights.swap(last, stream.random_range(0..=last));
    }
    weights
}

#[cfg(test)]
mod tests {
    use ascribe::eval::protocol::read_mark;

    use super::*;

    /// The usual mark of the judge.
    fn marked(rubric: Option<&str>, gradings: &[WorkedGrading], answer: &str) -> f64 {
        let reference = reference();
        let assignment = Assignment { question: QUESTION, reference: &reference, rubric, max_mark: MAX_MARK, gradings };
        let prompt = grade_prompt(assignment, answer);
        let mut marks: Vec<f64> = (0..99)
            .filter_map(|number| read_mark(&reply(&prompt, &mut Seed(0).stream("reply", number)), MAX_MARK))
            .collect();
        marks.sort_by(f64::total_cmp);
        marks[marks.len() / 2]
    }

    #[test]
    fn the_judge_reads_points_by_the_rubric_or_the_reference() {
        let rubric = rubric(&WEIGHTS.map(f64::from));
        assert_eq!(marked(Some(&rubric), &[], &reference()), 15.0);
        assert_eq!(marked(Some(&rubric), &[], POINTS[0][0]), 4.0);
        assert_eq!(marked(Some(&rubric), &[], POINTS[1][1]), 3.0);
        // An eighth of 15, and nothing for what is no point.
        assert_eq!(marked(None, &[], POINTS[0][0]), 2.0);
        assert_eq!(marked(None, &[], FILLERS[0]), 0.0);
    }

    #[test]
    fn worked_gradings_tell_what_their_points_earn() {
        let mut stated = [false; 8];
        (stated[0], stated[3]) = (true, true);
        let text = format!("{}. {}", POINTS[0][1], POINTS[3][0]);
        let essay = Essay { text, stated, mark: 6.0 };
        let reasons = reasons(&WEIGHTS, &essay);
        assert_eq!(reasons, format!("4: {}\n2: {}", POINTS[0][0], POINTS[3][0]));
        let worked = [WorkedGrading { answer: &essay.text, reasons: &reasons, mark: essay.mark }];
        assert_eq!(marked(None, &worked, POINTS[0][0]), 4.0);
        // The other six share 15 - 6 = 9 marks: 1.5 each, three of them 4.5, which is rounded away from 0.
        let three = [1, 2, 4].map(|at| POINTS[at][0]).join(". ");
        assert_eq!(marked(None, &worked, &three), 5.0);
    }

    #[test]
    fn a_rubric_of_its_own_adds_up_to_the_largest_mark() {
        let judge = Judge { worth: vec![1.0; 8] };
        let written = judge.rubric(&rubric_request(QUESTION, &reference(), MAX_MARK));
        assert_eq!(written.lines().next(), Some("1.88: the Moon shines by the light of the Sun"));
        assert_eq!(written.lines().count(), 8);
    }

    #[test]
    fn an_essay_earns_what_it_states() {
        assert_eq!(earned(&WEIGHTS, &[true, false, true, false, false, false, false, true]), 7.0);
        let vocabulary = BTreeSet::from(["Moon", "the"]);
        assert_eq!(counts("the Moon. the Earth", &vocabulary), [1.0, 2.0]);
    }
}
