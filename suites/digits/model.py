"""A small residual network on 8 by 8 handwritten digits, trained: real labels, real accuracy, in a millisecond."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

HERE = Path(__file__).parent
WEIGHTS = HERE / "digits.weights.h5"
IMAGES = HERE / "digits.npz"
CLASSES = 10


def build(weights: str | None = None) -> keras.Model:
    """Return the network with its trained weights, or with those in the file ``weights``."""
    model = network()
    model.load_weights(weights or WEIGHTS)
    return model


def network() -> keras.Model:
    """Return the untrained network: ``images`` (batch, 8, 8, 1) in 0 … 1 → ``logits`` (batch, 10)."""
    import keras

    images = keras.Input((8, 8, 1), name="images")
    x = _convolution(images, 16, name="stem")
    x = _block(x, 16, stride=1, name="block1")
    x = _block(x, 32, stride=2, name="block2")
    x = _block(x, 64, stride=2, name="block3")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = keras.layers.Dense(CLASSES, name="logits")(x)
    return keras.Model(images, logits, name="digits")


def inputs(samples: int, seed: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return held-out images and labels, in an order that ``seed`` decides; they repeat beyond the 360 there are."""
    return _draw("test", samples, seed)


def calibration(samples: int, seed: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return training images: quantization must not see what it is judged by."""
    return _draw("calibration", samples, seed)


def _draw(part: str, samples: int, seed: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    with np.load(IMAGES) as arrays:
        pixels, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    order = np.resize(np.random.default_rng(seed).permutation(len(labels)), samples)
    images = pixels[order].astype(np.float32)[..., np.newaxis] / 16  # scikit-learn's pixels are 0 … 16
    return {"images": images}, labels[order].astype(np.int64)


def _block(x: keras.KerasTensor, filters: int, *, stride: int, name: str) -> keras.KerasTensor:
    import keras

    shortcut = x
    if stride != 1:
        shortcut = _convolution(x, filters, kernel=1, stride=stride, activation=None, name=f"{name}_shortcut")
    x = _convolution(x, filters, stride=stride, name=f"{name}_1")
    x = _convolution(x, filters, activation=None, name=f"{name}_2")
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    *,
    name: str,
    kernel: int = 3,
    stride: int = 1,
    activation: str | None = "relu",
) -> keras.KerasTensor:
    import keras

    x = keras.layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(name=f"{name}_norm")(x)
    return x if activation is None else keras.layers.Activation(activation, name=f"{name}_relu")(x)
