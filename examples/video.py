"""Ask a model about a video: python examples/video.py MODEL VIDEO"""

import sys

from mistralrs import ChatCompletionRequest, Runner, Which

if len(sys.argv) != 3:
    sys.exit(__doc__)
model, video = sys.argv[1:]

runner = Runner(which=Which.VisionPlain(model_id=model, max_edge=448))
parts = [
    {"type": "video_url", "video_url": {"url": video, "fps": 1}},  # one frame of each second
    {"type": "text", "text": "What happens in this video?"},
]
request = ChatCompletionRequest([{"role": "user", "content": parts}], max_tokens=200)
answer = runner.send_chat_completion_request(request)
print(answer.choices[0].message.content)
print(answer.usage)
