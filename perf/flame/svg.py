"""Folded stacks to a flamegraph: one self-contained SVG; hover shows names and shares, a click widens a frame."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

WIDTH = 1200
ROW = 17
TOP = 40
LETTER = 6.7  # width of a character at the font size used
NARROWEST = 0.3  # pixels; narrower frames would only make the file larger

STYLE = """\
text { font: 11px monospace; pointer-events: none; fill: #1a1a1a; }
.title { font: 15px sans-serif; }
rect { stroke: #fff; stroke-width: .5; }
rect:hover { stroke: #000; stroke-width: 1; }"""

# A click makes its frame as wide as the picture: everything is stretched about it, frames beside it fall outside.
SCRIPT = """\
const frames = [...document.querySelectorAll('g.f')];
function show(from, share) {
  for (const g of frames) {
    const x = (+g.dataset.x - from) / share, w = +g.dataset.w / share;
    const left = Math.max(0, x), right = Math.min(1, x + w), [rect, text] = [g.children[1], g.children[2]];
    g.style.display = right - left > 0.0002 ? '' : 'none';
    rect.setAttribute('x', left * WIDTH);
    rect.setAttribute('width', Math.max(0, (right - left) * WIDTH));
    text.setAttribute('x', left * WIDTH + 3);
    const letters = Math.floor((right - left) * WIDTH / LETTER) - 1, name = g.dataset.n;
    text.textContent = letters < 3 ? '' : name.length > letters ? name.slice(0, letters - 1) + '…' : name;
  }
}
for (const g of frames) g.addEventListener('click', () => show(+g.dataset.x, +g.dataset.w));
show(0, 1);"""


@dataclass
class Frame:
    """A function at one place of the call tree: samples in it and below."""

    name: str
    samples: int = 0
    children: dict[str, "Frame"] = field(default_factory=dict)

    def child(self, name: str) -> "Frame":
        return self.children.setdefault(name, Frame(name))


def call_tree(folded: Counter[tuple[str, ...]]) -> Frame:
    """Stacks (outermost function first) and how often each was seen, as one tree."""
    root = Frame("all")
    for stack, samples in folded.items():
        frame = root
        frame.samples += samples
        for name in stack:
            frame = frame.child(name)
            frame.samples += samples
    return root


def placed(frame: Frame, total: int, x: float = 0.0, depth: int = 0) -> Iterator[tuple[Frame, float, float, int]]:
    """(frame, left edge and width as shares of the whole, depth), in the order of names as the pictures have it."""
    width = frame.samples / total
    yield frame, x, width, depth
    for _, child in sorted(frame.children.items()):
        if child.samples / total * WIDTH >= NARROWEST:
            yield from placed(child, total, x, depth + 1)
        x += child.samples / total


def colour(name: str) -> str:
    """Kernel blue, Python green, everything else from yellow to red; the same function always the same."""
    shade = sum(name.encode()) % 30
    if name.endswith("_[k]"):
        return f"hsl({205 + shade // 2}, 65%, 72%)"
    if ".py" in name:
        return f"hsl({105 + shade}, 50%, 68%)"
    return f"hsl({15 + shade}, 85%, {62 + shade % 10}%)"


def render(folded: Counter[tuple[str, ...]], title: str) -> str:
    """The SVG text. Raises ValueError when there are no samples."""
    root = call_tree(folded)
    if not root.samples:
        raise ValueError("no samples: was the process busy?")
    frames = list(placed(root, root.samples))
    height = TOP + ROW * (max(depth for *_, depth in frames) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fcfaf5"/>',
        f'<text class="title" x="10" y="22">{escape(title)}: {root.samples} samples</text>',
    ]
    for frame, x, width, depth in frames:
        y = height - ROW * (depth + 1.5)
        share = f"{escape(frame.name)}: {frame.samples} samples, {100 * width:.2f} %"
        parts.append(
            f'<g class="f" data-x="{x:.6f}" data-w="{width:.6f}" data-n="{escape(frame.name)}"><title>{share}</title>'
            f'<rect x="{x * WIDTH:.2f}" y="{y}" width="{width * WIDTH:.2f}" height="{ROW - 1}"'
            f' fill="{colour(frame.name)}"/><text x="{x * WIDTH + 3:.2f}" y="{y + 12}"></text></g>'
        )
    script = SCRIPT.replace("WIDTH", str(WIDTH)).replace("LETTER", str(LETTER))
    return "\n".join([*parts, f"<script>//<![CDATA[\n{script}\n//]]></script>", "</svg>", ""])
