import json

from tests.e2e.demo.writer import Outcome


def test_outcome_of_a_report() -> None:
    job = {
        "error": 0,
        "write": {"total_ios": 1536, "lat_ns": {"max": 2_093_741_210}},
        "read": {"total_ios": 1536},
    }
    outcome = Outcome.parse(json.dumps({"jobs": [job]}))
    assert (outcome.error, outcome.written, outcome.read_back) == (0, 1536, 1536)
    assert round(outcome.longest_pause, 1) == 2.1
