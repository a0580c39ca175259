"""JUnit: properties on the test case, and the same numbers as text where viewers hide properties.

pytest writes its XML file during the run (``--junit-xml``) and puts :func:`properties` on the test case, which most
servers read and the xunit2 schema does not know. :func:`document` makes a file from results that the schema accepts:
properties stand at the suite, the numbers of a case in its ``system-out``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from pytest_gpuperf import figures
from pytest_gpuperf.records import CaseResult, Status
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.order import GREEN

if TYPE_CHECKING:
    from pytest_gpuperf.report.results import Results

# https://www.w3.org/TR/xml/#charsets, inverted
NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF]")
ERRORS = frozenset({Status.CONFIG, Status.INFRA})


def properties(case: CaseResult) -> list[tuple[str, str]]:
    """Return ``gpuperf_*`` name and value pairs: verdict, every figure by its name."""
    pairs = [("gpuperf_verdict", case.verdict.status.value)]
    measured = case.measured
    if measured is None:
        return pairs
    pairs += [(f"gpuperf_{name}", repr(metric.value)) for name, metric in figures.of(measured).items()]
    return pairs


def system_out(case: CaseResult) -> str:
    """Return the case's numbers as a few lines of text: Jenkins, for one, shows these and hides properties."""
    lines = [f"verdict: {case.verdict.status.value} ({case.verdict.reason})"]
    lines += [f"{name}: {cells.quantity(metric, interval=True)}" for name, metric in cells.metrics(case).items()]
    if case.measured is not None:
        lines.append(f"vs {case.reference}: {cells.speed_ratio(case, interval=True)}")
        lines.append(f"accuracy: {cells.accuracy(case.measured.accuracy)}")
    return "\n".join(lines)


def document(results: Sequence[Results]) -> str:
    """Return a JUnit XML file in the xunit2 family, one suite per server profile."""
    suites = "\n".join(_suite(result) for result in results)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="gpuperf">\n{suites}\n</testsuites>\n'


def _suite(result: Results) -> str:
    failures = sum(case.verdict.status not in GREEN | ERRORS for case in result.cases)
    errors = sum(case.verdict.status in ERRORS for case in result.cases)
    started = f" timestamp={_attribute(result.started)}" if result.started else ""
    opening = (
        f"<testsuite name={_attribute(result.profile)} tests={_attribute(str(len(result.cases)))} "
        f'errors="{errors}" failures="{failures}" skipped="0" time="{result.seconds:.3f}"{started}>'
    )
    held = "".join(f"<property name={_attribute(name)} value={_attribute(value)}/>" for name, value in _facts(result))
    return "\n".join([opening, f"<properties>{held}</properties>", *map(_case, result.cases), "</testsuite>"])


def _facts(result: Results) -> list[tuple[str, str]]:
    fingerprint = result.fingerprint
    known = {"profile": result.profile, "command": result.command, "commit": result.commit}
    if fingerprint is not None:
        known |= {"machine": fingerprint.machine, **fingerprint.hardware, **fingerprint.software}
    return [(f"gpuperf_{name}", value) for name, value in known.items() if value]


def _case(case: CaseResult) -> str:
    path, _, name = case.id.partition("::")
    classname = path.removesuffix(".py").replace("/", ".")
    body = ""
    if case.verdict.status not in GREEN:
        tag = "error" if case.verdict.status in ERRORS else "failure"
        told = "\n".join([*cells.told(case), *case.verdict.hints])
        message = _attribute(f"{case.verdict.status.value}: {case.verdict.reason}")
        body += f'<{tag} message={message} type="{case.verdict.status.value}">{_text(told)}</{tag}>'
    body += f"<system-out>{_text(system_out(case))}</system-out>"
    opening = f'<testcase classname={_attribute(classname)} name={_attribute(name or path)} time="{case.seconds:.3f}">'
    return f"{opening}{body}</testcase>"


def _xml(text: str) -> str:
    """Replace the characters that XML 1.0 cannot hold, not even escaped, by their Python escape."""
    return NOT_XML.sub(lambda match: ascii(match[0])[1:-1], text)


def _text(text: str) -> str:
    return escape(_xml(text))


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))
