import pathlib
import tempfile
from unittest import mock

import pyarrow as pa
import torch
from PIL import Image
from trl import GRPOConfig

from plumbline.batch import NotTrainableError, pad
from plumbline.trl import FeedGRPOTrainer, NoGroupsError
from tests import lease_stream
from tests.answering_server import Answer
from tests.lease_stream import completion
from tests.test_groups import BEGUN, ServedGroups
from tests_torch import tiny_model

PROCESSOR = tiny_model.processor()
PICTURE_TOKEN = PROCESSOR.tokenizer.convert_tokens_to_ids("<|image_pad|>")
COLUMNS = [
    pa.field("images", pa.list_(pa.struct([pa.field("sha256", pa.utf8())]))),
    pa.field("finish_reason", pa.utf8()),
    pa.field("logprobs_kind", pa.utf8()),
]
SCRIPTED = completion(text="<answer>12</answer>")
ONE = completion([5, 6, 7], logprobs=[-1.0, -2.0, -3.0], completion_mask=[1, 0, 1], advantage=1.25, logprobs_kind="raw")
TWO = completion([8], logprobs=[-4.0], advantage=-1.25, reward=0.0, logprobs_kind="raw")


def shown(_group):
    return [Image.new("RGB", (64, 64), (200, 30, 30))]


class Trainer(ServedGroups):
    def setUp(self):
        super().setUp()
        with_more = pa.schema([*lease_stream.COLUMNS, *COLUMNS])
        patched = mock.patch.object(lease_stream, "COLUMNS", with_more)
        patched.start()
        self.addCleanup(patched.stop)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def config(self, **changes):
        return GRPOConfig(
            **{
                **{"output_dir": str(self.folder), "max_steps": 2, "save_steps": 1, "num_generations": 2},
                **{"per_device_train_batch_size": 2, "report_to": [], "use_cpu": True, "bf16": False},
                **{"gradient_checkpointing": False, "disable_tqdm": True, **changes},
            }
        )

    def trainer(self, groups=None, config=None, **others):
        model = tiny_model.model(PROCESSOR.tokenizer)
        made = FeedGRPOTrainer(
            model, config or self.config(), groups or self.open(), processing_class=PROCESSOR, **others
        )
        made.model.train()
        return made

    def lease(self, **groups):
        stream = lease_stream.lease_stream({int(name[1:]): rows for name, rows in groups.items()})
        self.server.answers("/leases", Answer(body=stream))

    def batch(self, trainer):
        self.server.answers("/steps", BEGUN)
        return trainer._generate_and_score_completions([])

    def test_what_the_feed_recorded_arrives_untouched(self):
        self.lease(g40=[ONE, TWO])
        batch, expected = self.batch(self.trainer()), pad(lease_stream.group_of(ONE, TWO), pad_id=0)
        self.assertEqual(batch["prompt_ids"].tolist(), expected["prompt_token_ids"].tolist())
        self.assertEqual(batch["prompt_mask"].tolist(), [[1, 1], [1, 1]])
        self.assertEqual((batch["completion_ids"] * batch["completion_mask"]).tolist(), expected["token_ids"].tolist())
        self.assertEqual(batch["old_per_token_logps"].tolist(), expected["logprobs"].tolist())
        self.assertEqual(batch["advantages"].tolist(), expected["advantages"].tolist())
        loss = (batch["completion_mask"] * batch["tool_mask"]).bool()
        self.assertEqual(loss.tolist(), expected["mask"].tolist())
        self.assertEqual(batch["num_items_in_batch"].item(), 3)
        self.assertNotIn("pixel_values", batch)

    def test_pictures_arrive_once_for_each_completion_with_their_tokens_marked(self):
        asked = [9, *[PICTURE_TOKEN] * 4, 9]
        rows = [{**row, "prompt_token_ids": asked, "images": [{"sha256": "a"}]} for row in (ONE, TWO)]
        self.lease(g40=rows)
        batch = self.batch(self.trainer(pictures=shown))
        pixels = PROCESSOR.image_processor(images=shown(None), return_tensors="pt")["pixel_values"]
        self.assertEqual(batch["num_images"], [1, 1])
        self.assertTrue(torch.equal(batch["pixel_values"], torch.cat([pixels, pixels])))
        self.assertEqual(batch["mm_token_type_ids"][0].tolist(), [0, 1, 1, 1, 1, 0, 0, 0, 0])

    def test_pictures_that_this_processor_sees_otherwise_are_refused(self):
        self.lease(g40=[{**row, "images": [{"sha256": "a"}]} for row in (ONE, TWO)])
        with self.assertRaisesRegex(ValueError, "pictures have 4 tokens by this processor, its recorded prompt has 0"):
            self.batch(self.trainer(pictures=shown))

    def test_pictures_that_no_function_reads_are_refused(self):
        self.lease(g41=[{**row, "images": [{"sha256": "a"}]} for row in (ONE, TWO)])
        with self.assertRaisesRegex(ValueError, "give FeedGRPOTrainer pictures="):
            self.batch(self.trainer())

    def test_text_without_token_ids_is_tokenised_here_and_its_log_probabilities_are_of_these_weights(self):
        self.lease(g40=[SCRIPTED, SCRIPTED])
        messages = [{"role": "user", "content": "Where?"}]
        trainer = self.trainer(prompts=lambda group: messages)
        batch = self.batch(trainer)
        tokenizer = PROCESSOR.tokenizer
        self.assertEqual(tokenizer.decode(batch["completion_ids"][0]), "<answer>12</answer><|im_end|>")
        self.assertEqual(
            tokenizer.decode(batch["prompt_ids"][0]), "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
        )
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        with torch.no_grad():
            logits = trainer.model(input_ids=ids).logits.log_softmax(-1)
        length = batch["completion_ids"].size(1)
        expected = logits[:, -length - 1 : -1].gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
        torch.testing.assert_close(batch["old_per_token_logps"], expected)

    def test_text_without_token_ids_and_without_prompts_is_refused(self):
        self.lease(g40=[SCRIPTED, SCRIPTED])
        with self.assertRaisesRegex(NotTrainableError, "of policy oracle: its token ids are null. Give .* prompts="):
            self.batch(self.trainer())

    def test_a_completion_with_a_picture_s_token_is_dropped_with_the_reason_and_replaced(self):
        broken = completion([5, PICTURE_TOKEN])
        self.lease(g40=[broken, TWO], g41=[ONE, TWO])
        self.server.answers("/drops", Answer(body={"dropped": 1}))
        batch = self.batch(self.trainer())
        self.assertEqual(batch["advantages"].tolist(), [1.25, -1.25])
        (drop,) = self.server.bodies("/drops")
        self.assertEqual((drop["groups"], drop["reason"]), ([40], "unsupported_token"))
        self.assertRegex(drop["detail"], "completion 0 has the token")

    def test_a_group_that_is_stale_when_the_step_begins_is_replaced(self):
        self.lease(g40=[ONE, TWO], g41=[TWO, ONE])
        stale = Answer(409, {"error": "stale", "message": "too old", "groups": [40]})
        self.server.answers("/steps", stale)
        batch = self.batch(self.trainer())
        self.assertEqual(batch["advantages"].tolist(), [-1.25, 1.25])

    def test_truncated_completions_are_masked_when_that_is_asked_for(self):
        self.lease(g40=[{**ONE, "finish_reason": "length"}, {**TWO, "finish_reason": "stop"}])
        batch = self.batch(self.trainer(config=self.config(mask_truncated_completions=True)))
        self.assertEqual(batch["completion_mask"].tolist(), [[0, 0, 0], [1, 0, 0]])

    def test_raw_log_probabilities_need_a_temperature_of_one(self):
        self.lease(g40=[ONE, TWO])
        with self.assertRaisesRegex(ValueError, "temperature: expected 1.0, got 0.5"):
            self.batch(self.trainer(config=self.config(temperature=0.5)))

    def test_a_group_of_another_size_is_refused(self):
        self.lease(g40=[ONE, TWO, TWO])
        with self.assertRaisesRegex(ValueError, "expected 2 completions .num_generations., got 3"):
            self.batch(self.trainer())

    def test_without_groups_nothing_is_begun(self):
        with self.assertRaisesRegex(NoGroupsError, "step 1: expected 1 groups"):
            self.trainer()._generate_and_score_completions([])
        self.assertEqual(self.server.bodies("/steps"), [])

    def test_settings_that_would_break_a_promise_are_refused_in_words(self):
        groups = self.open()
        for changes, words in [
            ({"max_steps": -1}, "max_steps: expected the number of optimiser steps"),
            ({"steps_per_generation": 1, "gradient_accumulation_steps": 2}, "expected a multiple of gradient_accumulation"),
            ({"num_iterations": 2, "save_steps": 1}, "save_steps: expected a multiple of 2"),
            ({"num_iterations": 2, "save_steps": 2, "max_steps": 3}, "max_steps: expected a multiple of 2"),
            ({"save_total_limit": 1}, "save_total_limit: expected at least 2"),
            ({"save_only_model": True}, "save_only_model"),
            ({"ignore_data_skip": True}, "ignore_data_skip"),
            ({"save_strategy": "epoch"}, "save_strategy: expected steps or no, got"),
            ({"beta": 0.1}, "beta: expected 0, got 0.1"),
        ]:
            with self.subTest(words), self.assertRaisesRegex(ValueError, words):
                FeedGRPOTrainer(None, self.config(**changes), groups)
        with self.assertRaisesRegex(ValueError, "train_dataset: has no effect"):
            FeedGRPOTrainer(None, self.config(), groups, train_dataset=[])
        with self.assertRaisesRegex(ValueError, "resume_from_checkpoint: leave it out"):
            self.trainer().train(resume_from_checkpoint=True)
