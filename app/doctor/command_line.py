"""The doctor's command line: every check, its findings with their cures, and an exit code of 0, 1 or 2."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from streaming_lab.cli import VERSION, printable
from streaming_lab.doctor import course, installation, machine, network
from streaming_lab.doctor.symptom import FindSymptoms, Symptom, run_check

EXIT_CODES = {"warning": 1, "stands in the way": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; 0 without a finding, 1 with warnings, 2 when something stands in the way."""
    parser = argparse.ArgumentParser(
        prog="doctor.py",
        description="Tells what stands in the lab's way on this machine, why it matters, and what cures it.",
        epilog="exit code: 0 nothing found, 1 warnings, 2 something stands in the way",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--json", action="store_true", help="for programs: a list of findings")
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    parser.add_argument("--cluster", default=named, metavar="NAME", help="host:port, or a client properties file")
    parser.add_argument("files", nargs="*", metavar="FILE", help="compose files of a course, to be explained")
    options = parser.parse_args(arguments)
    found = {name: run_check(name, check) for name, check in checks(options.cluster, options.files).items()}
    symptoms = [symptom for several in found.values() for symptom in several]
    if options.json:
        sys.stdout.write(json.dumps([symptom.to_json() for symptom in symptoms], indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{printable(line)}\n" for line in report_lines(found)))
    return max((EXIT_CODES[symptom.severity] for symptom in symptoms), default=0)


def checks(cluster: str = "", files: Sequence[str] = ()) -> Mapping[str, FindSymptoms]:
    """Every check by its name, in the order of the report."""
    asked: dict[str, FindSymptoms] = {"compose file": partial(course.check_compose_files, list(files))}
    if cluster:
        asked["brokers"] = partial(course.check_brokers, cluster)
    return asked | {
        "python": machine.check_python,
        "environment": installation.check_environment,
        "settings": machine.check_variables,
        "disk": machine.check_disk,
        "memory": machine.check_memory,
        "limits": machine.check_limits,
        "clock": machine.check_clock,
        "hiding files": machine.check_hiding_files,
        "java": installation.check_java,
        "jars": installation.check_jars,
        "clusters": installation.check_clusters,
        "containers": installation.check_containers,
        "ports": network.check_ports,
        "localhost": network.check_localhost,
        "name server": network.check_name_server,
        "proxies": network.check_proxies,
    }


def report_lines(found: Mapping[str, Sequence[Symptom]]) -> list[str]:
    """The report for a person: the findings with their cures, then what is well."""
    said = []
    for symptoms in found.values():
        for one in symptoms:
            mark = "STANDS IN THE WAY" if one.severity == "stands in the way" else "warning"
            said += [f"{mark}  {one.check}: {one.what}", f"  why   {one.why}", f"  cure  {one.cure}"]
    well = [name for name, symptoms in found.items() if not symptoms]
    return [*said, f"well: {', '.join(well) or 'nothing'}"]
