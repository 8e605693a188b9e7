//! Ctrl-C: the first one lets long work end with what it has, a second one ends the program at once.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

/// The exit code of work that was interrupted: 128 and the number of SIGINT.
pub const EXIT_CODE: u8 = 130;

/// Work that ended early because of a signal: what is done, and how to go on.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted: {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// The flag that the first SIGINT or SIGTERM raises. Before the first call a signal ends the program, as ever; after it, the
/// second one does.
pub fn flag() -> anyhow::Result<&'static Arc<AtomicBool>> {
    static FLAG: OnceLock<io::Result<Arc<AtomicBool>>> = OnceLock::new();
    FLAG.get_or_init(watched).as_ref().map_err(|error| anyhow!("cannot watch for Ctrl-C: {error}"))
}

fn watched() -> io::Result<Arc<AtomicBool>> {
    let raised = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the end finds the flag of the first signal still down.
        register_conditional_shutdown(signal, i32::from(EXIT_CODE), Arc::clone(&raised))?;
        register(signal, Arc::clone(&raised))?;
    }
    Ok(raised)
}
