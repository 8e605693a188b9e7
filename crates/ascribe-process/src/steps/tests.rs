use proptest::prelude::*;

use super::*;

fn pieces(segmenter: &Segmenter, text: &str) -> Vec<String> {
    segmenter.split(text).unwrap().into_iter().map(|range| text[range].to_owned()).collect()
}

fn delimiter(text: &str) -> Segmenter {
    Segmenter::Delimiter(text.to_owned())
}

/// One token for each character.
fn offsets(text: &str) -> Vec<Range<usize>> {
    text.char_indices().map(|(at, letter)| at..at + letter.len_utf8()).collect()
}

fn segmented(segmenter: &Segmenter, text: &str, ids: &[u32], offsets: &[Range<usize>]) -> Vec<StepSpan> {
    segmenter.segment(&Tokenized { text, ids, offsets }).unwrap()
}

#[test]
fn delimiters_belong_to_the_step_that_they_end() {
    assert_eq!(pieces(&delimiter("\n\n"), "a\n\nb\n\n\n\nc"), ["a\n\n", "b\n\n\n\n", "c"]);
    assert_eq!(pieces(&delimiter("\n"), "a\n \nb\n"), ["a\n \n", "b\n"]);
    assert_eq!(pieces(&delimiter("\n\n"), "\n\na\n\nb"), ["\n\na\n\n", "b"]);
    assert_eq!(pieces(&delimiter("\n\n"), "  "), ["  "]);
    assert_eq!(pieces(&delimiter("\n"), "\n\n"), ["\n\n"]);
}

#[test]
fn steps_that_were_cut_elsewhere_keep_their_ends() {
    let (text, ids) = ("ab cd", [1, 2, 3]);
    // Two tokens of two letters, and the blank between them.
    let offsets = [0..2, 2..3, 3..5];
    let given = |ends: &[usize]| given_steps(&Tokenized { text, ids: &ids, offsets: &offsets }, ends);
    assert_eq!(
        given(&[3, 5]).unwrap(),
        [StepSpan { bytes: 0..3, tokens: 0..2 }, StepSpan { bytes: 3..5, tokens: 2..3 }]
    );
    for (ends, said) in [
        (&[3, 4, 5][..], "the steps with a token of their own must be all of them"),
        (&[3, 3, 5], "of at least one byte"),
        (&[3], "together the whole response"),
        (&[3, 9], "of at least one byte"),
    ] {
        let error = given(ends).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn code_and_displayed_formulas_are_not_cut() {
    let code = "Run\n```\na\n\nb\n```\n\nthen\n\ndone";
    assert_eq!(pieces(&delimiter("\n\n"), code), ["Run\n```\na\n\nb\n```\n\n", "then\n\n", "done"]);
    assert_eq!(pieces(&delimiter("\n"), "x\n$$a\nb$$\ny"), ["x\n", "$$a\nb$$\n", "y"]);
    assert_eq!(pieces(&delimiter("\n"), "\\[a\nb\\] c\nd"), ["\\[a\nb\\] c\n", "d"]);
    assert_eq!(pieces(&delimiter("\n"), "$$a\nb"), ["$$a\n", "b"]);
    assert_eq!(pieces(&delimiter("\n"), "```\na\nb"), ["```\na\nb"]);
}

#[test]
fn headers_and_sentences() {
    let steps = "Step 1: a.\nStep 2: see Step x: b Step 3: c";
    assert_eq!(pieces(&Segmenter::Headers, steps), ["Step 1: a.\n", "Step 2: see Step x: b ", "Step 3: c"]);
    let sentences = |text: &str| pieces(&Segmenter::Sentences, text);
    assert_eq!(sentences("One is 3.5. Two! Three?"), ["One is 3.5. ", "Two! ", "Three?"]);
    assert_eq!(sentences("Use e.g. this (i.e. that). Done."), ["Use e.g. this (i.e. that). ", "Done."]);
    assert_eq!(sentences("So $a. b$ holds. \\(c. d\\) too."), ["So $a. b$ holds. ", "\\(c. d\\) too."]);
    assert_eq!(sentences("1. First.\n2. Then."), ["1. First.\n", "2. Then."]);
    assert_eq!(sentences("He said \"no.\" Then left."), ["He said \"no.\" ", "Then left."]);
}

#[test]
fn tokens_are_cut_by_count_and_by_marker() {
    let text = "abcdefg";
    let (ids, offsets) = ([1, 2, 9, 9, 3, 9, 4], offsets(text));
    let ends = |segmenter: Segmenter| {
        segmented(&segmenter, text, &ids, &offsets).iter().map(|step| step.tokens.end).collect::<Vec<_>>()
    };
    assert_eq!(ends(Segmenter::FixedLength(3)), [3, 6, 7]);
    // 7/3 = 2 and 14/3 = 4, rounded down.
    assert_eq!(ends(Segmenter::EqualParts(3)), [2, 4, 7]);
    assert_eq!(ends(Segmenter::EqualParts(1)), [7]);
    assert_eq!(ends(Segmenter::EqualParts(99)), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ends(Segmenter::MarkerToken(9)), [4, 6, 7]);
    assert_eq!(ends(Segmenter::MarkerToken(5)), [7]);
    // A run of markers at the beginning joins the step behind it.
    let marked = segmented(&Segmenter::MarkerToken(9), "xab", &[9, 1, 2], &[0..1, 1..2, 2..3]);
    assert_eq!(marked, [StepSpan { bytes: 0..3, tokens: 0..3 }]);
}

#[test]
fn a_token_that_straddles_belongs_to_the_step_of_its_first_byte() {
    let text = "a\n\nb\n\nc";
    // Tokens `a\n`, `\nb`, `\n\nc`, and an end token of no bytes: the last step has no first byte of a token but that.
    let offsets = [0..2, 2..4, 4..7, 7..7];
    let steps = segmented(&delimiter("\n\n"), text, &[0, 1, 2, 3], &offsets);
    // Bytes are cut at 3 and 6. Token 1 begins at 2, so it is the first step's; token 2 begins at 4.
    let expected = [(0..3, 0..2), (3..6, 2..3), (6..7, 3..4)].map(|(bytes, tokens)| StepSpan { bytes, tokens });
    assert_eq!(steps, expected);
    assert_eq!(steps[0].end_token(), 1);
    // Without the end token the last step has none, and joins the step before it.
    let steps = segmented(&delimiter("\n\n"), text, &[0, 1, 2], &offsets[..3]);
    let expected = [(0..3, 0..2), (3..7, 2..3)].map(|(bytes, tokens)| StepSpan { bytes, tokens });
    assert_eq!(steps, expected);
    let spans = step_spans(&steps, 10).unwrap();
    assert_eq!(spans.iter().collect::<Vec<_>>(), [10..12, 12..13]);
}

#[test]
fn what_is_no_response_is_refused() {
    let segment = |segmenter: Segmenter, text: &str, ids: &[u32], offsets: &[Range<usize>]| {
        segmenter.segment(&Tokenized { text, ids, offsets })
    };
    assert!(matches!(delimiter("").split("a"), Err(ProcessError::Empty { .. })));
    assert!(matches!(delimiter("\n").split(""), Err(ProcessError::Empty { .. })));
    assert!(Segmenter::FixedLength(2).split("a").is_err());
    assert!(matches!(segment(delimiter("\n"), "", &[], &[]), Err(ProcessError::Empty { .. })));
    assert!(matches!(segment(delimiter("\n"), "a", &[], &[]), Err(ProcessError::Empty { .. })));
    assert!(matches!(segment(delimiter("\n"), "a", &[1], &[]), Err(ProcessError::Length { .. })));
    let backwards = Range { start: 2, end: 1 };
    for offsets in [[1..2, 0..1], [0..2, 1..1], [0..1, 1..9], [0..1, backwards]] {
        let refused = segment(delimiter("\n"), "ab", &[1, 2], &offsets);
        assert!(matches!(refused, Err(ProcessError::Offsets { .. })), "{offsets:?}");
    }
    assert!(segment(Segmenter::FixedLength(0), "a", &[1], &offsets("a")).is_err());
    assert!(segment(Segmenter::EqualParts(0), "a", &[1], &offsets("a")).is_err());
}

fn any_segmenter() -> impl Strategy<Value = Segmenter> {
    prop_oneof![
        Just(delimiter("\n\n")),
        Just(delimiter("\n")),
        Just(Segmenter::Headers),
        Just(Segmenter::Sentences),
        (0u32..4).prop_map(Segmenter::MarkerToken),
        (1usize..6).prop_map(Segmenter::FixedLength),
        (1usize..9).prop_map(Segmenter::EqualParts),
    ]
}

const ANY_TEXT: &str = "([a-c é.$!]|\n|\n\n|Step 1: |```\n|\\$\\$|\\\\\\[|\\\\\\]){1,30}";

proptest! {
    #[test]
    fn steps_cover_text_and_tokens(segmenter in any_segmenter(), text in ANY_TEXT, width in 1usize..4) {
        // Tokens of `width` characters each, the last one shorter.
        let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).step_by(width).chain([text.len()]).collect();
        let offsets: Vec<Range<usize>> = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let ids: Vec<u32> = (0..offsets.len() as u32).map(|at| at * 7 % 5).collect();
        let steps = segmented(&segmenter, &text, &ids, &offsets);
        prop_assert!(!steps.is_empty());
        let joined: String = steps.iter().map(|step| &text[step.bytes.clone()]).collect();
        prop_assert_eq!(&joined, &text);
        let (mut token, mut byte) = (0, 0);
        for step in &steps {
            prop_assert_eq!((step.tokens.start, step.bytes.start), (token, byte));
            prop_assert!(step.tokens.end > token);
            (token, byte) = (step.tokens.end, step.bytes.end);
        }
        prop_assert_eq!((token, byte), (ids.len(), text.len()));
    }

    #[test]
    fn a_delimited_step_is_its_own_step(text in ANY_TEXT, double in any::<bool>()) {
        let segmenter = delimiter(if double { "\n\n" } else { "\n" });
        for piece in pieces(&segmenter, &text) {
            prop_assert_eq!(pieces(&segmenter, &piece), vec![piece.clone()]);
        }
    }

    #[test]
    fn a_marked_step_is_its_own_step(ids in prop::collection::vec(0u32..3, 1..30)) {
        let text = "x".repeat(ids.len());
        let offsets = offsets(&text);
        let segmenter = Segmenter::MarkerToken(0);
        for step in segmented(&segmenter, &text, &ids, &offsets) {
            let again = segmented(&segmenter, &text[step.bytes.clone()], &ids[step.tokens.clone()], &offsets[..step.tokens.len()]);
            prop_assert_eq!(again.len(), 1);
        }
    }

    #[test]
    fn equal_parts_differ_by_one_token_at_most(tokens in 1usize..50, parts in 1usize..60) {
        let text = "x".repeat(tokens);
        let steps = segmented(&Segmenter::EqualParts(parts), &text, &vec![0; tokens], &offsets(&text));
        prop_assert_eq!(steps.len(), parts.min(tokens));
        let lengths: Vec<usize> = steps.iter().map(|step| step.tokens.len()).collect();
        prop_assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1);
    }
}
