//! The answer checker against Math-Verify, PRM800K's grader and TRL's reward for right answers, row by row.

use ascribe_process::{Checker, Extraction, Preset, Verdict, Why};
use ascribe_testkit::golden;

/// Rows of `pairs.json` that are marked as disputable and where we differ: gold answer, answer, and why ours is another.
const DISPUTED: [(&str, &str, &str); 13] = [
    ("$258$", "\\$258", "an escaped dollar is currency; the reference reads nothing"),
    ("$443$", "\\$443", "an escaped dollar is currency; the reference reads nothing"),
    ("$258.50$", "$258.5 dollars$", "a unit behind a number goes; the reference multiplies letters"),
    ("$443.50$", "$443.5 dollars$", "a unit behind a number goes; the reference multiplies letters"),
    ("$31$", "First \\boxed{32}, but in fact \\boxed{31}.", "the last box counts; the reference reads a set of both"),
    ("$40$", "First \\boxed{41}, but in fact \\boxed{40}.", "the last box counts; the reference reads a set of both"),
    ("$1200$", "1.2e3", "a power of ten behind e is read; the reference stops before it"),
    ("$\\text{A}$", "(A)", "a choice in brackets is that choice; the reference reads nothing"),
    ("$B$", "The answer is B", "a choice is found in a sentence; the reference reads nothing"),
    ("$12000$", "$12\\,000$", "a thin space separates thousands; the reference reads two numbers"),
    ("$3.5$", "The cost is \\$3.50.", "an escaped dollar is currency; the reference reads nothing"),
    ("$3$", "\\fbox{3}", "a frame is a box; the reference reads nothing"),
    ("$\\text{Monday}$", "Monday", "words are compared without case and commands; the reference reads nothing"),
];

/// The row that is disputable under our own rules alone: gold answer, answer, and why ours is another.
const DISPUTED_UNDER_OURS: [(&str, &str, &str); 1] = [(
    "$2\\pi$",
    "$6.283185$",
    "a decimal is no approximation of an irrational number; the reference and the preset math_verify take it for one",
)];

fn verdict(preset: Preset, gold: &str, answer: &str) -> Verdict {
    let checker = Checker::of(preset);
    checker.check(answer, &checker.gold(gold).expect("a gold answer")).verdict
}

#[test]
fn math_verify_is_agreed_with_and_what_is_disputed_is_listed() {
    let (mut undecided, mut rows, mut ours_alone) = (0, 0, 0);
    let mut disputed = Vec::new();
    for case in golden::open("answers/pairs.json").get("pairs").items() {
        let (gold, answer) = (case.get("gold").text(), case.get("answer").text());
        let equivalent = case.get("equivalent").json() == true;
        rows += 1;
        for preset in [Preset::MathVerify, Preset::Ours] {
            let got = verdict(preset, &gold, &answer);
            undecided += usize::from(got == Verdict::Undecided);
            if (got == Verdict::Correct) == equivalent {
                continue;
            }
            let is_in = |list: &[(&str, &str, &str)]| {
                list.iter().any(|(one, other, _)| (*one, *other) == (gold.as_str(), answer.as_str()))
            };
            let (listed, under_ours) = (is_in(&DISPUTED), is_in(&DISPUTED_UNDER_OURS));
            let disputable = listed && case.get("disputable").json() == true || under_ours && preset == Preset::Ours;
            assert!(disputable, "{}: `{gold}` and `{answer}` under {preset:?}: {got:?}", case.name());
            ours_alone += usize::from(under_ours);
            if listed && preset == Preset::MathVerify {
                disputed.push((gold.clone(), answer.clone()));
            }
        }
    }
    assert_eq!(disputed.len(), DISPUTED.len(), "every row of the list is one where we differ: {disputed:?}");
    assert_eq!(ours_alone, DISPUTED_UNDER_OURS.len(), "every row of the other list is one where ours alone differs");
    assert!(rows >= 165 && undecided * 20 <= rows, "{undecided} of {rows} rows undecided");
}

#[test]
fn the_strict_grader_is_agreed_with() {
    let checker = Checker::of(Preset::Prm800k);
    let mut undecided = 0;
    let cases = golden::open("answers/prm800k_grader.json").get("pairs").items();
    for case in &cases {
        let (truth, given) = (case.get("ground_truth").text(), case.get("given").text());
        let equivalent = case.get("equivalent").json() == true;
        let Ok(gold) = checker.gold(&truth) else {
            // The reference says that nothing equals an empty gold answer; here it is refused.
            assert!(truth.is_empty() && !equivalent, "{}: refused", case.name());
            continue;
        };
        let checked = checker.compare(&given, &gold);
        undecided += usize::from(checked.verdict == Verdict::Undecided);
        assert_eq!(
            checked.verdict == Verdict::Correct,
            equivalent,
            "{}: {truth} and {given}: {checked:?}",
            case.name()
        );
    }
    assert!(undecided * 20 <= cases.len());
}

/// TRL reads mathematics that nothing marks as an answer for none, as we do under strict extraction.
#[test]
fn golden_accuracy_rewards_agree_with_trl() {
    let cases = golden::open("reward/reward_functions_trl.json").get("accuracy").items();
    for case in &cases {
        for preset in [Preset::MathVerify, Preset::Ours] {
            let checker = Checker { extraction: Extraction::Strict, ..Checker::of(preset) };
            let gold = checker.gold(&case.get("solution").text()).expect("a gold answer");
            let checked = checker.check(&case.get("completion").text(), &gold);
            assert_eq!(checked.verdict.reward(), case.get("reward").number(), "{}: {checked:?}", case.name());
        }
    }
    assert_eq!(cases.len(), 6);
}

#[test]
fn two_writings_of_a_fraction_are_one_unless_the_form_counts() {
    let (ours, strict) = (Checker::default(), Checker::of(Preset::Prm800k));
    let checked =
        |checker: &Checker| checker.compare("\\frac{2}{4}", &checker.gold("\\frac12").expect("a gold answer"));
    assert_eq!(checked(&ours).verdict, Verdict::Correct);
    assert_eq!((checked(&strict).verdict, checked(&strict).why), (Verdict::Wrong, Why::Form));
}
