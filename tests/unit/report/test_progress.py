from __future__ import annotations

import pytest

from pytest_gpuperf.report.progress import CLEAR, Progress, Watched


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def written():
    return []


def test_live_line_shows_case_phase_and_seconds_left(clock, written):
    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a[8]", "measure", expected_s=20.0)
    clock.now_s += 12.0
    progress.tick("pair 3")
    assert written == [
        CLEAR + "gpuperf test_a[8] | measure | 20 s left",
        CLEAR + "gpuperf test_a[8] | measure | pair 3 | 8 s left",
    ]


def test_live_line_never_promises_negative_seconds(clock, written):
    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a", "export", expected_s=1.0)
    clock.now_s += 5.0
    progress.tick()
    assert written[-1].endswith("0 s left")


def test_live_line_without_an_expectation_counts_up(clock, written):
    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a", "export")
    clock.now_s += 5.0
    progress.tick()
    assert written[-1] == CLEAR + "gpuperf test_a | export | 5 s"


def test_live_line_is_redrawn_at_most_ten_times_a_second(clock, written):
    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a", "measure")
    for _ in range(1000):
        clock.now_s += 0.001
        progress.tick()
    assert 9 <= len(written) <= 11


def test_live_line_fits_the_terminal(clock, written):
    progress = Progress(written.append, live=True, width=40, clock=clock)
    progress.start("suites/vision/" + "x" * 100, "measure", expected_s=20.0)
    assert len(written[0]) - len(CLEAR) <= 39


def test_ci_gets_one_line_per_phase_and_few_more(clock, written):
    progress = Progress(written.append, live=False, clock=clock)
    progress.start("test_a[8]", "export", expected_s=40.0)
    for _ in range(400):
        clock.now_s += 0.1
        progress.tick("node 7")
    assert written == [
        "gpuperf: test_a[8]: export (about 40 s)\n",
        "gpuperf: test_a[8]: export, 15 s so far, node 7\n",
        "gpuperf: test_a[8]: export, 30 s so far, node 7\n",
    ]


def test_ci_lines_hold_no_control_characters(clock, written):
    progress = Progress(written.append, live=False, clock=clock)
    progress.start("a\x1b[2J\r\nb", "measure")
    assert written == ["gpuperf: a\\x1b[2J\\r\\nb: measure\n"]


def test_messages_stay_and_the_status_line_goes(clock, written):
    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a", "export")
    progress.say("damaged cache entry: rebuilt")
    assert written[1:] == [CLEAR, "gpuperf: damaged cache entry: rebuilt\n"]
    progress.clear()
    assert len(written) == 3


def test_another_phase_counts_anew_and_is_no_line_in_ci(clock, written):
    live, quiet = Progress(written.append, live=True, clock=clock), []
    live.start("test_a", "measuring")
    clock.now_s += 3.0
    live.turn("timing", expected_s=20.0)
    assert written[-1] == CLEAR + "gpuperf test_a | timing | 20 s left"
    ci = Progress(quiet.append, live=False, clock=clock)
    ci.start("test_a", "measuring")
    ci.turn("timing", expected_s=20.0)
    assert quiet == ["gpuperf: test_a: measuring\n"]


def test_a_watched_process_ticks_before_each_block(clock, written):
    class Process:
        def measure(self, *, seconds, max_calls, core=None):
            clock.now_s += seconds
            return max_calls

        def volley(self, *, in_flight, seconds):
            clock.now_s += seconds
            return in_flight

    progress = Progress(written.append, live=True, clock=clock)
    progress.start("test_a", "timing", expected_s=20.0)
    watched = Watched(Process(), progress)
    assert watched.measure(seconds=2.0, max_calls=7) == 7
    assert watched.volley(in_flight=4, seconds=3.0) == 4
    watched.measure(seconds=1.0, max_calls=7)
    assert [line.rpartition("| ")[2] for line in written] == ["20 s left", "18 s left", "15 s left"]
