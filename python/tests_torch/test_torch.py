import multiprocessing
import os
import pickle

import torch
from torch.utils.data import DataLoader

import plumbline
from plumbline.torch import GroupsDataset, pack, pad
from tests.answering_server import refused
from tests.lease_stream import completion, group_of
from tests.test_groups import APPLIED, BEGUN, ServedGroups, leased, released

SHORT = completion([1], prompt_token_ids=[9], logprobs=[-1.0], token_policy_version=[4], reward=0.0, advantage=-1.0)
LONG = completion([2, 3, 4], completion_mask=[1, 0, 1], logprobs=[-0.25, -0.5, -0.75], advantage=1.0)
GROUPS = [group_of(SHORT, LONG, sequence=40), group_of(LONG, sequence=42)]


def where(groups):
    """A collate that tells which process it ran in."""
    return {"sequences": torch.tensor([group.sequence for group in groups]), "process": os.getpid()}


def dies(groups):
    if groups[0].sequence == 3:
        os._exit(9)
    return pad(groups)


class Tensors(ServedGroups):
    def test_padded_and_packed_tensors_equal_the_arrays_in_name_shape_type_and_value(self):
        for tensors, arrays in [
            (pad(GROUPS, pad_id=7), plumbline.pad(GROUPS, pad_id=7)),
            (pad(GROUPS, "left", prompts=False), plumbline.pad(GROUPS, "left", prompts=False)),
            (pack(GROUPS), plumbline.pack(GROUPS)),
            (pack([]), plumbline.pack([])),
        ]:
            self.assertEqual(list(tensors), list(arrays))
            for name, array in arrays.items():
                self.assertEqual(str(tensors[name].dtype), f"torch.{array.dtype}", name)
                self.assertEqual(tuple(tensors[name].shape), array.shape, name)
                self.assertEqual(tensors[name].tolist(), array.tolist(), name)

    def test_the_types_are_those_that_trainers_expect(self):
        packed, padded = pack(GROUPS), pad(GROUPS)
        self.assertEqual(packed["cu_seqlens"].dtype, torch.int32)
        self.assertEqual(packed["cu_seqlens"].tolist(), [0, 2, 7, 12])
        self.assertEqual(packed["position_ids"].tolist(), [0, 1, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
        self.assertEqual({str(padded[name].dtype) for name in ("logprobs", "rewards", "advantages")}, {"torch.float32"})
        self.assertEqual({str(padded[name].dtype) for name in ("token_ids", "versions")}, {"torch.int64"})


class Loaded(ServedGroups):
    def dataset(self, batch_size, collate=where, num_workers=0, groups=None):
        return GroupsDataset(groups or self.open(), batch_size, collate, num_workers)

    def loader(self, dataset, num_workers):
        if num_workers == 0:
            return DataLoader(dataset, batch_size=None)
        context = multiprocessing.get_context("forkserver")
        # A spawned worker imports torch again, which is most of what these tests would take.
        context.set_forkserver_preload(["plumbline.torch"])
        options = {"num_workers": num_workers, "multiprocessing_context": context}
        return DataLoader(dataset, batch_size=None, **options)

    def test_with_any_number_of_workers_every_group_arrives_once_and_in_order(self):
        for num_workers in (0, 2):
            self.server.answers("/leases", leased(*range(1, 8)), leased(*range(8, 13)))
            with self.open() as groups:
                batches = list(self.loader(self.dataset(2, num_workers=num_workers, groups=groups), num_workers))
            found = [sequence for batch in batches for sequence in batch.tensors["sequences"].tolist()]
            self.assertEqual(found, list(range(1, 13)), num_workers)
            processes = {batch.tensors["process"] for batch in batches}
            self.assertEqual(len(processes), max(1, num_workers))
            self.assertEqual(os.getpid() in processes, num_workers == 0)

    def test_only_the_training_process_calls_the_feed(self):
        self.server.answers("/leases", leased(1, 2, 3, 4))
        self.server.answers("/steps", BEGUN, BEGUN)
        self.server.answers("/receipts", *[APPLIED] * 2)
        groups = self.open()
        for batch in self.loader(self.dataset(2, num_workers=2, groups=groups), 2):
            groups.begin_step(batch.groups).applied(tokens=4)
        begun = [[each["sequence"] for each in body["groups"]] for body in self.server.bodies("/steps")]
        self.assertEqual(begun, [[1, 2], [3, 4]])
        self.assertEqual([each["lease"] for body in self.server.bodies("/steps") for each in body["groups"]], [17] * 4)
        # Each process that opens Groups subscribes first.
        self.assertEqual(len(self.server.bodies("")), 1)

    def test_a_rest_that_is_no_whole_batch_waits_again(self):
        for num_workers in (0, 2):
            self.server.answers("/leases", leased(1, 2, 3))
            with self.open() as groups:
                batches = list(self.loader(self.dataset(2, num_workers=num_workers, groups=groups), num_workers))
            self.assertEqual([len(batch.groups) for batch in batches], [2])
            self.assertIn([3], released(self.server))

    def test_groups_of_a_worker_that_died_wait_again_when_the_groups_are_closed(self):
        self.server.answers("/leases", leased(1, 2, 3, 4))
        groups = self.open()
        with self.assertRaisesRegex(RuntimeError, "DataLoader worker .* exited unexpectedly"):
            list(self.loader(self.dataset(1, dies, 2, groups), 2))
        groups.close()
        self.assertEqual(released(self.server), [[1, 2, 3, 4]])

    def test_an_error_of_the_feed_reaches_the_reader_in_its_words(self):
        self.server.answers("/leases", refused(409, "fenced"))
        with self.assertRaisesRegex(RuntimeError, "FencedError: fenced: as the test wants it"):
            list(self.loader(self.dataset(1, num_workers=2), 2))

    def test_forked_workers_are_refused(self):
        dataset = self.dataset(1, num_workers=1)
        with self.assertRaisesRegex(RuntimeError, "multiprocessing_context='spawn'"):
            list(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork"))

    def test_a_number_of_workers_other_than_the_dataset_s_is_refused(self):
        with self.assertRaisesRegex(RuntimeError, "made for num_workers=2, the DataLoader has 0"):
            list(self.loader(self.dataset(1, num_workers=2), 0))
        with self.assertRaisesRegex(RuntimeError, "made for num_workers=2, the DataLoader has 1"):
            list(self.loader(self.dataset(1, num_workers=2), 1))
        with self.assertRaisesRegex(TypeError, "give num_workers to it as well"):
            list(self.loader(self.dataset(1), 1))

    def test_a_second_pass_is_refused_and_another_dataset_goes_on(self):
        for num_workers in (0, 1):
            self.server.answers("/leases", leased(1))
            groups = self.open()
            dataset = self.dataset(1, num_workers=num_workers, groups=groups)
            loader = self.loader(dataset, num_workers)
            self.assertEqual(len(list(loader)), 1)
            with self.assertRaisesRegex(RuntimeError, "read before: make another one"):
                list(loader)
            self.server.answers("/leases", leased(2))
            (again,) = self.loader(self.dataset(1, num_workers=num_workers, groups=groups), num_workers)
            self.assertEqual(again.groups[0].sequence, 2)
            groups.close()

    def test_a_group_survives_pickling(self):
        group = pickle.loads(pickle.dumps(GROUPS[0]))
        self.assertEqual(pad(group)["token_ids"].tolist(), pad(GROUPS[0])["token_ids"].tolist())
        self.assertEqual((group.sequence, group.lease, group.leased), (40, 17, GROUPS[0].leased))
