use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(gold: &str, answer: &str, verdict: Verdict) {
    let checker = Checker::default();
    let checked = checker.compare(answer, &checker.gold(gold).unwrap());
    assert_eq!(checked.verdict, verdict, "{gold} and {answer}: {checked:?}");
}

#[test]
fn writings_of_one_number() {
    for one in ["1/2", "0.5", "\\frac12", "50%", "\\dfrac{1}{2}", ".5", "$\\frac{2}{4}$"] {
        for other in ["1/2", "0.5", "\\frac12", "\\tfrac{4}{8}"] {
            check(one, other, Verdict::Correct);
        }
    }
    check("1,234", "1234", Verdict::Correct);
    check("1234", "1,234", Verdict::Correct);
    check("7 3/4", "31/4", Verdict::Correct);
    check("-7 3/4", "-31/4", Verdict::Correct);
    check("2 million", "2000000", Verdict::Correct);
    check("5.000", "5", Verdict::Correct);
    check("x = 5", "5", Verdict::Correct);
    check("10 apples", "10", Verdict::Correct);
}

#[test]
fn a_percent_sign_is_a_hundredth_where_it_was_seen_and_nowhere_else() {
    check("50%", "0.5", Verdict::Correct);
    check("50%", "50", Verdict::Correct);
    check("50%", "5000", Verdict::Wrong);
    check("0.5", "50%", Verdict::Correct);
    check("5", "500", Verdict::Wrong);
    let lenient = Checker { percent_lenient: true, ..Checker::default() };
    assert_eq!(lenient.compare("500", &lenient.gold("5").unwrap()).verdict, Verdict::Correct);
}

#[test]
fn an_integer_is_not_approximated_when_one_is_asked_for() {
    let integers = Checker { kind: Some(AnswerKind::Integer), ..Checker::default() };
    let gold = integers.gold("1200").unwrap();
    assert_eq!(integers.compare("1199.9", &gold).verdict, Verdict::Wrong);
    assert_eq!(integers.compare("1200.0", &gold).verdict, Verdict::Correct);
}

#[test]
fn choices_and_words() {
    check("A", "(A)", Verdict::Correct);
    check("\\text{(B)}", "B.", Verdict::Correct);
    check("B", "A", Verdict::Wrong);
    check("B", "none", Verdict::NoAnswer);
    check("\\text{Monday}", "monday", Verdict::Correct);
    check("even", "odd", Verdict::Wrong);
    check("5", "even", Verdict::Wrong);
    let checker = Checker::default();
    let said = |completion: &str, gold: &str| checker.check(completion, &checker.gold(gold).unwrap()).verdict;
    assert_eq!(said("I think (B) is right, and A is not", "A"), Verdict::Correct);
    assert_eq!(said("The answer is B", "B"), Verdict::Correct);
    assert_eq!(said("No", "Yes"), Verdict::Wrong);
    assert_eq!(said("Apollo 11", "Apollo 11"), Verdict::Correct);
    assert_eq!(said("They flew with Apollo 11 in the year 1969,\nas everybody knows", "Apollo 11"), Verdict::NoAnswer);
    assert_eq!(said("The answer is about 10 apples", "10"), Verdict::Correct);
    assert_eq!(said("I do not know", "5"), Verdict::NoAnswer);
}

#[test]
fn a_gold_answer_that_is_none_is_refused() {
    let checker = Checker::default();
    for text in ["", " ", "$$", "\\boxed{}", &"1".repeat(513)] {
        assert!(matches!(checker.gold(text), Err(ProcessError::Gold { .. })), "{text}");
    }
    let gsm8k = Checker { extraction: Extraction::Gsm8k, ..checker };
    assert!(gsm8k.gold("so #### many").is_err());
    assert_eq!(gsm8k.gold("so\n#### 1,018").unwrap().answer(), "1018");
    for (kind, text) in [
        (AnswerKind::Integer, "1/2"),
        (AnswerKind::Numeric, "x"),
        (AnswerKind::Choice, "F"),
        (AnswerKind::Tuple, "1"),
        (AnswerKind::Expr, "words only"),
    ] {
        assert!(Checker { kind: Some(kind), ..checker }.gold(text).is_err(), "{kind:?} {text}");
    }
    assert_eq!(Checker { kind: Some(AnswerKind::Expr), ..checker }.gold("A").unwrap().kind(), AnswerKind::Expr);
}

#[test]
fn the_kind_is_read_from_the_gold_answer() {
    let kind = |text: &str| Checker::default().gold(text).unwrap().kind();
    assert_eq!(
        (kind("-12"), kind("0.5"), kind("\\frac12")),
        (AnswerKind::Integer, AnswerKind::Numeric, AnswerKind::Numeric)
    );
    assert_eq!((kind("x+1"), kind("\\sqrt2"), kind("x>3")), (AnswerKind::Expr, AnswerKind::Expr, AnswerKind::Expr));
    assert_eq!((kind("(1,2)"), kind("B"), kind("even")), (AnswerKind::Tuple, AnswerKind::Choice, AnswerKind::Text));
}

#[test]
fn what_is_beyond_a_limit_is_undecided_and_says_why() {
    let checker = Checker::default();
    let gold = checker.gold("x+5").unwrap();
    for (answer, why) in [
        ("1".repeat(600), Why::Long),
        (format!("{}x{}", "(".repeat(100), ")".repeat(100)), Why::Long),
        ("a+b+c".into(), Why::Symbols),
        ("(x+y+z)^{64}+x+5-(x+y+z)^{64}".into(), Why::Large),
        ("x+5+1/0".into(), Why::Undefined),
        ("x+*5".into(), Why::Unreadable),
    ] {
        let checked = checker.compare(&answer, &gold);
        assert_eq!((checked.verdict, checked.why), (Verdict::Undecided, why), "{answer}");
    }
}

#[test]
fn the_work_on_a_long_text_grows_with_its_length_alone() {
    // With its square, each of these would take minutes.
    let checker = Checker::default();
    let golds = ["5", "B", "even", "(1,2)"].map(|gold| checker.gold(gold).unwrap());
    for part in ["1", "\\text{", "#### ", "\\boxed{", "$ "] {
        let text = part.repeat(1 << 18);
        for gold in &golds {
            let verdicts = [checker.compare(&text, gold), checker.check(&text, gold)].map(|checked| checked.verdict);
            assert!(!verdicts.contains(&Verdict::Correct), "{part}");
        }
    }
}

/// Mathematics that people write.
fn any_answer() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-50i32..50).prop_map(|n| n.to_string()),
        (1i32..50, 1i32..50).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
        (0i32..50, 0i32..100).prop_map(|(a, b)| format!("{a}.{b:02}")),
        (1i32..9).prop_map(|n| format!("\\sqrt{{{n}}}")),
        prop::sample::select(vec!["x".to_owned(), "x^2+1".into(), "2\\pi".into(), "50%".into(), "\\infty".into()]),
    ];
    let item = number.boxed();
    let items = prop::collection::vec(item.clone(), 1..4);
    prop_oneof![
        item,
        items.clone().prop_map(|items| format!("({})", items.join(", "))),
        items.clone().prop_map(|items| format!("\\{{{}\\}}", items.join(", "))),
        items.prop_map(|items| items.join(", ")),
    ]
}

proptest! {
    #[test]
    fn equivalence_is_reflexive(answer in any_answer()) {
        for preset in [Preset::Ours, Preset::MathVerify, Preset::Prm800k] {
            let checker = Checker::of(preset);
            let gold = checker.gold(&answer).unwrap();
            prop_assert_eq!(checker.compare(&answer, &gold).verdict, Verdict::Correct, "{}", answer);
        }
    }

    #[test]
    fn equivalence_is_symmetric(one in any_answer(), other in any_answer()) {
        for preset in [Preset::Ours, Preset::MathVerify] {
            let checker = Checker::of(preset);
            let forth = checker.compare(&other, &checker.gold(&one).unwrap()).verdict;
            let back = checker.compare(&one, &checker.gold(&other).unwrap()).verdict;
            prop_assert_eq!(forth, back, "{} and {}", one, other);
        }
    }

    #[test]
    fn any_text_has_a_verdict_and_always_the_same(text in "\\PC{0,80}", near in "[-0-9a-z\\\\{}()\\[\\]$%.,=<>^_&| ]{0,60}") {
        for preset in [Preset::Ours, Preset::MathVerify, Preset::Prm800k] {
            let checker = Checker::of(preset);
            for (gold, completion) in [("5", &text), ("x+1", &near), ("(1,2)", &near), ("B", &text), ("even", &near)] {
                let gold = checker.gold(gold).unwrap();
                prop_assert_eq!(checker.check(completion, &gold), checker.check(completion, &gold));
                // What is nothing but a unit is nothing to the strict comparison.
                let own = checker.gold(completion).ok().filter(|_| preset != Preset::Prm800k);
                if let Some(gold) = own {
                    prop_assert_eq!(checker.compare(gold.answer(), &gold).verdict, Verdict::Correct, "{}", completion);
                }
            }
        }
    }
}
