"""OpenAI's own client against `mistralrs serve`, which this program starts on the bundled demo model."""

import os
import subprocess
import sys
import time
import urllib.request

from openai import OpenAI

PORT = os.environ.get("PORT", "12434")
URL = f"http://127.0.0.1:{PORT}"


def wait_for(url: str, seconds: float = 60) -> None:
    """Return when the server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"no server at {url}")


server = subprocess.Popen([sys.executable, "-m", "mistralrs.cli", "serve", "--port", PORT])
try:
    wait_for(f"{URL}/health")
    client = OpenAI(base_url=f"{URL}/v1", api_key="none")
    stream = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": "What is 12 plus 7?"}],
        max_tokens=64,
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
finally:
    server.terminate()
    server.wait()
