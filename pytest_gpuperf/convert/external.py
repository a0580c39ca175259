"""External data of ONNX files: tensors that name another file, which a loader then opens, wherever it is.

Such names have led loaders out of the model's folder again and again (CVE-2022-25882, CVE-2024-27318, CVE-2025-51480),
and the cache keeps one file per model, so they are refused before any library follows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf.errors import ConfigError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto


def refuse(path: Path) -> None:
    """Check that a model is whole in its file; one that is no model is left to ONNX's checker.

    Raises:
        ConfigError: a tensor lies in another file; the message names both.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        return
    nodes = [node for function in model.functions for node in function.node]
    for tensor in (*_of_graph(model.graph), *_of_nodes(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            named = {entry.key: entry.value for entry in tensor.external_data}
            raise ConfigError(
                "an ONNX file that keeps tensors in another file",
                got=f"{path}: {tensor.name!r} in {named.get('location', '')!r}",
                expected="a model that is whole in its file",
                hint="onnx.save(onnx.load(PATH), WHOLE), which puts everything into one file",
            )


def _of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterator[NodeProto] | list[NodeProto]) -> Iterator[TensorProto]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _of_graph(graph)
