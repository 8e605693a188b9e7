//! The corpus of the fuzz target, as a plain test.

#[path = "../../../fuzz/check.rs"]
mod check;

#[test]
fn every_input_of_the_corpus_keeps_what_must_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/check_answer");
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus") {
        check::check(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
        inputs += 1;
    }
    assert!(inputs > 30, "{inputs} inputs");
}
