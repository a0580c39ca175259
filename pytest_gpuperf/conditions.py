"""Which differences forbid a comparison, which only make it less sharp, and which merely stand in the report.

A condition's class follows from its name. A name that is not known here must match: what nobody thought of shall not
let two numbers be compared that have nothing to do with each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from pytest_gpuperf.records import BatchSpec, Differences, EngineInfo, EngineSpec, Fingerprint, Tolerance

ABSENT = "(absent)"
"""Stands in for the value of a condition that one side does not have."""

WIDENING = 2.0
"""Factor on every tolerance when a widening condition differs: once, however many differ. Drivers, hosts and rebuilt
engines each moved medians by 1 to 3 % in published comparisons, about as much as a tolerance itself."""

WIDENS = frozenset({"cuda_driver", "driver", "gpu_uuid", "host", "kernel", "machine", "python", "timing_cache_sha256"})
RECORDED = frozenset(
    {
        "clock",
        "clock_mhz",
        "commit",
        "date",
        "load",
        "memory_clock_mhz",
        "power_w",
        "recipe_sha256",
        "sm_clock_mhz",
        "temperature_c",
    }
)
ALWAYS_MATCH = ("mode.", "options.")
"""Prefixes of what the caller asked for, never widened whatever the rest of the name says."""

BUILT_FROM = MappingProxyType(
    {
        "engine_sha256": ("graph_sha256", "artefact_sha256", "recipe_sha256"),
        "artefact_sha256": ("graph_sha256", "recipe_sha256"),
    }
)
"""Built file → what tells that it was built from the same. Neither builds nor conversions repeat bit for bit, so a
file's digest alone cannot tell a new model from a new build."""

_REBUILT = MappingProxyType(
    {
        (built, source): "recorded" if (built, source) == ("artefact_sha256", "recipe_sha256") else "widens"
        for built, sources in BUILT_FROM.items()
        for source in sources
    }
)
_SOURCES = frozenset(source for sources in BUILT_FROM.values() for source in sources)

_HOST = ("cpu", "cores", "instructions")

#: How many cards of which model, such as ``2 x NVIDIA H200``.
_CARDS = "hardware.gpu"

#: What engines report among their versions without being one.
_NO_VERSIONS = frozenset({"engine_sha256", "cuda_driver", "gpu"})

_VERSIONED = ("_version", "software.")


def diff(measured: Mapping[str, str], approved: Mapping[str, str]) -> Differences:
    """Compare the conditions of a run with those of a baseline, each difference in its class.

    Three rules need more than a name. A case runs on one card, so another number of the same model (``hardware.gpu``)
    widens: the others share its host. A version (``…_version``, ``software.…``) must match in its major number and
    widens in the rest. A file that differs although it was built from the same (:data:`BUILT_FROM`) was rebuilt: an
    engine's builder times kernels and chooses others each time, which widens; a converted model computes the same in
    the same way, which is recorded. Built from something else, it is another engine.

    Args:
        measured: of this run.
        approved: of the baseline.

    Returns:
        Field → (baseline's value, this run's), with :data:`ABSENT` where a side has none.
    """
    differences = Differences()
    target = {"match": differences.mismatched, "widens": differences.widening, "recorded": differences.recorded}
    for name in sorted(measured.keys() | approved.keys()):
        was, now = approved.get(name, ABSENT), measured.get(name, ABSENT)
        if was != now:
            same = next((source for source in BUILT_FROM.get(name, ()) if _is_same(source, measured, approved)), None)
            kind = _class(name, was, now) if same is None else _REBUILT[name, same]
            target[kind][name] = (was, now)
    return differences


def collect(
    engine: EngineSpec, batches: BatchSpec, info: EngineInfo, fingerprint: Fingerprint, inputs_digest: str
) -> dict[str, str]:
    """Return the conditions of one case: everything that its numbers depend on and that can be named.

    The processor is one condition, ``host``: what is compared across machines is a ratio to the same reference, which
    the processor moves, but does not make meaningless. A GPU is the thing under test and must be the same model.

    Args:
        engine: as it was asked for.
        batches: as they were asked for; ``inputs_digest`` is of their arrays.
        info: the engine as its runtime describes it.
        fingerprint: the machine.
        inputs_digest: sha256 of the input arrays.
    """
    recipe = json.dumps(info.artefact.recipe, sort_keys=True).encode()
    hardware = {name: value for name, value in fingerprint.hardware.items() if name not in _HOST}
    built = {name: digest for name, digest in info.artefact.recipe.items() if name in BUILT_FROM or name in _SOURCES}
    return {
        "model": engine.model.name,
        "engine": engine.kind,
        "precision": info.precision,
        "batch": str(batches.batch),
        "inputs": f"{batches.inputs}, {batches.samples} samples, seed {batches.seed}",
        "inputs_digest": inputs_digest,
        "device": info.device.partition(":")[0],
        "provider": info.provider,
        "recipe_sha256": hashlib.sha256(recipe).hexdigest(),
        **built,
        "artefact_sha256": info.artefact.sha256,
        "machine": fingerprint.machine,
        **{name if name in _NO_VERSIONS else f"{name}_version": text for name, text in info.versions.items()},
        **{f"mode.{name}": value for name, value in info.mode.items()},
        **{f"options.{name}": value for name, value in engine.options.items()},
        "host": ", ".join(fingerprint.hardware[name] for name in _HOST if name in fingerprint.hardware),
        **{f"hardware.{name}": value for name, value in hardware.items()},
        **{f"software.{name}": value for name, value in fingerprint.software.items()},
    }


def digest(conditions: Mapping[str, str]) -> str:
    """Return a short hash of what must match for two accepted numbers of a case to stand in one line over time.

    What the engine was built from is left out, since that is what changes from one accepted run to the next.
    """
    kept = {
        name: _major(value) if _is_version(name) else _card(value) if name == _CARDS else value
        for name, value in conditions.items()
        if name not in BUILT_FROM and name not in _SOURCES and (_is_version(name) or _class(name, "", "") == "match")
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def is_rebuilt(differences: Differences) -> bool:
    """Return whether the engine was built anew from the very same file."""
    changed = {*differences.mismatched, *differences.widening, *differences.recorded}
    return "engine_sha256" in differences.widening and changed.isdisjoint(("artefact_sha256", "graph_sha256"))


def beside(differences: Differences) -> Differences:
    """Return the differences as they count where a live pair ran: another artefact is what it is about."""
    built = {name: pair for name, pair in differences.mismatched.items() if name in BUILT_FROM or name in _SOURCES}
    return Differences(
        mismatched={name: pair for name, pair in differences.mismatched.items() if name not in built},
        widening=differences.widening,
        recorded={**differences.recorded, **built},
    )


def widen(tolerance: Tolerance, differences: Differences) -> Tolerance:
    """Return the tolerance that applies under ``differences``."""
    if not differences.widening:
        return tolerance
    return Tolerance(
        default_pct=tolerance.default_pct * WIDENING,
        per_metric_pct={metric: pct * WIDENING for metric, pct in tolerance.per_metric_pct.items()},
    )


def describe(differences: Differences) -> tuple[str, ...]:
    """Return one phrase per difference, what forbids the comparison first."""
    return (
        *(f"{_phrase(name, *pair)}: not comparable" for name, pair in differences.mismatched.items()),
        *(f"{_phrase(name, *pair)}: tolerance x {WIDENING:g}" for name, pair in differences.widening.items()),
        *(f"{_phrase(name, *pair)}: recorded only" for name, pair in differences.recorded.items()),
    )


def _class(name: str, was: str, now: str) -> str:
    if name.startswith(ALWAYS_MATCH):
        return "match"
    last = name.rpartition(".")[2]
    if last in RECORDED:
        return "recorded"
    if last in WIDENS:
        return "widens"
    if name == _CARDS and _card(was) == _card(now) != "":
        return "widens"
    if _is_version(name) and ABSENT not in {was, now} and _major(was) == _major(now) != "":
        return "widens"
    return "match"


def _card(cards: str) -> str:
    return re.sub(r"^\d+ x ", "", cards)


def _is_version(name: str) -> bool:
    return name.endswith(_VERSIONED[0]) or name.startswith(_VERSIONED[1])


def _major(version: str) -> str:
    match = re.match(r"\d+", version)
    return match.group() if match else ""


def _is_same(name: str, measured: Mapping[str, str], approved: Mapping[str, str]) -> bool:
    return name in measured and measured[name] == approved.get(name)


def _phrase(name: str, was: str, now: str) -> str:
    if name.endswith("_sha256"):
        was, now = was[:12], now[:12]
    label = _LABELS.get(name, name)
    return f"{label} {was} -> {now}"


_LABELS = MappingProxyType({"artefact_sha256": "artefact", "engine_sha256": "engine rebuilt", "graph_sha256": "graph"})
