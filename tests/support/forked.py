"""Run commands one after the other, each in a process that is forked where the command is already imported.

To start Python takes ten times as long as the work of most commands. A forked process has loaded libraries, and the
modules that ``python -m rstore`` loads before it looks at its words. The other modules of rstore it imports itself.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Self

from rstore.cli import main

LOADED_AT_EACH_START = ("rstore.cli.program",)
LIBRARIES = (
    "cryptography.fernet",
    "plotext",
    "pydantic.fields",
    "pydantic.types",
    "redis",
    "rich.progress",
    "typer.rich_utils",
)
"""Libraries that start no threads: a fork would lose these."""


class Line(NamedTuple):
    """A line of a shell script: ``WORDS... [<<< TEXT] [> FILE] [|| test $? = CODE]``.

    Only that much of the language: a shell itself would start Python for each line.
    """

    words: list[str]
    text: str | None
    file: str | None
    codes: set[int]

    @classmethod
    def read(cls, line: str) -> Self:
        command, _, code = line.partition(" || test $? = ")
        words = [os.path.expandvars(word) for word in shlex.split(command)]
        text, file = (words.pop(words.index(sign) + 1) if sign in words else None for sign in ("<<<", ">"))
        return cls([word for word in words if word not in ("<<<", ">")], text, file, {0, int(code or 0)})

    def redirect(self) -> None:
        """Give this process the standard input and output that the line says."""
        if self.text is not None:
            source, sink = os.pipe()
            os.write(sink, f"{self.text}\n".encode())
            os.close(sink)
            os.dup2(source, 0)
        if self.file is not None:
            os.dup2(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)


def run(script: Path) -> None:
    """Run the lines of a script until one ends with another code than it should."""
    for name in (*LOADED_AT_EACH_START, *LIBRARIES):
        import_module(name)
    gc.freeze()  # otherwise each process visits all of it at its end, and so copies it: most of the time of a command
    for text in script.read_text("utf-8").splitlines():
        print(f"$ {text}", flush=True)
        line = Line.read(text)
        pid = os.fork()
        if not pid:
            line.redirect()
            sys.argv[1:] = line.words
            sys.exit(main())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code not in line.codes:
            sys.exit(f"it ended with {code}")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
