//! The strict comparison of PRM800K's grader (arXiv:2305.20050), which wants the form as well as the value.
//!
//! After the removal of units, currency, percent signs and spaces, equal texts are equal. Otherwise tuples need the same
//! brackets and number of items; a whole number must be written as one; two fractions must be written alike (so
//! `\frac{2}{4}` is not `\frac{1}{2}`); and everything else must have the same value, where a form with more than two letters
//! or with a long exponent is not evaluated and therefore wrong. Departure: a value is never evaluated as program text, so
//! what is neither equal nor different here is undecided.

use super::clean::{SCALES, open_texts, undelimited};
use super::compare::{Rules, Tolerance, same_expression};
use super::node::{Node, expression};
use super::token::lex;
use super::{Verdict, Why};

const UNITS: [&str; 16] = [
    "degree",
    "centimeter",
    "cm",
    "meter",
    "mile",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "year",
    "foot",
    "feet",
    "inch",
    "yard",
];

/// Whether an answer is given as the gold answer is, and why.
pub(super) fn compare(gold: &str, answer: &str) -> (Verdict, Why) {
    let (gold, answer) = (normal(gold), normal(answer));
    if answer.is_empty() {
        return (Verdict::NoAnswer, Why::Unmarked);
    }
    let spaceless = |text: &str| text.replace(' ', "");
    if spaceless(&gold) == spaceless(&answer) {
        return (Verdict::Correct, Why::SameText);
    }
    let ((brackets, items), (answer_brackets, answer_items)) = (elements(&gold), elements(&answer));
    if items.len() > 1 && brackets != answer_brackets || items.len() != answer_items.len() {
        return (Verdict::Wrong, Why::Different);
    }
    for (gold, answer) in items.iter().zip(&answer_items) {
        match same(integral(gold), integral(answer)) {
            (Verdict::Correct, _) => {}
            other => return other,
        }
    }
    (Verdict::Correct, Why::Equal)
}

/// The text without what does not count.
fn normal(text: &str) -> String {
    let mut text = open_texts(undelimited(text));
    for sign in ["^{\\circ}", "^\\circ", "°", "\\$", "$", "\\%", "%", "\\!", "\\left", "\\right"] {
        text = text.replace(sign, "");
    }
    text = text.replace("dfrac", "frac").replace("tfrac", "frac").replace(" or ", ",").replace(" and ", ",");
    for (name, power) in SCALES {
        text = text.replace(name, power);
    }
    text = without_units(&text);
    if let Some((name, value)) = text.split_once('=')
        && name.trim().len() <= 2
        && !value.contains('=')
    {
        text = value.to_owned();
    }
    text.trim().to_lowercase()
}

fn without_units(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(letter) = rest.chars().next() {
        match UNITS.iter().find_map(|unit| rest.strip_prefix(*unit)) {
            Some(behind) => {
                let behind = behind.strip_prefix("es").unwrap_or(behind);
                rest = behind.strip_prefix('s').unwrap_or(behind);
            }
            None => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    out
}

/// The brackets of a tuple and its items; a text that is none is its own item.
fn elements(text: &str) -> (Option<(char, char)>, Vec<&str>) {
    let mut letters = text.chars();
    let brackets = letters.next().zip(letters.next_back());
    let inside = letters.as_str();
    let is_tuple = brackets.is_some_and(|(open, close)| "([".contains(open) && ")]".contains(close))
        && !inside.is_empty()
        && !inside.contains(['(', ')', '[', ']'])
        && !is_grouped(inside);
    if is_tuple { (brackets, inside.split(',').map(str::trim).collect()) } else { (None, vec![text]) }
}

/// Whether a text is a whole number with commas between groups of three digits.
fn is_grouped(text: &str) -> bool {
    let mut groups = text.strip_prefix('-').unwrap_or(text).split(',');
    let is_number = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().is_some_and(|group| is_number(group) && group.len() <= 3);
    let mut rest = groups.peekable();
    first && rest.peek().is_some() && rest.all(|group| is_number(group) && group.len() == 3)
}

/// `5.000` is 5.
fn integral(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if integer(whole).is_some() && zeros.bytes().all(|byte| byte == b'0') => whole,
        _ => text,
    }
}

/// Sign and digits of a whole number, without leading zeros and commas.
fn integer(text: &str) -> Option<(bool, String)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let digits = if is_grouped(digits) { digits.replace(',', "") } else { digits.to_owned() };
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let digits = digits.trim_start_matches('0').to_owned();
    sound.then_some((negative && !digits.is_empty(), digits))
}

fn same(gold: &str, answer: &str) -> (Verdict, Why) {
    match (integer(gold), integer(answer)) {
        (Some(gold), Some(answer)) if gold == answer => return (Verdict::Correct, Why::Equal),
        (Some(_), Some(_)) => return (Verdict::Wrong, Why::Different),
        (None, None) => {}
        _ => return (Verdict::Wrong, Why::Form),
    }
    let read =
        |text: &str| if is_evaluated(text) { lex(text).and_then(|tokens| expression(&tokens)).ok() } else { None };
    let (Some(gold), Some(answer)) = (read(gold), read(answer)) else { return (Verdict::Wrong, Why::Form) };
    if let (Some(gold), Some(answer)) = (fraction(&gold), fraction(&answer)) {
        return if gold == answer { (Verdict::Correct, Why::Equal) } else { (Verdict::Wrong, Why::Form) };
    }
    let rules = Rules { tolerance: Tolerance::Exact, factors: Vec::new() };
    match same_expression(&gold, &answer, &rules) {
        Ok(true) => (Verdict::Correct, Why::Equal),
        Ok(false) => (Verdict::Wrong, Why::Different),
        Err(why) => (Verdict::Undecided, why),
    }
}

/// Whether the grader evaluates a form: at most two letters, and no exponent in braces, in brackets or of two digits.
fn is_evaluated(text: &str) -> bool {
    let mut named = text.to_owned();
    for name in ["\\sqrt", "sqrt", "\\frac", "\\cdot", "\\times", "\\pi"] {
        named = named.replace(name, "");
    }
    let mut letters: Vec<char> = named.chars().filter(|letter| letter.is_alphabetic()).collect();
    letters.sort_unstable();
    letters.dedup();
    let long = |exponent: &str| {
        exponent.starts_with(['{', '(']) || exponent.bytes().take(2).filter(u8::is_ascii_digit).count() == 2
    };
    letters.len() <= 2 && !text.split('^').skip(1).any(long)
}

/// Sign, numerator and denominator of a fraction of whole numbers.
fn fraction(node: &Node) -> Option<(bool, String, String)> {
    let (negative, node) = unsigned(node);
    let Node::Product(parts) = node else { return None };
    let [upper, Node::Inverse(lower)] = &parts[..] else { return None };
    let (inner, upper) = unsigned(upper);
    let whole = |node: &Node| match node {
        Node::Number(literal) if literal.is_whole() => Some(literal.to_string()),
        _ => None,
    };
    Some((negative != inner, whole(upper)?, whole(lower)?))
}

/// An expression without its signs, and whether they negate it.
fn unsigned(mut node: &Node) -> (bool, &Node) {
    let mut negative = false;
    while let Node::Negative(inner) = node {
        node = inner.as_ref();
        negative = !negative;
    }
    (negative, node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gold: &str, answer: &str, verdict: Verdict) {
        assert_eq!(compare(gold, answer).0, verdict, "{gold} and {answer}");
    }

    #[test]
    fn the_form_counts() {
        check("\\frac{1}{2}", "\\frac{2}{4}", Verdict::Wrong);
        check("\\frac{1}{2}", "1/2", Verdict::Correct);
        check("-\\frac{1}{3}", "\\frac{-1}{3}", Verdict::Correct);
        check("1/2", "0.5", Verdict::Correct);
        check("10^6", "1000000", Verdict::Wrong);
        check("1,000", "1000", Verdict::Correct);
        check("07", "7", Verdict::Correct);
        check("3.0", "3", Verdict::Correct);
        check("(1,2)", "( 1, 2 )", Verdict::Correct);
        check("[1,2]", "(1,2)", Verdict::Wrong);
        check("(1,2)", "(2,1)", Verdict::Wrong);
        check("\\sqrt{2}", "2^{1/2}", Verdict::Wrong);
        check("x=3", "3", Verdict::Correct);
        check("5\\text{ cm}", "5", Verdict::Correct);
        check("5", "", Verdict::NoAnswer);
    }
}
