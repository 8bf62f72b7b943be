from pathlib import Path
from dataclasses import dataclass
PAUSE = "registry.k8s.io/pause:3.10"
@dataclass
class Image:
    archive: Path
def ensure(report):
    return [Image(p) for p in sorted(Path("/tmp/imgs").glob("*.tar"), key=lambda p: ("product" in p.name, p.name))]
