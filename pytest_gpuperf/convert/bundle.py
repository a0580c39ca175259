"""Bundles: graphs, inputs and reference outputs made on one machine, for a GPU server that has no TensorFlow.

A bundle is a folder. Its members lie end to end in ``piece.00``, ``piece.01`` …, each small enough for narrow ways
(60 MiB); ``manifest.json`` names them with offset, size and sha256. Nothing from a bundle is used before its sha256 is
checked, arrays are plain ``.npz`` without pickles, and engines are never carried: they are machine code. A member that
deflates is stored deflated, which halves an INT8 network of convolutions: its weights are INT8 numbers times a
scale, written as FP32.

Members by name: ``onnx/<model>/<precision>``, ``cost/…`` alike · ``inputs/<model>/<samples>/<seed>``, ``labels/…`` ·
``calibration/<model>/<samples>`` · ``reference/<model>/<samples>/<seed>``, TensorFlow's FP32 outputs for these inputs.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pytest_gpuperf import files
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, Cost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.inputs import Batches
    from pytest_gpuperf.records import BatchSpec

    Arrays = Mapping[str, NDArray[np.generic]]

SCHEMA_VERSION = 2
PIECE_BYTES = 60 << 20
MANIFEST = "manifest.json"
REBUILD = "make the bundle again: gpuperf bundle build OUT"
_CHUNK = 1 << 20
#: A member is stored deflated if that saves this share of it.
WORTH_DEFLATING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Where one member lies in the joined pieces; ``sha256`` is of its content, ``size`` of what is stored."""

    offset: int
    size: int
    sha256: str
    is_deflated: bool = False


class Writer:
    """Writes a bundle into an empty folder; the manifest comes last, when the ``with`` block ends without an error."""

    def __init__(self, folder: Path, *, piece_bytes: int = PIECE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ConfigError("a bundle needs an empty folder", got=str(folder), hint="remove it or name another one")
        self._folder = folder
        self._piece_bytes = piece_bytes
        self._members: dict[str, Member] = {}
        self._offset = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_manifest()

    def add_file(self, name: str, path: Path) -> None:
        """Add a file's content as member ``name``."""
        self._add(name, path.read_bytes())

    def add_cost(self, model: str, precision: str, cost: Cost) -> None:
        """Add what a sample costs."""
        import numpy as np

        self.add_arrays(
            f"cost/{model}/{precision}", {"cost": np.array([cost.flop, cost.weight_bytes, cost.activation_bytes])}
        )

    def add_arrays(self, name: str, arrays: Arrays) -> None:
        """Add named numeric arrays as member ``name``; objects would need pickle, which is never read."""
        import numpy as np

        stream = io.BytesIO()
        save: Any = np.savez  # its type knows of no arrays by name
        save(stream, **arrays)
        self._add(name, stream.getvalue())

    def _add(self, name: str, content: bytes) -> None:
        deflated = zlib.compress(content, 1)
        is_deflated = len(deflated) <= len(content) * (1 - WORTH_DEFLATING)
        stored = memoryview(deflated if is_deflated else content)
        self._members[name] = Member(
            offset=self._offset,
            size=len(stored),
            sha256=hashlib.sha256(content).hexdigest(),
            is_deflated=is_deflated,
        )
        while stored:
            room = self._piece_bytes - self._offset % self._piece_bytes
            with _piece(self._folder, self._offset // self._piece_bytes).open("ab") as piece:
                piece.write(stored[:room])
            self._offset += len(stored[:room])
            stored = stored[room:]

    def _write_manifest(self) -> None:
        members = {name: asdict(member) for name, member in self._members.items()}
        manifest = {"schema_version": SCHEMA_VERSION, "piece_bytes": self._piece_bytes, "members": members}
        files.write_bytes(self._folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())


class Bundle:
    """A bundle to read from.

    Raises:
        ConfigError: the folder holds no bundle, one of another version, or one whose manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            version = manifest["schema_version"]
            if version != SCHEMA_VERSION:
                raise ConfigError(
                    f"{folder} is a bundle of another version",
                    got=str(version),
                    expected=str(SCHEMA_VERSION),
                    hint=REBUILD,
                )
            self._piece_bytes = int(manifest["piece_bytes"])
            self._members = {name: Member(**member) for name, member in manifest["members"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{folder} holds no bundle", got=f"{type(error).__name__}: {error}", expected=MANIFEST, hint=REBUILD
            ) from error

    def names(self) -> tuple[str, ...]:
        """Return the members' names, sorted."""
        return tuple(sorted(self._members))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def artefact(self, model: str, precision: str, *, cache: Path) -> Artefact:
        """Return the ONNX graph of a model, unpacked under ``cache``.

        Raises:
            ConfigError: the bundle lacks it, or it is damaged.
        """
        name = f"onnx/{model}/{precision}"
        member = self._member(name)
        path = cache / "bundle" / f"{member.sha256}.onnx"
        with files.lock(path, timeout_s=600.0):
            if not path.exists() or _sha256(path) != member.sha256:
                files.write_bytes(path, self._content(name))
        recipe = {"model": model, "precision": precision, "bundle": name}
        return Artefact(kind="onnx", path=str(path.absolute()), sha256=member.sha256, recipe=recipe)

    def cost(self, model: str, precision: str) -> Cost | None:
        """Return what a sample costs, ``None`` where the bundle does not say; the server need not read graphs."""
        name = f"cost/{model}/{precision}"
        if name not in self:
            return None
        flop, weight_bytes, activation_bytes = self.arrays(name)["cost"].tolist()
        return Cost(flop=flop, weight_bytes=weight_bytes, activation_bytes=activation_bytes)

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of member ``name``; raises :class:`ConfigError` as :meth:`artefact` does."""
        import numpy as np

        with np.load(io.BytesIO(self._content(name)), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    def batches(self, model: str, spec: BatchSpec) -> Batches:
        """Return the input set of ``model`` in the size that ``spec`` asks for.

        A smaller set is the stored one's beginning, a larger one repeats it; labels go with it.

        Raises:
            ConfigError: the bundle lacks the model's inputs with this seed, or they are damaged.
        """
        from pytest_gpuperf import inputs

        arrays = self._sized("inputs", model, spec)
        has_labels = any(name.startswith(f"labels/{model}/") for name in self._members)
        labels: Any = self._sized("labels", model, spec)["labels"] if has_labels else None
        digest = inputs.digest(arrays, labels)
        return inputs.Batches(arrays=arrays, labels=labels, batch=spec.batch, digest=digest)

    def reference(self, model: str, spec: BatchSpec) -> dict[str, NDArray[Any]]:
        """Return TensorFlow's FP32 outputs for :meth:`batches` of the same ``spec``, each ``(samples, …)``."""
        return self._sized("reference", model, spec)

    def _sized(self, family: str, model: str, spec: BatchSpec) -> dict[str, NDArray[Any]]:
        import numpy as np

        prefix, suffix = f"{family}/{model}/", f"/{spec.seed}"
        found = [name for name in self._members if name.startswith(prefix) and name.endswith(suffix)]
        arrays = self.arrays(found[0] if found else f"{prefix}{spec.samples}{suffix}")
        stored = len(next(iter(arrays.values())))
        if spec.samples <= stored:
            return {name: array[: spec.samples] for name, array in arrays.items()}
        order = np.resize(np.arange(stored), spec.samples)
        return {name: array[order] for name, array in arrays.items()}

    def _member(self, name: str) -> Member:
        if name not in self._members:
            family = name.partition("/")[0] + "/"
            expected = ", ".join(known for known in self.names() if known.startswith(family))
            raise ConfigError(
                f"the bundle lacks {name}",
                got=str(self.folder),
                expected=expected or "a bundle that has it",
                hint=REBUILD,
            )
        return self._members[name]

    def _content(self, name: str) -> bytes:
        member = self._member(name)
        try:
            content = b"".join(self._read(member))
            if member.is_deflated:
                content = zlib.decompress(content)
        except zlib.error:
            content = b""
        except OSError as error:
            raise ConfigError(
                f"a piece of the bundle with {name} cannot be read", got=str(error), hint=REBUILD
            ) from error
        if hashlib.sha256(content).hexdigest() != member.sha256:
            raise ConfigError(
                f"{name} in the bundle is damaged",
                got=f"{len(content)} bytes with another sha256",
                expected=f"sha256 {member.sha256}",
                hint=f"copy all pieces again, or {REBUILD}",
            )
        return content

    def _read(self, member: Member) -> Iterator[bytes]:
        offset, rest = member.offset, member.size
        while rest:
            index, start = divmod(offset, self._piece_bytes)
            with _piece(self.folder, index).open("rb") as piece:
                piece.seek(start)
                content = piece.read(min(rest, self._piece_bytes - start))
            if not content:
                return
            yield content
            offset, rest = offset + len(content), rest - len(content)


def _piece(folder: Path, index: int) -> Path:
    return folder / f"piece.{index:02d}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
