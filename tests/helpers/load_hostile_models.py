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

from audit import Audit
from hostile_models import Case, cases
from model_folders import WRITERS, write_outside, write_pipeline


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
    resolve(Case("pipeline", lambda *_: None), base, base)
    for kind, write in WRITERS.items():
        write(root / f"intact {kind}")
        resolve(Case(kind, lambda *_: None), root / f"intact {kind}", base)
    audit = Audit([base, "/dev/null", "/dev/urandom"])
    report: dict[str, Any] = {}
    for number, (name, case) in enumerate(cases().items()):
        folder = root / f"case{number}"
        WRITERS[case.kind](folder)
        case.change(folder, outside)
        audit.start(folder)
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
            "events": audit.stop(),
        }
    return {"cases": report, "torch": "torch" in sys.modules, "executed": outside.marker.exists()}


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)
