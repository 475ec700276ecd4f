"""Which brokers, and how they are reached: as the `--log kafka://…` of every command."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")


@dataclass(frozen=True)
class Address:
    text: str
    prefix: str
    """Of every topic, group and transactional id; ends in a dot, or is empty."""
    settings: Mapping[str, Any]
    """Of every client."""

    def prefixed(self, name: str) -> str:
        return self.prefix + name

    def shown(self, topic: str) -> str:
        return topic.removeprefix(self.prefix)


def parse_address(text: str, environment: Mapping[str, str] = os.environ) -> Address:
    """`kafka://HOST:PORT[,HOST:PORT…][/PREFIX]`; credentials are in the variables that docs/kafka.md lists."""
    match = re.fullmatch(r"kafka://([^/?#@]+)(?:/([A-Za-z0-9][A-Za-z0-9._-]{0,99})?)?", text)
    if match is None:
        # A password may be in it.
        shown = "an address with a user" if "@" in text else repr(text)
        raise ValueError(f"kafka: expected kafka://HOST:PORT[,HOST:PORT…][/PREFIX], got {shown}")
    hosts, prefix = match.groups()
    brokers = ",".join(host if re.search(r":\d+$", host) else f"{host}:9092" for host in hosts.split(","))
    settings = {"bootstrap.servers": brokers, "client.id": "plumbline-python", "log_level": 2, **_security(environment)}
    return Address(text, f"{prefix}." if prefix else "", settings)


def _security(environment: Mapping[str, str]) -> dict[str, Any]:
    authority = environment.get("PLUMBLINE_KAFKA_CA") or None
    is_encrypted = authority is not None or environment.get("PLUMBLINE_KAFKA_TLS") == "1"
    settings: dict[str, Any] = {} if authority is None else {"ssl.ca.location": authority}
    mechanism = environment.get("PLUMBLINE_KAFKA_SASL") or None
    if mechanism is not None:
        if mechanism not in _MECHANISMS:
            raise ValueError(f"PLUMBLINE_KAFKA_SASL: expected one of {', '.join(_MECHANISMS)}, got {mechanism!r}")
        login = [environment.get(f"PLUMBLINE_KAFKA_{name}") or "" for name in ("USERNAME", "PASSWORD")]
        if "" in login:
            raise ValueError("PLUMBLINE_KAFKA_SASL: expected PLUMBLINE_KAFKA_USERNAME and _PASSWORD as well")
        settings |= {"sasl.mechanism": mechanism.upper(), "sasl.username": login[0], "sasl.password": login[1]}
    protocol = ("SASL_" if mechanism is not None else "") + ("SSL" if is_encrypted else "PLAINTEXT")
    return {"security.protocol": protocol, **settings}
