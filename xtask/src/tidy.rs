//! The house rules, as code. A rule reads the files of the tree and says what breaks it.

mod manifest;
mod source;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{Process, root};
use manifest::{Kind, Manifest};
use source::{code, contains_word, line_of, without_tests};

/// The crates in the order of `docs/architecture.md`: a crate uses only crates above it.
const ORDER: [&str; 18] = [
    "ascribe-core",
    "ascribe-eval",
    "ascribe-worlds",
    "ascribe-search",
    "ascribe-lm",
    "ascribe-data",
    "ascribe-train",
    "ascribe-reward",
    "ascribe-process",
    "ascribe-preference",
    "ascribe",
    "ascribe-cli",
    "ascribe-testkit",
    "xtask",
    "ascribe-examples",
    "ascribe-benches",
    "ascribe-reproduce",
    "ascribe-fuzz",
];

/// Crates that hold algorithms: no clock, no printing, no noise of their own.
const ALGORITHMS: [&str; 7] = ["core", "eval", "worlds", "search", "reward", "process", "preference"];

/// Crates that never name Burn.
const WITHOUT_BURN: [&str; 4] = ["eval", "search", "data", "worlds"];

/// Reference values of other people's making: no rule looks at them.
const GOLDEN: &str = "crates/ascribe-testkit/golden/";

/// This file and its modules hold the patterns and the samples that break the rules.
const OURSELVES: &str = "xtask/src/tidy";

/// A house rule: the files of the tree in, the places that break it out.
type Rule = fn(&[TextFile]) -> Vec<Violation>;

const RULES: [Rule; 8] = [
    libraries_leave_the_edge_to_the_cli,
    host_crates_never_name_burn,
    crates_use_only_crates_above_them,
    nothing_is_left_to_do_or_ignored,
    algorithms_have_no_clock_no_noise_no_output,
    text_names_no_machine,
    every_readme_is_the_crate_doc,
    nothing_is_reexported_by_glob,
];

/// A text file of the tree; its path is relative to the root and has forward slashes.
#[derive(Clone, Debug)]
pub struct TextFile {
    pub path: String,
    pub text: String,
}

/// A place that breaks a rule, and the rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Holds the tree against every rule and prints each place that breaks one.
pub fn tidy() -> Result<()> {
    let files = tracked_files()?;
    let violations = violations(&files);
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => println!("   {} files keep the house rules", files.len()),
        count => bail!("{count} places break a house rule; each is named above"),
    }
    Ok(())
}

/// The text files that git tracks or would track, without golden values.
pub fn tracked_files() -> Result<Vec<TextFile>> {
    let listed = Process::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).read()?;
    let mut paths: Vec<String> = String::from_utf8(listed)?.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| !path.starts_with(GOLDEN));
    let read = |path: String| {
        // A file that was deleted but not committed is still listed; one that is not UTF-8 is not text.
        let text = String::from_utf8(fs::read(root().join(Path::new(&path))).ok()?).ok()?;
        Some(TextFile { path, text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

fn violations(files: &[TextFile]) -> Vec<Violation> {
    let mut found: Vec<_> = RULES.iter().flat_map(|rule| rule(files)).collect();
    found.sort();
    found
}

fn libraries_leave_the_edge_to_the_cli(files: &[TextFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for manifest in manifests(files).filter(Manifest::is_below_the_cli) {
        for dependency in &manifest.dependencies {
            if ["anyhow", "clap", "indicatif", "ascribe"].contains(&dependency.name.as_str()) {
                let message = format!("{} must not depend on {}: only the CLI does", manifest.name, dependency.name);
                found.push(manifest.at(dependency.line, message));
            }
        }
    }
    found
}

fn host_crates_never_name_burn(files: &[TextFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        let Some((_, inside)) = crate_and_rest(&file.path).filter(|(name, _)| WITHOUT_BURN.contains(name)) else {
            continue;
        };
        let text = match inside {
            "Cargo.toml" => manifest::without_comments(&file.text),
            _ if inside.ends_with(".rs") => code(&file.text),
            _ => continue,
        };
        found.extend(words(file, &text, &["burn"], "this crate works on host data and never names Burn"));
    }
    found
}

fn crates_use_only_crates_above_them(files: &[TextFile]) -> Vec<Violation> {
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let ours: Vec<_> = manifests(files).collect();
    let mut found = Vec::new();
    for manifest in &ours {
        let Some(own) = rank(&manifest.name) else {
            found.push(manifest.at(1, format!("{} has no place in the order of crates: give it one", manifest.name)));
            continue;
        };
        for dependency in manifest.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev) {
            let is_ours = ours.iter().any(|other| other.name == dependency.name);
            if is_ours && rank(&dependency.name).is_some_and(|other| other >= own) {
                let message = format!("{} may use only crates above it, and {} is not", manifest.name, dependency.name);
                found.push(manifest.at(dependency.line, message));
            }
        }
    }
    found
}

fn nothing_is_left_to_do_or_ignored(files: &[TextFile]) -> Vec<Violation> {
    let patterns = ["todo!", "unimplemented!", "#[ignore"];
    sources(files).flat_map(|file| words(file, &code(&file.text), &patterns, "finish it or take it out")).collect()
}

fn algorithms_have_no_clock_no_noise_no_output(files: &[TextFile]) -> Vec<Violation> {
    let patterns = [
        "std::time",
        "SystemTime",
        "Instant",
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "Tensor::random",
        ">::random(", // Tensor::<2>::random
        "device.seed",
    ];
    let reason = "an algorithm reads no clock, prints nothing and draws from a named stream";
    let is_algorithm = |file: &&TextFile| {
        crate_and_rest(&file.path).is_some_and(|(name, inside)| {
            ALGORITHMS.contains(&name) && inside.starts_with("src/") && !inside.ends_with("/tests.rs")
        })
    };
    let algorithms = sources(files).filter(is_algorithm);
    algorithms.flat_map(|file| words(file, &without_tests(&code(&file.text)), &patterns, reason)).collect()
}

fn text_names_no_machine(files: &[TextFile]) -> Vec<Violation> {
    let patterns = ["/work/", "/root/", "index.crates.io", "static.crates.io", "files.pythonhosted.org"];
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with(OURSELVES)) {
        for (line, text) in file.text.lines().enumerate() {
            for pattern in patterns.iter().filter(|pattern| text.contains(**pattern)) {
                let message = format!("`{pattern}` belongs to one machine; use a relative path or a setting");
                found.push(Violation { path: file.path.clone(), line: line + 1, message });
            }
        }
        if file.path == "Cargo.lock" {
            let usual = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
            let foreign = |line: &&str| line.starts_with("source = ") && *line != usual;
            found.extend(file.text.lines().position(|line| foreign(&line)).map(|line| Violation {
                path: file.path.clone(),
                line: line + 1,
                message: "a package comes from another registry than the public one; lock it again".into(),
            }));
        }
    }
    found
}

fn every_readme_is_the_crate_doc(files: &[TextFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for manifest in manifests(files).filter(|manifest| manifest.folder.starts_with("crates/")) {
        let file = |name: &str| files.iter().find(|file| file.path == format!("{}/{name}", manifest.folder));
        if file("README.md").is_none_or(|readme| readme.text.trim().is_empty()) {
            found.push(manifest.at(1, format!("{} has no README.md: it is the crate's doc", manifest.name)));
        }
        let include = "#![doc = include_str!(\"../README.md\")]";
        if !file("src/lib.rs").is_some_and(|lib| lib.text.contains(include)) {
            found.push(manifest.at(1, format!("src/lib.rs of {} lacks `{include}`", manifest.name)));
        }
    }
    found
}

fn nothing_is_reexported_by_glob(files: &[TextFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in sources(files) {
        let code = code(&file.text);
        for (start, _) in code.match_indices("pub use ") {
            let statement = code[start..].split(';').next().unwrap_or_default();
            if statement.contains('*') {
                let message = "a glob re-export hides what a crate offers; name each item".into();
                found.push(Violation { path: file.path.clone(), line: line_of(&code, start), message });
            }
        }
    }
    found
}

/// Where `text`, the cleaned text of `file`, holds one of `patterns` as a word.
fn words(file: &TextFile, text: &str, patterns: &[&str], reason: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, text) in text.lines().enumerate() {
        for pattern in patterns.iter().filter(|pattern| contains_word(text, pattern)) {
            let message = format!("`{pattern}`: {reason}");
            found.push(Violation { path: file.path.clone(), line: line + 1, message });
        }
    }
    found
}

fn sources(files: &[TextFile]) -> impl Iterator<Item = &TextFile> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

fn manifests(files: &[TextFile]) -> impl Iterator<Item = Manifest> {
    files.iter().filter_map(Manifest::parse)
}

/// `crates/ascribe-eval/src/a.rs` is `("eval", "src/a.rs")`.
fn crate_and_rest(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("crates/ascribe-")?.split_once('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    fn manifest(name: &str, tables: &str) -> TextFile {
        file(&format!("crates/{name}/Cargo.toml"), &format!("[package]\nname = \"{name}\"\n{tables}"))
    }

    /// The lines at which `rule` finds fault.
    fn lines(rule: Rule, files: &[TextFile]) -> Vec<usize> {
        rule(files).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_library_with_the_tools_of_the_edge_is_found() {
        let rule = libraries_leave_the_edge_to_the_cli;
        let wrong = "[dependencies]\nanyhow = \"1\"\nserde = \"1\"\n[dev-dependencies]\nclap.workspace = true\n";
        assert_eq!(lines(rule, &[manifest("ascribe-eval", wrong)]), [4, 7]);
        let facade = "[dependencies]\nascribe = { workspace = true }\nascribe-core = { workspace = true }\n";
        assert_eq!(lines(rule, &[manifest("ascribe-train", facade)]), [4]);
        assert_eq!(lines(rule, &[manifest("ascribe-testkit", facade)]), [4]);
        assert!(rule(&[manifest("ascribe-cli", wrong), manifest("ascribe-cli", facade)]).is_empty());
    }

    #[test]
    fn a_host_crate_that_names_burn_is_found() {
        let rule = host_crates_never_name_burn;
        assert_eq!(lines(rule, &[manifest("ascribe-eval", "[dependencies]\n# no burn\nburn-flex = \"0\"\n")]), [5]);
        let wrong = file("crates/ascribe-data/src/lib.rs", "//! No burn here.\nuse burn::Tensor;\n");
        assert_eq!(lines(rule, std::slice::from_ref(&wrong)), [2]);
        let other = TextFile { path: "crates/ascribe-train/src/lib.rs".into(), ..wrong };
        let word = file("crates/ascribe-eval/src/a.rs", "let burned = auburn(\"burn\");");
        assert!(rule(&[other, word]).is_empty());
    }

    #[test]
    fn a_dependency_against_the_order_is_found() {
        let rule = crates_use_only_crates_above_them;
        let search = |tables: &str| {
            [manifest("ascribe-search", tables), manifest("ascribe-lm", ""), manifest("ascribe-core", "")]
        };
        assert_eq!(lines(rule, &search("[dependencies]\nascribe-core = \"0\"\nascribe-lm = \"0\"\n")), [5]);
        assert_eq!(lines(rule, &search("[build-dependencies.lm]\npackage = \"ascribe-lm\"\n")), [3]);
        assert!(rule(&search("[dev-dependencies]\nascribe-lm = \"0\"\n")).is_empty());
        assert_eq!(lines(rule, &[manifest("ascribe-novelty", "")]), [1]);
    }

    #[test]
    fn unfinished_work_and_ignored_tests_are_found() {
        let text =
            "// todo! in a comment\nfn a() { todo!() }\n#[test]\n#[ignore = \"slow\"]\nfn b() {}\nunimplemented!()\n";
        assert_eq!(lines(nothing_is_left_to_do_or_ignored, &[file("xtask/src/main.rs", text)]), [2, 4, 6]);
        assert!(nothing_is_left_to_do_or_ignored(&[file("a.rs", "let s = \"todo!\";")]).is_empty());
    }

    #[test]
    fn an_algorithm_with_a_clock_or_output_is_found() {
        let rule = algorithms_have_no_clock_no_noise_no_output;
        let text = "use std::time::Duration;\nlet t = Instant::now();\nprintln!();\nTensor::<2>::random([1]);\n\
                    device.seed(1);\nTensor::random(x);\neprintln!();\n#[cfg(test)]\n\
                    mod tests {\n fn a() { println!(); }\n}\nlet t: SystemTime;\n";
        for name in ALGORITHMS {
            let wrong = file(&format!("crates/ascribe-{name}/src/a.rs"), text);
            assert_eq!(lines(rule, &[wrong]), [1, 2, 3, 4, 5, 6, 7, 12], "{name}");
        }
        assert!(
            rule(&[file("crates/ascribe-core/tests/a.rs", text), file("crates/ascribe-train/src/a.rs", text)])
                .is_empty()
        );
        assert!(rule(&[file("crates/ascribe-core/src/a.rs", "Instantly(); /* println! */ rng.random()")]).is_empty());
    }

    #[test]
    fn a_path_or_a_host_of_one_machine_is_found() {
        let rule = text_names_no_machine;
        let text = "ok\nsee /work/x\n~/.cargo of /root/.\nhttps://index.crates.io/\nframework/ and ../shared/\n";
        assert_eq!(lines(rule, &[file("docs/a.md", text)]), [2, 3, 4]);
        let lock = "name = \"a\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert!(rule(&[file("Cargo.lock", lock)]).is_empty());
        assert_eq!(lines(rule, &[file("Cargo.lock", &format!("{lock}source = \"sparse+https://mirror/\"\n"))]), [3]);
    }

    #[test]
    fn a_crate_whose_readme_is_not_its_doc_is_found() {
        let rule = every_readme_is_the_crate_doc;
        let lib = file("crates/ascribe-lm/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n");
        let readme = file("crates/ascribe-lm/README.md", "# ascribe-lm\n");
        let own = manifest("ascribe-lm", "");
        assert!(rule(&[own.clone(), lib.clone(), readme.clone()]).is_empty());
        assert_eq!(rule(&[own.clone(), lib.clone()]).len(), 1);
        assert_eq!(rule(&[own.clone(), readme.clone()]).len(), 1);
        assert_eq!(rule(&[own, readme, TextFile { text: "//! Something else.".into(), ..lib }]).len(), 1);
    }

    #[test]
    fn a_glob_reexport_is_found() {
        let rule = nothing_is_reexported_by_glob;
        let text = "use a::*;\npub use b::{B, c::C};\npub use d::*;\n\
                    pub use e::{\n f::F,\n g::*,\n};\n// pub use h::*;\n";
        assert_eq!(lines(rule, &[file("crates/ascribe/src/lib.rs", text)]), [3, 4]);
    }

    #[test]
    fn every_rule_is_applied() {
        let wrong = [
            manifest("ascribe-eval", "[dependencies]\nclap = \"4\"\nburn = \"0\"\nascribe-lm = \"0\"\n"),
            manifest("ascribe-lm", ""),
            file("crates/ascribe-eval/src/lib.rs", "pub use x::*;\nprintln!(\"/work/\");\ntodo!();\n"),
        ];
        // clap, burn, order; glob, print, path, to do; README of both, doc line of both.
        assert_eq!(violations(&wrong).len(), 11);
    }
}
