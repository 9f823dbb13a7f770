"""One line now and then: questions done of all, speed, rejects, time left."""

import logging
import time

from mrc.answering.records import Ledger

_EVERY_S = 10.0

logger = logging.getLogger("mrc")


class Progress:
    """Tells how far a job is, at most every ten seconds; in a terminal and in a job's log alike."""

    def __init__(self, ledger: Ledger, total: int) -> None:
        """Begin to count time.

        Args:
            ledger: What is done already; units are added to it elsewhere.
            total: Questions of all units.
        """
        self._ledger, self._total = ledger, total
        self._rows_before, self._began = ledger.rows, time.monotonic()
        self._told: float | None = None

    def tell(self) -> None:
        """Log a line where it is time to, or where all is done."""
        now, rows = time.monotonic(), self._ledger.rows
        if self._told is not None and now - self._told < _EVERY_S and rows < self._total:
            return
        logger.info("%s", self.line(now - self._began))
        if self._told is None:
            # Up to the first unit the actors were starting, which says nothing of those to come.
            self._rows_before, self._began = rows, now
        self._told = now

    def line(self, seconds: float) -> str:
        """Return the line as it is after some seconds of work."""
        rows, total = self._ledger.rows, self._total
        per_s = (rows - self._rows_before) / max(seconds, 1e-9)
        parts = [
            f"{rows:,} of {total:,} questions ({rows / max(1, total):.1%})",
            f"{per_s:,.1f} questions/s",
            f"{self._ledger.rejected:,} rejected",
        ]
        if per_s > 0 and rows < total:
            parts.append(f"{duration((total - rows) / per_s)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """Say a number of seconds as people do: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
