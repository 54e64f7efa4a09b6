"""Small changes of a module that its tests should notice, found by its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

OTHER: dict[type[ast.AST], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.And: "or", ast.Or: "and",
}  # fmt: skip
SILENT = ("_log.", "print(", "logging.", "traceback.")  # what only tells is no decision


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Mutation:
    """One change of a file's bytes from `start` to `end`."""

    start: int
    end: int
    line: int
    before: str
    after: str

    def apply(self, source: bytes) -> bytes:
        """The file with it."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def find_mutations(source: bytes) -> list[Mutation]:
    """All of a file: comparisons, arithmetic and logic turned round, conditions negated, whole numbers one
    higher, True for False, calls and assignments to attributes left out."""
    tree = ast.parse(source)
    lengths = [len(line) + 1 for line in source.split(b"\n")]
    starts = list(accumulate(lengths, initial=0))

    def mutation(node: ast.expr | ast.stmt, after: str) -> Mutation:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = source[start:end].decode()
        return Mutation(start=start, end=end, line=node.lineno, before=before, after=after)

    return sorted({mutation(node, after) for node, after in _changes(tree)})


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for node in _deciding_nodes(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            operator = OTHER[type(node.ops[0])]
            yield node, f"({_text(node.left)} {operator} {_text(node.comparators[0])})"
        elif isinstance(node, ast.BinOp) and type(node.op) in OTHER and not _is_text(node):
            yield node, f"({_text(node.left)} {OTHER[type(node.op)]} {_text(node.right)})"
        elif isinstance(node, ast.BoolOp):
            yield node, "(" + f" {OTHER[type(node.op)]} ".join(map(_text, node.values)) + ")"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, str(not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            yield node, str(node.value + 1)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if not _text(node.value).startswith(SILENT):
                yield node, "pass"
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            yield node, "pass"
        if isinstance(node, (ast.If, ast.While, ast.IfExp)) and not isinstance(node.test, ast.Constant):
            yield node.test, f"(not ({_text(node.test)}))"


def _deciding_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Without types, texts of errors, default-less decorations and what only type checkers read."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or _is_skipped(child):
                continue
            yield child
            yield from _deciding_nodes(child)


def _is_skipped(node: ast.AST) -> bool:
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.AnnAssign)):
        return not (isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant))
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True  # zip's own assertion
    return isinstance(node, ast.If) and _text(node.test) == "TYPE_CHECKING"


def _is_text(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})" if isinstance(node, (ast.Compare, ast.BoolOp)) else ast.unparse(node)
