//! Interpreters of Python that may have a peer installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::models::{cache_folder, left_out};

/// The interpreter in `ASCRIBE_PYTHON`, or else those that the chores of the workspace set up.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    if let Some(python) = std::env::var_os("ASCRIBE_PYTHON") {
        return vec![python.into()];
    }
    let folders = ["llama-cpp", "peers"].into_iter().filter_map(|name| Some(cache_folder()?.join(name)));
    folders.map(|folder| folder.join("venv/bin/python")).filter(|python| python.is_file()).collect()
}

/// An interpreter that can import `module`; `None`, in words on standard error, where there is none.
pub fn with_module(module: &str) -> Option<PathBuf> {
    let imports = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import {module}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = interpreters().into_iter().find(imports);
    if found.is_none() {
        left_out(&format!(
            "there is no Python with {module}; set ASCRIBE_PYTHON, or run cargo xtask bench peers, which sets one up"
        ));
    }
    found
}
