"""The hub's Phi 4 multimodal: other names, and adapters."""

from tests.models.media.phi4_multimodal import Adapted, case

CASES = {"images": case(Adapted, "image"), "sounds": case(Adapted, "audio")}
