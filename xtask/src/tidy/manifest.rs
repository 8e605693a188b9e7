//! What the rules need of a Cargo manifest, read line by line: the name and the dependencies.

use super::{TextFile, Violation};

/// The table that a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Dev,
}

/// One dependency, by the name of its package.
#[derive(Debug, PartialEq, Eq)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
    pub line: usize,
}

/// A package of the workspace.
#[derive(Debug)]
pub struct Manifest {
    pub folder: String,
    pub name: String,
    pub dependencies: Vec<Dependency>,
}

impl Manifest {
    /// `None` where `file` is not the manifest of a package.
    pub fn parse(file: &TextFile) -> Option<Self> {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        let mut package = None;
        let mut dependencies: Vec<Dependency> = Vec::new();
        let mut table = Table::Other;
        for (line, text) in without_comments(&file.text).lines().map(str::trim).enumerate() {
            let line = line + 1;
            if let Some(header) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = Table::parse(header);
                if let Table::Dependency(kind, name) = &table {
                    dependencies.push(Dependency { name: name.clone(), kind: *kind, line });
                }
                continue;
            }
            let Some((key, value)) = text.split_once('=') else { continue };
            let key = key.trim();
            match &table {
                Table::Package if key == "name" => package = Some(unquoted(value)),
                Table::Dependencies(kind) => {
                    let renamed = value.split_once("package").and_then(|(_, rest)| rest.trim().strip_prefix('='));
                    let name = match renamed {
                        Some(rest) => rest.split('"').nth(1).unwrap_or_default().to_owned(),
                        None => unquoted(key.split('.').next().unwrap_or(key)),
                    };
                    dependencies.push(Dependency { name, kind: *kind, line });
                }
                Table::Dependency(..) if key == "package" => {
                    if let Some(last) = dependencies.last_mut() {
                        last.name = unquoted(value);
                    }
                }
                _ => {}
            }
        }
        Some(Self { folder: folder.into(), name: package?, dependencies })
    }

    /// The libraries: all that lies under the facade and the command line, and the tools of their tests.
    pub fn is_below_the_cli(&self) -> bool {
        self.folder.starts_with("crates/") && !["ascribe", "ascribe-cli"].contains(&self.name.as_str())
    }

    pub fn at(&self, line: usize, message: String) -> Violation {
        Violation { path: format!("{}/Cargo.toml", self.folder), line, message }
    }
}

enum Table {
    Package,
    /// One line a dependency.
    Dependencies(Kind),
    /// A table of its own for one dependency.
    Dependency(Kind, String),
    Other,
}

impl Table {
    fn parse(header: &str) -> Self {
        let header = header.trim();
        if header == "package" {
            return Self::Package;
        }
        let Some((before, after)) = header.rsplit_once("dependencies") else { return Self::Other };
        let (before, kind) = match before {
            _ if before.ends_with("dev-") => (before.trim_end_matches("dev-"), Kind::Dev),
            _ if before.ends_with("build-") => (before.trim_end_matches("build-"), Kind::Build),
            _ => (before, Kind::Normal),
        };
        if !(before.is_empty() || before.starts_with("target.")) {
            return Self::Other;
        }
        match after.strip_prefix('.') {
            Some(name) => Self::Dependency(kind, unquoted(name)),
            None => Self::Dependencies(kind),
        }
    }
}

/// The text with comments cut off; the lines stay where they are. No manifest here has a `#` in a string.
pub fn without_comments(text: &str) -> String {
    text.lines().flat_map(|line| [line.split('#').next().unwrap_or_default(), "\n"]).collect()
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let text = "\
[package] # ours
name = \"x\"
version = \"1\"
[features]
a = [\"dep:b\"]
[dependencies]
b = { workspace = true, features = [
    \"std\",
] }
c.workspace = true
d = { version = \"1\", package = \"e\" }
[target.'cfg(unix)'.dev-dependencies]
f = \"1\"
[build-dependencies.g]
package = \"h\"
[dependencies.i]
version = \"1\"
";
        let manifest = Manifest::parse(&TextFile { path: "crates/x/Cargo.toml".into(), text: text.into() }).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.folder.as_str()), ("x", "crates/x"));
        let read: Vec<_> =
            manifest.dependencies.iter().map(|found| (found.name.as_str(), found.kind, found.line)).collect();
        use Kind::{Build, Dev, Normal};
        assert_eq!(
            read,
            [
                ("b", Normal, 7),
                ("c", Normal, 10),
                ("e", Normal, 11),
                ("f", Dev, 13),
                ("h", Build, 14),
                ("i", Normal, 16)
            ]
        );
    }

    #[test]
    fn the_workspace_manifest_is_no_package() {
        let text = "[workspace.dependencies]\nanyhow = \"1\"\n".to_owned();
        assert!(Manifest::parse(&TextFile { path: "Cargo.toml".into(), text }).is_none());
    }
}
