import unittest

import numpy as np

from plumbline.batch import NotTrainableError, pack, pad
from tests.lease_stream import completion, group_of

SHORT = completion([1], prompt_token_ids=[9], logprobs=[-1.0], token_policy_version=[4], reward=0.0, advantage=-1.0)
LONG = completion([2, 3, 4], completion_mask=[1, 0, 1], logprobs=[-0.25, -0.5, -0.75], advantage=1.0)


class Pad(unittest.TestCase):
    def test_completions_are_padded_on_the_right_and_prompts_on_the_left(self):
        batch = pad([group_of(SHORT, sequence=40), group_of(LONG, sequence=42)], pad_id=99)
        self.assertEqual(batch["token_ids"].tolist(), [[1, 99, 99], [2, 3, 4]])
        self.assertEqual(batch["attention_mask"].tolist(), [[True, False, False], [True, True, True]])
        self.assertEqual(batch["mask"].tolist(), [[True, False, False], [True, False, True]])
        self.assertEqual(batch["logprobs"].tolist(), [[-1.0, 0, 0], [-0.25, -0.5, -0.75]])
        self.assertEqual(batch["versions"].tolist(), [[4, -1, -1], [3, 3, 3]])
        self.assertEqual(batch["prompt_token_ids"].tolist(), [[99, 9], [7, 8]])
        self.assertEqual(batch["prompt_mask"].tolist(), [[False, True], [True, True]])
        self.assertEqual((batch["rewards"].tolist(), batch["advantages"].tolist()), ([0, 1], [-1, 1]))
        self.assertEqual(batch["sequences"].tolist(), [40, 42])
        types = {name: str(array.dtype) for name, array in batch.items()}
        self.assertEqual(types["token_ids"], "int64")
        self.assertEqual(types["logprobs"], "float32")
        self.assertEqual(types["mask"], "bool")

    def test_completions_are_padded_on_the_left_when_asked_for(self):
        batch = pad(group_of(SHORT, LONG), side="left")
        self.assertEqual(batch["token_ids"].tolist(), [[0, 0, 1], [2, 3, 4]])
        self.assertEqual(batch["mask"].tolist(), [[False, False, True], [True, False, True]])

    def test_a_mask_and_versions_that_were_not_recorded_are_all_true_and_minus_one(self):
        batch = pad(group_of(completion([5, 6], completion_mask=None, token_policy_version=None)))
        self.assertEqual((batch["mask"].tolist(), batch["versions"].tolist()), ([[True, True]], [[-1, -1]]))

    def test_an_empty_completion_is_a_row_of_padding(self):
        self.assertEqual(pad(group_of(completion([]), LONG))["attention_mask"][0].tolist(), [False, False, False])

    def test_a_completion_without_token_ids_is_named(self):
        with self.assertRaisesRegex(
            NotTrainableError, r"group 40 \(g40\), completion 1 of policy oracle: its token_ids"
        ):
            pad(group_of(LONG, completion()))

    def test_a_completion_without_log_probabilities_is_named(self):
        with self.assertRaisesRegex(NotTrainableError, "completion 0 .*logprobs are null"):
            pad(group_of(completion([1], logprobs=None, trainable=False)))

    def test_lists_of_different_lengths_are_refused(self):
        with self.assertRaisesRegex(NotTrainableError, "expected 2 logprobs, .* got 1"):
            pad(group_of(completion([1, 2], logprobs=[-1.0])))

    def test_a_prompt_that_was_not_recorded_is_refused_unless_prompts_are_left_out(self):
        group = group_of(completion([1], prompt_token_ids=None))
        with self.assertRaisesRegex(NotTrainableError, "prompt_token_ids are null.*prompts=False"):
            pad(group)
        self.assertNotIn("prompt_token_ids", pad(group, prompts=False))

    def test_no_groups_are_an_empty_batch(self):
        self.assertEqual(pad([])["token_ids"].shape, (0, 0))
        self.assertEqual(pack([])["cu_seqlens"].tolist(), [0])

    def test_another_side_is_refused(self):
        with self.assertRaisesRegex(ValueError, "side: expected 'right' or 'left', got 'both'"):
            pad([], side="both")


class Pack(unittest.TestCase):
    def test_prompts_and_completions_follow_each_other_without_padding(self):
        batch = pack([group_of(SHORT, sequence=40), group_of(LONG, sequence=42)])
        self.assertEqual(batch["token_ids"].tolist(), [9, 1, 7, 8, 2, 3, 4])
        self.assertEqual(batch["position_ids"].tolist(), [0, 1, 0, 1, 2, 3, 4])
        self.assertEqual(batch["mask"].tolist(), [False, True, False, False, True, False, True])
        self.assertEqual(batch["logprobs"].tolist(), [0, -1.0, 0, 0, -0.25, -0.5, -0.75])
        self.assertEqual(batch["versions"].tolist(), [-1, 4, -1, -1, 3, 3, 3])
        self.assertEqual(batch["cu_seqlens"].tolist(), [0, 2, 7])
        self.assertEqual(batch["prompt_lengths"].tolist(), [1, 2])
        self.assertEqual(batch["cu_seqlens"].dtype, np.int32)

    def test_packed_and_padded_batches_have_the_same_tokens_in_the_loss(self):
        groups = [group_of(SHORT, LONG), group_of(LONG, completion([]))]
        padded, packed = pad(groups), pack(groups)
        for name in ("token_ids", "logprobs", "versions"):
            self.assertEqual(padded[name][padded["mask"]].tolist(), packed[name][packed["mask"]].tolist())
