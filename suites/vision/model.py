"""ResNet-50 (Keras) with real weights from a file, or with seeded weights that behave like trained ones.

A network with random weights is no test subject as it is: its activations explode, its top-1 is the same class for
every image, and the smallest rounding decides between classes that tie. So the seeded weights get what training would
give them: batch-norm statistics of real activations, residual branches that refine rather than replace, and a head
that knows the scenes of the input set ``images-224``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

SEED = 50
CLASSES = 1000
CALIBRATION = 32
#: Scale of a residual branch's last batch norm; training starts from 0 (Goyal et al. 2017) and ends below 1.
BRANCH_SCALE = 0.25
LOGIT_SCALE = 12.0  # of a scene's own class
#: Penalty on the head's weights over the mean variance of the features: less knows the scenes better, and amplifies
#: rounding more.
RIDGE = 1.0


def build(weights: str | None = None) -> keras.Model:
    """Return ``images`` (batch, 224, 224, 3) → ``logits`` (batch, 1000).

    Args:
        weights: a ``.weights.h5`` file of ``keras.applications.ResNet50``, such as ImageNet's; ``None`` = seeded.
    """
    import keras

    images = keras.Input((224, 224, 3), name="images")
    model = keras.applications.ResNet50(
        weights=None, input_tensor=images, classes=CLASSES, classifier_activation=None, name="resnet50"
    )
    if weights is None:
        seed(model)
    else:
        model.load_weights(weights)
    model.get_layer("predictions").name = "logits"
    return keras.Model(model.inputs[0], {"logits": model.output}, name="resnet50")


def seed(model: keras.Model) -> None:
    """Fill the weights from a seed, a forward pass for the batch norms, and another one for the head."""
    from pytest_gpuperf import inputs

    generator = np.random.default_rng(SEED)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            fan_in = int(np.prod(layer.kernel.shape[:-1]))
            scale = np.float32((2 / fan_in) ** 0.5)  # He et al. 2015
            layer.kernel.assign(generator.standard_normal(layer.kernel.shape, np.float32) * scale)
            layer.bias.assign(np.zeros(layer.bias.shape, np.float32))
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(np.full(layer.gamma.shape, BRANCH_SCALE, np.float32))
    scenes = inputs.scenes()
    set_statistics(model, scenes[:: len(scenes) // CALIBRATION])
    set_head(model.get_layer("predictions"), features(model, scenes), generator)


def set_statistics(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Set every batch norm's mean and variance to those of ``images``, in one pass in training mode."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 0.0
    model([images], training=True)
    for norm in norms:
        norm.momentum = momentum
        for statistic in (norm.moving_mean, norm.moving_variance):
            statistic.assign(_stable(statistic.numpy()))


def features(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the head sees of ``images``, ``(len(images), 2048)``."""
    import keras

    body = keras.Model(model.inputs[0], model.get_layer("avg_pool").output)
    return np.concatenate([np.asarray(body(images[start : start + 32])) for start in range(0, len(images), 32)])


def set_head(head: Any, seen: NDArray[np.float32], generator: np.random.Generator) -> None:
    """Fit the head to the scenes by ridge regression: class k answers to scene k, an average image to no class.

    The classes beyond the scenes get random mixtures of the fitted directions, so that all logits are of one size.
    """
    mean = seen.mean(axis=0, dtype=np.float64)
    centred = seen - mean
    products = centred @ centred.T
    count = len(seen)
    fitted = np.linalg.solve(products + RIDGE * np.trace(products) / count * np.eye(count), centred)
    mixed = generator.standard_normal((CLASSES - count, count)) @ fitted * (0.5 / count**0.5)
    kernel = np.concatenate([fitted, mixed]).T
    kernel = _stable((kernel * (LOGIT_SCALE / np.diag(centred @ kernel[:, :count]).mean())).astype(np.float32))
    head.kernel.assign(kernel)
    head.bias.assign(_stable((-mean @ kernel).astype(np.float32)))


def _stable(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to 10 bits, so that the last bits of a sum do not make another model of it on another processor."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 1024) / 1024, exponent).astype(np.float32)
