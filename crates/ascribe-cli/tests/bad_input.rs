//! Bad input: one line that says what to do, exit code 2, nothing half-written.

mod support;

use std::fs;
#[cfg(unix)]
use std::process::Command;

use serde_json::{Value, json};
use support::{Bench, Ran, SHORT, ran, words};

/// Training, generation and scoring with the model at `model`: all are refused in the same words, and nothing is written.
#[track_caller]
fn every_command_refuses_the_model(bench: &Bench, model: &str, said: &[&str]) {
    bench.rows("rows.jsonl", [json!({"prompt": "what", "completion": "the sum"})]);
    for line in [
        format!("train dpo --model {model} --data pairs.jsonl --output-dir out"),
        format!("generate --model {model} --prompt what"),
        format!("score --model {model} --input rows.jsonl"),
    ] {
        let ran = bench.run(&line);
        ran.refused(said);
        assert_eq!(ran.stdout, "", "{line}");
    }
    assert!(!bench.path("out").exists());
}

/// Training with these options is refused, and nothing is written.
#[track_caller]
fn training_is_refused(bench: &Bench, options: &str, said: &[&str]) {
    bench.run(&format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT} {options}")).refused(said);
    assert!(bench.files("out").is_empty(), "{options}: {:?}", bench.files("out").keys());
}

#[test]
fn missing_files_of_a_model() {
    let bench = Bench::new();
    every_command_refuses_the_model(&bench, "nowhere", &["nowhere", "check the path"]);
    fs::remove_file(bench.path("model/model.safetensors")).unwrap();
    every_command_refuses_the_model(&bench, "model", &["model/model.safetensors", "check the path"]);
    bench.copy_model("llama_gqa", "model");
    fs::remove_file(bench.path("model/tokenizer.json")).unwrap();
    bench.run("generate --model model --prompt what").refused(&["tokenizer.json"]);
    fs::remove_file(bench.path("model/config.json")).unwrap();
    bench.run("generate --model model --prompt what").refused(&["config.json"]);
}

#[test]
fn truncated_and_corrupt_safetensors() {
    let bench = Bench::new();
    let whole = fs::read(bench.path("model/model.safetensors")).unwrap();
    bench.write("model/model.safetensors", &whole[..whole.len() / 2]);
    every_command_refuses_the_model(
        &bench,
        "model",
        &["model.safetensors", "truncated", "download or export it again"],
    );
    for length in [0, 4, 100, whole.len() - 1] {
        bench.write("model/model.safetensors", &whole[..length]);
        bench.run("generate --model model --prompt what").refused(&["model.safetensors", "truncated"]);
    }
    let mut corrupt = whole;
    corrupt[20] = 0xff;
    bench.write("model/model.safetensors", corrupt);
    bench.run("generate --model model --prompt what").refused(&["model.safetensors", "corrupt"]);
}

#[test]
fn weights_and_config_of_different_models() {
    let bench = Bench::new();
    let config = bench.json("model/config.json");
    let refused = |key: &str, value: Value, said: &[&str]| {
        let mut other = config.clone();
        other[key] = value;
        bench.write("model/config.json", other.to_string());
        every_command_refuses_the_model(&bench, "model", said);
    };
    // The golden model has two layers of nine tensors each, and 64 units between.
    let remedy = "check that config and weights belong to the same model";
    refused("num_hidden_layers", json!(3), &["has no tensor `model.layers.2.", remedy]);
    let extra = "tensor `model.layers.1.input_layernorm.weight` (9 such)";
    refused("num_hidden_layers", json!(1), &[extra, "use a model without further parts"]);
    let shape = ["tensor `model.layers.0.mlp.", "must have the shape", "48", "64", remedy];
    refused("intermediate_size", json!(48), &shape);
    let known = "use a model of type llama, mistral, qwen2, qwen3, gemma2, gemma3_text, gpt2";
    refused("model_type", json!("mamba"), &["model_type `mamba`", "config.json", known]);
}

#[test]
fn a_chat_template_that_fails() {
    let bench = Bench::new();
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    let cases: [(&str, &[&str]); 3] = [
        ("a\n{% for %}", &["chat template: ", "line 2", "correct the template"]),
        ("{{ raise_exception('users may not ask') }}", &["chat template: ", "users may not ask"]),
        (endless, &["chat template: ", "too long"]),
    ];
    for (template, said) in cases {
        bench.write("model/chat_template.jinja", template);
        bench.run("generate --model model --chat what").refused(said);
    }
}

#[test]
fn truncated_and_corrupt_gguf() {
    let bench = Bench::new();
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    // One text entry and one tensor of 2 x 4 floats, of which no byte is there.
    let mut whole = [&b"GGUF"[..], &3u32.to_le_bytes(), &1u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    whole.extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("llama")].concat());
    whole.extend([text("token_embd.weight"), 2u32.to_le_bytes().to_vec()].concat());
    whole.extend([&4u64.to_le_bytes()[..], &2u64.to_le_bytes(), &0u32.to_le_bytes(), &0u64.to_le_bytes()].concat());
    bench.write("model.gguf", &whole);
    every_command_refuses_the_model(&bench, "model.gguf", &["model.gguf", "truncated", "download or export it again"]);
    for length in [0, 3, 6, 12, 30, 60, 80] {
        bench.write("model.gguf", &whole[..length]);
        bench.run("generate --model model.gguf --prompt what").refused(&["model.gguf", "truncated"]);
    }
    // A count that no file could hold.
    whole[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    bench.write("model.gguf", &whole);
    bench.run("generate --model model.gguf --prompt what").refused(&["model.gguf", "corrupt"]);
    bench.write("model.gguf", "no model at all");
    bench.run("generate --model model.gguf --prompt what").refused(&["model.gguf", "GGUF"]);
}

#[test]
fn a_tokenizer_that_does_not_match_the_vocabulary() {
    let bench = Bench::new();
    let mut tokenizer = bench.json("model/tokenizer.json");
    let mut token = tokenizer["added_tokens"][0].clone();
    token["id"] = json!(402);
    token["content"] = json!("<one too many>");
    tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
    bench.write("model/tokenizer.json", tokenizer.to_string());
    let said = ["ids up to 402", "402 embeddings", "use the tokenizer that belongs to the model"];
    every_command_refuses_the_model(&bench, "model", &said);
}

#[test]
fn weights_that_are_not_finite() {
    let bench = Bench::new();
    let mut weights = fs::read(bench.path("model/model.safetensors")).unwrap();
    for spoilt in [f32::NAN, f32::INFINITY] {
        let last = weights.len() - 4;
        weights[last..].copy_from_slice(&spoilt.to_le_bytes());
        bench.write("model/model.safetensors", &weights);
        every_command_refuses_the_model(&bench, "model", &["NaN or infinity", "take an earlier checkpoint"]);
    }
}

#[test]
fn a_line_that_is_not_json() {
    let bench = Bench::new();
    let row = r#"{"prompt": "what", "chosen": "the sum", "rejected": "the rest", "completion": "a"}"#;
    bench.write("rows.jsonl", format!("{row}\n{row}\n{{\"prompt\": \"what\n{row}\n"));
    for line in [
        "train dpo --model model --data rows.jsonl --output-dir out",
        "train sft --model model --data rows.jsonl --output-dir out",
        "generate --model model --input rows.jsonl",
        "score --model model --input rows.jsonl",
    ] {
        let ran = bench.run(line);
        ran.refused(&["rows.jsonl, line 3", "not JSON", "fix or delete the row"]);
        // Not even the rows before it.
        assert_eq!(ran.stdout, "", "{line}");
    }
    assert!(!bench.path("out").exists());
}

#[test]
fn missing_columns_with_a_suggestion() {
    let bench = Bench::new();
    let train = |row: Value| {
        bench.rows("rows.jsonl", [row]);
        bench.run("train dpo --model model --data rows.jsonl --output-dir out")
    };
    let ran = train(json!({"question": "q", "chosen": "a", "rejected": "b"}));
    ran.refused(&["rows.jsonl, line 1", "--columns prompt=", "question"]);
    let ran = train(json!({"prompt": "q", "chosen_response": "a", "rejected": "b"}));
    ran.refused(&[
        "rows.jsonl, line 1",
        "`chosen` is missing",
        "did you mean `chosen_response`?",
        "--columns chosen=chosen_response",
    ]);
    let ran = train(json!({"prompt": "q", "chosen": 7, "rejected": "b"}));
    ran.refused(&["rows.jsonl, line 1", "`chosen` must hold", "got a number"]);
    assert!(!bench.path("out").exists());
    for line in ["score --model model --input rows.jsonl", "generate --model model --input rows.jsonl"] {
        bench.rows("rows.jsonl", [json!({"question": "q", "answer": "a"})]);
        bench.run(line).refused(&["row", "1", "needs", "`prompt`"]);
    }
}

#[test]
fn empty_and_missing_data() {
    let bench = Bench::new();
    bench.write("rows.jsonl", "\n");
    bench.run("train dpo --model model --data rows.jsonl --output-dir out").refused(&["rows.jsonl", "holds no rows"]);
    for line in [
        "train dpo --model model --data nowhere.jsonl --output-dir out",
        "generate --model model --input nowhere.jsonl",
        "score --model model --input nowhere.jsonl",
    ] {
        bench.run(line).refused(&["nowhere.jsonl"]);
    }
    assert!(!bench.path("out").exists());
    training_is_refused(&bench, "--held-out 12", &["held-out", "hold out less"]);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let bench = Bench::new();
    let long = "what is the sum ".repeat(100);
    bench.rows(
        "rows.jsonl",
        [json!({"prompt": "short", "completion": "a"}), json!({"prompt": long, "completion": "a"})],
    );
    let scored = bench.run("score --model model --input rows.jsonl");
    scored.refused(&["rows.jsonl, row 2", "do not fit the context of 256", "shorten the prompt"]);
    // Not even the row that fits.
    assert_eq!(scored.stdout, "");
    let said = ["the context holds 256", "shorten the prompt"];
    bench.run("generate --model model --input rows.jsonl").refused(&["rows.jsonl, row 2", said[0], said[1]]);
    ran(bench.command(&["generate", "--model", "model", "--raw", "--prompt", &long])).refused(&said);
}

#[test]
fn unknown_words() {
    let bench = Bench::new();
    bench.write("options.toml", "learning_rat = 1e-5\n");
    training_is_refused(
        &bench,
        "--config options.toml",
        &["options.toml", "`learning_rat`", "did you mean `learning_rate`?"],
    );
    bench.write("options.toml", "learning_rate = \n");
    training_is_refused(&bench, "--config options.toml", &["options.toml", "line 1"]);
    training_is_refused(&bench, "--config nowhere.toml", &["nowhere.toml"]);
    training_is_refused(&bench, "--learning-rat 1", &["--learning-rat", "--learning-rate"]);
    training_is_refused(&bench, "--max-length x", &["--max-length", "x"]);
    training_is_refused(&bench, "--columns promt=question", &["promt", "did you mean `prompt`?"]);
    training_is_refused(&bench, "--device abacus", &["abacus", "flex"]);
    training_is_refused(&bench, "--reference nowhere", &["nowhere", "check the path"]);
    bench.run("train dpoo --model model --data pairs.jsonl --output-dir out").refused(&[
        "`dpoo`",
        "did you mean `dpo`?",
        "sft",
    ]);
    bench.run("trian dpo").refused(&["trian", "train"]);
    bench.run("train dpo --data pairs.jsonl --output-dir out").refused(&["--model"]);
    bench.run("generate --model model").refused(&["--prompt"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn options_out_of_range() {
    let bench = Bench::new();
    for beta in ["0", "-1"] {
        training_is_refused(&bench, &format!("--beta {beta}"), &["beta must be finite and above 0", "start from 0.1"]);
    }
    for beta in ["nan", "inf", "much"] {
        training_is_refused(&bench, &format!("--beta {beta}"), &["--beta", beta, "number"]);
    }
    bench.run("score --model model --input pairs.jsonl --beta 0").refused(&["beta must be finite and above 0"]);
    bench.run("score --model model --input pairs.jsonl --beta 0.5").refused(&["beta does nothing without --reference"]);
    for (options, said) in [
        ("--learning-rate 0", "learning_rate must be finite and above 0"),
        ("--learning-rate nan", "learning_rate must be finite and above 0"),
        ("--warmup-ratio 1", "warmup_ratio must be in [0, 1)"),
        ("--num-train-epochs 0", "num_train_epochs must be above 0"),
        ("--per-device-train-batch-size 0", "per_device_train_batch_size must be at least 1"),
        ("--max-batch-tokens 0", "max_batch_tokens must be at least 1"),
        ("--adam-beta2 1", "adam_beta2 must be in [0, 1)"),
        ("--max-length 1", "max_length must be at least 2"),
        ("--lr-scheduler-type cosinus", "unknown variant `cosinus`"),
        ("--lr-scheduler-kwargs cycles=2", "unknown field `cycles`"),
        ("--lr-scheduler-kwargs {\"cycles\":2}", "unknown field `cycles`"),
        ("--lr-scheduler-kwargs power=0", "power must be finite and above 0"),
        ("--lr-scheduler-type warmup_stable_decay", "num_decay_steps must be at least 1"),
        (
            "--lr-scheduler-kwargs power=2",
            "linear does not use power, which would change nothing; its lr_scheduler_kwargs are none",
        ),
        ("--lr-scheduler-type cosine --lr-scheduler-kwargs min_lr_rate=0.5", "its lr_scheduler_kwargs are num_cycles"),
        ("--optim lamb", "unknown variant `lamb`"),
        ("--optim sgd --adam-beta1 0.5", "adam_beta1 does nothing with --optim sgd, which has no moments of Adam"),
        ("--optim sgd --adam-epsilon 1e-6", "adam_epsilon does nothing with --optim sgd"),
        ("--optim rmsprop --adam-beta2 0.9", "adam_beta2 does nothing with --optim rmsprop"),
        (
            "--held-out 0 --per-device-eval-batch-size 2",
            "per_device_eval_batch_size does nothing without rows to evaluate on",
        ),
        ("--revision quote", "revision does nothing where no token rewards are made"),
        ("--optim sgd --optim-args momentum=1", "momentum must be in [0, 1)"),
        ("--optim sgd --optim-args nesterov=true", "momentum must be above 0 with nesterov"),
        (
            "--optim-args momentum=0.5",
            "adamw_torch does not use momentum, which would change nothing; its optim_args are amsgrad",
        ),
        ("--optim rmsprop --optim-args {\"amsgrad\":true}", "its optim_args are momentum, alpha"),
        ("--boundary shared", "unknown variant `shared`, expected `apart` or `shared-prefix`"),
    ] {
        training_is_refused(&bench, options, &[said]);
    }
    let t_reg = "train t-reg --model model --data pairs.jsonl --output-dir out";
    bench.run(&format!("{t_reg} --alpha -1")).refused(&["alpha must be finite and at least 0"]);
    bench
        .run(&format!("{t_reg} --revision nowhere.toml"))
        .refused(&["`quote`, `no_quote` or a TOML file", "nowhere.toml"]);
    bench.run("generate --model model --prompt what --temperature nan").refused(&["temperature"]);
    bench.run("generate --model model --prompt what --temperature 1 --top-p 0").refused(&["top_p"]);
    for (option, value) in [
        ("min_p", "2"),
        ("typical_p", "0"),
        ("epsilon_cutoff", "nan"),
        ("eta_cutoff", "1"),
        ("repetition_penalty", "-1"),
    ] {
        let line = format!("generate --model model --prompt what --{option} {value}");
        bench.run(&line).refused(&[option, "must be"]);
    }
    bench.run("generate --model model --prompt what --num-beams 0").refused(&["at least 1 beam"]);
    bench.run("generate --model model --prompt what --early-stopping soon").refused(&["--early-stopping", "never"]);
}

#[test]
fn options_that_an_objective_does_not_have() {
    let bench = Bench::new();
    for (options, said) in [
        ("--desirable-weight 2", "`desirable_weight` is no option of dpo, whose options are beta, label_smoothing"),
        ("--label-smoothing 0.7", "label_smoothing must be in [0, 0.5], got 0.7"),
        ("--f-divergence-type kl", "unknown variant `kl`, expected one of `reverse_kl`"),
        ("--reference-free=perhaps", "--reference-free"),
        ("--loss-weights 1", "there is one"),
        ("--loss-type sigmoid sft --loss-weights 1", "1 numbers for 2 losses"),
        ("--loss-type sigmoid kto", "different kinds of rows"),
        ("--dpo-model model", "dpo_model does nothing without --credit dpo_reward"),
        ("--revision no_quote", "revision does nothing where no token rewards are made"),
        ("--held-out 0 --eval-steps 2", "eval_steps does nothing without rows to evaluate on"),
    ] {
        training_is_refused(&bench, options, &[said]);
    }
    let train = |method: &str| bench.run(&format!("train {method} --data pairs.jsonl --model model --output-dir out"));
    train("sft --beta 0.1").refused(&["`beta` is no option of sft, whose options are none"]);
    train("robust --label-smoothing 0.5").refused(&["label_smoothing must be in [0, 0.5), got 0.5"]);
    train("t-reg --credit dpo_reward").refused(&["name it with --dpo-model"]);
    train("t-reg+sft --credit dpo_reward").refused(&["name it with --dpo-model"]);
    train("t-reg --credit sft_on_chosen --revision no_quote").refused(&["revision does nothing"]);
    train("simpo --reference model").refused(&["reference does nothing with simpo, which has none"]);
    train("cpo --simpo-gamma 1").refused(&["simpo_gamma does nothing without the loss type simpo"]);
    train("simpo --loss-type ipo").refused(&["loss_type is an option of dpo"]);
    bench.write("options.toml", "beta = true\n");
    train("dpo --config options.toml").refused(&["`beta` must be a string or a number"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn rows_that_lack_what_an_objective_needs() {
    let bench = Bench::new();
    let train = |method: &str, data: &str| {
        let line = format!("train {method} --data {data} --model model --output-dir out {SHORT} --held-out 0");
        bench.run(&line)
    };
    train("tpo", "pairs.jsonl").refused(&["no reference reply (lines 1, 2"]);
    train("cream", "pairs.jsonl").refused(&["no margin, score or consistency (lines 1, 2"]);
    train("mm-dpo", "pairs.jsonl").refused(&["no margin, score or consistency"]);
    train("dpo --label-weights mean", "pairs.jsonl").refused(&["no weight of the label (lines 1, 2"]);
    train("simpo --label-weights mean", "pairs.jsonl").refused(&["`label_weights` is no option of simpo"]);
    bench.rows("rows.jsonl", [json!({"prompt": "q", "chosen": "a", "rejected": "b", "weight": -1})]);
    train("dpo", "rows.jsonl")
        .refused(&["line 1", "`weight` must hold a finite number of 32 bits, 0 or above, got -1"]);
    let row = |consistency: f64| json!({"prompt": "q", "chosen": "a", "rejected": "b", "consistency": consistency});
    bench.rows("rows.jsonl", [row(0.5), row(1.5)]);
    train("cream", "rows.jsonl").refused(&["line 2", "`consistency` must hold a number from 0 to 1"]);
    // A divergence is estimated from responses to other prompts.
    let reply = |text: &str, label: bool| json!({"prompt": "q", "completion": text, "label": label});
    bench.rows("rows.jsonl", [reply("a", true), reply("b", false)]);
    train("kto", "rows.jsonl").refused(&["at least two prompts are needed, got 2 rows", "set no_kl"]);
    train("bco", "pairs.jsonl").succeeded();
    fs::remove_dir_all(bench.path("out")).unwrap();
    bench.rows("rows.jsonl", [json!({"prompt": "q", "completion": "a"})]);
    train("kto", "rows.jsonl").refused(&["`label` is missing"]);
    let rated = |text: &str, rating: f64| json!({"prompt": "q", "completion": text, "ratings": {"x": rating}});
    bench.rows("rows.jsonl", [rated("a", 1.0), rated("b", 1.0)]);
    train("rrhf", "rows.jsonl").refused(&["a tie of the replies (line 1)"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn a_chat_that_cannot_be() {
    let bench = Bench::new();
    bench.run("generate --model model --chat what --prompt what").refused(&["--chat", "--prompt"]);
    bench.run("generate --model model --prompt what --system short").refused(&["--chat"]);
    let long = "what ".repeat(300);
    let chat = ["generate", "--model", "model", "--max-new-tokens", "4", "--chat"];
    ran(bench.command(&[&chat[..], &[long.as_str()]].concat())).refused(&["the context holds 256", "shorten"]);
    // Without a message, standard input has the turns: here, none.
    assert_eq!(ran(bench.command(&chat)).succeeded().stdout, "");
    fs::remove_file(bench.path("model/chat_template.jinja")).unwrap();
    for line in ["generate --model model --chat what", "generate --model model --chat"] {
        bench.run(line).refused(&["`model` has no chat template", "use --prompt"]);
    }
}

#[test]
fn adapters_that_do_not_fit() {
    let bench = Bench::new();
    for (options, said) in [
        ("--lora-r 8", "--use-peft"),
        ("--use-peft --lora-r 0", "r must be at least 1"),
        ("--gradient-checkpointing often", "'often' for '--gradient-checkpointing"),
        ("--use-peft --lora-alpha -1", "alpha must be finite and above 0"),
        ("--use-peft --lora-target-modules c_attn", "no projection `c_attn`; it has q_proj"),
    ] {
        training_is_refused(&bench, options, &[said]);
    }
    bench.run("generate --model model --prompt what --adapter nowhere").refused(&["nowhere", "check the path"]);
    bench.run("merge --adapter model --output-dir out").refused(&["there is no adapter to merge"]);
    bench.run(&format!("train dpo --model model --data pairs.jsonl --output-dir lora {SHORT} --use-peft")).succeeded();
    bench.run("merge --adapter lora --output-dir lora").refused(&["`lora` holds an adapter", "another folder"]);
    bench
        .run(&format!("train dpo --model lora --data pairs.jsonl --output-dir out {SHORT}"))
        .refused(&["`lora` is an adapter", "ascribe merge --adapter lora"]);
    // The base has gone: it is named.
    fs::rename(bench.path("model"), bench.path("moved")).unwrap();
    bench.run("generate --model lora --prompt what").refused(&["/model", "no such file or folder"]);
    bench.run("generate --model moved --adapter lora --prompt what --max-new-tokens 1").succeeded();
    assert!(!bench.path("out").exists());
}

#[test]
fn rows_that_cannot_teach() {
    let bench = Bench::new();
    let pair = |chosen: &str, rejected: &str| json!({"prompt": "what", "chosen": chosen, "rejected": rejected});
    bench.rows("rows.jsonl", [pair("the sum", "the rest"), pair("same", "same"), pair("", "the rest"), pair("a", "b")]);
    let train = format!("train dpo --model model --data rows.jsonl --output-dir out {SHORT} --held-out 0");
    let ran = bench.run(&train).succeeded();
    let said = "2 rows left out: 1 chosen equals rejected (line 2), 1 empty completion (line 3)";
    assert!(ran.stderr.lines().any(|line| line == said), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 rows to train on"), "{}", ran.stderr);

    let bench = Bench::new();
    bench.rows("rows.jsonl", [pair("the sum", "the rest"), pair("same", "same")]);
    bench.run(&format!("{train} --strict")).refused(&["refused", "(line 2)", "fix or delete these rows"]);
    bench.write("options.toml", "strict = true");
    bench.run(&format!("{train} --config options.toml")).refused(&["refused", "(line 2)"]);
    bench.rows("rows.jsonl", [pair("same", "same"), pair(" ", "b")]);
    bench.run(&train).refused(&["refused", "(line 1)", "(line 2)"]);
    // Supervised rows: the completion alone counts.
    bench.rows("rows.jsonl", [json!({"prompt": "what", "completion": ""})]);
    bench.run("train sft --model model --data rows.jsonl --output-dir out").refused(&["empty completion (line 1)"]);
    // Truncated to one prompt token and one response token, which is the same: nothing is left to tell them apart.
    bench.rows("rows.jsonl", [pair("the sum of all", "the sum of none"), pair("the sum", "one")]);
    bench.run(&format!("{train} --max-length 2 --strict")).refused(&["(line 1)"]);
    assert!(!bench.path("out").exists());
    let ran = bench.run(&format!("{train} --max-length 2")).succeeded();
    assert!(ran.stderr.contains("1 row left out") && ran.stderr.contains("(line 1)"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 of 1 training prompts cut on the left, 2 responses cut on the right"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_checkpoint_of_another_run() {
    let bench = Bench::new();
    // The same tokenizer around other weights.
    bench.copy_model("llama_gqa", "other");
    bench.copy_model("llama_ref", "other");
    let train = |method: &str, options: &str| {
        bench.run(&format!("train {method} --data pairs.jsonl --output-dir out {SHORT} --max-steps 1 {options}"))
    };
    train("dpo", "--model model").succeeded();
    let before = bench.files("out");
    let cache = || fs::read(bench.path("out/cache/logps.bin")).unwrap();
    let remedy = "use its own settings or another output_dir";
    bench.rows("rows.jsonl", (0..8).map(|n| json!({"prompt": format!("q {n}"), "chosen": "a", "rejected": "b"})));
    for (method, options, what) in [
        ("dpo", "--model other", "another model"),
        ("sft", "--model model", "another method"),
        ("dpo", "--model model --reference other", "another reference (the model itself, here "),
        ("dpo", "--model model --data rows.jsonl", "another set of rows"),
        ("dpo", "--model model --held-out 3", "another set of rows"),
        ("dpo", "--model model --seed 1", "another seed (0, here 1)"),
        ("dpo", "--model model --beta 0.2", "another beta (0.1, here 0.2)"),
        ("dpo", "--model model --learning-rate 0.002", "another learning_rate (0.001, here 0.002)"),
        ("dpo", "--model model --max-steps 2", "another max_steps (1, here 2)"),
        ("dpo", "--model model --max-batch-tokens 64", "another max_batch_tokens (none, here 64)"),
    ] {
        let cached = cache();
        train(method, options).refused(&["out/checkpoint-1", what, remedy]);
        assert_eq!(
            bench.files("out").keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>(),
            "{method} {options}"
        );
        assert!(bench.files("out") == before, "{method} {options}: a file has changed");
        // Another set of rows is known by its reference alone; all else is seen before the reference is asked.
        assert!(cache() == cached || what.contains("rows"), "{method} {options}: the cache has changed");
    }
    // A checkpoint that was spoilt.
    bench.write("out/checkpoint-1/trainer_state.json", "{");
    train("dpo", "--model model").refused(&["out/checkpoint-1", "delete the folder"]);
}

/// Runs a line with no file allowed to grow over `blocks` blocks of 512 bytes: to a writer this is a disk that is full.
#[cfg(unix)]
fn run_on_full_disk(bench: &Bench, blocks: usize, line: &str) -> Ran {
    let mut command = Command::new("sh");
    let limit = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" "$@""#);
    command.args(["-c", &limit, env!("CARGO_BIN_EXE_ascribe")]);
    bench.set(&mut command, &words(line));
    ran(command)
}

#[cfg(unix)]
#[test]
fn a_full_disk() {
    let bench = Bench::new();
    let train = format!(
        "train dpo --model model --data pairs.jsonl --output-dir out {SHORT} --save-steps 2 --save-total-limit 0"
    );
    bench.run(&train).succeeded();
    assert_eq!(bench.folders("out"), ["checkpoint-2", "checkpoint-4"]);
    let (whole, equal) = (bench.files("out"), bench.equal_files("out"));

    // After the last checkpoint: the final model. The one that stands there stays as it is.
    let said = ["model.safetensors", "space left on the disk"];
    run_on_full_disk(&bench, 100, &train).refused(&said);
    assert!(bench.files("out") == whole, "{:?}", bench.files("out").keys());
    // And without one, none is begun.
    let finals: Vec<&String> = whole.keys().filter(|name| !name.contains('/') && *name != "log.jsonl").collect();
    finals.iter().for_each(|name| fs::remove_file(bench.path("out").join(name)).unwrap());
    let rest = bench.files("out");
    run_on_full_disk(&bench, 100, &train).refused(&said);
    assert!(bench.files("out") == rest, "{:?}", bench.files("out").keys());

    // In a checkpoint: while the model is written (350 blocks), and while the optimizer is (700 blocks).
    fs::remove_dir_all(bench.path("out/checkpoint-4")).unwrap();
    let first = bench.files("out/checkpoint-2");
    for blocks in [100, 500] {
        run_on_full_disk(&bench, blocks, &train).refused(&["space left on the disk"]);
        assert_eq!(bench.folders("out"), ["checkpoint-2"], "{blocks} blocks");
        assert!(bench.files("out/checkpoint-2") == first, "{blocks} blocks");
        assert!(!bench.path("out/model.safetensors").exists());
    }

    // With room again the run goes on from the checkpoint that survived, to the same bytes.
    bench.run(&train).succeeded();
    assert!(bench.equal_files("out") == equal);

    // So full that not even the cache can be written.
    run_on_full_disk(&bench, 1, &train.replace("--output-dir out", "--output-dir fresh")).refused(&["fresh"]);
    assert_eq!(bench.files("fresh").len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_is_full_or_closed() {
    let bench = Bench::new();
    bench.rows("rows.jsonl", (0..300).map(|n| json!({"prompt": format!("q {n}"), "completion": "a"})));
    let train = format!("train dpo --model model --data pairs.jsonl --output-dir out {SHORT} --max-steps 1");
    for line in
        ["score --model model --input rows.jsonl", "generate --model model --prompt what --max-new-tokens 2", &train]
    {
        let mut command = bench.command(&words(line));
        command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
        ran(command).refused(&["cannot write to standard output"]);
    }
    // `ascribe score ... | head -1` ends quietly.
    let mut child = bench.command(&words("score --model model --input rows.jsonl")).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}
