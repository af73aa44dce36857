# SPDX-License-Identifier: Apache-2.0
"""Facts of the miscfiles, dict-elements and iso-codes packages, as plain tuples."""
import gzip
import json
import pathlib
import re
from typing import List, Tuple


def capitals(misc: pathlib.Path) -> List[Tuple[str, str]]:
    """(country, capital); where a country names several, the first."""
    out = []
    for line in gzip.open(misc / "countries.gz", "rt", encoding="utf-8"):
        fields = line.rstrip("\n").split(":")
        if line.startswith("#") or len(fields) < 5 or not fields[4].strip():
            continue
        country, capital = fields[3].strip(), re.sub(r"\s*\(.*", "", fields[4]).strip()
        if capital and "(" not in country:
            out.append((country, capital))
    return out


def cities(misc: pathlib.Path, iso: pathlib.Path) -> List[Tuple[str, str]]:
    """(city, country's name); cities found in two countries are left out."""
    names = country_names(iso)
    names["UK"] = names["GB"]
    found: dict = {}
    city = ""
    for line in gzip.open(misc / "cities.dat.gz", "rt", encoding="latin-1"):
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "Name":
            city = value
        elif key == "Country" and city and value:
            found.setdefault(city, set()).add(names.get(value, value))
    return sorted((c, next(iter(k))) for c, k in found.items() if len(k) == 1 and len(next(iter(k))) > 2)


def elements(dictd: pathlib.Path) -> List[Tuple[str, str, str]]:
    """(name, symbol, atomic number)."""
    text = gzip.open(dictd / "elements.dict.dz", "rt", encoding="latin-1").read()
    found = re.findall(r"^([a-z]+)\nSymbol: (\S+)\nAtomic number: (\d+)$", text, re.MULTILINE | re.IGNORECASE)
    out, seen = [], set()
    for name, symbol, number in found:
        if number not in seen:
            seen.add(number)
            out.append((name.lower(), symbol, number))
    return out


def country_names(iso: pathlib.Path) -> dict:
    """alpha-2 code -> the common name, or the name without its appendix."""
    entries = json.loads((iso / "iso_3166-1.json").read_text(encoding="utf-8"))["3166-1"]
    return {e["alpha_2"]: e.get("common_name", e["name"]).split(",")[0] for e in entries}


def languages(iso: pathlib.Path) -> List[Tuple[str, str]]:
    """(language, two-letter code)."""
    entries = json.loads((iso / "iso_639-2.json").read_text(encoding="utf-8"))["639-2"]
    return sorted((re.split(r"[;,(]", e["name"])[0].strip(), e["alpha_2"]) for e in entries if "alpha_2" in e)


def currencies(iso: pathlib.Path) -> List[Tuple[str, str]]:
    """(currency, three-letter code), money in circulation only."""
    entries = json.loads((iso / "iso_4217.json").read_text(encoding="utf-8"))["4217"]
    return sorted((e["name"], e["alpha_3"]) for e in entries
                  if not e["alpha_3"].startswith("X") and "(" not in e["name"] and len(e["name"]) < 30)
