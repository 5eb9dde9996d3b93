"""Week 03's solutions beside timm, torchvision, torch and plain loops on the same inputs, and its cases by hand."""

from __future__ import annotations

import math
import warnings
from functools import partial
from types import ModuleType

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models import swin_transformer
from torch.nn.attention.flex_attention import flex_attention
from torchvision.models.swin_transformer import shifted_window_attention

from lsdl.author.homework import Homework, Namespace

SEMINAR_SHARE = 0.25
PATCH, WINDOW, SHIFT = (4, 6), (2, 4), (1, 2)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def checking(homework: Homework) -> ModuleType:
    with homework.at_home():
        import checking

        return checking


# Tasks 1 and 2


@pytest.fixture(scope="module")
def timms() -> timm.models.VisionTransformer:
    """A ViT of rectangles with random numbers everywhere, attention written out so that its probabilities can be seen."""
    made = dict(patch_size=PATCH, embed_dim=24, depth=3, num_heads=4, num_classes=5)
    vit = timm.models.VisionTransformer(img_size=(16, 18), **made).eval()
    for k, parameter in enumerate(vit.parameters()):
        parameter.data += 0.2 * draw(*parameter.shape, seed=k)
    for block in vit.blocks:
        block.attn.fused_attn = False
    return vit


def test_the_tokens_are_timms(solutions: Namespace, timms: timm.models.VisionTransformer) -> None:
    state, images = timms.state_dict(), draw(2, 3, 16, 18)
    given = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], state["cls_token"][0, 0]
    positions = state["pos_embed"]
    found = solutions["embed"](images, *given, positions[0], (4, 3))
    torch.testing.assert_close(found, timms._pos_embed(timms.patch_embed(images)))
    found = solutions["embed"](torch.zeros(1, 3, 12, 42), *given, positions[0], (4, 3))
    bare = solutions["embed"](torch.zeros(1, 3, 12, 42), *given, torch.zeros_like(positions[0]), (4, 3))
    torch.testing.assert_close(found - bare, resample_abs_pos_embed(positions, [3, 7], [4, 3]), atol=1e-5, rtol=1e-5)


def test_the_vit_is_timms(solutions: Namespace, timms: timm.models.VisionTransformer) -> None:
    images, rows = 2 * draw(2, 3, 16, 18), []
    hook = timms.blocks[-1].attn.attn_drop.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0]))
    expected = timms(images)
    hook.remove()
    tokens = timms._pos_embed(timms.patch_embed(images))
    logits, row = solutions["vit"](tokens, timms.state_dict(), 4)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(row, rows[0][:, :, 0, 1:])


def test_padding_tokens_change_nothing(solutions: Namespace, timms: timm.models.VisionTransformer) -> None:
    tokens, state = draw(2, 7, 24), timms.state_dict()
    valid = torch.arange(7).expand(2, 7) < 5
    tokens[:, 5:] *= 100
    logits, row = solutions["vit"](tokens, state, 4, valid)
    short, short_row = solutions["vit"](tokens[:, :5], state, 4)
    torch.testing.assert_close(logits, short)
    torch.testing.assert_close(row, F.pad(short_row, (0, 2)))


# Task 3


def attended(solutions: Namespace, block: swin_transformer.SwinTransformerBlock, x: torch.Tensor) -> torch.Tensor:
    """A block's window attention by our functions: maps (B, H, W, C) -> (B, H, W, C)."""
    attn, size, heads = block.attn, tuple(x.shape[1:3]), block.attn.num_heads
    cut = solutions["to_windows"](x, WINDOW, block.shift_size)
    qkv = attn.qkv(cut).unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)  # (3, B, n, heads, T, d)
    bias = attn.relative_position_bias_table[solutions["relative_index"](WINDOW)].permute(2, 0, 1)
    mask = solutions["window_mask"](size, WINDOW, block.shift_size)[:, None]
    bias = bias.expand(len(mask), -1, -1, -1).masked_fill(~mask, -torch.inf)
    out = F.scaled_dot_product_attention(*qkv, attn_mask=bias).transpose(2, 3).flatten(3)
    return solutions["from_windows"](attn.proj(out), size, WINDOW, block.shift_size)


@pytest.mark.parametrize("shift", [(0, 0), SHIFT])
def test_window_attention_is_timms_and_torchvisions(solutions: Namespace, shift: tuple[int, int]) -> None:
    block = swin_transformer.SwinTransformerBlock(12, (6, 8), 3, window_size=WINDOW, shift_size=shift).eval()
    attn, x = block.attn, draw(2, 6, 8, 12)
    attn.relative_position_bias_table.data = draw(*attn.relative_position_bias_table.shape)
    assert block.shift_size == shift
    ours = attended(solutions, block, x)
    torch.testing.assert_close(ours, block._attn(x), atol=1e-5, rtol=1e-4)
    index = solutions["relative_index"](WINDOW)
    bias = attn.relative_position_bias_table[index].permute(2, 0, 1)[None]
    theirs = shifted_window_attention(
        x, attn.qkv.weight, attn.proj.weight, bias, list(WINDOW), 3, list(shift), qkv_bias=attn.qkv.bias,
        proj_bias=attn.proj.bias,
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_real_tokens_are_untouched_by_padding(solutions: Namespace) -> None:
    """On a map that no window fits, real tokens attend to the real ones of their region; timm's padding stands elsewhere and is seen."""
    rows, columns = 5, 5
    block = swin_transformer.SwinTransformerBlock(12, (rows, columns), 3, window_size=WINDOW, shift_size=SHIFT).eval()
    x = draw(1, rows, columns, 12)
    block.attn.relative_position_bias_table.data.zero_()
    regions: dict[tuple, list[tuple[int, int]]] = {}
    for i in range(rows):
        for j in range(columns):
            r, c = (i - SHIFT[0]) % 6, (j - SHIFT[1]) % 8  # where the roll of the padded map, 6 x 8, puts it
            key = r // WINDOW[0], c // WINDOW[1], r + SHIFT[0] >= 6, c + SHIFT[1] >= 8
            regions.setdefault(key, []).append((i, j))
    qkv, expected = block.attn.qkv(x[0]).unflatten(-1, (3, 3, 4)), torch.empty_like(x)
    for region in regions.values():
        q, k, v = torch.stack([qkv[place] for place in region], 2).unbind(0)  # (heads, tokens, d)
        out = block.attn.proj(((q @ k.mT / 2).softmax(-1) @ v).transpose(0, 1).flatten(1))
        for (i, j), token in zip(region, out, strict=True):
            expected[0, i, j] = token
    ours = attended(solutions, block, x)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
    assert (block._attn(x) - ours).abs().max() > 0.01


def test_the_way_back_undoes_the_cut(solutions: Namespace) -> None:
    for size, shift in (((5, 7), (1, 3)), ((2, 9), (1, 2)), ((4, 8), (0, 0))):
        x = draw(2, *size, 3)
        again = solutions["from_windows"](solutions["to_windows"](x, WINDOW, shift), size, WINDOW, shift)
        assert torch.equal(again, x)


def pad_after_roll(x: torch.Tensor, window: tuple[int, int], shift: tuple[int, int]) -> torch.Tensor:
    """As timm's block does it."""
    x = F.pad(
        torch.roll(x, (-shift[0], -shift[1]), (1, 2)), (0, 0, 0, -x.shape[2] % window[1], 0, -x.shape[1] % window[0])
    )
    return swin_transformer.window_partition(x, window).flatten(1, 2).unflatten(0, (len(x), -1))


def reversed_then_rolled(windows: torch.Tensor, size: tuple, window: tuple, shift: tuple) -> torch.Tensor:
    padded = [length + -length % w for length, w in zip(size, window, strict=True)]
    x = swin_transformer.window_reverse(windows.flatten(0, 1).unflatten(1, window), window, *padded)
    return torch.roll(x[:, : size[0], : size[1]], tuple(shift), (1, 2))


def mask_of_timm(size: tuple, window: tuple, shift: tuple) -> torch.Tensor:
    block = swin_transformer.SwinTransformerBlock(
        4, size, 1, window_size=window, shift_size=shift, always_partition=True
    )
    return block.get_attn_mask(torch.zeros(1, *size, 4)) == 0


def test_libraries_pasted_into_the_stubs_earn_at_most_a_quarter_of_a_task(homework: Homework) -> None:
    pasted = {
        "embed": resample_abs_pos_embed,
        "attention": timm.layers.Attention,
        "vit": timm.models.VisionTransformer,
        "to_windows": pad_after_roll,
        "from_windows": reversed_then_rolled,
        "window_mask": mask_of_timm,
        "relative_index": lambda window: swin_transformer.get_relative_position_index(*window),
        "neighborhood_attention": lambda q, k, v, kernel, bias: F.scaled_dot_product_attention(q, k, v),
    }
    stubs = homework.namespace(stubs=True)
    with homework.replaced(stubs, pasted):
        for task in homework.tasks:
            cells = [cell for cell in task.graded if cell in homework.unit_cells]
            earned = sum(cell.points for cell in cells if homework.run_cell(cell, stubs, hidden=False) is None)
            assert earned <= SEMINAR_SHARE * task.points, task.title


# Task 4


@pytest.mark.parametrize("size, kernel", [((5, 8), 5), ((7, 3), 3), ((4, 6), 1)])
def test_neighborhood_attention_is_natten_in_a_loop_and_flex_attention(
    solutions: Namespace, homework: Homework, size: tuple[int, int], kernel: int
) -> None:
    (rows, columns), half = size, kernel // 2
    q, k, v = (draw(1, 2, *size, 4, seed=s) for s in range(3))
    bias = draw(2, 2 * kernel - 1, 2 * kernel - 1, seed=3)
    ours = solutions["neighborhood_attention"](q, k, v, kernel, bias)
    loop = homework.instructor("mistakes").neighbourhood_by_pixels(q, k, v, kernel, bias)
    torch.testing.assert_close(ours, loop, atol=1e-5, rtol=1e-4)

    def near(query: torch.Tensor, key: torch.Tensor, length: int) -> torch.Tensor:
        return (query.clamp(half, length - 1 - half) - key).abs() <= half

    def score(score, b, h, i, j):
        (r, c), (s, t) = (i // columns, i % columns), (j // columns, j % columns)
        inside = near(r, s, rows) & near(c, t, columns)
        row, column = ((x + kernel - 1).clamp(0, 2 * kernel - 2) for x in (s - r, t - c))
        return torch.where(inside, score + bias[h, row, column], -torch.inf)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a compiler it is slow, and says so
        flex = flex_attention(*(x.flatten(2, 3) for x in (q, k, v)), score_mod=score)
    torch.testing.assert_close(ours, flex.unflatten(2, size), atol=1e-5, rtol=1e-4)


# Task 5


def test_deits_loss_has_the_limits_of_the_paper(solutions: Namespace) -> None:
    z, student, teacher, y = draw(6, 5), draw(6, 5, seed=1), draw(6, 5, seed=2), torch.arange(6) % 5
    centred = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    found = solutions["deit_loss"](*(x.double() for x in (z, student, teacher)), y, "soft", 200.0, 1.0)
    assert found.item() == pytest.approx(centred.square().sum(1).mean().item() / 10, rel=0.02)
    peaked = F.one_hot(teacher.argmax(1), 5) * 1000.0
    soft = solutions["deit_loss"](z, student, peaked, y, "soft", 1.0, 0.5)
    torch.testing.assert_close(soft, solutions["deit_loss"](z, student, teacher, y, "hard"))


def test_predictions_are_those_of_timms_distilled_model(solutions: Namespace) -> None:
    deit = timm.models.VisionTransformerDistilled(
        img_size=8, patch_size=4, embed_dim=12, depth=1, num_heads=2, num_classes=3
    ).eval()
    for k, parameter in enumerate(deit.parameters()):
        parameter.data += 0.5 * draw(*parameter.shape, seed=k)
    features = deit.forward_features(draw(4, 3, 8, 8))
    found = solutions["predict"](deit.head(features[:, 0]), deit.head_dist(features[:, 1]))
    torch.testing.assert_close(found, deit.forward_head(features))


# Task 6


def flat(value: object) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    return value.flatten().tolist() if isinstance(value, torch.Tensor) else [value]


@pytest.mark.parametrize("name", ["weights", "clipping", "large"])
@pytest.mark.parametrize("seed", range(5))
def test_the_scaler_is_torchs(
    solutions: Namespace, homework: Homework, checking: ModuleType, name: str, seed: int
) -> None:
    given = homework.cases[f"scaler/{name}"].inputs(torch.Generator().manual_seed(seed))
    theirs = checking.run_script(partial(torch.amp.GradScaler, "cpu"), *given)
    assert flat(checking.run_script(solutions["LossScaler"], *given)) == pytest.approx(flat(theirs), rel=1e-5)


def test_the_scalers_defaults_and_errors_are_torchs(solutions: Namespace, checking: ModuleType) -> None:
    ours, theirs = solutions["LossScaler"](), torch.amp.GradScaler("cpu")
    found = [ours.growth_factor, ours.backoff_factor, ours.growth_interval, ours.get_scale()]
    expected = [f() for f in (theirs.get_growth_factor, theirs.get_backoff_factor, theirs.get_growth_interval)]
    assert found == [*expected, 2.0**16]  # the first loss sets torch's
    answers = [
        checking.unscaled(s, torch.ones(2), torch.ones(2))
        for s in (solutions["LossScaler"], partial(torch.amp.GradScaler, "cpu"))
    ]
    assert answers[0]["again"] == answers[1]["again"] == "RuntimeError"


# Task 7


@pytest.mark.parametrize("n, numbers", [(1, 3), (2, 7), (5, 12), (4, 3), (6, 60)])
def test_the_ring_sends_what_the_counts_say(solutions: Namespace, checking: ModuleType, n: int, numbers: int) -> None:
    buffers, network = [draw(numbers, seed=k) for k in range(n)], checking.RingNetwork(n)
    for found in solutions["ring_all_reduce"](buffers, network):
        torch.testing.assert_close(found, torch.stack(buffers).sum(0))
    sizes = [len(part) for part in torch.arange(numbers).tensor_split(n)]
    sent = [sum(step[r] for step in network.log) for r in range(n)]
    if n > 1:
        assert sent == [2 * numbers - sizes[(r + 1) % n] - sizes[(r + 2) % n] for r in range(n)]
    assert len(network.log) == 2 * (n - 1) and all(total < 2 * numbers for total in sent)


def near(found: torch.Tensor, expected: list) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(expected).flatten().to(found), atol=6e-4, rtol=0)


def test_the_cases_by_hand(solutions: Namespace, checking: ModuleType) -> None:
    one, picture = torch.ones(1), torch.arange(1.0, 9.0).view(1, 1, 2, 4)
    positions = torch.tensor([[0.1], [0.2], [0.3]])
    near(solutions["embed"](picture, torch.ones(1, 1, 2, 2), 0 * one, 0.5 * one, positions, (1, 2)), [0.6, 14.2, 22.3])
    weights = {
        "qkv.weight": torch.ones(3, 1),
        "qkv.bias": torch.zeros(3),
        "proj.weight": torch.ones(1, 1),
        "proj.bias": 0 * one,
    }
    tokens = torch.tensor([[[0.0], [1.0]]])
    near(solutions["attention"](tokens, weights, 1)[0], [0.5, 0.731])
    near(solutions["attention"](tokens, weights, 1, torch.tensor([[True, False]]))[0], [0.0, 0.0])
    state = checking.fresh_vit(2, 2, 1, patch=(1, 1), positions=1, generator=torch.Generator())
    state = {k: v.detach() * ("norm" in k) for k, v in state.items()} | {"head.weight": torch.tensor([[2.0, 5.0]])}
    logits, row = solutions["vit"](torch.tensor([[[1.0, 3.0], [0, 1], [2, 2]]]), state, 1)
    near(logits, [3.0])
    near(row, [1 / 3, 1 / 3])
    line = torch.arange(1.0, 6.0).view(1, 1, 5, 1)
    windows = solutions["to_windows"](line, (1, 2), (0, 1))
    near(windows, [2, 3, 4, 5, 0, 1])
    near(solutions["from_windows"](windows, (1, 5), (1, 2), (0, 1)), [1, 2, 3, 4, 5])
    mask = solutions["window_mask"]((1, 5), (1, 2), (0, 1))
    assert mask[:2].all() and mask[2].tolist() == [[True, False], [False, True]]
    assert solutions["relative_index"]((1, 3)).tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]
    starts = checking.window_starts(solutions["neighborhood_attention"], (5, 5), 3)
    near(starts[:, 0, 0], [0, 0, 1, 2, 2])
    zeros, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0]])
    y = torch.tensor([0])
    near(solutions["deit_loss"](zeros, zeros, teacher, y, "hard", 2.0, 0.1), [0.693])
    near(solutions["deit_loss"](zeros, zeros, teacher, y, "soft", 2.0, 0.1), [0.676])
    near(solutions["predict"](torch.tensor([[1.0, 3.0]]), torch.tensor([[3.0, 0.0]])), [2, 1.5])
    gradients = torch.ones(4, 2, 2)
    gradients[1, 0, 0] = torch.inf
    settings = {"init_scale": 4.0, "growth_interval": 2}
    assert checking.scales_of(solutions["LossScaler"], torch.ones(2, 2), gradients, settings) == [4, 2, 2, 4]
    buffers = [10.0**k * torch.tensor([1.0, 2, 3]) for k in range(3)]
    log = checking.sent(solutions["ring_all_reduce"], buffers)
    assert log["workers"] == [4, 4, 4]
    for found in solutions["ring_all_reduce"](buffers, checking.RingNetwork(3)):
        near(found, [111, 222, 333])
