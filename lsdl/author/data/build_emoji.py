"""Build the embedded emoji pictures: `python -m lsdl.author.data.build_emoji [--source DIR]`.

Nine sets of emoji artwork are fetched by name and version from the npm registry (`npm pack`), checked against SHA-256,
rasterised at 64 px on a white ground and written as one WebP atlas a style plus `emoji.json` (concepts, cells, splits,
hashes). The result depends on the sources and on the versions of resvg_py and pillow only: no clock, no hash order.

A *concept* is a Unicode emoji, a *style* one artist's set, a *cell* one concept in one style. How cells are split is
explained in README.md beside this file and in `make_splits`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lsdl.data.emoji import ATLAS_COLUMNS, CLASSES, FOLDER, MAKERS, PARTS, SIZE, STYLES

QUALITY = 90  # at 64 px, a multiple of WebP's 16-pixel blocks: cells do not bleed into each other
MIN_STYLES = 7
SEED = 20260901
TEST_SHARE, VAL_SHARE = 0.30, 0.10
LOOK_ALIKE = 6.0  # mean absolute difference (of 255, at 16 px) under which two pictures by one maker are one drawing
SAME_PICTURE = 2.0  # the same under which any two pictures, whoever drew them, count as the same one

# npm package -> (version, SHA-256 of the tarball that `npm pack` writes)
SOURCES: dict[str, tuple[str, str]] = {
    "@iconify-json/noto": ("1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad"),
    "@iconify-json/noto-v1": ("1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "@iconify-json/twemoji": ("1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7"),
    "@iconify-json/emojione": ("1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    "@iconify-json/fluent-emoji-flat": ("1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
    "@iconify-json/fluent-emoji-high-contrast": (
        "1.2.6",
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
    "@lobehub/fluent-emoji-3d": ("1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    "openmoji": ("17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    "emojibase-data": ("17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
}
ICONIFY = {
    "noto": "@iconify-json/noto",
    "noto-v1": "@iconify-json/noto-v1",
    "twemoji": "@iconify-json/twemoji",
    "emojione": "@iconify-json/emojione",
    "fluent-flat": "@iconify-json/fluent-emoji-flat",
    "fluent-high-contrast": "@iconify-json/fluent-emoji-high-contrast",
}

# class -> Unicode subgroups; a name in EXCEPTIONS overrides its subgroup (None: no class)
SUBGROUPS: dict[str, str] = {
    "sign": "transport-sign warning arrow religion zodiac av-symbol gender math punctuation currency other-symbol"
    " keycap alphanum",
    "animal": "animal-mammal animal-bird animal-amphibian animal-reptile animal-marine animal-bug",
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical face-sleepy face-unwell face-hat"
    " face-glasses face-concerned face-negative face-costume",
    "person": "person person-gesture person-role person-fantasy person-activity person-sport person-resting",
    "dish": "food-prepared food-asian food-sweet",
    "tool": "tool science",
    "paper": "book-paper mail office",
    "vehicle": "transport-ground transport-water transport-air",
    "clothing": "clothing",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands hand-prop",
    "sky": "sky-weather",
    "produce": "food-fruit food-vegetable",
    "device": "phone computer light-video",
    "building": "place-building place-religious",
    "sport": "sport",
    "music": "music musical-instrument",
    "plant": "plant-flower plant-other",
    "drink": "drink",
}
EXCEPTIONS: dict[str | None, str] = {
    None: "skull and crossbones; pile of poo; alien monster; paw prints; pig nose; feather; wing; spider web; coral;"
    " spiral shell; microbe; salt; canned food; takeout box; honey pot; dna; petri dish; link; broken chain; chains;"
    " package; closed mailbox with raised flag; closed mailbox with lowered flag; open mailbox with raised flag;"
    " open mailbox with lowered flag; postbox; ballot box with ballot; inbox tray; outbox tray; briefcase; pushpin;"
    " round pushpin; wastebasket; file cabinet; card file box; label; station; bus stop; motorway; railway track;"
    " oil drum; fuel pump; wheel; police car light; horizontal traffic light; vertical traffic light; stop sign;"
    " construction; skateboard; roller skate; anchor; ring buoy; parachute; seat; satellite; hair pick; prayer beads;"
    " lipstick; ring; gem stone; folding hand fan; shopping bags; thermometer; closed umbrella; umbrella;"
    " umbrella with rain drops; umbrella on ground; snowman; snowman without snow; fire; droplet; water wave;"
    " candle; red paper lantern; diya lamp; abacus; film frames; clapper board; brick; rock; wood; Statue of Liberty;"
    " level slider; control knobs; white flower; rosette; empty nest; nest with eggs; mushroom; ice; baby angel;"
    " boomerang; shield; bomb; balance scale; white cane; horse racing; sparkle; splatter; medical symbol",
    "tool": "scissors; straight ruler; triangular ruler; paperclip; linked paperclips; safety pin; broom; plunger;"
    " toothbrush; razor; mouse trap; fire extinguisher; key; old key; magnifying glass tilted left;"
    " magnifying glass tilted right; pencil; black nib; fountain pen; pen; paintbrush; crayon; syringe; stethoscope;"
    " crutch; bucket; kitchen knife; sewing needle; barber pole; spoon; fork and knife",
    "paper": "memo; yen banknote; dollar banknote; euro banknote; pound banknote; receipt; money with wings;"
    " love letter; red envelope; admission tickets; ticket; world map; map of Japan",
    "device": "radio; satellite antenna; video game; joystick; watch; stopwatch; alarm clock; mobile phone off;"
    " vibration mode; headphone",
    "plant": "Christmas tree; tanabata tree; pine decoration",
    "music": "postal horn",
    "sport": "pool 8 ball; trophy; sports medal; 1st place medal; 2nd place medal; 3rd place medal",
    "produce": "brown mushroom",
}
# looked at and found wrong: a name that two Unicode emoji share, or a drawing without its character
WRONG_PICTURES = {
    "cricket": ("noto-v1", "emojione"),
    "UP! button": ("noto-v1", "emojione"),
    "keycap: #": ("noto-v1",),
    "keycap: *": ("noto-v1",),
}
# no pictures of these: too alike, or (flags) a task of their own
DROPPED_GROUPS = {"component", "flags"}
DROPPED_SUBGROUPS = {"family"}


@dataclass
class Draft:
    """A concept while it is being built."""

    name: str
    hexcode: str
    tags: list[str]
    group: str
    subgroup: str
    family: str
    label: int
    images: dict[str, np.ndarray] = field(default_factory=dict)  # style -> (64, 64, 3) uint8
    part: str = "train"
    held_out: tuple[str, ...] = ()  # makers


def fetch(source: Path | None) -> dict[str, tarfile.TarFile]:
    """Open the nine tarballs after checking their hashes.

    Args:
        source: folder with tarballs fetched earlier (missing ones are fetched into it), or None for a temporary one.

    Raises:
        SystemExit: npm is missing or fails, or a tarball is not the expected one.
    """
    folder = source or Path(tempfile.mkdtemp(prefix="emoji-"))
    folder.mkdir(parents=True, exist_ok=True)
    opened = {}
    for package, (number, expected) in SOURCES.items():
        path = folder / f"{package.removeprefix('@').replace('/', '-')}-{number}.tgz"
        if not path.exists():
            if shutil.which("npm") is None:
                raise SystemExit("npm is needed to fetch the sources: install Node.js, or give --source DIR.")
            done = subprocess.run(
                ["npm", "pack", "--silent", f"{package}@{number}"], cwd=folder, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(f"npm could not fetch {package}@{number}: {done.stderr.strip()}")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != expected:
            raise SystemExit(f"{path.name} is not the expected file (SHA-256 differs): delete it and fetch it again.")
        opened[package] = tarfile.open(fileobj=io.BytesIO(data))  # noqa: SIM115 (the caller reads from it)
    if source is None:
        shutil.rmtree(folder)
    return opened


def read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(f"package/{name}")
    if member is None:
        raise SystemExit(f"{name} is not a file in its package.")
    return member.read()


def key(hexcode: str) -> str:
    """Normalise a code point sequence: the sets differ in case and in whether they write the variation selector."""
    return "-".join(p for p in hexcode.lower().split("-") if p != "fe0f")


def slug(name: str) -> str:
    """A CLDR name as the icon sets spell it: "woman’s hat" -> "womans-hat"."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"[’'!.]", "", name.lower()).replace("ñ", "n")).strip("-")


COLOURS = "red|orange|yellow|green|light blue|blue|purple|brown|black|white|grey|pink"
SIZES = "small|medium-small|medium|large"
DIRECTIONS = (
    "leftwards|rightwards|upwards|downwards|palm up|palm down|up-left|up-right|down-left|down-right|up-down|left-right"
    "|left-facing|right-facing|front-facing|facing|left|right|up|down|clockwise|counterclockwise|oncoming"
)
NEAR_TWINS = {  # names that are one family though no rule below says so
    "moon": r"\bmoon\b(?! cake| view)",
    "globe": r"^globe",
    "mailbox": r"mailbox",
    "place medal": r"\d(st|nd|rd) place medal|sports medal",
    "volume": r"^(muted )?speaker|loudspeaker",
    "claus": r"claus$",
    "royal": r"^(prince|princess|person with crown)$",
    "pregnant": r"^pregnant",
    "banknote": r"banknote",
    "person": r"^(person|man|woman|boy|girl|child|baby|older person|old man|old woman)(: .*)?$",
    "dancing": r"dancing$",
    "wheelchair": r"wheelchair$",
    "umbrella": r"umbrella(?! \w* ?beach)",
    "envelope": r"envelope(?! red)|e-mail",
    "sun cloud": r"^(sun behind|cloud)",
    "tree": r"^(evergreen|deciduous|Christmas|tanabata|leafless) tree",
    "book": r"\bbooks?$",
    "calendar": r"calendar|spiral notepad",
    "chart": r"^chart",
    "disk": r"disk$|^dvd$",
    "battery": r"battery",
    "lock": r"^(un)?locked",
    "hourglass": r"^hourglass",
    "bell": r"^bell( with slash)?$",
    "camera": r"^camera",
    "mushroom": r"mushroom",
    "keycap": r"^keycap",
    "music note": r"^musical notes?$",
    "speech": r"speech bubble|anger bubble|thought balloon",
    "trolley": r"^(bus|oncoming bus|trolleybus|minibus)$",
    "train": r"train$|^(metro|light rail|tram|railway car|tram car|station)$",
    "car": r"^(oncoming )?(automobile|taxi|police car)$",
    "beer": r"beer mug",
    "triangle": r"^red triangle",
    "curl": r"^(double )?curly loop$",
    "exclamation": r"(exclamation|question) mark$",
    "sun": r"^sun( with face)?$",
    "wine": r"^(wine glass|clinking glasses)$",
}


def family_of(name: str, subgroup: str) -> str:
    """The family of a concept by its name: siblings (colours, directions, face and body of an animal) share one."""
    for family, pattern in NEAR_TWINS.items():
        if re.search(pattern, name):
            return family
    text = name
    if subgroup.startswith("animal"):
        text = re.sub(r" face$", "", text)
    text = re.sub(rf"\b({COLOURS}|{SIZES}|{DIRECTIONS})\b", "", text)
    text = re.sub(r"\b(man|woman|men|women)('|’)?s?\b", "person", text)
    text = re.sub(r"\b(button|tilted)\b", "", text) if subgroup == "av-symbol" or "tilted" in text else text
    text = re.sub(r"[^A-Za-z0-9#*]+", " ", text).strip().lower()
    return text or name.lower()


def class_of(name: str, subgroup: str) -> int:
    """Index into CLASSES, -1 for none."""
    for label, names in EXCEPTIONS.items():
        if name in (n.strip() for n in names.split(";")):
            return -1 if label is None else CLASSES.index(label)
    for label, subgroups in SUBGROUPS.items():
        if subgroup in subgroups.split():
            return CLASSES.index(label)
    return -1


def read_concepts(emojibase: tarfile.TarFile) -> list[Draft]:
    """The concepts in Unicode order, without flags, skin tones, gendered twins, families and clock faces."""
    groups = json.loads(read(emojibase, "meta/groups.json"))
    concepts = []
    entries = json.loads(read(emojibase, "en/data.json"))
    for entry in sorted((e for e in entries if "group" in e), key=lambda e: e["order"]):
        group, subgroup = groups["groups"][str(entry["group"])], groups["subgroups"][str(entry["subgroup"])]
        name, code = entry["label"], key(entry["hexcode"])
        gendered = re.search(r"200d-264[02]", code) or re.match(r"1f46[89]-200d", code)
        clock_face = re.search(r"o’clock$|-thirty$", name)
        variant = name.startswith("family") or ": facing right" in name
        if group in DROPPED_GROUPS or subgroup in DROPPED_SUBGROUPS or gendered or clock_face or variant:
            continue
        family, label = family_of(name, subgroup), class_of(name, subgroup)
        concepts.append(Draft(name, code, entry.get("tags", []), group, subgroup, family, label))
    return concepts


def on_white(picture: Image.Image) -> np.ndarray:
    """Composite on a white ground, then shrink to (64, 64, 3) uint8: in this order edges keep no dark fringe."""
    picture = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    flat = ground.convert("RGB")
    if flat.size != (SIZE, SIZE):
        flat = flat.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(flat)


def rasterise(svg: str) -> np.ndarray:
    """Draw an SVG text as (64, 64, 3) uint8 on white."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    return on_white(Image.open(io.BytesIO(bytes(png))))


def iconify_lookup(archive: tarfile.TarFile, names_of: dict[str, list[str]]) -> Callable[[Draft], np.ndarray | None]:
    """A function that draws a concept from an iconify package, found by code point, else by one of its names."""
    icons, chars = json.loads(read(archive, "icons.json")), json.loads(read(archive, "chars.json"))
    by_code = {key(code): name for code, name in chars.items()}
    aliases = icons.get("aliases", {})

    def draw(concept: Draft) -> np.ndarray | None:
        candidates = [by_code[concept.hexcode]] if concept.hexcode in by_code else []
        if not by_code:  # a package without code points
            candidates = [slug(concept.name), *names_of.get(concept.hexcode, [])]
        for name in candidates:
            flip = False
            while name in aliases:
                flip ^= aliases[name].get("hFlip", False)
                if {"rotate", "vFlip"} & aliases[name].keys():
                    raise SystemExit(f"The alias {name} is turned: build_emoji.py has to learn that.")
                name = aliases[name]["parent"]
            if name in icons["icons"]:
                icon = icons["icons"][name]
                width, height = (icon.get(k, icons.get(k, 16)) for k in ("width", "height"))
                box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
                image = rasterise(
                    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                    f'viewBox="{box}" width="{SIZE}" height="{SIZE}">{icon["body"]}</svg>'
                )
                return image[:, ::-1].copy() if flip else image
        return None

    return draw


def file_lookup(archive: tarfile.TarFile, folder: str) -> Callable[[Draft], np.ndarray | None]:
    """A function that draws a concept from a package with one file a code point (SVG or WebP)."""
    members = {
        key(Path(m.name).stem): m
        for m in archive.getmembers()
        if m.name.startswith(f"package/{folder}/") and m.isfile()
    }

    def draw(concept: Draft) -> np.ndarray | None:
        member = members.get(concept.hexcode)
        if member is None:
            return None
        data = archive.extractfile(member).read()
        return rasterise(data.decode()) if member.name.endswith(".svg") else on_white(Image.open(io.BytesIO(data)))

    return draw


def draw_all(concepts: list[Draft], archives: dict[str, tarfile.TarFile]) -> list[Draft]:
    """Draw every concept in every style that has it; keep those in at least MIN_STYLES styles."""
    names_of: dict[str, list[str]] = defaultdict(list)
    for package in ICONIFY.values():
        for code, name in json.loads(read(archives[package], "chars.json")).items():
            names_of[key(code)].append(name)
    lookups: dict[str, Callable[[Draft], np.ndarray | None]] = {
        style: iconify_lookup(archives[package], names_of) for style, package in ICONIFY.items()
    }
    lookups["openmoji"] = file_lookup(archives["openmoji"], "color/svg")
    lookups["openmoji-black"] = file_lookup(archives["openmoji"], "black/svg")
    lookups["fluent-3d"] = file_lookup(archives["@lobehub/fluent-emoji-3d"], "assets")
    for concept in concepts:
        for style in STYLES:
            image = lookups[style](concept)
            wrong = style in WRONG_PICTURES.get(concept.name, ())
            if image is not None and image.min() < 250 and not wrong:  # an empty drawing is no picture
                concept.images[style] = image
    return [c for c in concepts if len(c.images) >= MIN_STYLES]


def thumbnails(concepts: list[Draft], styles: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of some styles at 16 px: (n, 768) float32, and the (n,) numbers of their concepts."""
    rows = [(i, c.images[style]) for style in styles for i, c in enumerate(concepts) if style in c.images]
    small = [p.reshape(16, SIZE // 16, 16, SIZE // 16, 3).mean((1, 3), dtype=np.float32).ravel() for _, p in rows]
    return np.stack(small), np.array([i for i, _ in rows])


def close_pairs(a: np.ndarray, b: np.ndarray, limit: float) -> Iterable[tuple[int, int]]:
    """Pairs (row of a, row of b) with a mean absolute difference under `limit`."""
    for start in range(0, len(a), 128):
        distance = np.abs(a[start : start + 128, None] - b[None]).mean(2)
        for i, j in zip(*np.nonzero(distance < limit), strict=True):
            yield start + int(i), int(j)


def join_families(concepts: list[Draft]) -> list[str]:
    """Give one family to concepts that are one drawing by name or, within a maker, by pixels. Returns the look-alike pairs."""
    first: dict[str, int] = {}
    pairs = [(i, first.setdefault(f"{c.subgroup}/{c.family}", i)) for i, c in enumerate(concepts)]
    listed = set()
    for maker in dict.fromkeys(MAKERS.values()):
        small, owner = thumbnails(concepts, [s for s in STYLES if MAKERS[s] == maker])
        for a, b in close_pairs(small, small, LOOK_ALIKE):
            if owner[a] < owner[b]:
                pairs.append((owner[a], owner[b]))
                listed.add(f"{maker}: {concepts[owner[a]].name} ~ {concepts[owner[b]].name}")
    rows, columns = np.array(pairs).T
    graph = coo_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(concepts),) * 2)
    numbers = connected_components(graph, directed=False)[1]
    names: dict[int, str] = {}
    for concept, number in zip(concepts, numbers, strict=True):
        concept.family = names.setdefault(int(number), concept.name)
    return sorted(listed)


def make_splits(concepts: list[Draft]) -> None:
    """Draw each concept's part and the makers whose cells are held out, family by family within each class.

    A test or validation concept is held out in every style of noto's maker and of two other makers, so that no sibling
    drawing by the same maker gives a held-out cell away.
    """
    rng = np.random.default_rng(SEED)
    others = sorted(set(MAKERS.values()) - {"noto"})
    members: dict[str, list[Draft]] = defaultdict(list)
    for concept in concepts:
        members[concept.family].append(concept)
    class_of_family = {f: Counter(c.label for c in m).most_common(1)[0][0] for f, m in members.items()}
    for label in range(-1, len(CLASSES)):
        families = [f for f in members if class_of_family[f] == label]
        total, taken = sum(len(members[f]) for f in families), 0
        for family in rng.permutation(families):
            if len(members[family]) > max(3, 0.1 * total):
                continue  # a large family stays in training: it would make a test set of one drawing
            if taken >= (TEST_SHARE + VAL_SHARE) * total:
                break
            part = "test" if taken < TEST_SHARE * total else "val"
            taken += len(members[family])
            makers = ("noto", *sorted(rng.choice(others, 2, replace=False).tolist()))
            for concept in members[family]:
                concept.part, concept.held_out = part, makers


def drop_leaks(concepts: list[Draft]) -> list[str]:
    """Delete visible pictures that equal a held-out one, across all makers; returns what was dropped."""
    cells = [(c, style) for c in concepts for style in STYLES if style in c.images]
    small = np.concatenate([thumbnails([c], [style])[0] for c, style in cells])
    hidden = np.array([MAKERS[style] in c.held_out for c, style in cells])
    leaks = {int(np.flatnonzero(~hidden)[b]) for _, b in close_pairs(small[hidden], small[~hidden], SAME_PICTURE)}
    for k in leaks:
        concept, style = cells[k]
        del concept.images[style]
    return sorted(f"{style}: {c.name}" for c, style in (cells[k] for k in leaks))


def write(concepts: list[Draft], out: Path, notes: dict) -> None:
    """Write the atlases and emoji.json."""
    out.mkdir(parents=True, exist_ok=True)
    cells = {style: [i for i, c in enumerate(concepts) if style in c.images] for style in STYLES}
    hashes = {}
    for style, owners in cells.items():
        rows = -(-len(owners) // ATLAS_COLUMNS)
        atlas = np.full((rows, SIZE, ATLAS_COLUMNS, SIZE, 3), 255, np.uint8)
        for k, i in enumerate(owners):
            atlas[k // ATLAS_COLUMNS, :, k % ATLAS_COLUMNS] = concepts[i].images[style]
        path = out / f"{style}.webp"
        Image.fromarray(atlas.reshape(rows * SIZE, ATLAS_COLUMNS * SIZE, 3)).save(path, quality=QUALITY, method=6)
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    fields = ("name", "hexcode", "tags", "group", "subgroup", "family", "label", "part")
    records = [{f: getattr(c, f) for f in fields} | {"held_out_makers": list(c.held_out)} for c in concepts]
    document = notes | {"atlases": hashes, "cells": cells, "concepts": records}
    lines = [f"{json.dumps(k)}: " + json.dumps(v, ensure_ascii=False) for k, v in document.items() if k != "concepts"]
    lines.append('"concepts": [\n' + ",\n".join(json.dumps(r, ensure_ascii=False) for r in records) + "\n]")
    (out / "emoji.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def report(concepts: list[Draft]) -> None:
    """Print the counts of the data card."""
    pictures = sum(len(c.images) for c in concepts)
    print(f"{len(concepts)} concepts, {len({c.family for c in concepts})} families, {pictures} pictures")
    print("classes:", dict(Counter(CLASSES[c.label] if c.label >= 0 else "none" for c in concepts)))
    print("parts:", dict(Counter(c.part for c in concepts)))
    for style in STYLES:
        drawn = [c for c in concepts if style in c.images]
        hidden = Counter(c.part for c in drawn if MAKERS[style] in c.held_out and c.label >= 0)
        seen = Counter(c.part for c in drawn if MAKERS[style] not in c.held_out and c.label >= 0)
        print(f"{style:21} {len(drawn)} pictures; labelled: seen {dict(seen)}, held out {dict(hidden)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder that keeps the npm archives")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the atlases")
    args = parser.parse_args()
    archives = fetch(args.source)
    concepts = draw_all(read_concepts(archives["emojibase-data"]), archives)
    look_alikes = join_families(concepts)
    make_splits(concepts)
    dropped = drop_leaks(concepts)
    assert all(any(MAKERS[s] not in c.held_out for s in c.images) for c in concepts), (
        "a concept is hidden in every style"
    )
    assert {c.part for c in concepts} == set(PARTS)
    notes = {
        "packages": [f"{package}@{number}" for package, (number, _) in SOURCES.items()],
        "drawn_with": {name: version(name) for name in ("resvg_py", "pillow")},
        "look_alikes": look_alikes,
        "dropped_as_leaks": dropped,
    }
    write(concepts, args.out, notes)
    print(
        f"{len(look_alikes)} look-alike pairs joined; {len(dropped)} visible pictures dropped as copies of held-out ones"
    )
    report(concepts)


if __name__ == "__main__":
    main()
