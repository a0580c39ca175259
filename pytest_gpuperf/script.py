"""A function in a user's Python file, written ``path/to/file.py:function``: model builders and input sets."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_gpuperf.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Script:
    """A function by file and name; nothing is run before :meth:`load`.

    Attributes:
        path: of the file, absolute.
        function: its name in the file.
    """

    path: Path
    function: str

    @classmethod
    def find(cls, reference: str, root: str) -> Script:
        """Split ``file.py:function``; a relative file starts at ``root``.

        Raises:
            ConfigError: another form, or there is no such file.
        """
        file, _, function = reference.rpartition(":")
        if not file.endswith(".py") or not function.isidentifier():
            raise ConfigError("not a function in a file", got=repr(reference), expected="path/to/file.py:function")
        path = (Path(root) / file).resolve()
        if not path.is_file():
            raise ConfigError(
                "no such file", got=str(path), expected="a Python file", hint=f"it is named {reference!r}"
            )
        return cls(path, function)

    def has(self, function: str) -> bool:
        """Return whether the file defines ``function`` too."""
        return callable(getattr(self._module(), function, None))

    def load(self) -> Callable[..., Any]:
        """Run the file, once in a process, and return its function.

        Raises:
            ConfigError: the file defines no such function.
        """
        function = getattr(self._module(), self.function, None)
        if not callable(function):
            raise ConfigError(f"{self.path} has no function {self.function!r}", hint="define it, or name another")
        return function  # type: ignore[no-any-return] # whatever the user's file defines

    def _module(self) -> ModuleType:
        # Named by path, so that two files of one name do not meet; known to sys.modules, as dataclasses need it.
        name = f"gpuperf_script_{hashlib.sha256(bytes(self.path)).hexdigest()[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None  # as for every file that ends with .py
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module
