"""A server in a thread, for the tests of other programs: three lines.

    with Server(folder) as server:
        with Client(server.host, server.port) as client:
            client.put([path])

The server takes a free port, and is gone at the end of its block. A fixture for pytest:

    @pytest.fixture
    def server(tmp_path):
        with Server(tmp_path, durability="none") as server:
            yield server

Run alone, it makes a round trip in a temporary folder: python samples/serve_in_thread.py
"""

import os
import tempfile

from filexfer import Client, Server


def round_trip(folder: str) -> None:
    """Put this file to a server of the folder, and look there."""
    with Server(folder, durability="none") as server:
        print("serving", server.address)
        with Client(server.host, server.port) as client:
            client.put([__file__])
            print("stored", [entry.name for entry in client.list()])
    print("in the folder:", os.listdir(folder))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        round_trip(temporary)
