"""SmolVLM 2, whose processor is that of Idefics 3 as far as images go."""

from tests.models.media.idefics3 import case

CASES = {"": case(112, "SmolVLM")}
