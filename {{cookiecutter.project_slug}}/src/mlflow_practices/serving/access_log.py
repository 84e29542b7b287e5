"""The access log: a line of JSON for each request, on standard output."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import orjson

MAX_WAITING_LINES = 1000


class AccessLog:
    """Lines of JSON on standard output, written a few at a time."""

    def __init__(self) -> None:
        """Start with none."""
        self._lines: list[bytes] = []

    def add(self, line: dict[str, Any]) -> None:
        """Note a request."""
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if len(self._lines) >= MAX_WAITING_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines = self._lines, []
            with suppress(OSError):  # a full disk, or nobody reads any more: no request may fail
                sys.stdout.buffer.write(b"".join(lines))
                sys.stdout.buffer.flush()
