//! Process models on a decoder: what a score must not depend on, what is saved, and learning to find planted wrong steps.

use ascribe_core::{CoreError, Credit, CreditAssigner, Episode, Evidence, Place, Placed, Scorer, Seed, Tokens};
use ascribe_eval::auroc;
use ascribe_lm::{DecoderConfig, Head, HeadInit, LanguageModel, LoraConfig, Roles, Row, Tokenizer};
use ascribe_process::model::{
    CARD, OutcomeAt, OutcomeTokens, ProcessCard, ProcessHead, ProcessKind, ProcessLearner, ProcessLoss, ProcessModel,
    ProcessRow, Progress, StepProgress, TokenScores,
};
use ascribe_process::{Aggregate, ProcessError, Segmenter};
use ascribe_testkit::device::device;
use ascribe_testkit::golden::{close, root};
use ascribe_train::{Fit, FitConfig, Learner, ScheduleKind, evaluate};
use ascribe_worlds::{Operator, Problem, Slips, alphabet};
use burn::module::Module;

const HEADS: [ProcessHead; 3] = [ProcessHead::Score, ProcessHead::Classes, ProcessHead::Words { good: 11, bad: 12 }];

/// The golden language model under a fresh head.
fn headed(head: ProcessHead) -> LanguageModel {
    let model = LanguageModel::load(&root().join("lm/llama_gqa"), &device()).expect("golden");
    match head.decoder_head() {
        Some(kind) => {
            let decoder = model.decoder.with_head(kind, HeadInit::Wide, Seed(7)).expect("a head");
            model.with_decoder(decoder)
        }
        None => model,
    }
}

fn process_model(head: ProcessHead) -> ProcessModel {
    let card = ProcessCard { head, ..ProcessCard::default() };
    ProcessModel::new(&headed(head), card).expect("the head fits")
}

fn ids(from: u32, n: u32) -> Vec<u32> {
    (0..n).map(|k| 13 + (from * 37 + k * 53) % 380).collect()
}

/// Prompts with responses in steps: two responses to each of three prompts.
fn texts() -> Vec<(Vec<u32>, Vec<u32>, Vec<usize>)> {
    (0..6).map(|at| (ids(at / 2, 3 + at / 2), ids(at + 9, 5 + at), vec![1, 3, 5 + at as usize])).collect()
}

fn asked(texts: &[(Vec<u32>, Vec<u32>, Vec<usize>)]) -> (Vec<Row<'_>>, Vec<Vec<usize>>) {
    texts.iter().map(|(prompt, response, ends)| (Row { prompt, response }, ends.clone())).unzip()
}

fn scores(model: &ProcessModel, texts: &[(Vec<u32>, Vec<u32>, Vec<usize>)]) -> Vec<Vec<f64>> {
    let (rows, ends) = asked(texts);
    model.steps(&rows, &ends).expect("sound steps")
}

#[test]
fn one_pass_for_all_steps_is_one_pass_for_each_prefix() {
    for head in HEADS {
        let model = process_model(head);
        let texts = texts();
        for ((prompt, response, ends), together) in texts.iter().zip(scores(&model, &texts)) {
            let prefixes: Vec<_> =
                ends.iter().map(|end| (prompt.clone(), response[..*end].to_vec(), vec![*end])).collect();
            let apart: Vec<f64> = prefixes.iter().map(|one| scores(&model, std::slice::from_ref(one))[0][0]).collect();
            close("steps", &together, &apart, 1e-5);
            assert!(together.iter().all(|score| (0.0..=1.0).contains(score)), "{together:?}");
        }
    }
}

#[test]
fn scores_depend_neither_on_the_batch_nor_on_the_order() {
    let texts = texts();
    let expected = scores(&process_model(ProcessHead::Classes), &texts).concat();
    for tokens in [1, 9, 20] {
        let model = process_model(ProcessHead::Classes).with_batch_tokens(tokens);
        close("batches", &scores(&model, &texts).concat(), &expected, 1e-5);
    }
    let turned: Vec<_> = texts.iter().rev().cloned().collect();
    let mut back = scores(&process_model(ProcessHead::Classes), &turned);
    back.reverse();
    close("order", &back.concat(), &expected, 1e-5);
}

#[test]
fn what_is_saved_gives_the_same_scores() {
    let temporary = tempfile::tempdir().expect("a folder");
    for head in HEADS {
        let card = ProcessCard { head, segmenter: Segmenter::FixedLength(2), ..ProcessCard::default() };
        let model = headed(head);
        model.save(temporary.path()).expect("written");
        std::fs::write(temporary.path().join(CARD), card.to_text()).expect("written");
        let before = ProcessModel::new(&model, card.clone()).expect("it fits");
        let after = ProcessModel::load(temporary.path(), &device()).expect("it loads");
        assert_eq!(after.card(), &card);
        assert_eq!(scores(&after, &texts()), scores(&before, &texts()), "{head:?}");
        let config = std::fs::read_to_string(temporary.path().join("config.json")).expect("written");
        let name = if head.decoder_head().is_some() { "LlamaForTokenClassification" } else { "LlamaForCausalLM" };
        assert!(config.contains(name), "{config}");
    }
}

#[test]
fn an_adapter_with_its_head_comes_back_from_its_file() {
    let temporary = tempfile::tempdir().expect("a folder");
    headed(ProcessHead::Classes).save(&temporary.path().join("base")).expect("written");
    let base = LanguageModel::load(&temporary.path().join("base"), &device()).expect("it loads");
    let lora = LoraConfig { r: 4, alpha: 8.0, ..LoraConfig::default() };
    let adapted = base.with_lora(&lora, Seed(1)).expect("the projections are there");
    let rows: Vec<ProcessRow> = (0..8).map(|at| outcome(at, at.is_multiple_of(2), OutcomeAt::Last)).collect();
    let learner = ProcessLearner::default();
    let mut fit = Fit::new(&learner, adapted.decoder.clone().train(), &rows, config(2e-2, 20)).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    let trained = adapted.with_decoder(fit.into_model().valid());
    trained.save(&temporary.path().join("adapter")).expect("written");
    let after = ProcessModel::load(&temporary.path().join("adapter"), &device()).expect("base, adapter and head");
    let before = ProcessModel::new(&trained, ProcessCard::default()).expect("it fits");
    assert_eq!(scores(&after, &texts()), scores(&before, &texts()));
    let bare = ProcessModel::new(&base, ProcessCard::default()).expect("it fits");
    assert!(scores(&bare, &texts()) != scores(&before, &texts()));
}

#[test]
fn episodes_get_credit_by_step_or_one_score_by_the_aggregation() {
    let card = ProcessCard {
        segmenter: Segmenter::FixedLength(2),
        aggregate: Aggregate::Min,
        head: ProcessHead::Score,
        ..ProcessCard::default()
    };
    let model = ProcessModel::new(&headed(ProcessHead::Score), card).expect("it fits");
    let (prompt, response) = (ids(1, 4), ids(3, 5));
    let whole = Episode::new(&prompt, &response);
    let cut = whole.clone().with_steps(vec![4..6, 6..8, 8..9]).expect("steps behind the prompt");
    let credit = model.score(&[whole, cut]).expect("sound episodes");
    let by_step: Vec<f64> = credit[1].values().iter().map(|score| f64::from(*score)).collect();
    let expected = scores(&model, &[(prompt, response, vec![2, 4, 5])]).concat();
    close("steps", &by_step, &expected, 1e-6);
    let least = expected.iter().copied().fold(f64::INFINITY, f64::min);
    close("whole", &[f64::from(credit[0].values()[0])], &[least], 1e-6);
    assert_eq!(credit[0], Credit::sequence(credit[0].values()[0]));
}

#[test]
fn a_token_that_ends_the_text_is_not_read() {
    let model = process_model(ProcessHead::Classes);
    let end = model.model().tokenizer.eos()[0];
    let (prompt, response) = (ids(1, 4), ids(3, 5));
    let ended = [response.as_slice(), &[end]].concat();
    let with = scores(&model, &[(prompt.clone(), ended.clone(), vec![2, 6])]);
    let apart = scores(&model, &[(prompt.clone(), ended, vec![2, 5, 6])]).concat();
    let without = scores(&model, &[(prompt, response, vec![2, 5])]);
    close("with an end", &with.concat(), &without.concat(), 1e-6);
    close("an end alone", &apart[1..], &[apart[1], apart[1]], 1e-6);
}

#[test]
fn steps_are_read_at_their_tags() {
    let tag = vec![21, 22];
    let card = ProcessCard { tag: tag.clone(), ..ProcessCard::default() };
    let model = ProcessModel::new(&headed(ProcessHead::Classes), card.clone()).expect("it fits");
    let end = model.model().tokenizer.eos()[0];
    let (prompt, response) = (ids(1, 4), ids(3, 5));
    // The same text with its tags written out, read at the second token of each by a model without.
    let written = [&response[..2], &tag[..], &response[2..], &tag[..]].concat();
    let row = Row { prompt: &prompt, response: &written };
    let plain = process_model(ProcessHead::Classes);
    let expected = plain.values(&[row], &[vec![4 + 3, 4 + 8]]).expect("places").concat();
    let got = scores(&model, &[(prompt.clone(), response.clone(), vec![2, 5])]).concat();
    close("tags", &got, &expected, 1e-6);
    // A token that ends the text stands behind the last tag and changes nothing.
    let ended = [response.as_slice(), &[end]].concat();
    let with = scores(&model, &[(prompt.clone(), ended.clone(), vec![2, 6])]).concat();
    close("with an end", &with, &expected, 1e-6);
    let alone = scores(&model, &[(prompt, ended, vec![2, 5, 6])]).concat();
    close("an end alone", &alone, &[expected[0], expected[1], expected[1]], 1e-6);

    let says = |error: Option<String>, said: &str| assert!(error.as_deref().is_some_and(|it| it.contains(said)));
    let far = ProcessCard { tag: vec![9999], ..card };
    let refused = ProcessModel::new(&headed(ProcessHead::Classes), far).err();
    says(refused.map(|error| error.to_string()), "the tag of steps must be tokens of the vocabulary");
    let refused = TokenScores(&model).score(&[Episode::new(&[5], &[6])]).err();
    says(refused.map(|error| error.to_string()), "read at tags");
}

#[test]
fn progress_is_made_of_the_values() {
    let plain = process_model(ProcessHead::Classes);
    let text = (ids(1, 4), ids(3, 5), vec![2, 5]);
    let q = scores(&plain, std::slice::from_ref(&text)).concat();
    let start = plain.values(&[Row { prompt: &text.0, response: &text.1 }], &[vec![3]]).expect("a place")[0][0];
    let of = |progress| {
        let model = process_model(ProcessHead::Classes).with_progress(Some(progress)).expect("sound");
        scores(&model, std::slice::from_ref(&text)).concat()
    };
    // Best of two: 1 - (1 - q)^2.
    let two = |q: f64| 1.0 - (1.0 - q) * (1.0 - q);
    let expected = [q[0] + 0.5 * (two(q[0]) - two(start)), q[1] + 0.5 * (two(q[1]) - two(q[0]))];
    close("progress", &of(Progress { prover: 2, alpha: 0.5 }), &expected, 1e-6);
    assert_eq!(of(Progress { prover: 4, alpha: 0.0 }), q, "values alone");
    let refused = process_model(ProcessHead::Classes).with_progress(Some(Progress { prover: 0, alpha: 0.5 }));
    assert!(refused.is_err());
}

#[test]
fn tokens_are_scored_one_by_one() {
    let model = process_model(ProcessHead::Classes);
    let end = model.model().tokenizer.eos()[0];
    let (prompt, response) = (ids(1, 4), [ids(3, 3), vec![end]].concat());
    let episode = Episode::new(&prompt, &response);
    let credit = TokenScores(&model).score(std::slice::from_ref(&episode)).expect("a response");
    // Each token is a step of its own to the model; the end is read at the token before it.
    let apart = scores(&model, &[(prompt, response, vec![1, 2, 3, 4])]).concat();
    let expected: Vec<f64> = [0.0; 4].into_iter().chain(apart.iter().copied()).collect();
    let got: Vec<f64> = credit[0].values().iter().map(|score| f64::from(*score)).collect();
    close("tokens", &got, &expected, 1e-6);
    close("end", &apart[3..], &apart[2..3], 1e-6);
    // A scorer is an assigner of the same.
    let scorer = TokenScores(&model);
    let placed = Placed { scorer: &scorer, place: Place::LastToken }.assign(&episode, &Evidence::default());
    assert_eq!(placed.expect("a response"), credit[0]);
}

#[test]
fn an_outcome_counts_for_the_tokens_that_look_it() {
    let model = process_model(ProcessHead::Score);
    let (prompt, response) = (ids(1, 4), ids(3, 5));
    let episode = Episode::new(&prompt, &response);
    let scores = scores(&model, &[(prompt.clone(), response.clone(), vec![1, 2, 3, 4, 5])]).concat();
    let logits: Vec<f64> = scores.iter().map(|p| (p / (1.0 - p)).ln()).collect();
    // The mean of the logits so far, as a probability.
    let so_far = |at: usize| 1.0 / (1.0 + (-logits[..=at].iter().sum::<f64>() / (at + 1) as f64).exp());
    let assigner = OutcomeTokens { model: &model, tau: 0.5 };
    let assigned = |assigner: OutcomeTokens, outcome: Option<f32>| {
        let mut evidence = Evidence::default();
        evidence.reward = outcome.map(Credit::sequence);
        assigner.assign(&episode, &evidence)
    };
    let values = |credit: Result<Credit, CoreError>| -> Vec<f64> {
        credit.expect("a response").values().iter().map(|value| f64::from(*value)).collect()
    };
    let weigh =
        |of: &dyn Fn(f64) -> f64| [vec![0.0; 4], (0..5).map(|at| of(so_far(at))).collect::<Vec<f64>>()].concat();
    let (right, wrong) = (values(assigned(assigner, Some(1.0))), values(assigned(assigner, Some(0.0))));
    close("right", &right, &weigh(&|p| (2.0 * p - 1.0).max(0.0)), 1e-5);
    close("wrong", &wrong, &weigh(&|p| -(1.0 - 2.0 * p).max(0.0)), 1e-5);
    assert!(right.iter().zip(&wrong).any(|(right, wrong)| right != wrong), "{right:?}");
    let low = OutcomeTokens { tau: 0.0, ..assigner };
    close("every token", &values(assigned(low, Some(1.0))), &weigh(&|p| p), 1e-5);
    for (assigner, outcome, said) in [
        (assigner, None, "needs the evidence `reward`"),
        (assigner, Some(0.5), "the outcome of a response must be 1 or 0, got 0.5"),
        (OutcomeTokens { tau: 1.0, ..assigner }, Some(1.0), "tau must be in [0, 1)"),
    ] {
        let error = assigned(assigner, outcome).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn step_scores_are_paid_where_steps_end() {
    let model = process_model(ProcessHead::Score);
    let episode = Episode::new(&ids(1, 4), &ids(3, 5)).with_steps(vec![4..6, 6..9]).expect("steps");
    let steps = scores(&model, &[(ids(1, 4), ids(3, 5), vec![2, 5])]).concat();
    let placed = |place| {
        let credit = Placed { scorer: &model, place }.assign(&episode, &Evidence::default()).expect("steps");
        credit.values().iter().map(|score| f64::from(*score)).collect::<Vec<f64>>()
    };
    close("ends", &placed(Place::LastToken), &[0.0, 0.0, 0.0, 0.0, 0.0, steps[0], 0.0, 0.0, steps[1]], 1e-6);
    let every = [vec![0.0; 4], vec![steps[0]; 2], vec![steps[1]; 3]].concat();
    close("every", &placed(Place::Every), &every, 1e-6);
}

#[test]
fn progress_is_paid_beside_the_outcome_and_never_summed() {
    let model = process_model(ProcessHead::Classes);
    let (prompt, response) = (ids(1, 4), ids(3, 5));
    let q = scores(&model, &[(prompt.clone(), response.clone(), vec![2, 5])]).concat();
    let row = Row { prompt: &prompt, response: &response };
    let start = model.values(&[row], &[vec![3]]).expect("a place")[0][0];
    let two = |q: f64| 1.0 - (1.0 - q) * (1.0 - q);
    let advantages = [two(q[0]) - two(start), two(q[1]) - two(q[0])];
    let got = model.progress(&[row], &[vec![2, 5]], 2).expect("two steps").concat();
    close("advantages", &got, &advantages, 1e-6);
    // They telescope.
    close("sum", &[got[0] + got[1]], &[two(q[1]) - two(start)], 1e-6);

    let episode = Episode::new(&prompt, &response).with_steps(vec![4..6, 6..9]).expect("steps");
    let bonus = |alpha| StepProgress { model: &model, progress: Progress { prover: 2, alpha } };
    let mut evidence = Evidence::default();
    evidence.reward = Some(Credit::sequence(1.0));
    let assigned = |alpha| {
        let credit = bonus(alpha).assign(&episode, &evidence).expect("an outcome");
        credit.values().iter().map(|value| f64::from(*value)).collect::<Vec<f64>>()
    };
    let [one, other] = advantages.map(|advantage| 1.0 + 3.0 * advantage);
    close("credit", &assigned(3.0), &[0.0, 0.0, 0.0, 0.0, one, one, other, other, other], 1e-5);
    close("outcome", &assigned(0.0), &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], 1e-6);
    let steps = bonus(3.0).score(std::slice::from_ref(&episode)).expect("steps").remove(0);
    let steps: Vec<f64> = steps.values().iter().map(|value| f64::from(*value)).collect();
    close("bonus", &steps, &advantages.map(|advantage| 3.0 * advantage), 1e-5);

    let says = |result: Result<Credit, CoreError>, said: &str| {
        let error = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said) && !error.contains('\n'), "{error}");
    };
    says(bonus(1.0).assign(&episode, &Evidence::default()), "needs the evidence `reward`");
    says(bonus(f64::NAN).assign(&episode, &evidence), "alpha must be finite and at least 0");
    let whole = Episode::new(&prompt, &response);
    says(bonus(1.0).assign(&whole, &evidence), "credit by step needs an episode with steps");
    assert!(model.progress(&[row], &[vec![2, 5]], 0).is_err());
}

#[test]
fn what_a_question_is_known_to_be_hangs_on_no_answer() {
    let model = process_model(ProcessHead::Score);
    let (one, other) = (ids(1, 4), ids(2, 6));
    let known = model.knows(&[&one, &other]).expect("two questions");
    let read = |response: &[u32]| model.values(&[Row { prompt: &one, response }], &[vec![3]]).expect("a place")[0][0];
    close("no answer", &[read(&[])], &known[..1], 1e-6);
    close("some answer", &[read(&[5, 6, 7])], &known[..1], 1e-6);
    assert!(model.knows(&[&[]]).is_err());
    // A model that learned from questions says nothing of responses.
    let card = ProcessCard { head: ProcessHead::Score, kind: ProcessKind::PIk, ..ProcessCard::default() };
    let asked = ProcessModel::new(&headed(ProcessHead::Score), card).expect("it fits");
    close("questions", &asked.knows(&[&one, &other]).expect("two questions"), &known, 1e-6);
    let refused = asked.score(&[Episode::new(&one, &[5, 6])]).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|said| said.contains("orm, prm, pav or tvm")));
}

#[test]
fn questions_are_told_apart_by_the_share_of_right_answers() {
    // Prompts that end in one of two tokens, of which one is answered rightly three times of four and the other never.
    let question = |at: u32| {
        let (last, share) = if at.is_multiple_of(2) { (15, 0.75) } else { (16, 0.0) };
        let prompt = Tokens::from([ids(at, 3).as_slice(), &[last]].concat());
        ProcessRow::of_question(prompt, share).expect("a question")
    };
    let rows: Vec<ProcessRow> = (0..8).map(question).collect();
    let learner = ProcessLearner { head: ProcessHead::Score, loss: ProcessLoss::CrossEntropy };
    let model = trained(&headed(ProcessHead::Score), learner, &rows, config(5e-3, 80));
    let card = ProcessCard { head: ProcessHead::Score, kind: ProcessKind::PIk, ..ProcessCard::default() };
    let judge = ProcessModel::new(&model, card).expect("it fits");
    let fresh: Vec<Tokens> = (20..24).map(|at| question(at).prompt).collect();
    let asked: Vec<&[u32]> = fresh.iter().map(|prompt| &**prompt).collect();
    let known = judge.knows(&asked).expect("four questions");
    assert!(known[0].min(known[2]) > known[1].max(known[3]), "{known:?}");
}

#[test]
fn what_does_not_fit_is_refused_in_one_line() {
    let model = process_model(ProcessHead::Classes);
    let says = |error: Option<ProcessError>, said: &str| {
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said) && !error.contains('\n'), "{error}");
    };
    let steps = |ends: Vec<usize>| model.steps(&[Row { prompt: &[1, 2], response: &[3, 4] }], &[ends]).err();
    says(steps(vec![]), "the steps of a response must not be empty");
    says(steps(vec![1, 1]), "a step must be of at least one token");
    says(steps(vec![3]), "inside the response, got 0..3");
    says(model.steps(&[], &[vec![1]]).err(), "one entry a row: expected 0, got 1");
    says(model.values(&[Row { prompt: &[1], response: &[] }], &[vec![]]).err(), "the places of a row");
    says(model.values(&[Row { prompt: &[1], response: &[] }], &[vec![1]]).err(), "a place is a token of its row");
    says(model.values(&[Row { prompt: &[4000], response: &[] }], &[vec![0]]).err(), "below the vocabulary size");
    let long = ids(1, 300);
    says(model.values(&[Row { prompt: &[1], response: &long }], &[vec![0]]).err(), "the context holds 256");
    says(model.cut(&[]).err(), "a response must not be empty");
    let language = LanguageModel::load(&root().join("lm/llama_gqa"), &device()).expect("golden");
    says(ProcessModel::new(&language, ProcessCard::default()).err(), "one that scores tokens by two classes");
    // A long prompt loses its left.
    let value = |prompt: &[u32]| model.values(&[Row { prompt, response: &[7] }], &[vec![prompt.len()]]).expect("fits");
    assert_eq!(value(&long), value(&long[long.len() - 255..]));
    // A learner refuses the head of another kind.
    let rows = [outcome(1, true, OutcomeAt::Last)];
    let refused =
        evaluate(&ProcessLearner::default(), &language.decoder, &rows, 1).err().map(|error| error.to_string());
    assert!(refused.is_some_and(|error| error.contains("two classes")));
}

fn outcome(at: u32, right: bool, taught: OutcomeAt) -> ProcessRow {
    ProcessRow::of_outcome(ids(at, 3).into(), ids(at + 20, 4).into(), right, taught).expect("tokens")
}

fn config(learning_rate: f64, steps: usize) -> FitConfig {
    FitConfig {
        learning_rate,
        lr_scheduler_type: ScheduleKind::Constant,
        warmup_ratio: 0.0,
        max_steps: steps,
        ..FitConfig::default()
    }
}

/// The model after training on `rows`.
fn trained(model: &LanguageModel, learner: ProcessLearner, rows: &[ProcessRow], config: FitConfig) -> LanguageModel {
    let start = model.decoder.clone().on(&device().autodiff());
    let mut fit = Fit::new(&learner, start, rows, config).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    model.with_decoder(fit.into_model().valid())
}

#[test]
fn outcomes_of_one_kind_drive_scores_to_it() {
    for (right, loss) in [(true, ProcessLoss::CrossEntropy), (false, ProcessLoss::Squared)] {
        let rows: Vec<ProcessRow> = (0..8).map(|at| outcome(at, right, OutcomeAt::Every)).collect();
        let learner = ProcessLearner { head: ProcessHead::Score, loss };
        let model = trained(&headed(ProcessHead::Score), learner, &rows, config(5e-3, 60));
        let tally = evaluate(&learner, &model.decoder, &rows, 3).expect("sound rows");
        let mean = tally.values("steps/score").iter().sum::<f64>() / 8.0;
        assert!((mean - f64::from(u8::from(right))).abs() < 0.1, "{loss:?}: {mean}");
    }
}

#[test]
fn the_better_of_two_steps_is_learned() {
    let head = ProcessHead::Score;
    let pair = |at: u32| {
        let step = |last: u32| Tokens::from([ids(at + 20, 3).as_slice(), &[last]].concat());
        ProcessRow::of_pair(ids(at, 3).into(), step(15), step(16)).expect("two steps")
    };
    let rows: Vec<ProcessRow> = (0..8).map(pair).collect();
    let learner = ProcessLearner { head, loss: ProcessLoss::Pairwise };
    let start = headed(head);
    // What is measured is -log sigmoid of the difference of the logits, which are read from each side alone.
    let card = ProcessCard { head, ..ProcessCard::default() };
    let judge = ProcessModel::new(&start, card).expect("it fits");
    let logit = |prompt: &[u32], response: &[u32]| {
        let place = prompt.len() + response.len() - 1;
        let p = judge.values(&[Row { prompt, response }], &[vec![place]]).expect("a place")[0][0];
        (p / (1.0 - p)).ln()
    };
    let margins: Vec<f64> =
        rows.iter().map(|row| logit(&row.prompt, &row.response) - logit(&row.prompt, &row.sibling)).collect();
    let expected = margins.iter().map(|margin| (-margin).exp().ln_1p()).sum::<f64>() / 8.0;
    for batch in [1, 3, 8] {
        let tally = evaluate(&learner, &start.decoder, &rows, batch).expect("sound rows");
        close("loss", &[tally.loss / tally.weight], &[expected], 1e-4);
        close("margins", tally.values("rewards/margins"), &margins, 1e-3);
    }
    // The prompt of a pair once: 3 + 4 + 4 tokens.
    assert_eq!(learner.tokens(&[&rows[0], &rows[1]]), Some(22));
    let training = start.decoder.clone().on(&device().autodiff());
    let all: Vec<&ProcessRow> = rows.iter().collect();
    let parts = learner.learn_batches(&training, &[&all[..1], &all[1..6], &all[6..]], 0.0).expect("sound rows").tally;
    close("parts", &[parts.loss / parts.weight], &[expected], 1e-4);
    let model = trained(&start, learner, &rows, config(5e-3, 60));
    let tally = evaluate(&learner, &model.decoder, &rows, 8).expect("sound rows");
    assert_eq!(tally.values("rewards/accuracies"), [1.0; 8]);
}

/// Whether each step of a solution is right, up to the first wrong one, and where steps end.
struct Solved {
    prompt: Tokens,
    response: Tokens,
    ends: Vec<usize>,
    labels: Vec<Option<f32>>,
}

/// Chains that add 1 three times, some with slips, which write the left operand again.
fn solutions(tokenizer: &Tokenizer, name: &str, n: u64) -> Vec<Solved> {
    let slips = Slips::new(0.0, 0.3).expect("probabilities");
    let one = |at: u64| {
        let mut stream = Seed(5).stream(name, at);
        let problem = Problem::new((at % 10) as u8, vec![(Operator::Add, 1); 3]).expect("digits");
        let text = problem.careless_solution(&mut stream, &slips);
        let check = problem.check(&text);
        let label = |step: usize| match check.first_wrong {
            Some(first) if step > first => None,
            Some(first) if step == first => Some(0.0),
            _ => Some(1.0),
        };
        let ids = |text: &str| Tokens::from(tokenizer.encode(text).expect("the alphabet"));
        // A token a character.
        let ends = check.steps.iter().map(|step| step.span.end).collect();
        let labels = (0..check.steps.len()).map(label).collect();
        Solved { prompt: ids(&problem.text()), response: ids(&text), ends, labels }
    };
    (0..n).map(one).collect()
}

#[test]
fn planted_wrong_steps_are_found_in_solutions_that_were_not_learned() {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    let tokenizer = Tokenizer::characters(alphabet(), &["<s>", "</s>"], roles).expect("an alphabet");
    let solved = solutions(&tokenizer, "training", 120);
    let rows: Vec<ProcessRow> = solved
        .iter()
        .map(|one| {
            ProcessRow::of_steps(one.prompt.clone(), one.response.clone(), &one.ends, &one.labels).expect("labels")
        })
        .collect();
    let shape = DecoderConfig::tiny(tokenizer.vocabulary_size(), 32, 2, 2, 64);
    let model = LanguageModel::fresh(shape, tokenizer, Seed(2), &device()).expect("a tiny model");
    for (head, loss) in
        [(ProcessHead::Classes, ProcessLoss::CrossEntropy), (ProcessHead::Score, ProcessLoss::Ranking { zeta: 4.0 })]
    {
        let kind = head.decoder_head().unwrap_or(Head::NextToken);
        let start = model.with_decoder(model.decoder.with_head(kind, HeadInit::Narrow, Seed(3)).expect("a head"));
        let learner = ProcessLearner { head, loss };
        let model = trained(&start, learner, &rows, FitConfig { per_device_train_batch_size: 20, ..config(5e-3, 200) });
        let card =
            ProcessCard { head, loss, segmenter: Segmenter::Delimiter(";".to_owned()), ..ProcessCard::default() };
        let scorer = ProcessModel::new(&model, card).expect("it fits");
        let (mut scores, mut right) = (Vec::new(), Vec::new());
        for one in solutions(&model.tokenizer, "held out", 60) {
            assert_eq!(scorer.cut(&one.response).expect("a text"), one.ends);
            let row = Row { prompt: &one.prompt, response: &one.response };
            let said = scorer.steps(&[row], std::slice::from_ref(&one.ends)).expect("steps").concat();
            for (score, label) in said.into_iter().zip(&one.labels) {
                if let Some(label) = label {
                    scores.push(score);
                    right.push(*label == 1.0);
                }
            }
        }
        let auroc = auroc(&scores, &right).expect("both kinds of steps");
        assert!(auroc > 0.65, "{loss:?}: AUROC {auroc} of {} held-out steps", right.len());
    }
}
