"""Runs one notebook in a jailed kernel and judges its graded cells: what a warm process does for each submission.

The process forks the kernel first and reads solutions, references and the submission only then.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import zmq
import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lsdl.cells import called, grade_id
from lsdl.checks import VISIBLE_FILE
from lsdl.grading import jail
from lsdl.grading.causes import Causes, how_it_ended, lacking
from lsdl.grading.judge import (
    TIMEOUT,
    BadOutbox,
    GradedTest,
    References,
    clean_outputs,
    disown_errors,
    error_output,
    explain,
    is_graded,
    judge,
    points_of,
    read_outbox,
    read_tests,
    write_verdict,
)
from lsdl.grading.kernel import END_CHECK, FRESH_CHECK, ForkProvisioner, Scratch
from lsdl.grading.stand_ins import SAID
from lsdl.grading.verdict import Verdict
from lsdl.intake import Notebook

MAX_OUTPUT = 1 << 20  # characters that one cell may put out
MAX_ALL_OUTPUT = 8 << 20  # all cells together
MAX_NOTES = 3  # of one notebook
MAX_ERRORS = 3  # of one cell that are taken beyond its MAX_OUTPUT
MAX_MESSAGE = 32 << 20  # bytes of one message of the kernel; a longer one closes its connection for good
MAX_WAITING = 100  # messages that wait for this process; with more, the kernel drops what follows
MAX_SCRATCH, MAX_FILES = 1 << 30, 20_000  # of all files together
SENDING = 1000  # milliseconds that a request may wait to be sent, and all else here with it: no kernel takes one whose connection is closed
RECONNECT = 10  # milliseconds between two tries to connect: a forked kernel has its sockets soon
WATCH = 0.25  # seconds between two looks; meanwhile a kernel can only write, which takes its time
GRACE = 10.0  # seconds that a cell has to end after it was interrupted
PATIENCE = 30.0  # seconds that a kernel may need between two cells
STOPPED = 2.0  # seconds after which a kernel that stopped itself, or sends no replies any more, is ended
ALLOWED_FILES = shutil.ignore_patterns("instructor", "__pycache__", ".ipynb_checkpoints", "*.ipynb", "*.pyc")


@dataclass(frozen=True)
class Request:
    """A submission as it is sent to a warm process.

    Attributes:
        week: the week's folder; its homework.ipynb, public files and references are read.
        hidden: the file of the hidden references; it need not exist.
        notebook: the mended notebook.
        cell_seconds, total_seconds: how long one cell and the whole notebook may run.
    """

    week: str
    hidden: str
    notebook: Notebook
    cell_seconds: float
    total_seconds: float


_AT_ITS_LIMIT: dict[str, Any] = {"ename": TIMEOUT, "evalue": "", "by": object()}
_AT_ITS_LIMIT["traceback"] = [f"{TIMEOUT}: No reply before the limit"]


class _Stopped(Exception):
    """The notebook cannot go on; the text is the sentence for the report."""


class _Client(NotebookClient):
    """nbclient that bounds what it takes from a kernel."""

    left = MAX_OUTPUT
    errors = 0

    async def async_start_new_kernel_client(self) -> AsyncKernelClient:
        """Connect, and wait for the kernel's word that it is idle; jupyter_client would then wait for 0.2 s of silence.

        Raises:
            RuntimeError: the kernel has ended, or does not answer.
        """
        client = self.kc = self.km.client(context=self.km.context)  # a client's own context would not have the limits
        client.start_channels(stdin=False, hb=False)
        end = time.monotonic() + self.startup_timeout
        while time.monotonic() < end:
            number = client.kernel_info()
            with suppress(Empty):  # what was said before the sockets were connected is lost: ask again
                while (await client.get_shell_msg(timeout=1))["parent_header"].get("msg_id") != number:
                    continue
                while not _says_idle(await client.get_iopub_msg(timeout=0.2), number):
                    continue
                return client
            if not await client.is_alive():
                raise RuntimeError("it ended.")
        raise RuntimeError(f"it did not answer within {self.startup_timeout} s.")

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Take a message of the kernel; one that is no message of Jupyter's is dropped."""
        try:
            return self._process(msg, cell, cell_index)
        except CellExecutionComplete:
            raise
        except Exception:  # a student's code can send anything
            return None

    def _process(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        kind = msg["msg_type"]
        if kind.startswith("comm") or kind in ("update_display_data", "clear_output"):
            return None  # widgets have no one to look at them, and a later cell changes no earlier one
        if kind in ("stream", "display_data", "execute_result", "error"):
            msg["content"].pop("transient", None)
            if kind == "stream":  # its beginning is kept, however long it is
                text = str(msg["content"].get("text"))
                msg["content"]["text"] = text[: max(self.left, 0)]
                size, enough = len(text), self.left <= 0
            else:
                size = len(json.dumps(msg["content"], default=str))
                self.errors += kind == "error"
                enough = size > self.left and (kind != "error" or self.errors > MAX_ERRORS)
            self.left -= size
            if enough:
                return None
        return super().process_message(msg, cell, cell_index)


def _says_idle(message: dict[str, Any], number: str) -> bool:
    """Whether the kernel has done what the request of that number asked for."""
    return message["content"].get("execution_state") == "idle" and message["parent_header"].get("msg_id") == number


def supervise(connection: Any, base: Path, week: str, limits: jail.Limits, *, partly: bool) -> None:
    """Serve one request: start the kernel, read the request from `connection`, answer with the executed notebook.

    Args:
        connection: a connected socket; the request comes as JSON up to the end of the stream, so does the answer.
        base: the folder in which the scratch folder is made; it is removed at the end.
        week: the name of the week.
        partly: go on where the machine lacks a part of the sandbox.
    """
    jail.die_with_parent()
    jail.take_own_user()
    logging.disable(logging.CRITICAL)
    jail.limit_memory(2 * limits.memory)
    scratch = Scratch(base / str(os.getpid()), week)
    try:
        answer = asyncio.run(_serve(connection, scratch, limits, partly))
        connection.sendall(json.dumps(answer).encode("utf-8", "replace"))
    finally:
        _remove(scratch.root)


async def _serve(connection: Any, scratch: Scratch, limits: jail.Limits, partly: bool) -> dict[str, Any]:
    start = time.monotonic()
    scratch.make()
    manager = _start_manager(scratch, limits, partly)
    await manager.start_kernel()
    # Only now: the kernel is a copy of what this process was.
    with connection.makefile("rb") as file:
        request = Request(**json.loads(file.read()))
    run = _Execution(request, scratch, manager)
    signal.alarm(int(request.total_seconds) + 120)  # if everything else fails, this process ends
    watch = asyncio.create_task(run.watch())
    try:
        await asyncio.wait_for(run.execute(), request.total_seconds)
    except TimeoutError:
        run.verdict.failure = f"The notebook ran longer than {request.total_seconds:g} s, as far as {run.place}."
        run.verdict.timed_out = True
    except _Stopped as stopped:
        run.verdict.failure = run.why_killed or str(stopped)
    except Exception as error:  # hostile messages reach nbclient, too
        run.verdict.failure = run.why_killed or (
            f"The kernel sent what Jupyter does not send ({type(error).__name__}), and what came after {run.place} was "
            "not run: does the notebook write to the kernel's own connections?"
        )
    finally:
        watch.cancel()
        await manager.provisioner.kill()
        await manager.provisioner.wait()
    run.finish()
    return {
        "executed": run.notebook,
        "verdict": asdict(run.verdict),
        "seconds": time.monotonic() - start,
        "cpu_seconds": _cpu_seconds(),
    }


def _start_manager(scratch: Scratch, limits: jail.Limits, partly: bool) -> AsyncKernelManager:
    context = zmq.asyncio.Context()
    context.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
    context.setsockopt(zmq.RCVHWM, MAX_WAITING)
    context.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
    context.setsockopt(zmq.SNDTIMEO, SENDING)
    manager = AsyncKernelManager(kernel_name="python3", context=context)
    manager._kernel_spec = KernelSpec(argv=[], display_name="Python 3", language="python")
    provisioner = ForkProvisioner(kernel_spec=manager._kernel_spec, kernel_id="", parent=manager)
    provisioner.scratch, provisioner.limits, provisioner.partly = scratch, limits, partly
    manager.provisioner = provisioner
    return manager


class _Execution:
    """One notebook on its way through a kernel."""

    def __init__(self, request: Request, scratch: Scratch, manager: AsyncKernelManager) -> None:
        self.request, self.scratch, self.manager = request, scratch, manager
        week = Path(request.week)
        homework = json.loads((week / "homework.ipynb").read_text(encoding="utf-8"))
        self.tests = read_tests(homework)
        self.references = References(week / VISIBLE_FILE, Path(request.hidden))
        self.notebook = self._prepare(request.notebook)
        self.verdict = Verdict()
        self.why_killed: str | None = None
        self.judged: set[str] = set()
        self.causes = Causes(self.notebook.cells, homework["cells"], request.cell_seconds)
        self.place = "its start"  # where the run is, in words
        self.cut: list[str] = []  # where the connection for outputs was closed
        self.lost = False  # whether that for replies was: the cell that waits for one has no limit to reach
        self.left = MAX_ALL_OUTPUT
        _copy_public(week, scratch)

    def _prepare(self, notebook: Notebook) -> NotebookNode:
        """The notebook with the instructor's tests and without old outputs; of metadata only nbgrader's is kept."""
        cells = copy.deepcopy(notebook["cells"])
        for cell in cells:
            entry = cell["metadata"].get("nbgrader")
            cell["metadata"] = {"nbgrader": entry} if isinstance(entry, dict) else {}
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
                test = self.tests.get(str(grade_id(cell)))
                cell["source"] = test.source if test else cell["source"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
        return nbformat.from_dict(whole)

    async def execute(self) -> None:
        """Run and judge every cell.

        Raises:
            _Stopped: the kernel died or does not answer.
        """
        self.reply: dict[str, Any] = {}

        def keep_reply(execute_reply: dict[str, Any], **_: Any) -> None:
            self.reply = execute_reply["content"]

        client = _Client(
            self.notebook,
            km=self.manager,
            timeout=int(self.request.cell_seconds),
            startup_timeout=60,
            interrupt_on_timeout=True,
            error_on_timeout=_AT_ITS_LIMIT,
            allow_errors=True,
            # What comes until `_reopen` has opened a connection again is lost, perhaps the word that the cell has ended; the
            # reply comes by another way and says how.
            raise_on_iopub_timeout=False,
            iopub_timeout=int(GRACE),
            store_widget_state=False,
            skip_cells_with_tag="",
            on_cell_executed=keep_reply,
        )
        client.reset_execution_trackers()
        guards: list[asyncio.Task[None]] = []
        try:
            channels = await client.async_start_new_kernel_client()
            outputs, replies = channels.iopub_channel.socket, channels.shell_channel.socket
            guards += [asyncio.create_task(guard) for guard in (self._reopen(outputs), self._end_without(replies))]
            in_test = False
            for index, cell in enumerate(self.notebook.cells):
                if cell.cell_type != "code" or not cell.source.strip():
                    continue
                name = str(grade_id(cell))
                test = self.tests.get(name)
                if test is not None:
                    outbox, inputs = self._open_outbox(index, test)
                    await self._silently(client, FRESH_CHECK.format(outbox=str(outbox), inputs=str(inputs)))
                elif in_test:
                    await self._silently(client, END_CHECK)
                in_test = test is not None
                self.place = called(cell)
                await self._execute_cell(client, cell, index)
                if test is not None:
                    inputs.unlink(missing_ok=True)
                    self._judge(cell, name, test, outbox)
        except DeadKernelError:
            provisioner = self.manager.provisioner
            cause = how_it_ended(await provisioner.poll(), _cpu_seconds(), provisioner.limits)
            raise _Stopped(f"The notebook ended its own kernel in {self.place}: {cause}.") from None
        except zmq.Again:
            raise _Stopped(self._closed()) from None
        except CellTimeoutError:
            self.verdict.timed_out = True
            seconds = self.request.cell_seconds
            raise _Stopped(f"A cell ran longer than {seconds:g} s and could not be stopped: {self.place}.") from None
        except RuntimeError as error:
            if self.place == "its start":
                raise _Stopped(f"The kernel did not start: {error} {self._log()}") from None
            raise _Stopped(f"The kernel broke off in {self.place}: {error}"[:500]) from None
        finally:
            for guard in guards:
                guard.cancel()

    async def _reopen(self, outputs: zmq.asyncio.Socket) -> None:
        """Open the connection for outputs again whenever it was closed, and keep in which cell."""
        monitor, kernel = outputs.get_monitor_socket(zmq.EVENT_DISCONNECTED), outputs.LAST_ENDPOINT.decode()
        while await monitor.recv_multipart():
            outputs.disconnect(kernel)
            outputs.connect(kernel)
            self.cut.append(self.place)

    async def _end_without(self, replies: zmq.asyncio.Socket) -> None:
        """End the kernel when the connection for replies was closed: one is lost, and a cell would wait for it in vain."""
        await replies.get_monitor_socket(zmq.EVENT_DISCONNECTED).recv_multipart()
        self.lost = True
        await asyncio.sleep(STOPPED)  # a kernel that ends closes it, too
        if await self.manager.provisioner.poll() is None:
            self.why_killed = self._closed()
            await self.manager.provisioner.kill()

    def _closed(self) -> str:
        return (
            f"The kernel sent more than {MAX_MESSAGE >> 20} MB in one reply, or closed its connection, in {self.place}."
        )

    def _open_outbox(self, index: int, test: GradedTest) -> tuple[Path, Path]:
        outbox = (
            self.scratch.outbox / f"{index}-{secrets.token_hex(4)}"
        )  # the kernel can make files there, but not guess
        outbox.mkdir()
        self.scratch.give(outbox)
        inputs = self.scratch.inputs / f"{index}.safetensors"
        hidden = [name for name in dict.fromkeys((*test.inputs, *test.checks)) if self.references.hides(name)]
        self.references.write_inputs(hidden, inputs)
        self.scratch.give(inputs)
        return outbox, inputs

    async def _silently(self, client: _Client, code: str, seconds: float = PATIENCE) -> None:
        """Execute what is no cell of the notebook.

        Raises:
            _Stopped: the kernel does not answer.
        """
        number = client.kc.execute(code, silent=True, store_history=False)
        try:
            if await asyncio.wait_for(client.async_wait_for_reply(number), seconds) is not None:
                return
        except TimeoutError:
            pass
        raise _Stopped(f"The kernel did not answer any more after {self.place}.")

    async def _execute_cell(self, client: _Client, cell: NotebookNode, index: int) -> None:
        room = client.left = min(MAX_OUTPUT, self.left)
        client.errors, self.reply = 0, {}
        try:
            await client.async_execute_cell(cell, index)
            if self.at_its_limit:  # it was interrupted; does the kernel listen?
                seconds = self.request.cell_seconds
                try:
                    await self._silently(client, "None", GRACE)
                except _Stopped:
                    text = f"A cell ran longer than {seconds:g} s and could not be interrupted: {self.place}."
                    raise _Stopped(text) from None
                self.verdict.notes.append(f"A cell reached the time limit of {seconds:g} s: {self.place}.")
        finally:
            self.left -= room - max(client.left, 0)
            not_shown: list[str] = []
            cell.outputs = clean_outputs(cell.outputs, not_shown)
            if not_shown and len(self.verdict.notes) < MAX_NOTES:
                self.verdict.notes.append(f"A picture that {self.place} makes is not shown: {not_shown[0]}.")
            if client.left < 0:
                why = "" if self.left > 0 else f": a notebook may show {MAX_ALL_OUTPUT >> 20} MB in all"
                cell.outputs.append(nbformat.v4.new_output("stream", text=f"[more output was cut{why}]\n"))
            if self.reply.get("status") != "ok":
                self._keep_error(cell)
                self._note_error(cell, index)

    @property
    def at_its_limit(self) -> bool:
        """Whether the cell was stopped; a kernel can send that name, but not this object."""
        return self.reply.get("by") is _AT_ITS_LIMIT["by"]

    def _keep_error(self, cell: NotebookNode) -> None:
        """Make sure that the exception a cell ended with is among its outputs."""
        if self.at_its_limit:
            cell.outputs.append(NotebookNode(error_output(TIMEOUT, "", _AT_ITS_LIMIT["traceback"])))
            self.verdict.timed_out |= not self.lost
        elif not self.reply:
            cell.outputs.append(NotebookNode(error_output("DeadKernelError", "The notebook ended in this cell.")))
        else:
            (error,) = clean_outputs([{"ename": "Exception", **self.reply, "output_type": "error"}])
            if not any(output.get("ename") == error.ename for output in cell.outputs):
                cell.outputs.append(error)

    def _note_error(self, cell: NotebookNode, index: int) -> None:
        """Keep what the cell ended with for the cells that need it, and say what the grader lacks."""
        error = next((output for output in reversed(cell.outputs) if output.output_type == "error"), None)
        if error is not None:
            self.causes.note(index, copy.deepcopy(error))
            if lack := lacking(error):
                cell.outputs.append(nbformat.v4.new_output("stream", text=f"{SAID}{lack}\n"))

    def _judge(self, cell: NotebookNode, name: str, test: GradedTest, outbox: Path) -> None:
        self.judged.add(name)
        if not test.checks:
            return  # plain asserts: nbgrader's own rule on the outputs decides
        disown_errors(cell)
        said = [output.evalue for output in cell.outputs if output.output_type == "error"]
        if self.at_its_limit:
            return
        try:
            answers = read_outbox(outbox, self.scratch.root / "answer")
            explanation = judge(test, answers, self.references, bool(said), said)
        except BadOutbox as error:
            explanation = str(error)
        write_verdict(cell, explanation)

    def finish(self) -> None:
        """Fill the verdict from the outputs, as nbgrader will; cells that were not reached earn nothing."""
        for place in dict.fromkeys(self.cut):
            if len(self.verdict.notes) < MAX_NOTES and not (self.verdict.failure and place == self.place):  # its end
                self.verdict.notes.append(f"An output over {MAX_MESSAGE >> 20} MB is not shown: {place}.")
        for index, cell in enumerate(self.notebook.cells):
            if not is_graded(cell):
                continue
            name = str(grade_id(cell))
            if name in self.tests and name not in self.judged:
                cell.outputs = [NotebookNode(error_output("DeadKernelError", "The notebook ended before this cell."))]
            points = self.verdict.points[name] = points_of(cell)
            if points is not None and points < float(cell.metadata["nbgrader"]["points"]):
                text = explain(cell.get("outputs", []), self.request.cell_seconds)
                if cause := self.causes.behind(index):
                    text = f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {cause}"
                self.verdict.messages[name] = self._without_paths(text)

    def _without_paths(self, text: str) -> str:
        """A text of the kernel without the names of its folders, which differ from run to run."""
        return text.replace(f"{self.scratch.course}/", "").replace(str(self.scratch.root), "~")

    async def watch(self) -> None:
        """End the kernel when it has filled its folder, or stopped itself."""
        stopped = 0.0
        while True:
            await asyncio.sleep(WATCH)
            stopped = stopped + WATCH if _is_stopped(self.manager.provisioner.pid) else 0.0
            if stopped > STOPPED:
                self.why_killed = f"The notebook stopped its own kernel (SIGSTOP or the like) in {self.place}."
                await self.manager.provisioner.kill()
            size, files = _usage(self.scratch.root)
            size += _unlinked(self.manager.provisioner.pid)
            if size > MAX_SCRATCH or files > MAX_FILES:
                self.why_killed = f"The notebook wrote more than {MAX_SCRATCH >> 30} GB or {MAX_FILES} files."
                await self.manager.provisioner.kill()

    def _log(self) -> str:
        try:
            return self.scratch.log.read_text(errors="replace")[-500:]
        except OSError:
            return ""


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped by a signal, so that only another one would wake it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False  # it has ended
    return fields[0] in ("T", "t")


def _cpu_seconds() -> float:
    """Processor time of the kernel, once it has ended."""
    spent = os.times()  # its children are the kernel alone
    return spent.children_user + spent.children_system


def _copy_public(week: Path, scratch: Scratch) -> None:
    """Copy what students have of a week into the kernel's working folder."""
    shutil.copytree(week, scratch.course, ignore=ALLOWED_FILES, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for folder, names, files in os.walk(scratch.course):
        for name in (*names, *files):
            scratch.give(Path(folder, name))


def _usage(folder: Path) -> tuple[int, int]:
    """Bytes and number of files in a folder; no link is followed."""
    size = count = 0
    todo = [folder]
    while todo and count <= MAX_FILES:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(Path(entry.path))
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return size, count


def _unlinked(pid: int) -> int:
    """Bytes of files that a process removed but still has open or mapped: no folder shows them."""
    sizes: dict[tuple[int, int], int] = {}
    for status in jail.open_files(pid):
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return sum(sizes.values())  # it has ended
    for line in maps.splitlines():
        if line.endswith(" (deleted)"):
            span, _, _, device, inode = line.split()[:5]
            major, minor = (int(part, 16) for part in device.split(":"))
            key = os.makedev(major, minor), int(inode)
            start, end = (int(part, 16) for part in span.split("-"))
            sizes[key] = max(sizes.get(key, 0), end - start)
    return sum(sizes.values())


def _remove(folder: Path) -> None:
    """Remove a scratch folder whatever is in it; its processes have ended."""
    for remove in (shutil.rmtree, _chmod_and_remove):
        try:
            remove(folder)
            return
        except (OSError, RecursionError):
            continue


def _chmod_and_remove(folder: Path) -> None:
    subprocess.run(["chmod", "-R", "u+rwx", str(folder)], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)
