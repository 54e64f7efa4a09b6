"""In the shape of PyTorch's example `vae`: it parses as it is imported, and writes where it is called."""

import argparse
import os

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn, optim

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
torch.manual_seed(args.seed)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.fc3, self.fc4 = nn.Linear(4, 32), nn.Linear(32, 64)

    def forward(self, x):
        hidden = F.relu(self.fc1(x))
        mu, logvar = self.fc21(hidden), self.fc22(hidden)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def loss_function(recon, x, mu, logvar):
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return F.binary_cross_entropy(recon, x, reduction="sum") + kld


def run(loader, train):
    total = 0.0
    for (data,) in loader:
        loss = loss_function(*[(out := model(data))[0], data, out[1], out[2]])
        total += loss.item()
        if train:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return total / len(loader.dataset)


if __name__ == "__main__":
    rows = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    sets = [torch.utils.data.TensorDataset(part) for part in (rows[:1200], rows[1200:])]
    loaders = [torch.utils.data.DataLoader(part, batch_size=args.batch_size) for part in sets]
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    os.makedirs("results", exist_ok=True)
    for epoch in range(1, args.epochs + 1):
        print(f"====> Epoch: {epoch} Average loss: {run(loaders[0], train=True):.4f}")
        print(f"====> Test set loss: {run(loaders[1], train=False):.4f}")
        with open(f"results/sample_{epoch}.txt", "w") as sample:
            sample.write(str(model(rows[:1])[0].tolist()))
