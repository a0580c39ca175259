from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_gpuperf import baselines
from pytest_gpuperf.baselines import Pending, Result, Suite, ids, migrations, schema
from pytest_gpuperf.errors import BaselineError, InfraError
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Metric, Provenance, Status

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "baselines"
V1 = (GOLDEN / "v1.json").read_bytes()
CASE = "suites/vision/test_resnet50.py::test_onnxruntime_fp32[8]"
NAME = "baselines/a40/resnet50.json"
RESTORE = f"  next:     git checkout -- {NAME}"


def refused(content: bytes) -> str:
    with pytest.raises(BaselineError) as caught:
        baselines.decode(NAME, content)
    return str(caught.value)


def edited(*path, to=None, drop=False) -> bytes:
    content = json.loads(V1)
    at = content
    for key in path[:-1]:
        at = at[key]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(content).encode()


def entry(value=12.5, *, date="2026-11-22", kind="measured", n=5, **conditions) -> BaselineEntry:
    samples = tuple(value * (1 + step / 1000) for step in range(-(n // 2), n - n // 2))
    return baselines.summarise(
        {
            "latency_p50_ms": Metric(value=value, unit="ms"),
            "top1": Metric(value=0.75, unit="fraction", higher="better"),
        },
        {"latency_p50_ms": samples},
        conditions={"batch": "8", **conditions},
        provenance=Provenance(kind=kind, date=date, reason="because"),
    )


# --- reading: every version, and byte stability ---


@pytest.mark.parametrize("version", range(migrations.SCHEMA_VERSION + 1))
def test_every_version_reads_as_the_newest_does(version):
    suite = baselines.decode(NAME, (GOLDEN / f"v{version}.json").read_bytes())
    assert suite == baselines.decode(NAME, V1)
    assert suite.entries[CASE].samples["latency_p50_ms"] == (48.1, 48.3, 47.9, 48.2, 48.0)
    assert suite.entries[CASE].machine == "0123abcd"
    assert suite.entries[CASE].provenance.approver == "A Person"


def test_what_was_read_is_written_byte_for_byte():
    assert baselines.encode(baselines.decode(NAME, V1)) == V1


def test_order_of_entries_and_fields_does_not_matter():
    suite = baselines.decode(NAME, V1)
    backwards = replace(suite, entries=dict(reversed(suite.entries.items())))
    assert baselines.encode(backwards) == V1


def test_carriage_returns_are_accepted():
    assert baselines.decode(NAME, V1.replace(b"\n", b"\r\n")) == baselines.decode(NAME, V1)


def test_an_accepted_change_is_a_diff_of_at_most_twelve_lines():
    def suite(ms, date):
        figures = {
            "latency_p50_ms": Metric(value=ms, unit="ms"),
            "latency_p99_ms": Metric(value=ms * 1.1, unit="ms"),
            "speed_ratio": Metric(value=30 / ms, unit="x", higher="better"),
            "throughput_sps": Metric(value=8000 / ms, unit="samples/s", higher="better"),
            "top1": Metric(value=0.75, unit="fraction", higher="better"),
            "rel_rmse": Metric(value=0.003, unit="1"),
        }
        samples = {
            name: tuple(metric.value * (1 + i / 500) for i in range(5))
            for name, metric in figures.items()
            if name not in ("top1", "rel_rmse")
        }
        conditions = {"batch": "8", "driver": "535.54" if ms > 12 else "580.95"}
        origin = Provenance(kind="measured", date=date, reason="why", approver="A")
        changed = baselines.summarise(figures, samples, conditions=conditions, provenance=origin)
        return baselines.encode(Suite(profile="a40", suite="s", entries={"a.py::t[8]": changed, "a.py::t[1]": entry()}))

    before, after = suite(12.5, "2026-11-22").splitlines(), suite(11.0, "2026-11-23").splitlines()
    assert len(before) == len(after)
    changed = sum(old != new for old, new in zip(before, after, strict=True))
    assert changed == 6  # each is one line out and one in: four metrics, one condition, the provenance
    assert 2 * changed <= 12


# --- reading: what is refused, and in which words ---


def test_truncated_at_any_byte_is_refused_with_its_place():
    for end in range(len(V1.rstrip())):
        assert f"{NAME}:" in refused(V1[:end])
    message = refused(V1[:1000])
    assert message.startswith(f"{NAME}:25:95:")
    assert "the file ends too early" in message
    assert message.endswith(RESTORE)


@pytest.mark.parametrize(
    ("content", "first", "hint"),
    [
        (b"", f"{NAME}:1:1: the file is empty", RESTORE),
        (b" \n", f"{NAME}:1:1: the file is empty", RESTORE),
        (b"\xef\xbb\xbf" + V1, f"{NAME}:1:1: the file starts with a byte-order mark", RESTORE[12:]),
        (b'{\n "caf\xe9": 1}', f"{NAME}:2:6: the file is not UTF-8", RESTORE),
        (V1.replace(b"batch", b"ba\0ch", 1), f"{NAME}:5:8: not JSON", RESTORE),
        (b"{}{}", f"{NAME}:1:4: not JSON", RESTORE),
        (b'{"a": tru}', f"{NAME}:1:11: not JSON", RESTORE),
        (b'{"a": 1,}', f"{NAME}:1:9: not JSON", RESTORE),
        (b"[]", f"{NAME}: $ is not a baseline file", ""),
        (b'{"a": "' + b"x", f"{NAME}:1:9: the file ends too early", RESTORE),
    ],
)
def test_what_is_not_json_is_refused_with_line_and_column(content, first, hint):
    message = refused(content)
    assert message.splitlines()[0] == first
    assert hint in message


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD", "=======", ">>>>>>> theirs", "||||||| base", "=======\r"])
def test_merge_marks_are_named_with_the_command_that_merges(mark):
    lines = V1.decode().splitlines()
    lines.insert(3, mark)
    message = refused("\n".join(lines).encode())
    assert message.startswith(f"{NAME}:4:1: the file has an unfinished merge conflict in it")
    assert f"next:     gpuperf merge {NAME}" in message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999"])
def test_numbers_that_are_none_are_refused_with_their_place(number):
    message = refused(V1.replace(b"166.2}", number.encode() + b"}"))
    assert message.startswith(f"{NAME}:13:")
    assert "not a finite number" in message
    assert f"got:      {number}" in message
    assert message.endswith(RESTORE)


def test_a_number_of_ten_million_digits_is_refused_before_it_is_parsed():
    message = refused(b'{"schema_version": ' + b"9" * 1_000_000 + b"}")
    assert message.startswith(f"{NAME}:1:20: a number too long to be a measurement")
    assert "(1000000 characters)" in message


@pytest.mark.parametrize("second", ['"batch"', '"\\u0062atch"'])
def test_a_key_that_stands_twice_is_refused_however_it_is_spelled(second):
    content = V1.decode().replace('    "batch": "8",', f'    "batch": "8",\n    {second}: "16",', 1).encode()
    message = refused(content)
    assert message.startswith(f"{NAME}:6:5: the key {second} stands twice in one object")
    assert f"delete the wrong one, or: git checkout -- {NAME}" in message


def test_the_same_key_in_two_objects_is_no_duplicate():
    assert len(baselines.decode(NAME, V1).entries) == 2


def test_deep_nesting_is_refused_at_once():
    message = refused(b"[" * 100_000)
    assert message.startswith(f"{NAME}:1:17: nested more than 16 deep")


@pytest.mark.parametrize("version", [2, 99])
def test_newer_schema_is_refused(version):
    assert refused(edited("schema_version", to=version)) == (
        f"{NAME}: written by a newer pytest-gpuperf\n"
        f"  got:      schema_version {version}\n"
        "  expected: at most 1\n"
        "  next:     upgrade: pip install --upgrade pytest-gpuperf"
    )


@pytest.mark.parametrize("version", [None, "1", True, 1.0, -1])
def test_strange_schema_versions_are_refused(version):
    message = refused(edited("schema_version", to=version))
    assert message.startswith(f"{NAME}: $.schema_version is not a schema version\n  got:      {version!r}")


def test_an_old_file_that_breaks_its_own_schema_is_refused():
    assert refused(b'{"schema_version": 0, "cases": []}').startswith(f"{NAME}: not a valid file of schema_version 0")


AT = f'{NAME}: $.cases["{CASE}"]'
AT_P50 = f'{AT}.metrics["latency_p50_ms"]'
P50 = ("cases", CASE, "metrics", "latency_p50_ms")


@pytest.mark.parametrize(
    ("content", "first", "got"),
    [
        (edited("profile", drop=True), f"{NAME}: $ is wrong", "Object missing required field `profile`"),
        (edited("cases", drop=True), f"{NAME}: $ lacks the required field `cases`", ""),
        (edited("more", to=1), f"{NAME}: $ is wrong", "Object contains unknown field `more`"),
        (edited("cases", to=[]), f"{NAME}: $.cases is wrong", "Expected `object`, got `array`"),
        (edited("cases", CASE, to=None), f"{AT} is wrong", "Expected `object`, got `null`"),
        (edited("cases", CASE, "extra", to=1), f"{AT} is wrong", "unknown field `extra`"),
        (edited("cases", CASE, "metrics", drop=True), f"{AT} is wrong", "missing required field `metrics`"),
        (edited("cases", CASE, "conditions", "batch", to=8), f'{AT}.conditions["batch"] is wrong', "Expected `str`"),
        (
            edited(*P50, "value", to=True),
            f"{AT_P50}.value is wrong",
            "Expected `float`, got `bool`",
        ),
        (
            edited(*P50, "value", to="1"),
            f"{AT_P50}.value is wrong",
            "Expected `float`, got `str`",
        ),
        (edited(*P50, "unit", drop=True), f"{AT_P50} is wrong", "missing required field `unit`"),
        (
            edited(*P50, "higher", to="good"),
            f"{AT_P50}.higher is wrong",
            "Invalid enum value 'good'",
        ),
        (
            edited(*P50, "n_processes", to=0),
            f"{AT_P50}.n_processes is wrong",
            "Expected `int` >= 1",
        ),
        (edited(*P50, "typo", to=0), f"{AT_P50} is wrong", "unknown field `typo`"),
        (edited(*P50, "value", to=-48.1), f"{AT_P50}: no such thing can be measured", "-48.1"),
        (edited(*P50, "samples", to=[0] * 5), f"{AT_P50}: no such thing can be measured", "0"),
        (edited("cases", CASE, "provenance", "kind", to="guessed"), f"{AT}.provenance.kind is wrong", "'guessed'"),
        (edited("cases", CASE, "provenance", "date", to="today"), f"{AT}.provenance.date is wrong", "regex"),
    ],
)
def test_wrong_fields_are_named_with_their_json_path(content, first, got):
    message = refused(content)
    assert message.splitlines()[0] == first
    assert got in message


def test_a_measured_entry_without_a_reason_is_refused():
    message = refused(edited("cases", CASE, "provenance", "reason", to=" "))
    assert message.startswith(f"{AT}.provenance.reason is missing")
    assert 'gpuperf accept --reason "why it moved"' in message


# --- samples: a value cannot be edited by itself ---


@pytest.mark.parametrize(
    ("field", "to", "expected"),
    [
        ("value", 55.0, "48.1, the median of the samples"),
        ("value", 48.11, "48.1, the median of the samples"),
        ("spread_pct", 9.0, "0.329, the spread of the samples"),
        ("n_processes", 50, "5, the number of samples"),
    ],
)
def test_a_hand_edited_number_is_refused(field, to, expected):
    message = refused(edited(*P50, field, to=to))
    assert message == (
        f"{AT_P50}.{field} is not what its samples say: it was edited by hand\n"
        f"  got:      {to}\n"
        f"  expected: {expected}\n"
        "  next:     undo the edit; to move a baseline, measure: pytest --gpu-update=changed, then gpuperf review"
    )


def test_a_measured_value_without_samples_is_refused():
    assert "n_processes is not what its samples say" in refused(edited(*P50, "samples", drop=True))


def test_published_numbers_need_no_samples():
    published = baselines.decode(NAME, V1).entries["suites/vision/test_resnet50.py::test_tensorrt_fp16[8]"]
    assert published.provenance.kind == "published"
    assert published.samples == {}


def test_summary_is_the_median_and_spread_over_processes():
    made = baselines.summarise(
        {"latency_p50_ms": Metric(value=1.0, unit="ms"), "sqnr_db": Metric(value=float("inf"), unit="dB")},
        {"latency_p50_ms": (10.0, 11.0, 12.0, 13.0, 14.00000049)},
        conditions={"machine": "m"},
        provenance=Provenance(kind="measured", date="2026-11-22", reason="r"),
    )
    assert made.metrics == {
        "latency_p50_ms": BaselineMetric(value=12.0, unit="ms", higher="worse", n_processes=5, spread_pct=13.176)
    }
    assert made.machine == "m"
    assert made.samples == {"latency_p50_ms": (10.0, 11.0, 12.0, 13.0, 14.0)}


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_every_summary_is_supported_by_its_own_samples(values):
    made = baselines.summarise(
        {"latency_p50_ms": Metric(value=values[0], unit="ms")},
        {"latency_p50_ms": values},
        conditions={},
        provenance=Provenance(kind="measured", date="2026-11-22", reason="r"),
    )
    suite = Suite(profile="p", suite="s", entries={"t": made})
    assert baselines.decode("f", baselines.encode(suite)) == suite


# --- names ---


@pytest.mark.parametrize(
    ("case_id", "expected"),
    [
        ("../x.py::t", "a path inside the repository, without '..'"),
        ("a/../../x.py::t", "a path inside the repository, without '..'"),
        ("/etc/x.py::t", "a path inside the repository, without '..'"),
        ("a\\..\\x.py::t", "a path inside the repository, without '..'"),
        ("a.py::t[\x1b[31m]", "printable characters only"),
        ("a.py::t[\ud800]", "printable characters only"),
        ("a.py::t[" + "x" * 300 + "]", "1 to 256 characters"),
        ("", "1 to 256 characters"),
    ],
)
def test_dangerous_case_ids_are_refused(tmp_path, case_id, expected):
    with pytest.raises(BaselineError) as caught:
        baselines.update(tmp_path / "a40" / "s.json", {case_id: entry()})
    assert "not a case id" in str(caught.value)
    assert f"expected: {expected}" in str(caught.value)
    assert not (tmp_path / "a40").exists()


def test_dots_in_a_parameter_are_no_path():
    ids.check("a.py::t[../b]", "f")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 101, "a..b", "a\n"])
def test_dangerous_file_names_are_refused(tmp_path, name):
    with pytest.raises(BaselineError, match="not a name that a baseline file can have"):
        baselines.baseline_path(tmp_path, name, "suite")
    with pytest.raises(BaselineError, match="not a name that a baseline file can have"):
        baselines.pending_path(tmp_path, "a40", name)


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_slug_is_always_a_file_name_and_never_shared(one, other):
    for text in (one, other):
        baselines.baseline_path(Path("r"), "p", baselines.slug(text))
    assert (baselines.slug(one) == baselines.slug(other)) == (one == other)


# --- files ---


def test_update_adds_replaces_removes_and_leaves_the_rest(tmp_path):
    path = baselines.baseline_path(tmp_path, "a40", "s")
    baselines.update(path, {"a.py::a": entry(1.0), "a.py::b": entry(2.0)})
    baselines.update(path, {"a.py::b": entry(3.0), "a.py::c": entry(4.0)}, remove={"a.py::a"})
    assert baselines.read(path) == Suite(
        profile="a40", suite="s", entries={"a.py::b": entry(3.0), "a.py::c": entry(4.0)}
    )
    baselines.update(path, {}, remove={"a.py::b", "a.py::c"})
    assert not path.exists()
    assert baselines.read(path) == Suite(profile="a40", suite="s")


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    path = baselines.baseline_path(tmp_path, "a40", "s")
    broken = replace(entry(), metrics={"latency_p50_ms": BaselineMetric(value=1.0, unit="ms", higher="worse")})
    with pytest.raises(BaselineError, match="is not what its samples say"):
        baselines.update(path, {"a.py::t": broken})
    assert not path.exists()


def test_an_unchanged_file_is_not_touched(tmp_path):
    path = baselines.baseline_path(tmp_path, "a40", "s")
    baselines.update(path, {"t": entry()})
    before = path.stat()
    baselines.update(path, {"t": entry()})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_in_another_profile_s_folder_is_refused(tmp_path):
    path = tmp_path / "h200" / "resnet50.json"
    path.parent.mkdir()
    path.write_bytes(V1)
    with pytest.raises(BaselineError) as caught:
        baselines.read(path)
    assert str(caught.value) == (
        f"{path}: the file says that it belongs elsewhere\n"
        "  got:      profile 'a40', suite 'resnet50'\n"
        "  expected: profile 'h200', suite 'resnet50'\n"
        "  next:     move it back; to rename a case use: gpuperf baseline mv"
    )


@pytest.mark.parametrize("level", ["file", "folder", "root"])
def test_symbolic_links_are_refused(tmp_path, level):
    real = tmp_path / "real" / "a40"
    real.mkdir(parents=True)
    (real / "resnet50.json").write_bytes(V1)
    root = tmp_path / "baselines"
    if level == "root":
        root.symlink_to(tmp_path / "real")
    elif level == "folder":
        root.mkdir()
        (root / "a40").symlink_to(real)
    else:
        (root / "a40").mkdir(parents=True)
        (root / "a40" / "resnet50.json").symlink_to(real / "resnet50.json")
    with pytest.raises(BaselineError) as caught:
        baselines.read(root / "a40" / "resnet50.json")
    assert "is a symbolic link" in str(caught.value)
    assert "replace it by what it points to" in str(caught.value)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "a40" / "s.json"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    with pytest.raises(BaselineError) as caught:
        baselines.read(path)
    message = f"{path} is too large to be a baseline\n  got:      52428800 bytes\n  expected: at most 4194304\n"
    assert str(caught.value).startswith(message)


def test_a_folder_or_a_pipe_is_no_baseline(tmp_path):
    os.mkfifo(tmp_path / "s.json")
    (tmp_path / "t.json").mkdir()
    for name in ("s.json", "t.json"):
        with pytest.raises(BaselineError, match=r"is not a regular file|cannot read"):
            baselines.read(tmp_path / name)


# --- pending files ---


def pending(**entries) -> Pending:
    results = {name: Result(verdict=Status.NEW, reason="no baseline") for name in entries}
    return Pending(profile="a40", suite="s", entries=entries, results=results)


def test_pending_files_keep_their_results(tmp_path):
    path = baselines.pending_path(tmp_path, "a40", "s")
    result = Result(
        verdict=Status.REGRESSED, reason="slower", metrics={"latency_p50_ms": Metric(value=1.0, unit="ms", lower=0.9)}
    )
    baselines.update_pending(path, {"t": entry(1.0)}, {"t": result})
    baselines.update_pending(path, {"u": entry(2.0)}, {"u": result})
    assert baselines.read_pending(path).results == {"t": result, "u": result}
    baselines.update_pending(path, {}, {}, remove={"t", "u"})
    assert not path.exists()


def test_pending_and_baseline_files_are_not_mistaken_for_each_other():
    content = schema.encode_pending(pending(t=entry()))
    with pytest.raises(BaselineError, match=r'f: \$\.cases\["t"\]\.result: a baseline has none'):
        baselines.decode("f", content)
    with pytest.raises(BaselineError, match=r"\.result is missing"):
        baselines.decode_pending("f", V1)


def test_a_published_entry_cannot_be_pending():
    with pytest.raises(BaselineError, match=r"provenance\.kind"):
        baselines.decode_pending("f", schema.encode_pending(pending(t=entry(kind="published"))))


# --- merging ---

# GPUPERF_FUZZ=200000 for the long run
FUZZ = settings(
    max_examples=int(os.environ.get("GPUPERF_FUZZ", "300")), deadline=None, suppress_health_check=list(HealthCheck)
)
ENTRIES = st.builds(
    entry,
    st.sampled_from([1.0, 2.0, 3.0]),
    date=st.sampled_from(["2026-11-21", "2026-11-22"]),
    kind=st.sampled_from(["measured", "published"]),
    driver=st.sampled_from(["535", "580"]),
)
SUITES = st.builds(
    lambda entries: Suite(profile="p", suite="s", entries=entries),
    st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), ENTRIES),
)


@FUZZ
@given(SUITES, SUITES, SUITES)
def test_merging_is_commutative_associative_and_idempotent(one, two, three):
    merge = baselines.merge
    assert merge(one, two) == merge(two, one)
    assert merge(one, merge(two, three)) == merge(merge(one, two), three)
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)
    assert merge(one, two).entries.keys() == one.entries.keys() | two.entries.keys()


def test_merging_prefers_measured_then_the_later_approval():
    old, new = entry(1.0, date="2026-11-21"), entry(2.0, date="2026-11-22")
    published = entry(3.0, date="2026-12-01", kind="published")

    def merged(one, two):
        return baselines.merge(*(Suite(profile="p", suite="s", entries={"t": e}) for e in (one, two))).entries["t"]

    assert merged(old, new) == new
    assert merged(published, old) == old


def test_different_files_are_not_merged():
    with pytest.raises(BaselineError, match="two different baselines cannot be merged"):
        baselines.merge(Suite(profile="p", suite="s"), Suite(profile="q", suite="s"))


# --- fuzzing: reading, migrating and merging raise nothing but the product's own errors ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def survives(content: bytes) -> None:
    """Read as either file; what can be read can be merged with the golden file, if it is a version of it, and kept."""
    with suppress(BaselineError):
        baselines.decode_pending("f", content)
    with suppress(BaselineError):
        suite = baselines.decode("f", content)
        assert baselines.decode("f", baselines.encode(suite)) == suite
        merged = baselines.merge(suite, baselines.decode("f", V1))
        assert merged == baselines.merge(baselines.decode("f", V1), suite)


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(content):
    survives(content)


@FUZZ
@given(JSON)
def test_any_json_is_read_or_refused(content):
    survives(json.dumps(content).encode())
    for old in (content, {"schema_version": 0, "cases": content}, {"schema_version": 0, "cases": {"t": content}}):
        with suppress(BaselineError):
            migrations.migrate("f", old)


@FUZZ
@given(st.data())
def test_any_damage_is_read_or_refused(data):
    version = data.draw(st.sampled_from(["v0", "v1"]))
    content = bytearray((GOLDEN / f"{version}.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    survives(bytes(content))


@FUZZ
@given(JSON, st.data())
def test_any_value_in_any_place_is_read_or_refused(value, data):
    content = json.loads((GOLDEN / data.draw(st.sampled_from(["v0.json", "v1.json"]))).read_bytes())
    at = content
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or not at[key] or data.draw(st.booleans()):
            at[key] = value
            break
        at = at[key]
    survives(json.dumps(content).encode())


def test_a_write_that_fails_raises_the_product_s_own_error(tmp_path):
    (tmp_path / "a40").write_bytes(b"a file in the folder's place")
    with pytest.raises(InfraError, match=r"cannot write .*s\.json"):
        baselines.update(tmp_path / "a40" / "s.json", {"t": entry()})


# --- the published schema ---


def test_the_json_schema_in_docs_is_the_one_in_force():
    published = json.loads((ROOT / "docs" / "schema" / "baseline.json").read_bytes())
    assert published == msgspec.to_builtins(schema.json_schema())


def test_every_shipped_baseline_can_be_read():
    for path in sorted((ROOT / "baselines").glob("*/*.json")):
        assert baselines.read(path).entries, path
