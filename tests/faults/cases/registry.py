"""Models that somebody else made, addresses that lead elsewhere, and whoever asks a server: the tests of
promotion and serving, each with all of its parameters."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.home import Home
from infra.tracking.client import prepare_tracking
from tests.conftest import copy_store
from tests.faults.commands import standing_in
from tests.faults.outcome import Outcome, Pace, case
from tests.flows.inference import test_serve
from tests.flows.promotion import models, test_promote
from tests.flows.promotion.conftest import SOURCE, Shop
from tests.infra.registry import test_elsewhere, test_interpreter
from tests.infra.serving import (
    test_access_control,
    test_http_server,
    test_registry_source,
    test_scoring_protocol,
    test_service,
)
from tests.infra.serving.registry_with_models import Registered, a_bundle

Test = Callable[..., None]


def parameters(test: Test) -> list[dict[str, Any]]:
    """Every set of arguments that a test is run with."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    sets = [[_named(mark.args[0], values) for values in mark.args[1]] for mark in marks]
    return [
        {key: value for part in chosen for key, value in part.items()} for chosen in itertools.product(*sets)
    ]


def _named(names: str | tuple[str, ...], values: Any) -> dict[str, Any]:
    if isinstance(names, str):
        return {names: values}
    return dict(zip(names, values, strict=True))


class Runs:
    """Calls tests with their parameters, each in a folder of its own, and counts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self, test: Test, **given: Any) -> None:
        """All sets of parameters, with what else the test takes."""
        wanted = inspect.signature(test).parameters
        for values in parameters(test):
            self.count += 1
            more = {"tmp_path": self.fresh()} if "tmp_path" in wanted else {}
            test(**given, **values, **more)

    def fresh(self) -> Path:
        """An empty folder."""
        path = self.folder / f"run-{self.count:04d}"
        path.mkdir(parents=True)
        return path

    @property
    def outcome(self) -> Outcome:
        """All of them held."""
        return Outcome(note=f"{self.count} tries")


@contextlib.contextmanager
def shops(folder: Path) -> Iterator[Callable[[], Shop]]:
    """Makes shops with an empty registry each, over the same rows."""
    from trainers.data.sources.opening import open_dataset

    folder.mkdir()
    rows = models.write_csv(folder / "rows.csv")
    dataset = open_dataset(SOURCE, base=folder, cache=folder / "cache")
    empty, numbers = Home(folder / "empty"), itertools.count()
    prepare_tracking(empty.mlflow_uri, empty)
    with contextlib.ExitStack() as stack:

        def make() -> Shop:
            place = folder / f"shop-{next(numbers)}" / "work"
            stack.enter_context(standing_in(place))
            home = Home.from_environment()
            home.path.mkdir(parents=True)
            copy_store(empty.path / "mlflow.db", home.path / "mlflow.db")
            return Shop(home=home, rows=rows, dataset=dataset)

        yield make


@case("F47", "a model with links, names that climb out, too many or too large files")
def trees(folder: Path, pace: Pace) -> Outcome:
    """Refused before anything of it is read or written."""
    run = Runs(folder / "runs")
    bundle = a_bundle("linear_regression", folder / "bundle", folder / "cache")
    run(test_registry_source.test_no_file_is_written_outside)
    run(test_registry_source.test_a_link_in_a_model_is_refused, bundle=bundle)
    run(test_registry_source.test_a_model_larger_than_memory_is_not_read)
    run(test_interpreter.test_trees_have_limits)
    run(test_scoring_protocol.test_a_picture_that_unpacks_to_gigabytes_is_refused_by_its_header)
    with shops(folder / "shops") as shop:
        unloaded = test_promote.test_a_model_with_code_pickles_or_links_is_refused_unloaded
        for values in parameters(unloaded):
            unloaded(shop(), **values)
            run.count += 1
    return run.outcome


@case("F48", "a model's address leads to a file, another server or out of its store")
def addresses(folder: Path, pace: Pace) -> Outcome:
    """Refused, and no request leaves."""
    run = Runs(folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = test_registry_source.test_nothing_is_fetched_from_elsewhere
        run(elsewhere, empty=Registered(folder / "registered"), monkeypatch=patch)
    linked = Registered(folder / "linked")
    run(test_registry_source.test_a_link_out_of_the_home_is_elsewhere, empty=linked)
    run(test_registry_source.test_registries_of_a_server_give_no_local_folders)
    run(test_elsewhere.test_a_redirect_and_a_signed_address_are_not_followed)
    with pytest.MonkeyPatch.context() as patch:
        run(test_elsewhere.test_a_name_that_flips_is_never_looked_up, monkeypatch=patch)
    with shops(folder / "shops") as shop:
        run(test_promote.test_files_outside_the_store_are_not_read, shop=shop())
        with pytest.MonkeyPatch.context() as patch:
            run(
                test_promote.test_other_addresses_are_refused_and_nothing_is_asked,
                shop=shop(),
                monkeypatch=patch,
            )
    return run.outcome


@case("F50", "a foreign page asks the server: Host, Origin, Sec-Fetch-Site, every method")
def foreign_pages(folder: Path, pace: Pace) -> Outcome:
    """403, but from this machine's own names; beyond loopback nothing without the token."""
    run = Runs(folder)
    for test in (
        test_access_control.test_this_machine_is_let_in_by_its_names,
        test_access_control.test_a_foreign_host_is_not,
        test_access_control.test_a_foreign_page_is_not,
        test_access_control.test_a_token_is_asked_for_everywhere_but_where_probes_look,
        test_access_control.test_with_a_token_addresses_are_hosts_and_names_must_be_known,
        test_service.test_other_requests_have_their_status,
        test_service.test_a_token_is_asked_for,
    ):
        run(test)
    return run.outcome


@case("F53", "requests that are wrong, slow, huge or many; a swap under load; a replica is killed", ray=True)
def requests(folder: Path, pace: Pace) -> Outcome:
    """4xx with the reason, nobody else is held up, and no good request is lost."""
    run = Runs(folder / "runs")
    for test in (
        test_scoring_protocol.test_what_is_wrong_is_400_with_a_reason,
        test_scoring_protocol.test_too_many_rows_are_413,
        test_scoring_protocol.test_other_kinds_of_content_are_415,
        test_scoring_protocol.test_csv_that_is_wrong_is_400,
        test_service.test_a_body_is_counted_while_it_arrives,
        test_service.test_a_slow_body_is_408,
        test_service.test_a_row_that_cannot_be_read_spoils_nobody_elses_request,
        test_service.test_too_much_that_waits_is_503_and_not_memory,
        test_service.test_wrong_requests_share_a_small_part_of_the_time_and_hold_up_no_good_one,
        test_service.test_a_swap_under_load_loses_no_request,
        test_http_server.test_hostile_clients_get_a_4xx_and_good_ones_their_answer,
        test_http_server.test_a_client_that_leaves_takes_nothing_with_it,
    ):
        run(test)
    real = test_serve.three_versions(folder / "registered")
    run(test_serve.test_it_follows_the_champion_under_load_and_loses_nothing, registered=real)
    return run.outcome


@case("F54", "two promotions at once; a model that is worse, fails, or is not what was registered")
def promotions(folder: Path, pace: Pace) -> Outcome:
    """One wins and the other is told; the others are refused by name; the champion stays."""
    run = Runs(folder / "runs")
    with shops(folder / "shops") as shop, pytest.MonkeyPatch.context() as patch:
        for test in (
            test_promote.test_of_two_at_once_one_wins_and_the_other_is_told,
            test_promote.test_a_changed_signature_is_refused,
            test_promote.test_a_flipped_bit_is_refused_before_anything_is_loaded,
            test_promote.test_no_row_is_judged_on_that_either_was_trained_on,
        ):
            run(test, shop=shop())
        first = test_promote.test_the_first_is_promoted_a_better_one_follows_and_a_worse_one_is_refused
        run(first, shop=shop())
        fault = test_promote.test_each_fault_is_refused_by_its_gate
        for values in parameters(fault):
            fault(shop(), monkeypatch=patch, **values)
            run.count += 1
    run(test_service.test_a_version_that_does_not_load_is_refused_and_the_old_one_stays)
    return run.outcome
