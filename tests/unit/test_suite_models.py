"""The suites' own models: the same in every process, small where they are shipped, and honest in what they hold out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_gpuperf.script import Script

SUITES = Path(__file__).parents[2] / "suites"
CONTENT = """
import sys
from pathlib import Path
from pytest_gpuperf.convert import source
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.records import Model
model = Model(name="m", source=sys.argv[1], inputs="none", root=sys.argv[2])
print(source.find(model, print).content(Cache(Path(sys.argv[3])), print))
"""


def module(name):
    script = Script.find(f"{name}/model.py:build", str(SUITES))
    script.load()
    return sys.modules[script.load().__module__]


def content(source, cache):
    command = [sys.executable, "-c", CONTENT, source, str(SUITES), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_digits_build_the_same_in_two_processes(tmp_path):
    children = [content("digits/model.py:build", tmp_path / name) for name in "ab"]
    outputs = [child.communicate(timeout=200)[0].splitlines() for child in children]
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == "building m in Keras"
    assert len(outputs[0][-1]) == 64


def test_digits_are_small_and_hold_out_a_fifth_in_equal_shares():
    digits = module("digits")
    assert digits.WEIGHTS.stat().st_size < 1_000_000
    arrays, labels = digits.inputs(360, seed=0)
    assert len({image.tobytes() for image in arrays["images"]}) == 360
    assert arrays["images"].min() == 0
    assert arrays["images"].max() == 1
    counts = np.bincount(labels, minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_digits_are_not_calibrated_on_what_they_are_judged_by():
    digits = module("digits")
    held_out = {image.tobytes() for image in digits.inputs(360, seed=0)[0]["images"]}
    seen = {image.tobytes() for image in digits.calibration(128, seed=1)[0]["images"]}
    assert len(seen) == 128
    assert not held_out & seen


def test_digits_order_depends_on_the_seed_only():
    digits = module("digits")
    first, second = (digits.inputs(32, seed=seed)[1] for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert np.array_equal(digits.inputs(400, seed=0)[1][360:], digits.inputs(40, seed=0)[1])


class Head:
    """A Dense layer, as far as ``set_head`` knows one."""

    def __init__(self):
        self.kernel, self.bias = Variable(), Variable()


class Variable:
    def __init__(self, name="kernel", shape=()):
        self.name, self.shape, self.value = name, shape, None

    def assign(self, value):
        self.value = value


def test_the_head_knows_the_scenes_and_centres_the_logits():
    vision = module("vision")
    seen = np.random.default_rng(1).standard_normal((16, 64)).astype(np.float32) + 3
    head = Head()
    vision.set_head(head, seen, np.random.default_rng(2))
    logits = seen @ head.kernel.value + head.bias.value
    assert logits.shape == (16, 1000)
    assert (logits[:, :16].argmax(axis=1) == np.arange(16)).all()
    assert abs(logits.mean(axis=0)).max() < 0.1
    assert np.diag(logits).mean() == pytest.approx(vision.LOGIT_SCALE, rel=0.01)


def test_statistics_are_rounded_so_that_processors_agree():
    stable = module("vision")._stable
    values = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    rounded = stable(values)
    assert np.abs(rounded / values - 1).max() <= 2**-10
    assert np.array_equal(stable(rounded), rounded)
    assert (stable(np.nextafter(values, np.float32(np.inf))) == rounded).mean() > 0.99


def test_bert_weights_are_small_around_zero_and_scales_around_one():
    language = module("language")
    model = type("Model", (), {"weights": [Variable("kernel", (200, 50)), Variable("gamma", (1000,))]})()
    language.seed(model)
    kernel, gamma = (variable.value for variable in model.weights)
    assert kernel.std() == pytest.approx(0.02, rel=0.05)
    assert gamma.mean() == pytest.approx(1, abs=0.005)
    assert gamma.dtype == np.float32
