"""The job of TRL (see README.md): training steps of `DPOTrainer` with precomputed reference log-probs."""

import os
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

from common import answer, read_job


class Tokenized(DPOTrainer):
    """Takes rows of token ids as they are: both sides train on the same ids."""

    def _prepare_dataset(self, dataset, *_):
        return dataset


class Clock(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *_, **__):
        self.started = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.started)


def dpo_step(job, folder):
    pairs = job["pairs"]
    rows = [{f"{side}_ids": pair[side] for side in ("prompt", "chosen", "rejected")} for pair in pairs]
    config = DPOConfig(
        output_dir=folder,
        max_steps=1 + job["repeats"],
        per_device_train_batch_size=len(pairs),
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        beta=job["beta"],
        weight_decay=0.0,
        max_grad_norm=job["max_grad_norm"],
        max_length=None,
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job["seed"],
    )
    clock = Clock()
    trainer = Tokenized(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        args=config,
        # Written to a file of this run: the precomputed log-probs are cached beside it, and with a fresh folder they
        # are computed anew.
        train_dataset=on_disk(rows, folder),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[clock],
    )
    trainer.train()
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return clock.seconds[1:], len(pairs), "pairs", {"losses": losses}


def on_disk(rows, folder):
    path = os.path.join(folder, "rows")
    Dataset.from_list(rows).save_to_disk(path)
    return Dataset.load_from_disk(path)


def main():
    name, job = read_job()
    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as folder:
        answer(name, *dpo_step(job, folder))


main()
