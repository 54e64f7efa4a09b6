"""A vocabulary of pieces of words for models that read a whole text at once, on the `tokenizers` library.

Byte-pair pieces, as RoBERTa reads them (Liu et al. 2019, section 4.4): they know every text. BERT's own word
pieces would do, but the library numbers them in an order that changes from one process to the next.
"""

from __future__ import annotations

from collections.abc import Iterable

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, BEGIN, END, MASK = range(5)


def fit_word_pieces(texts: Iterable[str], *, size: int, lowercase: bool) -> str:
    """A tokenizer as JSON: a text becomes `[CLS] its pieces [SEP]` (Devlin et al. 2019, section 3).

    Args:
        texts: the training split's, and no others.
        size: at most so many entries, the five special ones and 256 bytes among them.
        lowercase: also takes accents away, as BERT's uncased models do.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)],
    )
    return str(tokenizer.to_str())
