"""The same, swept, and its best module the model."""

import lightning as L
import torch
from torch import nn

from tests.velodrome.ports.answers import BUILD, READ
from velodrome.integrations.lightning import fit_trial


class LightningNet(L.LightningModule):
    def __init__(self, width, lr):
        super().__init__()
        self.lr = lr
        self.net = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch), (batch.sum(1) > 1).long())

    def validation_step(self, batch, batch_idx):
        self.log("val_acc", (self.net(batch).argmax(1) == (batch.sum(1) > 1)).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def objective(trial):
    model = LightningNet(
        trial.suggest_int("width", 4, 128, log=True), trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    )
    loader = torch.utils.data.DataLoader(torch.rand(256, 2), batch_size=16)
    trainer = L.Trainer(
        logger=False, max_epochs=2, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False
    )
    fit_trial(trial, trainer, model, loader, loader, accuracy="val_acc", build=BUILD, predict=READ)
