"""A training script as a plain function: softmax regression on scikit-learn's digits, with its own data."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn


def build(dropout: float, **_others: object) -> nn.Module:
    """The module; the same call builds it again where the model is loaded."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 10))


def train(trial) -> object:
    """One trial. `trial` is all that Velodrome hands in."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32, device=trial.device) / 16
    target = torch.tensor(labels, device=trial.device)
    model = build(**trial.params).to(trial.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["learning_rate"])
    for _epoch in trial.epochs(model=model, optimizer=optimizer):
        model.train()
        for batch in torch.randperm(1400, device=trial.device).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), target[batch])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = model(inputs[1400:]).argmax(1) == target[1400:]
        trial.report(accuracy=right.float().mean().item(), loss=loss.item())
    return trial.model(model, build="plain_function:build")
