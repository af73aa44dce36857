# SPDX-License-Identifier: Apache-2.0
"""Glosses, reading tasks and the measures of the report."""
import pathlib
import re
import tempfile
import unittest

import numpy as np

from paths import VECTORS
import build_corpus
from corpus_tools import packages, reading, wordings, wordnet
from engram_model import tokenizer

try:
    import torch
    from engram_model import config, measures
    from engram_model.inference import forward, greedy
    from engram_model.model import EngramModel
except ModuleNotFoundError as missing:
    if missing.name != "torch":
        raise
    torch = None


class Glosses(unittest.TestCase):
    def test_examples_and_asides_are_left_out(self):
        self.assertEqual(wordnet.short_gloss('(botany) a tall plant; "he climbed it"; "another"'), "a tall plant")
        self.assertIsNone(wordnet.short_gloss("(obsolete) plant"))
        long = "a thing " + "very " * 10 + "big, " + "and " * 20 + "so on"
        self.assertEqual(wordnet.short_gloss(long), "a thing " + "very " * 10 + "big")


class RunningText(unittest.TestCase):
    def test_examples_stay_and_names_go_before_their_definition(self):
        rows = {"noun": ["  1 licence", "01 04 n 01 swoop 1 001 @ 02 n 0000 | a very rapid raid",
                         "02 04 n 01 dash 0 000 | a quick run; \"he made a dash for the `exit'\"",
                         "03 18 n 01 Thor_Hyerdahl 0 001 @i 02 n 0000 | Norwegian explorer (1914-2002)",
                         "04 04 n 01 jog 0 000 | a slow run; \"a jog in the park\""],
                "verb": [], "adj": [], "adv": []}
        with tempfile.TemporaryDirectory() as folder:
            for pos, lines in rows.items():
                pathlib.Path(folder, "data." + pos).write_text("".join(line + "\n" for line in lines))
            found = wordnet.running_text(pathlib.Path(folder), {"a slow run"})
        self.assertEqual(found[0], "a quick run; \"he made a dash for the 'exit'\"")
        self.assertRegex(found[1], r"^Thor Hyerdahl[ ,:(]+Norwegian explorer")
        self.assertEqual(len(found), 2)  # neither the bare definition nor what is left out


class Wordings(unittest.TestCase):
    def test_each_asks_for_one_part_and_tells_the_other(self):
        for kind, forms in wordings.WORDINGS.items():
            self.assertNotIn(wordings.HELD_OUT.get(kind), forms)
            for form in forms:
                prompt, answer = wordings.split(form, "Aland", "Beeton")
                self.assertEqual((prompt + answer).count("Aland"), 1, form)
                self.assertEqual((prompt + answer).count("Beeton"), 1, form)
                self.assertNotIn("{", prompt + answer)

    def test_notes_tell_two_to_four_facts(self):
        pairs = {kind: [("a%d" % i, "b%d" % i) for i in range(9)] for kind in ("capital", "city", "symbol", "kind_of")}
        for note in build_corpus.notes(np.random.default_rng(0), pairs, 30):
            self.assertIn(len(re.findall(r"\ba\d", note["text"])), (2, 3, 4), note["text"])
            told = [sorted(re.findall(r"\b%s(\d)" % part, note["text"])) for part in "ab"]
            self.assertEqual(told[0], told[1])

    def test_names_within_texts(self):
        self.assertEqual(build_corpus.names_in(["Old Town in the United States of America", "the United States, Rome"]),
                         {"United States": 2})


class Licences(unittest.TestCase):
    def test_the_files_own_licence_is_told_from_the_packaging(self):
        text = ("Format: x\n\nFiles: debian/*\nLicense: GPL-2+\n Theirs.\n\nFiles: *\nCopyright: someone\n"
                "License: Permissive\n Do what you like.\n .\n No warranty.\n\nLicense: GPL-2+\n On Debian\n")
        self.assertEqual(packages.own_licence(text), ("Permissive", "Do what you like.\n\nNo warranty."))
        with self.assertRaises(ValueError):
            packages.own_licence("Files: debian/*\nLicense: GPL-2+\n")


class ReadingTasks(unittest.TestCase):
    WORDS = reading.Words(["Ann", "Bob", "Cy", "Di"], ["lamp", "box", "hat", "pen", "cup", "jug", "tin"],
                          ["Rome", "Oslo", "Lima", "Bonn"])

    def test_copies_stand_in_the_prompt(self):
        rng = np.random.default_rng(0)
        for task in reading.TASKS["copy"]:
            for _ in range(20):
                prompt, answer = task(rng, self.WORDS)
                self.assertIn(answer.strip(" ."), prompt)

    def test_drills_tell_what_they_ask_for(self):
        rng = np.random.default_rng(0)
        for _ in range(60):
            prompt, answer = reading.drill(rng, self.WORDS)
            for one in re.findall(r"Answer: (\S+)\.", prompt + answer):
                self.assertIn(one, prompt.split("Question:")[0])
            if prompt.endswith(","):
                self.assertTrue(answer.startswith(" " + prompt[:-1]))

    def test_brackets_and_numbers_are_right(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            prompt, answer = reading.close_brackets(rng, self.WORDS)
            stack = []
            for token in (prompt[len("Close: "):-2] + answer).split():
                if token in "([{<":
                    stack.append(")]}>"["([{<".index(token)])
                else:
                    self.assertEqual(token, stack.pop())
            self.assertEqual(stack, [])
            prompt, answer = reading.continue_numbers(rng, self.WORDS)
            numbers = [int(x) for x in (prompt[6:] + answer).strip(" .").split(", ")] if ", " in prompt else []
            self.assertEqual(len(set(np.diff(numbers))), 1)


@unittest.skipIf(torch is None, "PyTorch is not installed")
class Measures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.t = tokenizer.load(VECTORS / "tokenizer.json")
        engram = dict(layer_ids=[1], vocab_size=[100, 200], n_heads=2, head_dim=32, pad_token_id=4093,
                      compressed_vocab_size=3501)
        c = config.from_dict(dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                                  head_dim=16, intermediate_size=48, vocab_size=4096, eos_token_id=4092,
                                  pad_token_id=4093, engram=engram))
        cls.model = EngramModel(c, torch.from_numpy(cls.t.compressed_map()))
        cls.model.initialise(3)
        cls.model.eval()

    def test_kinds_of_tokens(self):
        text, entity = "The capital of Uzbekistan is Paris.", "Uzbekistan"
        tokens = self.t.encode(text)
        kinds = dict(zip([self.t.decode([i]) for i in tokens], measures.token_kinds(self.t, tokens, [entity])))
        self.assertEqual(kinds[" of"], "function word")
        self.assertEqual(kinds["."], "punctuation")
        self.assertEqual(kinds[" capital"], "content word")
        pieces = [self.t.decode([i]) for i in self.t.encode(" " + entity)]
        self.assertGreater(len(pieces), 1)
        self.assertEqual(kinds[pieces[-1]], "entity end")
        self.assertEqual(kinds[pieces[0]], "entity inside")

    def test_function_words_are_split_by_what_their_n_grams_reach(self):
        text = "The capital of Uzbekistan is a city in the east"
        tokens = self.t.encode(text)
        words = [self.t.decode([i]).strip() for i in tokens]
        spans = measures.entity_spans(self.t, tokens, ["Uzbekistan"])
        self.assertEqual("".join(self.t.decode([i]) for i in tokens[spans[0][0]:spans[0][1] + 1]), " Uzbekistan")
        kinds = measures.token_kinds(self.t, tokens, ["Uzbekistan"])
        found = {words[i]: part for i, part in measures.function_words_by_reach(kinds, spans, 3).items()}
        reaches, not_ = measures.REACHES
        self.assertEqual(found, {"The": not_, "of": not_, "is": reaches, "a": reaches, "in": not_, "the": not_})

    def test_withheld_memory(self):
        questions = [{"prompt": "The capital of %s is" % e, "answer": " x", "entity": e}
                     for e in ("Uzbekistan", "Kazakhstan")]

        def answers(withheld):
            found = []
            for question in questions:
                tokens = self.t.encode(question["prompt"])
                kinds = measures.token_kinds(self.t, tokens, [question["entity"]])
                out, _ = forward(self.model, [tokens], True, memory_on=[[float(k != withheld) for k in kinds]])
                found.append(self.t.decode([int(self.model.logits(out.hidden[0, -1]).argmax())]))
            return found

        with torch.no_grad():
            # 30 in place of 0.02: memory that decides what is said.
            table = self.model.tables()[1]
            before = table.clone()
            table.mul_(1500)
            self.addCleanup(lambda: table.copy_(before))
            whole, without = answers(None), answers("function word")
        self.assertNotEqual(whole, without)
        asked = [dict(q, answer=a) for q, a in zip(questions, without)]
        self.assertEqual(measures.first_tokens_right(self.model, self.t, asked, "function word"), (2, 2))
        self.assertLess(measures.first_tokens_right(self.model, self.t, asked, None)[0], 2)
        self.assertEqual(measures.first_tokens_right(self.model, self.t, asked, "punctuation"), (0, 0))

    def test_batched_greedy_equals_one_by_one(self):
        prompts = [self.t.encode(p) for p in ("The", "a capital of", "Question: what is it?")]
        together = list(greedy(self.model, prompts, [4, 3, 5], True))
        alone = [next(greedy(self.model, [p], [n], True)) for p, n in zip(prompts, [4, 3, 5])]
        self.assertEqual(together, alone)

    def test_loss_equals_a_direct_sum(self):
        documents = [("a", self.t.encode("The capital of France is Paris.")), ("b", self.t.encode("a dog"))]
        found = measures.loss_by_kind(self.model, documents, True)
        total = count = 0
        for _, tokens in documents:
            with torch.no_grad():
                out, _ = forward(self.model, [tokens[:-1]], True)
            logprobs = self.model.logits(out.hidden)[0].log_softmax(-1)
            total -= float(sum(logprobs[i, token] for i, token in enumerate(tokens[1:])))
            count += len(tokens) - 1
        self.assertAlmostEqual(found["all"][0], total / count, places=4)
        self.assertEqual(found["all"][1], count)

    def test_logit_lens_ends_at_zero(self):
        lens = measures.logit_lens(self.model, [self.t.encode("The capital of France")], True)
        self.assertEqual(len(lens), 3)
        self.assertAlmostEqual(lens[-1], 0, places=6)
        self.assertGreater(lens[0], 0)

    def test_first_content_word(self):
        self.assertEqual(measures.first_content_word(" the act of Finalizing, or"), "act")
        self.assertEqual(measures.first_content_word(" of the."), "")


if __name__ == "__main__":
    unittest.main()
