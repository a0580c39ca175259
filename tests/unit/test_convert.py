"""Conversion, on the digits model: every precision and source, warm starts, and bad input."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_gpuperf import convert
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Model

SUITES = Path(__file__).parents[2] / "suites"
CHILD = Path(__file__).with_name("convert_digits.py")
WARM = """
import json, sys
from pathlib import Path
from pytest_gpuperf import convert
from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.records import Model
model = Model(name="digits", source="model.py:build", inputs="model.py:inputs", root=sys.argv[1] + "/digits")
def say(text): raise AssertionError(text)
paths = [
    convert.prepare(model, kind=kind, precision=precision, cache=Cache(Path(sys.argv[1], "cache")), progress=say).path
    for kind, precision in [("savedmodel", "fp32"), ("savedmodel", "mixed_float16"), ("onnx", "fp32"), ("onnx", "int8")]
]
print(json.dumps([paths, sorted({"tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx"} & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    subprocess.run([sys.executable, CHILD, folder], check=True, timeout=300)
    return SimpleNamespace(
        folder=folder,
        types=json.loads((folder / "types.json").read_text()),
        outputs=dict(np.load(folder / "outputs.npz")),
        **json.loads((folder / "made.json").read_text()),
    )


def run(path, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def rel_rmse(got, want):
    return float(np.sqrt(np.mean((got - want) ** 2)) / np.sqrt(np.mean(want**2)))


def top1(logits, labels):
    return float((logits.argmax(axis=1) == labels).mean())


def graph(path):
    import onnx

    return onnx.load(path).graph


@pytest.mark.parametrize("name", ["onnx", "from .keras", "from savedmodel", "from onnx"])
def test_onnx_agrees_with_tensorflow(digits, name):
    got = run(digits.made[name]["path"], digits.outputs["images"])
    assert rel_rmse(got, digits.outputs["fp32"]) < 1e-5
    assert top1(got, digits.outputs["labels"]) >= 0.98


def test_onnx_is_plain_and_its_batch_is_dynamic(digits):
    import onnx

    model = onnx.load(digits.made["onnx"]["path"])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [
        ("", 17)
    ]
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [tensor.name for tensor in model.graph.input] == ["images"]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        8,
        8,
        1,
    ]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim] == ["batch", 10]
    # 9 convolutions, 7 activations, 3 sums, a mean, a product; a few transposes and scales between them.
    assert len(model.graph.node) <= 30
    for batch in (1, 3):
        assert run(digits.made["onnx"]["path"], digits.outputs["images"][:batch]).shape == (batch, 10)


def test_int8_keeps_its_accuracy(digits):
    got, labels = run(digits.made["int8"]["path"], digits.outputs["images"]), digits.outputs["labels"]
    assert top1(digits.outputs["fp32"], labels) - top1(got, labels) <= 0.005
    assert 1e-4 < rel_rmse(got, digits.outputs["fp32"]) < 0.05


def test_int8_is_symmetric_and_weights_are_per_channel(digits):
    from onnx import numpy_helper

    int8 = graph(digits.made["int8"]["path"])
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.initializer}
    pairs = [node for node in int8.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [values[node.input[2]] for node in pairs]
    assert {zero.dtype.name for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)
    weights = {node.output[0]: node for node in pairs if node.input[0] in values}
    convolutions = [node for node in int8.node if node.op_type == "Conv"]
    assert len(convolutions) == 9
    for node in convolutions:
        weight = weights[node.input[1]]
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == values[weight.input[0]].shape[:1]


@pytest.mark.parametrize(
    ("policy", "compute", "bound"), [("mixed_float16", "half", 0.01), ("mixed_bfloat16", "bfloat16", 0.05)]
)
def test_mixed_precision_computes_in_what_it_says(digits, policy, compute, bound):
    assert digits.types["fp32"] == ["float32"]
    assert digits.types[policy] == [{"half": "float16"}.get(compute, compute)]
    got = digits.outputs[policy]
    assert got.dtype == np.float32
    assert 0 < rel_rmse(got, digits.outputs["fp32"]) < bound


def test_a_change_that_is_none_finds_the_artefact_again(digits):
    assert digits.made["comment"] == digits.made["onnx"]
    assert digits.said["comment"] == ["building digits in Keras"]


def test_progress_names_every_long_step(digits):
    assert digits.said["fp32"] == ["building digits in Keras", "saving digits as a SavedModel (fp32)"]
    assert digits.said["int8"] == ["calibrating digits for INT8 on 32 samples"]


def test_a_warm_start_loads_no_library(digits):
    done = subprocess.run(
        [sys.executable, "-c", WARM, str(digits.folder)], check=True, capture_output=True, text=True, timeout=60
    )
    paths, loaded = json.loads(done.stdout)
    assert paths == [digits.made[name]["path"] for name in ("fp32", "mixed_float16", "onnx", "int8")]
    assert loaded == []


def prepare(tmp_path, source, kind="onnx", precision="fp32", **more):
    model = Model(name="m", source=source, inputs="images-224", root=str(tmp_path), **more)
    return convert.prepare(model, kind=kind, precision=precision, cache=Cache(tmp_path / "cache"), progress=print)


def refused(tmp_path, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        prepare(tmp_path, *args, **kwargs)
    return str(caught.value)


def test_a_missing_weights_file_is_named(tmp_path):
    text = refused(tmp_path, str(SUITES / "digits" / "model.py") + ":build", weights="real.h5")
    assert text == (
        "the weights of model 'm' are missing\n"
        f"  got:      {tmp_path / 'real.h5'}\n"
        "  expected: a file that the model's builder loads\n"
        "  next:     correct Model(weights=…), or leave it out for the suite's own weights"
    )


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_damaged_onnx_file_is_refused(digits, tmp_path, keep):
    whole = Path(digits.made["onnx"]["path"]).read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[:keep] if keep else b"no model")
    text = refused(tmp_path, "m.onnx")
    assert text.startswith(f"a damaged ONNX file\n  got:      {tmp_path / 'm.onnx'}: ")
    assert text.endswith("  expected: a model that onnx.checker accepts\n  next:     export or copy it again")


def test_an_onnx_file_does_not_become_a_savedmodel(digits, tmp_path):
    text = refused(tmp_path, digits.made["onnx"]["path"], kind="savedmodel")
    assert text.startswith("model 'm' cannot become a SavedModel in fp32\n  got:      a source of the kind onnx: ")


def test_calibration_inputs_must_fit_the_model(digits, tmp_path):
    (tmp_path / "data.py").write_text("import numpy as np\ndef f(samples, seed): return {'x': np.zeros(samples)}\n")
    model = Model(name="m", source=digits.made["onnx"]["path"], inputs="data.py:f", root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"does not feed the model\n  got: +no array named images\n"):
        convert.prepare(model, kind="onnx", precision="int8", cache=Cache(tmp_path / "cache"), progress=print)


@pytest.mark.parametrize(
    ("source", "kind", "precision", "text"),
    [
        ("m.py:build", "onnx", "fp32", "no such file\n"),
        ("m.onnx", "onnx", "fp32", "model 'm' is not there\n"),
        (".", "onnx", "fp32", "model 'm' has an unknown kind of source\n"),
        ("m.onnx", "onnx", "int4", "no conversion to onnx in int4\n  expected: savedmodel: fp32, mixed_float16, "),
        ("m.onnx", "engine", "fp32", "no conversion to engine in fp32\n"),
    ],
)
def test_bad_requests(tmp_path, source, kind, precision, text):
    assert refused(tmp_path, source, kind, precision).startswith(text)
