"""In the shape of Optuna's example for transformers: a classifier that its Trainer trains."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

WORDS = ["dull", "poor", "grey", "the", "film", "was", "great", "lovely", "fine"]


def make_tokenizer():
    known = {word: place for place, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    words = Tokenizer(models.WordLevel(known, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")


def make_texts():
    return [(f"the film was {word}", int(word in WORDS[6:])) for word in (WORDS[:3] + WORDS[6:]) * 32]


def objective(trial):
    config = BertConfig(
        vocab_size=16,
        max_position_embeddings=16,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    tokenizer = make_tokenizer()
    rows = [{**tokenizer(text), "labels": label} for text, label in make_texts()]
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=TrainingArguments(
            learning_rate=trial.suggest_float("learning_rate", 1e-6, 1e-1, log=True), num_train_epochs=2,
            eval_strategy="epoch", save_strategy="epoch", report_to=[], use_cpu=True, disable_tqdm=True,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
