"""Ask a model about sounds: python examples/audio.py MODEL SOUND [SOUND ...]"""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which

if len(sys.argv) < 3:
    sys.exit(__doc__)
model, *sounds = sys.argv[1:]

runner = Runner(which=Which.VisionPlain(model_id=model))
parts = [{"type": "audio_url", "audio_url": {"url": sound}} for sound in sounds]
messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is said here?"}]}]
answer = runner.send_chat_completion_request(ChatCompletionRequest(messages, max_tokens=100))
print(answer.choices[0].message.content)
print(answer.usage)
