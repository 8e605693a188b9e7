//! Models that are fetched, not committed: a test that needs one is left out, and says so, when it is not there.

use std::path::PathBuf;

/// SmolLM2-135M-Instruct in Q4_1, the file that `golden/smollm2` describes: the path in `ASCRIBE_SMOLLM2`, else the copy
/// that `cargo xtask fetch-model smollm2` put into the cache folder.
pub fn smollm2() -> Option<PathBuf> {
    let path = std::env::var_os("ASCRIBE_SMOLLM2").map(PathBuf::from);
    let path = path.or_else(|| Some(cache_folder()?.join("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")));
    let found = path.filter(|path| path.is_file());
    if found.is_none() {
        left_out("SmolLM2-135M-Instruct is not here; run cargo xtask fetch-model smollm2");
    }
    found
}

/// Where the chores of the workspace put what they fetch.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("ascribe"))
}

/// Says that a test is left out, and why.
#[expect(clippy::print_stderr, reason = "a test that is left out has to say so")]
pub(crate) fn left_out(why: &str) {
    eprintln!("left out: {why}");
}
