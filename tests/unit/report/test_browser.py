"""The HTML report in a real browser: Chromium, headless. Skipped, and counted as skipped, where there is none."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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


# https://www.jenkins.io/doc/book/security/configuring-content-security-policy/
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"


def browse(tmp_path: Path, text: str, *flags: str, url: str = "") -> tuple[str, list[str]]:
    """Open a page; return the document as the browser built it, and what it said on the console."""
    page = tmp_path / "page.html"
    page.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'user'}", *flags, "--dump-dom", url or page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def rows(dom: str) -> list[tuple[str, bool]]:
    """Return verdict and whether it is hidden of each row of the table of cases, in order."""
    _, _, table = dom.partition('<table class="m">')
    body = table.partition("<tbody>")[2].partition("</tbody>")[0]
    found = re.findall(r"<tr( hidden=\"\")?><td><b class=\"\w\">(\w+)</b>", body)
    return [(verdict, bool(hidden)) for hidden, verdict in found]


@pytest.fixture
def text(cases) -> str:
    return html.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))])


def test_the_page_is_complete_and_the_console_silent(tmp_path, text):
    dom, console = browse(tmp_path, text)
    assert console == []
    assert dom.count("<tr") >= 8
    assert dom.count("<details") == 7
    assert "<svg" in dom
    assert '<input type="search">' in dom


def test_a_script_that_got_in_would_not_run_and_would_be_seen(tmp_path, text):
    planted = text.replace("</main>", "<script>document.body.append('it ran ' + (1 + 1))</script></main>")
    assert planted != text
    dom, console = browse(tmp_path, planted)
    assert "it ran 2" not in dom
    assert len(console) == 1
    assert "Content Security Policy" in console[0]


def acted(text: str, script: str) -> str:
    """Return the page with a script of the test's at its end; the page's own policy would not let it run."""
    allowed = re.sub(r"script-src 'sha256-[^']+'", "script-src 'unsafe-inline'", text)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def test_the_filter_hides_rows_with_their_details_and_says_how_many_are_left(tmp_path, text):
    script = (
        "const box = document.querySelector('input'); box.value = 'RESNET50 new'; box.oninput();"
        "document.querySelector('main').title = box.closest('p').querySelector('output').value"
    )
    dom, console = browse(tmp_path, acted(text, script))
    assert console == []
    assert [verdict for verdict, hidden in rows(dom) if not hidden] == ["new"]
    assert 'title="1 of 7"' in dom
    assert len(re.findall(r"<details[^>]* hidden", dom)) == 6


def test_columns_sort_both_ways_with_what_is_not_known_last(tmp_path, text):
    click = "document.querySelectorAll('table.m th button')[4].click();"
    latencies = []
    for script in (click, click + click):
        dom, console = browse(tmp_path, acted(text, script))
        assert console == []
        table = dom.partition('<table class="m">')[2].partition("</table>")[0]
        latencies.append([re.findall(r"<td>([^<]*)", row)[2] for row in table.split("<tr>")[2:]])
    up = [float(text.replace(" ", "")) for text in latencies[0][:-1]]
    assert up == sorted(up)
    assert latencies[0][-1] == latencies[1][-1] == "-"
    assert latencies[1][:-1] == latencies[0][-2::-1]
    assert 'aria-sort="descending"' in dom


def test_under_the_policy_of_jenkins_the_page_is_whole(tmp_path, text):
    class Jenkins(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", JENKINS)
            self.end_headers()
            self.wfile.write(text.encode() if self.path == "/" else b"")

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Jenkins) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        dom, console = browse(tmp_path, "", url=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert [verdict for verdict, hidden in rows(dom) if not hidden][:2] == ["inaccurate", "regressed"]
    assert dom.count("<details") == 7
    assert "<input" not in dom
    print(*console, sep="\n")
    # The browser says what it was told to leave out, which is the style sheet and the script, and nothing else.
    assert all("style" in line or "script" in line for line in console)
    assert len(console) <= 2


def test_screenshots_in_light_and_dark_differ_and_are_not_blank(tmp_path, text):
    sizes = {}
    for scheme, number in (("light", 1), ("dark", 0)):
        image = tmp_path / f"{scheme}.png"
        browse(tmp_path, text, f"--blink-settings=preferredColorScheme={number}", f"--screenshot={image}")
        sizes[scheme] = image.read_bytes()
    assert sizes["light"] != sizes["dark"]
    assert all(len(image) > 20_000 for image in sizes.values())
