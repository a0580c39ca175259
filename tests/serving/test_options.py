"""The address of a server that runs already."""

from __future__ import annotations

import pytest

from pytest_gpuperf.options import SERVING_URL


def test_an_address_is_kept_as_it_stands():
    assert SERVING_URL.parse(" grpc://triton.example:8001 ") == "grpc://triton.example:8001"


@pytest.mark.parametrize("text", ["", "host:8001", "http://host:8000", "grpc://host", "grpc://:8001", "grpc://host:x"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="grpc://host:port of a server that speaks KServe v2"):
        SERVING_URL.parse(text)
