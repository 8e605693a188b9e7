//! llama.cpp's server, out of the PyPI package `xllamacpp`: a server that nobody here wrote.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::models::{left_out, smollm2};
use crate::python::interpreters;

/// Serves the file that it is given until its standard input ends.
const SCRIPT: &str = include_str!("llama_cpp_server.py");

/// A server of SmolLM2-135M-Instruct in Q4_1, which ends when it is dropped.
pub struct LlamaCpp {
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    /// The file that it serves.
    pub model: PathBuf,
    child: Option<Child>,
}

impl LlamaCpp {
    /// The server at `ASCRIBE_ENDPOINT`, which has to serve the same file, or one of its own, run by the Python in
    /// `ASCRIBE_PYTHON` or in the cache folder (`cargo xtask fetch-server llama-cpp`). `None`, in words on standard error,
    /// where there is neither, or no model.
    pub fn start() -> Option<Self> {
        let model = smollm2()?;
        if let Ok(address) = std::env::var("ASCRIBE_ENDPOINT") {
            return Some(Self { address, model, child: None });
        }
        for python in interpreters() {
            let mut command = Command::new(&python);
            command.args(["-c", SCRIPT]).arg(&model);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else { continue };
            let mut line = String::new();
            // A Python without the package ends without a word.
            let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
            if matches!(said, Some(Ok(read)) if read > 0) {
                return Some(Self { address: line.trim().to_owned(), model, child: Some(child) });
            }
            stop(&mut child);
        }
        left_out("there is no llama.cpp server; run cargo xtask fetch-server llama-cpp, or set ASCRIBE_ENDPOINT");
        None
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        self.child.iter_mut().for_each(stop);
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
