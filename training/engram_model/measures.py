# SPDX-License-Identifier: Apache-2.0
"""What the report measures: loss, recall, reading, gates, logit lens. Functions take a model, return numbers."""
import collections
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch

from .inference import forward, greedy
from .model import EngramModel
from .tokenizer import Tokenizer

FUNCTION_WORDS = frozenset("a an the of in on at to is are was were be and or that by for with from as it its this "
                           "which who what does has have not into".split())
TOKEN_KINDS = ("entity end", "entity inside", "content word", "function word", "punctuation")
REACHES = ("function, reaches entity", "function, does not")  # parts of "function word"


def first_content_word(text: str) -> str:
    """The first word that is not a function word, lower case; '' if there is none."""
    for word in text.lower().replace(",", " ").replace(".", " ").replace(";", " ").split():
        if word not in FUNCTION_WORDS:
            return word
    return ""


@torch.no_grad()
def loss_by_kind(model: EngramModel, documents: Sequence[Tuple[str, List[int]]],
                 on: bool) -> Dict[str, Tuple[float, int]]:
    """(kind, tokens) pairs -> kind -> (mean cross entropy in nats a token, tokens); 'all' sums them up."""
    sums: Dict[str, float] = collections.defaultdict(float)
    counts: Dict[str, int] = collections.defaultdict(int)
    order = sorted(range(len(documents)), key=lambda i: len(documents[i][1]))
    for start in range(0, len(order), 64):
        part = [documents[i] for i in order[start:start + 64]]
        out, mask = forward(model, [t[:-1] for _, t in part], on)
        logprobs = model.logits(out.hidden).log_softmax(-1)
        for row, (kind, tokens) in enumerate(part):
            target = torch.tensor(tokens[1:], device=logprobs.device)
            total = -float(logprobs[row, :len(target)].gather(1, target[:, None]).double().sum())
            for key in (kind, "all"):
                sums[key] += total
                counts[key] += len(target)
    return {k: (sums[k] / counts[k], counts[k]) for k in sorted(sums)}


def accuracy(model: EngramModel, t: Tokenizer, questions: Sequence[Dict[str, str]], on: bool,
             first_word: bool = False) -> Tuple[float, List[str]]:
    """Share answered right by greedy generation, and what was generated.

    Right: the whole answer, or with `first_word` its first content word.
    """
    prompts = [t.encode(q["prompt"]) for q in questions]
    answers = [t.encode(q["answer"]) for q in questions]
    limits = [min(len(a), 12) if first_word else len(a) for a in answers]
    texts = [t.decode(ids) for ids in greedy(model, prompts, limits, on)]
    right = 0
    for text, question in zip(texts, questions):
        if first_word:
            right += first_content_word(text) == first_content_word(question["answer"])
        else:
            right += text == question["answer"]
    return right / max(1, len(questions)), texts


def entity_spans(t: Tokenizer, tokens: Sequence[int], entities: Sequence[str]) -> List[Tuple[int, int]]:
    """(first, last) token of each entity's first mention; entities that do not end with a token are left out."""
    ends, at = {}, 0
    for i, token in enumerate(tokens):
        at += len(t.decode([token]))
        ends[at] = i
    text = t.decode(tokens)
    spans = []
    for entity in entities:
        begin = text.find(entity)
        last = ends.get(begin + len(entity)) if begin >= 0 else None
        if last is not None:
            spans.append((min(i for end, i in ends.items() if end > begin), last))
    return spans


def _is_function(text: str) -> bool:
    return text.lower() in FUNCTION_WORDS or not any(c.isalnum() for c in text)


def function_tokens(t: Tokenizer) -> np.ndarray:
    """bool [vocab]: tokens that are a function word, or neither letter nor digit."""
    return np.array([_is_function(t.decode([i]).strip()) for i in range(t.size)])


def token_kinds(t: Tokenizer, tokens: Sequence[int], entities: Sequence[str]) -> List[str]:
    """The kind of each token: entities of two tokens or more have an inside and an end."""
    kinds = []
    for token in tokens:
        text = t.decode([token]).strip()
        if text.lower() in FUNCTION_WORDS:
            kinds.append("function word")
        else:
            kinds.append("content word" if any(c.isalnum() for c in text) else "punctuation")
    for first, last in entity_spans(t, tokens, entities):
        if first < last:
            kinds[first:last] = ["entity inside"] * (last - first)
            kinds[last] = "entity end"
    return kinds


def function_words_by_reach(kinds: Sequence[str], spans: Sequence[Tuple[int, int]], max_order: int) -> Dict[int, str]:
    """Position of each function word -> whether one of its n-grams holds a token of an entity before it."""
    held = {i for _, last in spans for i in range(last + 1, last + max_order)}
    return {i: "function, reaches entity" if i in held else "function, does not"
            for i, kind in enumerate(kinds) if kind == "function word"}


@torch.no_grad()
def gates_by_kind(model: EngramModel, t: Tokenizer,
                  sentences: Sequence[Dict]) -> Dict[int, Dict[str, Tuple[float, int]]]:
    """layer -> kind of token -> (mean gate over streams, tokens); without first tokens, which have no n-gram.

    Function words are also counted by whether their n-grams reach back into an entity.
    """
    order = model.config.engram.max_ngram_size
    sums: Dict[Tuple[int, str], List[float]] = collections.defaultdict(list)
    for start in range(0, len(sentences), 64):
        part = sentences[start:start + 64]
        ids = [t.encode(s["text"]) for s in part]
        out, _ = forward(model, ids, True)
        for row, (sentence, tokens) in enumerate(zip(part, ids)):
            kinds = token_kinds(t, tokens, sentence["entities"])
            reach = function_words_by_reach(kinds, entity_spans(t, tokens, sentence["entities"]), order)
            for layer, gate in out.gates.items():
                for i, value in enumerate(gate[row, :len(tokens)].mean(-1).tolist()):
                    if i:
                        sums[layer, kinds[i]].append(value)
                    if i and i in reach:
                        sums[layer, reach[i]].append(value)
    result: Dict[int, Dict[str, Tuple[float, int]]] = {}
    for (layer, kind), values in sums.items():
        result.setdefault(layer, {})[kind] = (sum(values) / len(values), len(values))
    return result


@torch.no_grad()
def first_tokens_right(model: EngramModel, t: Tokenizer, questions: Sequence[Dict[str, str]],
                       withheld: Optional[str]) -> Tuple[int, int]:
    """(right, asked): first answer tokens, the memory withheld at all of the prompt's tokens of one kind.

    Only questions whose prompt has such a token are asked; None withholds nothing.
    """
    right = asked = 0
    for start in range(0, len(questions), 64):
        prompts, ons, targets = [], [], []
        for question in questions[start:start + 64]:
            prompt = t.encode(question["prompt"])
            kinds = token_kinds(t, prompt, [question["entity"]])
            if withheld is None or withheld in kinds:
                prompts.append(prompt)
                ons.append([0.0 if kind == withheld else 1.0 for kind in kinds])
                targets.append(t.encode(question["answer"])[0])
        if not prompts:
            continue
        out, mask = forward(model, prompts, True, memory_on=ons)
        last = out.hidden[torch.arange(len(prompts)), mask.sum(1) - 1]
        right += int((model.logits(last).argmax(-1).cpu() == torch.tensor(targets)).sum())
        asked += len(prompts)
    return right, asked


@torch.no_grad()
def gates_of(model: EngramModel, t: Tokenizer, text: str) -> Tuple[List[str], Dict[int, List[float]]]:
    """Token texts and, per layer, each token's mean gate."""
    ids = t.encode(text)
    out, _ = forward(model, [ids], True)
    return [t.decode([i]) for i in ids], {layer: g[0].mean(-1).tolist() for layer, g in out.gates.items()}


@torch.no_grad()
def logit_lens(model: EngramModel, sequences: Sequence[Sequence[int]], on: bool) -> List[float]:
    """Mean KL(final || layer) in nats: index 0 the embedding, i the output of layer i-1; the last is 0."""
    sums: Optional[List[float]] = None
    count = 0
    for start in range(0, len(sequences), 32):
        out, mask = forward(model, sequences[start:start + 32], on, keep_layers=True)
        final = model.logits(out.hidden)[mask].log_softmax(-1)
        divergences = []
        for streams in out.layers:
            here = model.logits(model.final_hidden(streams))[mask].log_softmax(-1)
            divergences.append(float((final.exp() * (final - here)).sum(-1).double().sum()))
        sums = divergences if sums is None else [a + b for a, b in zip(sums, divergences)]
        count += int(mask.sum())
    return [s / count for s in sums or []]
