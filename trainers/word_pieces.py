"""A vocabulary of word pieces, as BERT reads them, on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, BEGIN, END, MASK = range(5)


def fit_word_pieces(texts: Iterable[str], *, size: int, lowercase: bool) -> str:
    """A tokenizer as JSON: a text becomes `[CLS] its pieces [SEP]` (Devlin et al. 2019, section 3).

    Args:
        texts: the training split's, and no others.
        size: at most so many entries, the five special ones among them.
        lowercase: also takes accents away, as BERT's uncased models do.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False, continuing_subword_prefix="##"
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)],
    )
    return str(tokenizer.to_str())
