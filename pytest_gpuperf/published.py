"""Best published throughput per card, to set a measured one beside. Context only; nothing gates on it.

MLPerf Inference figures are the Offline scenario of the closed division, all VALID, divided by the number of GPUs; they
stand in ``mlperf_log_summary.txt`` of the submission's repository (mlcommons/inference_results_v2.1, v3.0, v4.1). The
RTX 6000 Ada has no published record.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple


class Record(NamedTuple):
    """Samples per second of one GPU, and where that was published."""

    throughput_sps: float
    source: str


BEST = MappingProxyType(
    {
        ("a40", "resnet50", "int8"): Record(19_887.6, "MLPerf Inference v3.0, NE5260M5 with 2 A40, through Triton"),
        ("a100-80gb", "resnet50", "int8"): Record(42_121, "MLPerf Inference v2.1, A100-SXM-80GB"),
        ("a100-80gb", "bert_base", "fp16"): Record(8_449, "TensorRT demo/BERT 10.16, batch 128, on an A100-40GB"),
        ("a100-80gb", "bert_base", "int8"): Record(15_960, "TensorRT demo/BERT 10.16, batch 128, on an A100-40GB"),
        ("h200", "resnet50", "int8"): Record(96_029, "MLPerf Inference v4.1, Dell with 8 H200-SXM"),
    }
)
"""(server profile, model, precision) → the record."""
