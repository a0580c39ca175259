"""A bundle with a fault to be found: one convolution of the digits network in INT8 answers 10 % too loud.

python benchmarks/plant_scale.py BUNDLE PLANTED
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FACTOR = 1.1
MODEL = "digits"


def main() -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    from pytest_gpuperf.convert.bundle import Bundle, Writer

    source, target = Bundle(Path(sys.argv[1])), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, Writer(target) as writer:
        for precision in ("fp32", "fp16", "int8"):
            path = Path(source.artefact(MODEL, precision, cache=Path(folder)).path)
            if precision == "int8":
                model = onnx.load(path)
                graph, constants = model.graph, {tensor.name: tensor for tensor in model.graph.initializer}
                layer = [node for node in graph.node if node.op_type == "Conv"][3]
                dequantize = next(node for node in graph.node if layer.input[1] in node.output)
                quantize = next(node for node in graph.node if dequantize.input[0] in node.output)
                for name in (quantize.input[0], quantize.input[1]):  # weights and their scale: the same INT8 numbers
                    louder = (numpy_helper.to_array(constants[name]) * np.float32(FACTOR)).astype(np.float32)
                    constants[name].CopyFrom(numpy_helper.from_array(louder, name))
                onnx.save(model, path)
                print(f"planted: {layer.name} x {FACTOR}")
            writer.add_file(f"onnx/{MODEL}/{precision}", path)
        for name in source.names():
            if name.split("/")[:2] in (["inputs", MODEL], ["labels", MODEL], ["reference", MODEL]):
                writer.add_arrays(name, source.arrays(name))


if __name__ == "__main__":
    main()
