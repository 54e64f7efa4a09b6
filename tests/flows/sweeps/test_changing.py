"""stop, extend, retry, remove: with a living driver, with a dead one, and with none."""

from __future__ import annotations

import importlib
import io
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from flows.compression.compress import compress
from flows.config.weights import hash_weights
from flows.confirmation.confirm import confirm
from flows.reproduction.reproduce import reproduce
from flows.sweeps.extend import extend
from flows.sweeps.remove import remove
from flows.sweeps.retry import retry
from flows.sweeps.stop import stop
from infra.errors import OwnedElsewhere, RefusedError, WrongInput
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.store import Ledger
from infra.search.growth import added_trials, grow_spec
from infra.spec import FamilySpec, SweepSpec
from tests.flows.ledger_sweeps import (
    ACCURACY,
    dead_owner,
    living_owner,
    set_owner,
    spec_of,
    trial_of,
    write_logs,
    write_sweep,
)
from trainers.registry import source_hash


@pytest.fixture
def carried_on(monkeypatch):
    """The labels that `flows.sweeps.sweep.resume_sweep` was called with, in the place of running them."""
    labels = []
    module = ModuleType("flows.sweeps.sweep")
    module.resume_sweep = lambda label, home: labels.append(label)
    monkeypatch.setitem(sys.modules, "flows.sweeps.sweep", module)
    return labels


class Driver(threading.Thread):
    """Owns a sweep as this process and answers its requests; on `stop` it lets the sweep go."""

    def __init__(self, home, sweep):
        super().__init__(daemon=True)
        self.home, self.sweep, self.seen = home, sweep, []
        self.me = living_owner()
        set_owner(home, sweep, self.me)

    def run(self):
        ledger = Ledger(self.home.ledger_url)
        deadline = time.monotonic() + 10
        while not self.seen and time.monotonic() < deadline:
            for request in views.open_requests(ledger, self.sweep):
                self.seen.append((request.kind, request.payload))
                ledger.add_events(
                    self.sweep, WriteBatch(requests_done=[request.id], sweep={"state": "stopped"})
                )
                if request.kind == "stop":
                    ledger.release(self.sweep, self.me.token)
            time.sleep(0.05)
        ledger.close()


@pytest.fixture
def driver(home):
    """A living driver of the sweep `digits`."""
    thread = Driver(home, write_sweep(home, state="running"))
    thread.start()
    yield thread
    thread.join(11)


def ledger_of(home):
    ledger = Ledger(home.ledger_url)
    return ledger, views.find_sweep(ledger, "digits")


def test_stop_asks_the_driver_and_waits_for_its_end(home, driver):
    result = stop("digits", limit_s=10)
    assert (result.was_running, result.state) == (True, "stopped")
    assert driver.seen == [("stop", {})]


def test_stop_of_ownerless_sweep_says_it_was_not_running(home, velodrome):
    sweep = write_sweep(home, state="running")
    set_owner(home, sweep, dead_owner())
    ended = velodrome("stop", "digits", "--json")
    assert json.loads(ended.out) == {
        "sweep": "digits",
        "was_running": False,
        "state": "stopped",
        "seconds": 0.0,
    }


def test_stop_gives_up_waiting_at_its_limit(home):
    set_owner(home, write_sweep(home, state="running"), living_owner())
    with pytest.raises(OwnedElsewhere, match=r"within 0\.3 s"):
        stop("digits", limit_s=0.3)


def test_extend_asks_a_living_driver(home, driver, carried_on):
    result = extend("digits", trials=3, family="image_cnn")
    assert result.asked_driver
    assert driver.seen == [("extend", {"trials": 3, "family": "image_cnn"})]
    assert carried_on == []


@pytest.mark.parametrize("owner", [None, dead_owner])
def test_extend_of_ownerless_sweep_grows_and_resumes_it(home, carried_on, owner):
    sweep = write_sweep(home, fingerprint="none")
    if owner:
        set_owner(home, sweep, owner())
    result = extend("digits", trials=3)
    assert result.planned == {"text_cnn": 7, "image_cnn": 7}
    assert carried_on == ["digits"]
    ledger, row = ledger_of(home)
    assert [family.trials for family in row.spec.families] == [7, 7]
    (event,) = [event for event in views.events(ledger, row.id) if event.kind == "grown"]
    assert event.payload == {"families": {"text_cnn": 7, "image_cnn": 7}}
    assert views.owner(ledger, row.id) is None
    ledger.close()


def test_retry_makes_failed_trials_wait_again(home, carried_on):
    write_sweep(home, fingerprint="none")
    result = retry("digits", gpus=0.5, memory_bytes=8 << 30)
    assert result.trials == {"text_cnn": 1}
    assert carried_on == ["digits"]
    ledger, row = ledger_of(home)
    again = next(trial for trial in views.trials(ledger, row.id) if trial.key == ("search", "text_cnn", 1))
    assert (again.state, again.reason, again.failures) == ("waiting", None, 0)
    assert again.resources == {"gpus": 0.5, "memory_bytes": 8 << 30}
    assert again.attempts == 1  # what it cost stays counted
    assert [e.kind for e in views.trial_events(ledger, row.id, again)].count("retry") == 1
    ledger.close()


def test_retry_asks_a_living_driver(home, driver, carried_on):
    assert retry("digits", cpus=2.0).asked_driver
    assert driver.seen == [("retry", {"resources": {"cpus": 2.0}})]


OWN_CODE = "def train(trial):\n    trial.report({'val/accuracy': %s})\n"


@pytest.fixture
def changed_code(home, monkeypatch):
    """The sweep `digits` of a function whose source is another now than when its trials were made."""
    Path("corrected.py").write_text(OWN_CODE % "0.5")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    reference = "corrected:train"
    family = FamilySpec(name=reference, reference=reference, source_hash=source_hash(reference), trials=2)
    spec = SweepSpec(name="digits", objectives=(ACCURACY,), families=(family,))
    trials = (trial_of(reference, 0, "failed"), trial_of(reference, 1, "complete", 0.5))
    write_sweep(home, spec, trials=trials, fingerprint="none")
    Path("corrected.py").write_text(OWN_CODE % "0.875")
    sys.modules.pop("corrected")
    importlib.invalidate_caches()
    yield source_hash(reference)
    sys.modules.pop("corrected", None)


CARRYING_ON = {"extend": ("--trials", "+1"), "retry": ()}


@pytest.mark.parametrize("verb", CARRYING_ON)
def test_carrying_on_with_changed_code_is_refused_and_writes_nothing(
    home, velodrome, carried_on, changed_code, verb
):
    ledger, before = ledger_of(home)
    events = len(views.events(ledger, before.id))
    ended = velodrome(verb, "digits", *CARRYING_ON[verb])
    assert ended.status == 2
    assert "another source of corrected:train" in ended.err
    assert "carry the sweep on with --accept-code-change" in ended.err
    _, after = ledger_of(home)
    assert (after.spec, after.facts) == (before.spec, before.facts)
    assert len(views.events(ledger, before.id)) == events
    assert carried_on == []
    ledger.close()


def test_confirm_with_changed_code_names_the_command_that_has_the_option(home, velodrome, changed_code):
    ended = velodrome("confirm", "digits")
    assert ended.status == 2
    assert "another source of corrected:train" in ended.err
    assert "by `velodrome sweep` with its file and --accept-code-change" in " ".join(ended.err.split())


@pytest.mark.parametrize("verb", CARRYING_ON)
def test_sweep_that_was_carried_on_ends_with_its_leaderboard(home, velodrome, carried_on, verb):
    trials = (trial_of("image_cnn", 0, "failed"), trial_of("image_cnn", 1, "complete", 0.5))
    write_sweep(home, trials=trials, fingerprint="none")
    ended = velodrome(verb, "digits", *CARRYING_ON[verb])
    assert ended.status == 0
    assert "image_cnn" in ended.out
    assert "0.5" in ended.out
    assert velodrome(verb, "digits", *CARRYING_ON[verb], "--json").out.startswith("{")


@pytest.mark.parametrize("verb", CARRYING_ON)
def test_accepted_code_change_is_recorded(home, velodrome, carried_on, changed_code, verb):
    assert velodrome(verb, "digits", *CARRYING_ON[verb], "--accept-code-change").status == 0
    ledger, row = ledger_of(home)
    assert row.facts["code_changed"] == ["corrected:train"]
    assert row.spec.families[0].source_hash == changed_code
    assert [e.payload for e in views.events(ledger, row.id) if e.kind == "code-change"] == [
        {"families": ["corrected:train"]}
    ]
    assert carried_on == ["digits"]
    ledger.close()


TRAINING = {
    "extend": lambda: extend("digits", trials=1),
    "retry": lambda: retry("digits"),
    "confirm": lambda: confirm("digits", top=2),
    "reproduce": lambda: reproduce("digits", trial=1, family="image_cnn"),
    "compress": lambda: compress("digits", trial=1, family="image_cnn", how="int8"),
}


@pytest.mark.parametrize("verb", TRAINING)
def test_training_that_begins_with_other_weights_is_refused_before_ray_starts(home, carried_on, verb):
    """The same path in the options, and other bytes there."""
    Path("begin.safetensors").write_bytes(b"first")
    options = {"pretrained": "begin.safetensors"}
    weights = hash_weights("image_cnn", options, {})
    families = tuple(
        replace(family, options=options, weights=weights) if family.name == "image_cnn" else family
        for family in spec_of().families
    )
    write_sweep(home, replace(spec_of(), families=families), fingerprint="none")
    Path("begin.safetensors").write_bytes(b"other")
    with pytest.raises(
        WrongInput, match=r"image_cnn\.weights\.begin\.safetensors: [0-9a-f]{64} → [0-9a-f]{64}"
    ):
        TRAINING[verb]()
    assert carried_on == []


@pytest.mark.parametrize("carry_on", TRAINING.values())
def test_training_on_changed_data_is_refused_before_ray_starts(home, carried_on, carry_on):
    Path("rows.csv").write_text("a,b\n" + "".join(f"{i},{2 * i + 1}\n" for i in range(60)))
    data = {"source": "csv:rows.csv", "columns": {"target": "b"}}
    write_sweep(home, replace(spec_of(), data=data), facts={"base": str(Path.cwd())})
    with pytest.raises(WrongInput, match=r"data: fingerprint f{12} → [0-9a-f]{12}"):
        carry_on()
    assert carried_on == []


def test_retry_without_failed_trials_does_nothing(home, carried_on):
    write_sweep(home, trials=())
    assert retry("digits").trials == {}
    assert carried_on == []


@pytest.mark.parametrize("wrong", [{"gpus": 1.5}, {"gpus": -1.0}, {"cpus": 0.0}, {"gpus": float("nan")}])
def test_retry_impossible_resources_are_refused_first(home, wrong):
    with pytest.raises(WrongInput):
        retry("digits", **wrong)


def test_remove_deletes_what_only_the_sweep_holds(home):
    write_sweep(home)
    write_sweep(home, spec_of("digits2"))
    logs = write_logs(home)
    model = home.storage / "digits" / "image_cnn"
    model.mkdir(parents=True)
    (model / "weights.safetensors").write_bytes(b"12345678")
    other = home.storage / "digits2"
    other.mkdir()
    removal = remove("digits")
    assert removal.size_bytes >= 8
    assert not logs.exists()
    assert not model.parent.exists()
    assert other.exists()
    ledger = Ledger(home.ledger_url)
    assert [row.label for row in views.sweeps(ledger)] == ["digits2"]
    ledger.close()


def test_remove_follows_no_link(home, tmp_path):
    write_sweep(home)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    home.storage.mkdir(parents=True)
    (home.storage / "digits").symlink_to(precious)
    remove("digits")
    assert (precious / "file").read_text() == "mine"


def test_remove_of_running_sweep_is_refused(home):
    set_owner(home, write_sweep(home, state="running"), living_owner())
    with pytest.raises(OwnedElsewhere, match="pid"):
        remove("digits")


def test_remove_without_consent_is_refused(home, velodrome, monkeypatch):
    write_sweep(home)
    with pytest.raises(RefusedError):
        remove("digits", agree=lambda removal: removal.trials == 0)
    ended = velodrome("remove", "digits")  # nobody is there to answer
    assert ended.status == 3
    assert "nothing was removed" in ended.err
    assert ended.out == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert velodrome("remove", "digits").status == 0
    write_sweep(home)
    assert velodrome("remove", "digits", "--yes").status == 0
    assert velodrome("status", "digits").status == 2


def test_growth_of_a_sweep_is_pure_and_bounded():
    spec = spec_of()
    grown = grow_spec(spec, trials=2, family="image_cnn")
    assert [family.trials for family in grown.families] == [4, 6]
    assert [family.trials for family in spec.families] == [4, 4]
    assert added_trials(spec, grown) == {"image_cnn": 6}
    for wrong in ({"trials": 0}, {"trials": 1, "family": "rnn"}, {"trials": 10**7}):
        with pytest.raises(WrongInput):
            grow_spec(spec, **wrong)


@pytest.mark.parametrize("text", ["0", "-3", "+0", "1e3", "ten", "", "+99999999"])
def test_extend_trials_must_be_a_positive_number(home, velodrome, text):
    write_sweep(home)
    ended = velodrome("extend", "digits", f"--trials={text}")
    assert ended.status == 2
    assert "--trials +10" in ended.err


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 << 30), ("500MB", 500_000_000), ("1000", 1000), ("1.5k", 1500), ("2Gi", 2 << 30)],
)
def test_memory_size_with_unit_is_read_in_bytes(text, size):
    from flows.cli.change_commands import parse_size

    assert parse_size(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "8 Gigs", "1iB", "9" * 40])
def test_memory_size_without_meaning_is_refused(text):
    from flows.cli.change_commands import parse_size

    with pytest.raises(WrongInput):
        parse_size(text, "--memory")
