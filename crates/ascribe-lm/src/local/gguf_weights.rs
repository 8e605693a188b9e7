//! Weights of GGUF files under their Hugging Face names and in Hugging Face's layout.
//!
//! Names: `gguf-py/gguf/tensor_mapping.py` of ggml-org/llama.cpp. What its converter changes is undone here:
//! - llama (and Mistral, which is stored as one): the rows of queries and keys, and their biases, are interleaved;
//! - gemma2 and gemma3: the converter adds 1 to the weights of all norms;
//! - gpt2: matrices are transposed, since Hugging Face stores them `[in, out]` there.

use std::collections::HashSet;

use super::weights::{WeightSource, check_shape};
use crate::LmError;
use crate::gguf::{Gguf, GgufValue, RawTensor, TensorKind};

/// A GGUF file as a source of weights that knows what was asked for.
#[derive(Debug)]
pub struct GgufWeights<'a> {
    file: &'a Gguf,
    family: Family,
    taken: HashSet<String>,
}

/// What the converter does beside renaming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Queries and keys interleaved.
    Llama,
    /// Nothing.
    Qwen,
    /// Norms plus 1, four norms a layer.
    Gemma,
    /// Names of its own, matrices transposed.
    Gpt2,
}

/// Architectures by the name in `general.architecture`.
const FAMILIES: [(&str, Family); 6] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen),
    ("qwen3", Family::Qwen),
    ("gemma2", Family::Gemma),
    ("gemma3", Family::Gemma),
    ("gpt2", Family::Gpt2),
];

/// Hugging Face names beside GGUF names, within a layer, without `.weight` and `.bias`.
const LAYER: [(&str, &str); 10] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
const LAYER_PLAIN: [(&str, &str); 1] = [("post_attention_layernorm", "ffn_norm")];
const LAYER_GEMMA: [(&str, &str); 3] = [
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
const LAYER_GPT2: [(&str, &str); 6] = [
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];
const OUTSIDE: [(&str, &str); 3] = [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), HEAD];
const OUTSIDE_GPT2: [(&str, &str); 4] =
    [("wte", "token_embd"), ("wpe", "position_embd"), ("ln_f", "output_norm"), HEAD];
const HEAD: (&str, &str) = ("lm_head", "output");

impl<'a> GgufWeights<'a> {
    /// The weights of a file.
    ///
    /// # Errors
    /// [`LmError::Config`] when it names no architecture, [`LmError::Unsupported`] for one that is not known here.
    pub fn new(file: &'a Gguf) -> Result<Self, LmError> {
        let architecture = file.need("general.architecture", GgufValue::as_text)?;
        let family = FAMILIES.iter().find(|(name, _)| *name == architecture).ok_or_else(|| {
            let what = format!("architecture `{architecture}` in {}", file.path().display());
            let known = FAMILIES.map(|(name, _)| name).join(", ");
            LmError::unsupported(what, format!("use a GGUF file of one of {known}"))
        })?;
        Ok(Self { file, family: family.1, taken: HashSet::new() })
    }

    /// Checks that every tensor of the file was asked for: a model with more weights than ours is another model.
    ///
    /// # Errors
    /// [`LmError::Unsupported`] names the first tensor that nobody wanted.
    pub fn all_taken(&self) -> Result<(), LmError> {
        // A tied head may be written out, and the rotary factors are read as data (`Gguf::rope_factors`).
        let harmless = |name: &str| matches!(name, "output.weight" | "rope_freqs.weight");
        let mut left: Vec<&str> = self.file.tensors().map(|info| info.name.as_str()).collect();
        left.retain(|name| !self.taken.contains(*name) && !harmless(name));
        left.sort_unstable();
        let Some(name) = left.first() else { return Ok(()) };
        let what = format!("tensor `{name}` ({} such) in {}", left.len(), self.file.path().display());
        Err(LmError::unsupported(what, "use a plain decoder: this one has parts that would be left out"))
    }

    /// The GGUF name of a Hugging Face name.
    fn own_name(&self, name: &str) -> Option<String> {
        let (stem, suffix) = name.rsplit_once('.').filter(|(_, suffix)| matches!(*suffix, "weight" | "bias"))?;
        let find = |tables: &[&[(&str, &'static str)]], part: &str| {
            tables.iter().copied().flatten().find(|(theirs, _)| *theirs == part).map(|(_, own)| *own)
        };
        let gpt2 = self.family == Family::Gpt2;
        let stem = if gpt2 { stem.strip_prefix("transformer.").unwrap_or(stem) } else { stem };
        let layers = if gpt2 { "h." } else { "model.layers." };
        let Some(inside) = stem.strip_prefix(layers) else {
            let own = find(&[if gpt2 { &OUTSIDE_GPT2[..] } else { &OUTSIDE[..] }], stem)?;
            return Some(format!("{own}.{suffix}"));
        };
        let (layer, part) = inside.split_once('.')?;
        let own = match self.family {
            Family::Llama | Family::Qwen => find(&[&LAYER, &LAYER_PLAIN], part),
            Family::Gemma => find(&[&LAYER, &LAYER_GEMMA], part),
            Family::Gpt2 => find(&[&LAYER_GPT2], part),
        }?;
        Some(format!("blk.{layer}.{own}.{suffix}"))
    }

    /// The tensor as it lies in the file, checked against the shape in Hugging Face's layout.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<(String, RawTensor), LmError> {
        let missing = || LmError::MissingTensor { path: self.file.path().to_owned(), name: name.to_owned() };
        let own = self.own_name(name).ok_or_else(missing)?;
        let raw = self.file.raw(&own).map_err(|error| match error {
            LmError::MissingTensor { .. } => missing(),
            other => other,
        })?;
        let mut got = raw.shape.clone();
        if self.is_transposed(&own, &raw.shape) {
            got.reverse();
        }
        check_shape(name, shape, &got)?;
        self.taken.insert(own.clone());
        Ok((own, raw))
    }

    /// Whether Hugging Face stores this matrix `[in, out]`.
    fn is_transposed(&self, own: &str, shape: &[usize]) -> bool {
        self.family == Family::Gpt2 && shape.len() == 2 && own.starts_with("blk.")
    }

    /// Where the rows of an interleaved tensor come from: row `r` of Hugging Face's layout is row `from[r]` of the file.
    /// `None` for a tensor whose rows lie as they should.
    fn interleaved(&self, own: &str, rows: usize) -> Result<Option<Vec<usize>>, LmError> {
        let heads = |key: &str| self.file.metadata(key).and_then(GgufValue::as_unsigned);
        let queries = heads("llama.attention.head_count");
        let heads = match own.rsplit('.').nth(1) {
            _ if self.family != Family::Llama => return Ok(None),
            Some("attn_q") => queries,
            Some("attn_k") => heads("llama.attention.head_count_kv").or(queries),
            _ => return Ok(None),
        };
        let heads = heads.and_then(|heads| usize::try_from(heads).ok()).unwrap_or(0);
        if heads == 0 || !rows.is_multiple_of(2 * heads) {
            let why = format!("`{own}` has {rows} rows, which are not heads of even width for {heads} heads");
            return Err(LmError::format(self.file.path())(why));
        }
        // Pairs (i, i + half) of a head stand side by side in the file.
        let (head, half) = (rows / heads, rows / heads / 2);
        let from = |row: usize| row / head * head + 2 * (row % half) + row % head / half;
        Ok(Some((0..rows).map(from).collect()))
    }
}

impl WeightSource for GgufWeights<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let (own, raw) = self.take(name, shape)?;
        let mut values = raw.to_f32();
        if let Some(from) = self.interleaved(&own, raw.shape.first().copied().unwrap_or(1))? {
            let width = values.len() / from.len();
            values = from.iter().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect();
        }
        if self.family == Family::Gemma && own.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        if self.is_transposed(&own, &raw.shape) {
            let (rows, width) = (raw.shape[0], raw.shape[1]);
            values = (0..width)
                .flat_map(|column| (0..rows).map(move |row| row * width + column))
                .map(|at| values[at])
                .collect();
        }
        Ok(values)
    }

    fn blocks(&mut self, name: &str, shape: &[usize]) -> Result<Option<RawTensor>, LmError> {
        let (own, mut raw) = self.take(name, shape)?;
        if raw.shape.len() != 2 || matches!(raw.kind, TensorKind::F32) {
            return Ok(None);
        }
        if let Some(from) = self.interleaved(&own, raw.shape[0])? {
            let width = raw.row_bytes();
            raw.bytes = from.iter().flat_map(|row| &raw.bytes[row * width..(row + 1) * width]).copied().collect();
        }
        Ok(Some(raw))
    }
}

impl WeightSource for Gguf {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        GgufWeights::new(self)?.tensor(name, shape)
    }

    fn blocks(&mut self, name: &str, shape: &[usize]) -> Result<Option<RawTensor>, LmError> {
        GgufWeights::new(self)?.blocks(name, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::{Tensor, open};

    fn model(architecture: &str, metadata: &[(&str, u32)], tensors: &[Tensor<'_>]) -> (Gguf, tempfile::TempDir) {
        let mut entries = vec![("general.architecture", GgufValue::Text(architecture.into()))];
        entries.extend(metadata.iter().map(|(key, value)| (*key, GgufValue::Unsigned((*value).into()))));
        open(&entries, tensors)
    }

    fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    /// Names of gguf 0.19.0: `get_tensor_name_map(architecture, 4).get_name(name)`.
    #[test]
    fn names_are_those_of_the_converter() {
        let all = [
            ("model.layers.1.input_layernorm.weight", "blk.1.attn_norm.weight"),
            ("model.layers.1.self_attn.q_proj.weight", "blk.1.attn_q.weight"),
            ("model.layers.1.self_attn.k_proj.bias", "blk.1.attn_k.bias"),
            ("model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight"),
            ("model.layers.3.self_attn.o_proj.weight", "blk.3.attn_output.weight"),
            ("model.layers.1.mlp.gate_proj.weight", "blk.1.ffn_gate.weight"),
            ("model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"),
            ("model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight"),
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("lm_head.weight", "output.weight"),
        ];
        let plain = [("model.layers.1.post_attention_layernorm.weight", "blk.1.ffn_norm.weight")];
        let normed = [
            ("model.layers.1.self_attn.q_norm.weight", "blk.1.attn_q_norm.weight"),
            ("model.layers.1.self_attn.k_norm.weight", "blk.1.attn_k_norm.weight"),
        ];
        let gemma = [
            ("model.layers.1.post_attention_layernorm.weight", "blk.1.post_attention_norm.weight"),
            ("model.layers.1.pre_feedforward_layernorm.weight", "blk.1.ffn_norm.weight"),
            ("model.layers.1.post_feedforward_layernorm.weight", "blk.1.post_ffw_norm.weight"),
        ];
        let gpt2 = [
            ("transformer.h.1.ln_1.bias", "blk.1.attn_norm.bias"),
            ("h.1.attn.c_attn.weight", "blk.1.attn_qkv.weight"),
            ("transformer.h.1.attn.c_proj.weight", "blk.1.attn_output.weight"),
            ("transformer.h.1.ln_2.weight", "blk.1.ffn_norm.weight"),
            ("transformer.h.1.mlp.c_fc.weight", "blk.1.ffn_up.weight"),
            ("transformer.h.1.mlp.c_proj.bias", "blk.1.ffn_down.bias"),
            ("transformer.wte.weight", "token_embd.weight"),
            ("wpe.weight", "position_embd.weight"),
            ("transformer.ln_f.bias", "output_norm.bias"),
            ("lm_head.weight", "output.weight"),
        ];
        type Names<'a> = &'a [(&'a str, &'a str)];
        let tables: [(&str, &[Names<'_>]); 6] = [
            ("llama", &[&all, &plain]),
            ("qwen2", &[&all, &plain]),
            ("qwen3", &[&all, &plain, &normed]),
            ("gemma2", &[&all, &gemma]),
            ("gemma3", &[&all, &gemma, &normed]),
            ("gpt2", &[&gpt2]),
        ];
        for (architecture, names) in tables {
            let (file, _folder) = model(architecture, &[], &[]);
            let weights = GgufWeights::new(&file).unwrap();
            for (theirs, own) in names.iter().copied().flatten() {
                assert_eq!(weights.own_name(theirs).as_deref(), Some(*own), "{architecture}: {theirs}");
            }
            for unknown in ["model.layers.1.mlp.router.weight", "model.layers.1", "score.weight", "x", ""] {
                assert_eq!(weights.own_name(unknown), None, "{architecture}: {unknown}");
            }
        }
    }

    #[test]
    fn queries_and_keys_of_llama_are_sorted_back_by_rows() {
        // One key head of 4 rows: the converter writes rows 0, 2, 1, 3 (reshape to [2, 2], swapped). Two query heads.
        let heads = [("llama.attention.head_count", 2), ("llama.attention.head_count_kv", 1)];
        let keys: Vec<u8> =
            [0i8, 2, 1, 3].into_iter().flat_map(|row| [vec![0, 0x3c], vec![row as u8; 32]].concat()).collect();
        let tensors = [
            ("blk.0.attn_k.weight", TensorKind::Q8_0, &[4, 32][..], keys.clone()),
            ("blk.0.attn_k.bias", TensorKind::F32, &[4], floats([0.0, 2.0, 1.0, 3.0])),
            ("blk.0.attn_q.weight", TensorKind::F32, &[8, 1], floats([0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0])),
            ("blk.0.attn_v.weight", TensorKind::F32, &[4, 1], floats([0.0, 1.0, 2.0, 3.0])),
        ];
        let rows = |n: usize, width: usize| (0..n * width).map(|at| (at / width) as f32).collect::<Vec<_>>();
        for (architecture, sorted) in [("llama", true), ("qwen2", false)] {
            let (file, _folder) = model(architecture, &heads, &tensors);
            let mut weights = GgufWeights::new(&file).unwrap();
            let mut get = |name: &str, shape: &[usize]| {
                weights.tensor(&format!("model.layers.0.self_attn.{name}"), shape).unwrap()
            };
            assert_eq!(get("k_proj.weight", &[4, 32]) == rows(4, 32), sorted);
            assert_eq!(get("k_proj.bias", &[4]) == rows(4, 1), sorted);
            assert_eq!(get("q_proj.weight", &[8, 1]) == rows(8, 1), sorted);
            assert_eq!(get("v_proj.weight", &[4, 1]), rows(4, 1));
            weights.all_taken().unwrap();

            let raw = weights.blocks("model.layers.0.self_attn.k_proj.weight", &[4, 32]).unwrap().unwrap();
            assert_eq!((raw.kind, &raw.shape[..], raw.row_bytes()), (TensorKind::Q8_0, &[4, 32][..], 34));
            assert_eq!(raw.to_f32() == rows(4, 32), sorted);
            assert_eq!(raw.bytes == keys, !sorted);
            assert_eq!(weights.blocks("model.layers.0.self_attn.q_proj.weight", &[8, 1]).unwrap(), None);
        }
        let (file, _folder) = model("llama", &[("llama.attention.head_count", 3)], &tensors);
        let refused = GgufWeights::new(&file).unwrap().tensor("model.layers.0.self_attn.q_proj.weight", &[8, 1]);
        assert!(refused.unwrap_err().to_string().contains("3 heads"));
    }

    #[test]
    fn what_the_converter_adds_to_norms_of_gemma_is_taken_off() {
        let tensors = [
            ("blk.0.attn_k_norm.weight", TensorKind::F32, &[2][..], floats([1.5, 0.75])),
            ("blk.0.attn_k.weight", TensorKind::F32, &[2, 1], floats([1.5, 0.75])),
        ];
        for (architecture, norm) in [("gemma3", [0.5, -0.25]), ("qwen3", [1.5, 0.75])] {
            let (file, _folder) = model(architecture, &[], &tensors);
            let mut weights = GgufWeights::new(&file).unwrap();
            assert_eq!(weights.tensor("model.layers.0.self_attn.k_norm.weight", &[2]).unwrap(), norm);
            assert_eq!(weights.tensor("model.layers.0.self_attn.k_proj.weight", &[2, 1]).unwrap(), [1.5, 0.75]);
        }
    }

    #[test]
    fn matrices_of_gpt2_are_turned_round_and_its_embeddings_are_not() {
        let bytes = floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let halves: Vec<u8> = (1..=6).flat_map(|value| half::f16::from_f32(value as f32).to_le_bytes()).collect();
        let (file, _folder) = model(
            "gpt2",
            &[],
            &[
                ("blk.0.attn_qkv.weight", TensorKind::F16, &[3, 2], halves.clone()),
                ("token_embd.weight", TensorKind::F32, &[3, 2], bytes.clone()),
            ],
        );
        let mut weights = GgufWeights::new(&file).unwrap();
        let name = "transformer.h.0.attn.c_attn.weight";
        assert_eq!(weights.tensor(name, &[2, 3]).unwrap(), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        assert_eq!(weights.tensor("transformer.wte.weight", &[3, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(matches!(weights.tensor(name, &[3, 2]), Err(LmError::Shape { .. })));
        let raw = weights.blocks(name, &[2, 3]).unwrap().unwrap();
        assert_eq!((&raw.shape[..], raw.bytes), (&[3, 2][..], halves));
    }

    #[test]
    fn other_architectures_missing_and_extra_tensors_are_named() {
        let refused = GgufWeights::new(&model("mamba", &[], &[]).0).unwrap_err().to_string();
        assert!(
            refused.contains("`mamba`") && refused.contains("llama, qwen2, qwen3, gemma2, gemma3, gpt2"),
            "{refused}"
        );
        let (file, _folder) = model(
            "qwen2",
            &[],
            &[
                ("output_norm.weight", TensorKind::F32, &[1], floats([1.0])),
                ("blk.0.ssm_a", TensorKind::F32, &[1], floats([1.0])),
                ("rope_freqs.weight", TensorKind::F32, &[1], floats([1.0])),
            ],
        );
        let mut weights = GgufWeights::new(&file).unwrap();
        let refused = weights.tensor("model.layers.0.mlp.up_proj.weight", &[1, 1]).unwrap_err().to_string();
        assert!(refused.contains("model.layers.0.mlp.up_proj.weight"), "{refused}");
        let refused = weights.tensor("model.norm.weight", &[2]).unwrap_err();
        assert!(matches!(refused, LmError::Shape { .. }), "{refused}");
        weights.tensor("model.norm.weight", &[1]).unwrap();
        let refused = weights.all_taken().unwrap_err().to_string();
        assert!(refused.contains("`blk.0.ssm_a` (1 such)"), "{refused}");
    }
}
