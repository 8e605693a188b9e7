//! Rewards beyond pairs and ratings: a detector that is held to its first scores, a policy that agrees with itself, and concepts
//! behind a label.

mod support;

use serde_json::{Value, json};
use support::{Bench, SHORT};

/// Every value of a statistic in the log of a run.
fn logged(bench: &Bench, folder: &str, name: &str) -> Vec<f64> {
    let rows = bench.read(&format!("{folder}/log.jsonl"));
    rows.lines().filter_map(|line| serde_json::from_str::<Value>(line).expect("JSON")[name].as_f64()).collect()
}

#[test]
fn a_detector_is_held_to_the_scores_of_the_pairs_before() {
    let bench = Bench::new();
    let ranked = |n: usize| json!({"prompt": format!("what is {}?", n % 12), "completion": format!("the {n}"), "ratings": {"x": n}});
    bench.rows("texts.jsonl", (0..36).map(ranked));
    bench
        .run(&format!("train reward --model model --data pairs.jsonl --output-dir judge {SHORT} --head-init wide"))
        .succeeded();
    let line = |model: &str, out: &str, rest: &str| {
        format!("train reward --model {model} --data texts.jsonl --output-dir {out} {SHORT} --loss machine-text {rest}")
    };
    let replay = "--replay-data pairs.jsonl --num-train-epochs 3 --learning-rate 2e-3";
    let ran = bench.run(&line("judge", "out", replay)).succeeded();
    assert!(ran.stderr.contains("from which training goes on"), "{}", ran.stderr);
    let drift = logged(&bench, "out", "replay/loss");
    // Nothing has moved before the first step.
    assert!(drift.len() == 12 && drift[0].abs() < 1e-9 && drift[11] > drift[0], "{drift:?}");
    bench.run(&line("judge", "held", &format!("{replay} --replay-weight 10"))).succeeded();
    let held = logged(&bench, "held", "replay/loss");
    // The same squares, weighed by 10 and by 0.01.
    assert!(held[11] / 10.0 < drift[11] / 0.01, "{held:?} beside {drift:?}");

    let refused = |line: String, said: &[&str]| {
        bench.run(&line).refused(said);
        bench.run(&line.replacen("train", "validate", 1)).refused(said);
    };
    refused(line("model", "no", "--replay-data pairs.jsonl"), &["the model has no head of 1 scores yet"]);
    refused(line("judge", "no", "--replay-data pairs.jsonl --replay-weight -1"), &["the replay weight must be finite"]);
    refused(line("judge", "no", "--replay-weight 1"), &["--replay-data"]);
    let group = |n: usize| json!({"prompt": format!("what is {n}?"), "completions": ["the sum", "the rest"]});
    bench.rows("groups.jsonl", (0..3).map(group));
    let both = "--replay-data pairs.jsonl --meta-data groups.jsonl --meta-rate 1";
    refused(line("judge", "no", both), &["replay_data and meta_data are two ways", "give one of them"]);
    let pairs = |rest: &str| {
        let line = format!("train reward --model judge --data pairs.jsonl --output-dir no {SHORT}");
        format!("{line} --replay-data pairs.jsonl {rest}")
    };
    refused(pairs("--lm-coef 0.1"), &["lm_coef and contrast do nothing with a replay"]);
    refused(pairs("--contrast simcse"), &["lm_coef and contrast do nothing with a replay"]);
    refused(pairs("--source-column prompt"), &["a replay knows no sources"]);
    refused(pairs("--pooling mean"), &["its first scores, which read other states; drop pooling"]);
    // The first scores of a model that reads the mean are those of the mean.
    let mean = line("model", "mean", "--pooling mean --head-init wide").replace("--loss machine-text", "");
    bench.run(&mean.replace("texts.jsonl", "pairs.jsonl")).succeeded();
    bench.run(&line("mean", "more", "--replay-data pairs.jsonl --max-steps 1")).succeeded();
    assert_eq!(bench.json("more/reward.json")["pooling"], json!("mean"));
    let drift = logged(&bench, "more", "replay/loss");
    assert!(drift.len() == 1 && drift[0].abs() < 1e-9, "{drift:?}");
    let dpo = format!("train dpo --model model --data pairs.jsonl --output-dir no {SHORT} --replay-data pairs.jsonl");
    bench.run(&dpo).refused(&["replay_data does nothing with dpo", "use reward"]);
}

#[test]
fn a_policy_learns_to_agree_with_itself_whatever_the_order_of_the_pairs() {
    let bench = Bench::new();
    let line = |data: &str, out: &str, rest: &str| {
        format!("train scir --model model --data {data}.jsonl --output-dir {out} {SHORT} --learning-rate 3e-3 {rest}")
    };
    // A reference that is far away, so that the implicit reward is sure of itself before anything is learned.
    bench
        .run(&format!(
            "train sft --model model --data pairs.jsonl --output-dir far {SHORT} --learning-rate 1e-2 --num-train-epochs 4"
        ))
        .succeeded();
    let rest = "--reference far --beta 1 --num-train-epochs 6 --loss-kwargs confidence=0,preference=0";
    let ran = bench.run(&line("pairs", "out", rest)).succeeded();
    assert!(ran.stdout.contains("held-out reward accuracy"), "{}", ran.stdout);
    let apart = logged(&bench, "out", "consistency/divergence");
    let [first, last] = [&apart[..4], &apart[20..]].map(|part| part.iter().sum::<f64>());
    assert!(apart.len() == 24 && last < first, "{apart:?}");
    let summary = bench.json("out/summary.json");
    assert!(summary["reward_accuracy"].is_object() && summary["eval_judge/accuracies"].is_number(), "{summary}");
    bench.run("generate --model out --prompt what --max-new-tokens 4").succeeded();

    // Chosen and rejected turned: the same losses.
    let turned = |n: usize| json!({"prompt": format!("what is {n}?"), "chosen": format!("the rest of {n}"), "rejected": format!("the sum of {n}")});
    bench.rows("turned.jsonl", (0..12).map(turned));
    let losses = |data: &str, out: &str| {
        bench.run(&line(data, out, "--beta 0.5 --max-steps 3")).succeeded();
        logged(&bench, out, "loss")
    };
    let (one, other) = (losses("pairs", "one"), losses("turned", "other"));
    assert_eq!(one.len(), 3);
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + a.abs())), "{one:?} and {other:?}");

    let refused = |rest: &str, said: &[&str]| {
        bench.run(&line("pairs", "no", rest)).refused(said);
        bench.run(&line("pairs", "no", rest).replacen("train", "validate", 1)).refused(said);
        assert!(bench.files("no").is_empty(), "{rest}");
    };
    refused("--label-smoothing 0.1", &["label_smoothing does nothing with scir"]);
    refused("--loss-kwargs tau=1", &["loss_kwargs of scir", "tau"]);
    refused("--loss-kwargs beta=1", &["give it as --beta"]);
    refused("--loss-kwargs preference=-1", &["preference must be finite and at least 0"]);
    refused("--loss gpm", &["loss does nothing with scir"]);
    refused("--curriculum cyclical", &["curriculum does nothing with scir"]);
    let sum = format!("train scir+sft --model model --data pairs.jsonl --output-dir no {SHORT}");
    bench.run(&sum).refused(&["scir learns from pairs whose order teaches nothing"]);
    let ran = bench.run(&line("pairs", "no", "").replacen("train", "validate", 1)).succeeded();
    assert!(ran.stdout.contains("8 pairs to train on, 4 held out, 4 steps of 2 pairs"), "{}", ran.stdout);
    // A judge reads single replies: conversations that part before the last one are left out.
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let parted = |first: &str, last: &str| {
        json!([says("user", "x"), says("assistant", first), says("user", "y"), says("assistant", last)])
    };
    let pair = json!({"chosen": parted("a", "b"), "rejected": parted("c", "d")});
    bench.rows("turns.jsonl", (0..12).map(turned).chain([pair]));
    let ran = bench.run(&line("turns", "no", "").replacen("train", "validate", 1)).succeeded();
    assert!(ran.stderr.contains("chosen and rejected part before their last reply"), "{}", ran.stderr);
    assert!(ran.stdout.contains("8 pairs to train on, 4 held out"), "{}", ran.stdout);
}

#[test]
fn a_label_and_concepts_are_learned_inferred_and_corrected() {
    let bench = Bench::new();
    // What is kind is good, and what is brief is neither.
    let rated = |n: usize| {
        let (kind, brief) = (n % 2, n / 2 % 2);
        let text = format!("{} {}", ["so on and on", "so"][brief], ["no", "yes"][kind]);
        json!({"prompt": format!("what is {n}?"), "completion": text, "ratings": {"label": kind, "kind": kind, "brief": brief}})
    };
    bench.rows("rated.jsonl", (0..16).map(rated));
    let line = |data: &str, out: &str, rest: &str| {
        format!(
            "train reward --model model --data {data}.jsonl --output-dir {out} {SHORT} --loss concept-energy {rest}"
        )
    };
    let ran = bench.run(&line("rated", "out", "--learning-rate 1e-2 --num-train-epochs 8")).succeeded();
    assert!(ran.stderr.contains("concepts: kind, brief"), "{}", ran.stderr);
    let losses = logged(&bench, "out", "loss");
    let [first, last] = [&losses[..6], &losses[42..]].map(|part| part.iter().sum::<f64>());
    assert!(losses.len() == 48 && last < 0.7 * first, "{losses:?}");
    let card = bench.json("out/reward.json")["reading"]["concepts"].clone();
    assert_eq!((&card["names"], &card["weights"]), (&json!(["kind", "brief"]), &json!([1.0, 1.0, 0.01])));
    // The label follows the first concept, bit 0 of the index: good is the smaller energy where it is set.
    let joint: Vec<[f64; 2]> = serde_json::from_value(card["joint"].clone()).expect("a table");
    assert_eq!(joint.len(), 4);
    for (state, [bad, good]) in joint.iter().enumerate() {
        assert_eq!(good < bad, state % 2 == 1, "{joint:?}");
    }
    bench.rows("rows.jsonl", [json!({"prompt": "what is 1?", "completions": ["so yes", "so on and on no"]})]);
    let score = |rest: &str| -> Value {
        let ran = bench.run(&format!("score --reward out --input rows.jsonl {rest}")).succeeded();
        serde_json::from_str(&ran.stdout).expect("a line of JSON")
    };
    let free = score("");
    let kind = |row: &Value, at: usize| row["beliefs"][at]["concepts"]["kind"].as_f64().expect("a probability");
    assert!(kind(&free, 0) > kind(&free, 1) && free["rewards"][0].as_f64() > free["rewards"][1].as_f64(), "{free}");
    let known = score("--concept kind=0");
    assert_eq!((kind(&known, 0), kind(&known, 1)), (0.0, 0.0));
    // The label follows what was corrected, by a hundredth of its energies.
    assert!(known["rewards"][0].as_f64() < free["rewards"][0].as_f64(), "{known} and {free}");
    let refused = |rest: &str, said: &[&str]| {
        bench.run(&format!("score --reward out --input rows.jsonl {rest}")).refused(said);
    };
    refused("--concept rude=1", &["`rude`; it has kind, brief"]);
    refused("--concept kind=2", &["a concept is NAME=1"]);
    refused("--concept kind=1 --concept kind=0", &["one value only"]);

    let refused = |data: &str, rest: &str, said: &[&str]| {
        bench.run(&line(data, "no", rest)).refused(said);
        bench.run(&line(data, "no", rest).replacen("train", "validate", 1)).refused(said);
    };
    refused("rated", "--loss-kwargs joint_weight=1", &["drop concepts and joint_weight", "reward.json"]);
    let unlabelled = |n: usize| json!({"prompt": format!("{n}"), "completion": "a", "ratings": {"kind": 1}});
    bench.rows("unlabelled.jsonl", (0..12).map(unlabelled));
    refused("unlabelled", "", &["concept-energy needs the rating `label`"]);
    let half = |n: usize| json!({"prompt": format!("{n}"), "completion": "a", "ratings": {"label": 1, "kind": 0.5}});
    bench.rows("half.jsonl", (0..12).map(half));
    refused("half", "", &["must be rated 0 or 1, and `kind` is not in line"]);
}

#[test]
fn what_users_say_next_is_a_reward() {
    let bench = Bench::new();
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    bench.rows(
        "rows.jsonl",
        [
            json!({"prompt": "what is 1?", "completions": ["the sum", "the rest"]}),
            json!({"prompt": [says("user", "what is 2?")], "chosen": "the sum", "rejected": "the rest"}),
            json!({"messages": [says("user", "what is 3?"), says("assistant", "the sum")]}),
        ],
    );
    let side = |positive: &[&str], negative: &[&str]| json!({"positive": positive, "negative": negative});
    bench.write("good.json", json!({"a": side(&["thanks"], &["no", "wrong"])}).to_string());
    bench.write("bad.json", json!({"a": side(&["no", "wrong"], &["thanks"])}).to_string());
    bench.write("same.json", json!({"a": side(&["thanks"], &["thanks"])}).to_string());
    bench
        .write("both.json", json!({"a": side(&["thanks"], &["no", "wrong"]), "b": side(&["no"], &["no"])}).to_string());
    let score = |file: &str, rest: &str| -> Vec<f64> {
        let ran = bench.run(&format!("score --model model --follow-ups {file}.json --input rows.jsonl {rest}"));
        let rows = ran.succeeded().stdout;
        let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |row: &Value, name: &str| row[name].as_f64().expect("a number");
        let list = rows[0]["rewards"].as_array().expect("a list").iter().filter_map(Value::as_f64);
        list.chain([of(&rows[1], "reward_chosen"), of(&rows[1], "reward_rejected"), of(&rows[2], "reward")]).collect()
    };
    let good = score("good", "");
    assert!(good.len() == 5 && good[0] != good[1] && good.iter().all(|reward| reward.is_finite()), "{good:?}");
    let near = |got: Vec<f64>, expected: &[f64]| {
        assert!(
            got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs())),
            "{got:?} and {expected:?}"
        );
    };
    // The other way round, the same on both sides, and the mean over a category that says nothing.
    near(score("bad", ""), &good.iter().map(|reward| -reward).collect::<Vec<_>>());
    near(score("same", ""), &[0.0; 5]);
    near(score("both", ""), &good.iter().map(|reward| 0.5 * reward).collect::<Vec<_>>());
    // Sums of tokens are not means.
    assert!(score("good", "--sum-follow-ups") != good);

    // Pairs of the best and the worst of several, which train.
    let replies = json!(["the sum", "the rest", "no"]);
    bench.rows("several.jsonl", (0..8).map(|n| json!({"prompt": format!("what is {n}?"), "completions": replies})));
    let several = |rest: &str| -> Vec<Value> {
        let ran = bench.run(&format!("score --model model --follow-ups good.json --input several.jsonl {rest}"));
        ran.succeeded().stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (scored, mined) = (several(""), several("--pairs 0"));
    assert_eq!(mined.len(), 8);
    for (scored, pair) in scored.iter().zip(&mined) {
        let rewards =
            scored["rewards"].as_array().expect("a list").iter().map(|reward| reward.as_f64().expect("a number"));
        let all: Vec<(f64, &Value)> = rewards.zip(replies.as_array().expect("a list")).collect();
        let best = all.iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("three");
        let worst = all.iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("three");
        assert_eq!((&pair["chosen"], &pair["rejected"], &pair["prompt"]), (best.1, worst.1, &scored["prompt"]));
        assert!((pair["margin"].as_f64().expect("a number") - (best.0 - worst.0)).abs() < 1e-9, "{pair}");
    }
    assert!(several("--pairs 1000").is_empty());
    bench.rows("mined.jsonl", mined);
    let line = format!("train dpo --model model --data mined.jsonl --output-dir mined {SHORT} --max-steps 1");
    bench.run(&line).succeeded();

    let refused = |rest: &str, said: &[&str]| {
        bench.run(&format!("score --input rows.jsonl {rest}")).refused(said);
    };
    refused("--model model --pairs 1", &["name where they come from with --reward or --follow-ups"]);
    refused("--model model --follow-ups good.json --pairs -1", &["finite and at least 0"]);
    refused("--model model --follow-ups good.json --pairs 0", &["rows.jsonl, row 2", "rows with `completions`"]);
    bench.write("empty.json", json!({"a": side(&[], &["no"])}).to_string());
    bench.write("odd.json", "[1]");
    refused("--model model --follow-ups empty.json", &["the positive follow-ups must hold at least one entry"]);
    refused("--model model --follow-ups odd.json", &["must hold a JSON object of categories"]);
    refused("--model model --sum-follow-ups", &["--follow-ups"]);
    refused("--model model --follow-ups good.json --reference model", &["--reference"]);
    bench.rows("rows.jsonl", [json!({"prompt": "what is ".repeat(200), "completion": "a"})]);
    refused("--model model --follow-ups good.json", &["rows.jsonl, row 1", "do not fit the context of 256"]);
}

#[test]
fn relevance_is_a_reward_of_rollouts() {
    let bench = Bench::new();
    let row = |n: usize| json!({"prompt": format!("what is {n}?"), "reference": format!("{n}")});
    bench.rows("prompts.jsonl", (0..6).map(row));
    let line = "train grpo --model model --data prompts.jsonl --output-dir out --reward relevance --num-generations 4 --max-steps 2 \
                --max-completion-length 6 --held-out 2 --per-device-train-batch-size 4 --gradient-accumulation-steps 1";
    bench.run(line).succeeded();
    let rewards = logged(&bench, "out", "reward");
    assert!(rewards.len() == 2 && rewards.iter().all(|reward| (0.0..=5.12).contains(reward)), "{rewards:?}");
}
