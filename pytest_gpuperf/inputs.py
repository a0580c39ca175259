"""Seeded input sets: the same name, size and seed give the same arrays in every process and on every machine.

``images-224`` and ``tokens-128`` are made here; ``file.py:function`` is a user's own, called with ``(samples, seed)``,
which returns a dictionary of arrays, or that and an array of labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec
from pytest_gpuperf.script import Script

Arrays = dict[str, NDArray[Any]]

#: Scenes that ``images-224`` shows; sample after sample each comes once before one comes again.
SCENES = 128
#: Far from the seeds that people choose, so that calibration and evaluation do not meet by accident.
CALIBRATION_SEED = 7_919_000_017

_IMAGE = 224
_TOKENS = 128
_BERT_VOCABULARY = 30_522
_BERT_CLS, _BERT_SEP = 101, 102
_BERT_FIRST_WORD = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """A whole input set.

    Attributes:
        arrays: by input name, each ``(samples, …)``.
        labels: the right class of each sample, ``(samples,)``, where the set knows it.
        batch: samples in one batch.
        digest: sha256 of names, types, shapes and contents.
    """

    arrays: Arrays
    labels: NDArray[np.integer] | None
    batch: int
    digest: str

    def batches(self) -> Iterator[Arrays]:
        """Yield the set in order, ``batch`` samples at a time."""
        samples = len(next(iter(self.arrays.values())))
        for start in range(0, samples, self.batch):
            yield {name: array[start : start + self.batch] for name, array in self.arrays.items()}


def load(spec: BatchSpec) -> Batches:
    """Make the input set that ``spec`` names.

    Raises:
        ConfigError: the set is unknown, the sizes are impossible, or a user's function returned something else.
    """
    if spec.batch < 1 or spec.samples < 1 or spec.samples % spec.batch:
        raise ConfigError(
            "impossible batch",
            got=f"batch {spec.batch}, {spec.samples} samples",
            expected="a batch of at least 1, and a number of samples that it divides",
        )
    made = _generator(spec)(spec.samples, spec.seed)
    arrays, labels = made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # noqa: PLR2004 - a pair
    arrays = _checked(arrays, labels, spec)
    return Batches(arrays=arrays, labels=labels, batch=spec.batch, digest=digest(arrays, labels))


def calibration(inputs: str, samples: int, root: str) -> Batches:
    """Make the set that INT8 ranges are taken from: ``inputs`` with a seed of its own.

    A user's file may define a function ``calibration`` next to its input set, where the two must not overlap.
    """
    if inputs not in _SETS:
        script = Script.find(inputs, root)
        if script.has("calibration"):
            inputs = f"{script.path}:calibration"
    return load(BatchSpec(inputs=inputs, batch=1, samples=samples, seed=CALIBRATION_SEED, root=root))


def scenes(count: int = SCENES) -> NDArray[np.float32]:
    """Return the first scenes without the noise of a sample, ``(count, 224, 224, 3)``."""
    return np.stack([_scene(index) for index in range(count)])


def _generator(spec: BatchSpec) -> Callable[[int, int], Any]:
    known = _SETS.get(spec.inputs)
    if known is not None:
        return known
    if ":" not in spec.inputs:
        raise ConfigError(
            "unknown input set", got=repr(spec.inputs), expected=f"one of {', '.join(_SETS)}, or file.py:function"
        )
    return Script.find(spec.inputs, spec.root).load()


def _images(samples: int, seed: int) -> Arrays:
    """Scenes in a seeded order, each a little brighter or darker, shifted, and with the noise of a sensor.

    Values are about what Keras' ``preprocess_input`` leaves of a photograph: mean 0, standard deviation 60.
    """
    generator = np.random.default_rng([seed, 224])
    order = np.resize(generator.permutation(SCENES), samples)
    images = np.empty((samples, _IMAGE, _IMAGE, 3), np.float32)
    for index, scene in enumerate(order):
        shift = tuple(int(pixels) for pixels in generator.integers(-4, 5, 2))
        light = np.float32(generator.uniform(0.9, 1.1))
        noise = generator.standard_normal(images.shape[1:], np.float32) * np.float32(2)
        images[index] = np.roll(_scene(int(scene)), shift, axis=(0, 1)) * light + noise
    return {"images": images}


def _scene(index: int) -> NDArray[np.float32]:
    """A colour image whose amplitude falls with spatial frequency f as f^-slope, as in photographs (slope about 1).

    Field, D. J. (1987), "Relations between the statistics of natural images and the response properties of cortical
    cells", J. Opt. Soc. Am. A 4(12). Slope and orientation vary, so that scenes differ in texture, not in phase alone.
    """
    generator = np.random.default_rng([index, 1987])
    y, x = np.fft.fftfreq(_IMAGE)[:, None], np.fft.rfftfreq(_IMAGE)[None, :]
    angle, stretch = generator.uniform(0, np.pi), generator.uniform(1, 4)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    frequency = np.maximum(np.sqrt(along**2 + (stretch * across) ** 2), 1 / _IMAGE)
    amplitude = frequency ** -generator.uniform(0.7, 1.6)
    phases = np.exp(2j * np.pi * generator.random((3, *frequency.shape)))
    field = np.fft.irfft2(amplitude * phases, s=(_IMAGE, _IMAGE), axes=(1, 2))
    field = (field - field.mean((1, 2), keepdims=True)) / field.std((1, 2), keepdims=True)
    mixed = np.einsum("cd,dyx->yxc", 0.4 + generator.random((3, 3)), field)
    tint = generator.uniform(-40, 40, 3)
    image: NDArray[np.float32] = (mixed / mixed.std() * 45 + tint).astype(np.float32)
    return image


def _tokens(samples: int, seed: int) -> Arrays:
    """Sentence pairs as BERT's tokenizer leaves them: [CLS] words [SEP] words [SEP] padding, 64 to 128 tokens."""
    generator = np.random.default_rng([seed, 128])
    token_ids = np.zeros((samples, _TOKENS), np.int32)
    padding_mask, segment_ids = np.zeros_like(token_ids), np.zeros_like(token_ids)
    for row in range(samples):
        length = int(generator.integers(_TOKENS // 2, _TOKENS + 1))
        middle = int(generator.integers(length // 4, 3 * length // 4))
        token_ids[row, :length] = generator.integers(_BERT_FIRST_WORD, _BERT_VOCABULARY, length)
        token_ids[row, 0] = _BERT_CLS
        token_ids[row, [middle, length - 1]] = _BERT_SEP
        padding_mask[row, :length] = 1
        segment_ids[row, middle + 1 : length] = 1
    return {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": segment_ids}


_SETS: dict[str, Callable[[int, int], Any]] = {"images-224": _images, "tokens-128": _tokens}


def _checked(arrays: Any, labels: Any, spec: BatchSpec) -> Arrays:
    if not isinstance(arrays, dict) or not arrays or not all(isinstance(a, np.ndarray) for a in arrays.values()):
        raise ConfigError(
            f"input set {spec.inputs!r} returned something else than arrays by name",
            got=type(arrays).__name__,
            expected="dict[str, ndarray], or that and an array of labels",
        )
    for name, array in [*arrays.items(), *([] if labels is None else [("labels", np.asarray(labels))])]:
        if array.shape[:1] != (spec.samples,):
            raise ConfigError(
                f"input set {spec.inputs!r}: {name!r} has the wrong length",
                got=str(array.shape),
                expected=f"({spec.samples}, …)",
            )
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def digest(arrays: Arrays, labels: NDArray[np.integer] | None) -> str:
    """Return the sha256 of names, types, shapes and contents."""
    sha = hashlib.sha256()
    for name, array in [*sorted(arrays.items()), *([] if labels is None else [("", labels)])]:
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()
