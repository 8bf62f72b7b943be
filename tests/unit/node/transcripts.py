"""Commands as they were recorded on a real host, and a Runner that plays them back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from csi_lvm_iscsi.commands.runner import Completed, Runner, Where

DIRECTORY = Path(__file__).parent / "transcripts"


@dataclass(frozen=True)
class Recorded:
    """One command and what it said. What differs between hosts stands as {placeholder}."""

    argv: list[str]
    where: str
    code: int
    stdout: str
    stderr: str


class Recorder:
    """Runs commands and keeps what they said."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._commands: list[Recorded] = []

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """See Runner.run."""
        completed = await self._runner.run(
            *argv, where=where, seconds=seconds, expect=range(-64, 256)
        )
        self._commands.append(
            Recorded(list(argv), where.value, completed.code, completed.stdout, completed.stderr)
        )
        return completed.expected(expect)

    def save(self, name: str, places: Mapping[str, str]) -> None:
        """Write what was recorded since the last time as one transcript. `places` maps
        placeholders to what they stand for."""
        hidden = [asdict(command) for command in self._commands]
        for fields in hidden:
            fields["argv"] = hide(fields["argv"], places)
            fields["stdout"], fields["stderr"] = hide([fields["stdout"], fields["stderr"]], places)
        (DIRECTORY / f"{name}.json").write_text(json.dumps(hidden, indent=1) + "\n")
        self._commands.clear()


def hide(words: Sequence[str], places: Mapping[str, str]) -> list[str]:
    """The words with placeholders for what differs between hosts."""
    hidden = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "--sid":
            hidden.append("{sid}")
            continue
        for name, value in places.items():
            word = word.replace(value, f"{{{name}}}")  # noqa: PLW2901
        hidden.append(word)
    return hidden


class Transcript:
    """What commands said, by argv."""

    def __init__(self, commands: Mapping[tuple[str, ...], Recorded]) -> None:
        self._commands = commands

    @classmethod
    def load(cls, *names: str) -> Self:
        """Read transcripts; for a command that is in several, the last one counts."""
        commands = {}
        for name in names:
            for fields in json.loads((DIRECTORY / f"{name}.json").read_text()):
                recorded = Recorded(**fields)
                commands[tuple(recorded.argv)] = recorded
        return cls(commands)

    def answer(self, argv: tuple[str, ...], where: Where, places: Mapping[str, str]) -> Completed:
        """What this command said. Fails for one that was not recorded."""
        named = tuple(hide(argv, places))
        recorded = self._commands.get(named)
        assert recorded is not None, f"not recorded: {named}"
        assert recorded.where == where.value, f"recorded in another namespace: {named}"
        return Completed(argv, recorded.code, recorded.stdout, recorded.stderr)
