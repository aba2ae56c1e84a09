"""From what was typed to a request: numbers, folders, the methods asked for; and the console that answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.basics.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from bench.planning.plan import Request

_MOST = 2**63 - 1  # what Parquet files hold
_MOST_AT_ONCE = 10_000


def console() -> Any:
    from bench.cli.paper import Paper

    # Not $COLUMNS in a pipe: it is that of some terminal, and names that are searched for would be folded.
    return Paper(width=None if sys.stdout.isatty() else 160, highlight=False)


def say(text: str) -> None:
    """A line for people, never folded: names in it are searched for and copied."""
    console().print(text, markup=False, soft_wrap=True)


def warn(problems: Sequence[str]) -> None:
    """Damaged files never hide other runs, and are never hidden."""
    for problem in problems:
        sys.stderr.write(f"warning: {problem}\n")


def there(data_dir: Path | None) -> Path | None:
    """A typing error in the folder of the raw data must not go unseen where a dataset is prepared already."""
    if data_dir is not None and any("\ud800" <= letter <= "\udfff" for letter in str(data_dir)):
        raise BenchError(f"--data-dir {str(data_dir)!a} is not in UTF-8; rename that folder")
    if data_dir is not None and not data_dir.is_dir():
        raise BenchError(f"--data-dir {data_dir} (or $BENCH_DATA) is not a folder")
    return data_dir


def numbers(text: str | None, flag: str, example: str) -> tuple[int, ...] | None:
    """``0,2-4`` -> (0, 2, 3, 4), each once. BenchError for anything else, and for more than 10,000 of them."""
    if text is None:
        return None
    found: dict[int, None] = {}
    for part in (part.strip() for part in text.split(",")):
        read = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", part)
        first, last = (int(read[1]), int(read[2] or read[1])) if read else (1, 0)
        if part and (not first <= last <= _MOST):
            raise BenchError(
                f"{flag} takes whole numbers from 0 to {_MOST}, for example {flag} {example}, not {text!r}"
            )
        if last - first + len(found) >= _MOST_AT_ONCE:
            raise BenchError(f"{flag} {text} are more than {_MOST_AT_ONCE} numbers; give fewer in one command")
        found |= dict.fromkeys(range(first, last + 1))
    if not found:
        raise BenchError(f"{flag} takes whole numbers from 0 to {_MOST}, for example {flag} {example}, not {text!r}")
    return tuple(found)


def sorted_out(words: Sequence[str] | None, option: str | None = None) -> tuple[str | None, list[str]]:
    """What was typed without an option -> (methods, joined by commas with those of ``--methods``; settings).

    A word is a setting where there is an equals sign in it, or a sign that Hydra knows in front of it. BenchError for a
    word that is no method but the name of something else, which has an option of its own.
    """
    settings = [word for word in words or () if "=" in word or word.startswith(("~", "+"))]
    named = [word for word in words or () if word not in settings]
    for word in (one.strip() for text in named for one in text.split(",")):
        _check_method(word)
    texts = [text for text in (*named, option) if text is not None]
    return ",".join(texts) if texts else None, settings


def _check_method(word: str) -> None:
    from bench.planning import catalogue
    from bench.planning.overrides import FLAGS

    if not word or any(mark in word for mark in "*?[") or word in catalogue.options("method"):
        return
    if word in catalogue.variants():
        return
    for group in (*catalogue.groups(), "experiment"):
        if group != "method" and word in catalogue.options(group):
            flag = FLAGS.get(group, f"--{group}") if group in (*FLAGS, "experiment") else None
            article = "an" if group[0] in "aeiou" else "a"
            raise BenchError(
                f"{word!r} is {article} {group} and no method; say {f'{flag} {word}' if flag else f'{group}={word}'}"
            )


def one_of(word: str, known: Sequence[str], flag: str) -> str:
    """BenchError, with a suggestion, unless the word is known."""
    if word not in known:
        raise BenchError(f"{flag} {word!r} is none of {', '.join(known)}.{did_you_mean(word, known)}")
    return word


def request(
    methods: str | None,
    dataset: str | None,
    shots: str | None,
    seeds: str,
    budget: str | None,
    experiment: str | None,
    references: bool,
    data_dir: Path | None,
    out: Path,
    overrides: list[str] | None,
    device: str = "auto",
    time_limit: float | None = None,
    example: str = "bench run lasium umtra",
    ways: str | None = None,
    rerun: bool = False,
) -> Request:
    from bench.planning.plan import Request

    if methods is None and experiment is None:
        raise BenchError(f"nothing to run: name methods, for example '{example}', or give --experiment")
    return Request(
        methods=methods,
        dataset=dataset,
        ways=numbers(ways, "--ways", "5,20"),
        shots=numbers(shots, "--shots", "1,5"),
        seeds=numbers(seeds, "--seeds", "0,1,2 or 0-2") or (0,),
        budget=budget,
        overrides=tuple(overrides or ()),
        experiment=experiment,
        references=references,
        data_dir=str(folder) if (folder := there(data_dir)) is not None else None,
        out=out,
        device=device,
        time_limit=time_limit,
        rerun=rerun,
    )
