"""Random numbers without state: Philox4x32-10 (Salmon et al., SC 2011)."""

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio, sqrt(3) - 1
ROUNDS = 10


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Scramble four 32-bit words under a key of two."""
    a, b, c, d = counter
    left, right = key
    for _ in range(ROUNDS):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b = (second >> 32) ^ b ^ left, second & WORD
        c, d = (first >> 32) ^ d ^ right, first & WORD
        left, right = (left + WEYL[0]) & WORD, (right + WEYL[1]) & WORD
    return a, b, c, d


def uniform(seed: int, choice: int, position: int) -> float:
    """Return the number in [0, 1), of 53 bits, for token `position` of continuation `choice`.

    Seeds are taken modulo 2**64, choices modulo 2**64, positions modulo 2**32.
    """
    counter = (position & WORD, choice & WORD, choice >> 32 & WORD, 0)
    high, low, *_ = philox(counter, (seed & WORD, seed >> 32 & WORD))
    return ((high << 32 | low) >> 11) * 2.0**-53
