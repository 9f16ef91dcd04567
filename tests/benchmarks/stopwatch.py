"""Runs one command, and says on standard output how it ended, how long it took, and what it took.

It is a program of its own, run by ``processes.py``, to have little memory: until it loads its
program a new process has the memory of the one that started it, and that counts as its own. So it
loads nothing that it can do without. It must not know what it runs.

    python -IS stopwatch.py COMMAND...
"""

import os
import sys
import time

SIGPIPE = 13  # Python ignores it, and a command would inherit that


def busy() -> float:
    """Return the seconds that the processors of this machine have worked; nan if nobody tells."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(each) for each in file.readline().split()[1:8]]
    except OSError:
        return float("nan")
    user, nice, system, _idle, _waiting, *interrupts = fields
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def main(command: list[str]) -> None:
    """Run the command with its output thrown away."""
    output = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    worked, started = busy(), time.perf_counter()
    process = os.posix_spawnp(
        command[0], command, os.environ, file_actions=[output], setsigdef=[SIGPIPE]
    )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(os.waitstatus_to_exitcode(status), seconds, busy() - worked, memory)


if __name__ == "__main__":
    main(sys.argv[1:])
