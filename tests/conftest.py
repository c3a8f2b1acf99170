"""What the tests share: where the project and, where present, the real data are."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import config

# processes that test side by side share the cores, and what they start does too, instead of fighting for them
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if PROCESSES > 1:
    THREADS = max(1, (os.cpu_count() or 1) // PROCESSES)
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    torch.set_num_threads(THREADS)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of the many processes that tests start compiles tadlib
# they start first, so that none ends alone
LONGEST = "test_pipeline test_parameters_matter test_batch test_detector_steps test_ideas test_report".split()
GOLDEN = ("test_golden", "test_published", "test_published_annotations")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty project, which is the working directory."""
    for name in ("notebooks", "outputs", "params"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("TAD_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real annotations, splits and published detections kept beside the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found: expected a folder {folder.parent.name}/data beside the project")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, object]:
    """The parameters of a run on a tiny data set, rendered once for all processes that test."""
    from standins import rendered

    from tadlib.locks import locked

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if PROCESSES > 1 else base) / "tiny"
    with locked(folder):
        return rendered(folder)


@pytest.fixture(scope="module")
def simulated_folder(tmp_path_factory) -> Iterator[Path]:
    """A folder of twelve annotated videos, for simulated features; what their world says is drawn once."""
    from standins import simulated

    from tadlib.data import simulate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulate.World, "text", functools.cache(simulate.World.text))
        patch.setattr(simulate, "World", functools.cache(simulate.World))
        yield simulated(tmp_path_factory.mktemp("made"))


@pytest.fixture
def encoder():
    """An encoder that sees the mean of a picture and its square."""
    from standins import Grey, to_tensor

    from tadlib.data.encoder import Encoder

    return Encoder("grey", Grey(), to_tensor, None, torch.device("cpu"), torch.float32)


@pytest.fixture
def quick_home(home, monkeypatch) -> Path:
    """A project whose stages take no time, executed in this process."""
    import instant

    instant.project(home)
    for module in ("stage_store", "execution"):
        monkeypatch.setattr(f"tadlib.workbook.{module}.execute_notebook", instant.execute)
    monkeypatch.setattr("tadlib.workbook.runs.device_name", lambda device: device)
    monkeypatch.setattr("tadlib.workbook.report.page", lambda notebook: notebook)
    return home


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No checks of types and shapes, which torch's compiler cannot read."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def unchecked_if_golden(request) -> Iterator[None]:
    """No checks of types where numbers of millions of rows are compared: every other test makes them."""
    config.update("jaxtyping_disable", request.path.stem in GOLDEN)
    yield
    config.update("jaxtyping_disable", False)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; a test that has no other mark is one of the units."""
    for item in items:
        if not any(map(item.get_closest_marker, ("notebooks", "long", "slow"))):
            item.add_marker("units")
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
