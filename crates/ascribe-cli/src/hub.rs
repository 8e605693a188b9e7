//! Models by path, or by their name on the Hugging Face hub.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use ascribe::lm::Hub;

/// The folder or file that `model` stands for: an existing path, or a name on the hub (`org/name[@revision][:file]`).
pub fn resolve(model: &Path) -> anyhow::Result<PathBuf> {
    match (model.exists(), model.to_str()) {
        (false, Some(name)) if is_name(name) => {
            let hub = Hub { progress: std::io::stderr().is_terminal(), ..Hub::from_env()? };
            Ok(hub.resolve(name)?)
        }
        _ => Ok(model.to_owned()),
    }
}

/// Whether a path that does not exist looks like a name on the hub: two words and one slash. A missing file or folder is
/// then still called missing.
fn is_name(text: &str) -> bool {
    let mut words = text.split('/');
    let word = |word: Option<&str>| word.is_some_and(|word| !word.is_empty() && !word.starts_with('.'));
    word(words.next()) && word(words.next()) && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_hub_are_two_words() {
        for name in ["org/name", "org/name@main", "org/name:file.gguf"] {
            assert!(is_name(name), "{name}");
        }
        for path in ["model", "/models/one", "./model", "../one", "a/b/c", "org/"] {
            assert!(!is_name(path), "{path}");
        }
    }
}
