from __future__ import annotations

import base64
import dataclasses
import hashlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuperf import __version__
from pytest_gpuperf.records import Finding, Fingerprint, Status, Verdict
from pytest_gpuperf.report import html
from pytest_gpuperf.report.merge import by_server, side_by_side
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable
from tests.unit.report.conftest import make_case, make_regressed

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "a",
    "header",
    "h1",
    "h2",
    "h3",
    "main",
    "section",
    "p",
    "ul",
    "li",
    "dl",
    "dt",
    "dd",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "b",
    "br",
    "figure",
    "figcaption",
    "svg",
    "path",
    "circle",
    "text",
    "details",
    "summary",
    "pre",
    "code",
    "footer",
    "script",
}
SCRIPT = (Path(html.__file__).parent / "table.js").read_text()


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, and the text outside of style sheets."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        self._inside = ""


def session(cases, **changes):
    fields = {
        "profile": "h200",
        "fingerprint": Fingerprint(machine="0123", hardware={"gpu": "NVIDIA H200"}, software={"tensorrt": "8.6.0"}),
        "cases": tuple(cases),
        "started": "2026-01-13T10:00:00+00:00",
        "seconds": 61.5,
        "command": "pytest --gpu-profile=h200",
    }
    return Results(**(fields | changes))


def assert_harmless(page: Page) -> None:
    assert {tag for tag, _ in page.elements} <= TAGS
    assert page.scripts == [SCRIPT]
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in {"src", "style", "srcdoc"} for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_golden(cases, golden):
    golden("report.html", html.document([session(cases)]).replace(__version__, "VERSION"))


def test_several_servers_share_a_page(cases, golden):
    slower = [make_case(f"test_resnet50_fp16[{b}]", batch=b, p50_ms=0.9 + 0.07 * b) for b in (1, 8, 16, 32, 64)]
    results = [session(cases), session(slower, profile="a40")]
    golden(
        "servers.html",
        html.document(results, [*side_by_side(results), *by_server(results)]).replace(__version__, "VERSION"),
    )


def test_nothing_is_loaded_and_nothing_but_our_script_runs(cases):
    page = Page(html.document([session(cases)]))
    assert_harmless(page)
    policies = [
        attributes["content"] for tag, attributes in page.elements if tag == "meta" and "http-equiv" in attributes
    ]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]


def test_links_lead_somewhere_and_anchors_are_unique(cases):
    page = Page(html.document([session(cases), session(cases, profile="a40")]))
    anchors = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert len(anchors) == len(set(anchors))
    assert len(links) == 1 + 2 * 7
    assert set(links) <= set(anchors)


def test_the_worst_case_comes_first_and_is_open(cases):
    page = Page(html.document([session(cases)]))
    opened = ["open" in attributes for tag, attributes in page.elements if tag == "details"]
    assert opened == [True] * 4 + [False] * 3


def test_details_tell_what_changed(regressed):
    words = " ".join(Page(html.document([session([regressed])])).words)
    for told in (
        "latency p50 rose by 13.7 %",
        "0.536 … 0.558",
        "0.481 ms",
        "+13.7 % (95 % CI +12.9 … +14.6)",
        "pytest --gpu-profile=h200 --gpu-update=changed -k 'test_resnet50_fp16[8]'",
        "575.51",
        "wider tolerance",
        "Not available: sm_clock_mhz",
        "pytest 'suites/vision/test_resnet50.py::test_resnet50_fp16[8]' --gpu-profile=h200",
    ):
        assert told in words


def test_what_is_said_of_several_figures_is_said_once_and_context_is_no_verdict(case):
    told = "context only: the baseline rests on 1 of 5 processes"
    findings = [
        Finding(metric=metric, status=Status.PASSED, measured=None, change_pct=40.0, note=told)
        for metric in ("latency_p50_ms", "latency_p99_ms")
    ]
    quiet = case(verdict=Verdict(status=Status.PASSED, reason="fine", findings=tuple(findings)))
    text = html.document([session([quiet])])
    assert text.count(told) == 1
    assert f"latency p50, latency p99: {told}" in text
    assert text.count("<td>not judged") == 2
    assert "not available" not in text
    assert "Not available: sm_clock_mhz" in text


def test_charts_have_words_for_those_who_do_not_see_them(cases):
    assert (
        "resnet50 tensorrt fp16: h200: batch 1 0.425 ms 2 353 samples/s, batch 8 0.547 ms 14 625 samples/s, "
        "batch 16 0.800 ms 20 000 samples/s, batch 32 1.20 ms 26 667 samples/s, batch 64 2.00 ms 32 000 samples/s, "
        "knee at batch 16"
    ) in "".join(Page(html.document([session(cases)])).words)


@pytest.mark.parametrize("status", [Status.PASSED, Status.REGRESSED])
def test_500_cases_fit_and_what_is_left_out_is_counted(status):
    first = make_regressed() if status is Status.REGRESSED else make_case()
    many = [
        dataclasses.replace(first, id=f"suites/vision/test_models.py::test_{n}[8]", model=f"m{n // 5}", batch=1 + n % 5)
        for n in range(500)
    ]
    text = html.document([session(many)])
    assert len(text.encode()) <= html.LIMIT_BYTES
    written = text.count("<details")
    assert 20 < written < 500
    assert f"Details of {500 - written} more cases did not fit this page" in text
    assert all(f"test_{n}[8]" in text for n in range(500))


def test_a_table_that_fills_the_page_leaves_no_room_for_details(cases):
    text = html.document([session(cases)], limit_bytes=5_000)
    assert "<details" not in text
    assert all(case.id in text for case in cases)


def test_an_empty_and_interrupted_session():
    words = " ".join(Page(html.document([session([], fingerprint=None, is_complete=False)])).words)
    assert "no case was measured" in words
    assert "interrupted" in words


def test_numbers_that_are_not_numbers(case, measured):
    nan = float("nan")
    odd = measured()
    metrics = {name: dataclasses.replace(metric, value=nan) for name, metric in odd.metrics.items()}
    text = html.document([session([case(measured=dataclasses.replace(odd, metrics=metrics))])])
    assert "nan" not in " ".join(Page(text).words).lower().replace("nan/inf", "")


@settings(max_examples=60)
@given(st.text(min_size=1))
def test_hostile_names_are_words_and_nothing_else(text):
    for hostile in (text, f"</title></script><script>alert(1)</script>{text}", f'"><img src=x onerror="{text}">'):
        cases = [
            make_case(hostile, Status.REGRESSED, hostile, model=hostile, engine=hostile, batch=batch, reference=hostile)
            for batch in (1, 8)
        ]
        page = Page(html.document([session(cases, profile=hostile, command=hostile, commit=hostile)]))
        assert_harmless(page)
        assert printable(hostile) in "".join(page.words)
