"""Makes a LoRA adapter of random weights for the model of tiny-model.py, in the files that peft writes.

    python tiny-adapter.py FOLDER SEED
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK, HIDDEN, LAYERS = 4, 128, 2  # of tiny-model.py


def main(folder: str, seed: int) -> None:
    torch.manual_seed(seed)
    weights = {}
    for layer in range(LAYERS):
        for target in ("q_proj", "o_proj"):
            name = f"base_model.model.model.language_model.layers.{layer}.self_attn.{target}"
            weights[f"{name}.lora_A.weight"] = torch.randn(RANK, HIDDEN) * 0.2
            weights[f"{name}.lora_B.weight"] = torch.randn(HIDDEN, RANK) * 0.2
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": ["q_proj", "o_proj"],
        "bias": "none",
        "base_model_name_or_path": "tiny-vlm",
    }
    Path(folder).mkdir(parents=True)
    save_file(weights, f"{folder}/adapter_model.safetensors")
    Path(folder, "adapter_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
