"""In the shape of PyTorch's example `word_language_model`: it saves the whole module, as a pickle."""

import argparse
import math

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=20)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--tied", action="store_true")
parser.add_argument("--save", default="model.pt")
args = parser.parse_args()
torch.manual_seed(1111)
WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "dog", "sat", "on", "the", "cat", "."]
VOCABULARY = sorted(set(WORDS))


class RNNModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(len(VOCABULARY), 16)
        self.rnn = nn.LSTM(16, 16)
        self.decoder = nn.Linear(16, len(VOCABULARY))
        if args.tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, data):
        return self.decoder(self.rnn(self.encoder(data))[0])


def evaluate():
    with torch.no_grad():
        return criterion(model(corpus[:-1]).flatten(0, 1), corpus[1:].flatten()).item()


if __name__ == "__main__":
    corpus = torch.tensor([VOCABULARY.index(word) for word in WORDS * 4]).view(-1, 2)
    model, criterion, lr, best = RNNModel(), nn.CrossEntropyLoss(), args.lr, math.inf
    for epoch in range(1, args.epochs + 1):
        for _ in range(4):
            model.zero_grad()
            criterion(model(corpus[:-1]).flatten(0, 1), corpus[1:].flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.25)
            for part in model.parameters():
                part.data.add_(part.grad, alpha=-lr)
        loss = evaluate()
        print("-" * 89)
        shown = f"valid loss {loss:5.2f} | valid ppl {math.exp(loss):8.2f}"
        print(f"| end of epoch {epoch:3d} | time:  5.00s | {shown}")
        print("-" * 89)
        if loss < best:
            with open(args.save, "wb") as file:
                torch.save(model, file)
            best = loss
        else:
            lr /= 4.0
    print(f"| End of training | test loss {best:5.2f} | test ppl {math.exp(best):8.2f}")
