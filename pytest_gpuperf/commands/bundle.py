"""``gpuperf bundle``: carry graphs, inputs and reference outputs to a GPU server that has no TensorFlow."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import reference
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec, Model

if TYPE_CHECKING:
    from pytest_gpuperf.convert.bundle import Writer

SAMPLES = 64
PRECISIONS = ("fp32", "fp16", "int8")
HOOK = "pytest_gpuperf_models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|list")
    build = actions.add_parser("build", help="write a bundle")
    build.add_argument("folder", type=Path, metavar="OUT", help="an empty or new folder")
    build.add_argument(
        "--models", type=Path, default=Path("suites/conftest.py"), metavar="FILE", help=f"file that defines {HOOK}()"
    )
    build.add_argument("--model", action="append", metavar="NAME", help="only this model (repeatable)")
    build.add_argument("--precision", action="append", choices=PRECISIONS, help="only this one (repeatable)")
    build.add_argument(
        "--samples",
        action="append",
        default=[],
        metavar="[MODEL=]N",
        help=f"samples of each input set, or of one model's (repeatable; default {SAMPLES})",
    )
    build.add_argument("--seed", type=int, default=0, metavar="N", help="of the input sets")
    build.add_argument("--cache", type=Path, default=Path(".gpuperf/cache"), metavar="DIR", help="converted models")
    show = actions.add_parser("list", help="list a bundle's members")
    show.add_argument("folder", type=Path, metavar="BUNDLE")


def run(args: argparse.Namespace) -> int:
    """Build or list."""
    from pytest_gpuperf.convert.bundle import Bundle, Writer

    if args.action == "list":
        print("\n".join(Bundle(args.folder).names()))  # noqa: T201
        return 0
    models = _models(args.models, args.model)
    with Writer(args.folder) as writer:
        for model in models:
            _add_graphs(writer, model, args.precision or PRECISIONS, args.cache)
            _add_data(writer, model, args)
    print(f"bundle: {len(Bundle(args.folder).names())} members in {args.folder}")  # noqa: T201
    return 0


def _models(path: Path, wanted: list[str] | None) -> list[Model]:
    from pytest_gpuperf.script import Script

    offered = {model.name: model for model in Script.find(f"{path.name}:{HOOK}", str(path.parent)).load()()}
    names = wanted or list(offered)
    if unknown := sorted(set(names) - set(offered)):
        raise ConfigError(f"{path} has no model {', '.join(unknown)}", expected=f"one of {', '.join(sorted(offered))}")
    return [offered[name] for name in names]


def _add_graphs(writer: Writer, model: Model, precisions: list[str] | tuple[str, ...], cache: Path) -> None:
    from pytest_gpuperf import convert
    from pytest_gpuperf.convert import cost
    from pytest_gpuperf.convert.cache import Cache

    for precision in precisions:
        artefact = convert.prepare(model, kind="tensorrt", precision=precision, cache=Cache(cache), progress=_say)
        writer.add_file(f"onnx/{model.name}/{precision}", Path(artefact.path))
        if counted := cost.known(artefact, cache=Cache(cache), progress=_say):
            writer.add_cost(model.name, precision, counted)


def _add_data(writer: Writer, model: Model, args: argparse.Namespace) -> None:
    """Add inputs, labels, calibration data, and what the reference makes of the inputs."""
    from pytest_gpuperf import inputs
    from pytest_gpuperf.convert import quantize
    from pytest_gpuperf.worker.client import Worker

    samples = _samples(args.samples, model.name)
    batch = next(size for size in (8, 4, 2, 1) if samples % size == 0)
    spec = BatchSpec(inputs=model.inputs, batch=batch, samples=samples, seed=args.seed, root=model.root)
    name = f"{model.name}/{samples}/{args.seed}"
    data = inputs.load(spec)
    writer.add_arrays(f"inputs/{name}", data.arrays)
    if data.labels is not None:
        writer.add_arrays(f"labels/{name}", {"labels": data.labels})
    calibration = inputs.calibration(model.inputs, quantize.SAMPLES, model.root)
    writer.add_arrays(f"calibration/{model.name}/{quantize.SAMPLES}", calibration.arrays)
    worker = Worker.start(log=args.folder.with_suffix(".log"))
    try:
        worker.open(reference.default(model, max_batch=batch), spec, cache=args.cache, progress=_say)
        writer.add_arrays(f"reference/{name}", worker.evaluate())
    finally:
        worker.stop()


def _samples(wanted: list[str], model: str) -> int:
    """Return the size of a model's input set: its own ``MODEL=N``, else the last plain ``N``."""
    sizes = {"": SAMPLES}
    for text in wanted:
        name, _, size = text.rpartition("=")
        if not size.isdigit() or int(size) < 1:
            raise ConfigError("impossible --samples", got=repr(text), expected="N or MODEL=N, at least 1")
        sizes[name] = int(size)
    return sizes.get(model, sizes[""])


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201
