"""Measure the tables that the seminar draws: `python week01-finetune/instructor/train.py tables [--only PART]`.

With `--pretraining NAME=FOLDER ...` it repeats the main rows on other pretrained models (`python -m lsdl.author.data.train clip --seed 1 --out FOLDER`).

Executes the seminar's own cells tagged `define` and calls their `measure_tables`: nothing is written twice. It takes about a
quarter of an hour of one thread (five seeds at every learning rate) and writes assets/seminar_tables.json: accuracies by method,
learning rate and seed; feature movement; WiSE-FT curves; other pretrained towers; models that saw in-distribution pictures only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import open_clip
import torch

from lsdl.author.seminar import seminar_names

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tables"])
    parser.add_argument(
        "--only", choices=["methods", "towers", "id_only"], help="renew one part of the committed tables"
    )
    parser.add_argument(
        "--pretraining", nargs="+", metavar="NAME=FOLDER", help="the main rows, three seeds, on these models"
    )
    parser.add_argument("--out", type=Path, default=WEEK / "assets" / "seminar_tables.json")
    args = parser.parse_args()
    out = args.out.resolve()
    models = {name: Path(folder).resolve() for name, folder in (m.split("=", 1) for m in args.pretraining or ())}
    torch.set_num_threads(1)
    os.chdir(WEEK)
    sys.path.insert(0, str(WEEK))
    names, started = seminar_names(WEEK), time.time()
    tables = json.loads(out.read_text(encoding="utf-8")) if (args.only or models) and out.exists() else {}
    if models:
        args.only = "pretraining"
        measured = {args.only: repeat_pretrainings(names, models)}
    else:
        measured = names["measure_tables"](range(names["SETTINGS"]["seeds"]), args.only)
    tables |= {name: [rounded(row) for row in rows] for name, rows in measured.items()}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "open_clip": open_clip.__version__}
    minutes = round((time.time() - started) / 60, 1)
    about = tables.setdefault("about", {})
    about |= {"settings": names["SETTINGS"], "threads": 1}
    about |= {name: {"minutes": minutes, "versions": versions} for name in [args.only or "all parts"]}
    text = [f' "about": {json.dumps(tables.pop("about"))}']
    for name, rows in tables.items():
        text.append(f' "{name}": [\n' + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]")
    out.write_text("{\n" + ",\n".join(text) + "\n}\n", encoding="utf-8")
    print(f"wrote {out.name}, {out.stat().st_size / 1e3:.0f} kB, in {minutes} minutes")


def repeat_pretrainings(names: dict, models: dict[str, Path]) -> list[dict]:
    """Rows of the seminar's `measure_pretraining` for every model; a folder is as lsdl.author.data.train writes it."""
    rows = []
    for name, folder in models.items():
        names["clip"] = names["load_clip"]("smoke", "cpu", str(folder))
        names["scale"] = names["clip"].model.logit_scale.exp().item()
        rows += [{"pretrained": name} | row for row in names["measure_pretraining"](range(3))]
    return rows


def rounded(row: dict) -> dict:
    return {k: round(v, 4) if isinstance(v, float) and k != "lr" else v for k, v in row.items()}


if __name__ == "__main__":
    main()
