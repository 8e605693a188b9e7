//! Is an answer right? Extraction, and equivalence by bounded work.
//!
//! What a completion answers is found by the rules of [`Extraction`], cleaned of units, currency and percent signs, read as
//! mathematics, words or a choice, and compared with the gold answer by exact arithmetic; what that cannot settle is probed
//! at seeded points. Every limit is a count (512 bytes, 64 levels, 3 symbols, exponents up to 64, 256 terms, 128 bits), so
//! there is no clock, and what is beyond a limit is [`Verdict::Undecided`], never a wrong number.

mod rational;

mod token;

mod node;

mod value;

mod exact;

mod probe;

mod compare;

mod clean;

mod extract;

mod strict;

mod reward;

use serde::{Deserialize, Serialize};

pub use extract::Extraction;
pub use reward::AnswerReward;

use crate::ProcessError;
use compare::{Rules, Tolerance, same};
use node::Node;
use rational::Rational;
use token::{Unreadable, lex, normal};
use value::{Value, value};

/// What is said of an answer. Rewards are 1 for [`Verdict::Correct`] and 0 otherwise, but what is not known is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is equivalent to the gold answer.
    Correct,
    /// It is not.
    Wrong,
    /// The completion has no answer.
    NoAnswer,
    /// The work that is allowed does not tell.
    Undecided,
}

impl Verdict {
    /// 1 for a correct answer, else 0.
    pub fn reward(self) -> f64 {
        f64::from(u8::from(self == Self::Correct))
    }
}

/// Why a verdict is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// Both say the same in the same words.
    SameText,
    /// Both have the same value.
    Equal,
    /// They have not.
    Different,
    /// The value may be the same, but the form that is asked for is another.
    Form,
    /// It answers in words where mathematics is expected.
    Words,
    /// No rule of the extraction applies.
    Unmarked,
    /// The gold answer or the answer is not read as mathematics.
    Unreadable,
    /// The answer is longer than 512 bytes, or nested too deeply.
    Long,
    /// A number, an exponent or a number of terms is beyond the limits.
    Large,
    /// There are more than three symbols.
    Symbols,
    /// A side is not defined: it divides by zero, say.
    Undefined,
    /// Both sides are defined at fewer than five of the probed points.
    Domain,
    /// Rounding hides whether there is a difference.
    Rounding,
    /// The response was cut by a length limit, so what stands in it is no answer.
    Truncated,
}

/// What kind of answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// A whole number; it is not approximated.
    Integer,
    /// A number.
    Numeric,
    /// Any mathematics.
    Expr,
    /// One of the letters A to E.
    Choice,
    /// A tuple, an interval, a list or a set.
    Tuple,
    /// Words.
    Text,
}

/// Whose idea of equivalence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Rational numbers exactly, and to 1e-4 where one was written as a decimal.
    #[default]
    Ours,
    /// As Math-Verify: to six places behind the point where a number was written as a decimal.
    MathVerify,
    /// As PRM800K's grader: the form counts as well; see [`Why::Form`].
    Prm800k,
}

/// Checks answers. All fields are free, and every combination is sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checker {
    /// Whose idea of equivalence.
    pub preset: Preset,
    /// Where a completion is searched.
    pub extraction: Extraction,
    /// The kind that gold answers must have; by default the gold answer says it.
    pub kind: Option<AnswerKind>,
    /// Accept a number that is 100 times or 1/100 of the gold one without a percent sign. That accepts 500 for 5.
    /// [`Preset::Prm800k`] heeds no percent signs, and this neither.
    pub percent_lenient: bool,
}

/// A gold answer that was read.
#[derive(Clone, Debug)]
pub struct Gold {
    answer: String,
    normal: String,
    kind: AnswerKind,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Mathematics {
        value: Value,
        percent: bool,
    },
    Choice,
    Words,
    /// Neither words nor readable mathematics: only the same text is the same.
    Unreadable,
}

impl Gold {
    /// The answer as it was given, without its marker.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// The answer in the normal form that equal writings share.
    pub fn normal(&self) -> &str {
        &self.normal
    }

    /// Its kind.
    pub fn kind(&self) -> AnswerKind {
        self.kind
    }
}

/// A verdict with what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// The answer that was found, where there is one.
    pub answer: Option<String>,
    /// The answer in the normal form, where it was read.
    pub normal: Option<String>,
}

impl Checked {
    fn new(verdict: Verdict, why: Why, answer: Option<&str>, normal: Option<String>) -> Self {
        Self { verdict, why, answer: answer.map(str::to_owned), normal }
    }
}

impl Checker {
    /// A checker with the rules of `preset`.
    pub fn of(preset: Preset) -> Self {
        Self { preset, ..Self::default() }
    }

    /// Reads a gold answer: behind `#### `, in a line that begins with `A:`, in a box, or all of the text.
    ///
    /// # Errors
    /// [`ProcessError::Gold`] when it is empty, beyond the limits or of another kind than asked for.
    pub fn gold(&self, text: &str) -> Result<Gold, ProcessError> {
        let refuse = |why, got: &str| {
            let got = got.chars().take(80).collect();
            Err(ProcessError::Gold { why, got })
        };
        let hashed = extract::hashed(text);
        let marked = hashed.as_deref().or_else(|| extract::answer_line(text)).or_else(|| extract::last_boxed(text));
        if self.extraction == Extraction::Gsm8k && text.contains("####") && hashed.is_none() {
            return refuse("must have a number behind `#### `", text);
        }
        let answer = extract::trimmed(marked.unwrap_or(text));
        if answer.is_empty() {
            return refuse("must not be empty", text);
        }
        if answer.len() > token::MOST_BYTES {
            return refuse("must have at most 512 bytes", answer);
        }
        let (kind, form, normal) = match self.kind {
            Some(AnswerKind::Text) => (AnswerKind::Text, Form::Words, clean::words(answer)),
            Some(AnswerKind::Choice) | None if lone_letter(answer).is_some() => {
                let letter = lone_letter(answer).unwrap_or_default();
                (AnswerKind::Choice, Form::Choice, letter.to_string())
            }
            _ => read_gold(answer),
        };
        if normal.is_empty() {
            return refuse("must not be empty", text);
        }
        let fits = match self.kind {
            None => true,
            Some(AnswerKind::Numeric) => matches!(kind, AnswerKind::Numeric | AnswerKind::Integer),
            Some(AnswerKind::Expr) => !matches!(kind, AnswerKind::Text | AnswerKind::Choice),
            Some(wanted) => wanted == kind,
        };
        if !fits {
            return refuse("must be of the kind that is asked for", answer);
        }
        Ok(Gold { answer: answer.to_owned(), normal, kind, form })
    }

    /// The answer of a completion, as the rules of extraction find it.
    pub fn extract(&self, completion: &str) -> Option<String> {
        extract::extract(completion, self.extraction)
    }

    /// Where the answer that a completion marks ends, in bytes, with what closes it; what stands behind that is no part of
    /// the solution. `None` where no answer is marked: a number that stands somewhere may be followed by what belongs to it.
    pub fn answer_end(&self, completion: &str) -> Option<usize> {
        extract::marked_end(completion, self.extraction)
    }

    /// Checks the answer of a completion.
    pub fn check(&self, completion: &str, gold: &Gold) -> Checked {
        let found = match &gold.form {
            Form::Choice => {
                // A letter is no mathematics, so without a mark the whole text is searched for one.
                let marked = extract::extract(completion, self.extraction.min_strict());
                marked.or_else(|| (self.extraction == Extraction::Flexible).then(|| completion.to_owned()))
            }
            // Nor are words, so no number that stands somewhere is taken for them.
            Form::Words => extract::extract(completion, self.extraction.min_strict()).or_else(|| {
                let whole = extract::trimmed(completion);
                let short = !whole.is_empty() && whole.len() <= 64 && !whole.contains('\n');
                (short && self.extraction == Extraction::Flexible).then(|| whole.to_owned())
            }),
            _ => self.extract(completion),
        };
        let Some(found) = found else { return Checked::new(Verdict::NoAnswer, Why::Unmarked, None, None) };
        let checked = self.compare(&found, gold);
        if checked.why != Why::Words || self.extraction != Extraction::Flexible {
            return checked;
        }
        match extract::only_number(&found) {
            Some(number) => self.compare(&number, gold),
            None => checked,
        }
    }

    /// Checks a bare answer, without extraction.
    pub fn compare(&self, answer: &str, gold: &Gold) -> Checked {
        if self.preset == Preset::Prm800k {
            let (verdict, why) = strict::compare(&gold.answer, answer);
            return Checked::new(verdict, why, Some(answer), None);
        }
        let say = |verdict, why, normal| Checked::new(verdict, why, Some(answer), normal);
        let same_words = |normal: String| match normal == gold.normal {
            true => say(Verdict::Correct, Why::SameText, Some(normal)),
            false => say(Verdict::Wrong, Why::Different, Some(normal)),
        };
        let (wanted, percent) = match &gold.form {
            Form::Choice => {
                return match lone_letter(answer).or_else(|| last_choice(answer)) {
                    Some(letter) => same_words(letter.to_string()),
                    None => say(Verdict::NoAnswer, Why::Unmarked, None),
                };
            }
            Form::Words => return same_words(clean::words(answer)),
            Form::Unreadable => {
                let normal = spaceless(&clean::clean(answer).text);
                return match normal == gold.normal {
                    true => say(Verdict::Correct, Why::SameText, Some(normal)),
                    false => say(Verdict::Undecided, Why::Unreadable, Some(normal)),
                };
            }
            Form::Mathematics { value, percent } => (value, *percent),
        };
        let cleaned = clean::clean(answer);
        let read = lex(&cleaned.text).and_then(|tokens| Ok((value(&tokens)?, normal(&tokens))));
        let (value, normal) = match read {
            Ok(read) => read,
            Err(Unreadable::Word) => return say(Verdict::Wrong, Why::Words, None),
            Err(Unreadable::Long | Unreadable::Deep) => return say(Verdict::Undecided, Why::Long, None),
            Err(Unreadable::Syntax) => return say(Verdict::Undecided, Why::Unreadable, None),
        };
        if normal == gold.normal && cleaned.percent == percent {
            return say(Verdict::Correct, Why::SameText, Some(normal));
        }
        match same(wanted, &value, &self.rules(percent, cleaned.percent)) {
            Ok(true) => say(Verdict::Correct, Why::Equal, Some(normal)),
            Ok(false) => say(Verdict::Wrong, Why::Different, Some(normal)),
            Err(why) => say(Verdict::Undecided, why, Some(normal)),
        }
    }

    /// How numbers are compared, with a percent sign in the gold answer or in the other.
    fn rules(&self, gold: bool, answer: bool) -> Rules {
        let hundred = Rational::integer(100);
        let hundredth = Rational::ONE.over(hundred).ok();
        let mut factors = Vec::new();
        if self.percent_lenient || (gold && !answer) {
            factors.extend(hundredth);
        }
        if self.percent_lenient || (answer && !gold) {
            factors.push(hundred);
        }
        let tolerance = match (self.kind, self.preset) {
            (Some(AnswerKind::Integer), _) | (_, Preset::Prm800k) => Tolerance::Exact,
            (_, Preset::Ours) => Tolerance::Relative,
            (_, Preset::MathVerify) => Tolerance::SixPlaces,
        };
        Rules { tolerance, factors }
    }
}

impl Extraction {
    /// The same without the rules that look for mathematics anywhere.
    fn min_strict(self) -> Self {
        if self == Self::Flexible { Self::Strict } else { self }
    }
}

fn spaceless(text: &str) -> String {
    text.split_whitespace().collect()
}

fn read_gold(answer: &str) -> (AnswerKind, Form, String) {
    let cleaned = clean::clean(answer);
    let read = lex(&cleaned.text).and_then(|tokens| Ok((value(&tokens)?, normal(&tokens))));
    match read {
        Ok((value, normal)) => (kind_of(&value), Form::Mathematics { value, percent: cleaned.percent }, normal),
        Err(Unreadable::Word) => (AnswerKind::Text, Form::Words, clean::words(answer)),
        Err(_) => (AnswerKind::Expr, Form::Unreadable, spaceless(&cleaned.text)),
    }
}

fn kind_of(value: &Value) -> AnswerKind {
    match value {
        Value::Tuple { .. } | Value::Set(_) => AnswerKind::Tuple,
        Value::Expression(node) => {
            let number = exact::Quotient::of(node, &[]).and_then(|quotient| quotient.as_rational());
            match (unsigned(node), number) {
                (Node::Number(literal), _) if literal.is_whole() => AnswerKind::Integer,
                (_, Ok(Some(_))) => AnswerKind::Numeric,
                _ => AnswerKind::Expr,
            }
        }
        Value::Matrix(_) | Value::Relation(_) => AnswerKind::Expr,
    }
}

fn unsigned(node: &Node) -> &Node {
    match node {
        Node::Negative(inner) => inner.as_ref(),
        node => node,
    }
}

/// The letter A to E that an answer consists of: `B`, `(B)`, `\text{(B)}`.
fn lone_letter(answer: &str) -> Option<char> {
    let text = clean::open_texts(clean::undelimited(answer));
    let mut letters = text.trim_matches([' ', '(', ')', '.']).chars();
    let letter = letters.next().filter(|letter| ('A'..='E').contains(letter))?;
    letters.next().is_none().then_some(letter)
}

/// The last of the letters A to E that stands alone.
fn last_choice(answer: &str) -> Option<char> {
    let mut last = None;
    let mut before = None;
    let mut letters = answer.chars().peekable();
    while let Some(letter) = letters.next() {
        let inside = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
        if ('A'..='E').contains(&letter) && !inside(before) && !inside(letters.peek().copied()) {
            last = Some(letter);
        }
        before = Some(letter);
    }
    last
}

#[cfg(test)]
mod tests;
