"""TensorFlow, TF-TRT and native TensorRT on one GPU server in one run, through the product's suites.

    python benchmarks/tensorflow_h200.py native  --bundle BUNDLE --work WORK &   # engines; before TensorFlow is there
    python benchmarks/tensorflow_h200.py models  --bundle BUNDLE --work WORK     # SavedModels
    python benchmarks/tensorflow_h200.py tftrt   --bundle BUNDLE --work WORK &   # TF-TRT's engines
    python benchmarks/tensorflow_h200.py measure --bundle BUNDLE --work WORK --out $OUT --limit-s 560

``native`` builds the native engines and ``tftrt`` converts, several at a time, each in a child; both may run while
files still arrive. ``measure`` runs the suites, then TensorFlow's profiler over each of its rows, and brings back
results, pending baselines and logs as it goes. With a second GPU, BERT and all TF-TRT builds are there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import suites_h200  # noqa: E402 - the benchmark that this one extends

BATCHES = (1, 8, 16, 32, 64)
LIMIT_S = 420
VISION, LANGUAGE = "suites/vision/test_resnet50", "suites/language/test_bert_base"
#: What is measured, in this order: TensorFlow and native engines are ready first.
TESTS = {
    "resnet50": [
        *(f"{VISION}_tensorflow.py::test_tensorflow_{row}" for row in ("fp32", "xla", "mixed_float16", "tf32")),
        *(f"{VISION}_tensorrt.py::test_tensorrt_{row}" for row in ("fp32", "fp16", "int8")),
        *(f"{VISION}_tensorflow.py::test_tftrt_{row}" for row in ("fp16", "int8")),
    ],
    "bert_base": [
        *(f"{LANGUAGE}_tensorflow.py::test_tensorflow_{row}" for row in ("fp32", "xla", "mixed_float16", "tf32")),
        f"{LANGUAGE}_tensorrt.py::test_tensorrt_fp16",
        f"{LANGUAGE}_tensorflow.py::test_tftrt_fp16",
    ],
}


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    steps = {"native": native, "models": models, "tftrt": tftrt, "measure": measure, "trace": trace}
    {**steps, "one": one}[arguments.step](arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("native", "models", "tftrt", "measure", "trace", "one"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--limit-s", type=float, default=560)
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--seconds", type=float, default=2.0, help="--gpu-time-budget")
    parser.add_argument("--at-once", type=int, default=5, help="builds at once on a GPU")
    parser.add_argument("--model", default="resnet50", help="whose engines are built, or traced")
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- building ---------------------------------------------------------------------------------------------------------


def specs(arguments: argparse.Namespace, kind: str) -> list[Any]:
    """Return the engines of one kind that the tests ask for."""
    suites_h200.GROUPS = {name: tuple(tests) for name, tests in TESTS.items() if name == arguments.model}
    os.environ["GPUPERF_BATCHES"] = ",".join(map(str, BATCHES))
    os.environ["GPUPERF_TFTRT_ALLOW_PATCH_MISMATCH"] = "1"
    return [spec for spec in suites_h200.specs(arguments) if spec.kind == kind]


def native(arguments: argparse.Namespace) -> None:
    """Build the native engines as soon as their graphs are there, on the first GPU."""
    found = specs(arguments, "tensorrt")
    while not all(suites_h200.is_here(arguments.bundle, spec) for spec in found):
        time.sleep(1)
    _build(arguments, found, "0")


def tftrt(arguments: argparse.Namespace) -> None:
    """Convert and build TF-TRT's engines, on the last GPU."""
    _build(arguments, specs(arguments, "tftrt"), suites_h200.gpus()[-1])
    (arguments.work / f"built-{arguments.model}").touch()


def _build(arguments: argparse.Namespace, found: list[Any], gpu: str) -> None:
    import msgspec

    lock, path = threading.Lock(), arguments.work / "builds.jsonl"

    def build(spec: Any) -> None:
        command = [sys.executable, __file__, "one", "--bundle", arguments.bundle, "--work", arguments.work]
        command += ["--spec", msgspec.json.encode(spec).decode()]
        began = time.monotonic()
        log = arguments.work / f"build {suites_h200.name(spec)} {spec.kind}.log".replace(" ", "-").replace(",", "_")
        with log.open("w") as stream:
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
            try:
                code: Any = subprocess.run(
                    list(map(str, command)), env=environment, stdout=stream, stderr=stream, timeout=LIMIT_S, check=False
                ).returncode
            except subprocess.TimeoutExpired:
                code = "timeout"
        record = {"engine": f"{spec.kind} {suites_h200.name(spec)}", "gpu": gpu, "exit": code}
        with lock, path.open("a") as stream:
            stream.write(json.dumps({**record, "s": round(time.monotonic() - began, 1), "end": time.time()}) + "\n")

    with ThreadPoolExecutor(arguments.at_once) as pool:
        list(pool.map(build, found))


def one(arguments: argparse.Namespace) -> None:
    """Build one engine, in a child."""
    import msgspec

    from pytest_gpuperf.records import EngineSpec

    spec = msgspec.json.decode(arguments.spec, type=EngineSpec)
    if spec.kind == "tensorrt":
        suites_h200.build_one(arguments)
        return
    engine = _open(arguments, spec)
    print(engine.info.mode, engine.info.versions, flush=True)


def models(arguments: argparse.Namespace) -> None:
    """Make the SavedModels of one model, on the CPU."""
    from pytest_gpuperf import convert
    from pytest_gpuperf.convert.cache import Cache

    started = time.monotonic()
    for precision in ("fp32", "mixed_float16"):
        cache = Cache(arguments.work / "cache")
        made = convert.prepare(
            _model(arguments.model), kind="savedmodel", precision=precision, cache=cache, progress=print
        )
        print(made.path, f"{time.monotonic() - started:.0f} s", flush=True)


def _model(name: str) -> Any:
    from pytest_gpuperf.script import Script

    offered = Script.find("conftest.py:pytest_gpuperf_models", str(ROOT / "suites")).load()()
    return next(model for model in offered if model.name == name)


def _open(arguments: argparse.Namespace, spec: Any) -> Any:
    from pytest_gpuperf import convert, engines
    from pytest_gpuperf.convert.cache import Cache

    cache = arguments.work / "cache"
    engine = engines.load(spec.kind)(spec)
    artefact = convert.prepare(
        spec.model, kind="savedmodel", precision=engine.artefact_precision, cache=Cache(cache), progress=print
    )
    engine.open(artefact, cache=cache, progress=print)
    return engine


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(arguments: argparse.Namespace) -> None:
    """Run the suites, each model on a GPU of its own where there are two, and trace each model after its suite."""
    until = time.monotonic() + arguments.limit_s
    here = suites_h200.gpus()
    turns = [(model, here[index % len(here)]) for index, model in enumerate(TESTS)]
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(arguments, stop))
    keeper.start()

    def turn(model: str, gpu: str) -> None:
        # Builds would share the GPU with what is measured, unless there is another one.
        awaited = ["bert_base"] if len(here) > 1 and model == "bert_base" else []
        awaited = list(TESTS) if len(here) == 1 else awaited
        while (
            not all((arguments.work / f"built-{name}").exists() for name in awaited) and time.monotonic() < until - 90
        ):
            time.sleep(1)
        _suite(arguments, model, gpu, until)
        _trace(arguments, model, gpu, until)

    if len(here) > 1:
        with ThreadPoolExecutor(len(turns)) as pool:
            list(pool.map(lambda pair: turn(*pair), turns))
    else:
        for pair in turns:
            turn(*pair)
    stop.set()
    keeper.join()


def _suite(arguments: argparse.Namespace, model: str, gpu: str, until: float) -> None:
    out = arguments.work / model
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-p", "pytest_gpuperf.plugin"]
    command += [*TESTS[model], f"--gpu-profile={arguments.profile}", f"--gpu-bundle={arguments.bundle}"]
    command += [f"--gpu-out={out}", f"--gpu-cache={arguments.work}/cache", f"--gpu-time-budget={arguments.seconds}"]
    command += ["--gpu-update=all", f"--gpu-batches={','.join(map(str, BATCHES))}", "--gpu-report=markdown"]
    _run(command, gpu, until - 45, arguments.work / f"{model}.log")


def _trace(arguments: argparse.Namespace, model: str, gpu: str, until: float) -> None:
    command = [sys.executable, __file__, "trace", "--model", model, "--bundle", arguments.bundle]
    _run(
        [*command, "--work", arguments.work, "--profile", arguments.profile],
        gpu,
        until,
        arguments.work / f"trace-{model}.log",
    )


def _run(command: list[Any], gpu: str, until: float, log: Path) -> None:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "PYTHONPATH": paths, "COLUMNS": "160"}
    environment |= {"GPUPERF_TFTRT_ALLOW_PATCH_MISMATCH": "1", "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            code: Any = process.wait(max(1, until - started))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest then writes what it has
            code = "stopped at the limit"
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    print(f"{log.stem}: exit {code} after {time.monotonic() - started:.0f} s on GPU {gpu}", flush=True)


def _keep(arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Bring back what there is, every few seconds: the machine may be taken away."""
    is_last = False
    while not is_last:
        is_last = stop.wait(20)
        part = arguments.out / ".results.part"
        with tarfile.open(part, "w:gz") as archive:
            for path in sorted(arguments.work.rglob("*")):
                inside = path.relative_to(arguments.work)
                if path.suffix in (".json", ".jsonl", ".log", ".md") and inside.parts[0] != "cache":
                    archive.add(path, str(inside))
        part.rename(arguments.out / "results.tar.gz")


def trace(arguments: argparse.Namespace) -> None:
    """Profile every TensorFlow and TF-TRT row at each batch size; WORK/trace-MODEL.json grows with each."""
    found = [*specs(arguments, "tensorflow"), *specs(arguments, "tftrt")]
    lines: list[dict[str, Any]] = []
    path = arguments.work / f"trace-{arguments.model}.json"
    import msgspec

    for spec in found:  # a child each: TF32 is a process's, and a crash must not cost the others
        text = msgspec.json.encode(spec).decode()
        command = [sys.executable, "-c", _TRACE_ONE, text, str(arguments.work), str(ROOT)]
        done = subprocess.run(["timeout", "150", *command], capture_output=True, text=True, check=False)
        lines += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode:
            print(suites_h200.name(spec), done.stderr[-800:], flush=True)
        path.write_text(json.dumps(lines, indent=1))
    shutil.copy(path, path.with_suffix(".done.json"))


_TRACE_ONE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/benchmarks"]
import msgspec, tensorflow_h200 as here
from pytest_gpuperf import inputs
from pytest_gpuperf.engines.tf import trace
from pytest_gpuperf.records import BatchSpec, EngineSpec
spec = msgspec.json.decode(sys.argv[1], type=EngineSpec)
engine = here._open(SimpleNamespace(work=Path(sys.argv[2])), spec)
sizes = [int(n) for n in spec.options["batches"].split(",")] if "batches" in spec.options else here.BATCHES
for size in sizes:
    wanted = BatchSpec(inputs=spec.model.inputs, batch=size, samples=size, seed=1, root=spec.model.root)
    binding = engine.bind(inputs.load(wanted).arrays)
    for _ in range(5):
        binding.run()
    found = trace.split(engine._tf, binding.run)
    row = {"model": spec.model.name, "kind": spec.kind, "precision": spec.precision, "options": spec.options}
    print(json.dumps({**row, "batch": size, "mode": engine.info.mode, **asdict(found)}), flush=True)
"""


if __name__ == "__main__":
    main()
