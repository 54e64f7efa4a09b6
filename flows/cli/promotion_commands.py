"""Commands about registered models: promote, approve, rollback, history, card, policy, adopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import Family, Json, argument, example, option, print_json, print_note, print_result

if TYPE_CHECKING:
    from flows.promotion.judging.outcome import Promotion

Model = Annotated[str, argument("MODEL", "A registered model's name.")]
Reason = Annotated[str, option("--reason TEXT", "Kept in the history.")]
At = Annotated[
    str | None, option("--registry URI", "Another registry than MLFLOW_TRACKING_URI's or the embedded one.")
]


@example('velodrome promote digits --reason "better on thin strokes"')
def promote(
    what: Annotated[str, argument("NAME", "A sweep's name or file, or a models:/ or runs:/ address.")],
    trial: Annotated[int | None, option("--trial N", "This trial instead of the winner.", min=0)] = None,
    family: Family = None,
    model: Annotated[
        str | None, option("--model M", "The registered model's name; the sweep's by default.")
    ] = None,
    to: Annotated[str | None, option("--to URI", "Copy it into this registry, and promote it there.")] = None,
    registry: At = None,
    reason: Reason = "",
    dry_run: Annotated[bool, option("--dry-run", "Judge it; register, record and move nothing.")] = False,
    json: Json = False,
) -> None:
    """Test a challenger against the champion by the gates, and move the alias or refuse."""
    from flows.promotion.promote import GateRefused
    from flows.promotion.promote import promote as verb

    try:
        result = verb(
            what,
            trial=trial,
            family=family,
            model=model,
            to=to,
            registry=registry,
            reason=reason,
            dry_run=dry_run,
        )
    except GateRefused as refused:
        _show_promotion(refused.promotion, json)
        raise
    _show_promotion(result, json)


def _show_promotion(result: Promotion, json: bool) -> None:
    from flows.promotion.screens import print_promotion

    print_result(result, print_promotion, json=json)
    for line in () if json else result.notes:
        print_note(line)


@example("velodrome approve digits/3")
def approve(
    version: Annotated[str, argument("MODEL/VERSION", "As the refused promotion printed it.")],
    reason: Reason = "",
    registry: At = None,
    json: Json = False,
) -> None:
    """Agree, as somebody other than the promoter, that a version may become the champion."""
    from flows.promotion.approve import approve as verb

    result = verb(version, reason=reason, registry=registry)
    if json:
        print_json(result)
        return
    print_note(f"{result.model}/{result.version} is approved by {result.who} (entry {result.entry})")
    if not result.asked:
        print_note(f"the policy of {result.model} asks for no approval: it changes nothing yet")


@example("velodrome rollback digits")
def rollback(
    model: Model,
    to: Annotated[int | None, option("--to N", "This former champion, not the last one.", min=1)] = None,
    reason: Reason = "",
    registry: At = None,
    json: Json = False,
) -> None:
    """The former champion again."""
    from flows.promotion.rollback import rollback as verb

    result = verb(model, to=to, reason=reason, registry=registry)
    if json:
        print_json(result)
        return
    print_note(f"{result.model}: version {result.version} is the champion again, instead of {result.former}")
    print_note(f"  {result.checked}; entry {result.entry}, {result.hash[:16]}")
    if result.note:
        print_note(f"  {result.note}")


@example("velodrome history digits --verify")
def history(
    model: Model,
    verify: Annotated[bool, option("--verify", "Check that every entry follows from the last.")] = False,
    anchor: Annotated[
        str | None, option("--anchor HASH", "An entry's hash, noted earlier: it must be there.")
    ] = None,
    export: Annotated[
        str | None, option("--export FILE", "Write entries and documents as they are kept.")
    ] = None,
    recompute: Annotated[
        int | None, option("--recompute N", "Make this entry's decision again, from its record.", min=1)
    ] = None,
    registry: At = None,
    json: Json = False,
) -> None:
    """Who moved a model's champion, when, and on which evidence."""
    if recompute is not None:
        _show_recomputation(model, recompute, registry, json)
        return
    from flows.promotion.history import history as verb

    result = verb(model, verify=verify, anchor=anchor, export=export, registry=registry)
    from flows.promotion.screens import print_history

    print_result(result, print_history, json=json)


def _show_recomputation(model: str, number: int, registry: str | None, json: bool) -> None:
    from flows.promotion.recompute import check_recomputation, recompute

    result = recompute(model, number, registry=registry)
    from flows.promotion.screens import print_recomputation

    print_result(result, print_recomputation, json=json)
    check_recomputation(result)


@example("velodrome card digits --out README.md")
def card(
    model: Annotated[str, argument("MODEL", "NAME (its champion), NAME@ALIAS or NAME/VERSION.")],
    out: Annotated[str | None, option("--out FILE", "A new file for it, such as README.md.")] = None,
    registry: At = None,
    json: Json = False,
) -> None:
    """Purpose, limits, data, metrics, gates and environment of a version, as a model card."""
    from flows.promotion.card import card as verb

    result = verb(model, out=out, registry=registry)
    if json:
        print_json(result)
    elif result.path is not None:
        print_note(f"{result.model}/{result.version}: {result.path}")
    else:
        typer.echo(result.text)


@example("velodrome policy digits --set policy.yaml")
def policy(
    model: Model,
    set: Annotated[str | None, option("--set FILE", "A new policy, in YAML.")] = None,
    reason: Reason = "",
    registry: At = None,
    json: Json = False,
) -> None:
    """What a model's next champion must show."""
    from flows.promotion.policy import policy as verb

    result = verb(model, set=set, reason=reason, registry=registry)
    from flows.promotion.screens import print_policy

    print_result(result, print_policy, json=json)


@example("velodrome adopt digits")
def adopt(model: Model, reason: Reason = "", registry: At = None, json: Json = False) -> None:
    """Accept where somebody moved a champion by hand."""
    from flows.promotion.adopt import adopt as verb

    result = verb(model, reason=reason, registry=registry)
    if json:
        print_json(result)
    elif not result.changed:
        print_note(f"{result.model}: the champion is where its history has it, so there is nothing to adopt")
    else:
        at = "nowhere" if result.version is None else f"version {result.version}"
        print_note(
            f"{result.model}: the champion is {at} now, and its history says so (entry {result.entry})"
        )
