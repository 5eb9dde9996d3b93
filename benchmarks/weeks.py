"""Own implementations beside the libraries', for every week that has an instructor/benchmark.py (`make bench`).

    python benchmarks/weeks.py          # all weeks
    python benchmarks/weeks.py 1 8      # only these

Ratios, not seconds, are what to compare: over 1 means that the course's code is faster than the library's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from lsdl.author.course import find_week, find_weeks


def main() -> None:
    """Run each benchmark in a process of its own; exit code 1 if one fails, because ours and the library's differ."""
    parser = argparse.ArgumentParser(description="Own implementations beside the libraries'.")
    parser.add_argument("weeks", nargs="*", help="numbers or names of weeks (default: all)")
    weeks = [find_week(name) for name in parser.parse_args().weeks] or find_weeks()
    failed = []
    for week in weeks:
        script = week / "instructor" / "benchmark.py"
        if script.is_file():
            print(f"\n{week.name}", flush=True)
            if subprocess.run([sys.executable, str(script)], cwd=week.parent).returncode:
                failed.append(week.name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
