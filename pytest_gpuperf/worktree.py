"""A git revision checked out beside the repository, in a worktree of its own, for as long as a session needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuperf.errors import ConfigError

#: A checkout of a large repository takes a while; nothing else that git is asked here does.
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worktree:
    """A checkout. Made by :func:`add`; :meth:`remove` ends it.

    Attributes:
        repository: top folder of the repository that it was made from.
        path: top folder of the checkout.
        commit: its full hash.
    """

    repository: Path
    path: Path
    commit: str

    def counterpart(self, path: Path) -> Path:
        """Return where the checkout has what the repository has at ``path``; paths elsewhere are returned as given."""
        resolved = path.resolve()
        if not resolved.is_relative_to(self.repository) or resolved.is_relative_to(self.path):
            return path
        return self.path / resolved.relative_to(self.repository)

    def remove(self) -> None:
        """Delete the checkout and git's record of it; removing twice is harmless."""
        _git(self.repository, "worktree", "remove", "--force", str(self.path))
        shutil.rmtree(self.path, ignore_errors=True)
        _git(self.repository, "worktree", "prune")


def add(root: Path, revision: str, folder: Path) -> Worktree:
    """Check ``revision`` out below ``folder``, after removing what killed sessions left there.

    Args:
        root: any folder of the repository.
        revision: whatever git understands as a commit.
        folder: where worktrees of this project go.

    Raises:
        ConfigError: git is missing, ``root`` is in no repository, it has no such commit, or the checkout failed.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top.returncode:
        raise ConfigError(
            f"there is no git repository to take {revision} from",
            got=_last(top.stderr),
            hint="run in a clone, or name another reference: --gpu-against=python:…, engine:… or baseline",
        )
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        raise ConfigError(
            f"git knows no commit {revision!r}",
            got=f"{top.stdout.strip()} does not have it",
            hint="fetch it: git fetch origin, or git fetch --unshallow where CI cloned only the last commit",
        )
    repository, commit = Path(top.stdout.strip()).resolve(), found.stdout.strip()
    _sweep(repository, folder)
    tree = Worktree(repository=repository, path=(folder / f"{commit[:12]}-{os.getpid()}").resolve(), commit=commit)
    tree.remove()  # a session of the same process may have been here
    made = _git(repository, "worktree", "add", "--detach", str(tree.path), commit)
    if made.returncode:
        tree.remove()
        raise ConfigError(f"git cannot check {revision} out", got=_last(made.stderr), expected=f"a folder {tree.path}")
    return tree


def _sweep(repository: Path, folder: Path) -> None:
    for path in folder.glob("*-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            Worktree(repository=repository, path=path.resolve(), commit="").remove()


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git in ``root``, whatever repository a hook's environment names, and run no hooks of the repository's."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(  # noqa: S603 - a fixed program
            command,
            cwd=root,
            env=environ,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", f"git cannot be run: {error}")


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"
