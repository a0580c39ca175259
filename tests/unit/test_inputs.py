"""Input sets: seeded, checked, and the same in every process."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuperf import inputs
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec


def spec(name, batch=2, samples=4, seed=0, root="."):
    return BatchSpec(inputs=name, batch=batch, samples=samples, seed=seed, root=str(root))


def test_images_look_like_preprocessed_photographs():
    images = inputs.load(spec("images-224", batch=8, samples=32)).arrays["images"]
    assert images.shape == (32, 224, 224, 3)
    assert images.dtype == np.float32
    assert abs(images.mean()) < 10
    assert 40 < images.std() < 70
    # Neighbours are alike, as in photographs and not in noise.
    assert np.corrcoef(images[:, :, :-1].ravel(), images[:, :, 1:].ravel())[0, 1] > 0.8


def test_scenes_come_once_before_one_comes_again():
    scenes = inputs.scenes(4)
    assert len({scene.tobytes() for scene in scenes}) == 4
    order = np.random.default_rng([0, 224]).permutation(inputs.SCENES)
    images = inputs.load(spec("images-224")).arrays["images"]
    for image, scene in zip(images, order[:4], strict=True):
        correlation = np.corrcoef(image.mean((0, 1)), inputs.scenes(int(scene) + 1)[-1].mean((0, 1)))
        assert correlation[0, 1] > 0.99


def test_tokens_are_sentence_pairs_with_padding():
    arrays = inputs.load(spec("tokens-128", samples=32)).arrays
    ids, mask, segments = arrays["token_ids"], arrays["padding_mask"], arrays["segment_ids"]
    assert {array.dtype.name for array in arrays.values()} == {"int32"}
    assert (ids[:, 0] == 101).all()
    assert ((ids == 102).sum(axis=1) == 2).all()
    assert ((ids != 0) == (mask == 1)).all()
    assert (segments <= mask).all()
    assert (segments.sum(axis=1) > 0).all()
    assert ids.max() < 30_522
    assert (mask.sum(axis=1) >= 64).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), batch=st.integers(1, 5), count=st.integers(1, 4))
def test_same_seed_same_set_and_batches_are_its_parts(seed, batch, count):
    wanted = spec("tokens-128", batch=batch, samples=batch * count, seed=seed)
    made = inputs.load(wanted)
    assert made.digest == inputs.load(wanted).digest
    assert made.digest != inputs.load(spec("tokens-128", batch, batch * count, seed + 1)).digest
    parts = list(made.batches())
    assert len(parts) == count
    for name, array in made.arrays.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts]), array)


def test_another_process_makes_the_same_set():
    code = (
        "from pytest_gpuperf import inputs; from pytest_gpuperf.records import BatchSpec\n"
        "print(inputs.load(BatchSpec(inputs='images-224', batch=2, samples=4)).digest)"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert other.stdout.strip() == inputs.load(spec("images-224")).digest


def test_calibration_is_another_draw():
    assert not np.array_equal(
        inputs.calibration("tokens-128", 4, ".").arrays["token_ids"],
        inputs.load(spec("tokens-128")).arrays["token_ids"],
    )


def test_calibration_takes_the_files_own_function(tmp_path):
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def inputs(samples, seed): return {'x': np.zeros(samples)}, np.arange(samples)\n"
        "def calibration(samples, seed): return {'x': np.ones(samples)}\n"
    )
    evaluated = inputs.load(spec("data.py:inputs", root=tmp_path))
    assert evaluated.arrays["x"].tolist() == [0, 0, 0, 0]
    assert evaluated.labels.tolist() == [0, 1, 2, 3]
    calibrated = inputs.calibration("data.py:inputs", 3, str(tmp_path))
    assert calibrated.arrays["x"].tolist() == [1, 1, 1]
    assert calibrated.labels is None


def test_the_digest_covers_names_types_shapes_contents_and_labels(tmp_path):
    variants = [
        "{'x': np.zeros(4, np.int32)}",
        "{'y': np.zeros(4, np.int32)}",
        "{'x': np.zeros(4, np.float32)}",
        "{'x': np.zeros((4, 1), np.int32)}",
        "{'x': np.ones(4, np.int32)}",
        "({'x': np.zeros(4, np.int32)}, np.zeros(4, np.int32))",
    ]
    digests = set()
    for index, variant in enumerate(variants):
        (tmp_path / f"v{index}.py").write_text(f"import numpy as np\ndef f(samples, seed): return {variant}\n")
        digests.add(inputs.load(spec(f"v{index}.py:f", root=tmp_path)).digest)
    assert len(digests) == len(variants)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (spec("images-224", batch=0), "impossible batch\n  got:      batch 0, 4 samples"),
        (spec("images-224", batch=3), "impossible batch\n  got:      batch 3, 4 samples"),
        (
            spec("images-22"),
            "unknown input set\n  got:      'images-22'\n  expected: one of images-224, tokens-128, or",
        ),
        (spec("no.py:f"), "no such file\n"),
        (spec("no.py:"), "not a function in a file\n  got:      'no.py:'\n  expected: path/to/file.py:function"),
    ],
)
def test_bad_requests(wanted, message):
    with pytest.raises(ConfigError) as caught:
        inputs.load(wanted)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1]", "returned something else than arrays by name\n  got:      list"),
        ("return {'x': np.zeros(3)}", "'x' has the wrong length\n  got:      (3,)\n  expected: (4, …)"),
        ("return {'x': np.zeros(4)}, np.zeros(5)", "'labels' has the wrong length\n  got:      (5,)"),
    ],
)
def test_bad_functions(tmp_path, body, message):
    (tmp_path / "bad.py").write_text(f"import numpy as np\ndef f(samples, seed): {body}\n")
    with pytest.raises(ConfigError) as caught:
        inputs.load(spec("bad.py:f", root=tmp_path))
    assert message in str(caught.value)


def test_a_missing_function_is_named(tmp_path):
    (tmp_path / "bad.py").write_text("")
    with pytest.raises(ConfigError, match=r"bad.py has no function 'f'\n  next: +define it"):
        inputs.load(spec("bad.py:f", root=tmp_path))
