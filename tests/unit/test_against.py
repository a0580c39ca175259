"""What ``--gpu-against`` may say, where a revision's files are, and which program the reference is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_gpuperf import against, opponent, worktree
from pytest_gpuperf.against import Against
from pytest_gpuperf.convert.cache import Cache, given
from pytest_gpuperf.engines.trt.builder import Built
from pytest_gpuperf.engines.trt.store import Store
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.opponent import Opponent
from pytest_gpuperf.records import Artefact, BaselineEntry, BatchSpec, EngineSpec, Model, Provenance
from pytest_gpuperf.worker import server

ENTRY = BaselineEntry(
    metrics={},
    conditions={},
    provenance=Provenance(kind="measured", date="2026-11-23", reason="first", commit="0123456789abcdef"),
)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a repository whose second commit changes ``model.py`` and adds ``new.py``."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\n name = Test Author\n email = author@example.org\n")
    folder = tmp_path / "repository"
    (folder / "suite").mkdir(parents=True)
    git(folder, "init", "-q")
    for text, name in (("old", "model.py"), ("new", "model.py"), ("new", "new.py")):
        (folder / "suite" / name).write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", f"{text} {name}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("text", ["baseline", "git:origin/main", "git:HEAD~1", "python:/a/b:c", "engine:x.onnx"])
def test_every_form_is_read_and_written(text):
    assert str(against.parse(text)) == text


def test_none_is_none():
    assert against.parse(" none ") is None


@pytest.mark.parametrize("text", ["", "git", "git:", "baseline:x", "none:x", "main", "engine: "])
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="one of baseline, git:REV, python:INTERPRETER, engine:FILE, none"):
        against.parse(text)


def test_a_worktree_has_the_revision_and_leaves_nothing(repository, tmp_path):
    tree = worktree.add(repository, "HEAD~2", tmp_path / "trees")
    assert (tree.path / "suite" / "model.py").read_text() == "old"
    assert tree.commit == git(repository, "rev-parse", "HEAD~2")
    assert tree.counterpart(repository / "suite") == tree.path / "suite"
    assert tree.counterpart(tmp_path) == tmp_path
    assert tree.counterpart(tree.path / "suite") == tree.path / "suite"
    tree.remove()
    tree.remove()
    assert not tree.path.exists()
    assert git(repository, "worktree", "list").count("\n") == 0


def test_a_worktree_within_the_repository_and_one_of_a_killed_session(repository):
    folder = repository / ".gpuperf" / "worktrees"
    dead = folder / "0123456789ab-999999999"
    git(repository, "worktree", "add", "--detach", str(dead), "HEAD")
    tree = worktree.add(repository, "HEAD", folder)
    again = worktree.add(repository, "HEAD", folder)  # by the same process
    assert again.path == tree.path
    assert not dead.exists()
    again.remove()


def test_hooks_and_a_hooks_environment_change_nothing(repository, tmp_path, monkeypatch):
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    tree = worktree.add(repository, "HEAD", tmp_path / "trees")
    assert (tree.path / "suite" / "new.py").is_file()
    tree.remove()


@pytest.mark.parametrize("revision", ["v9", "--all", "HEAD~9", ""])
def test_an_unknown_revision(repository, tmp_path, revision):
    with pytest.raises(ConfigError, match="git knows no commit") as caught:
        worktree.add(repository, revision, tmp_path / "trees")
    assert "git fetch" in str(caught.value)


def test_no_repository(tmp_path):
    with pytest.raises(ConfigError, match="there is no git repository to take HEAD from"):
        worktree.add(tmp_path, "HEAD", tmp_path / "trees")


def test_no_git(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        worktree.add(repository, "HEAD", tmp_path / "trees")
    assert "git cannot be run" in caught.value.got


def test_a_revisions_side_has_its_model_inputs_search_path_and_folder(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(repository / "suite"), sys.prefix, "/elsewhere"])
    monkeypatch.chdir(repository / "suite")
    found = opponent._git(Against("git", "HEAD~1"), repository, tmp_path / "out", tmp_path)
    tree = found.tree
    assert found.launch.cwd == tree.path / "suite"
    assert found.launch.env["PYTHONPATH"].split(":") == [str(tree.path / "suite"), sys.prefix, "/elsewhere"]
    engine, batches = case(root=str(repository / "suite"))

    reference = found.reference(engine, batches, None)
    assert reference.name == f"git:HEAD~1, commit {tree.commit[:12]}"
    assert (reference.engine.model.root, reference.batches.root) == (str(tree.path / "suite"),) * 2
    assert reference.missing == ""

    lacks = found.reference(replace(engine, model=replace(engine.model, source="new.py:build")), batches, None)
    assert lacks.missing == f"git:HEAD~1, commit {tree.commit[:12]}, does not have new.py"
    relative = found.reference(replace(engine, model=replace(engine.model, root=".")), batches, None)
    assert relative.engine.model.root == "."
    found.close()
    assert not tree.path.exists()


def test_a_revision_with_the_plugin_brings_its_own(repository, tmp_path):
    (repository / "pytest_gpuperf").mkdir()
    (repository / "pytest_gpuperf" / "__init__.py").touch()
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "the plugin")
    found = opponent._git(Against("git", "HEAD"), repository, tmp_path / "out", tmp_path)
    assert found.launch.env["PYTHONPATH"].split(":")[0] == str(found.tree.path)
    found.close()


def test_another_interpreter_sees_the_project_but_not_what_is_installed_here(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), sys.prefix + "/lib", sys.base_prefix + "/lib"])
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    found = opponent._python(Against("python", "python"), tmp_path, tmp_path, tmp_path)
    assert found.launch.interpreter == str(link)  # not what it points to: that would leave its environment
    assert found.launch.env == {"PYTHONPATH": str(tmp_path)}


def case(root: str) -> tuple[EngineSpec, BatchSpec]:
    model = Model(name="m", source="model.py:build", inputs="model.py:rows", root=root)
    return EngineSpec(kind="onnxruntime", model=model), BatchSpec(inputs="model.py:rows", batch=1, samples=4, root=root)


@pytest.mark.parametrize("kind", ["onnx", "engine"])
def test_an_engine_that_cannot_load_the_file_is_told(kind):
    wanted = SimpleNamespace(artefact_kind="savedmodel", spec=SimpleNamespace(kind="tensorflow"))
    artefact = Artefact(kind=kind, path="old", sha256="")
    with pytest.raises(ConfigError, match="tensorflow cannot load the live reference's artefact") as caught:
        server._given(artefact, wanted)
    assert (caught.value.got, caught.value.expected) == (f"old ({kind})", "one of the kind savedmodel")


def test_tensorrt_loads_a_built_engine():
    wanted = SimpleNamespace(artefact_kind="tensorrt", spec=SimpleNamespace(kind="tensorrt"))
    artefact = Artefact(kind="engine", path="old.engine", sha256="")
    assert server._given(artefact, wanted) is artefact


def test_a_graph_that_keeps_tensors_elsewhere_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../secret")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weight])), tmp_path / "m.onnx")
    wanted = SimpleNamespace(artefact_kind="onnx", spec=SimpleNamespace(kind="onnxruntime"))
    with pytest.raises(ConfigError, match="keeps tensors in another file"):
        server._given(given(tmp_path / "m.onnx"), wanted)


def test_the_artefact_of_a_baseline_comes_from_the_cache(tmp_path):
    made = Cache(tmp_path).get_or_build("onnx", {"a": "b"}, lambda path: path.write_text("graph"), progress=print)
    Store(tmp_path / "tensorrt").root.mkdir()
    recipe = {"graph": "g", "tensorrt": "t", "device": "d"}
    built = Store(tmp_path / "tensorrt").get_or_build(
        recipe, lambda _: Built(engine=b"plan", timing_cache=b""), progress=print
    )
    graph = replace(ENTRY, conditions={"artefact_sha256": made.sha256})
    engine = replace(ENTRY, conditions={"artefact_sha256": made.sha256, "engine_sha256": built.sha256})
    assert opponent.approved(graph, tmp_path) == made
    found = opponent.approved(engine, tmp_path)
    assert (found.kind, found.sha256, Path(found.path).read_bytes()) == ("engine", built.sha256, b"plan")

    chosen = Opponent(against=Against("baseline"), name="the baseline's artefact", cache=tmp_path)
    reference = chosen.reference(*case("."), graph)
    assert (reference.artefact, reference.missing) == (made, "")
    assert reference.name == f"the baseline's artefact, sha256 {made.sha256[:12]}"


def test_an_artefact_that_is_gone_or_damaged_is_not_there(tmp_path):
    made = Cache(tmp_path).get_or_build("onnx", {"a": "b"}, lambda path: path.write_text("graph"), progress=print)
    entry = replace(ENTRY, conditions={"artefact_sha256": made.sha256})
    Path(made.path).write_text("other")
    with pytest.raises(ConfigError) as caught:
        opponent.approved(entry, tmp_path)
    assert str(caught.value) == (
        "the artefact that the baseline names is not in the cache\n"
        f"  got:      nothing with sha256 {made.sha256[:12]} in {tmp_path}\n"
        "  next:     point --gpu-cache to the cache in which it was made (CI: restore that cache), or run the test "
        "once at commit 0123456789ab with this --gpu-cache; or compare with its commit: --gpu-against=git:0123456789ab"
    )


@pytest.mark.parametrize("entry", [None, replace(ENTRY, provenance=replace(ENTRY.provenance, kind="published"))])
def test_a_case_without_measured_baseline_is_new(tmp_path, entry):
    chosen = Opponent(against=Against("baseline"), name="the baseline's artefact", cache=tmp_path)
    assert chosen.reference(*case("."), entry).missing == "there is no measured baseline to run against"


@pytest.mark.parametrize(
    ("name", "kind"), [("a.onnx", "onnx"), ("a.engine", "engine"), ("a.plan", "engine"), ("folder", "savedmodel")]
)
def test_a_file_by_name_is_an_artefact(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "savedmodel":
        path.mkdir()
        (path / "saved_model.pb").write_text("x")
    else:
        path.write_text("x")
    artefact = given(path)
    assert (artefact.kind, artefact.path, len(artefact.sha256)) == (kind, str(path), 64)


def test_a_test_may_name_another_engine_for_the_other_interpreter(tmp_path):
    found = opponent._python(Against("python", sys.executable), tmp_path, tmp_path, tmp_path)
    engine, batches = case(".")
    other = replace(engine, kind="tftrt", precision="fp16")
    reference = found.reference(engine, batches, None, other=other)
    assert (reference.engine, reference.batches) == (other, batches)
    assert reference.name == f"tftrt fp16, python:{sys.executable}"


@pytest.mark.parametrize("kind", ["baseline", "engine"])
def test_two_answers_to_what_the_live_reference_runs_are_refused(kind, tmp_path):
    found = opponent.Opponent(against=Against(kind, "x.onnx"), name=kind, cache=tmp_path)
    engine, batches = case(".")
    with pytest.raises(ConfigError) as caught:
        found.reference(engine, batches, None, other=replace(engine, kind="tftrt", precision="fp16"))
    assert str(caught.value).splitlines() == [
        "the test names an engine for the live reference, and so does --gpu-against",
        f"  got:      --gpu-against={Against(kind, 'x.onnx')} beside tftrt fp16",
        "  expected: --gpu-against=python:INTERPRETER or git:REV",
    ]
