"""TF-TRT without a GPU: version gates and their words, what a converted graph is made of, what is kept on disk."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fakes import cases
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import engines
from pytest_gpuperf.engines import tftrt
from pytest_gpuperf.engines.tf import placement, store, trace, trt
from pytest_gpuperf.engines.tf.trt import Coverage, Versions
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import EngineSpec

SAME, PATCH = Versions(linked=(8, 6, 1), loaded=(8, 6, 1)), Versions(linked=(8, 6, 1), loaded=(8, 6, 0))


def spec(**options: str) -> EngineSpec:
    return EngineSpec(kind="tftrt", model=cases.MODEL, precision="fp16", max_batch=8, options=options)


def node(op: str, **attributes: Any) -> SimpleNamespace:
    return SimpleNamespace(op=op, name=f"a/{op}", attr=attributes)


def calls(function: str) -> SimpleNamespace:
    return SimpleNamespace(func=SimpleNamespace(name=function))


def function(name: str, *nodes: Any) -> SimpleNamespace:
    return SimpleNamespace(signature=SimpleNamespace(name=name), node_def=nodes)


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.18.0", "2.21.0", "3.0.0"])
def test_a_tensorflow_after_2_17_names_the_way_on(version: str) -> None:
    with pytest.raises(ConfigError) as caught:
        trt.converter(SimpleNamespace(__version__=version))
    assert str(caught.value).splitlines() == [
        "TF-TRT ended with TensorFlow 2.17",
        f"  got:      TensorFlow {version}",
        "  expected: at most 2.17",
        "  next:     ask for the fixture trt_engine: it builds native TensorRT engines from the same model",
    ]


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """TF-TRT's module as TensorFlow 2.17 has it, as far as the gates look."""
    name = "tensorflow.python.compiler.tensorrt"
    for part in ("tensorflow", "tensorflow.python", "tensorflow.python.compiler"):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    package, module = ModuleType(name), ModuleType(f"{name}.trt_convert")
    utils = SimpleNamespace(
        is_tensorrt_enabled=lambda: True,
        get_linked_tensorrt_version=lambda: (8, 6, 1),
        get_loaded_tensorrt_version=lambda: (8, 6, 0),
    )
    module._pywrap_py_utils = utils  # type: ignore[attr-defined]
    package.trt_convert = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_2_17_is_let_in_and_tells_both_versions(converter: ModuleType) -> None:
    assert trt.converter(SimpleNamespace(__version__="2.17.1")) is converter
    assert trt.versions(converter) == PATCH
    assert str(PATCH) == "loaded 8.6.0, linked 8.6.1"
    assert str(SAME) == "8.6.1"


def test_a_build_without_tensorrt_is_refused(converter: ModuleType) -> None:
    converter._pywrap_py_utils.is_tensorrt_enabled = lambda: False
    with pytest.raises(ConfigError, match="this TensorFlow was built without TensorRT") as caught:
        trt.converter(SimpleNamespace(__version__="2.17.1"))
    assert caught.value.expected == (
        "the package tensorflow, not tensorflow-cpu, with TensorRT's libraries on LD_LIBRARY_PATH"
    )


def test_another_patch_needs_leave() -> None:
    trt.check(SAME, allow_patch_mismatch=False)
    trt.check(PATCH, allow_patch_mismatch=True)
    with pytest.raises(ConfigError) as caught:
        trt.check(PATCH, allow_patch_mismatch=False)
    assert str(caught.value).splitlines() == [
        "TensorFlow was compiled with another TensorRT than the one that it finds",
        "  got:      loaded 8.6.0, linked 8.6.1",
        "  expected: TensorRT 8.6.1",
        "  next:     to measure nevertheless set gpuperf_tftrt_allow_patch_mismatch = true; every report will say so",
    ]


@pytest.mark.parametrize("loaded", [(8, 5, 3), (8, 7, 1), (10, 0, 1)])
def test_another_release_is_refused_whatever_was_allowed(loaded: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="compiled with another TensorRT"):
        trt.check(Versions(linked=(8, 6, 1), loaded=loaded), allow_patch_mismatch=True)


def test_no_tensorrt_at_all_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        trt.check(Versions(linked=(8, 6, 1), loaded=(0, 0, 0)), allow_patch_mismatch=True)
    assert caught.value.what == "TensorFlow finds no TensorRT"
    assert caught.value.expected == "TensorRT 8.6.1 on LD_LIBRARY_PATH"


@pytest.mark.slow
def test_the_installed_tensorflow_is_refused_or_can_convert() -> None:
    tf = pytest.importorskip("tensorflow")
    if tuple(map(int, tf.__version__.split(".")[:2])) > trt.LAST:
        with pytest.raises(ConfigError, match=r"TF-TRT ended with TensorFlow 2\.17"):
            engines.load("tftrt")(spec())
        return
    try:
        module = trt.converter(tf)
    except ConfigError as error:
        pytest.skip(error.what)
    assert trt.versions(module).linked[0] >= 8
    assert hasattr(module, "TrtGraphConverterV2")
    assert hasattr(module, trt._CHECK), "the converter's own check has moved"


# --- the converted graph ----------------------------------------------------------------------------------------------

SEGMENT = function("segment", node("_Arg"), node("Conv2D"), node("Relu"), node("_Retval"))
ENGINE = node(
    "TRTEngineOp", segment_func=calls("segment"), precision_mode=SimpleNamespace(s=b"FP16"), T=SimpleNamespace(type=1)
)


def graph(*nodes: Any, functions: tuple[Any, ...] = (SEGMENT,)) -> SimpleNamespace:
    return SimpleNamespace(node=nodes, library=SimpleNamespace(function=functions))


def test_coverage_counts_what_each_segment_replaced() -> None:
    found = trt.coverage(graph(node("Placeholder"), ENGINE, node("ArgMax"), node("Identity")))
    assert found == Coverage(segments=1, inside=2, outside=("a/ArgMax",), modes=frozenset({"fp16"}))
    assert (found.total, round(found.share_pct, 1)) == (3, 66.7)


def test_coverage_looks_into_functions_that_the_graph_calls() -> None:
    inner = function("inner", node("PartitionedCall", f=calls("innermost")))
    innermost = function("innermost", ENGINE, node("Softmax"))
    found = trt.coverage(
        graph(node("StatefulPartitionedCall", f=calls("inner")), functions=(SEGMENT, inner, innermost))
    )
    assert (found.segments, found.inside, found.outside) == (1, 2, ("a/Softmax",))


def test_a_change_that_pushes_operations_out_fails() -> None:
    before = Coverage(segments=1, inside=181, outside=("a", "b"), modes=frozenset({"fp16"}))
    after = Coverage(segments=2, inside=120, outside=tuple(f"op{i}" for i in range(63)), modes=frozenset({"fp16"}))
    tftrt.check(before, 95)
    with pytest.raises(ConfigError) as caught:
        tftrt.check(after, 95)
    assert caught.value.what == "TF-TRT left more operations to TensorFlow than allowed"
    assert caught.value.got == ("120 of 183 operations in 2 TensorRT segments; outside: op0, op1, op2, op3, op4 …")
    assert caught.value.expected == "at least one segment and 95 % of the operations"


def test_no_segment_at_all_fails_without_any_gate() -> None:
    with pytest.raises(ConfigError, match="left more operations"):
        tftrt.check(Coverage(segments=0, inside=0, outside=("a",), modes=frozenset()), 0)


def test_a_mismatch_that_was_allowed_is_said_in_every_report() -> None:
    found = Coverage(segments=1, inside=9, outside=("a",), modes=frozenset({"fp16"}))
    assert tftrt.notes(SAME, found) == ("TF-TRT: 9 of 10 operations in 1 TensorRT segments",)
    assert tftrt.notes(PATCH, found)[1] == (
        "TF-TRT with another patch of TensorRT than TensorFlow was compiled with: loaded 8.6.0, linked 8.6.1"
    )


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_have_defaults() -> None:
    assert tftrt.options(spec(batches="1,8")) == {
        "batches": "1,8",
        "shapes": "static",
        "transfers": "in_out",
        "min_converted_pct": "0",
        "allow_patch_mismatch": "false",
    }
    assert tftrt.options(spec())["batches"] == "8"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": "1"}, "engine 'tftrt' has no option 'batch'"),
        ({"batches": "1,x"}, "option 'batches' has an impossible value"),
        ({"shapes": "any"}, "option 'shapes' has an impossible value"),
        ({"min_converted_pct": "most"}, "option 'min_converted_pct' has an impossible value"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tftrt.options(spec(**options))
    assert caught.value.what == message


@pytest.mark.parametrize(
    ("shapes", "taken", "refused", "expected"),
    [
        ("static", (1, 7, 8, 63, 64), (0, 65), "at most 64"),
        ("range", (8, 9, 64), (1, 7, 65), "8 to 64"),
        ("dynamic", (8, 64), (1, 9, 65), "one of 8, 64"),
    ],
)
def test_a_batch_that_no_engine_takes_is_refused(
    shapes: str, taken: tuple[int, ...], refused: tuple[int, ...], expected: str
) -> None:
    for size in taken:
        tftrt.check_size(size, shapes, [8, 64])
    for size in refused:
        with pytest.raises(ConfigError) as caught:
            tftrt.check_size(size, shapes, [8, 64])
        assert str(caught.value).splitlines() == [
            "no TensorRT engine was built for this batch size",
            f"  got:      batch {size}",
            f"  expected: {expected}",
            "  next:     name it in the engine's option batches; TF-TRT would fall back to TensorFlow without a word",
        ]


@pytest.mark.parametrize(
    ("shapes", "asked"),
    [
        ("static", {}),
        ("dynamic", {"use_dynamic_shape": True, "dynamic_shape_profile_strategy": "Optimal"}),
        ("range", {"use_dynamic_shape": True, "dynamic_shape_profile_strategy": "Range"}),
    ],
)
def test_shapes_are_said_in_tftrts_words(shapes: str, asked: dict[str, object], tmp_path: Path) -> None:
    class Asked(Exception):  # noqa: N818 - ends the conversion where it begins
        pass

    def made(**options: object) -> None:
        raise Asked({name: value for name, value in options.items() if "dynamic_shape" in name})

    module = SimpleNamespace(TrtGraphConverterV2=made, **{trt._CHECK: None})
    with pytest.raises(Asked) as caught:
        trt.convert(module, "a", tmp_path, precision="fp16", shapes=shapes, batches=[{}], calibration=[])
    assert caught.value.args[0] == asked


# --- placement, and where time goes -----------------------------------------------------------------------------------


def test_an_operation_on_the_cpu_is_no_silent_fallback() -> None:
    found = {"GPU": Counter(Conv2D=53), "CPU": Counter(Softmax=2, Erf=1)}
    with pytest.raises(ConfigError) as caught:
        placement.check(found, "GPU")
    assert caught.value.what == "TensorFlow runs on another device than asked for"
    assert caught.value.got == "CPU: 2 x Softmax, 1 x Erf"
    assert placement.check({"GPU": Counter(Conv2D=53, Relu=1)}, "GPU") == 54


def test_a_graph_without_operations_proves_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        placement.check({}, "GPU")
    assert caught.value.got == "no operation on GPU"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_overlapping_work_is_counted_once(spans: list[tuple[int, int]]) -> None:
    spans = [(min(pair), max(pair)) for pair in spans]
    covered = {tick for start, end in spans for tick in range(start, end)}
    assert trace.union_ms(spans) == len(covered)


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (["logits"], {"logits": "logits"}),
        (["output_0"], {"output_0": "logits"}),
    ],
)
def test_outputs_get_the_models_names_back(tmp_path: Path, found: list[str], named: dict[str, str]) -> None:
    (tmp_path / trt.OUTPUTS).write_text('["logits"]')
    assert trt.outputs(tmp_path, found) == named


def test_many_outputs_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    own = [f"head_{letter}" for letter in "abcdefghijkl"]
    (tmp_path / trt.OUTPUTS).write_text(json.dumps(own))
    found = trt.outputs(tmp_path, [f"output_{number}" for number in (11, 2, 10, 0, 1, 3, 4, 5, 6, 7, 8, 9)])
    assert found == {f"output_{number}": name for number, name in enumerate(own)}


def test_an_output_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / trt.OUTPUTS).write_text('["logits", "pooled"]')
    with pytest.raises(ConfigError, match="TF-TRT changed the number of outputs") as caught:
        trt.outputs(tmp_path, ["output_0"])
    assert (caught.value.got, caught.value.expected) == ("output_0", "logits, pooled")


def test_a_conversion_is_kept_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    built: list[Path] = []
    said: list[str] = []

    def build(path: Path) -> None:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"graph")
        built.append(path)

    first = store.get_or_build(tmp_path, {"batches": "1"}, build, progress=said.append)
    again = store.get_or_build(tmp_path, {"batches": "1"}, build, progress=said.append)
    assert (again.sha256, again.path, len(built), said) == (first.sha256, first.path, 1, [])
    (first.path / "saved_model.pb").write_bytes(b"grown")
    assert store.get_or_build(tmp_path, {"batches": "1"}, build, progress=said.append).sha256 == first.sha256
    assert len(built) == 2
    assert said == [f"{first.path.name} does not have the recorded sha256 and is not loaded; converting it again"]
    assert store.get_or_build(tmp_path, {"batches": "8"}, build, progress=said.append).path != first.path


def test_what_a_killed_builder_left_is_not_trusted(tmp_path: Path) -> None:
    def killed(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_build(tmp_path, {}, killed, progress=print)
    entry = store.get_or_build(tmp_path, {}, lambda path: path.mkdir(), progress=print)
    assert not (entry.path / "half").exists()
