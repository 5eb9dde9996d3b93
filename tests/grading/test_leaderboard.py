"""A week's competition: drawn, split, ranked, reproduced, shown, and counted in the marks; the week is a tiny one with a linear network."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import time
import zipfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from lsdl.author.course import CourseError
from lsdl.grading import GradingError, collect, leaderboard
from lsdl.grading.competition import Rules, Solution, make, split
from lsdl.grading.leaderboard import Board, Row, html_page, rank, summary, table
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.release import release
from lsdl.grading.roster import NOT_LISTED, WHO_ARE_THEY
from lsdl.grading.scores import HomeworkMark, all_marks, marks_csv
from lsdl.predictions import MAX_BYTES, SAMPLE

HELPERS = """
import torch
from torch import nn

PATTERNS = torch.randint(0, 256, (20, 3, 4, 4), generator=torch.Generator().manual_seed(1))


def competition_classes(scale):
    return [f"thing, {k}" for k in range(20)]


def competition_model(scale):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 20))


def competition_tests(scale, generator):
    labels = torch.arange(20).repeat_interleave(12)  # three drawings of a class, four copies of each
    noise = torch.randint(-150, 151, (240, 3, 4, 4), generator=generator)
    return (PATTERNS[labels] + noise).clamp(0, 255).byte(), labels, torch.arange(60).repeat_interleave(4)
"""
RULES = """
[smoke]
thresholds = [[0.5, 1], [0.55, 1]]
place = 3
best_measured = 0.89
model_mb = 1
[full]
thresholds = [[0.65, 4], [0.70, 2]]
place = 5
best_measured = 1
model_mb = 64
"""
KEY = b"k" * 32


@pytest.fixture
def contest(week: Path) -> Path:
    """The tiny week with a competition that was made; its folder."""
    (week / "helpers.py").write_text(HELPERS)
    (week / "leaderboard.toml").write_text(RULES)
    make(week, week.parent / "students", KEY)
    return week


def truth(week: Path) -> list[dict[str, str]]:
    path = week.parent / "gradebook" / "leaderboard" / f"{week.name}.solution.csv"
    return list(csv.DictReader(io.StringIO(path.read_text())))


def predictions(lines: list[dict[str, str]], wrong: int = 0, seed: int = 0) -> str:
    """The file of a student who has `wrong` pictures wrong."""
    bad = set(random.Random(seed).sample(range(len(lines)), wrong))
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["id", "class"])
    for place, line in enumerate(lines):
        other = "thing, 0" if line["class"] != "thing, 0" else "thing, 1"
        out.writerow([line["id"], other if place in bad else line["class"]])
    return text.getvalue()


def hand_in(week: Path, student: str, data: str | bytes, model: bytes | None = b"not read") -> Path:
    folder = week.parent / "submissions" / student / week.name
    folder.mkdir(parents=True)
    (folder / "predictions.csv").write_bytes(data.encode() if isinstance(data, str) else data)
    if model is not None:
        (folder / "model.safetensors").write_bytes(model)
    return week.parent / "submissions"


def test_the_pictures_come_from_the_key(contest: Path, tmp_path: Path) -> None:
    students, lines = contest.parent / "students", truth(contest)
    images = load_file(students / "test.safetensors")["images"]
    assert images.shape == (240, 3, 4, 4) and [line["id"] for line in lines][:2] == ["p001", "p002"]
    sample = list(csv.DictReader(io.StringIO((students / SAMPLE).read_text())))
    assert [line["id"] for line in sample] == [line["id"] for line in lines]
    assert {line["class"] for line in sample} == {line["class"] for line in lines}
    sides = Counter((line["class"], line["part"]) for line in lines)
    assert len(sides) == 40 and Counter(line["part"] for line in lines) == {"public": 120, "private": 120}
    assert len({(line["drawing"], line["part"]) for line in lines}) == 60
    assert [line["class"] for line in lines] != sorted(line["class"] for line in lines)  # the number tells nothing
    before = {path.name: path.read_bytes() for path in students.iterdir()}
    make(contest, tmp_path / "again", KEY)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before
    with pytest.raises(GradingError, match="another competition of week97-tiny"):
        make(contest, tmp_path / "other", b"x" * 32)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("seed", range(5))
def test_drawings_are_split_and_never_copies(seed: int) -> None:
    """100 classes with three drawings, one with five: halves, and every class on both sides."""
    labels = torch.cat([torch.arange(100).repeat_interleave(3), torch.full((5,), 100)])
    labels, drawings = labels.repeat(4), torch.arange(305).repeat(4)
    public = split(labels, drawings, torch.Generator().manual_seed(seed))
    assert int(public.sum()) in (4 * 152, 4 * 153)
    assert set(labels[public].tolist()) == set(labels[~public].tolist()) == set(range(101))
    assert not set(drawings[public].tolist()) & set(drawings[~public].tolist())
    for wrong in (torch.cat([labels, torch.tensor([101])]), labels.clone().fill_(3).scatter_(0, torch.tensor([0]), 4)):
        with pytest.raises(GradingError, match="competition_tests gives"):
            split(wrong, torch.cat([drawings, torch.tensor([999])])[: len(wrong)], torch.Generator())


def test_two_hundred_hand_ins_are_ranked_in_ten_seconds(contest: Path) -> None:
    """30 of them are bad, each in its own way; places and hits are counted again, plainly."""
    lines = truth(contest)
    good, chance = predictions(lines), random.Random(3)
    wrong = {f"s{number:03d}": chance.randrange(0, 200) for number in range(170)}
    for number, (student, count) in enumerate(wrong.items()):
        hand_in(contest, student, predictions(lines, count, number))
    bad: list[tuple[str | bytes, str]] = [
        (good.encode("utf-16"), "UTF-16"),
        (good.replace("thing", "\u00fcber").encode("latin-1"), "not UTF-8"),
        (good.replace(",", ";").replace('"', ""), "semicolons"),
        (good.replace("id,class", "class,id"), "first line has to be id,class"),
        (good[: len(good) // 2], "Entry|Missing|not CSV"),
        (good + "p999,\r\n", "Unknown ids"),
        (good + "\r\n".join(good.splitlines()[1:3]), "Repeated ids"),
        (good.replace("thing, 7", "7"), "Unknown classes"),
        (good + " " * MAX_BYTES, "larger than 5 MB"),
        (good.replace("thing", "th\0ng"), "zero bytes"),
    ]
    for number in range(28):
        hand_in(contest, f"x{number:02d}", bad[number % len(bad)][0])
    folder = hand_in(contest, "y-none", good, None)
    (folder / "z-link").mkdir()
    (folder / "z-link" / "predictions.csv").symlink_to(folder / "s000" / contest.name / "predictions.csv")
    (folder / "nobody").mkdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    started = time.process_time()
    board = rank(contest, folder, models=False)
    shown = [table(board), html_page(board), leaderboard.for_spreadsheets(board), leaderboard.json_text(board)]
    assert time.process_time() - started < 10
    rows = {row.student: row for row in board.rows}
    assert len(rows) == 200 and sum(bool(row.problem) for row in board.rows) == 30
    for number in range(28):
        assert any(word in rows[f"x{number:02d}"].problem for word in bad[number % len(bad)][1].split("|")), number
    assert "No model.safetensors" in rows["y-none"].problem and "link" in rows["z-link"].problem
    assert not any("private" in text for text in map(str, shown))
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    hits = {}  # (public, private), from the files again
    for student in wrong:
        answer = dict(csv.reader(io.StringIO((folder / student / contest.name / "predictions.csv").read_text())))
        right = [line["part"] for line in lines if answer[line["id"]] == line["class"]]
        hits[student] = right.count("public"), right.count("private")
    assert [row.student for row in board.rows[:170]] == sorted(hits, key=lambda name: (-hits[name][0], name))
    board.final = True
    leaderboard._award(board)
    over = {name: private for name, (public, private) in hits.items() if public >= 66}
    assert board.participants == len(over) > 20
    for row in board.rows[:170]:
        public = hits[row.student][0]
        expected = Fraction(public >= 60) + (public >= 66)
        if row.student in over:
            place = 1 + sum(other > over[row.student] for other in over.values())
            assert row.place == place
            expected += 3 * (1 - Fraction(place - 1, len(over)))
        assert row.points == expected
    assert "those places are chance" in summary(board)
    with pytest.raises(GradingError, match="needs the models"):
        rank(contest, folder, final=True, models=False)


def board_of(hits: dict[str, tuple[int, int]], thresholds: str = "0.55", place: str = "5") -> Board:
    """100 public and 100 private pictures; who has how many right of either."""
    public = torch.arange(200) < 100
    solution = Solution(
        "full", ("a", "b"), tuple(map(str, range(200))), torch.zeros(200).long(), public, torch.arange(200) // 2
    )
    rows = []
    for name, (here, there) in hits.items():
        right = torch.zeros(200, dtype=torch.bool)
        right[:here], right[100 : 100 + there] = True, True
        rows.append(Row(name, right=right))
    rules = Rules(thresholds=((thresholds, "4"),), place=place, best_measured="0.5", model_mb=1)
    return Board("week97-tiny", True, rules, solution, rows, [], {})


def test_thresholds_are_exact_and_ties_share_the_better_place() -> None:
    board = board_of({"a": (55, 40), "b": (54, 90), "c": (99, 40), "d": (60, 39), "e": (55, 50)})
    leaderboard._award(board)
    found = {row.student: (row.place, row.points) for row in board.rows}
    share = [4 + 5 * (1 - Fraction(place - 1, 4)) for place in (1, 2, 2, 4)]
    assert found == {"e": (1, share[0]), "a": (2, share[1]), "c": (2, share[2]), "d": (4, share[3]), "b": (None, 0)}
    assert [row.student for row in board.rows] == ["e", "a", "c", "d", "b"]
    # 10 differ in one direction, in five drawings of two pictures: sums of 2 - 0.2 five times, of -0.2 forty-five times
    first = board.rows[0].to_next
    assert first[0] == 10 and first[1] == pytest.approx((5 * 1.8**2 + 45 * 0.2**2) ** 0.5)
    assert board.rows[1].to_next == (0, 0) and board.rows[3].to_next is None
    looked_at = {row.student for row in board.rows if row.notes}
    assert looked_at == {"b", "c"}  # b by its private part; 60 is not over 60


def test_nobody_or_one_alone_over_the_last_threshold() -> None:
    board = board_of({"a": (54, 90), "b": (20, 20)})
    leaderboard._award(board)
    assert board.participants == 0 and not any(row.points for row in board.rows) and "0 of 0" in summary(board)
    board = board_of({"a": (54, 90), "b": (55, 20)})
    leaderboard._award(board)
    assert [(row.student, row.place, row.points) for row in board.rows] == [("b", 1, 9), ("a", None, 0)]


def test_names_of_strangers_do_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from lsdl.grading.terminal_report import plain_table

    names = {"=1+1": (60, 9), "<b>": (60, 8), "a\x1b[2Jb": (60, 7), "@x": (60, 6), "o\n=2": (60, 5)}
    board = board_of(names)
    leaderboard._award(board)
    page = html_page(board)
    assert "<b>" not in page and "&lt;b&gt;" in page and "\x1b" not in page and "<script" not in page
    cells = [cell for line in csv.reader(io.StringIO(leaderboard.for_spreadsheets(board))) for cell in line]
    assert "'=1+1" in cells and "'@x" in cells and not any(cell[:1] in ("=", "+", "-", "@") for cell in cells if cell)
    assert not any("\x1b" in cell or "\n" in cell for cell in cells)
    plain_table(table(board), Console(width=200))
    assert "\x1b[2J" not in capsys.readouterr().out


def network(week: Path, noise: float) -> dict[str, torch.Tensor]:
    """Weights that solve the task: a prototype per class, damaged by noise."""
    namespace: dict = {}
    exec(HELPERS, namespace)
    from lsdl.data.emoji import normalise

    prototype = normalise(namespace["PATTERNS"].byte()).flatten(1)
    generator = torch.Generator().manual_seed(7)
    prototype = prototype + noise * torch.randn(prototype.shape, generator=generator)
    return {"1.weight": prototype, "1.bias": -prototype.square().sum(1) / 2}


def answers(week: Path, state: dict[str, torch.Tensor], changed: int = 0) -> str:
    """What the weights predict; the first `changed` are another class."""
    from lsdl.data.emoji import normalise

    images = load_file(week.parent / "students" / "test.safetensors")["images"]
    logits = normalise(images).flatten(1) @ state["1.weight"].T + state["1.bias"]
    labels = logits.argmax(1)
    labels[:changed] = (labels[:changed] + 1) % 20
    return "id,class\n" + "".join(f'p{k + 1:03d},"thing, {label}"\n' for k, label in enumerate(labels.tolist()))


def test_models_are_run_and_must_agree(contest: Path) -> None:
    best, worse = network(contest, 0), network(contest, 1.0)
    nan = best | {"1.bias": torch.full((20,), float("nan"))}
    for student, data, model in (
        ("ada", answers(contest, best, 2), save(best)),
        ("bob", answers(contest, worse), save({name: value.half() for name, value in worse.items()})),
        ("cid", answers(contest, best, 3), save(best)),
        ("dan", answers(contest, best), save(nan)),
        ("eve", answers(contest, best), b"\x80\x04pickle"),
        ("fay", answers(contest, best), save({"fc\x1b.weight": best["1.weight"]})),
        ("gus", answers(contest, best), save(best | {"1.bias": torch.zeros(19)})),
        ("hal", answers(contest, best), bytes(1 << 20) + b"1"),
        ("ida", answers(contest, best), save(best)),
    ):
        folder = hand_in(contest, student, data, model)
    told: list[str] = []
    board = rank(contest, folder, final=True, without=["ida"], say=told.append)
    problems = {row.student: row.problem for row in board.rows}
    assert problems["ada"] == problems["bob"] == "" and len(told) == 4
    said = {
        "cid": "98.8 % of the pictures",
        "dan": "not finite",
        "eve": "no safetensors file",
        "fay": "lack",
        "gus": "shape",
        "hal": "larger than 1 MB",
        "ida": "Left out",
    }
    assert all(words in problems[student] for student, words in said.items()), problems
    assert not any("\x1b" in problem for problem in problems.values())
    again: list[str] = []
    rank(contest, folder, final=True, without=["ida"], say=again.append)
    assert again == []  # remembered
    with pytest.raises(GradingError, match="zoe handed in no"):
        rank(contest, folder, without=["zoe"])

    written = json.loads((contest.parent / "gradebook" / "leaderboard" / f"{contest.name}.json").read_text())
    students = written["students"]
    assert written["final"] and written["most"] == 5 and written["scale"] == "smoke"
    assert students["ada"]["digests"]["model.safetensors"] == hashlib.sha256(save(best)).hexdigest()
    assert (students["ada"]["place"], students["ada"]["points"]) == (1, 5)
    assert (students["bob"]["place"], students["bob"]["points"]) == (2, 3.5)
    assert students["cid"]["points"] == 0 and "private" in students["cid"]
    assert written["digests"].keys() == {
        "leaderboard.toml",
        f"{contest.name}.solution.csv",
        f"{contest.name}.test.safetensors",
    }


@pytest.mark.slow
def test_the_points_in_the_marks(week: Path) -> None:
    """Cells have 4 automatic points and a report ("why") of 2; the course says 10. One of dan's other cells is open."""
    (week / "week.toml").write_text('required_cells = ["why"]\n')
    release(week, check=False)
    reports = {"ada": 1.5, "bob": 0.0, "cid": None, "dan": 2.0}
    with open_course(week.parent).gradebook as book:
        for student, report in reports.items():
            book.update_or_create_student(student)
            book.add_submission(week.name, student)
            for cell, auto in (("double_value", 3), ("square_value", None if student == "dan" else 1)):
                book.find_grade(cell, "homework", week.name, student).auto_score = auto
            why = book.find_grade("why", "homework", week.name, student)
            why.manual_score, why.needs_manual_grade = report, report is None
        book.db.commit()
    toml, board = week.parent / "course.toml", week.parent / "gradebook" / "leaderboard" / f"{week.name}.json"
    course = toml.read_text()
    board.parent.mkdir()
    won = {"ada": 10.25, "bob": 11, "cid": 6}
    final = {name: {"points": points, "why": "2 of 2 thresholds, place 1 of 3"} for name, points in won.items()}

    def marks(counts: str, ranking: dict | None) -> dict[str, HomeworkMark]:
        toml.write_text(f'{course}\n[weeks.{week.name}.competition]\ncounts = "{counts}"\n')
        board.unlink(missing_ok=True)
        if ranking is not None:
            board.write_text(json.dumps(ranking))
        return {student.student: student.homeworks[week.name] for student in all_marks(week.parent)}

    def points(found: dict[str, HomeworkMark]) -> dict[str, float]:
        return {name: mark.points for name, mark in found.items()}

    ranking = {"most": 11, "students": final}
    for counts, before, after, bonus in (  # "bonus": at most 5 on top; "original": thresholds, place and report
        ("bonus", (5.5, 0, 4, 5), (10.5, 0, 9, 5), 5),
        ("original", (1.5, 0, 0, 2), (11.75, 0, 6, 2), 3),
    ):
        found = marks(counts, None)
        assert points(found) == dict(zip(reports, before, strict=True))
        assert all(mark.is_open and "competition is open" in mark.why for mark in found.values())
        found = marks(counts, ranking)
        assert points(found) == dict(zip(reports, after, strict=True))
        open_marks = {name for name, mark in found.items() if mark.is_open}
        assert open_marks == ({"cid", "dan"} if counts == "bonus" else {"cid"})
        assert (found["ada"].most, found["ada"].bonus, found["ada"].raw) == (10, bonus, 5.5)
        assert found["ada"].for_student == ("The competition gave 10.25 points (2 of 2 thresholds, place 1 of 3)",)
        lines = csv.DictReader(io.StringIO(marks_csv(all_marks(week.parent))))
        reasons = [(line[f"{week.name} competition"], line[f"{week.name} competition reason"]) for line in lines]
        assert reasons[0] == ("10.25", "2 of 2 thresholds, place 1 of 3") and reasons[3] == ("0", "took no part")
    with pytest.raises(GradingError, match="is damaged: run lsdl leaderboard"):
        marks("bonus", {})
    with pytest.raises(CourseError, match="competition.counts"):
        marks("half", None)


def test_hand_ins_are_found_by_the_collectors_rules(contest: Path, tmp_path: Path) -> None:
    """A class's archive of folders, Canvas's names, archives of students; the newest counts, other tables never do."""
    lines, state = truth(contest), save(network(contest, 0))
    good, old = predictions(lines), predictions(lines, 100)
    folder = tmp_path / "canvas"
    folder.mkdir()
    for name, data in (
        ("lovelaceada_1_10_predictions.csv", old),
        ("lovelaceada_1_11_predictions-1.csv", good),
        ("lovelaceada_1_12_model.safetensors", state),
        ("lovelaceada_1_13_sample_submission.csv", "id,class\n"),
        ("bob_2_14_homework.ipynb", "{}"),
        ("marks.csv", "student,points\n"),
    ):
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, data in (
            ("w/predictions.csv", good),
            ("w/model.safetensors", state),
            ("w/notes/big.bin", bytes(6 << 20)),
        ):
            archive.writestr(name, data)
    (folder / "cid_3_15_work.zip").write_bytes(zipped.getvalue())
    (folder / "dan_4_16_work.zip").write_bytes(zipped.getvalue()[:-30])
    board = rank(contest, folder, models=False)
    rows = {row.student: row for row in board.rows}
    assert rows.keys() == {"lovelaceada_1", "cid_3", "dan_4"}
    assert rows["lovelaceada_1"].hits(board.solution.public) == rows["cid_3"].hits(board.solution.public) == 120
    assert "older attempt does not count: lovelaceada_1_10" in " ".join(rows["lovelaceada_1"].notes)
    assert rows["cid_3"].problem == "" and "damaged" in rows["dan_4"].problem

    whole = tmp_path / "class.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for student in ("eve", "fay"):
            archive.writestr(f"{student}/predictions.csv", good)
            archive.writestr(f"{student}/model.safetensors", state)
        archive.writestr("gus.zip", zipped.getvalue())  # 6 MB, which is too much for a table and not for an archive
    assert {row.student: row.problem for row in rank(contest, whole, models=False).rows} == {
        "eve": "",
        "fay": "",
        "gus": "",
    }
    with pytest.raises(GradingError, match="holds no predictions.csv"):
        (tmp_path / "empty").mkdir()
        rank(contest, tmp_path / "empty")


def test_who_is_not_on_the_class_list_is_not_graded(
    contest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `lsdl grade`; and of two people with one name each keeps the own model, though only one handed one in."""
    with open_course(contest.parent).gradebook as book:
        book.add_student("ada", first_name="Ada", last_name="Lovelace")
    archive, walked = tmp_path / "class.zip", []
    with zipfile.ZipFile(archive, "w") as file:
        for number, name in enumerate(("Ada Lovelace", "Carl Gauss", "Carl Gauss")):
            file.writestr(f"{name}_10{number}_assignsubmission_file_/predictions.csv", predictions(truth(contest)))
            if number < 2:
                file.writestr(f"{name}_10{number}_assignsubmission_file_/model.safetensors", b"not read")
    walk = collect.walk_archive
    monkeypatch.setattr(collect, "walk_archive", lambda *args: walked.append(args) or walk(*args))

    board = rank(contest, archive, models=False)
    assert len(walked) == 1
    problems = {row.student: row.problem for row in board.rows}
    assert problems == {"ada": "", "Carl Gauss 101": NOT_LISTED, "Carl Gauss 102": NOT_LISTED}
    assert board.notes == [f"Not on the class list, so not graded (2): Carl Gauss 101, Carl Gauss 102. {WHO_ARE_THEY}"]
    assert board.rows[1].right is None and board.rows[1].digests == {}
    board = rank(contest, archive, models=False, guests=True)
    assert board.notes == ["Not on the class list, but graded (2): Carl Gauss 101, Carl Gauss 102."]
    problems = {row.student: row.problem for row in board.rows}
    assert problems["Carl Gauss 101"] == "" and "No model.safetensors" in problems["Carl Gauss 102"]
    names = tmp_path / "names.csv"
    names.write_text("name,student\nCarl Gauss 101,ada\n")
    assert {row.student for row in rank(contest, archive, models=False, names=names).rows} == {"ada", "Carl Gauss 102"}


def test_either_file_without_the_other_is_a_row(contest: Path) -> None:
    """Also where nobody handed in both; and it is final, with no points."""
    folder = hand_in(contest, "ada", predictions(truth(contest)), model=None)
    (folder / "ada" / contest.name / "predictions.csv").rename(folder / "ada" / contest.name / "model.safetensors")
    (row,) = rank(contest, folder, models=False).rows
    assert row.problem == "No predictions.csv was handed in with the model: ask for a file of that name."
    hand_in(contest, "bob", predictions(truth(contest)), model=None)
    hand_in(contest, "cid", predictions(truth(contest)), save(network(contest, 0)))
    board = rank(contest, folder, final=True, without=["cid"])
    assert {row.student: row.problem for row in board.rows} == {
        "ada": "No predictions.csv was handed in with the model: ask for a file of that name.",
        "bob": "No model.safetensors was handed in with the predictions: ask for a file of that name.",
        "cid": "Left out: a person found that it breaks the rules.",
    }
    assert not any(row.points for row in board.rows)
    assert ["", "ada", "", "", "", "0"] in [line[:6] for line in table(board)] and "ada" in html_page(board)
    with pytest.raises(GradingError, match="zoe handed in no predictions.csv and no model.safetensors"):
        rank(contest, folder, without=["zoe"])


def test_what_is_missing_is_said(week: Path, tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="does not define competition_classes"):
        make(week, tmp_path, KEY)
    (week / "helpers.py").write_text(HELPERS)
    with pytest.raises(GradingError, match="was not made: lsdl leaderboard week97-tiny --make"):
        rank(week, tmp_path)
    make(week, tmp_path / "students", KEY)
    with pytest.raises(GradingError, match="has no competition"):
        rank(week, tmp_path)
    for text, said in (
        (RULES.replace("place = 3", ""), "place: Field required"),
        ("[smoke", "describes them"),
        (RULES.partition("[full]")[0], ""),
    ):
        (week / "leaderboard.toml").write_text(text)
        with pytest.raises(GradingError, match=f"needs tables .smoke. and .full.*{said}"):
            rank(week, tmp_path)


def test_the_command(contest: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from lsdl.cli import app

    monkeypatch.setenv("COLUMNS", "200")
    state = network(contest, 0)
    folder = hand_in(contest, "ada", answers(contest, state), save(state))

    def lsdl(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["leaderboard", "97", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert "public" in lsdl("--make", str(tmp_path / "again"), "--key", str(_key(tmp_path)))
    assert "private %" not in lsdl("--submissions", str(folder))
    out = {kind: tmp_path / f"board.{kind}" for kind in ("csv", "html", "json")}
    shown = lsdl(
        "--submissions",
        str(folder),
        "--final",
        *(word for kind, path in out.items() for word in (f"--{kind}", str(path))),
    )
    assert "1 reached the last threshold" in shown
    assert out["csv"].read_text().startswith("place,student,public %,private %,to the next,points,notes\n1,ada,")
    assert out["html"].read_text().startswith("<!DOCTYPE html>") and json.loads(out["json"].read_text())["final"]
    assert os.stat(out["csv"]).st_mode & 0o77 == 0


def _key(folder: Path) -> Path:
    path = folder / "own.key"
    path.write_bytes(KEY + b"\n")
    return path
