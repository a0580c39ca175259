"""SavedModel → ONNX, without ever holding the weights in a graph that is rewritten.

tf2onnx by itself takes minutes for BERT-base: TensorFlow's freezing and grappler copy half a gigabyte of constants
several times, and each of tf2onnx's optimizer passes deep-copies a protobuf that contains them. None of these passes
looks at the values of large weights. So variables become graph *inputs* here, the skeleton is converted, optimized and
checked in seconds, and the weights join it at the end. Last, ONNX Runtime's basic optimizations fold what depends on
weights alone (transposed kernels, batch normalization into convolutions), which leaves standard ONNX only.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_gpuperf.errors import ConfigError

#: LayerNormalization is an operator since 17; TensorRT 8.6, the oldest supported, reads up to 17.
OPSET = 17
SIGNATURE = "serving_default"


def convert(savedmodel: Path, path: Path) -> None:
    """Write the signature ``serving_default`` of a SavedModel as ONNX, with a dynamic batch dimension.

    Input and output names are the signature's.

    Raises:
        ConfigError: the folder holds no such signature, or it uses operations that ONNX cannot express.
    """
    import onnx

    function, keep_alive = _load(savedmodel)
    graph = _inlined(function)
    weights = _detach(graph, _variables(function))
    model = _converted(graph, function, weights)
    for initializer in _initializers(model, weights):
        model.graph.initializer.append(initializer)
    del weights, function, keep_alive
    with TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "whole.onnx"
        onnx.save(model, whole)
        fold(whole, path)


def check(source: Path) -> None:
    """Check that a file is a whole, valid ONNX model.

    Raises:
        ConfigError: it is truncated, damaged, or no ONNX at all.
    """
    import onnx

    try:
        onnx.checker.check_model(str(source))
    except Exception as error:  # protobuf's, onnx's and the file system's errors share no base
        raise ConfigError(
            "a damaged ONNX file",
            got=f"{source}: {type(error).__name__}: {_first_line(error)}",
            expected="a model that onnx.checker accepts",
            hint="export or copy it again",
        ) from error


def _load(savedmodel: Path) -> tuple[Any, Any]:
    """Return the signature, and the object that its variables live as long as."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(savedmodel))
        return loaded.signatures[SIGNATURE], loaded
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            "not a SavedModel that can be served",
            got=f"{savedmodel}: {type(error).__name__}: {_first_line(error)}",
            expected=f"a SavedModel with the signature {SIGNATURE!r}",
        ) from error


def _inlined(function: Any) -> Any:
    """Return the signature's GraphDef with every function call replaced by its body."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=function.graph.as_graph_def(), graph=function.graph)
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend(tensor.name for tensor in [*function.inputs, *function.outputs])
    meta_graph.collection_def["train_op"].CopyFrom(fetched)
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.min_graph_nodes = -1  # small graphs too
    rewrites.optimizers.append("function")
    rewrites.function_optimization = rewrites.AGGRESSIVE  # signatures are stateful calls
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _variables(function: Any) -> dict[str, Any]:
    """Return the captured variables' values by the name of the placeholder that stands for each."""
    by_handle = {id(variable.handle): variable for variable in function.graph.variables}
    return {
        internal.op.name: by_handle[id(external)].numpy()
        for external, internal in function.graph.captures
        if id(external) in by_handle
    }


def _detach(graph: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """Make tensors of the resources that ``graph`` reads variables from, in place; return the values by node name."""
    from tensorflow import as_dtype, resource

    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        node.attr.pop("_output_shapes", None)
        if node.name in variables:
            value = variables[node.name]
            node.attr["dtype"].type = as_dtype(value.dtype).as_datatype_enum
            node.attr["shape"].CopyFrom(_shape(value.shape))
        elif node.op == "ReadVariableOp":
            node.op = "Identity"
            node.attr["T"].type = node.attr.pop("dtype").type
        elif node.op == "Identity" and node.attr["T"].type == resource.as_datatype_enum:
            root = _root(nodes, node)
            if root in variables:
                node.attr["T"].type = as_dtype(variables[root].dtype).as_datatype_enum
        elif node.op == "ResourceGather":
            raise ConfigError("a SavedModel gathers from a variable in a way that is not supported", got=node.name)
    return variables


def _shape(sizes: tuple[int, ...]) -> Any:
    from tensorflow import TensorShape
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    return AttrValue(shape=TensorShape(sizes).as_proto())


def _root(nodes: dict[str, Any], node: Any) -> str:
    """Follow Identities up to the node that they pass on."""
    while node.op == "Identity":
        node = nodes[node.input[0].partition(":")[0]]
    return str(node.name)


def _converted(graph: Any, function: Any, weights: dict[str, Any]) -> Any:
    """Convert the skeleton; the weights are inputs of the result, under their placeholders' names."""
    import tf2onnx

    arguments = {f"{name}:0" for name in weights}
    inputs = [tensor.name for tensor in function.inputs if tensor.name not in arguments]
    names = sorted(function.structured_outputs)
    outputs = [tensor.name for tensor in function.outputs]
    renamed = {tensor: tensor.partition(":")[0] for tensor in inputs} | dict(zip(outputs, names, strict=True))
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"  # a failed pass is an error, so no pass needs a copy to go back to
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=[*inputs, *sorted(arguments)],
            output_names=outputs,
            opset=OPSET,
            tensors_to_rename=renamed,
        )
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise ConfigError("the model cannot be expressed in ONNX", got=_first_line(error)) from error
    return model


def _initializers(model: Any, weights: dict[str, Any]) -> list[Any]:
    """Take the weights off the inputs of ``model`` and return them as initializers; name the batch dimension."""
    from onnx import numpy_helper

    kept, found = [], []
    for tensor in model.graph.input:
        value = weights.get(tensor.name.partition(":")[0])
        if value is None:
            kept.append(tensor)
        else:
            found.append(numpy_helper.from_array(value, tensor.name))
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for tensor in [*model.graph.input, *model.graph.output]:
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    return found


def fold(source: Path, path: Path) -> None:
    """Compute what depends on weights alone, fuse batch normalization into convolutions, drop what is not used."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
