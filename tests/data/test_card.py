"""The data card and the licences say what the data are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lsdl.author.data import card
from lsdl.author.data.build_emoji import SOURCES
from lsdl.author.markers import fill
from lsdl.data.emoji import STYLES, load_emoji

README = card.DATA / "README.md"
LICENSES = card.DATA / "LICENSES.md"


def test_the_counts_in_the_card_are_those_of_the_data() -> None:
    data, text = load_emoji(32), README.read_text(encoding="utf-8")
    counts = {
        "totals": card.totals(data),
        "styles": card.counts_per_style(data),
        "classes": card.counts_per_class(data),
        "checkpoints": card.checkpoints(),
    }
    assert fill(text, "card", counts) == text, "run `python -m lsdl.author.data.card`"


def test_the_baseline_in_the_card_can_be_measured_again() -> None:
    """Within two points: solvers differ a little between versions."""

    def read(table: str) -> dict[str, float]:
        rows = [r.split("|") for r in table.splitlines() if "%" in r]
        return {r[1].split()[0]: float(r[4].strip(" %")) for r in rows}

    text = README.read_text(encoding="utf-8")
    committed = read(re.search(r"<!-- card:baseline -->(.*?)<!-- /card -->", text, re.DOTALL)[1])
    measured = read(card.baseline(load_emoji(32)))
    assert set(committed) == set(measured) == set(STYLES)
    assert all(abs(committed[s] - measured[s]) <= 2 for s in STYLES)
    others = [measured[s] for s in STYLES if s != "noto"]
    assert measured["noto"] > np.mean(others) + 15, "colour is no shortcut any more: rewrite the card"


def test_colour_histogram_by_hand() -> None:
    """One picture: three quarters black, one quarter pure red (level 3, 0, 0 -> colour 48)."""
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    image[0, 0, 0, 0] = 255
    expected = np.zeros((1, 64))
    expected[0, 0], expected[0, 48] = 0.75**0.5, 0.25**0.5
    assert np.allclose(card.colour_histogram(image), expected)


def test_every_file_is_attributed() -> None:
    rows = [line for line in LICENSES.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {row.split("`")[1] for row in rows}
    assert named == {f"{style}.webp" for style in STYLES} | {"emoji.json"}
    for package, (version, _) in SOURCES.items():
        assert any(f"`{package}` {version}" in row for row in rows), f"{package} {version} is not attributed"


@pytest.mark.parametrize("document", [README, LICENSES])
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert links and all((document.parent / link).exists() for link in links)


def test_licence_texts_are_whole() -> None:
    ends = {
        "Apache-2.0": "limitations under the License.",
        "CC-BY-4.0": "Creative Commons may be contacted at creativecommons.org.",
        "CC-BY-SA-4.0": "Creative Commons may be contacted at creativecommons.org.",
        "MIT-emojibase": "SOFTWARE.",
        "MIT-fluent": "SOFTWARE.",
        "MIT-lobehub": "SOFTWARE.",
    }
    folder = card.DATA / "licenses"
    assert {p.stem for p in folder.glob("*.txt")} == set(ends)
    for name, end in ends.items():
        assert (folder / f"{name}.txt").read_text(encoding="utf-8").rstrip().endswith(end)
