"""The shape of the package: which part may know which, and how large a part may be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import filexfer

PACKAGE = Path(filexfer.__file__).parent

# From the bottom up. A module may import modules of the layers below its own, and no others.
LAYERS = [
    "filexfer choice entry hashing measure measure.stats mirroring names planning",
    "planning.planned receipts security serving serving.hangup serving.loglimit shared storage",
    "storage.contract storage.reservations storage.spelling storage.system transfer",
    "transfer.buffers wire wire.framing wire.header",
    "errors measure.verdict progress relisting serving.notify serving.transfers storage.directory",
    "wire.schema",
    "address choice.patterns measure.breakdown mirroring.requirements rates receipts.manifest",
    "security.private serving.activation serving.logs serving.units spared storage.directories",
    "storage.faults storage.policy storage.quotas storage.room wire.congestion wire.moving",
    "wire.ranged wire.transport wire.waiting",
    "choice.filter security.certificate security.connect_string security.running",
    "serving.listening storage.delegating storage.reading storage.staged wire.protocol",
    "choice.judge options security.stored serving.limits storage.expected storage.folder",
    "storage.publishing storage.stream transfer.later wire.budget wire.codec",
    "choice.judges mirroring.extraneous security.trust serving.roots storage.draft storage.moving",
    "wire.intake",
    "storage.staging transfer.landing wire.connection",
    "measure.timed report storage.assembly storage.limited transfer.body wire.paced wire.requests",
    "wire.tls_only",
    "choice.above measure.probe planning.plan receipts.receipt security.access shared.crew",
    "storage.dropbox transfer.answers transfer.partial transfer.replies transfer.sources",
    "wire.dial wire.digests",
    "choice.filtered_upload lasting measure.health security.tokens serving.admission shared.jobs",
    "storage.dryrun transfer.questions transfer.receiver transfer.window",
    "choice.filtering_receiver security.granted security.token_access serving.lobby shared.pieces",
    "shared.threaded tidying transfer.sender",
    "serving.greeting serving.logged serving.reception shared.parallel shared.ranges",
    "transfer.download transfer.upload",
    "choice.filtered_download measure.bench mirroring.mirror planning.exchange serving.plain",
    "shared.pull shared.push",
    "planning.preflight serving.planned shared.download shared.upload",
    "client serving.session",
    "receipts.compare receipts.verify server",
    "workers",
    "cli.suggest",
    "cli.configuration cli.gathered cli.parsing",
    "cli.connect cli.overview cli.settings",
    "cli.choosing cli.limits",
    "cli.json_form cli.output",
    "cli.display cli.listing cli.logout cli.planning cli.receipts cli.remotes cli.trusting",
    "cli.options",
    "cli.cat cli.demo cli.json_lines cli.login cli.ls cli.mkdir cli.mv cli.rm cli.stat",
    "cli.transferring",
    "cli cli.announce cli.doctor cli.token",
    "__main__ cli.help cli.offers cli.serve cli.watch",
    "cli.diff cli.get cli.put cli.service cli.shells cli.verify",
    "cli.completion",
]
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}

# What only a type checker ever imports may point up in these places.
TYPES_ONLY = {
    "filexfer",  # the public names, which are loaded when they are first used
    "storage.contract",  # types and nothing else
}

# These turn values into values: no sockets, threads, clocks or files.
PURE = [
    *(
        "wire.framing",
        "names",
        "entry",
        "hashing",
        "wire.header",
        "wire.schema",
        "wire.protocol",
        "wire.codec",
    ),
    *(
        "errors",
        "transfer.landing",
        "rates",
        "storage.policy",
        "measure.verdict",
        "measure.breakdown",
    ),
]
IMPURE = {
    *("socket", "select", "selectors", "ssl", "threading", "multiprocessing", "subprocess"),
    *("time", "datetime", "os", "io", "pathlib", "shutil", "tempfile", "fcntl", "mmap", "logging"),
    *("random", "secrets", "asyncio", "signal"),
}
ALLOWED = {("errors", "os")}  # for the system's words for its error numbers

# What costs a command line or a library user start-up time, and is not needed to begin.
HEAVY = {"click", "tqdm", "ssl", "_ssl", "asyncio", "cryptography", "typing", "hashlib"}
LATE = HEAVY - {"typing", "hashlib"}  # logging and threading bring them in

NO_BORDER = {  # whose docstrings need not say what they must not know
    *("filexfer", "storage.contract"),  # names and types only
    *("__main__", "cli", "cli.output", "cli.demo"),  # nothing is above them
    *("cli.doctor", "cli.get", "cli.ls", "cli.mkdir", "cli.put", "cli.rm"),
    *(
        "choice",
        "wire",
        "transfer",
        "shared",
        "measure",
        "security",
        "serving",
        "mirroring",
        "planning",
        "receipts",
    ),  # their modules say it
}

LINES_MAX = 400  # of a module
FUNCTION_MAX = 50  # lines of a function, without its docstring


def files() -> dict[str, Path]:
    """Return the modules by their names, without the package's own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "filexfer"] = path
    return found


FILES = files()
modules = pytest.mark.parametrize("name", FILES)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


class Imports(ast.NodeVisitor):
    """Collects what a module imports: when it runs, and for type checkers only."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.types: set[str] = set()
        self.relative = False
        self._found = self.running

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)
            return
        self._found = self.types
        for each in node.body:
            self.visit(each)
        self._found = self.running
        for each in node.orelse:
            self.visit(each)

    def visit_Import(self, node: ast.Import) -> None:
        self._found.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.relative |= bool(node.level)
        for alias in node.names:
            self._found.add(f"{node.module}.{alias.name}")


@cache
def imports(name: str) -> Imports:
    found = Imports()
    found.visit(tree(name))
    return found


def own(dotted: str) -> str | None:
    """Return which of our modules is meant by a dotted name, if any is."""
    if dotted.partition(".")[0] != "filexfer":
        return None
    name = dotted.removeprefix("filexfer").removeprefix(".")
    name = filexfer._HOMES.get(name, name).removeprefix("filexfer.")
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or "filexfer"


def test_every_module_has_a_rank() -> None:
    """A new module takes its place in the layers; one that is gone leaves them."""
    assert set(RANKS) == set(FILES)
    assert len(RANKS) == sum(len(names.split()) for names in LAYERS)


@modules
def test_imports_point_down(name: str) -> None:
    """No module imports one of its own layer or of a layer above, at any time."""
    found = imports(name)
    dotted = found.running if name in TYPES_ONLY else found.running | found.types
    targets = {target for each in dotted if (target := own(each))} - {name}
    assert not {target for target in targets if RANKS[target] >= RANKS[name]}


def test_the_exceptions_are_needed() -> None:
    """A module that need not point up for its types is no exception."""
    for name in TYPES_ONLY:
        targets = {target for each in imports(name).types if (target := own(each))}
        assert any(RANKS[target] >= RANKS[name] for target in targets)


def test_own_names() -> None:
    """The tests above would see an import that is written in any way."""
    assert own("filexfer.storage.folder.Folder") == "storage.folder"
    assert own("filexfer.storage.folder") == "storage.folder"
    assert own("filexfer.Client") == "client"
    assert own("filexfer.__version__") == own("filexfer") == "filexfer"
    assert own("os.path") is None
    assert own("filexfers") is None


@modules
def test_no_relative_imports(name: str) -> None:
    """Every import says in full where from."""
    assert not imports(name).relative


@pytest.mark.parametrize("name", PURE)
def test_pure_modules(name: str) -> None:
    """What only turns values into values touches no socket, thread, clock or file."""
    roots = {each.partition(".")[0] for each in imports(name).running}
    assert not {(name, root) for root in roots & IMPURE} - ALLOWED


def test_the_storage_knows_no_network() -> None:
    """Nothing below ``storage`` can reach the wire."""
    wire = {
        "protocol",
        "codec",
        "connection",
        "transport",
        "framing",
        "session",
        "server",
        "client",
        "dial",
    }
    for name in FILES:
        if name.split(".")[0] == "storage":
            targets = {own(each) for each in imports(name).running | imports(name).types}
            assert not targets & wire
            assert not {each.partition(".")[0] for each in imports(name).running} & {
                "socket",
                "ssl",
            }


@pytest.mark.parametrize(
    "name", [name for name in FILES if not name.startswith(("cli", "__main__"))]
)
def test_only_the_command_line_talks_to_people(name: str) -> None:
    """The library prints nothing, ends no process and knows no terminal."""
    roots = {each.partition(".")[0] for each in imports(name).running}
    assert not roots & {"tqdm", "click", "argparse", "getpass", "readline"}
    calls = {
        node.func.id
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "input", "exit", "quit"}


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import filexfer", HEAVY | {"socket", "threading", "logging"}),
        ("from filexfer import Client", LATE | {"filexfer.server", "filexfer.cli"}),
        ("from filexfer import Client, Server", LATE | {"filexfer.cli"}),
        ("from filexfer import *", LATE | {"filexfer.cli"}),
        ("import filexfer.cli", LATE | {"filexfer.client", "filexfer.server", "socket"}),
    ],
)
def test_what_an_import_loads(code: str, unwanted: set[str]) -> None:
    """Nobody waits for a library that is not needed yet."""
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    run = subprocess.run(
        [sys.executable, "-I", "-c", script], check=True, capture_output=True, text=True
    )
    loaded = set(run.stdout.split())
    assert "filexfer" in loaded
    assert not loaded & unwanted


def test_public_names() -> None:
    """Each public name can be had, is the only one of its kind, and others cannot."""
    for name in filexfer.__all__:
        assert getattr(filexfer, name)
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(filexfer, "nonsense")  # noqa: B009 - mypy knows that it is not there
    declared = {each.rpartition(".")[2] for each in imports("filexfer").types}
    assert declared | {"__version__"} == set(filexfer.__all__)


@modules
def test_module_size(name: str) -> None:
    """A module is read in one sitting."""
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= LINES_MAX


@modules
def test_function_size(name: str) -> None:
    """A function fits on a screen, its docstring aside."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator] # parsed from text, so it has lines
            assert lines <= FUNCTION_MAX, node.name


@modules
def test_annotations(name: str) -> None:
    """Every function says what it takes and what it returns."""
    for node in ast.walk(tree(name)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.returns is not None, node.name
        given = node.args
        everything = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        for each in everything:
            assert each is None or each.annotation or each.arg in ("self", "cls"), node.name


@modules
def test_borders(name: str) -> None:
    """Every module says what it is, and what it must not know."""
    text = " ".join((ast.get_docstring(tree(name)) or "").split())
    assert text
    if name not in NO_BORDER:
        assert re.search(r"must not know|may know", text)


@modules
def test_silences(name: str) -> None:
    """Where a checker is silenced it is said which rule, and why."""
    for line in FILES[name].read_text(encoding="utf-8").splitlines():
        if "# noqa" in line:
            assert re.search(r"# noqa: [A-Z]+[0-9]+(, [A-Z]+[0-9]+)* - \S", line), line
        if "# type: ignore" in line:
            assert re.search(r"# type: ignore\[[a-z-]+\]( # \S|$)", line), line
