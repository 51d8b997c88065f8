"""Times two programs that do the same work, side by side, on the cores granted.

Both sides run once as warm-up (page cache, byte code), then in turns: ours, peer, ours, peer, … so that whatever else the
machine does meets both. Quoted are medians; every single run is kept in the result.

Memory is observed in runs of their own, because looking costs time: the proportional set size (PSS) of the whole process
tree is summed every few milliseconds, so that pages shared by the workers of a pool count once.

Only the standard library is used: what this process maps itself must not count for anybody.
"""
import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
WORK = ROOT / "runs" / "bench"
BIN = ROOT / "target" / "release"
POLL_SECONDS = 0.01
MIB = 1 << 20


def shared(part):
    """A part of the shared directory (GTGM_SHARED, by default beside the repository); ends with 2 when it is absent."""
    root = pathlib.Path(os.environ.get("GTGM_SHARED", ROOT.parent / "shared")).resolve()
    path = root / part
    if not path.exists():
        stop(f"{path} is absent. Set GTGM_SHARED to the directory that holds it.")
    return path


def stop(text):
    """Says why there is nothing to measure, and ends with an error code."""
    print(f"bench: {text}", file=sys.stderr)
    raise SystemExit(2)


def cores():
    """Cores granted, by the rule of our programs: SLURM_CPUS_PER_TASK, else affinity."""
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "").split("(")[0]
    return int(slurm) if slurm.isdigit() and int(slurm) > 0 else len(os.sched_getaffinity(0))


def environment(**more):
    """This environment with every library's threads limited to the cores granted."""
    names = ["OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"]
    limits = {f"{name}_NUM_THREADS": str(cores()) for name in names}
    limits["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(cores())
    return {**os.environ, **limits, **{key: str(value) for key, value in more.items()}}


def shown(command):
    """A command as results keep it: paths from the repository's root, no name of a machine."""
    words = " ".join(str(word) for word in command)
    return words.replace(f"{BIN}/", "").replace(str(ROOT), ".").replace(str(ROOT.parent), "..")


# --- one run ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    """One execution: wall seconds, processor seconds of the tree, peak memory in bytes if observed, standard output."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    output: str
    inner_seconds: float | None = None

    @property
    def clock(self):
        """The peer's own clock where it has one (start-up and imports left out), else the whole process."""
        return self.seconds if self.inner_seconds is None else self.inner_seconds


def run(command, env=None, observe=False, ok=(0,)):
    """Runs a command to its end; ends the benchmark with its last lines when it fails."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env or environment())
        peak = _observe(process.pid) if observe else None
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    if process.returncode not in ok:
        tail = "\n".join((texts[0] + texts[1]).splitlines()[-15:])
        stop(f"this ended with {process.returncode}: {shlex.join(command)[:300]}\n{tail}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak, texts[0])


def _observe(pid):
    """Peak memory of the process tree until its root ends: the largest sum of PSS, or one process's own high-water mark
    where a short peak fell between two looks."""
    peak = 0
    while not _ended(pid):
        looked = time.perf_counter()
        total = 0
        for member in _tree(pid):
            total += _field(f"/proc/{member}/smaps_rollup", "Pss:")
            peak = max(peak, _field(f"/proc/{member}/status", "VmHWM:"))
        peak = max(peak, total)
        # the kernel walks all pages of a large process: looking takes a tenth of the time at most
        time.sleep(max(POLL_SECONDS, 9 * (time.perf_counter() - looked)))
    return peak * 1024


def _ended(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tree(pid):
    found, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        found.append(member)
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                with open(f"/proc/{member}/task/{task}/children") as file:
                    waiting.extend(int(child) for child in file.read().split())
        except OSError:
            pass  # it ended between two looks
    return found


def _field(path, key):
    """A field in KiB; 0 once the process is gone."""
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(key):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


@contextlib.contextmanager
def scratch(room):
    """A new folder below `room` for what a run writes: gone with its block, because runs leave gigabytes."""
    room.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=room, prefix="run-") as folder:
        yield pathlib.Path(folder)


# --- two sides --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Side:
    """A program: `start(observe)` prepares what is not timed (an empty output), runs it and returns its `Run`."""

    name: str
    start: object
    command: str
    runs: list = dataclasses.field(default_factory=list)
    peak_bytes: int = 0

    def record(self, items):
        clock, whole = [r.clock for r in self.runs], [r.seconds for r in self.runs]
        median = statistics.median(clock)
        return {
            "name": self.name,
            "command": self.command,
            "seconds": rounded(median),
            "seconds_each": [rounded(s) for s in clock],
            "seconds_whole_process": rounded(statistics.median(whole)),
            "items_per_second": rounded(items / median),
            "cpu_percent": round(100 * statistics.median(r.cpu_seconds / r.seconds for r in self.runs)),
            "peak_mib": rounded(self.peak_bytes / MIB),
        }


def rounded(value):
    """Four significant digits: more are noise."""
    return float(f"{value:.4g}")


def alternate(ours, peer, runs, same=None):
    """One observed warm-up of each side, then `runs` timed ones in turns. `same` tells after the warm-ups whether both came to the same;
    where they did not, there is nothing to compare."""
    for side in (ours, peer):
        side.peak_bytes = side.start(True).peak_bytes
    if same is not None and not same():
        stop(f"{ours.command} and {peer.command} do not come to the same: their times cannot be compared")
    for _ in range(runs):
        for side in (ours, peer):
            side.runs.append(side.start(False))
    return ours, peer


def case(name, work, unit, items, ours, peer, goals=None, notes=()):
    """The record of a case. `ratio` is ours/peer in seconds, `memory_ratio` in peak bytes: below 1 is better than the
    peer. Goals are upper limits of either."""
    a, b = ours.record(items), peer.record(items)
    found = {"ratio": rounded(a["seconds"] / b["seconds"]), "memory_ratio": rounded(a["peak_mib"] / b["peak_mib"])}
    found["ratio_whole_process"] = rounded(a["seconds_whole_process"] / b["seconds_whole_process"])
    met = {key: found[key] <= limit for key, limit in (goals or {}).items()}
    return {"case": name, "work": work, "unit": unit, "items": items, "runs": len(ours.runs), **found,
            "goals": goals or {}, "met": met, "ours": a, "peer": b, "notes": list(notes)}


# --- results ----------------------------------------------------------------------------------------------------------


def machine():
    """What was measured on, without names that tell whose it is."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processor": model, "cores": cores(), "memory_gib": round(memory / (1 << 30), 1),
            "system": f"{platform.system()} {platform.release()}", "load_before": round(os.getloadavg()[0], 2)}


def versions(*packages):
    """Of Python, of these packages and of ours."""
    found = {"python": platform.python_version()}
    for package in packages:
        found[package] = importlib.metadata.version(package)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    found["gtgm"] = commit.stdout.strip() or "unknown"
    return found


def write(name, cases, where, package_versions):
    """Writes bench/results/NAME.json, whole or not at all."""
    result = {
        "benchmark": name,
        "command": f"make bench BENCH={name}",
        "date": datetime.date.today().isoformat(),
        "machine": where,
        "versions": package_versions,
        "ratio": "ours / peer in seconds, medians of alternating runs; below 1 is faster than the peer",
        "cases": cases,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    with tempfile.NamedTemporaryFile("w", dir=RESULTS, prefix=f".{name}.", suffix=".tmp", delete=False) as file:
        json.dump(result, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
        # the mode that any other program would give it
        os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    return path


def table(cases):
    """Prints the cases, one a line."""
    head = ["case", "ours", "peer", "unit", "times faster", "ours MiB", "peer MiB", "memory", "goals"]
    rows = [head]
    for c in cases:
        missed = [key for key, met in c["met"].items() if not met]
        goals = "-" if not c["goals"] else "missed: " + ", ".join(missed) if missed else "met"
        rows.append([
            c["case"], f"{c['ours']['items_per_second']:g}", f"{c['peer']['items_per_second']:g}", f"{c['unit']}/s",
            f"{1 / c['ratio']:.2f}", f"{c['ours']['peak_mib']:.0f}", f"{c['peer']['peak_mib']:.0f}",
            f"{c['memory_ratio']:.2f}", goals,
        ])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
