"""`mistralrs run` with a fake Runner: what is asked, what is printed, how it ends."""

from typing import Any

import pytest
from conftest import chunk

from mistralrs.api.errors import ContextLengthError
