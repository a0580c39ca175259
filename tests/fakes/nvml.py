"""Builds the scripted NVML library of ``tests/fake_nvml/nvml.c`` and puts it in the way of the real one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "fake_nvml" / "nvml.c"
SHARED = Path(tempfile.gettempdir())


class FakeNvml:
    """A scripted ``libnvidia-ml.so.1`` for the child processes of one test; ``nvml.c`` explains the script."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.script = folder / "script"
        self.script.touch()
        monkeypatch.setenv("FAKE_NVML", str(self.script))
        libraries = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
        monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(filter(None, libraries)))
        self.build()

    def write(self, *lines: str) -> None:
        """Replace the script; a library that is loaded reads it at its next ``nvmlInit``."""
        self.script.write_text("".join(f"{line}\n" for line in lines))

    def build(self, *, without: Sequence[str] = ()) -> None:
        """Put the library into place, lacking the functions that older drivers do not have."""
        compiler = shutil.which("cc") or pytest.skip("no C compiler to build the fake NVML with")
        key = hashlib.sha256(SOURCE.read_bytes() + repr(tuple(without)).encode()).hexdigest()[:16]
        built = SHARED / f"fake-nvml-{os.getuid()}-{key}.so"
        if not built.exists():
            exports = self.folder / "exports"
            hidden = "".join(f"{name}; " for name in without)
            exports.write_text(f"{{ global: nvml*; local: {hidden} *; }};")
            command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
            command += [f"-Wl,--version-script={exports}", "-o", str(self.folder / "new.so"), str(SOURCE)]
            subprocess.run(command, check=True, timeout=60)
            (self.folder / "new.so").rename(built)
        library = self.folder / "libnvidia-ml.so.1"
        library.unlink(missing_ok=True)
        library.symlink_to(built)
