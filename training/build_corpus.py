#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the corpus from Debian packages: train.jsonl, held_out.jsonl, eval.json and PROVENANCE.json.

  python3 training/build_corpus.py --out training/corpus

Facts come in many wordings, among running English and notes of several facts; word senses are the most used of
WordNet's (by tagged occurrences), one a lemma; reading tasks are drawn anew, their answers stand in the prompt. Held
out: wordings never trained, entries not chosen, texts, new tasks.
"""
import argparse
import gzip
import json
import pathlib
import re
from typing import Dict, Iterable, List, Tuple

import numpy as np

from corpus_tools import facts, packages, reading, wordings, wordnet

# package -> (whether its text goes in as it is, what is taken)
PACKAGES = {
    "wordnet-base": (True, "definitions of word senses, shortened; hypernyms"),
    "miscfiles": (False, "which city is whose capital, which country a city is in; first names for the reading tasks"),
    "dict-elements": (False, "names, symbols and atomic numbers of the elements"),
    "iso-codes": (False, "names and codes of countries, languages and currencies"),
}
_DRILLS = 0.5  # share of the reading tasks that are drills
_HELD_TEXTS = 3000  # running texts not trained: some give held-out losses, those with well-known names the gates


def document(kind: str, wording: str, a: str, b: str) -> Dict[str, object]:
    prompt, answer = wordings.split(wording, a, b)
    return {"kind": kind, "text": prompt + answer, "answer_at": len(prompt)}


def reading_documents(rng: np.random.Generator, words: reading.Words, count: int,
                      drills: float) -> List[Dict[str, object]]:
    groups, shares = list(reading.SHARES), list(reading.SHARES.values())
    out = []
    for group in rng.choice(len(groups), count, p=shares):
        drilled = drills > 0 and rng.random() < drills
        prompt, answer = reading.drill(rng, words) if drilled else reading.make(rng, words, groups[group])
        out.append({"kind": "reading", "text": prompt + answer, "answer_at": len(prompt)})
    return out


def notes(rng: np.random.Generator, pairs: Dict[str, List[Tuple[str, str]]], count: int) -> List[Dict[str, object]]:
    """Two to four facts told one after the other, so that a fact's end is followed by many things."""
    kinds = ("capital", "city", "symbol", "kind_of")
    out = []
    for _ in range(count):
        text = ""
        kind = kinds[int(rng.integers(len(kinds)))]
        forms = [w for w in wordings.WORDINGS[kind] if "?" not in w and "Country:" not in w]
        joint = wordings.JOINTS[int(rng.integers(len(wordings.JOINTS)))]
        for i in rng.choice(len(pairs[kind]), int(rng.integers(2, 5)), replace=False):
            part = "".join(wordings.split(forms[int(rng.integers(len(forms)))], *pairs[kind][i]))
            text += (joint if text else "") + part.rstrip(".")
        out.append({"kind": "notes", "text": text + "."})
    return out


def questions(pairs: Iterable[Tuple[str, str]], wording: str) -> List[Dict[str, str]]:
    """Prompts and whole answers of one wording, for the recall test."""
    out = []
    for a, b in pairs:
        prompt, answer = wordings.split(wording, a, b)
        out.append({"prompt": prompt, "answer": answer, "entity": a})
    return out


def names_in(texts: Iterable[str]) -> Dict[str, int]:
    """Capitalised names of two words or more -> how often they stand within a text."""
    counts: Dict[str, int] = {}
    for text in texts:
        for name in re.findall(r"(?<=[a-z,;] )[A-Z][a-z]+(?: [A-Z][a-z]+)+\b", text):
            counts[name] = counts.get(name, 0) + 1
    return counts


def write_lines(path: pathlib.Path, documents: List[Dict[str, object]]) -> None:
    with open(path, "w", encoding="utf-8") as f:
        for d in documents:
            f.write(json.dumps(d, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder to write")
    parser.add_argument("--packages", type=pathlib.Path, help="folder of .deb files [OUT/packages]")
    parser.add_argument("--words", type=int, default=3000, help="word senses to learn, most used first")
    parser.add_argument("--text", type=int, default=34000, help="synsets as running English [34000]")
    parser.add_argument("--notes", type=int, default=10000, help="documents of several facts to draw [10000]")
    parser.add_argument("--reading", type=int, default=40000, help="reading tasks to draw [40000]")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    fetched = {name: packages.fetch(name, args.packages or args.out / "packages") for name in PACKAGES}
    misc = fetched["miscfiles"].root / "usr/share/misc"
    iso = fetched["iso-codes"].root / "usr/share/iso-codes/json"
    entries = wordnet.common_entries(fetched["wordnet-base"].root / "usr/share/wordnet")
    chosen, unseen = entries[:args.words], entries[args.words:args.words + 300]
    elements = facts.elements(fetched["dict-elements"].root / "usr/share/dictd")
    pairs = {
        "capital": facts.capitals(misc),
        "symbol": [(name, symbol) for name, symbol, _ in elements],
        "number": [(name, number) for name, _, number in elements],
        "city": facts.cities(misc, iso),
        "country_code": sorted((name, code) for code, name in facts.country_names(iso).items()),
        "language_code": facts.languages(iso),
        "currency_code": facts.currencies(iso),
        "word": [(e.lemma, e.gloss) for e in chosen],
        "kind_of": [(e.lemma, e.hypernym) for e in chosen if e.hypernym],
    }
    train = [document(kind, wording, a, b) for kind, forms in wordings.WORDINGS.items() for wording in forms
             for a, b in pairs[kind]]
    rng = np.random.default_rng(args.seed)
    held_texts: List[str] = []
    if args.text:
        synsets = wordnet.running_text(fetched["wordnet-base"].root / "usr/share/wordnet", {e.gloss for e in unseen})
        synsets = [synsets[i] for i in rng.permutation(len(synsets))[:args.text + _HELD_TEXTS]]
        held_texts, synsets = synsets[:_HELD_TEXTS], synsets[_HELD_TEXTS:]
        train += [{"kind": "text", "text": s} for s in synsets]
        known = {name for name, count in names_in(synsets).items() if count >= 5}
    names = gzip.open(fetched["miscfiles"].root / "usr/share/dict/propernames.gz", "rt", encoding="latin-1").read()
    things = [e.lemma for e in entries[:4000] if e.pos == "noun" and re.fullmatch("[a-z]{3,9}", e.lemma)]
    words = reading.Words([n for n in names.split() if n.isascii() and len(n) > 2], things[:800],
                          sorted({b for _, b in pairs["capital"]} | {a for a, _ in pairs["city"]}))
    train += reading_documents(rng, words, args.reading, _DRILLS)
    train += notes(rng, pairs, args.notes)
    held_rng = np.random.default_rng([args.seed, 1])
    held_out = [document("new_wording", wording, *pairs[kind][i]) for kind, wording in wordings.HELD_OUT.items()
                for i in held_rng.choice(len(pairs[kind]), min(80, len(pairs[kind])), replace=False)]
    held_out += [document("new_word", wordings.WORDINGS["word"][0], e.lemma, e.gloss) for e in unseen]
    held_out += [{"kind": "new_text", "text": s} for s in held_texts[:300]]
    held_out += reading_documents(held_rng, words, 300, 0.0)
    sample = [pairs["word"][i] for i in sorted(held_rng.choice(len(chosen), min(1000, len(chosen)), replace=False))]
    recall = {"capital": pairs["capital"], "symbol": pairs["symbol"], "city": pairs["city"], "word": sample}
    asked = {kind: questions(p, wordings.WORDINGS[kind][0]) for kind, p in recall.items()}
    asked.update((kind + "_question", questions(recall[kind], wordings.question(wordings.WORDINGS[kind])))
                 for kind in ("capital", "symbol", "word"))
    tests = {"recall": {name: asked[name] for name in ("capital", "capital_question", "symbol", "symbol_question",
                                                       "city", "word", "word_question")},
             "reading": {group: [dict(zip(("prompt", "answer"), reading.make(held_rng, words, group)))
                                 for _ in range(200)] for group in reading.TASKS},
             "sentences": [dict(kind=kind, text=document(kind, wordings.WORDINGS[kind][0], *p)["text"],
                                entities=[p[0]] if kind == "word" else list(p))
                           for kind, of_kind in (("capital", pairs["capital"]), ("city", pairs["city"]),
                                                 ("word", sample)) for p in of_kind]}
    for s in held_texts:
        found = sorted(known & set(names_in([s])))
        if found:
            tests["sentences"].append(dict(kind="text", text=s, entities=found))
    write_lines(args.out / "train.jsonl", train)
    write_lines(args.out / "held_out.jsonl", held_out)
    (args.out / "eval.json").write_text(json.dumps(tests, ensure_ascii=False, indent=0), encoding="utf-8")
    counts: Dict[str, int] = {}
    for d in train:
        counts[d["kind"]] = counts.get(d["kind"], 0) + 1
    taken = {name: what for name, (_, what) in PACKAGES.items()}
    if args.text:
        taken["wordnet-base"] += "; definitions in full, examples"
    provenance = {"packages": [dict(p.provenance(), verbatim=PACKAGES[name][0], taken=taken[name])
                               for name, p in fetched.items()],
                  "facts": {k: len(v) for k, v in pairs.items()}, "documents": counts,
                  "arguments": {"words": args.words, "text": args.text, "notes": args.notes,
                                "reading": args.reading, "seed": args.seed},
                  "note": "Reading tasks are made by this program from the packages' names and words."}
    (args.out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n",
                                              encoding="utf-8")
    print("%s: %d documents %s, %d held out" % (args.out, len(train), counts, len(held_out)))


if __name__ == "__main__":
    main()
