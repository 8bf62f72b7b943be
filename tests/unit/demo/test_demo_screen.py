import io

import pytest

from tests.e2e.demo.screen import WIDTH, Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        Screen(out).proved("it holds")
    assert pipe.getvalue() == "   ok it holds\n"
    assert "\x1b[32mok\x1b[0m" in terminal.getvalue()


def test_no_colours_where_they_are_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    Screen(terminal).proved("it holds")
    assert terminal.getvalue() == "   ok it holds\n"


def test_nothing_is_wider_than_the_screen() -> None:
    out = io.StringIO()
    screen = Screen(out)
    screen.chapter("A chapter")
    screen.say("word " * 50)
    screen.progress("   1.0 s  " + "word " * 50)
    screen.quote("guest", "word " * 50)
    screen.evidence("storage-1", "lvs", ["x" * 200])
    screen.table([("kind", "x" * 200, "none")])
    screen.failed("word " * 50)
    assert max(map(len, out.getvalue().splitlines())) <= WIDTH


def test_a_call_tells_its_time_or_that_it_was_refused() -> None:
    out = io.StringIO()
    screen = Screen(out)
    with screen.call("CreateVolume", "pvc"):
        pass
    with pytest.raises(ValueError, match="no"), screen.call("DeleteVolume", "pvc"):
        raise ValueError("no")
    created, deleted = out.getvalue().splitlines()
    assert created.startswith("   CreateVolume pvc  ")
    assert created.endswith(" 0 ms")
    assert deleted.endswith(" refused")
