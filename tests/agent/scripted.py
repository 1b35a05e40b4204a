"""A model that says what it is told to say, whole or in chunks, and remembers what it was asked."""

from dataclasses import replace

from mistralrs import (
    CalledFunction,
    ChatCompletionChunkResponse,
    ChatCompletionResponse,
    Choice,
    ChunkChoice,
    Delta,
    ResponseMessage,
    ToolCallResponse,
    ToolCallType,
    Usage,
)

USAGE = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)


def call(name: str, arguments: str = "{}", index: int = 0, id: str = "") -> ToolCallResponse:
    return ToolCallResponse(
        id=id or f"call-{name}-{index}",
        type=ToolCallType.Function,
        function=CalledFunction(name=name, arguments=arguments),
        index=index,
    )


class Script:
    """Each turn is a text, a list of calls, (text, calls) or (text, calls, finish). The last one is said for ever."""

    def __init__(self, *turns):
        self.turns, self.asked, self.canceled, self.timeouts = list(turns), [], 0, []

    def __call__(self, request, timeout):
        said = self.turns[min(len(self.asked), len(self.turns) - 1)]
        self.asked.append(request)
        self.timeouts.append(timeout)
        text, calls, *finish = said if isinstance(said, tuple) else (said, [])
        if isinstance(said, list):
            text, calls = "", said
        return Turn(self, text, calls, str(len(self.asked)), *finish)


def pieces(one: ToolCallResponse) -> list[ToolCallResponse]:
    """A call as a stream has it: its name first, then its arguments without a name and an id."""
    begin = replace(one, function=replace(one.function, arguments=""))
    rest = [CalledFunction(name="", arguments=part) for part in one.function.arguments]
    return [begin, *(replace(one, id="", function=part) for part in rest)]


class Turn:
    def __init__(self, script, text, calls, id, finish=None):
        self.script, self.text, self.calls, self.id = script, text, calls, id
        self.finish = finish or ("tool_calls" if calls else "stop")

    def whole(self):
        message = ResponseMessage(content=self.text or None, tool_calls=self.calls or None)
        choice = Choice(finish_reason=self.finish, index=0, message=message)
        return ChatCompletionResponse(self.id, [choice], 1, "m", usage=USAGE)

    def chunks(self):
        for character in self.text:
            yield self.chunk(Delta(content=character))
        for one in self.calls:
            for piece in pieces(one):
                yield self.chunk(Delta(tool_calls=[piece]))
        yield self.chunk(Delta(), self.finish, USAGE)

    def chunk(self, delta, finish=None, usage=None):
        choice = ChunkChoice(finish_reason=finish, index=0, delta=delta)
        return ChatCompletionChunkResponse(self.id, [choice], 1, "m", usage=usage)

    async def whole_async(self):
        return self.whole()

    async def chunks_async(self):
        for chunk in self.chunks():
            yield chunk

    def cancel(self):
        self.script.canceled += 1
