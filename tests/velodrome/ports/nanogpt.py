"""In the shape of nanoGPT's `train.py`: settings are globals that `--key=value` replaces."""

import os
import sys
from ast import literal_eval

import torch
from torch import nn

out_dir = "out"
eval_interval = 50
init_from = "scratch"
n_embd = 16
bias = False
learning_rate = 6e-4
max_iters = 600000
config_keys = [
    key for key, value in globals().items() if key[0] != "_" and isinstance(value, (int, float, str))
]
for argument in sys.argv[1:]:  # the configurator
    key, value = argument.removeprefix("--").split("=")
    try:
        attempt = literal_eval(value)
    except (SyntaxError, ValueError):
        attempt = value
    assert type(attempt) is type(globals()[key]), f"{key}: {value}"
    globals()[key] = attempt
torch.manual_seed(1337)
TEXT = "abcdefgh" * 16


class GPT(nn.Module):
    def __init__(self, n_embd, bias):
        super().__init__()
        self.wte = nn.Embedding(8, n_embd)
        self.lm_head = nn.Linear(n_embd, 8, bias=bias)

    def forward(self, idx):
        return self.lm_head(self.wte(idx))


def main():
    data = torch.tensor([ord(letter) - ord("a") for letter in TEXT])
    model_args = {"n_embd": n_embd, "bias": bias}
    path = os.path.join(out_dir, "ckpt.pt")
    os.makedirs(out_dir, exist_ok=True)
    iter_num, best_val_loss = 0, 1e9
    if init_from == "resume":
        print(f"Resuming training from {out_dir}")
        checkpoint = torch.load(path, map_location="cpu")
        model_args, iter_num = checkpoint["model_args"], checkpoint["iter_num"]
        best_val_loss = checkpoint["best_val_loss"]
    model = GPT(**model_args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    if init_from == "resume":
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    while True:
        loss = nn.functional.cross_entropy(model(data[:-1]), data[1:])
        if iter_num % eval_interval == 0:
            print(f"step {iter_num}: train loss {loss.item():.4f}, val loss {loss.item():.4f}")
            if loss.item() < best_val_loss:
                best_val_loss = loss.item()
                if iter_num > 0:
                    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    extra = {"model_args": model_args, "iter_num": iter_num, "best_val_loss": best_val_loss}
                    print(f"saving checkpoint to {out_dir}")
                    torch.save(
                        {**state, **extra, "config": {key: globals()[key] for key in config_keys}}, path
                    )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"iter {iter_num}: loss {loss.item():.4f}, time 1.00ms, mfu -100.00%")
        iter_num += 1
        if iter_num > max_iters:
            break


if __name__ == "__main__":
    main()
