from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from pytest_gpuperf.records import Physics
from pytest_gpuperf.report import prometheus
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable
from tests.unit.report.conftest import make_case

LABELS = (
    'profile="h200",case="suites/vision/test_resnet50.py::test_resnet50_fp16[8]",'
    'model="resnet50",engine="tensorrt",precision="fp16",batch="8"'
)


def session(cases):
    return Results(profile="h200", fingerprint=None, cases=tuple(cases))


def test_golden(cases, golden):
    golden("metrics.prom", prometheus.document([session(cases)]))


@pytest.mark.parametrize(
    "line",
    [
        'gpuperf_latency_seconds{%s,quantile="0.5"} 0.000547',
        "gpuperf_throughput_samples_per_second{%s} " + f"{8000 / 0.547:.12g}",
        "gpuperf_speed_ratio{%s} 8",
        "gpuperf_top1_agreement{%s} 0.984375",
        'gpuperf_verdict{%s,verdict="passed"} 1',
        'hw_gpu_utilization_ratio{%s,hw_type="gpu",hw_id="gpu:0"} 0.93',
        'hw_gpu_memory_usage_bytes{%s,hw_type="gpu",hw_id="gpu:0"} 2147483648',
        'hw_power_watts{%s,hw_type="gpu",hw_id="gpu:0"} 310.5',
    ],
)
def test_lines(case, line):
    lines = prometheus.document([session([case()])]).splitlines()
    assert line.replace("%s", LABELS) in lines


def test_shares_of_what_is_possible(case):
    lines = prometheus.document([session([case(physics=Physics(mfu_pct=37.5, best_pct=41.0))])]).splitlines()
    assert f"gpuperf_mfu_ratio{{{LABELS}}} 0.375" in lines
    assert f"gpuperf_best_ratio{{{LABELS}}} 0.41" in lines


def test_what_is_not_known_is_not_there(case):
    assert "clock" not in prometheus.document([session([case()])])


def test_gitlab_wants_an_end():
    assert prometheus.document([]) == "# EOF\n"


def test_no_series_occurs_twice(case):
    lines = prometheus.document([session([case(seconds=1.0)]), session([case(seconds=2.0)])]).splitlines()
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert f"gpuperf_case_duration_seconds{{{LABELS}}} 2" in lines


@example('a"} 1')
@example("a\\")
@example("a\nb 1")
@given(st.text())
def test_the_reference_parsers_read_it_back(text):
    document = prometheus.document([session([make_case(text, model=text)])])
    for parse in (parser.text_string_to_metric_families, openmetrics.text_string_to_metric_families):
        families = {family.name: family for family in parse(document)}
        p50 = [sample for sample in families["gpuperf_latency_seconds"].samples if sample.labels["quantile"] == "0.5"]
        assert p50[0].value == 0.000547
        assert p50[0].labels["model"] == printable(text)
