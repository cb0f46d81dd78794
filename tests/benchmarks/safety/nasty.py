"""One run over a folder of bad files: what was protected, what was refused, and with what words."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.benchmarks.safety import made, watched


def nasty(folder: Path) -> dict[str, Any]:
    """Protect a folder and prove every output from its pixels."""
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        sources = made.hashes(folder)
        line = made.protect_line(folder, room / "out", made.make_key(room), "--json")
        ended = watched.watch(line, room)
        answer = json.loads(ended.stdout)
        verdict = watched.watch(
            [*line[:3], "verify", str(folder), str(room / "out"), "--json"], room
        )
        checked = json.loads(verdict.stdout)
        changed = made.hashes(folder) != sources
        lines = (room / "out.unlearn" / "manifest.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["type"] == "image"]
    reasons = Counter(record["reason"] for record in records if record["status"] != "ok")
    formats = Counter(Path(record["out"]).suffix for record in records if record["status"] == "ok")
    return {
        "files": len(sources),
        "protected": sum(formats.values()),
        "written as": dict(sorted(formats.items())),
        "refused": sum(reasons.values()),
        "no pictures": len(sources) - sum(formats.values()) - sum(reasons.values()),
        "worker died": sum(count for reason, count in reasons.items() if "died" in reason),
        "code": ended.code,
        "largest change": max((record["linf"] or 0 for record in records), default=0),
        "verified": checked.get("counts", checked),
        "sources changed": changed,
        "seconds": round(ended.seconds, 1),
        "all processes, MB": round(ended.together / 1e6),
        "largest process, MB": round(ended.largest / 1e6),
        "reasons": dict(sorted(reasons.items(), key=lambda item: -item[1])),
        "answer": {key: answer[key] for key in ("exit_code",) if key in answer},
    }
