import dataclasses
import json
import os
import pathlib
import tempfile
import unittest

import numpy as np

from plumbline.checkpoint import Checkpoint, CheckpointFolder

WEIGHTS = {"layer": np.arange(6, dtype=np.float32).reshape(2, 3), "scale": np.float32(2.5)}


class Checkpoints(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = pathlib.Path(temporary.name) / "checkpoints"
        self.folder = CheckpointFolder(self.path)

    def save(self, step, weights=WEIGHTS):
        name = f"r1-1-{step}"
        saved = Checkpoint(name, None, "lab", "r1", 1, step, [1, 2], "", True, {"seed": step})
        return self.folder.write(saved, weights)

    def left_out(self, name="r1-1-2"):
        """Why a checkpoint is left out."""
        with self.assertLogs("plumbline") as logged:
            self.assertIsNone(self.folder.complete(name))
        return "\n".join(logged.output)

    def test_what_was_written_is_read_bit_for_bit(self):
        fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        saved = self.save(3, weights={**WEIGHTS, "fortran": fortran, "view": fortran[:, ::2]})
        self.assertEqual(self.folder.complete("r1-1-3"), saved)
        resumed = self.folder.resumed(saved)
        self.assertEqual((resumed.step, resumed.checkpoint, resumed.extra), (3, "r1-1-3", {"seed": 3}))
        for name, array in {**WEIGHTS, "fortran": fortran, "view": fortran[:, ::2]}.items():
            np.testing.assert_array_equal(resumed.weights[name], array)
            self.assertEqual(resumed.weights[name].shape, np.shape(array))
            self.assertEqual(resumed.weights[name].dtype, np.asarray(array).dtype)
        self.assertEqual(sorted(os.listdir(self.path)), ["r1-1-3.json", "r1-1-3.safetensors"])

    def test_a_checkpoint_that_is_not_there_is_left_out(self):
        self.assertIn("FileNotFoundError", self.left_out())

    def test_cut_weights_are_left_out(self):
        file = self.folder.weights_file(self.save(2).checkpoint)
        os.truncate(file, file.stat().st_size - 1)
        self.assertIn("expected weights", self.left_out())

    def test_missing_weights_are_left_out(self):
        self.folder.weights_file(self.save(2).checkpoint).unlink()
        self.assertIn("FileNotFoundError", self.left_out())

    def test_a_json_that_was_cut_at_any_byte_is_left_out(self):
        file = self.folder.json_file(self.save(2).checkpoint)
        whole = file.read_bytes()
        # The last two bytes are the closing brace and the end of the line.
        for length in range(len(whole) - 2):
            file.write_bytes(whole[:length])
            self.left_out()

    def test_a_json_of_another_format_or_name_is_left_out(self):
        saved = self.save(2)
        file = self.folder.json_file(saved.checkpoint)
        for wrong in ({"format": 2}, {"checkpoint": "another"}, {"unheard_of": 1}):
            file.write_text(json.dumps({**dataclasses.asdict(saved), **wrong}))
            self.left_out()

    def test_a_write_that_fails_leaves_no_file(self):
        with self.assertRaises(Exception):
            self.save(1, weights={"object": np.array([object()])})
        self.assertEqual(os.listdir(self.path), [])

    def test_what_json_cannot_hold_is_refused_before_anything_is_written(self):
        saved = Checkpoint("one", None, "lab", "r1", 1, 1, [1], "", True, {"generator": object()})
        with self.assertRaisesRegex(TypeError, "not JSON serializable"):
            self.folder.write(saved, WEIGHTS)
        self.assertFalse(self.path.exists())

    def test_a_trainer_that_stores_its_weights_itself_gets_their_hash_back(self):
        saved = Checkpoint("own", None, "lab", "r1", 1, 4, [1], "ab" * 32, False, {"file": "own.pt"})
        self.folder.write(saved, None)
        resumed = self.folder.resumed(self.folder.complete("own"))
        self.assertEqual(
            (resumed.weights, resumed.weights_sha256, resumed.extra), (None, "ab" * 32, {"file": "own.pt"})
        )

    def test_a_removed_checkpoint_is_gone(self):
        self.folder.remove(self.save(2).checkpoint)
        self.assertEqual(os.listdir(self.path), [])
