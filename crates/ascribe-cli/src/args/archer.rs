//! Options of games in turns.

use clap::Args;

/// Options of `ascribe train archer`, beside those of writing.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Games in turns")]
pub struct ArcherArgs {
    /// Games of an iteration.
    #[arg(long, default_value_t = 128)]
    pub games: usize,
    /// Most utterances of a game.
    #[arg(long, default_value_t = 20)]
    pub turns: usize,
    /// Step size of the critics, by Adam.
    #[arg(long, default_value_t = 2e-5, allow_negative_numbers = true)]
    pub critic_learning_rate: f64,
    /// Critic steps of an iteration.
    #[arg(long, default_value_t = 50)]
    pub critic_steps: usize,
    /// Turns of a critic step.
    #[arg(long, default_value_t = 32)]
    pub critic_batch_size: usize,
    /// Actor steps of an iteration.
    #[arg(long, default_value_t = 3)]
    pub actor_steps: usize,
    /// Iterations in which critics learn alone; of methods on rollouts with a critic, generations, and 0 unless it is given.
    #[arg(help_heading = "Reinforcement learning", long, default_value_t = 20)]
    pub critic_warmup: usize,
    /// Share by which the critics' targets follow.
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    pub tau: f64,
    /// Most turns that are kept.
    #[arg(long, default_value_t = 100_000)]
    pub buffer_size: usize,
}
