"""What real servers were asked, and what they answered: the recorded transcripts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "backends" / "fastdfs" / "transcripts"


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    recording: str
    number: int
    op: str
    to: str
    request: bytes
    response: bytes
    closed: bool

    def __str__(self) -> str:
        return f"{self.recording}-{self.number}-{self.op}"

    @property
    def header(self) -> bytes:
        return self.request[:10]

    @property
    def body(self) -> bytes:
        return self.request[10:]

    @property
    def command(self) -> int:
        return self.request[8]

    @property
    def flags(self) -> int:
        return self.request[9]

    @property
    def status(self) -> int:
        return self.response[9] if self.response else 0

    @property
    def answer(self) -> bytes:
        return self.response[10:]


@dataclass(frozen=True)
class Recording:
    """One transcript: its exchanges, and what its maker knew about them."""

    name: str
    facts: dict[str, Any]
    exchanges: tuple[Exchange, ...]


def _load(path: Path) -> Recording:
    facts = json.loads(path.read_text(encoding="utf-8"))
    exchanges = tuple(
        Exchange(
            recording=path.stem,
            number=number,
            op=raw["op"],
            to=raw["to"],
            request=bytes.fromhex(raw["request"]),
            response=bytes.fromhex(raw["response"] or ""),
            closed=raw.get("connection_after", "open") != "open",
        )
        for number, raw in enumerate(facts["exchanges"])
    )
    return Recording(path.stem, facts, exchanges)


RECORDINGS = {path.stem: _load(path) for path in sorted(FOLDER.glob("*.json"))}
EXCHANGES = [exchange for recording in RECORDINGS.values() for exchange in recording.exchanges]
