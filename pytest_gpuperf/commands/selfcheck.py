"""``gpuperf selfcheck``: how often verdicts are wrong on this machine, and the certificate that reports cite."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from pytest_gpuperf import files, hardware, load, profiles, selfcheck
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import SHARED_BLOCK_S, Rule
from pytest_gpuperf.selfcheck import Certificate, Trial

#: Many short pairs, for processes differ more than their calls do. The margin lies between no change and the 3 % that
#: are to be found, nearer to no change in the proportion of the two error rates' quantiles. A pair takes half a second,
#: so what disturbs ten of them has lasted longer than a burst.
RULE = Rule(
    margin_pct=1.25,
    max_pairs=40,
    round_s=0.15,
    block_s=SHARED_BLOCK_S,
    budget_s=10.0,
    overtime=3.0,
    max_repeats=10,
    cores=load.cores(),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--aa", type=int, default=40, metavar="N", help="comparisons of identical programs (default 40)"
    )
    parser.add_argument(
        "--inject", type=_effects, default=(3.0, 10.0), metavar="PCT,…", help="slowdowns in percent (default 3,10)"
    )
    parser.add_argument("--each", type=int, default=20, metavar="N", help="comparisons per slowdown (default 20)")
    parser.add_argument("--budget", type=float, default=900.0, metavar="S", help="seconds in all (default 900)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of trials and blocks (default 0)")
    parser.add_argument("--json", action="store_true", help="print the certificate as JSON")
    parser.add_argument("--out", type=Path, default=selfcheck.PATH, help=f"certificate (default {selfcheck.PATH})")


def run(args: argparse.Namespace) -> int:
    """Measure, write the certificate and print it; 1 when an identical program was called regressed too often."""
    if args.aa < 1 or args.each < 1 or not 0 < args.budget < math.inf:
        raise ConfigError(
            "selfcheck cannot run",
            got=f"--aa {args.aa}, --each {args.each}, --budget {args.budget:g}",
            expected="numbers of at least 1 and a positive time",
        )
    machine = hardware.probe()
    profile, _ = profiles.auto(machine)
    folder = args.out.parent
    trials = selfcheck.run(
        selfcheck.workers(folder / "selfcheck.log", folder / "cache"),
        effects={0.0: args.aa} | dict.fromkeys(args.inject, args.each),
        rule=RULE,
        rng=Random(args.seed),  # noqa: S311 - an order, not a secret
        progress=lambda text: print(text, file=sys.stderr, flush=True),  # noqa: T201 - a command
    )
    made = tuple(within(trials, seconds=args.budget))
    certificate = selfcheck.certify(made, RULE, hardware.fingerprint(machine, profile))
    files.write_bytes(args.out, selfcheck.encode(certificate).encode())
    print(selfcheck.encode(certificate) if args.json else "\n".join([*table(certificate), f"written: {args.out}"]))  # noqa: T201
    return 0 if certificate.false_fail.lower <= certificate.alpha else 1


def within(trials: Iterable[Trial], *, seconds: float) -> Iterator[Trial]:
    """Yield trials until the time is up; their order is random, so an early end favours no effect."""
    until = time.monotonic() + seconds
    for trial in trials:
        yield trial
        if time.monotonic() >= until:
            return


def table(certificate: Certificate) -> list[str]:
    """Return the certificate in lines that are read on a terminal."""
    lines = [
        f"margin {certificate.margin_pct:g} %, alpha {certificate.alpha:g}, at most {certificate.budget_s:g} s each",
        "injected   achieved  regressed   within  undecided  seconds (median)",
    ]
    for effect in certificate.effects:
        counts = (effect.regressed.hits, effect.within.hits, effect.undecided.hits)
        shares = "".join(f"{hits:>6}/{effect.regressed.trials:<4}" for hits in counts)
        lines.append(f"{effect.effect_pct:+7g} %  {effect.achieved_pct:+7.2f} %{shares}{effect.median_seconds:8.1f}")
    rate = certificate.false_fail
    lines += [
        f"false alarms: {rate.hits} of {rate.trials} identical comparisons (at most {rate.upper:.2%}, 95 % bound)",
        f"a suite of {selfcheck.SUITE} such tests is red in at most {certificate.suite_false_fail_upper:.1%} of runs",
        f"median smallest effect that a comparison could see: +{certificate.median_mde_pct:.1f} %",
    ]
    return lines


def _effects(text: str) -> tuple[float, ...]:
    """Parse ``2,3,5``; argparse turns the error into its own."""
    effects = tuple(float(part) for part in text.split(","))
    if not all(0 < effect < math.inf for effect in effects):
        raise argparse.ArgumentTypeError(f"slowdowns are positive percentages, got {text!r}")
    return effects
