//! Models that are served elsewhere: an OpenAI-compatible server behind [`Policy`](ascribe_core::Policy), and chats for
//! judges.
//!
//! ```text
//! requests -> queue -> workers, so many an endpoint -> HTTP -> answers that are checked -> results by index
//! ```
//! Plain threads and blocking requests. What a server can do is asked once, when it is connected to; what it cannot do is
//! refused before a token is written. `docs/served.md` has a table of servers.

mod options;

mod wire;

mod fleet;

mod answer;
mod dialect;
mod server;

mod policy;

mod chat;

pub use chat::{ChatChoice, ChatReply, ChatRequest, ChatToken, ServedChat};
pub use dialect::Dialect;
pub use options::ServedOptions;
pub use policy::ServedPolicy;
pub use server::{Abilities, Scoring};
