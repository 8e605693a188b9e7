"""Scores texts by a reward model that transformers loads: `python reward_peer.py FOLDER --input rows.jsonl`.

Rows have `prompt` and `completion`, both texts. The answer, on the last line of standard output, is the class of the model and the
first score of each row, with the rows as one batch that is padded on the right and on the left.
"""

import argparse
import json

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    model = AutoModelForSequenceClassification.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    assert tokenizer.pad_token_id == model.config.pad_token_id, "tokenizer and model must pad alike"
    with open(arguments.input) as file:
        rows = [encoded(tokenizer, json.loads(line)) for line in file]
    said = {"class": type(model).__name__, **{side: scores(model, rows, side) for side in ("right", "left")}}
    print(json.dumps(said), flush=True)


def encoded(tokenizer, row):
    """Prompt and completion, each by itself, and the end token."""
    completion = tokenizer(row["completion"], add_special_tokens=False).input_ids
    return tokenizer(row["prompt"]).input_ids + completion + [tokenizer.eos_token_id]


@torch.no_grad()
def scores(model, rows, side):
    longest = max(len(row) for row in rows)
    ids, mask = [], []
    for row in rows:
        fill = longest - len(row)
        padding, real = [model.config.pad_token_id] * fill, [1] * len(row)
        ids.append(row + padding if side == "right" else padding + row)
        mask.append(real + [0] * fill if side == "right" else [0] * fill + real)
    logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits  # [rows, labels]
    return logits[:, 0].tolist()


main()
