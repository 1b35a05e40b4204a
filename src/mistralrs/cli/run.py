"""`mistralrs run`: the command. What it does is in start.py, session.py and chat.py."""

import click

from mistralrs.cli.options import (
    KINDS,
    GlobalOptions,
    ModelOptions,
    RuntimeOptions,
    SamplingOptions,
    takes,
)


@click.command(context_settings={"show_default": True})
@click.argument("kind", type=click.Choice(KINDS), default="auto", metavar="[KIND]")
@click.option("-i", "--input", "text", help="Answer this and exit; without it, converse.")
@click.option(
    "--image", "images", multiple=True, help="File or URL that the first message shows; repeatable."
)
@click.option(
    "--audio", "sounds", multiple=True, help="File or URL that the first message plays; repeatable."
)
@click.option(
    "--video", "videos", multiple=True, help="File or URL of a video, likewise; repeatable."
)
@takes(ModelOptions, RuntimeOptions, SamplingOptions, GlobalOptions)
def run(
    model: ModelOptions,
    runtime: RuntimeOptions,
    sampling: SamplingOptions,
    everywhere: GlobalOptions,
    kind: str,
    text: str | None,
    images: tuple[str, ...],
    sounds: tuple[str, ...],
    videos: tuple[str, ...],
) -> None:
    """Talk to a model, or get one answer with -i.

    KIND is auto, text, vision, diffusion, speech or embedding.

    Sampling settings that you leave out come from the model's
    generation_config.json: greedy where it does not sample, else its
    temperature, top-p and top-k. Only the answer is written to stdout;
    reasoning is shown in grey, on a terminal only.
    """
    from mistralrs.cli.session import Talk, new_chat  # here, so that --help is quick
    from mistralrs.cli.start import named_model, refuse_silent, start, usage, which
    from mistralrs.cli.suggest import find, read

    with usage():
        refuse_silent(which(kind, model))
        chat = new_chat(sampling, image=images, audio=sounds, video=videos)
        chat.finds_media = kind == "vision"
        talk = Talk(chat, everywhere.log)
    with start(kind, model, runtime, everywhere) as runner:
        chat.suggest(read(find(named_model(model), model.hf_cache)))
        talk.serve(runner, text)
