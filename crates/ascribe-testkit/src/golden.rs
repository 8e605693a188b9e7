//! The golden files: reading them, comparing with them, and the table of cases that no test can run yet.
//!
//! Files are named by their path below [`root`], `pref/dpo_trl.json` say. A golden test walks every case of its file; a
//! case that it cannot run goes through [`require_pending`], so that nothing is skipped in silence. The formats and
//! tolerances are described in `golden/README.md`.

use std::fmt::{Display, Formatter, Result as FmtResult};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Lines `file <TAB> case <TAB> why`; `#` starts a comment.
const PENDING: &str = include_str!("../pending.txt");

/// The folder of the golden files: `ASCRIBE_GOLDEN` when it is set, else the one of this crate.
pub fn root() -> PathBuf {
    std::env::var_os("ASCRIBE_GOLDEN").map_or_else(built_in, PathBuf::from)
}

/// Opens the golden file `name`.
///
/// # Panics
/// When the file is missing or is not JSON.
pub fn open(name: &str) -> Case {
    let path = root().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("golden file {}: {error}", path.display()));
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("golden file {}: {error}", path.display()));
    Case { name: name.to_owned(), value }
}

/// A value inside a golden file that knows where it stands, for messages such as `pref/dpo_trl.json#cases[3].loss`.
///
/// Every accessor panics with that name when the value is of another kind.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    value: Value,
}

impl Case {
    /// The member `key` of an object.
    pub fn get(&self, key: &str) -> Case {
        self.member(key).unwrap_or_else(|| panic!("{self} has no `{key}`; it has {:?}", self.keys()))
    }

    /// The member `key` of an object, unless it is absent or null.
    pub fn opt(&self, key: &str) -> Option<Case> {
        self.member(key).filter(|case| !case.value.is_null())
    }

    /// The elements of a list.
    pub fn items(&self) -> Vec<Case> {
        let item = |(index, value): (usize, &Value)| Case { name: format!("{self}[{index}]"), value: value.clone() };
        self.list().iter().enumerate().map(item).collect()
    }

    /// The keys of an object, in the order of the file.
    pub fn keys(&self) -> Vec<String> {
        self.value.as_object().unwrap_or_else(|| self.wrong("an object")).keys().cloned().collect()
    }

    /// One number; the strings `nan`, `inf` and `-inf` count as numbers.
    pub fn number(&self) -> f64 {
        as_number(&self.value).unwrap_or_else(|| self.wrong("a number"))
    }

    /// All numbers of a tensor or of a (nested) list, row by row.
    pub fn numbers(&self) -> Vec<f64> {
        self.flat("a tensor or list of numbers", as_number)
    }

    /// All integers of a tensor or of a (nested) list, row by row.
    pub fn integers(&self) -> Vec<i64> {
        self.flat("a tensor or list of integers", Value::as_i64)
    }

    /// All truth values of a tensor or of a (nested) list, row by row; 0 and 1 count as truth values.
    pub fn bools(&self) -> Vec<bool> {
        let truth = |value: &Value| match value.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => value.as_bool(),
        };
        self.flat("a tensor or list of truth values", truth)
    }

    /// The text of a string.
    pub fn text(&self) -> String {
        self.value.as_str().unwrap_or_else(|| self.wrong("a string")).to_owned()
    }

    /// The shape of a tensor, or of a list whose rows have the same length.
    pub fn shape(&self) -> Vec<usize> {
        if self.is_tensor() {
            return self.get("shape").integers().iter().map(|&extent| extent as usize).collect();
        }
        let mut shape = Vec::new();
        let mut level = &self.value;
        while let Value::Array(items) = level {
            shape.push(items.len());
            level = items.first().unwrap_or(&Value::Null);
        }
        if shape.is_empty() { self.wrong("a tensor or a list") } else { shape }
    }

    /// The element type of a tensor: `f64`, `f32`, `i64` or `bool`.
    pub fn dtype(&self) -> String {
        self.get("dtype").text()
    }

    /// Whether this is a tensor object.
    pub fn is_tensor(&self) -> bool {
        ["shape", "dtype", "data"].iter().all(|key| self.value.get(key).is_some())
    }

    /// The value itself.
    pub fn json(&self) -> &Value {
        &self.value
    }

    /// Where the value stands, such as `pref/dpo_trl.json#cases[3]`.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    fn member(&self, key: &str) -> Option<Case> {
        let object = self.value.as_object().unwrap_or_else(|| self.wrong("an object"));
        let joint = if self.name.contains('#') { '.' } else { '#' };
        object.get(key).map(|value| Case { name: format!("{self}{joint}{key}"), value: value.clone() })
    }

    fn list(&self) -> &[Value] {
        self.value.as_array().unwrap_or_else(|| self.wrong("a list"))
    }

    fn flat<T>(&self, kind: &str, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        fn walk<'a>(value: &'a Value, leaves: &mut Vec<&'a Value>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| walk(item, leaves)),
                leaf => leaves.push(leaf),
            }
        }
        let data = if self.is_tensor() { &self.value["data"] } else { &self.value };
        if !data.is_array() {
            self.wrong(kind)
        }
        let mut leaves = Vec::new();
        walk(data, &mut leaves);
        if self.is_tensor() {
            let expected: usize = self.shape().iter().product();
            assert_eq!(leaves.len(), expected, "{self}: the data does not fill the shape {:?}", self.shape());
        }
        leaves.into_iter().map(|leaf| read(leaf).unwrap_or_else(|| self.wrong(kind))).collect()
    }

    fn wrong(&self, expected: &str) -> ! {
        let start: String = self.value.to_string().chars().take(60).collect();
        panic!("{self} should be {expected}, it is {start}")
    }
}

impl Display for Case {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FmtResult {
        formatter.write_str(&self.name)
    }
}

/// Asserts `|got - expected| <= tolerance * (1 + |expected|)` for every element. NaN equals NaN, and an infinity equals
/// the same infinity.
///
/// # Panics
/// When the lengths differ, or at the first element that is off, with its index.
#[track_caller]
pub fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: {} elements, expected {}", got.len(), expected.len());
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let same = got == expected || (got.is_nan() && expected.is_nan());
        let near = (got - expected).abs() <= tolerance * (1.0 + expected.abs()) && expected.is_finite();
        assert!(same || near, "{what}: element {index} is {got:e}, expected {expected:e} within {tolerance:e}");
    }
}

/// Whether `case` of the golden file `file` is listed as one that no test can run yet.
///
/// A case is listed by its own line, or by the line `*` of its file. The name of a case is what the golden test and the
/// table agree upon, such as `cases: loss_type=ipo`.
pub fn pending(file: &str, case: &str) -> bool {
    table().iter().any(|line| line.file == file && (line.case == "*" || line.case == case))
}

/// Asserts that a case which the calling test cannot run is listed in `pending.txt`.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn require_pending(file: &str, case: &str) {
    assert!(
        pending(file, case),
        "{file}, `{case}`: this case is neither run nor listed in ascribe-testkit/pending.txt"
    );
}

struct Pending {
    file: &'static str,
    case: &'static str,
}

fn table() -> Vec<Pending> {
    let entry = |line: &'static str| match line.split('\t').collect::<Vec<_>>()[..] {
        [file, case, why] if !why.trim().is_empty() => Pending { file, case },
        _ => panic!("pending.txt: a line is `file <TAB> case <TAB> why`, got `{line}`"),
    };
    PENDING.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(entry).collect()
}

fn built_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn as_number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("nan") => Some(f64::NAN),
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::*;

    fn case(value: Value) -> Case {
        Case { name: "made/up.json".to_owned(), value }
    }

    #[test]
    fn tensors_and_lists_read_the_same() {
        let tensor = case(json!({"shape": [2, 2], "dtype": "f64", "data": [1, "nan", "-inf", 4.5]}));
        assert_eq!((tensor.shape(), tensor.dtype()), (vec![2, 2], "f64".to_owned()));
        close("tensor", &tensor.numbers(), &[1.0, f64::NAN, f64::NEG_INFINITY, 4.5], 0.0);
        let list = case(json!([[30, 12], [5, 53]]));
        assert_eq!((list.shape(), list.integers()), (vec![2, 2], vec![30, 12, 5, 53]));
        assert_eq!(case(json!([0, 1, true])).bools(), [false, true, true]);
    }

    #[test]
    fn a_case_knows_where_it_stands() {
        let file = case(json!({"cases": [{"loss": 1.0, "batch": null}]}));
        let first = &file.get("cases").items()[0];
        assert_eq!(first.get("loss").name(), "made/up.json#cases[0].loss");
        assert!(first.opt("batch").is_none() && first.opt("absent").is_none());
        assert_eq!(first.keys(), ["loss", "batch"]);
    }

    #[test]
    #[should_panic(expected = "made/up.json has no `cases`; it has [\"inputs\"]")]
    fn an_absent_key_is_named() {
        case(json!({"inputs": 1})).get("cases");
    }

    #[test]
    #[should_panic(expected = "element 1")]
    fn close_names_the_element() {
        close("row", &[1.0, f64::NAN], &[1.0, 2.0], 1.0);
    }

    #[test]
    #[should_panic(expected = "element 0")]
    fn an_infinity_is_close_to_itself_only() {
        close("row", &[1.0], &[f64::INFINITY], 1.0);
    }

    /// Files of a model or tokenizer that hold no expected values.
    fn is_asset(path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap();
        let assets = "MANIFEST.json config.json generation_config.json special_tokens_map.json \
                      tokenizer.json tokenizer_config.json";
        assets.split(' ').any(|asset| asset == name) || name.ends_with(".index.json")
    }

    fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    /// The golden files with expected values, by their path below the folder.
    fn golden_files() -> BTreeSet<String> {
        let mut paths = Vec::new();
        files_below(&built_in(), &mut paths);
        let names =
            paths.iter().map(|path| path.strip_prefix(built_in()).unwrap().to_str().unwrap().replace('\\', "/"));
        names.filter(|name| name.ends_with(".json") && !is_asset(name)).collect()
    }

    /// The code of the other crates, without comments.
    fn code_of_the_workspace() -> String {
        let mut paths = Vec::new();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap() {
            let folder = entry.unwrap().path();
            if !folder.ends_with("ascribe-testkit") {
                files_below(&folder.join("src"), &mut paths);
                files_below(&folder.join("tests"), &mut paths);
            }
        }
        let sources = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let text: Vec<String> = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
        text.iter()
            .flat_map(|text| text.lines())
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whether a string of the code names the file: by its path or its name, and a model by its folder, `lm/gpt2` say.
    fn is_opened(file: &str, code: &str) -> bool {
        let (folder, name) = file.rsplit_once('/').unwrap();
        let ends = match (folder.contains('/'), name) {
            (true, _) => vec![format!("{folder}\""), format!("{folder}/")],
            (false, "expected.json") => vec![format!("{file}\"")],
            (false, _) => vec![format!("{name}\"")],
        };
        ends.iter().any(|end| ['"', '/'].iter().any(|start| code.contains(&format!("{start}{end}"))))
    }

    #[test]
    fn a_file_is_opened_where_a_string_names_it() {
        assert!(is_opened("pref/dpo_trl.json", r#"open("pref/dpo_trl.json")"#));
        assert!(is_opened("pref/dpo_trl.json", r#"folder.join("dpo_trl.json")"#));
        assert!(!is_opened("pref/kto_trl.json", r#"open("pref/bad_kto_trl.json")"#));
        assert!(is_opened("lm/gpt2/expected.json", r#"for model in ["lm/gpt2"]"#));
        assert!(!is_opened("lm/gpt2/expected.json", r#"for tokenizer in ["gpt2"]"#));
        assert!(!is_opened("smollm2/expected.json", r#"open("lm/gpt2/expected.json")"#));
    }

    #[test]
    fn every_golden_file_is_either_opened_or_pending() {
        let code = code_of_the_workspace();
        let files = golden_files();
        assert!(files.len() > 40, "only {} golden files", files.len());
        let whole: BTreeSet<_> = table().iter().filter(|line| line.case == "*").map(|line| line.file).collect();
        let mut faults = Vec::new();
        for file in &files {
            match (is_opened(file, &code), whole.contains(file.as_str())) {
                (true, true) => faults.push(format!("{file}: listed as wholly pending, and a test opens it")),
                (false, false) => faults.push(format!("{file}: no test opens it, and it is not listed")),
                _ => {}
            }
        }
        assert!(faults.is_empty(), "see crates/ascribe-testkit/pending.txt\n{}", faults.join("\n"));
    }

    #[test]
    fn the_pending_table_names_golden_files_once() {
        let files = golden_files();
        let mut cases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in table() {
            assert!(files.contains(line.file), "{} is no golden file", line.file);
            cases.entry(line.file).or_default().push(line.case);
        }
        for (file, cases) in cases {
            let unique: BTreeSet<_> = cases.iter().collect();
            assert_eq!(unique.len(), cases.len(), "{file}: a case is listed twice");
            assert!(cases == ["*"] || !cases.contains(&"*"), "{file}: `*` beside single cases");
        }
        assert!(!pending("pref/dpo_trl.json", "cases: loss_type=sigmoid"));
    }

    #[test]
    fn the_golden_manifest_gives_the_sizes() {
        let manifest: Value =
            serde_json::from_str(&fs::read_to_string(built_in().join("MANIFEST.json")).unwrap()).unwrap();
        let mut paths = Vec::new();
        files_below(&built_in(), &mut paths);
        let mut listed = 0;
        for path in paths {
            let name = path.strip_prefix(built_in()).unwrap().to_str().unwrap().replace('\\', "/");
            if name == "MANIFEST.json" || name == "README.md" {
                continue;
            }
            let bytes = manifest[&name]["bytes"].as_u64();
            assert_eq!(Some(fs::metadata(&path).unwrap().len()), bytes, "size of {name} against the manifest");
            listed += 1;
        }
        assert_eq!(listed, manifest.as_object().unwrap().len(), "files on disk against files in the manifest");
    }
}
