"""The small checkpoints as they are loaded."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from lsdl.data.clip import CHECKPOINTS, WEIGHTS, load_small_clip


@pytest.mark.parametrize("name", ["clip", "supervised", "simclr"])
def test_every_tensor_is_the_file_s_or_zero(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = load_small_clip(name)
    stored, loaded = load_file(CHECKPOINTS / name / WEIGHTS), model.state_dict()
    assert all(torch.equal(loaded[key], stored[key].to(loaded[key].dtype)) for key in stored)
    absent = loaded.keys() - stored.keys()
    assert not any(loaded[key].any() for key in absent) and not any(key.startswith("visual.") for key in absent)
    assert bool(absent) == (name != "clip") and model.encode_text(tokenizer(["a dog"])).any() == (name == "clip")
    assert capfd.readouterr().err == ""  # in a notebook it would look like a warning


def test_an_unknown_checkpoint_is_one_sentence() -> None:
    with pytest.raises(FileNotFoundError, match="no small checkpoint 'clop'; there are: clip, simclr, supervised"):
        load_small_clip("clop")
