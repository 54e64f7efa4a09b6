"""A Transformer that classifies a text, an image or a clip, continues a text, or answers it with another.

A. Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762).

Shapes (B texts, L tokens, D width, V tokens of the vocabulary, K outputs):

    tokens [B, L] → E[token] * sqrt(D) + place [B, L, D]
    → blocks: softmax(Q K^T / sqrt(D / heads)) V in heads, then two dense layers, each added to its input
    → text: mean over the words [B, D] → linear [B, K]; so are images [B, H, W, C], each row of pixels a token
      by one linear layer [B, H, D], and clips, whose spectrograms have a row a moment
    → corpus: each place sees those before it → E^T [B, L, V], the next token's logits
    → pairs: a second stack sees its own past and the first one's vectors → E^T [B, T, V]

Places are sinusoids, PE(p, 2i) = sin(p / 10000^(2i / D)), or learned. One table E reads and writes.

A corpus comes in blocks of text. In training a stretch of `context` tokens is drawn from each block of a
batch; on validation every token of every block is judged once, in stretches of `context` from the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from pydantic import Field

from trainers.data.dataset import Column, Dataset, Kind
from trainers.errors import InputError
from trainers.family import Family, first_missing
from trainers.hyperparameters import OPTIONAL, TRAINING, Hyperparameter, flag, whole
from trainers.inputs.clips import OF_GRIDS, GridOptions, grids_from_user, write_grids
from trainers.inputs.images import augment_images
from trainers.inputs.targets import output_size, write_target
from trainers.inputs.token_ids import (
    IGNORED,
    append_end,
    crop_context,
    longest_length,
    put_pairs,
    put_rows,
    read_texts,
    split_context,
    without_padding,
)
from trainers.inputs.tokenizers import (
    BEGIN,
    END,
    Unit,
    characters_of_tokens,
    encode_chunks,
    fit_tokens,
    pad_tokens,
    token_count,
    token_ids,
)
from trainers.inputs.vocabulary import PAD, UNKNOWN, as_text
from trainers.modules.decoding import DecodingOptions, SpecialTokens, generate_tokens, join_outputs
from trainers.types import Array, ArrayWriter, Batch, Outputs, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from trainers.modules.transformer import CausalLanguageModel, EncoderDecoder
    from trainers.tasks import MetricSink
    from trainers.types import ExampleSource, Sample

JUDGED_AT_ONCE = 1 << 24  # numbers of logits


class TransformerOptions(GridOptions):
    """Fixed structure of a Transformer; `size`, `color` and `fit` are those of images, `rate`, `seconds` and
    `mels` those of clips.

    Attributes:
        positions: of the tokens: sinusoids, or learned.
        max_positions: the longest text that can be read.
        unit: what a token is; by default words to classify, characters of a corpus, pieces of pairs.
        max_tokens: texts and pairs are cut there.
        generate: how text is written in use, and for the metrics that compare texts.
    """

    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    max_positions: int = Field(default=5000, ge=1)
    unit: Unit | None = None
    max_tokens: int = Field(default=128, ge=1)
    generate: DecodingOptions = DecodingOptions()


class Transformer(Family):
    """Classification of texts, images and clips, language models and text to text."""

    name = "transformer"
    summary = "attention: classifies a text, an image or a clip, continues or answers texts (Vaswani 2017)"
    kinds = ("corpus", "pairs", "text", "image", "audio")
    tasks = ("language-model", "seq2seq", "classification", "regression")
    stackable = True
    Options = TransformerOptions
    uses = ("activation", "dropout")
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "dropout": replace(OPTIONAL["dropout"], default=0.1),
        "activation": replace(OPTIONAL["activation"], default="gelu"),
        "gradient_clip": replace(TRAINING["gradient_clip"], default=1.0),
        "width": whole(128, "numbers a token, a multiple of heads", low=2),
        "heads": whole(4, "of each attention"),
        "layers": whole(2, "blocks; of pairs on each side"),
        "feed_forward": whole(512, "between the two dense layers"),
        "norm_first": flag(True, "the norm before each part; false: after it, as in the paper"),
        "context": whole(64, "tokens of a corpus read at once"),
        "vocabulary": whole(8000, "most entries, the commonest first; pieces at least 260", low=5),
    }
    encoding = ("vocabulary",)
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {
        **dict.fromkeys(("vocabulary", "unit"), ("corpus", "pairs", "text")),
        "context": ("corpus",),
        "max_tokens": ("pairs", "text"),
        "generate": ("corpus", "pairs"),
        **OF_GRIDS,
    }
    presets: ClassVar[Mapping[str, Params]] = {
        "small": {"vocabulary": 100, "width": 128, "heads": 8, "feed_forward": 256, "dropout": 0.5}
    }

    options: TransformerOptions

    # -- data ----------------------------------------------------------------------------------------------

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """Text: `inputs` [N, L]. Corpus: `inputs` and `target`, the token after each, [N, L]. Pairs:
        `source` [N, S] and `target` [N, T], each with its end. int64, padded with 0, targets with -100.
        Images and clips: `inputs` uint8 [N, H, W, C]."""
        if dataset.kind in ("image", "audio"):
            return {**write_grids(dataset, self.options, writer), **write_target(dataset, writer)}
        makers = {"corpus": self._encode_corpus, "pairs": self._encode_pairs, "text": self._encode_text}
        return makers[dataset.kind](dataset, params, writer)

    def _encode_text(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        column = dataset.columns["text"]
        document = self._fit_tokenizer(dataset, [column], params, "words")
        length = longest_length(
            document, read_texts(column, dataset.splits["train"]), self.options.max_tokens
        )
        put_rows(writer, "inputs", _pad_texts(document, read_texts(column), length), dataset.rows, length)
        return {"tokenizer": document, "length": length, **write_target(dataset, writer)}

    def _encode_corpus(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        column = dataset.columns["text"]
        document = self._fit_tokenizer(dataset, [column], params, "characters")
        length = max((len(t) for ids in encode_chunks(document, read_texts(column)) for t in ids), default=2)
        length = max(length - 1, 1)
        before = ([tokens[:-1] for tokens in ids] for ids in encode_chunks(document, read_texts(column)))
        after = ([tokens[1:] for tokens in ids] for ids in encode_chunks(document, read_texts(column)))
        put_rows(writer, "inputs", (pad_tokens(ids, length) for ids in before), dataset.rows, length)
        put_rows(writer, "target", (pad_tokens(ids, length, IGNORED) for ids in after), dataset.rows, length)
        return {
            "task": "language-model",
            "tokenizer": document,
            "token_characters": characters_of_tokens(document),
            "special_ids": [UNKNOWN, BEGIN, END],
        }

    def _encode_pairs(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        assert dataset.target is not None
        columns = [dataset.columns["input"], dataset.target]
        document = self._fit_tokenizer(dataset, columns, params, "pieces")
        lengths = put_pairs(dataset, writer, document, end=END, most=self.options.max_tokens)
        return {
            "task": "seq2seq",
            "tokenizer": document,
            "length": lengths[0],
            "target_length": lengths[1],
            "end_id": END,
            "special_ids": [UNKNOWN, BEGIN],
            "alike_by": "target",
        }

    def _fit_tokenizer(self, dataset: Dataset, columns: Sequence[Column], params: Params, unit: Unit) -> str:
        train = dataset.splits["train"]
        texts = (text for column in columns for text in read_texts(column, train))
        return fit_tokens(texts, unit=self.options.unit or unit, size=params["vocabulary"])

    # -- module --------------------------------------------------------------------------------------------

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """One of `trainers.modules.transformer`, by the task."""
        from trainers.modules import transformer
        from trainers.modules.attention import TransformerShape

        names = ("width", "heads", "feed_forward", "dropout", "activation", "norm_first")
        shape = TransformerShape(**{name: params[name] for name in names})
        reading = transformer.EncoderShape(
            tokens=token_count(state["tokenizer"]) if "tokenizer" in state else 0,
            places=self.options.max_positions,
            learned_places=self.options.positions == "learned",
            layers=params["layers"],
        )
        if "shape" in state:
            rows = transformer.RowEncoder(reading, shape, state["shape"], state["mean"], state["std"])
            return transformer.Classifier(rows, shape, output_size(state))
        longest = max(state.get("length", 1), state.get("target_length", 1))
        if state["task"] == "language-model":
            longest = params["context"]
        if longest > self.options.max_positions:
            raise InputError(
                f"max_positions must reach {longest} tokens", f"{self.options.max_positions}",
                "raise it, or cut texts by options.max_tokens", key=("options", "max_positions"),
            )  # fmt: skip
        if state["task"] == "language-model":
            return transformer.CausalLanguageModel(reading, shape, params["context"])
        if state["task"] == "seq2seq":
            return transformer.EncoderDecoder(reading, shape, state["target_length"])
        return transformer.Classifier(transformer.Encoder(reading, shape), shape, output_size(state))

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits: [B, K] of a text, [B, L, V] of a corpus, [B, T, V] of pairs."""
        if "source" in batch:
            logits: torch.Tensor = module(batch["source"], batch["target"])
            return logits
        inputs = batch["inputs"]
        context: int = getattr(module, "context", inputs.shape[1])
        if inputs.shape[1] <= context:
            found: torch.Tensor = module(inputs)
            return found
        found = module(split_context(inputs, context, PAD))
        return found.reshape(len(inputs), -1, found.shape[-1])[:, : inputs.shape[1]]

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Of a corpus: a stretch of `context` tokens drawn from each block. Of pairs: without padding that
        no target of the batch needs."""
        if "source" in batch:
            batch = without_padding(batch)
        elif batch["target"].dim() == 2:
            return crop_context(batch, params["context"], generator)
        elif batch["inputs"].dim() == 4:
            return augment_images(batch, params, generator)
        return super().augment(batch, params, generator)

    def judge(self, module: torch.nn.Module, batch: Batch, metrics: MetricSink) -> None:
        """Every token of a corpus once; of pairs also the texts that the model writes by itself."""
        import torch

        if "source" in batch:
            most = cast("EncoderDecoder", module).longest
            tokens = self._generate(module, batch["source"], self.options.generate, most)[:, 0]
            batch = without_padding(batch)
            metrics.update({"logits": self.outputs(module, batch), "tokens": tokens}, batch)
        elif batch["target"].dim() == 2:
            reader = cast("CausalLanguageModel", module)
            inputs = split_context(batch["inputs"], reader.context, PAD)
            target = split_context(batch["target"], reader.context, IGNORED)
            held = (target != IGNORED).any(dim=1).nonzero()[:, 0]
            size = max(1, JUDGED_AT_ONCE // (reader.context * reader.embedding.tokens.num_embeddings))
            for some in torch.split(held, size):
                metrics.update(module(inputs[some]), {"target": target[some]})
        else:
            super().judge(module, batch, metrics)

    # -- use -----------------------------------------------------------------------------------------------

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """The column `text` (of pairs `input`, of images `image`, of clips `audio`) as `encode` makes it; of
        a corpus, prompts of any length."""
        if "shape" in state:
            return grids_from_user(rows, state)
        pairs = state["task"] == "seq2seq"
        name = "input" if pairs else "text"
        if first_missing(rows, [name]):
            raise InputError(f"rows must have a column {name}", f"columns {list(rows.columns)}")
        ids = [
            tokens or [UNKNOWN] for tokens in token_ids(state["tokenizer"], [as_text(v) for v in rows[name]])
        ]
        if pairs:
            return {"source": pad_tokens(append_end(ids, state["length"], END), state["length"])}
        length = state.get("length") or max((len(tokens) for tokens in ids), default=1)
        return {"inputs": pad_tokens(ids, length)}

    def answers(self, module: torch.nn.Module, batch: Batch, state: State) -> Outputs:
        """What was written, `tokens` [B, outputs, n]; of a text its logits."""
        how = self.options.generate
        if state["task"] == "seq2seq":
            return {"tokens": self._generate(module, batch["source"], how, how.max_tokens)}
        if state["task"] == "language-model":
            return {"tokens": self._continue_prompts(module, batch["inputs"], how)}
        return self.outputs(module, batch)

    def to_user(self, outputs: Outputs, state: State) -> pd.DataFrame:
        """Labels or numbers; or a column of text, further outputs numbered from 2."""
        if not isinstance(outputs, Mapping) or outputs["tokens"].dim() == 2:
            return super().to_user(outputs, state)
        one = super().to_user
        return join_outputs(lambda tokens: one({"tokens": tokens}, state), outputs["tokens"])

    def _generate(
        self, module: torch.nn.Module, source: torch.Tensor, how: DecodingOptions, most: int
    ) -> torch.Tensor:
        from trainers.modules.transformer import SourceDecoder

        how = how.model_copy(update={"max_tokens": min(most, self.options.max_positions)})
        marks = SpecialTokens(pad=PAD, end=END, never=(PAD, UNKNOWN, BEGIN))
        tokens = generate_tokens(
            SourceDecoder(cast("EncoderDecoder", module), source), len(source), how, marks, str(source.device)
        )
        return tokens.view(len(source), how.outputs, -1)

    def _continue_prompts(
        self, module: torch.nn.Module, prompts: torch.Tensor, how: DecodingOptions
    ) -> torch.Tensor:
        """Prompts of one length at a time: what is written must not depend on its neighbours' padding."""
        import torch

        from trainers.modules.transformer import PromptDecoder

        lengths = (prompts != PAD).sum(dim=1)
        written = torch.full((len(prompts), how.outputs, how.max_tokens), PAD, device=prompts.device)
        marks = SpecialTokens(pad=PAD, end=None, never=(PAD, UNKNOWN, BEGIN, END))
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0]
            model = PromptDecoder(cast("CausalLanguageModel", module), prompts[rows, : max(length, 1)])
            tokens = generate_tokens(model, len(rows), how, marks, str(prompts.device))
            written[rows] = tokens.view(len(rows), how.outputs, -1)
        return written

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """Pairs with what was made of them, beginnings with what was written after them, or confusions."""
        from trainers.samples import texts as text_samples

        if state["task"] == "seq2seq":
            return text_samples.translation_samples(self, module, source, state)
        if state["task"] != "language-model":
            return super().samples(module, source, state, params)
        how = self.options.generate
        most = min(how.max_tokens, text_samples.CONTINUED_TOKENS)
        how = how.model_copy(update={"outputs": 1, "max_tokens": most})
        return text_samples.continuation_samples(
            source, state, lambda prompts: self._continue_prompts(module, prompts, how)[:, 0]
        )


def _pad_texts(document: str, texts: Iterator[str], length: int) -> Iterator[Array]:
    for ids in encode_chunks(document, texts):
        yield pad_tokens([tokens or [UNKNOWN] for tokens in ids], length)
