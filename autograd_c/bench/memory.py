"""Peaks of memory, in processes of their own: a peak is hard to forget."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["peak_beyond", "peak_bytes", "resident", "traced_peak"]

STATUS = Path("/proc/self/status")
FORGET = Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], Any]) -> int:
    """Return the memory that `call` needs at its fullest, in bytes, beyond the process's peak before it.

    On Linux that is resident memory; elsewhere it is what Python and NumPy allocate, which leaves out the
    compiled core's own.

    Parameters
    ----------
    call : callable
        A program without arguments.
    """
    if not STATUS.exists():
        return traced_peak(call)
    before = status("VmHWM")
    call()
    return status("VmHWM") - before


def resident() -> int:
    """Return the resident memory of this process, in bytes; 0 where the system does not tell."""
    return status("VmRSS") if STATUS.exists() else 0


def peak_beyond(base: int, call: Callable[[], Any]) -> int:
    """Return the memory at the fullest during `call`, in bytes, beyond `base`.

    Earlier peaks do not count, but what the process has kept since `base` was taken does. Elsewhere than on
    Linux it is as for `peak_bytes`.

    Parameters
    ----------
    base : int
        What `resident` returned earlier.
    call : callable
        A program without arguments.
    """
    if not FORGET.exists():
        return traced_peak(call)
    FORGET.write_text("5")  # the peak starts again from what is resident
    call()
    return status("VmHWM") - base


def status(name):
    """Return an entry of the process's status in bytes; `getrusage` would start from its parent's."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def traced_peak(call):
    """Return what Python and NumPy allocate during `call`, at the fullest."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
