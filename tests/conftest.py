"""What the tests share: where the project and, where present, the real data are."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root; no test depends on the working directory."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real annotations, splits and published detections kept beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: expected a folder {folder.parent.name}/data beside the project")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, object]:
    """The parameters of a run on a tiny data set, rendered once for all tests."""
    from tiny import make

    return make(tmp_path_factory.mktemp("tiny"))
