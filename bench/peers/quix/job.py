"""A Quix Streams application, exactly once: state in RocksDB with a changelog, outputs and positions in transactions."""

from peers_job import BROKERS, FOLDER, GROUP, GROUPS, INPUT, NAME, OUTPUT, Progress, group_of
from quixstreams import Application, State

progress = Progress()


def collect(value, state: State):
    """The group that this reward completes, or nothing."""
    progress.seen()
    group, rewards = state.get("pending", [0, []])
    rewards = [*rewards, value["reward"]]
    if len(rewards) < GROUP:
        state.set("pending", [group, rewards])
        return None
    state.set("pending", [group + 1, []])
    progress.groups += 1
    return group_of(value["key"], group, rewards)


app = Application(
    broker_address=BROKERS,
    consumer_group=NAME,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=0.1,
    state_dir=FOLDER,
    loglevel="WARNING",
)
rewards = app.dataframe(app.topic(INPUT, value_deserializer="json"))
groups = rewards.apply(collect, stateful=True).filter(lambda group: group is not None)
groups.to_topic(app.topic(OUTPUT, value_serializer="json"))

if __name__ == "__main__":
    # It counts what comes out.
    app.run(count=GROUPS, collect=False)
    progress.tell()
