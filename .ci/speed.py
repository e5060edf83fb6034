"""Print how fast this machine is: what a bare call of the anthropic SDK costs.

In milliseconds of CPU time of the calling process, over loopback, without Flask-LLM:
the best of some batches, since other work can only make one slower.
"""

import subprocess
import sys
import time

from anthropic import Anthropic

BATCHES, CALLS = 7, 40

SERVER = """
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = json.dumps({
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
    "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
    "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        head = (
            "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
            f"Content-Length: {len(ANSWER)}\\r\\n\\r\\n"
        )
        self.wfile.write(head.encode() + ANSWER)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def main() -> None:
    """Measure and print."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            client = Anthropic(
                api_key="k",
                base_url=f"http://127.0.0.1:{server.stdout.readline().strip()}",
                max_retries=0,
            )
            print(f"{min(batch(client) for _ in range(BATCHES)):.2f}")
        finally:
            server.kill()


def batch(client: Anthropic) -> float:
    """Return the milliseconds of CPU time that a call takes."""
    begin = time.process_time()
    for _ in range(CALLS):
        client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
        )
    return (time.process_time() - begin) / CALLS * 1000


if __name__ == "__main__":
    main()
