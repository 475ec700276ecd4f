"""
A Bytewax dataflow with recovery: state and positions are snapshotted each epoch of 100 ms. Its Kafka sink does not use
transactions: after a crash, what the last epochs wrote comes twice.
"""

import json
from datetime import timedelta

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from peers_job import BROKERS, FOLDER, GROUP, INPUT, OUTPUT, Progress, group_of

COMMIT = timedelta(milliseconds=100)

progress = Progress()


def reward_of(message):
    """The key and what it was given."""
    progress.seen()
    value = json.loads(message.value)
    return value["key"], (value["key"], value["reward"])


def collect(state, keyed):
    """State: how many groups the key has, and the rewards that wait."""
    key, reward = keyed
    group, rewards = state or (0, [])
    rewards = [*rewards, reward]
    if len(rewards) < GROUP:
        return (group, rewards), []
    progress.groups += 1
    return (group + 1, []), [group_of(key, group, rewards)]


def to_message(keyed):
    """A group as Kafka takes it."""
    key, group = keyed
    return KafkaSinkMessage(key.encode(), json.dumps(group).encode())


flow = Dataflow("peers-job")
source = kop.input(
    "messages", flow, brokers=[BROKERS], topics=[INPUT], tail=False
)
rewards = op.map("reward", source.oks, reward_of)
groups = op.stateful_flat_map("collect", rewards, collect)
messages = op.map("to-message", groups, to_message)
kop.output("groups", messages, brokers=[BROKERS], topic=OUTPUT)

if __name__ == "__main__":
    init_db_dir(FOLDER, 1)
    cli_main(
        flow,
        epoch_interval=COMMIT,
        recovery_config=RecoveryConfig(FOLDER, timedelta(0)),
    )
    progress.tell()
