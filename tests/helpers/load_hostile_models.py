"""Program that resolves hostile models and reports what happened, as JSON.

An audit hook cannot be removed, so this runs in a process of its own:

    python load_hostile_models.py FOLDER

FOLDER gets one folder for each case. Nothing here imports torch; the report says whether the package did.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from hostile_models import WRITERS, Case, cases, write_outside, write_pipeline

WATCHED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")
"""Audit events that no case may cause."""


def resolve(case: Case, folder: Path, base: Path) -> None:
    """Resolve the hostile model as a run does, before it loads weights."""
    from diffcore_hf.config.augment import AdapterConfig, FilterConfig, ModelConfig
    from diffcore_hf.models.model_resolution import resolve_model
    from diffcore_hf.models.tower_resolution import resolve_filter
    from diffcore_hf.models.weights_access import check_local

    if case.kind == "tower":
        resolve_filter(FilterConfig(path=str(folder)), describe_only=True)
    elif case.kind == "backbone":
        check_local(str(folder))
    elif case.kind == "adapter":
        adapter = AdapterConfig(str(folder), weight_name=case.weight_name)
        resolve_model(ModelConfig(path=str(base), device="cpu", adapters=(adapter,)))
    else:
        resolve_model(ModelConfig(path=str(folder), device="cpu"))


def main(root: Path) -> dict[str, Any]:
    """Return the report of all cases: error, seconds, and files that were opened outside of the model."""
    outside = write_outside(root / "outside")
    base = root / "base"
    write_pipeline(base)
    allowed = tuple(str(Path(path).resolve()) for path in (*sys.path[1:], sys.prefix, sys.base_prefix) if path)
    current: dict[str, Any] = {}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and "folder" in current and isinstance(arguments[0], str):
            path = str(Path(arguments[0]).absolute())
            if not path.startswith((*allowed, current["folder"], str(base), "/dev/null", "/dev/urandom")):
                current["events"].append(f"open {path}")
        elif event in WATCHED and "folder" in current:
            current["events"].append(f"{event} {arguments!r}")

    resolve(Case("pipeline", lambda *_: None), base, base)
    for kind, write in WRITERS.items():
        write(root / f"intact {kind}")
        resolve(Case(kind, lambda *_: None), root / f"intact {kind}", base)
    sys.addaudithook(watch)
    report: dict[str, Any] = {}
    for number, (name, case) in enumerate(cases().items()):
        folder = root / f"case{number}"
        WRITERS[case.kind](folder)
        case.change(folder, outside)
        current |= {"folder": str(folder), "events": []}
        start = time.process_time()
        try:
            resolve(case, folder, base)
            error: BaseException | None = None
        except BaseException as raised:
            error = raised
        seconds = time.process_time() - start
        report[name] = {
            "error": type(error).__name__,
            "message": str(error),
            "seconds": seconds,
            "events": current["events"],
        }
        current.clear()
    return {"cases": report, "torch": "torch" in sys.modules, "executed": outside.marker.exists()}


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
