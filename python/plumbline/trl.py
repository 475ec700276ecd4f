"""TRL's GRPOTrainer on the groups of the feed: one overridden method, and callbacks for receipts and checkpoints.

What TRL would sample, score and normalise comes from the feed as it was recorded: token ids, masks, the policy's
log-probabilities, pictures, advantages in their dialect. The losses (GRPO, GSPO, DAPO, …), LoRA, the optimiser and the
files of a checkpoint stay TRL's. Written for the TRL release of requirements-trl.txt, whose private methods it
overrides; tests_torch/test_trl_contract.py fails when another release has changed them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from plumbline.batch import NotTrainableError
from plumbline.checkpoint import sha256_of, sync
from plumbline.draws import is_unusable
from plumbline.errors import FeedError
from plumbline.feed import log
from plumbline.group import Group
from plumbline.groups import Groups
from plumbline.step import Step

if TYPE_CHECKING:
    from PIL.Image import Image

RECORDS = "feed"
"""Folder in `output_dir` with a JSON file for each checkpoint that the feed was told of."""

PICTURE, VIDEO = 1, 2
"""Kinds in `mm_token_type_ids`, as transformers numbers them."""

Prompt = str | list[dict[str, Any]]


class NoGroupsError(RuntimeError):
    """The feed gave too few groups for an optimiser step. What was leased for it waits again."""


class FeedGRPOTrainer(GRPOTrainer):
    """Trains on groups of the feed.

    - `groups`: opened by this process. Its `stop_when_idle` ends the training early, after a checkpoint.
    - `pictures`: the pictures of a group's prompt, e.g. `plumbline.images.BlobFolder`. Called only for groups that have
      pictures.
    - `prompts`: text or chat messages of a group's prompt, for policies that record no token ids. Then prompt and
      completion are tokenised by `processing_class`, and old log-probabilities are those of the weights at the time the
      groups are taken: the first step is on-policy by definition. Without it, such a group is refused.
    - `args.max_steps` is the number of optimiser steps in all, over every resume.
    - What else GRPOTrainer takes (`model`, `processing_class`, `peft_config`, `callbacks`, `optimizers`, …) is TRL's.

    An optimiser step is begun before its first forward pass, and its receipt follows `optimizer.step()`. With
    `steps_per_generation` or `num_iterations` above one optimiser step, the same groups are used by several steps, and
    `save_steps` must be a multiple of that number, since TRL does not store the groups that it holds.

    `train()` resumes from the newest checkpoint of the run that the feed has and that is whole in `output_dir`. A
    checkpoint is TRL's folder; its hash, its files and its groups are in `output_dir/feed/NAME.json`.
    """

    def __init__(
        self,
        model: Any,
        args: GRPOConfig,
        groups: Groups,
        *,
        pictures: Callable[[Group], Sequence[Image]] | None = None,
        prompts: Callable[[Group], Prompt] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **others: Any,
    ) -> None:
        _refuse(args, groups, others)
        self._groups, self._pictures, self._prompts = groups, pictures, prompts
        micro_steps = args.steps_per_generation * args.num_iterations
        self._steps_per_round = micro_steps // args.gradient_accumulation_steps
        self._groups_per_round = args.generation_batch_size // args.num_generations
        self._ready: dict[int, Group] = {}
        self._begun: Step[Group] | None = None
        self._loss: torch.Tensor | None = None
        self._grad_norm: float | None = None
        self._tokens = 0
        # TRL draws prompts from a dataset; here its rows only count the rounds.
        rounds = -(-args.max_steps // self._steps_per_round)
        rows = Dataset.from_dict({"prompt": [""] * (rounds * self._groups_per_round)})
        super().__init__(
            model=model,
            reward_funcs=rewards_of_the_feed,
            args=args,
            train_dataset=rows,
            callbacks=[*(callbacks or []), _FeedCallback(self)],
            **others,
        )
        config = self.accelerator.unwrap_model(self.model).config
        ids = {PICTURE: getattr(config, "image_token_id", None), VIDEO: getattr(config, "video_token_id", None)}
        self._kinds = {kind: token for kind, token in ids.items() if token is not None}

    # Rounds: the groups that TRL calls a generation batch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        step = self._begin_round()
        groups = sorted(step.groups, key=lambda group: group.sequence)
        batch = self._batch_of(groups)
        self._record_metrics(groups)
        return batch

    def _begin_round(self) -> Step[Group]:
        """Begins a step on exactly as many groups as TRL's round has; what is too old by then is replaced."""
        while True:
            if not self._take():
                raise NoGroupsError(
                    f"step {self.state.global_step + 1}: expected {self._groups_per_round} groups, and no more came "
                    f"within {self._groups._idle} s; resume when there are more"
                )
            try:
                self._begun = self._groups.begin_step(list(self._ready.values()), self.state.global_step + 1)
            except FeedError as error:
                if not is_unusable(error) or self._ready.keys().isdisjoint(error.groups):
                    raise
                for sequence in error.groups:
                    self._ready.pop(sequence, None)
                continue
            self._ready = {}
            return self._begun

    def _take(self) -> bool:
        """Leases what the next round lacks. Returns False, and releases it, if the feed has too few."""
        while len(self._ready) < self._groups_per_round:
            group = next(self._groups, None)
            if group is None:
                self._groups.release(self._ready.values())
                self._ready = {}
                return False
            if group.size != self.num_generations:
                raise ValueError(
                    f"group {group.sequence} ({group.group_id}): expected {self.num_generations} completions "
                    f"(num_generations), got {group.size}"
                )
            unsupported = self._unsupported(group)
            if unsupported is None:
                self._ready[group.sequence] = group
            else:
                self._groups.drop([group], "unsupported_token", unsupported)
        return True

    def _unsupported(self, group: Group) -> str | None:
        """A picture's token in a completion has no picture: the model's forward pass would fail on it."""
        for at, ids in enumerate(group.table.column("token_ids").to_pylist()):
            found = sorted(set(ids or ()) & set(self._kinds.values()))
            if found:
                return f"completion {at} has the token {found[0]}, which stands for a picture or a video"
        return None

    # Tensors

    def _batch_of(self, groups: Sequence[Group]) -> dict[str, Any]:
        """What TRL's method returns, B completions in all, C tokens in the longest, P in the longest prompt.

        `prompt_ids`, `prompt_mask` [B, P] padded on the left; `completion_ids`, `completion_mask`, `tool_mask`,
        `old_per_token_logps` [B, C] padded on the right; `advantages` [B] float32.
        """
        device = self.accelerator.device
        shown = [self._shown(group) for group in groups]
        rows = [row for group, pictures in zip(groups, shown, strict=True) for row in self._rows(group, pictures)]

        def padded(name: str, value: float, side: str, kind: torch.dtype) -> torch.Tensor:
            tensors = [torch.as_tensor(row[name], dtype=kind) for row in rows]
            multiple = self.pad_to_multiple_of
            return pad(tensors, padding_value=value, padding_side=side, pad_to_multiple_of=multiple).to(device)

        for row in rows:
            row["prompt_mask"], row["completion_mask"] = [1] * len(row["prompt_ids"]), [1] * len(row["completion_ids"])
            if self.mask_truncated_completions and row["is_truncated"]:
                row["completion_mask"] = [0] * len(row["completion_ids"])
        batch: dict[str, Any] = {
            "prompt_ids": padded("prompt_ids", self._tokenizer.pad_token_id, "left", torch.int64),
            "prompt_mask": padded("prompt_mask", 0, "left", torch.int64),
            "completion_ids": padded("completion_ids", self._tokenizer.pad_token_id, "right", torch.int64),
            "completion_mask": padded("completion_mask", 0, "right", torch.int64),
            "tool_mask": padded("chosen", 1, "right", torch.int64),
            "advantages": torch.tensor([row["advantage"] for row in rows], dtype=torch.float32, device=device),
        }
        self._tokens = int((batch["completion_mask"] * batch["tool_mask"]).sum())
        batch["num_items_in_batch"] = torch.tensor(self._tokens, device=device)
        batch |= self._picture_tensors(groups, shown, rows, batch)
        recorded = [row["logprobs"] is not None for row in rows]
        if all(recorded):
            batch["old_per_token_logps"] = padded("logprobs", 0.0, "right", torch.float32)
        else:
            batch["old_per_token_logps"] = self._log_probabilities_of_now(batch)
            for at, row in enumerate(rows):
                if recorded[at]:
                    batch["old_per_token_logps"][at, : len(row["logprobs"])] = torch.tensor(row["logprobs"])
        return batch

    def _shown(self, group: Group) -> Sequence[Image]:
        if "images" not in group.table.column_names or not group.table.column("images")[0].as_py():
            return []
        if self._pictures is None:
            raise ValueError(
                f"group {group.sequence} ({group.group_id}) has pictures: give FeedGRPOTrainer "
                "pictures=plumbline.images.BlobFolder(…), or another function that reads them"
            )
        return self._pictures(group)

    def _rows(self, group: Group, pictures: Sequence[Image]) -> list[dict[str, Any]]:
        rows = group.table.to_pylist()
        asked: list[int] | None = None
        made = []
        for row in rows:
            kind = row.get("logprobs_kind")
            if row["trainable"] and kind == "raw" and self.temperature != 1.0:
                raise ValueError(
                    f"temperature: expected 1.0, got {self.temperature}: the log-probabilities of group "
                    f"{group.sequence} are raw, which are those of temperature 1, and TRL divides by its own"
                )
            ids, prompt, logprobs = row["token_ids"], row["prompt_token_ids"], row["logprobs"]
            if ids is None or prompt is None:
                if asked is None:
                    asked = self._tokenised_prompt(group, pictures)
                ids, prompt, logprobs = self._tokenised(row["text"]), asked, None
            mask = row["completion_mask"] if row["token_ids"] is not None else None
            made.append(
                {
                    "prompt_ids": prompt,
                    "completion_ids": ids,
                    "chosen": [1] * len(ids) if mask is None else mask,
                    "logprobs": logprobs,
                    "advantage": row["advantage"],
                    "is_truncated": row.get("finish_reason") == "length",
                }
            )
        return made

    def _tokenised_prompt(self, group: Group, pictures: Sequence[Image]) -> list[int]:
        if self._prompts is None:
            raise NotTrainableError(
                f"group {group.sequence} ({group.group_id}) of policy {group._first('policy')}: its token ids are null. "
                "Give FeedGRPOTrainer prompts=…, which returns the text or the messages of a group's prompt, so that "
                "it is tokenised here; or subscribe to groups of another policy"
            )
        prompt = self._prompts(group)
        if not isinstance(prompt, str):
            prompt = self.processing_class.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        given = {"images": list(pictures)} if pictures else {}
        # Through the processor, which puts as many tokens for a picture as the model will see.
        ids = self.processing_class(text=[prompt], **given)["input_ids"][0]
        return [int(each) for each in ids]

    def _tokenised(self, text: str) -> list[int]:
        return [*self._tokenizer(text, add_special_tokens=False)["input_ids"], self._tokenizer.eos_token_id]

    def _picture_tensors(
        self,
        groups: Sequence[Group],
        shown: Sequence[Sequence[Image]],
        rows: Sequence[dict[str, Any]],
        batch: dict[str, Any],
    ) -> dict[str, Any]:
        """`pixel_values`, `image_grid_thw`, `num_images`, `mm_token_type_ids` as Qwen's models take them."""
        if not any(shown):
            return {}
        made = [self.processing_class.image_processor(images=list(each), return_tensors="pt") for each in shown if each]
        if any("image_grid_thw" not in one for one in made):
            raise ValueError(
                f"{type(self.processing_class).__name__}: expected an image processor that returns image_grid_thw, as "
                f"those of Qwen-VL models, got {sorted(made[0])}"
            )
        merged = self.processing_class.image_processor.merge_size ** 2
        each_group = iter(made)
        pixels, grids, counts = [], [], []
        row = 0
        for group, pictures in zip(groups, shown, strict=True):
            one = next(each_group) if pictures else None
            tokens = 0 if one is None else int(one["image_grid_thw"].prod(-1).sum()) // merged
            for _ in range(group.size):
                found = rows[row]["prompt_ids"].count(self._kinds.get(PICTURE))
                if found != tokens:
                    raise ValueError(
                        f"group {group.sequence} ({group.group_id}): its pictures have {tokens} tokens by this "
                        f"processor, its recorded prompt has {found}. Sampler and trainer need the same image processor"
                    )
                counts.append(len(pictures))
                if one is not None:
                    pixels.append(one["pixel_values"])
                    grids.append(one["image_grid_thw"])
                row += 1
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        kinds = torch.zeros_like(ids)
        for kind, token in self._kinds.items():
            kinds[ids == token] = kind
        device = self.accelerator.device
        return {
            "pixel_values": torch.cat(pixels).to(device),
            "image_grid_thw": torch.cat(grids).to(device),
            "num_images": counts,
            "mm_token_type_ids": kinds,
        }

    def _log_probabilities_of_now(self, batch: dict[str, Any]) -> torch.Tensor:
        names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
        checkpointing = self.args.gradient_checkpointing_kwargs
        with torch.no_grad(), disable_gradient_checkpointing(self.model, checkpointing):
            found, _, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=self.args.per_device_train_batch_size,
                **{name: batch[name] for name in names if name in batch},
            )
        return found

    def _record_metrics(self, groups: Sequence[Group]) -> None:
        metrics = self._metrics["train"]
        rewards = torch.tensor([reward for group in groups for reward in group.rewards.tolist()])
        metrics["reward"].append(rewards.mean().item())
        metrics["reward_std"].append(rewards.std().item())
        metrics["frac_reward_zero_std"].append(sum(group.zero_variance for group in groups) / len(groups))

    # Receipts

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **named)
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()
        return loss

    def _get_grad_norm(self, *arguments: Any, **named: Any) -> Any:
        norm = super()._get_grad_norm(*arguments, **named)
        self._grad_norm = None if norm is None else float(norm)
        return norm

    # Checkpoints

    def train(self, resume_from_checkpoint: Any = None, **named: Any) -> Any:
        if resume_from_checkpoint is not None:
            raise ValueError(
                "resume_from_checkpoint: leave it out. The feed knows which checkpoints count, and train() resumes from "
                "the newest of them"
            )
        output = Path(self.args.output_dir)
        _forget_removed(output, damaged=True)
        resumed = self._groups.resume(output / RECORDS)
        folder = None if resumed.checkpoint is None else str(output / resumed.extra["folder"])
        _set_aside_folders(output, resumed.step)
        return super().train(resume_from_checkpoint=folder, **named)


class _FeedCallback(TrainerCallback):
    def __init__(self, trainer: FeedGRPOTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        trainer = self.trainer
        trainer._loss = trainer._grad_norm = None
        if trainer._begun is not None and state.global_step % trainer._steps_per_round != 0:
            trainer._begun = trainer._groups.begin_step(trainer._begun.groups, state.global_step + 1)

    def on_optimizer_step(self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        trainer = self.trainer
        assert trainer._begun is not None
        trainer._begun.applied(loss=trainer._loss, grad_norm=trainer._grad_norm, tokens=trainer._tokens)

    def on_step_end(self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> TrainerControl:
        trainer = self.trainer
        is_round = state.global_step % trainer._steps_per_round == 0
        if is_round and state.global_step < state.max_steps and not trainer._take():
            log.warning("no more groups after step %s: training ends", state.global_step)
            control.should_training_stop = control.should_save = True
        return control

    def on_save(self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        output = Path(args.output_dir)
        folder = output / f"checkpoint-{state.global_step}"
        files = _hashed(folder)
        weights = {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
        extra = {"folder": folder.name, "files": files}
        groups = self.trainer._groups
        groups.checkpoint(output / RECORDS, state.global_step, weights_sha256=_one_hash(weights), extra=extra)
        _forget_removed(output, damaged=False)

    def on_train_end(self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        trainer = self.trainer
        if trainer._ready:
            trainer._groups.release(trainer._ready.values())
            trainer._ready = {}


def rewards_of_the_feed(**_: Any) -> list[float]:
    raise AssertionError("the feed's groups have their rewards: TRL computes none")


def _refuse(args: GRPOConfig, groups: Groups, others: dict[str, Any]) -> None:
    """Raises ValueError with every setting that would break what the feed promises, or that would have no effect."""
    accumulated, micro_steps = args.gradient_accumulation_steps, args.steps_per_generation * args.num_iterations
    per_round = micro_steps // accumulated
    problems = [
        f"{name}: has no effect, since completions, rewards and groups come from the feed: leave it out"
        for name in ("reward_funcs", "train_dataset", "tools", "rollout_func", "environment_factory", "eval_dataset")
        if others.get(name) is not None
    ]
    if micro_steps % accumulated != 0:
        problems.append(
            f"steps_per_generation · num_iterations: expected a multiple of gradient_accumulation_steps ({accumulated}), "
            f"got {micro_steps}: an optimiser step would mix two rounds of groups, of which only one was begun"
        )
    else:
        for name, value in (("max_steps", args.max_steps), ("save_steps", args.save_steps)):
            if (name == "max_steps" or args.save_strategy == "steps") and value % per_round != 0:
                problems.append(
                    f"{name}: expected a multiple of {per_round}, the optimiser steps for each round of groups, got "
                    f"{value}: TRL does not store the groups that it holds, so a resume would skip them"
                )
    if args.max_steps <= 0:
        problems.append("max_steps: expected the number of optimiser steps, because a stream of groups has no epochs")
    if args.world_size != 1 or groups.world_size != 1:
        problems.append(f"processes: expected 1, got {max(args.world_size, groups.world_size)}")
    if args.save_strategy not in ("steps", "no"):
        problems.append(f"save_strategy: expected steps or no, got {args.save_strategy}")
    if args.save_strategy == "steps" and args.save_steps < 1:
        problems.append(f"save_steps: expected a number of optimiser steps, got {args.save_steps}")
    if args.save_total_limit is not None and args.save_total_limit < 2:
        problems.append(
            f"save_total_limit: expected at least 2, got {args.save_total_limit}: TRL removes the old checkpoint before "
            "the feed knows of the new one"
        )
    if args.save_only_model:
        problems.append("save_only_model: expected False: the optimiser's state is needed to resume")
    if args.ignore_data_skip:
        problems.append("ignore_data_skip: expected False: transformers would not restore the random generators")
    if args.fp16:
        problems.append("fp16: expected False: its scaler skips optimiser steps that have a receipt by then; use bf16")
    if args.auto_find_batch_size:
        problems.append("auto_find_batch_size: expected False: it repeats steps that were begun")
    if args.eval_strategy != "no" or args.load_best_model_at_end:
        problems.append("eval_strategy: expected no: the feed has groups to train on and none to evaluate on")
    if args.use_vllm:
        problems.append("use_vllm: expected False: the policy samples, not the trainer")
    if args.beta != 0.0:
        problems.append(f"beta: expected 0, got {args.beta}: log-probabilities of a reference model are not computed")
    if args.log_completions:
        problems.append("log_completions: expected False: completions are in the log, see rollout.group_formed")
    if problems:
        raise ValueError("FeedGRPOTrainer cannot run so:\n- " + "\n- ".join(problems))


def _hashed(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder by name, once all of them are on the disk."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        sync(file)
        found[file.relative_to(folder).as_posix()] = sha256_of(file)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder, folder.parent]:
        sync(path)
    return found


def _one_hash(weights: dict[str, str]) -> str:
    """The hash of the file of weights, or of the lines `HASH  NAME` of several, as sha256sum prints them."""
    if len(weights) == 1:
        return next(iter(weights.values()))
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(weights.items())).encode()).hexdigest()


def _forget_removed(output: Path, *, damaged: bool) -> None:
    """Removes records of checkpoints whose folder is gone (`save_total_limit`), and, if asked, of those damaged."""
    for record in (output / RECORDS).glob("*.json"):
        try:
            extra = json.loads(record.read_text(encoding="utf-8"))["extra"]
            folder, files = output / extra["folder"], extra["files"]
        except (ValueError, KeyError):
            continue  # Groups.resume reports it
        if not folder.exists():
            record.unlink()
        elif damaged and {name: digest for name, digest in _hashed(folder).items() if name in files} != files:
            log.warning("%s is damaged: its record %s is removed, an older checkpoint is used", folder, record.name)
            record.unlink()


def _set_aside_folders(output: Path, step: int) -> None:
    """Renames checkpoints after the one that is resumed, which the feed does not count, to `unrecorded-STEP`."""
    for folder in output.glob("checkpoint-*"):
        number = folder.name.removeprefix("checkpoint-")
        if not number.isdigit() or int(number) <= step:
            continue
        target = output / f"unrecorded-{number}"
        for old in range(1, 1_000_000):
            if not target.exists():
                break
            target = output / f"unrecorded-{number}.{old}"
        folder.rename(target)
        log.warning("%s was not recorded by the feed, or was rolled back: it is %s now", folder, target.name)
