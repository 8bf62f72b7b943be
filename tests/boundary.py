"""The process boundary of the storage role: recorded in the lab, played back in unit tests.

An action is one command that was run or one request to tgtd, with its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from csi_lvm_iscsi.commands.runner import Completed, Runner, Where
from csi_lvm_iscsi.storage.tgt.socket import Management, Mode, Op, TgtError

Action = dict[str, Any]


class Recorder:
    """Passes actions on to the real boundary, and keeps them; a hook sees each as it ends."""

    def __init__(
        self, runner: Runner, management: Management, ended: Callable[[list[Action]], None]
    ) -> None:
        self._runner = runner
        self._management = management
        self._ended = ended
        self._actions: list[Action] = []

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
            *argv, where=where, seconds=seconds, expect=range(256), kill=kill
        )
        self._end(
            {
                "run": list(argv),
                "where": where.value,
                "code": completed.code,
                "stdout": completed.stdout,
                "stderr": completed.stderr,
            }
        )
        return completed.expected(expect)

    async def request(self, mode: Mode, op: Op, parameters: str = "", **numbers: Any) -> str:  # noqa: ANN401
        """See Management.request."""
        action = _tgt_action(mode, op, parameters, numbers)
        try:
            action["text"] = await self._management.request(mode, op, parameters, **numbers)
        except TgtError as error:
            self._end(action | {"code": error.code})
            raise
        self._end(action)
        return str(action["text"])

    def _end(self, action: Action) -> None:
        self._actions.append(action)
        self._ended(self._actions)


class Killed(BaseException):
    """The role was killed here, in a recording that is played back."""


class Player:
    """Plays a recording back. Another action than the recorded one fails the test."""

    def __init__(self, actions: Sequence[Action], *, killed: bool = False) -> None:
        """With `killed`, the role dies before it hears of the answer to the last action."""
        self._actions = list(actions)
        self._killed = killed

    async def run(
        self,
        *argv: str,
        where: Where,
        seconds: float,
        expect: Sequence[int] = (0,),
        kill: bool = True,
    ) -> Completed:
        """See Runner.run."""
        recorded = self._next({"run": list(argv), "where": where.value})
        completed = Completed(argv, recorded["code"], recorded["stdout"], recorded["stderr"])
        return completed.expected(expect)

    async def request(self, mode: Mode, op: Op, parameters: str = "", **numbers: Any) -> str:  # noqa: ANN401
        """See Management.request."""
        recorded = self._next(_tgt_action(mode, op, parameters, numbers))
        if "code" in recorded:
            raise TgtError(f"{op.name} {mode.name}", recorded["code"])
        return str(recorded["text"])

    def left(self) -> list[Action]:
        """What was recorded but not asked for."""
        return self._actions

    def _next(self, asked: Action) -> Action:
        assert self._actions, f"not recorded: {asked}"
        recorded = self._actions.pop(0)
        assert asked == {key: recorded[key] for key in asked}
        if self._killed and not self._actions:
            raise Killed
        return recorded


def _tgt_action(mode: Mode, op: Op, parameters: str, numbers: dict[str, Any]) -> Action:
    return {"tgt": f"{op.name} {mode.name}", "parameters": parameters, "numbers": numbers}
