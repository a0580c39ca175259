"""Every option, declared once: command line, environment, ini and default, and which of them a value came from.

Precedence: ``--gpu-NAME`` on the command line, then the environment variable ``GPUPERF_NAME``, then the ini key
``gpuperf_name``, then the default. Errors name the source of the bad value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from pytest_gpuperf import against, parsers
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records.status import Status

T = TypeVar("T")

UPDATE_MODES = ("none", "new", "changed", "all")
TRT_PACKAGES = ("auto", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Option(Generic[T]):
    """One option of the plugin.

    Attributes:
        name: ``time-budget`` gives ``--gpu-time-budget``, ``GPUPERF_TIME_BUDGET`` and ``gpuperf_time_budget``.
        parse: text → value; raises ``ValueError`` with what was expected.
        default: the value when no source gives one.
        help: shown by ``pytest --help``; the ini help is derived from it.
        metavar: shown by ``pytest --help``; ``None`` makes the option a flag.
    """

    name: str
    parse: Callable[[str], T]
    default: T
    help: str
    metavar: str | None

    @property
    def flag(self) -> str:
        """The command-line spelling."""
        return f"--gpu-{self.name}"

    @property
    def dest(self) -> str:
        """The ini key, and the attribute of pytest's namespace."""
        return f"gpuperf_{self.name.replace('-', '_')}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.dest.upper()


PROFILE = Option[str | None](
    "profile", parsers.text, None, "server profile: a name, 'auto', or a file.toml of your own", "NAME|auto|FILE"
)
BATCHES = Option[tuple[int, ...]](
    "batches", parsers.batches, (), "run only these batch sizes (default: those of the profile)", "N,N,…"
)
TIME_BUDGET = Option[float | None](
    "time-budget",
    parsers.seconds,
    None,
    "measuring seconds per case; an undecided comparison may last three times that (default: the profile's)",
    "SECONDS",
)
OFF = Option("off", parsers.flag, False, "run each case once, measure and judge nothing", None)
UPDATE = Option(
    "update",
    parsers.one_of(UPDATE_MODES),
    "none",
    "write pending baselines for review: none, new, changed or all",
    "MODE",
)
UPDATE_IN_CI = Option("update-in-ci", parsers.flag, False, "allow --gpu-update in CI (pending files only)", None)
OUT = Option("out", parsers.text, ".gpuperf", "folder for results.json, logs, pending baselines and reports", "DIR")
BASELINES = Option("baselines", parsers.text, "baselines", "folder of the approved baselines", "DIR")
CACHE = Option[str | None]("cache", parsers.text, None, "folder of converted models (default: OUT/cache)", "DIR")
BUNDLE = Option[str | None](
    "bundle",
    parsers.text,
    None,
    "take graphs, inputs and reference outputs from this bundle; no TensorFlow needed",
    "DIR",
)
AGAINST = Option[against.Against | None](
    "against", against.parse, None, "run each case beside a live reference, in fresh process pairs", against.FORMS
)
PROCESSES = Option("processes", parsers.count, 1, "fresh process pairs per case; baselines need at least 5", "N")
SEED = Option("seed", parsers.at_least_zero, 0, "seed of the order in which blocks alternate", "N")
POLICY: Option[dict[Status, str]] = Option(
    "policy", parsers.policy, {}, "what a verdict does to its test, such as new=warn,improved=fail", "VERDICT=DO,…"
)
TIMEOUT = Option(
    "timeout",
    parsers.seconds,
    300.0,
    "end a measuring process that takes this much longer than it was told to",
    "SECONDS",
)
REQUIRE = Option("require", parsers.at_least_zero, 0, "fail the session when fewer cases were measured", "N")
INFRA_EXIT = Option(
    "infra-exit", parsers.at_least_zero, 0, "exit status when every failure is the machine's fault", "STATUS"
)
TRT = Option(
    "trt",
    parsers.one_of(TRT_PACKAGES),
    "auto",
    "TensorRT to use, where several are installed: tensorrt or tensorrt-rtx",
    "NAME",
)
LAYERS = Option("layers", parsers.flag, False, "time the layers of each case, instead of judging it", None)
REPORT = Option[tuple[str, ...]](
    "report", parsers.words, (), "also write reports: html, markdown, csv, gitlab, prometheus", "FORMAT,…"
)
TFTRT_ALLOW_PATCH_MISMATCH = Option(
    "tftrt-allow-patch-mismatch",
    parsers.flag,
    False,
    "let TF-TRT run with another patch of TensorRT than TensorFlow was compiled with; every report says so",
    None,
)
SERVING_URL = Option[str | None](
    "serving-url", parsers.grpc, None, "load this KServe v2 server instead of starting Triton", "grpc://HOST:PORT"
)
FLEET = Option[str | None](
    "fleet",
    parsers.ray,
    None,
    "run each profile of --gpu-profile=NAME,NAME on a server of this Ray cluster",
    "ray://HOST:PORT",
)
TRUST = Option("trust", parsers.flag, False, "use a remote Ray cluster although it asks for no token", None)

OPTIONS: tuple[Option[Any], ...] = (
    PROFILE, BATCHES, TIME_BUDGET, OFF, UPDATE, UPDATE_IN_CI, OUT, BASELINES, CACHE, BUNDLE, AGAINST, PROCESSES, SEED,
    POLICY, TIMEOUT, REQUIRE, INFRA_EXIT, REPORT, TRT, LAYERS, SERVING_URL, TFTRT_ALLOW_PATCH_MISMATCH, FLEET,
    TRUST,
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The options of one session, resolved; ``source`` says where each came from.

    Paths are absolute, relative ones having been taken from pytest's rootdir (so that every xdist worker agrees).
    """

    profile: str | None
    batches: tuple[int, ...]
    time_budget_s: float | None
    off: bool
    update: str
    update_in_ci: bool
    out: Path
    baselines: Path
    cache: Path
    bundle: Path | None
    against: against.Against | None
    processes: int
    seed: int
    policy: dict[Status, str]
    timeout_s: float
    require: int
    infra_exit: int
    report: tuple[str, ...]
    trt: str
    layers: bool
    serving_url: str | None
    tftrt_allow_patch_mismatch: bool
    fleet: str | None
    trust: bool
    root: Path
    source: dict[str, str]

    @property
    def logs(self) -> Path:
        """Folder of the logs of this process's children."""
        return self.out / "logs" / os.environ.get("PYTEST_XDIST_WORKER", "")

    @property
    def is_active(self) -> bool:
        """Whether gpuperf tests run at all in this session."""
        return self.profile is not None or self.off


def add_options(parser: pytest.Parser) -> None:
    """Declare every option in pytest's help and ini."""
    group = parser.getgroup("gpuperf", "GPU inference performance (pytest-gpuperf)")
    for option in OPTIONS:
        if option.metavar is None:
            group.addoption(option.flag, dest=option.dest, action="store_true", default=None, help=option.help)
        else:
            group.addoption(option.flag, dest=option.dest, metavar=option.metavar, default=None, help=option.help)
        parser.addini(option.dest, f"{option.help} (same as {option.flag})", default=None)


def resolve(config: pytest.Config, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read every option once.

    Raises:
        ConfigError: a value cannot be read, or two options contradict each other; the message names the source.
    """
    values: dict[str, Any] = {}
    source: dict[str, str] = {}
    for option in OPTIONS:
        values[option.name], source[option.name] = _read(option, config, environ)
    _check_conflicts(values, source)
    root = config.rootpath
    out = root / values["out"]
    return Settings(
        profile=values["profile"],
        batches=values["batches"],
        time_budget_s=values["time-budget"],
        off=values["off"],
        update=values["update"],
        update_in_ci=values["update-in-ci"],
        out=out,
        baselines=root / values["baselines"],
        cache=root / values["cache"] if values["cache"] else out / "cache",
        bundle=root / values["bundle"] if values["bundle"] else None,
        against=values["against"],
        processes=values["processes"],
        seed=values["seed"],
        policy=values["policy"],
        timeout_s=values["timeout"],
        require=values["require"],
        infra_exit=values["infra-exit"],
        report=values["report"],
        trt=values["trt"],
        layers=values["layers"],
        serving_url=values["serving-url"],
        tftrt_allow_patch_mismatch=values["tftrt-allow-patch-mismatch"],
        fleet=values["fleet"],
        trust=values["trust"],
        root=root,
        source=source,
    )


def _read(option: Option[Any], config: pytest.Config, environ: Mapping[str, str]) -> tuple[Any, str]:
    flagged = getattr(config.option, option.dest, None)
    if flagged is True:
        return True, "command line"
    candidates = (
        (flagged, "command line"),
        (environ.get(option.variable), f"environment variable {option.variable}"),
        (config.getini(option.dest), f"ini key {option.dest}"),
    )
    for text, source in candidates:
        if text is None:
            continue
        try:
            return option.parse(text), source
        except ValueError as error:
            raise ConfigError(
                f"invalid {option.flag} (from the {source})", got=repr(text), expected=str(error)
            ) from error
    return option.default, "default"


def _check_conflicts(values: Mapping[str, Any], source: Mapping[str, str]) -> None:
    def clash(first: str, second: str, why: str) -> ConfigError:
        return ConfigError(
            f"--gpu-{first} and --gpu-{second} contradict each other: {why}",
            got=f"--gpu-{first} from the {source[first]}, --gpu-{second} from the {source[second]}",
            hint=f"give one of the two up, for example with -o gpuperf_{second.replace('-', '_')}=",
        )

    if values["off"] and values["update"] != "none":
        raise clash("off", "update", "nothing is measured, so there is nothing to write")
    if values["off"] and values["processes"] > 1:
        raise clash("off", "processes", "each case runs once")
    if values["off"] and values["against"]:
        raise clash("off", "against", "no case is compared")
    if values["bundle"] and values["against"] and values["against"].kind == "git":
        raise clash("bundle", "against", "a bundle's graphs are the same whatever the revision")
    if values["layers"] and values["update"] != "none":
        raise clash("layers", "update", "nothing is judged, so there is nothing to approve")
    if values["off"] and values["layers"]:
        raise clash("off", "layers", "nothing is timed")
    if values["off"] and values["require"]:
        raise clash("off", "require", "no case is measured")
    if values["update"] != "none" and values["profile"] is None:
        raise ConfigError(
            "--gpu-update needs a server profile, since baselines belong to one",
            got=f"--gpu-update={values['update']} from the {source['update']}, no --gpu-profile",
            hint="add --gpu-profile=NAME, or --gpu-profile=auto",
        )
