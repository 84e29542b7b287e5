"""This machine: how much memory the process may still take, and which processes live."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that this process may still take, or None where nothing tells.

    The least of the process's own limit (``ulimit -v``), its container's, and what the machine has
    free or can free.
    """
    return min(_limits(), default=None)


def is_alive(process: int) -> bool:
    """Return whether a process of this machine lives; on Windows, where asking ends it, True."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _limits() -> Iterator[int]:
    if sys.platform != "linux":
        return
    import resource

    page = os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            yield soft - int(Path("/proc/self/statm").read_text().split()[0]) * page
    with suppress(OSError, ValueError):  # control groups, version 2; what is cached can be freed
        limit, used = (int((CGROUP / f"memory.{n}").read_text()) for n in ("max", "current"))
        yield limit - used + _field(CGROUP / "memory.stat", "inactive_file")
    with suppress(OSError, ValueError):  # version 1
        old = CGROUP / "memory"
        limit, used = (int((old / f"memory.{n}_in_bytes").read_text()) for n in ("limit", "usage"))
        yield limit - used + _field(old / "memory.stat", "total_inactive_file")
    with suppress(OSError, ValueError):
        yield _field(Path("/proc/meminfo"), "MemAvailable:") * 1024


def _field(path: Path, name: str) -> int:
    return next(
        int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)
    )
