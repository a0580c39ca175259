"""``--gpu-trt`` and ``gpuperf_trt`` choose among the TensorRT packages that are installed."""

from __future__ import annotations

import pytest
from fakes.repository import isolate

from pytest_gpuperf import options
from pytest_gpuperf.engines.trt import versions

SUITE = """
from pytest_gpuperf import Model

NET = Model(name="net", source="net.onnx", inputs="images-224")

def test_choice(engine):
    assert engine(NET, "tensorrt").options == EXPECTED
    assert engine(NET, "tensorrt", package="tensorrt").options == {"package": "tensorrt"}
    assert engine(NET, "onnxruntime").options == {}
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], {}), (["--gpu-trt=auto"], {}), (["--gpu-trt=tensorrt-rtx"], {"package": "tensorrt-rtx"}),
     (["-o", "gpuperf_trt=tensorrt"], {"package": "tensorrt"})],
)  # fmt: skip
def test_the_package_becomes_an_option_of_the_engine(pytester, monkeypatch, arguments, expected):
    isolate(pytester, monkeypatch)
    pytester.makepyfile(SUITE.replace("EXPECTED", repr(expected)))
    pytester.runpytest("--gpu-profile=cpu", *arguments).assert_outcomes(passed=1)


def test_the_option_knows_every_package():
    assert set(options.TRT_PACKAGES) == {"auto", *versions.PACKAGES}
