"""FP32 ONNX → FP16 ONNX that strongly typed TensorRT accepts; inputs and outputs stay FP32.

The conversion is ONNX Runtime's. Its ancestor in onnxconverter-common leaves the graph's own casts to FP32 as they
are, so that BERT's attention mask ends in a product of Half and Float, which strongly typed TensorRT refuses; this
one retargets them. Keeping heads or layer normalization in FP32 was measured and does not pay: docs/decisions.md.
"""

from __future__ import annotations

from pathlib import Path

from pytest_gpuperf.errors import ConfigError

#: Half of FP16's largest number. Masks add a huge negative constant to scores; the sum must stay finite, too.
MAX_CONSTANT = 32752.0


def convert(onnx_path: Path, out_path: Path) -> None:
    """Write ``onnx_path`` in FP16 to ``out_path``.

    Constants beyond ±32752 become ±32752.

    Raises:
        ConfigError: the file is no valid ONNX graph, or computes in FP16 already.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    try:
        model = onnx.load(onnx_path)
        onnx.checker.check_model(model)
    except (DecodeError, OSError, onnx.checker.ValidationError) as error:
        raise ConfigError("not an ONNX graph", got=f"{onnx_path}: {str(error).strip().splitlines()[0]}") from error
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise ConfigError(f"{onnx_path.name} has FP16 weights already", expected="an FP32 graph")
    converted = convert_float_to_float16(model, keep_io_types=True, max_finite_val=MAX_CONSTANT)
    OnnxModel.graph_topological_sort(converted.graph)  # the converter appends its casts at the end
    onnx.checker.check_model(converted)
    onnx.save(converted, out_path)
