"""The tools that are compared: what each needs, its server, and its commands.

Each copies a folder into another one, as ``cp -r`` does. "Up" copies from the client's side to the
server's, "down" the other way round. Every server offers the folder *work*, on loopback only, and
is set up for speed; no tool is made to do more than it would by itself.
It must not know how anything is measured.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote

from processes import HOST, PATIENCE
from tool import Tool, find, output

AT_ONCE = 8  # files, by the tools that move several
ME = pwd.getpwuid(os.getuid()).pw_name


class Copy(Tool):
    """A local copy: nothing that moves files can be much faster."""

    key = "cp"
    title = "cp -r"
    needs = ("cp",)
    skips = True  # it does not, but everything is compared with it

    def up(self, source: Path, landing: Path) -> list[str]:
        return ["cp", "-r", f"{source}", f"{landing}/"]

    down = up


class Filexfer(Tool):
    key = "filexfer"
    title = "filexfer"
    needs = ("filexfer",)
    skips = True

    def server(self) -> list[str]:
        return [find("filexfer"), "serve", "-q", str(self.work), "--port", str(self.port)]

    def up(self, source: Path, landing: Path) -> list[str]:
        return [find("filexfer"), "put", "-q", str(source), self._address(landing) + "/"]

    def down(self, source: Path, landing: Path) -> list[str]:
        return [find("filexfer"), "get", "-q", self._address(source), f"{landing}/"]

    def _address(self, path: Path) -> str:
        return f"fx://{HOST}:{self.port}/{self.remote(path)}"


class Rsync(Tool):
    """Both sides are told not to wait for the other, which else costs 0.1 s in every run."""

    key = "rsync"
    title = "rsync, daemon"
    needs = ("rsync",)
    skips = True

    def server(self) -> list[str]:
        settings = self.home / "rsyncd.conf"
        root = os.getuid() == 0  # who alone may choose; it would take 'nobody' by itself
        settings.write_text(
            f"{'uid = 0' * root}\n{'gid = 0' * root}\n"
            "use chroot = no\n"
            "munge symlinks = no\n"
            "reverse lookup = no\n"
            "socket options = TCP_NODELAY\n"
            f"log file = {self.home}/rsyncd.log\n"
            f"[all]\npath = {self.work}\nread only = no\n"
        )
        words = ["--daemon", "--no-detach", f"--config={settings}", f"--address={HOST}"]
        return ["rsync", *words, f"--port={self.port}"]

    def up(self, source: Path, landing: Path) -> list[str]:
        return [*self._command(), str(source), self._address(landing) + "/"]

    def down(self, source: Path, landing: Path) -> list[str]:
        return [*self._command(), self._address(source), f"{landing}/"]

    def _command(self) -> list[str]:
        return ["rsync", "-a", "--sockopts=TCP_NODELAY"]

    def _address(self, path: Path) -> str:
        return f"rsync://{HOST}:{self.port}/all/{self.remote(path)}"


class Scp(Tool):
    key = "scp"
    title = "scp"
    needs = ("scp", "ssh", "sshd", "ssh-keygen")

    def server(self) -> list[str]:
        """Make keys for this run only, which open this server and no other."""
        for name in ("host_key", "user_key"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.home / name)]
            subprocess.run(words, check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        settings = self.home / "sshd_config"
        settings.write_text(
            f'ListenAddress {HOST}\nPort {self.port}\nHostKey "{self.home}/host_key"\n'
            f'AuthorizedKeysFile "{self.home}/user_key.pub"\n'
            "AuthenticationMethods publickey\nPermitRootLogin prohibit-password\n"
            "StrictModes no\nPidFile none\nSubsystem sftp internal-sftp\n"
            # Else the login shell reads the user's settings, which may take long.
            f'SetEnv "HOME={self.home}"\n'
        )
        if os.getuid() == 0:  # sshd demands it; where its service has never run it is not there
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        return [find("sshd"), "-D", "-e", "-f", str(settings)]

    def up(self, source: Path, landing: Path) -> list[str]:
        words = ["-q", "-r", "-P", str(self.port), *self.options()]
        return ["scp", *words, str(source), f"{ME}@{HOST}:{landing}/"]

    def down(self, source: Path, landing: Path) -> list[str]:
        words = ["-q", "-r", "-P", str(self.port), *self.options()]
        return ["scp", *words, f"{ME}@{HOST}:{source}", f"{landing}/"]

    def options(self) -> list[str]:
        """Return what keeps the user's own settings and keys out, and the fastest cipher in."""
        given = {
            "IdentityFile": f'"{self.home}/user_key"',
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "Ciphers": "^aes128-gcm@openssh.com",
        }
        return ["-F", "none", *(word for name in given for word in ("-o", f"{name}={given[name]}"))]


class RsyncSsh(Scp):
    key = "rsync-ssh"
    title = "rsync over ssh"
    needs = ("rsync", "ssh", "sshd", "ssh-keygen")
    skips = True

    def up(self, source: Path, landing: Path) -> list[str]:
        return ["rsync", "-a", "-e", self._shell(), str(source), f"{ME}@{HOST}:{landing}/"]

    def down(self, source: Path, landing: Path) -> list[str]:
        return ["rsync", "-a", "-e", self._shell(), f"{ME}@{HOST}:{source}", f"{landing}/"]

    def _shell(self) -> str:
        return shlex.join(["ssh", "-p", str(self.port), *self.options()])


class Rclone(Tool):
    key = "rclone"
    title = "rclone, webdav"
    needs = ("rclone",)
    skips = True

    def server(self) -> list[str]:
        where = f"{HOST}:{self.port}"
        return ["rclone", "serve", "webdav", str(self.work), "--addr", where, *self._options()]

    def prepare(self) -> None:
        """Start the server anew: it remembers folders, and does not see that some are gone."""
        self.stop()
        self.start()

    def up(self, source: Path, landing: Path) -> list[str]:
        return self._copy(str(source), self._address(landing / source.name))

    def down(self, source: Path, landing: Path) -> list[str]:
        return self._copy(self._address(source), str(landing / source.name))

    def _copy(self, source: str, target: str) -> list[str]:
        words = ["--create-empty-src-dirs", f"--transfers={AT_ONCE}", f"--checkers={AT_ONCE}"]
        return ["rclone", "copy", *self._options(), *words, source, target]

    def _options(self) -> list[str]:
        return ["--config=/dev/null", f"--cache-dir={self.home}"]

    def _address(self, path: Path) -> str:
        url = f"url='http://{HOST}:{self.port}/'"
        # By itself it waits 10 ms after each request; versions before 1.63 cannot be told not to.
        return f":webdav,{url},vendor=other,pacer_min_sleep=0.01ms:{self.remote(path)}"


class RcloneSftp(Rclone):
    """Much better than the other way at small files."""

    key = "rclone-sftp"
    title = "rclone, sftp"

    def server(self) -> list[str]:
        self._password = output("rclone", "obscure", "any will do").strip()
        where = f"{HOST}:{self.port}"
        words = ["--addr", where, "--no-auth", *self._options()]
        return ["rclone", "serve", "sftp", str(self.work), *words]

    def _address(self, path: Path) -> str:
        login = f"user={ME},pass={self._password},shell_type=none"
        return f":sftp,host={HOST},port={self.port},{login}:{self.remote(path)}"


class Tar(Tool):
    """Two pipes through a socket; the first line says which way, and which folder."""

    key = "tar"
    title = "tar and socat"
    needs = ("tar", "socat")

    def server(self) -> list[str]:
        (self.home / "serve.sh").write_text(
            'read -r way folder name || exit 1\ncd "../../$folder" || exit 1\n'
            'if [ "$way" = up ]; then exec tar -x; else exec tar -c "$name"; fi\n'
        )
        listen = f"TCP-LISTEN:{self.port},bind={HOST},reuseaddr,fork"
        return ["socat", *self._options(), listen, "EXEC:sh serve.sh"]

    def up(self, source: Path, landing: Path) -> list[str]:
        send = shlex.join(["tar", "-c", "-C", str(source.parent), source.name])
        return self._shell(f"(echo up {self.remote(landing)}; {send}) | {self._socat()}")

    def down(self, source: Path, landing: Path) -> list[str]:
        ask = f"echo down {self.remote(source.parent)} {source.name}"
        take = shlex.join(["tar", "-x", "-C", str(landing)])
        return self._shell(f"{ask} | {self._socat()} | {take}")

    def _shell(self, line: str) -> list[str]:
        return ["sh", "-c", line]

    def _socat(self) -> str:
        return shlex.join(["socat", *self._options(), "-", f"TCP:{HOST}:{self.port}"])

    def _options(self) -> list[str]:
        return ["-b", "1048576", "-t", "600"]  # after one way has ended, wait for the other


class Curl(Tool):
    """Files only, told one by one in a list: neither links nor empty folders."""

    key = "curl"
    title = "curl and nginx"
    needs = ("curl", "nginx")

    def server(self) -> list[str]:
        self._can_upload = "http_dav_module" in output("nginx", "-V")
        temporary = " ".join(
            f"{name}_temp_path {name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        dav = "create_full_put_path on; dav_methods PUT;" if self._can_upload else ""
        (self.home / "nginx.conf").write_text(
            f"{f'user {ME};' if os.getuid() == 0 else ''}\n"
            "daemon off; worker_processes auto; pid nginx.pid; events {}\n"
            f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
            "client_max_body_size 0; keepalive_requests 1000000;\n"
            f"server {{ listen {HOST}:{self.port}; root ../..; {dav} }} }}\n"
        )
        return [find("nginx"), "-p", f"{self.home}/", "-c", "nginx.conf", "-e", "error.log"]

    def up(self, source: Path, landing: Path) -> list[str]:
        if not self._can_upload:
            return []
        lines = []
        for path in _files(source):
            url = self._address(landing / path.relative_to(source.parent))
            lines += [f"upload-file = {_quoted(path)}", f'url = "{url}"']
        return self._curl("up", lines)

    def down(self, source: Path, landing: Path) -> list[str]:
        lines = []
        for path in _files(source):
            target = landing / path.relative_to(source.parent)
            lines += [f'url = "{self._address(path)}"', f"output = {_quoted(target)}"]
        return self._curl("down", lines)

    def _curl(self, name: str, lines: list[str]) -> list[str]:
        path = self.home / f"{name}.curl"
        path.write_text("\n".join(lines) + "\n", errors="surrogateescape")
        words = ["-g", "-s", "-S", "-f", "-H", "Expect:", "--create-dirs"]
        return ["curl", "-q", *words, "-Z", "--parallel-max", str(AT_ONCE), "-K", str(path)]

    def _address(self, path: Path) -> str:
        return f"http://{HOST}:{self.port}/{quote(os.fsencode(self.remote(path)))}"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


TOOLS: dict[str, type[Tool]] = {
    tool.key: tool for tool in (Copy, Filexfer, Rsync, RsyncSsh, Scp, Rclone, RcloneSftp, Tar, Curl)
}
