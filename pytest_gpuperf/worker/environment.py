"""The environment of the measuring process: an allow-list, so that secrets of the CI job stay in the job.

Passed on: what programs need to start (:data:`NAMES`) and what shapes an engine's speed (:data:`PREFIXES`). Everything
else has to be named by the caller.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

NAMES = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH"}
    | {"PYTHONHASHSEED", "PYTHONWARNINGS", "PYTHONUTF8", "VIRTUAL_ENV", "KERAS_BACKEND", "KERAS_HOME", "XDG_CACHE_HOME"}
    | {"MALLOC_ARENA_MAX", "XDG_RUNTIME_DIR"}
)
PREFIXES = (
    "COVERAGE_", "COV_CORE_", "CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "GOMP_", "GPUPERF_", "KMP_", "LC_", "MKL_",
    "NCCL_", "NUMEXPR_", "NVIDIA_", "OMP_", "ONEDNN_", "OPENBLAS_", "ORT_", "TF_", "TRT_", "XLA_",
)  # fmt: skip


def build(interpreter: str, extra: Mapping[str, str] | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the child's environment.

    Under the parent's own interpreter the child finds modules where the parent does: pytest adds folders to
    ``sys.path``, and a user's engine may live in one of them.

    Args:
        interpreter: what the child will run.
        extra: variables that win over everything else.
        environ: what the allow-list is applied to.
    """
    passed = {name: value for name, value in environ.items() if name in NAMES or name.startswith(PREFIXES)}
    if interpreter == sys.executable:
        passed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)  # noqa: PTH100 - '' is the working folder
    passed.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Keeps the working folder off the child's sys.path from Python 3.11 on.
    passed["PYTHONSAFEPATH"] = "1"
    return {**passed, **(extra or {})}
