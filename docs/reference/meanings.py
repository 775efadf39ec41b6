"""What each field of a class means: the text that stands below it in its source, as editors show it."""

import ast
import inspect
import itertools
import textwrap


def meanings(kind: type) -> dict[str, str]:
    """The meaning of each field by its name, those of the classes that it inherits from too."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if vars(part).get("__annotations__"):
            found.update(_below(part))
    return found


def _below(kind: type) -> dict[str, str]:
    """The texts below the fields in this class's own body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # an extension's class has no source
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                found[name] = " ".join(words.split())
    return found
