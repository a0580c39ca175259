"""``gpuperf max-batch``: the largest batch of an engine that fits into memory, found by bisection in children."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from pytest_gpuperf.errors import ConfigError, EngineError, GpuPerfError, WorkerError
from pytest_gpuperf.records import BatchSpec, EngineSpec, Model
from pytest_gpuperf.worker.client import Worker

#: What runtimes and the kernel say when memory runs out; any other failure ends the search.
OUT_OF_MEMORY = re.compile(
    r"out of (device )?memory|resource ?exhausted|\bOOM\b|cannot allocate|unable to allocate|failed to allocate"
    r"|bad_alloc|MemoryError|CUDA_ERROR_OUT_OF_MEMORY|SIGKILL",
    re.IGNORECASE,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", help="the model: path/to/file.py:function, or a .keras, SavedModel or .onnx file")
    parser.add_argument("--inputs", required=True, help="input set, such as images-224 or file.py:function")
    parser.add_argument("--engine", default="onnxruntime", help="engine kind (default: onnxruntime)")
    parser.add_argument("--precision", default="fp32", help="precision (default: fp32)")
    parser.add_argument("--limit", type=int, default=1024, help="largest batch to try (default: 1024)")
    parser.add_argument("--cache", type=Path, default=Path(".gpuperf/cache"), help="folder of converted models")


def run(args: argparse.Namespace) -> int:
    """Search and print; 1 when not even batch 1 fits."""
    if args.limit < 1:
        raise ConfigError("--limit is no batch size", got=str(args.limit), expected="an integer of at least 1")
    model = Model(name=Path(args.source.partition(":")[0]).stem, source=args.source, inputs=args.inputs)

    def fits(batch: int) -> bool:
        engine = EngineSpec(kind=args.engine, model=model, precision=args.precision, max_batch=batch)
        answer = attempt(engine, BatchSpec(inputs=args.inputs, batch=batch, samples=batch), cache=args.cache)
        print(f"batch {batch:>6}  {'fits' if answer else 'out of memory'}", flush=True)  # noqa: T201 - a command
        return answer

    batch = largest(fits, limit=args.limit)
    bound = " (the limit; larger ones may fit)" if batch == args.limit else ""
    print(f"largest batch of {model.name} on {args.engine} {args.precision}: {batch or 'none'}{bound}")  # noqa: T201
    return 0 if batch else 1


def largest(fits: Callable[[int], bool], *, limit: int) -> int:
    """Return the largest batch up to ``limit`` that fits, 0 when none does.

    Doubles until one does not fit, then halves the gap; what fits is taken to fit for every smaller batch too.
    """
    good, bad = 0, limit + 1
    batch = 1
    while batch < bad:
        if fits(batch):
            good, batch = batch, min(2 * batch, limit) if batch < limit else bad
        else:
            bad = batch
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def attempt(engine: EngineSpec, batches: BatchSpec, *, cache: Path) -> bool:
    """Run the engine a few times in a child of its own, so that its memory is returned whatever happens.

    Raises:
        GpuPerfError: it failed for another reason than memory.
    """
    with tempfile.TemporaryDirectory(prefix="gpuperf-max-batch-") as folder:
        worker = Worker.start(log=Path(folder) / "worker.log")
        try:
            worker.open(engine, batches, cache=cache, progress=lambda _: None)
            worker.measure(seconds=0.0, max_calls=3)
        except (EngineError, WorkerError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            worker.stop()
    return True


def is_out_of_memory(error: GpuPerfError) -> bool:
    """Return whether an engine's or worker's failure means that memory ran out."""
    return OUT_OF_MEMORY.search(f"{error.what}\n{error.got}") is not None
