"""``gpuperf tune-batching``: the batching that serves the highest rate within a latency budget, tried for real."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec, EngineSpec, Model
from pytest_gpuperf.serving import Batching, load, pbtxt, picture, search, tuning
from pytest_gpuperf.serving.tuning import Outcome

if TYPE_CHECKING:
    from pytest_gpuperf.records import EngineInfo
    from pytest_gpuperf.serving.load import Load, Samples

#: Our engine kinds → the backend that a Triton with all its backends has for their files.
BACKENDS = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "tensorflow": "tensorflow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", help="the model: path/to/file.py:function, or a .keras, SavedModel or .onnx file")
    parser.add_argument("--inputs", required=True, help="input set, such as images-224 or file.py:function")
    parser.add_argument(
        "--p99-ms", type=float, required=True, help="what 99 %% of the requests must be answered within"
    )
    parser.add_argument("--name", help="of the model on the server (default: the source's file name)")
    parser.add_argument("--engine", default="onnxruntime", help="engine kind (default: onnxruntime)")
    parser.add_argument("--precision", default="fp32", help="precision (default: fp32)")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the engine: threads=1")
    parser.add_argument("--max-batch", type=int, default=32, help="largest batch (default: 32)")
    parser.add_argument("--instances", type=int, default=1, help="engines side by side (default: 1)")
    parser.add_argument("--delays-us", default="0,500,2000,8000", help="queue delays to try (default: 0,500,2000,8000)")
    parser.add_argument(
        "--preferred", default="any,8", help="sets of preferred sizes to try, such as any,8,8+16 (default: any,8)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of searching per configuration (default: 20)")
    parser.add_argument("--out", type=Path, default=Path(".gpuperf/tuning"), help="folder of what is written")
    parser.add_argument("--cache", type=Path, default=Path(".gpuperf/cache"), help="folder of converted models")


def run(args: argparse.Namespace) -> int:
    """Try, print, draw, write; 1 when no configuration keeps the budget."""
    tried = tuning.grid(
        Batching(max_batch=args.max_batch, instances=args.instances), _delays(args.delays_us), _sets(args.preferred)
    )
    name = args.name or Path(args.source.partition(":")[0]).stem
    model = Model(name=name, source=args.source, inputs=args.inputs)
    options = dict(option.split("=", 1) for option in args.option if "=" in option)
    spec = EngineSpec(
        kind=args.engine, model=model, precision=args.precision, max_batch=args.max_batch, options=options
    )
    args.out.mkdir(parents=True, exist_ok=True)
    info, samples, answers = _open(spec, args.cache, args.out)

    def measure(batching: Batching) -> Outcome:
        with (
            tempfile.TemporaryDirectory(prefix="gpuperf-tuning-") as folder,
            load.supervised(
                Path(folder), spec, info, batching, cache=args.cache, log=args.out / "triton.log"
            ) as server,
            load.Load(
                server,
                samples,
                answers,
                folder=Path(folder) / "runs",
                model=model.name,
                in_flight=load.in_flight(batching),
            ) as loaded,
        ):
            outcome = _measure(loaded, batching, limit_ms=args.p99_ms, seconds=args.seconds)
        print(_words(outcome), flush=True)  # noqa: T201 - a command
        return outcome

    outcomes = [measure(batching) for batching in tried]
    chosen = tuning.best(outcomes)
    title = f"{model.name}, {args.engine} {args.precision}, up to {args.max_batch} in a batch"
    drawn = args.out / "tuning.svg"
    drawn.write_text(picture.draw(title, outcomes, chosen, limit_ms=args.p99_ms), encoding="utf-8")
    print(f"picture: {drawn}")  # noqa: T201
    if chosen is None:
        print(f"no configuration keeps p99 under {args.p99_ms:g} ms at any rate")  # noqa: T201
        return 1
    written = args.out / "config.pbtxt"
    backend = BACKENDS.get(args.engine, "python")
    written.write_text(
        pbtxt.config(model.name, info.inputs, info.outputs, chosen.batching, backend=backend), encoding="utf-8"
    )
    print(f"best: {chosen.batching}; written to {written}")  # noqa: T201
    return 0


def _measure(loaded: Load, batching: Batching, *, limit_ms: float, seconds: float) -> Outcome:
    loaded.warm_up()
    full = loaded.saturate()
    highest = search.highest(
        lambda rate: loaded.poisson(rate, limit_ms=limit_ms),
        limit_ms=limit_ms,
        ceiling=1.2 * full.sps,
        until=time.monotonic() + seconds,
    )
    runs = [(trial.traffic.rate_qps, trial.latencies_ms) for trial in loaded.trials if trial is not full]
    return Outcome(
        batching=batching,
        highest=highest,
        points=tuning.points(highest, runs),
        throughput_sps=full.sps,
        mean_batch=0.0 if full.counted is None else full.counted.mean_batch,
    )


def _open(spec: EngineSpec, cache: Path, out: Path) -> tuple[EngineInfo, Samples, Samples]:
    """Return what the engine is, samples for it, and its own answers to them."""
    from pytest_gpuperf import inputs
    from pytest_gpuperf.worker.client import Worker

    batches = BatchSpec(inputs=spec.model.inputs, batch=1, samples=64)
    worker = Worker.start(log=out / "worker.log")
    try:
        info = worker.open(spec, batches, cache=cache, progress=lambda text: print(text, flush=True))  # noqa: T201
        answers = worker.evaluate()
    finally:
        worker.stop()
    arrays = inputs.load(batches).arrays
    return info, {tensor.name: arrays[tensor.name] for tensor in info.inputs}, answers


def _words(outcome: Outcome) -> str:
    return (
        f"{outcome.batching!s:<50} {outcome.highest.good:>8.0f} requests/s within the budget, "
        f"{outcome.throughput_sps:>8.0f} samples/s saturated, mean batch {outcome.mean_batch:.1f}"
    )


def _delays(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise ConfigError("--delays-us has an impossible value", got=repr(text), expected="microseconds, such as 0,500")
    return tuple(dict.fromkeys(int(part) for part in parts))


def _sets(text: str) -> tuple[tuple[int, ...], ...]:
    sets = []
    for part in text.split(","):
        sizes = [] if part.strip() == "any" else part.split("+")
        if not all(size.strip().isdigit() and int(size) >= 1 for size in sizes):
            raise ConfigError("--preferred has an impossible value", got=repr(text), expected="such as any,8,8+16")
        sets.append(tuple(sorted({int(size) for size in sizes})))
    return tuple(sets)
