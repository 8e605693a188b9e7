//! The report in headless Chromium: no message on the console, contrast in light and dark, nothing overlaps, and nothing is
//! wider than a phone. Left out, with a sentence, where there is no such browser. Screenshots stay in the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::samples;

/// The longest that one run may take.
const LIMIT: Duration = Duration::from_secs(120);
/// What a report says in its head, so that nothing in it can load or run.
const POLICY: &str =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n";

/// A browser and a folder of its own to work in.
struct Browser {
    program: PathBuf,
    folder: PathBuf,
}

/// What a run wrote.
struct Ran {
    stdout: String,
    stderr: String,
}

impl Browser {
    /// The first on the path, with the empty folder `name` below the target folder.
    #[allow(clippy::print_stdout)]
    fn find(name: &str) -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let programs: Vec<PathBuf> =
            std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).collect();
        let Some(program) = programs.into_iter().find(|program| program.is_file()) else {
            println!("left out: none of {} is on the path", names.join(", "));
            return None;
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder to work in");
        Some(Self { program, folder })
    }

    /// Opens a page that has these bytes.
    fn open(&self, html: &str, options: &[&str]) -> Ran {
        let page = self.folder.join("page.html");
        fs::write(&page, html).expect("the page");
        let (out, err) = (self.folder.join("stdout"), self.folder.join("stderr"));
        let write = |path: &Path| File::create(path).expect("a file for what is said");
        let profile = format!("--user-data-dir={}", self.folder.join("profile").display());
        let mut child = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .args(["--enable-logging=stderr", "--v=0"])
            .arg(profile)
            .args(options)
            .arg(format!("file://{}", page.display().to_string().replace(' ', "%20")))
            .stdin(Stdio::null())
            .stdout(write(&out))
            .stderr(write(&err))
            .spawn()
            .expect("the browser starts");
        let began = Instant::now();
        while child.try_wait().expect("a state").is_none() {
            if began.elapsed() > LIMIT {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the browser took more than {} s; {}", LIMIT.as_secs(), err.display());
            }
            sleep(Duration::from_millis(20));
        }
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("what was said")).into_owned();
        Ran { stdout: read(&out), stderr: read(&err) }
    }

    /// What the audit says of a page, for a phone and a desk, in light and dark: `390 light: passed`.
    ///
    /// A frame has the width that it is given, where a window has not, and the scheme of its element.
    fn audit(&self, html: &str) -> Vec<String> {
        let script = format!("<script>\n{}</script>\n</body>", include_str!("audit.js"));
        let page = html.replace(POLICY, "").replace("</body>", &script).replace('&', "&amp;").replace('"', "&quot;");
        let frame = |(width, scheme): (u32, &str)| {
            format!(
                "<iframe width=\"{width}\" height=\"2000\" style=\"border: 0; color-scheme: {scheme}\" srcdoc=\"{page}\"></iframe>\n"
            )
        };
        let settings = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")];
        let frames: String = settings.into_iter().map(frame).collect();
        let around = format!("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<body>\n{frames}</body>\n");
        let ran = self.open(&around, &["--window-size=1400,2000", "--dump-dom"]);
        assert_eq!(ran.console(), Vec::<&str>::new());
        let said = ran.stdout.split("<pre class=\"audit\">").skip(1);
        let mut said: Vec<String> =
            said.map(|rest| rest.split("</pre>").next().unwrap_or_default().replace("&amp;", "&")).collect();
        said.sort();
        said
    }
}

impl Ran {
    /// Lines of the console.
    fn console(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.contains("CONSOLE")).collect()
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn a_report_says_nothing_on_the_console() {
    let Some(browser) = Browser::find("report-screenshots") else { return };
    let html = samples::report().to_html();
    assert!(html.contains(POLICY));
    for (width, height) in [(390, 8000), (1280, 7000)] {
        for (scheme, preferred) in [("dark", 0), ("light", 1)] {
            let picture = browser.folder.join(format!("{width}-{scheme}.png"));
            let options = [
                format!("--window-size={width},{height}"),
                format!("--blink-settings=preferredColorScheme={preferred}"),
                format!("--screenshot={}", picture.display()),
            ];
            let ran = browser.open(&html, &options.each_ref().map(String::as_str));
            assert_eq!(ran.console(), Vec::<&str>::new());
            let bytes = fs::read(&picture).unwrap_or_else(|error| panic!("{error}; the browser said: {}", ran.stderr));
            // A PNG says its width and height in the bytes from 16 on.
            let size = bytes.get(16..24).map(|bytes| [&bytes[..4], &bytes[4..]].map(big_endian));
            assert_eq!(size, Some([width, height]), "{}", picture.display());
        }
    }
    println!("screenshots are in {}", browser.folder.display());
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| 256 * number + u32::from(*byte))
}

#[test]
fn a_report_has_contrast_and_room_on_a_phone_and_a_desk() {
    let Some(browser) = Browser::find("report-audit") else { return };
    let said = browser.audit(&samples::report().to_html());
    assert_eq!(said, ["1280 dark: passed", "1280 light: passed", "390 dark: passed", "390 light: passed"]);
}

/// What the audit is for, each once.
#[test]
fn the_audit_finds_faults() {
    let Some(browser) = Browser::find("report-faults") else { return };
    let faults = "<!DOCTYPE html>\n<html>\n<head>\n<style>body { background: white; color: black; margin: 0 }</style>\n</head>\n\
        <body>\n<p style=\"color: #aaa\">pale</p>\n<div style=\"width: 2000px\">wide</div>\n<figure>\n\
        <svg viewBox=\"0 0 300 100\" style=\"width: 100%\"><rect width=\"60\" height=\"40\" fill=\"#222\"/>\
        <text x=\"5\" y=\"20\">dark</text><text x=\"100\" y=\"50\">one</text><text x=\"110\" y=\"52\">two</text>\
        <text x=\"290\" y=\"90\">outside</text></svg>\n</figure>\n</body>\n</html>\n";
    let said = browser.audit(faults);
    assert_eq!(said.len(), 4, "{said:?}");
    let expected =
        ["of \"pale\"", "px wide in a window", "of \"dark\"", "\"two\" overlaps \"one\"", "\"outside\" stands out"];
    for one in said {
        for fault in expected {
            assert!(one.contains(fault), "{fault} is not in: {one}");
        }
    }
}
