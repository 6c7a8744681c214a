"""What the README and the pages of docs/ tell a reader to type, and how it is understood."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CONTROL = {"do", "done", "then", "fi", "else"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One simple command of a bash block: its words, without loops, variables and redirections around it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(pages: list[Path] = PAGES) -> list[Block]:
    """All fenced blocks."""
    return [
        Block(str(page.relative_to(ROOT)), language, text)
        for page in pages
        for language, text in FENCE.findall(page.read_text("utf8"))
    ]


def commands(block: Block) -> list[Command]:
    """The simple commands of a bash block, in order."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|()<>"):
                while words and (words[0] in CONTROL or re.fullmatch(r"[A-Z_]+=\S*", words[0])):
                    words = words[1:]
                if words and words[0] != "for":
                    found.append(Command(block.page, tuple(words)))
                words = []
            else:
                words.append(word)
    return found
