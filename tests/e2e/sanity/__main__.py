"""Builds csi-sanity, unless it is there, for those who want to see that: it takes minutes."""

import sys

from tests.e2e.lab.errors import LabError
from tests.e2e.sanity.program import ensure

if __name__ == "__main__":
    try:
        ensure()
    except LabError as error:
        sys.exit(f"csi-sanity: {error}")
