//! Matches of jobs and resumes through an ontology of skills, with a trace for each: who is ranked first, and who is seen.
//!
//! A skill may be called by three names. One group learned the names that jobs use, the other one a third.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::text::{Gain, Ontology, OrderTies, Query, Retrieval, Retrieved, traced_score};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};

const FIELDS: usize = 4;
/// Skills of a field, and of a resume and a job.
const SKILLS: usize = 5;
const OFFERED: usize = 6;
const WANTED: usize = 4;
const RESUMES: usize = 60;
const JOBS: usize = 40;
const DECAY: f64 = 0.5;

/// The claims on traceable recommendation.
pub const ROW: Row = Row {
    name: "traced-matches",
    paper: "Toward a traceable, explainable, and fair JD/Resume recommendation system",
    setting: "domain-only, job matching: 20 synthetic skills in 4 fields with three names each, 60 resumes of 6 skills and 40 jobs \
              that want 4; jobs and one half of the resumes use the first two names, the other half the third; relevant is how many \
              of the skills a resume has by any name; a link of the ontology costs half, and without one names match exactly or not at all",
    seeds: 12,
    claims: &[
        Claim {
            says: "matches through the ontology rank resumes better than exact names",
            more: "NDCG, ontology",
            less: "NDCG, exact",
        },
        Claim {
            says: "and the group with other names is seen more nearly as often",
            more: "exposure gap, exact",
            less: "exposure gap, ontology",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let mut links = Vec::new();
    for skill in 0..FIELDS * SKILLS {
        links.push((format!("skill {skill}"), format!("field {}", skill % FIELDS)));
        links.extend((0..3).map(|name| (called(skill, name), format!("skill {skill}"))));
    }
    let links: Vec<(&str, &str)> = links.iter().map(|(term, parent)| (term.as_str(), parent.as_str())).collect();
    let ontology = Ontology::new(&links)?;
    let mut stream = seed.stream("market", 0);
    let mut some = |n: usize| {
        let mut skills: Vec<usize> = (0..FIELDS * SKILLS).collect();
        for at in 0..n {
            let other = stream.random_range(at..skills.len());
            skills.swap(at, other);
        }
        skills.truncate(n);
        let names: Vec<usize> = (0..n).map(|_| stream.random_range(0..2)).collect();
        skills.into_iter().zip(names).collect::<Vec<(usize, usize)>>()
    };
    let resumes: Vec<Vec<(usize, usize)>> = (0..RESUMES).map(|_| some(OFFERED)).collect();
    let jobs: Vec<Vec<(usize, usize)>> = (0..JOBS).map(|_| some(WANTED)).collect();
    let mut figures = Figures::new();
    for (name, known) in [("ontology", &ontology), ("exact", &Ontology::default())] {
        let (mut ndcg, mut gaps) = (Vec::new(), Vec::new());
        for job in &jobs {
            let wanted: Vec<String> = job.iter().map(|(skill, name)| called(*skill, *name)).collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let (mut relevance, mut scores) = (Vec::new(), Vec::new());
            for (number, resume) in resumes.iter().enumerate() {
                let offered: Vec<String> =
                    resume.iter().map(|(skill, name)| called(*skill, of_group(number, *name))).collect();
                let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
                let has = |skill: usize| resume.iter().any(|(offered, _)| *offered == skill);
                relevance.push(job.iter().filter(|(skill, _)| has(*skill)).count() as f64);
                scores.push(traced_score(&known.trace(&wanted, &offered, DECAY)?));
            }
            gaps.push(gap(&scores));
            let measure = Retrieval::Ndcg { k: 10, gain: Gain::Linear };
            ndcg.extend(measure.of(&Query { relevance, scores }, OrderTies::Expected, Retrieved::All)?);
        }
        figures.push((format!("NDCG, {name}"), mean(&ndcg)));
        figures.push((format!("exposure gap, {name}"), mean(&gaps)));
    }
    Ok(figures)
}

/// A name of a skill.
fn called(skill: usize, name: usize) -> String {
    format!("name {name} of skill {skill}")
}

/// The name that a resume uses: every second one has learned the third.
fn of_group(resume: usize, name: usize) -> usize {
    if resume.is_multiple_of(2) { name } else { 2 }
}

/// How much more the first group is seen than the second: the difference of their mean `1 / log2(1 + rank)`; resumes of one score
/// share their ranks.
fn gap(scores: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut seen, mut rank) = ([0.0; 2], 0);
    for tied in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let shown: f64 = (0..tied.len()).map(|at| 1.0 / ((rank + at + 2) as f64).log2()).sum();
        for resume in tied {
            seen[resume % 2] += shown / tied.len() as f64;
        }
        rank += tied.len();
    }
    (seen[0] - seen[1]) / (scores.len() as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_by_hand() {
        // Ranks 1 and 2 go to the first group, 3 and 4 to the second.
        let [first, second, third, fourth] = [2.0, 3.0, 4.0, 5.0].map(|x: f64| 1.0 / x.log2());
        let expected = (first + second - third - fourth) / 2.0;
        assert!((gap(&[0.9, 0.1, 0.8, 0.0]) - expected).abs() < 1e-12);
        // Who cannot be told apart is seen alike.
        assert!(gap(&[0.5; 4]).abs() < 1e-12);
    }
}
