"""Prints the public names of the package, one a line, so that every change of them is seen in review."""

import enum
import inspect
import re

import vigie


def signature(item):
    """As it is written, where a default has no name of its own."""
    return re.sub(r"<object object at 0x[0-9a-f]+>", "...", str(inspect.signature(item)))


for name in sorted(vigie.__all__):
    item = getattr(vigie, name)
    if inspect.isclass(item):
        if name.endswith("Protocol"):
            continue  # says again what the class of that name says
        bases = ", ".join(base.__name__ for base in item.__bases__ if base is not object)
        print(f"class {name}({bases})")
        if issubclass(item, enum.Enum):
            for member in item:
                print(f"  {name}.{member.name} = {member.value}")
            continue
        for member, value in sorted(vars(item).items()):
            if member.startswith("_") and member != "__init__":
                continue
            if inspect.isclass(value):
                print(f"  class {name}.{member}{signature(value.__init__)}")
            elif inspect.isfunction(value):
                kind = "async def" if inspect.iscoroutinefunction(value) else "def"
                print(f"  {kind} {name}.{member}{signature(value)}")
    elif inspect.isasyncgenfunction(item) or inspect.isfunction(item):
        print(f"def {name}{signature(item)}")
    else:
        print(name)
