"""T5: text to text, from a small configuration or from pretrained weights.

C. Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR
21, 2020 (arXiv 1910.10683), as transformers' `T5ForConditionalGeneration`.

Shapes (B pairs, S tokens of a source, T of a target, D width, V tokens of the vocabulary):

    source [B, S] → encoder with relative places [B, S, D]
    → decoder over the target so far [B, T, D] → linear [B, T, V]

Without `pretrained` the vocabulary is byte-pair pieces of the training split, one for both sides. With it,
configuration, tokenizer and weights are the folder's (or the hub's), and the structure cannot be searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from trainers.data.dataset import Dataset
from trainers.errors import InputError
from trainers.family import Family, first_missing
from trainers.hyperparameters import OPTIONAL, TRAINING, Hyperparameter, whole
from trainers.inputs.token_ids import append_end, put_pairs, read_texts, without_padding
from trainers.inputs.tokenizers import BEGIN, END, SPECIAL, fit_tokens, pad_tokens, token_count, token_ids
from trainers.inputs.vocabulary import PAD, UNKNOWN, as_text
from trainers.modules.decoding import DecodingOptions, join_outputs, transformers_arguments
from trainers.options import Options
from trainers.pretrained import hub
from trainers.pretrained.lora import LoraOptions, add_lora
from trainers.tasks.outputs import output_tensor
from trainers.types import Array, ArrayWriter, Batch, JsonObject, Outputs, Params, State

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedModel

    from trainers.tasks import MetricSink
    from trainers.types import ExampleSource, Sample

_STRUCTURE = {"width", "heads", "layers", "feed_forward", "activation", "vocabulary"}


class T5Options(Options):
    """Fixed structure of a T5.

    Attributes:
        pretrained: a folder of transformers' T5, or its name on the hub (`t5-small`); or a safetensors file
            of a module like this one.
        lora: low-rank adapters beside frozen weights.
        prefix: put before each input (`translate English to German: `).
        max_tokens: inputs and targets are cut there.
        generate: how texts are written, in use and for the metrics that compare texts.
    """

    lora: LoraOptions | None = None
    prefix: str = ""
    max_tokens: int = Field(default=128, ge=2)
    generate: DecodingOptions = DecodingOptions()


class T5(Family):
    """Text to text: translation, summaries, answers."""

    name = "t5"
    summary = "text to text by T5, from scratch or pretrained (Raffel 2020)"
    kinds = ("pairs",)
    tasks = ("seq2seq",)
    unstackable = "the model of transformers decides by values in its forward pass"
    libraries = ("tokenizers", "transformers")
    Options = T5Options
    uses = ("activation", "dropout")
    chosen = ("pretrained",)
    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "dropout": replace(OPTIONAL["dropout"], default=0.1),
        "gradient_clip": replace(TRAINING["gradient_clip"], default=1.0),
        "width": whole(128, "numbers a token, a multiple of heads"),
        "heads": whole(4, "of each attention"),
        "layers": whole(2, "blocks on each side"),
        "feed_forward": whole(512, "between the two dense layers"),
        "vocabulary": whole(8000, "pieces of words, the commonest first", low=260),
    }
    encoding = ("vocabulary",)

    options: T5Options

    @property
    def _external_model(self) -> str | None:
        """The folder or name of another model, where `pretrained` is no file of this one's own weights."""
        return None if hub.is_file(self.options.pretrained) else self.options.pretrained

    def list_hyperparameters(self) -> dict[str, Hyperparameter]:
        """Without the structure where that is the pretrained model's."""
        unread = _STRUCTURE if self._external_model else set()
        return {name: entry for name, entry in super().list_hyperparameters().items() if name not in unread}

    def encode(self, dataset: Dataset, params: Params, writer: ArrayWriter) -> State:
        """`source` [N, S] and `target` [N, T], int64, each with its end."""
        state = (
            self._pretrained_state(self._external_model)
            if self._external_model
            else self._fit_state(dataset, params)
        )
        source, target = put_pairs(
            dataset,
            writer,
            state["tokenizer"],
            end=state["end_id"],
            most=self.options.max_tokens,
            pad=state["pad_id"],
            prefix=self.options.prefix,
        )
        lengths = {"length": source, "target_length": target, "alike_by": "target"}
        return {**state, "task": "seq2seq", **lengths}

    def _fit_state(self, dataset: Dataset, params: Params) -> State:
        assert dataset.target is not None
        train = dataset.splits["train"]
        columns = (dataset.columns["input"], dataset.target)
        texts = (text for column in columns for text in read_texts(column, train))
        document = fit_tokens(texts, unit="pieces", size=params["vocabulary"])
        marks = {"pad_id": PAD, "end_id": END, "begin_id": PAD, "special_ids": [UNKNOWN, BEGIN]}
        return {"tokenizer": document, **marks}

    def _pretrained_state(self, source: str) -> State:
        folder = hub.find_folder(source)
        config = hub.read_config(folder)
        if config["model_type"] not in ("t5", "mt5", "umt5"):
            found = f"model_type {config['model_type']}"
            raise InputError("pretrained must be a T5", found, key=("options", "pretrained"))
        marks = {
            "pad_id": config.get("pad_token_id", 0),
            "end_id": config.get("eos_token_id", 1),
            "begin_id": config.get("decoder_start_token_id", config.get("pad_token_id", 0)),
            "special_ids": [config.get("pad_token_id", 0)],
        }
        return {"tokenizer": hub.read_tokenizer(folder), "config": config, **marks}

    def build(self, state: State, params: Params) -> torch.nn.Module:
        """transformers' `T5ForConditionalGeneration`, with adapters where asked for."""
        config = {
            **(state.get("config") or _small_config(state, params)),
            "pad_token_id": state["pad_id"],
            "eos_token_id": state["end_id"],
            "decoder_start_token_id": state["begin_id"],
        }
        module = hub.make_module("AutoModelForSeq2SeqLM", config, dropout=params["dropout"])
        if self.options.lora is not None:
            add_lora(module, self.options.lora, also=())
        return module

    def start(self, module: torch.nn.Module) -> None:
        """Takes pretrained weights, and freezes parts."""
        from trainers.pretrained.weights import freeze

        if self._external_model is None:
            super().start(module)
            return
        hub.load_weights(module, hub.find_folder(self._external_model), fresh=(), sha256=self.options.sha256)
        freeze(module, self.options.freeze)

    def outputs(self, module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits [B, T, V] of a decoder that is shown the target so far."""
        import torch

        source, target = self._source_inputs(module, batch["source"]), batch["target"]
        config = cast("PreTrainedModel", module).config
        begin = torch.full_like(target[:, :1], config.decoder_start_token_id)
        past = torch.cat([begin, target[:, :-1]], dim=1)
        past = past.masked_fill(past < 0, config.pad_token_id)
        logits: torch.Tensor = module(**source, decoder_input_ids=past, use_cache=False).logits
        return logits

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Without padding that no target of the batch needs."""
        return super().augment(without_padding(batch), params, generator)

    def judge(self, module: torch.nn.Module, batch: Batch, metrics: MetricSink) -> None:
        """The loss of what it is shown, and the texts that it writes by itself."""
        longest = batch["target"].shape[1]
        how = self.options.generate.model_copy(update={"outputs": 1, "max_tokens": longest})
        tokens = self._generate(module, batch["source"], how)[:, 0]
        batch = without_padding(batch)
        metrics.update({"logits": self.outputs(module, batch), "tokens": tokens}, batch)

    def from_user(self, rows: pd.DataFrame, state: State) -> dict[str, Array]:
        """The column `input` as `encode` makes it."""
        if first_missing(rows, ["input"]):
            raise InputError("rows must have a column input", f"columns {list(rows.columns)}")
        ids = token_ids(state["tokenizer"], [self.options.prefix + as_text(value) for value in rows["input"]])
        length = state["length"]
        return {"source": pad_tokens(append_end(ids, length, state["end_id"]), length, state["pad_id"])}

    def answers(self, module: torch.nn.Module, batch: Batch, state: State) -> Outputs:
        """`tokens` [B, outputs, n], as written."""
        return {"tokens": self._generate(module, batch["source"], self.options.generate)}

    def to_user(self, outputs: Outputs, state: State) -> pd.DataFrame:
        """A column `output`; further outputs are numbered from 2."""
        one = super().to_user
        return join_outputs(lambda tokens: one({"tokens": tokens}, state), output_tensor(outputs, "tokens"))

    def samples(
        self, module: torch.nn.Module, source: ExampleSource, state: State, params: Params
    ) -> Mapping[str, Sample]:
        """Some pairs, and what the model writes for them."""
        from trainers.samples.texts import translation_samples

        return translation_samples(self, module, source, state)

    def _source_inputs(self, module: torch.nn.Module, source: torch.Tensor) -> dict[str, torch.Tensor]:
        """The batch without what lies beyond its longest text, and what of it is text."""
        held = source != cast("PreTrainedModel", module).config.pad_token_id
        longest = max(int(held.sum(dim=1).max()), 1)
        return {"input_ids": source[:, :longest], "attention_mask": held[:, :longest].long()}

    def _generate(self, module: torch.nn.Module, source: torch.Tensor, how: DecodingOptions) -> torch.Tensor:
        """[B, outputs, n], without the token that the decoder begins with."""
        import torch

        given = self._source_inputs(module, source)
        model = cast("PreTrainedModel", module)
        with torch.random.fork_rng(devices=[source.device] if source.is_cuda else []):
            torch.manual_seed(how.seed)
            tokens: torch.Tensor = model.generate(**given, **transformers_arguments(how))
        return tokens[:, 1:].reshape(len(source), how.outputs, -1)


def _small_config(state: State, params: Params) -> JsonObject:
    width, heads = params["width"], params["heads"]
    if width % heads:
        raise InputError(
            "width must be a multiple of heads",
            f"width {width}, heads {heads}",
            "choose widths and heads in the space so that every pair fits",
            key=("width",),
        )
    return {
        "model_type": "t5",
        "vocab_size": max(token_count(state["tokenizer"]), len(SPECIAL)),
        "d_model": width,
        "d_kv": width // heads,
        "d_ff": params["feed_forward"],
        "feed_forward_proj": params["activation"],
        "num_layers": params["layers"],
        "num_heads": heads,
    }
