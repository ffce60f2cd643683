"""What a log holds, as a list: the oracle of the property tests.

After a crash the records that were durable are there, those that were not may be, from the first one on without a gap.
"""

from dataclasses import dataclass, field

from fastcore.wal import Record


@dataclass
class LogModel:
    records: list[Record] = field(default_factory=list)  #: appended, oldest first
    durable: int = 0  #: position
    truncated: int = 0  #: position before which records may be gone

    def appended(self, position: int, type: int, data: bytes) -> None:
        assert not self.records or position > self.records[-1].position
        self.records.append(Record(position, type, data))

    def check(self, found: list[Record], reopened: bool) -> None:
        """Does the log hold what it should? After reopening, what it holds is all there ever was."""
        if found and self.records:
            first = next((i for i, record in enumerate(self.records) if record.position == found[0].position), None)
            assert first is not None, "a record that was never appended"
            assert first == 0 or self.records[first - 1].position <= self.truncated, (
                "records are missing at the beginning"
            )
            expected = self.records[first:]
        else:
            expected = [record for record in self.records if record.position > self.truncated]
        assert found == expected[: len(found)]
        missing = expected[len(found) :]
        assert all(record.position > self.durable for record in missing), "what was durable is gone"
        if reopened:
            self.records = self.records[: len(self.records) - len(missing)]
