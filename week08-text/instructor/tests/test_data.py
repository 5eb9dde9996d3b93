"""Week 08's text, tokenizer and small Llama: what they promise, and that the log tells their losses."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import LlamaForCausalLM

from lsdl.author.data import build_text
from lsdl.author.homework import Homework

REPOSITORY = Path(__file__).resolve().parents[3]
LLAMA = Path(__file__).resolve().parents[2] / "assets" / "llama"
PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def train(homework: Homework, helpers: ModuleType) -> ModuleType:
    """instructor/train.py."""
    return homework.instructor("train")


@pytest.fixture(scope="module")
def log() -> dict:
    return json.loads((LLAMA / "train.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(LLAMA, dtype=torch.float32, local_files_only=True).eval()


# Text


@pytest.mark.parametrize("part", PARTS)
def test_the_text_is_the_one_that_the_licences_name(helpers: ModuleType, part: str) -> None:
    text = helpers.load_text(part)
    row = f"| {part} | {len(text)} | `{hashlib.sha256(text.encode('utf-8')).hexdigest()}` |"
    assert row in (REPOSITORY / "lsdl" / "data" / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    assert not any(word in text for word in ("Gutenberg", "CHAPTER", "Chapter", "VOLUME", "_"))


def test_no_chapter_lies_in_two_parts(helpers: ModuleType) -> None:
    chapters = {part: helpers.load_text(part).strip().split("\n\n") for part in PARTS}
    assert {part: len(texts) for part, texts in chapters.items()} == {"train": 93, "val": 12, "test": 11}
    assert len({text for texts in chapters.values() for text in texts}) == sum(build_text.BOOKS.values()) == 116
    long = {
        part: {line for text in texts for line in text.split("\n") if len(line) > 60}
        for part, texts in chapters.items()
    }
    assert not long["train"] & (long["val"] | long["test"]) and not long["val"] & long["test"]


def r_object(lines: list[str]) -> bytes:
    """A vector of strings as R's lazy-load database holds it."""
    data = b"X\n" + struct.pack(">iiii", 3, 0, 0, 5) + b"UTF-8" + struct.pack(">ii", 16, len(lines))
    for line in lines:
        data += struct.pack(">ii", 0x00040009, len(line.encode())) + line.encode()
    return struct.pack(">I", len(data)) + zlib.compress(data)


def test_books_are_read_from_rs_database() -> None:
    lines = [["EMMA", "", "Miss Woodhouse—handsome"], ["another"]]
    assert list(build_text.books(b"".join(map(r_object, lines)))) == lines


def test_chapters_are_cleaned() -> None:
    lines = [
        "A BOOK",
        "",
        "CHAPTER I",
        "",
        "",
        "It _is_ a",
        "truth.",
        "",
        "Yes.",
        "",
        "VOLUME II",
        "",
        "Chapter 2",
        "",
        "No.",
        "FINIS",
    ]
    assert build_text.chapters([*lines[:-1], "", lines[-1]]) == ["It is a truth.\nYes.", "No."]


def test_another_package_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.deb"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=build_text.SHA256):
        build_text.unpacked(file)


# Tokenizer


def test_every_text_survives_the_tokenizer(helpers: ModuleType, train: ModuleType) -> None:
    tokenizer = helpers.load_tokenizer()
    assert tokenizer.get_vocab_size() == train.VOCABULARY == 1024
    for text in (helpers.load_text("val"), "naïve — 東京 \t\n\x00 😀", " two  spaces "):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_is_learnt_from_the_train_part(
    helpers: ModuleType, train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "helpers", helpers)
    monkeypatch.setattr(train, "ASSETS", tmp_path)
    train.make_tokenizer()
    again = json.loads((tmp_path / "llama" / "tokenizer.json").read_text(encoding="utf-8"))
    assert again["model"] == json.loads((LLAMA / "tokenizer.json").read_text(encoding="utf-8"))["model"]


@pytest.mark.parametrize("part", PARTS)
def test_tokens_are_those_of_the_text(helpers: ModuleType, part: str, log: dict) -> None:
    ids, tokenizer = helpers.load_tokens(part), helpers.load_tokenizer()
    assert ids.dtype == torch.int64 and ids.shape == (log["tokens"][part],)
    assert tokenizer.decode(ids.tolist()) == helpers.load_text(part)
    assert not (ids == tokenizer.token_to_id("<|bos|>")).any()  # the seminar's separator occurs nowhere else


# The small Llama


def test_bigrams_are_a_distribution(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "VOCABULARY", 60)
    ids = torch.randint(50, (2000,), generator=torch.Generator().manual_seed(0))
    for before in (3, 59):  # seen, and never seen
        each = [train.baselines(ids, torch.tensor([before, after]))["bigram"] for after in range(60)]
        assert math.isclose(sum(math.exp(-nats) for nats in each), 1.0, rel_tol=1e-9)


def test_the_log_tells_the_losses(helpers: ModuleType, train: ModuleType, model: LlamaForCausalLM, log: dict) -> None:
    train_ids = helpers.load_tokens("train")
    for part in ("val", "test"):
        ids, found = helpers.load_tokens(part), log["loss"][part]
        for name, value in train.baselines(train_ids, ids).items():
            assert math.isclose(found[name], value, abs_tol=1e-3)
        assert math.isclose(found["llama"], train.loss_on(model, ids), abs_tol=2e-3)
        bits = found["llama"] / math.log(2) * len(ids) / len(helpers.load_text(part))
        assert math.isclose(found["llama, bits per character"], bits, abs_tol=1e-3)
        assert found["llama"] < found["bigram"] < found["unigram"] < found["uniform"]


def test_the_llama_is_as_small_as_promised(
    helpers: ModuleType, train: ModuleType, model: LlamaForCausalLM, log: dict
) -> None:
    files = {file.name: file.stat().st_size for file in LLAMA.iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json", "train.json"}
    assert sum(files.values()) < 6e6
    config = model.config
    assert sum(p.numel() for p in model.parameters()) == log["parameters"] < 3e6
    assert config.num_key_value_heads < config.num_attention_heads and config.tie_word_embeddings
    assert config.max_position_embeddings == log["length"] == 256 and config.vocab_size == train.VOCABULARY
    assert config.bos_token_id == helpers.load_tokenizer().token_to_id("<|bos|>")


def test_half_precision_changes_little(helpers: ModuleType, model: LlamaForCausalLM) -> None:
    """The file's own float16 against float32 arithmetic on the same weights."""
    half = LlamaForCausalLM.from_pretrained(LLAMA, local_files_only=True).eval()
    assert half.dtype == torch.float16
    ids = helpers.load_tokens("val")[None, :128]
    with torch.no_grad():
        torch.testing.assert_close(half(ids).logits.float(), model(ids).logits, atol=0.05, rtol=0)


def test_the_tables_are_complete(train: ModuleType) -> None:
    """Every part of the seminar's tables has every variant with three seeds."""
    tables = json.loads((LLAMA.parent / "tables.json").read_text(encoding="utf-8"))
    assert set(tables) == {*train.PARTS, "about"} and set(tables["about"]) == set(train.PARTS)
    for part in train.PARTS:
        seeds: dict[tuple, list[int]] = {}
        for row in tables[part]:
            seeds.setdefault((row["name"], row.get("lr"), row.get("warmup")), []).append(row["seed"])
        assert all(found == list(range(train.SEEDS)) for found in seeds.values()), part
