"""Looks at Swift where there is no compiler: `check` names whatever the grammar cannot read, `api` prints the public declarations.

usage: parse.py check|api FILE...

A parser knows no types: what passes here may still not compile.
"""

import re
import sys

import tree_sitter
import tree_sitter_swift

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))

# Valid Swift of the generator that this grammar lacks, and a thing of the same length that it has.
UNKNOWN_TO_THE_GRAMMAR = [
    (re.compile(rb"@_documentation\(visibility: private\)"), lambda found: b" " * len(found[0])),
    (re.compile(rb"(?<== )\{ \(\) \}"), lambda found: b"{ 10 }"),
]

TYPES = {"class_declaration", "protocol_declaration"}
MEMBERS = {
    "function_declaration",
    "init_declaration",
    "property_declaration",
    "typealias_declaration",
    "protocol_function_declaration",
    "protocol_property_declaration",
    "enum_entry",
}
BODIES = {"class_body", "protocol_body", "enum_class_body", "function_body", "computed_property"}

# What the generated code needs among itself, and no app.
INNER = re.compile(r"FfiConverter|[Uu]niffi|NoHandle|noHandle|\bdeallocate\b|vtable")


def read(path):
    """The tree of a file, and its bytes."""
    with open(path, "rb") as file:
        code = file.read()
    for pattern, other in UNKNOWN_TO_THE_GRAMMAR:
        code = pattern.sub(other, code)
    return PARSER.parse(code).root_node, code


def errors(node):
    """The nodes that are no Swift."""
    if node.type == "ERROR" or node.is_missing:
        yield node
    elif node.has_error:
        for child in node.children:
            yield from errors(child)


def head(node, code):
    """A declaration without body and comments, on one line."""
    body = next((child for child in node.children if child.type in BODIES), None)
    end = body.start_byte if body else node.end_byte
    text = code[node.start_byte : end].decode()
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
    text = " ".join(text.split())
    return re.sub(r"\s*([(),:]) ?", lambda found: {"(": "(", ")": ") ", ",": ", ", ":": ": "}[found[1]], text).strip()


def name(node):
    """The name of a type; for an extension, of what it extends."""
    found = node.child_by_field_name("name")
    return found.text.decode() if found else "?"


def is_public(node):
    modifiers = next((child for child in node.children if child.type == "modifiers"), None)
    return modifiers is not None and bool(set(modifiers.text.decode().split()) & {"public", "open"})


def declarations(node, code, scope=(), all_public=False):
    """The public declarations below a node, each with the types it lies in."""
    for child in node.children:
        if child.type in TYPES:
            is_extension = child.children and any(part.type == "extension" for part in child.children)
            if not (is_public(child) or is_extension or all_public):
                continue
            if not is_extension:
                yield ".".join(scope), head(child, code)
            body = next((part for part in child.children if part.type in BODIES), None)
            opens = child.type == "protocol_declaration" or (body is not None and body.type == "enum_class_body")
            if body is not None:
                yield from declarations(body, code, (*scope, name(child)), opens)
        elif child.type in MEMBERS and (is_public(child) or child.type == "enum_entry" or all_public and "protocol" in child.type):
            text = head(child, code)
            if child.type == "property_declaration":
                text = re.split(r"\s=\s", text)[0]
            yield ".".join(scope), text
        elif child.type in {"directive", "if_config", "statements"}:
            yield from declarations(child, code, scope, all_public)


def main(mode, paths):
    has_errors = False
    for path in paths:
        root, code = read(path)
        for node in errors(root):
            has_errors = True
            line, column = node.start_point
            what = f"{node.type} is missing" if node.is_missing else repr(code[node.start_byte : node.end_byte][:60].decode(errors="replace"))
            print(f"{path}:{line + 1}:{column + 1}: no Swift: {what}", file=sys.stderr)
        if mode == "api":
            lines = sorted({f"{scope}: {text}" if scope else text for scope, text in declarations(root, code)})
            print(*(line for line in lines if not INNER.search(line)), sep="\n")
    return 1 if has_errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
