"""A checkup as text and as JSON."""

import json

from s2d_loop.doctor.findings import Checkup


def as_text(checkup: Checkup) -> str:
    """The table of checks, then every finding with its file and what to do."""
    width = max(len(check.name) for check in checkup.checks)
    lines = [plain(checkup.root)]
    for check in checkup.checks:
        looked = f"{check.looked:>12,} {check.unit}"
        verdict = "ok" if not check.findings else f"{len(check.findings)} found"
        lines.append(f"  {check.name:<{width}} {looked:<30} {verdict}")
    lines += [f"  note: {plain(note)}" for note in checkup.notes]
    for name, finding in checkup.findings:
        lines += ["", plain(f"{finding.file or checkup.root}: {finding.what}")]
        lines.append(f"  ({name}; {plain(finding.remedy)})")
    number = len(checkup.findings)
    lines += ["", "Clean." if not number else f"{number} finding{'s' if number > 1 else ''}."]
    return "\n".join(lines)


def as_json(checkup: Checkup) -> str:
    """The same for programs."""
    checks = [
        {"name": c.name, "unit": c.unit, "looked": c.looked, "findings": len(c.findings)}
        for c in checkup.checks
    ]
    findings = [
        {"check": name, "file": f.file, "what": f.what, "remedy": f.remedy} for name, f in checkup.findings
    ]
    return json.dumps(
        {"run": checkup.root, "checks": checks, "notes": checkup.notes, "findings": findings}, indent=2
    )


def plain(text: str) -> str:
    """Text of a run on one line, with every character that a terminal could act on spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
