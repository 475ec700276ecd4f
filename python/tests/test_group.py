import unittest

import pyarrow as pa

from plumbline.group import BrokenStreamError, groups_of_lease
from tests.lease_stream import COLUMNS, completion, lease_stream


class LeaseStream(unittest.TestCase):
    def test_a_record_batch_is_a_group_with_what_the_metadata_says_of_it(self):
        stream = lease_stream({40: [completion(reward=1.0), completion(reward=0.0)], 42: [completion([5, 6, 7])]})
        first, second = groups_of_lease(stream)
        self.assertEqual((first.sequence, first.group_id, first.lease), (40, "g40", 17))
        self.assertEqual((first.partition, first.offset), (2, 140))
        self.assertEqual((first.policy_version_oldest, first.lineage), (None, None))
        self.assertEqual((first.size, second.size), (2, 1))
        self.assertEqual((first.rewards.tolist(), first.advantages.tolist()), ([1.0, 0.0], [0.5, 0.5]))
        self.assertEqual((first.text[0], first.dialect, first.zero_variance), ("<answer>0</answer>", "paper", False))
        self.assertEqual((first.trainable, second.trainable), (False, True))
        self.assertEqual(second.table.column("token_ids").to_pylist(), [[5, 6, 7]])

    def test_a_stream_that_was_cut_at_any_byte_is_refused(self):
        stream = lease_stream({40: [completion([1, 2])], 41: [completion([3])]})
        # The last 8 bytes only mark the end.
        for length in range(len(stream) - 8):
            with self.subTest(length=length), self.assertRaises(BrokenStreamError):
                groups_of_lease(stream[:length])

    def test_a_stream_that_is_no_lease_is_refused(self):
        sink = pa.BufferOutputStream()
        pa.ipc.new_stream(sink, COLUMNS).close()
        with self.assertRaisesRegex(BrokenStreamError, "no plumbline.lease"):
            groups_of_lease(sink.getvalue().to_pybytes())

    def test_rows_of_another_group_than_the_metadata_names_are_refused(self):
        stream = lease_stream({40: [completion()]}).replace(b'"group_id": "g40"', b'"group_id": "g41"')
        with self.assertRaisesRegex(BrokenStreamError, "expected the rows of group g41, got g40"):
            groups_of_lease(stream)
