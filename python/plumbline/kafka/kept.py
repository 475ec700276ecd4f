"""The broker deletes nothing by itself that a consumer has not read. infra/log/kafka/keep-topics.ts does the same."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from plumbline.errors import FeedError
from plumbline.feed import log
from plumbline.kafka.address import Address
from plumbline.kafka.tail import retried

# With these a broker deletes no record by itself.
KEEPING = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
_CALL_SECONDS = 10.0
_DENIED = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
)


def keep(address: Address, topics: Sequence[str], patience: float) -> None:
    """Has the broker keep the records of these topics. Raises FeedError when it would delete some of them and this user
    may not change that, UnavailableError when it does not answer.
    """
    admin = AdminClient(dict(address.settings))
    names = [address.prefixed(topic) for topic in topics]
    try:
        found = _settings(admin, names)
    except KafkaException as error:
        if error.args[0].code() not in _DENIED:
            found = retried("looking at the settings of topics", address, patience, lambda: _settings(admin, names))
        else:
            log.warning(
                "nothing tells whether the broker deletes groups that were not read: %s: %s",
                address.text, error.args[0].str(),
            )  # fmt: skip
            return
    for name, settings in found.items():
        if settings == KEEPING:
            continue
        was = ", ".join(f"{key}={value}" for key, value in settings.items())
        try:
            _alter(admin, name)
        except KafkaException as error:
            if error.args[0].code() not in _DENIED:
                retried(f"changing the settings of {name}", address, patience, lambda name=name: _alter(admin, name))
            else:
                wanted = ",".join(f"{key}={value}" for key, value in KEEPING.items())
                raise FeedError(
                    "forbidden",
                    f"{address.text}: the broker deletes records of {name} by itself ({was}), also those that were not "
                    f"read: {error.args[0].str()}. Ask for the right (ACL) AlterConfigs on it, or have an administrator "
                    f"run: kafka-configs.sh --bootstrap-server … --alter --topic {name} --add-config {wanted}",
                ) from error
        log.warning("%s keeps its records from now on, until plumbline retain (it had %s)", name, was)
    _wait_for(admin, names, patience)


def _settings(admin: AdminClient, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=_CALL_SECONDS
    )
    found = {resource.name: future.result() for resource, future in asked.items()}
    return {name: {key: entries[key].value for key in KEEPING} for name, entries in found.items()}


def _alter(admin: AdminClient, name: str) -> None:
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in KEEPING.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource], request_timeout=_CALL_SECONDS).values():
        future.result()


def _wait_for(admin: AdminClient, names: Sequence[str], patience: float) -> None:
    """The controller has changed them; brokers hear of it a moment later."""
    until = time.monotonic() + min(patience, 5.0)
    while time.monotonic() < until:
        if all(settings == KEEPING for settings in _settings(admin, names).values()):
            return
        time.sleep(0.05)
