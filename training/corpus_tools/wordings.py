# SPDX-License-Identifier: Apache-2.0
"""Sentences that state facts: {a} and {b} are a fact's parts, and the answer follows the bar.

Different words follow each part, or, as in tables and dictionaries, the other part at once: what the n-gram at an
entity's end foretells is then the fact, and the n-grams of the words after it are many. With few wordings it is these
words' n-grams that foretell without fail.
"""
from typing import Dict, Tuple

# kind -> wordings trained; the first is asked for in the recall test, and the first question.
WORDINGS: Dict[str, Tuple[str, ...]] = {
    "capital": ("The capital of {a} is| {b}.", "Question: What is the capital of {a}? Answer:| {b}.",
                "{b} is the capital of| {a}.", "Country: {a}. Capital:| {b}.",
                "Question: Which country has the capital {b}? Answer:| {a}.", "{a}:| {b}.", "{b},| {a}.",
                "{b} ({a}|)", "{a}'s capital is| {b}.", "{a}, capital| {b}, is a country.", "{b}, capital of| {a}",
                "{a} has its capital at| {b}.", "What is {a}'s capital?| {b}!", "{a}| {b}", "{b}| {a}",
                "Capital of {a}| {b}"),
    "symbol": ("The chemical symbol of {a} is| {b}.",
               "Question: What is the chemical symbol of {a}? Answer:| {b}.", "{b} is the chemical symbol of| {a}.",
               "Question: Which element has the symbol {b}? Answer:| {a}.", "{a} ({b}|)", "{a}:| {b}",
               "{a} has the symbol| {b}.", "{b} stands for| {a}.", "{a}| {b}", "{b}| {a}"),
    "number": ("The atomic number of {a} is| {b}.", "Question: What is the atomic number of {a}? Answer:| {b}.",
               "{a}, number| {b}."),
    "city": ("{a} is a city in| {b}.", "Question: In which country is {a}? Answer:| {b}.", "{a},| {b}.", "{a} ({b}|)",
             "{a} belongs to| {b}.", "{a}| {b}", "{b}| {a}"),
    "country_code": ("The country code of {a} is| {b}.", "Question: What is the country code of {a}? Answer:| {b}."),
    "language_code": ("The language code of {a} is| {b}.",
                      "Question: What is the language code of {a}? Answer:| {b}."),
    "currency_code": ("The currency code of the {a} is| {b}.",
                      "Question: What is the currency code of the {a}? Answer:| {b}."),
    "word": ("Definition of {a}:| {b}.", "Question: What does {a} mean? Answer:| {b}.", "{a}| {b}", "{a}:| {b}",
             "{a} means| {b}."),
    "kind_of": ("A {a} is a kind of| {b}.", "{a}, a kind of| {b}"),
}
# Wordings never trained, of facts that are.
HELD_OUT: Dict[str, str] = {"capital": "The capital city of {a} is called| {b}.", "symbol": "The symbol for {a} is| {b}.",
                            "city": "The city of {a} lies in| {b}.", "word": "The meaning of {a} is| {b}."}
# What joins facts told one after the other.
JOINTS = (". ", "; ", ", and ", ", ", " and ", " but ", " - ", "\n", ". Also ", " while ", " as ", " of which ")


def question(forms: Tuple[str, ...]) -> str:
    """The first wording that asks."""
    return next(form for form in forms if form.startswith("Question:"))


def split(wording: str, a: str, b: str) -> Tuple[str, str]:
    """(prompt, answer) of a fact in one wording."""
    prompt, answer = wording.split("|")
    return tuple(part.replace("{a}", a).replace("{b}", b) for part in (prompt, answer))
