from __future__ import annotations

import pytest

from pytest_gpuperf import standing
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Differences, Finding, Provenance, Status


def entry(kind="measured", n=5) -> BaselineEntry:
    metric = BaselineMetric(value=1.0, unit="ms", higher="worse", n_processes=n)
    exact = BaselineMetric(value=1.0, unit="fraction", higher="better")
    origin = Provenance(kind=kind, date="2026-11-22", reason="r")
    return BaselineEntry(metrics={"latency_p50_ms": metric, "top1": exact}, conditions={}, provenance=origin)


@pytest.mark.parametrize(
    ("used", "baseline", "mismatched", "same_machine", "expected", "why"),
    [
        (["budget", "live pair", "stored"], entry(), {}, True, "live pair", ""),
        (["portable", "stored"], entry(), {}, True, "stored", "no live reference was run (--gpu-against)"),
        (["portable"], entry(), {}, False, "portable", "the baseline is another machine's"),
        (["portable"], entry(n=2), {}, True, "portable", "the baseline rests on 2 of 5 processes"),
        (
            ["published", "none"],
            entry("published"),
            {},
            True,
            "published",
            "the baseline holds published numbers only, which never gate",
        ),
        (["none"], entry(), {"batch": ("8", "16")}, True, "none", "the baseline's conditions differ: batch"),
        (["budget"], None, {}, False, "none", "there is no baseline"),
        ([], entry(), {}, True, "none", "no live reference was run (--gpu-against)"),
    ],
)
def test_the_best_reference_is_named_and_why_none_is_better(  # noqa: PLR0917 - a table
    used, baseline, mismatched, same_machine, expected, why
):
    findings = [Finding(metric="m", status=Status.PASSED, measured=None, reference=name) for name in used]
    differences = Differences(mismatched=mismatched)
    found = standing.of(findings, baseline, differences, same_machine=same_machine, min_processes=5)
    assert found == standing.Standing(reference=expected, why=why)
