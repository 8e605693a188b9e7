"""The jobs of transformers with plain torch (see README.md): train, score, decode, samples, sharing."""

import torch
from transformers import AutoModelForCausalLM

from common import answer, read_job, repeat


def train(job):
    """One optimizer step a repeat on the same rows; the loss is the mean over all next tokens."""
    model = load(job).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=job["learning_rate"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True
    )
    rows = torch.tensor(job["rows"])  # [batch, seq]

    def step(_):
        loss = model(input_ids=rows, labels=rows, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    first = step(0)
    seconds, losses = repeat(job["repeats"], step)
    return seconds, rows.numel(), "tokens", {"losses": [first, *losses]}


@torch.no_grad()
def score(job):
    """Summed log-probs of each response after its prompt, all rows in one batch; the LM head sees responses alone."""
    model = load(job).eval()
    rows = torch.tensor([row["prompt"] + row["response"] for row in job["rows"]])  # [batch, seq]
    kept = len(job["rows"][0]["response"])
    targets = rows[:, -kept:].unsqueeze(2)  # [batch, kept, 1]

    def pass_over(_):
        # One more position than is scored: the last one predicts nothing.
        logits = model(input_ids=rows, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]
        picked = logits.gather(2, targets).squeeze(2) - logits.logsumexp(2)  # [batch, kept]
        return picked.sum(1).tolist()

    pass_over(0)
    seconds, results = repeat(job["repeats"], pass_over)
    return seconds, len(rows), "responses", {"logps": results[-1]}


@torch.no_grad()
def decode(job):
    """The most likely tokens after one prompt."""
    model = load(job).eval()
    prompt = torch.tensor([job["prompt"]])

    def generate(_, new=job["new_tokens"]):
        return continuations(model, prompt, new, do_sample=False)[0].tolist()

    generate(0, new=2)
    seconds, results = repeat(job["repeats"], generate)
    return seconds, job["new_tokens"], "tokens", {"ids": results[-1]}


@torch.no_grad()
def samples(job):
    """Several samples of one prompt from the model's own distribution."""
    model = load(job).eval()
    torch.manual_seed(job["seed"])
    prompt = torch.tensor([job["prompt"]])

    def generate(_, new=job["new_tokens"]):
        sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        return continuations(model, prompt, new, num_return_sequences=job["samples"], **sampling)

    generate(0, new=2)
    seconds, results = repeat(job["repeats"], generate)
    drawn = results[-1]  # [samples, new]
    checked = drawn[:8]
    rows = torch.cat([prompt.expand(len(checked), -1), checked], 1)
    logits = model(input_ids=rows, use_cache=False, logits_to_keep=drawn.shape[1] + 1).logits[:, :-1]
    logps = logits.gather(2, checked.unsqueeze(2)).squeeze(2) - logits.logsumexp(2)
    checks = {"tokens": drawn.numel(), "mean_logp": logps.mean().item()}
    return seconds, drawn.numel(), "tokens", checks


@torch.no_grad()
def sharing(job):
    """Several samples of one prompt, with the tokens that went through the layers and the bytes of the cache at the end."""
    model = load(job).eval()
    torch.manual_seed(job["seed"])
    prompt = torch.tensor([job["prompt"]])
    read = []
    model.get_input_embeddings().register_forward_hook(lambda _, inputs, __: read.append(inputs[0].numel()))

    def generate(_, new=job["new_tokens"]):
        read.clear()
        sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        several = {"num_return_sequences": job["samples"], "return_dict_in_generate": True}
        return generated(model, prompt, new, **several, **sampling)

    generate(0, new=2)
    seconds, results = repeat(job["repeats"], generate)
    layers = results[-1].past_key_values.layers
    held = sum(tensor.nbytes for layer in layers for tensor in (layer.keys, layer.values))
    drawn = results[-1].sequences[:, prompt.shape[1] :].numel()
    return seconds, drawn, "tokens", {"tokens": drawn}, 0, {"evaluated": sum(read), "kv_bytes": held}


def load(job):
    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)


def continuations(model, prompt, new, **how):
    """Exactly `new` tokens after the prompt."""
    return generated(model, prompt, new, **how)[:, prompt.shape[1] :]


def generated(model, prompt, new, **how):
    """The prompt with exactly `new` tokens after it: without an end token nothing stops earlier."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    mask = torch.ones_like(prompt)
    return model.generate(prompt, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, **how)


JOBS = {
    "sft_step": train,
    "tiny_step": train,
    "score": score,
    "score_shared": score,
    "decode": decode,
    "samples": samples,
    "sharing": sharing,
}


def main():
    name, job = read_job()
    torch.set_num_threads(job["threads"])
    answer(name, *JOBS[name](job))


main()
