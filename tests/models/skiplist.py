"""A sorted mapping as one would write it in a minute: a dict, and sorted() wherever order matters."""

from typing import Any


class SortedModel:
    def __init__(self) -> None:
        self.data: dict[Any, Any] = {}

    def keys(self) -> list[Any]:
        return sorted(self.data)

    def items(self) -> list[tuple[Any, Any]]:
        return [(key, self.data[key]) for key in self.keys()]

    def range(self, lo: Any, hi: Any, inclusive: tuple[bool, bool], reverse: bool) -> list[tuple[Any, Any]]:
        found = [
            (key, value)
            for key, value in self.items()
            if (lo is None or key > lo or (inclusive[0] and key == lo))
            and (hi is None or key < hi or (inclusive[1] and key == hi))
        ]
        return found[::-1] if reverse else found

    def near(self, key: Any, name: str) -> tuple[Any, Any] | None:
        below = {"floor": lambda k: k <= key, "lower": lambda k: k < key}
        above = {"ceiling": lambda k: k >= key, "higher": lambda k: k > key}
        if name in below:
            return max((item for item in self.items() if below[name](item[0])), key=lambda item: item[0], default=None)
        return min((item for item in self.items() if above[name](item[0])), key=lambda item: item[0], default=None)

    def rank(self, key: Any) -> int:
        return sum(k < key for k in self.data)
