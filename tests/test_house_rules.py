# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can keep. An exception is listed with its reason."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import convsmith
from convsmith import errors

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
SOURCE = REPOSITORY / "src" / "convsmith"

# A room imports only from itself and from rooms before it.
ROOMS = [
    *("errors", "geometry", "family", "report", "native", "convs", "capture", "analysis"),
    *("rewrite", "scanning", "models", "training", "bench", "cli"),
]
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "base", "manager"}
MAX_FILE, MAX_HEADER, MAX_INIT, MAX_FUNCTION = 400, 500, 80, 60
# "file or file:function" -> why it may be longer.
LONGER: dict[str, str] = {}
# Families whose name is an ordinary word of geometry, too.
ORDINARY_WORDS = {"standard", "grouped", "dilated", "transposed", "pointwise"}
# Where families may be named: their own room, and what is made of them or is about one.
LEAVES = (
    "convs/",
    "models/",
    "rewrite/rules/",
    "analysis/findings/",
    "bench/cases/",
    "native/kernels.def",  # the list of kernels
    "capture/operators.py",  # the operators that a saved file may name, spelt out for safety
)

PYTHON = sorted(SOURCE.rglob("*.py"))
CPP = sorted(path for path in SOURCE.rglob("*") if path.suffix in {".h", ".cpp", ".def"})
TREES = {path: ast.parse(path.read_text()) for path in PYTHON}


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Dotted names of convsmith's modules that this one imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("convsmith"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "convsmith":
                yield from (f"convsmith.{alias.name}" for alias in node.names)
            elif node.module and node.module.startswith("convsmith."):
                yield node.module


def families() -> list[str]:
    """Folders of families in the order of `convs/__init__.py`."""
    modules = [m.split(".") for m in imported_modules(TREES[SOURCE / "convs" / "__init__.py"])]
    return [parts[2] for parts in modules if len(parts) == 3]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def num_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_room_is_in_the_order() -> None:
    found = {room(path) for path in PYTHON} - {"__init__"}
    assert found <= set(ROOMS)


def test_rooms_import_one_way() -> None:
    wrong = []
    for path, tree in TREES.items():
        if path == SOURCE / "__init__.py":
            continue  # the public face reaches every room, lazily
        if path.name == "__main__.py":
            continue  # a program, which begins a command as the shell would
        allowed = {*ROOMS[: ROOMS.index(room(path)) + 1], "__version__"}
        for module in imported_modules(tree):
            parts = module.split(".")
            if len(parts) == 1 or parts[1] not in allowed:
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_a_family_imports_only_families_listed_before_it() -> None:
    order, wrong = families(), []
    for path, tree in TREES.items():
        parts = path.relative_to(SOURCE).parts
        if parts[0] != "convs" or parts[1] == "__init__.py":
            continue
        # What is no family, such as `padding.py`, comes before all of them.
        before = order[: order.index(parts[1]) + 1] if parts[1] in order else []
        for module in imported_modules(tree):
            target = module.split(".")[2:3]
            if module.startswith("convsmith.convs.") and set(target) & set(order) - set(before):
                wrong.append(f"{name(path)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_every_family_folder_is_listed() -> None:
    folders = {path.parent.name for path in (SOURCE / "convs").glob("*/__init__.py")}
    assert folders == set(families())
    for folder in folders:
        assert (SOURCE / "convs" / folder / "README.md").is_file(), f"{folder} has no README.md"


def test_engines_name_no_family() -> None:
    words = "|".join(sorted(set(families()) - ORDINARY_WORDS))
    wrong = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in [*PYTHON, *CPP]
        if not name(path).startswith(LEAVES)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(words, line, re.IGNORECASE)
    ]
    assert not wrong, "\n".join(wrong)
    wrong = [
        f"{name(path)} imports {module}"
        for path, tree in TREES.items()
        if not name(path).startswith(LEAVES)
        for module in imported_modules(tree)
        if re.match(rf"convsmith\.convs\.({'|'.join(families())})\b", module)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_a_drawer() -> None:
    everywhere = [*PYTHON, *CPP, *TESTS.rglob("*.py")]
    assert not [path for path in everywhere if FORBIDDEN_NAMES & set(path.with_suffix("").parts)]


def test_every_source_opens_with_its_licence_and_purpose() -> None:
    for path in [*PYTHON, *CPP, *TESTS.rglob("*.py"), *REPOSITORY.glob("*/*.py")]:
        first, *_ = path.read_text().splitlines()
        assert first in {
            "# SPDX-License-Identifier: Apache-2.0",
            "// SPDX-License-Identifier: Apache-2.0",
        }, path
    for path, tree in TREES.items():
        assert ast.get_docstring(tree), f"{name(path)} has no docstring"


def test_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints the longest, so that they are seen before they are too long."""
    limits = {"__init__.py": MAX_INIT}
    files = {
        name(path): (
            num_lines(path),
            limits.get(path.name, MAX_HEADER if path.suffix == ".h" else MAX_FILE),
        )
        for path in [*PYTHON, *CPP]
    }
    bodies = {
        f"{name(path)}:{function.name}": (_code_lines(function), MAX_FUNCTION)
        for path, tree in TREES.items()
        for function in functions(tree)
    }
    with capsys.disabled():
        for title, sizes in (("files", files), ("functions", bodies)):
            longest = sorted(sizes.items(), key=lambda item: -item[1][0])[:5]
            print(f"\nlongest {title}: " + ", ".join(f"{what} {n}" for what, (n, _) in longest))
    over = {what: n for what, (n, limit) in {**files, **bodies}.items() if n > limit}
    assert over.keys() == LONGER.keys(), over


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    documented = docstring.end_lineno - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - documented


def test_lines_of_c_plus_plus_fit() -> None:  # ruff sees to Python's
    for path in CPP:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert len(line) <= 100, f"{name(path)}:{number} has {len(line)} columns"


def test_the_library_prints_nothing() -> None:
    for path, tree in TREES.items():
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        prints = [call.lineno for call in calls if ast.unparse(call.func) == "print"]
        assert not prints or room(path) == "cli", f"{name(path)}:{prints} prints"


def test_nothing_unpickles() -> None:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                assert not {"pickle", "dill", "cloudpickle"} & {*names, getattr(node, "module", "")}
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "np.load"}:
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                safe = keywords.get("weights_only") == "True" or (
                    ast.unparse(node.func) == "np.load" and keywords.get("allow_pickle") != "True"
                )
                assert safe, f"{name(path)}:{node.lineno} may unpickle"


def test_exported_names() -> None:
    """`api_surface.txt` is edited by hand: a public name does not come or go unnoticed."""
    listed = (TESTS / "api_surface.txt").read_text().split()
    assert sorted(convsmith.__all__) == listed
    for exported in convsmith.__all__:
        getattr(convsmith, exported)


ERRORS = {n for n, value in vars(errors).items() if isinstance(value, type)}
VALUE = "\0"  # stands for what an f-string fills in
PUNCTUATION = ".,;:()'\"`"


def text_of(node: ast.AST) -> str:
    """The text of a message, as far as the source shows it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return VALUE


def words_of(text: str) -> list[str]:
    return [word for word in (raw.strip(PUNCTUATION) for raw in text.split()) if word]


def raised_messages() -> Iterator[tuple[str, list[str]]]:
    """Each `raise` of one of our errors with a message in place: where, and its words."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                words = words_of(text_of(node.exc.args[0]))
                if ast.unparse(node.exc.func).split(".")[-1] in ERRORS and set(words) != {VALUE}:
                    yield f"{name(path)}:{node.lineno}", words


def expected_phrases() -> list[list[str]]:
    """The words between the wildcards of every string in a test file that says `match=`."""
    phrases = set()
    for path in TESTS.rglob("test_*.py"):
        if path == Path(__file__) or "match=" not in path.read_text():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                plain = re.sub(r"\\([^a-z])", r"\1", text_of(node))
                phrases |= {tuple(words_of(part)) for part in re.split(r"\.[*+]|\\w|\\d", plain)}
    return [list(phrase) for phrase in phrases if phrase]


def quotes(phrase: list[str], message: list[str]) -> bool:
    """Whether a phrase of a test stands in a message; a value may be any word."""
    for start in range(len(message) - len(phrase) + 1):
        pairs = list(zip(phrase, message[start:], strict=False))
        fixed = [said for said, word in pairs if said == word and len(said) >= 4]
        if fixed and all(VALUE in said + word or said == word for said, word in pairs):
            return True
    return False


def test_every_raise_is_tested_by_its_words() -> None:
    phrases = expected_phrases()
    untested = [
        f"{place}: {' '.join(words).replace(VALUE, '…')}"
        for place, words in raised_messages()
        if not any(quotes(phrase, words) for phrase in phrases if {*phrase} & {*words})
    ]
    assert not untested, f"{len(untested)} raises without a test:\n" + "\n".join(untested)
