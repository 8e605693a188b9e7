//! The rows of a file, one after another, and what adds up over them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use ascribe_eval::{Estimate, wilson};

use super::text::Seen;
use super::{Check, Figure, Finding, Found, ModelText};
use crate::{
    Choices, Dialogues, LanguageModelling, Prompt, PromptCompletion, PromptOnly, Rated, Record, Stepwise, Unpaired,
};

/// Shares outside these limits, interval and all, are findings.
const LENGTH_BIAS: (f64, f64) = (0.25, 0.75);
const LABEL_BALANCE: (f64, f64) = (0.05, 0.95);
/// Lines named for one finding.
const NAMED: usize = 10;

/// A record that can be looked into.
pub(super) trait Patient: Record {
    /// Number of the row.
    fn line(&self) -> usize;

    /// The prompt; none where a text is learned as a whole.
    fn prompt(&self) -> Option<&Prompt>;

    /// The replies, the better ones first.
    fn replies(&self) -> Vec<String>;

    /// What the row says, and what a row that contradicts it would say.
    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        (self.replies(), None)
    }

    /// Looks at what no other kind has.
    fn special(&self, _ward: &mut Ward, _text: Option<&ModelText<'_>>) {}
}

/// What adds up over the rows.
#[derive(Default)]
pub(super) struct Ward {
    rows: usize,
    found: Found,
    seen: HashSet<u64>,
    longer: (usize, usize),
    right: (usize, usize),
    tokens: usize,
    lost: usize,
    longest: usize,
    looked: usize,
}

impl Ward {
    pub(super) fn found(&mut self, check: Check, line: usize, detail: impl FnOnce() -> String) {
        let new = || Finding { check, rows: 0, lines: Vec::new(), detail: detail() };
        let finding = self.found.entry(check).or_insert_with(new);
        finding.rows += 1;
        if finding.lines.len() < NAMED {
            finding.lines.push(line);
        }
    }

    /// True for a row that neither repeats nor contradicts one before it.
    pub(super) fn admit<R: Patient>(&mut self, record: &R, text: Option<&ModelText<'_>>) -> bool {
        self.rows += 1;
        let line = record.line();
        let (claim, opposite) = record.claims();
        let key = record.key();
        // A row that says the same turned round, as steps that are all labelled 1/2 do, contradicts nobody.
        let opposite = opposite.filter(|opposite| *opposite != claim);
        let contradicts = opposite.is_some_and(|opposite| self.seen.contains(&hash(&key, &opposite)));
        if contradicts {
            self.found(Check::Contradiction, line, String::new);
        }
        let repeats = !self.seen.insert(hash(&key, &claim));
        if repeats {
            self.found(Check::Duplicate, line, String::new);
        }
        if let Some(text) = text {
            let replies = record.replies();
            let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
            let seen = match record.prompt() {
                Some(prompt) => text.look(prompt, &replies),
                None => Seen::default(),
            };
            self.add(line, seen);
        }
        record.special(self, text);
        !contradicts && !repeats
    }

    fn add(&mut self, line: usize, seen: Seen) {
        self.tokens += seen.tokens;
        self.lost += seen.lost;
        self.longest = self.longest.max(seen.longest);
        self.looked += usize::from(seen.tokens > 0);
        let mut told = HashSet::new();
        for (check, detail) in seen.faults {
            if told.insert(check) {
                self.found(check, line, || detail);
            }
        }
    }

    /// Counts a pair by the lengths of its replies, in characters; equal lengths say nothing.
    fn compare(&mut self, chosen: &str, rejected: &str) {
        let (chosen, rejected) = (chosen.chars().count(), rejected.chars().count());
        self.longer.0 += usize::from(chosen > rejected);
        self.longer.1 += usize::from(chosen != rejected);
    }

    fn judge(&mut self, right: bool) {
        self.right.0 += usize::from(right);
        self.right.1 += 1;
    }

    /// Number of rows, findings and figures.
    pub(super) fn discharge(mut self) -> (usize, Vec<Finding>, Vec<Figure>) {
        let mut figures = Vec::new();
        let shares = [
            ("chosen is longer", self.longer, Check::LengthBias, LENGTH_BIAS),
            ("label is right", self.right, Check::LabelBalance, LABEL_BALANCE),
        ];
        for (name, (count, of), check, (low, high)) in shares {
            let Ok(estimate) = wilson(count, of, 0.95) else { continue };
            if estimate.interval.is_some_and(|interval| interval.high < low || high < interval.low) {
                let detail = format!("{name} in {estimate}");
                self.found.insert(check, Finding { check, rows: 0, lines: Vec::new(), detail });
            }
            figures.push(Figure { name, estimate });
        }
        if self.tokens > 0 {
            let value = self.lost as f64 / self.tokens as f64;
            let estimate = Estimate { value, interval: None, n: self.tokens };
            figures.push(Figure { name: "tokens lost to the length limit", estimate });
            let estimate = Estimate { value: self.longest as f64, interval: None, n: self.looked };
            figures.push(Figure { name: "tokens of the longest row", estimate });
        }
        (self.rows, self.found.into_values().collect(), figures)
    }
}

fn hash(key: &str, claim: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, claim).hash(&mut hasher);
    hasher.finish()
}

impl Patient for LanguageModelling {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        None
    }

    fn replies(&self) -> Vec<String> {
        Vec::new()
    }

    fn special(&self, ward: &mut Ward, text: Option<&ModelText<'_>>) {
        if let Some(text) = text {
            ward.add(self.line, text.look_whole(&self.content));
        }
    }
}

impl Patient for PromptOnly {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Patient for PromptCompletion {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        vec![self.completion.clone()]
    }
}

impl Dialogues {
    /// All that one side says behind what both share.
    fn side(&self, side: usize, reply: &str) -> String {
        let turns = self.between[side].iter().map(|turn| turn.content.as_str());
        turns.chain([reply]).collect::<Vec<&str>>().join("\n")
    }
}

impl Patient for Dialogues {
    fn line(&self) -> usize {
        self.pair.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.pair.prompt)
    }

    fn replies(&self) -> Vec<String> {
        vec![self.side(0, &self.pair.chosen), self.side(1, &self.pair.rejected)]
    }

    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        let turned = vec![self.side(1, &self.pair.rejected), self.side(0, &self.pair.chosen)];
        (self.replies(), Some(turned))
    }

    fn special(&self, ward: &mut Ward, _text: Option<&ModelText<'_>>) {
        ward.compare(&self.side(0, &self.pair.chosen), &self.side(1, &self.pair.rejected));
        if let Some(margin) = self.pair.margin.filter(|margin| *margin <= 0.0) {
            // A margin below 0 says that the other side is the better one.
            ward.found(Check::Tied, self.pair.line, || format!("margin {margin}"));
        }
    }
}

impl Patient for Unpaired {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        vec![self.completion.clone()]
    }

    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        let claim = |label: bool| vec![self.completion.clone(), label.to_string()];
        (claim(self.label), Some(claim(!self.label)))
    }

    fn special(&self, ward: &mut Ward, _text: Option<&ModelText<'_>>) {
        ward.judge(self.label);
    }
}

impl Patient for Stepwise {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        vec![self.completions.join("\n")]
    }

    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        let claim = |label: &dyn Fn(f32) -> f32| {
            let labels = self.labels.iter().map(|one| one.map_or("-".to_owned(), |one| label(one).to_string()));
            self.completions.iter().cloned().chain(labels).collect()
        };
        (claim(&|label| label), Some(claim(&|label| 1.0 - label)))
    }

    fn special(&self, ward: &mut Ward, text: Option<&ModelText<'_>>) {
        for label in self.labels.iter().flatten() {
            ward.judge(*label >= 0.5);
        }
        match text.map(|text| text.steps_are_apart(&self.completions)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => ward.found(Check::StepInToken, self.line, String::new),
            Some(Err(error)) => ward.found(Check::StepInToken, self.line, || error.to_string()),
        }
    }
}

impl Patient for Rated {
    fn line(&self) -> usize {
        self.line
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        vec![self.completion.clone()]
    }

    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        // Two annotators who rate one text are no duplicate.
        let ratings = self.ratings.iter().map(|(name, value)| format!("{name}={value}"));
        (std::iter::once(self.completion.clone()).chain(ratings).collect(), None)
    }
}

impl Patient for Choices {
    fn line(&self) -> usize {
        self.line
    }

    fn claims(&self) -> (Vec<String>, Option<Vec<String>>) {
        // The empty text between them keeps the sides apart.
        let sides = |first: &[String], second: &[String]| [first, &[String::new()], second].concat();
        (sides(&self.chosen, &self.rejected), Some(sides(&self.rejected, &self.chosen)))
    }

    fn prompt(&self) -> Option<&Prompt> {
        Some(&self.prompt)
    }

    fn replies(&self) -> Vec<String> {
        [self.chosen.as_slice(), &self.rejected].concat()
    }

    fn special(&self, ward: &mut Ward, _text: Option<&ModelText<'_>>) {
        for chosen in &self.chosen {
            self.rejected.iter().for_each(|rejected| ward.compare(chosen, rejected));
        }
    }
}
