//! The drawings as they were accepted: `tests/figures` holds each drawing of the samples as an SVG file of its own, wide
//! and narrow, and what is no drawing as HTML. A browser shows the files with the report's own style.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ascribe_eval::report::{Figure, Report};

use crate::samples;

/// Name and content of the files of a figure.
fn files(name: &str, caption: &str, figure: Figure) -> Vec<(String, String)> {
    let html = Report::new("figure").figure(caption, figure).to_html();
    let drawing = |size: &str| {
        let (_, rest) = html.split_once(&format!("<svg class=\"{size}\" "))?;
        let (inner, _) = rest.split_once("</svg>").expect("a drawing ends");
        let text = format!(
            "<?xml-stylesheet href=\"../../src/report/style.css\"?>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" class=\"{size}\" {inner}</svg>\n"
        );
        Some((format!("{name}.{size}.svg"), text))
    };
    let drawings: Vec<_> = ["wide", "narrow"].into_iter().filter_map(drawing).collect();
    if !drawings.is_empty() {
        return drawings;
    }
    let (_, rest) = html.split_once("<figure id=\"figure-1\">\n").expect("a figure");
    let (inner, _) = rest.split_once("</figure>").expect("a figure ends");
    vec![(format!("{name}.html"), inner.to_owned())]
}

#[test]
fn drawings_are_as_they_were_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("figures");
    let bless = std::env::var_os("ASCRIBE_BLESS").is_some_and(|value| value == "1");
    if bless {
        fs::create_dir_all(&folder).expect("a folder for the drawings");
    }
    let (mut changed, mut known) = (Vec::new(), BTreeSet::new());
    for (name, caption, figure) in samples::figures() {
        for (file, text) in files(name, caption, figure) {
            let path = folder.join(&file);
            if bless {
                fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            } else if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                changed.push(file.clone());
            }
            known.insert(file);
        }
    }
    let there = fs::read_dir(&folder).into_iter().flatten().flatten();
    let stray =
        there.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|file| !known.contains(file));
    changed.extend(stray);
    assert!(
        changed.is_empty(),
        "not as in {}: {}. Where the change is wanted, `ASCRIBE_BLESS=1 cargo test -p ascribe-eval --test report` writes \
         the files (delete those of figures that are gone); look at them before they are committed",
        folder.display(),
        changed.join(", ")
    );
}
