"""The units under a systemd of their own: in namespaces, with nothing of this machine to write to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_cli_process import COMMAND, environment, fx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYSTEMD = next(filter(os.path.exists, ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")), "")
SECONDS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,  # its namespace has copies of all mounts, also of disks that others unmount
    pytest.mark.skipif(
        not (SYSTEMD and shutil.which("unshare") and os.geteuid() == 0),
        reason="needs root, systemd and unshare",
    ),
]

# The first argument is the test's folder, the only place on disk that is written to: all else goes
# to a layer in memory above what is there.
BOOT = r"""
set -ex
mount --make-rprivate /
mount -t tmpfs -o size=256m tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
root=/mnt/root
mount --bind "$1" "$root$1"
test -x "$root$4"
mount -t proc proc $root/proc
mount --bind $root/proc/sys $root/proc/sys
mount -o remount,bind,ro $root/proc/sys
mount -t sysfs -o ro sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/dev
mkdir $root/dev/shm $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
for device in null zero full random urandom tty ptmx; do
    touch $root/dev/$device
    mount --bind /dev/$device $root/dev/$device
done
ip link set lo up
mkdir $root/run/units
cp -r "$2"/*.target "$2"/*.slice "$2"/*.mount "$1"/units/* $root/run/units
for place in "$2" /etc/systemd/system; do mount --bind $root/run/units "$root$place"; done
mkdir $root/mnt/old
cd $root
pivot_root . mnt/old
umount -l mnt/old
exec env -i container=test PATH="$PATH" "$3" --system --unit=check.service --show-status=0
"""

CHECK = """
[Unit]
DefaultDependencies=no

[Service]
Type=oneshot
ExecStart=/bin/bash {folder}/check {folder}
StandardOutput=file:{folder}/said
StandardError=file:{folder}/told
ExecStopPost=systemctl exit --force
"""

SCRIPT = r"""
cd "$1"
fx() {{ {environment} {command} "$@"; }}
address=fx://127.0.0.1:17177/
show() {{ systemctl show filexfer.service -P "$1"; }}
try() {{
    echo "$1: $(show ActiveState), $(show StatusText)"
    fx put tree "$address" && fx get "${{address}}tree" "back $1/" && diff -r tree "back $1/tree"
    echo "$1: $?, $(cat /run/filexfer.log)"
}}
systemctl start filexfer.service
systemctl status --no-pager filexfer.service >&2
cat /run/filexfer.log >&2
try service
grep -E 'CapEff|NoNewPrivs|Seccomp:|Umask' /proc/$(show MainPID)/status
systemctl reload filexfer.service && echo "reloaded: $(show ActiveState)"
ls -ld /var/lib/private/filexfer | cut -c 1-10
systemctl stop filexfer.service
echo "stopped: $(show Result)"
systemctl start filexfer.socket
echo "waiting: $(show ActiveState)"
fx ls "$address"
echo "called: $(show ActiveState)"
"""


@pytest.fixture
def group() -> Iterator[str]:
    """Make a control group for it, and remove what it has made there."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        places = [line.split()[1] for line in mounts if line.split()[2] == "cgroup2"]
    path = os.path.join(places[0], f"filexfer-{os.getpid()}") if places else ""
    try:
        os.mkdir(path)
    except OSError:
        pytest.skip("no control group can be made")
    yield path
    for folder, _, _ in os.walk(path, topdown=False):
        os.rmdir(folder)


def test_the_units_work(group: str, tmp_path: Path) -> None:
    """With all its restrictions the service serves, reloads, ends, and starts for a client."""
    for name in ("units", "tree"):
        (tmp_path / name).mkdir()
    (tmp_path / "tree" / "small").write_text("x")
    (tmp_path / "tree" / "large").write_bytes(os.urandom(3 << 20))
    assert fx("service", "--serve=-q", "--output", tmp_path / "units").returncode == 0
    (tmp_path / "units" / "filexfer.service.d").mkdir()
    log = "[Service]\nStandardError=file:/run/filexfer.log\n"
    (tmp_path / "units" / "filexfer.service.d" / "log.conf").write_text(log)
    (tmp_path / "units" / "check.service").write_text(CHECK.format(folder=tmp_path))
    variables = " ".join(f"{name}={environment()[name]}" for name in ("PYTHONPATH", "LANG"))
    (tmp_path / "check").write_text(SCRIPT.format(environment=variables, command=" ".join(COMMAND)))
    (tmp_path / "boot").write_text(BOOT)
    script = 'echo $$ > "$0/cgroup.procs"; exec unshare -m -p -f -C -n -u -i --kill-child "$@"'
    units = os.path.join(os.path.dirname(SYSTEMD), "system")
    inner: list[str | Path] = [tmp_path / "boot", tmp_path, units, SYSTEMD, sys.executable]
    booted = subprocess.run(
        ["sh", "-c", script, group, "sh", *inner],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if not (tmp_path / "said").exists():
        pytest.skip(f"no systemd can be started here: {booted.stderr[-300:]}")
    said = (tmp_path / "said").read_text().splitlines()
    told = (tmp_path / "told").read_text()
    serving = "serving /var/lib/filexfer/files at fx://127.0.0.1:17177/ by "
    assert said[0].startswith(f"service: active, {serving}"), (said, told, booted.stderr)
    assert said[1:] == [
        "service: 0, ",
        "Umask:\t0077",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "reloaded: active",
        "drwx------",
        "stopped: success",
        "waiting: inactive",
        "tree/",
        "called: active",
    ], told
