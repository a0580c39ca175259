"""The peer: PyTorch ``torch.compile`` FP16 channels-last ResNet-50, device medians by CUDA events.

python3 benchmarks/peer_torch.py --out peer.json --batches 8 64 256
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torchvision

GROUP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval().half().cuda().to(memory_format=torch.channels_last)
    cases = {}
    for batch in arguments.batches:
        started = time.monotonic()
        # reduce-overhead = CUDA graphs; shapes are static, as in the engines that it is compared with.
        run = torch.compile(model, mode="reduce-overhead", dynamic=False)
        images = torch.randn(batch, 3, 224, 224, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            for _ in range(5):
                run(images)
            torch.cuda.synchronize()
            build_s = time.monotonic() - started
            times = _times(run, images, arguments.seconds)
        cases[f"b{batch}"] = {
            "device_p50_ms": round(median(times), 5),
            "calls": len(times),
            "volleys_sps": {"1": round(batch / median(times) * 1e3)},
            "compile_s": round(build_s, 1),
        }
        versions = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name()}
        arguments.out.write_text(json.dumps({"info": {"precision": "fp16", "versions": versions}, "cases": cases}))


def _times(run: Callable[[torch.Tensor], object], images: torch.Tensor, seconds: float) -> list[float]:
    """Time groups of calls without a wait between them, so that the GPU never waits for Python: the peer's best."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        start.record()
        for _ in range(GROUP):
            run(images)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / GROUP)
    return times[len(times) // 10 :]


if __name__ == "__main__":
    main()
