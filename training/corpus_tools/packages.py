# SPDX-License-Identifier: Apache-2.0
"""Fetches Debian packages with apt-get, unpacks them without installing, and records what they were."""
import dataclasses
import hashlib
import pathlib
import re
import subprocess
from typing import Dict, Tuple


@dataclasses.dataclass
class Package:
    """One unpacked package; `root` is where its files lie."""
    name: str
    version: str
    licence: str  # of its own files, by the machine-readable copyright file; Debian's packaging may have another
    notice: str  # the text of that licence, as far as it stands with the files' paragraph
    sha256: str  # of the .deb
    file: str
    root: pathlib.Path

    def provenance(self) -> Dict[str, object]:
        return {"package": self.name, "version": self.version, "licence": self.licence, "file": self.file,
                "sha256": self.sha256, "notice": self.notice,
                "copyright": "usr/share/doc/%s/copyright in the package" % self.name}


def own_licence(text: str) -> Tuple[str, str]:
    """(name, text) of the licence of `Files: *` in a machine-readable copyright file."""
    for paragraph in re.split(r"\n\s*\n", text):
        if not re.search(r"^Files: \*$", paragraph, re.MULTILINE):
            continue
        found = re.search(r"^License:[ \t]*(\S.*)\n?((?:[ \t].*\n?)*)", paragraph, re.MULTILINE)
        if found:
            lines = [line.strip() for line in found.group(2).splitlines()]
            return found.group(1), "\n".join("" if line == "." else line for line in lines)
    raise ValueError("no licence for 'Files: *' in a copyright file")


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
    licence, notice = own_licence(text)
    return Package(name, version.stdout.strip(), licence, notice, hashlib.sha256(deb.read_bytes()).hexdigest(),
                   deb.name, root)
