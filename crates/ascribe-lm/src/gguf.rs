//! GGUF files: header, metadata and tensors, versions 2 and 3, little endian.
//!
//! Source: `docs/gguf.md` of ggml-org/ggml. Nothing in the file is trusted: every count is held against the bytes that
//! are left before anything is allocated, and every tensor must lie inside the file.

mod blocks;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use self::blocks::TensorKind;
use self::blocks::dequantize;
use crate::LmError;

/// Metadata arrays hold at most this many values in all; the largest vocabularies need a fifth of it.
const MOST_VALUES: u64 = 1 << 22;

/// A metadata value; numbers are widened.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Flag(bool),
    /// Text.
    Text(String),
    /// Values of one type.
    Array(Vec<GgufValue>),
}

impl GgufValue {
    /// The number, when it is an integer that is not negative.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The number, when it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    pub fn as_flag(&self) -> Option<bool> {
        if let Self::Flag(value) = self { Some(*value) } else { None }
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    /// The values, when it is an array.
    pub fn as_array(&self) -> Option<&[GgufValue]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }
}

/// What the file says of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name, `blk.0.attn_q.weight` say.
    pub name: String,
    /// How its weights are stored.
    pub kind: TensorKind,
    /// Its shape, outermost dimension first: ggml's own order reversed.
    pub shape: Vec<usize>,
    /// First byte, from the start of the file.
    start: u64,
}

/// An open GGUF file. Tensors are read when they are asked for.
#[derive(Clone, Debug)]
pub struct Gguf {
    path: PathBuf,
    metadata: HashMap<String, GgufValue>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Gguf {
    /// Reads the header, the metadata and the list of tensors, and checks that every tensor lies inside the file.
    ///
    /// # Errors
    /// [`LmError::Io`], [`LmError::Format`] for a truncated or corrupt file, [`LmError::Unsupported`] for another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LmError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(LmError::io(path))?;
        let size = file.metadata().map_err(LmError::io(path))?.len();
        let mut reader = Reader { path, source: BufReader::new(file), size, at: 0, values: 0 };

        if &reader.bytes::<4>("the magic number")? != b"GGUF" {
            return Err(reader.corrupt("a GGUF file starts with the letters GGUF, and this one does not"));
        }
        let version = u32::from_le_bytes(reader.bytes("the version")?);
        if !matches!(version, 2 | 3) {
            let what = match version.swap_bytes() {
                1..=3 => "a big-endian GGUF file".to_owned(),
                _ => format!("GGUF version {version}"),
            };
            let remedy = "convert the model with a current llama.cpp (version 3, little endian)".to_owned();
            return Err(LmError::Unsupported { what: format!("{what} (`{}`)", path.display()), remedy });
        }
        // The smallest tensor entry takes 24 bytes, the smallest metadata entry 13.
        let tensor_count = reader.count("tensors", 24)?;
        let entry_count = reader.count("metadata entries", 13)?;

        let mut metadata = HashMap::new();
        for _ in 0..entry_count {
            let key = reader.text("a metadata key")?;
            let kind = u32::from_le_bytes(reader.bytes("a metadata type")?);
            let value = reader.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(reader.corrupt(format!("metadata key `{key}` occurs twice")));
            }
        }
        let alignment = metadata.get("general.alignment").map_or(Some(32), GgufValue::as_unsigned);
        let alignment = alignment
            .filter(|bytes| bytes.is_power_of_two() && *bytes <= 1 << 20)
            .ok_or_else(|| reader.corrupt("general.alignment must be a power of two of at most 1048576"))?;

        let mut tensors = Vec::new();
        let mut index = HashMap::new();
        for at in 0..tensor_count {
            let info = reader.tensor_info()?;
            if index.insert(info.name.clone(), at as usize).is_some() {
                return Err(reader.corrupt(format!("tensor `{}` occurs twice", info.name)));
            }
            tensors.push(info);
        }
        // Both are below the file size plus 2^20 here, so this cannot overflow.
        let data = reader.at.next_multiple_of(alignment);
        for tensor in &mut tensors {
            tensor.start = tensor.start.checked_add(data).ok_or_else(|| {
                reader.corrupt(format!("tensor `{}` starts {} bytes into the data", tensor.name, tensor.start))
            })?;
            let Some(bytes) = byte_length(tensor) else { continue };
            let end = tensor.start.checked_add(bytes).filter(|end| *end <= size);
            if end.is_none() {
                let (name, start) = (&tensor.name, tensor.start);
                return Err(reader
                    .corrupt(format!("tensor `{name}` needs {bytes} bytes from {start} on, and the file has {size}")));
            }
        }
        Ok(Self { path: path.to_owned(), metadata, tensors, index })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata entry `key`.
    pub fn metadata(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    /// The metadata entry `key`, which must be there and of the kind that `read` (`GgufValue::as_unsigned` say) wants.
    ///
    /// # Errors
    /// [`LmError::Config`] when it is absent or of another kind.
    pub fn need<'a, T>(&'a self, key: &str, read: impl FnOnce(&'a GgufValue) -> Option<T>) -> Result<T, LmError> {
        let found = self.metadata.get(key);
        found.and_then(read).ok_or_else(|| {
            let fault = if found.is_some() { "is of the wrong type" } else { "is absent" };
            let why = format!("metadata entry `{key}` {fault}; convert the model again with a current llama.cpp");
            LmError::Config { path: self.path.clone(), why }
        })
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Shape (outermost dimension first) and weights (row-major) of a tensor.
    ///
    /// # Errors
    /// As [`raw`](Self::raw).
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), LmError> {
        let raw = self.raw(name)?;
        let weights = raw.to_f32();
        Ok((raw.shape, weights))
    }

    /// A tensor as it lies in the file, by its GGUF name (`blk.0.attn_q.weight` say).
    ///
    /// # Errors
    /// [`LmError::MissingTensor`], [`LmError::Unsupported`] for a kind that is not read here, [`LmError::Io`].
    pub fn raw(&self, name: &str) -> Result<RawTensor, LmError> {
        let missing = || LmError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let info = self.index.get(name).map(|at| &self.tensors[*at]).ok_or_else(missing)?;
        let Some(length) = byte_length(info) else {
            let what = format!("tensor `{name}` of `{}` has the type {}, which", self.path.display(), info.kind.name());
            let remedy = format!(
                "convert the model with llama.cpp to one of {}, or use its safetensors",
                TensorKind::supported()
            );
            return Err(LmError::Unsupported { what, remedy });
        };
        let mut bytes = vec![0; length as usize];
        let mut file = File::open(&self.path).map_err(LmError::io(&self.path))?;
        file.seek(SeekFrom::Start(info.start)).map_err(LmError::io(&self.path))?;
        file.read_exact(&mut bytes).map_err(LmError::io(&self.path))?;
        Ok(RawTensor { kind: info.kind, shape: info.shape.clone(), bytes })
    }

    /// What the rotary frequencies are divided by, one number for each pair of a head: the long-context scaling of Llama 3
    /// and others, computed by the converter. `None` when the file has none: then the frequencies are plain.
    ///
    /// # Errors
    /// As [`raw`](Self::raw), and [`LmError::Format`] when a factor is not a positive number.
    pub fn rope_factors(&self) -> Result<Option<Vec<f32>>, LmError> {
        const NAME: &str = "rope_freqs.weight";
        if !self.index.contains_key(NAME) {
            return Ok(None);
        }
        let (_, factors) = self.tensor(NAME)?;
        match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
            None => Ok(Some(factors)),
            Some(wrong) => Err(LmError::format(&self.path)(format!("`{NAME}` must be positive numbers, got {wrong}"))),
        }
    }
}

/// A tensor as it lies in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct RawTensor {
    /// How its weights are stored.
    pub kind: TensorKind,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// Whole blocks of [`TensorKind::block`], row-major; each row of the innermost dimension begins a block.
    pub bytes: Vec<u8>,
}

impl RawTensor {
    /// The weights, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        dequantize(self.kind, &self.bytes)
    }

    /// Bytes of one row of the innermost dimension.
    pub fn row_bytes(&self) -> usize {
        let (weights, bytes) = self.kind.block().unwrap_or((1, 0));
        self.shape.last().unwrap_or(&1) / weights * bytes
    }
}

/// Bytes of a tensor of a kind that is read here; `tensor_info` has checked that the shape is sound.
fn byte_length(info: &TensorInfo) -> Option<u64> {
    let (weights, bytes) = info.kind.block()?;
    Some((info.shape.iter().product::<usize>() / weights * bytes) as u64)
}

/// A cursor that knows how many bytes are left.
struct Reader<'a> {
    path: &'a Path,
    source: BufReader<File>,
    size: u64,
    at: u64,
    values: u64,
}

impl Reader<'_> {
    fn corrupt(&self, why: impl Into<String>) -> LmError {
        LmError::Format { path: self.path.to_owned(), why: why.into() }
    }

    /// Takes `length` bytes off what is left.
    fn take(&mut self, length: u64, what: &str) -> Result<(), LmError> {
        let left = self.size - self.at;
        if length > left {
            return Err(self.corrupt(format!("{what} needs {length} bytes at {}, and {left} are left", self.at)));
        }
        self.at += length;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LmError> {
        self.take(N as u64, what)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(LmError::io(self.path))?;
        Ok(bytes)
    }

    fn long(&mut self, what: &str) -> Result<u64, LmError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `smallest` bytes each.
    fn count(&mut self, what: &str, smallest: u64) -> Result<u64, LmError> {
        let count = self.long(&format!("the number of {what}"))?;
        let most = (self.size - self.at) / smallest;
        if count > most {
            return Err(self.corrupt(format!("it announces {count} {what}, and has room for {most}")));
        }
        Ok(count)
    }

    fn text(&mut self, what: &str) -> Result<String, LmError> {
        let length = self.long(what)?;
        self.take(length, what)?;
        let mut bytes = vec![0; length as usize];
        self.source.read_exact(&mut bytes).map_err(LmError::io(self.path))?;
        String::from_utf8(bytes).map_err(|_| self.corrupt(format!("{what} before byte {} is not UTF-8", self.at)))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<GgufValue, LmError> {
        let what = "a metadata value";
        Ok(match kind {
            0 => GgufValue::Unsigned(u8::from_le_bytes(self.bytes(what)?).into()),
            1 => GgufValue::Signed(i8::from_le_bytes(self.bytes(what)?).into()),
            2 => GgufValue::Unsigned(u16::from_le_bytes(self.bytes(what)?).into()),
            3 => GgufValue::Signed(i16::from_le_bytes(self.bytes(what)?).into()),
            4 => GgufValue::Unsigned(u32::from_le_bytes(self.bytes(what)?).into()),
            5 => GgufValue::Signed(i32::from_le_bytes(self.bytes(what)?).into()),
            6 => GgufValue::Float(f32::from_le_bytes(self.bytes(what)?).into()),
            7 => GgufValue::Flag(self.bytes::<1>(what)? != [0]),
            8 => GgufValue::Text(self.text(what)?),
            9 if depth < 4 => {
                let element = u32::from_le_bytes(self.bytes("an array's type")?);
                let count = self.count("array values", 1)?;
                self.values += count;
                if self.values > MOST_VALUES {
                    return Err(
                        self.corrupt(format!("metadata arrays may hold {MOST_VALUES} values, got {}", self.values))
                    );
                }
                let values = (0..count).map(|_| self.value(element, depth + 1));
                GgufValue::Array(values.collect::<Result<_, _>>()?)
            }
            10 => GgufValue::Unsigned(self.long(what)?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.bytes(what)?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.bytes(what)?)),
            other => {
                return Err(self.corrupt(format!(
                    "metadata types are 0 to 12, arrays at most 4 deep, got {other} before byte {}",
                    self.at
                )));
            }
        })
    }

    /// A tensor entry; `start` still counts from the start of the data.
    fn tensor_info(&mut self) -> Result<TensorInfo, LmError> {
        let name = self.text("a tensor name")?;
        let dimensions = u32::from_le_bytes(self.bytes("the number of dimensions")?);
        if dimensions > 4 {
            return Err(self.corrupt(format!("tensor `{name}` has {dimensions} dimensions, and 4 are the most")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.long("a dimension")?);
        }
        let kind = TensorKind::from_code(u32::from_le_bytes(self.bytes("a tensor type")?));
        let start = self.long("a tensor offset")?;

        // A weight takes at least a bit in every format, so no sound tensor has more than 8 weights a byte.
        let weights = shape.iter().try_fold(1u64, |all, extent| all.checked_mul(*extent));
        let sound = weights.is_some_and(|weights| weights / 8 <= self.size) && shape.iter().all(|extent| *extent > 0);
        let block = kind.block().map_or(1, |(weights, _)| weights as u64);
        if !sound || shape.first().unwrap_or(&1) % block != 0 {
            let (size, kind) = (self.size, kind.name());
            return Err(
                self.corrupt(format!("tensor `{name}` cannot have the shape {shape:?} as {kind} in {size} bytes"))
            );
        }
        let shape = shape.into_iter().rev().map(|extent| extent as usize).collect();
        Ok(TensorInfo { name, kind, shape, start })
    }
}

/// GGUF files for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Gguf, GgufValue, TensorKind};

    /// Name, kind, shape (outermost first), bytes.
    pub(crate) type Tensor<'a> = (&'a str, TensorKind, &'a [usize], Vec<u8>);

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    fn value(value: &GgufValue) -> (u32, Vec<u8>) {
        match value {
            GgufValue::Unsigned(value) => (10, value.to_le_bytes().to_vec()),
            GgufValue::Signed(value) => (11, value.to_le_bytes().to_vec()),
            GgufValue::Float(value) => (12, value.to_le_bytes().to_vec()),
            GgufValue::Flag(value) => (7, vec![u8::from(*value)]),
            GgufValue::Text(value) => (8, text(value)),
            GgufValue::Array(values) => {
                let kind = values.first().map_or(4, |first| self::value(first).0);
                let head = [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
                (9, head.into_iter().chain(values.iter().flat_map(|each| self::value(each).1)).collect())
            }
        }
    }

    /// The bytes of a file.
    pub(crate) fn file(metadata: &[(&str, GgufValue)], tensors: &[Tensor<'_>]) -> Vec<u8> {
        let counts = [tensors.len(), metadata.len()].map(|count| (count as u64).to_le_bytes()).concat();
        let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &counts].concat();
        for (key, entry) in metadata {
            let (kind, bytes) = value(entry);
            file.extend([text(key), kind.to_le_bytes().to_vec(), bytes].concat());
        }
        let mut data = Vec::new();
        for (name, kind, shape, bytes) in tensors {
            file.extend([text(name), (shape.len() as u32).to_le_bytes().to_vec()].concat());
            file.extend(shape.iter().rev().flat_map(|extent| (*extent as u64).to_le_bytes()));
            file.extend([&kind.code().to_le_bytes()[..], &(data.len() as u64).to_le_bytes()].concat());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        [file, data].concat()
    }

    /// A file, opened, in its folder: tensors are read on demand.
    pub(crate) fn open(metadata: &[(&str, GgufValue)], tensors: &[Tensor<'_>]) -> (Gguf, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, file(metadata, tensors)).unwrap();
        (Gguf::open(path).unwrap(), folder)
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use rand::RngExt;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// Two tensors: `a`, 2 rows of 32 in Q8_0 (scale 0.5, weights 0 to 63 in steps of 0.5), and `b`, 3 floats.
    fn sample() -> Vec<u8> {
        let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &2u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
        file.extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("llama")].concat());
        file.extend([text("depth"), 5u32.to_le_bytes().to_vec(), (-7i32).to_le_bytes().to_vec()].concat());
        file.extend([text("tokens"), 9u32.to_le_bytes().to_vec(), 8u32.to_le_bytes().to_vec()].concat());
        file.extend([2u64.to_le_bytes().to_vec(), text("x"), text("yz")].concat());
        file.extend(
            [text("a"), 2u32.to_le_bytes().to_vec(), 32u64.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec()]
                .concat(),
        );
        file.extend([8u32.to_le_bytes().to_vec(), 0u64.to_le_bytes().to_vec()].concat());
        file.extend([text("b"), 1u32.to_le_bytes().to_vec(), 3u64.to_le_bytes().to_vec()].concat());
        file.extend([0u32.to_le_bytes().to_vec(), 96u64.to_le_bytes().to_vec()].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        for row in 0..2 {
            file.extend(half::f16::from_f32(0.5).to_le_bytes());
            file.extend((0..32).map(|at| row * 32 + at));
        }
        file.resize(file.len() + 28, 0);
        file.extend([1.5f32, -2.0, 0.25].map(f32::to_le_bytes).concat());
        file
    }

    fn open(bytes: &[u8]) -> Result<Gguf, LmError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        let gguf = Gguf::open(path)?;
        for info in gguf.tensors() {
            let (shape, weights) = gguf.tensor(&info.name)?;
            assert_eq!(shape.iter().product::<usize>(), weights.len());
        }
        Ok(gguf)
    }

    #[test]
    fn metadata_and_tensors_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, sample()).unwrap();
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.need("general.architecture", GgufValue::as_text).unwrap(), "llama");
        assert_eq!(gguf.metadata("depth").and_then(GgufValue::as_float), Some(-7.0));
        assert!(gguf.need("depth", GgufValue::as_unsigned).is_err());
        assert_eq!(gguf.need("tokens", GgufValue::as_array).unwrap()[1].as_text(), Some("yz"));
        let (shape, weights) = gguf.tensor("a").unwrap();
        assert_eq!(shape, [2, 32]);
        assert_eq!(weights, (0..64).map(|at| at as f32 * 0.5).collect::<Vec<_>>());
        assert_eq!(gguf.tensor("b").unwrap(), (vec![3], vec![1.5, -2.0, 0.25]));
        assert!(matches!(gguf.tensor("c"), Err(LmError::MissingTensor { .. })));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            let refused = open(&whole[..length]).unwrap_err();
            assert!(matches!(refused, LmError::Format { .. }), "cut to {length} bytes: {refused}");
        }
        assert!(open(&whole).is_ok());
    }

    #[test]
    fn spoilt_bytes_never_panic() {
        let whole = sample();
        let mut stream = Seed(3).stream("spoilt bytes", 0);
        for _ in 0..3000 {
            let mut spoilt = whole.clone();
            for _ in 0..stream.random_range(1..4) {
                let at = stream.random_range(4..260);
                spoilt[at] = stream.random();
            }
            // Any answer will do, as long as it is one.
            let _answer = open(&spoilt);
        }
    }

    #[test]
    fn other_kinds_are_named() {
        let mut file = sample();
        let at = file.windows(9).position(|bytes| bytes == [1, 0, 0, 0, 0, 0, 0, 0, b'b']).unwrap() + 9 + 4 + 8;
        file[at] = 15;
        let refused = open(&file).unwrap_err().to_string();
        assert!(refused.contains("`b`") && refused.contains("Q8_K") && refused.contains("Q6_K, BF16"), "{refused}");
    }

    #[test]
    fn plain_floats_and_rotary_factors_are_read() {
        let halves = [0x00, 0x3c, 0x00, 0xc1]; // 1 and -2.5
        let wide = [0x80, 0x3f, 0x20, 0xc0]; // 1 and -2.5, the upper halves of their f32
        let factors = [1.0f32, 8.0].map(f32::to_le_bytes).concat();
        let spoilt = [1.0f32, 0.0].map(f32::to_le_bytes).concat();
        let (file, _folder) = testing::open(
            &[],
            &[
                ("a", TensorKind::F16, &[2], halves.to_vec()),
                ("b", TensorKind::Bf16, &[1, 2], wide.to_vec()),
                ("rope_freqs.weight", TensorKind::F32, &[2], factors),
            ],
        );
        assert_eq!(file.tensor("a").unwrap(), (vec![2], vec![1.0, -2.5]));
        assert_eq!(file.tensor("b").unwrap(), (vec![1, 2], vec![1.0, -2.5]));
        assert_eq!(file.raw("b").unwrap().bytes, wide);
        assert_eq!(file.rope_factors().unwrap(), Some(vec![1.0, 8.0]));
        let (file, _folder) = testing::open(&[], &[("rope_freqs.weight", TensorKind::F32, &[2], spoilt)]);
        assert!(file.rope_factors().unwrap_err().to_string().contains("positive"));
        assert_eq!(testing::open(&[], &[]).0.rope_factors().unwrap(), None);
    }

    /// Overwrites `new.len()` bytes after the first occurrence of `after`.
    fn overwritten(after: &[u8], new: &[u8]) -> Vec<u8> {
        let mut file = sample();
        let at = if after.is_empty() { 0 } else { end_of(after) };
        file[at..at + new.len()].copy_from_slice(new);
        file
    }

    #[test]
    fn impossible_sizes_are_refused_before_anything_is_allocated() {
        let huge = u64::MAX.to_le_bytes();
        let a = text("a");
        let after_a = |skip: usize| sample()[..end_of(&a) + skip].to_vec();
        let cases: [(Vec<u8>, &[u8], &str); 9] = [
            (b"GGUF\x03\0\0\0".to_vec(), &huge, "it announces 18446744073709551615 tensors"),
            (b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0".to_vec(), &huge, "18446744073709551615 metadata entries"),
            (text("tokens"), &[9, 0, 0, 0, 8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 127], "array values"),
            (
                text("general.architecture"),
                &[8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
                "metadata value needs",
            ),
            (text("depth"), &[13, 0, 0, 0], "metadata types are 0 to 12"),
            (a.clone(), &[5, 0, 0, 0], "5 dimensions"),
            (after_a(4), &huge, "cannot have the shape"),
            (after_a(4), &[31, 0, 0, 0, 0, 0, 0, 0], "cannot have the shape"),
            (after_a(24), &huge, "tensor `a`"),
        ];
        for (place, new, expected) in cases {
            let refused = open(&overwritten(&place, new)).unwrap_err();
            assert!(matches!(refused, LmError::Format { .. }), "{refused}");
            assert!(refused.to_string().contains(expected), "{refused}, expected: {expected}");
        }
        let refused = open(&overwritten(b"GGUF", &[0, 0, 0, 3])).unwrap_err().to_string();
        assert!(refused.contains("big-endian"), "{refused}");
        let refused = open(&overwritten(b"GGUF", &[1, 0, 0, 0])).unwrap_err().to_string();
        assert!(refused.contains("GGUF version 1"), "{refused}");
        let refused = open(&overwritten(b"", b"GGML")).unwrap_err().to_string();
        assert!(refused.contains("starts with the letters GGUF"), "{refused}");
    }

    fn end_of(name: &[u8]) -> usize {
        sample().windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len()
    }
}
