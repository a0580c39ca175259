"""What benchmarks/tensorflow_h200.py runs in processes of their own, under the Python that has the engine's library."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402 - the package is found by the path above

from pytest_gpuperf import convert, engines, inputs  # noqa: E402
from pytest_gpuperf.convert.bundle import Bundle  # noqa: E402
from pytest_gpuperf.convert.cache import Cache  # noqa: E402
from pytest_gpuperf.engines.tf import runtime  # noqa: E402
from pytest_gpuperf.engines.tf import trace as profiler  # noqa: E402
from pytest_gpuperf.records import BatchSpec, EngineSpec  # noqa: E402
from pytest_gpuperf.script import Script  # noqa: E402
from pytest_gpuperf.worker.loop import Loop  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("models", "one", "trace", "rows"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="resnet50", help="of models: whose SavedModels are made")
    parser.add_argument("--specs", type=Path, help="of one: an engine; of trace and rows: [engine, batch sizes] each")
    arguments = parser.parse_args()
    {"models": models, "one": one, "trace": trace, "rows": rows}[arguments.step](arguments)


def models(arguments: argparse.Namespace) -> None:
    """Make the SavedModels of one model, on the CPU."""
    offered = Script.find("conftest.py:pytest_gpuperf_models", str(ROOT / "suites")).load()()
    model = next(model for model in offered if model.name == arguments.model)
    for precision in ("fp32", "mixed_float16"):
        cache = Cache(arguments.work / "cache")
        print(convert.prepare(model, kind="savedmodel", precision=precision, cache=cache, progress=print), flush=True)


def one(arguments: argparse.Namespace) -> None:
    """Build one engine."""
    spec = msgspec.json.decode(arguments.specs.read_bytes(), type=EngineSpec)
    engine = opened(arguments, spec)
    print(engine.info.mode, engine.info.versions, flush=True)


def opened(arguments: argparse.Namespace, spec: EngineSpec) -> Any:
    """Return an open engine, which is built if it is not in WORK's cache."""
    cache = arguments.work / "cache"
    engine = engines.load(spec.kind)(spec)
    precision = engine.artefact_precision
    if spec.kind == "tensorrt":
        artefact = Bundle(arguments.bundle).artefact(spec.model.name, precision, cache=cache)
    else:
        artefact = convert.prepare(
            spec.model, kind="savedmodel", precision=precision, cache=Cache(cache), progress=print
        )
    engine.open(artefact, cache=cache, progress=lambda text: print("#", text, flush=True))
    return engine


def trace(arguments: argparse.Namespace) -> None:
    """Look at where the time of a call goes, for each row at its batch sizes; WORK/trace-….json grows with each."""
    waiting = json.loads(arguments.specs.read_bytes())
    path = arguments.specs.with_name(arguments.specs.name.replace(".specs", ""))
    lines: list[dict[str, Any]] = []
    while waiting:  # one child for many rows, another one after a crash, and for TF32, which is a process's
        chunk = [row for row in waiting if (row[0]["precision"] == "tf32") == (waiting[0][0]["precision"] == "tf32")]
        part = arguments.specs.with_suffix(".part")
        part.write_text(json.dumps(chunk))
        command = [__file__, "rows", "--specs", part, "--bundle", arguments.bundle, "--work", arguments.work]
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        ended = 0
        for line in process.stdout:
            if line.startswith("{"):
                lines.append(json.loads(line))
                path.write_text(json.dumps(lines, indent=1))
            ended += line.startswith("--")
        waiting = [row for row in waiting if row not in chunk[: ended + bool(process.wait())]]
    print(len(lines), "rows", flush=True)


def rows(arguments: argparse.Namespace) -> None:
    """Print a line of JSON for each row and batch size, and ``--`` after each row."""
    for given, batches in json.loads(arguments.specs.read_bytes()):
        spec = msgspec.convert(given, EngineSpec)
        split = native if spec.kind == "tensorrt" else profiled
        for row in split(arguments, spec, batches):
            head = {"model": spec.model.name, "kind": spec.kind, "precision": spec.precision, "options": spec.options}
            print(json.dumps({**head, **row}), flush=True)
        print("--", flush=True)


def profiled(arguments: argparse.Namespace, spec: EngineSpec, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what TensorFlow's profiler says of a row's calls, for each batch size."""
    engine = opened(arguments, spec)
    for batch in batches:
        binding = engine.bind(_arrays(spec, batch))
        for _ in range(5):
            binding.run()
        yield {"batch": batch, "mode": engine.info.mode, **asdict(profiler.split(runtime.load(), binding.run))}
    engine.close()


def native(arguments: argparse.Namespace, spec: EngineSpec, batches: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the host's and the device's time of a row's calls, with transfers and without, for each batch size."""
    for batch in batches:
        found: dict[str, tuple[float, float]] = {}
        for transfers in ("none", "in_out"):
            engine = opened(arguments, replace(spec, options={**spec.options, "transfers": transfers}))
            loop = Loop(engine, [_arrays(spec, batch), _arrays(spec, batch, seed=2)], batch=batch)
            loop.warm_up(max_s=1.5)
            block = loop.measure(seconds=0.3, max_calls=2000)
            found[transfers] = (statistics.median(block.host_ns) / 1e6, statistics.median(block.device_ns) / 1e6)
            mode = engine.info.mode
            loop.close()
            engine.close()
        (alone_ms, kernel_ms), (host_ms, busy_ms) = found["none"], found["in_out"]
        yield {
            "batch": batch, "mode": mode, "calls": len(block.host_ns), "host_ms": host_ms, "busy_ms": busy_ms,
            "kernel_ms": kernel_ms, "copies_ms": busy_ms - kernel_ms, "host_alone_ms": alone_ms,
        }  # fmt: skip


def _arrays(spec: EngineSpec, batch: int, seed: int = 1) -> Any:
    wanted = BatchSpec(inputs=spec.model.inputs, batch=batch, samples=batch, seed=seed, root=spec.model.root)
    return inputs.load(wanted).arrays


if __name__ == "__main__":
    main()
