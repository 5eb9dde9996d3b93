"""What stands in for a large Llama when this week runs at SCALE="full" without one, and what a step costs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from lsdl.author.full_scale import Measured, measure
from lsdl.author.homework import Homework
from lsdl.author.seminar import seminar_names

WEEK = Path(__file__).resolve().parents[1]
TOKENIZER = WEEK / "assets" / "llama" / "tokenizer.json"


# full scale measures every table: what the models reach is judged at smoke
FEWER = {"batch": 2, "texts": 4, "deep": 2, "stride": 128, "seeds": 2}


def stand_in(folder: Path) -> dict[str, str]:
    """Save a random Llama with grouped queries in Hugging Face's format; two steps for each training.

    Returns:
        The environment that makes the notebooks use them.
    """
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "llama")
    shutil.copy(TOKENIZER, folder / "llama")
    return {"TEXT_MODEL": str(folder / "llama"), "TEXT_STEPS": "2"}


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """Trainings of the seminar by its own `fit`, generation by its own Llama with random weights, the layer that the homework times."""
    os.environ.pop("TEXT_STEPS")  # the stand-in's: here the steps of a whole training are counted
    smaller = dict(layers=1, dim=32, batch=2, deep=2, deep_dim=32) if tiny else {}
    seminar = seminar_names(WEEK, smaller, scale="full", device=str(device))
    settings, base = seminar["SETTINGS"], seminar["BASE"]
    per_call = 1 if tiny else 20
    trainings = {
        "training, RoPE and SwiGLU": base,
        "training, Shaw's positions": base._replace(positions="shaw"),
        "training, deep, RMSNorm": base._replace(layers=settings["deep"], dim=settings["deep_dim"]),
    }
    for what, c in trainings.items():
        size = f"{settings['batch']} x {settings['length']} tokens"
        row = Measured(what, f"{c.layers} layers of {c.dim}", size, steps=settings["steps"])
        yield measure(row, lambda c=c: partial(seminar["fit"], c, seed=0, steps=per_call), device, per_call=per_call)

    yield from generation(seminar, device, tiny)
    yield measure(*report_timing(device, tiny), device, repeat=1)


def generation(seminar: Mapping[str, Any], device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The seminar's Llama, float32, with random weights: reading a text, and each token that follows."""
    import helpers

    name = "SmolLM2-135M"
    sizes, new = (helpers.Sizes(32, 64, 1, 4, 2, 8, 256, 512), 2) if tiny else (helpers.MODELS[name], 64)
    model = seminar["Llama"](llama_config(sizes)).to(device).eval()

    @torch.no_grad()
    def prefill(ids: torch.Tensor) -> torch.Tensor:
        return model(ids, DynamicCache())

    for context in (16,) if tiny else (1024, 4096):
        ids = torch.randint(sizes.vocabulary, (1, context), device=device)
        row = Measured("prefill", name, f"{context} tokens")
        yield measure(row, lambda ids=ids: partial(prefill, ids), device)
        row = Measured(f"generation, per token (mean of {new}, prefill in it)", name, f"{context} tokens before")
        yield measure(row, lambda ids=ids: partial(seminar["generate"], model, ids, new), device, per_call=new)


def llama_config(sizes: Any) -> LlamaConfig:
    """Hugging Face's config of a Llama of these sizes (helpers.Sizes), embeddings tied as in the small models of the hub."""
    return LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.dim,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        max_position_embeddings=sizes.max_positions,
        tie_word_embeddings=True,
    )


def report_timing(device: torch.device, tiny: bool) -> tuple[Measured, Callable[[], Callable[[], None]]]:
    """The cell of the homework's report that times one layer, as `measure` takes it; the sizes are those of Llama-3.2-1B."""
    import helpers

    homework = Homework(WEEK)
    names, cells = homework.namespace(), {cell.id: cell.source for cell in homework.notebook.cells}
    settings = names["SCALES"]["smoke" if tiny else "full"]
    names |= {"SETTINGS": settings, "device": device, "sizes": helpers.MODELS[settings["model"]]}

    def make() -> Callable[[], None]:
        exec(cells["report-table"], names)
        return lambda: exec(cells["report-timing"], names)

    return Measured("the homework's timing of a layer", settings["model"], f"{settings['lengths'][-1]} tokens"), make
