//! What a process model learns from: a prompt with a response, the places where it is read, and a label for each.

use std::collections::HashMap;

use ascribe_core::{Seed, Tokens};
use ascribe_lm::Row;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::ProcessError;

/// Where an outcome is taught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeAt {
    /// At the last token of the response.
    #[default]
    Last,
    /// At every token of the response, so that prefixes are scored, too.
    Every,
}

/// A prompt and a response that are read at some of their tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessRow {
    /// Token ids of the prompt; at least one.
    pub prompt: Tokens,
    /// Token ids of the response; empty where the question alone is read.
    pub response: Tokens,
    /// The tokens that are read, in order, by their positions in prompt and response together.
    pub places: Vec<usize>,
    /// The probability that is taught at each place, in [0, 1]; the last one belongs to `sibling`, where there is one.
    pub labels: Vec<f64>,
    /// Another response to the same prompt, which is read at its last token alone; empty where there is none.
    pub sibling: Tokens,
    /// Line of the row in its file, for messages; 0 when it has none.
    pub line: usize,
}

impl ProcessRow {
    /// Steps with labels, each read at its last token; `ends[h]` is where step `h` ends in tokens of the response
    /// (`StepSpan.tokens.end`), and a step without a label is not taught.
    ///
    /// # Errors
    /// When there is not one label a step, a step has no token or lies outside of the response, no step has a label, or
    /// one is not in [0, 1]; when the prompt is empty.
    pub fn of_steps(
        prompt: Tokens,
        response: Tokens,
        ends: &[usize],
        labels: &[Option<f32>],
    ) -> Result<Self, ProcessError> {
        let (expected, got) = (ends.len(), labels.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the labels", each: "a step", expected, got });
        }
        check_ends(ends, response.len())?;
        let taught = ends.iter().zip(labels).filter_map(|(end, label)| Some((end - 1, f64::from((*label)?))));
        Self::read_at(prompt, response, taught)
    }

    /// A response that is right or wrong as a whole.
    ///
    /// # Errors
    /// When prompt or response is empty.
    pub fn of_outcome(prompt: Tokens, response: Tokens, right: bool, at: OutcomeAt) -> Result<Self, ProcessError> {
        let (label, tokens) = (if right { 1.0 } else { 0.0 }, response.len());
        let first = match at {
            OutcomeAt::Last => tokens.saturating_sub(1),
            OutcomeAt::Every => 0,
        };
        Self::read_at(prompt, response, (first..tokens).map(|token| (token, label)))
    }

    /// A target for each token of the response: [`TokenTrie::targets`](crate::credit::TokenTrie::targets).
    ///
    /// # Errors
    /// When there is not one target a token, or one is not in [0, 1]; when prompt or response is empty.
    pub fn of_tokens(prompt: Tokens, response: Tokens, targets: &[f64]) -> Result<Self, ProcessError> {
        let (expected, got) = (response.len(), targets.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the targets", each: "a token", expected, got });
        }
        Self::read_at(prompt, response, targets.iter().copied().enumerate())
    }

    /// A question with the share of its samples that are right, read at its last token: P(IK).
    ///
    /// # Errors
    /// When the question is empty or the share is not in [0, 1].
    pub fn of_question(prompt: Tokens, share: f64) -> Result<Self, ProcessError> {
        let row = Self { prompt, ..Self::default() };
        row.with_start(share)
    }

    /// Two responses that go on from one state, of which the first is better: each is read at its last token, where their
    /// last steps end.
    ///
    /// # Errors
    /// When the prompt or a response is empty.
    pub fn of_pair(prompt: Tokens, chosen: Tokens, rejected: Tokens) -> Result<Self, ProcessError> {
        if chosen.is_empty() || rejected.is_empty() {
            return Err(ProcessError::Empty { what: "a side of a pair", remedy: "drop the pair" });
        }
        let places = vec![(prompt.len() + chosen.len()).saturating_sub(1)];
        let row = Self { prompt, response: chosen, places, labels: vec![1.0, 0.0], sibling: rejected, line: 0 };
        row.check()?;
        Ok(row)
    }

    /// The same with a label at the last token of the prompt: the value of the question, which progress begins from.
    ///
    /// # Errors
    /// When the prompt is empty or the value is not in [0, 1].
    pub fn with_start(mut self, value: f64) -> Result<Self, ProcessError> {
        let Some(last) = self.prompt.len().checked_sub(1) else { return Err(no_prompt()) };
        self.places.insert(0, last);
        self.labels.insert(0, value);
        self.check()?;
        Ok(self)
    }

    /// Places as tokens of the response.
    fn read_at(
        prompt: Tokens,
        response: Tokens,
        taught: impl Iterator<Item = (usize, f64)>,
    ) -> Result<Self, ProcessError> {
        let (places, labels) = taught.map(|(token, label)| (prompt.len() + token, label)).unzip();
        let row = Self { prompt, response, places, labels, ..Self::default() };
        row.check()?;
        Ok(row)
    }

    /// The texts that are read, each with its places, in the order of the labels.
    pub fn read(&self) -> Vec<(Row<'_>, Vec<usize>)> {
        let mut texts = vec![(Row { prompt: &self.prompt, response: &self.response }, self.places.clone())];
        if !self.sibling.is_empty() {
            let last = self.prompt.len() + self.sibling.len() - 1;
            texts.push((Row { prompt: &self.prompt, response: &self.sibling }, vec![last]));
        }
        texts
    }

    /// The row cut to `max_length` tokens, the prompt from the left and then the response from the right, without the
    /// labels of what went; `None` when none is left, or one side of a pair is not read any more.
    pub fn truncated(mut self, max_length: usize) -> Option<Self> {
        let over = (self.prompt.len() + self.response.len().max(self.sibling.len())).saturating_sub(max_length);
        let left = over.min(self.prompt.len().saturating_sub(1));
        if left > 0 {
            self.prompt = self.prompt[left..].into();
        }
        let room = max_length.saturating_sub(self.prompt.len());
        if !self.sibling.is_empty() && room < self.response.len().max(self.sibling.len()) {
            return None;
        }
        if room < self.response.len() {
            self.response = self.response[..room].into();
        }
        let tokens = self.prompt.len() + self.response.len();
        let kept = self.places.iter().zip(&self.labels).filter_map(|(place, label)| {
            let place = place.checked_sub(left)?;
            (place < tokens).then_some((place, *label))
        });
        let of_sibling = self.labels.get(self.places.len()).copied();
        (self.places, self.labels) = kept.unzip();
        self.labels.extend(of_sibling);
        (!self.places.is_empty()).then_some(self)
    }

    /// Checks that the row can teach.
    ///
    /// # Errors
    /// When the prompt is empty, there is no label, there is not one a place (and one for the sibling), a place is not behind
    /// the one before it or is no token of the row, or a label is not in [0, 1].
    pub fn check(&self) -> Result<(), ProcessError> {
        if self.prompt.is_empty() {
            return Err(no_prompt());
        }
        let (expected, got) = (self.places.len() + usize::from(!self.sibling.is_empty()), self.labels.len());
        if expected != got {
            return Err(ProcessError::Length { what: "the labels", each: "a place", expected, got });
        }
        if self.labels.is_empty() {
            return Err(ProcessError::Empty { what: "the labels of a row", remedy: "drop rows without any label" });
        }
        let tokens = self.prompt.len() + self.response.len();
        let rising = self.places.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || self.places.last().is_some_and(|last| *last >= tokens) {
            let rule = "tokens of the row, each behind the one before it";
            return Err(ProcessError::range("the places of a row", rule, &self.places));
        }
        match self.labels.iter().find(|label| !(0.0..=1.0).contains(*label)) {
            Some(label) => Err(ProcessError::range("a label", "in [0, 1]", label)),
            None => Ok(()),
        }
    }
}

fn no_prompt() -> ProcessError {
    ProcessError::Empty { what: "the prompt of a row", remedy: "begin it with the BOS token" }
}

/// Checks where the steps of a response of so many tokens end.
pub(super) fn check_ends(ends: &[usize], tokens: usize) -> Result<(), ProcessError> {
    let mut start = 0;
    for end in ends {
        if !(start < *end && *end <= tokens) {
            let rule = "of at least one token, behind the step before it and inside the response";
            return Err(ProcessError::range("a step", rule, start..*end));
        }
        start = *end;
    }
    Ok(())
}

/// A response with `tag` behind each of its steps, and where each tag ends: the ends of steps that are read at their tags.
/// `ends` do not fall, and steps that end in one place share a tag.
pub fn tagged(response: &[u32], ends: &[usize], tag: &[u32]) -> (Vec<u32>, Vec<usize>) {
    let (mut ids, mut done) = (Vec::with_capacity(response.len() + ends.len() * tag.len()), 0);
    let mut tags = Vec::with_capacity(ends.len());
    for end in ends {
        if *end > done {
            ids.extend_from_slice(&response[done..*end]);
            ids.extend_from_slice(tag);
            done = *end;
        }
        tags.push(ids.len());
    }
    ids.extend_from_slice(&response[done..]);
    (ids, tags)
}

/// Rows of which as many end with a label of 1/2 or more as with one below, in their order; which of the others go is drawn from the
/// stream `balance`. Where all are of one kind they stay.
pub fn balanced(rows: Vec<ProcessRow>, seed: Seed) -> Vec<ProcessRow> {
    let ends_high = |row: &ProcessRow| row.labels.last().is_some_and(|label| *label >= 0.5);
    let (mut many, mut few): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|at| ends_high(&rows[*at]));
    if many.len() < few.len() {
        std::mem::swap(&mut many, &mut few);
    }
    if few.is_empty() {
        return rows;
    }
    let mut stream = seed.stream("balance", 0);
    for at in 0..few.len() {
        let other = stream.random_range(at..many.len());
        many.swap(at, other);
    }
    let mut stays = vec![false; rows.len()];
    many[..few.len()].iter().chain(&few).for_each(|at| stays[*at] = true);
    rows.into_iter().zip(stays).filter_map(|(row, stays)| stays.then_some(row)).collect()
}

/// Numbers of the samples that are kept so that every problem has at most `most`: as many right ones as wrong ones, as far
/// as there are, drawn from the stream `samples` of the problem; increasing. A sample is (number of its problem, right).
pub fn at_most(samples: &[(usize, bool)], most: usize, seed: Seed) -> Vec<usize> {
    let mut problems: HashMap<usize, [Vec<usize>; 2]> = HashMap::new();
    for (at, (problem, right)) in samples.iter().enumerate() {
        problems.entry(*problem).or_default()[usize::from(*right)].push(at);
    }
    let mut kept = Vec::new();
    for (problem, mut sides) in problems {
        let mut stream = seed.stream("samples", problem as u64);
        // In turn, from either kind.
        let first = stream.random_range(0..2);
        let mut taken = 0_usize;
        while taken < most && sides.iter().any(|side| !side.is_empty()) {
            let wanted = (first + taken) % 2;
            let side = if sides[wanted].is_empty() { 1 - wanted } else { wanted };
            let drawn = stream.random_range(0..sides[side].len());
            kept.push(sides[side].swap_remove(drawn));
            taken += 1;
        }
    }
    kept.sort_unstable();
    kept
}

/// A hash over all rows: which there are, in which order.
pub fn rows_hash(rows: &[ProcessRow]) -> String {
    let mut hash = blake3::Hasher::new();
    for row in rows {
        for ids in [&row.prompt, &row.response, &row.sibling] {
            hash.update(&(ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| {
                hash.update(&id.to_le_bytes());
            });
        }
        hash.update(&(row.places.len() as u64).to_le_bytes());
        row.places.iter().for_each(|place| {
            hash.update(&(*place as u64).to_le_bytes());
        });
        row.labels.iter().for_each(|label| {
            hash.update(&label.to_le_bytes());
        });
    }
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> Tokens {
        range.collect()
    }

    fn steps(ends: &[usize], labels: &[Option<f32>]) -> Result<ProcessRow, ProcessError> {
        ProcessRow::of_steps(ids(0..3), ids(10..16), ends, labels)
    }

    #[test]
    fn rows_are_read_where_they_say() {
        let row = steps(&[2, 5, 6], &[Some(1.0), None, Some(0.25)]).unwrap();
        assert_eq!((row.places, row.labels), (vec![4, 8], vec![1.0, 0.25]));
        let of = |at| ProcessRow::of_outcome(ids(0..2), ids(5..8), true, at).unwrap();
        assert_eq!((of(OutcomeAt::Last).places, of(OutcomeAt::Every).places), (vec![4], vec![2, 3, 4]));
        assert_eq!(of(OutcomeAt::Every).labels, [1.0; 3]);
        let row = ProcessRow::of_tokens(ids(0..2), ids(5..8), &[0.5, 1.0, 0.0]).unwrap();
        assert_eq!((row.places, row.labels), (vec![2, 3, 4], vec![0.5, 1.0, 0.0]));
        let row = ProcessRow::of_question(ids(0..4), 0.3).unwrap();
        assert_eq!((row.places, row.labels), (vec![3], vec![0.3]));
        let row = steps(&[6], &[Some(0.0)]).unwrap().with_start(0.5).unwrap();
        assert_eq!((row.places, row.labels), (vec![2, 8], vec![0.5, 0.0]));
    }

    #[test]
    fn one_step_is_an_outcome_and_one_sample_carries_its_own() {
        let (prompt, response) = (ids(0..2), ids(5..8));
        let outcome = |at| ProcessRow::of_outcome(prompt.clone(), response.clone(), true, at).unwrap();
        let step = ProcessRow::of_steps(prompt.clone(), response.clone(), &[3], &[Some(1.0)]).unwrap();
        assert_eq!(step, outcome(OutcomeAt::Last));
        let trie = crate::credit::TokenTrie::new(&[(response.clone(), true)], 1).unwrap();
        let tokens = ProcessRow::of_tokens(prompt.clone(), response.clone(), &trie.targets(0)).unwrap();
        assert_eq!(tokens, outcome(OutcomeAt::Every));
    }

    #[test]
    fn tags_stand_behind_steps() {
        // Steps of two and of one token, and a token behind them; the third step ends where the second one does.
        let (with, ends) = tagged(&[1, 2, 3, 4], &[2, 3, 3], &[8, 9]);
        assert_eq!(with, [1, 2, 8, 9, 3, 8, 9, 4]);
        assert_eq!(ends, [4, 7, 7]);
        assert_eq!(tagged(&[1, 2], &[1, 2], &[]), (vec![1, 2], vec![1, 2]));
    }

    #[test]
    fn a_pair_is_read_at_both_ends() {
        let pair = || ProcessRow::of_pair(ids(0..3), ids(10..14), ids(20..22)).unwrap();
        let row = pair();
        let read: Vec<(&[u32], Vec<usize>)> =
            row.read().into_iter().map(|(row, places)| (row.response, places)).collect();
        assert_eq!(read, [(&[10, 11, 12, 13][..], vec![6]), (&[20, 21][..], vec![4])]);
        assert_eq!(row.labels, [1.0, 0.0]);
        // One text where there is no sibling.
        let plain = steps(&[2, 6], &[Some(1.0), Some(0.0)]).unwrap();
        assert_eq!(plain.read().into_iter().map(|(_, places)| places).collect::<Vec<_>>(), [[4, 8]]);
        // The prompt goes first, and a side that would lose its end takes the pair with it.
        let short = pair().truncated(5).unwrap();
        assert_eq!((short.prompt.len(), short.places, short.labels), (1, vec![4], vec![1.0, 0.0]));
        assert_eq!(pair().truncated(4), None);
        let turned = ProcessRow::of_pair(ids(0..3), ids(20..22), ids(10..14)).unwrap();
        assert_eq!(turned.truncated(4), None);
    }

    #[test]
    fn every_problem_keeps_at_most_so_many_samples() {
        // Of problem 0 two of six samples are right; problem 7 has wrong ones alone, problem 2 a single sample.
        let samples: Vec<(usize, bool)> =
            (0..6).map(|at| (0, at < 2)).chain((0..3).map(|_| (7, false))).chain([(2, true)]).collect();
        let mut seen = std::collections::HashSet::new();
        for seed in 0..40 {
            let kept = at_most(&samples, 4, Seed(seed));
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            // Both right ones with two of the four wrong ones; the others whole.
            assert_eq!(kept.len(), 8);
            assert!([0, 1, 6, 7, 8, 9].iter().all(|at| kept.contains(at)), "{kept:?}");
            assert_eq!(at_most(&samples, 4, Seed(seed)), kept);
            seen.extend(kept);
        }
        assert_eq!(seen.len(), samples.len());
        // An odd one is of either kind.
        let right =
            |most: usize, seed: u64| at_most(&samples[..6], most, Seed(seed)).into_iter().filter(|at| *at < 2).count();
        let odd: std::collections::HashSet<[usize; 4]> =
            (0..40).map(|seed| [0, 1, 2, 3].map(|most| right(most, seed))).collect();
        assert_eq!(odd, std::collections::HashSet::from([[0, 0, 1, 1], [0, 1, 1, 2]]));
        assert_eq!(at_most(&samples, 9, Seed(1)), (0..samples.len()).collect::<Vec<_>>());
    }

    #[test]
    fn long_rows_lose_the_left_of_the_prompt_and_then_the_right_of_the_response() {
        let row = || steps(&[2, 5, 6], &[Some(1.0), Some(0.5), Some(0.25)]).unwrap().with_start(0.75).unwrap();
        let places = |max| row().truncated(max).map(|row| (row.prompt.len(), row.response.len(), row.places));
        assert_eq!(places(9), Some((3, 6, vec![2, 4, 7, 8])));
        assert_eq!(places(7), Some((1, 6, vec![0, 2, 5, 6])));
        assert_eq!(places(6), Some((1, 5, vec![0, 2, 5])));
        assert_eq!(places(1), Some((1, 0, vec![0])));
        assert_eq!(steps(&[6], &[Some(1.0)]).unwrap().truncated(6), None);
    }

    #[test]
    fn what_cannot_teach_is_refused() {
        let says = |row: Result<ProcessRow, ProcessError>, said: &str| {
            let error = row.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        };
        says(steps(&[2, 6], &[Some(1.0)]), "the labels must have one entry a step: expected 2, got 1");
        says(steps(&[2, 2], &[Some(1.0), None]), "a step must be of at least one token");
        says(steps(&[7], &[Some(1.0)]), "inside the response, got 0..7");
        says(steps(&[6], &[None]), "drop rows without any label");
        says(steps(&[6], &[Some(f32::NAN)]), "a label must be in [0, 1], got NaN");
        says(steps(&[6], &[Some(-1.0)]), "a label must be in [0, 1], got -1.0");
        says(ProcessRow::of_outcome(ids(0..0), ids(0..2), true, OutcomeAt::Last), "the prompt of a row");
        says(ProcessRow::of_outcome(ids(0..2), ids(0..0), true, OutcomeAt::Every), "drop rows without any label");
        says(ProcessRow::of_tokens(ids(0..2), ids(0..2), &[1.0]), "one entry a token: expected 2, got 1");
        says(ProcessRow::of_question(ids(0..2), 2.0), "a label must be in [0, 1], got 2.0");
        says(ProcessRow::of_pair(ids(0..2), ids(0..1), ids(0..0)), "a side of a pair must not be empty");
        says(ProcessRow::of_pair(ids(0..0), ids(0..1), ids(0..1)), "the prompt of a row");
        let unlabelled = ProcessRow { sibling: ids(0..1), ..steps(&[6], &[Some(1.0)]).unwrap() };
        says(unlabelled.check().map(|()| unlabelled.clone()), "one entry a place: expected 2, got 1");
        let turned = ProcessRow { places: vec![1, 0], labels: vec![1.0; 2], ..steps(&[6], &[Some(1.0)]).unwrap() };
        says(turned.check().map(|()| turned.clone()), "each behind the one before it");
    }

    #[test]
    fn as_many_rows_stay_of_either_kind_in_their_order() {
        let row = |at: u32| {
            ProcessRow::of_outcome(ids(0..1), ids(at..at + 2), at.is_multiple_of(4), OutcomeAt::Last).unwrap()
        };
        let rows: Vec<ProcessRow> = (0..12).map(row).collect();
        let kept = balanced(rows.clone(), Seed(1));
        assert_eq!(kept.iter().map(|row| row.labels[0]).sum::<f64>(), 3.0);
        assert_eq!(kept.len(), 6);
        let firsts: Vec<u32> = kept.iter().map(|row| row.response[0]).collect();
        assert!(firsts.is_sorted(), "{firsts:?}");
        assert_eq!(balanced(rows.clone(), Seed(1)), kept);
        // Whatever is drawn, the few stay, and with many seeds everybody does at times.
        let mut seen = std::collections::HashSet::new();
        for seed in 0..40 {
            let kept = balanced(rows.clone(), Seed(seed));
            assert!((0..12).step_by(4).all(|at| kept.contains(&rows[at])));
            seen.extend(kept.iter().map(|row| row.response[0]));
        }
        assert_eq!(seen.len(), 12);
        assert_eq!(balanced(rows[..1].to_vec(), Seed(1)), rows[..1]);
    }

    #[test]
    fn a_hash_knows_tokens_places_labels_and_order() {
        let (a, b) = (steps(&[2], &[Some(1.0)]).unwrap(), steps(&[3], &[Some(1.0)]).unwrap());
        let relabelled = steps(&[2], &[Some(0.5)]).unwrap();
        let pair = |rejected| ProcessRow::of_pair(ids(0..3), ids(10..16), rejected).unwrap();
        let pairs = [vec![pair(ids(1..2))], vec![pair(ids(2..3))]];
        let all = [vec![a.clone(), b.clone()], vec![b, a.clone()], vec![a], vec![relabelled]];
        let hashes: std::collections::HashSet<String> = all.iter().chain(&pairs).map(|rows| rows_hash(rows)).collect();
        assert_eq!(hashes.len(), 6);
    }
}
