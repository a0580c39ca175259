"""How long a cold export to ONNX takes, and how well ONNX Runtime then agrees with TensorFlow.

    python benchmarks/export.py [digits resnet50 bert_base] [--int8] [--json FILE]

Each model is exported in a fresh process with an empty cache. Seconds are wall time and include the import of
TensorFlow and the building of the model; CPU seconds are those of that process. Agreement is RMS error over the
reference's RMS, the worst output.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pytest_gpuperf import accuracy, convert, inputs
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.records import Artefact, BatchSpec, Model

SUITES = Path(__file__).resolve().parents[1] / "suites"
MODELS = {
    "digits": ("digits/model.py:build", "digits/model.py:inputs", 320),
    "resnet50": ("vision/model.py:build", "images-224", 128),
    "bert_base": ("language/model.py:build", "tokens-128", 32),
}
BATCH = 16
COLUMNS = ("model", "export_s", "cpu_s", "warm_ms", "nodes", "rel_rmse", "int8_s", "int8_rel_rmse", "int8_agreement")

Outputs = dict[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--int8", action="store_true", help="also quantize")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_this_process:
        print(json.dumps(measure(options.models[0], int8=options.int8)))
        return
    rows = [in_a_fresh_process(name, int8=options.int8) for name in options.models]
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(_cell(row.get(column)) for column in COLUMNS) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def in_a_fresh_process(name: str, *, int8: bool) -> dict[str, object]:
    command = [sys.executable, __file__, name, "--in-this-process", *(["--int8"] if int8 else [])]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    )
    row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(name: str, *, int8: bool) -> dict[str, object]:
    source, inputs_name, samples = MODELS[name]
    model = Model(name=name, source=source, inputs=inputs_name, root=str(SUITES))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))

        def prepare(kind: convert.Kind, precision: str) -> Artefact:
            return convert.prepare(model, kind=kind, precision=precision, cache=cache, progress=_say)

        full, export_s = _timed(lambda: prepare("onnx", "fp32"))
        cpu_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _, warm_s = _timed(lambda: prepare("onnx", "fp32"))
        row = {"model": name, "export_s": export_s, "cpu_s": cpu_s, "warm_ms": warm_s * 1e3, "nodes": _nodes(full)}
        batches = inputs.load(BatchSpec(inputs=inputs_name, batch=BATCH, samples=samples, root=str(SUITES)))
        reference = by_tensorflow(prepare("savedmodel", "fp32"), batches)
        row["rel_rmse"] = accuracy.compare(by_onnxruntime(full, batches), reference, batches.labels).rel_rmse
        if int8:
            small, row["int8_s"] = _timed(lambda: prepare("onnx", "int8"))
            delta = accuracy.compare(by_onnxruntime(small, batches), reference, batches.labels)
            row |= {"int8_rel_rmse": delta.rel_rmse, "int8_agreement": delta.top1_agreement}
        return row


def by_tensorflow(artefact: Artefact, batches: inputs.Batches) -> Outputs:
    import tensorflow as tf

    loaded = tf.saved_model.load(artefact.path)
    call = loaded.signatures["serving_default"]
    return _evaluate(lambda batch: {name: out.numpy() for name, out in call(**batch).items()}, batches, tf.constant)


def by_onnxruntime(artefact: Artefact, batches: inputs.Batches) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(artefact.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return _evaluate(lambda batch: dict(zip(names, session.run(names, batch), strict=True)), batches, np.asarray)


def _evaluate(call: Callable[..., Outputs], batches: inputs.Batches, convert_array: Callable[..., object]) -> Outputs:
    parts = [call({name: convert_array(array) for name, array in batch.items()}) for batch in batches.batches()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _timed(work: Callable[[], Artefact]) -> tuple[Artefact, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def _nodes(artefact: Artefact) -> int:
    import onnx

    return len(onnx.load(artefact.path).graph.node)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    main()
