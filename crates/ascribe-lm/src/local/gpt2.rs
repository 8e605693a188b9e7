//! GPT-2's files: other names, one product for queries, keys and values, and weights as `[in, out]`. The factors of an adapter
//! are as those of other families in peft, but for the names and the one product.

use super::decoder::transposed;
use super::weights::{Named, WeightSource};
use crate::LmError;

/// Our names beside theirs, within one layer, but for queries, keys and values.
const NAMES: [(&str, &str); 5] = [
    ("input_layernorm", "ln_1"),
    ("self_attn.o_proj", "attn.c_proj"),
    ("post_attention_layernorm", "ln_2"),
    ("mlp.up_proj", "mlp.c_fc"),
    ("mlp.down_proj", "mlp.c_proj"),
];
/// In the order in which they stand in the one product.
const QKV: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

/// GPT-2's weights under the names and in the layouts of the other families.
pub(super) struct Gpt2<'a>(pub(super) &'a mut dyn WeightSource);

impl WeightSource for Gpt2<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let own = own_name(name);
        let third = QKV.iter().position(|part| name.contains(part));
        let (inputs, outputs) = match (shape, is_product(name)) {
            ([outputs, inputs], true) => (*inputs, *outputs),
            ([width], _) if third.is_some() => (1, *width),
            _ => return self.0.tensor(&own, shape),
        };
        let Some(third) = third else {
            return Ok(transposed(&self.0.tensor(&own, &[inputs, outputs])?, outputs));
        };
        // Queries, keys and values stand side by side: [in, 3 out].
        let whole = match shape.len() {
            1 => self.0.tensor(&own, &[3 * outputs])?,
            _ => self.0.tensor(&own, &[inputs, 3 * outputs])?,
        };
        let rows = whole.chunks(3 * outputs).flat_map(|row| &row[third * outputs..(third + 1) * outputs]);
        Ok(transposed(&rows.copied().collect::<Vec<_>>(), outputs))
    }
}

/// The factors of an adapter of GPT-2 under our names. Queries, keys and values share `lora_A` of their one product, and each has
/// a third of the rows of its `lora_B`.
pub(super) struct Gpt2Factors<'a>(pub(super) &'a mut dyn WeightSource);

impl WeightSource for Gpt2Factors<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let Some((projection, side)) = name.split_once(".lora_") else { return self.0.tensor(name, shape) };
        let own = format!("{}.lora_{side}", module(projection));
        let third = QKV.iter().position(|part| projection.ends_with(part)).filter(|_| side.starts_with('B'));
        match (third, shape) {
            (Some(third), [outputs, r]) => {
                let whole = self.0.tensor(&own, &[3 * outputs, *r])?;
                Ok(whole[third * outputs * r..(third + 1) * outputs * r].to_vec())
            }
            _ => self.0.tensor(&own, shape),
        }
    }
}

/// The module of GPT-2 that is the projection `name` of ours, or has it as a part.
pub(super) fn module(name: &str) -> String {
    own_name(&format!("{name}.weight")).trim_end_matches(".weight").to_owned()
}

/// The same weights as GPT-2's files have them.
pub(super) fn to_gpt2(named: Vec<Named>) -> Vec<Named> {
    let mut theirs: Vec<Named> = Vec::with_capacity(named.len());
    for (name, shape, values) in named {
        let own = own_name(&name);
        let (shape, values) = match (is_product(&name), shape.as_slice()) {
            (true, [outputs, inputs]) => (vec![*inputs, *outputs], transposed(&values, *inputs)),
            _ => (shape, values),
        };
        match theirs.iter_mut().find(|(before, _, _)| *before == own) {
            None => theirs.push((own, shape, values)),
            // Queries came first; keys and values are set beside them, row by row.
            Some((_, whole, before)) => {
                let (width, more) = (whole[whole.len() - 1], shape[shape.len() - 1]);
                let rows = before.chunks(width).zip(values.chunks(more));
                *before = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
                if let Some(last) = whole.last_mut() {
                    *last += more;
                }
            }
        }
    }
    theirs
}

/// A linear layer inside the blocks: stored as `[in, out]`.
fn is_product(name: &str) -> bool {
    name.ends_with("_proj.weight")
}

fn own_name(name: &str) -> String {
    let whole = [
        ("model.embed_tokens.", "transformer.wte."),
        ("model.embed_positions.", "transformer.wpe."),
        ("model.norm.", "transformer.ln_f."),
    ];
    if let Some((ours, theirs)) = whole.into_iter().find(|(ours, _)| name.starts_with(ours)) {
        return name.replacen(ours, theirs, 1);
    }
    let Some((layer, part)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.')) else {
        return name.to_owned(); // the head
    };
    let Some((part, kind)) = part.rsplit_once('.') else { return name.to_owned() };
    let fused = QKV.contains(&part).then_some("attn.c_attn");
    let own = fused.or_else(|| NAMES.iter().find(|(ours, _)| *ours == part).map(|(_, theirs)| *theirs)).unwrap_or(part);
    format!("transformer.h.{layer}.{own}.{kind}")
}
