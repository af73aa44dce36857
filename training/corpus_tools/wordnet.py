# SPDX-License-Identifier: Apache-2.0
"""Common word senses from WordNet 3.0's database files (formats: wndb(5WN), senseidx(5WN), cntlist(5WN))."""
import collections
import dataclasses
import pathlib
import re
from typing import Container, Dict, List, Optional

_POS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}  # ss_type of a sense key; 5: satellite
_LONG = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}
_MAX_GLOSS_WORDS = 20


@dataclasses.dataclass
class Entry:
    """The most used sense of a lemma."""
    lemma: str
    pos: str
    gloss: str
    count: int  # times the sense was tagged in WordNet's semantic concordance
    hypernym: Optional[str]  # first lemma of the (first) hypernym, nouns only


def short_gloss(gloss: str) -> Optional[str]:
    """The definition without examples, asides and afterthoughts; None where nothing short is left."""
    text = re.sub(r'"[^"]*"?', "", gloss)
    text = re.sub(r"\([^)]*\)", "", text)
    text = " ".join(text.split(";")[0].split(":")[0].split()).strip(" ,.")
    text = text.replace(" ,", ",").replace("`", "'")
    words = text.split()
    while len(words) > _MAX_GLOSS_WORDS:
        head, comma, _ = " ".join(words).rpartition(",")
        if not comma:
            return None
        words = head.split()
    return " ".join(words) if len(words) >= 2 else None


def common_entries(folder: pathlib.Path) -> List[Entry]:
    """One entry per lemma, most used first; `folder` holds data.*, index.* and cntlist.rev."""
    best: Dict[str, tuple] = {}
    totals: collections.Counter = collections.Counter()
    with open(folder / "cntlist.rev", encoding="latin-1") as f:
        for line in f:
            key, sense, count = line.split()
            lemma, _, rest = key.partition("%")
            pos = _POS[rest[0]]
            totals[lemma] += int(count)
            candidate = (-int(count), list(_LONG).index(pos), int(sense))
            if lemma not in best or candidate < best[lemma][0]:
                best[lemma] = (candidate, pos)
    index = {pos: _read_index(folder / ("index." + pos)) for pos in _LONG}
    data = {pos: _read_data(folder / ("data." + pos)) for pos in _LONG}
    entries = []
    for lemma in sorted(best, key=lambda w: (-totals[w], w)):
        (negative, _, sense), pos = best[lemma]
        senses = index[pos].get(lemma, [])
        if not re.fullmatch(r"[a-z][a-z_'-]+", lemma) or sense > len(senses):
            continue  # the concordance counts a few forms that are not in the index
        names, pointers, gloss = data[pos][senses[sense - 1]]
        short = short_gloss(gloss)
        if short is None:
            continue
        above = next((target for symbol, target in pointers if symbol in ("@", "@i")), None) if pos == "noun" else None
        hypernym = data["noun"][above][0][0] if above else None
        written = next((n for n in names if n.lower() == lemma), lemma)  # as spelt: "French", not "french"
        entries.append(Entry(_plain(written), _LONG[pos], short, -negative, _plain(hypernym) if hypernym else None))
    return entries


def running_text(folder: pathlib.Path, left_out: Container[str]) -> List[str]:
    """Every synset's definition and examples as they stand, named things with their name before them.

    left_out: short glosses (see short_gloss) that must not be told.
    """
    out = []
    for pos in ("noun", "verb", "adj", "adv"):
        for names, _, gloss in _read_data(folder / ("data." + pos)).values():
            if short_gloss(gloss) in left_out:
                continue
            text = " ".join(gloss.replace("`", "'").split())
            name = _plain(names[0])
            proper = name[0].isupper() and " " in name
            if proper:
                text = name + (" ", ", ", ": ", " (")[len(out) % 4] + text
            elif '"' not in text:
                continue  # a bare definition is no running English
            out.append(text)
    return out


def _plain(name: str) -> str:
    return re.sub(r"\([a-z]+\)$", "", name).replace("_", " ")


def _read_index(path: pathlib.Path) -> Dict[str, List[str]]:
    """lemma -> synset offsets in order of sense number."""
    out = {}
    with open(path, encoding="latin-1") as f:
        for line in f:
            if line.startswith(" "):
                continue  # the licence
            fields = line.split()
            synsets = int(fields[2])
            out[fields[0]] = fields[-synsets:]
    return out


def _read_data(path: pathlib.Path) -> Dict[str, tuple]:
    """offset -> (lemmas, [(pointer symbol, offset)], gloss)."""
    out = {}
    with open(path, encoding="latin-1") as f:
        for line in f:
            if line.startswith(" "):
                continue
            fields, _, gloss = line.partition(" | ")
            fields = fields.split()
            num_words = int(fields[3], 16)
            names = fields[4:4 + 2 * num_words:2]
            at = 5 + 2 * num_words
            pointers = [(fields[at + 4 * i], fields[at + 4 * i + 1]) for i in range(int(fields[at - 1]))]
            out[fields[0]] = (names, pointers, gloss.strip())
    return out
