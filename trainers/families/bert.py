"""BERT and its like: a text (or, by `auto`, an image) to a class or a number, a question to its answer.

J. Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL
2019 (arXiv 1810.04805), as transformers' models for classification and for question answering.

Shapes (B texts, L tokens, D width, K outputs):

    [CLS] pieces [SEP] [B, L] → encoder [B, L, D] → the first place's vector, tanh, dropout → linear [B, K]
    [CLS] question [SEP] context [SEP] [B, L] → encoder [B, L, D] → linear [B, L, 2]: where the answer begins
    and ends; the loss is the mean of both cross-entropies over the context and place 0, "not here" (4.2)

A context that is too long for one reading is read in windows (`trainers.inputs.question_windows`): one
drawn anew each time in training, all of them in use.

Without `pretrained` and `auto` it is a small BERT with pieces of words fitted on the training split; with
`masked_words` its first batches learn to find masked words again, in the sweep's own training texts.
`pretrained` takes a folder (or hub name) of any model that transformers can classify with: configuration,
tokenizer and weights; a head that is not in the file is drawn. `auto` takes the configuration, and weights
where there are any: GPT-2, DistilBERT, ViT, ResNet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trainers.data.dataset import Dataset, Kind
from trainers.errors import InputError
from trainers.family import Family, first_missing
from trainers.hyperparameters import OPTIONAL, TRAINING, Hyperparameter, flag, whole
from trainers.inputs import word_pieces
from trainers.inputs.hidden_words import HidingTokens, hide_tokens, special_tokens
from trainers.inputs.images import augment_images, images_from_user
from trainers.inputs.questions import LEAST_TOKENS, QuestionLimits, put_questions, questions_from_user
from trainers.inputs.targets import output_size, write_target
from trainers.inputs.token_ids import read_texts
from trainers.inputs.tokenizers import pad_tokens, token_count, whole_ids
from trainers.inputs.vocabulary import as_text
from trainers.options import Options
from trainers.pretrained import hub
from trainers.pretrained.lora import LoraOptions, add_lora
from trainers.tasks.outputs import output_tensor
from trainers.types import Array, ArrayWriter, Batch, JsonObject, Outputs, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel

    from trainers.inputs.question_windows import QuestionReader
    from trainers.modules.layers import Pixels
    from trainers.modules.masked_language_model import MaskedWords
    from trainers.types import ExampleSource, Sample

_STRUCTURE = {"width", "heads", "layers", "feed_forward", "activation", "vocabulary", "lowercase"}
CHUNK_ROWS = 2048
TEXT_TOKENS, QUESTION_TOKENS = 128, 384  # BERT's authors read 384 of SQuAD at once


class Masking(BaseModel):
    """Pre-training by masked words.

    Attributes:
        batches: so many at the beginning of each trial.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batches: int = Field(ge=1)


class BertOptions(Options):
    """Fixed structure of a BERT.

    Attributes:
        pretrained: a folder of a model of transformers, or its name on the hub (`bert-base-uncased`); or a
            safetensors file of a module like this one.
        auto: the same for its configuration; weights are taken where there are any.
        lora: low-rank adapters beside frozen weights.
        masked_words: pre-training on the training split's own texts.
        max_tokens: texts are cut there, by default at 128; of questions, what is read at once of question and
            context, by default 384.
        stride: of questions: tokens from one window of a long context to the next.
        max_context: of questions: contexts are cut there, and an answer beyond counts as never found.
        max_answer: of questions: tokens of an answer at most.
        size: height and width of images, where the model does not say.
    """

    auto: str | None = None
    lora: LoraOptions | None = None
    masked_words: Masking | None = None
    max_tokens: int | None = Field(default=None, ge=3)
    stride: int = Field(default=128, ge=1)
    max_context: int = Field(default=4096, ge=1)
    max_answer: int = Field(default=30, ge=1)
    size: tuple[int, int] | None = None


class Bert(Family):
    """Classification, regression and question answering over texts by BERT, over texts and images by any
    model of transformers."""

    name = "bert"
    summary = "BERT, or any model of transformers, for classes, numbers and answers (Devlin 2019)"
    kinds = ("text", "image", "questions")
    tasks = ("classification", "regression", "question-answering", "masked-words")
    stackable = True
    Options = BertOptions
    uses = ("activation", "dropout")
    chosen = ("pretrained", "auto")
    libraries = ("tokenizers", "transformers")
    heavy = True
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "learning_rate": replace(TRAINING["learning_rate"], default=3e-4),
        "dropout": replace(OPTIONAL["dropout"], default=0.1),
        "activation": replace(OPTIONAL["activation"], default="gelu"),
        "width": whole(128, "numbers a token, a multiple of heads"),
        "heads": whole(4, "of each attention"),
        "layers": whole(2, "blocks"),
        "feed_forward": whole(512, "between the two dense layers"),
        "vocabulary": whole(8000, "pieces of words, the commonest first", low=261),
        "lowercase": flag(True, "also takes accents away"),
    }
    encoding = ("vocabulary", "lowercase")
    reads_only: ClassVar[Mapping[str, tuple[Kind, ...]]] = {
        **dict.fromkeys(("stride", "max_context", "max_answer"), ("questions",)),
        "max_tokens": ("text", "questions"),
        "size": ("image",),
    }

    options: BertOptions

    @property
    def _external_model(self) -> str | None:
        """The folder or name of another model, where `pretrained` is no file of this one's own weights."""
        pretrained = None if hub.is_file(self.options.pretrained) else self.options.pretrained
        return pretrained or self.options.auto

    def list_hyperparameters(self) -> dict[str, Hyperparameter]:
        """Without the structure where that is another model's."""
        unread = _STRUCTURE if self._external_model else set()
        return {name: entry for name, entry in super().list_hyperparameters().items() if name not in unread}

    def changes(self, kind: Kind) -> Collection[str]:
        """As every family; other models have other ids for what is unknown."""
        return () if kind == "text" and self._external_model else super().changes(kind)

    def check(self, dataset: Dataset) -> None:
        """As every family; images need a model that reads them, masked words a text."""
        super().check(dataset)
        if dataset.kind == "image" and not self._external_model:
            do = "name one under options.auto or options.pretrained"
            raise InputError("images need a model that reads images", "a BERT", do, key=("options", "auto"))
        if self.options.masked_words and dataset.task == "masked-words":
            must, key = "masked_words must stand beside another task", ("options", "masked_words")
            raise InputError(must, "task masked-words, which is all that is learned", "leave it out", key=key)
        if self.options.masked_words and (dataset.kind == "image" or self._external_model):
            found = "data of kind image" if dataset.kind == "image" else "pretrained or auto"
            key = ("options", "masked_words")
            raise InputError("masked_words are for a BERT from scratch, over texts", found, key=key)
        most = self.options.max_tokens
        if dataset.kind == "questions" and most is not None and most < LEAST_TOKENS:
            must = f"max_tokens must be {LEAST_TOKENS} at least, for question and context together"
            raise InputError(must, str(most), key=("options", "max_tokens"))

    # -- data ----------------------------------------------------------------------------------------------

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """Text: `inputs` int64 [N, L] and `mask` bool [N, L], true where there is text. Images: `inputs`
        uint8 [N, H, W, C]. Questions: see `trainers.inputs.questions.put_questions`."""
        config = hub.read_config(self._model_folder()) if self._external_model else None
        state = {} if config is None else {"config": hub.without_labels(config)}
        if dataset.kind == "questions":
            return {**state, **self._encode_questions(dataset, params, config, writer)}
        if dataset.task == "masked-words":
            return {**state, **self._encode_texts(dataset, params, config, writer), "task": dataset.task}
        target = write_target(dataset, writer)
        if dataset.kind == "image":
            return {**state, **self._encode_images(dataset, writer), **target}
        return {**state, **self._encode_texts(dataset, params, config, writer), **target}

    def _model_folder(self) -> Path:
        option = "pretrained" if self._external_model == self.options.pretrained else "auto"
        return hub.find_folder(str(self._external_model), option=option)

    def _encode_texts(
        self, dataset: Dataset, params: Params, config: JsonObject | None, writer: ArrayWriter
    ) -> State:
        column, train = dataset.columns["text"], dataset.splits["train"]
        hidden = dataset.task == "masked-words"
        document, pad = self._choose_tokenizer(dataset, params, config)
        most = self.options.max_tokens or TEXT_TOKENS
        length = _longest_text(document, read_texts(column, train), most)
        inputs = writer.create("inputs", (dataset.rows, length), np.int64)
        mask = writer.create("mask", (dataset.rows, length), np.bool_)
        for start in range(0, dataset.rows, CHUNK_ROWS):
            rows = range(start, min(start + CHUNK_ROWS, dataset.rows))
            made = _text_arrays(document, list(read_texts(column, rows)), length, pad)
            inputs[rows.start : rows.stop], mask[rows.start : rows.stop] = made["inputs"], made["mask"]
        own = {"tokenizer": document, "length": length, "pad_id": pad}
        return {**own, **_hide_words(document, inputs, mask, writer)} if hidden else own

    def _encode_questions(
        self, dataset: Dataset, params: Params, config: JsonObject | None, writer: ArrayWriter
    ) -> State:
        document, pad = self._choose_tokenizer(dataset, params, config)
        most = self.options.max_tokens or QUESTION_TOKENS
        places = (config or {}).get("max_position_embeddings")
        limits = QuestionLimits(
            window=min(most, places) if isinstance(places, int) else most, context=self.options.max_context
        )
        made = put_questions(dataset, writer, document, limits)
        own = {"tokenizer": document, "pad_id": pad, "max_answer": self.options.max_answer}
        return {"task": "question-answering", **own, **made}

    def _choose_tokenizer(
        self, dataset: Dataset, params: Params, config: JsonObject | None
    ) -> tuple[str, int]:
        """The tokenizer and its padding: the model's own, or fitted on all texts of the training split."""
        if config is not None:
            return hub.read_tokenizer(self._model_folder()), hub.pad_id(config)
        train = dataset.splits["train"]
        texts = (text for column in dataset.columns.values() for text in read_texts(column, train))
        size, lowercase = params["vocabulary"], params["lowercase"]
        return word_pieces.fit_word_pieces(texts, size=size, lowercase=lowercase), word_pieces.PAD

    def _encode_images(self, dataset: Dataset, writer: ArrayWriter) -> State:
        from trainers.data.images import decode_images

        facts = hub.image_config(self._model_folder(), self.options.size)
        size = (facts["shape"][0], facts["shape"][1])
        decode_images(
            dataset.columns["image"], writer, "inputs", size=size, channels=facts["shape"][2], fit="crop"
        )
        return facts

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """The columns as `encode` makes them: `text`, `image`, or `question` and `context`."""
        if "frame" in state:
            return questions_from_user(rows, state)
        name = "image" if "shape" in state else "text"
        if first_missing(rows, [name]):
            raise InputError(f"rows must have a column {name}", f"columns {list(rows.columns)}")
        if name == "image":
            return images_from_user(rows, state)
        return _text_arrays(
            state["tokenizer"], [as_text(value) for value in rows["text"]], state["length"], state["pad_id"]
        )

    # -- module --------------------------------------------------------------------------------------------

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """transformers' model for the task, with adapters and a head for masked words if asked for."""
        images, questions, hidden = "shape" in state, "frame" in state, state["task"] == "masked-words"
        config = {**(state.get("config") or _small_config(state, params))}
        config["num_labels"] = 2 if questions else output_size(state)
        if not images:
            config["pad_token_id"] = state["pad_id"]
        auto = "ImageClassification" if images else "SequenceClassification"
        auto = "QuestionAnswering" if questions else "MaskedLM" if hidden else auto
        module = cast(
            "PreTrainedModel", hub.make_module(f"AutoModelFor{auto}", config, dropout=params["dropout"])
        )
        if questions:
            from trainers.inputs.question_windows import QuestionReader

            length, step = state["length"], self.options.stride
            module.reader = QuestionReader(state["frame"], length=length, step=step, pad=state["pad_id"])
        if images:
            from trainers.modules.layers import Pixels

            module.pixels = Pixels(state["mean"], state["std"])
        if hidden:
            from trainers.modules.masked_language_model import HiddenWords

            module.hidden_words = HiddenWords(
                mask=state["mask_id"], special=state["special_ids"], tokens=module.config.vocab_size
            )
        if self.options.lora is not None:
            add_lora(module, self.options.lora, also=_head_names(module))
        if self.options.masked_words is not None:
            from trainers.modules.masked_language_model import MaskedWords

            module.masked_words = MaskedWords(
                module.config.hidden_size,
                module.config.vocab_size,
                batches=self.options.masked_words.batches,
                mask=word_pieces.MASK,
                special=len(word_pieces.SPECIAL),
            )
        return module  # type: ignore[no-any-return]  # transformers' models are torch modules

    def start(self, module: torch.nn.Module) -> None:
        """Takes pretrained weights, and freezes parts."""
        from trainers.pretrained.weights import freeze

        if self._external_model is None or hub.is_file(self.options.pretrained):
            super().start(module)
            return
        folder = self._model_folder()
        if self.options.pretrained or hub.has_weights(folder):
            fresh = (*_head_names(module), "*pooler*")
            hub.load_weights(module, folder, fresh=fresh, sha256=self.options.sha256)
        freeze(module, self.options.freeze)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> Outputs:
        """Logits [B, K], of questions log-probabilities of places [B, 1 + C, 2], of masked words what
        `hidden_outputs` gives; in pre-training the loss of the masked words."""
        if "hidden" in batch:
            from trainers.modules.masked_language_model import hidden_outputs

            return hidden_outputs(module, batch)
        if "question" not in batch and "mask" not in batch:
            pixels = cast("Pixels", module.pixels)
            logits: torch.Tensor = module(pixel_values=pixels(batch["inputs"])).logits
            return logits
        masked_words: MaskedWords | None = getattr(module, "masked_words", None)
        if masked_words is not None and masked_words.active:
            from trainers.modules.masked_language_model import pretraining_loss

            return {"masked_words": pretraining_loss(module, *_read_batch(module, batch))}
        from trainers.modules.stacked_values import is_stacked

        if "question" in batch:
            outputs = cast("QuestionReader", module.reader).scores(module, batch)
        else:
            ids, mask, _ = _read_batch(module, batch)
            if is_stacked(mask):  # transformers looks at the values of a mask that it has to make itself
                mask = mask.bool()[:, None, None].expand(-1, -1, ids.shape[1], -1)
            outputs = module(input_ids=ids, attention_mask=mask).logits
        if masked_words is not None and module.training:
            from trainers.modules.masked_language_model import zero_gradient_term

            outputs = outputs + zero_gradient_term(masked_words)
        return outputs

    def answers(self, module: torch.nn.Module, batch: Batch, state: State) -> Outputs:
        """The outputs; of questions beside the context that they are about; texts with their masks filled."""
        if getattr(module, "hidden_words", None) is not None:
            from trainers.modules.masked_language_model import fill_masks

            return fill_masks(module, batch)
        if "question" not in batch:
            return self.outputs(module, batch)
        scores = output_tensor(self.outputs(module, batch), "scores")
        return {"scores": scores, "offsets": batch["offsets"], "text": batch["text"]}

    def loss(self, outputs: Outputs, batch: Batch, params: Params, state: State) -> torch.Tensor:
        """The task's; in pre-training that of the masked words."""
        if isinstance(outputs, Mapping) and "masked_words" in outputs:
            return outputs["masked_words"]
        return super().loss(outputs, batch, params, state)

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Of images, as `trainers.data.augment` does it, which takes channels first; of questions the
        window that is read, drawn anew."""
        if "question" in batch:
            from trainers.inputs.question_windows import draw_windows

            return draw_windows(batch, params["augment"], generator)
        text = "mask" in batch
        return (super().augment if text else augment_images)(batch, params, generator)

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """Some questions with their answers; confusions of classes."""
        if "frame" in state:
            from trainers.samples.texts import answer_samples

            return answer_samples(self, module, source, state)
        return super().samples(module, source, state, params)


def _read_batch(
    module: torch.nn.Module, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Ids and mask [B, L] without what lies beyond the longest text, and what else tells tokens apart."""
    if "question" in batch:
        return cast("QuestionReader", module.reader).read(module, batch)
    from trainers.modules.stacked_values import most_in_stack

    longest = most_in_stack(batch["mask"].sum(dim=1))
    return batch["inputs"][:, :longest], batch["mask"][:, :longest].long(), {}


def _text_arrays(document: str, texts: list[str], length: int, pad: int) -> dict[str, Array]:
    ids = whole_ids(document, texts, length)
    mask = np.arange(length)[None] < np.array([len(tokens) for tokens in ids]).reshape(-1, 1)
    return {"inputs": pad_tokens(ids, length, pad), "mask": mask}


def _hide_words(document: str, inputs: Array, mask: Array, writer: ArrayWriter) -> HidingTokens:
    """Writes `hidden` and `target`, int64 [N, L]; returns which tokens are special."""
    special = special_tokens(document)
    hidden = writer.create("hidden", inputs.shape, np.int64)
    target = writer.create("target", inputs.shape, np.int64)
    for start in range(0, len(inputs), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        hidden[rows], target[rows] = hide_tokens(
            np.asarray(inputs[rows]), mask[rows], tokens=token_count(document), **special
        )
    return special


def _longest_text(document: str, texts: Iterator[str], most: int) -> int:
    longest = 1
    while chunk := list(islice(texts, CHUNK_ROWS)):
        longest = max(longest, *map(len, whole_ids(document, chunk, most)))
    return longest


def _head_names(module: torch.nn.Module) -> tuple[str, ...]:
    """Names of what the task adds to the model itself."""
    prefix = f"{cast('PreTrainedModel', module).base_model_prefix}."
    return tuple(name for name in module.state_dict() if not name.startswith(prefix))


def _small_config(state: State, params: Params) -> JsonObject:
    if params["width"] % params["heads"]:
        raise InputError(
            "width must be a multiple of heads",
            f"width {params['width']}, heads {params['heads']}",
            "choose widths and heads in the space so that every pair fits",
            key=("width",),
        )
    return {
        "model_type": "bert",
        "vocab_size": token_count(state["tokenizer"]),
        "hidden_size": params["width"],
        "num_hidden_layers": params["layers"],
        "num_attention_heads": params["heads"],
        "intermediate_size": params["feed_forward"],
        "hidden_act": params["activation"],
        "max_position_embeddings": max(512, state["length"]),
    }
