"""Fixtures that every test may use."""

import pathlib

import pytest

REAL_DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Return the folder of real data sets, which is not part of this project."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data sets are not here: {REAL_DATA}")
    return REAL_DATA
