"""Describe the public names of ferkit, a line each: ``python tests/public_api.py > tests/public_api.txt``."""

import inspect
import re
from collections.abc import Iterator

import ferkit


def describe() -> Iterator[str]:
    """Every public name with its parameters and defaults; of classes also the methods and properties of their own."""
    for name in ferkit.__all__:
        if name == "__version__":
            continue
        value = getattr(ferkit, name)
        yield f"{name}{_parameters(value)}"
        if isinstance(value, type):
            for member, inner in sorted(vars(value).items()):
                if (member == "__call__" or not member.startswith("_")) and not _is_field(value, member):
                    yield f"{name}.{member}{_parameters(getattr(inner, '__func__', inner))}"


def _is_field(value: type, member: str) -> bool:
    """Whether a class attribute is the default of a parameter, or pydantic's own."""
    return member in getattr(value, "__dataclass_fields__", {}) or member.startswith("model_")


def _parameters(value: object) -> str:
    """Names, order, kinds and defaults; annotations are left out, for they are printed otherwise by other Pythons."""
    if not (isinstance(value, type) or inspect.isroutine(value)) or getattr(value, "_is_protocol", False):
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:  # an exception without an __init__ of its own
        return ""
    bare = [item.replace(annotation=inspect.Parameter.empty) for item in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))
    return re.sub(r"<function (\w+) at \w+>", r"\1", text)


if __name__ == "__main__":
    print("\n".join(describe()))
