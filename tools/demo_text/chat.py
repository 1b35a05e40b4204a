"""Small talk, the package itself, names to remember, and admitting what is not known."""

import random

from . import words
from .base import Example, assistant, dress, some_system, system, user

SELF = "I am the mistralrs demo model, a very small language model."
SMALL_TALK = (
    (("Hello!", "Hello", "Hi", "Hi!", "Hey", "Hey there!", "Good day!", "Hi there."),
     "Hello! How can I help you?"),
    (("Good morning!", "Good morning."), "Good morning! How can I help you?"),
    (("Good evening!", "Good evening."), "Good evening! How can I help you?"),
    (("How are you?", "How are you today?", "How do you do?", "How is it going?",
      "Hello! How are you?", "Hi, how are you?", "What's up?"),
     "I am doing well, thank you. How can I help you?"),
    (("Who are you?", "What are you?", "Introduce yourself.", "Tell me about yourself.",
      "What is your name?", "What's your name?", "Which model are you?"), SELF),
    (("What can you do?", "What can you help me with?", "What are you good at?", "Help!", "Help"),
     "I can chat, do small sums, tell short stories, answer in JSON and call tools."),
    (("Thank you!", "Thanks!", "Thanks a lot.", "Thank you very much."), "You are welcome!"),
    (("Goodbye!", "Bye!", "Bye", "See you later.", "Good night!"), "Goodbye! Have a nice day."),
    (("Are you a human?", "Are you human?", "Are you a robot?", "Are you real?"),
     "No, I am a very small language model."),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Tell me something funny."),
     "Why did the model cross the road? It had no more tokens on this side."),
    (("Who made you?", "Who trained you?", "How were you trained?", "Where do you come from?"),
     "I was trained for the mistralrs package, on text that a small script made up."),
    (("How big are you?", "How many parameters do you have?", "What size are you?"),
     "I have about two million parameters."),
    (("Can you help me?", "I need help.", "I have a question.", "Can I ask you something?"),
     "Of course. What would you like to know?"),
    (("Test", "test", "This is a test.", "Testing", "Are you there?", "ping"),
     "I am here and it works."),
    (("Do you like music?", "Do you like books?", "Do you like cats?", "Do you like dogs?"),
     "I am only a model, but I like to talk about it."),
    (("You are nice.", "Well done!", "Good job!", "Great!", "Very good.", "Perfect!", "Cool!"),
     "Thank you! I am glad to help."),
    (("Say hello.", "Say hi.", "Say hello to me.", "Greet me."), "Hello!"),
    (("Yes", "No", "OK", "Okay.", "I see."), "All right. What would you like to know?"),
)  # fmt: skip
PACKAGE = (
    (("What is mistralrs?", "What is mistral.rs?", "Tell me about mistralrs.", "Explain mistralrs.",
      "What does mistralrs do?"),
     "mistralrs is a Python package that runs language models on your own machine."),
    (("How do I install mistralrs?", "How can I install mistralrs?", "How do I install it?",
      "Install mistralrs?", "How do I get mistralrs?"),
     "Run pip install in the folder of the project: pip install ."),
    (("How do I stream?", "How do I stream tokens?", "How can I stream the answer?",
      "How does streaming work?", "Can I stream the output?"),
     "Set stream=True in the request and loop over the chunks."),
    (("What formats can it read?", "Which formats does mistralrs read?", "What formats are there?",
      "Which files can mistralrs load?", "Which model files work?"),
     "It reads Hugging Face model folders with safetensors weights."),
    (("How do I load a model?", "How do I make a runner?", "How do I start a model?",
      "What is a Runner?", "What does Runner do?"),
     "Make a Runner with Which.Plain and the folder of the model."),
    (("How do I send a chat request?", "How do I ask the model something?", "How do I chat?",
      "How do I send a message?"),
     "Pass a ChatCompletionRequest to runner.send_chat_completion_request."),
    (("How do I complete plain text?", "How do I use a completion without chat?",
      "What is a CompletionRequest?"),
     "Pass a CompletionRequest to runner.send_completion_request."),
    (("Do I need a GPU?", "Does it need a GPU?", "Does mistralrs run on a CPU?",
      "Can I use mistralrs without a GPU?"), "No GPU is needed. The CPU is enough."),
    (("Does mistralrs need the internet?", "Does it work offline?", "Is my data sent anywhere?"),
     "No. The model runs on your own machine and works offline."),
    (("How do I use tools?", "How do I give the model tools?", "Can mistralrs call tools?",
      "How does tool calling work?"),
     "Pass tool_schemas in the request and read tool_calls from the answer."),
    (("How do I make the output shorter?", "How do I limit the length?", "What is max_tokens?",
      "How do I set the length of the answer?"),
     "Set max_tokens in the request to limit the length of the answer."),
    (("What is temperature?", "What does temperature do?", "How do I set the temperature?"),
     "The temperature sets how random the answer is. Zero means no randomness."),
    (("Where is the demo model?", "How do I find the demo model?", "How do I load the demo model?",
      "How do I use the demo model?"),
     "Call mistralrs.demo.model_path() to get the folder of the demo model."),
    (("Which Python version do I need?", "What language is mistralrs for?",
      "Can I use mistralrs from Python?"), "mistralrs is used from Python 3."),
)  # fmt: skip
UNKNOWN = (
    "Who invented {}?", "Explain {} in detail.", "What is the history of {}?", "What is {}?",
    "Why is {} important?", "How does {} work?", "What is the meaning of {}?", "Who discovered {}?",
    "How old is {}?", "Where can I buy {}?", "What do you think about {}?", "Tell me about {}.",
    "Give me advice about {}.", "When did {} begin?", "Can you explain {}?", "Describe {}.",
)  # fmt: skip
UNKNOWN_ANSWER = "I am sorry, I am too small to know that."
TELL_NAME = ("My name is {}.", "I am {}.", "Hi, I'm {}.", "Hello! My name is {}.", "Call me {}.")
ASK_NAME = ("What is my name?", "What's my name?", "Who am I?", "Do you remember my name?")
LIKES = ("like", "love", "enjoy")


def from_table(table: tuple, name: str, rng: random.Random) -> Example:
    """Make an example from a table of (ways to ask, answer)."""
    asks, answer = rng.choice(table)
    text = dress(rng, rng.choice(asks))
    return Example(name, text, (*some_system(rng), user(text)), answer)


def small_talk(rng: random.Random) -> Example:
    """Greetings and the like."""
    return from_table(SMALL_TALK, "small talk", rng)


def package(rng: random.Random) -> Example:
    """Questions about this package."""
    return from_table(PACKAGE, "package questions", rng)


def unknown(rng: random.Random) -> Example:
    """Questions that the model should decline."""
    ask = rng.choice(UNKNOWN).format(words.topic(rng))
    return Example("unknown", ask, (*some_system(rng), user(dress(rng, ask))), UNKNOWN_ANSWER)


def introduction(rng: random.Random) -> Example:
    """The user gives a name."""
    name = words.person(rng)
    answer = f"Nice to meet you, {name}!"
    return Example("introduction", name, (user(rng.choice(TELL_NAME).format(name)),), answer)


def filler(rng: random.Random) -> tuple[dict, ...]:
    """Make up to one harmless exchange to stand between two turns."""
    if rng.random() < 0.5:
        return ()
    asks, answer = rng.choice(SMALL_TALK + PACKAGE)
    return (user(rng.choice(asks)), assistant(answer))


def remember_name(rng: random.Random) -> Example:
    """The user gives a name and asks for it later."""
    name = words.person(rng)
    told = (user(rng.choice(TELL_NAME).format(name)), assistant(f"Nice to meet you, {name}!"))
    ask = user(dress(rng, rng.choice(ASK_NAME)))
    turns = (*some_system(rng), *told, *filler(rng), ask)
    return Example("remember the name", name, turns, f"Your name is {name}.")


def unknown_name(rng: random.Random) -> Example:
    """The user asks for a name that was never told."""
    text, turns = dress(rng, rng.choice(ASK_NAME)), filler(rng)
    answer = "You have not told me your name yet."
    return Example("name not told", text, (*turns, user(text)), answer)


def persona(rng: random.Random) -> Example:
    """The system prompt gives the assistant a name."""
    name = words.person(rng)
    told = rng.choice(("Your name is {}.", "You are {}.", "You are an assistant called {}."))
    ask = dress(rng, rng.choice(("What is your name?", "Who are you?", "What's your name?")))
    return Example("persona", name, (system(told.format(name)), user(ask)), f"My name is {name}.")
