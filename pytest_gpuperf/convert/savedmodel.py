"""Keras → SavedModel, in FP32 or under a mixed-precision policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def convert(model: Any, path: Path, *, precision: str) -> None:
    """Write a Keras model as a SavedModel whose signature ``serving_default`` maps named inputs to named outputs.

    Inputs are named like the model's input layers, outputs like its output layers or, where it returns a dictionary,
    like its keys. Outputs are float32 in every precision, so that engines differ in what they compute and not in
    what they return.

    Args:
        model: the Keras model, in FP32.
        path: of the folder to write.
        precision: ``fp32``, ``mixed_float16`` or ``mixed_bfloat16``.
    """
    import keras
    import tensorflow as tf

    if precision != "fp32":
        model = under_policy(model, precision)
    signature = {
        tensor.name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=tensor.name) for tensor in model.inputs
    }

    def serve(inputs: dict[str, Any]) -> dict[str, Any]:
        # Packed as the model declares it: one tensor, a list, or a dictionary.
        structure = tf.nest.map_structure(lambda tensor: inputs[tensor.name], model.input)
        outputs = _named(model, model(structure, training=False))
        return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[signature])
    archive.write_out(str(path), verbose=False)


def under_policy(model: Any, policy: str) -> Any:
    """Return the same model with the same weights, every FP32 layer computing under the dtype policy ``policy``."""
    import keras

    config = _with_policy(keras.saving.serialize_keras_object(model), policy)
    rebuilt = keras.saving.deserialize_keras_object(config)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _with_policy(config: Any, policy: str) -> Any:
    if isinstance(config, list | tuple):
        return [_with_policy(item, policy) for item in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"].get("name") == "float32":
        return {**config, "config": {**config["config"], "name": policy}}
    return {key: _with_policy(value, policy) for key, value in config.items()}


def _named(model: Any, outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, dict):
        return outputs
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return dict(zip(model.output_names, outputs, strict=True))
