"""BERT-base with 128 tokens: KerasHub's backbone with seeded weights, or with real ones from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

TOKENS = 128
SEED = 12


def build(weights: str | None = None) -> keras.Model:
    """Return ``token_ids``, ``padding_mask``, ``segment_ids`` (batch, 128) → ``pooled`` (batch, 768), ``sequence``.

    ``sequence`` is (batch, 128, 768). ``weights`` is a file of the backbone's ``save_weights``; without one the weights
    are seeded.
    """
    import keras
    import keras_hub

    inputs = {
        name: keras.Input((TOKENS,), dtype="int32", name=name) for name in ("token_ids", "padding_mask", "segment_ids")
    }
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30_522, num_layers=12, num_heads=12, hidden_dim=768, intermediate_dim=3_072, name="bert"
    )
    if weights is None:
        seed(backbone)
    else:
        backbone.load_weights(weights)
    outputs = backbone(inputs)
    return keras.Model(
        inputs, {"pooled": outputs["pooled_output"], "sequence": outputs["sequence_output"]}, name="bert_base"
    )


def seed(model: keras.Model) -> None:
    """Fill the weights as BERT's authors do before training, and spread what training would spread.

    Matrices are normal with standard deviation 0.02 (Devlin et al. 2018; cut off at two deviations there). Biases and
    the layer normalizations' offsets are small but not 0, and the scales vary around 1, so that an engine which drops
    one of them is found out.
    """
    generator = np.random.default_rng(SEED)
    for variable in model.weights:
        values = generator.standard_normal(variable.shape, np.float32) * np.float32(0.02)
        variable.assign(values + np.float32(1) if variable.name == "gamma" else values)
