"""``python -m bench.speed``."""

from bench.basics.allocator import keep_temporaries

if __name__ == "__main__":
    keep_temporaries()  # as a run does, before PyTorch is loaded
    from bench.speed.measuring import main

    main()
