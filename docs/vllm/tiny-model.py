"""Makes a tiny vision-language model (Qwen2.5-VL's shape, 1 M random weights) that vLLM serves on a CPU.

    python tiny-model.py FOLDER

A minute or two of training teaches it to write `<answer>x, y</answer>`, so that its completions end and can be scored. It has
learned nothing about towers: x and y were drawn at random.
"""

import random
import sys

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
PIXELS = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}  # at most 16 image tokens
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'image' or part.type == 'image_url' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT = (
    "In the image you see a block tower in the centre with a single misplaced block to the side. "
    "Your task is to build a stable tower by moving the misplaced block to the most stable position on the top of the tower. "
    "You can move the misplaced block to the left or right and up, by responding with two integers. "
    "The first integer should be between -600 and +600 and moves the block left or right. "
    "The second integer should be between 0 and +1000 and moves the block up. "
    "Return your final answer between <answer> </answer>."
)


def processor() -> Qwen2_5_VLProcessor:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([PROMPT] * 10, trainers.BpeTrainer(vocab_size=512, special_tokens=SPECIAL, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL[1:]
    )
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=PIXELS),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=PIXELS),
        chat_template=CHAT,
    )


def config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    end, start, done, vision_start, vision_end, image, video = tokenizer.convert_tokens_to_ids(SPECIAL)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 12, 12]}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": rope,
        "bos_token_id": end,
        "eos_token_id": done,
    }
    vision = {"depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "out_hidden_size": 128, "fullatt_block_indexes": [1]}
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=vision_start,
        vision_end_token_id=vision_end,
        image_token_id=image,
        video_token_id=video,
        tie_word_embeddings=False,
    )


def teach(model: Qwen2_5_VLForConditionalGeneration, read: Qwen2_5_VLProcessor, steps: int = 120) -> None:
    """Cross entropy of random answers after a random picture and the prompt."""
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    asked = read.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        answers = [f"<answer>{random.randint(-600, 600)}, {random.randint(0, 1000)}</answer><|im_end|>" for _ in range(8)]
        pictures = [Image.frombytes("RGB", (112, 112), random.randbytes(112 * 112 * 3)) for _ in answers]
        batch = read(text=[asked + said for said in answers], images=pictures, padding=True, padding_side="right", return_tensors="pt")
        begins = len(read(text=[asked], images=pictures[:1])["input_ids"][0])
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, :begins] = -100
        loss = model(**batch, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)


def main(folder: str) -> None:
    random.seed(7)
    torch.manual_seed(7)
    torch.set_num_threads(1)  # so small that threads only wait for each other
    read = processor()
    model = Qwen2_5_VLForConditionalGeneration(config(read.tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(read.tokenizer)} tokens")
    teach(model, read)
    # As Qwen2-VL's generation_config.json: vLLM samples like this whatever a request does not say.
    model.generation_config.update(eos_token_id=read.tokenizer.eos_token_id, do_sample=True, top_k=1, repetition_penalty=1.05)
    model.save_pretrained(folder)
    read.save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])
