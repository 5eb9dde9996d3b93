"""Week 08 beside the libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. Everything runs with one thread; each time is the best of several runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, MixtralConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama import modeling_llama
from transformers.models.mixtral import modeling_mixtral

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]

FUSED = "SDPA is one fused kernel that never writes the scores"
SLOWER = {
    "ALiBi slopes and bias / transformers' Bloom": "ours makes the bias of any queries, and here adds a constant to be the same",
    "SwiGLU, fused / transformers' LlamaMLP": "the same products: about 1, fused or not, at this size",
    "RMSNorm / torch.nn.functional.rms_norm": "the same passes over memory: 1 within the noise",
    "GQA, 512 tokens / SDPA with enable_gqa": FUSED,
    "GQA, one token with a cache of 511 / SDPA, cache concatenated": FUSED + ", and needs no mask here",
    "FlashAttention, 512 tokens / SDPA (a fused kernel)": FUSED + "; ours runs a Python loop over tiles",
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    names = Homework(WEEK).namespace()
    config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3)
    mixtral = MixtralConfig(hidden_size=64, num_local_experts=8, num_experts_per_tok=2)
    x, weight, grad = normal(512, 576), 1 + 0.1 * normal(576, seed=1), normal(512, 576, seed=2)
    q, k, v = normal(1, 9, 512, 64), normal(1, 3, 512, 64, seed=1), normal(1, 3, 512, 64, seed=2)
    all_k, all_v = (t.repeat_interleave(3, 1) for t in (k, v))
    valid, positions = torch.ones(1, 512, dtype=torch.bool), torch.arange(512)
    rotary, mlp = modeling_llama.LlamaRotaryEmbedding(config), modeling_llama.LlamaMLP(config)
    gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight))
    router = modeling_mixtral.MixtralTopKRouter(mixtral)
    router.weight.copy_(normal(8, 64))
    tokens = normal(2048, 64)
    logits, no_noise = tokens @ router.weight.T, torch.zeros(2048, 8)
    _, experts = names["route"](logits, no_noise, 2)

    def library_gradient() -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            inputs = x.clone().requires_grad_(), weight.clone().requires_grad_()
            return torch.autograd.grad(F.rms_norm(inputs[0], (576,), inputs[1], 1e-6), inputs, grad)

    def library_rope() -> torch.Tensor:
        return modeling_llama.apply_rotary_pos_emb(q, q[:, :3], *rotary(q, positions[None]))[0]

    def our_alibi() -> torch.Tensor:
        """With a row's constant as Bloom has it."""
        slopes = names["alibi_slopes"](12)
        return names["alibi_bias"](slopes, 1, 512) + 511 * slopes[:, None, None]

    def last_step(cached: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return names["gqa"](q[:, :, -1:], k[:, :, -1:], v[:, :, -1:], valid[:, -1:], cached)[0]

    cache = k[:, :, :-1], v[:, :, :-1], valid[:, :-1]
    pairs: dict[str, tuple[Callable, Callable]] = {
        "RMSNorm / torch.nn.functional.rms_norm": (
            lambda: names["rms_norm"](x, weight),
            lambda: F.rms_norm(x, (576,), weight, 1e-6),
        ),
        "RMSNorm gradient / autograd, forward included": (
            lambda: names["rms_norm_backward"](grad, x, weight),
            library_gradient,
        ),
        "RoPE of q / transformers' Llama, k of 3 heads with it": (
            lambda: names["apply_rope"](q, positions),
            library_rope,
        ),
        "ALiBi slopes and bias / transformers' Bloom": (
            our_alibi,
            lambda: build_alibi_tensor(torch.ones(1, 512), 12, torch.float32),
        ),
        "SwiGLU, fused / transformers' LlamaMLP": (
            lambda: names["swiglu"](x, gate_up, mlp.down_proj.weight),
            lambda: mlp(x),
        ),
        "GQA, 512 tokens / SDPA with enable_gqa": (
            lambda: names["gqa"](q, k, v, valid)[0],
            lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        ),
        "GQA, one token with a cache of 511 / SDPA, cache concatenated": (
            lambda: last_step(cache),
            lambda: F.scaled_dot_product_attention(
                q[:, :, -1:],
                torch.cat((cache[0], k[:, :, -1:]), 2),
                torch.cat((cache[1], v[:, :, -1:]), 2),
                enable_gqa=True,
            ),
        ),
        "FlashAttention, 512 tokens / SDPA (a fused kernel)": (
            lambda: names["flash_attention"](q, all_k, all_v, True)[0],
            lambda: F.scaled_dot_product_attention(q, all_k, all_v, is_causal=True),
        ),
        "top-2 of 8 experts / transformers' Mixtral router": (
            lambda: names["route"](tokens @ router.weight.T, no_noise, 2)[0],
            lambda: router(tokens)[1],
        ),
        "Switch loss, twice / transformers' Mixtral": (
            lambda: 2 * names["switch_loss"](logits, experts),
            lambda: modeling_mixtral.load_balancing_loss_func((logits,), 8, 2),
        ),
    }
    compare(pairs, SLOWER, atol=1e-4)


if __name__ == "__main__":
    main()
