//! Where a text may be cut, and where it must not be.

use std::ops::Range;

/// Words that end in a full stop without ending a sentence.
const ABBREVIATIONS: [&str; 16] =
    ["e.g", "i.e", "etc", "vs", "cf", "approx", "resp", "eq", "eqs", "fig", "mr", "mrs", "ms", "dr", "prof", "st"];

/// Behind every run of the delimiter.
pub(super) fn behind_runs(text: &str, delimiter: &str) -> Vec<usize> {
    let ends = text.match_indices(delimiter).map(|(at, _)| at + delimiter.len());
    ends.filter(|end| !text[*end..].starts_with(delimiter)).collect()
}

/// Before every `Step 1:` that begins the text or follows a blank.
pub(super) fn before_headers(text: &str) -> Vec<usize> {
    let is_header = |at: usize| {
        let Some(number) = text[at..].strip_prefix("Step ") else { return false };
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && number[digits..].starts_with(':') && text[..at].ends_with(char::is_whitespace)
    };
    text.match_indices("Step ").map(|(at, _)| at).filter(|at| is_header(*at)).collect()
}

/// Behind every sentence and the blanks that follow it.
pub(super) fn behind_sentences(text: &str) -> Vec<usize> {
    let formulas = inline_formulas(text);
    let ends = text.char_indices().filter(|(_, letter)| ['.', '!', '?'].contains(letter));
    let cut = |(at, letter): (usize, char)| {
        let behind = &text[at + 1..];
        let closed = behind.trim_start_matches(['"', '\'', ')', ']', '*']);
        let next = closed.trim_start();
        let ends = next.len() < closed.len() && !next.is_empty();
        let is_stop = letter != '.' || !(is_abbreviation(&text[..at]) || is_list_number(&text[..at]));
        let inside = formulas.iter().any(|formula| formula.contains(&at));
        (ends && is_stop && !inside).then(|| text.len() - next.len())
    };
    ends.filter_map(cut).collect()
}

/// Fenced blocks of code and displayed formulas. A fence that is not closed goes to the end; a formula that is not closed is
/// none.
pub(super) fn protected(text: &str) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let line_starts = at == 0 || text[..at].ends_with('\n');
        let end = if line_starts && rest.starts_with("```") {
            let closing = rest.find("\n```").map(|end| end + 4);
            Some(closing.unwrap_or(rest.len()))
        } else {
            [("$$", "$$"), ("\\[", "\\]")].into_iter().find_map(|(open, close)| {
                let inside = rest.strip_prefix(open)?;
                Some(open.len() + inside.find(close)? + close.len())
            })
        };
        match end {
            Some(length) => {
                regions.push(at..at + length);
                at += length;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    regions
}

/// `$..$` within a line, and `\(..\)`.
fn inline_formulas(text: &str) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let dollar = || {
            let line = rest.strip_prefix('$')?.lines().next()?;
            let end = line.match_indices('$').map(|(end, _)| end).find(|end| !line[..*end].ends_with('\\'))?;
            Some(end + 2)
        };
        let bracket = || Some(rest.strip_prefix("\\(")?.find("\\)")? + 4);
        match (rest.starts_with("\\$"), dollar().or_else(bracket)) {
            (true, _) => at += 2,
            (false, Some(length)) => {
                regions.push(at..at + length);
                at += length;
            }
            (false, None) => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    regions
}

fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|letter: char| letter.is_whitespace() || "(\"'".contains(letter)).next();
    word.is_some_and(|word| ABBREVIATIONS.contains(&word.to_lowercase().as_str()))
}

/// Whether a line holds nothing but digits up to here: `2. Then ..`.
fn is_list_number(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}
