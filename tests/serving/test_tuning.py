"""The choice between batchings, and its picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from pytest_gpuperf.commands import tune_batching
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.serving import Batching, picture, tuning
from pytest_gpuperf.serving.search import Highest
from pytest_gpuperf.serving.tuning import Outcome, Point

SVG = "{http://www.w3.org/2000/svg}"


def outcome(good, **batching):
    return Outcome(
        batching=Batching(max_batch=16, **batching),
        highest=Highest(good=good, bad=2 * good, trials=((good, "good"),)),
        points=(Point(rate_qps=good / 2, p99_ms=3.0), Point(rate_qps=good, p99_ms=9.0)),
        throughput_sps=3 * good,
    )


def test_the_grid_has_no_batching_first_and_no_impossible_size():
    tried = tuning.grid(Batching(max_batch=16, instances=2), [0, 500], [(), (8,), (8, 32)])
    assert [str(batching) for batching in tried] == [
        "no batching",
        "dynamic up to 16, delay 0 us",
        "dynamic up to 16, delay 500 us",
        "dynamic up to 16, delay 0 us, preferring 8",
        "dynamic up to 16, delay 500 us, preferring 8",
    ]
    assert all(batching.instances == 2 for batching in tried)


def test_the_highest_rate_wins():
    fast = outcome(200, max_queue_delay_us=500)
    assert tuning.best([outcome(100, is_dynamic=False), fast, outcome(150)]) is fast


def test_of_equal_rates_the_simplest_wins():
    plain = outcome(100, is_dynamic=False)
    assert tuning.best([outcome(104, max_queue_delay_us=500), plain]) is plain
    short = outcome(100, max_queue_delay_us=100)
    assert tuning.best([outcome(104, max_queue_delay_us=500), short, outcome(105, preferred=(8,))]) is short


def test_no_rate_is_no_choice():
    assert tuning.best([outcome(0.0)]) is None
    assert tuning.best([]) is None


def test_points_are_the_rates_99th_percentiles():
    highest = Highest(good=10, bad=20, trials=((20.0, "bad"), (10.0, "good")))
    runs = [(20.0, [1.0] * 50 + [9.0] * 50), (10.0, [2.0] * 100), (7.0, [5.0])]
    assert tuning.points(highest, runs) == (Point(rate_qps=10, p99_ms=2), Point(rate_qps=20, p99_ms=9))


def test_the_picture_is_svg_with_a_line_for_each_and_the_chosen_one_thick():
    none = Highest(good=0, bad=1, trials=())
    empty = Outcome(batching=Batching(max_queue_delay_us=9), highest=none, points=(), throughput_sps=0.0)
    outcomes = [outcome(100, is_dynamic=False), outcome(200), empty]
    root = ET.fromstring(picture.draw("a <b> & c", outcomes, outcomes[1], limit_ms=10))
    assert root.find(f"{SVG}title").text == "a <b> & c"
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "no batching: 100/s" in texts
    assert "p99 budget 10 ms" in texts
    assert len(root.findall(f"{SVG}circle")) == 4
    thick = [path for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "3"]
    assert len(thick) == 2  # the line and its mark in the legend
    for circle in root.iter(f"{SVG}circle"):
        assert picture.LEFT <= float(circle.get("cx")) <= picture.WIDTH - picture.RIGHT
        assert picture.TOP <= float(circle.get("cy")) <= picture.HEIGHT - picture.BOTTOM
    assert "http" not in ET.tostring(root, encoding="unicode").replace("http://www.w3.org/2000/svg", "")


def test_bad_lists_are_refused_with_an_example():
    with pytest.raises(ConfigError, match="--delays-us has an impossible value\n  got:      '1ms'"):
        tune_batching._delays("1ms")
    with pytest.raises(ConfigError, match="--preferred has an impossible value\n  got:      'any,x'"):
        tune_batching._sets("any,x")
    assert tune_batching._sets("any,8+16") == ((), (8, 16))
