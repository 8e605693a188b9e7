//! The golden files: are they what their manifest says, and which of them does a test read?
//!
//! `pending.txt` of the testkit is the one list of what no test can run yet: `file<TAB>case<TAB>why`, one a line;
//! `file` is a golden file or the folder of a model, and the case `*` is all of it. A unit below is one file, or one
//! such folder with all that lies in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{NotFound, Process, root};
use crate::tidy::{TextFile, tracked_files};

const TESTKIT: &str = "crates/ascribe-testkit";

/// Verifies the manifest, prints who tests what, and fails where a file is damaged, unlisted, or neither tested nor
/// pending.
pub fn golden() -> Result<()> {
    let folder = root().join(TESTKIT).join("golden");
    let manifest =
        fs::read_to_string(folder.join("MANIFEST.json")).context("the golden folder has no MANIFEST.json")?;
    let manifest = read_manifest(&manifest)?;
    let pending = match fs::read_to_string(root().join(TESTKIT).join("pending.txt")) {
        Ok(text) => read_pending(&text)?,
        Err(_) => Vec::new(),
    };
    let mut problems = damaged(&folder, &manifest)?;

    let sources: Vec<TextFile> = tracked_files()?
        .into_iter()
        .filter(|file| file.path.ends_with(".rs") && !file.path.starts_with("xtask/"))
        .collect();
    let units: BTreeSet<&str> = manifest.keys().map(|path| unit_of(path)).collect();
    let (mut tested, mut part, mut waiting, mut inputs) = (0, 0, 0, 0);
    for unit in &units {
        let testers = testers(unit, &sources);
        let cases: Vec<&Pending> = pending.iter().filter(|case| unit_of(&case.file) == *unit).collect();
        // A folder without expected values is read by the tests of another file.
        let is_input = !unit.ends_with(".json") && !manifest.contains_key(&format!("{unit}/expected.json"));
        let says = match (testers.is_empty(), cases.is_empty()) {
            (false, true) => {
                tested += 1;
                format!("tested by {}", join(&testers))
            }
            (false, false) => {
                part += 1;
                format!("tested by {}; pending: {}", join(&testers), reasons(&cases))
            }
            (true, false) => {
                waiting += 1;
                if !cases.iter().any(|case| case.case == "*") {
                    problems.push(format!("{unit} is read by no test, yet pending.txt lists only some of its cases"));
                }
                format!("pending: {}", reasons(&cases))
            }
            (true, true) if is_input => {
                inputs += 1;
                "input of other files".into()
            }
            (true, true) => {
                problems.push(format!("{unit} is neither read by a test nor listed in pending.txt"));
                "NEITHER TESTED NOR PENDING".into()
            }
        };
        println!("{unit:40} {says}");
    }
    for case in pending.iter().filter(|case| !units.contains(unit_of(&case.file))) {
        problems.push(format!("pending.txt names {}, which MANIFEST.json does not", case.file));
    }
    println!(
        "\n{} files in {} units: {tested} tested, {part} in part, {waiting} pending ({} cases listed), {inputs} inputs",
        manifest.len(),
        units.len(),
        pending.len()
    );
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problems with the golden files; each is named above", problems.len());
    }
    Ok(())
}

/// What the manifest says of a file.
#[derive(Debug, PartialEq)]
struct Entry {
    bytes: u64,
    sha256: String,
}

fn read_manifest(text: &str) -> Result<BTreeMap<String, Entry>> {
    let manifest: BTreeMap<String, Value> = serde_json::from_str(text).context("MANIFEST.json")?;
    let read = |(path, entry): (String, Value)| {
        let bytes = entry["bytes"].as_u64().with_context(|| format!("MANIFEST.json: {path} has no `bytes`"))?;
        let sha256 = entry["sha256"].as_str().with_context(|| format!("MANIFEST.json: {path} has no `sha256`"))?;
        Ok((path, Entry { bytes, sha256: sha256.to_owned() }))
    };
    manifest.into_iter().map(read).collect()
}

/// A case that no test can run yet.
#[derive(Debug, PartialEq)]
struct Pending {
    file: String,
    case: String,
    why: String,
}

fn read_pending(text: &str) -> Result<Vec<Pending>> {
    let is_said = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    let read = |(at, line): (usize, &str)| {
        let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
        match fields.as_slice() {
            [file, case, why] if fields.iter().all(|field| !field.is_empty()) => {
                Ok(Pending { file: file.to_string(), case: case.to_string(), why: why.to_string() })
            }
            _ => bail!("pending.txt, line {}: expected `file<TAB>case<TAB>why`", at + 1),
        }
    };
    text.lines().enumerate().filter(is_said).map(read).collect()
}

/// Files that are missing, not listed, or not of the size and the hash that the manifest gives.
fn damaged(folder: &Path, manifest: &BTreeMap<String, Entry>) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut sound = Vec::new();
    for (path, entry) in manifest {
        match fs::metadata(folder.join(path)) {
            Ok(found) if found.len() == entry.bytes => sound.push(path),
            Ok(found) => problems.push(format!("{path} has {} bytes, MANIFEST.json says {}", found.len(), entry.bytes)),
            Err(_) => problems.push(format!("{path} is in MANIFEST.json but not in the folder")),
        }
    }
    for path in files_below(folder, "")? {
        if !manifest.contains_key(&path) && !["MANIFEST.json", "README.md"].contains(&path.as_str()) {
            problems.push(format!("{path} is in the folder but not in MANIFEST.json"));
        }
    }
    match Process::new("sha256sum").args(sound.iter().map(|path| folder.join(path))).read() {
        Ok(sums) => {
            for (path, sum) in sound.iter().zip(String::from_utf8_lossy(&sums).lines()) {
                if !sum.starts_with(&manifest[*path].sha256) {
                    problems.push(format!("{path} has another SHA-256 than MANIFEST.json says"));
                }
            }
        }
        Err(error) if error.is::<NotFound>() => {
            println!("sizes were checked, hashes were not: sha256sum is not installed\n")
        }
        Err(error) => return Err(error),
    }
    Ok(problems)
}

/// Paths of all files below `folder`, relative to it, after `prefix`.
fn files_below(folder: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => found.extend(files_below(&entry.path(), &format!("{path}/"))?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// `pref/dpo_trl.json` is its own unit; `lm/qwen2/config.json` belongs to `lm/qwen2`.
fn unit_of(path: &str) -> &str {
    let end = path.match_indices('/').nth(1).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

/// The crates with a golden test that names the unit: its path in a string, or the model's folder alone.
fn testers(unit: &str, sources: &[TextFile]) -> BTreeSet<String> {
    let is_folder = !unit.ends_with(".json");
    let model = unit.rsplit('/').next().unwrap_or(unit);
    let names = |text: &str| {
        text.contains("golden")
            && (text.contains(&format!("\"{unit}\""))
                || is_folder && (text.contains(&format!("\"{unit}/")) || text.contains(&format!("\"{model}\""))))
    };
    let crate_of = |file: &TextFile| file.path.split('/').nth(1).unwrap_or(&file.path).to_owned();
    sources.iter().filter(|file| names(&file.text)).map(crate_of).collect()
}

fn join(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// `12 cases (needs KTO), 1 case (needs GPT-2)`.
fn reasons(cases: &[&Pending]) -> String {
    let mut counts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in cases {
        counts.entry(&case.why).or_default().push(&case.case);
    }
    let say = |(why, cases): (&str, Vec<&str>)| match cases.as_slice() {
        ["*"] => format!("all ({why})"),
        [case] => format!("{case} ({why})"),
        _ => format!("{} cases ({why})", cases.len()),
    };
    counts.into_iter().map(say).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_model_is_one_unit() {
        assert_eq!(unit_of("pref/dpo_trl.json"), "pref/dpo_trl.json");
        assert_eq!(unit_of("lm/qwen2/config.json"), "lm/qwen2");
        assert_eq!(unit_of("lm/qwen2"), "lm/qwen2");
    }

    #[test]
    fn a_test_that_names_a_file_tests_it() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let sources = [
            file("crates/ascribe-lm/tests/golden.rs", "golden::walk(\"lm/llama_ref/expected.json\"); [\"qwen2\"]"),
            file("crates/ascribe-eval/tests/golden.rs", "golden::walk(\"metrics/rouge.json\")"),
            file("crates/ascribe-data/src/lib.rs", "\"metrics/rouge.json\""),
        ];
        let found = |unit: &str| join(&testers(unit, &sources));
        assert_eq!(found("lm/llama_ref"), "ascribe-lm");
        assert_eq!(found("lm/qwen2"), "ascribe-lm");
        assert_eq!(found("metrics/rouge.json"), "ascribe-eval");
        assert_eq!(found("lm/qwen3"), "");
        assert_eq!(found("lm/train_steps.json"), "");
    }

    #[test]
    fn pending_cases_are_read_and_wrong_lines_are_named() {
        let text = "# what no test can run yet\n\npref/kto_trl.json\t*\tneeds KTO\n";
        let expected = Pending { file: "pref/kto_trl.json".into(), case: "*".into(), why: "needs KTO".into() };
        assert_eq!(read_pending(text).unwrap(), [expected]);
        for wrong in ["a\tb\n", "a\t\tc\n", "a b c\n"] {
            assert!(read_pending(&format!("\n{wrong}")).unwrap_err().to_string().contains("line 2"), "{wrong}");
        }
    }

    #[test]
    fn reasons_are_counted() {
        let case = |case: &str, why: &str| Pending { file: "f".into(), case: case.into(), why: why.into() };
        let cases = [case("ipo", "needs IPO"), case("apo", "needs APO"), case("ipo2", "needs IPO")];
        assert_eq!(reasons(&cases.iter().collect::<Vec<_>>()), "apo (needs APO), 2 cases (needs IPO)");
        assert_eq!(reasons(&[&case("*", "needs KTO")]), "all (needs KTO)");
    }

    #[test]
    fn damage_is_found() {
        let folder = std::env::temp_dir().join(format!("xtask-golden-{}", std::process::id()));
        fs::create_dir_all(folder.join("a")).unwrap();
        for (path, text) in
            [("a/sound.json", "abc"), ("a/changed.json", "abd"), ("a/cut.json", "ab"), ("more.json", "")]
        {
            fs::write(folder.join(path), text).unwrap();
        }
        // SHA-256 of "abc", from FIPS 180-2.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let entry = |path: &str| (path.to_owned(), Entry { bytes: 3, sha256: sha256.to_owned() });
        let manifest = ["a/sound.json", "a/changed.json", "a/cut.json", "a/gone.json"].map(entry).into();
        let problems = damaged(&folder, &manifest);
        fs::remove_dir_all(&folder).unwrap();
        let problems = problems.unwrap();
        let has_sha256sum = Process::new("sha256sum").args(["--version"]).read().is_ok();
        assert_eq!(problems.len(), if has_sha256sum { 4 } else { 3 }, "{problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("sound")));
    }
}
