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
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from tests.tracking_stores import copy_store, prepare_empty_store

Test = Callable[..., None]


def parameters(test: Test) -> list[dict[str, Any]]:
    """Every set of arguments that a test is run with."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    sets = [[_by_name(mark.args[0], values) for values in mark.args[1]] for mark in marks]
    return [
        {key: value for part in chosen for key, value in part.items()} for chosen in itertools.product(*sets)
    ]


def _by_name(names: str | tuple[str, ...], values: Any) -> dict[str, Any]:
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
            more = {"tmp_path": self.make_folder()} if "tmp_path" in wanted else {}
            test(**given, **values, **more)

    def make_folder(self) -> Path:
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
    prepare_empty_store(empty)
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
    run(test_registry_source.test_model_load_writes_no_file_outside_its_folder)
    run(test_registry_source.test_model_with_a_link_inside_is_refused, bundle=bundle)
    run(test_registry_source.test_model_larger_than_memory_is_refused_unread)
    run(test_interpreter.test_model_tree_over_its_limits_is_refused)
    run(test_scoring_protocol.test_request_image_bomb_is_refused_by_its_header)
    with shops(folder / "shops") as shop:
        unloaded = test_promote.test_promote_model_with_code_pickle_or_link_is_refused_unloaded
        for values in parameters(unloaded):
            unloaded(shop(), **values)
            run.count += 1
    return run.outcome


@case("F48", "a model's address leads to a file, another server or out of its store")
def addresses(folder: Path, pace: Pace) -> Outcome:
    """Refused, and no request leaves."""
    run = Runs(folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = test_registry_source.test_fetch_from_outside_the_store_is_refused
        run(elsewhere, empty=RegistryFixture(folder / "registered"), monkeypatch=patch)
    linked = RegistryFixture(folder / "linked")
    run(test_registry_source.test_fetch_through_a_link_out_of_the_home_is_refused, empty=linked)
    run(test_registry_source.test_registries_of_a_server_give_no_local_folders)
    run(test_elsewhere.test_fetch_follows_no_redirect_and_no_signed_address)
    with pytest.MonkeyPatch.context() as patch:
        run(test_elsewhere.test_fetch_never_resolves_a_foreign_host_name, monkeypatch=patch)
    with shops(folder / "shops") as shop:
        run(test_promote.test_promote_reads_no_file_outside_the_store, shop=shop())
        with pytest.MonkeyPatch.context() as patch:
            run(
                test_promote.test_promote_foreign_address_is_refused_without_a_request,
                shop=shop(),
                monkeypatch=patch,
            )
    return run.outcome


@case("F50", "a foreign page asks the server: Host, Origin, Sec-Fetch-Site, every method")
def foreign_pages(folder: Path, pace: Pace) -> Outcome:
    """403, but from this machine's own names; beyond loopback nothing without the token."""
    run = Runs(folder)
    for test in (
        test_access_control.test_request_to_a_loopback_host_name_is_admitted,
        test_access_control.test_request_to_a_foreign_host_name_is_refused,
        test_access_control.test_request_from_a_foreign_page_is_refused,
        test_access_control.test_token_is_demanded_everywhere_but_at_probes,
        test_access_control.test_token_request_is_admitted_to_addresses_and_known_hosts,
        test_service.test_request_with_wrong_method_path_or_header_has_its_status,
        test_service.test_request_without_the_token_is_401_and_with_a_wrong_one_403,
    ):
        run(test)
    return run.outcome


@case("F53", "requests that are wrong, slow, huge or many; a swap under load; a replica is killed", ray=True)
def requests(folder: Path, pace: Pace) -> Outcome:
    """4xx with the reason, nobody else is held up, and no good request is lost."""
    run = Runs(folder / "runs")
    for test in (
        test_scoring_protocol.test_malformed_request_is_400_with_a_reason,
        test_scoring_protocol.test_request_with_too_many_rows_is_413,
        test_scoring_protocol.test_request_of_unknown_content_type_is_415,
        test_scoring_protocol.test_malformed_csv_request_is_400,
        test_service.test_body_over_the_limit_is_refused_while_it_arrives,
        test_service.test_request_with_slow_body_is_408,
        test_service.test_unreadable_row_fails_only_its_own_request,
        test_service.test_requests_beyond_the_waiting_limit_are_503,
        test_service.test_wrong_requests_take_little_time_and_delay_no_good_one,
        test_service.test_version_swap_under_load_loses_no_request,
        test_http_server.test_hostile_clients_get_a_4xx_and_good_ones_their_answer,
        test_http_server.test_client_that_disconnects_leaves_the_server_answering,
    ):
        run(test)
    real = test_serve.three_versions(folder / "registered")
    run(test_serve.test_serve_follows_champion_under_load_without_lost_requests, registered=real)
    return run.outcome


@case("F54", "two promotions at once; a model that is worse, fails, or is not what was registered")
def promotions(folder: Path, pace: Pace) -> Outcome:
    """One wins and the other is told; the others are refused by name; the champion stays."""
    run = Runs(folder / "runs")
    with shops(folder / "shops") as shop, pytest.MonkeyPatch.context() as patch:
        for test in (
            test_promote.test_promote_overtaken_by_another_promotion_is_refused,
            test_promote.test_promote_changed_signature_is_refused,
            test_promote.test_promote_bundle_with_flipped_bit_is_refused_unloaded,
            test_promote.test_promote_leaves_out_rows_that_either_model_trained_on,
        ):
            run(test, shop=shop())
        first = test_promote.test_promote_first_and_better_models_move_worse_is_refused
        run(first, shop=shop())
        fault = test_promote.test_promote_challenger_with_one_fault_is_refused_by_its_gate
        for values in parameters(fault):
            fault(shop(), monkeypatch=patch, **values)
            run.count += 1
    run(test_service.test_version_that_does_not_load_is_refused_and_old_one_answers)
    return run.outcome
