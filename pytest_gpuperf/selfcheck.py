"""How often this machine's verdicts are wrong: identical programs and injected slowdowns through the judging code.

Each trial is one :func:`pytest_gpuperf.comparison.compare_processes` on fresh worker processes, as a live pair runs it.
The counts, with their exact bounds, are the certificate that reports cite.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from pytest_gpuperf import comparison, load, stats
from pytest_gpuperf.engines import workload
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import Rule
from pytest_gpuperf.records import BatchSpec, Comparison, EngineSpec, Fingerprint, Model
from pytest_gpuperf.worker.client import Worker

Progress = Callable[[str], None]
OpenPair = Callable[[float], comparison.OpenPair[comparison.Sampler]]

SCHEMA_VERSION = 1
#: Where ``gpuperf selfcheck`` writes and a session looks, from the folder that pytest is started in.
PATH = Path(".gpuperf/certificate.json")
#: Tests in the suite that the suite-wide rate is worked out for.
SUITE = 8
#: Until what runs there has been called often enough; it needs no accelerator and no compiler.
WARM_UP_S = 0.1
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One comparison whose right answer is known: ``effect_pct`` 0 is no change."""

    workload: str
    effect_pct: float
    ratio: float
    lower: float
    upper: float
    pairs: int
    seconds: float
    mde_pct: float
    decision: str
    disturbances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share with its exact 95 % bounds (Clopper and Pearson)."""

    hits: int
    trials: int
    lower: float
    upper: float

    @classmethod
    def of(cls, hits: int, trials: int) -> Rate:
        """Return the rate of ``hits`` in ``trials``; of no trials nothing is known."""
        lower, upper = stats.clopper_pearson(hits, trials) if trials else (0.0, 1.0)
        return cls(hits=hits, trials=trials, lower=lower, upper=upper)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What became of the trials with one effect. ``achieved_pct`` is the median of the measured ratios."""

    effect_pct: float
    achieved_pct: float
    regressed: Rate
    within: Rate
    undecided: Rate
    median_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Error rates of one machine.

    Attributes:
        machine: hashed host that the rates hold on.
        false_fail: identical programs that were called regressed.
        suite_false_fail_upper: upper bound of the chance that a suite of :data:`SUITE` identical tests is red.
        effects: by injected effect, no change first.
        median_mde_pct: of all trials.
    """

    machine: str
    hardware: dict[str, str]
    margin_pct: float
    alpha: float
    budget_s: float
    false_fail: Rate
    suite_false_fail_upper: float
    effects: tuple[Effect, ...]
    median_mde_pct: float
    schema_version: int = SCHEMA_VERSION


def run(
    open_pair: OpenPair,
    *,
    effects: Mapping[float, int],
    rule: Rule,
    rng: Random,
    name: str = "matrix product",
    read: load.Reader = load.read,
    progress: Progress = lambda _: None,
) -> Iterator[Trial]:
    """Yield trials in random order, so that a slow hour does not fall on one effect.

    Args:
        open_pair: opens fresh process pairs whose candidate has the effect, in percent.
        effects: how many trials per effect.
        rule: that verdicts are reached by.
        rng: for the order of trials and blocks.
        name: of the workload.
        read: reads the machine's counters.
        progress: told of each trial.
    """
    order = [effect for effect, trials in effects.items() for _ in range(trials)]
    rng.shuffle(order)
    for number, effect in enumerate(order, start=1):
        progress(f"selfcheck {name}: trial {number} of {len(order)}, {effect:+g} %")
        result = comparison.compare_processes(open_pair(effect), rule=rule, rng=rng, read=read).comparison
        yield trial(name, effect, result)


def trial(name: str, effect_pct: float, result: Comparison) -> Trial:
    """Return what a comparison came to, beside the effect that was injected."""
    return Trial(
        workload=name,
        effect_pct=effect_pct,
        ratio=result.ratio,
        lower=result.lower,
        upper=result.upper,
        pairs=result.pairs,
        seconds=result.seconds,
        mde_pct=result.mde_pct,
        decision=result.decision,
        disturbances=result.disturbances,
    )


def workers(log: Path, cache: Path, *, work: str | None = None, root: str = ".") -> OpenPair:
    """Return what opens fresh worker pairs of a workload, see :mod:`pytest_gpuperf.engines.workload`.

    Args:
        log: file for the workers' output.
        cache: folder for artefacts (the workload makes none).
        work: ``file.py:function`` relative to ``root``; ``None`` for the built-in matrix product.
        root: folder that ``work`` starts from.
    """
    batches = BatchSpec(inputs=workload.INPUTS, batch=1, samples=1, root=workload.ROOT)

    def spec(slowdown_pct: float) -> EngineSpec:
        options = {"slowdown_pct": str(slowdown_pct)} | ({} if work is None else {"work": work})
        kind = f"{workload.__name__}:{workload.Workload.__name__}"
        return EngineSpec(kind=kind, model=Model(name="work", source="", inputs="", root=root), options=options)

    def open_pair(effect_pct: float) -> comparison.OpenPair[comparison.Sampler]:
        @contextmanager
        def opened() -> Iterator[tuple[Worker, Worker]]:
            running: list[Worker] = []

            def start(slowdown_pct: float) -> Worker:
                running.append(worker := Worker.start(log=log, env=_ONE_THREAD))
                worker.open(spec(slowdown_pct), batches, cache=cache, progress=lambda _: None)
                worker.warm_up(max_s=WARM_UP_S)
                return worker

            # Both at once: most of a pair's time goes into getting ready. A worker dies with the thread that starts it.
            with ThreadPoolExecutor() as pool:
                try:
                    sides = [pool.submit(start, pct) for pct in (effect_pct, 0.0)]
                    wait(sides)
                    yield sides[0].result(), sides[1].result()
                finally:
                    wait([pool.submit(worker.stop) for worker in running])

        return opened

    return open_pair


def certify(trials: Sequence[Trial], rule: Rule, fingerprint: Fingerprint) -> Certificate:
    """Count what became of the trials.

    Raises:
        ConfigError: there is no trial without an effect.
    """
    identical = [trial for trial in trials if trial.effect_pct == 0]
    if not identical:
        raise ConfigError("a certificate needs comparisons of identical programs", hint="give --aa at least 1")
    false_fail = Rate.of(sum(trial.decision == "regressed" for trial in identical), len(identical))
    return Certificate(
        machine=fingerprint.machine,
        hardware=fingerprint.hardware,
        margin_pct=rule.margin_pct,
        alpha=rule.alpha,
        budget_s=rule.budget_s * rule.overtime,
        false_fail=false_fail,
        suite_false_fail_upper=1 - (1 - false_fail.upper) ** SUITE,
        effects=tuple(_effect(pct, trials) for pct in sorted({trial.effect_pct for trial in trials})),
        median_mde_pct=stats.median([trial.mde_pct for trial in trials]),
    )


def _effect(effect_pct: float, trials: Sequence[Trial]) -> Effect:
    these = [trial for trial in trials if trial.effect_pct == effect_pct]

    def rate(decision: str) -> Rate:
        return Rate.of(sum(trial.decision == decision for trial in these), len(these))

    return Effect(
        effect_pct=effect_pct,
        achieved_pct=100 * (math.exp(stats.median([math.log(trial.ratio) for trial in these])) - 1),
        regressed=rate("regressed"),
        within=rate("within"),
        undecided=rate("undecided"),
        median_seconds=stats.median([trial.seconds for trial in these]),
    )


def encode(certificate: Certificate) -> str:
    """Return the certificate as JSON, keys sorted, for a file that people compare."""
    return json.dumps(asdict(certificate), indent=2, sort_keys=True) + "\n"


def decode(text: str) -> Certificate:
    """Read a certificate back.

    Raises:
        ConfigError: it is damaged, or of another version.
    """
    try:
        return _parse(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "the certificate cannot be read", got=str(error), hint="run gpuperf selfcheck again"
        ) from error


def _parse(raw: dict[str, Any]) -> Certificate:
    if raw["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {raw['schema_version']}")
    rates = ("regressed", "within", "undecided")
    effects = tuple(Effect(**{**each, **{name: Rate(**each[name]) for name in rates}}) for each in raw["effects"])
    return Certificate(**{**raw, "false_fail": Rate(**raw["false_fail"]), "effects": effects})


def applies(certificate: Certificate, fingerprint: Fingerprint) -> str:
    """Return an empty string when the certificate holds on this machine, else why it does not."""
    if certificate.machine == fingerprint.machine and certificate.hardware == fingerprint.hardware:
        return ""
    changed = sorted(
        name
        for name in certificate.hardware.keys() | fingerprint.hardware.keys()
        if certificate.hardware.get(name) != fingerprint.hardware.get(name)
    )
    return f"certificate ignored: it is of another machine ({', '.join(changed) or 'another host'})"


def cite(path: Path, fingerprint: Fingerprint) -> str:
    """Return the certificate at ``path`` in one line, or why it does not count; empty when there is none."""
    if not path.is_file():
        return ""
    try:
        certificate = decode(path.read_text(encoding="utf-8"))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        return f"certificate ignored: {path} cannot be read ({type(error).__name__}); run gpuperf selfcheck again"
    return applies(certificate, fingerprint) or line(certificate)


def line(certificate: Certificate) -> str:
    """Return the certificate in one line, for the header and the reports."""
    rate = certificate.false_fail
    powers = ", ".join(
        f"{effect.regressed.hits}/{effect.regressed.trials} at {effect.effect_pct:+g} %"
        for effect in certificate.effects
        if effect.effect_pct > 0
    )
    return (
        f"selfcheck: {rate.hits}/{rate.trials} false alarms (95 % bound {rate.upper:.1%})"
        f"{f', found {powers}' if powers else ''}, margin {certificate.margin_pct:g} %"
    )
