from pathlib import Path

import pytest

from tests.unit.kubectl.workstation import Workstation


@pytest.fixture
def desk(tmp_path: Path) -> Workstation:
    return Workstation(tmp_path)
