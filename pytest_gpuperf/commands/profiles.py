"""``gpuperf profiles``: list the server profiles, explain one, or write one from the machine at hand."""

from __future__ import annotations

import argparse
import json
import math

from pytest_gpuperf import hardware, profiles
from pytest_gpuperf.profiles import ServerProfile
from pytest_gpuperf.records.machine import Machine

NEW = "new"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", nargs="?", help=f"profile (name or file.toml) to explain; {NEW!r} writes one to stdout")
    parser.add_argument("--name", dest="new_name", default="my-server", help=f"name of the {NEW} profile")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    if args.name is None:
        text = "\n".join(f"{name:<12} {profiles.load(name).description}" for name in profiles.known())
    elif args.name == NEW:
        text = new(hardware.probe(), args.new_name)
    else:
        text = "\n".join(explain(profiles.load(args.name)))
    print(text)  # noqa: T201 - this is a command
    return 0


def explain(profile: ServerProfile) -> list[str]:
    """Return a profile in words."""
    match = profile.match
    device = "any CPU" if match.device == "cpu" else f"{_span(match.count)} x {' or '.join(match.names)}"
    if match.memory_gib:
        device += f", {_span(match.memory_gib)} GiB each"
    if match.mig is not None:
        device += f", MIG {'on' if match.mig else 'off'}"
    lines = [
        f"{profile.name}: {profile.description}",
        f"  file         {profile.path}",
        f"  matches      {device}",
        *(f"  batches      {model}: {', '.join(map(str, sizes))}" for model, sizes in profile.batches.items()),
        f"  tolerance    {profile.tolerance.default_pct:g} % of drift",
        *(f"               {metric}: {pct:g} %" for metric, pct in profile.tolerance.per_metric_pct.items()),
        f"  time budget  {profile.time_budget_s:g} s of measuring a case",
    ]
    if profile.peaks:
        lines.append(f"  peaks        {', '.join(f'{name} {peak:g}' for name, peak in profile.peaks.items())}")
        lines.append(f"               source: {profile.peaks_source}")
    if profile.power_limit_w:
        lines.append(f"  power        {profile.power_limit_w:g} W limit, {profile.clocks} clocks")
    if profile.server:
        lines.append(f"  server       {', '.join(f'{key}: {value}' for key, value in profile.server.items())}")
    return lines


def new(machine: Machine, name: str) -> str:
    """Return a profile file for this machine; peaks are left for a person to fill in from the data sheet."""
    if not machine.gpus:
        rules = ['device = "cpu"']
        tolerances = ["default = 15.0", "speed_ratio = 50.0"]
    else:
        names = sorted({gpu.name for gpu in machine.gpus})
        sizes = [gpu.memory_mib / 1024 for gpu in machine.gpus if gpu.memory_mib]
        rules = [
            'device = "gpu"',
            f"names = {json.dumps(names)}",
            f"count = {len(machine.gpus)}",
            f"memory_gib = [{math.floor(min(sizes))}, {math.ceil(max(sizes))}]" if sizes else "",
            f"mig = {str(any(gpu.is_mig for gpu in machine.gpus)).lower()}",
        ]
        tolerances = ["default = 3.0", "latency_p99_ms = 5.0", "speed_ratio = 5.0"]
    what = profiles.found_gpus(machine) if machine.gpus else f"{machine.cpu.model}, {machine.cpu.cores} cores"
    limits = [gpu.power_limit_w for gpu in machine.gpus if gpu.power_limit_w]
    power = ["", "[power]", f"limit_w = {max(limits):g}", 'clocks = "default"'] if limits else []
    return "\n".join(
        [
            f"name = {json.dumps(name)}",
            f"description = {json.dumps(what)}",
            f"time_budget_s = {60.0 if machine.gpus else 6.0}",
            "",
            "[match]",
            *filter(None, rules),
            "",
            "[batches]",
            "default = [1, 8, 16, 32, 64]",
            "",
            "[tolerances_pct]",
            *tolerances,
            *power,
            "",
            "# Fill in one GPU's dense figures from its data sheet; the check against physics needs them.",
            "# [peaks]",
            '# source = "…"',
            "# fp16_tflops = …",
            "# bandwidth_gbs = …",
        ]
    )


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g} to {span[1]:g}"
