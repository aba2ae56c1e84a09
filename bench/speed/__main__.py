"""``python -m bench.speed``."""

from bench.speed.measuring import main

if __name__ == "__main__":
    main()
