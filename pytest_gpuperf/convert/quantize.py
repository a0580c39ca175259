"""ONNX FP32 → INT8, statically: symmetric Q/DQ pairs around what ONNX Runtime and TensorRT compute in INT8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.inputs import Arrays, Batches

#: Samples that the ranges of the activations are taken from.
SAMPLES = 32
#: What is computed in INT8. In networks of convolutions also what lies between them, which else would go back and forth
#: to FP32; the sums of transformers stay FP32, since they carry biases and outliers.
OPERATORS = ("Conv", "MatMul", "Gemm")
BETWEEN_CONVOLUTIONS = ("Add", "MaxPool", "GlobalAveragePool")
#: Share of a convolutional network's activations that a range holds for TensorRT; measured in docs/measurements.md.
PERCENTILE = 99.999


def convert(source: Path, path: Path, calibration: Batches, *, percentile: float | None = None) -> None:
    """Quantize activations per tensor and weights per channel, both to int8 around zero point 0, which TensorRT needs.

    Biases stay FP32: ONNX Runtime and TensorRT both fuse them. A range is the largest magnitude seen in calibration, or
    in a network of convolutions the magnitude that ``percentile`` of all activations stay below.

    Args:
        source: the FP32 model.
        path: of the file to write.
        calibration: inputs to take ranges from; not those that accuracy is judged on.
        percentile: see above; several times slower, since histograms are kept.

    Raises:
        ConfigError: the calibration set does not fit the model's inputs.
    """
    import onnx
    from onnxruntime import quantization

    graph = onnx.load(source).graph
    names = [tensor.name for tensor in graph.input]
    has_convolutions = any(node.op_type == "Conv" for node in graph.node)
    del graph
    method, extra = quantization.CalibrationMethod.MinMax, {}
    if percentile is not None and has_convolutions:
        method, extra = quantization.CalibrationMethod.Percentile, {"CalibPercentile": percentile}
    with TemporaryDirectory(dir=path.parent) as folder:
        shaped = Path(folder) / "shaped.onnx"
        quantization.quant_pre_process(str(source), str(shaped), skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            str(shaped),
            str(path),
            _reader(names, calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=[*OPERATORS, *(BETWEEN_CONVOLUTIONS if has_convolutions else ())],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=method,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, **extra},
        )


def _reader(wanted: list[str], calibration: Batches) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    if missing := sorted(set(wanted) - set(calibration.arrays)):
        raise ConfigError(
            "the calibration set does not feed the model",
            got=f"no array named {', '.join(missing)}",
            expected=f"arrays named {', '.join(sorted(wanted))}",
        )

    class Reader(CalibrationDataReader):  # type: ignore[misc] # the base class is untyped
        def __init__(self) -> None:
            self._batches: Iterator[Arrays] = calibration.batches()

        def get_next(self) -> Arrays | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch[name] for name in wanted}

    return Reader()
