"""The homework's solutions against torch and transformers on the same input, and the properties that its text promises."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from transformers import LlamaConfig, MixtralConfig, Phi3Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama
from transformers.models.mixtral import modeling_mixtral
from transformers.models.phi3.modeling_phi3 import Phi3MLP

from lsdl.author.homework import Namespace


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_equals_torch(solutions: Namespace, dtype: torch.dtype) -> None:
    x, weight = normal(4, 7, 32).to(dtype), (1 + 0.3 * normal(32, seed=1)).to(dtype)
    library = torch.nn.RMSNorm(32, eps=1e-5, dtype=dtype)
    library.weight.data.copy_(weight)
    ours = solutions["rms_norm"](x, weight, 1e-5)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, library(x))


def test_rms_norm_equals_llama_in_bfloat16_where_the_weight_is_one(solutions: Namespace) -> None:
    x = normal(4, 7, 32).bfloat16()
    library = modeling_llama.LlamaRMSNorm(32, eps=1e-5).to(torch.bfloat16)
    torch.testing.assert_close(solutions["rms_norm"](x, library.weight.data, 1e-5), library(x), rtol=0, atol=0)


def test_rms_norm_gradient_equals_autograd(solutions: Namespace) -> None:
    x, weight, grad_y = normal(3, 5, 16).requires_grad_(), normal(16, seed=1).requires_grad_(), normal(3, 5, 16, seed=2)
    F.rms_norm(x, (16,), weight, 1e-3).backward(grad_y)
    grad_x, grad_weight = solutions["rms_norm_backward"](grad_y, x.detach(), weight.detach(), 1e-3)
    torch.testing.assert_close(grad_x, x.grad)
    torch.testing.assert_close(grad_weight, weight.grad)


def test_half_split_rope_equals_llama(solutions: Namespace) -> None:
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=2048)
    q, k = normal(2, 4, 6, 16), normal(2, 2, 6, 16, seed=1)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5], [700, 701, 702, 703, 704, 705]])
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config)(q, positions)
    for ours, theirs in zip((q, k), modeling_llama.apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        torch.testing.assert_close(solutions["apply_rope"](ours, positions), theirs, rtol=1e-4, atol=1e-4)


def test_interleaved_rope_equals_gpt_j(solutions: Namespace) -> None:
    x, positions = normal(2, 3, 6, 16), torch.arange(20, 26)
    sin, cos = modeling_gptj.create_sinusoidal_positions(64, 16)[positions][None].chunk(2, -1)
    theirs = modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sin, cos).transpose(1, 2)  # they have heads second
    torch.testing.assert_close(solutions["apply_rope"](x, positions, interleaved=True), theirs, rtol=1e-4, atol=1e-4)


def test_converted_projections_give_the_same_scores(solutions: Namespace) -> None:
    heads, kv_heads, dim, positions = 4, 2, 8, torch.arange(5) + 300
    x = normal(1, 5, 12)
    weight_q, bias_q = normal(heads * dim, 12, seed=1), normal(heads * dim, seed=2)
    weight_k, bias_k = normal(kv_heads * dim, 12, seed=3), normal(kv_heads * dim, seed=4)

    def scores(change: Callable[[Tensor, int], Tensor], interleaved: bool) -> Tensor:
        q, k = (
            F.linear(x, change(weight, n), change(bias, n)).unflatten(-1, (n, dim)).transpose(1, 2)
            for weight, bias, n in ((weight_q, bias_q, heads), (weight_k, bias_k, kv_heads))
        )
        q, k = (solutions["apply_rope"](t, positions, interleaved=interleaved) for t in (q, k))
        return q @ k.repeat_interleave(heads // kv_heads, 1).mT

    original = scores(lambda rows, _: rows, True)
    torch.testing.assert_close(scores(solutions["to_half_split"], False), original, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(scores(lambda rows, _: rows, False), original, atol=0.1)


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 20, 31, 64])
def test_alibi_equals_bloom(solutions: Namespace, heads: int) -> None:
    keys = 7
    theirs = build_alibi_tensor(torch.ones(1, keys), heads, torch.float32)  # (heads, 1, keys): slope times key
    torch.testing.assert_close(solutions["alibi_slopes"](heads), theirs[:, 0, 1])
    scores, slopes, probabilities = normal(heads, 3, keys), theirs[:, 0, 1], solutions["probabilities_with"]
    ours = probabilities(solutions["alibi_bias"], scores, slopes)
    torch.testing.assert_close(ours, probabilities(lambda *_: theirs, scores, slopes))


def test_swiglu_equals_phi3_and_llama(solutions: Namespace) -> None:
    config = dict(hidden_size=8, intermediate_size=12, num_attention_heads=2, pad_token_id=0)
    fused, split = Phi3MLP(Phi3Config(**config)), modeling_llama.LlamaMLP(LlamaConfig(**config))
    x, gate_up, down = normal(2, 3, 8), normal(24, 8, seed=1), normal(8, 12, seed=2)
    gate, up = solutions["split_gate_up"](gate_up)
    for module, weights in (
        (fused, {"gate_up_proj": gate_up, "down_proj": down}),
        (split, {"gate_proj": gate, "up_proj": up, "down_proj": down}),
    ):
        for name, weight in weights.items():
            getattr(module, name).weight.data.copy_(weight)
        torch.testing.assert_close(solutions["swiglu"](x, gate_up, down), module(x))


def test_shards_compute_their_part(solutions: Namespace) -> None:
    """Each shard's block is a fused weight of its own; the parts add up."""
    x, gate, up, down = normal(5, 8), normal(12, 8, seed=1), normal(12, 8, seed=2), normal(8, 12, seed=3)
    whole = solutions["swiglu"](x, solutions["fuse_gate_up"](gate, up), down)
    blocks = zip(solutions["fuse_gate_up"](gate, up, 3).chunk(3), down.chunk(3, 1), strict=True)
    torch.testing.assert_close(sum(solutions["swiglu"](x, a, b) for a, b in blocks), whole, rtol=1e-4, atol=1e-4)


def test_a_fused_weight_is_split_again(solutions: Namespace) -> None:
    gate, up = normal(12, 8), normal(12, 8, seed=1)
    for shards in (1, 3):
        back = solutions["split_gate_up"](solutions["fuse_gate_up"](gate, up, shards), shards)
        assert torch.equal(back[0], gate) and torch.equal(back[1], up)


@pytest.mark.parametrize(("dim", "hidden"), [(4096, 11008), (5120, 13824), (6656, 17920), (8192, 22016)])
def test_hidden_width_is_that_of_llama(solutions: Namespace, dim: int, hidden: int) -> None:
    assert solutions["hidden_width"](dim, 256) == hidden


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("sizes", [(7,), (4, 3), (1,) * 7, (2, 1, 4)])
def test_gqa_equals_sdpa_for_any_chunks(solutions: Namespace, kv_heads: int, sizes: tuple[int, ...]) -> None:
    q, k, v = normal(2, 6, 7, 8), normal(2, kv_heads, 7, 8, seed=1), normal(2, kv_heads, 7, 8, seed=2)
    fed = solutions["feed"](solutions["gqa"], q, k, v, torch.ones(2, 7, dtype=torch.bool), sizes)
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(fed["out"], theirs)
    assert torch.equal(fed["keys"], k) and torch.equal(fed["values"], v)


def test_a_cache_of_all_heads_is_named(solutions: Namespace) -> None:
    def gqa(q, k, v, valid, cache=None):
        k = k if cache is None else torch.cat((cache[0], k), 2)
        return q, (k.repeat_interleave(2, 1), v, valid)

    q, k = normal(1, 4, 3, 8), normal(1, 2, 3, 8, seed=1)
    with pytest.raises(ValueError, match="4 heads and the new keys 2"):
        solutions["feed"](gqa, q, k, k, torch.ones(1, 3, dtype=torch.bool), (2, 1))


def test_gqa_with_padding_equals_each_sequence_alone(solutions: Namespace) -> None:
    q, k, v = normal(2, 4, 7, 8), normal(2, 2, 7, 8, seed=1), normal(2, 2, 7, 8, seed=2)
    valid = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1, 0]]).bool()
    out = solutions["feed"](solutions["gqa"], q, k, v, valid, (3, 2, 2))["out"]
    for i, rows in enumerate(valid):
        alone = (t[i : i + 1, :, rows] for t in (q, k, v))
        theirs = F.scaled_dot_product_attention(*alone, is_causal=True, enable_gqa=True)
        torch.testing.assert_close(out[i : i + 1, :, rows], theirs)
        assert not out[i, :, ~rows].any()


@pytest.mark.parametrize("tiles", [(64, 64), (3, 5), (1, 1), (7, 2)])
@pytest.mark.parametrize(("queries", "keys", "causal"), [(10, 13, False), (11, 11, True), (4, 13, True)])
def test_flash_attention_equals_sdpa(
    solutions: Namespace, queries: int, keys: int, causal: bool, tiles: tuple[int, int]
) -> None:
    q, k, v = normal(2, 3, queries, 8), normal(2, 3, keys, 8, seed=1), normal(2, 3, keys, 8, seed=2)
    out, lse = solutions["flash_attention"](q, k, v, causal, *tiles)
    mask = causal_lower_right(queries, keys) if causal else None
    torch.testing.assert_close(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    scores = q @ k.mT / 8**0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries), -torch.inf)
    torch.testing.assert_close(lse, scores.logsumexp(-1))


def test_the_plain_tile_gives_what_tiles_give(solutions: Namespace) -> None:
    q, k, v = normal(2, 3, 7, 8), normal(2, 3, 11, 8, seed=1), normal(2, 3, 11, 8, seed=2)
    for causal in (False, True):
        plain = solutions["flash_attention"](q, k, v, causal, 3, 4, solutions["plain_tile"])
        torch.testing.assert_close(plain, solutions["flash_attention"](q, k, v, causal, 3, 4))


def test_flash_attention_rows_without_keys(solutions: Namespace) -> None:
    q, k, v = normal(1, 2, 9, 8), normal(1, 2, 4, 8, seed=1), normal(1, 2, 4, 8, seed=2)
    out, lse = solutions["flash_attention"](q, k, v, True, 2, 3)
    assert not out[:, :, :5].any() and (lse[:, :, :5] == -torch.inf).all()
    seen = F.scaled_dot_product_attention(q[:, :, 5:], k, v, is_causal=True)
    torch.testing.assert_close(out[:, :, 5:], seen)


def test_flash_merge_equals_attention_to_all_keys(solutions: Namespace) -> None:
    q, k, v = normal(1, 2, 5, 8), normal(1, 2, 12, 8, seed=1), normal(1, 2, 12, 8, seed=2)
    parts = [solutions["flash_attention"](q, k[:, :, s], v[:, :, s]) for s in (slice(0, 5), slice(5, 12))]
    out, lse = solutions["flash_merge"](*parts[0], *parts[1])
    whole_out, whole_lse = solutions["flash_attention"](q, k, v)
    torch.testing.assert_close(out, whole_out)
    torch.testing.assert_close(lse, whole_lse)


def test_memory_of_flash_attention_and_skewing_is_bounded(solutions: Namespace) -> None:
    largest_tensor = solutions["largest_tensor"]
    q, k, v = (normal(1, 2, 300, 4, seed=s) for s in range(3))
    assert largest_tensor(lambda: solutions["flash_attention"](q, k, v, True, 16, 32)) <= q.numel()
    assert largest_tensor(lambda: (q @ k.mT).softmax(-1) @ v) == 2 * 300 * 300
    embeddings = normal(300, 64)
    assert largest_tensor(lambda: solutions["relative_scores"](embeddings, embeddings, 300)) <= 300 * 301


def test_route_equals_mixtral(solutions: Namespace) -> None:
    config = MixtralConfig(hidden_size=6, num_local_experts=6, num_experts_per_tok=2)
    router = modeling_mixtral.MixtralTopKRouter(config)
    router.weight.data.copy_(torch.eye(6))
    logits, noise = normal(9, 6), 0.5 * normal(9, 6, seed=1)
    gates, experts = solutions["route"](logits, noise, 2)
    _, their_gates, their_experts = router(logits + noise)
    assert torch.equal(experts, their_experts)
    torch.testing.assert_close(gates, their_gates)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_switch_loss_equals_mixtral(solutions: Namespace, k: int) -> None:
    """transformers divides by the tokens, not by the k T assignments, so its loss is k when balanced."""
    logits = normal(9, 6)
    theirs = modeling_mixtral.load_balancing_loss_func((logits,), 6, k)
    torch.testing.assert_close(solutions["switch_loss"](logits, logits.topk(k).indices), theirs / k)


def test_switch_loss_of_uniform_probabilities_is_one_whatever_the_use(solutions: Namespace) -> None:
    loss = solutions["switch_loss"](torch.zeros(5, 4), torch.zeros(5, 1, dtype=torch.int64))
    torch.testing.assert_close(loss, torch.tensor(1.0))


def test_moe_without_drops_equals_a_dense_sum(solutions: Namespace) -> None:
    x, weights = normal(7, 4), normal(3, 4, 4, seed=1)
    gates, experts = solutions["route"](normal(7, 3, seed=2), torch.zeros(7, 3), 2)
    kept = solutions["kept_assignments"](experts, 3, 3.0)
    dense = torch.zeros(7, 3).scatter(1, experts, gates)
    theirs = x + torch.einsum("te,ti,eij->tj", dense, x, weights)
    assert kept.all()
    torch.testing.assert_close(solutions["moe_output"](x, gates, experts, kept, weights), theirs)


def test_capacity_of_one_choice_keeps_the_first_tokens(solutions: Namespace) -> None:
    experts = torch.tensor([[0], [1], [0], [0], [1], [0]])
    kept = solutions["kept_assignments"](experts, 2, 2 / 3)  # room for two
    assert kept.flatten().tolist() == [True, True, True, False, True, False]


@pytest.mark.parametrize(("queries", "keys", "rows"), [(6, 6, 6), (2, 9, 9), (5, 9, 3), (4, 4, 10), (3, 7, 1)])
def test_skewing_equals_the_direct_computation(solutions: Namespace, queries: int, keys: int, rows: int) -> None:
    q, embeddings = normal(2, 3, queries, 4), normal(rows, 4, seed=1)
    distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
    vectors = embeddings[(rows - 1 - distance).clamp(0, rows - 1)]  # (queries, keys, dim), as Shaw et al.
    direct = torch.einsum("bhqd,qkd->bhqk", q, vectors).masked_fill(distance < 0, 0.0)
    torch.testing.assert_close(solutions["relative_scores"](q, embeddings, keys), direct)


def test_sizes_are_read_from_a_hugging_face_config(
    helpers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = LlamaConfig(num_attention_heads=8, num_key_value_heads=2, hidden_size=64, num_hidden_layers=3)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    monkeypatch.setenv("TEXT_MODEL", str(tmp_path))
    sizes = helpers.load_sizes("SmolLM2-135M")
    assert (sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.layers) == (8, 2, 8, 3)
    monkeypatch.setenv("TEXT_MODEL", "no such model")
    with pytest.raises(FileNotFoundError, match="neither"):
        helpers.load_sizes("SmolLM2-135M")
