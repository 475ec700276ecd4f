"""The tiny model behind the chat protocol, as vLLM answers it: token ids and raw log-probabilities included.

    python -m tests_torch.sampler

Prints its address. A grammar makes each completion `<answer>`, three digits, `</answer>` and the end, so that it can be
scored; within it the model chooses. The log-probabilities are those of the model without the grammar.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from PIL import Image

from tests_torch import tiny_model

ONE_AT_A_TIME = threading.Lock()


class Sampler:
    def __init__(self) -> None:
        self.processor = tiny_model.processor()
        self.tokenizer = self.processor.tokenizer
        self.model = tiny_model.model(self.tokenizer).eval()
        digits = self.tokenizer.convert_tokens_to_ids(list("0123456789"))
        begin, end, over = self.tokenizer.convert_tokens_to_ids(["<answer>", "</answer>", "<|im_end|>"])
        self.grammar = [[begin], digits, digits, digits, [end], [over]]

    @torch.no_grad()
    def sample(self, body: dict) -> dict:
        parts = body["messages"][-1]["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        pictures = [Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB") for url in urls]
        shown = [{"type": "image"} if part["type"] == "image_url" else part for part in parts]
        text = self.processor.apply_chat_template([{"role": "user", "content": shown}], add_generation_prompt=True)
        inputs = self.processor(text=[text], images=pictures, return_tensors="pt")
        prompt = inputs["input_ids"][0].tolist()
        count = body.get("n") or 1
        one = torch.Generator().manual_seed(int(body.get("seed") or 0))
        same = {name: torch.cat([value] * count) for name, value in inputs.items()}
        chosen, logprobs = [], []
        for allowed in self.grammar:
            logits = self.model(**same).logits[:, -1].float()
            allowed = torch.tensor(allowed)
            picked = allowed[torch.multinomial(logits[:, allowed].softmax(-1), 1, generator=one)]
            logprobs.append(logits.log_softmax(-1).gather(1, picked))
            chosen.append(picked)
            same["input_ids"] = torch.cat([same["input_ids"], picked], dim=1)
            for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
                if name in same:
                    same[name] = torch.cat([same[name], torch.full_like(picked, value)], dim=1)
        ids, values = torch.cat(chosen, 1).tolist(), torch.cat(logprobs, 1).tolist()
        choices = [
            {
                "index": at,
                "message": {"role": "assistant", "content": self.tokenizer.decode(row[:-1])},
                "logprobs": {"content": [{"token": "t", "logprob": value} for value in values[at]]},
                "finish_reason": "stop",
                "token_ids": row,
            }
            for at, row in enumerate(ids)
        ]
        return {"model": body["model"], "choices": choices, "prompt_token_ids": prompt, "system_fingerprint": "tiny"}


def main() -> None:
    torch.set_num_threads(1)
    sampler = Sampler()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with ONE_AT_A_TIME:
                data = json.dumps(sampler.sample(body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}/v1"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
