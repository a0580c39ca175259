"""JUnit: properties on the test case, and the same numbers as text where viewers hide properties.

pytest writes its XML file during the run (``--junit-xml``). Its family ``xunit2``, the default, has a schema, and that
knows no properties of a test case: there the numbers stand in the case's ``system-out`` and what holds for all of them
at the suite. With ``junit_family = xunit1`` the case also has :func:`properties`. :func:`document` makes a file from
results, which the schema accepts too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from pytest_gpuperf import figures
from pytest_gpuperf.records import CaseResult, Fingerprint, Status
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.order import GREEN

if TYPE_CHECKING:
    from pytest_gpuperf.report.results import Results

# https://www.w3.org/TR/xml/#charsets, inverted
NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF]")
ERRORS = frozenset({Status.CONFIG, Status.INFRA})


def has_properties(config: Any) -> bool:
    """Whether a test case may have properties: always, but where pytest writes a file whose schema forbids them."""
    return not getattr(config.option, "xmlpath", None) or config.getini("junit_family") != "xunit2"


def properties(case: CaseResult) -> list[tuple[str, str]]:
    """Return ``gpuperf_*`` name and value pairs: verdict, every figure by its name."""
    pairs = [("gpuperf_verdict", case.verdict.status.value)]
    return pairs + [(f"gpuperf_{name}", repr(metric.value)) for name, metric in cells.figures_of(case).items()]


def system_out(case: CaseResult) -> str:
    """Return the case's numbers as a few lines of text: Jenkins, for one, shows these and hides properties."""
    lines = [f"verdict: {case.verdict.status.value} ({case.verdict.reason})"]
    lines += [f"{name}: {cells.quantity(metric, interval=True)}" for name, metric in cells.metrics(case).items()]
    if case.measured is not None:
        lines.append(f"vs {case.reference}: {cells.speed_ratio(case, interval=True)}")
        lines.append(f"accuracy: {cells.accuracy(case.measured.accuracy)}")
    lines += [f"{name}: {cells.quantity(share)}" for name, share in figures.shares(case.physics).items()]
    return "\n".join(lines)


def element(case: CaseResult) -> ET.Element:
    """Return :func:`system_out` for the test case of a file that pytest is writing."""
    out = ET.Element("system-out")
    out.text = _xml(system_out(case))
    return out


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
    held = facts(result.profile, result.fingerprint, command=result.command, commit=result.commit)
    written = "".join(f"<property name={_attribute(name)} value={_attribute(value)}/>" for name, value in held)
    return "\n".join([opening, f"<properties>{written}</properties>", *map(_case, result.cases), "</testsuite>"])


def facts(profile: str, fingerprint: Fingerprint | None, **known: str) -> list[tuple[str, str]]:
    """Return what holds for all cases as ``gpuperf_*`` name and value pairs: the profile, the machine, its software."""
    known = {"profile": profile, **known}
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
