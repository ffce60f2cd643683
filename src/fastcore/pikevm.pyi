from typing import Final, final

MAGIC: Final[int]
GROUPS_MAX: Final[int]
BYTE: Final[int]
SET: Final[int]
SPLIT: Final[int]
JUMP: Final[int]
SAVE: Final[int]
ASSERT: Final[int]
MATCH: Final[int]
AT_START: Final[int]
AT_END: Final[int]
AT_FINAL_END: Final[int]
AT_LINE_START: Final[int]
AT_LINE_END: Final[int]
AT_WORD: Final[int]
AT_NOT_WORD: Final[int]
FULL: Final[int]
PREFIX: Final[int]
SEARCH: Final[int]

@final
class Machine:
    def __new__(cls, program: bytes) -> Machine: ...
    def run(self, mode: int, text: bytes) -> list[tuple[int, int] | None] | None: ...
    @property
    def steps(self) -> int: ...
