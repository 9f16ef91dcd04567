"""Names and files that programs stumble over: they go there and back, or it is told why not."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import oracles
import pytest
from conftest import Served, tree_state
from test_cli_process import Service, environment, fx
from test_transfer import Route, counts, failures, lay

from filexfer.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


# Names

STUMBLES = [
    *(f"control{chr(code)}here" for code in (*range(1, 32), 127)),
    *(f"{chr(code)}first" for code in (9, 10, 11, 13, 32, 46, 126)),
    *(f"last{chr(code)}" for code in (9, 10, 11, 13, 32, 46, 126)),
    *(" ", "  ", "\t", "\n", "...", "....", "..a", "a..", ". .", ".\t.", "~", "~root", "-", "--"),
    *("-rf", "--help", "@file", "#", "test%46.txt", "%", "%2F", "%00", "%ff", "$HOME", "$(id)"),
    *("`id`", "a;b", "a|b", "a>b", "a*b", "a?b", "a[b]", "a{b,c}", 'a"b', "a'b", "a\\b", "a:b"),
    *("C:", "CON", "nul", "aux.txt", "LPT1", "desktop.ini", ".DS_Store", "._x", "Thumbs.db"),
    *("\u00e9", "e\u0301", "\ufb01", "fi", "\u212b", "\u00c5", "\u1e9e", "\u0130", "i\u0307"),
    *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202eexe.txt", "\ufeff", "\u00a0", "\u200b"),
    *("\uff0f", "\u2215", "\u2024\u2024", "\ud7ff", "\ue000", "\uffff", "\U0010ffff"),
    *("x" * 255, "\u00e9" * 127, "x" * 251 + "\U0001f600", "a" * 250 + ".tar"),
    *(os.fsdecode(raw) for raw in (b"\xff", b"a\xd7b", b"\xc3", b"\xed\xa0\x80", b"\x9b31m")),
]


def told_apart(folder: Path) -> list[str]:
    """Return those of the names that the disk takes, and does not take for another of them."""
    folder.mkdir()
    found = []
    for name in STUMBLES:
        try:
            os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL))
        except OSError:
            continue  # as on macOS
        found.append(name)
    assert len(found) == len(STUMBLES) or sys.platform != "linux"
    return found


@pytest.mark.case("D13", "D14")
@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_names_that_programs_stumble_over(route: Route, tmp_path: Path, jobs: int) -> None:
    """As names of files, of folders and of links, each arrives to the byte; and again, none does."""
    top = route.source / "tree"
    names = told_apart(tmp_path / "probe")
    for number, name in enumerate(names):
        lay(top / "files" / name, b"%d" % number)
        lay(top / "folders" / name / "file", b"%d" % number)
        (top / "links").mkdir(exist_ok=True)
        (top / "links" / name).symlink_to(name)
    report = route.send("tree", jobs=jobs)
    assert failures(report) == {}
    assert report.files == 3 * len(names)
    assert tree_state(route.target / "tree") == tree_state(top)
    for warning in report.warnings:
        oracles.is_harmless(str(warning))
    assert counts(route.send("tree", jobs=jobs)).get("files") is None


@pytest.mark.case("D14")
@pytest.mark.parametrize("name", ["-rf", "~", "a:b", "%2F", "$(id)", "a\nb", " ", "\\", "x" * 255])
def test_such_a_name_by_itself(route: Route, name: str) -> None:
    """As a source and as a destination it is that name, and nothing is made of it."""
    lay(route.source / name, b"data")
    assert route.send(name, to=name).files == 1
    assert [(path.name, path.read_bytes()) for path in route.target.iterdir()] == [(name, b"data")]


# Devices and what has no size


def can_make_devices(path: Path) -> bool:
    """Tell whether this user can, here."""
    try:
        os.mknod(path / "probe", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        (path / "probe").read_bytes  # noqa: B018 - it is there
        with open(path / "probe", "rb") as file:
            file.read(1)
    except OSError:
        return False
    finally:
        (path / "probe").unlink(missing_ok=True)
    return True


@pytest.mark.case("D6")
def test_devices_and_sockets(route: Route, tmp_path: Path) -> None:
    """In a tree they are passed over; at the target they are replaced, and never written to."""
    if not can_make_devices(tmp_path):
        pytest.skip("no devices can be made here")
    zero, memory = os.makedev(1, 5), os.makedev(7, 0)
    tree = route.source / "tree"
    lay(tree / "file")
    for name, kind in (("endless", stat.S_IFCHR), ("disk", stat.S_IFBLK)):
        os.mknod(tree / name, kind | 0o600, zero if kind == stat.S_IFCHR else memory)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(tree / "socket"))
    report = route.send("tree")
    assert counts(report) == {"files": 1, "bytes": 4}
    names = sorted(error.name for error in report.warnings)
    assert names == ["tree/disk", "tree/endless", "tree/socket"]
    assert sorted(tree_state(route.target / "tree")) == ["file"]
    for name in ("endless", "disk", "socket"):
        (tree / name).unlink()
        lay(tree / name)
        os.mknod(route.target / "tree" / name, stat.S_IFCHR | 0o600, zero)
    report = route.send("tree")
    assert set(failures(report).values()) == {Code.EXISTS}
    assert all((route.target / "tree" / name).is_char_device() for name in ("endless", "disk"))
    assert route.send("tree", if_exists="overwrite").files == 3
    assert tree_state(route.target / "tree") == tree_state(tree)


@pytest.mark.case("D6")
def test_files_without_a_size(served: Served) -> None:
    """What /proc says to have no bytes, and gives some, is not taken for an empty file."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("this system has no /proc")
    for name in ("status", "maps", "mounts"):
        report = served.client().put([f"/proc/self/{name}"], "", report=None)
        assert set(failures(report).values()) <= {Code.CHANGED, Code.UNREADABLE}
        assert report.failed == 1
    assert os.listdir(served.folder) == []


@pytest.mark.case("D6")
def test_a_device_by_name_is_no_endless_upload(served: Served) -> None:
    """Nor is it waited for."""
    for name in ("/dev/zero", "/dev/full", "/dev/tty"):
        report = served.client().put([name], "x")
        assert (report.files, report.bytes) == (0, 0)
        assert len(report.warnings) + report.failed == 1
    assert os.listdir(served.folder) == []


# Names that the target takes for one

FOLDING = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void key(const char *from, char *to) {
  while (*from)
    if (!strncmp(from, "e\xcc\x81", 3)) { from += 3; *to++ = '\xc3'; *to++ = '\xa9'; }
    else { *to++ = *from >= 'A' && *from <= 'Z' ? *from + 32 : *from; from++; }
  *to = 0;
}

static const char *real(int folder, const char *name, char *found) {
  static int (*open_it)(int, const char *, int, ...);
  char wanted[4096], each[4096];
  struct dirent *entry;
  DIR *dir;
  if (folder == AT_FDCWD || strchr(name, '/') || strlen(name) > 255) return name;
  if (!open_it) open_it = dlsym(RTLD_NEXT, "openat");
  int fd = open_it(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || !(dir = fdopendir(fd))) return name;
  key(name, wanted);
  strcpy(found, name);
  while ((entry = readdir(dir))) {
    key(entry->d_name, each);
    if (!strcmp(wanted, each)) { strcpy(found, entry->d_name); break; }
  }
  closedir(dir);
  return found;
}

#define CALL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define AT(d, n) real(d, n, (char[4096]){0})
#define OPEN(name) int name(int d, const char *n, int f, ...) { \
  va_list rest; va_start(rest, f); int mode = va_arg(rest, int); va_end(rest); \
  return CALL(name)(d, AT(d, n), f, mode); }
OPEN(openat)
OPEN(openat64)
int mkdirat(int d, const char *n, mode_t m) { return CALL(mkdirat)(d, AT(d, n), m); }
int unlinkat(int d, const char *n, int f) { return CALL(unlinkat)(d, AT(d, n), f); }
int renameat(int d, const char *n, int e, const char *m) {
  return CALL(renameat)(d, AT(d, n), e, AT(e, m)); }
int renameat2(int d, const char *n, int e, const char *m, unsigned f) {
  return CALL(renameat2)(d, AT(d, n), e, AT(e, m), f); }
int linkat(int d, const char *n, int e, const char *m, int f) {
  return CALL(linkat)(d, AT(d, n), e, AT(e, m), f); }
int symlinkat(const char *t, int d, const char *n) { return CALL(symlinkat)(t, d, AT(d, n)); }
ssize_t readlinkat(int d, const char *n, char *b, size_t s) {
  return CALL(readlinkat)(d, AT(d, n), b, s); }
int fstatat(int d, const char *n, struct stat *s, int f) { return CALL(fstatat)(d, AT(d, n), s, f); }
int fstatat64(int d, const char *n, struct stat64 *s, int f) {
  return CALL(fstatat64)(d, AT(d, n), s, f); }
"""


@pytest.fixture(scope="module")
def folding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which names are found in any case of letters, and é in any form.

    As they are on the disks of other systems; the kernels at hand have no such file system.
    """
    compiler = shutil.which("cc")
    if not os.path.exists("/proc/self/fd") or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("folding")
    (folder / "folding.so.c").write_text(FOLDING)
    library = folder / "folding.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), f"{library}.c", "-ldl"]
    built = subprocess.run(command, check=False, capture_output=True)
    if built.returncode:
        pytest.skip("the C compiler is of no use")
    return environment(LD_PRELOAD=str(library))


PAIRS = [("README", "readme"), ("caf\u00e9", "cafe\u0301"), ("d/Up", "D/uP")]


@pytest.mark.case("C10", "D17")
@pytest.mark.parametrize(
    "option",
    [
        *("", "--overwrite"),
        *(
            pytest.param(option, marks=pytest.mark.slow)
            for option in ("--update", "--skip-existing", "--keep-both")
        ),
    ],
)
@pytest.mark.parametrize("way", ["up", "down"])
def test_names_that_the_target_takes_for_one(
    tmp_path: Path, folding: dict[str, str], way: str, option: str
) -> None:
    """One of the two arrives, the other is told or kept beside it; no file is lost unseen."""
    contents = {}
    tree = tmp_path / ("local" if way == "up" else "in") / "tree"
    for number, name in enumerate(name for pair in PAIRS for name in pair):
        lay(tree / name, name.encode() * 5, (1_700_000_000 + number) * 10**9)
        contents[name] = name.encode() * 5
    lay(tree / "alone", b"alone")
    words = ["--workers", "1", "--durability", "none", "--allow", "overwrite"]
    env = {"env": folding} if way == "up" else {}
    with Service(tmp_path / "in", *words, **env) as service:
        if way == "up":
            done = fx("put", *option.split(), tree, service.address)
            target = tmp_path / "in" / "tree"
        else:
            target = tmp_path / "back" / "tree"
            how = ["--durability", "none", *option.split()]
            done = fx("get", *how, service.address + "tree", target.parent, env=folding)
    oracles.is_harmless(done.stderr)
    found = {name: entry[3] for name, entry in tree_state(target).items() if entry[0] == "file"}
    oracles.are_whole(target, {*contents.values(), b"alone"})
    assert b"alone" in found.values()
    if option == "--keep-both":
        assert done.returncode == 0, done.stderr
        assert {*contents.values()} <= {*found.values()}
    elif option == "--skip-existing":
        assert done.returncode == 0, done.stderr
        assert f"{len(PAIRS)} skipped" in done.stderr
    elif option == "--update":  # which does not replace by what is older, whatever the name
        told = sum(int(each) for each in re.findall(r"(\d+) (?:skipped|failed)", done.stderr))
        assert told == len(PAIRS), done.stderr
    else:
        assert done.returncode == 3, done.stderr
        assert done.stderr.count("exists") == len(PAIRS)
        assert f"{len(PAIRS)} failed" in done.stderr
    if option != "--keep-both":
        assert len(found) == len(PAIRS) + 1


@pytest.mark.case("D17")
def test_the_same_name_is_replaced_where_names_are_taken_for_one(
    tmp_path: Path, folding: dict[str, str]
) -> None:
    """A file system like that hinders nobody from replacing a file by its own name."""
    lay(tmp_path / "README", b"new")
    lay(tmp_path / "in" / "README", b"old one")
    words = ["--workers", "1", "--durability", "none", "--allow", "overwrite"]
    with Service(tmp_path / "in", *words, env=folding) as service:
        assert fx("put", "--overwrite", tmp_path / "README", service.address).returncode == 0
    assert (tmp_path / "in" / "README").read_bytes() == b"new"
