"""Trains the tiny model with TRL on the groups of a feed. Prints the steps it has taken and the hash of its weights.

    python -m tests_torch.train_tiny --url http://127.0.0.1:8470 --consumer lab --blobs data/blobs --output out --steps 50
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig

import plumbline
from plumbline.checkpoint import sha256_of
from plumbline.images import BlobFolder
from plumbline.trl import FeedGRPOTrainer
from tests_torch import tiny_model

VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo"},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "reused": {"loss_type": "dapo", "num_iterations": 2},
}


class Says(TrainerCallback):
    """Reports each step once its receipt is taken, and dies after one."""

    def __init__(self, die_after: int) -> None:
        self.die_after = die_after

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        print(json.dumps({"step": state.global_step}), flush=True)
        if state.global_step == self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    arguments = argparse.ArgumentParser()
    for name in ("--url", "--consumer", "--blobs", "--output"):
        arguments.add_argument(name, required=True)
    for name, default in (("--steps", 8), ("--save", 2), ("--die-after", 0), ("--groups", 2), ("--size", 4)):
        arguments.add_argument(name, type=int, default=default)
    arguments.add_argument("--variant", choices=VARIANTS, default="grpo")
    arguments.add_argument("--lora", action="store_true")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    processor = tiny_model.processor()
    config = GRPOConfig(
        output_dir=asked.output,
        max_steps=asked.steps,
        save_steps=asked.save,
        per_device_train_batch_size=asked.size,
        gradient_accumulation_steps=asked.groups,
        num_generations=asked.size,
        learning_rate=1e-3,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=7,
        **VARIANTS[asked.variant],
    )
    lora = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"]) if asked.lora else None
    with plumbline.Groups(asked.url, consumer=asked.consumer, run="r1", stop_when_idle=5) as groups:
        trainer = FeedGRPOTrainer(
            tiny_model.model(processor.tokenizer),
            config,
            groups,
            pictures=BlobFolder(asked.blobs),
            processing_class=processor,
            peft_config=lora,
            callbacks=[Says(asked.die_after)],
        )
        trainer.train()
    folder = Path(asked.output) / f"checkpoint-{trainer.state.global_step}"
    weights = folder / ("adapter_model.safetensors" if asked.lora else "model.safetensors")
    print(json.dumps({"epoch": groups.epoch, "steps": trainer.state.global_step, "sha256": sha256_of(weights)}))


if __name__ == "__main__":
    main()
