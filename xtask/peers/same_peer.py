"""Says how far two folders of one model lie apart to transformers: `python same_peer.py BEFORE AFTER [BEFORE AFTER ..]`.

Each line of standard output is the answer for two folders: the class that each has to transformers, tensors that only one of them
has, and the largest difference and the largest size of the outputs for two rows of fixed token ids.
"""

import json
import sys

import torch
import transformers
from transformers import AutoConfig


def main():
    torch.set_num_threads(2)
    folders = sys.argv[1:]
    for before, after in zip(folders[::2], folders[1::2]):
        print(json.dumps(compared(before, after)), flush=True)


@torch.no_grad()
def compared(before, after):
    (model, missing), (again, unused) = loaded(before), loaded(after)
    ids = torch.tensor([[(5 + 37 * at) % 301 + 9 for at in range(24)], [(11 + 53 * at) % 307 + 9 for at in range(24)]])
    one, two = model(input_ids=ids).logits, again(input_ids=ids).logits
    return {
        "classes": [type(model).__name__, type(again).__name__],
        "odd": sorted(missing | unused),
        "difference": (one - two).abs().max().item() if one.shape == two.shape else None,
        "size": one.abs().max().item(),
    }


def loaded(folder):
    (name,) = AutoConfig.from_pretrained(folder).architectures
    kind = getattr(transformers, name)
    model, said = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    return model.eval(), set(said["missing_keys"]) | set(said["unexpected_keys"])


main()
