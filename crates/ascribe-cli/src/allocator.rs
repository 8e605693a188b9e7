//! The allocator of the binaries: mimalloc that keeps the pages which it once had.
//!
//! Tensors of the same sizes come and go at every step. An allocator that hands freed pages back makes the system clear
//! them again a moment later: a third of a training step on the CPU. What a run needed at its peak stays with it instead.
//!
//! The one place of `unsafe` in the tree: mimalloc has no safe call for its options, and reads the variable that sets this
//! one before `main` begins.

use std::ffi::c_int;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, the same in its versions 2 and 3.
const PURGE_DELAY: c_int = 15;

/// Keeps freed pages from now on, unless `MIMALLOC_PURGE_DELAY` says otherwise.
pub fn keep_pages() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: the function stores a number in a table of options and takes any of them.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) }
    }
}
