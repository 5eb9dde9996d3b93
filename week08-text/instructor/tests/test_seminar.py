"""Week 08's seminar: every piece that is written out against torch, transformers or what is known in closed form."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from lsdl.author.homework import Homework
from lsdl.author.seminar import seminar_names
from lsdl.tables import Tables


@pytest.fixture(scope="module")
def tiny(homework: Homework) -> SimpleNamespace:
    """The seminar with trainings of two steps."""
    with homework.at_home():
        return SimpleNamespace(
            **seminar_names(homework.week, {"steps": 2, "deep_steps": 2, "texts": 4, "deep": 2, "stride": 32})
        )


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# Attention, memory and caches


@pytest.mark.parametrize("factor", [1.0, 30.0, 1e4])
def test_online_average_is_the_softmax_of_every_prefix(seminar, generator, factor: float) -> None:
    scores, values = (
        factor * torch.randn(40, generator=generator).double(),
        torch.randn(40, generator=generator).double(),
    )
    for n, (m, ell, acc) in enumerate(seminar.online_average(scores.tolist(), values.tolist()), 1):
        assert math.isclose(acc / ell, float(scores[:n].softmax(0) @ values[:n]), rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(m + math.log(ell), float(scores[:n].logsumexp(0)), rel_tol=1e-9)
    assert n == 40


def test_both_backends_are_causal_softmax_attention(seminar, generator) -> None:
    q, k, v = torch.randn(3, 1, 2, 33, 16, generator=generator)
    scores = (q @ k.mT / 4).masked_fill(~torch.ones(33, 33, dtype=torch.bool).tril(), -math.inf)
    for backend in seminar.BACKENDS.values():
        torch.testing.assert_close(seminar.attend(backend, q, k, v), scores.softmax(-1) @ v)


def test_peak_bytes_counts_what_is_held_at_one_time(seminar) -> None:
    def one_after_another() -> None:
        for _ in range(3):
            torch.zeros(250_000)

    def together() -> list[torch.Tensor]:
        return [torch.zeros(250_000) for _ in range(3)]

    first, second = seminar.peak_bytes(one_after_another), seminar.peak_bytes(together)
    assert 1e6 <= first < 1.1e6 and 3e6 <= second < 3.1e6


def test_memory_by_tiles_grows_with_the_length_and_the_plain_formulas_with_its_square(seminar) -> None:
    found = {}
    for name, backend in seminar.BACKENDS.items():
        found[name] = []
        for n in (256, 1024):
            q, k, v = torch.randn(3, 1, 2, n, 64)
            found[name].append(seminar.peak_bytes(lambda b=backend, q=q, k=k, v=v: seminar.attend(b, q, k, v)))
    assert seminar.helpers.growth(found["plain formula"], (256, 1024)) > 1.8
    assert seminar.helpers.growth(found["by tiles"], (256, 1024)) < 1.25


def test_growth_is_the_exponent(seminar) -> None:
    assert math.isclose(seminar.helpers.growth([3 * n**1.5 for n in (2, 5, 9)], (2, 5, 9)), 1.5)


def test_flops_are_told_apart(seminar) -> None:
    a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(2, 6, 7)
    assert seminar.helpers.flops(lambda: (a @ b, c @ c.mT)) == {"mm": 2 * 3 * 4 * 5, "bmm": 2 * 2 * 6 * 7 * 6}


@pytest.mark.parametrize("kv_heads", [8, 2, 1])
def test_the_cache_holds_what_the_formula_says(seminar, kv_heads: int) -> None:
    assert (
        seminar.cache_bytes(kv_heads, 10) == 2 * 2 * kv_heads * 8 * 10 * 4
    )  # k and v, layers, heads, d, tokens, float32


# Positions


def test_shaws_scores_are_the_products_with_the_vector_of_the_distance(seminar, generator) -> None:
    q, a = torch.randn(2, 3, 7, 4, generator=generator), torch.randn(4, 4, generator=generator)
    scores = seminar.models.shaw_scores(q, a)
    for p in range(7):
        for s in range(p + 1):
            torch.testing.assert_close(scores[..., p, s], q[..., p, :] @ a[min(p - s, 3)])


def test_sinusoids_are_those_of_the_paper(seminar) -> None:
    found = seminar.models.sinusoids(5, 6)
    for p in range(5):
        for i in range(3):
            angle = p / 10000 ** (2 * i / 6)
            assert math.isclose(found[p, 2 * i], math.sin(angle), abs_tol=1e-6)
            assert math.isclose(found[p, 2 * i + 1], math.cos(angle), abs_tol=1e-6)


def test_alibi_lowers_scores_by_slope_times_distance(seminar) -> None:
    model = seminar.models.Transformer(seminar.BASE._replace(positions="alibi"))
    _, (rotary, bias) = model.inputs(torch.zeros(1, 9, dtype=torch.long))
    heads, at = seminar.BASE.heads, torch.arange(9)
    slopes = 2.0 ** (-8 * torch.arange(1, heads + 1) / heads)
    expected = (-slopes[:, None, None] * (at[:, None] - at)).masked_fill(at[:, None] < at, -math.inf)
    assert rotary is None
    torch.testing.assert_close(bias[0].softmax(-1), expected.softmax(-1))  # equal up to a constant a row


def test_positions_that_know_distances_do_not_see_a_shift(seminar, generator) -> None:
    ids = torch.randint(seminar.corpus.vocabulary, (1, 20), generator=generator)
    documents = torch.tensor([[0] * 8 + [1] * 12])
    for name in ("none", "shaw", "rope", "alibi"):
        torch.manual_seed(0)
        model = seminar.models.Transformer(seminar.BASE._replace(positions=name))
        if name == "shaw":
            for block in model.blocks:
                nn.init.normal_(block.attention.a)
        torch.testing.assert_close(model(ids, documents)[:, 8:], model(ids[:, 8:]), atol=1e-5, rtol=1e-4)
    torch.manual_seed(0)
    model = seminar.models.Transformer(seminar.BASE._replace(positions="learned"))
    assert (model(ids, documents)[:, 8:] - model(ids[:, 8:])).abs().max() > 1e-3


def test_the_window_reads_the_last_tokens_as_a_fresh_text(tiny) -> None:
    torch.manual_seed(0)
    model, length = (
        tiny.models.Transformer(tiny.BASE._replace(positions="learned")).eval().requires_grad_(False),
        tiny.T,
    )
    nn.init.normal_(model.places.weight)
    ids, stride = tiny.corpus.held_out(4 * tiny.T, 4), tiny.SETTINGS["stride"]
    found = tiny.models.by_position(model, ids, stride)
    full = tiny.models.losses_at(model, ids)
    assert math.isclose(sum(found["full"]) / 16, full.mean(), rel_tol=1e-5)
    for k in (0, len(found["window"]) - 1):
        p = length + stride - 1 + k * stride  # the place whose next token is predicted
        logits = model(ids[:, p + 1 - length : p + 1])[:, -1]
        assert math.isclose(found["window"][k], F.cross_entropy(logits, ids[:, p + 1]), rel_tol=1e-5)
        assert math.isclose(found["same"][k], full[:, p].mean(), rel_tol=1e-5)
    assert p == 4 * length - 1


@pytest.mark.parametrize("positions", ["rope", "alibi", "shaw"])
def test_shares_of_attention_add_up_to_one(tiny, positions: str) -> None:
    torch.manual_seed(0)
    model = tiny.models.Transformer(tiny.BASE._replace(positions=positions)).eval()
    found = tiny.models.attended(model, tiny.corpus.held_out(40, 8)[:, :-1])
    assert math.isclose(found.sum(), 1.0, rel_tol=1e-4) and (found >= 0).all()


def test_attention_is_attributed_to_its_distance(tiny) -> None:
    """A bias that allows only the key three tokens before."""
    model = tiny.models.Transformer(tiny.BASE._replace(positions="none")).eval()
    inputs = model.inputs

    def only_distance_three(ids: torch.Tensor) -> tuple:
        x, (rotary, bias) = inputs(ids)
        at = torch.arange(ids.shape[1])
        keep = (at[:, None] - at == 3) | ((at[:, None] < 3) & (at == 0))
        return x, (rotary, torch.where(keep, 0.0, -math.inf)[None, None])

    model.inputs = only_distance_three
    found = tiny.models.attended(model, tiny.corpus.held_out(40, 8)[:, :-1])
    assert found.argmax() == 3 and math.isclose(found[3], 1.0, rel_tol=1e-5)


# The transformer and its parts


def test_with_llamas_parts_it_is_llama(seminar, generator) -> None:
    c = seminar.BASE._replace(kv_heads=2)
    torch.manual_seed(0)
    model = seminar.models.Transformer(c)
    config = LlamaConfig(
        vocab_size=seminar.corpus.vocabulary,
        hidden_size=c.dim,
        intermediate_size=c.llama.intermediate_size,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    library, own = LlamaForCausalLM(config).eval(), model.state_dict()
    renamed = {"model.embed_tokens.weight": own["embed.weight"], "lm_head.weight": own["embed.weight"]}
    renamed["model.norm.weight"] = own["norm.weight"]
    places = {"norm1": "input_layernorm", "norm2": "post_attention_layernorm"}
    places |= {f"attention.{x}": f"self_attn.{x}_proj" for x in "qkvo"} | {
        f"mlp.{x}": f"mlp.{x}" for x in ("gate_proj",)
    }
    places |= {"mlp.up_proj": "mlp.up_proj", "mlp.down_proj": "mlp.down_proj"}
    for k in range(c.layers):
        renamed |= {f"model.layers.{k}.{b}.weight": own[f"blocks.{k}.{a}.weight"] for a, b in places.items()}
    library.load_state_dict(renamed)
    ids = torch.randint(seminar.corpus.vocabulary, (2, 40), generator=generator)
    torch.testing.assert_close(model(ids), library(ids).logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pre", [True, False])
def test_a_block_of_2017_is_torchs(seminar, generator, pre: bool) -> None:
    c = seminar.BASE._replace(positions="none", mlp="relu", norm="layer", pre=pre)
    torch.manual_seed(0)
    block = seminar.models.Block(c)
    library = nn.TransformerEncoderLayer(c.dim, c.heads, 4 * c.dim, 0.0, batch_first=True, norm_first=pre, bias=False)
    a = block.attention
    library.self_attn.in_proj_weight.data = torch.cat([a.q.weight, a.k.weight, a.v.weight]).detach()
    library.self_attn.out_proj.weight.data = a.o.weight.detach()
    library.linear1.weight.data, library.linear2.weight.data = (
        block.mlp[0].weight.detach(),
        block.mlp[2].weight.detach(),
    )
    x, mask = torch.randn(2, 9, c.dim, generator=generator), nn.Transformer.generate_square_subsequent_mask(9)
    torch.testing.assert_close(block(x, None, mask[None, None]), library(x, mask), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "act"), [("reglu", F.relu), ("geglu", F.gelu), ("swiglu", F.silu)])
def test_gated_layers_are_their_formulas(seminar, generator, name: str, act) -> None:
    layer = seminar.models.MLPS[name](seminar.BASE._replace(mlp=name))
    gate, up = (layer.gate_proj, layer.up_proj) if name == "swiglu" else (layer.gate, layer.up)
    x = torch.randn(3, 5, seminar.BASE.dim, generator=generator)
    expected = (act(x @ gate.weight.T) * (x @ up.weight.T)) @ layer.down_proj.weight.T
    torch.testing.assert_close(layer(x), expected)


def test_all_mlps_but_the_experts_have_equal_parameters(seminar) -> None:
    kinds = ("relu", "gelu", "reglu", "geglu", "swiglu")
    assert len({sum(p.numel() for p in seminar.models.MLPS[k](seminar.BASE).parameters()) for k in kinds}) == 1


def test_scaled_initialisation_shrinks_the_last_matrices_of_both_sublayers_only(seminar) -> None:
    plain, scaled = (seminar.models.Transformer(seminar.BASE._replace(scaled=s, layers=8)) for s in (False, True))
    for (name, a), b in zip(plain.named_parameters(), scaled.parameters(), strict=True):
        if a.ndim > 1:
            last = name.endswith(("attention.o.weight", "mlp.down_proj.weight"))
            assert math.isclose((b.std() / a.std()).item(), 0.25 if last else 1.0, rel_tol=0.1), name


def test_experts_are_mixtrals_and_the_balancing_loss_is_e_sum_f_p(seminar) -> None:
    torch.manual_seed(0)
    model = seminar.models.Transformer(seminar.BASE._replace(mlp="experts"))
    model(seminar.corpus.held_out(20, 3)[:, :-1])
    layers = [block.mlp for block in model.blocks]
    assert all(isinstance(layer.block, MixtralSparseMoeBlock) for layer in layers)
    expected = []
    for layer in layers:
        f = layer.chosen.flatten().bincount(minlength=8) / layer.chosen.numel()
        expected.append(8 * (f * layer.logits.softmax(-1).mean(0)).sum())
    torch.testing.assert_close(seminar.models.balancing(model), torch.stack(expected).mean())


def test_dense_experts_are_the_weighted_sum(seminar, generator) -> None:
    layer, x = seminar.DenseExperts(12, 5), torch.randn(2, 4, 12, generator=generator)
    g = layer.router(x).softmax(-1)
    expected = sum(g[..., e, None] * (F.relu(x @ layer.up[e]) @ layer.down[e]) for e in range(seminar.models.EXPERTS))
    torch.testing.assert_close(layer(x), expected)


def test_evenness_is_one_when_even_and_zero_when_one_expert_has_all(seminar) -> None:
    assert math.isclose(seminar.models.evenness([[1 / 8] * 8]), 1.0)
    assert seminar.models.evenness([[1.0] + [0.0] * 7]) == 0.0
    assert math.isclose(seminar.models.evenness([[0.5, 0.5] + [0.0] * 6, [1 / 8] * 8]), (1 / 3 + 1) / 2)


def test_shares_of_experts_add_up_to_one(tiny) -> None:
    model = tiny.models.Transformer(tiny.BASE._replace(mlp="experts")).eval()
    assert all(
        math.isclose(sum(layer), 1.0, rel_tol=1e-5)
        for layer in tiny.models.expert_use(model, tiny.corpus.held_out(tiny.T, 4)[:, :-1])
    )


# The capstone

FAMILIES = {
    "smollm2": {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
    "llama-3.2": {
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "biases, untied, one KV head": {
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "attention_bias": True,
        "mlp_bias": True,
        "rms_norm_eps": 1e-3,
        "rope_theta": 50.0,
    },
}


@pytest.fixture(params=FAMILIES)
def library(request: pytest.FixtureRequest, tmp_path: Path) -> LlamaForCausalLM:
    """A tiny random model of a family, also saved in `tmp_path` (in several shards)."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=300, hidden_size=72, intermediate_size=96, **FAMILIES[request.param])
    config.num_hidden_layers = 2
    model = LlamaForCausalLM(config).eval()
    for p in model.parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2)  # biases and norms too
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    return model


def test_the_capstone_has_transformers_logits(seminar, generator, library, tmp_path: Path) -> None:
    ids = torch.randint(300, (2, 150), generator=generator)
    expected = library(ids).logits
    torch.testing.assert_close(seminar.load_checkpoint(tmp_path)(ids), expected, atol=1e-3, rtol=1e-4)


def test_the_capstones_cache_changes_nothing_in_any_chunks(seminar, generator, library, tmp_path: Path) -> None:
    model, ids = seminar.load_checkpoint(tmp_path), torch.randint(300, (2, 40), generator=generator)
    cache, whole = seminar.DynamicCache(), model(ids)
    chunks = [model(part, cache) for part in ids.split([17, 1, 1, 21], 1)]
    torch.testing.assert_close(torch.cat(chunks, 1), whole, atol=1e-3, rtol=1e-4)


def test_the_capstone_generates_what_transformers_generates(seminar, generator, library, tmp_path: Path) -> None:
    model, ids = seminar.load_checkpoint(tmp_path), torch.randint(300, (1, 9), generator=generator)
    expected = library.generate(ids, max_new_tokens=12, min_new_tokens=12, do_sample=False, pad_token_id=0)
    for cached in (True, False):
        assert torch.equal(seminar.generate(model, ids, 12, cached=cached), expected)


def test_a_checkpoint_that_does_not_fit_is_an_error(seminar, library, tmp_path: Path) -> None:
    library.config.num_hidden_layers = 3
    library.config.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="layers.2"):
        seminar.load_checkpoint(tmp_path)


def test_sampling_follows_its_generator_and_temperature(seminar, library, tmp_path: Path) -> None:
    model, ids = seminar.load_checkpoint(tmp_path), torch.tensor([[1, 2, 3]])

    def draw(seed: int, temperature: float) -> torch.Tensor:
        return seminar.generate(model, ids, 10, temperature, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(0, 1.0), draw(0, 1.0)) and not torch.equal(draw(0, 100.0), draw(1, 100.0))
    assert torch.equal(draw(0, 1e-4), seminar.generate(model, ids, 10))


# Training


def test_the_rate_rises_to_one_and_falls_to_zero(seminar) -> None:
    rates = [seminar.models.rate_at(step, 100, 0.1) for step in range(100)]
    assert math.isclose(rates[0], 0.1) and math.isclose(rates[9], 1.0) and max(rates) == rates[9] and rates[-1] < 1e-6
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert seminar.models.rate_at(0, 100, 0.0) > 0.99


def test_packed_rows_hold_short_documents(seminar) -> None:
    ids = next(seminar.corpus.packed(0, 64, 128))
    assert ids.shape == (64, 129)
    rows = torch.split(ids.flatten(), [129] * 64)
    starts = (torch.cat(rows) == seminar.corpus.separator).nonzero().flatten()
    lengths = starts.diff() - 1
    assert lengths.min() >= 1 and lengths.max() <= 40  # a document of the text itself has no separator inside
    assert lengths.float().mean() > 20
    numbers = seminar.numbered(ids)
    assert ((numbers.diff(dim=1) == 1) == (ids[:, 1:] == seminar.corpus.separator)).all()


def test_a_masked_document_is_computed_as_if_it_were_alone(seminar) -> None:
    torch.manual_seed(0)
    model, ids = seminar.models.Transformer(seminar.BASE), next(seminar.corpus.packed(1, 1, 60))
    numbers = seminar.numbered(ids)
    whole = model(ids, numbers)
    for number in numbers.unique():
        own = numbers[0] == number
        torch.testing.assert_close(whole[:, own], model(ids[:, own]), atol=1e-5, rtol=1e-4)


def test_gradients_near_the_output_are_larger_in_post_norm(seminar) -> None:
    ids = next(seminar.corpus.batches(0, seminar.SETTINGS["batch"], seminar.T))
    pre, post = (seminar.models.gradient_by_depth(config, 0, ids) for config in seminar.NORM_PLACES.values())
    assert post[-1] > 1.5 * pre[-1] and pre[0] > pre[-1]


def test_training_lowers_the_loss_and_seeds_repeat(tiny) -> None:
    c = tiny.BASE._replace(layers=1, dim=32)
    first, losses = tiny.fit(c, seed=0, steps=30)
    second, again = tiny.fit(c, seed=0, steps=30)
    assert losses == again and sum(losses[-5:]) / 5 < losses[0] - 0.3
    assert tiny.fit(c, seed=1, steps=2)[1] != losses[:2]


def test_every_part_of_the_tables_is_measured(tiny, homework: Homework) -> None:
    names = vars(tiny)
    names["tables"] = tables = Tables("none.json", tiny.measure, seminar=names, seeds=1, retrain=True)
    assert set(tables.parts) == set(homework.instructor("train").PARTS)
    assert [row["name"] for row in tables["positions"]] == list(tiny.measure.POSITIONS)
    assert len(tables["depth"]) == 2 * len(tiny.measure.RATES) * len(tiny.measure.WARMUPS)
    assert all(math.isfinite(row["loss"]) for part in tables.parts for row in tables[part])


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.5, 300.0])
def test_a_turned_pair_is_the_librarys(seminar, angle: float) -> None:
    pair, cos, sin = torch.tensor([0.6, -1.7]), math.cos(angle), math.sin(angle)
    both = pair.view(1, 1, 1, 2)
    expected, _ = apply_rotary_pos_emb(both, both, torch.full((1, 1, 2), cos), torch.full((1, 1, 2), sin))
    torch.testing.assert_close(torch.tensor(seminar.turned(*pair.tolist(), angle)), expected.flatten())


def test_the_last_table_has_the_claims_of_the_sections_that_ran(seminar, homework: Homework) -> None:
    measure, live = seminar.measure, {"settings": seminar.SETTINGS}
    with homework.at_home():
        measure.claims(seminar.tables, live, "positions")
        measure.claims(seminar.tables, live, "depth").lines("post-norm needs warm-up more than pre-norm")
    assert live["sections"] == {"positions", "depth"}
    main = measure.main_claims(live)
    assert main == [*measure.MAIN["positions"], *measure.MAIN["depth"]]
    measure.claims(seminar.tables, live).lines(*main)
    assert set(measure.MAIN) <= set(measure.SECTIONS) and sum(map(len, measure.MAIN.values())) == 10


def test_the_environment_sets_the_steps_at_full_scale_only(seminar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT_STEPS", "100")
    settings = {"steps": 5000, "deep_steps": 5000, "live_steps": 500, "seeds": 3}
    assert seminar.models.with_environment(settings, "smoke") == settings
    assert seminar.models.with_environment(settings, "full") == settings | dict.fromkeys(
        ("steps", "deep_steps", "live_steps"), 100
    )
