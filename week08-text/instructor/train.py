"""What lies in assets/: the tokenizer, the small Llama, and the seminar's tables by the seminar's own cells.

    python week08-text/instructor/train.py tokenizer               assets/llama/tokenizer.json, seconds
    python week08-text/instructor/train.py llama                   assets/llama/{config.json,model.safetensors,train.json}
    python week08-text/instructor/train.py tables --only depth     one part of assets/tables.json, three seeds

assets/llama/train.json and "about" in assets/tables.json say how many minutes of one thread each took.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lsdl.author.seminar import about_run, clocks, digests, rounded, seminar_names, write_table
from lsdl.tables import Tables
from lsdl.torch_tools import training_autocast, training_dtype

WEEK = Path(__file__).resolve().parents[1]
ASSETS = WEEK / "assets"
PARTS = ("positions", "depth", "experts", "documents", "mlp", "norm", "kv", "init")
PACKAGES = ("torch", "transformers", "tokenizers")
# SETTINGS with which a test runs the seminar with RETRAIN = True: trainings of two steps, two seeds
CHEAP = dict(steps=2, live_steps=2, seeds=2, deep=2, deep_dim=32, deep_steps=2, texts=4, stride=64, lengths=[256, 512])
SEEDS, VOCABULARY, LENGTH = 3, 1024, 256
SIZES = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 3}
SIZES |= {"num_attention_heads": 6, "num_key_value_heads": 2}
RECIPE = {"batch_size": 8, "lr": 3e-3, "warmup": 0.05, "betas": [0.9, 0.95], "weight_decay": 0.1, "clip": 1.0}


def make_tokenizer() -> None:
    """Byte-level BPE on the train part; every byte has an entry, so every text has tokens."""
    import helpers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|bos|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([helpers.load_text("train")], trainer)
    (ASSETS / "llama").mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(ASSETS / "llama" / "tokenizer.json"))


def baselines(train: Tensor, held_out: Tensor) -> dict[str, float]:
    """Loss on `held_out`, in nats a token, of counts on `train`; the bigrams are smoothed after Witten and Bell 1991."""
    counts = train.bincount(minlength=VOCABULARY).double() + 1
    unigram = counts / counts.sum()
    pairs = (train[:-1] * VOCABULARY + train[1:]).bincount(minlength=VOCABULARY**2).view(VOCABULARY, -1).double()
    kinds = (pairs > 0).sum(1, keepdim=True).clamp(min=1)  # how many tokens have followed: the weight of the unigram
    bigram = (pairs + kinds * unigram) / (pairs.sum(1, keepdim=True) + kinds)
    found = {"uniform": math.log(VOCABULARY), "unigram": -unigram.log()[held_out[1:]].mean().item()}
    return found | {"bigram": -bigram.log()[held_out[:-1], held_out[1:]].mean().item()}


@torch.no_grad()
def loss_on(model: LlamaForCausalLM, ids: Tensor) -> float:
    """Nats a token over the whole of ids (n,), in pieces of LENGTH tokens that know nothing of each other."""
    count = (len(ids) - 1) // LENGTH
    total = 0.0
    for begin in range(0, count, 16):
        end = min(count, begin + 16)
        x, y = (ids[begin * LENGTH + shift : end * LENGTH + shift].view(-1, LENGTH) for shift in (0, 1))
        total += F.cross_entropy(model(x).logits.flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / (count * LENGTH)


def rate_at(step: int, steps: int) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine to 0."""
    share, warmup = (step + 1) / steps, RECIPE["warmup"]
    return min(1.0, share / warmup) * 0.5 * (1 + math.cos(math.pi * max(0.0, share - warmup) / (1 - warmup)))


def train_llama(seed: int, steps: int, folder: Path) -> None:
    """Train the small Llama and write it, in float16, with its log."""
    import helpers

    started = clocks()
    train, val, test = (helpers.load_tokens(part) for part in ("train", "val", "test"))
    torch.manual_seed(seed)
    bos = helpers.load_tokenizer().token_to_id("<|bos|>")
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=None,  # the text has no end
        **SIZES,
    )
    model = LlamaForCausalLM(config)
    groups = [{"params": [p for p in model.parameters() if p.ndim > 1]}]
    groups += [{"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    recipe = {"lr": RECIPE["lr"], "betas": tuple(RECIPE["betas"]), "weight_decay": RECIPE["weight_decay"]}
    optimizer = torch.optim.AdamW(groups, **recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_at, steps=steps))
    generator, size, log, losses = torch.Generator().manual_seed(seed), RECIPE["batch_size"], [], []
    for step in range(1, steps + 1):
        begin = torch.randint(len(train) - LENGTH, (size,), generator=generator)
        ids = train[begin[:, None] + torch.arange(LENGTH + 1)]
        with training_autocast("cpu"):
            logits = model(ids[:, :-1]).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip"])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            seconds = (clocks()[0] - started[0]) / step
            print(f"{step}/{steps} loss {sum(losses[-50:]) / 50:.3f}, {seconds:.3f} s a step", flush=True)
        if step % max(1, steps // 5) == 0:
            recent = losses[-max(1, steps // 5) :]
            log.append({"step": step, "train": sum(recent) / len(recent), "val": loss_on(model, val)})
            print(log[-1], flush=True)
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    saved = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    parts, found = {"train": train, "val": val, "test": test}, {}
    for part in ("val", "test"):
        ids, characters = parts[part], len(helpers.load_text(part))
        nats = loss_on(saved, ids)
        bits = nats / math.log(2) * len(ids) / characters
        found[part] = baselines(train, ids) | {"llama": nats, "llama, bits per character": bits}
    autocast = str(training_dtype("cpu")).removeprefix("torch.")
    settings = {"seed": seed, "steps": steps, "length": LENGTH, "autocast": autocast, **RECIPE}
    entry = about_run(started, PACKAGES, **settings, parameters=sum(p.numel() for p in model.parameters()))
    entry |= {"tokens": {part: len(ids) for part, ids in parts.items()}, "loss": found, "log": log}
    entry["sha256"] = digests(folder / "train.json", folder / "model.safetensors")
    (folder / "train.json").write_text(json.dumps(rounded(entry)) + "\n", encoding="utf-8")


def measure_tables(parts: Sequence[str], seeds: int, file: Path) -> None:
    """Renew parts of the tables: the generators of measure.py on the seminar's own cells tagged `define`."""
    import measure

    names = seminar_names(WEEK)
    names["tables"] = tables = Tables(file, measure, seminar=names, seeds=seeds, retrain=True)
    for part in parts:
        started = clocks()
        rows = tables[part]
        about = about_run(started, PACKAGES)
        write_table(file, part, rows, about)
        print(f"{part}: {about['minutes']} minutes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("tokenizer", help="learn the vocabulary")
    llama = commands.add_parser("llama", help="train the small Llama")
    llama.add_argument("--seed", type=int, default=0)
    llama.add_argument("--steps", type=int, default=1600)
    llama.add_argument("--out", type=Path, default=ASSETS / "llama")
    tables = commands.add_parser("tables", help="measure the seminar's tables")
    tables.add_argument("--only", choices=PARTS, action="append", help="default: all of them")
    tables.add_argument("--seeds", type=int, default=SEEDS)
    tables.add_argument("--out", type=Path, default=ASSETS / "tables.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    if args.what == "tokenizer":
        make_tokenizer()
    elif args.what == "llama":
        train_llama(args.seed, args.steps, args.out.resolve())
    else:
        measure_tables(args.only or PARTS, args.seeds, args.out.resolve())


if __name__ == "__main__":
    main()
