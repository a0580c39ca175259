"""TensorRT on a GPU: engines through the plugin's own classes against a bare event loop on the same engine bytes.

    python benchmarks/tensorrt_h200.py --bundle BUNDLE --work ~/plans --out $OUT --limit-s 540

Each step runs in a child process with a time limit of its own; results are written after each. Steps that are done
according to WORK/results.json are left out, so a second call goes on where the first one ended. ``--steps`` picks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SAMPLES, SEED = 64, 1
PEER_CASES = 3
#: TensorRT 8.6 runs BERT as one Myelin region, which cannot be captured into a CUDA graph.
EAGER = {"cuda_graph": "off"}
ANY_GRAPH = {"cuda_graph": "auto"}
#: name → (limit in s, model, precision, options with max_batch, batches, in-flight counts of the largest batch)
STEPS: dict[str, tuple[int, str, str, dict[str, str], tuple[int, ...], tuple[int, ...]]] = {
    "resnet50-fp16-small": (240, "resnet50", "fp16", {"opt_batch": "8", "max": "8"}, (8, 1), (2,)),
    "resnet50-fp16-large": (
        240,
        "resnet50",
        "fp16",
        {"min_batch": "64", "opt_batch": "256", "max": "256"},
        (256, 64),
        (1, 2, 3),
    ),
    "resnet50-fp32-b8": (150, "resnet50", "fp32", {"min_batch": "8", "max": "8"}, (8,), (2,)),
    "bert_base-fp16-small": (200, "bert_base", "fp16", {**EAGER, "opt_batch": "1", "max": "8"}, (1, 8), (2,)),
    "peer-torch": (200, "", "", {}, (), ()),
    "resnet50-int8-b256": (
        320,
        "resnet50",
        "int8",
        {"min_batch": "256", "max": "256", "profiles": "shared", "streams": "2"},
        (256,),
        (1, 2, 3, 4),
    ),
    "bert_base-fp16-large": (
        200,
        "bert_base",
        "fp16",
        {**EAGER, "min_batch": "64", "opt_batch": "128", "max": "128"},
        (128, 64),
        (1, 2, 3),
    ),
    "resnet50-fp16-b64": (200, "resnet50", "fp16", {"min_batch": "64", "max": "64"}, (64,), (1, 2, 3)),
    "resnet50-fp16-b1": (200, "resnet50", "fp16", {"max": "1"}, (1,), (2,)),
    "resnet50-int8-b64": (
        320,
        "resnet50",
        "int8",
        {"min_batch": "64", "max": "64", "profiles": "shared", "streams": "2"},
        (64,),
        (1, 2, 3, 4),
    ),
    # Candidates for BERT-base's bars: one shape each, the most thorough search, two contexts where batches are large.
    "bert_base-fp16-b1-level5": (300, "bert_base", "fp16", {**ANY_GRAPH, "level": "5", "max": "1"}, (1,), (1, 2)),
    "bert_base-fp16-b128-streams2": (
        240,
        "bert_base",
        "fp16",
        {**ANY_GRAPH, "profiles": "shared", "streams": "2", "min_batch": "128", "max": "128"},
        (128,),
        (1, 2, 4),
    ),
    "bert_base-fp16-b64-streams4": (
        240,
        "bert_base",
        "fp16",
        {**ANY_GRAPH, "profiles": "shared", "streams": "4", "min_batch": "64", "max": "64"},
        (64,),
        (1, 2, 4, 8),
    ),
    "resnet50-fp16-b8": (200, "resnet50", "fp16", {"min_batch": "8", "max": "8"}, (8,), (2,)),
    "resnet50-fp16-b256-streams2": (
        240,
        "resnet50",
        "fp16",
        {"profiles": "shared", "streams": "2", "min_batch": "256", "max": "256"},
        (256,),
        (1, 2, 4),
    ),
    "digits-fp16": (150, "digits", "fp16", {"max": "64"}, (1, 64), (2,)),
    "resnet50-fp32-b64": (150, "resnet50", "fp32", {"min_batch": "64", "max": "64"}, (64,), (2,)),
}
#: Ways of calling that are measured for the first batch of a step, on the same engine.
MODES = ({}, {"cuda_graph": "off"}, {"transfers": "in_out"}, {"sync": "blocking"})


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(arguments)
        return
    started = time.monotonic()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    store = work / "results.json"
    results: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    peer = work / "peer-torch.result.json"  # may have run by itself while files travelled
    if "peer-torch" not in results and peer.exists():
        found = json.loads(peer.read_text())
        results["peer-torch"] = {"ok": len(found.get("cases", {})) == PEER_CASES, "exit": "early", **found}
    for name in arguments.steps or STEPS:
        left = arguments.limit_s - (time.monotonic() - started)
        if results.get(name, {}).get("ok") or left < 30:
            continue
        results[name] = _run(name, arguments, min(STEPS[name][0], left))
        for target in (store, arguments.out / "results.json"):
            target.write_text(json.dumps(results, indent=1))
    shutil.copy(store, arguments.out / "results.json")
    _bring_back(work, arguments.out)
    print(_table(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path.home() / "plans")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--limit-s", type=float, default=540)
    parser.add_argument("--steps", nargs="*", choices=list(STEPS))
    parser.add_argument("--child", choices=list(STEPS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, arguments: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run one step in a child; the child rewrites its own result after each number, so a late kill loses little."""
    result = arguments.work / f"{name}.result.json"
    result.unlink(missing_ok=True)
    environment = dict(os.environ)
    command = [sys.executable, __file__, "--bundle", arguments.bundle, "--work", arguments.work, "--child", name]
    if name == "peer-torch":
        # PyTorch lives in the machine's own Python; ours must not leak into it.
        for variable in ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONNOUSERSITE"):
            environment.pop(variable, None)
        command = ["python3", Path(__file__).with_name("peer_torch.py"), "--out", result]
    print(f"== {name} (limit {limit_s:.0f} s)", flush=True)
    started = time.monotonic()
    with (arguments.out / "log.txt").open("a") as log:
        log.write(f"== {name}\n")
        log.flush()
        try:
            code = subprocess.run(
                [str(word) for word in command], env=environment, stdout=log, stderr=log, timeout=limit_s, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = "timeout"
    found = json.loads(result.read_text()) if result.exists() else {}
    seconds = round(time.monotonic() - started, 1)
    print(f"   {'ok' if code == 0 else f'FAILED: {code}'} in {seconds} s", flush=True)
    return {"ok": code == 0, "exit": code, "seconds": seconds, **found}


def _child(arguments: argparse.Namespace) -> None:
    import faulthandler

    faulthandler.enable()
    study = Study(arguments.child, arguments.bundle, arguments.work)
    _, _, _, _, batches, in_flight = STEPS[arguments.child]
    for batch in batches:
        for mode in MODES if batch == batches[0] else MODES[:1]:
            is_largest = batch == max(batches) and not mode
            study.measure(batch, mode, in_flight if is_largest else ())


class Study:
    """One engine in several modes and batches; what is found is written after each of them."""

    def __init__(self, name: str, bundle_path: Path, work: Path) -> None:
        from pytest_gpuperf.convert.bundle import Bundle
        from pytest_gpuperf.records import BatchSpec

        self.name, self.work = name, work
        _, self.model, self.precision, options, _, _ = STEPS[name]
        bundle = Bundle(bundle_path)
        self.artefact = bundle.artefact(self.model, self.precision, cache=work)
        samples = BatchSpec(inputs=self.model, batch=1, samples=SAMPLES, seed=SEED)
        self.data = bundle.batches(self.model, samples).arrays
        self.reference = bundle.reference(self.model, samples)
        self.options = {"profiles": "separate", **options}
        self.max_batch = int(self.options.pop("max"))
        self.found: dict[str, Any] = {"cases": {}}

    def measure(self, batch: int, mode: dict[str, str], in_flight: tuple[int, ...]) -> None:
        from pytest_gpuperf.engines.tensorrt import TensorRTEngine
        from pytest_gpuperf.records import EngineSpec, Model
        from pytest_gpuperf.worker.loop import Loop

        spec = EngineSpec(
            kind="tensorrt",
            model=Model(name=self.model, source="", inputs=self.model),
            precision=self.precision,
            max_batch=self.max_batch,
            options={**self.options, **mode},
        )
        started = time.monotonic()
        engine = TensorRTEngine(spec)
        info = engine.open(self.artefact, cache=self.work, progress=lambda text: print(text, flush=True))
        self.found.setdefault("open_s", round(time.monotonic() - started, 1))
        self.found.setdefault("info", {"precision": info.precision, "versions": info.versions, "mode": info.mode})
        self.found.setdefault("layers", json.loads(engine.loaded.inspect(), strict=False))
        batches = _batches(self.data, batch)
        loop = Loop(engine, batches, batch=batch)
        accuracy = _accuracy(loop.evaluate(), self.reference)
        case: dict[str, Any] = {"accuracy": accuracy, "steady": loop.warm_up(max_s=5).is_steady}
        self.found["cases"][" ".join([f"b{batch}", *(f"{key}={value}" for key, value in mode.items())])] = case
        case |= _latencies(loop, engine, batches, info.mode)
        self.write()
        case["volleys_sps"] = {}
        for count in in_flight:
            case["volleys_sps"][str(count)] = round(_rate(loop.volley(in_flight=count, seconds=2)))
            self.write()
        loop.close()
        engine.close()

    def write(self) -> None:
        (self.work / f"{self.name}.result.json").write_text(json.dumps(self.found))


def _latencies(loop: Any, engine: Any, batches: list[dict[str, Any]], mode: dict[str, str]) -> dict[str, float]:
    """Alternate blocks of the engine and of the bare loop, so that both see the same clocks and temperatures."""
    is_comparable = mode["transfers"] == "none" and mode["sync"] == "spin"
    bare = Bare(engine.loaded, batches, graph=mode["cuda_graph"] == "on") if is_comparable else None
    ours: list[int] = []
    host: list[int] = []
    theirs: list[float] = []
    for _ in range(5):
        block = loop.measure(seconds=0.4, max_calls=4000)
        ours += block.device_ns
        host += block.host_ns
        if bare is not None:
            theirs += bare.measure(0.4)
    found = {
        "device_p50_ms": median(ours) / 1e6,
        "host_p50_ms": median(host) / 1e6,
        "calls": len(ours),
    }
    if bare is not None:
        found |= {"bare_p50_ms": median(theirs), "over_bare_pct": (median(ours) / 1e6 / median(theirs) - 1) * 100}
    return {key: round(value, 5) for key, value in found.items()}


class Bare:
    """The shortest loop that one would write by hand: two events around each launch, nothing else."""

    def __init__(self, loaded: Any, batches: list[dict[str, Any]], *, graph: bool) -> None:
        from cuda.bindings import runtime as cudart

        self.cudart = cudart
        engine = loaded.engine
        # Contexts must not share a shape profile on 8.6, so the bare loop has an engine of its own.
        self.runtime = loaded.release.api.Runtime(loaded.release.logger([]))
        self.engine = self.runtime.deserialize_cuda_engine(bytes(engine.serialize()))
        self.stream = self._ok(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.events = [self._ok(cudart.cudaEventCreate()) for _ in range(2)]
        self.contexts, self.launches = self.engine.create_execution_context(), []
        context = self.contexts
        for batch in batches:
            addresses = {}
            for name, array in batch.items():
                assert context.set_input_shape(name, array.shape)
                addresses[name] = int(self._ok(cudart.cudaMalloc(array.nbytes)))
                self._ok(
                    cudart.cudaMemcpy(
                        addresses[name], array.ctypes.data, array.nbytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
                    )
                )
            for tensor in loaded.outputs:
                size = 8
                for length in context.get_tensor_shape(tensor.name):
                    size *= length
                addresses[tensor.name] = int(self._ok(cudart.cudaMalloc(size)))
            self.launches.append(self._launch(context, addresses, graph=graph))

    def _launch(self, context: Any, addresses: dict[str, int], *, graph: bool) -> Any:
        cudart, stream = self.cudart, self.stream

        def enqueue() -> None:
            for name, address in addresses.items():
                assert context.set_tensor_address(name, address)
            assert context.execute_async_v3(int(stream))

        enqueue()
        self._ok(cudart.cudaStreamSynchronize(stream))
        if not graph:
            return enqueue
        self._ok(cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        enqueue()
        captured = self._ok(cudart.cudaStreamEndCapture(stream))
        executable = self._ok(cudart.cudaGraphInstantiate(captured, 0))
        return lambda: cudart.cudaGraphLaunch(executable, stream)

    def measure(self, seconds: float) -> list[float]:
        cudart, stream = self.cudart, self.stream
        start, end = self.events
        times: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for launch in self.launches:
                cudart.cudaEventRecord(start, stream)
                launch()
                cudart.cudaEventRecord(end, stream)
                cudart.cudaEventSynchronize(end)
                times.append(self._ok(cudart.cudaEventElapsedTime(start, end)))
        return times

    @staticmethod
    def _ok(result: tuple[Any, ...]) -> Any:
        assert result[0] == 0, result
        return result[1] if len(result) > 1 else None


def _batches(data: dict[str, Any], batch: int) -> list[dict[str, Any]]:
    """Cut the samples into batches; a batch larger than the set repeats it, shifted."""
    import numpy as np

    if batch <= SAMPLES:
        return [
            {name: np.ascontiguousarray(array[start : start + batch]) for name, array in data.items()}
            for start in range(0, SAMPLES, batch)
        ][: max(2, min(16, SAMPLES // batch))] * (1 if batch < SAMPLES else 2)
    order = np.arange(batch) % SAMPLES
    return [
        {name: np.ascontiguousarray(np.roll(array, shift, 0)[order]) for name, array in data.items()}
        for shift in (0, 1)
    ]


def _accuracy(outputs: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    import numpy as np

    found = {}
    for name, expected in reference.items():
        got = outputs[name][: len(expected)].astype(np.float64)
        wanted = expected[: len(got)].astype(np.float64)
        found[f"{name}_rel_rmse"] = float(np.sqrt(((got - wanted) ** 2).mean() / (wanted**2).mean()))
        if wanted.ndim == 2:
            found[f"{name}_top1_agreement"] = float((got.argmax(1) == wanted.argmax(1)).mean())
    return found


def _rate(volley: Any) -> float:
    return volley.calls * volley.batch / volley.seconds


def _bring_back(work: Path, out: Path) -> None:
    """Pack timing caches and build records; engines of these models are larger than what can travel."""
    with tarfile.open(out / "timing.tar.gz", "w:gz") as archive:
        for path in sorted((work / "tensorrt").glob("*.timing")) + sorted((work / "tensorrt").glob("*.json")):
            archive.add(path, path.name)


def _table(results: dict[str, Any]) -> str:
    lines = [f"{'case':44} {'device':>9} {'bare':>9} {'host':>9} {'over':>7}  samples/s by in-flight; accuracy"]
    for name, result in results.items():
        state = "" if result["ok"] else f"  FAILED {result['exit']}"
        lines.append(f"-- {name}: open {result.get('open_s')} s, {result.get('info', {}).get('precision')}{state}")
        for label, case in result.get("cases", {}).items():
            numbers = [
                case.get(key, float("nan")) for key in ("device_p50_ms", "bare_p50_ms", "host_p50_ms", "over_bare_pct")
            ]
            accuracy = ", ".join(
                f"{key.partition('_')[2]} {value:.4g}" for key, value in case.get("accuracy", {}).items()
            )
            lines.append(
                f"{label:44} {numbers[0]:9.4f} {numbers[1]:9.4f} {numbers[2]:9.4f} {numbers[3]:6.2f}%"
                f"  {case.get('volleys_sps', '')} {accuracy}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
