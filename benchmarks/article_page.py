"""Write the page that sets the article's tables beside recorded results.

    python benchmarks/article_page.py --trace docs/raw/article-h200.json --results docs/raw/article-h200.json \\
        --out docs/article.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pytest_gpuperf import baselines
from pytest_gpuperf.report import article

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Read what was recorded, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, action="append", default=[], help="results.json (repeatable)")
    parser.add_argument("--trace", type=Path, help="rows of where the time goes")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    published = {
        server.name: [
            entry for path in sorted(server.glob("*.json")) for entry in baselines.read(path).entries.values()
        ]
        for server in sorted((ROOT / "baselines").iterdir())
    }
    cases = [case for path in arguments.results for case in json.loads(path.read_text())["cases"]]
    splits = json.loads(arguments.trace.read_text())["splits"] if arguments.trace else []
    arguments.out.write_text(article.render(published, cases, splits))


if __name__ == "__main__":
    main()
