"""Strict reading of TOML files that people write: every value is checked, every unknown key refused."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import TypeGuard

from pytest_gpuperf.errors import ConfigError

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


class Table:
    """One TOML table that remembers which keys were asked for, so that the others can be refused.

    Every reader raises :class:`ConfigError`, naming file and dotted key, when the value is missing or another kind.
    """

    def __init__(self, path: Path, name: str, values: dict[str, object]) -> None:
        self.path = path
        self.name = name
        self.values = values
        self.asked: list[str] = []

    @classmethod
    def read(cls, path: Path) -> Table:
        """Parse a whole file.

        Raises:
            ConfigError: the file cannot be read, or is not TOML (line and column are named).
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read {path}", got=error.strerror) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8", got=f"byte {error.start}: {error.reason}") from error
        try:
            return cls(path, "", tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML", got=str(error)) from error

    def error(self, key: str, got: str, expected: str) -> ConfigError:
        """Return the error for one key of this table."""
        dotted = f"{self.name}.{key}" if self.name else key
        return ConfigError(f"bad value in {self.path}: {dotted}", got=got, expected=expected)

    def scalar(self, key: str) -> object:
        """Return the value of a key that must be there."""
        self.asked.append(key)
        if key not in self.values:
            raise self.error(key, "nothing: the key is missing", "a value")
        return self.values[key]

    def has(self, key: str) -> bool:
        """Return whether an optional key is there."""
        self.asked.append(key)
        return key in self.values

    def rest(self) -> list[str]:
        """Return the keys that nothing has asked for yet."""
        return [key for key in self.values if key not in self.asked]

    def finish(self) -> None:
        """Refuse every key that nothing has asked for."""
        for key in self.rest():
            raise self.error(key, "an unknown key", f"one of {', '.join(dict.fromkeys(self.asked))}")

    def table(self, key: str) -> Table:
        """Return a table below this one; a missing one is empty."""
        self.asked.append(key)
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, repr(value), "a table")
        return Table(self.path, f"{self.name}.{key}".strip("."), value)

    def text(self, key: str) -> str:
        """Return a non-empty string."""
        value = self.scalar(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, repr(value), "a non-empty string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of non-empty strings."""
        value = self.scalar(key)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
            raise self.error(key, repr(value), "a list of non-empty strings")
        return tuple(value)

    def one_of(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Return one of ``choices``; a missing key gives ``default`` when there is one."""
        if default is not None and not self.has(key):
            return default
        value = self.text(key)
        if value not in choices:
            raise self.error(key, repr(value), f"one of {', '.join(choices)}")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean."""
        value = self.scalar(key)
        if not isinstance(value, bool):
            raise self.error(key, repr(value), "true or false")
        return value

    def number(self, key: str) -> float:
        """Return a positive finite number."""
        value = self.scalar(key)
        if not _is_positive(value):
            raise self.error(key, repr(value), "a positive finite number")
        return float(value)

    def span(self, key: str) -> tuple[float, float]:
        """Return ``(least, most)``; a single number is both."""
        value = self.scalar(key)
        match value if isinstance(value, list) else [value, value]:
            case [least, most] if _is_positive(least) and _is_positive(most) and least <= most:
                return float(least), float(most)
        raise self.error(key, repr(value), "a positive number, or [least, most]")

    def sizes(self, key: str) -> tuple[int, ...]:
        """Return batch sizes, sorted, each once."""
        value = self.scalar(key)
        sizes = value if isinstance(value, list) else []
        if not sizes or not all(isinstance(size, int) and _is_positive(size) for size in sizes):
            raise self.error(key, repr(value), "a list of batch sizes of at least 1")
        return tuple(sorted(set(sizes)))


def _is_positive(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
