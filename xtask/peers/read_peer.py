"""The job of `datasets` with a fast tokenizer of transformers (see README.md): pairs of conversations from JSONL to ids."""

import os
import resource
import tempfile

# Every process of `map` has one thread.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer

from common import answer, read_job, repeat


def read(job, folder):
    tokenizer = AutoTokenizer.from_pretrained(job["model"])

    def ids(texts):
        return tokenizer(texts, add_special_tokens=False)["input_ids"]

    def render(conversations, opened):
        return tokenizer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=opened)

    def encode(batch):
        prompts = render(batch["prompt"], True)
        encoded = {"prompt_ids": ids(prompts)}
        for side in ("chosen", "rejected"):
            wholes = render([prompt + reply for prompt, reply in zip(batch["prompt"], batch[side])], False)
            # What the template writes behind the end token is not learned.
            rests = [whole[len(prompt) :].rstrip("\n") for prompt, whole in zip(prompts, wholes)]
            encoded[f"{side}_ids"] = ids(rests)
        return encoded

    def one_pass(at):
        # A folder of its own, so that nothing is found in a cache.
        rows = load_dataset("json", data_files=job["data"], split="train", cache_dir=os.path.join(folder, str(at)))
        how = {"batched": True, "num_proc": job["threads"], "remove_columns": rows.column_names}
        return rows.map(encode, load_from_cache_file=False, **how)

    seconds, results = repeat(job["repeats"], one_pass)
    rows = results[-1]
    tokens = sum(len(row) for name in rows.column_names for row in rows[name])
    return seconds, rows.num_rows, "rows", {"tokens": tokens, "ids": rows[0]["prompt_ids"]}


def main():
    name, job = read_job()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        seconds, units, unit, checks = read(job, folder)
    # The largest of the processes that encoded; the others of its size are left out.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    answer(name, seconds, units, unit, checks, children)


if __name__ == "__main__":
    main()
