//! Stems of English words: Porter, "An algorithm for suffix stripping", 1980, steps 1 and 5, which take off plurals, `-ed`,
//! `-ing`, a last `e` and doubled letters. Steps 2 to 4 make nouns of adjectives and the like, which would find too much.

/// Which letters are vowels: a, e, i, o, u, and y after a consonant.
fn vowels(word: &[char]) -> Vec<bool> {
    let mut found: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word {
        found.push(match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => true,
            'y' => found.last().is_some_and(|before| !before),
            _ => false,
        });
    }
    found
}

fn has_vowel(word: &[char]) -> bool {
    vowels(word).contains(&true)
}

/// How often a consonant follows a vowel: Porter's m.
fn measure(word: &[char]) -> usize {
    vowels(word).windows(2).filter(|pair| pair[0] && !pair[1]).count()
}

/// Whether the word ends with one consonant twice.
fn is_doubled(word: &[char]) -> bool {
    matches!(word, [.., left, right] if left == right) && vowels(word).ends_with(&[false])
}

/// Whether the word ends with consonant, vowel, and a consonant other than w, x and y: Porter's *o.
fn is_short(word: &[char]) -> bool {
    vowels(word).ends_with(&[false, true, false]) && !matches!(word.last(), Some('w' | 'x' | 'y'))
}

/// Whether a word ends so.
fn ends(word: &[char], end: &str) -> bool {
    word.len() >= end.len() && word.iter().rev().zip(end.chars().rev()).all(|(left, right)| *left == right)
}

/// The stem of a word in lower case; one of two letters is its own.
pub(crate) fn stem(word: &str) -> String {
    let mut word: Vec<char> = word.chars().collect();
    if word.len() <= 2 {
        return word.into_iter().collect();
    }
    // 1a
    if ends(&word, "sses") || ends(&word, "ies") {
        word.truncate(word.len() - 2);
    } else if ends(&word, "s") && !ends(&word, "ss") {
        word.truncate(word.len() - 1);
    }
    // 1b
    if ends(&word, "eed") {
        if measure(&word[..word.len() - 3]) > 0 {
            word.truncate(word.len() - 1);
        }
    } else {
        let suffix = if ends(&word, "ed") {
            2
        } else if ends(&word, "ing") {
            3
        } else {
            0
        };
        if suffix > 0 && has_vowel(&word[..word.len() - suffix]) {
            word.truncate(word.len() - suffix);
            if ["at", "bl", "iz"].into_iter().any(|end| ends(&word, end)) {
                word.push('e');
            } else if is_doubled(&word) && !matches!(word.last(), Some('l' | 's' | 'z')) {
                word.pop();
            } else if measure(&word) == 1 && is_short(&word) {
                word.push('e');
            }
        }
    }
    // 1c
    if ends(&word, "y") && has_vowel(&word[..word.len() - 1]) {
        word.pop();
        word.push('i');
    }
    // 5a and 5b
    if ends(&word, "e") {
        let before = &word[..word.len() - 1];
        let falls = measure(before) > 1 || (measure(before) == 1 && !is_short(before));
        word.truncate(word.len() - usize::from(falls));
    }
    if ends(&word, "ll") && measure(&word) > 1 {
        word.pop();
    }
    word.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_paper_have_the_stems_of_the_paper() {
        // The examples of steps 1 and 5 that no later step of these changes again.
        let pairs = [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("ties", "ti"),
            ("caress", "caress"),
            ("cats", "cat"),
            ("feed", "feed"),
            ("plastered", "plaster"),
            ("bled", "bled"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("tanned", "tan"),
            ("falling", "fall"),
            ("hissing", "hiss"),
            ("fizzed", "fizz"),
            ("failing", "fail"),
            ("filing", "file"),
            ("happy", "happi"),
            ("sky", "sky"),
            ("probate", "probat"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("controll", "control"),
            ("roll", "roll"),
        ];
        for (word, expected) in pairs {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    #[test]
    fn forms_of_a_word_meet_and_words_stay_apart() {
        for forms in [
            &["run", "runs", "running"][..],
            &["dance", "dances", "danced", "dancing"],
            &["make", "makes", "making"],
            &["control", "controls", "controlled"],
            &["agree", "agreed"],
            &["pony", "ponies"],
        ] {
            assert!(forms.iter().all(|form| stem(form) == stem(forms[0])), "{forms:?}");
        }
        for (left, right) in [("hop", "hope"), ("hopping", "hoping"), ("dog", "do"), ("sing", "s")] {
            assert_ne!(stem(left), stem(right));
        }
        assert_eq!(["", "a", "is", "éé"].map(stem), ["", "a", "is", "éé"]);
        // Letters y are consonant and vowel in turn, and a long run of them is a word.
        assert_eq!(stem(&("y".repeat(100_000) + "ing")), "y".repeat(99_999) + "i");
    }
}
