//! What stands beside the loss of a reward model: which states are read, the language, a contrast, and sources.

mod support;

use std::fs;

use ascribe_testkit::golden::close;
use serde_json::{Value, json};
use support::{Bench, SHORT};

fn line(out: &str, rest: &str) -> String {
    format!("train reward --model model --data pairs.jsonl --output-dir {out} {SHORT} --head-init wide {rest}")
}

/// The log of a run.
#[track_caller]
fn log(bench: &Bench, out: &str) -> Vec<Value> {
    bench.read(&format!("{out}/log.jsonl")).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The first value of a statistic.
#[track_caller]
fn first(bench: &Bench, out: &str, name: &str) -> f64 {
    let log = log(bench, out);
    log[0][name].as_f64().unwrap_or_else(|| panic!("`{name}` is no number in {}", log[0]))
}

/// The rewards of two replies.
#[track_caller]
fn rewards(bench: &Bench, model: &str) -> Vec<f64> {
    bench.rows("rows.jsonl", [json!({"prompt": "what is 3?", "completions": ["the sum of 3", "the rest"]})]);
    let ran = bench.run(&format!("score --reward {model} --input rows.jsonl")).succeeded();
    let row: Value = serde_json::from_str(ran.stdout.trim()).expect("a line of JSON");
    row["rewards"].as_array().expect("a list").iter().map(|reward| reward.as_f64().expect("a number")).collect()
}

#[test]
fn a_model_reads_what_its_card_says() {
    let bench = Bench::new();
    let ran = bench.run(&line("mean", "--pooling mean --save-steps 2")).succeeded();
    assert!(ran.stderr.contains("the head reads the mean over all tokens"), "{}", ran.stderr);
    assert_eq!(bench.json("mean/reward.json")["pooling"], json!("mean"));
    // The same weights read at the last token have other rewards.
    let read = rewards(&bench, "mean");
    let mut card = bench.json("mean/reward.json");
    card["pooling"] = json!("last");
    fs::create_dir_all(bench.path("last")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        fs::copy(bench.path(&format!("mean/{name}")), bench.path(&format!("last/{name}"))).unwrap();
    }
    bench.write("last/reward.json", card.to_string());
    let other = rewards(&bench, "last");
    assert!(
        read.len() == 2 && read.iter().zip(&other).all(|(mean, last)| (mean - last).abs() > 1e-6),
        "{read:?} {other:?}"
    );
    // A run that is resumed reads the same states, and one that reads others is another run.
    let whole = bench.equal_files("mean");
    fs::remove_dir_all(bench.path("mean/checkpoint-4")).unwrap();
    let ran = bench.run(&line("mean", "--pooling mean --save-steps 2")).succeeded();
    assert!(ran.stderr.contains("going on from mean/checkpoint-2"), "{}", ran.stderr);
    assert!(bench.equal_files("mean") == whole);
    bench.run(&line("mean", "--save-steps 2")).refused(&["another pooling"]);
    // Training that goes on from it reads the mean without being told.
    let more = line("more", "").replace("--model model", "--model mean").replace("--head-init wide", "");
    bench.run(&more).succeeded();
    assert_eq!(bench.json("more/reward.json")["pooling"], json!("mean"));
    bench
        .run("train dpo --model model --data pairs.jsonl --output-dir no --pooling mean")
        .refused(&["pooling does nothing with dpo", "use reward"]);
}

#[test]
fn the_language_stands_beside_pairs() {
    let bench = Bench::new();
    bench.run(&line("plain", "")).succeeded();
    bench.run(&line("none", "--lm-coef 0")).succeeded();
    bench.run(&line("some", "--lm-coef 0.5")).succeeded();
    close("none", &[first(&bench, "none", "loss")], &[first(&bench, "plain", "loss")], 1e-5);
    let nll = first(&bench, "some", "language/nll");
    assert!(nll > 0.0);
    close("some", &[first(&bench, "some", "loss")], &[first(&bench, "plain", "loss") + 0.5 * nll], 1e-4);
    // Held-out pairs are measured by the loss on pairs alone, so before any step both agree.
    assert!(bench.json("some/summary.json")["reward_accuracy"].is_object());
    for (rest, said) in [
        ("--lm-coef -1", "lm_coef must be finite and at least 0"),
        ("--lm-coef 0.1 --loss confidence", "which confidence does not have"),
        ("--lm-coef 0.1 --meta-data pairs.jsonl --meta-rate 1", "do nothing with a meta step"),
    ] {
        bench.run(&line("no", rest)).refused(&[said]);
        bench.run(&line("no", rest).replacen("train", "validate", 1)).refused(&[said]);
    }
    bench
        .run(&line("no", "--lm-coef 0.1").replace("--model model", "--model plain"))
        .refused(&["`plain` is a classifier"]);
    bench.run(&line("some", "--lm-coef 0.25")).refused(&["another set of auxiliary losses"]);
}

#[test]
fn responses_are_told_apart_beside_pairs() {
    let bench = Bench::new();
    bench.run(&line("plain", "")).succeeded();
    bench.run(&line("none", "--contrast simcse --contrast-kwargs weight=0,dropout=0")).succeeded();
    close("none", &[first(&bench, "none", "loss")], &[first(&bench, "plain", "loss")], 1e-5);
    for (at, rest) in [
        "--contrast simcse",
        "--contrast sim-cse --contrast-items differences --contrast-kwargs tau=0.1",
        "--contrast swav --contrast-kwargs prototypes=4,prototype_rate=0.5 --loss ties",
        "--contrast swav --contrast-items differences --lm-coef 0.01",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out{at}");
        let ran = bench.run(&line(&out, rest)).succeeded();
        assert!(!ran.stderr.contains("warning: without dropout"), "{}", ran.stderr);
        assert!(log(&bench, &out).iter().take(4).all(|row| row["contrast/loss"].as_f64().is_some_and(f64::is_finite)));
    }
    let ran = bench.run(&line("still", "--contrast simcse --contrast-kwargs dropout=0")).succeeded();
    assert!(ran.stderr.contains("warning: without dropout"), "{}", ran.stderr);
    // The masks and prototypes of a resumed run are those of one that was not interrupted.
    let rest = "--contrast swav --contrast-kwargs prototypes=4 --save-steps 2";
    bench.run(&line("again", rest)).succeeded();
    let whole = bench.equal_files("again");
    fs::remove_dir_all(bench.path("again/checkpoint-4")).unwrap();
    bench.run(&line("again", rest)).succeeded();
    assert!(bench.equal_files("again") == whole);
    for (rest, said) in [
        ("--contrast simcse --contrast-kwargs prototypes=4", "prototypes does nothing with simcse"),
        ("--contrast swav --contrast-kwargs prototypes=1", "at least 2 prototypes"),
        ("--contrast simcse --contrast-kwargs dropout=1", "the dropout of the contrast must be in [0, 1)"),
        ("--contrast simcse --contrast-kwargs temperature=1", "contrast_kwargs"),
        ("--contrast simcse --loss confidence", "contrast stands beside losses on pairs, and confidence is none"),
        ("--contrast-items responses", "--contrast"),
        ("--contrast simcse --source-column source", "no source in column `source`"),
    ] {
        bench.run(&line("no", rest)).refused(&[said]);
    }
}

/// Eight pairs of one source and four of another, each with its number.
fn sourced(bench: &Bench) {
    let reply = |n: usize, word: &str| format!("the {word} of {n}");
    let source = |n: usize| if n.is_multiple_of(3) { json!("people") } else { json!(7) };
    bench.rows(
        "pairs.jsonl",
        (0..12).map(|n| {
            let (chosen, rejected) = (reply(n, "sum"), reply(n, "rest"));
            json!({"prompt": format!("what is {n}?"), "chosen": chosen, "rejected": rejected, "from": source(n)})
        }),
    );
}

#[test]
fn sources_are_weighed_and_none_is_left_out_of_a_step() {
    let bench = Bench::new();
    sourced(&bench);
    let rest = "--source-column from --source-share 0.99 --num-train-epochs 2 --save-steps 2 --save-total-limit 0";
    let ran = bench.run(&line("out", rest)).succeeded();
    assert!(ran.stderr.contains("pairs by source: ") && ran.stderr.contains("people "), "{}", ran.stderr);
    let steps: Vec<Value> = log(&bench, "out").into_iter().filter(|row| row.get("loss").is_some()).collect();
    // 8 pairs in windows of 2, twice.
    assert_eq!(steps.len(), 8);
    for step in &steps {
        let [most, least] = ["sources/weight_max", "sources/weight_min"].map(|name| step[name].as_f64().unwrap());
        assert!(least > 0.0 && (most + least - 1.0).abs() < 1e-9, "{step}");
    }
    assert!(rewards(&bench, "out").iter().all(|reward| reward.is_finite()));
    // What is remembered of gradients, and the order, wait in the checkpoint.
    let whole = bench.equal_files("out");
    for step in [4, 6, 8] {
        fs::remove_dir_all(bench.path(&format!("out/checkpoint-{step}"))).unwrap();
    }
    let ran = bench.run(&line("out", rest)).succeeded();
    assert!(ran.stderr.contains("going on from out/checkpoint-2"), "{}", ran.stderr);
    assert!(bench.equal_files("out") == whole);
    let checked = line("no", rest).replacen("train", "validate", 1);
    let ran = bench.run(&checked).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out, 8 steps of 2 rows"), "{}", ran.stdout);
    // As they come: steps of one pair each, of whichever source.
    let loose = "--source-column from --no-resampling --per-device-train-batch-size 1";
    bench.run(&line("loose", loose)).succeeded();
    let steps: Vec<Value> = log(&bench, "loose").into_iter().filter(|row| row.get("loss").is_some()).collect();
    assert_eq!(steps.len(), 8);
    assert!(steps.iter().all(|step| step["sources/weight_min"] == json!(1.0)), "{steps:?}");
    let checked = line("no", loose).replacen("train", "validate", 1);
    let ran = bench.run(&checked).succeeded();
    assert!(ran.stdout.contains("8 rows to train on, 4 held out, 8 steps of 1 rows"), "{}", ran.stdout);
    for (rest, said) in [
        ("--no-resampling", "--source-column"),
        ("--source-column origin", "no source in column `origin`"),
        ("--source-column prompt", "stands in held-out rows alone"),
        ("--source-column from --loss ties", "under the plain loss bradley-terry"),
        ("--source-column from --center-rewards-coefficient 0.1", "under the plain loss bradley-terry"),
        ("--source-column from --source-share 0", "the share of a new gradient must be above 0"),
        (
            "--source-column from --per-device-train-batch-size 1",
            "rows of a step must be at least the number of strata",
        ),
        ("--source-column from --contrast simcse", "do nothing with sources"),
        ("--source-column from --meta-data pairs.jsonl --meta-rate 1", "a meta step knows no sources"),
        ("--source-share 0.5", "--source-column"),
    ] {
        bench.run(&line("no", rest)).refused(&[said]);
        assert!(bench.files("no").is_empty(), "{rest}");
    }
    bench.rows(
        "pairs.jsonl",
        (0..12).map(|n| json!({"prompt": format!("{n}?"), "chosen": "a", "rejected": "b", "from": 1})),
    );
    bench.run(&line("no", "--source-column from")).refused(&["one source alone is plain Bradley-Terry"]);
}

#[test]
fn a_card_of_attributes_knows_how_far_they_are_off() {
    let bench = Bench::new();
    let row = |n: usize| {
        let ratings = json!({"helpfulness": n % 5, "verbosity": (n + 2) % 4});
        json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}"), "ratings": ratings})
    };
    bench.rows("pairs.jsonl", (0..12).map(row));
    bench.run(&line("out", "--loss regression")).succeeded();
    let card = bench.json("out/reward.json");
    let variances: Vec<f64> = serde_json::from_value(card["variances"].clone()).unwrap();
    // The mean over both attributes is the held-out loss: every row has both ratings.
    let loss = bench.json("out/summary.json")["eval_loss"].as_f64().unwrap();
    assert_eq!(variances.len(), 2);
    close("variances", &[(variances[0] + variances[1]) / 2.0], &[loss], 1e-4);
    bench.run(&line("all", "--loss regression").replace("--held-out 4", "")).succeeded();
    assert!(bench.json("all/reward.json").get("variances").is_none());
}

#[test]
fn weights_of_attributes_are_fitted_on_pairs() {
    let bench = Bench::new();
    let row = |n: usize| {
        let ratings = json!({"helpfulness": n % 5, "verbosity": (n + 2) % 4});
        json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}"), "ratings": ratings})
    };
    bench.rows("rated.jsonl", (0..12).map(row));
    let run = |out: &str, more: &str| {
        let line = line(out, &format!("--loss regression {more}")).replace("--data pairs.jsonl", "--data rated.jsonl");
        bench.run(&line)
    };
    let ran = run("out", "--merge-data pairs.jsonl").succeeded();
    assert!(ran.stderr.contains("weights by 12 pairs: helpfulness "), "{}", ran.stderr);
    let scored = |out: &str| -> Vec<Value> {
        let ran = bench.run(&format!("score --reward {out} --input pairs.jsonl")).succeeded();
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let ahead = |rows: &[Value]| -> f64 {
        let margin = |row: &Value| row["reward_chosen"].as_f64().unwrap() - row["reward_rejected"].as_f64().unwrap();
        rows.iter().map(|row| margin(row).exp().ln_1p() - margin(row)).sum::<f64>() / rows.len() as f64
    };
    // The fit is the best there is, so it is no worse than no weights at all, and better than its opposite.
    let fitted = ahead(&scored("out"));
    assert!(fitted <= 2f64.ln() + 1e-9, "{fitted}");
    let weights: Vec<f64> =
        serde_json::from_value(bench.json("out/reward.json")["reading"]["attributes"]["weights"].clone()).unwrap();
    let opposite: Vec<String> = weights.iter().map(|weight| (-weight).to_string()).collect();
    run("back", &format!("--attribute-weights {}", opposite.join(" "))).succeeded();
    assert!(ahead(&scored("back")) > fitted);
    run("no", "--merge-data pairs.jsonl --attribute-weights 1,1").refused(&["--merge-data"]);
    bench.run(&line("no", "--merge-data pairs.jsonl")).refused(&["merge_data fits the weights of the loss regression"]);
    run("no", "--merge-data rated.jsonl").refused(&["rated.jsonl"]);
    run("no", "--merge-data nothing.jsonl").refused(&["nothing.jsonl"]);
}

#[test]
fn several_models_vote_on_the_order_of_pairs() {
    let bench = Bench::new();
    for seed in 0..3 {
        bench.run(&line(&format!("m{seed}"), &format!("--seed {seed}"))).succeeded();
    }
    // Some labels are wrong.
    let reply = |n: usize, word: &str| format!("the {word} of {n}");
    bench.rows(
        "noisy.jsonl",
        (0..12).map(|n| {
            let (sum, rest) = (reply(n, "sum"), reply(n, "rest"));
            let (chosen, rejected) = if n % 4 == 0 { (rest, sum) } else { (sum, rest) };
            json!({"prompt": format!("what is {n}?"), "chosen": chosen, "rejected": rejected,
                   "chosen_critique": "right", "rejected_critique": "wrong"})
        }),
    );
    let score = |vote: &str| -> Vec<Value> {
        let line = format!("score --reward m0,m1,m2 --standardize --input noisy.jsonl {vote}");
        let ran = bench.run(&line).succeeded();
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let (plain, told, flipped, margins) =
        (score(""), score("--vote tell"), score("--vote flip"), score("--vote margin"));
    let list = |row: &Value, name: &str| -> Vec<f64> {
        row[name].as_array().expect("a list").iter().map(|one| one.as_f64().expect("a number")).collect()
    };
    for ((plain, told), (flipped, margin)) in plain.iter().zip(&told).zip(flipped.iter().zip(&margins)) {
        let (chosen, rejected) = (list(plain, "member_reward_chosen"), list(plain, "member_reward_rejected"));
        let apart: Vec<f64> = chosen.iter().zip(&rejected).map(|(chosen, rejected)| chosen - rejected).collect();
        let mean = apart.iter().sum::<f64>() / 3.0;
        let std = (apart.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        let number = |row: &Value, name: &str| row[name].as_f64().expect("a number");
        close("vote", &[number(told, "vote_mean"), number(told, "vote_std")], &[mean, std], 1e-9);
        close("margin", &[number(margin, "margin")], &[mean.clamp(0.0, 3.0)], 1e-9);
        assert_eq!(told["chosen"], plain["chosen"]);
        assert_eq!(flipped["flipped"], json!(mean < 0.0));
        let (first, second) = if mean < 0.0 { ("rejected", "chosen") } else { ("chosen", "rejected") };
        for (of, side) in [("chosen", first), ("rejected", second)] {
            assert_eq!(flipped[of], plain[side]);
            assert_eq!(flipped[format!("reward_{of}")], plain[format!("reward_{side}")]);
            assert_eq!(flipped[format!("{of}_critique")], plain[format!("{side}_critique")]);
        }
    }
    // Both at once: the margin, and how far a label is believed that the vote is against.
    let soft = score("--vote soft-margin");
    for (told, soft) in told.iter().zip(&soft) {
        let mean = told["vote_mean"].as_f64().expect("a number");
        assert_eq!(soft["margin"], json!(mean.clamp(0.0, 3.0)));
        assert_eq!(soft["consistency"], json!(if mean < 0.0 { 0.9 } else { 1.0 }));
    }
    bench.rows("soft.jsonl", soft);
    let learn = |out: &str, data: &str| {
        line(out, "--loss soft-margin --lm-coef 0.01").replace("--data pairs.jsonl", &format!("--data {data}"))
    };
    bench.run(&learn("soft", "soft.jsonl")).succeeded();
    bench.rows("margins.jsonl", margins.iter().cloned());
    bench.run(&learn("none", "margins.jsonl")).refused(&["soft-margin needs a `consistency` for every pair"]);
    // A voted margin is one to learn from.
    bench.rows("voted.jsonl", margins.iter().cloned());
    let learned = line("out", "--loss margin").replace("--data pairs.jsonl", "--data voted.jsonl");
    bench.run(&learned).succeeded();
    bench.run("score --reward m0 --input noisy.jsonl --vote flip").refused(&["a vote needs several reward models"]);
    bench.run("score --model model --input noisy.jsonl --vote flip").refused(&["--reward"]);
    bench.run("score --reward m0,m1 --input noisy.jsonl --vote flip --pairs 0").refused(&["--vote", "--pairs"]);
    bench.rows("noisy.jsonl", [json!({"prompt": "what is 1?", "completion": "the sum"})]);
    bench
        .run("score --reward m0,m1 --input noisy.jsonl --vote flip")
        .refused(&["noisy.jsonl, row 1", "a vote is on pairs"]);
}

#[test]
fn labels_may_be_smoothed() {
    let bench = Bench::new();
    bench.run(&line("plain", "")).succeeded();
    bench.run(&line("smooth", "--loss-kwargs smoothing=0.25")).succeeded();
    // -0.75 log sigmoid(d) - 0.25 log sigmoid(-d) is the plain loss and a quarter of d more, the mean margin of the step.
    let margin = first(&bench, "plain", "rewards/margins");
    let expected = first(&bench, "plain", "loss") + 0.25 * margin;
    close("smoothed", &[first(&bench, "smooth", "loss")], &[expected], 1e-5);
    // The same where the rows say how likely each label is right, and their margins are 0.
    let pairs: Vec<Value> =
        bench.read("pairs.jsonl").lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let soft = |mut pair: Value| {
        (pair["margin"], pair["consistency"]) = (json!(0), json!(0.75));
        pair
    };
    bench.rows("soft.jsonl", pairs.into_iter().map(soft));
    let learn = line("soft", "--loss soft-margin").replace("--data pairs.jsonl", "--data soft.jsonl");
    bench.run(&learn).succeeded();
    close("soft", &[first(&bench, "soft", "loss")], &[expected], 1e-5);
    let spread = &bench.json("plain/summary.json")["reward_margin_quantiles"];
    let [low, middle, high] = ["0.1", "0.5", "0.9"].map(|q| spread[q].as_f64().unwrap());
    assert!(low <= middle && middle <= high, "{spread}");
    bench.run(&line("no", "--loss-kwargs smoothing=2")).refused(&["smoothing must be in [0, 1]"]);
}

#[test]
fn a_temperature_is_learned_beside_the_head() {
    let bench = Bench::new();
    let rest = "--loss gpm --loss-kwargs tau=0.5,tau_rate=0.05 --save-steps 2 --save-total-limit 0";
    bench.run(&line("warm", rest)).succeeded();
    let taus: Vec<f64> = log(&bench, "warm").iter().filter_map(|row| row["rewards/tau"].as_f64()).collect();
    // 8 pairs in windows of 2, each with what the windows before it have learned.
    assert_eq!(taus.len(), 4);
    close("the first", &taus[..1], &[0.5], 1e-6);
    assert!(taus.windows(2).all(|pair| pair[0] != pair[1]), "{taus:?}");
    let card = || bench.json("warm/reward.json")["reading"]["preference"]["tau"].as_f64().expect("a number");
    let tau = card();
    assert!(tau != 0.5 && tau != taus[3], "{tau}");
    assert!(rewards(&bench, "warm").iter().all(|reward| reward.is_finite()));
    // It waits in the checkpoint.
    fs::remove_dir_all(bench.path("warm/checkpoint-4")).unwrap();
    let ran = bench.run(&line("warm", rest)).succeeded();
    assert!(ran.stderr.contains("going on from warm/checkpoint-2"), "{}", ran.stderr);
    assert_eq!(card(), tau);
    bench.rows("groups.jsonl", [json!({"prompt": "what is 1?", "completions": ["the sum", "the rest"]})]);
    for (rest, said) in [
        ("tau_rate=-1", "tau_rate must be finite and at least 0"),
        ("tau=0.001,tau_rate=1", "tau must be at least 0.01 where it is learned"),
        ("tau_rate=0.1 --lm-coef 0.1", "a temperature is learned by the loss alone"),
        ("tau_rate=0.1 --meta-data groups.jsonl --meta-rate 1", "a temperature is learned by the loss alone"),
    ] {
        bench.run(&line("no", &format!("--loss gpm --loss-kwargs {rest}"))).refused(&[said]);
        assert!(bench.files("no").is_empty(), "{rest}");
    }
}

#[test]
fn uncertain_heads_learn_the_scores_of_another_model() {
    let bench = Bench::new();
    bench.run(&line("first", "")).succeeded();
    let reply = |n: usize| json!({"prompt": format!("what is {n}?"), "completion": format!("the sum of {n}")});
    bench.rows("replies.jsonl", (0..12).map(reply));
    let ran = bench.run("score --reward first --input replies.jsonl").succeeded();
    bench.write("scored.jsonl", ran.stdout);
    let run = |out: &str, more: &str| {
        let line = line(out, &format!("--loss gaussian-heads --columns ratings=reward {more}"));
        bench.run(&line.replace("--data pairs.jsonl", "--data scored.jsonl"))
    };
    run("half", "").succeeded();
    assert_eq!(bench.json("half/reward.json")["reading"]["heads"]["lambda"], json!(0.5));
    let kwargs = r#"--loss-kwargs {"heads":3,"form":"sample"}"#;
    run("sure", &format!("{kwargs} --heads-lambda 1")).succeeded();
    assert_eq!(bench.json("sure/reward.json")["reading"]["heads"]["lambda"], json!(1.0));
    assert!(rewards(&bench, "sure").iter().all(|reward| reward.is_finite()));
    run("no", "--heads-lambda 1.5").refused(&["lambda must be in [0, 1]"]);
    assert!(bench.files("no").is_empty());
    bench.run(&line("no", "--heads-lambda 1")).refused(&["heads_lambda weighs the heads of gaussian-heads"]);
}

#[test]
fn pairs_become_pairs_that_differ_in_confidence() {
    let bench = Bench::new();
    let ran = bench.run("convert --confidence pairs.jsonl confident.jsonl").succeeded();
    assert!(ran.stdout.contains("24 pairs that differ in confidence"), "{}", ran.stdout);
    let rows: Vec<Value> =
        bench.read("confident.jsonl").lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let pair = |chosen: &str, rejected: &str| json!({"prompt": "what is 1?", "chosen": chosen, "rejected": rejected});
    assert_eq!(rows[2], pair("the sum of 1\nConfidence: 10", "the sum of 1\nConfidence: 0"));
    assert_eq!(rows[3], pair("the rest of 1\nConfidence: 0", "the rest of 1\nConfidence: 10"));
    bench
        .run(&format!(
            "train dpo --beta 0.01 --model model --data confident.jsonl --output-dir out {SHORT} --max-steps 1"
        ))
        .succeeded();
    bench.run("convert --confidence --kind unpaired pairs.jsonl no.jsonl").refused(&["--kind"]);
    bench.rows("same.jsonl", [json!({"prompt": "a", "chosen": "b", "rejected": "b"})]);
    bench.run("convert --confidence same.jsonl no.jsonl").refused(&["line"]);
}
