"""From a red build to its cause, on a planted regression of a real engine.

``python benchmarks/walkthrough.py DIR [busy]``

Writes a suite of two cases into DIR (ONNX Runtime, a multilayer perceptron), approves a baseline, makes the engine of
one case run the model twice a call, runs again as CI does, opens the report in headless Chromium at the size of
a laptop's window, and counts what a reader has to read until the cause is named. Pictures are left in DIR. ``busy``
has the verdict given on a loaded machine too, where it would be ``inconclusive``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
SUITE = {
    "model.py": """
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng, names, nodes, weights = np.random.default_rng(1), ["x"], [], []
for number in range(4):
    weights.append(numpy_helper.from_array(rng.normal(size=(512, 512)).astype(np.float32) / 22, f"w{number}"))
    nodes.append(helper.make_node("MatMul", [names[-1], f"w{number}"], [f"m{number}"]))
    nodes.append(helper.make_node("Relu", [f"m{number}"], [f"r{number}"]))
    names.append(f"r{number}")
shape = ["batch", 512]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", names[-1])]
graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "suite/mlp.onnx")
""",
    "inputs.py": """
import numpy as np


def numbers(samples, seed):
    return {"x": np.random.default_rng(seed).normal(size=(samples, 512)).astype(np.float32)}
""",
    "server.py": """
from pytest_gpuperf.engines.onnxruntime import OnnxRuntimeBinding, OnnxRuntimeEngine


class Server(OnnxRuntimeEngine):
    def _bind(self, batch):
        return Request(self._session, batch)


class Request(OnnxRuntimeBinding):
    def run(self):
        super().run()
""",
    "test_mlp.py": """
from pathlib import Path

import pytest
from pytest_gpuperf import Model

MLP = Model(name="mlp", source="mlp.onnx", inputs="inputs.py:numbers", root=str(Path(__file__).parent))


@pytest.mark.parametrize("batch", [8])
@pytest.mark.parametrize("kind", ["onnxruntime", "server:Server"], ids=["runtime", "server"])
def test_mlp(engine, batched_inputs, gpuperf, kind, batch):
    gpuperf.check(engine(MLP, kind, threads=1), batched_inputs("inputs.py:numbers", batch))
""",
}
PLANTED = """        super().run()
        super().run()  # "is it deterministic?": a check that was left in
"""
BUSY = "from pytest_gpuperf import load\n\nload.disturbances = lambda *arguments: ()\n"
APPROVE = (
    "python suite/model.py",
    "pytest suite --gpu-profile=cpu --gpu-time-budget=5 --gpu-update=all --gpu-policy=inconclusive=warn",
    'gpuperf accept --all --reason "the first numbers"',
)
RED = "pytest suite --gpu-profile=cpu --gpu-time-budget=5 --gpu-report=html,junit,comment --junitxml=pytest.xml"
BROWSER = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")
WINDOW = (1280, 800)
WORDS_PER_S = 4.0  # 238 words a minute: Brysbaert, "How many words do we read per minute?", 2019


def main() -> int:
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "suite").mkdir(parents=True)
    for name, text in SUITE.items():
        (folder / "suite" / name).write_text(text.lstrip())
    if "busy" in options:
        (folder / "conftest.py").write_text(BUSY)
    for command in APPROVE:
        shell(command, folder, expected=0)
    server = folder / "suite" / "server.py"
    server.write_text(server.read_text().replace("        super().run()\n", PLANTED))
    log = shell(RED, folder, expected=1)

    failure = log[log.index("regressed: ") : log.index("= gpuperf =")]
    page = (folder / ".gpuperf" / "report.html").resolve()
    dom, took_s = browse(folder, "--dump-dom", page.as_uri())
    for name, flags in (
        ("page.png", ("--window-size={},{}".format(*WINDOW),)),
        ("details.png", ("--window-size=1280,2050",)),
    ):
        browse(folder, *flags, f"--screenshot={folder / name}", page.as_uri())
    words = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", dom.partition("<body>")[2], flags=re.DOTALL)
    until = words[: re.search(r"limit \d", words).end()].split()  # what, by how much, and what was allowed
    print(log[log.index("= gpuperf =") :])
    print(failure)
    for where, count in (("log", len(failure.split())), ("page", len(until))):
        print(f"{where}: {count} words until the cause is named, {count / WORDS_PER_S:.0f} s to read")
    print(f"page: {len(dom.encode())} bytes, drawn {took_s:.1f} s after Chromium's start")
    return 0


def shell(command: str, folder: Path, *, expected: int) -> str:
    environ = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(
            [str((folder / "suite").resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "NO_COLOR": "1",
    }
    done = subprocess.run(command, shell=True, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def browse(folder: Path, *arguments: str) -> tuple[str, float]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium, "there is no Chromium"
    started = time.perf_counter()
    command = [chromium, *BROWSER, f"--user-data-dir={folder / 'chromium'}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
