"""Processes that draw pictures, started without importing the caller's script."""

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import ModuleType

from tadlib.project import cores


def pool() -> ProcessPoolExecutor:
    """Up to eight fresh processes; fork would copy the threads of whoever calls."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(min(8, cores()), mp_context=context)


@contextmanager
def without_script() -> Iterator[None]:
    """Processes that start inside do not import the caller's script.

    A script without `if __name__ == "__main__":` would run again in each of them, and wait for what its parent holds.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
