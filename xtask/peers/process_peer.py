"""Scores texts by a process model that transformers loads: `python process_peer.py FOLDER --input rows.jsonl`.

Rows have `prompt` and `completion`, both texts. The answer, on the last line of standard output, is the class of the model and the
probability at the last token of each row, with the rows as one batch that is padded on the right and on the left.
"""

import argparse
import json

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--input", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    model = AutoModelForTokenClassification.from_pretrained(arguments.folder, dtype=torch.float32).eval()
    with open(arguments.input) as file:
        rows = [encoded(tokenizer, json.loads(line)) for line in file]
    said = {"class": type(model).__name__, **{side: scores(model, rows, side) for side in ("right", "left")}}
    print(json.dumps(said), flush=True)


def encoded(tokenizer, row):
    """Prompt and completion, each by itself."""
    return tokenizer(row["prompt"]).input_ids + tokenizer(row["completion"], add_special_tokens=False).input_ids


@torch.no_grad()
def scores(model, rows, side):
    longest = max(len(row) for row in rows)
    ids, mask = [], []
    for row in rows:
        fill = longest - len(row)
        padding, real = [0] * fill, [1] * len(row)
        ids.append(row + padding if side == "right" else padding + row)
        mask.append(real + [0] * fill if side == "right" else [0] * fill + real)
    # Rotary positions only count differences, so those of a row padded on the left may begin later.
    logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits  # [rows, tokens, labels]
    last = [len(row) - 1 if side == "right" else longest - 1 for row in rows]
    read = torch.stack([logits[row, place] for row, place in enumerate(last)])  # [rows, labels]
    # Two classes, wrong and right; or one score.
    odds = read[:, 1] - read[:, 0] if read.shape[1] == 2 else read[:, 0]
    return torch.sigmoid(odds).tolist()


main()
