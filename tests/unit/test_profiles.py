"""Server profiles: the shipped ones, strict reading, matching; exact values and message texts."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import profiles
from pytest_gpuperf.commands import profiles as command
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records.machine import Cpu, Driver, Gpu, Machine

CPU = Cpu(model="Test CPU", cores=2, memory_mib=4096, instructions=("avx2",))
A40 = Gpu(index=0, uuid="GPU-0", name="NVIDIA A40", memory_mib=46068.0, is_mig=False, power_limit_w=300.0)
GOOD = """
name = "mine"
description = "my server"
time_budget_s = 10
[match]
device = "gpu"
names = ["NVIDIA L4*"]
count = [1, 2]
[batches]
default = [8, 1, 8]
[tolerances_pct]
default = 3
"""


def machine(*gpus: Gpu, fault: str | None = None) -> Machine:
    return Machine(id="m", system="Linux", cpu=CPU, driver=Driver(version="580", fault=fault), gpus=gpus)


def read(tmp_path: Path, text: str) -> profiles.ServerProfile:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return profiles.load(str(path))


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_shipped_profiles():
    assert profiles.known() == ("a100-80gb", "a40", "cpu", "h200", "rtx6000-ada")
    for name in profiles.known():
        profile = profiles.load(name)
        assert profile.name == name
        assert profile.is_gpu == (name != "cpu")
        assert bool(profile.peaks) == profile.is_gpu


def test_cpu_profile():
    cpu = profiles.load("cpu")
    assert cpu.batches_for("digits") == (1, 8, 64)
    assert cpu.batches_for("resnet50") == cpu.batches_for("bert_base") == cpu.batches_for("other") == (1, 8)
    assert cpu.tolerance.limit_pct("speed_ratio") == 50
    assert cpu.tolerance.limit_pct("latency_p50_ms") == 15


def test_peaks_give_the_known_ceilings():
    # ResNet-50: 8.178 GFLOP a sample; INT8 ceilings of samples per second computed by hand from the data sheets.
    ceilings = {"a40": 36_597, "a100-80gb": 76_299, "rtx6000-ada": 89_076, "h200": 241_980}
    for name, ceiling in ceilings.items():
        assert profiles.load(name).peaks["int8_tops"] * 1e12 / 8.178e9 == pytest.approx(ceiling, rel=2e-3)


def test_server_facts_of_the_article():
    published = {"a40": (16, 256, 10), "a100-80gb": (32, 512, 25), "rtx6000-ada": (24, 256, 10)}
    for name, (cores, memory, network) in published.items():
        server = profiles.load(name).server
        assert (server["cores"], server["memory_gb"], server["network_gbps"]) == (str(cores), str(memory), str(network))


def test_own_file(tmp_path):
    profile = read(tmp_path, GOOD)
    assert profile.match == profiles.Match(device="gpu", names=("NVIDIA L4*",), count=(1, 2))
    assert profile.batches == {"default": (1, 8)}
    assert profile.path == str(tmp_path / "mine.toml")


def test_unknown_profile_lists_the_known():
    with pytest.raises(ConfigError) as caught:
        profiles.load("b300")
    assert str(caught.value) == (
        "unknown server profile 'b300'\n"
        "  expected: one of a100-80gb, a40, cpu, h200, rtx6000-ada, auto, or the path of a .toml file\n"
        "  next:     write one for this machine: gpuperf profiles new > my-server.toml"
    )


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml\n  got:      No such file"):
        profiles.load(str(tmp_path / "none.toml"))


def test_malformed_toml_names_line_and_column(tmp_path):
    message = refused(tmp_path, 'name = "mine"\ncount = = 2\n')
    assert "mine.toml is not valid TOML" in message
    assert "at line 2, column 9" in message


def test_not_utf8(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match=r"mine\.toml is not UTF-8\n  got:      byte 8"):
        profiles.load(str(tmp_path / "mine.toml"))


BAD = [
    ("name", 'name = "mine"', "", "nothing: the key is missing", "a value"),
    ("name", 'name = "mine"', 'name = ""', "''", "a non-empty string"),
    ("name", 'name = "mine"', 'name = "../x"', "'../x'", "letters, digits, '-', '_' and '.'"),
    ("time_budget_s", "time_budget_s = 10", "time_budget_s = 0", "0", "a positive finite number"),
    ("time_budget_s", "time_budget_s = 10", "time_budget_s = inf", "inf", "a positive finite number"),
    ("time_budget_s", "time_budget_s = 10", "time_budget_s = nan", "nan", "a positive finite number"),
    ("time_budget_s", "time_budget_s = 10", "time_budget_s = true", "True", "a positive finite number"),
    ("match.device", '"gpu"', '"tpu"', "'tpu'", "one of cpu, gpu"),
    ("match.names", '["NVIDIA L4*"]', "[]", "[]", "a list of non-empty strings"),
    ("match.count", "[1, 2]", "[2, 1]", "[2, 1]", "a positive number, or [least, most]"),
    ("match.count", "[1, 2]", "1.5", "[1.5, 1.5]", "whole numbers of GPUs, at least 1"),
    ("match.cuont", "count = [1, 2]", "count = 1\ncuont = 2", "an unknown key",
     "one of device, count, names, memory_gib, mig"),
    ("batches.default", "[8, 1, 8]", "[0]", "[0]", "a list of batch sizes of at least 1"),
    ("batches.default", "[8, 1, 8]", "[1.5]", "[1.5]", "a list of batch sizes of at least 1"),
    ("tolerances_pct.default", "default = 3", "default = -3", "-3", "a positive finite number"),
    ("match", "[match]", "[matches]", "nothing: the key is missing", "a value"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "old", "new", "got", "expected"), BAD, ids=[f"{bad[0]}={bad[2]}" for bad in BAD])
def test_bad_value_names_file_and_key(tmp_path, key, old, new, got, expected):  # noqa: PLR0917
    assert old in GOOD
    message = refused(tmp_path, GOOD.replace(old, new))
    dotted = "match.device" if key == "match" else key
    assert message == (f"bad value in {tmp_path / 'mine.toml'}: {dotted}\n  got:      {got}\n  expected: {expected}")


def test_unknown_table(tmp_path):
    message = refused(tmp_path, GOOD + "[peeks]\nfp16_tflops = 3\n")
    assert "mine.toml: peeks" in message
    assert "an unknown key" in message


@given(st.text(max_size=60))
def test_any_text_is_a_profile_or_a_config_error(text):
    path = Path("/tmp") / f"gpuperf-test-{abs(hash(text))}.toml"
    try:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with pytest.raises(ConfigError):
            profiles.load(str(path))
    finally:
        path.unlink(missing_ok=True)


# --- matching -------------------------------------------------------------------------------------------------------


def test_match_is_empty_when_all_is_right():
    a40 = profiles.load("a40")
    assert profiles.mismatches(a40, machine(A40, replace(A40, index=1))) == ()


def test_each_mismatch():
    a40 = profiles.load("a40")
    other = replace(A40, name="NVIDIA H200")
    assert [m.what for m in profiles.mismatches(a40, machine(other))] == ["name"]
    assert [m.what for m in profiles.mismatches(a40, machine(A40))] == ["count"]
    assert [m.what for m in profiles.mismatches(a40, machine())] == ["count"]
    small = replace(A40, index=1, memory_mib=24000.0, is_mig=True)
    assert [m.what for m in profiles.mismatches(a40, machine(A40, small))] == ["memory", "MIG"]


def test_unknown_memory_is_no_mismatch():
    unknown = replace(A40, memory_mib=None, is_mig=None)
    assert profiles.mismatches(profiles.load("a40"), machine(unknown, replace(unknown, index=1))) == ()


def test_cpu_profile_matches_anything():
    assert profiles.mismatches(profiles.load("cpu"), machine(A40)) == ()


@pytest.mark.parametrize(
    ("name", "memory", "count", "expected"),
    [
        ("NVIDIA A40", 46068, 2, "a40"),
        ("NVIDIA A100-SXM4-80GB", 81920, 4, "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", 81920, 4, "a100-80gb"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, 2, "rtx6000-ada"),
        ("NVIDIA H200", 143771, 1, "h200"),
        ("NVIDIA H200", 143771, 8, "h200"),
        ("NVIDIA A100-SXM4-40GB", 40960, 4, "cpu"),
        ("NVIDIA A40", 46068, 1, "cpu"),
    ],
)
def test_auto(name, memory, count, expected):
    gpus = [Gpu(index=i, name=name, memory_mib=float(memory), is_mig=False) for i in range(count)]
    profile, why = profiles.auto(machine(*gpus))
    assert profile.name == expected
    assert why == (f"found {count} x {name}" if expected != "cpu" else f"no shipped profile matches {count} x {name}")


def test_auto_without_gpu_says_why():
    assert profiles.auto(machine(fault="DRIVER_NOT_LOADED"))[1] == "no GPU found (NVML: DRIVER_NOT_LOADED)"
    assert profiles.auto(machine())[1] == "no GPU found (NVML lists none)"


def test_lost_gpu_is_named_by_its_fault():
    assert profiles.found_gpus(machine(Gpu(index=3, fault="GPU_IS_LOST"))) == "1 x GPU 3 (GPU_IS_LOST)"


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpus", [(), (A40, replace(A40, index=1))])
def test_new_profile_matches_its_machine(tmp_path, gpus):
    profile = read(tmp_path, command.new(machine(*gpus), "lab"))
    assert profile.name == "lab"
    assert profile.is_gpu == bool(gpus)
    assert profiles.mismatches(profile, machine(*gpus)) == ()


def test_new_profile_quotes_names(tmp_path):
    odd = Gpu(index=0, name='NVIDIA "odd" \\ card', memory_mib=1024.0)
    assert read(tmp_path, command.new(machine(odd), "lab")).match.names == (odd.name,)
    assert json.loads(json.dumps(odd.name)) == odd.name


def test_explain():
    lines = command.explain(profiles.load("a40"))
    assert "  matches      2 x NVIDIA A40, 44 to 48 GiB each, MIG off" in lines
    assert "               source: NVIDIA A40 data sheet, dense" in lines
    assert "  matches      any CPU" in command.explain(profiles.load("cpu"))


@pytest.mark.parametrize("argument", [[], ["a40"], ["new"], ["new", "--name=lab"]])
def test_command(capsys, argument):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(argument)) == 0
    text = capsys.readouterr().out
    if not argument:
        assert [line.split()[0] for line in text.splitlines()] == list(profiles.known())
    elif argument == ["a40"]:
        assert text.startswith("a40: Two NVIDIA A40")
    else:
        assert text.startswith(f'name = "{"lab" if len(argument) > 1 else "my-server"}"')
