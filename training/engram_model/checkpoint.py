# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: written whole or not at all, the newest two kept."""
import os
import pathlib
import re
from typing import Any, Dict, List, Optional

import torch

_KEEP = 2


def save(run_dir: os.PathLike, step: int, state: Dict[str, Any]) -> pathlib.Path:
    """Writes `checkpoint-STEP.pt` through a temporary name and removes older ones."""
    folder = pathlib.Path(run_dir)
    path = folder / ("checkpoint-%08d.pt" % step)
    temporary = folder / "checkpoint.tmp"
    with open(temporary, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    for old in _existing(folder)[:-_KEEP]:
        old.unlink()
    return path


def load_newest(run_dir: os.PathLike, device: str = "cpu") -> Optional[Dict[str, Any]]:
    """The newest checkpoint's state, or None for a fresh run. Files of one's own runs only: torch.load runs code."""
    found = _existing(pathlib.Path(run_dir))
    if not found:
        return None
    keyword = {"weights_only": False} if "weights_only" in (torch.load.__kwdefaults__ or {}) else {}
    return torch.load(found[-1], map_location=device, **keyword)


def _existing(folder: pathlib.Path) -> List[pathlib.Path]:
    return sorted(p for p in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d+\.pt", p.name))
