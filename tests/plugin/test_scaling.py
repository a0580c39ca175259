"""``scaling.check`` through the plugin: two cards of the fake driver, or the cores of this machine."""

from __future__ import annotations

import os

import pytest

from pytest_gpuperf import rig

ID = "test_suite.py::test_scaling"
SUITE = """
import pytest

from pytest_gpuperf import Model
from pytest_gpuperf.scaling import ScalingBudget

FAKE = Model(name="fake", source="none", inputs="seeded.py:numbers")


@pytest.mark.gpuperf(model="fake")
def test_scaling(engine, batched_inputs, scaling):
    slept = engine(FAKE, "cards:Card")
    scaling.check(slept, batched_inputs("seeded.py:numbers", 8), ScalingBudget(rounds=3, round_s=0.4, in_flight=1))
"""
# What a call takes on each card, by the card that its worker sees.
CARD = """
import os

from fakes.scaled import Sleeping

MS = {MS!r}


class Card(Sleeping):
    def bind(self, arrays):
        card = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        os.environ["GPUPERF_SLEEP_MS"] = MS[int(card[11])]  # GPU-00000001-…
        return super().bind(arrays)
"""


@pytest.fixture
def cards(repository, fake_nvml, monkeypatch):
    """Return what runs the suite on two cards of the fake driver, given what a call takes on each."""
    (repository.path / "test_suite.py").write_text(SUITE)
    monkeypatch.setattr(rig, "SETTLE_S", 0.3)
    monkeypatch.setenv("PYTHONPATH", str(repository.path), prepend=os.pathsep)

    def run(ms: str, *options: str) -> pytest.RunResult:
        (repository.path / "cards.py").write_text(CARD.replace("{MS!r}", repr(ms.split())))
        return repository.pytester.runpytest("--gpu-profile=a40", "--gpu-time-budget=0.3", *options)

    return run


def test_equal_cards_keep_the_budget(cards, repository):
    cards("20 20").assert_outcomes(passed=1)

    found = repository.results()[ID]
    assert (found["verdict"], found["engine"]) == ("new", "2 x cards:Card")
    assert found["metrics"]["scaling_efficiency"]["value"] == pytest.approx(1, abs=0.2)
    assert found["metrics"]["aggregate_sps"]["value"] < 2 * 8 / 0.020
    assert found["telemetry"].keys() >= {"share_gpu0", "share_gpu1"}


def test_a_slow_card_is_named_and_fails_the_test(cards, repository):
    result = cards("20 60")

    result.assert_outcomes(failed=1)
    assert repository.verdicts() == {ID: "over_budget"}
    result.stdout.fnmatch_lines(["over_budget: slow device: gpu1 is slow: 6? % below the faster one"])


def test_cards_that_share_a_link_fail_the_efficiency(cards, repository, monkeypatch):
    (repository.path / "link").mkdir()
    monkeypatch.setenv("GPUPERF_LINK", str(repository.path / "link"))
    result = cards("20 20")

    result.assert_outcomes(failed=1)
    assert repository.verdicts() == {ID: "over_budget"}
    result.stdout.fnmatch_lines(["over_budget: scaling_efficiency 0.* x, budget 0.950 x*"])


def test_accepted_efficiency_is_a_baseline_of_its_own(cards, repository):
    cards("20 20", "--gpu-update=all", "--gpu-processes=2").assert_outcomes(passed=1)

    (pending,) = (repository.path / ".gpuperf" / "pending" / "a40").glob("*.json")
    assert '"mode.devices": "2"' in pending.read_text()
    assert '"scaling_efficiency"' in pending.read_text()


def test_off_opens_every_card_and_judges_nothing(cards, repository):
    cards("1 1", "--gpu-off").assert_outcomes(passed=1)

    assert not (repository.path / ".gpuperf" / "results.json").exists()


def test_one_card_is_a_skip_that_says_so(cards, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    result = cards("1 1", "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * scaling needs two devices, and there is gpu1"])


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("1.throttle = 64", "inconclusive"), ("1.recovery = 1", "infra")],
    ids=["heat", "reset"],
)
def test_an_unfit_card_decides_although_it_is_not_the_first(cards, fake_nvml, repository, state, verdict):
    fake_nvml.write(state)
    result = cards("1 1")

    result.assert_outcomes(failed=1)
    assert repository.verdicts() == {ID: verdict}
    result.stdout.fnmatch_lines([f"{verdict}: GPU 1 (*"])
