"""TensorFlow, TF-TRT and native TensorRT on one GPU server in one run, through the product's suites.

    python benchmarks/tensorflow_h200.py drive --bundle BUNDLE --work WORK --tf-python TFPYTHON &
    python benchmarks/tensorflow_h200.py watch --bundle BUNDLE --work WORK --out $OUT --limit-s 560

``drive`` may start before all files are there: it holds a list of jobs, the most important first, and runs each once
what it needs exists: native engines, SavedModels, TF-TRT's engines (several at a time, on the last GPU), the suites'
sessions, TensorFlow's profiler over the same rows, and smaller checks. Whatever is measured has its GPU alone. A job
that fails costs only what needs it. ``watch`` brings back what there is every 20 seconds and runs nothing; it may be
called again. TFPYTHON has TensorFlow, the Python that drives does not need it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import suites_h200  # noqa: E402 - the benchmark that this one extends
from jobs import Board, Job  # noqa: E402

BATCHES = (1, 8, 16, 32, 64)
BUILD_LIMIT_S, SESSION_LIMIT_S, STEP_LIMIT_S = 420, 420, 150
EXTRA = "JSON: further jobs, by what they need (native, both): [name, host or tf, arguments, needs, limit_s]"
#: Suffixes of what comes back.
KEPT = (".json", ".jsonl", ".log", ".txt")
VISION, LANGUAGE = "resnet50", "bert_base"
FILES = {VISION: "suites/vision/test_resnet50", LANGUAGE: "suites/language/test_bert_base"}
#: Rows of TensorFlow in the order in which they are measured; TF32 is a process's, so it comes last.
ROWS = ("tensorflow_fp32", "tensorflow_mixed_float16", "tensorflow_xla", "tensorflow_tf32")
#: Engines that are built with nothing beside them: the bar is close.
QUIET = ((VISION, "fp16", 8),)
#: Rows that are measured in five processes when all others are done.
FIVE = ("tensorflow_fp32", "tftrt_fp16", "tensorflow_mixed_float16", "tftrt_int8", "tensorflow_tf32")


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"drive": drive, "watch": watch}[arguments.step](arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("drive", "watch"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--tf-python", default=sys.executable, help="has TensorFlow; may arrive later")
    parser.add_argument("--limit-s", type=float, default=560, help="of drive, or of one watch")
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--seconds", type=float, default=2.0, help="--gpu-time-budget; twice that for TensorFlow's")
    parser.add_argument("--at-once", type=int, default=4, help="builds at once on a GPU")
    parser.add_argument("--extra", type=Path, help=EXTRA)
    return parser.parse_args()


def drive(arguments: argparse.Namespace) -> None:
    """Put the list together and run it."""
    board = Board(arguments.work, suites_h200.gpus(), limit_s=arguments.limit_s, at_once=arguments.at_once)
    plan = Plan(arguments, board, cases(arguments))
    board.jobs = plan.jobs()
    board.run()
    (arguments.work / "done").touch()


def cases(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    """Return each test of the suites with the engine that it asks for."""
    import pytest

    from pytest_gpuperf import fixtures

    found: list[tuple[str, Any]] = []

    def note(self: Any, engine: Any, *_rest: Any, **_more: Any) -> None:
        found.append((self._item.nodeid, engine))

    fixtures.GpuPerf.check = note  # type: ignore[method-assign] # in this process only
    os.environ["GPUPERF_BATCHES"] = ",".join(map(str, BATCHES))
    os.environ["GPUPERF_TFTRT_ALLOW_PATCH_MISMATCH"] = "1"
    files = [f"{stem}_{kind}.py" for stem in FILES.values() for kind in ("tensorflow", "tensorrt")]
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        f"--gpu-profile={arguments.profile}",
        f"--gpu-out={arguments.work}/specs",
    ]
    status = pytest.main([*files, *options, f"--gpu-bundle={arguments.bundle}", *suites_h200.plugin()])
    if status != 0 or not found:
        sys.exit(f"the suites cannot be collected: status {status}")
    return found


class Plan:
    """What is to be done, from what the tests ask for."""

    def __init__(self, arguments: argparse.Namespace, board: Board, found: list[tuple[str, Any]]) -> None:
        self.arguments, self.board = arguments, board
        self.cases = [(test, spec) for test, spec in found if _batch(test) in BATCHES]
        self.gpus = tuple(suites_h200.gpus())
        self.done: dict[str, Job] = {}
        self.builds: dict[str, Job] = {}  # by what they build

    def jobs(self) -> list[Job]:
        """Return all jobs, the most important first."""
        return [
            *(self._models(model) for model in FILES),
            *self._builds(VISION, "tensorrt", ("fp16", "fp32", "int8")),
            *self._builds(VISION, "tftrt", ("int8", "fp16")),
            *self._builds(LANGUAGE, "tftrt", ("fp16",)),
            *self._builds(LANGUAGE, "tensorrt", ("fp16",)),
            self._session("resnet50-tensorrt", VISION, "tensorrt"),
            *self._extras("native"),
            self._session("resnet50-tftrt", VISION, "tftrt"),
            *self._extras("both"),
            self._session("resnet50-tensorflow", VISION, "tensorflow"),
            self._session("bert_base-tftrt-fp16", LANGUAGE, "tftrt", row="tftrt_fp16"),
            self._session("bert_base-tensorflow", LANGUAGE, "tensorflow"),
            self._session("bert_base-tensorrt-fp16", LANGUAGE, "tensorrt", row="tensorrt_fp16"),
            self._trace("trace-tftrt", "tf", "resnet50-tftrt", "bert_base-tftrt-fp16"),
            self._trace("trace-tensorrt", "host", "resnet50-tensorrt", "bert_base-tensorrt-fp16"),
            *self._builds(LANGUAGE, "tftrt", ("int8",)),
            *self._builds(LANGUAGE, "tensorrt", ("fp32", "int8")),
            self._session("bert_base-tftrt-int8", LANGUAGE, "tftrt", row="tftrt_int8"),
            self._session("bert_base-tensorrt-fp32", LANGUAGE, "tensorrt", row="tensorrt_fp32"),
            self._session("bert_base-tensorrt-int8", LANGUAGE, "tensorrt", row="tensorrt_int8"),
            self._trace("trace-tensorflow", "tf", "resnet50-tensorflow", "bert_base-tensorflow"),
            *(
                self._session(f"{model}-five-{row}", model, row.partition("_")[0], row=row, processes=5)
                for row in FIVE
                for model in FILES
            ),
        ]

    def _python(self, which: str) -> str:
        return str(self.arguments.tf_python) if which == "tf" else sys.executable

    def _own(self, *words: object) -> list[object]:
        return [
            ROOT / "benchmarks" / "gpu_rows.py",
            *words,
            "--bundle",
            self.arguments.bundle,
            "--work",
            self.arguments.work,
        ]

    def _add(self, name: str, command: Callable[[], Sequence[object]], needs: Callable[[], bool], **more: Any) -> Job:
        self.done[name] = Job(name=name, command=command, is_ready=needs, **more)
        return self.done[name]

    def _models(self, model: str) -> Job:
        command = [self._python("tf"), *self._own("models", "--model", model)]
        ready = self.arguments.work / "tensorflow"  # made when TensorFlow has arrived
        return self._add(
            f"models-{model}", lambda: command, ready.exists, gpus=("",), limit_s=STEP_LIMIT_S, is_build=True
        )

    def _builds(self, model: str, kind: str, precisions: Sequence[str]) -> list[Job]:
        """Return the jobs that build the engines of these tests, in the order of the precisions."""
        import msgspec

        jobs = []
        for precision in precisions:
            for spec in (spec for _, spec in self.cases):
                name = title(spec)
                wanted = (spec.model.name, spec.kind, spec.precision) == (model, kind, precision)
                if wanted and name not in self.builds:
                    path = self.arguments.work / f"build-{name}.json"
                    path.write_bytes(msgspec.json.encode(spec))
                    command = [self._python("tf" if kind == "tftrt" else "host"), *self._own("one", "--specs", path)]
                    here = kind == "tensorrt"
                    self.builds[name] = self._add(
                        f"build-{name}",
                        lambda command=command: command,
                        lambda spec=spec: self._has_source(spec),
                        gpus=self.gpus if here and model == VISION else self.gpus[-1:],
                        limit_s=BUILD_LIMIT_S,
                        is_build=True,
                        is_quiet=here and (model, precision, spec.max_batch) in QUIET,
                    )
                    jobs.append(self.builds[name])
        return sorted(jobs, key=lambda job: not job.is_quiet)

    def _has_source(self, spec: Any) -> bool:
        if spec.kind == "tftrt":
            return self.done[f"models-{spec.model.name}"].ended == 0
        return suites_h200.is_here(self.arguments.bundle, spec)

    def _session(self, name: str, model: str, kind: str, *, row: str = "", processes: int = 1) -> Job:
        """Return the job that runs the suite's tests of one kind of engine whose engines could be built."""
        rows = ROWS if kind == "tensorflow" else ()
        tests = [
            (test, title(spec))
            for test, spec in self.cases
            if (spec.model.name, spec.kind) == (model, kind) and _batch(test) in BATCHES and f"::test_{row}" in test
        ]
        tests.sort(key=lambda pair: next((at for at, each in enumerate(rows) if f"_{each}[" in pair[0]), 0))
        builds = list({name: self.builds[name] for _, name in tests if name in self.builds}.values())

        def needs() -> bool:
            has_inputs = (self.arguments.work / f"bundle-{model}").exists()  # made when its pieces have arrived
            has_models = kind == "tensorrt" or self.done[f"models-{model}"].ended == 0
            return has_inputs and has_models and (all(job.is_done for job in builds) or self.board.is_late)

        def command() -> list[object]:
            chosen = [test for test, name in tests if name not in self.builds or self.builds[name].ended == 0]
            options = ["-q", "-rA", "-p", "no:cacheprovider", *suites_h200.plugin(), "--gpu-update=all"]
            options += [f"--gpu-profile={self.arguments.profile}", f"--gpu-bundle={self.arguments.bundle}"]
            options += [f"--gpu-out={self.arguments.work / name}", f"--gpu-cache={self.arguments.work}/cache"]
            seconds = self.arguments.seconds * (1 if kind == "tensorrt" else 2)  # its calls are longer
            options += [f"--gpu-time-budget={seconds}", f"--gpu-processes={processes}"]
            python = self._python("host" if kind == "tensorrt" else "tf")
            return [python, "-m", "pytest", *chosen, *options] if chosen else []

        return self._add(name, command, needs, gpus=self.gpus, limit_s=SESSION_LIMIT_S)

    def _trace(self, name: str, python: str, *sessions: str) -> Job:
        """Return the job that looks at where the time of these sessions' rows goes."""
        import msgspec

        path = self.arguments.work / f"{name}.specs.json"

        def command() -> list[object]:
            found: dict[str, tuple[Any, list[int]]] = {}
            for session in sessions:
                for word in map(str, self.done[session].command()):
                    for test, spec in self.cases:
                        if test == word:
                            found.setdefault(title(spec), (spec, []))[1].append(_batch(test))
            rows = sorted(found.values(), key=lambda row: row[0].precision == "tf32")
            path.write_bytes(msgspec.json.encode(rows))
            return [self._python(python), *self._own("trace", "--specs", path)] if rows else []

        def needs() -> bool:
            return all(self.done[session].is_done for session in sessions)

        return self._add(name, command, needs, gpus=self.gpus, limit_s=2 * STEP_LIMIT_S)

    def _extras(self, group: str) -> list[Job]:
        """Return the jobs of one group of ``--extra``; a need is a job's name, or a file."""
        if self.arguments.extra is None:
            return []
        jobs = []
        for name, python, words, needs, limit_s in json.loads(self.arguments.extra.read_text())[group]:
            command = [self._python(python), *map(os.path.expandvars, words)]

            def ready(needs: Sequence[str] = needs) -> bool:
                return all(
                    self.done[need].is_done if need in self.done else Path(os.path.expandvars(need)).exists()
                    for need in needs
                )

            jobs.append(self._add(name, lambda command=command: command, ready, gpus=self.gpus, limit_s=limit_s))
        return jobs


def title(spec: Any) -> str:
    """Return an engine's name, such as one for a file."""
    return re.sub(r"[^A-Za-z0-9_.=]+", "-", f"{spec.kind} {suites_h200.name(spec)}")


def _batch(test: str) -> int:
    return int(test.rpartition("[")[2].rstrip("]"))


def watch(arguments: argparse.Namespace) -> None:
    """Bring back what there is, every 20 seconds: the machine may be taken away."""
    until = time.time() + arguments.limit_s
    jobs, told = arguments.work / "jobs.jsonl", 0
    while True:
        is_last = (arguments.work / "done").exists() or time.time() > until
        part = arguments.out / ".results.part"
        with tarfile.open(part, "w:gz") as archive:
            for path in sorted(arguments.work.rglob("*")):
                inside = path.relative_to(arguments.work)
                if path.suffix in KEPT and inside.parts[0] not in ("cache", "specs"):
                    with suppress(FileNotFoundError):  # a writer's temporary file
                        archive.add(path, str(inside))
        part.rename(arguments.out / "results.tar.gz")
        lines = jobs.read_text().splitlines() if jobs.exists() else []
        print("\n".join(lines[told:]), flush=True)
        told = len(lines)
        if is_last:
            return
        time.sleep(20)


if __name__ == "__main__":
    main()
