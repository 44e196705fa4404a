"""What the auditor writes to the log and counts."""

from __future__ import annotations

from loom_grpc.telemetry import Telemetry


class Report:
    """Hears how the auditor fares and tells of trouble once, until it is another one or over."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._trouble = ""

    def trouble(self, words: str) -> None:
        """Takes what keeps records from coming or from being kept."""
        if words != self._trouble:
            self._trouble = words
            self._telemetry.auditor_unavailable(words)

    def listening(self) -> None:
        """Takes that the broker is there."""
        self._over()

    def kept(self, records: int, new: int) -> None:
        """Takes how many records the ledger has for sure, and how many of them it did not have before."""
        self._over()
        self._telemetry.records_audited(new, records - new)

    def rejected(self, words: str) -> None:
        """Takes why a message went to the dead letters."""
        self._telemetry.record_rejected(words)

    def crashed(self, error: Exception) -> None:
        """Takes what nobody expected."""
        self._telemetry.crashed(None, error)

    def _over(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._telemetry.auditor_works_again()
