//! Where the answer of a completion stands. The first rule that applies wins.
//!
//! | rule | takes | from |
//! |---|---|---|
//! | 1 | the number behind the first `#### ` | [`Extraction::Gsm8k`] |
//! | 2 | what stands in `final answer is $..$. I hope` | [`Extraction::Strict`] |
//! | 3 | the last `\boxed{..}`, or `\boxed` without braces up to `$` | |
//! | 4 | the last line that begins with `A:`, which may as well be a choice that is listed | |
//! | 5 | the sentence, or the mathematics, behind the last `he answer is` | |
//! | 6 | all of a short text that reads as mathematics | [`Extraction::Flexible`] |
//! | 7 | the last `$..$`, `\[..\]` or `\(..\)` that reads as mathematics | |
//! | 8 | the last number | |

use serde::{Deserialize, Serialize};

use super::clean::{DELIMITERS, clean, matching};
use super::token::{MOST_BYTES, lex};
use super::value::value;

/// What may stand behind an answer and belongs to it.
const CLOSERS: [&str; 7] = ["}", "\\]", "\\)", "$$", "$", "**", "."];
/// Those of them that open nothing, so that blanks may stand before them.
const BRACKETS: [&str; 2] = ["\\]", "\\)"];
/// Longest text that is taken as a whole, in bytes.
const MOST_WHOLE: usize = 128;

/// How far an answer is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extraction {
    /// Behind `#### ` alone, as in GSM8K.
    Gsm8k,
    /// Where the completion says that it is the answer.
    Strict,
    /// And else in the last mathematics or number that there is.
    #[default]
    Flexible,
}

/// The answer of a completion.
pub(super) fn extract(completion: &str, extraction: Extraction) -> Option<String> {
    if let Some(number) = hashed(completion) {
        return Some(number);
    }
    if extraction == Extraction::Gsm8k {
        return None;
    }
    let marked = marked(completion);
    if marked.is_some() || extraction == Extraction::Strict {
        return marked.map(str::to_owned);
    }
    let whole = trimmed(completion);
    if whole.len() <= MOST_WHOLE && is_readable(whole) {
        return Some(whole.to_owned());
    }
    last_mathematics(completion).map(|inside| trimmed(inside).to_owned()).or_else(|| last_number(completion))
}

/// Where the answer that a completion marks (rules 1 to 5) ends, in bytes, with what closes it.
pub(super) fn marked_end(completion: &str, extraction: Extraction) -> Option<usize> {
    let answer = match numbered(completion) {
        Some(number) => number,
        None if extraction == Extraction::Gsm8k => return None,
        None => marked(completion)?,
    };
    // The answer is a part of the completion.
    let end = answer.as_ptr().addr() - completion.as_ptr().addr() + answer.len();
    let mut rest = &completion[end..];
    loop {
        let closed = CLOSERS.iter().find_map(|closer| rest.strip_prefix(*closer));
        let closed = closed.or_else(|| BRACKETS.iter().find_map(|closer| rest.trim_start().strip_prefix(*closer)));
        match closed {
            Some(behind) => rest = behind,
            None => return Some(completion.len() - rest.len()),
        }
    }
}

/// What rules 2 to 5 take.
fn marked(completion: &str) -> Option<&str> {
    hoped(completion)
        .or_else(|| last_boxed(completion))
        .or_else(|| answer_line(completion))
        .map(trimmed)
        .or_else(|| stated(completion))
        .filter(|answer| !answer.is_empty())
}

/// The number behind the first `#### ` that has one behind it, without its commas. A heading has none.
pub(super) fn hashed(text: &str) -> Option<String> {
    numbered(text).map(|number| number.replace(',', "").trim_end_matches('.').to_owned())
}

/// The same as it is written.
fn numbered(text: &str) -> Option<&str> {
    text.split("#### ").skip(1).find_map(leading_number)
}

fn leading_number(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches(' ');
    let unsigned = rest.strip_prefix('-').unwrap_or(rest);
    let length = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || b".,".contains(byte)).count();
    let number = &rest[..rest.len() - unsigned.len() + length];
    let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
    has_digit.then_some(number)
}

/// What stands in the last line that begins with `A:`.
pub(super) fn answer_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().rev().filter_map(|line| line.trim().strip_prefix("A:"));
    lines.next().map(str::trim).filter(|answer| !answer.is_empty())
}

fn hoped(text: &str) -> Option<&str> {
    let mark = "final answer is $";
    let behind = &text[text.rfind(mark)? + mark.len()..];
    behind.split_once("$. I hope").map(|(answer, _)| answer)
}

/// What stands in the last box.
pub(super) fn last_boxed(text: &str) -> Option<&str> {
    let (at, name) = ["\\boxed", "\\fbox"].into_iter().filter_map(|name| Some((text.rfind(name)?, name))).max()?;
    let rest = text[at + name.len()..].trim_start();
    if rest.starts_with('{') {
        return matching(rest).map(|end| &rest[1..end]);
    }
    rest.split('$').next()
}

/// What stands behind the last `he answer is`.
fn stated(text: &str) -> Option<&str> {
    let marks = ["he answer is", "final answer is"];
    let behind = marks.into_iter().filter_map(|mark| Some(text.rfind(mark)? + mark.len())).max()?;
    let rest = text[behind..].trim_start_matches([' ', ':']);
    for (open, close) in DELIMITERS {
        if let Some((inside, _)) = rest.strip_prefix(open).and_then(|inside| inside.split_once(close)) {
            return Some(trimmed(inside));
        }
    }
    let line = rest.lines().next().unwrap_or_default();
    Some(trimmed(line.split(". ").next().unwrap_or_default()))
}

/// Without a leading colon and one closing full stop or slash.
pub(super) fn trimmed(answer: &str) -> &str {
    let answer = answer.trim().trim_start_matches(':').trim_start();
    answer.strip_suffix(['.', '/']).unwrap_or(answer).trim_end()
}

fn is_readable(text: &str) -> bool {
    lex(&clean(trimmed(text)).text).is_ok_and(|tokens| value(&tokens).is_ok())
}

/// The last pair of delimiters with mathematics inside.
fn last_mathematics(text: &str) -> Option<&str> {
    let (mut rest, mut found) = (text, None);
    while let Some(letter) = rest.chars().next() {
        let inside = DELIMITERS.iter().find_map(|(open, close)| {
            let behind = rest.strip_prefix(*open)?;
            Some((&behind[..closing(behind, close)?], open.len() + close.len()))
        });
        match inside {
            // A dollar that opens nothing readable may be money, so the search goes on behind it.
            Some((inside, around)) if is_readable(inside) => {
                found = Some(inside);
                rest = &rest[inside.len() + around..];
            }
            _ if rest.starts_with("\\$") => rest = &rest[2..],
            _ => rest = &rest[letter.len_utf8()..],
        }
    }
    found
}

/// Where a delimiter closes, as far as an answer is read; a dollar behind a backslash does not close.
fn closing(text: &str, close: &str) -> Option<usize> {
    let (bytes, close) = (text.as_bytes(), close.as_bytes());
    let escaped = |at: usize| close == b"$" && at > 0 && bytes[at - 1] == b'\\';
    let mut windows = bytes.windows(close.len()).take(MOST_BYTES).enumerate();
    windows.find(|(at, window)| *window == close && !escaped(*at)).map(|(at, _)| at)
}

/// The last number of a text; commas inside of it go.
pub(super) fn last_number(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    // From the end: the last digit, and then what belongs to its number before it.
    let end = (0..bytes.len()).rev().find(|at| is_digit(*at))? + 1;
    let mut start = end - 1;
    let mut pointed = false;
    while start > 0 {
        let before = start - 1;
        let joins = match bytes[before] {
            byte if byte.is_ascii_digit() => true,
            b',' => before > 0 && is_digit(before - 1),
            b'.' if !pointed => {
                pointed = true;
                true
            }
            _ => false,
        };
        if !joins {
            break;
        }
        start = before;
    }
    let sign = if start > 0 && bytes[start - 1] == b'-' { 1 } else { 0 };
    Some(text[start - sign..end].replace(',', ""))
}

/// The number of a text that has one number and no sign of arithmetic: of `about 10 apples`, say.
pub(super) fn only_number(text: &str) -> Option<String> {
    if text.contains(['+', '*', '/', '^', '=']) {
        return None;
    }
    let (mut rest, mut numbers) = (text, 0);
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        numbers += 1;
        let number = &rest[at..];
        let length = number.bytes().take_while(|byte| byte.is_ascii_digit() || b".,".contains(byte)).count();
        rest = &number[length..];
    }
    if numbers == 1 { last_number(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(completion: &str, extraction: Extraction, answer: Option<&str>) {
        assert_eq!(extract(completion, extraction).as_deref(), answer, "{completion}");
    }

    #[test]
    fn marked_answers() {
        for extraction in [Extraction::Strict, Extraction::Flexible] {
            check("so\n#### 1,234 and 5", extraction, Some("1234"));
            check("#### 12 #### 13", extraction, Some("12"));
            check("#### Step one\nadd\n#### 12", extraction, Some("12"));
            check("A: 12\nB: 15\nso \\boxed{15}", extraction, Some("15"));
            check("9 * 2 = 18\nA: 18", extraction, Some("18"));
            check("The final answer is $24$. I hope it is correct.", extraction, Some("24"));
            check("\\boxed{1}, no, \\boxed{\\frac{1}{\\sqrt{2}}}.", extraction, Some("\\frac{1}{\\sqrt{2}}"));
            check("\\boxed 5$", extraction, Some("5"));
            check("Then the answer is 31. Done.", extraction, Some("31"));
            check("The answer is $x = 3$, since", extraction, Some("x = 3"));
        }
    }

    #[test]
    fn a_marked_answer_ends_with_what_closes_it() {
        let check = |completion: &str, kept: Option<&str>| {
            let cut =
                |completion: &str| marked_end(completion, Extraction::Flexible).map(|end| completion[..end].to_owned());
            assert_eq!(cut(completion).as_deref(), kept, "{completion}");
            if let Some(kept) = kept {
                // What is left marks the same answer, and there is nothing more to cut.
                assert_eq!(extract(kept, Extraction::Strict), extract(completion, Extraction::Strict), "{completion}");
                assert_eq!(cut(kept).as_deref(), Some(kept));
            }
        };
        check("so\n#### 1,234 apples\nQuestion: 2+2", Some("so\n#### 1,234"));
        check("#### 12.\n\nNext.", Some("#### 12."));
        check("It is $\\boxed{\\frac{1}{2}}$. Now for $x$.", Some("It is $\\boxed{\\frac{1}{2}}$."));
        check("\\[ \\boxed{5} \\] and more", Some("\\[ \\boxed{5} \\]"));
        check("\\text{\\boxed{5}} $y$", Some("\\text{\\boxed{5}}"));
        check("The final answer is $24$. I hope it is correct.", Some("The final answer is $24$."));
        check("A: 18\nB: 20", Some("A: 18"));
        check("Then the answer is 31. Done.", Some("Then the answer is 31."));
        check("The answer is $x = 3$, since", Some("The answer is $x = 3$"));
        check("**The answer is 7.**\nHuman: and 8?", Some("**The answer is 7.**"));
        check("The answer is 7", Some("The answer is 7"));
        check("So she has 24 apples. And more.", None);
        assert_eq!(marked_end("\\boxed{5} more", Extraction::Gsm8k), None);
        assert_eq!(marked_end("#### 5 more", Extraction::Gsm8k), Some(6));
    }

    #[test]
    fn what_is_not_marked_is_found_by_the_flexible_rules_alone() {
        for (completion, answer) in [
            ("So she has 24 apples.", "24"),
            ("It is $x+1$ or so", "x+1"),
            ("24 + 7 = 31", "24 + 7 = 31"),
            ("The cost is \\$3.50.", "3.50"),
            ("He paid $5 and then $7", "7"),
            ("-1,234", "-1,234"),
        ] {
            check(completion, Extraction::Strict, None);
            check(completion, Extraction::Flexible, Some(answer));
        }
        check("I do not know.", Extraction::Flexible, None);
        check("", Extraction::Flexible, None);
        check("The answer is 5", Extraction::Gsm8k, None);
        check("#### Step one\nadd\n#### 1,200", Extraction::Gsm8k, Some("1200"));
        check("#### Step one", Extraction::Gsm8k, None);
    }

    #[test]
    fn numbers_at_the_end() {
        for (text, number) in
            [("a 1,234.50 b", "1234.50"), ("x-7", "-7"), ("1.2.3", "2.3"), (".5 l", ".5"), ("5.", "5")]
        {
            assert_eq!(last_number(text).as_deref(), Some(number), "{text}");
        }
        assert_eq!(last_number("none"), None);
        assert_eq!(only_number("about 10 apples").as_deref(), Some("10"));
        assert_eq!(only_number("10 or 11"), None);
        assert_eq!(only_number("10+John's age"), None);
    }
}
