"""The machine's counters: reading them, and what counts as a disturbance."""

import os

import pytest

from pytest_gpuperf.load import Limits, Reading, busy_ns, disturbances, read

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def test_read_from_a_file_tree(tmp_path):
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  10 2 30 999 50 1 2 7 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
    (tmp_path / "proc/pressure/cpu").write_text(
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0 total=9\n"
    )
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    (tmp_path / "sys/fs/cgroup/a/b").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/a/b/cpu.stat").write_text("usage_usec 5\nnr_periods 8\nnr_throttled 3\n")
    reading = read(tmp_path)
    assert reading.busy_ns == 45 * TICK_NS
    assert reading.steal_ns == 7 * TICK_NS
    assert reading.stalled_ns == 1_234_000
    assert reading.throttled == 3


@pytest.mark.parametrize("line", ["4:cpu,cpuacct:/job", "4:memory:/x\n5:cpu:/job"])
def test_read_cgroup_version_1(tmp_path, line):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{line}\n")
    folder = tmp_path / "sys/fs/cgroup" / line.splitlines()[-1].split(":")[1] / "job"
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("nr_throttled 5\n")
    assert read(tmp_path).throttled == 5


def test_a_system_without_counters_disturbs_nothing(tmp_path):
    before, after = read(tmp_path), read(tmp_path)
    assert (before.busy_ns, before.steal_ns, before.stalled_ns, before.throttled) == (None, None, None, None)
    assert disturbances(before, after, 0, Limits()) == ()


def test_this_machine_can_be_read():
    before = read()
    after = read()
    assert after.wall_ns > before.wall_ns
    assert after.own_ns >= before.own_ns


QUIET = {"wall_ns": 0, "own_ns": 0, "busy_ns": 0, "steal_ns": 0, "stalled_ns": 0, "throttled": 0}


@pytest.mark.parametrize(
    ("after", "measured_ns", "named"),
    [
        ({"busy_ns": 1000, "own_ns": 50}, 950, ()),
        ({"busy_ns": 1250}, 1000, ()),
        ({"busy_ns": 1251}, 1000, ("foreign load 25% of a CPU",)),
        ({"busy_ns": 2000, "own_ns": 500}, 1000, ("foreign load 50% of a CPU",)),
        ({"steal_ns": 50}, 0, ()),
        ({"steal_ns": 80}, 0, ("steal time 8% of a CPU",)),
        ({"throttled": 2}, 0, ("CPU quota throttled 2 times",)),
        ({"stalled_ns": 500}, 0, ()),
        ({"stalled_ns": 700}, 0, ("tasks waited for a CPU 70% of the time",)),
        (
            {"steal_ns": 100, "throttled": 1, "busy_ns": 1000},
            0,
            ("steal time 10% of a CPU", "CPU quota throttled 1 times", "foreign load 100% of a CPU"),
        ),
    ],
)
def test_disturbances(after, measured_ns, named):
    end = Reading(**{**QUIET, "wall_ns": 1000, **after})
    assert disturbances(Reading(**QUIET), end, measured_ns, Limits()) == named


@pytest.mark.parametrize(
    ("margin_pct", "steal", "foreign"), [(1.0, 0.05, 0.25), (15.0, 0.075, 0.25), (35.0, 0.175, 0.35)]
)
def test_a_wide_margin_bears_more(margin_pct: float, steal: float, foreign: float) -> None:
    limits = Limits.for_margin(margin_pct)
    assert (limits.steal, limits.foreign, limits.stalled) == (steal, foreign, 0.5)


def test_busy_time_of_some_processors(tmp_path):
    (tmp_path / "proc").mkdir()
    rows = [
        "cpu  9 9 9 9 9 9 9 9 0 0",
        "cpu0 1 2 3 40 5 6 7 8 9 0",
        "cpu1 10 0 0 0 0 0 0 0 0 0",
        "cpu11 7 7 7 7 7 7 7 7 0",
    ]
    (tmp_path / "proc/stat").write_text("\n".join(rows))
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    assert busy_ns({0}, tmp_path) == 27 * tick_ns
    assert busy_ns({0, 1}, tmp_path) == 37 * tick_ns
    assert busy_ns({0, 2}, tmp_path) is None, "a processor that the kernel does not count"
