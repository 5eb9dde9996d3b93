"""The grading report as one HTML page that loads nothing: who needs a person, how points are distributed, every row."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from lsdl.grading.grade import Report, Row
from lsdl.grading.points import plain
from lsdl.grading.terminal_report import bonus_explained, by_hand, losses, summary
from lsdl.printable import printable

BINS = (
    "0",
    "to 25",
    "to 50",
    "to 75",
    "< 100",
    "100",
)  # per cent of a task's points; short, so that labels stand apart
WIDTH, HEIGHT, BAR = 250, 110, 34
CSS = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
h1, h2, h3 { line-height: 1.2 } table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 } .note { color: #555; overflow-wrap: anywhere }
.failed, .timeout { color: #a40000 } .repaired { color: #8a5a00 } .missing { color: #666 } .ok { color: #0a6b2d }
.warning { background: #fff3cd; padding: .5rem .8rem } .tasks { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; border: 1px solid #ddd; padding: .6rem } figcaption { font-size: .85rem; max-width: 250px }
svg text { font: 10px system-ui, sans-serif; fill: #333 }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # a script that slipped in would not run


def html_page(report: Report) -> str:
    """The page. All that students or their code wrote is escaped."""
    waiting = [row for row in report.rows if row.needs_a_person]
    parts = [f"<h1>{escape(report.week)}</h1>", f"<p>{escape(summary(report))}</p>"]
    if report.scale and report.scale.bonus:
        parts.append(f"<p>{escape(bonus_explained(report.scale))}</p>")
    parts += [f'<p class="warning">{escape(text)}</p>' for text in report.warnings]
    if report.sandbox:
        parts.append(f'<p class="note">Sandbox: {escape(report.sandbox)}</p>')
    parts.append(f"<h2>These need a person ({len(waiting)})</h2>")
    parts.append(_waiting_table(waiting) if waiting else "<p>None.</p>")
    parts.append("<h2>Points by task</h2>")
    parts.append('<p class="note">Students who handed in, by the share of a task\'s automatic points.</p>')
    parts.append(f'<div class="tasks">{"".join(_histograms(report))}</div>')
    parts.append("<h2>All students</h2>")
    parts.append(_table(report))
    parts += [
        _details(row, report) for row in report.rows if row.note or any(mark.message for mark in row.cells.values())
    ]
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    title = f"<title>{escape(report.week)}</title><style>{CSS}</style>"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}{title}</head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def distribution(values: Iterable[float], most: float) -> list[int]:
    """How many values lie in each of `BINS`, as shares of `most`."""
    counts = [0] * len(BINS)
    for value in values:
        share = value / most if most else 0
        place = 0 if share <= 0 else 5 if share >= 1 - 1e-9 else min(4, 1 + int(4 * share - 1e-9))
        counts[place] += 1
    return counts


def _histograms(report: Report) -> Iterable[str]:
    rows = [row for row in report.rows if row.status != "missing"]
    for task, cells in report.tasks.items():
        most = sum(rows[0].cells[name].max_points for name in cells) if rows else 0
        if not most:
            continue
        counts = distribution((sum(row.cells[name].points or 0 for name in cells) for row in rows), most)
        lost = [f"{name} {sum((row.cells[name].points or 0) > 0 for row in rows)}" for name in cells]
        title = report.titles.get(task, "")
        named = f"<b>{escape(title or task)}</b>{f' ({escape(task)})' if title else ''}"
        caption = f"{named}, {plain(most)} points. With points, of {len(rows)}: {escape(', '.join(lost))}."
        yield f"<figure>{_svg(task, counts)}<figcaption>{caption}</figcaption></figure>"


def _svg(task: str, counts: list[int]) -> str:
    top = max(max(counts), 1)
    said = ", ".join(f"{count} students {name} per cent" for name, count in zip(BINS, counts, strict=True))
    bars = []
    for index, (name, count) in enumerate(zip(BINS, counts, strict=True)):
        x, tall = 8 + index * (BAR + 6), round((HEIGHT - 34) * count / top)
        y = HEIGHT - 18 - tall
        bars.append(f'<rect x="{x}" y="{y}" width="{BAR}" height="{tall}" fill="#0072b2"/>')
        bars.append(f'<text x="{x + BAR / 2}" y="{y - 3}" text-anchor="middle">{count}</text>')
        bars.append(f'<text x="{x + BAR / 2}" y="{HEIGHT - 5}" text-anchor="middle">{name}</text>')
    label = escape(f"{task}: {said}", quote=True)
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">{"".join(bars)}</svg>'


def _waiting_table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        by_hand = [name for name, mark in row.cells.items() if mark.points is None]
        why = [row.note] if row.status in ("failed", "timeout") else []
        why += [f"To grade by hand: {', '.join(by_hand)}."] if by_hand else []
        lines.append(f"<tr><td>{escape(row.student)}</td>{_status(row)}<td>{escape(' '.join(why))}</td></tr>")
    return f"<table><tr><th>student</th><th>status</th><th>why</th></tr>{''.join(lines)}</table>"


def _table(report: Report) -> str:
    lines = []
    for row in report.rows:
        told = (f"{plain(row.points)} of {plain(row.max_points)}", by_hand(row), plain(row.total))
        numbers = "".join(f'<td class="number">{escape(text)}</td>' for text in told)
        repaired = escape("; ".join(finding.problem for finding in row.findings))
        lines.append(f'<tr><td>{escape(row.student)}</td>{_status(row)}{numbers}<td class="note">{repaired}</td></tr>')
    of = f"points of {report.scale}" if report.scale else "points"
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in ("automatic", "by hand", of))
    return f"<table><tr><th>student</th><th>status</th>{head}<th>repaired</th></tr>{''.join(lines)}</table>"


def _status(row: Row) -> str:
    return f'<td class="{escape(row.status)}">{escape(row.status)}{" (unsafe)" if row.unsafe else ""}</td>'


def _details(row: Row, report: Report) -> str:
    """What explains a row: causes first (how it ended, what was repaired), then what each task lost."""
    note = row.note
    for finding in row.findings:  # they have a list of their own
        note = note.replace(f"{printable(str(finding))}.", "")
    lines = [f"<h3>{escape(row.student)} {_repaired_mark(row)}</h3>"]
    if note.strip():
        lines.append(f'<p class="note">{escape(" ".join(note.split()))}</p>')
    if row.findings:
        items = "".join(f"<li>{escape(printable(str(finding)))}.</li>" for finding in row.findings)
        lines.append(f'<p class="repaired">Repaired before it ran:</p><ul>{items}</ul>')
    lost = [
        f'<tr><td>{escape(loss.title)}<br><span class="note">{escape(", ".join(loss.cells))}</span></td>'
        f'<td class="number">{loss.points}</td><td><pre>{escape(loss.message)}</pre></td></tr>'
        for loss in losses(row, report)
    ]
    return "".join(lines) + (f"<table>{''.join(lost)}</table>" if lost else "")


def _repaired_mark(row: Row) -> str:
    return '<small class="repaired">repaired</small>' if row.findings else ""
