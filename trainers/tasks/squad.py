"""How SQuAD compares an answer with the right one.

P. Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", EMNLP 2016 (arXiv
1606.05250), section 6.1, as its script `evaluate-v1.1.py` does it: letters in lower case, without
punctuation, without the articles a, an and the, words parted by single blanks.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise_answer(answer: str) -> str:
    """The answer as it is compared."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, right: str) -> float:
    """1 where both are the same once normalised, else 0."""
    return float(normalise_answer(answer) == normalise_answer(right))


def f1_score(answer: str, right: str) -> float:
    """2 P R / (P + R) of the two bags of normalised words: P is the share of the answer's words that the
    right one has, R the share of the right one's that the answer has. Where one has no word left, 1 if
    neither has (as SQuAD 2.0's script does), else 0."""
    words, wanted = normalise_answer(answer).split(), normalise_answer(right).split()
    if not words or not wanted:
        return float(words == wanted)
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted))
