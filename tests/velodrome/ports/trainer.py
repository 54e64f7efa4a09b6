"""In the shape of Optuna's example for transformers: a classifier that its Trainer trains."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"input_ids": torch.tensor([index, 1, 2]), "labels": torch.tensor(index % 2)}


def objective(trial):
    config = BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=TrainingArguments(
            learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True), num_train_epochs=2,
            eval_strategy="epoch", save_strategy="epoch", report_to=[], use_cpu=True, disable_tqdm=True,
        ),
        train_dataset=Rows(),
        eval_dataset=Rows(),
    )  # fmt: skip
    trainer.train()
