"""Find texts of which a model knows next to nothing: another script, unknown symbols, one endless word.

An encoder scores such a text too, and often with a high score. What it knows follows from its vocabulary: a
script of which it has only single letters is one that it has not learned to read.
"""

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as _Tokenizer

from .tokenization import TOKENIZER_FILE, TokenizedTexts

VOCABULARY_FILE = "vocabulary.json"
# A script is known if the vocabulary has so many tokens of two or more of its letters, or, in a very small
# vocabulary, this share. BERT's English one has 27,533 such Latin tokens, and at most 8 of any other script.
MIN_SCRIPT_TOKENS = 100
_MIN_SCRIPT_SHARE = 0.01
# A script of words of one letter is known if the vocabulary has so many of its letters: Chinese BERT has
# 7,000, the English one a tenth of the bound.
MIN_SCRIPT_LETTERS = 2_000
# A text is unknown if more than this share of its letters is.
MAX_UNKNOWN_SHARE = 0.5
# Only so many characters of a text are looked at.
_MAX_CHARS = 2_000
# WordPiece takes no longer word; other tokenizers cut it into pieces that mean nothing.
_ENDLESS_WORD = re.compile(r"[A-Za-z]{101,}")
_LETTER = re.compile(r"[^\W\d_]")
_NON_ASCII_LETTER = re.compile(r"(?![\x00-\x7f])[^\W\d_]")


@dataclass(frozen=True)
class Vocabulary:
    """Hold the scripts that an encoder can read, as Unicode names their letters, and its unknown token.

    `unknown_id` is None for a tokenizer that has a token for every byte.
    """

    scripts: tuple[str, ...]
    unknown_id: int | None

    def find_unknown(self, texts: Sequence[str], tokens: TokenizedTexts) -> np.ndarray:
        """Return True for each text of which too little is known, bool (n,)."""
        return np.array(
            [
                self._is_unreadable(text) or self._is_unknown(row, tokens.n_special_tokens)
                for text, row in zip(texts, tokens.ids, strict=True)
            ],
            dtype=bool,
        )

    def _is_unknown(self, row: np.ndarray, n_special_tokens: int) -> bool:
        """Return True if all tokens of a row are the unknown one, except the special ones."""
        n_unknown = 0 if self.unknown_id is None else int((row == self.unknown_id).sum())
        return n_unknown > 0 and n_unknown == len(row) - n_special_tokens

    def _is_unreadable(self, text: str) -> bool:
        """Return True if most letters are in endless words or in scripts that the encoder cannot read."""
        shown = text[:_MAX_CHARS]
        unknown = sum(len(word) for word in _ENDLESS_WORD.findall(shown)) if len(shown) > 100 else 0
        if not shown.isascii():
            letters = Counter(map(find_script, _NON_ASCII_LETTER.findall(shown)))
            unknown += sum(n for script, n in letters.items() if script not in self.scripts)
        return unknown > 0 and unknown > MAX_UNKNOWN_SHARE * len(_LETTER.findall(shown))


@functools.lru_cache(maxsize=10_000)
def find_script(letter: str) -> str:
    """Return the script of a letter, such as `LATIN`: the first word of its name in Unicode."""
    return unicodedata.name(letter, "UNNAMED").partition(" ")[0]


def make_vocabulary(folder: Path, unknown_id: int | None) -> Vocabulary:
    """Find the scripts of the tokenizer.json in a model folder, and write them next to it."""
    tokenizer = _Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    counts: Counter[str] = Counter()
    single: dict[str, set[str]] = {}
    vocabulary = tokenizer.get_vocab()
    for token in vocabulary:
        text = tokenizer.decoder.decode([token]) if tokenizer.decoder is not None else token
        letters = _LETTER.findall(text)
        scripts = set(map(find_script, letters))
        if len(letters) > 1 and len(scripts) == 1:
            counts.update(scripts)
        elif len(letters) == 1:
            single.setdefault(scripts.pop(), set()).update(letters)
    enough = min(MIN_SCRIPT_TOKENS, _MIN_SCRIPT_SHARE * len(vocabulary))
    known = {script for script, n in counts.items() if n >= enough}
    known |= {script for script, letters in single.items() if len(letters) >= MIN_SCRIPT_LETTERS}
    found = Vocabulary(tuple(sorted(known)), unknown_id)
    (folder / VOCABULARY_FILE).write_text(json.dumps(asdict(found)) + "\n", encoding="utf-8")
    return found


def load_vocabulary(folder: Path) -> Vocabulary:
    """Read the file that `make_vocabulary` wrote."""
    content = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
    return Vocabulary(tuple(content["scripts"]), content["unknown_id"])
