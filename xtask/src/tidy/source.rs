//! Rust sources with what is not code blanked out, so that a rule can search for plain text.

/// `source` with comments, strings and character literals replaced by spaces; the lines stay where they are.
pub fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let after_word = out.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let skipped = comment(rest).or_else(|| raw_string(rest, after_word)).or_else(|| quoted(rest));
        match skipped {
            Some(length) => {
                out.extend(rest[..length].chars().map(|skipped| if skipped == '\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// `code` (see [`code`]) with every item under `#[cfg(test)]` blanked out.
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (before, item) = rest.split_at(start);
        out.push_str(before);
        let length = item_length(item);
        out.extend(item[..length].chars().map(|skipped| if skipped == '\n' { '\n' } else { ' ' }));
        rest = &item[length..];
    }
    out + rest
}

/// True where `pattern` stands in `text` and is no part of a longer word.
pub fn contains_word(text: &str, pattern: &str) -> bool {
    let of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(pattern).any(|(start, _)| {
        let before = text[..start].chars().next_back().is_some_and(of_word) && pattern.starts_with(of_word);
        let after = text[start + pattern.len()..].chars().next().is_some_and(of_word) && pattern.ends_with(of_word);
        !before && !after
    })
}

/// The line, from 1, of the byte at `offset`.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Length of the comment that `text` starts with; block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// Length of the raw string that `text` starts with: `r"..."`, `r#"..."#`, `br"..."` and so on.
fn raw_string(text: &str, after_word: bool) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r')).filter(|_| !after_word)?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inside = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&end).map_or(text.len(), |found| text.len() - inside.len() + found + end.len()))
}

/// Length of the string or character literal that `text` starts with; a lifetime is none.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|first| ['"', '\''].contains(first))?;
    let mut letters = text[1..].char_indices();
    if quote == '\'' {
        let mut ahead = text[1..].chars();
        let is_literal = matches!((ahead.next(), ahead.next()), (Some('\\'), _) | (_, Some('\'')));
        if !is_literal {
            return None;
        }
    }
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            _ if letter == quote => return Some(1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Length of the item with its attributes: up to the `;` or the closing brace that ends it.
fn item_length(text: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, words: &str) {
        let code = code(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), words);
        assert_eq!(code.lines().count(), source.lines().count(), "lines stay where they are");
    }

    #[test]
    fn comments_and_literals_are_blanked() {
        check("a // b\nc", "a c");
        check("a /* b /* c */\n d */ e", "a e");
        check("f(\"b // \\\" c\", d) // e", "f( , d)");
        check("f(r#\"b\" c\"#, br\"\\\", d)", "f( , , d)");
        check("'\\'' a 'b' c '\"' d", "a c d");
        check("fn f<'a>(x: &'a str) -> &'static str", "fn f<'a>(x: &'a str) -> &'static str");
        check("for \"x\" bar\"y\" é\"ü\" z", "for bar é z");
    }

    #[test]
    fn test_items_are_blanked() {
        let code = "a;\n#[cfg(test)]\nmod tests {\n fn b() { c }\n}\nd;\n#[cfg(test)]\nuse e;\nf";
        let left = without_tests(code);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["a;", "d;", "f"]);
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn words_end_where_letters_end() {
        assert!(contains_word("use burn::x", "burn") && contains_word("burn-flex", "burn"));
        assert!(!contains_word("burned auburn burn_in", "burn"));
        assert!(contains_word("x.todo!()", "todo!") && !contains_word("my_todo!()", "todo!"));
        assert!(contains_word("Tensor::<2>::random(x)", ">::random("));
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!([line_of("a\nb", 0), line_of("a\nb", 2)], [1, 2]);
    }
}
