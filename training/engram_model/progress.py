# SPDX-License-Identifier: Apache-2.0
"""One line of progress: a bar on a terminal, a line now and then in a log file."""
import sys
import time


class Progress:
    """Prints share done, rate and time left; `unit_per_step` converts steps to units (tokens)."""

    def __init__(self, label: str, total: int, unit: str, unit_per_step: float = 1.0, done: int = 0,
                 every_seconds: float = 30.0) -> None:
        self._label, self._total, self._unit, self._per_step = label, total, unit, unit_per_step
        self._first_step, self._begin, self._last = done, time.monotonic(), 0.0
        self._terminal = sys.stderr.isatty()
        self._every = 0.5 if self._terminal else every_seconds

    def show(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < self._every and done < self._total:
            return
        self._last = now
        rate = (done - self._first_step) / max(now - self._begin, 1e-9)
        left = (self._total - done) / rate if rate else float("inf")
        filled = 24 * done // max(self._total, 1)
        line = "%s [%s%s] %d/%d  %.0f %s/s  %s left  %s" % (
            self._label, "#" * filled, "." * (24 - filled), done, self._total, rate * self._per_step, self._unit,
            duration(left), note)
        end = "\n" if not self._terminal or done >= self._total else ""
        sys.stderr.write(("\r\x1b[K" if self._terminal else "") + line + end)
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """'1 h 02 min', '3 min 04 s' or '5 s'."""
    if seconds == float("inf"):
        return "?"
    s = int(seconds)
    if s >= 3600:
        return "%d h %02d min" % (s // 3600, s % 3600 // 60)
    return "%d min %02d s" % (s // 60, s % 60) if s >= 60 else "%d s" % s
