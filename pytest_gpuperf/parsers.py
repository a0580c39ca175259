"""Texts that options take, and what they stand for; ``ValueError`` says what was expected."""

from __future__ import annotations

from collections.abc import Callable

from pytest_gpuperf.records.status import Status

POLICIES = ("pass", "warn", "fail")


def text(given: str) -> str:
    """Return what is not blank."""
    if not given.strip():
        raise ValueError("a non-empty value")
    return given.strip()


def flag(given: str) -> bool:
    """Return a yes or a no, in any of the usual spellings."""
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if given.strip().lower() not in known:
        raise ValueError("true or false")
    return known[given.strip().lower()]


def seconds(given: str) -> float:
    """Return a finite time above 0."""
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError("a positive number of seconds")
    return value


def count(given: str) -> int:
    """Return an integer of at least 1."""
    if not given.strip().isdigit() or int(given) < 1:
        raise ValueError("an integer of at least 1")
    return int(given)


def at_least_zero(given: str) -> int:
    """Return an integer of at least 0."""
    if not given.strip().isdigit():
        raise ValueError("an integer of at least 0")
    return int(given)


def batches(given: str) -> tuple[int, ...]:
    """Return batch sizes, each once, the smallest first."""
    parts = [part.strip() for part in given.split(",")]
    if not all(part.isdigit() and int(part) >= 1 for part in parts):
        raise ValueError("comma-separated batch sizes of at least 1, such as 1,8,16")
    return tuple(sorted({int(part) for part in parts}))


def grpc(given: str) -> str:
    """Return the address of a server."""
    if not _is_address(given, "grpc://"):
        raise ValueError("grpc://host:port of a server that speaks KServe v2")
    return given.strip()


def ray(given: str) -> str | None:
    """Return the address; ``none`` is how a server of the fleet is told that it is one."""
    if given.strip() == "none":
        return None
    if not _is_address(given, "ray://"):
        raise ValueError("ray://host:port of a Ray cluster's client server")
    return given.strip()


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of a closed set of words."""

    def parse(given: str) -> str:
        if given.strip() not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return given.strip()

    return parse


def words(given: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def policy(given: str) -> dict[Status, str]:
    """Return what each verdict does to its test."""
    found = {}
    for part in words(given.replace("\n", ",")):
        status, _, action = (piece.strip() for piece in part.partition("="))
        if status not in {s.value for s in Status} or action not in POLICIES:
            raise ValueError(f"VERDICT={'|'.join(POLICIES)}, with a verdict of {', '.join(s.value for s in Status)}")
        found[Status(status)] = action
    return found


def _is_address(given: str, scheme: str) -> bool:
    host, _, port = given.strip().removeprefix(scheme).rpartition(":")
    return given.strip().startswith(scheme) and bool(host) and port.isdigit()
