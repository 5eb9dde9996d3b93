"""What git keeps stays small, since a history never shrinks, and weights do not change without their log."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from lsdl.author.course import find_weeks
from lsdl.author.seminar import digests
from lsdl.checks import VISIBLE_FILE

ROOT = Path(__file__).parents[1]
MB = 1_000_000
ALL, WEEK, REFERENCES = 125, 5, 1  # MB
# Weeks that may be larger: a little above what they have, so that they do not grow either.
LARGER_WEEKS = {
    "week01-finetune": 14.8,  # two fine-tuned towers of the small CLIP, 6 MB each
    "week04-contrastive": 16.2,  # nine backbones of 1.4 MB: the methods that it compares
    "week12-audio": 14,  # sound is larger than pictures of 32 px and than text
}
LARGER_REFERENCES = {
    "week01-finetune": 1.65,  # 200 pictures of 32 px, 102 of validation, 96 whose scores may change
    "week04-contrastive": 2.0,  # 300 moved pictures (0.9 MB), and three networks before and after their steps
}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git tracks and that are there."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of the repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def megabytes(files: list[Path]) -> float:
    return sum(path.stat().st_size for path in files) / MB


def test_all_tracked_files_together(tracked: list[Path]) -> None:
    assert megabytes(tracked) <= ALL


@pytest.mark.parametrize("week", find_weeks(ROOT), ids=lambda week: week.name)
def test_a_week_and_its_references(week: Path, tracked: list[Path]) -> None:
    files = [path for path in tracked if path.is_relative_to(week)]
    assert megabytes(files) <= LARGER_WEEKS.get(week.name, WEEK)
    references = [path for path in files if path == week / VISIBLE_FILE]
    assert megabytes(references) <= LARGER_REFERENCES.get(week.name, REFERENCES)


def test_every_checkpoint_is_the_one_that_its_log_describes(tracked: list[Path]) -> None:
    logged: dict[Path, str] = {}
    for path in tracked:
        if path.suffix == ".json":
            log = json.loads(path.read_text(encoding="utf-8"))
            known = log.get("sha256", {}) if isinstance(log, dict) else {}
            logged |= {(path.parent / name).resolve(): digest for name, digest in known.items()}
    checkpoints = [path for path in tracked if path.suffix == ".safetensors" and path.name != VISIBLE_FILE.name]
    found = {path.resolve(): hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoints}
    assert checkpoints and logged == found, "train again by the script that writes the log, or restore the weights"


def test_a_log_names_its_checkpoints_from_its_own_folder(tmp_path: Path) -> None:
    weights, log = tmp_path / "assets" / "a.safetensors", tmp_path / "instructor" / "log.json"
    weights.parent.mkdir()
    weights.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digests(log, weights) == {"../assets/a.safetensors": expected}
    assert digests(weights.with_suffix(".json"), weights) == {"a.safetensors": expected}
