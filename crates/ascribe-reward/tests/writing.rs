//! Reward models that write before they score: critiques and traces of tools, learned and written by a tiny model of characters.

use std::collections::BTreeMap;

use ascribe_core::{Seed, Tokens};
use ascribe_lm::{DecoderConfig, Head, HeadInit, LanguageModel, Pooling, Roles, Row, Tokenizer};
use ascribe_reward::losses::{BradleyTerryConfig, GeneralPreferenceConfig, TiesConfig};
use ascribe_reward::tools::{Trace, TraceWeights};
use ascribe_reward::{
    Reading, RewardCard, RewardLearner, RewardModel, RewardRow, Writing, WritingLearner, WrittenRow, WrittenText,
    criticised, given_trace, traced,
};
use ascribe_testkit::device::{device, values};
use ascribe_testkit::golden::close;
use ascribe_train::{Fit, FitConfig, Learner, ScheduleKind, evaluate};
use burn::module::Module;

/// A token a character, and `</s>` at the end of a text.
fn tokenizer() -> Tokenizer {
    let alphabet: String = (32u8..127).map(char::from).chain(['\n']).collect();
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("<pad>") };
    Tokenizer::characters(&alphabet, &["<s>", "</s>", "<pad>"], roles).expect("characters that differ")
}

/// Fresh weights without a head of scores.
fn language_model(context: usize) -> LanguageModel {
    let tokenizer = tokenizer();
    let config = DecoderConfig::tiny(tokenizer.vocabulary_size(), 32, 2, 4, context);
    LanguageModel::fresh(config, tokenizer, Seed(1), &device()).expect("the vocabulary fits")
}

/// The same with a score beside the next token.
fn writer(context: usize) -> LanguageModel {
    let model = language_model(context);
    let decoder = model.decoder.with_scores(1, HeadInit::Wide, Seed(2)).expect("a language model");
    model.with_decoder(decoder)
}

fn ids(text: &str) -> Vec<u32> {
    tokenizer().encode(text).expect("characters of the alphabet")
}

/// A response with its end.
fn ended(text: &str) -> Vec<u32> {
    ids(&format!("{text}</s>"))
}

/// A prompt with a response that is right, whose second letter is 1, and one that is wrong.
fn asked(at: u8) -> (Vec<u32>, [Vec<u32>; 2]) {
    let letter = char::from(b'a' + at);
    (ids(&format!("{letter}?")), [ended(&format!("{letter}1")), ended(&format!("{letter}0"))])
}

/// Eight pairs with critiques.
fn critiques() -> Vec<WrittenRow> {
    let one = |at: u8| {
        let (prompt, [right, wrong]) = asked(at);
        let text = |response: &[u32], critique: &str| {
            criticised(&tokenizer(), &prompt, response, critique).expect("characters of the alphabet")
        };
        WrittenRow::new(vec![text(&right, "good"), text(&wrong, " bad ")], vec![], 1).expect("one prompt")
    };
    (0..8).map(one).collect()
}

/// The same pairs without any critique.
fn plain() -> Vec<RewardRow> {
    let one = |at: u8| {
        let (prompt, responses) = asked(at);
        let responses = responses.map(Tokens::from).to_vec();
        RewardRow { prompt: prompt.into(), responses, labels: Vec::new(), line: 1 }
    };
    (0..8).map(one).collect()
}

fn trained(model: &LanguageModel, learner: &WritingLearner, rows: &[WrittenRow], steps: usize) -> LanguageModel {
    let config = FitConfig {
        learning_rate: 5e-3,
        lr_scheduler_type: ScheduleKind::Linear,
        warmup_ratio: 0.05,
        max_steps: steps,
        ..FitConfig::default()
    };
    let start = model.decoder.clone().on(&device().autodiff());
    let mut fit = Fit::new(learner, start, rows, config).expect("sound options");
    for report in &mut fit {
        report.expect("finite numbers");
    }
    model.with_decoder(fit.into_model().valid())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_critique_stands_behind_the_response_and_alone_is_taught() {
    let (prompt, [right, _]) = asked(0);
    let text = criticised(&tokenizer(), &prompt, &right, " good\n").expect("characters of the alphabet");
    assert_eq!(text.prompt, prompt);
    assert_eq!(text.response, ended("a1\n\nCritique: good"));
    // Two letters of the response and eleven of the mark are given; a space, four letters and the end are taught.
    assert_eq!(text.weights, [vec![0.0; 13], vec![1.0; 6]].concat());
}

#[test]
fn the_language_model_loss_is_the_mean_over_the_tokens_that_are_taught() {
    let (model, rows) = (writer(64), critiques());
    let loss = BradleyTerryConfig::default().init().expect("sound");
    let learner = WritingLearner::new(&loss, 1.0, 0.25).expect("sound");
    let tally = learner.measure(&model.decoder, &rows.iter().collect::<Vec<_>>()).expect("sound rows");
    let (mut nll, mut total) = (Vec::new(), 0.0);
    for row in &rows {
        let texts: Vec<Row> =
            row.row.responses.iter().map(|response| Row { prompt: &row.row.prompt, response }).collect();
        let of_texts: Vec<f64> = texts
            .iter()
            .zip(&row.weights)
            .map(|(text, weights)| {
                let logps = values(model.decoder.response_logps(&[*text]).expect("it writes").0);
                let taught = weights.iter().filter(|weight| **weight > 0.0).count();
                logps.iter().zip(weights).map(|(logp, weight)| -logp * f64::from(*weight)).sum::<f64>() / taught as f64
            })
            .collect();
        let scores = values(model.decoder.row_scores(&texts).expect("it scores"));
        // -log sigmoid(d) = log(1 + exp(-d)), and a quarter of the other.
        total += (scores[1] - scores[0]).exp().ln_1p() + 0.25 * (of_texts[0] + of_texts[1]);
        nll.push(of_texts[0] + of_texts[1]);
    }
    close("nll", tally.values("nll_loss"), &nll, 1e-4);
    close("loss", &[tally.loss, tally.weight], &[total, 8.0], 1e-4);
}

#[test]
fn without_anything_written_it_is_a_reward_model_of_pairs() {
    let loss = BradleyTerryConfig { centre: 0.01, ..BradleyTerryConfig::default() }.init().expect("sound");
    let rows = plain();
    let silent = |row: &RewardRow| WrittenRow {
        row: row.clone(),
        weights: row.responses.iter().map(|response| vec![0.0; response.len()]).collect(),
    };
    let written: Vec<WrittenRow> = rows.iter().map(silent).collect();
    let model = language_model(64);
    // A fresh head is drawn by its name, so both have the same.
    let classifier = model.decoder.with_head(Head::Sequence { labels: 1 }, HeadInit::Wide, Seed(2)).expect("a head");
    let expected = evaluate(&RewardLearner { loss: &loss }, &classifier, &rows, 3).expect("sound rows");
    let learner = WritingLearner::new(&loss, 1.0, 1.0).expect("sound");
    let got = evaluate(&learner, &writer(64).decoder, &written, 3).expect("sound rows");
    close("loss", &[got.loss, got.weight], &[expected.loss, expected.weight], 1e-5);
    close("margins", got.values("rewards/margins"), expected.values("rewards/margins"), 1e-5);
    assert_eq!(got.values("nll_loss"), [0.0; 8]);
}

#[test]
fn a_window_is_the_same_in_parts_and_ties_have_a_loss_of_their_own() {
    let model = writer(64).decoder.clone().on(&device().autodiff());
    let mut rows = critiques();
    rows.iter_mut().enumerate().for_each(|(at, row)| row.row.labels = vec![f64::from(u8::from(at < 2))]);
    let ties = TiesConfig::default().init().expect("sound");
    let learner = WritingLearner::new(&ties, 1.0, 1.0).expect("sound");
    let rows: Vec<&WrittenRow> = rows.iter().collect();
    let whole = learner.learn_window(&model, &rows, 8).expect("sound rows").tally;
    for tally in [
        learner.learn_window(&model, &rows, 3).expect("sound rows").tally,
        learner.measure_window(&model.valid(), &rows, 3).expect("sound rows"),
    ] {
        close("ties", &[tally.loss, tally.weight], &[whole.loss, whole.weight], 1e-4);
    }
    // Ties alone: the squared differences, and no Bradley-Terry term that would be NaN.
    let tied = learner.measure(&model.valid(), &rows[..2]).expect("sound rows");
    let squares: f64 = tied.values("rewards/margins").iter().map(|margin| margin * margin).sum();
    let nll: f64 = tied.values("nll_loss").iter().sum();
    close("only ties", &[tied.loss], &[squares + nll], 1e-4);

    let pairs = critiques();
    let plain = BradleyTerryConfig::default().init().expect("sound");
    let learner = WritingLearner::new(&plain, 1.0, 1.0).expect("sound");
    let pairs: Vec<&WrittenRow> = pairs.iter().collect();
    let whole = learner.learn_window(&model, &pairs, 8).expect("sound rows").tally;
    let parts = learner.learn_window(&model, &pairs, 3).expect("sound rows").tally;
    close("parts", &[parts.loss, parts.weight], &[whole.loss, whole.weight], 1e-4);
    // A loss whose rows depend on each other has no parts; else a prompt of two letters counts once in each pair.
    let tokens = |row: &WrittenRow| 2 + row.row.responses.iter().map(|response| response.len()).sum::<usize>();
    let [first, second] = [tokens(pairs[0]), tokens(pairs[1])];
    assert_eq!(learner.tokens(&pairs[..2]), Some(first + second));
    let limited = learner.learn_batches(&model, &[&pairs[..2], &pairs[2..7], &pairs[7..]], 1.0).expect("sound rows");
    close("limited", &[limited.tally.loss, limited.tally.weight], &[whole.loss, whole.weight], 1e-4);
    assert_eq!(WritingLearner::new(&ties, 1.0, 1.0).expect("sound").tokens(&[]), None);
}

#[test]
fn a_trained_model_writes_its_critiques_and_tells_responses_apart_by_them() {
    let (model, rows) = (writer(64), critiques());
    let loss = BradleyTerryConfig::default().init().expect("sound");
    let learner = WritingLearner::new(&loss, 1.0, 1.0).expect("sound");
    let before = evaluate(&learner, &model.decoder, &rows, 8).expect("sound rows");
    let model = trained(&model, &learner, &rows, 250);
    let after = evaluate(&learner, &model.decoder, &rows, 8).expect("sound rows");
    assert!(after.loss < 0.5 * before.loss, "{} to {}", before.loss, after.loss);
    let [start, end] = [&before, &after].map(|tally| mean(tally.values("nll_loss")));
    assert!(end < 0.5 * start, "{start} to {end}");
    assert_eq!(mean(after.values("rewards/accuracies")), 1.0);

    let card = RewardCard { writes: Some(Writing::Critique { max_new: 8 }), ..RewardCard::default() };
    let writes = RewardModel::new(&model, card).expect("room for a critique");
    let reads = RewardModel::new(&model, RewardCard::default()).expect("one score");
    let mut right = 0;
    for at in 0..8 {
        let (prompt, responses) = asked(at);
        let texts = [0, 1].map(|side: usize| Row { prompt: &prompt, response: &responses[side] });
        let scored = writes.scored(&texts).expect("sound rows");
        right += usize::from(scored[0].reward > scored[1].reward);
        for (side, one) in scored.iter().enumerate() {
            // What is scored is the text with the critique that was written.
            let critique = one.written.as_deref().expect("a critique");
            let whole = criticised(&tokenizer(), &prompt, &responses[side], critique).expect("characters");
            let given = Row { prompt: &whole.prompt, response: &whole.response };
            let expected = reads.scored(&[given]).expect("a row").remove(0);
            if ["good", "bad"].contains(&critique) {
                close("reward", &[one.reward], &[expected.reward], 1e-4);
            }
            assert!(expected.written.is_none() && !one.cut);
        }
    }
    assert!(right >= 7, "{right} of 8 pairs are told apart");
}

#[test]
fn what_is_compared_is_behind_critiques_however_the_prompt_was_cut() {
    let model = language_model(64);
    let decoder = model.decoder.with_scores(2, HeadInit::Wide, Seed(2)).expect("a language model");
    let config = GeneralPreferenceConfig { dim: 2, normalize: false, tau: 0.5, ..GeneralPreferenceConfig::default() };
    let writes = Some(Writing::Critique { max_new: 8 });
    let card = RewardCard { reading: Reading::Preference(config), writes, ..RewardCard::default() };
    let model = RewardModel::new(&model.with_decoder(decoder), card).expect("room for a critique");
    // Too long a prompt, which loses more tokens beside the longer response.
    let (prompt, responses) = (ids(&"a?".repeat(30)), [ended("1"), ended("0, or so")]);
    let texts = [0, 1].map(|side: usize| Row { prompt: &prompt, response: &responses[side] });
    let scored = model.scored(&texts).expect("two responses to one prompt");
    assert!(scored.iter().all(|one| one.written.is_some() && !one.cut), "{scored:?}");
    let (v, u) = (&scored[0].outputs, &scored[1].outputs);
    let odds = (v[0] * u[1] - v[1] * u[0]) / 0.5;
    close("log-odds", &[scored[0].reward, scored[1].reward], &[odds, -odds], 1e-4);
    // One half against itself, and the chance against the other.
    let won = (0.5 + 1.0 / (1.0 + (-odds).exp())) / 2.0;
    close("win rates", &model.win_rates(&texts).expect("two responses"), &[won, 1.0 - won], 1e-4);
}

fn call(question: &str, answer: &str, said: &str) -> Trace {
    let written = format!(
        "Thought: t\nAction: Calculator\nAction Input: {question}={answer}\nObservation: {said}\nThought: u\nAction: \
         Finished\nRationale: It is {said}"
    );
    Trace::new(question, answer).followed_by(&written, &["Calculator"]).expect("a sound trace")
}

/// Pairs of an answer that the calculator calls right and one that it calls wrong.
fn traces() -> Vec<WrittenRow> {
    let one = |at: u32| {
        let text = |answer: u32, said: &str| -> WrittenText {
            let trace = call(&format!("{at}+{at}"), &answer.to_string(), said);
            traced(&tokenizer(), &trace, &TraceWeights::default()).expect("characters of the alphabet")
        };
        WrittenRow::new(vec![text(2 * at, "right"), text(2 * at + 1, "wrong")], vec![], 1).expect("one question")
    };
    (1..5).map(one).collect()
}

#[test]
fn a_trace_is_taught_but_for_what_tools_say() {
    let trace = call("2+2", "4", "right");
    let text = traced(&tokenizer(), &trace, &TraceWeights::default()).expect("characters of the alphabet");
    let decoded = |ids: &[u32]| tokenizer().decode(ids, ascribe_lm::SpecialTokens::Skip).expect("known ids");
    assert_eq!(decoded(&text.prompt), "Question: 2+2\n");
    assert_eq!(format!("Question: 2+2\n{}", decoded(&text.response)), trace.text);
    assert_eq!(text.response.last(), ended("").last());
    let taught: Vec<u32> =
        text.response.iter().zip(&text.weights).filter(|(_, weight)| **weight == 1.0).map(|(id, _)| *id).collect();
    let expected =
        "Thought: t\nAction: Calculator\nAction Input: 2+2=4\nThought: u\nAction: Finished\nRationale: It is right";
    assert_eq!(taught, ended(expected));
}

#[test]
fn traces_are_learned_and_their_scores_tell_answers_apart() {
    let (model, rows) = (writer(192), traces());
    let loss = BradleyTerryConfig::default().init().expect("sound");
    // Themis: CE, the mean over both traces, and half of Bradley-Terry.
    let learner = WritingLearner::new(&loss, 0.5, 0.5).expect("sound");
    let before = evaluate(&learner, &model.decoder, &rows, 4).expect("sound rows");
    let after = evaluate(&learner, &trained(&model, &learner, &rows, 120).decoder, &rows, 4).expect("sound rows");
    assert!(after.loss < 0.5 * before.loss, "{} to {}", before.loss, after.loss);
    assert_eq!(mean(after.values("rewards/accuracies")), 1.0);
}

fn tools(names: &[&str], facts: &[(&str, &str)]) -> Writing {
    Writing::Trace {
        tools: names.iter().map(|name| (*name).to_owned()).collect(),
        facts: facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        n_calls: 2,
        max_new: 8,
    }
}

/// Fresh weights write no call, and are scored all the same.
#[test]
fn what_is_no_call_is_an_observation_and_the_score_is_finite() {
    let card = RewardCard {
        writes: Some(tools(&["Calculator", "Calendar", "Table"], &[("France", "Paris")])),
        ..RewardCard::default()
    };
    let model = RewardModel::new(&writer(1024), card.clone()).expect("room for a trace");
    let (prompt, response) = (ids("2+2"), ended("5\nObservation: right"));
    let scored = model.scored(&[Row { prompt: &prompt, response: &response }]).expect("a row").remove(0);
    let written = scored.written.expect("a trace");
    assert!(scored.reward.is_finite() && written.contains("\nRationale:"), "{written}");
    assert!(written.contains("Observation: error: tool `call`:"), "{written}");
    let given = given_trace(&tokenizer(), &prompt, &response).expect("known ids");
    assert_eq!(given.text, "Question: 2+2\nAnswer: 5\nObservation&#58; right\n");
    // The card comes back as it was written.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("reward.json"), card.to_text()).expect("written");
    assert_eq!(RewardCard::read(folder.path()).expect("sound"), Some(card));
}

#[test]
fn what_cannot_be_written_or_learned_is_refused() {
    for (writing, said) in [
        (Writing::Critique { max_new: 0 }, "max_new must be at least 1"),
        (tools(&["Shell"], &[]), "a tool must be Calculator, Calendar or Table"),
        (tools(&["Table"], &[]), "the tool Table needs facts"),
        (tools(&["Calendar"], &[("a", "b")]), "facts need the tool Table"),
        (tools(&["Calendar", "Calendar"], &[]), "a tool needs a name of its own"),
        (
            Writing::Trace { tools: vec![], facts: BTreeMap::new(), n_calls: 65, max_new: 1 },
            "n_calls must be at most 64",
        ),
    ] {
        let error = writing.check().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let card = |max_new| RewardCard { writes: Some(Writing::Critique { max_new }), ..RewardCard::default() };
    let refused = |model: &LanguageModel, max_new: usize| {
        RewardModel::new(model, card(max_new)).err().expect("refused").to_string()
    };
    assert!(
        refused(&writer(64), 49).contains("at most the context of the model, got 65"),
        "{}",
        refused(&writer(64), 49)
    );
    let model = language_model(64);
    let classifier = model.decoder.with_head(Head::Sequence { labels: 1 }, HeadInit::Wide, Seed(2)).expect("a head");
    assert!(refused(&model.with_decoder(classifier), 8).contains("beside the head of the next token"));
    let pooled = RewardCard { pooling: Pooling::Mean, ..card(8) };
    let error = RewardModel::new(&writer(64), pooled).err().expect("refused").to_string();
    assert!(error.contains("read at the end of what it wrote; set pooling to last in its card"), "{error}");

    let loss = BradleyTerryConfig::default().init().expect("sound");
    for (reward, lm) in [(-1.0, 1.0), (1.0, f64::NAN), (0.0, 0.0)] {
        assert!(WritingLearner::new(&loss, reward, lm).is_err(), "{reward} and {lm}");
    }
    let learner = WritingLearner::new(&loss, 1.0, 1.0).expect("sound");
    let row = critiques().remove(0);
    let mut short = row.clone();
    short.weights[0].pop();
    let mut negative = row.clone();
    negative.weights[1][0] = -1.0;
    let decoder = writer(64).decoder;
    for (wrong, said) in [(&short, "the weights of a response"), (&negative, "the weight of a token")] {
        let error = learner.measure(&decoder, &[wrong]).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let other = WrittenText { prompt: ids("b?"), response: ids("x"), weights: vec![0.0] };
    let first = WrittenText { prompt: ids("a?"), ..other.clone() };
    let error = WrittenRow::new(vec![first, other], vec![], 7).unwrap_err().to_string();
    assert!(error.contains("must share their prompt, got several in line 7"), "{error}");
    assert!(WrittenRow::new(vec![], vec![], 1).is_err());
}
