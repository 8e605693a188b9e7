// What must hold of any bytes; also run over the corpus by a plain test.

use ascribe_process::{Checker, Extraction, Preset, Verdict};

/// The first line is the gold answer, the rest a completion. Every check ends, gives the same verdict again, and finds a gold
/// answer equal to itself.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (gold, completion) = text.split_once('\n').unwrap_or((&*text, &*text));
    for preset in [Preset::Ours, Preset::MathVerify, Preset::Prm800k] {
        for extraction in [Extraction::Gsm8k, Extraction::Strict, Extraction::Flexible] {
            let checker = Checker { preset, extraction, ..Checker::default() };
            let Ok(gold) = checker.gold(gold) else { continue };
            let checked = checker.check(completion, &gold);
            assert_eq!(checked, checker.check(completion, &gold));
            if preset != Preset::Prm800k {
                assert_eq!(checker.compare(gold.answer(), &gold).verdict, Verdict::Correct);
            }
        }
    }
}
