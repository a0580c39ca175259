"""Whether the installed runtimes fit each other, the driver and the GPUs; nothing is imported to find out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata

from pytest_gpuperf.health import Problem
from pytest_gpuperf.records import Status
from pytest_gpuperf.records.machine import Machine

#: Distributions that shape what can run and how fast.
DISTRIBUTIONS = (
    "tensorflow", "tensorflow-cpu", "keras", "onnx", "onnxruntime", "onnxruntime-gpu", "tf2onnx", "tensorrt",
    "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13-bindings", "cuda-bindings", "nvidia-ml-py", "pynvml",
    "nvidia-cudnn-cu11", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13",
)  # fmt: skip

#: The CUDA major that TensorFlow's wheels were built for and the cuDNN major they load, from this version on
#: (tensorflow.org/install/source, table of tested GPU builds).
TENSORFLOW_NEEDS = (((2, 18), 12, 9), ((2, 15), 12, 8), ((2, 0), 11, 8))
LAST_TF_TRT = (2, 17)
#: onnxruntime-gpu on PyPI: CUDA 12 and cuDNN 9 from 1.19 on, CUDA 11 and cuDNN 8 before.
ONNXRUNTIME_CUDNN_9 = (1, 19)
#: TensorRT 8.6's wheels end at Python 3.10; from 11 on networks are always strongly typed.
TENSORRT_8_PYTHON = (3, 10)
#: TensorRT-RTX 1.7 is for GeForce and RTX: at run time it refuses the data-centre cards A100 and H100/H200.
RTX_REFUSES = ("8.0", "9.0")

Finding = tuple[Status | None, str, str]
Installed = Mapping[str, str]


def installed() -> dict[str, str]:
    """Return name → version of the distributions of interest that are installed."""
    names = {
        (found.metadata["Name"] or "").lower().replace("_", "-"): found.version for found in metadata.distributions()
    }
    return {name: names[name] for name in DISTRIBUTIONS if name in names}


def check(packages: Installed, machine: Machine, *, python: tuple[int, int]) -> tuple[Problem, ...]:
    """Return what does not fit.

    Args:
        packages: name → version, see :func:`installed`.
        machine: as probed; without GPUs only what breaks on CPUs is looked at.
        python: major and minor version of the interpreter.
    """
    return tuple(
        Problem(status=status, code="VERSION_FIT", cause=cause, next_step=next_step, where="packages")
        for rule in _RULES
        for status, cause, next_step in rule(packages, machine, python)
    )


def release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, ``(2, 17, 1)`` of ``2.17.1rc0``."""
    matched = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in matched.group().split(".")) if matched else ()


def _wheels(packages: Installed, machine: Machine, _: tuple[int, int]) -> Iterator[Finding]:
    if {"onnxruntime", "onnxruntime-gpu"} <= packages.keys():
        yield (
            Status.CONFIG,
            "both onnxruntime and onnxruntime-gpu are installed: one overwrites the other, sessions may run on the CPU",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        )
    if {"tensorflow", "tensorflow-cpu"} <= packages.keys():
        cause = "both tensorflow and tensorflow-cpu are installed: they overwrite each other's files"
        yield Status.CONFIG, cause, "pip uninstall -y tensorflow tensorflow-cpu && pip install 'tensorflow[and-cuda]'"
    if "pynvml" in packages:
        cause = "the deprecated package pynvml shadows NVIDIA's nvidia-ml-py, which has the same module name"
        step = "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
        yield Status.CONFIG if machine.gpus else None, cause, step


def _fallback(packages: Installed, machine: Machine, _: tuple[int, int]) -> Iterator[Finding]:
    if not machine.gpus:
        return
    for cpu_only, gpu in (("onnxruntime", "onnxruntime-gpu"), ("tensorflow-cpu", "tensorflow")):
        if cpu_only in packages and gpu not in packages:
            yield (
                Status.CONFIG,
                f"this machine has a GPU, and {cpu_only} {packages[cpu_only]} can only use the CPU",
                f"pip uninstall -y {cpu_only} && pip install {gpu}",
            )


def _driver(packages: Installed, machine: Machine, _: tuple[int, int]) -> Iterator[Finding]:
    if not machine.driver.cuda:
        return
    newest = release(machine.driver.cuda)[0]
    for name, needed in _cuda_needs(packages):
        if needed > newest:
            cause = f"{name} needs CUDA {needed}, the driver {machine.driver.version} goes up to {machine.driver.cuda}"
            yield Status.CONFIG, cause, f"install a driver for CUDA {needed}, or a build for CUDA {newest}"


def _cuda_needs(packages: Installed) -> Iterator[tuple[str, int]]:
    if "tensorflow" in packages:
        _, cuda, _ = _tensorflow_needs(packages["tensorflow"])
        yield f"tensorflow {packages['tensorflow']}", cuda
    for name in packages:
        if matched := re.search(r"-cu(\d\d)\b", name):
            yield f"{name} {packages[name]}", int(matched.group(1))


def _cudnn(packages: Installed, machine: Machine, _: tuple[int, int]) -> Iterator[Finding]:
    if not machine.gpus:
        return
    wanted = {}
    if "tensorflow" in packages:
        wanted[f"tensorflow {packages['tensorflow']}"] = _tensorflow_needs(packages["tensorflow"])[2]
    if "onnxruntime-gpu" in packages:
        version = packages["onnxruntime-gpu"]
        wanted[f"onnxruntime-gpu {version}"] = 9 if release(version) >= ONNXRUNTIME_CUDNN_9 else 8
    have = {release(version)[0] for name, version in packages.items() if name.startswith("nvidia-cudnn")}
    for name, cudnn in wanted.items():
        if have and cudnn not in have:
            cause = f"{name} loads cuDNN {cudnn}, installed is {min(have)}: it would silently run on the CPU"
            yield Status.CONFIG, cause, f"pip install 'nvidia-cudnn-cu12=={cudnn}.*'"


def _tensorrt(packages: Installed, machine: Machine, python: tuple[int, int]) -> Iterator[Finding]:
    version = next((packages[name] for name in packages if re.fullmatch(r"tensorrt(-cu\d\d)?", name)), "")
    if version and release(version)[0] == 8 and python > TENSORRT_8_PYTHON:  # noqa: PLR2004 - the major version
        cause = f"TensorRT {version} has no wheel for Python {python[0]}.{python[1]}"
        yield Status.CONFIG, cause, "use Python 3.10, or TensorRT 10 and later"
    tensorflow = packages.get("tensorflow", "")
    if version and tensorflow and release(tensorflow)[:2] > LAST_TF_TRT:
        cause = f"TensorFlow {tensorflow} has no TF-TRT any more (2.17 was the last): TensorRT runs ONNX models only"
        yield None, cause, "nothing to do, unless a suite asks for TF-TRT"
    refused = sorted({gpu.name for gpu in machine.gpus if gpu.compute_capability in RTX_REFUSES})
    if "tensorrt-rtx-cu13-bindings" in packages and refused and not version:
        cause = f"TensorRT-RTX builds engines here but does not run them on {', '.join(refused)}"
        yield None, cause, "pip install 'pytest-gpuperf[tensorrt-cu13]'"


def _tensorflow_needs(version: str) -> tuple[tuple[int, ...], int, int]:
    return next((needs for needs in TENSORFLOW_NEEDS if release(version)[:2] >= needs[0]), TENSORFLOW_NEEDS[-1])


_RULES: tuple[Callable[[Installed, Machine, tuple[int, int]], Iterator[Finding]], ...] = (
    _wheels, _fallback, _driver, _cudnn, _tensorrt,
)  # fmt: skip
