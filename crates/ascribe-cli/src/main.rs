//! The binary `ascribe`.

#[allow(unsafe_code)]
mod allocator;

use std::process::ExitCode;

use ascribe_cli::Catalog;

fn main() -> ExitCode {
    allocator::keep_pages();
    ascribe_cli::run(Catalog::builtin())
}
