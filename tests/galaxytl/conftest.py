from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.galaxytl import toy


@pytest.fixture(scope="module")
def toy_backbone() -> Iterator[None]:
    """For this file's tests the table of networks has `tests.galaxytl.toy` too."""
    with pytest.MonkeyPatch.context() as patch:
        toy.register(patch)
        gc.freeze()  # `networks.forget` collects garbage: millions of objects of the libraries need no second look
        yield
