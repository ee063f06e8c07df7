"""What scanners that do not know SAM need: the template as CloudFormation gets it, the machine with its substitutions.

`python -m local.audit FOLDER` writes template.json, machine.asl.json and checkov.yaml, whose exceptions are those that
template.yaml's Metadata gives a reason for.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from local.template import ROOT, resolved, source, translated


def main(folder: Path) -> int:
    """0 when the files are there."""
    folder.mkdir(parents=True, exist_ok=True)
    made = translated(source())
    (folder / "template.json").write_text(json.dumps(made, indent=1))
    [machine] = [
        item["Properties"] for item in resolved(made).values() if item["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    text = (ROOT / "statemachine" / "retrain.asl.json").read_text()
    known = machine["DefinitionSubstitutions"]
    (folder / "machine.asl.json").write_text(re.sub(r"\$\{(\w+)\}", lambda found: str(known[found[1]]), text))
    reasons = source()["Metadata"]["Suppressions"]
    config = ["framework: [cloudformation]", "compact: true", "quiet: true", "skip-check:"]
    config += [f"  - {check} # {why}" for check, why in sorted(reasons.items()) if check.startswith("CKV")]
    (folder / "checkov.yaml").write_text("\n".join(config) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
