"""The vehicle of the seminar's comparisons: a transformer whose parts are exchanged one at a time, its training and its meters; Llamas to load."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import helpers
import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MixtralConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()

CLIP = 16  # distances that Shaw's vectors tell apart
EXPERTS, CHOSEN = 8, 2  # experts of a layer, and how many of them a token uses


# The text


@dataclass(frozen=True)
class Corpus:
    """Tokens to train on and to measure on, (n,) int64 each, on one device; `separator` stands before a packed document."""

    train: Tensor
    val: Tensor
    vocabulary: int
    separator: int

    def batches(self, seed: int, size: int, length: int) -> Iterator[Tensor]:
        """Pieces (size, length + 1) of the training text that begin anywhere; the same ones for the same seed."""
        generator, device = torch.Generator().manual_seed(seed), self.train.device
        while True:
            begin = torch.randint(len(self.train) - length, (size,), generator=generator)
            yield self.train[begin[:, None].to(device) + torch.arange(length + 1, device=device)]

    def held_out(self, length: int, count: int) -> Tensor:
        """Pieces (count, length + 1) of the validation text, evenly spread."""
        begin = torch.linspace(0, len(self.val) - length - 1, count).long()
        return self.val[begin[:, None].to(self.val.device) + torch.arange(length + 1, device=self.val.device)]

    def packed(self, seed: int, size: int, length: int) -> Iterator[Tensor]:
        """Rows (size, length + 1) of short pieces of the training text, 8 to 40 tokens, each after the separator."""
        generator = np.random.default_rng(seed)
        text, mark = self.train.cpu(), torch.tensor([self.separator])
        while True:
            rows = torch.empty(0, dtype=torch.long)
            while len(rows) < size * (length + 1):
                n = int(generator.integers(8, 41))
                begin = int(generator.integers(len(text) - n))
                rows = torch.cat((rows, mark, text[begin : begin + n]))
            yield rows[: size * (length + 1)].view(size, -1).to(self.train.device)


def load_corpus(device: torch.device | str = "cpu") -> Corpus:
    """The week's text as tokens."""
    tokenizer = helpers.load_tokenizer()
    train, val = (helpers.load_tokens(part).to(device) for part in ("train", "val"))
    return Corpus(train, val, tokenizer.get_vocab_size(), tokenizer.token_to_id("<|bos|>") or 0)


def with_environment(settings: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """The settings; at full scale the environment variable TEXT_STEPS replaces the steps of every training."""
    if scale != "full" or "TEXT_STEPS" not in os.environ:
        return dict(settings)
    steps = int(os.environ["TEXT_STEPS"])
    return {**settings, "steps": steps, "deep_steps": steps, "live_steps": min(steps, settings["live_steps"])}


# A transformer with exchangeable parts


class Config(NamedTuple):
    """What one comparison exchanges: `config._replace(positions="alibi")`. Widths in numbers, lengths in tokens."""

    layers: int
    dim: int
    heads: int
    kv_heads: int
    length: int  # of training; there are places for four times as many tokens
    vocabulary: int
    positions: str = "rope"  # "none", "sinusoidal", "learned", "shaw", "rope", "alibi"
    mlp: str = "swiglu"  # a key of MLPS
    norm: str = "rms"  # "layer", "rms"
    pre: bool = True  # normalise before each sublayer (False: after the addition, as in 2017)
    scaled: bool = False  # initial output projections smaller by sqrt(2 layers)
    balance: float = 0.0  # weight of the load-balancing loss

    @property
    def llama(self) -> LlamaConfig:
        """The same sizes for transformers' parts; width of gated layers 8/3 dim: parameters of two matrices of 4 dim."""
        sizes = dict(hidden_size=self.dim, intermediate_size=round(8 * self.dim / 3), num_attention_heads=self.heads)
        return LlamaConfig(**sizes, max_position_embeddings=4 * self.length)


def sinusoids(length: int, dim: int) -> Tensor:
    """sin and cos of p theta_i, (length, dim); Vaswani et al. 2017, section 3.5."""
    theta = 10000 ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.arange(length)[:, None] * theta  # (length, dim / 2)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


def shaw_scores(q: Tensor, a: Tensor) -> Tensor:
    """q_p · a_{p - s} for q (..., length, d): (..., length, length). Row r of a (CLIP + 1, d) is distance r, the last one all larger ones.

    Shaw et al. 2018, equation 4, in their plain form: a vector of d numbers is fetched for every pair of places.
    """
    at = torch.arange(q.shape[-2], device=q.device)
    distance = (at[:, None] - at).clamp(0, len(a) - 1)  # (length, length)
    return torch.einsum("...pd,psd->...ps", q, a[distance])


class Attention(nn.Module):
    """Causal self-attention; places are told by rotations, by a bias, or by Shaw's vectors."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.d = c.dim // c.heads
        self.q, self.o = nn.Linear(c.dim, c.dim, bias=False), nn.Linear(c.dim, c.dim, bias=False)
        self.k, self.v = (nn.Linear(c.dim, c.kv_heads * self.d, bias=False) for _ in "kv")
        self.a = nn.Parameter(torch.zeros(CLIP + 1, self.d)) if c.positions == "shaw" else None

    def forward(
        self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, bias: Tensor, values: Tensor | None = None
    ) -> Tensor:
        """x (batch, length, dim), bias (batch or 1, heads or 1, length, length); `values` replaces v, to look at weights."""
        q, k, v = (part(x).unflatten(-1, (-1, self.d)).transpose(1, 2) for part in (self.q, self.k, self.v))
        if rotary:
            q, k = apply_rotary_pos_emb(q, k, *rotary)
        if self.a is not None:
            bias = bias + shaw_scores(q, self.a) / math.sqrt(self.d)  # (batch, heads, length, length)
        if values is not None:
            return F.scaled_dot_product_attention(
                q, k, values.expand(len(x), k.shape[1], -1, -1), bias, enable_gqa=True
            )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)  # (batch, heads, length, d)
        return self.o(out.transpose(1, 2).flatten(2))


class Experts(nn.Module):
    """Mixtral's block: two of eight SwiGLU experts per token, together as wide as the dense SwiGLU; it keeps the router's logits."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        width = c.llama.intermediate_size // CHOSEN
        sizes = dict(num_local_experts=EXPERTS, num_experts_per_tok=CHOSEN, hidden_act="silu")
        config = MixtralConfig(hidden_size=c.dim, intermediate_size=width, **sizes, experts_implementation="eager")
        self.block = MixtralSparseMoeBlock(config)

    def forward(self, x: Tensor) -> Tensor:
        self.logits, _, self.chosen = self.block.gate(x)  # (tokens, E), (tokens, k)
        return self.block(x)


def plain_mlp(dim: int, act: nn.Module) -> nn.Sequential:
    """Two matrices of width 4 dim with an activation between."""
    return nn.Sequential(nn.Linear(dim, 4 * dim, bias=False), act, nn.Linear(4 * dim, dim, bias=False))


# the MLP of a block by its name; the seminar adds what it writes out itself
MLPS: dict[str, Callable[[Config], nn.Module]] = {
    "relu": lambda c: plain_mlp(c.dim, nn.ReLU()),
    "gelu": lambda c: plain_mlp(c.dim, nn.GELU()),
    "swiglu": lambda c: LlamaMLP(c.llama),
    "experts": Experts,
}
NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


class Block(nn.Module):
    """Attention and MLP, each with a residual; the norm before the sublayer or after the addition."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        norm = NORMS[c.norm]
        self.attention, self.mlp, self.pre = Attention(c), MLPS[c.mlp](c), c.pre
        self.norm1, self.norm2 = norm(c.dim, eps=1e-5), norm(c.dim, eps=1e-5)

    def forward(self, x: Tensor, *places: Tensor) -> Tensor:
        if self.pre:
            x = x + self.attention(self.norm1(x), *places)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x, *places))
        return self.norm2(x + self.mlp(x))


class Transformer(nn.Module):
    """A decoder with tied embeddings."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c, self.embed = c, nn.Embedding(c.vocabulary, c.dim)
        self.places = nn.Embedding(4 * c.length, c.dim) if c.positions == "learned" else None
        self.rotary = LlamaRotaryEmbedding(c.llama) if c.positions == "rope" else None
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = NORMS[c.norm](c.dim, eps=1e-5) if c.pre else nn.Identity()  # a post-norm block ends with its norm
        for name, p in self.named_parameters():
            if p.ndim > 1:
                last = name.endswith(("o.weight", "down_proj", "down_proj.weight", "mlp.2.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c.layers) if c.scaled and last else 0.02)

    def forward(self, ids: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits (batch, length, vocabulary) of ids (batch, length); `documents` numbers the text each token belongs to."""
        x, places = self.inputs(ids, documents)
        for block in self.blocks:
            x = block(x, *places)
        return self.norm(x) @ self.embed.weight.T

    def inputs(self, ids: Tensor, documents: Tensor | None = None) -> tuple[Tensor, tuple]:
        """What the first block gets: x, and what tells places: (rotations or None, bias)."""
        at = torch.arange(ids.shape[1], device=ids.device)
        seen = at[:, None] >= at  # (length, length)
        if documents is not None:
            seen = seen & (documents[:, None, :, None] == documents[:, None, None, :])
        bias = torch.zeros(seen.shape, device=ids.device).masked_fill(~seen, -math.inf).reshape(-1, 1, len(at), len(at))
        if self.c.positions == "alibi":
            bias = bias + build_alibi_tensor(
                torch.ones_like(at)[None], self.c.heads, bias.dtype
            )  # (1, heads, length, length)
        x = self.embed(ids)
        if self.c.positions == "learned":
            x = x + self.places(at)
        if self.c.positions == "sinusoidal":
            x = x + 0.02 * sinusoids(len(at), self.c.dim).to(x)  # as small as the embeddings are at first
        return x, (self.rotary(x, at[None]) if self.rotary else None, bias)


# Training


def rate_at(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up over the given share of all steps, then half a cosine to 0."""
    share = (step + 1) / steps
    rise = min(1.0, share / warmup if warmup else 1.0)
    return rise * 0.5 * (1 + math.cos(math.pi * max(0.0, share - warmup) / (1 - warmup)))


def fit(
    c: Config,
    *,
    corpus: Corpus,
    seed: int,
    steps: int,
    batch: int,
    lr: float = 3e-3,
    warmup: float = 0.1,
    pieces: Iterator[Tensor] | None = None,
    documents: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Transformer, list[float]]:
    """Train one model: next-token cross-entropy on pieces of c.length tokens, AdamW, gradients clipped at 1.

    Args:
        batch: pieces per step.
        warmup: share of the steps in which the learning rate rises to `lr`; half a cosine follows.
        pieces: batches (batch, length + 1) to train on instead of the corpus' own.
        documents: numbers the document of every token of ids (batch, length); tokens see their own document only.

    Returns:
        The model and its training losses in nats per token, one per step (infinite once it is NaN).
    """
    torch.manual_seed(seed)
    model = Transformer(c).to(corpus.train.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_at, steps=steps, warmup=warmup))
    losses = []
    for _, ids in zip(range(steps), pieces or corpus.batches(seed, batch, c.length), strict=False):
        logits = model(ids[:, :-1], documents(ids[:, :-1]) if documents else None)
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        losses.append(loss.item() if loss.isfinite() else math.inf)
        optimizer.zero_grad()
        (loss + c.balance * balancing(model) if c.balance else loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval(), losses


def balancing(model: Transformer) -> Tensor:
    """Switch's loss of the last forward pass, mean of the layers; 1 when balanced (transformers' sum over k choices, divided by k)."""
    each = [load_balancing_loss_func((block.mlp.logits,), EXPERTS, CHOSEN) for block in model.blocks]
    return torch.stack(each).mean() / CHOSEN


# What is measured on a trained model


@torch.no_grad()
def losses_at(model: Transformer, ids: Tensor) -> Tensor:
    """Loss in nats of every token but the first, (pieces, length); ids (pieces, length + 1)."""
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def by_position(model: Transformer, ids: Tensor, stride: int) -> dict[str, list[float]]:
    """Loss on pieces of 4T tokens, ids (pieces, 4T + 1), mean over the pieces.

    Returns:
        "full" of each 16th part; beyond T, at every `stride`-th place: "same" (all is read) and "window" (only the last T tokens).
    """
    T = model.c.length
    full = losses_at(model, ids)  # (pieces, 4T): column p is the prediction of token p + 1
    beyond = list(range(T + stride - 1, 4 * T, stride))
    window = [losses_at(model, ids[:, p - T + 1 : p + 2])[:, -1].mean().item() for p in beyond]
    parts = full.unflatten(1, (16, -1)).mean((0, 2)).tolist()
    return {"full": parts, "window": window, "same": [full[:, p].mean().item() for p in beyond]}


@torch.no_grad()
def attended(model: Transformer, ids: Tensor) -> Tensor:
    """Share of attention by distance (length,) on ids (texts, length), mean of layers, heads, texts and the last 16 queries."""
    x, (rotary, bias) = model.inputs(ids)
    found, eye = [], torch.eye(ids.shape[1], device=ids.device)  # values = unit vectors: the output is the weights
    for block in model.blocks:
        weights = block.attention(block.norm1(x), rotary, bias, eye)[:, :, -16:]  # (texts, heads, 16, length)
        found.append(torch.stack([weights[:, :, -1 - t].roll(t, -1).flip(-1) for t in range(16)]).mean((0, 1, 2)))
        x = block(x, rotary, bias)
    return torch.stack(found).mean(0)


def gradient_by_depth(c: Config, seed: int, ids: Tensor) -> list[float]:
    """Norm of the loss's gradient in each block's second MLP matrix before any step, (layers,); ids (batch, length + 1)."""
    torch.manual_seed(seed)
    model = Transformer(c).to(ids.device)
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.xavier_normal_(p)  # the paper's: sublayers as large as what they are added to
    F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
    return [block.mlp[2].weight.grad.norm().item() for block in model.blocks]


@torch.no_grad()
def expert_use(model: Transformer, ids: Tensor) -> list[list[float]]:
    """Share of all choices that each expert gets on ids (texts, length), (layers, E)."""
    model(ids)
    uses = [block.mlp.chosen.flatten().bincount(minlength=EXPERTS) for block in model.blocks]
    return [(use / use.sum()).tolist() for use in uses]


def evenness(use: Sequence[Sequence[float]]) -> float:
    """Entropy of the use over its largest value, mean of the layers: 1 if even, 0 if one expert has all."""
    return float(np.mean([-sum(f * math.log(f) for f in layer if f) / math.log(EXPERTS) for layer in use]))


def thinned(losses: Sequence[float], points: int = 30) -> list[float]:
    """Means of `points` equal parts of a training curve."""
    return [float(np.mean(piece)) for piece in np.array_split(np.array(losses), min(points, len(losses)))]


# Llamas to load

HUB = {"SmolLM2-135M": "HuggingFaceTB/SmolLM2-135M", "Llama-3.2-1B": "meta-llama/Llama-3.2-1B"}
_SCALING = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
_SCALING |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 512}
# two families whose configs differ in what is easily forgotten, as small as a test needs
FAMILIES: dict[str, dict[str, Any]] = {
    "SmolLM2": dict(hidden_size=72, num_attention_heads=9, num_key_value_heads=3, rope_theta=100000.0),
    "Llama-3.2": dict(hidden_size=64, num_attention_heads=8, num_key_value_heads=2, head_dim=16)
    | {"max_position_embeddings": 4096, "rope_parameters": _SCALING},
}


def tiny_llama(**sizes: Any) -> LlamaForCausalLM:
    """transformers' Llama of two layers with random weights; `sizes` are entries of its config."""
    small = dict(vocab_size=300, intermediate_size=96, num_hidden_layers=2, tie_word_embeddings=True)
    return LlamaForCausalLM(LlamaConfig(**small | sizes)).eval()


def checkpoint(scale: str) -> Path:
    """Folder of this week's small Llama; at full scale of the model that TEXT_MODEL names (a key of HUB, or a folder)."""
    name = os.environ.get("TEXT_MODEL", "SmolLM2-135M") if scale == "full" else str(helpers.ASSETS / "llama")
    if Path(name).is_dir():
        return Path(name)
    return Path(snapshot_download(HUB.get(name, name), allow_patterns=["*.json", "*.safetensors"]))


def load_llama(folder: Path, attention: str = "sdpa") -> LlamaForCausalLM:
    """The checkpoint by transformers, float32; attention "eager" is by plain matrix products."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention).eval()


def read_checkpoint(folder: Path) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Config and float32 tensors of a folder in Hugging Face's format."""
    config = LlamaConfig.from_pretrained(folder)
    weights: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        weights |= {key: value.float() for key, value in load_file(shard).items()}
    if config.tie_word_embeddings:  # then the file leaves the head out
        weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
    return config, weights


@torch.no_grad()
def prefill(model: LlamaForCausalLM, ids: Tensor) -> DynamicCache:
    """The cache of a prompt (1, n)."""
    cache = DynamicCache(config=model.config)
    model(ids, past_key_values=cache, logits_to_keep=1)
    return cache
