//! Porter's stemmer (M. F. Porter, Program 14, 1980), with the additions of NLTK that `rouge-score` uses: words of two
//! letters stay, a table of irregular forms, `ied` and `ies` in short words, `y` after a consonant, `alli`, `fulli`,
//! `logi`.

/// Forms that the rules would spoil.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffix and replacement, where the measure of the stem is above 0.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Suffixes that go where the measure of the stem is above 1; `ion` only after s or t.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// The stem of a word of lower-case ASCII letters and digits.
pub(super) fn stem(word: &str) -> String {
    if let Some((_, form)) = IRREGULAR.iter().find(|(other, _)| *other == word) {
        return (*form).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let word = final_y(&past_and_gerund(&plural(word)));
    let word = replaced(&derivation(&word), &STEP_3);
    final_l(&final_e(&step_4(&word)))
}

/// Which letters are consonants: all but a, e, i, o, u and a y behind a consonant.
fn consonants(word: &str) -> Vec<bool> {
    let mut found: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        found.push(match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => found.last().is_none_or(|before| !before),
            _ => true,
        });
    }
    found
}

/// How often a vowel is followed by a consonant.
fn measure(word: &str) -> usize {
    consonants(word).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(word: &str) -> bool {
    consonants(word).contains(&false)
}

fn ends_in_consonant(word: &str) -> bool {
    consonants(word).ends_with(&[true])
}

fn ends_double_consonant(word: &str) -> bool {
    matches!(word.as_bytes(), [.., a, b] if a == b) && ends_in_consonant(word)
}

/// Consonant, vowel, consonant other than w, x, y; or two letters, vowel and consonant.
fn ends_cvc(word: &str) -> bool {
    let found = consonants(word);
    found == [false, true] || (found.ends_with(&[true, false, true]) && !word.ends_with(['w', 'x', 'y']))
}

/// The first rule whose suffix fits decides, whether or not its condition holds.
fn replaced(word: &str, rules: &[(&str, &str)]) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if measure(stem) > 0 { format!("{stem}{replacement}") } else { word.to_owned() };
        }
    }
    word.to_owned()
}

fn plural(word: &str) -> String {
    if word.len() == 4
        && let Some(stem) = word.strip_suffix("ies")
    {
        return format!("{stem}ie");
    }
    for (suffix, replacement) in [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")] {
        if let Some(stem) = word.strip_suffix(suffix) {
            return format!("{stem}{replacement}");
        }
    }
    word.to_owned()
}

fn past_and_gerund(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if word.len() == 4 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word.to_owned() };
    }
    let cut = |suffix: &str| word.strip_suffix(suffix).filter(|stem| has_vowel(stem));
    let Some(stem) = cut("ed").or_else(|| cut("ing")) else { return word.to_owned() };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    if ends_double_consonant(stem) {
        let keep = ["l", "s", "z"].iter().any(|end| stem.ends_with(end));
        return stem[..stem.len() - usize::from(!keep)].to_owned();
    }
    if measure(stem) == 1 && ends_cvc(stem) { format!("{stem}e") } else { stem.to_owned() }
}

fn final_y(word: &str) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && ends_in_consonant(stem) => format!("{stem}i"),
        _ => word.to_owned(),
    }
}

fn derivation(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("alli")
        && measure(stem) > 0
    {
        return derivation(&format!("{stem}al"));
    }
    if STEP_2.iter().all(|(suffix, _)| !word.ends_with(suffix))
        && let Some(stem) = word.strip_suffix("logi")
    {
        // The measure counts the l.
        return if measure(&word[..word.len() - 3]) > 0 { format!("{stem}log") } else { word.to_owned() };
    }
    replaced(word, &STEP_2)
}

fn step_4(word: &str) -> String {
    for suffix in STEP_4 {
        if let Some(stem) = word.strip_suffix(suffix) {
            let fits = measure(stem) > 1 && (suffix != "ion" || stem.ends_with('s') || stem.ends_with('t'));
            return (if fits { stem } else { word }).to_owned();
        }
    }
    word.to_owned()
}

fn final_e(word: &str) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_cvc(stem)) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

fn final_l(word: &str) -> String {
    let shorter = &word[..word.len().saturating_sub(1)];
    (if word.ends_with("ll") && measure(shorter) > 1 { shorter } else { word }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters y are consonant and vowel in turn, here from a consonant to a vowel, so `ing` goes, and what stands before the last one
    /// is a consonant: it becomes i.
    #[test]
    fn a_long_word_is_a_word() {
        assert_eq!(stem(&("y".repeat(100_000) + "ing")), "y".repeat(99_999) + "i");
    }

    /// Examples of Porter's paper.
    #[test]
    fn words_of_the_paper() {
        let pairs = "caresses caress, ponies poni, cats cat, feed feed, agreed agre, plastered plaster, motoring motor, \
                     sing sing, hopping hop, falling fall, filing file, happy happi, relational relat, conditional condit, \
                     digitizer digit, operator oper, triplicate triplic, hopefulness hope, goodness good, revival reviv, \
                     adoption adopt, probate probat, rate rate, controll control, roll roll, skies sky, dying die, \
                     dies die, tied tie";
        for pair in pairs.split(", ") {
            let (word, expected) = pair.trim().split_once(' ').unwrap();
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
