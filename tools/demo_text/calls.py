"""Tool calls with arguments from the request, and answers from tool results."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from . import arithmetic, chat, words, world
from .base import Example, assistant, listed, some_system, user

NO_TOOL = "I am sorry, I have no tool for that."
LANGUAGES = listed("French German Spanish Italian Polish Japanese Greek Dutch")
VERBS = listed("open close start stop check clean paint lock count rate delete send print move")
NOUNS = listed("door lamp robot order ticket account file song room camera garden report window")


@dataclass(frozen=True)
class Slot:
    """One parameter: names it may have, its JSON type, and how to make a value."""

    names: tuple[str, ...]
    kind: str
    make: Callable[[random.Random], object]


@dataclass(frozen=True)
class Family:
    """Tools that do the same under many names."""

    names: tuple[str, ...]
    about: tuple[str, ...]
    slots: tuple[Slot, ...]
    asks: tuple[str, ...]
    result: Callable[[random.Random, list], object]
    answer: str


@dataclass(frozen=True)
class Use:
    """One tool with a request for it."""

    schema: dict
    ask: str
    call: dict
    result: object
    answer: str


def number(rng: random.Random) -> int:
    """Make a number argument."""
    return rng.randint(0, 30)


CITY = Slot(("city", "city", "city", "location"), "string", words.city)
TOPIC = Slot(("query", "query", "query", "topic"), "string", words.topic)
NAME = Slot(("name", "to", "person", "user", "recipient"), "string", words.person)
TEXT = Slot(("text", "message", "content", "body"), "string", words.topic)
MINUTES = Slot(("minutes", "duration", "length"), "integer", lambda rng: rng.randint(1, 60))
LANGUAGE = Slot(("language", "target", "lang"), "string", lambda rng: rng.choice(LANGUAGES))
FIRST = Slot(("a", "a", "x"), "number", number)
SECOND = Slot(("b", "b", "y"), "number", number)
SKY = listed("sunny cloudy rainy windy snowy foggy")
FAMILIES = (
    Family(
        ("get_weather", "weather", "get_current_weather", "weather_lookup", "fetchWeather"),
        ("Get the weather in a city", "Get the current weather", "Weather for a place"),
        (CITY,),
        ("What is the weather in {0}?", "How is the weather in {0}?", "Weather in {0}?",
         "What is the weather like in {0} today?", "Is it raining in {0}?",
         "Check the weather in {0}.", "Will it be sunny in {0}?"),
        lambda rng, _: f"{rng.choice(SKY)}, {rng.randint(-9, 39)} degrees",
        "The weather in {0} is {r}.",
    ),
    Family(
        ("get_time", "current_time", "clock", "time_in_city", "getTime"),
        ("Get the time in a city", "Tell the local time", "Current time at a place"),
        (CITY,),
        ("What time is it in {0}?", "What is the time in {0}?", "Tell me the time in {0}.",
         "How late is it in {0}?"),
        lambda rng, _: f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
        "The time in {0} is {r}.",
    ),
    Family(
        ("add", "add_numbers", "sum", "plus", "addition"),
        ("Add two numbers", "Return the sum of two numbers"),
        (FIRST, SECOND),
        ("What is {0} plus {1}?", "Add {0} and {1}.", "{0} + {1} = ?", "What is {0} + {1}?"),
        lambda rng, values: values[0] + values[1],
        "{0} plus {1} is {r}.",
    ),
    Family(
        ("multiply", "times", "mul", "multiply_numbers", "product"),
        ("Multiply two numbers", "Return the product of two numbers"),
        (FIRST, SECOND),
        ("What is {0} times {1}?", "Multiply {0} by {1}.", "{0} * {1} = ?", "What is {0} * {1}?"),
        lambda rng, values: values[0] * values[1],
        "{0} times {1} is {r}.",
    ),
    Family(
        ("search", "web_search", "search_web", "find", "lookup"),
        ("Search the web", "Search for information", "Look something up"),
        (TOPIC,),
        ("Search for {0}.", "Look up {0}.", "Search the web for {0}.", "Find news about {0}.",
         "What is new about {0}?"),
        lambda rng, _: f"{rng.randint(2, 99)} pages found",
        "I searched for {0}: {r}.",
    ),
    Family(
        ("send_message", "message", "send_email", "notify", "sendText"),
        ("Send a message", "Send a text to a person"),
        (NAME, TEXT),
        ("Send a message to {0} about {1}.", "Write to {0} about {1}.", "Tell {0} about {1}."),
        lambda rng, _: rng.choice(("sent", "delivered", "done")),
        "The message to {0} is {r}.",
    ),
    Family(
        ("set_timer", "timer", "start_timer", "countdown", "alarm"),
        ("Set a timer", "Start a timer in minutes"),
        (MINUTES,),
        ("Set a timer for {0} minutes.", "Start a timer of {0} minutes.",
         "Wake me in {0} minutes."),
        lambda rng, _: rng.choice(("started", "running", "set")),
        "The timer for {0} minutes is {r}.",
    ),
    Family(
        ("translate", "translate_text", "translation", "to_language"),
        ("Translate a text", "Translate text to a language"),
        (TEXT, LANGUAGE),
        ("Translate {0} to {1}.", "Translate {0} into {1}.", "How do you say {0} in {1}?"),
        lambda rng, _: words.made_up_word(rng),
        "In {1}, {0} is {r}.",
    ),
    Family(
        ("get_population", "population", "people_in_city", "count_people"),
        ("Get the population of a city", "How many people live in a place"),
        (CITY,),
        ("How many people live in {0}?", "What is the population of {0}?"),
        lambda rng, _: rng.randint(100, 99999),
        "{r} people live in {0}.",
    ),
)  # fmt: skip
IDENT = ("id", "name", "number", "code", "label", "target", "item")


def finished(rng: random.Random, _: list) -> str:
    """Make the result of a tool that only does something."""
    return rng.choice(("ok", "done", "finished"))


def made_up_family(rng: random.Random) -> Family:
    """Make a tool that no list names, such as paint_robot(label)."""
    verb, noun = rng.choice(VERBS), rng.choice(NOUNS)
    noun = words.made_up_word(rng) if rng.random() < 0.4 else noun
    joined = f"{verb}_{noun}" if rng.random() < 0.7 else f"{verb}{noun.capitalize()}"
    label = Slot(IDENT, "string", words.made_up_word)
    slot = label if rng.random() < 0.5 else Slot(IDENT, "integer", number)
    asks = (f"{verb.capitalize()} the {noun} {{0}}.", f"Please {verb} the {noun} {{0}}.")
    about = (f"{verb.capitalize()} a {noun}", f"{verb.capitalize()} the {noun}")
    answer = f"The {noun} {{0}}: {{r}}."
    return Family((joined,), about, (slot,), asks, finished, answer)


def property_schema(rng: random.Random, slot: Slot) -> dict:
    """Describe a parameter, sometimes with a description."""
    described = {"description": f"The {slot.names[0]}"} if rng.random() < 0.3 else {}
    return {"type": slot.kind, **described}


def schema(rng: random.Random, family: Family, names: list[str]) -> dict:
    """Write a tool in the form that chat APIs use."""
    pairs = zip(names, family.slots, strict=True)
    properties = {name: property_schema(rng, slot) for name, slot in pairs}
    parameters = {"type": "object", "properties": properties, "required": names}
    about = {"description": rng.choice(family.about)} if rng.random() < 0.9 else {}
    function = {"name": rng.choice(family.names), **about, "parameters": parameters}
    return {"type": "function", "function": function}


def polite(rng: random.Random, ask: str) -> str:
    """Vary a request but keep the spelling of its values."""
    style = rng.random()
    if style < 0.8:
        return ask
    if style < 0.9:
        return ask.rstrip("?.")
    return rng.choice(("Please: ", "Hi! ", "Hey, ")) + ask


def use(rng: random.Random, family: Family) -> Use:
    """Make a tool of the family with a request, its call, result and answer."""
    names = [rng.choice(slot.names) for slot in family.slots]
    values = [slot.make(rng) for slot in family.slots]
    tool = schema(rng, family, names)
    ask = polite(rng, rng.choice(family.asks).format(*values))
    arguments = dict(zip(names, values, strict=True))
    result = family.result(rng, values)
    call = {"name": tool["function"]["name"], "arguments": arguments}
    return Use(tool, ask, call, result, family.answer.format(*values, r=result))


def pick_families(rng: random.Random, count: int) -> list[Family]:
    """Choose different families, made-up ones among them."""
    chosen = rng.sample(FAMILIES, count)
    return [made_up_family(rng) if rng.random() < 0.1 else family for family in chosen]


def uses(rng: random.Random) -> list[Use]:
    """Make one to three different tools, each with a request."""
    return [use(rng, family) for family in pick_families(rng, rng.choice((1, 1, 2)))]


def shuffled_schemas(rng: random.Random, made: list[Use]) -> tuple[dict, ...]:
    """List the tools in random order."""
    return tuple(item.schema for item in rng.sample(made, len(made)))


def held_key(made: Use) -> str:
    """Name a tool call by tool and values; calculations are named as in plain arithmetic."""
    op = {" plus ": "+", " times ": "*"}
    for word, sign in op.items():
        if word in made.answer:
            return arithmetic.key(sign, *made.call["arguments"].values())
    return f"{made.call['name']} {list(made.call['arguments'].values())}"


def tool_call(rng: random.Random) -> Example:
    """Call the one tool that fits."""
    made = uses(rng)
    turns = (*some_system(rng, 0.2), user(made[0].ask))
    tools = shuffled_schemas(rng, made)
    return Example("tool calls", held_key(made[0]), turns, calls=(made[0].call,), tools=tools)


def missing_tool(rng: random.Random) -> Example:
    """Ask for something that none of the tools can do."""
    families = rng.sample(FAMILIES[:2] + FAMILIES[4:], rng.choice((1, 2, 3)))
    made = [use(rng, family) for family in families]
    turns, tools = (user(made[0].ask),), shuffled_schemas(rng, made[1:])
    return Example("no fitting tool", held_key(made[0]), turns, NO_TOOL, tools=tools)


def chat_with_tools(rng: random.Random) -> Example:
    """Chat although tools are there."""
    base = rng.choice((chat.small_talk, chat.package, chat.introduction, world.fact))(rng)
    tools = shuffled_schemas(rng, uses(rng))
    return Example("chat beside tools", base.key, base.messages, base.answer, tools=tools)


def result_text(rng: random.Random, result: object) -> str:
    """Write a tool result bare or as a small JSON object."""
    if rng.random() < 0.5:
        return str(result)
    return json.dumps({rng.choice(("result", "value", "output", "status")): result})


def exchange(rng: random.Random, made: Use) -> tuple[dict, ...]:
    """Write a request, its tool call and the result of the tool."""
    call = {"id": "call_0", "type": "function", "function": made.call}
    text = result_text(rng, made.result)
    asked = {**assistant(""), "tool_calls": [call]}
    return (user(made.ask), asked, {"role": "tool", "content": text})


def tool_result(rng: random.Random) -> Example:
    """Turn the result of a tool into an answer."""
    made = uses(rng)
    turns, answer = exchange(rng, made[0]), made[0].answer
    if rng.random() < 0.08:
        failure = {"role": "tool", "content": json.dumps({"error": "not found"})}
        turns, answer = (*turns[:2], failure), "The tool reported an error: not found."
    tools = shuffled_schemas(rng, made)
    return Example("tool results", held_key(made[0]), turns, answer, tools=tools)
