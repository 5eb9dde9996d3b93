"""Measure the tables that the seminar draws: `python week01-finetune/instructor/train.py tables [--only PART]`.

With `--pretraining NAME=FOLDER ...` it renews the part "pretraining": all methods, three seeds, on each of these models
(`python -m lsdl.author.data.train clip --seed 1 --out FOLDER`); the committed one is `seed0=clip`.

The generators of measure.py run on the seminar's own cells tagged `define`: nothing is written twice. All parts take about half an
hour of one thread (five seeds at every learning rate), and each goes to assets/tables.json as soon as it is measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from lsdl.author.seminar import about_run, clocks, seminar_names, write_table
from lsdl.tables import Row, Tables

WEEK = Path(__file__).resolve().parents[1]
# SETTINGS with which a test runs the seminar with RETRAIN = True: two steps and two seeds
CHEAP = dict(epochs=1, batch_size=305, seeds=2, probe_rates=[3e-3], tune_rates=[1e-3], second_rates=[1e-5])
CHEAP |= dict(
    alphas=[0.0, 0.5, 1.0], shots=[4, 16], draws=2, other_towers=["simclr"], other_rates=[1e-3], scratch=[[1.0, [1]]]
)
PARTS = ("methods", "movement", "wise", "towers", "id_only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tables"])
    parser.add_argument("--only", choices=PARTS, help="renew one part of the committed tables")
    parser.add_argument("--pretraining", nargs="+", metavar="NAME=FOLDER", help='renew the part "pretraining"')
    parser.add_argument("--out", type=Path, default=WEEK / "assets" / "tables.json")
    args = parser.parse_args()
    out = args.out.resolve()
    models = dict(model.split("=", 1) for model in args.pretraining or ())
    models = {name: folder if folder == "clip" else str(Path(folder).resolve()) for name, folder in models.items()}
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    names = seminar_names(WEEK)
    tables = retrained(names, names["SETTINGS"]["seeds"])
    for part in ("pretraining",) if models else (args.only,) if args.only else PARTS:
        started = clocks()
        rows = repeat_pretrainings(names, models) if models else tables[part]
        write_table(out, part, rows, about_run(started, ("torch", "open_clip_torch"), settings=names["SETTINGS"]))
        print(f"{part}: {len(rows)} rows in {out.name}")


def retrained(names: dict, seeds: int) -> Tables:
    """Tables that are measured; the seminar's names know them as `tables`."""
    import measure

    names["tables"] = Tables("assets/tables.json", measure, seminar=names, seeds=seeds, retrain=True)
    return names["tables"]


def repeat_pretrainings(names: dict, models: dict[str, str]) -> list[Row]:
    """The part "pretraining" for every model; a folder is as lsdl.author.data.train writes it."""
    rows: list[Row] = []
    for name, folder in models.items():
        names["clip"] = names["helpers"].load_clip("smoke", "cpu", folder)
        names["scale"] = names["clip"].model.logit_scale.exp().item()
        rows += [row | {"pretrained": name} for row in retrained(names, 3)["pretraining"]]
    return rows


if __name__ == "__main__":
    main()
