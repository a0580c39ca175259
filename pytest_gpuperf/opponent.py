"""The live reference, found before anything is measured: which program it is, and how its processes are started.

What cannot be had is a :class:`ConfigError` that says how to get it; no other reference takes its place.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_gpuperf import __version__, worktree
from pytest_gpuperf.against import Against
from pytest_gpuperf.errors import ConfigError, WorkerError
from pytest_gpuperf.records import Artefact, BaselineEntry, BatchSpec, EngineSpec
from pytest_gpuperf.worker.client import Worker
from pytest_gpuperf.worker.pool import Launch
from pytest_gpuperf.worktree import Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference side of one case.

    Attributes:
        name: which program it is, in words.
        missing: why the case has none, in words: it is new. Empty where there is one.
        artefact: what to load instead of what the model is converted to.
    """

    name: str
    missing: str = ""
    engine: EngineSpec
    batches: BatchSpec
    artefact: Artefact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opponent:
    """The reference side of a session. Made by :func:`resolve`; :meth:`close` removes what that made.

    Attributes:
        against: as it was asked for.
        name: which program it is, in words.
        cache: folder in which the artefacts of baselines are looked for.
        launch: how its processes are started; ``None`` as the candidate's.
        tree: the revision's checkout.
        artefact: the file that it loads, for ``engine:``.
    """

    against: Against
    name: str
    cache: Path
    launch: Launch | None = None
    tree: Worktree | None = None
    artefact: Artefact | None = None

    def reference(
        self, engine: EngineSpec, batches: BatchSpec, entry: BaselineEntry | None, *, other: EngineSpec | None = None
    ) -> Reference:
        """Return the reference side of a case.

        Args:
            engine: the case's own.
            batches: what both sides are fed.
            entry: the case's approved baseline.
            other: what the reference side runs instead of ``engine``, where the test says so.

        Raises:
            ConfigError: the artefact that the baseline names cannot be had, or is no artefact of ``other``.
        """
        same = Reference(name=self.name, engine=engine, batches=batches, artefact=self.artefact)
        if other is not None:
            if self.against.kind not in ("python", "git"):
                raise ConfigError(
                    "the test names an engine for the live reference, and so does --gpu-against",
                    got=f"--gpu-against={self.against} beside {other.kind} {other.precision}",
                    expected="--gpu-against=python:INTERPRETER or git:REV",
                )
            same = replace(same, name=f"{other.kind} {other.precision}, {self.name}", engine=other)
        if self.against.kind == "baseline":
            if entry is None or entry.provenance.kind == "published":
                return replace(same, missing="there is no measured baseline to run against")
            artefact = approved(entry, self.cache)
            return replace(same, name=f"{self.name}, sha256 {artefact.sha256[:12]}", artefact=artefact)
        return same if self.tree is None else _rerooted(same, self.tree)

    def close(self) -> None:
        """Remove the checkout; closing twice is harmless."""
        if self.tree is not None:
            self.tree.remove()


def resolve(against: Against, *, root: Path, out: Path, cache: Path) -> Opponent:
    """Find the reference side and start it once, so that what is missing is known before anything is measured.

    Args:
        against: what was asked for.
        root: folder that relative paths start from, within the repository for ``git:``.
        out: folder for worktrees and logs.
        cache: folder of converted models.

    Raises:
        ConfigError: no such revision, interpreter or file, or its plugin does not fit this one.
    """
    found = _FIND[against.kind](against, root, out, cache)
    try:
        if found.launch is not None:
            _probe(found, found.launch, out / "logs" / "worker-against.log")
    except BaseException:
        found.close()
        raise
    return found


def approved(entry: BaselineEntry, cache: Path) -> Artefact:
    """Return the artefact that a baseline names, from the cache.

    Raises:
        ConfigError: the baseline names none, or the cache does not have it (any more).
    """
    from pytest_gpuperf.convert.cache import Cache
    from pytest_gpuperf.engines.trt.store import Store

    engine, model = (entry.conditions.get(name, "") for name in ("engine_sha256", "artefact_sha256"))
    commit = entry.provenance.commit[:12]
    other = f"or compare with its commit: --gpu-against=git:{commit}" if commit else "or use --gpu-against=git:REV"
    if not (engine or model):
        raise ConfigError("the baseline names no artefact, so it cannot be run again", hint=other)
    artefact = Store(cache / "tensorrt").find(engine) if engine else Cache(cache).find(model)
    if artefact is None:
        raise ConfigError(
            "the artefact that the baseline names is not in the cache",
            got=f"nothing with sha256 {(engine or model)[:12]} in {cache}",
            hint="point --gpu-cache to the cache in which it was made (CI: restore that cache), "
            f"or run the test once at commit {commit or 'of the baseline'} with this --gpu-cache; {other}",
        )
    return artefact


def _git(against: Against, root: Path, out: Path, cache: Path) -> Opponent:
    tree = worktree.add(root, against.value, out / "worktrees")
    has_plugin = (tree.path / "pytest_gpuperf").is_dir()
    folders = [str(tree.path)] if has_plugin else []
    folders += [str(path if _is_installed(path) else tree.counterpart(path)) for path in _search_path()]
    launch = Launch(env={"PYTHONPATH": os.pathsep.join(folders)}, cwd=tree.counterpart(Path.cwd()))
    name = f"{against}, commit {tree.commit[:12]}"
    return Opponent(against=against, name=name, cache=cache, launch=launch, tree=tree)


def _python(against: Against, root: Path, out: Path, cache: Path) -> Opponent:
    del out
    # Not resolved: the link in a virtual environment's folder is what tells Python that it is in one.
    given = root / Path(against.value).expanduser()
    path = str(given) if os.access(given, os.X_OK) and given.is_file() else shutil.which(against.value)
    if path is None:
        raise ConfigError(
            "there is no such Python interpreter",
            got=f"--gpu-against={against}",
            expected=f"an executable file, such as {sys.executable}",
            hint=f"make one: python -m venv NAME && NAME/bin/pip install 'pytest-gpuperf=={__version__}'",
        )
    folders = [str(folder) for folder in _search_path() if not _is_installed(folder)]
    launch = Launch(interpreter=path, env={"PYTHONPATH": os.pathsep.join(folders)})
    return Opponent(against=against, name=f"python:{path}", cache=cache, launch=launch)


def _engine(against: Against, root: Path, out: Path, cache: Path) -> Opponent:
    del out
    from pytest_gpuperf.convert.cache import given

    path = (root / Path(against.value).expanduser()).resolve()
    if not path.exists():
        raise ConfigError(
            "there is no such engine file",
            got=str(path),
            expected="an .onnx file, a TensorRT .engine or .plan, or a SavedModel folder",
            hint="gpuperf bundle writes graphs to a folder; a cache has them below onnx/ and tensorrt/",
        )
    artefact = given(path)
    name = f"engine:{path.name}, sha256 {artefact.sha256[:12]}"
    return Opponent(against=against, name=name, cache=cache, artefact=artefact)


def _baseline(against: Against, root: Path, out: Path, cache: Path) -> Opponent:
    del root, out
    return Opponent(against=against, name="the baseline's artefact", cache=cache)


_FIND: dict[str, Callable[[Against, Path, Path, Path], Opponent]] = {
    "baseline": _baseline,
    "git": _git,
    "python": _python,
    "engine": _engine,
}


def _probe(found: Opponent, launch: Launch, log: Path) -> None:
    """Start the other side and hear its protocol version."""
    try:
        Worker.start(interpreter=launch.interpreter, log=log, env=launch.env, cwd=launch.cwd).stop()
    except WorkerError as error:
        fix = "compare with a newer revision" if found.tree is not None else f"install it: {launch.interpreter} -m pip"
        raise ConfigError(
            f"the measuring process of --gpu-against={found.against} cannot be used: {error.what}",
            got=(error.got or "").splitlines()[-1].strip() if error.got else None,
            expected=error.expected or f"pytest-gpuperf {__version__} on that side",
            hint=fix if found.tree is not None else f"{fix} install 'pytest-gpuperf=={__version__}'",
        ) from error


def _rerooted(reference: Reference, tree: Worktree) -> Reference:
    """Return the reference with model and inputs from the checkout; relative roots follow its working folder."""
    model = reference.engine.model
    file = model.source.rpartition(":")[0] if ".py:" in model.source else model.source
    source = Path(model.root) / file
    missing = ""
    if source.exists() and not tree.counterpart(source).exists():
        missing = f"{reference.name}, does not have {file}"
    engine = replace(reference.engine, model=replace(model, root=_moved(model.root, tree)))
    batches = replace(reference.batches, root=_moved(reference.batches.root, tree))
    return replace(reference, engine=engine, batches=batches, missing=missing)


def _moved(root: str, tree: Worktree) -> str:
    return str(tree.counterpart(Path(root))) if Path(root).is_absolute() else root


def _search_path() -> list[Path]:
    return [Path(folder).absolute() for folder in sys.path]


def _is_installed(folder: Path) -> bool:
    """Return whether a folder of the search path belongs to the interpreter, not to the user's project."""
    return any(folder.is_relative_to(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix))
