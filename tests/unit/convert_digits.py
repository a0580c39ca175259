"""Run by test_convert.py in a process of its own, since TensorFlow takes seconds to load: convert digits every way."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pytest_gpuperf import convert, inputs
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.records import BatchSpec, Model

SUITE = Path(__file__).parents[2] / "suites" / "digits"


def main(folder):
    import tensorflow as tf

    root = folder / "digits"
    shutil.copytree(SUITE, root)
    model = Model(name="digits", source="model.py:build", inputs="model.py:inputs", root=str(root))
    made, said = {}, {}

    def make(name, model, kind, precision):
        said[name] = []
        cache = Cache(folder / "cache")
        artefact = convert.prepare(model, kind=kind, precision=precision, cache=cache, progress=said[name].append)
        made[name] = {"path": artefact.path, "sha256": artefact.sha256, "recipe": artefact.recipe}

    for precision in ("fp32", "mixed_float16", "mixed_bfloat16"):
        make(precision, model, "savedmodel", precision)
    make("onnx", model, "onnx", "fp32")
    make("int8", model, "onnx", "int8")
    with (root / "model.py").open("a") as file:
        file.write("# a comment\n")
    make("comment", model, "onnx", "fp32")
    keras_model = sys.modules["pytest_gpuperf.convert.source"].find(model, print).keras
    keras_model.save(folder / "digits.keras")
    make("from .keras", replace(model, source="../digits.keras"), "onnx", "fp32")
    make("from savedmodel", replace(model, source=made["fp32"]["path"]), "onnx", "fp32")
    make("from onnx", replace(model, source=made["onnx"]["path"]), "onnx", "fp32")
    (folder / "made.json").write_text(json.dumps({"made": made, "said": said}))

    batch = inputs.load(BatchSpec(inputs="model.py:inputs", batch=360, samples=360, root=str(root)))
    outputs, types = {}, {}
    for precision in ("fp32", "mixed_float16", "mixed_bfloat16"):
        loaded = tf.saved_model.load(made[precision]["path"])
        call = loaded.signatures["serving_default"]
        outputs[precision] = call(images=tf.constant(batch.arrays["images"]))["logits"].numpy()
        types[precision] = sorted(
            {
                tf.as_dtype(node.attr["T"].type).name
                for function in call.graph.as_graph_def().library.function
                for node in function.node_def
                if node.op in ("Conv2D", "MatMul")
            }
        )
    np.savez(folder / "outputs.npz", images=batch.arrays["images"], labels=batch.labels, **outputs)
    (folder / "types.json").write_text(json.dumps(types))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
