"""What plumbline.trl assumes of TRL and transformers. When an upgrade changes it, this fails and says where to look."""

import inspect
import unittest

import transformers
import trl
from trl import GRPOTrainer

WHERE = "TRL or transformers has changed it: read the new source, adapt python/plumbline/trl.py, then this test"

SIGNATURES = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_get_per_token_logps_and_entropies": ["self", "model", "input_ids", "attention_mask", "logits_to_keep"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "_get_grad_norm": ["self", "model"],
}
RETURNED = [
    "prompt_ids",
    "prompt_mask",
    "completion_ids",
    "completion_mask",
    "advantages",
    "num_items_in_batch",
    "old_per_token_logps",
    "tool_mask",
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "mm_token_type_ids",
]


class Contract(unittest.TestCase):
    def test_the_releases_are_those_that_the_trainer_was_written_for(self):
        self.assertEqual(trl.__version__, "1.16.0", WHERE)
        self.assertRegex(transformers.__version__, r"^5\.24\.", WHERE)

    def test_the_overridden_and_called_methods_have_the_same_parameters(self):
        for name, expected in SIGNATURES.items():
            found = list(inspect.signature(getattr(GRPOTrainer, name)).parameters)
            self.assertEqual(found[: len(expected)], expected, f"{name}: {WHERE}")

    def test_the_loss_reads_what_the_overridden_method_returns(self):
        source = inspect.getsource(GRPOTrainer._compute_loss)
        for name in RETURNED:
            self.assertIn(f'"{name}"', source, f"{name} in _compute_loss: {WHERE}")

    def test_a_round_is_taken_where_the_trainer_expects_it(self):
        source = inspect.getsource(GRPOTrainer._prepare_inputs)
        for part in (
            "generate_every = self.args.steps_per_generation * self.num_iterations",
            "self._step % generate_every == 0",
            "self._generate_and_score_completions(generation_batch)",
        ):
            self.assertIn(part, source, f"_prepare_inputs: {WHERE}")

    def test_callbacks_are_called_in_the_order_that_receipts_and_checkpoints_need(self):
        source = inspect.getsource(transformers.Trainer._run_epoch)
        calls = [
            "on_step_begin",
            "self.training_step(",
            "self._get_grad_norm(",
            "self.optimizer.step()",
            "on_optimizer_step",
            "on_step_end",
            "self._maybe_log_save_evaluate(",
        ]
        places = [source.index(call) for call in calls]
        self.assertEqual(places, sorted(places), WHERE)
        saving = inspect.getsource(transformers.Trainer._maybe_log_save_evaluate)
        self.assertLess(saving.index("self._save_checkpoint("), saving.index("on_save("), WHERE)
