"""ONNX FP32 → INT8, statically: symmetric Q/DQ pairs around what ONNX Runtime and TensorRT compute in INT8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.inputs import Arrays, Batches

#: Samples that the ranges of the activations are taken from.
SAMPLES = 64
#: Convolutions and products, and the sums of residual branches, which would else go back and forth to FP32.
OPERATORS = ("Conv", "MatMul", "Gemm", "Add", "MaxPool", "GlobalAveragePool")


def convert(source: Path, path: Path, calibration: Batches) -> None:
    """Quantize activations per tensor and weights per channel, both to int8 around zero point 0, which TensorRT needs.

    Biases stay FP32: ONNX Runtime and TensorRT both fuse them. A range is the largest magnitude seen in calibration.

    Args:
        source: the FP32 model.
        path: of the file to write.
        calibration: inputs to take ranges from; not those that accuracy is judged on.

    Raises:
        ConfigError: the calibration set does not fit the model's inputs.
    """
    from onnxruntime import quantization

    with TemporaryDirectory(dir=path.parent) as folder:
        shaped = Path(folder) / "shaped.onnx"
        quantization.quant_pre_process(str(source), str(shaped), skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            str(shaped),
            str(path),
            _reader(source, calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )


def _reader(source: Path, calibration: Batches) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    wanted = _inputs(source)
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


def _inputs(source: Path) -> list[str]:
    import onnx

    return [tensor.name for tensor in onnx.load(source, load_external_data=False).graph.input]
