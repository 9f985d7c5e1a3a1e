"""The command line in a real pseudo-terminal."""

import os
import re
import sys
from pathlib import Path

import pexpect

SOURCES = Path(__file__).resolve().parents[2] / "client" / "src"
PYTHON = os.environ.get("MODELPOOL_TEST_CLIENT_PYTHON", sys.executable)
"""Another one with the client's dependencies: 3.10 is promised for it, 3.11 for the server."""
PATIENCE_S = 180
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CTRL_C = "\x03"


class Terminal:
    """One run of `modelpool`, 100 columns wide."""

    def __init__(self, *words: object, cwd: Path, env: dict[str, str]) -> None:
        self._child = pexpect.spawn(
            PYTHON,
            ["-m", "modelpool", *map(str, words)],
            cwd=str(cwd),
            env=env | {"PYTHONPATH": str(SOURCES), "TERM": "xterm-256color", "COLUMNS": "100"},
            dimensions=(48, 100),
            timeout=PATIENCE_S,
            encoding="utf-8",
        )
        self._log: list[str] = []

    def expect(self, text: str) -> None:
        """Wait until the text is shown; other text fails the test."""
        self._child.expect_exact(text)
        self._log += [self._child.before, self._child.after]

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a question and type the answer."""
        self.expect(prompt)
        self._child.sendline(text)

    def answer_unseen(self, prompt: str, text: str) -> None:
        """The same where nothing that is typed may be shown."""
        self.expect(prompt)
        assert self._child.waitnoecho(PATIENCE_S)
        self._child.sendline(text)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._child.send(CTRL_C)

    def end(self) -> int:
        """Wait for the end; the exit code."""
        self._child.expect(pexpect.EOF)
        self._log.append(self._child.before)
        self._child.close()
        return int(self._child.exitstatus)

    @property
    def shown(self) -> str:
        """All that was shown, as words with single spaces."""
        return " ".join(ESCAPES.sub("", "".join(self._log)).split())

    def close(self) -> None:
        """End it, if it still runs."""
        self._child.close(force=True)
