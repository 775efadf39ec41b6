"""Checker of how `voiceagent/` is laid out: one meaning a name, one idea a file, a folder instead of a common prefix.

Run by `make lint`. What breaks a rule for a good reason stands in `scripts/layout_exceptions.toml`, with the reason; an
exception that is no longer needed is an error too.
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "voiceagent"
EXCEPTIONS = Path(__file__).parent / "layout_exceptions.toml"

LONGEST_MODULE = 600
"""Lines of a module, at most."""
SHORTEST_MODULE = 60
"""Lines below which a module is too small for an idea of its own."""
LONGEST_FUNCTION = 60
"""Lines of a function, at most: it fits a screen."""

SHORT_BY_NATURE = ("__init__.py", "__main__.py", "base.py", "options.py", "settings.py")
"""Modules by their part in a package: its interface, its options, its section of the configuration."""

NESTED_NAMES = frozenset({"Options"})
"""Names that every plug-in gives to a part of itself; they are class attributes, and meant to be the same."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the package. `path` is relative to the project's root."""

    path: str
    source: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.source.splitlines())


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken. `subject` is what an exception must name."""

    subject: str
    problem: str


Rule = Callable[[list[Module]], Iterator[Finding]]


def modules(package: Path = PACKAGE, root: Path = ROOT) -> list[Module]:
    """All modules of the package, but the empty ones that make folders packages."""
    found = []
    for path in sorted(package.rglob("*.py")):
        source = path.read_text("utf-8")
        if source.strip():
            found.append(Module(str(path.relative_to(root)), source, ast.parse(source)))
    return found


def duplicate_classes(found: list[Module]) -> Iterator[Finding]:
    """No class name is defined twice."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name not in NESTED_NAMES:
                places[node.name].append(module.path)
    for name, paths in sorted(places.items()):
        if len(paths) > 1:
            yield Finding(name, f"class {name} is defined in {', '.join(paths)}")


def common_prefixes(found: list[Module]) -> Iterator[Finding]:
    """No two modules of a folder begin with the same word: they would have a folder of their own."""
    families: defaultdict[str, list[str]] = defaultdict(list)
    for module in found:
        folder, _, name = module.path.removesuffix(".py").rpartition("/")
        if "_" in name.strip("_"):
            families[f"{folder}/{name.partition('_')[0]}_*"].append(name)
    for family, names in sorted(families.items()):
        if len(names) > 1:
            yield Finding(family, f"{family} is a folder that was not made: {', '.join(names)}")


def module_lengths(found: list[Module]) -> Iterator[Finding]:
    """A module has between 60 and 600 lines. Interfaces, options and sections may be shorter."""
    for module in found:
        if module.lines > LONGEST_MODULE:
            yield Finding(module.path, f"{module.path} has {module.lines} lines, more than {LONGEST_MODULE}")
        elif module.lines < SHORTEST_MODULE and Path(module.path).name not in SHORT_BY_NATURE:
            yield Finding(module.path, f"{module.path} has {module.lines} lines, fewer than {SHORTEST_MODULE}")


def function_lengths(found: list[Module]) -> Iterator[Finding]:
    """A function has at most 60 lines, without its docstring."""
    for module in found:
        for name, node in _functions(module.tree, ""):
            start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.body[0].lineno
            length = (node.end_lineno or start) - start + 1
            if length > LONGEST_FUNCTION:
                subject = f"{module.path}:{name}"
                yield Finding(subject, f"{subject} has {length} lines, more than {LONGEST_FUNCTION}")


def module_docstrings(found: list[Module]) -> Iterator[Finding]:
    """Every module says what it is."""
    for module in found:
        if not ast.get_docstring(module.tree):
            yield Finding(module.path, f"{module.path} has no docstring")


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield f"{prefix}{node.name}", node
                yield from _functions(node, f"{prefix}{node.name}.")
            case ast.ClassDef():
                yield from _functions(node, f"{prefix}{node.name}.")
            case _:
                yield from _functions(node, prefix)


RULES: Mapping[str, Rule] = {
    "duplicate_classes": duplicate_classes,
    "common_prefixes": common_prefixes,
    "module_lengths": module_lengths,
    "function_lengths": function_lengths,
    "module_docstrings": module_docstrings,
}
"""By the name of their table of exceptions."""


def problems(found: list[Module], exceptions: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """A line for each rule that is broken without an exception, and each exception that nothing needs."""
    for unknown in sorted(exceptions.keys() - RULES.keys()):
        yield f"{EXCEPTIONS.name}: there is no rule {unknown}"
    for name, rule in RULES.items():
        allowed = exceptions.get(name, {})
        findings = {finding.subject: finding for finding in rule(found)}
        for subject, finding in findings.items():
            if subject not in allowed:
                yield finding.problem
            elif not allowed[subject].strip():
                yield f"{EXCEPTIONS.name}: [{name}] {subject} has no reason"
        for subject in allowed.keys() - findings.keys():
            yield f"{EXCEPTIONS.name}: [{name}] {subject} needs no exception any more"


def main() -> int:
    """Print every problem. Returns the exit code."""
    exceptions = tomllib.loads(EXCEPTIONS.read_text("utf-8"))
    found = list(problems(modules(), exceptions))
    print("\n".join(found) if found else "the layout is as it should be")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
