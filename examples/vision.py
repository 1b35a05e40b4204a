"""Ask a model about pictures: python examples/vision.py MODEL PICTURE [PICTURE ...]"""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which

if len(sys.argv) < 3:
    sys.exit(__doc__)
model, *pictures = sys.argv[1:]

runner = Runner(which=Which.VisionPlain(model_id=model))
parts = [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What do you see?"}]}]
answer = runner.send_chat_completion_request(ChatCompletionRequest(messages, max_tokens=100))
print(answer.choices[0].message.content)

# The pictures are neither decoded nor encoded again for the next question.
messages.append({"role": "assistant", "content": answer.choices[0].message.content})
messages.append({"role": "user", "content": "Which colors are in it?"})
answer = runner.send_chat_completion_request(ChatCompletionRequest(messages, max_tokens=100))
print(answer.choices[0].message.content)
print(answer.usage.prompt_tokens_details)
