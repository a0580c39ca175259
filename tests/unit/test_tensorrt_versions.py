"""One way to build for every release of TensorRT, each with the flags that it needs and no other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fakes import trt_releases
from fakes.trt_releases import Recorded

from pytest_gpuperf.engines.trt import versions
from pytest_gpuperf.engines.trt.builder import Plan, build
from pytest_gpuperf.engines.trt.versions import Release
from pytest_gpuperf.errors import ConfigError, EngineError

RELEASES = list(trt_releases.VERSIONS)
GRAPH = Path("net.onnx")


def release_of(api: Recorded) -> Release:
    return Release(name="tensorrt-rtx" if api.release == "rtx" else "tensorrt", version=api.__version__, api=api)


def asked(release: str, precision: str = "fp32", **more: object) -> Recorded:
    api = Recorded(release)
    assert build(release_of(api), GRAPH, Plan(precision=precision, max_batch=8, **more)).engine.endswith(
        release.encode()
    )
    return api


@pytest.mark.parametrize(
    ("release", "network"),
    [("8.6", "EXPLICIT_BATCH"), ("10", "STRONGLY_TYPED"), ("11", "STRONGLY_TYPED"), ("rtx", "STRONGLY_TYPED")],
)
def test_types_are_the_graphs_where_a_release_can_do_that(release, network):
    assert asked(release).asked[0] == ("create_network", network)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize(("precision", "weak"), [("fp32", set()), ("fp16", {"FP16"}), ("int8", {"FP16", "INT8"})])
def test_each_release_gets_exactly_its_flags(release, tf32, precision, weak):
    expected = (weak if release == "8.6" else set()) | ({"TF32"} if tf32 else set())
    assert asked(release, precision, tf32=tf32).flags() == expected


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("is_shared", [False, True])
def test_contexts_share_a_profile_by_a_preview_of_one_release(release, is_shared):
    previews = [words for words in asked(release, shared_profile=is_shared).asked if words[0] == "set_preview_feature"]
    assert [(feature.name, value) for _, feature, value in previews] == (
        [("PROFILE_SHARING_0806", True)] if release == "8.6" and is_shared else []
    )


@pytest.mark.parametrize("release", RELEASES)
def test_shape_profiles_are_everywhere_the_same(release):
    found = [words[1:] for words in asked(release, opt_batch=4, profiles=2).asked if words[0] == "set_shape"]
    assert found == [("x", (1, 4), (4, 4), (8, 4))] * 2


def test_only_rtx_builds_for_another_gpu():
    api = asked("rtx", compute_capability="8.6")
    assert [words[1].name for words in api.asked if words[0] == "set_compute_capability"] == ["SM86"]
    assert release_of(api).targets == ("8.0", "8.6", "8.9", "12.0")
    for release in RELEASES[:3]:
        with pytest.raises(ConfigError, match=f"tensorrt {trt_releases.VERSIONS[release]} cannot build for") as caught:
            asked(release, compute_capability="8.6")
        assert caught.value.expected == "a build on the GPU itself"


@pytest.mark.parametrize("release", RELEASES)
def test_a_parsers_error_names_what_the_release_tells(release):
    problem = trt_releases.parser_error(release, node="head/det", op="Det", reason="", code="UNSUPPORTED_NODE")
    with pytest.raises(ConfigError, match=r"cannot parse net\.onnx") as caught:
        build(release_of(Recorded(release, problems=(problem,))), GRAPH, Plan(precision="fp32"))
    where = "node #7" if release == "8.6" else "node 'head/det' (op Det)"
    assert caught.value.got == f"{where}: TensorRT does not support this operator"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("Builder", "could not make a builder"),
        ("add_optimization_profile", "refused the shape profile"),
        ("build_serialized_network", "could not build net.onnx"),
    ],
)
def test_every_refusal_is_an_error(release, call, what):
    with pytest.raises(EngineError, match=what) as caught:
        build(release_of(Recorded(release, refuse=frozenset({call}))), GRAPH, Plan(precision="fp16"))
    if call == "build_serialized_network":
        assert caught.value.got == "no implementation for node conv1"


def test_a_timing_cache_of_another_gpu_is_left_out():
    plan = Plan(precision="fp16")
    assert build(release_of(Recorded("10")), GRAPH, plan, timing_cache=b"of another GPU").timing_cache == b"timing"


def test_a_profiler_adds_up_what_a_layer_takes():
    times: dict[str, float] = {}
    profiler = release_of(Recorded("11")).profiler(times)
    for name, ms in (("conv1", 0.5), ("fc", 0.25), ("conv1", 0.5)):
        profiler.report_layer_time(name, ms)
    assert times == {"conv1": 1.0, "fc": 0.25}


@pytest.mark.parametrize(
    ("installed", "package", "found"),
    [
        (["11"], "", "tensorrt 11.4.0"),
        (["rtx"], "", "tensorrt-rtx 1.7.1.116"),
        (["8.6", "rtx"], "", "tensorrt 8.6.0"),
        (["8.6", "rtx"], "tensorrt-rtx", "tensorrt-rtx 1.7.1.116"),
    ],
)
def test_whichever_is_installed_unless_one_is_named(monkeypatch, installed, package, found):
    for module in versions.PACKAGES.values():
        monkeypatch.setitem(sys.modules, module, None)
    for release in installed:
        module = versions.PACKAGES["tensorrt-rtx" if release == "rtx" else "tensorrt"]
        monkeypatch.setitem(sys.modules, module, Recorded(release))
    release = versions.load(package)
    assert f"{release.name} {release.version}" == found


def test_the_named_package_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", Recorded("10"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(ConfigError, match="TensorRT is not installed") as caught:
        versions.load("tensorrt-rtx")
    assert "tensorrt-rtx: " in str(caught.value.got)
