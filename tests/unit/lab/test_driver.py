"""The driver of the lab tests, where the lab itself is what fails."""

from typing import Any, cast

import pytest

from tests.e2e.driver import Driver, Refused, Volume
from tests.e2e.lab.errors import HostGone
from tests.e2e.lab.lab import Lab


class Cut:
    """A lab of one host, whose power is cut while a command runs there."""

    def host(self, _: str) -> "Cut":
        return self

    def exec(self, *_: str) -> None:
        raise HostGone("`mkdir` was lost: the host stopped")


def test_what_is_lost_with_a_node_is_called_for_again() -> None:
    """As kubelet does when the node is back."""

    def call(*_: Any) -> str:  # noqa: ANN401
        pytest.fail("a node without power was called")

    driver = Driver(cast("Lab", Cut()), call)
    volume = Volume("0123abcd-data", "data", block=True, contexts={"compute-1": {}})
    for step in (driver.stage, driver.publish_to_pod):
        with pytest.raises(Refused) as refused:
            step(volume, "compute-1")
        assert refused.value.code == "UNAVAILABLE"
