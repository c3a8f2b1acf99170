"""Machine properties that are available without importing torch."""

import os


def cores() -> int:
    """Number of CPU cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
