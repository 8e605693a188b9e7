//! `ascribe eval`: benchmarks, from files in their published formats or by asking a model. What is asked and how it is
//! scored stands in `ascribe_eval`; here are files and flags.

mod agreement;
mod alpaca_eval;
mod arena;
mod bose;
mod correction;
mod grade;
mod model;
mod p_true;
mod process;
mod reward_bench;
mod reward_math;
mod samples;

use crate::args::EvalCommand;

pub fn run(protocol: &EvalCommand) -> anyhow::Result<()> {
    match protocol {
        EvalCommand::RewardMath(args) => reward_math::run(args),
        EvalCommand::RewardBench(args) => reward_bench::first(args),
        EvalCommand::RewardBench2(args) => reward_bench::second(args),
        EvalCommand::ProcessBench(args) => process::process_bench(args),
        EvalCommand::PrmBench(args) => process::prm_bench(args),
        EvalCommand::Samples(args) => samples::run(args),
        EvalCommand::PTrue(args) => p_true::run(args),
        EvalCommand::AlpacaEval(args) => alpaca_eval::run(args),
        EvalCommand::Bose(args) => bose::run(args),
        EvalCommand::Grade(args) => grade::run(args),
        EvalCommand::Arena(args) => arena::run(args),
        EvalCommand::RmBench(args) => reward_bench::styles(args),
        EvalCommand::Agreement(args) => agreement::run(args),
        EvalCommand::Correction(args) => correction::run(args),
    }
}
