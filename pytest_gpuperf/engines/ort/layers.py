"""The nodes of a session, as ONNX Runtime's profiler names them."""

from __future__ import annotations

import json
import re

_SUFFIX = "_kernel_time"
#: What optimizers append to the name of a node that they replace: the graph's own name is what other graphs share.
_REWRITTEN = re.compile(r"(_nchwc|_quant|_token_\d+)+$")
_RUN = "model_run"


def runs(trace: str) -> list[dict[str, float]]:
    """Return each run's time by node, in milliseconds, from a trace in Chrome's format.

    An event is written when it ends, so the nodes of a run come before the run itself. Nodes without a name are told
    apart by their operator only.
    """
    found: list[dict[str, float]] = []
    current: dict[str, float] = {}
    for event in json.loads(trace):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            operator = str(event.get("args", {}).get("op_name", "unnamed"))
            node = _REWRITTEN.sub("", name.removesuffix(_SUFFIX)) or operator
            current[node] = current.get(node, 0.0) + float(event["dur"]) / 1e3
        elif name == _RUN:
            found.append(current)
            current = {}
    return found
