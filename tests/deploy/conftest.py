"""The image, which is built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.image import Image, built_image


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    with built_image() as image:
        yield image
