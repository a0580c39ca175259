"""Train the digits network and write ``digits.weights.h5`` and ``digits.npz``: ``python suites/digits/train.py``.

Needs scikit-learn, for the images; the suite itself does not. Split and seeds are fixed: 80 % for training, 20 % held
out, the classes in equal shares. 128 training images are shipped too, for INT8 calibration.
"""

from __future__ import annotations

import keras
import model as digits
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7
EPOCHS = 40
CALIBRATION = 128


def main() -> None:
    keras.utils.set_random_seed(SEED)
    data = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        data.images.astype(np.uint8),
        data.target.astype(np.uint8),
        test_size=0.2,
        stratify=data.target,
        random_state=SEED,
    )
    network = digits.network()
    network.set_weights(train(train_x, train_y).get_weights())  # the optimizer's state would triple the file
    network.save_weights(digits.WEIGHTS)
    np.savez_compressed(
        digits.IMAGES,
        test_images=test_x,
        test_labels=test_y,
        calibration_images=train_x[:CALIBRATION],
        calibration_labels=train_y[:CALIBRATION],
    )
    images, labels = digits.inputs(len(test_y), seed=0)
    right = int((digits.build().predict(images["images"], verbose=0).argmax(axis=1) == labels).sum())
    print(f"held-out top-1: {right} of {len(labels)} = {right / len(labels):.2%}")  # noqa: T201


def train(pixels: np.ndarray, labels: np.ndarray) -> keras.Model:
    """Fit on images that are shifted by up to a pixel, with a learning rate that falls as a cosine."""
    network = digits.network()
    batch = 64
    steps = EPOCHS * -(-len(labels) // batch)
    network.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, steps), weight_decay=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    generator = np.random.default_rng(SEED)
    images = pixels.astype(np.float32)[..., np.newaxis] / 16
    for _ in range(EPOCHS):
        network.fit(_shifted(images, generator), labels, batch_size=batch, verbose=0)
    return network


def _shifted(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # Twice as likely to stay as to move, in each direction: the digits are centred, also when held out.
    offsets = generator.choice([0, 1, 1, 2], size=(len(images), 2))
    return np.stack([image[y : y + 8, x : x + 8] for image, (y, x) in zip(padded, offsets, strict=True)])


if __name__ == "__main__":
    main()
