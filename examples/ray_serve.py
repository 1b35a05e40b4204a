"""Replicas of the bundled demo model behind one address, on Ray Serve, with the routes of `mistralrs serve`.

pip install 'mistralrs[ray]' openai
python examples/ray_serve.py        # asks something and stops; `serve run examples.ray_serve:app` goes on
"""

import os

from fastapi import FastAPI
from ray import serve

REPLICAS = int(os.environ.get("REPLICAS", "2"))
PORT = int(os.environ.get("PORT", "12435"))


def application() -> FastAPI:
    """The server of one replica, made where the replica runs."""
    from mistralrs import Runner, Which
    from mistralrs.aio import AsyncRunner
    from mistralrs.demo import model_path
    from mistralrs.server.app import build

    return build(AsyncRunner(Runner(Which.Plain(model_id=str(model_path())), pa_ctxt_len=4096)))


deployment = serve.deployment(
    name="mistralrs",
    num_replicas=REPLICAS,
    max_ongoing_requests=256,  # the engine batches them
    ray_actor_options={"num_cpus": 1},  # on GPUs: {"num_gpus": 1}
)
app = deployment(serve.ingress(application)()).bind()


def main() -> None:
    """Start the replicas, ask them, stop."""
    import ray
    from openai import OpenAI

    serve.start(http_options={"port": PORT})
    serve.run(app)
    client = OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key="none")
    question = [{"role": "user", "content": "What is 12 plus 7?"}]
    stream = client.chat.completions.create(model="default", messages=question, stream=True)
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
