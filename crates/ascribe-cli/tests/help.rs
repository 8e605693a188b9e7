//! Help: of a command as ever, of `train` and `validate` the methods, and of a method its options.

mod support;

use support::{Bench, Ran};

/// What this line prints, which is no error.
#[track_caller]
fn told(bench: &Bench, line: &str) -> String {
    let Ran { code, stdout, stderr } = bench.run(line);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{line}");
    stdout
}

#[test]
fn a_method_shows_its_options_and_no_others() {
    let bench = Bench::new();
    let grpo = told(&bench, "train grpo --help");
    assert!(
        grpo.contains(
            "\nUsage: ascribe train grpo --model <MODEL> --data <DATA> --output-dir <OUTPUT_DIR> [OPTIONS]\n"
        )
    );
    assert!(grpo.contains("--num-generations <") && grpo.contains("\nRollouts:\n") && grpo.contains("--lora-r <"));
    assert!(!grpo.contains("--curriculum <") && !grpo.contains("--cpo-alpha <") && !grpo.contains("--lam <"));
    assert!(grpo.contains("Rewards by name: arithmetic, ") && grpo.contains("chain"));
    let dpo = told(&bench, "train dpo --help");
    assert!(dpo.contains("--label-smoothing <") && !dpo.contains("--num-generations <"));
    // Everything else on the line is read, wherever it stands.
    let ppo = told(&bench, "train --model m grpo --advantage_estimator gae --help");
    assert!(ppo.contains("--lam <"));
    assert!(told(&bench, "validate sft -h").contains("\nUsage: ascribe validate sft --model <MODEL>"));
}

#[test]
fn without_a_method_there_is_a_list_of_methods() {
    let bench = Bench::new();
    let list = told(&bench, "train --help");
    assert!(
        list.contains("\nOn rollouts of the model itself:\n  grpo ") && list.contains("\nReward models:\n  reward ")
    );
    assert!(!list.contains("--learning-rate"));
    assert_eq!(told(&bench, "help train"), list);
    assert!(told(&bench, "validate --help").starts_with("Check a training run"));
}

#[test]
fn config_files_may_stand_beside_help() {
    let bench = Bench::new();
    bench.write("run.toml", "loss_type = \"hinge\"\nlearning_rate = 1e-5\n");
    assert!(told(&bench, "train dpo --config run.toml --help").contains("--delta <"));
    bench.write("wrong.toml", "learning_rat = 1e-5\n");
    bench.run("train dpo --config wrong.toml --help").refused(&["learning_rat", "learning_rate"]);
}

#[test]
fn errors_and_other_commands_are_as_ever() {
    let bench = Bench::new();
    bench.run("train").refused(&["required arguments", "ascribe --help"]);
    bench.run("train dpo --beta x --help").refused(&["it must be a number"]);
    // A name that is no method: everything that can be typed.
    let all = told(&bench, "train dpoo --help");
    assert!(all.contains("--num-generations <") && all.contains("--label-smoothing <") && all.contains("<METHOD>"));
    assert!(told(&bench, "search --help").contains("--strategy <"));
    assert!(told(&bench, "--help").contains("check-answer"));
}
