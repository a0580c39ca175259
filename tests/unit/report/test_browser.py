"""The HTML report in a real browser: Chromium, headless. Skipped, and counted as skipped, where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_gpuperf.report import html
from pytest_gpuperf.report.results import Results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def browse(tmp_path: Path, text: str, *flags: str) -> tuple[str, list[str]]:
    """Open a page; return the document as the browser built it, and what it said on the console."""
    page = tmp_path / "page.html"
    page.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'user'}", *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_page_is_complete_and_the_console_silent(tmp_path, cases):
    dom, console = browse(tmp_path, html.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))]))
    assert console == []
    assert dom.count("<tr") >= 8
    assert dom.count("<details") == 7
    assert "<svg" in dom


def test_a_script_that_got_in_would_not_run_and_would_be_seen(tmp_path, cases):
    text = html.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))])
    planted = text.replace("</main>", "<script>document.body.append('it ran ' + (1 + 1))</script></main>")
    assert planted != text
    dom, console = browse(tmp_path, planted)
    assert "it ran 2" not in dom
    assert len(console) == 1
    assert "Content Security Policy" in console[0]


def test_screenshots_in_light_and_dark_differ_and_are_not_blank(tmp_path, cases):
    text = html.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))])
    sizes = {}
    for scheme, number in (("light", 1), ("dark", 0)):
        image = tmp_path / f"{scheme}.png"
        browse(tmp_path, text, f"--blink-settings=preferredColorScheme={number}", f"--screenshot={image}")
        sizes[scheme] = image.read_bytes()
    assert sizes["light"] != sizes["dark"]
    assert all(len(image) > 20_000 for image in sizes.values())
