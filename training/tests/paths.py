# SPDX-License-Identifier: Apache-2.0
"""Where the tests find the package and the reference vectors."""
import pathlib
import sys

TRAINING = pathlib.Path(__file__).resolve().parent.parent
VECTORS = TRAINING.parent / "tests" / "vectors"
LEXICON = TRAINING.parent / "models" / "lexicon"
sys.path.insert(0, str(TRAINING))
