"""Where TensorFlow ran each operation of a call: its placer moves what a GPU cannot do to the CPU, and says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from pytest_gpuperf.errors import ConfigError

#: Operations that carry values or describe shapes; where they stand costs no computing.
PLUMBING = frozenset(
    {"_Arg", "_DeviceArg", "_Retval", "_DeviceRetval", "_EagerConst", "_HostSend", "_HostRecv", "_Send", "_Recv"}
    | {"Const", "HostConst", "Identity", "IdentityN", "NoOp", "Placeholder", "VarHandleOp", "ReadVariableOp"}
    | {"PartitionedCall", "StatefulPartitionedCall", "Fill"}
)
#: Operations that stand for many.
WHOLE = frozenset({"TRTEngineOp", "XlaLaunch", "_XlaRun"})
_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
#: Attributes that name the type which an operation computes in.
_TYPES = ("T", "DstT", "dtype", "out_type", "SrcT")


def partitions(call: Callable[[], object]) -> list[Any]:
    """Run ``call`` once and return the graphs that TensorFlow made of it, one per device, after its optimizers."""
    from tensorflow.python.eager import context  # run metadata has no public name in TensorFlow 2

    context.enable_run_metadata()
    try:
        call()
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    return [graph for function in metadata.function_graphs for graph in function.partition_graphs]


def counted(tf: Any, graphs: Iterable[Any]) -> dict[str, Counter[str]]:
    """Return device type → operation → count, for operations that compute in floating point."""
    found: dict[str, Counter[str]] = {}
    for graph in graphs:
        for node in graph.node:
            if node.op in WHOLE or (node.op not in PLUMBING and _is_float(tf, node)):
                device = tf.DeviceSpec.from_string(node.device).device_type or "unknown"
                found.setdefault(device, Counter())[node.op] += 1
    return found


def check(found: dict[str, Counter[str]], device: str) -> int:
    """Return how many operations compute on ``device`` (``CPU`` or ``GPU``).

    Raises:
        ConfigError: some compute elsewhere, or none was found at all.
    """
    stray = {where: counts for where, counts in found.items() if where != device}
    if stray or not found.get(device):
        listed = "; ".join(
            f"{where}: {', '.join(f'{count} x {op}' for op, count in counts.most_common(5))}"
            for where, counts in sorted(stray.items())
        )
        raise ConfigError(
            "TensorFlow runs on another device than asked for",
            got=listed or f"no operation on {device}",
            expected=f"every floating-point operation on {device}",
            hint="no measurement was made; such an operation costs two transfers in every call",
        )
    return sum(found[device].values())


def _is_float(tf: Any, node: Any) -> bool:
    types = [node.attr[name].type for name in _TYPES if name in node.attr and node.attr[name].type]
    return bool(types) and tf.as_dtype(types[0]).name in _FLOATS
