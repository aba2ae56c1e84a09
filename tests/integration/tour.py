"""Runs the cells of a notebook without Jupyter. ``python tests/integration/tour.py`` writes the tour's outputs anew.

A cell's output is what it prints, the value of its last line, and the figure that it shows.
"""

import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOUR = Path(__file__).parents[2] / "reports" / "tour.ipynb"


def executed(path: Path, folder: Path, environment: dict[str, str] | None = None) -> list[list[dict]]:
    """The outputs of every code cell, run one after the other in one new process, in ``folder``."""
    inherited = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **(environment or {})}
    command = [sys.executable, str(Path(__file__).resolve()), str(path)]
    done = subprocess.run(command, cwd=folder, env=inherited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def code(path: Path) -> list[dict]:
    """Its cells of code."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def text(outputs: list[dict]) -> str:
    """What of a cell's outputs can be read."""
    return "".join("".join(one.get("text", one.get("data", {}).get("text/plain", ""))) for one in outputs)


def _run(source: str, names: dict) -> list[dict]:
    tree, printed, shown = ast.parse(source), io.StringIO(), []
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last is not None else None
    outputs = []
    if printed.getvalue():
        outputs.append(
            {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
        )
    if "matplotlib.pyplot" in sys.modules:
        plt = sys.modules["matplotlib.pyplot"]
        for number in plt.get_fignums():
            png = io.BytesIO()
            plt.figure(number).savefig(png, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
            shown.append(base64.b64encode(png.getvalue()).decode())
        plt.close("all")
    outputs += [{"output_type": "display_data", "metadata": {}, "data": {"image/png": one}} for one in shown]
    if value is not None:
        plain = value.to_string() if hasattr(value, "to_string") else repr(value)
        data = {"text/plain": plain.splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        outputs.append({"output_type": "execute_result", "metadata": {}, "execution_count": None, "data": data})
    return outputs


def _write(path: Path) -> None:
    notebook = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        outputs = executed(path, Path(folder))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, found) in enumerate(zip(cells, outputs, strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = [one | {"execution_count": number} if "execution_count" in one else one for one in found]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _write(TOUR)
    else:
        sys.path[0] = ""
        space: dict = {"__name__": "__main__"}
        found = [_run("".join(cell["source"]), space) for cell in code(Path(sys.argv[1]))]
        sys.stdout.write("\n" + json.dumps(found) + "\n")
