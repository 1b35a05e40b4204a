"""How fast is a prompt read? Its tokens divided by the seconds until the first new one, beside transformers.

python bench/prefill.py [MODEL] [--dtype bf16] [--prompt 128 512 2048]
"""

from peers import Ours, Theirs, arguments, both, compare, prompts, report

if __name__ == "__main__":
    args = arguments(__doc__, prompt=[128, 512, 2048])
    pair, rows = both(args), []
    longest = pair[0].runner.max_sequence_length() - 8
    for length in args.prompt:
        texts = prompts(pair[1], min(length, longest), args.rounds + 1, seed=length)

        def speed(peer: Ours | Theirs, i: int, texts: list[str] = texts) -> float:
            return pair[1].count(texts[i]) / peer.run([texts[i]], 1).wall

        rows.append(compare(f"{length} tokens", pair, args.rounds, speed))
    report(args, "prefill, tokens/s", rows)
