from __future__ import annotations

import pytest

from pytest_gpuperf.records import Physics
from pytest_gpuperf.report.curve import Point, curves, knee
from pytest_gpuperf.report.results import Results


def points(*pairs):
    return [Point(2**index, latency_ms, throughput_sps) for index, (latency_ms, throughput_sps) in enumerate(pairs)]


def session(cases, profile="h200"):
    return Results(profile=profile, fingerprint=None, cases=tuple(cases))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(1.0, 10.0), (2.0, 90.0), (10.0, 100.0)], 2),
        ([(1.0, 10.0), (1.1, 50.0), (1.3, 90.0), (5.0, 100.0)], 4),
        ([(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)], None),  # a straight line does not bend
        ([(1.0, 10.0), (2.0, 11.0), (3.0, 30.0)], None),  # bends the other way
        ([(1.0, 10.0), (2.0, 20.0)], None),  # two points are a line
        ([(1.0, 30.0), (2.0, 20.0), (3.0, 10.0)], None),  # larger batches are slower
    ],
)
def test_knee(pairs, expected):
    assert knee(points(*pairs)) == expected


def test_a_curve_per_model_engine_precision_and_server(case):
    eight, one = case(batch=8, p50_ms=0.5), case(batch=1, p50_ms=0.25)
    int8 = [case(batch=batch, precision="int8") for batch in (1, 8)]
    found = curves([session([eight, one, *int8]), session([one, eight], "a40")])
    assert set(found) == {"resnet50 tensorrt fp16", "resnet50 tensorrt int8"}
    assert [line.label for line in found["resnet50 tensorrt fp16"]] == ["h200", "a40"]
    assert found["resnet50 tensorrt fp16"][0].points == (Point(1, 0.25, 4000.0), Point(8, 0.5, 16000.0))


def test_single_points_and_missing_numbers_are_no_curve(case):
    assert curves([session([case(batch=1), case(batch=8, measured=None)])]) == {}


def test_the_ceiling_is_taken_where_it_is_known(case):
    found = curves([session([case(batch=1), case(batch=8, physics=Physics(ceiling_sps=120_978.0))])])
    assert found["resnet50 tensorrt fp16"][0].ceiling_sps == 120_978.0
