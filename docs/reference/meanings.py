"""What each field of a class means: the text that stands below it in its source, as the language servers show it."""

import ast
import inspect
import re
import textwrap

from docs.reference.markdown import docstring


def meanings(kind: type) -> dict[str, str]:
    """The meaning of each field by its name, those of the classes it is made of too. Where nothing stands below a
    field, the sentences of the class's docstring that name it."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        names = [name for name in vars(part).get("__annotations__", ()) if not name.startswith("_")]
        below = _below(part) if names else {}
        for name in names:
            if text := below.get(name) or _sentences(docstring(part), name):
                found[name] = text
    for name, field in getattr(kind, "model_fields", {}).items():
        if field.description:
            found[name] = field.description
    return found


def _below(kind: type) -> dict[str, str]:
    """The texts below the fields of this class's own body."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # a class without a source, of a builtin or an extension
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in zip(body, body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(ast.Constant(str(words))):
                    found[field.target.id] = " ".join(words.split())
    return found


def _sentences(text: str, name: str) -> str:
    """The sentences that name it."""
    sentences = re.split(r"(?<=[.:])\s+(?=[A-Z`])", " ".join(text.split()))
    return " ".join(sentence for sentence in sentences if f"`{name}`" in sentence)
