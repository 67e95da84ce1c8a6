#!/usr/bin/env python3
"""Makes Java sources of Android's API, to compile against or to build fakes on.

    stubs.py stubs|fakes PYI_FOLDER D_TS CLASSES OUT_FOLDER

Two descriptions of the API are read, because neither says all: PyPI chaquopy-stubs-android (`.pyi`: exact types of parameters, which results may be null)
and npm @nativescript/types-android (`.d.ts`: interface or class, superclass, values of constants). CLASSES is a file with one class, or `package.*`, a line.
What a signature names beyond them becomes an empty type.

`stubs`: every body throws. `fakes`: objects that only keep what they are given: what a constructor, a setter or an adder takes is in the map `fake`, a
getter gives it, and a builder hands it on; what is started and stopped is listed there, too; a `ContextWrapper` asks the context it was attached to; all
else gives null, 0 or false. Static fields can be set. A test subclasses what should do more. Neither knows `throws`, which methods are abstract, nor whether a parameter may be null; neither is to be shipped.
"""

import ast
import re
import sys
from pathlib import Path

PRIMITIVES = "int long byte short char float double boolean".split()
BOXES = {"int": "Integer", "boolean": "Boolean", "float": "Float", "long": "Long", "byte": "Byte", "void": "Void", "char": "Character"}
ZERO = {"boolean": "false", "void": "", **{name: "0" for name in PRIMITIVES if name != "boolean"}}
JAVA_WORDS = set("default package import native switch final char int long new this goto const enum interface public private protected static void "
                 "boolean byte double float short abstract catch throw throws".split())
JAVA_INTERFACES = {"java.lang.Comparable", "java.lang.Runnable", "java.io.Closeable", "java.lang.AutoCloseable", "java.io.Serializable",
                   "java.util.concurrent.Executor", "java.lang.Cloneable", "java.util.Iterator", "java.lang.CharSequence", "java.util.Set",
                   "java.util.Map", "java.util.Collection", "java.security.Key", "javax.crypto.SecretKey", "java.lang.Iterable",
                   "java.security.spec.AlgorithmParameterSpec"}
# Python has one integer and one float: these of Java's are the wide ones.
LONG = {"getTimestampNanos", "getReportDelayMillis", "elapsedRealtime", "elapsedRealtimeNanos", "uptimeMillis", "readLong", "getLongExtra", "getLong",
        "currentThreadTimeMillis", "getSerialNumberForUser", "skip"}
# What every fake keeps; two with equal contents are equal where Android's would be.
FAKE = "android.Fake"
FAKE_BODY = """public class Fake {
  public final java.util.Map<String, Object> fake = new java.util.HashMap<>();
  @SuppressWarnings("unchecked") protected <T> T kept(String name, T otherwise) { Object value = fake.get(name); return value == null ? otherwise : (T) value; }
  @SuppressWarnings("unchecked") protected void add(String name, Object value) {
    ((java.util.List<Object>) fake.computeIfAbsent(name, any -> new java.util.ArrayList<Object>())).add(value);
  }
}"""
NULLABLE = "androidx.annotation.Nullable"
WRAPPER = "android.content.ContextWrapper"
# In neither description, or not as what they are.
ANNOTATIONS = {NULLABLE: "{}", "android.annotation.SuppressLint": "{ String[] value(); }"}


class Facts:
    """What the `.d.ts` says, by full name with dots."""

    def __init__(self, path):
        self.interfaces, self.abstract, self.supers, self.constants = set(), set(), {}, {}
        stack = []
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            text, depth = line.strip(), len(line) - len(line.lstrip("\t"))
            if found := re.search(r"new instance of the ([\w.$]+) interface", text):
                self.interfaces.add(found[1].replace("$", "."))
            if found := re.match(r"(?:declare|export) (abstract )?(module|class|interface) (\w+)", text):
                stack = stack[:depth] + [found[3]]
                name = ".".join(stack)
                if found[1] and found[2] != "module":
                    self.abstract.add(name)
                if extended := re.search(r"extends ([\w.]+)", text):
                    self.supers[name] = extended[1]
            elif found := re.match(r"public static (\w+): (-?[\d.]+|\".*\");", text):
                self.constants[".".join(stack[:depth]) + "." + found[1]] = found[2]


class Modules:
    """The `.pyi` files, each read once."""

    def __init__(self, folder):
        self.folder, self.read = Path(folder), {}

    def classes(self, package):
        if package not in self.read:
            first, *rest = package.split(".")
            path = self.folder.joinpath(f"{first}-stubs", *rest, "__init__.pyi")
            body = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
            self.read[package] = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
        return self.read[package]


def split(name):
    """package, top-level class, nested classes"""
    parts = name.split(".")
    first = next((index for index, part in enumerate(parts) if part[:1].isupper()), len(parts))
    return ".".join(parts[:first]), parts[first] if first < len(parts) else None, parts[first + 1:]


def type_variables(node):
    """in their order: `_Outer__T` is T"""
    generic = [ast.unparse(base) for base in node.bases if ast.unparse(base).startswith("typing.Generic")] if node else []
    return list(dict.fromkeys(name.rsplit("__", 1)[1] for text in generic for name in re.findall(r"\w+__\w+", text)))


def may_be_none(annotation):
    return isinstance(annotation, ast.BinOp) and ast.unparse(annotation).endswith("| None")


def alternatives(annotation):
    if isinstance(annotation, ast.BinOp):
        return alternatives(annotation.left) + alternatives(annotation.right)
    return [annotation]


class Types:
    """From types of Python to types of Java, noting which of Android's are named."""

    def __init__(self, package, named):
        self.package, self.named = package, named

    def java(self, annotation, variables, method=None):
        if annotation is None or isinstance(annotation, ast.Constant):
            return "void"
        if isinstance(annotation, ast.BinOp):
            return self.one_of(alternatives(annotation), variables, method)
        if isinstance(annotation, ast.Subscript):
            return self.generic(annotation, variables, method)
        return self.named_type(ast.unparse(annotation), variables, method)

    def one_of(self, parts, variables, method):
        texts = [ast.unparse(part) for part in parts]
        for text in texts:
            if found := re.fullmatch(r"java\.j(\w+)", text):
                return found[1]
        for text in texts:
            if text.startswith("java.lang."):
                return text
        return self.java(next(part for part, text in zip(parts, texts) if text != "None"), variables, method)

    def generic(self, annotation, variables, method):
        base, inner = ast.unparse(annotation.value), annotation.slice
        arguments = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if base == "java.chaquopy.JavaArray":
            return self.java(arguments[0], variables) + "[]"
        if base == "typing.ClassVar":
            return self.java(arguments[0], variables, method)
        if base in ("typing.Type", "type") and ast.unparse(arguments[0]) == "java.lang.Object":
            return "java.lang.Class<?>"
        written = [self.java(argument, variables) for argument in arguments]
        return f"{self.java(annotation.value, variables)}<{', '.join(BOXES.get(name, name) for name in written)}>"

    def named_type(self, name, variables, method):
        if found := re.fullmatch(r"java\.chaquopy\.JavaArrayJ(\w+)", name):
            return found[1].lower() + "[]"
        if name.startswith("java.chaquopy"):
            return "Object[]"
        if found := re.fullmatch(r"java\.j(int|long|byte|short|char|float|double|boolean)", name):
            return found[1]
        simple = {"int": "long" if method in LONG else "int", "bool": "boolean", "float": "float", "str": "String", "None": "void",
                  "typing.Any": "Object", "typing.Self": "Object", "typing.Type": "java.lang.Class", "type": "java.lang.Class"}
        if name in simple:
            return simple[name]
        if name.startswith("_") and "__" in name:
            variable = name.rsplit("__", 1)[1]
            variables.add(variable)
            return variable
        if not name.startswith(("android.", "java.", "javax.", "org.", "dalvik.")):
            name = f"{self.package}.{name}"
        if not name.startswith(("java.", "javax.")):
            self.named.add(name)
        return name


class Writer:
    """Writes one top-level class with all it holds."""

    def __init__(self, package, facts, named, is_fake):
        self.types, self.facts, self.named, self.is_fake = Types(package, named), facts, named, is_fake

    def write(self, node, name, indent=""):
        is_interface, order = name in self.facts.interfaces, type_variables(node)
        self.keeps = self.is_fake and not is_interface and not self.extends_java(node, name)
        lines, has_plain_constructor = [indent + self.head(node, name, is_interface, order, bool(indent)) + " {"], False
        for member in node.body:
            if isinstance(member, ast.AnnAssign) and "ClassVar" in ast.unparse(member.annotation):
                lines.append(f"{indent}  {self.field(member, name)}")
            elif isinstance(member, ast.FunctionDef) and member.name == "__init__":
                if not is_interface:
                    parameters = self.parameters(member, set())
                    has_plain_constructor |= not parameters
                    lines.append(f"{indent}  public {node.name}({', '.join(parameters)}) {self.constructor(parameters)}")
            elif isinstance(member, ast.FunctionDef):
                lines.append(f"{indent}  {self.method(member, name, is_interface, order)}")
            elif isinstance(member, ast.ClassDef):
                lines += self.write(member, f"{name}.{member.name}", indent + "  ")
                self.keeps = self.is_fake and not is_interface and not self.extends_java(node, name)
        if not is_interface and not has_plain_constructor:
            # Real ones have theirs hidden; subclasses need one.
            lines.append(f"{indent}  protected {node.name}() {{}}")
        return lines + [indent + "}"]

    def extends_java(self, node, name):
        bases = [ast.unparse(base) for base in node.bases] + [self.facts.supers.get(name, "")]
        known = ("java.lang.Object", "java.lang.Enum", "android.", "typing.")
        return any(base.startswith("java") and base.split("[")[0] not in JAVA_INTERFACES and not base.startswith(known) for base in bases)

    def constructor(self, parameters):
        if not self.is_fake:
            return '{ throw new RuntimeException("Stub!"); }'
        names = [parameter.rsplit(" ", 1)[1] for parameter in parameters] if self.keeps else []
        return "{ " + " ".join(f'fake.put("{name}", {name});' for name in names) + " }"

    def head(self, node, name, is_interface, order, is_nested):
        bases = [self.types.java(base, set()) for base in node.bases if not ast.unparse(base).startswith("typing.Generic")]
        is_known_interface = lambda base: base.split("<")[0] in self.facts.interfaces | JAVA_INTERFACES
        interfaces = [base for base in bases if is_known_interface(base)]
        classes = [base for base in bases if base not in interfaces and base.split("<")[0] not in ("java.lang.Object", "java.lang.Enum")]
        extended = self.facts.supers.get(name, "java.lang.Object")
        if not is_interface and not classes and extended != "java.lang.Object" and not is_known_interface(extended):
            classes = [extended]
            if extended.startswith("android."):
                self.named.add(extended)
        kind = "interface" if is_interface else "abstract class" if name in self.facts.abstract else "class"
        text = f"public {'static ' if is_nested else ''}{kind} {node.name}{f'<{chr(44).join(order)}>' if order else ''}"
        if is_interface:
            return text + (f" extends {', '.join(interfaces)}" if interfaces else "")
        if self.keeps and not classes:
            classes = [FAKE]
        return text + (f" extends {classes[0]}" if classes else "") + (f" implements {', '.join(interfaces)}" if interfaces else "")

    def field(self, member, name):
        written, key = self.types.java(member.annotation, set()), f"{name}.{member.target.id}"
        value = self.facts.constants.get(key)
        if written == "int" and value and not -(2**31) <= int(float(value)) < 2**31:
            written, value = "long", value + "L"
        if value is not None and (written in ("int", "long", "boolean") or (written == "String" and value.startswith('"'))):
            return f"public static final {written} {member.target.id} = {value};"
        # What a device says of itself is no constant: no compiler may copy it, and a fake may set it.
        unknown = {"String": '""', "int": "0", "long": "0", "float": "0", "boolean": "false"}.get(written, "null")
        value = {"int": "Integer.parseInt(\"0\")", "String": 'new String("")'}.get(written, unknown)
        return f"public static {'' if self.is_fake else 'final '}{written} {member.target.id} = {value};"

    def parameters(self, member, variables):
        arguments = member.args.posonlyargs + member.args.args
        if arguments and arguments[0].arg == "self":
            arguments = arguments[1:]
        clean = lambda word: f"{word}_" if word in JAVA_WORDS else word
        written = [f"{self.types.java(argument.annotation, variables)} {clean(argument.arg)}" for argument in arguments]
        if member.args.vararg:
            written.append(f"{self.types.java(member.args.vararg.annotation, variables)}... {clean(member.args.vararg.arg)}")
        return written

    def method(self, member, name, is_interface, order):
        variables = set()
        is_static = any(ast.unparse(decorator) == "staticmethod" for decorator in member.decorator_list)
        parameters = self.parameters(member, variables)
        result = self.types.java(member.returns, variables, member.name)
        own = sorted(variables - set(order))
        nullable = f"@{NULLABLE} " if may_be_none(member.returns) and result not in PRIMITIVES else ""
        signature = f"{f'<{chr(44).join(own)}> ' if own else ''}{result} {member.name}({', '.join(parameters)})"
        if is_interface and not is_static:
            return f"{nullable}{signature};"
        return f"{nullable}public {'static ' if is_static else ''}{signature} {self.body(result, member.name, name, is_static, parameters)}"

    def body(self, result, method, name, is_static, parameters):
        if not self.is_fake:
            return '{ throw new RuntimeException("Stub!"); }'
        if method == "equals" and self.keeps:
            return "{ return getClass() == obj.getClass() && fake.equals(((android.Fake) obj).fake); }".replace("obj", parameters[0].split()[1])
        if method == "hashCode" and self.keeps:
            return "{ return fake.hashCode(); }"
        keep, names = "", [parameter.rsplit(" ", 1)[1] for parameter in parameters]
        if method == "attachBaseContext":
            return f'{{ fake.put("base", {names[0]}); }}'
        # One that sends is in the wrapper alone.
        if name == WRAPPER and not is_static and not method.startswith("send"):
            base = 'this.<android.content.Context>kept("base", null)'
            call = base if method == "getBaseContext" else f"{base}.{method}({', '.join(names)})"
            return f"{{ {'' if result == 'void' else 'return '}{call}; }}"
        value = names[0] if len(names) == 1 else f"java.util.Arrays.asList({', '.join(names)})"
        if self.keeps and not is_static and result == "void" and re.match(r"(start|stop)[A-Z]", method):
            keep = f'add("{method}", {value}); '
        if self.keeps and not is_static and (found := re.match(r"(set|add|get|is)([A-Z]\w*)$", method)):
            key = found[2][0].lower() + found[2][1:]
            if names and found[1] in ("set", "add"):
                keep = f'fake.put("{key}", {value}); ' if found[1] == "set" else f'add("{key}", {value}); '
            elif not names and result != "void":
                otherwise = f"({result}) {ZERO.get(result, 'null')}" if result in PRIMITIVES else "null"
                return f'{{ return this.<{BOXES.get(result, result.capitalize() if result in PRIMITIVES else result)}>kept("{key}", {otherwise}); }}'
        if result == "void":
            return f"{{ {keep}}}"
        if result == name and not is_static:
            return f"{{ {keep}return this; }}"
        can_be_made = result not in self.facts.abstract and result not in self.facts.interfaces
        if method == "build" and name.startswith(result + ".") and can_be_made:
            return f"{{ {result} built = new {result}(); {'built.fake.putAll(fake); ' if self.keeps else ''}return built; }}"
        return f"{{ {keep}return {ZERO.get(result, 'null')}; }}"


def empty(facts, name, head, nested, is_nested, is_fake):
    is_interface = name in facts.interfaces
    inner = " ".join(empty(facts, f"{name}.{inside}", inside, deeper, True, is_fake) for inside, deeper in nested.items())
    extended = f" extends {FAKE}" if is_fake and not is_interface else ""
    return f"public {'static ' if is_nested else ''}{'interface' if is_interface else 'class'} {head}{extended} {{ {inner} }}"


def save(folder, package, name, lines):
    path = Path(folder).joinpath(*package.split("."), f"{name}.java")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"package {package};\n" + "\n".join(lines) + "\n", encoding="utf-8")


def main(kind, pyi, d_ts, classes, out):
    facts, modules, named, done = Facts(d_ts), Modules(pyi), set(), set()
    wanted = [line.split("#")[0].strip() for line in Path(classes).read_text(encoding="utf-8").splitlines()]
    for name in filter(None, wanted):
        package, top, _ = split(name.removesuffix(".*"))
        for top in [top] if top else list(modules.classes(package)):
            node = modules.classes(package).get(top)
            if node is None:
                sys.exit(f"{name} is in neither description of Android's API")
            if (package, top) not in done:
                done.add((package, top))
                save(out, package, top, Writer(package, facts, named, kind == "fakes").write(node, f"{package}.{top}"))
    others = {}
    for name in named:
        package, top, nested = split(name)
        if top and (package, top) not in done:
            place = others.setdefault((package, top), {})
            for inner in nested:
                place = place.setdefault(inner, {})
    for (package, top), nested in others.items():
        variables = type_variables(modules.classes(package).get(top))
        head = f"{top}<{', '.join(variables)}>" if variables else top
        save(out, package, top, [empty(facts, f"{package}.{top}", head, nested, False, kind == "fakes")])
    if kind == "fakes":
        package, top = FAKE.rsplit(".", 1)
        save(out, package, top, [FAKE_BODY])
    for name, body in ANNOTATIONS.items():
        package, annotation = name.rsplit(".", 1)
        save(out, package, annotation, [f"public @interface {annotation} {body}"])


if __name__ == "__main__":
    if len(sys.argv) != 6 or sys.argv[1] not in ("stubs", "fakes"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
