"""The command lines of scripts that stay as they are: their arguments, and the lines that they print."""

import argparse
import ast
import sys


def mnist() -> None:
    """PyTorch's `mnist/main.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--lr", type=float, default=1.0)
    args = parser.parse_args()
    for epoch in range(1, args.epochs + 1):
        print(f"Train Epoch: {epoch} [0/60000 (0%)]\tLoss: 2.300039")
        print(f"\nTest set: Average loss: 0.{9 - epoch}000, Accuracy: 9{epoch}00/10000 (9{epoch}%)\n")


def vae() -> None:
    """PyTorch's `vae/main.py`, which parses when it is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for epoch in range(1, args.epochs + 1):
        print(f"====> Epoch: {epoch} Average loss: 16{9 - epoch}.1234")
        print(f"====> Test set loss: 12{9 - epoch}.5000")


def word_language_model() -> None:
    """PyTorch's `word_language_model/main.py`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=20)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    for epoch in range(1, args.epochs + 1):
        print("-" * 89)
        print(f"| end of epoch {epoch:3d} | time:  5.00s | valid loss  {6 - epoch:5.2f} | valid ppl   300.10")
        print("-" * 89)
    print("| End of training | test loss  4.10 | test ppl    60.34")


def nanogpt() -> None:
    """nanoGPT's `train.py`, whose configurator takes `--key=value` alone."""
    known = {"learning_rate": 6e-4, "max_iters": 600_000, "out_dir": "out"}
    for argument in sys.argv[1:]:
        key, value = argument.removeprefix("--").split("=")
        known[key] = ast.literal_eval(value) if key != "out_dir" else value
    for step in range(0, int(known["max_iters"]) + 1, 250):
        print(f"step {step}: train loss {4 - step / 1000:.4f}, val loss {4.1 - step / 1000:.4f}")
        print(f"iter {step}: loss 4.2, time 25.00ms, mfu 10.00%")


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]()
