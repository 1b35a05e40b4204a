"""How much do several requests at once get done? New tokens per second of all together, prompts included.

python bench/parallel.py [MODEL] [--dtype bf16] [--batch 8] [--prompt 128] [--new 64]
"""

from peers import Ours, Theirs, arguments, both, compare, prompts, report

if __name__ == "__main__":
    args = arguments(__doc__, batch=8, prompt=128, new=64)
    pair = both(args)

    def speed(peer: Ours | Theirs, i: int) -> float:
        texts = prompts(pair[1], args.prompt, args.batch, seed=i)
        return args.batch * args.new / peer.run(texts, args.new).wall

    row = compare(f"{args.batch} x {args.prompt} + {args.new}", pair, args.rounds, speed)
    report(args, "requests at once, tokens/s", [row])
