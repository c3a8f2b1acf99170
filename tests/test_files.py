"""Files are whole or absent, JSON is strict, and what several runs need at once is made by one."""

import errno
import fcntl
import os
import threading

import pytest

from tadlib.files import atomic, read_json, write_json
from tadlib.locks import locked


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    with pytest.raises(RuntimeError, match="interrupted"), atomic(tmp_path / "deep" / "x.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError("interrupted")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_failed_write_leaves_the_old_file_untouched(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert read_json(tmp_path / "x.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_files_are_for_everybody_whom_the_umask_does_not_shut_out(tmp_path):
    before = os.umask(0o027)
    write_json(tmp_path / "x.json", 1)
    os.umask(before)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640


def test_of_two_makers_one_waits_and_says_so(tmp_path):
    said, inside, free = [], threading.Event(), threading.Event()

    def first():
        with locked(tmp_path / "thing"):
            inside.set()
            free.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)

    def notice(done, total, text):
        said.append(text)
        free.set()

    with locked(tmp_path / "thing", notice):
        thread.join(10)
    assert said == ["waiting for another run that is making thing"]


@pytest.mark.parametrize("answer", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_on_a_disk_without_flock_the_file_that_a_flock_left_holds_nothing(answer, tmp_path, monkeypatch):
    with locked(tmp_path / "thing"):
        pass
    assert (tmp_path / ".thing.lock").is_file()

    def missing(*_):
        raise OSError(getattr(errno, answer), "no flock here")

    def held(done, total, text):
        raise TimeoutError(text)

    monkeypatch.setattr(fcntl, "flock", missing)
    with locked(tmp_path / "thing", held):
        with (
            pytest.raises(TimeoutError, match="waiting for another run .* delete .*held"),
            locked(tmp_path / "thing", held),
        ):
            pass
    with locked(tmp_path / "thing", held):
        pass
