import os
from contextlib import suppress

from tests.leaks.table import operation

from fastcore.shm import Region, RegionError

REGION = Region(1 << 20)


@operation("a section's view")
def section() -> None:
    view = REGION.section("one", 4096)
    view[0] = 1
    view.release()
    REGION.section("one")[:10].tobytes()
    REGION.sections()
    for call in (lambda: REGION.section("one", 5000), lambda: REGION.section("none"), lambda: REGION.section("A", 64)):
        with suppress(RegionError, KeyError, ValueError):
            call()


@operation("a region, made, attached, closed", weight=20)
def region() -> None:
    made = Region(1 << 20)
    made.section("a", 64)
    other = Region.attach(os.dup(made.fd))
    other.section("a", 64)[0] = 1
    other.close()
    made.close()
    with suppress(ValueError):
        made.section("a", 64)
    with suppress(ValueError):
        Region(0)
    Region(1 << 20)  # closed by nobody
