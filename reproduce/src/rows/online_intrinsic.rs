//! ONI: an annotator labels captions of what happens while the agent learns, and what it said pays at once.
//!
//! A caption names an event and how it is told, so one event has several captions. The annotator labels a few captions behind each
//! walk, the newest first or drawn from all that wait, and never makes the agent wait. Retrieval pays what was labelled;
//! classification also pays captions that are like it.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::reward::shaping::{AnnotatorThread, IntrinsicConfig, IntrinsicForm};
use rand::RngExt;

use crate::rooms::{Agent, Event};
use crate::row::{Claim, Figures, Row};

const WALKS: u64 = 300;
const TOLD: [&str; 8] = ["suddenly", "slowly", "now", "then", "gladly", "again", "at last", "quietly"];

/// ONI's claims.
pub const ROW: Row = Row {
    name: "online-intrinsic",
    paper: "Online Intrinsic Rewards for Decision Making Agents from Large Language Model Feedback, arXiv:2410.23022",
    setting: "two rooms with a key, a door and a goal that alone pays; Q-learning on 300 walks of at most 120 steps; captions of \
              five events, told in eight ways; a rule labels one caption after every tenth walk, or five after each, the newest \
              first or, where it is said, drawn from all that wait; the intrinsic reward is 0.1 and decays with the cube of how \
              often a caption came; or the labels come from a thread, five a walk, which has the next walk to think of them; the \
              share of walks that arrive",
    seeds: 12,
    claims: &[
        Claim {
            says: "intrinsic rewards by retrieval help where rewards are sparse",
            more: "retrieval, five labels a walk",
            less: "sparse",
        },
        Claim { says: "and by classification", more: "classification, five labels a walk", less: "sparse" },
        Claim {
            says: "with few labels classification is better than retrieval",
            more: "classification, few labels",
            less: "retrieval, few labels",
        },
        Claim {
            says: "with few labels, drawn, classification is better than retrieval",
            more: "classification, few labels, drawn",
            less: "retrieval, few labels, drawn",
        },
        Claim {
            says: "classification learns more from few labels that are drawn than from those of the newest",
            more: "classification, few labels, drawn",
            less: "classification, few labels",
        },
        Claim {
            says: "a faster annotator is better",
            more: "retrieval, five labels a walk",
            less: "retrieval, few labels",
        },
        Claim {
            says: "labels of a thread of its own, a walk late, help too",
            more: "retrieval, a walk late",
            less: "sparse",
        },
    ],
    tried: "Few labels of the newest captions, and few of captions that are drawn. The newest captions that wait are those of what \
            just went well for the first time, and a slow annotator comes to the others late, so that the classifier sees little \
            of what is no progress for long; retrieval pays labelled captions alone.",
    run,
};

/// What is told of a step.
fn caption(event: Event, stream: &mut Stream) -> String {
    let what = match event {
        Event::Walks => "you walk",
        Event::Bumps => "you bump into a wall",
        Event::TakesKey => "you take the key",
        Event::OpensDoor => "you open the door",
        Event::Arrives => "you reach the goal",
    };
    format!("{what} {}", TOLD[stream.random_range(0..TOLD.len())])
}

/// What the annotator calls progress.
fn progress(caption: &str) -> bool {
    ["key", "door", "goal"].iter().any(|word| caption.contains(word))
}

/// How many captions are labelled, and how often.
#[derive(Clone, Copy)]
struct Annotator {
    labels: usize,
    /// Walks from one time to the next.
    every: u64,
    /// On a thread of its own, with labels that come behind the next walk.
    late: bool,
    /// Of captions drawn from all that wait, not of the newest.
    drawn: bool,
}

/// The share of walks that arrive; without an annotator nothing but the goal pays.
fn arrivals(seed: Seed, form: IntrinsicForm, annotator: Option<Annotator>) -> Result<f64> {
    let config = IntrinsicConfig { form, external: 1.0, internal: 0.1, retrain: 5, ..IntrinsicConfig::default() };
    let mut intrinsic = config.init()?;
    let mut agent = Agent::fresh();
    let mut thread = AnnotatorThread::new(|caption| Ok(progress(caption)));
    let (mut arrived, mut waiting) = (0, Vec::<String>::new());
    for number in 0..WALKS {
        let walk = agent.walk(&mut seed.stream("walk", number));
        arrived += usize::from(walk.arrived());
        let Some(annotator) = annotator else {
            agent.learn(&walk, &walk.paid());
            continue;
        };
        let mut stream = seed.stream("captions", number);
        let told: Vec<String> = walk.events.iter().map(|event| caption(*event, &mut stream)).collect();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        agent.learn(&walk, &intrinsic.episode(&told, &walk.paid())?);
        if annotator.late {
            thread.wait(&mut intrinsic)?;
            thread.ask(&mut intrinsic, annotator.labels)?;
        } else if number.is_multiple_of(annotator.every) {
            waiting.extend(intrinsic.queries(if annotator.drawn { usize::MAX } else { annotator.labels }));
            for _ in 0..annotator.labels.min(waiting.len()) {
                let asked = waiting.remove(if annotator.drawn { stream.random_range(0..waiting.len()) } else { 0 });
                intrinsic.label(&asked, progress(&asked))?;
            }
        }
    }
    Ok(arrived as f64 / WALKS as f64)
}

fn run(seed: Seed) -> Result<Figures> {
    let fast = Annotator { labels: 5, every: 1, late: false, drawn: false };
    let slow = Annotator { labels: 1, every: 10, ..fast };
    let late = Annotator { late: true, ..fast };
    let drawn = Annotator { drawn: true, ..slow };
    let classification = IntrinsicForm::Classification { eta: 0.5 };
    Ok(vec![
        ("sparse".into(), arrivals(seed, IntrinsicForm::Retrieval, None)?),
        ("retrieval, five labels a walk".into(), arrivals(seed, IntrinsicForm::Retrieval, Some(fast))?),
        ("classification, five labels a walk".into(), arrivals(seed, classification, Some(fast))?),
        ("retrieval, a walk late".into(), arrivals(seed, IntrinsicForm::Retrieval, Some(late))?),
        ("retrieval, few labels".into(), arrivals(seed, IntrinsicForm::Retrieval, Some(slow))?),
        ("classification, few labels".into(), arrivals(seed, classification, Some(slow))?),
        ("retrieval, few labels, drawn".into(), arrivals(seed, IntrinsicForm::Retrieval, Some(drawn))?),
        ("classification, few labels, drawn".into(), arrivals(seed, classification, Some(drawn))?),
    ])
}
