"""Talk to `mistralrs serve` with OpenAI's own client. Start the server first: `mistralrs serve`."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("MISTRALRS_URL", "http://127.0.0.1:1234/v1"),
    api_key=os.environ.get("MISTRALRS_API_KEY", "none"),
)
stream = client.chat.completions.create(
    model="default",
    messages=[{"role": "user", "content": "What is 12 plus 7?"}],
    max_tokens=64,
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
