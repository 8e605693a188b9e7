//! GGUF files: header, metadata and tensors, versions 2 and 3, little endian.
//!
//! Source: `docs/gguf.md` of ggml-org/ggml. Nothing in the file is trusted: every count is held against the bytes that
//! are left before anything is allocated, and every tensor must lie inside the file.
//!
//! Quantised rows are blocks of 32 weights, `d` and `m` being halves:
//! ```text
//! Q4_0: d, 16 bytes       w = d * (nibble - 8)       low nibbles are weights 0..16, high ones 16..32
//! Q4_1: d, m, 16 bytes    w = d * nibble + m
//! Q8_0: d, 32 signed      w = d * byte
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;

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

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 8 bits and a scale.
    Q8_0,
    /// A kind that is not read here, by its number in the file.
    Other(u32),
}

impl TensorKind {
    fn from_code(code: u32) -> Self {
        match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            other => Self::Other(other),
        }
    }

    /// The name that llama.cpp gives it.
    pub fn name(self) -> String {
        let name = match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
            Self::Other(6) => "Q5_0",
            Self::Other(7) => "Q5_1",
            Self::Other(9) => "Q8_1",
            Self::Other(10) => "Q2_K",
            Self::Other(11) => "Q3_K",
            Self::Other(12) => "Q4_K",
            Self::Other(13) => "Q5_K",
            Self::Other(14) => "Q6_K",
            Self::Other(15) => "Q8_K",
            Self::Other(30) => "BF16",
            Self::Other(code) => return format!("number {code}"),
        };
        name.to_owned()
    }

    /// Weights and bytes of one block.
    fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::F32 => Some((1, 4)),
            Self::F16 => Some((1, 2)),
            Self::Q4_0 => Some((32, 18)),
            Self::Q4_1 => Some((32, 20)),
            Self::Q8_0 => Some((32, 34)),
            Self::Other(_) => None,
        }
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
    /// [`LmError::MissingTensor`], [`LmError::Unsupported`] for a kind that is not read here, [`LmError::Io`].
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), LmError> {
        let missing = || LmError::MissingTensor { path: self.path.clone(), name: name.to_owned() };
        let info = self.index.get(name).map(|at| &self.tensors[*at]).ok_or_else(missing)?;
        let Some(length) = byte_length(info) else {
            let what = format!("tensor `{name}` of `{}` has the type {}, which", self.path.display(), info.kind.name());
            let remedy = "convert the model with llama.cpp to Q8_0, or use its safetensors".to_owned();
            return Err(LmError::Unsupported { what, remedy });
        };
        let mut bytes = vec![0; length as usize];
        let mut file = File::open(&self.path).map_err(LmError::io(&self.path))?;
        file.seek(SeekFrom::Start(info.start)).map_err(LmError::io(&self.path))?;
        file.read_exact(&mut bytes).map_err(LmError::io(&self.path))?;
        Ok((info.shape.clone(), dequantize(info.kind, &bytes)))
    }
}

/// Bytes of a tensor of a kind that is read here; `tensor_info` has checked that the shape is sound.
fn byte_length(info: &TensorInfo) -> Option<u64> {
    let (weights, bytes) = info.kind.block()?;
    Some((info.shape.iter().product::<usize>() / weights * bytes) as u64)
}

/// The weights of whole blocks.
fn dequantize(kind: TensorKind, bytes: &[u8]) -> Vec<f32> {
    let Some((weights, block)) = kind.block() else { return Vec::new() };
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let mut out = vec![0.0; bytes.len() / block * weights];
    let blocks = bytes.chunks_exact(block).zip(out.chunks_exact_mut(weights));
    match kind {
        TensorKind::F32 => {
            blocks.for_each(|(block, out)| out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
        }
        TensorKind::F16 => blocks.for_each(|(block, out)| out[0] = half(block)),
        TensorKind::Q4_0 => blocks.for_each(|(block, out)| {
            let scale = half(block);
            nibbles(&block[2..], out, |nibble| f32::from(nibble as i8 - 8) * scale);
        }),
        TensorKind::Q4_1 => blocks.for_each(|(block, out)| {
            let (scale, minimum) = (half(block), half(&block[2..]));
            nibbles(&block[4..], out, |nibble| f32::from(nibble) * scale + minimum);
        }),
        TensorKind::Q8_0 => blocks.for_each(|(block, out)| {
            let scale = half(block);
            out.iter_mut().zip(&block[2..]).for_each(|(out, byte)| *out = f32::from(*byte as i8) * scale);
        }),
        TensorKind::Other(_) => {}
    }
    out
}

/// Low nibbles to the first half of `out`, high nibbles to the second.
fn nibbles(bytes: &[u8], out: &mut [f32], weight: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = weight(byte & 15);
        *high = weight(byte >> 4);
    }
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
            file.extend(f16::from_f32(0.5).to_le_bytes());
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
        file[at] = 14;
        let refused = open(&file).unwrap_err().to_string();
        assert!(refused.contains("`b`") && refused.contains("Q6_K") && refused.contains("Q8_0"), "{refused}");
    }
}
