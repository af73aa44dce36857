# SPDX-License-Identifier: Apache-2.0
"""Tasks whose answer stands in the prompt or follows from it: they need reading, not memory."""
import dataclasses
from typing import Callable, Dict, List, Tuple

import numpy as np

_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_COLOURS = ("red", "green", "blue", "black", "white", "yellow", "brown", "grey", "purple", "orange")


@dataclasses.dataclass
class Words:
    """What tasks are made from."""
    names: List[str]
    things: List[str]
    places: List[str]


Task = Callable[[np.random.Generator, Words], Tuple[str, str]]


def _pick(rng: np.random.Generator, items, n: int) -> List[str]:
    return [items[i] for i in rng.choice(len(items), n, replace=False)]


def _ask(statements: List[str], question: str, answer: str) -> Tuple[str, str]:
    return "%s Question: %s Answer:" % (" ".join(statements), question), " %s." % answer


def copy_place(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    n = int(rng.integers(1, 4))
    names, places = _pick(rng, words.names, n), _pick(rng, words.places, n)
    i = int(rng.integers(n))
    return _ask(["%s lives in %s." % pair for pair in zip(names, places)], "Where does %s live?" % names[i], places[i])


def copy_owner(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    n = int(rng.integers(1, 4))
    names, things = _pick(rng, words.names, n), _pick(rng, words.things, n)
    i = int(rng.integers(n))
    return _ask(["%s has the %s." % pair for pair in zip(names, things)], "Who has the %s?" % things[i], names[i])


def copy_colour(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    n = int(rng.integers(1, 4))
    things, colours = _pick(rng, words.things, n), _pick(rng, _COLOURS, n)
    i = int(rng.integers(n))
    return _ask(["The %s is %s." % pair for pair in zip(things, colours)], "What colour is the %s?" % things[i],
                colours[i])


def copy_code(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    n = int(rng.integers(1, 3))
    things, codes = _pick(rng, words.things, n), [str(rng.integers(100, 1000)) for _ in range(n)]
    i = int(rng.integers(n))
    return _ask(["The code of the %s is %s." % pair for pair in zip(things, codes)],
                "What is the code of the %s?" % things[i], codes[i])


def copy_words(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    chosen = " ".join(_pick(rng, words.things, int(rng.integers(2, 5))))
    return "Repeat: %s. Answer:" % chosen, " %s." % chosen


def close_brackets(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    opened = [list(_BRACKETS)[i] for i in rng.integers(0, len(_BRACKETS), int(rng.integers(2, 6)))]
    return "Close: %s :" % " ".join(opened), " %s" % " ".join(_BRACKETS[b] for b in reversed(opened))


def close_quotes(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    mark = ('"', "'", "*", "|")[int(rng.integers(4))]
    chosen = " ".join(_pick(rng, words.things, int(rng.integers(1, 4))))
    name = _pick(rng, words.names, 1)[0]
    return "%s wrote %s %s" % (name, mark, chosen), " %s." % mark


def continue_numbers(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    start, step, n = int(rng.integers(1, 60)), int(rng.integers(1, 4)), int(rng.integers(3, 6))
    return "List: " + "".join("%d, " % (start + step * i) for i in range(n)).rstrip(), " %d." % (start + step * n)


def continue_cycle(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    cycle = _pick(rng, words.things, int(rng.integers(2, 4)))
    n = int(rng.integers(len(cycle) + 1, 3 * len(cycle)))
    return "List: " + "".join("%s, " % cycle[i % len(cycle)] for i in range(n)).rstrip(), " %s." % cycle[n % len(cycle)]


# Group -> its tasks; the groups are what the report names.
TASKS: Dict[str, Tuple[Task, ...]] = {
    "copy": (copy_place, copy_owner, copy_colour, copy_code, copy_words),
    "closing": (close_brackets, close_quotes),
    "list": (continue_numbers, continue_cycle),
}
SHARES = {"copy": 0.6, "closing": 0.2, "list": 0.2}


def _several(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    """Three or four statements and a question about each: more to read off than one question gives."""
    n = int(rng.integers(3, 5))
    names, things = _pick(rng, words.names, n), _pick(rng, words.things, n)
    form = int(rng.integers(3))
    others = (_pick(rng, words.places, n), things, _pick(rng, _COLOURS, n))[form]
    subjects = things if form == 2 else names
    state = ("%s lives in %s.", "%s has the %s.", "The %s is %s.")[form]
    asked = ("Where does %s live?", "Who has the %s?", "What colour is the %s?")[form]
    answers = [(other, subject) if form == 1 else (subject, other) for subject, other in zip(subjects, others)]
    answers = [answers[i] for i in rng.permutation(n)]
    prompt, first = _ask([state % pair for pair in zip(subjects, others)], asked % answers[0][0], answers[0][1])
    return prompt, first + "".join(" Question: %s Answer: %s." % (asked % a, b) for a, b in answers[1:])


def _repeated(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    """Random words said twice or three times."""
    chosen = " ".join(_pick(rng, words.things + words.names, int(rng.integers(4, 12))))
    return chosen + ",", " %s%s." % (chosen, ", " + chosen if rng.random() < 0.3 else "")


# Only for training: answers that take more reading than the tasks asked in the report.
DRILLS: Tuple[Task, ...] = (_several, _several, _repeated)


def drill(rng: np.random.Generator, words: Words) -> Tuple[str, str]:
    """(prompt, answer) of a random drill."""
    return DRILLS[int(rng.integers(len(DRILLS)))](rng, words)


def make(rng: np.random.Generator, words: Words, group: str) -> Tuple[str, str]:
    """(prompt, answer) of a random task of the group."""
    tasks = TASKS[group]
    return tasks[int(rng.integers(len(tasks)))](rng, words)
