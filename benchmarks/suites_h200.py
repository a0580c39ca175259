"""The product's TensorRT suites on a GPU server without TensorFlow: build, measure, measure again, find planted faults.

    python benchmarks/suites_h200.py build --bundle BUNDLE --work WORK &          # while files still arrive
    python benchmarks/suites_h200.py first --bundle BUNDLE --work WORK --out $OUT --limit-s 560
    python benchmarks/suites_h200.py again --bundle BUNDLE --work WORK --out $OUT --limit-s 500 --planted PLANTED

``build`` makes every engine of the suites as soon as its graph is there: ResNet-50 in FP16, whose kernels are chosen by
differences of microseconds, one at a time on each GPU, then the others, several at once. ``first`` waits for that and
writes pending baselines from five processes per case, then approves them into WORK/baselines. ``again`` must be green
against these; then a slowdown of 3 % is planted in one batch and a scale fault of 10 % in one INT8 layer (PLANTED is a
bundle that has it), and the right tests must fail. The models are spread over
the GPUs, each measured on the same one always.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

#: Models that are measured on one GPU; the others of a machine get the others.
GROUPS = {
    "resnet50": ("suites/vision/test_resnet50_tensorrt.py",),
    "others": ("suites/digits/test_digits_tensorrt.py", "suites/language/test_bert_base_tensorrt.py"),
}
PLANTED_CASE = "suites/vision/test_resnet50_tensorrt.py::test_tensorrt_fp16[{batch}]"
SLOWDOWN = 0.03
BUILD_LIMIT_S = 400


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"build": build, "one": build_one, "first": first, "again": again}[arguments.step](arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("build", "first", "again", "one"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--limit-s", type=float, default=560)
    parser.add_argument("--profile", default="h200")
    parser.add_argument("--seconds", type=float, default=2.5, help="--gpu-time-budget")
    parser.add_argument(
        "--at-once", type=int, default=3, help="builds at once on each GPU, after those that need quiet"
    )
    parser.add_argument("--hurry", action="store_true", help="build everything at once, with noise in the choices")
    parser.add_argument("--keyword", default="", help="only these tests, as for pytest -k")
    parser.add_argument("--planted", type=Path)
    parser.add_argument("--slow-batch", type=int, default=64, help="batch that the slowdown is planted in")
    parser.add_argument("--spec", help=argparse.SUPPRESS)
    return parser.parse_args()


def gpus() -> list[str]:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.splitlines()
    return [str(index) for index in range(max(1, len(listed)))]


# --- building ---------------------------------------------------------------------------------------------------------


def specs(arguments: argparse.Namespace) -> list[Any]:
    """Return the different engines of the suites in their order, by letting the tests ask for them."""
    import pytest

    from pytest_gpuperf import fixtures

    found: list[Any] = []

    def note(_: Any, engine: Any, *_rest: Any, **_more: Any) -> None:
        if engine not in found:
            found.append(engine)

    fixtures.GpuPerf.check = note  # type: ignore[method-assign] # in this process only
    files = [file for group in GROUPS.values() for file in group]
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        f"--gpu-profile={arguments.profile}",
        f"--gpu-out={arguments.work}/specs",
    ]
    chosen = ["-k", arguments.keyword] if arguments.keyword else []
    status = pytest.main([*files, *options, *chosen, f"--gpu-bundle={arguments.bundle}", *plugin()])
    if status != 0 or not found:
        sys.exit(f"the suites cannot be collected: status {status}")
    return found


def name(spec: Any) -> str:
    return " ".join([spec.model.name, spec.precision, f"max={spec.max_batch}", *map("=".join, spec.options.items())])


def build(arguments: argparse.Namespace) -> None:
    """Build all engines, each in a child; WORK/builds.json grows with each one."""
    import msgspec

    found, records, lock = specs(arguments), {}, threading.Lock()
    started = time.monotonic()

    def serve(gpu: str, waiting: list[Any]) -> None:
        while True:
            with lock:
                ready = next((spec for spec in waiting if is_here(arguments.bundle, spec)), None)
                if ready is not None:
                    waiting.remove(ready)
                elif not waiting:
                    return
            if ready is None:
                time.sleep(1)
                continue
            command = [sys.executable, __file__, "one", "--bundle", arguments.bundle, "--work", arguments.work]
            command += ["--spec", msgspec.json.encode(ready).decode()]
            began = time.monotonic()
            with (arguments.work / "build.log").open("a") as log:
                try:
                    code: Any = subprocess.run(
                        [str(word) for word in command],
                        env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
                        stdout=log,
                        stderr=log,
                        timeout=BUILD_LIMIT_S,
                        check=False,
                    ).returncode
                except subprocess.TimeoutExpired:
                    code = "timeout"
            record = {"gpu": gpu, "exit": code, "began_s": round(began - started), "s": time.monotonic() - began}
            with lock:
                records[name(ready)] = {**record, "s": round(record["s"], 1)}
                (arguments.work / "builds.json").write_text(json.dumps(records, indent=1))

    quiet = [
        spec for spec in found if not arguments.hurry and (spec.model.name, spec.precision) == ("resnet50", "fp16")
    ]
    for waiting, at_once in ((quiet, 1), ([spec for spec in found if spec not in quiet], arguments.at_once)):
        threads = [threading.Thread(target=serve, args=(gpu, waiting)) for gpu in gpus() * at_once]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (arguments.work / "built").write_text(f"{time.monotonic() - started:.0f} s\n")


def is_here(folder: Path, spec: Any) -> bool:
    """Whether the graph has arrived: every piece that it lies in, whole."""
    manifest = json.loads((folder / "manifest.json").read_text())
    member, size = manifest["members"][f"onnx/{spec.model.name}/{spec.precision}"], manifest["piece_bytes"]
    last = (member["offset"] + member["size"] - 1) // size
    pieces = [folder / f"piece.{index:02d}" for index in range(member["offset"] // size, last + 1)]
    if not all(piece.exists() for piece in pieces):
        return False
    tail = (member["offset"] + member["size"]) - last * size
    return all(piece.stat().st_size == size for piece in pieces[:-1]) and pieces[-1].stat().st_size >= tail


def build_one(arguments: argparse.Namespace) -> None:
    import msgspec

    from pytest_gpuperf.convert.bundle import Bundle
    from pytest_gpuperf.engines import tensorrt
    from pytest_gpuperf.engines.trt import cuda, versions
    from pytest_gpuperf.records import EngineSpec

    spec = msgspec.json.decode(arguments.spec, type=EngineSpec)
    print("==", name(spec), flush=True)
    cache = arguments.work / "cache"
    artefact = Bundle(arguments.bundle).artefact(spec.model.name, spec.precision, cache=cache)
    release = versions.load(tensorrt.options(spec)["package"])
    entry = tensorrt.stored(release, spec, artefact, cuda.device(0), cache=cache, progress=print)
    print(f"{len(entry.engine) >> 20} MiB in {entry.build_s:.0f} s", flush=True)


# --- measuring --------------------------------------------------------------------------------------------------------


def first(arguments: argparse.Namespace) -> None:
    """Measure pending baselines and approve them into WORK/baselines."""
    until = time.monotonic() + arguments.limit_s
    while not (arguments.work / "built").exists() and time.monotonic() < until - 60:
        time.sleep(1)
    _copy(arguments.work / "builds.json", arguments.work / "build.log", to=arguments.out)
    runs = {
        group: _session(arguments, group, files, "--gpu-update=all", "--gpu-processes=5", until=until)
        for group, files in GROUPS.items()
    }
    _wait(runs)
    _bring_back(arguments, list(GROUPS))
    for group in GROUPS:
        approve(arguments.work / group, arguments.work / "baselines")


def again(arguments: argparse.Namespace) -> None:
    """Measure once more, with and without planted faults."""
    until = time.monotonic() + arguments.limit_s
    baselines = (f"--gpu-baselines={arguments.work}/baselines", "--gpu-processes=3")
    runs = {
        f"{group}-again": _session(arguments, group, files, *baselines, name=f"{group}-again", until=until)
        for group, files in GROUPS.items()
    }
    _wait(runs)
    _bring_back(arguments, list(runs))
    vision, digits = GROUPS["resnet50"], GROUPS["others"][:1]
    spin = {"GPUPERF_SPIN_BATCH": str(arguments.slow_batch), "GPUPERF_SPIN_NS": str(_spin_ns(arguments))}
    fewer = () if arguments.keyword else ("-k", "fp16")
    planted = {
        "planted-slow": _session(
            arguments, "resnet50", vision, *baselines, *fewer, name="planted-slow", until=until, variables=spin
        )
    }
    if arguments.planted:
        planted["planted-scale"] = _session(
            arguments, "others", digits, *baselines, name="planted-scale", until=until, bundle=arguments.planted
        )
    _wait(planted)
    _bring_back(arguments, [*runs, *planted])


def _session(
    arguments: argparse.Namespace,
    group: str,
    files: tuple[str, ...],
    *options: str,
    until: float,
    name: str = "",
    variables: dict[str, str] | None = None,
    bundle: Path | None = None,
) -> Any:
    """Start pytest on the group's GPU; return a function that waits for it."""
    name = name or group
    here = gpus()
    gpu = here[list(GROUPS).index(group) % len(here)]
    out = arguments.work / name
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *plugin(), *files, *options]
    command += [f"--gpu-profile={arguments.profile}", f"--gpu-bundle={bundle or arguments.bundle}", f"--gpu-out={out}"]
    command += [f"--gpu-cache={arguments.work}/cache", f"--gpu-time-budget={arguments.seconds}"]
    command += [f"--junitxml={out}/junit.xml", *(["-k", arguments.keyword] if arguments.keyword else [])]
    paths = [str(ROOT), *([str(ROOT / "tests/gpu/planted")] if variables else []), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, **(variables or {}), "PYTHONPATH": os.pathsep.join(paths)}
    environment |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
    log = (arguments.out / f"{name}.log").open("w")
    started = time.monotonic()

    def start() -> Any:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)

        def wait() -> str:
            try:
                code: Any = process.wait(max(1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # pytest then writes what it has
                code = "stopped at the limit"
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
            return f"exit {code} after {time.monotonic() - started:.0f} s on GPU {gpu}"

        return wait

    return start


def _wait(sessions: dict[str, Any]) -> None:
    """Run the sessions, at once where each has a GPU of its own, and say how they ended."""
    if len(gpus()) > 1:
        waits = {name: start() for name, start in sessions.items()}
        ended = {name: wait() for name, wait in waits.items()}
    else:
        ended = {name: start()() for name, start in sessions.items()}
    for name, how in ended.items():
        print(f"{name}: {how}", flush=True)


def approve(out: Path, baselines: Path) -> None:
    from pytest_gpuperf import approval
    from pytest_gpuperf.baselines import read_pending

    for path in sorted((out / "pending").rglob("*.json")):
        pending = read_pending(path)
        approval.accept(
            pending, set(pending.entries), root=baselines, reason="first run", approver="first run", source=str(path)
        )
        print(f"approved {len(pending.entries)} cases of {path.stem}", flush=True)


def _spin_ns(arguments: argparse.Namespace) -> int:
    from pytest_gpuperf.baselines import read

    suite = read(arguments.work / "baselines" / arguments.profile / "resnet50_tensorrt.json")
    return round(
        suite.entries[PLANTED_CASE.format(batch=arguments.slow_batch)].metrics["latency_p50_ms"].value * 1e6 * SLOWDOWN
    )


def _bring_back(arguments: argparse.Namespace, names: list[str]) -> None:
    with tarfile.open(arguments.out / "results.tar.gz", "w:gz") as archive:
        for name in names:
            for path in sorted((arguments.work / name).rglob("*")):
                if path.suffix in (".json", ".xml", ".log"):
                    archive.add(path, str(path.relative_to(arguments.work)))
    for name in names:
        path = arguments.work / name / "results.json"
        print(
            _table(name, json.loads(path.read_text())["cases"]) if path.exists() else f"{name}: no results", flush=True
        )


def _table(name: str, cases: list[dict[str, Any]]) -> str:
    lines = [f"-- {name}"]
    for case in cases:
        metrics = case.get("metrics") or {}
        shown = [
            f"{metrics[key]['value']:10.4g}" if key in metrics else " " * 10
            for key in ("latency_p50_ms", "throughput_sps")
        ]
        exact = case.get("accuracy") or {}
        figures = ", ".join(
            f"{key} {exact[key]:.4g}" for key in ("top1_agreement", "rel_rmse", "top1") if exact.get(key) is not None
        )
        test = case["id"].rpartition("::")[2]
        lines.append(f"{test:28} {case['verdict']:14} {' '.join(shown)}  {figures}  {case['reason'][:90]}")
    return "\n".join(lines)


def plugin() -> list[str]:
    from importlib.metadata import entry_points

    is_installed = any(entry.name == "gpuperf" for entry in entry_points(group="pytest11"))
    return [] if is_installed else ["-p", "pytest_gpuperf.plugin"]


def _copy(*paths: Path, to: Path) -> None:
    for path in paths:
        if path.exists():
            shutil.copy(path, to / path.name)


if __name__ == "__main__":
    main()
