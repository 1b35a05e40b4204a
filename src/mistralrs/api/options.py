"""Small option objects: limits for automatic device mapping, and web search."""

from dataclasses import dataclass, field

from mistralrs.api import check
from mistralrs.api.enums import SearchContextSize
from mistralrs.api.strict import strict

_AUTO_MAP = dict.fromkeys(
    ("max_seq_len", "max_batch_size", "max_num_images", "max_image_length"), check.count(1)
)


@strict
@dataclass(frozen=True)
class TextAutoMapParams:
    """What automatic device mapping reserves memory for; not a limit on requests."""

    max_seq_len: int = 4096
    max_batch_size: int = 1

    def __post_init__(self) -> None:
        check.apply(self, _AUTO_MAP)


@strict
@dataclass(frozen=True)
class VisionAutoMapParams:
    """What automatic device mapping reserves memory for, with images; not a limit on requests."""

    max_seq_len: int = 4096
    max_batch_size: int = 1
    max_num_images: int = 1
    max_image_length: int = 1024  # pixels of the longer edge

    def __post_init__(self) -> None:
        check.apply(self, _AUTO_MAP)


MultimodalAutoMapParams = VisionAutoMapParams


@strict
@dataclass(frozen=True)
class ApproximateUserLocation:
    """Where the user is, roughly; `timezone` is an IANA name such as Europe/Paris."""

    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        check.apply(self, dict.fromkeys(("city", "country", "region", "timezone"), check.text))


@strict
@dataclass(frozen=True)
class WebSearchUserLocation:
    """A user location of the only kind there is, "approximate"."""

    type: str = "approximate"
    approximate: ApproximateUserLocation = field(default_factory=ApproximateUserLocation)

    def __post_init__(self) -> None:
        approximate = check.instance(ApproximateUserLocation)
        check.apply(self, {"type": check.one_of("approximate"), "approximate": approximate})


@strict
@dataclass(frozen=True)
class WebSearchOptions:
    """Turns web search on for one request."""

    search_context_size: SearchContextSize | None = None  # None acts as Medium
    user_location: WebSearchUserLocation | None = None
    search_description: str | None = None  # replaces the description of the search tool
    extract_description: str | None = None  # replaces the description of the page reading tool

    def __post_init__(self) -> None:
        check.apply(self, _WEB_SEARCH)


_WEB_SEARCH: dict[str, check.Check] = {
    "search_context_size": check.choice(SearchContextSize),
    "user_location": check.instance(WebSearchUserLocation),
    "search_description": check.text,
    "extract_description": check.text,
}
