"""Settings of how new settings come into force."""

from typing import Annotated

from pydantic import Field

from apps.config_base import Section
from apps.units import Whole


class Reload(Section):
    watch: bool = True
    """Follow the settings file: what is saved there is checked, and in force at once if it is right. false: on HUP and
    `PUT /config` only."""
    keep: Annotated[int, Field(ge=1, le=1000), Whole] = 10
    """How many configurations are remembered, to be compared and rolled back to."""
    directory: str | None = None
    """Where they are kept; only we may be able to read it. Without it in memory, until the gateway stops."""
