//! The binary `ascribe`.

use std::process::ExitCode;

use ascribe_cli::Catalog;

// An allocator that keeps freed pages: tensors come and go at every step, and page faults cost more than arithmetic.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ascribe_cli::run(Catalog::builtin())
}
