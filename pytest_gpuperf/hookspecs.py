"""Hooks for users' own models. Engines register under the entry-point group ``pytest_gpuperf.engines``; a server
profile is a TOML file given to ``--gpu-profile``.
"""  # noqa: D205 - one paragraph reads better here

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_gpuperf.records import CaseResult, Model


@pytest.hookspec
def pytest_gpuperf_models(config: pytest.Config) -> list[Model]:  # type: ignore[empty-body] # a hook specification
    """Return the models that tests below this conftest.py may ask for by name.

    Example, in ``suites/conftest.py``::

        def pytest_gpuperf_models(config):
            return [Model(name="resnet50", source="vision/model.py:build", inputs="images-224", root=str(HERE))]
    """


@pytest.hookspec
def pytest_gpuperf_case(config: pytest.Config, result: CaseResult) -> None:
    """Be told of every case once, as soon as its test has ended, in the process that writes the results.

    Under pytest-xdist that is the controller. Trends and the comparison with peaks follow at the session's end only.

    Example::

        def pytest_gpuperf_case(config, result):
            upload(result.id, result.verdict.status.value)
    """
