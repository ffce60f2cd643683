"""Where a gateway's settings come from, and what was in force when its workers were started."""

from dataclasses import dataclass, replace

from apps.gateway.compiled import Compiled, Flags, no_turn
from apps.gateway.config_live import at_start_only
from apps.gateway.config_model import Gateway, Route
from apps.gateway.history import Entry, History


@dataclass(frozen=True, slots=True)
class Origin:
    """Where settings come from, and the configuration a worker was started with."""

    file: str | None
    flags: Flags | None
    history: History
    entry: Entry
    compiled: Compiled
    settings: Gateway
    known: dict[bytes, Route]
    """Routes by their bytes."""

    def newest(self) -> "Origin":
        """With what has come into force since, so that a worker that replaces a dead one does not serve the past."""
        entry = self.history.current()
        if entry is None or entry.number == self.entry.number:
            return self
        compiled = self.history.load(entry.number)
        settings, known = compiled.settings(self.known, no_turn)
        if at_start_only(self.settings, settings):  # the master that knows them is about to replace us
            return self
        return replace(self, entry=entry, compiled=compiled, settings=settings, known=known)
