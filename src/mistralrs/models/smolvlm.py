"""SmolVLM 2: Idefics 3 under another name."""

from mistralrs.models import idefics3


class SmolVLM(idefics3.Idefics3):
    pass
