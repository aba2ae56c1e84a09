"""Reports are tested on the same synthetic runs as leaderboards."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
