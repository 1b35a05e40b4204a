"""How fast does one request write? Tokens per second after a prompt, mistralrs beside transformers.

python bench/decode.py [MODEL] [--dtype bf16] [--prompt 32 512] [--new 64]
"""

from peers import Ours, Theirs, arguments, both, compare, prompts, report

if __name__ == "__main__":
    args = arguments(__doc__, prompt=[32, 512], new=64)
    pair, rows = both(args), []
    for length in args.prompt:
        texts = prompts(pair[1], length, args.rounds + 1, seed=length)

        def speed(peer: Ours | Theirs, i: int, texts: list[str] = texts) -> float:
            return (args.new - 1) / peer.run([texts[i]], args.new).decode

        rows.append(compare(f"after {length} tokens", pair, args.rounds, speed))
    report(args, "decode, tokens/s", rows)
