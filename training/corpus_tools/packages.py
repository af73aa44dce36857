# SPDX-License-Identifier: Apache-2.0
"""Fetches Debian packages with apt-get, unpacks them without installing, and records what they were."""
import dataclasses
import hashlib
import pathlib
import re
import subprocess
from typing import Dict, List


@dataclasses.dataclass
class Package:
    """One unpacked package; `root` is where its files lie."""
    name: str
    version: str
    licence: List[str]  # the License fields of its machine-readable copyright file
    sha256: str  # of the .deb
    file: str
    root: pathlib.Path

    def provenance(self) -> Dict[str, object]:
        return {"package": self.name, "version": self.version, "licence": self.licence, "file": self.file,
                "sha256": self.sha256, "copyright": "usr/share/doc/%s/copyright in the package" % self.name}


def fetch(name: str, folder: pathlib.Path) -> Package:
    """Downloads (unless already there) and unpacks one package under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob(name + "_*.deb"))
    if not found:
        subprocess.run(["apt-get", "-q", "download", name], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found = sorted(folder.glob(name + "_*.deb"))
    if len(found) != 1:
        raise RuntimeError("%s: %d files for package %s, one expected" % (folder, len(found), name))
    deb = found[0]
    root = folder / name
    subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
    version = subprocess.run(["dpkg-deb", "-f", str(deb), "Version"], check=True, capture_output=True, text=True)
    text = (root / "usr/share/doc" / name / "copyright").read_text(encoding="utf-8", errors="replace")
    licence = sorted(set(re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)))
    return Package(name, version.stdout.strip(), licence or ["see the copyright file"],
                   hashlib.sha256(deb.read_bytes()).hexdigest(), deb.name, root)
