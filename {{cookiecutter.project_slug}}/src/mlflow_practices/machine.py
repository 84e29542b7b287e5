"""This machine: free memory, living processes, and files that are replaced in one step."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return the bytes that this process may still use, or None if they are unknown.

    This is the least of the process's own limit (``ulimit -v``), its container's, and what the
    machine has free or can free.
    """
    return min(_limits(), default=None)


def is_alive(process: int) -> bool:
    """Return whether a process of this machine is alive; always True on Windows."""
    if os.name != "posix":  # asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yield a temporary file, beside ``path`` by default, which takes that name when it is whole."""
    temporary = temporary or path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _limits() -> Iterator[int]:
    if sys.platform != "linux":
        return
    import resource

    with suppress(OSError, ValueError):
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield soft - pages * os.sysconf("SC_PAGE_SIZE")
    version_1 = CGROUP / "memory"
    for folder, limit, used, cache in (
        (CGROUP, "memory.max", "memory.current", "inactive_file"),
        (version_1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            yield left + _field(folder / "memory.stat", cache)  # the cache can be freed
    with suppress(OSError, ValueError):
        yield _field(Path("/proc/meminfo"), "MemAvailable:") * 1024


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"{path} has no {name}")
