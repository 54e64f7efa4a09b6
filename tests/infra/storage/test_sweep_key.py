"""Which key a sweep is carried on with, and that checkpoints of another are no damage."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
import torch

from infra.errors import StorageUnavailable, WrongInput
from infra.storage.checkpoints import CheckpointStore
from infra.storage.sweep_key import check_lane_key, current_key_name, note_key

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]


def test_first_key_is_noted_and_others_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VELODROME_KEY", raising=False)
    assert note_key("digits", {}) is None
    monkeypatch.setenv("VELODROME_KEY", KEYS[0])
    facts = note_key("digits", {"spent": 1})
    assert facts == {"spent": 1, "storage_key": current_key_name()}
    assert note_key("digits", facts) is None
    monkeypatch.setenv("VELODROME_KEY", KEYS[1])
    with pytest.raises(WrongInput, match=str(facts["storage_key"])):
        note_key("digits", facts)
    with pytest.raises(WrongInput, match="driver's key"):
        check_lane_key(str(facts["storage_key"]))


def test_checkpoint_resumes_with_its_key_and_is_not_passed_over_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that cannot be opened must not make the trial begin anew."""
    monkeypatch.setenv("VELODROME_KEY", KEYS[0])
    store = CheckpointStore(tmp_path / "checkpoints")
    weights = {"w": torch.randn(700, 700), "n": torch.arange(5)}
    path = store.save(weights, {"step": 3})
    assert weights["w"].numpy().tobytes()[:64] not in (path / "tensors.safetensors").read_bytes()
    loaded = store.load()
    assert loaded is not None
    assert torch.equal(loaded.tensors["w"], weights["w"])
    assert loaded.document == {"step": 3}
    monkeypatch.setenv("VELODROME_KEY", KEYS[1])
    with pytest.raises(StorageUnavailable, match="opened with its key"):
        store.load()


def test_lane_must_have_the_driver_s_key_or_none_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VELODROME_KEY", raising=False)
    check_lane_key("")
    with pytest.raises(WrongInput, match=r"driver's key, abc.*none"):
        check_lane_key("abc")
    monkeypatch.setenv("VELODROME_KEY", KEYS[0])
    check_lane_key(current_key_name())
    with pytest.raises(WrongInput, match=f"lanes must have no key.*key {current_key_name()}"):
        check_lane_key("")
    assert note_key("digits", {"storage_key": current_key_name()}) is None
    monkeypatch.delenv("VELODROME_KEY")
    with pytest.raises(WrongInput, match="none"):
        note_key("digits", {"storage_key": "abc"})
