//! Where weights come from and go to. Names and layouts are those of Hugging Face: a linear layer is `[out, in]`.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ascribe_core::Seed;
use rand::RngExt;
use safetensors::tensor::{Dtype, Metadata, TensorView};

use crate::gguf::RawTensor;
use crate::{LmError, io};

/// Weights by their Hugging Face name, as f32.
pub trait WeightSource {
    /// The tensor `name`, row-major.
    ///
    /// # Errors
    /// When it is absent, has another shape, or cannot be read.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError>;

    /// The matrix `name` as it is stored, for an engine that computes with it: rows are outputs, `[out, in]`, also where
    /// [`tensor`](Self::tensor) gives GPT-2's `[in, out]`; `shape` is the one that `tensor` takes. `None` when the source
    /// has it as f32, or is none that stores blocks: then `tensor` is the way.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    fn blocks(&mut self, _name: &str, _shape: &[usize]) -> Result<Option<RawTensor>, LmError> {
        Ok(None)
    }
}

/// Fresh weights: normal with the deviation of GPT-2, norms at 1, each tensor from a stream of its own name.
pub struct RandomWeights {
    /// Root of the streams.
    pub seed: Seed,
    /// Number of layers: what adds to the residual stream is scaled by `1 / sqrt(2 layers)`.
    pub layers: usize,
}

impl WeightSource for RandomWeights {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let n = shape.iter().product();
        if shape.len() == 1 {
            return Ok(vec![if name.ends_with(".bias") { 0.0 } else { 1.0 }; n]);
        }
        let residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        // 0.02 is GPT-2's; a narrow model needs the deviation of its own width.
        let deviation = 0.02f64.max(0.5 / (shape[1] as f64).sqrt());
        let deviation = if residual { deviation / (2.0 * self.layers.max(1) as f64).sqrt() } else { deviation };
        let mut stream = self.seed.stream(name, 0);
        let mut normal = || {
            // Box-Muller; 1 - u is in (0, 1], so the logarithm is finite.
            let (u, v): (f64, f64) = (stream.random(), stream.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        Ok((0..n).map(|_| (deviation * normal()) as f32).collect())
    }
}

/// A folder with `model.safetensors`, or with shards and `model.safetensors.index.json`.
pub struct Safetensors {
    shards: Vec<Shard>,
    place: HashMap<String, usize>,
    taken: HashSet<String>,
    folder: PathBuf,
}

struct Shard {
    path: PathBuf,
    file: File,
    data_start: u64,
    metadata: Metadata,
}

impl Safetensors {
    /// Reads the headers.
    ///
    /// # Errors
    /// When a file is missing, truncated or not safetensors.
    pub fn open(folder: &Path) -> Result<Self, LmError> {
        let index = folder.join("model.safetensors.index.json");
        let files = if index.is_file() {
            let json: serde_json::Value =
                serde_json::from_str(&io::read_to_string(&index)?).map_err(LmError::config(&index))?;
            let map = json.get("weight_map").and_then(serde_json::Value::as_object);
            let map = map.ok_or_else(|| LmError::config(&index)("`weight_map` is missing"))?;
            let mut files: Vec<String> = map.values().filter_map(|file| file.as_str().map(str::to_owned)).collect();
            files.sort();
            files.dedup();
            if let Some(file) = files.iter().find(|file| Path::new(file).file_name() != Some(file.as_ref())) {
                return Err(LmError::config(&index)(format!("a shard lies beside the index, got `{file}`")));
            }
            files
        } else {
            vec!["model.safetensors".to_owned()]
        };
        Self::of(folder, &files)
    }

    /// Reads the headers of `files` in `folder`.
    pub(super) fn of(folder: &Path, files: &[String]) -> Result<Self, LmError> {
        let shards = files.iter().map(|file| Shard::open(&folder.join(file))).collect::<Result<Vec<_>, _>>()?;
        let mut place = HashMap::new();
        for (number, shard) in shards.iter().enumerate() {
            place.extend(shard.metadata.offset_keys().into_iter().map(|name| (name, number)));
        }
        Ok(Self { shards, place, taken: HashSet::new(), folder: folder.to_owned() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The shape of the tensor `name`, where there is one.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let shard = &self.shards[*self.place.get(name)?];
        shard.metadata.info(name).map(|info| info.shape.clone())
    }

    /// Checks that every tensor of the folder was asked for: a model with more weights than ours is another model.
    ///
    /// # Errors
    /// [`LmError::Unsupported`] names the first tensor that nobody wanted.
    pub(super) fn all_taken(&self) -> Result<(), LmError> {
        // Old files hold rotary frequencies or causal masks, and a tied head may be written out: no number changes.
        let harmless = |name: &str| {
            name.ends_with("rotary_emb.inv_freq")
                || name.ends_with("attn.bias")
                || name.ends_with("attn.masked_bias")
                || name == "lm_head.weight"
        };
        let mut left: Vec<&String> =
            self.place.keys().filter(|name| !self.taken.contains(*name) && !harmless(name)).collect();
        left.sort();
        match left.first() {
            None => Ok(()),
            Some(name) => {
                let what = format!("tensor `{name}` ({} such) in {}", left.len(), self.folder.display());
                Err(LmError::unsupported(what, "use a model without further parts: these would be left out"))
            }
        }
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, LmError> {
        let mut file = File::open(path).map_err(LmError::io(path))?;
        let size = file.metadata().map_err(LmError::io(path))?.len();
        let broken = |why: String| LmError::format(path)(why);
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| broken(format!("a safetensors file has at least 8 bytes, got {size}")))?;
        let length = u64::from_le_bytes(length);
        if length > size.saturating_sub(8) {
            return Err(broken(format!("the header needs {length} bytes and the file has {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(LmError::io(path))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| broken(format!("the header is not valid: {error}")))?;
        let data = metadata.data_len() as u64;
        if data != size - 8 - length {
            return Err(broken(format!(
                "the header promises {data} bytes of weights, the file has {}",
                size - 8 - length
            )));
        }
        Ok(Self { path: path.to_owned(), file, data_start: 8 + length, metadata })
    }
}

impl WeightSource for Safetensors {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let missing = || LmError::MissingTensor { path: self.folder.clone(), name: name.to_owned() };
        let number = *self.place.get(name).ok_or_else(missing)?;
        self.taken.insert(name.to_owned());
        let shard = &mut self.shards[number];
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        check_shape(name, shape, &info.shape)?;
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        let read = shard.file.seek(SeekFrom::Start(shard.data_start + start as u64));
        read.and_then(|_| shard.file.read_exact(&mut bytes)).map_err(LmError::io(&shard.path))?;
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => {
                let what = format!("{other:?} weights (`{name}` in {})", shard.path.display());
                return Err(LmError::unsupported(what, "convert the model to f32, f16 or bf16"));
            }
        };
        Ok(values)
    }
}

pub(super) fn check_shape(name: &str, expected: &[usize], got: &[usize]) -> Result<(), LmError> {
    if expected != got {
        return Err(LmError::Shape { name: name.to_owned(), expected: expected.to_vec(), got: got.to_vec() });
    }
    Ok(())
}

/// A tensor to be written: name, shape, values in row-major order.
pub(super) type Named = (String, Vec<usize>, Vec<f32>);

/// Writes f32 tensors beside `path` and renames, so that a full disk leaves what was there.
///
/// # Errors
/// When the file cannot be written.
pub fn save_safetensors(path: &Path, tensors: &[Named], metadata: HashMap<String, String>) -> Result<(), LmError> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        views.push((name.as_str(), view.map_err(LmError::format(path))?));
    }
    io::write_beside(path, |part| {
        safetensors::serialize_to_file(views, Some(metadata), part).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => LmError::io(path)(source),
            other => LmError::format(path)(other),
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The bytes of a safetensors file.
    fn file(header: &Value, data: &[u8]) -> Vec<u8> {
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn open(bytes: &[u8]) -> Result<Safetensors, LmError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        Safetensors::open(folder.path())
    }

    fn entry(dtype: &str, shape: &[usize], offsets: [usize; 2]) -> Value {
        json!({"dtype": dtype, "shape": shape, "data_offsets": offsets})
    }

    /// 1 and -2.5 in f32, f16 and bf16, and a kind that is not read.
    fn sample() -> Vec<u8> {
        let header = json!({
            "__metadata__": {"format": "pt"},
            "a": entry("F32", &[2], [0, 8]), "b": entry("F16", &[1, 2], [8, 12]), "c": entry("BF16", &[2, 1], [12, 16]),
            "d": entry("I8", &[2], [16, 18]),
        });
        let plain = [1.0f32, -2.5].map(f32::to_le_bytes).concat();
        file(&header, &[&plain[..], &[0x00, 0x3c, 0x00, 0xc1], &[0x80, 0x3f, 0x20, 0xc0], &[1, 2]].concat())
    }

    #[test]
    fn floats_of_all_widths_are_read() {
        let mut weights = open(&sample()).unwrap();
        for (name, shape) in [("a", &[2][..]), ("b", &[1, 2]), ("c", &[2, 1])] {
            assert_eq!(weights.tensor(name, shape).unwrap(), [1.0, -2.5], "{name}");
            assert_eq!(weights.blocks(name, shape).unwrap(), None);
        }
        let refused = weights.tensor("d", &[2]).unwrap_err().to_string();
        assert!(refused.contains("I8 weights") && refused.contains("f32, f16 or bf16"), "{refused}");
        assert!(matches!(weights.tensor("a", &[1, 2]), Err(LmError::Shape { .. })));
        assert!(matches!(weights.tensor("e", &[2]), Err(LmError::MissingTensor { .. })));
    }

    #[test]
    fn extra_tensors_are_named() {
        let mut weights = open(&sample()).unwrap();
        weights.tensor("a", &[2]).unwrap();
        let refused = weights.all_taken().unwrap_err().to_string();
        assert!(refused.contains("`b` (3 such)"), "{refused}");
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            let refused = open(&whole[..length]).err().unwrap();
            assert!(matches!(refused, LmError::Format { .. }), "cut to {length} bytes: {refused}");
        }
        open(&whole).unwrap();
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let spoilt = [
            file(&json!({"a": entry("F32", &[3], [0, 8])}), &[0; 8]),
            file(&json!({"a": entry("F32", &[usize::MAX, 2], [0, 8])}), &[0; 8]),
            file(&json!({"a": entry("F32", &[2], [8, 0])}), &[0; 8]),
            file(&json!({"a": entry("F32", &[2], [4, 12])}), &[0; 12]),
            file(&json!({"a": entry("F32", &[2], [0, 8])}), &[0; 12]),
            file(&json!({"a": {"dtype": "F5", "shape": [2], "data_offsets": [0, 8]}}), &[0; 8]),
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        ];
        for (at, bytes) in spoilt.iter().enumerate() {
            assert!(matches!(open(bytes), Err(LmError::Format { .. })), "file {at}");
        }
    }

    #[test]
    fn shards_that_the_index_names_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("model.safetensors.index.json");
        std::fs::write(&index, json!({"weight_map": {"a": "one.safetensors"}}).to_string()).unwrap();
        let refused = Safetensors::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("one.safetensors"), "{refused}");
        std::fs::write(&index, "{}").unwrap();
        assert!(Safetensors::open(folder.path()).err().unwrap().to_string().contains("`weight_map` is missing"));
        std::fs::write(folder.path().join("one.safetensors"), sample()).unwrap();
        std::fs::write(&index, json!({"weight_map": {"a": "../../one.safetensors"}}).to_string()).unwrap();
        let refused = Safetensors::open(folder.path()).err().unwrap().to_string();
        assert!(refused.contains("beside"), "{refused}");
    }
}
