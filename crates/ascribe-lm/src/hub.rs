//! Models by their name on the Hugging Face hub: the cache that all its tools share, and downloads into it.
//!
//! Layout: `models--org--name/refs/<revision>` holds a commit, `snapshots/<commit>/` its files. A revision that the cache
//! has whole is used as it is, without a look at the network, so that a run can be repeated. Downloads need the feature
//! `hub`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::LmError;

/// What a model's folder must have beside its weights.
const NEEDED: [&str; 2] = ["config.json", "tokenizer.json"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
#[cfg(feature = "hub")]
const USEFUL: [&str; 4] =
    ["generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"];

/// Where models are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// The cache, `~/.cache/huggingface/hub` for most.
    pub cache: PathBuf,
    /// Whether the network is left alone.
    pub offline: bool,
    /// Another server than `HF_ENDPOINT`, or huggingface.co where that is not set.
    pub endpoint: Option<String>,
    /// Whether downloads draw a bar on the terminal.
    pub progress: bool,
}

/// A model on the hub: `org/name[@revision][:file]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id<'a> {
    name: &'a str,
    revision: &'a str,
    file: Option<&'a str>,
}

impl Hub {
    /// The cache and the switches of the environment: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`LmError::Hub`] when no variable says where the home folder is.
    pub fn from_env() -> Result<Self, LmError> {
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, LmError> {
        let folder = |name: &str| variable(name).map(PathBuf::from);
        let home = || folder("HOME").or_else(|| folder("USERPROFILE")).map(|home| home.join(".cache"));
        let shared = || folder("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("huggingface"));
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(folder("HF_HOME").or_else(shared)?.join("hub")));
        let cache = cache.ok_or_else(|| fail("cache", "no home folder is known; set HF_HOME"))?;
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes)));
        Ok(Self { cache, offline, endpoint: None, progress: false })
    }

    /// The folder or GGUF file that `model` stands for: an existing path as it is, else `org/name[@revision][:file]`,
    /// looked up in the cache and, unless this is offline, downloaded. The revision is `main` when none is given; a GGUF
    /// repository that holds several files needs the name of one.
    ///
    /// # Errors
    /// [`LmError::Hub`] for a name that is neither a path nor an id, for a model that is not in the cache (or not whole)
    /// and cannot be downloaded, and for one without safetensors or GGUF weights.
    pub fn resolve(&self, model: &str) -> Result<PathBuf, LmError> {
        let path = Path::new(model);
        if path.exists() {
            return Ok(path.to_owned());
        }
        let id = Id::parse(model)?;
        let missing = match self.snapshot(&id) {
            Some(folder) => match self.whole(model, &id, &folder)? {
                Found::Whole(path) => return Ok(path),
                Found::Lacking(files) => {
                    format!("the cache has `{}` without {}", folder.display(), files.join(", "))
                }
            },
            None => format!("revision `{}` is not in the cache `{}`", id.revision, self.cache.display()),
        };
        if self.offline {
            let remedy = "download it first, or allow downloads (HF_HUB_OFFLINE is set, or offline was asked for)";
            return Err(fail(model, format!("{missing}; {remedy}")));
        }
        self.download(model, &id, &missing)
    }

    fn folder(&self, id: &Id<'_>) -> PathBuf {
        self.cache.join(format!("models--{}", id.name.replace('/', "--")))
    }

    /// The folder of the revision, if the cache has one: by its reference, or named by its commit.
    fn snapshot(&self, id: &Id<'_>) -> Option<PathBuf> {
        let folder = self.folder(id);
        let commit = std::fs::read_to_string(folder.join("refs").join(id.revision));
        let commit = commit.map_or_else(|_| id.revision.to_owned(), |commit| commit.trim().to_owned());
        let plain = !commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(folder.join("snapshots").join(commit)).filter(|folder| plain && folder.is_dir())
    }

    /// Whether a snapshot has all that a model needs.
    fn whole(&self, model: &str, id: &Id<'_>, folder: &Path) -> Result<Found, LmError> {
        let has = |file: &str| folder.join(file).is_file();
        if let Some(file) = id.file {
            let path = folder.join(file);
            return Ok(if path.is_file() { Found::Whole(path) } else { Found::Lacking(vec![file.to_owned()]) });
        }
        if has(INDEX) || has(WEIGHTS) || has(NEEDED[0]) {
            let weights = if has(INDEX) { shards(&folder.join(INDEX))? } else { BTreeSet::from([WEIGHTS.to_owned()]) };
            let needed = NEEDED.map(str::to_owned).into_iter().chain(weights);
            let lacking: Vec<String> = needed.filter(|file| !has(file)).collect();
            return Ok(if lacking.is_empty() { Found::Whole(folder.to_owned()) } else { Found::Lacking(lacking) });
        }
        let entries = std::fs::read_dir(folder).map_err(LmError::io(folder))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let files: Vec<String> = names.filter(|name| name.ends_with(".gguf")).collect();
        match files.as_slice() {
            [] => Ok(Found::Lacking(vec![NEEDED[0].to_owned(), WEIGHTS.to_owned()])),
            [one] => Ok(Found::Whole(folder.join(one))),
            several => Err(which(model, several)),
        }
    }

    #[cfg(not(feature = "hub"))]
    #[expect(clippy::unused_self, reason = "the downloading build uses it")]
    fn download(&self, model: &str, id: &Id<'_>, missing: &str) -> Result<PathBuf, LmError> {
        let remedy = format!("this build does not download: run `hf download {}`", id.name);
        Err(fail(model, format!("{missing}; {remedy}, or build with the feature `hub`")))
    }

    #[cfg(feature = "hub")]
    fn download(&self, model: &str, id: &Id<'_>, missing: &str) -> Result<PathBuf, LmError> {
        use hf_hub::api::sync::{ApiBuilder, ApiError};
        use hf_hub::{Repo, RepoType};

        let error = |error: ApiError| {
            let remedy = "check the name and the network; a private or gated model needs HF_TOKEN";
            fail(model, format!("{missing}, and the download failed: {error}; {remedy}"))
        };
        let mut builder = ApiBuilder::from_env().with_cache_dir(self.cache.clone()).with_progress(self.progress);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Ok(token) = std::env::var("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        let api = builder.build().map_err(error)?;
        let repo = api.repo(Repo::with_revision(id.name.to_owned(), RepoType::Model, id.revision.to_owned()));
        if let Some(file) = id.file {
            return repo.get(file).map_err(error);
        }
        let offered: Vec<String> =
            repo.info().map_err(error)?.siblings.into_iter().map(|file| file.rfilename).collect();
        let offers = |file: &str| offered.iter().any(|offered| offered == file);
        let single: Vec<String> = offered.iter().filter(|file| file.ends_with(".gguf")).cloned().collect();
        let weights = if offers(INDEX) {
            shards(&repo.get(INDEX).map_err(error)?)?.into_iter().collect()
        } else if offers(WEIGHTS) {
            vec![WEIGHTS.to_owned()]
        } else {
            return match single.as_slice() {
                [] => Err(fail(model, "it has neither safetensors nor GGUF weights; convert it, or use another model")),
                [one] => repo.get(one).map_err(error),
                several => Err(which(model, several)),
            };
        };
        let useful = USEFUL.iter().filter(|file| offers(file)).map(|file| (*file).to_owned());
        // The weights come last, so that a model that lacks something small is refused at once.
        let mut folder = None;
        for file in NEEDED.map(str::to_owned).into_iter().chain(useful).chain(weights) {
            let path = repo.get(&file).map_err(error)?;
            folder = path.parent().map(Path::to_owned);
        }
        folder.ok_or_else(|| fail(model, missing))
    }
}

enum Found {
    Whole(PathBuf),
    /// Names of the files that are not there.
    Lacking(Vec<String>),
}

impl<'a> Id<'a> {
    fn parse(model: &'a str) -> Result<Self, LmError> {
        let (rest, file) = model.split_once(':').map_or((model, None), |(rest, file)| (rest, Some(file)));
        let (name, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let word = |part: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            !part.is_empty() && !part.starts_with(['.', '-']) && part.bytes().all(known)
        };
        let sound = name.split('/').count() == 2
            && name.split('/').all(word)
            && !name.contains("--")
            && !name.contains("..")
            && revision.split('/').all(word)
            && file.is_none_or(|file| file.split('/').all(word));
        if !sound {
            let why = "there is no such file or folder, and a model of the hub is written org/name, org/name@revision or \
                       org/name:file.gguf; check the path";
            return Err(fail(model, why));
        }
        Ok(Self { name, revision, file })
    }
}

/// The files that an index names; they lie beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, LmError> {
    let config = |why: String| LmError::Config { path: index.to_owned(), why };
    let text = std::fs::read(index).map_err(LmError::io(index))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|error| config(error.to_string()))?;
    let map = json.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| config("`weight_map` is missing".to_owned()))?;
    let files: BTreeSet<String> = map.values().filter_map(|file| file.as_str().map(str::to_owned)).collect();
    match files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
        None => Ok(files),
        Some(file) => Err(config(format!("a shard lies beside the index, got `{file}`"))),
    }
}

fn which(model: &str, files: &[String]) -> LmError {
    fail(
        model,
        format!("it holds several GGUF files; name one as {model}:{} (there are {})", files[0], files.join(", ")),
    )
}

fn fail(model: &str, why: impl Into<String>) -> LmError {
    LmError::Hub { model: model.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A cache with one model, its files linked to blobs as the hub's tools do it.
    fn cache(files: &[(&str, &str)]) -> (Hub, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("models--org--tiny");
        let snapshot = model.join("snapshots").join(COMMIT);
        for path in [&model.join("blobs"), &model.join("refs/pr"), &snapshot] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(model.join("refs/main"), COMMIT).unwrap();
        fs::write(model.join("refs/pr/1"), format!("{COMMIT}\n")).unwrap();
        fs::write(model.join("refs/gone"), "f".repeat(40)).unwrap();
        fs::write(model.join("refs/bad"), "../../../..").unwrap();
        for (at, (name, content)) in files.iter().enumerate() {
            let blob = model.join("blobs").join(format!("blob{at}"));
            fs::write(&blob, content).unwrap();
            #[cfg(unix)]
            std::os::unix::fs::symlink(format!("../../blobs/blob{at}"), snapshot.join(name)).unwrap();
            #[cfg(not(unix))]
            fs::copy(&blob, snapshot.join(name)).unwrap();
        }
        let hub = Hub { cache: folder.path().to_owned(), offline: true, endpoint: None, progress: false };
        (hub, folder)
    }

    const WHOLE: [(&str, &str); 3] = [("config.json", "{}"), ("tokenizer.json", "{}"), ("model.safetensors", "x")];

    fn refused(hub: &Hub, model: &str) -> String {
        let refused = hub.resolve(model).unwrap_err();
        assert!(matches!(refused, LmError::Hub { .. }), "{refused}");
        refused.to_string()
    }

    #[test]
    fn a_model_of_the_cache_is_found_by_name_and_revision() {
        let (hub, folder) = cache(&WHOLE);
        let snapshot = folder.path().join("models--org--tiny/snapshots").join(COMMIT);
        for model in ["org/tiny", "org/tiny@main", "org/tiny@pr/1", &format!("org/tiny@{COMMIT}")] {
            assert_eq!(hub.resolve(model).unwrap(), snapshot, "{model}");
        }
        assert_eq!(hub.resolve("org/tiny:config.json").unwrap(), snapshot.join("config.json"));
        let here = folder.path().to_str().unwrap();
        assert_eq!(hub.resolve(here).unwrap(), folder.path());
    }

    #[test]
    fn what_is_not_in_the_cache_is_named() {
        let (hub, _folder) = cache(&WHOLE);
        for model in ["org/other", "org/tiny@v2", "org/tiny@gone", "org/tiny@bad"] {
            let why = refused(&hub, model);
            assert!(why.contains(model) && why.contains("is not in the cache") && why.contains("offline"), "{why}");
        }
        let why = refused(&hub, "org/tiny:a.gguf");
        assert!(why.contains("without a.gguf"), "{why}");
    }

    #[test]
    fn what_is_neither_a_path_nor_an_id_is_refused() {
        let (hub, _folder) = cache(&WHOLE);
        let long =
            ["tiny", "", "org/", "/tiny", "a/b/c", "../tiny", "org/..", "org/ti ny", "org/tiny@", "org/tiny@../x"];
        for model in
            long.into_iter().chain(["org/tiny:../x", "org/tiny:", "o--rg/tiny", "org/.hidden", "./nothing", "ö/x"])
        {
            let why = refused(&hub, model);
            assert!(why.contains("no such file or folder") && why.contains("org/name"), "{model}: {why}");
        }
    }

    #[test]
    fn a_snapshot_that_is_not_whole_names_what_it_lacks() {
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}}"#;
        let (hub, _folder) = cache(&[WHOLE[0], WHOLE[1], (INDEX, index), ("one.safetensors", "x")]);
        let why = refused(&hub, "org/tiny");
        assert!(why.contains("without two.safetensors;"), "{why}");
        let (hub, _folder) = cache(&[WHOLE[0]]);
        let why = refused(&hub, "org/tiny");
        assert!(why.contains("without tokenizer.json, model.safetensors;"), "{why}");
        let (hub, _folder) = cache(&[]);
        assert!(refused(&hub, "org/tiny").contains("without config.json, model.safetensors;"));
        let out = r#"{"weight_map": {"a": "../../../one.safetensors"}}"#;
        let (hub, _folder) = cache(&[WHOLE[0], WHOLE[1], (INDEX, out)]);
        assert!(hub.resolve("org/tiny").unwrap_err().to_string().contains("beside the index"));
    }

    #[test]
    fn a_repository_of_gguf_files_gives_the_file() {
        let (hub, folder) = cache(&[("a.gguf", "x"), ("README.md", "x")]);
        let snapshot = folder.path().join("models--org--tiny/snapshots").join(COMMIT);
        assert_eq!(hub.resolve("org/tiny").unwrap(), snapshot.join("a.gguf"));
        let (hub, folder) = cache(&[("a.gguf", "x"), ("b.gguf", "x")]);
        let snapshot = folder.path().join("models--org--tiny/snapshots").join(COMMIT);
        let why = refused(&hub, "org/tiny");
        assert!(why.contains("several GGUF files") && why.contains("a.gguf") && why.contains("b.gguf"), "{why}");
        assert_eq!(hub.resolve("org/tiny:b.gguf").unwrap(), snapshot.join("b.gguf"));
    }

    #[test]
    fn the_cache_is_where_the_variables_say() {
        let hub = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
            Hub::from_variables(find)
        };
        let cache = |set: &[(&str, &str)]| hub(set).unwrap().cache;
        assert_eq!(cache(&[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "/f")]), Path::new("/f/hub"));
        assert_eq!(cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert!(hub(&[]).is_err());
        for (value, offline) in [("1", true), ("true", true), ("YES", true), ("0", false), ("no", false)] {
            assert_eq!(hub(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
        }
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn a_build_without_downloads_says_so() {
        let (hub, _folder) = cache(&[]);
        let why = refused(&Hub { offline: false, ..hub }, "org/tiny");
        assert!(why.contains("hf download org/tiny") && why.contains("feature `hub`"), "{why}");
    }

    /// A server of this machine that answers as the hub does.
    #[cfg(feature = "hub")]
    fn serve(files: Vec<(&'static str, String)>) -> String {
        use std::io::{BufRead, BufReader, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                let range =
                    head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
                let body = if path.starts_with("/api/models/org/tiny") {
                    let names: Vec<_> = files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
                    Some(serde_json::json!({"siblings": names, "sha": COMMIT}).to_string())
                } else {
                    let file = path.strip_prefix("/org/tiny/resolve/main/");
                    files.iter().find(|(name, _)| Some(*name) == file).map(|(_, text)| text.clone())
                };
                let answer = match (body, range) {
                    (None, _) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                    (Some(body), None) => {
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                    }
                    (Some(body), Some(range)) => {
                        let (from, to) = range.split_once('-').unwrap();
                        let from: usize = from.parse().unwrap();
                        let to = to.parse().unwrap_or(body.len() - 1).min(body.len() - 1);
                        let (part, size) = (&body[from..=to], body.len());
                        let etag = path.replace('/', "_");
                        format!(
                            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{size}\r\n\
                             ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n{part}",
                            part.len()
                        )
                    }
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[cfg(feature = "hub")]
    #[test]
    fn what_the_cache_lacks_is_downloaded_into_it() {
        let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
        let files = [
            ("config.json", "{}"),
            ("tokenizer.json", "[]"),
            (INDEX, index),
            ("one.safetensors", "1"),
            ("two.safetensors", "22"),
            ("chat_template.jinja", "c"),
            ("pytorch_model.bin", "never"),
            ("README.md", "never"),
        ];
        let endpoint = Some(serve(files.map(|(name, text)| (name, text.to_owned())).to_vec()));
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { cache: folder.path().to_owned(), offline: false, endpoint, progress: false };
        let found = hub.resolve("org/tiny").unwrap();
        assert!(found.ends_with(format!("models--org--tiny/snapshots/{COMMIT}")), "{}", found.display());
        for (name, text) in files {
            let expected = Some(text.to_owned()).filter(|text| text != "never");
            assert_eq!(fs::read_to_string(found.join(name)).ok(), expected, "{name}");
        }
        // From now on the cache is enough.
        assert_eq!(Hub { offline: true, endpoint: None, ..hub.clone() }.resolve("org/tiny").unwrap(), found);
        let why = refused(&hub, "org/other");
        assert!(why.contains("the download failed") && why.contains("404"), "{why}");
    }
}
